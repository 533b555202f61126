"""How far the statistics that a layer normalises by in inference are from those of the data that it gets there.

Values inside of a sample depend on each other, so what is known of the data's mean has a standard error of at most
sqrt(v / samples): all values of a sample may be one and the same. Distances are robust: medians over the channels.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

LEAST_SAMPLES = 16
FAR = 1.0  # deviations, between the means
WIDE = 4.0  # between the variances, as a factor
ERRORS = 6.0  # standard errors


@dataclasses.dataclass(frozen=True)
class Distance:
    """The statistics (a, b) of a layer against the mean m and the variance v of all data of its inference steps.

    Attributes:
      samples, values: of how many samples, and of how many values per channel, m and v are.
      mean: the median over the channels of abs(m - a), in units of the larger one of both deviations.
      errors: the same in standard errors of m, of which one is at most sqrt(v / samples).
      factor: the median over the channels of v / b.
      far: whether the means, or the variances, are farther apart than the data's randomness explains.
      start_weight: what is left of the start values (0, 1), if mean and variance show the same; None otherwise.
    """

    samples: int
    values: int
    mean: float
    errors: float
    factor: float
    far: bool
    start_weight: float | None


class Population:
    """The data of all steps without training, of a layer whose statistics do not change in them."""

    def __init__(self):
        self._moments = self._statistics = None
        self._samples = 0

    def add(self, number, view):
        """Take a step, as `step_view.View`; one whose statistics are others starts anew."""
        if view.updates or view.withheld or not view.unmoved or view.record.inputs is None or not view.all_moments:
            return
        if self._statistics is None or not np.array_equal(self._statistics, view.before, equal_nan=True):
            self._statistics, self._moments, self._samples = view.before, None, 0
        for array, moments in zip(view.record.inputs, view.all_moments, strict=True):
            if moments.count and moments.weight == moments.count:
                self._moments = moments if self._moments is None else self._moments.merge(moments)
                self._samples += array.shape[0]

    def distance(self):
        """The `Distance`; None if there is too little data."""
        if self._moments is None or self._samples < LEAST_SAMPLES:
            return None
        m, v, (a, b) = self._moments.mean, self._moments.variance, self._statistics
        usable = np.isfinite(m) & np.isfinite(v) & np.isfinite(a) & np.isfinite(b) & (v > 0) & (b > 0)
        if not usable.any():
            return None
        m, v, a, b = m[usable], v[usable], a[usable], b[usable]
        away = np.abs(m - a)
        mean = float(np.median(away / np.sqrt(np.maximum(v, b))))
        errors = float(np.median(away / np.sqrt(v / self._samples)))
        factor = float(np.exp(np.median(np.log(v / b))))
        # The logarithm of a variance of n values has a standard error of about sqrt(2 / n), more with heavy tails.
        spread = abs(math.log(factor)) / math.sqrt(2 / self._samples)
        far = (mean > FAR and errors > ERRORS) or (not 1 / WIDE < factor < WIDE and spread > ERRORS)
        return Distance(
            self._samples, self._moments.count, mean, errors, factor, far, _start_weight(m, v, a, b, self._samples)
        )


def _start_weight(m, v, a, b, samples):
    """The r of a = (1 - r) m and b = r + (1 - r) v, where both show the same one."""
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        weights = 1 / v
        of_mean = 1 - float((weights * m * a).sum() / (weights * m * m).sum())
        way, weights = v - 1, 1 / np.maximum(v, 1) ** 2
        of_variance = 1 - float((weights * way * (b - 1)).sum() / (weights * way * way).sum())
        left = float((np.abs(a - (1 - of_mean) * m) / np.sqrt(v)).max())
    if not (0.01 < of_mean < 1 and 0.01 < of_variance < 1):
        return None
    # Near the start both are alike whatever moved them. Data of a larger scale make the ways to it short as well, but
    # not by one factor in mean and variance.
    ways = sorted((1 - of_mean, 1 - of_variance))
    with np.errstate(over="ignore", divide="ignore"):
        unsure = 4 / math.sqrt(samples) + 2 / math.sqrt(samples * float((m * m / v).sum()) + 1e-300)
    if ways[1] > ways[0] * (1.25 + unsure):
        return None
    # Both are as uncertain as the data's moments are.
    close = abs(of_mean - of_variance) <= 0.05 + 2 / math.sqrt(samples)
    return (of_mean + of_variance) / 2 if close and left <= 3 / math.sqrt(samples) else None
