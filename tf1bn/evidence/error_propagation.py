"""What of a layer's errors was carried over, and what was added. Used by ``survey``.

A step multiplies the error that the statistics had before it by the decay and adds its own:

    observed_k - expected_k = decay (observed_{k-1} - expected_{k-1}) + added_k

where expected_k is what unbroken honest updates from the first recorded statistics on would have left. A prediction
from the observed statistics before the step shows added_k alone; the rest was inherited. An output that was made with
such statistics inherits from them in the same way, and the layer's own arithmetic adds to it. Only vectors of the
channels are kept.
"""

import dataclasses

import numpy as np

from .. import checker
from . import averaged

STATISTICS = ("mean", "variance")


@dataclasses.dataclass(frozen=True)
class Accumulated:
    """How far off one statistic is after the last step that changed it, in the channel where it is farthest.

    All but the bound are observed minus expected, in the unit of the statistic, and error = inherited + added.

    Attributes:
      channel: the one where the error is largest against its bound.
      since: the step from which on every update is known; `step`: the last one.
      error: of the observed value against unbroken honest updates since then.
      bound: how far an honest layer can be from them.
      inherited: what was carried over from before the last step; added: what that step added.
      largest_step: the step whose error makes the largest part of what is left, of the steps outside their bounds; None
        if there is none, or where the statistic is no plain average (zero debias, renorm).
      largest: how much of the error that is, without a sign; None likewise.
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


class Chain:
    """The statistics that unbroken honest updates would have left, under one variance convention.

    Attributes:
      lost: why they are not known, as the end of a sentence; None if they are.
      since: the step that they start before.
      jumps: steps before which the statistics were changed outside of any recorded step.
    """

    def __init__(self, layer, bessel):
        self._layer, self._bessel = layer, bessel
        self.lost = self.since = None
        self.jumps = []
        self._stats = self._after = self._last = None
        self._pending = None
        self._deviation = False
        self._largest = self._largest_step = None

    def enter(self, number, view, updates_before):
        """Take the statistics before a step; they are where those of the last step were left, or the chain restarts."""
        if self.lost:
            return
        deviation = averaged.averages_deviation(view)
        if self._stats is not None and deviation != self._deviation:
            self.lost = "not all steps show what the layer averages"
            return
        before, after = averaged.averaged(view)
        self._deviation = deviation
        jumped = self._after is not None and not np.array_equal(self._after, before, equal_nan=True)
        if jumped:
            self.jumps.append(number)
        if self._stats is None or jumped:
            self._start(number, view, before, updates_before)
        self._after = after
        self._pending = number, view, before, after, tuple(view.updates)

    def _start(self, number, view, before, updates_before):
        more = averaged.debias_state(view, before, view.decay, updates_before) if self._layer.zero_debias else {}
        if more is None:
            self.lost = "the state of the zero-debiased mean is not recorded"
            return
        self._stats = checker.MovingStats(
            *before,
            decay=1.0,
            bessel=self._bessel,
            dtype=self._layer.dtype,
            rate_dtype=self._layer.rate_dtype,
            **more,
        )
        self.since, self._last = number, None
        self._largest = self._largest_step = None

    def expected(self):
        """Mean, variance and the bounds of both as they are now, [channels] each; None if they are not known."""
        if self.lost or self._stats is None:
            return None
        stats = self._stats
        return self._plain(stats.mean, stats.variance, stats.mean_bound, stats.variance_bound)

    def _plain(self, mean, second, mean_bound, second_bound):
        """The variance where the layer averages the deviation: TF 1.15's renorm."""
        if not self._deviation:
            return mean, second, mean_bound, second_bound
        epsilon = self._layer.epsilon
        with np.errstate(over="ignore", invalid="ignore"):
            bound = 2 * np.abs(second) * second_bound + second_bound**2
            return mean, np.maximum(second**2 - epsilon, 0), mean_bound, bound

    def leave(self, fitted=None):
        """Go on to the statistics after the step; ``fitted``: the `hypotheses.Fit` of it as declared, if it trained."""
        if self.lost or self._pending is None:
            return
        number, view, before, after, updates = self._pending
        self._pending = None
        predicted, kept = before, 1.0
        if updates:
            if fitted is None or fitted.stats is None or (view.weighted and self._bessel):
                self.lost = "a training step could not be predicted"
                return
            moments = averaged.averaged_moments(view)
            if moments is None:
                self.lost = "a channel was not finite"
                return
            for i in fitted.updates:
                self._stats.update(moments[i], decay=view.decay)
            predicted = np.full(before.shape, np.nan)
            predicted[:, view.finite] = fitted.stats.mean, fitted.stats.variance
            kept = view.decay ** len(updates)
        elif np.array_equal(before, after, equal_nan=True):
            return
        self._last = number, predicted, after
        right = fitted is not None and fitted.verdict == "ok"
        if right and self._largest is None:
            return
        if self._largest is None:
            self._largest, self._largest_step = np.zeros_like(before), np.full(before.shape, number)
        with np.errstate(invalid="ignore", over="ignore"):
            self._largest = self._largest * kept
            if right:
                return
            own = np.abs(after - predicted)
            more = own > self._largest
        self._largest = np.where(more, own, self._largest)
        self._largest_step = np.where(more, number, self._largest_step)

    def accumulated(self):
        """`Accumulated` of the mean and of the variance; None for both where there is nothing to be said."""
        if self.lost or self._last is None:
            return None, None
        number, predicted, after = self._last
        stats = self._stats
        result = []
        for i, expected, bound in zip(
            range(2), (stats.mean, stats.variance), (stats.mean_bound, stats.variance_bound), strict=True
        ):
            values = [after[i], expected, predicted[i]]
            if i == 1 and self._deviation:
                bound = self._plain(expected, expected, bound, bound)[3]
                values = [self._plain(one, one, one, one)[1] for one in values]
            with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
                error, added = values[0] - values[1], values[0] - values[2]
                share = np.where(error == 0, 0.0, np.abs(error) / bound)
            if not np.isfinite(error + added).any():
                result.append(None)
                continue
            at = int(np.argmax(np.where(np.isfinite(error + added) & ~np.isnan(share), share, -1.0)))
            plain = self._largest is not None and self._largest[i, at] > 0
            plain = plain and not self._layer.zero_debias and not self._deviation
            result.append(
                Accumulated(
                    channel=at,
                    since=self.since,
                    step=number,
                    error=float(error[at]),
                    bound=float(bound[at]),
                    inherited=float(values[2][at] - values[1][at]),
                    added=float(added[at]),
                    largest_step=int(self._largest_step[i, at]) if plain else None,
                    largest=float(self._largest[i, at]) if plain else None,
                )
            )
        return tuple(result)


