"""The rate at which moving statistics really moved and the variance that they really averaged, with intervals.

Every estimate weighs channels and steps by 1/bound^2. Its interval takes the bounds for independent errors, and is
never narrower than the spread of the residuals.
"""

import dataclasses
import math

import numpy as np

from ..checker.regression import dots, step_sums
from ..checker.roundoff import UNIT_ROUNDOFF, sum_dtype


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A value and how far it can be off, as floats; both NaN if nothing was measured."""

    value: float
    interval: float

    def __str__(self):
        if not math.isfinite(self.value):
            return "unknown"
        if not math.isfinite(self.interval):
            return f"{self.value:.6g}"
        # As many digits as the interval leaves, so that values that differ by it read differently.
        left = math.log10(abs(self.value) / self.interval) if self.value and self.interval > 0 else 6
        return f"{self.value:.{min(15, max(6, math.ceil(left) + 1))}g} +- {self.interval:.1g}"


class Slope:
    """The weighted slope of y over x through the origin, from any number of calls of `add`."""

    def __init__(self):
        self._xx = self._xy = self._yy = 0.0
        self._count = 0

    def add(self, x, y, bound):
        """Take x, y and how far y can be off, [channels] or [steps, channels]; what is not finite is left out."""
        if x.ndim == 2:
            sums = _products(x, y, bound)
            if bound.max() < np.inf and all(np.isfinite(each).all() for each in sums):
                self.add_sums(*sums, x.size)
                return
            for row in zip(x, y, bound, strict=True):
                self.add(*row)
            return
        usable = np.isfinite(x) & np.isfinite(y) & np.isfinite(bound) & (bound > 0)
        if usable.any():
            if not usable.all():
                x, y, bound = x[usable], y[usable], bound[usable]
            self.add_sums(*_products(x[np.newaxis], y[np.newaxis], bound), x.size)

    def add_sums(self, xx, xy, yy, count):
        """Take the sums of x^2, xy and y^2, in units of how far y can be off, [steps] each, of so many terms."""
        self._xx, self._xy, self._yy = added(self._xx, xx), added(self._xy, xy), added(self._yy, yy)
        self._count += count

    def estimate(self):
        """The `Estimate` of the slope."""
        if not 0 < self._xx < math.inf or not math.isfinite(self._xy):
            return Estimate(math.nan, math.nan)
        value = self._xy / self._xx
        residual = max(0.0, self._yy - value * self._xy) / max(1, self._count)
        return Estimate(value, max(1.0, math.sqrt(residual)) / math.sqrt(self._xx))


class VarianceFactor:
    """k in b1 = b0 + rate (k v - b0): the multiple of the batch variance v that the moving variance b really takes."""

    def __init__(self):
        self._moved = self._kept = self._squares = 0.0

    def add(self, before, after, variance, bound):
        """Take b0, b1, v and how far b1 can be off, [channels] or [steps, channels]; what is not finite is left out."""
        if before.ndim == 2:
            sums = _moved_and_kept(before, after, variance, bound)
            if bound.max() < np.inf and all(np.isfinite(each).all() for each in sums):
                self.add_sums(*sums)
                return
            for row in zip(before, after, variance, bound, strict=True):
                self.add(*row)
            return
        usable = np.isfinite(before) & np.isfinite(after) & np.isfinite(variance) & np.isfinite(bound) & (bound > 0)
        values = before, after, variance, bound
        self.add_sums(*_moved_and_kept(*(each[np.newaxis, usable] for each in values)))

    def add_sums(self, moved, kept, squares):
        """Take the sums of b1 - b0, b0 and v, each times v over the square of the bound, [steps] each."""
        self._moved, self._kept = added(self._moved, moved), added(self._kept, kept)
        self._squares = added(self._squares, squares)

    def estimate(self, rate):
        """The `Estimate` of k for this rate, 1 - decay."""
        if not (0 < self._squares < math.inf and rate):
            return Estimate(math.nan, math.nan)
        interval = abs(rate) * math.sqrt(self._squares)
        if not interval:
            return Estimate(math.nan, math.nan)
        return Estimate((self._moved / rate + self._kept) / self._squares, 1 / interval)


def _products(x, y, bound):
    """The sums over the channels of x^2, xy and y^2 in units of the bound, [steps] each; of [steps, channels]."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        return dots(x / bound, y / bound)


