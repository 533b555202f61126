"""Other formulas than y = gamma (x - M) / sqrt(V + epsilon) + beta that a layer's outputs can be of.

Of each output line (slope s and value c at the batch's mean) follows T = gamma / s, which is sqrt(V + epsilon) in the
usual formula. The others relate T, V and epsilon otherwise, or shift the line. For each the interval of epsilon that
every channel allows is kept, as `outputs.fit.SourceFit` does for the usual one.
"""

from __future__ import annotations

import math

import numpy as np

from ...checker.roundoff import SMALLEST

OUTSIDE, AFTER, DEVIATION, UNROOTED, RECIPROCAL, ORDER, CORRECTED = (
    "outside the root",
    "after the division",
    "deviation for variance",
    "no root",
    "multiplied",
    "beta before gamma",
    "corrected variance",
)
FORMS = (OUTSIDE, AFTER, DEVIATION, UNROOTED, RECIPROCAL, ORDER, CORRECTED)
# The significands of lower precisions in bits, and the bits of a float32 that are 0 in them.
LOWER = {"bfloat16": (8, 16), "float16": (11, 13)}
SAMPLE = 256
LEAST_VALUES = 16


class Fit:
    """How well one explanation fits the outputs so far, and with which epsilon.

    Attributes:
      low, high: the interval of epsilon that every channel of every step allows.
      misfit: the largest error, in units of the bound.
      seen: whether any outputs were compared.
    """

    def __init__(self):
        self.low, self.high, self.misfit, self.seen = -math.inf, math.inf, 0.0, False

    def add(self, misfit, low, high):
        """Take the misfit and the interval of epsilon of one application."""
        self.misfit, self.low, self.high = max(self.misfit, misfit), max(self.low, low), min(self.high, high)
        self.seen = True


class FormFit(Fit):
    """How well one formula explains the outputs so far."""

    @property
    def consistent(self):
        """Whether one epsilon explains all outputs, and the outputs show it."""
        return self.seen and self.misfit <= 1 and self.low <= self.high and math.isfinite(self.low)

    def allows(self, epsilon):
        """Whether this epsilon explains all outputs."""
        return self.consistent and self.low <= epsilon <= self.high


def fit_forms(line):
    """By formula (misfit, smallest epsilon, largest epsilon), for the outputs of one application.

    Args:
      line: the `outputs.fit.OutputLine`.
    """
    slope, centre, rest = line.fitted
    mean, variance, mean_bound, variance_bound = line.statistics
    deviation = np.sqrt(line.moments.variance)
    with np.errstate(all="ignore"):
        distance = line.moments.mean - mean
        size = np.sqrt(line.moments.mean**2 + line.moments.variance) + np.abs(mean)
        ends = 4 * line.unit * (np.abs(centre) + np.abs(line.beta) * np.maximum(1, np.abs(line.gamma)))
        noise = 6 * line.unit * np.abs(slope) * size + ends + SMALLEST["float64"]
        lever = noise / deviation * np.abs(distance) + np.abs(slope) * mean_bound
        lost = noise / (np.abs(slope) * deviation)
        shows = np.isfinite(slope) & (deviation > 0) & (lost < 0.25) & (line.gamma != 0) & (variance > 0)
        if not shows.any() or (slope * line.gamma <= 0)[shows].any():
            return dict.fromkeys(FORMS, (math.inf, -math.inf, math.inf))
        scatter = float((rest / (noise + 8 * line.unit * np.abs(slope) * deviation))[shows].max())
        shift = centre - line.beta - slope * distance
        allowed = noise + lever
        straight = max(scatter, float((np.abs(shift) / allowed)[shows].max()))
        total, root = line.gamma / slope, np.sqrt(np.maximum(variance, 0))
        wide, of_root = 1.5 * lost + 8 * line.unit, variance_bound / (2 * root)
        intervals = {
            OUTSIDE: (total - root, total * wide + of_root),
            DEVIATION: (total**2 - root, total**2 * 2 * wide + of_root),
            UNROOTED: (total - variance, total * wide + variance_bound),
            RECIPROCAL: (1 / total**2 - variance, 2 * wide / total**2 + variance_bound),
        }
        count = line.moments.count
        factor = count / (count - 1) if line.training and count > 1 else math.nan
        intervals[CORRECTED] = total**2 - variance * factor, total**2 * 2 * wide + variance_bound * factor
        fits = {form: (straight, *_interval(*pair, shows)) for form, pair in intervals.items()}
        # Epsilon is added to (x - M) / sqrt(V): the slope shows V, and the shift is gamma epsilon.
        rooted = float((np.abs(total**2 - variance) / (total**2 * 2 * wide + variance_bound))[shows].max())
        added = shift / line.gamma, allowed / np.abs(line.gamma)
        fits[AFTER] = (max(scatter, rooted), *_interval(*added, shows))
        before = np.abs(shift + line.beta - line.gamma * line.beta) / allowed
        fits[ORDER] = (
            max(scatter, float(before[shows].max())),
            *_interval(total**2 - variance, total**2 * 2 * wide + variance_bound, shows),
        )
    return {form: tuple(math.inf if math.isnan(x) else x for x in fit) for form, fit in fits.items()}


def _interval(value, width, shows):
    """The interval that all channels allow."""
    return float((value - width)[shows].max()), float((value + width)[shows].min())


def lower_precision(array):
    """The name of the lower precision that the values of a float32 array were rounded to; None if they were not."""
    if array.dtype != np.float32 or array.size < LEAST_VALUES:
        return None
    flat = array.reshape(-1)
    sample = np.ascontiguousarray(flat[:: max(1, flat.size // SAMPLE)])
    for name, (_, bits) in LOWER.items():
        if _is_rounded(sample, bits) and np.unique(sample).size >= LEAST_VALUES / 2 and _is_rounded(flat, bits):
            return name
    return None


def _is_rounded(values, bits):
    """Whether the last bits of all float32 values are 0."""
    mask = np.uint32((1 << bits) - 1)
    return not (np.ascontiguousarray(values).view(np.uint32) & mask).any()
