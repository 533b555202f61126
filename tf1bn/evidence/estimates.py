"""What the training steps of one layer show about its decay and about the variance that it averages."""

import math

import numpy as np

from ..checker.roundoff import UNIT_ROUNDOFF, sum_dtype
from .estimators import Slope, VarianceFactor


class Estimates:
    """Estimates over the training steps of a layer.

    Attributes:
      rate: the `Slope` of the change of the statistics over the distance to the batch's: 1 - decay.
      factor: the `VarianceFactor`.
      bessel_share: where the layer does not declare its convention, the `Slope` of the observed variance between the
        predictions without (0) and with (1) Bessel's correction.
      resolution: the `checker` comparison's resolution in the last step, where both conventions were compared.
      mean_over_deviation: the largest absolute batch mean in units of the batch's standard deviation.
    """

    def __init__(self):
        self.rate, self.factor = Slope(), VarianceFactor()
        self.bessel_share, self.resolution = Slope(), None
        self.mean_over_deviation = 0.0

    def add(self, number, view):
        """Take a training step in which some channels are finite; one of batch renormalisation shows nothing here."""
        if view.layer.renorm:
            return
        self.rate.add(*rate_terms(view))
        self.factor.add(*factor_terms(view))
        mean, variance = _mean_of_batches(view)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            ratio = np.where(variance > 0, np.abs(mean) / np.sqrt(variance), 0.0)
        self.mean_over_deviation = max(self.mean_over_deviation, float(ratio.max()))

    def add_conventions(self, view, population, bessel, resolution):
        """Take the `checker.MovingStats` that predict one step without and with Bessel's correction.

        The channels and steps together can tell the conventions apart where a single one cannot.
        """
        after = view.after[1, view.finite]
        self.bessel_share.add(
            bessel.variance - population.variance, after - population.variance, population.variance_bound
        )
        self.resolution = resolution

    def shown_convention(self):
        """Whether all steps together show Bessel's correction: True, False, or None if they cannot tell."""
        share = self.bessel_share.estimate()
        if not (math.isfinite(share.value) and share.interval < 0.2):
            return None
        for bessel in (False, True):
            if abs(share.value - bessel) <= max(2 * share.interval, 0.1):
                return bessel
        return None


def _mean_of_batches(view):
    """Mean and variance of the batches of a training step on the finite channels, averaged over the batches."""
    if len(view.moments) == 1:
        return view.moments[0].mean, view.moments[0].variance
    return tuple(np.mean([getattr(moments, name) for moments in view.moments], axis=0) for name in ("mean", "variance"))


def _roundoffs(view):
    """The unit roundoff of the statistics, and what the sums over a batch can lose relatively."""
    dtype = view.layer.dtype
    return UNIT_ROUNDOFF[dtype], math.sqrt(max(view.counts)) * UNIT_ROUNDOFF[sum_dtype(dtype)]


def rate_terms(view):
    """What `Slope.add` takes of a training step: distance to the batch's mean, change of the mean, and its bound."""
    (unit, sums), (m, v) = _roundoffs(view), _mean_of_batches(view)
    (a0, _), (a1, _) = view.around
    with np.errstate(over="ignore", invalid="ignore"):
        return m - a0, a1 - a0, 4 * unit * (np.abs(a0) + np.abs(a1)) + sums * np.sqrt(m * m + v) * 0.1 + 1e-300


def factor_terms(view):
    """What `VarianceFactor.add` takes of a training step: moving variance before and after, batch variance, bound."""
    (unit, sums), (m, v) = _roundoffs(view), _mean_of_batches(view)
    (_, b0), (_, b1) = view.around
    with np.errstate(over="ignore", invalid="ignore"):
        lost = sums * (v + np.abs(m) * np.sqrt(v)) * 0.1
        return b0, b1, v, 4 * unit * (np.abs(b0) + np.abs(b1)) + lost + 1e-300
