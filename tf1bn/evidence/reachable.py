"""Where n updates of one step can take the statistics: in any order, in parallel, with stale reads or losses.

An update i of a race subtracts (1 - d)(r - x_i), where x_i is its batch's mean or variance and r what it read: what
the others had made by then, or an older value. Channels are independent but for the order, so that

    in turn, in any order: d^n x0 + (1 - d) sum_k d^k x_p(k), p a permutation;
    in parallel:           x0 + (1 - d) sum_i (x_i - x0), with n (1 - d) > 1 beyond all x_i;
    stale reads, k lost:   x0 + (1 - d) sum_j (x_i(j) - r_j) over n - k of the updates, each r_j anywhere among the
                           values that j - 1 updates can have left.

Of a zero-debiased mean the averages are the biased ones, and the mean itself is what one of the updates read of them
over 1 - d^t, with a number t of updates that was read at another moment.

Orders are tried one by one for a few updates; for many, the largest and the smallest sum (each channel sorted) bound
them. The last set is bounded by interval arithmetic. docs/design/many-updates.md derives both.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math

import numpy as np

from .. import checker
from ..checker.roundoff import UNIT_ROUNDOFF

TRIED = 6  # updates whose orders are tried one by one: 720
MOST = 64


@dataclasses.dataclass(frozen=True)
class Debias:
    """What zero debias divides by.

    Attributes:
      before: how many updates were counted before the step.
      unit: the unit roundoff of the statistics.
    """

    before: int
    unit: float


@dataclasses.dataclass(frozen=True, eq=False)
class Updates:
    """The updates of one step of one layer, as far as its statistics depend on them.

    Attributes:
      before: the statistics before, float64 [2, channels].
      taken: what each update averages, float64 [n, 2, channels].
      decay: the decay of each.
      bound: how far rounding can take a correct layer from each of the values below, [2, channels].
      debias: the `Debias` where the mean is zero-debiased, and "the mean" is the biased one; else None.
    """

    before: np.ndarray
    taken: np.ndarray
    decay: float
    bound: np.ndarray
    debias: object = None

    @property
    def count(self):
        """How many updates there are."""
        return len(self.taken)

    @functools.cached_property
    def rate(self):
        """1 - decay."""
        return 1 - self.decay

    def repeated(self, times):
        """`Updates` of the same batches, each ``times`` times."""
        taken = np.repeat(self.taken, times, axis=0)
        return dataclasses.replace(self, taken=taken, bound=self.bound * times)

    def parallel(self):
        """The statistics after updates that all start from the old values, [2, channels]."""
        return self.before + self.rate * (self.taken - self.before).sum(axis=0)

    def in_turn(self):
        """The statistics after updates one after the other: [orders, 2, channels], for each order of a few updates."""
        n = self.count
        weights = self.rate * self.decay ** np.arange(n)
        orders = np.array(list(itertools.permutations(range(n))))
        return self.decay**n * self.before + np.einsum("on,ncd->ocd", weights[orders], self.taken)

    def range_in_turn(self):
        """The smallest and the largest value after updates one after the other in any order, [2, channels] each."""
        n = self.count
        ascending, weights = np.sort(self.taken, axis=0), self.rate * self.decay ** np.arange(n)
        kept = self.decay**n * self.before
        # The largest sum pairs the largest values with the largest weights (rearrangement inequality).
        return tuple(kept + np.einsum("n,ncd->cd", order, ascending) for order in (weights, weights[::-1]))

    def range_of_race(self, lost=0):
        """The smallest and the largest value after a race in which ``lost`` updates are lost, [2, channels] each."""
        return self._ranges_of_race(self.count - lost)[-1]

    def range_of_debiased(self):
        """The smallest and the largest zero-debiased mean after a race, and the bound of rounding, [channels] each."""
        ranges = self._ranges_of_race(self.count)
        low, high = (pick([each[i][0] for each in ranges], axis=0) for i, pick in ((0, np.min), (1, np.max)))
        first, last = self.debias.before + 1, self.debias.before + self.count
        divisors = 1 - self.decay**first, 1 - self.decay**last
        low, high = (
            pick([end / divisor for divisor in divisors], axis=0) for end, pick in ((low, np.min), (high, np.max))
        )
        size = np.maximum(np.abs(low), np.abs(high))
        return low, high, self.bound[0] / divisors[0] + 8 * self.debias.unit * size

    def _ranges_of_race(self, count):
        """The smallest and the largest value after 1, 2, ... ``count`` updates of a race."""
        ascending = np.sort(self.taken, axis=0)
        low = high = lowest = highest = self.before
        ranges = []
        least = most = read_low = read_high = np.zeros_like(self.before)
        for k in range(count):
            least, most = least + ascending[k], most + ascending[self.count - 1 - k]
            read_low, read_high = read_low + lowest, read_high + highest
            low, high = self.before + self.rate * (least - read_high), self.before + self.rate * (most - read_low)
            lowest, highest = np.minimum(lowest, low), np.maximum(highest, high)
            ranges.append((low, high))
        return ranges


def updates_of(view, bessel):
    """The `Updates` of a step with a `step_view.View`, on its finite channels; None if they are no plain averages."""
    layer, decay = view.layer, view.decay
    if layer.renorm or not view.all_moments or not view.updates:
        return None
    if layer.zero_debias and not ({"biased", "local_step", "biased_after"} <= view.record.state.keys()):
        return None
    if decay is None or not 0 < decay < 1 or len(view.updates) > MOST or (bessel and view.weighted):
        return None
    (before, _), debias = averages_around(view), None
    if layer.zero_debias:
        debias = Debias(int(view.record.state["local_step"][0]), UNIT_ROUNDOFF[layer.dtype])
    unit, rate = UNIT_ROUNDOFF[layer.dtype], 1 - decay
    taken, bound = [], 0.0
    for moments in view.moments:
        stats = checker.MovingStats(
            *before,
            decay=decay,
            bessel=bessel,
            dtype=layer.dtype,
            rate_dtype=layer.rate_dtype,
            recurrence=layer.known_recurrence,
            variance_from=layer.variance_from,
        )
        stats.update(moments)
        factor = moments.count / (moments.count - 1) if bessel and moments.count > 1 else 1.0
        taken.append(np.stack([moments.mean, moments.variance * factor]))
        bound = bound + np.stack([stats.mean_bound, stats.variance_bound])
    taken = np.stack(taken)
    # What the partial sums of several updates round away, beside what each of them does alone.
    sizes = np.abs(before) + rate * np.abs(taken - before).sum(axis=0)
    return Updates(before, taken, decay, bound + 4 * unit * len(taken) * sizes, debias)


def averages_around(view):
    """The averages that the updates of a `step_view.View` change, before and after, [2, finite channels] each.

    They are the statistics, or the biased mean and the moving variance where the mean is zero-debiased.
    """
    before, after = view.around
    if not view.layer.zero_debias:
        return before, after
    biased = (view.record.state[name].astype(np.float64)[view.finite] for name in ("biased", "biased_after"))
    return tuple(np.stack([mean, each[1]]) for mean, each in zip(biased, (before, after), strict=True))


def excess(observed, low, high, bound):
    """How far values lie outside of an interval, in units of the bound: the largest; inf where it is not a number."""
    with np.errstate(invalid="ignore", divide="ignore"):
        outside = np.maximum(np.maximum(low - observed, observed - high), 0) / np.maximum(bound, 1e-300)
    largest = float(np.max(outside))
    return math.inf if math.isnan(largest) else largest
