"""Which part of an error of the statistics was carried over from earlier steps, and which part a step added.

A step multiplies the error that the statistics had before it by the decay and adds its own:

    observed_k - expected_k = decay (observed_{k-1} - expected_{k-1}) + added_k

where expected_k is what correct updates in every step since the first recorded one would have left. A prediction from
the observed statistics before the step shows added_k alone; the rest was inherited. Only vectors [channels] are kept.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from .. import checker
from . import averaged


@dataclasses.dataclass(frozen=True)
class AccumulatedError:
    """How far off one statistic is after the last step that changed it, in the channel where it is farthest.

    All but the bound are observed minus expected, in the unit of the statistic, and error = inherited + added.

    Attributes:
      channel: the channel in which the error is largest against its bound.
      since: the number of the step from which on every update is known; step: that of the last one.
      error: the error of the observed value against correct updates in every step since then.
      bound: how far a correctly rounded layer can be from them.
      inherited: what was carried over from before the last step; added: what that step added.
      largest_step: of the steps outside their bounds, the one whose error makes the largest part of what is left; None
        if there is none, or where the statistic is no plain average (zero debias, renorm).
      largest: the size of that part, without a sign; None likewise.
    """

    channel: int
    since: int
    step: int
    error: float
    bound: float
    inherited: float
    added: float
    largest_step: int | None
    largest: float | None


class StatisticErrors:
    """The statistics that correct updates in every step would have left, under one variance convention.

    Call `before_updates` and `after_updates` once for each step.

    Args:
      layer: the `trace.Layer`.
      bessel: whether the variance is taken with Bessel's correction.

    Attributes:
      unknown: why the expected statistics are not known, as the end of a sentence; None if they are.
      since: the number of the step from which on they are known.
      jumps: the steps before which the statistics were changed outside of any recorded step.
    """

    def __init__(self, layer, bessel):
        self._layer, self._bessel = layer, bessel
        self.unknown = self.since = None
        self.jumps = []
        self._stats = self._after = self._last = None
        self._pending = None
        self._deviation = False
        self._largest = self._largest_step = None

    def before_updates(self, number, view, updates_before):
        """Take the statistics before a step; if they are not those after the last step, start anew from them.

        Args:
          number: the step's.
          view: the layer's `View`.
          updates_before: how many updates the layer had before.
        """
        if self.unknown:
            return
        deviation = averaged.averages_deviation(view)
        if self._stats is not None and deviation != self._deviation:
            self.unknown = "not all steps show what the layer averages"
            return
        before, after = averaged.averaged(view)
        self._deviation = deviation
        jumped = self._after is not None and not np.array_equal(self._after, before, equal_nan=True)
        if jumped and not view.left_out:
            self.jumps.append(number)
        if self._stats is None or jumped:
            self._start(number, view, before, updates_before)
        self._after = after
        self._pending = number, view, before, after

    def _start(self, number, view, before, updates_before):
        debias = averaged.debias_state(view, before, view.decay, updates_before) if self._layer.zero_debias else {}
        if debias is None:
            self.unknown = "the state of the zero-debiased mean is not recorded"
            return
        self._stats = checker.MovingStats(
            *before,
            decay=1.0,
            bessel=self._bessel,
            dtype=self._layer.dtype,
            rate_dtype=self._layer.rate_dtype,
            recurrence=self._layer.known_recurrence,
            variance_from=self._layer.variance_from,
            **debias,
        )
        self.since, self._last = number, None
        self._largest = self._largest_step = None

    def expected(self):
        """Mean and variance, their expected errors and their worst cases at this point; None if they are not known.

        Returns:
          six arrays [channels], the mean's before the variance's.
        """
        if self.unknown or self._stats is None:
            return None
        statistics = self._stats.mean, self._stats.variance
        expected_error, worst_case = (self._as_variance(*statistics, *both) for both in self._stats.two_bounds())
        return *expected_error, *worst_case[2:]

    def _as_variance(self, mean, second, mean_bound, second_bound):
        """The same with the variance where the layer averages the deviation, as TF 1.15's renorm does."""
        if not self._deviation:
            return mean, second, mean_bound, second_bound
        epsilon = self._layer.epsilon
        with np.errstate(over="ignore", invalid="ignore"):
            bound = 2 * np.abs(second) * second_bound + second_bound**2
            return mean, np.maximum(second**2 - epsilon, 0), mean_bound, bound

    def after_updates(self, fit=None):
        """Go on to the statistics after the step.

        Args:
          fit: the `diagnosis.fitting.Fit` of the layer as declared to this step, if it trained and was compared.
        """
        if self.unknown or self._pending is None:
            return
        number, view, before, after = self._pending
        self._pending = None
        predicted, kept = before, 1.0
        if view.updates:
            if fit is None or fit.stats is None or (view.weighted and self._bessel):
                self.unknown = "a training step could not be predicted"
                return
            moments = averaged.averaged_moments(view)
            if moments is None:
                self.unknown = "a channel was not finite"
                return
            for i in fit.updates:
                self._stats.update(moments[i], decay=view.decays[i])
            predicted = np.full(before.shape, np.nan)
            predicted[:, view.finite] = fit.stats.mean, fit.stats.variance
            kept = math.prod(view.decays)
        elif np.array_equal(before, after, equal_nan=True):
            return
        self._last = number, predicted, after
        self._keep_largest(kept, within_bound=fit is not None and fit.verdict == "ok")

    def add_block(self, block, predicted):
        """Take training steps of a `StepBlock` that are within their bounds and start from where the last one ended.

        Args:
          predicted: what the layer as declared makes of the statistics before the last step, float64 [2, channels].
        """
        if self.unknown:
            return
        self._stats.update_each(block.mean, block.variance, block.count, decay=block.decay)
        self._after = block.after[:, -1]
        self._last = block.numbers[-1], predicted, self._after
        for _ in block.numbers if self._largest is not None else ():
            self._keep_largest(block.decay, within_bound=True)

    def _keep_largest(self, kept, within_bound):
        """Let the largest remaining error shrink by ``kept``, and take that of the last step if it is larger."""
        if within_bound and self._largest is None:
            return
        number, predicted, after = self._last
        if self._largest is None:
            self._largest, self._largest_step = np.zeros_like(after), np.full(after.shape, number)
        with np.errstate(invalid="ignore", over="ignore"):
            self._largest = self._largest * kept
            if within_bound:
                return
            error = np.abs(after - predicted)
            larger = error > self._largest
        self._largest = np.where(larger, error, self._largest)
        self._largest_step = np.where(larger, number, self._largest_step)

    def largest_distance(self):
        """How far the statistics are from exact updates since `since`, where that is largest in units of the data.

        Returns:
          (distance, statistic, channel, observed, expected): the distance in standard deviations for the "moving mean",
          as a share of itself for the "moving variance"; None if it is not known.
        """
        if self.unknown or self._last is None or self._deviation:
            return None
        stats, after = self._stats, self._last[2]
        best = None
        for i, (name, expected) in enumerate((("moving mean", stats.mean), ("moving variance", stats.variance))):
            with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
                unit = np.sqrt(stats.variance) if i == 0 else stats.variance
                distance = np.abs(after[i] - expected) / unit
            distance = np.where(np.isfinite(distance), distance, -1.0)
            at = int(np.argmax(distance))
            if distance[at] >= 0 and (best is None or distance[at] > best[0]):
                best = float(distance[at]), name, at, float(after[i, at]), float(expected[at])
        return best

    def accumulated(self, channels=(None, None)):
        """The `AccumulatedError` of the mean and that of the variance; None for what is not known.

        Args:
          channels: for both the channel to look at; None: the one with the largest error against its bound.
        """
        if self.unknown or self._last is None:
            return None, None
        stats, (_, predicted, after) = self._stats, self._last
        return (
            self._accumulated(0, channels[0], after[0], stats.mean, predicted[0], stats.mean_bound),
            self._accumulated(
                1, channels[1], *self._variance_of(after[1], stats.variance, predicted[1], stats.variance_bound)
            ),
        )

    def _variance_of(self, *values):
        """Observed, expected and predicted variance and the bound, of a variance or of a deviation that is averaged."""
        if not self._deviation:
            return values
        *statistics, bound = values
        bound = self._as_variance(statistics[1], statistics[1], bound, bound)[3]
        return *(self._as_variance(value, value, value, value)[1] for value in statistics), bound

    def _accumulated(self, i, channel, observed, expected, predicted, bound):
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            error, added = observed - expected, observed - predicted
            share = np.where(error == 0, 0.0, np.abs(error) / bound)
            finite = np.isfinite(error + added)
        if not finite.any():
            return None
        at = int(np.argmax(np.where(finite & ~np.isnan(share), share, -1.0)))
        if channel is not None and finite[channel]:
            at = channel
        plain = self._largest is not None and self._largest[i, at] > 0
        plain = plain and not self._layer.zero_debias and not self._deviation
        return AccumulatedError(
            channel=at,
            since=self.since,
            step=self._last[0],
            error=float(error[at]),
            bound=float(bound[at]),
            inherited=float(predicted[at] - expected[at]),
            added=float(added[at]),
            largest_step=int(self._largest_step[i, at]) if plain else None,
            largest=float(self._largest[i, at]) if plain else None,
        )
