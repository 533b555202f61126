"""The rate at which moving statistics really moved and the variance that they really averaged, with intervals.

Every estimate weighs channels and steps by 1/bound^2. Its interval takes the bounds for independent errors, and is
never narrower than the spread of the residuals.
"""

import dataclasses
import math

import numpy as np

from ..checker.error_bounds import DEVIATIONS, rates_of
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
        """Take x, y and how far y can be off, [channels] each; channels that are not finite are left out."""
        usable = np.isfinite(x) & np.isfinite(y) & np.isfinite(bound) & (bound > 0)
        if usable.any():
            if not usable.all():
                x, y, bound = x[usable], y[usable], bound[usable]
            with np.errstate(over="ignore", invalid="ignore"):
                scaled_x, scaled_y = x / bound, y / bound
                self._xx += float(scaled_x @ scaled_x)
                self._xy += float(scaled_x @ scaled_y)
                self._yy += float(scaled_y @ scaled_y)
            self._count += int(usable.sum())

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
        """Take b0, b1, v and how far b1 can be off, [channels] each; channels that are not finite are left out."""
        usable = np.isfinite(before) & np.isfinite(after) & np.isfinite(variance) & np.isfinite(bound) & (bound > 0)
        with np.errstate(over="ignore", invalid="ignore"):
            b0, b1, v, weight = before[usable], after[usable], variance[usable], bound[usable] ** -2.0
            self._moved += float((weight * v * (b1 - b0)).sum())
            self._kept += float((weight * v * b0).sum())
            self._squares += float((weight * v * v).sum())

    def estimate(self, rate):
        """The `Estimate` of k for this rate, 1 - decay."""
        if not (0 < self._squares < math.inf and rate):
            return Estimate(math.nan, math.nan)
        interval = abs(rate) * math.sqrt(self._squares)
        if not interval:
            return Estimate(math.nan, math.nan)
        return Estimate((self._moved / rate + self._kept) / self._squares, 1 / interval)


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
      rate_rounding: the `RateRounding`.

    Args:
      layer: the `trace.Layer`.
    """

    def __init__(self, layer):
        self.rate, self.factor = Slope(), VarianceFactor()
        self.rate_rounding = RateRounding(layer)
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
        self.rate_rounding.add(view)

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
        if view.layer.variance_from == "squares":
            lost = sums * (v + m * m)
        return b0, b1, v, 4 * unit * (np.abs(b0) + np.abs(b1)) + lost + 1e-300


class RateRounding:
    """Whether the rate of a layer's steps was 1 - decay, formed in float64, or 1 - float32(decay).

    One step seldom shows the difference, so all channels and steps of both statistics are taken together. Each step is
    computed in the layer's dtype with either rate, x is the difference of the two results and y that of the observed
    one from the first. What rounding made of the batch's moments has one sign in all steps of a channel, in the worst
    case; it is fitted beside the share s in y = s x + e z, where z is its expected size and e is 1 at most, likely.

    Args:
      layer: the `trace.Layer`.
    """

    LARGEST = 0.1  # the interval of the share; correct layers whose sums stagnate were seen at a share of .45 there
    NEAR = 0.3  # how far the share may be from 1
    VISIBLE = 2e-6  # relative difference of the two rates; a fused multiply-add can look like a smaller one

    def __init__(self, layer):
        self._layer = layer
        self._recurrence = layer.recurrence or (None if layer.release is None else "difference")
        self._possible = self._recurrence != "weighted" and layer.dtype in ("float32", "float64") and not layer.renorm
        declared = layer.rate_dtype or "float64"
        self._declared, self._other = declared, {"float32": "float64", "float64": "float32"}[declared]
        self._sums = []  # for each form of a step with the declared rate, the sums [5, statistics] and two of residuals

    def add(self, view):
        """Take a training step in which some channels are finite."""
        if not self._possible or view.decay is None or len(view.updates) != 1 or not view.all_moments:
            return
        if self._layer.zero_debias or getattr(view.record, "input_error", 0.0):
            return
        dtype = self._layer.dtype
        forms = rates_of(view.decay, dtype, self._declared, self._recurrence).forms
        (_, other, _), *_ = rates_of(view.decay, dtype, self._other, "difference").forms
        if abs(other - forms[0][1]) <= self.VISIBLE * other:
            return
        before, after = view.before.astype(dtype), view.after.astype(dtype)
        moments, error = self._moments(view)
        unit = np.maximum(np.spacing(np.maximum(np.abs(before), np.abs(after))), np.finfo(dtype).tiny) / 2
        error = other * error + 2 * unit
        expected = _stepped(before, moments, (None, other), dtype)
        for i, (keep, rate, _) in enumerate(forms):
            declared = _stepped(before, moments, (keep, rate), dtype)
            if i == len(self._sums):
                self._sums.append((np.zeros((5, *before.shape)), [0.0, 0]))
            _add_terms(self._sums[i], expected - declared, after - declared, error, unit)

    def _moments(self, view):
        """Mean and variance of the batch, in the layer's convention, and the expected error of each: [2, C] both."""
        (batch,) = view.update_moments
        m, v, n = batch.mean, batch.variance, batch.count
        if self._layer.fused and batch.weight == n and n > 1:
            v = v * (n / (n - 1))
        unit, terms = UNIT_ROUNDOFF[sum_dtype(self._layer.dtype)], n / 3 if batch.weight == n else n
        with np.errstate(over="ignore", invalid="ignore"):
            mean_error = np.sqrt((terms + 2) * m * m + v / 2)
            if self._layer.variance_from == "squares":
                variance_error = (m * m + v) * math.sqrt(terms + 5) + 2 * np.abs(m) * mean_error
            else:
                variance_error = v * math.sqrt(terms + 4) + 2 * mean_error * np.sqrt(v / max(n, 1))
            # p u, as in docs/design/error-bounds.md.
            return np.stack([m, v]), DEVIATIONS * 0.4247 * unit * np.stack([mean_error, variance_error])

    def shown(self):
        """ "float32" or "float64" where the steps show that 1 - decay was not formed in the declared one; else None."""
        shares = [self._share(*sums) for sums in self._sums]
        fitting = all(abs(share.value - 1) <= self.NEAR and share.interval <= self.LARGEST for share in shares)
        return self._other if shares and fitting else None

    def _share(self, sums, residuals):
        if self._layer.fused is None:
            # The variance's convention is open, and a wrong one would be taken for a rate.
            sums = sums[:, :1]
        xx, xz, zz, xy, zy = sums
        precision = float((xx - xz * xz / (zz + 1)).sum())
        if not 0 < precision < math.inf:
            return Estimate(math.nan, math.nan)
        product = float((xy - xz * zy / (zz + 1)).sum())
        value = product / precision
        yy, count = residuals
        residual = max(0.0, yy - float((zy * zy / (zz + 1)).sum()) - value * product) / max(1, count)
        return Estimate(value, max(1.0, math.sqrt(residual)) / math.sqrt(precision))


def _stepped(before, moments, form, dtype):
    """The statistics after a step, [2, C], computed in ``dtype``; ``form`` is the weight of the old value and the rate.

    Without a weight of the old value the step is taken by the difference.
    """
    (keep, rate), moments = form, moments.astype(dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        if keep is None:
            return before - (before - moments) * np.array(rate, dtype)
        return before * np.array(keep, dtype) + moments * np.array(rate, dtype)


def _add_terms(sums, x, y, z, unit):
    products, residuals = sums
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        x, y, z = (np.float64(values) / unit for values in (x, y, z))
        terms = np.stack([x * x, x * z, z * z, x * y, z * y])
    usable = np.isfinite(terms).all(axis=0) & np.isfinite(y)
    products += np.where(usable, terms, 0.0)
    residuals[0] += float((y[usable] ** 2).sum())
    residuals[1] += int(usable.sum())
