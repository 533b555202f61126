"""Where n updates of one step can take the statistics: in any order, in parallel, with stale reads or losses.

An update i of a race subtracts q_i (r - x_i), where x_i is its batch's mean or variance, q_i is 1 - its decay d_i, and
r what it read: what the others had made by then, or an older value. Channels are independent but for the order, so that

    in turn, in any order: x <- d_i x + q_i x_i for each i of a permutation;
    in parallel:           x0 + sum_i q_i (x_i - x0), with sum_i q_i > 1 beyond all x_i;
    stale reads, k lost:   x0 + sum_j q_i(j) (x_i(j) - r_j) over n - k of the updates, each r_j anywhere among the
                           values that j - 1 updates can have left.

Of a zero-debiased mean the averages are the biased ones, and the mean itself is what one of the updates read of them
over 1 - d^t, with a number t of updates that was read at another moment.

Orders are tried one by one for a few updates; for many of one decay, the largest and the smallest sum (each channel
sorted) bound them. The last set is bounded by interval arithmetic. docs/design/many-updates.md derives both.
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
      decays: the decay of each, float64 [n].
      bound: how far rounding can take a correct layer from each of the values below, [2, channels].
      debias: the `Debias` where the mean is zero-debiased, and "the mean" is the biased one; else None.
    """

    before: np.ndarray
    taken: np.ndarray
    decays: np.ndarray
    bound: np.ndarray
    debias: object = None

    @property
    def count(self):
        """How many updates there are."""
        return len(self.taken)

    @functools.cached_property
    def rates(self):
        """1 - decay of each, float64 [n]."""
        return 1 - self.decays

    @property
    def decay(self):
        """The decay of all of them; None if they differ."""
        return float(self.decays[0]) if (self.decays == self.decays[0]).all() else None

    def repeated(self, times):
        """`Updates` of the same batches, each ``times`` times."""
        taken, decays = (np.repeat(each, times, axis=0) for each in (self.taken, self.decays))
        return dataclasses.replace(self, taken=taken, decays=decays, bound=self.bound * times)

    def parallel(self):
        """The statistics after updates that all start from the old values, [2, channels]."""
        return self.before + np.einsum("n,ncd->cd", self.rates, self.taken - self.before)

    def in_turn(self):
        """The statistics after updates one after the other: [orders, 2, channels], for each order of a few updates."""
        orders = np.array(list(itertools.permutations(range(self.count))))
        # What the later updates of an order leave of each: the product of their decays.
        kept = np.cumprod(self.decays[orders][:, ::-1], axis=1)[:, ::-1]
        weights = np.zeros(orders.shape)
        later = np.concatenate([kept[:, 1:], np.ones((len(orders), 1))], axis=1)
        np.put_along_axis(weights, orders, self.rates[orders] * later, axis=1)
        return kept[0, 0] * self.before + np.einsum("on,ncd->ocd", weights, self.taken)

    def range_in_turn(self):
        """The smallest and the largest value after updates of one decay in any order, [2, channels] each."""
        n, decay = self.count, self.decay
        ascending, weights = np.sort(self.taken, axis=0), (1 - decay) * decay ** np.arange(n)
        kept = decay**n * self.before
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
        steps = np.sort(self.rates[:, None, None] * (self.taken - self.before), axis=0)
        rates, nothing = np.sort(self.rates), np.zeros_like(self.before)
        # How far below and above the old values a read can be, by how many updates came before it.
        lowest, highest, ranges = [nothing], [nothing], []
        for k in range(1, count + 1):
            # The largest rates, the largest of them with the farthest read (rearrangement inequality).
            read_low, read_high = (np.einsum("n,ncd->cd", rates[-k:], np.stack(reads)) for reads in (lowest, highest))
            low, high = steps[:k].sum(axis=0) - read_high, steps[-k:].sum(axis=0) - read_low
            lowest.append(np.minimum(lowest[-1], low))
            highest.append(np.maximum(highest[-1], high))
            ranges.append((self.before + low, self.before + high))
        return ranges


def updates_of(view, bessel):
    """The `Updates` of a step with a `step_view.View`, on its finite channels; None if they are no plain averages."""
    layer, decays = view.layer, view.decays
    if layer.renorm or not view.all_moments or not view.updates:
        return None
    if layer.zero_debias and not ({"biased", "local_step", "biased_after"} <= view.record.state.keys()):
        return None
    if None in decays or not all(0 < decay < 1 for decay in decays):
        return None
    if len(decays) > MOST or (bessel and view.weighted) or (layer.zero_debias and view.decay is None):
        return None
    (before, _), debias = averages_around(view), None
    if layer.zero_debias:
        debias = Debias(int(view.record.state["local_step"][0]), UNIT_ROUNDOFF[layer.dtype])
    unit, decays = UNIT_ROUNDOFF[layer.dtype], np.array(decays, np.float64)
    taken, bound = [], 0.0
    for moments, decay in zip(view.moments, decays, strict=True):
        stats = checker.MovingStats(
            *before,
            decay=float(decay),
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
    sizes = np.abs(before) + np.einsum("n,ncd->cd", 1 - decays, np.abs(taken - before))
    return Updates(before, taken, decays, bound + 4 * unit * len(taken) * sizes, debias)


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