@dataclasses.dataclass(frozen=True)
class OutputError:
    """An error of the outputs: root mean square over the values of one channel in one application, in their unit.

    Attributes:
      error, bound: of the channel, application and step where the error is largest against its bound.
      step, channel, training: where that is.
    """

    error: float
    bound: float
    step: int
    channel: int
    training: bool


class OutputErrors:
    """What outputs inherit from wrong statistics, and what the layer's own arithmetic adds; both need the epsilon.

    The output due is gamma (x - M) / sqrt(V + epsilon) + beta in real numbers, of the recorded x, gamma and beta.

    Attributes:
      inherited: `OutputError` of what is due with the observed (M, V) against what is due with the expected ones. In
        training both are the batch's own, and nothing is inherited. None if not known.
      added: `OutputError` of the recorded outputs against what is due with the observed (M, V). None if not known.
    """

    def __init__(self, epsilon):
        self._epsilon = epsilon
        self.inherited = self.added = None
        self._shares = {"inherited": -1.0, "added": -1.0}

    def add(self, number, line, expected):
        """Take a `outputfit.Line`; ``expected``: a function that gives mean, variance and bounds, or None."""
        if self._epsilon is None:
            return
        moments, gamma, beta = line.moments, line.gamma, line.beta
        mean, variance, mean_bound, variance_bound = line.due
        slope, centre, rest = line.fitted
        tiny = np.finfo(np.float64).tiny
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            own_slope, own_centre = self._due(moments, mean, variance, gamma, beta)
            # The line through the outputs and their distance from it are orthogonal, so squares add up.
            off = np.where(moments.variance > 0, slope - own_slope, 0.0)
            added = np.sqrt(off**2 * moments.variance + (centre - own_centre) ** 2 + rest**2)
            size = np.sqrt(moments.mean**2 + moments.variance) + np.abs(mean)
            rounding = line.unit * (8 * np.abs(own_slope) * size + 4 * (np.abs(centre) + np.abs(beta))) + tiny
            bound = rounding + self._spread(moments, mean, variance, mean_bound, variance_bound, gamma)
            self._take("added", added, bound, number, line)
            if line.training:
                inherited = bound = np.zeros_like(added)
            elif (known := expected()) is None:
                return
            else:
                mean, variance, mean_bound, variance_bound = (one[line.mask] for one in known)
                true_slope, true_centre = self._due(moments, mean, variance, gamma, beta)
                inherited = np.hypot((own_slope - true_slope) * np.sqrt(moments.variance), own_centre - true_centre)
                bound = self._spread(moments, mean, variance, mean_bound, variance_bound, gamma)
        self._take("inherited", inherited, bound, number, line)

    def _take(self, kind, error, bound, number, line):
        """Keep the worst channel, if it is worse than what was seen before."""
        with np.errstate(invalid="ignore", divide="ignore"):
            share = np.where(error == 0, 0.0, error / bound)
        share = np.where(np.isfinite(error), np.where(np.isnan(share), np.inf, share), -1.0)
        # Of those that are worst, the last one with the largest error.
        worst = np.flatnonzero(share == share.max())[::-1]
        at = int(worst[np.argmax(error[worst])])
        known = getattr(self, kind)
        if share[at] < 0 or (known is not None and (share[at], error[at]) <= (self._shares[kind], known.error)):
            return
        self._shares[kind] = float(share[at])
        channel = int(np.flatnonzero(line.mask)[at])
        setattr(self, kind, OutputError(float(error[at]), float(bound[at]), number, channel, line.training))

    def _due(self, moments, mean, variance, gamma, beta):
        slope = gamma / np.sqrt(variance + self._epsilon)
        return slope, slope * (moments.mean - mean) + beta

    def _spread(self, moments, mean, variance, mean_bound, variance_bound, gamma):
        """How far statistics that are off by their bounds move the output."""
        gamma = np.abs(gamma)
        steepest = gamma / np.sqrt(np.maximum(variance - variance_bound, 0) + self._epsilon)
        steep = gamma / np.sqrt(variance + self._epsilon)
        flattest = gamma / np.sqrt(variance + variance_bound + self._epsilon)
        distance = np.hypot(np.sqrt(moments.variance), moments.mean - mean)
        return steepest * mean_bound + distance * np.maximum(steepest - steep, steep - flattest)
