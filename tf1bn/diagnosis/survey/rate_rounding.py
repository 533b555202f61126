"""How the rate of a layer's steps, 1 - decay, was rounded, as all of its steps and channels together show it."""

import math

import numpy as np

from ...checker.error_bounds import DEVIATIONS, ROUNDING, rates_of
from ...checker.roundoff import UNIT_ROUNDOFF, sum_dtype
from ...evidence.estimators import Estimate, added


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
        self._recurrence = layer.known_recurrence
        self._possible = (
            self._recurrence != "weighted"
            and layer.dtype in ("float32", "float64")
            and not (layer.renorm or layer.zero_debias)
        )
        declared = layer.rate_dtype or "float64"
        self._declared, self._other = declared, {"float32": "float64", "float64": "float32"}[declared]
        self._sums = []  # for each form of a step with the declared rate, the sums [5, statistics] and two of residuals

    def add(self, view):
        """Take a training step, as `step_view.View`, in which some channels are finite."""
        if not self._possible or view.decay is None or len(view.updates) != 1 or not view.all_moments:
            return
        if getattr(view.record, "input_error", 0.0):
            return
        (batch,) = view.update_moments
        statistics = view.before[:, np.newaxis], view.after[:, np.newaxis]
        self._add(view.decay, *statistics, batch.mean, batch.variance, batch.count, batch.weight == batch.count)

    def add_block(self, block):
        """Take the training steps of a `StepBlock`, in which all is finite."""
        if self._possible:
            self._add(block.decay, block.before, block.after, block.mean, block.variance, block.count, True)

    def _add(self, decay, before, after, mean, variance, count, unweighted):
        """Take steps: statistics before and after, [2, steps, channels], and moments of batches, [steps, channels]."""
        dtype = self._layer.dtype
        forms = rates_of(decay, dtype, self._declared, self._recurrence).forms
        (_, other, _), *_ = rates_of(decay, dtype, self._other, "difference").forms
        if abs(other - forms[0][1]) <= self.VISIBLE * other:
            return
        moments, error = self._moments(mean, variance, count, unweighted)
        # What exceeds the dtype is left out with the terms that are not finite.
        with np.errstate(over="ignore", invalid="ignore"):
            before, after, moments = (values.astype(dtype) for values in (before, after, moments))
            unit = np.maximum(np.spacing(np.maximum(np.abs(before), np.abs(after))), np.finfo(dtype).tiny) / 2
            error = other * error + 2 * unit
        expected = _stepped(before, moments, None, other, dtype)
        for i, (keep, rate, _) in enumerate(forms):
            declared = _stepped(before, moments, keep, rate, dtype)
            if i == len(self._sums):
                self._sums.append((np.zeros((5, 2, before.shape[-1])), [0.0, 0]))
            _add_terms(self._sums[i], expected - declared, after - declared, error, unit)

    def _moments(self, mean, variance, count, unweighted):
        """What a batch contributes to both statistics in the layer's convention, and the expected error of that."""
        v = variance
        if self._layer.fused and unweighted and count > 1:
            v = v * (count / (count - 1))
        unit, terms = UNIT_ROUNDOFF[sum_dtype(self._layer.dtype)], count / 3 if unweighted else count
        with np.errstate(over="ignore", invalid="ignore"):
            mean_error = np.sqrt((terms + 2) * mean * mean + v / 2)
            if self._layer.variance_from == "squares":
                variance_error = (mean * mean + v) * math.sqrt(terms + 5) + 2 * np.abs(mean) * mean_error
            else:
                variance_error = v * math.sqrt(terms + 4) + 2 * mean_error * np.sqrt(v / max(count, 1))
            # p u, as in docs/design/error-bounds.md.
            errors = DEVIATIONS * ROUNDING * unit * np.stack([mean_error, variance_error])
        return [values.reshape(2, -1, values.shape[-1]) for values in (np.stack([mean, v]), errors)]

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


def _stepped(before, moments, keep, rate, dtype):
    """The statistics after a step, computed in ``dtype``; by the difference if there is no weight of the old value."""
    with np.errstate(over="ignore", invalid="ignore"):
        if keep is None:
            return before - (before - moments) * np.array(rate, dtype)
        return before * np.array(keep, dtype) + moments * np.array(rate, dtype)


def _add_terms(sums, x, y, z, unit):
    """Add to the sums of a form what steps contribute: [2, steps, channels] each, of which ``unit`` is the unit."""
    products, residuals = sums
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        x, y, z = (np.float64(values) / unit for values in (x, y, z))
        terms = np.stack([x * x, x * z, z * z, x * y, z * y])
    usable = np.isfinite(terms).all(axis=0) & np.isfinite(y)
    # Step by step, so that blocks of steps give the same bits as single ones.
    running = np.concatenate([products[:, :, np.newaxis], np.where(usable, terms, 0.0)], axis=2)
    products[:] = np.add.accumulate(running, axis=2)[:, :, -1]
    with np.errstate(over="ignore"):
        squares = np.moveaxis(np.square(np.where(usable, y, 0.0)), 1, 0)
    residuals[0] = added(residuals[0], squares.reshape(len(squares), -1).sum(axis=1))
    residuals[1] += int(usable.sum())