def _moved_and_kept(before, after, variance, bound):
    """The sums over the channels of v (b1 - b0), v b0 and v^2, weighed by 1/bound^2: [steps] each."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        weight = variance / np.square(bound)
        return [(weight * each).sum(axis=-1) for each in (after - before, before, variance)]


def added(total, terms):
    """The total after these terms were added to it one by one, as they are where each step is taken by itself."""
    for term in terms.tolist():
        total += term
    return total


def likely_decays(rate):
    """Decays that an `Estimate` of the rate allows: the one with the fewest digits, then the middle of the interval."""
    if not (math.isfinite(rate.value) and math.isfinite(rate.interval)):
        return []
    middle = 1 - rate.value
    decays = []
    for digits in range(1, 9):
        rounded = round(middle, digits)
        if abs(rounded - middle) <= max(2 * rate.interval, 1e-7) and 0 <= rounded <= 1:
            decays.append(rounded)
            break
    if 0 <= middle <= 1 and middle not in decays:
        decays.append(middle)
    return decays


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
        if not view.layer.renorm:
            around = (each[:, np.newaxis] for each in view.around)
            moments = (each[np.newaxis] for each in _mean_of_batches(view))
            self._add(view.layer, max(view.counts), *around, *moments)

    def add_block(self, block):
        """Take the training steps of a `StepBlock`, in which all is finite."""
        self._add(block.layer, block.count, block.before, block.after, block.mean, block.variance)

    def _add(self, layer, count, before, after, mean, variance):
        squares = layer.variance_from == "squares"
        sums, largest = step_sums(before, after, mean, variance, *_roundoffs(layer, count), squares)
        if sums is None:
            numbers = layer, count, before, after, mean, variance
            self.rate.add(*_rate_terms(*numbers))
            self.factor.add(*_factor_terms(*numbers))
        else:
            self.rate.add_sums(*sums[:3], mean.size)
            self.factor.add_sums(*sums[3:])
        if not largest < math.inf:
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                largest = float(np.where(variance > 0, np.abs(mean) / np.sqrt(variance), 0.0).max())
        self.mean_over_deviation = max(self.mean_over_deviation, largest)

    def add_conventions(self, after, population, bessel):
        """Take what predicts the moving variance of one step, or of several, without and with Bessel's correction.

        The channels and steps together can tell the conventions apart where a single one cannot.

        Args:
          after: the observed variance, float64 [channels] or [steps, channels].
          population, bessel: have the `variance` and `variance_bound` that are expected, as `checker.MovingStats` has.
        """
        self.bessel_share.add(
            bessel.variance - population.variance, after - population.variance, population.variance_bound
        )

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


def rate_terms(view):
    """What `Slope.add` takes of a training step: distance to the batch's mean, change of the mean, and its bound."""
    return _rate_terms(view.layer, max(view.counts), *view.around, *_mean_of_batches(view))


def factor_terms(view):
    """What `VarianceFactor.add` takes of a training step: moving variance before and after, batch variance, bound."""
    return _factor_terms(view.layer, max(view.counts), *view.around, *_mean_of_batches(view))


def _roundoffs(layer, count):
    """The unit roundoff of the statistics, and what the sums over a batch can lose relatively."""
    return UNIT_ROUNDOFF[layer.dtype], math.sqrt(count) * UNIT_ROUNDOFF[sum_dtype(layer.dtype)]


def _rate_terms(layer, count, before, after, m, v):
    (unit, sums), a0, a1 = _roundoffs(layer, count), before[0], after[0]
    with np.errstate(over="ignore", invalid="ignore"):
        return m - a0, a1 - a0, 4 * unit * (np.abs(a0) + np.abs(a1)) + sums * np.sqrt(m * m + v) * 0.1 + 1e-300


def _factor_terms(layer, count, before, after, m, v):
    (unit, sums), b0, b1 = _roundoffs(layer, count), before[1], after[1]
    with np.errstate(over="ignore", invalid="ignore"):
        lost = sums * (v + np.abs(m) * np.sqrt(v)) * 0.1
        if layer.variance_from == "squares":
            lost = sums * (v + m * m)
        return b0, b1, v, 4 * unit * (np.abs(b0) + np.abs(b1)) + lost + 1e-300
