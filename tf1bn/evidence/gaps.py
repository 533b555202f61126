"""What happened to a layer's statistics between one recorded step and the next.

A trace is without gaps where the statistics before a step are, bit for bit, those after the one before it, or where it
says that it left out steps there. In a gap something changed them that was not recorded; `Gaps` looks for what the
numbers tell about it. Vectors only are kept.
"""

from __future__ import annotations

import array
import dataclasses
import functools
import math

import numpy as np

from .. import checker
from ..checker.comparison import fingerprints

START, BACK, EARLIER = "start", "back", "earlier"
AGAIN, UPDATES, OTHER = "again", "updates", "other"
MOST_STATES = 16_384  # states that are remembered of a layer, the last ones
MOST_REPEATS = 3  # of one batch in one gap
CLEAR = 0.5  # the share of the squared change that updates towards the recorded batches must explain


def at_start(statistics):
    """Whether mean and variance, [2, channels], are those of a new layer: 0 and 1."""
    return bool((statistics[0] == 0).all() and (statistics[1] == 1).all())


class EarlierStates:
    """A fingerprint of 64 bits of the statistics after each step; two states have the same by chance in 1 of 10^19."""

    def __init__(self):
        self._numbers, self._fingerprints = array.array("q"), array.array("Q")

    def add(self, numbers, states):
        """Take the statistics after some steps, float64 [2, steps, channels], and the numbers of these."""
        self._numbers.extend(numbers)
        self._fingerprints.frombytes(self._fingerprints_of(states).tobytes())
        if len(self._numbers) > 2 * MOST_STATES:
            del self._numbers[:-MOST_STATES], self._fingerprints[:-MOST_STATES]

    def find(self, state):
        """The number of the last step that made these statistics, float64 [2, channels]; None if none did.

        Of several steps in a row that left them as they are, it is the first.
        """
        (fingerprint,) = self._fingerprints_of(state[:, None]).tolist()
        same = np.frombuffer(self._fingerprints, np.uint64) == np.uint64(fingerprint)
        # Where a run of equal states begins.
        begins = np.flatnonzero(same & ~np.append(False, same[:-1]))
        return self._numbers[int(begins[-1])] if begins.size else None

    def _fingerprints_of(self, states):
        """The sum of all numbers' bits, each times an odd number of its own, modulo 2^64: uint64 [steps]."""
        return fingerprints(states, _weights(states.shape[2]))


@functools.lru_cache(maxsize=64)
def _weights(channels):
    """Odd numbers that look random, uint64 [2, channels]: SplitMix64, since NumPy's take 20 ms to import."""
    with np.errstate(over="ignore"):
        bits = np.arange(1, 2 * channels + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            bits = (bits ^ (bits >> np.uint64(shift))) * np.uint64(factor)
    return ((bits ^ (bits >> np.uint64(31))) | np.uint64(1)).reshape(2, channels)


@dataclasses.dataclass(frozen=True)
class Gap:
    """The statistics changed before the step with this number.

    Attributes:
      step: the number.
      kind: "start": to (0, 1); "back": to what they were before the first step; "earlier": to what an earlier step
        left; "again": as by further updates with the batch of the step before; "updates": towards the batches of the
        recorded steps; "other": none of these.
      count: with "again" how many times, with "updates" about how many updates of the layer's decay; None if not known.
      share: with "updates" the share of the way to the batches; None otherwise.
      earlier: with "earlier" the number of the step that left these statistics; None otherwise.
    """

    step: int
    kind: str
    count: float | None = None
    share: float | None = None
    earlier: int | None = None


class Gaps:
    """The gaps of one layer.

    Args:
      layer: the `trace.Layer`.
      conventions: the variance conventions to try, as booleans for Bessel's correction.

    Attributes:
      found: the `Gap` of each step before which the statistics changed.
      followed: how many steps came next after a training step that moved the statistics.
    """

    def __init__(self, layer, conventions):
        self._layer, self._conventions = layer, conventions
        self._first = self._after = self._decay = self._batch = None
        self.found, self.followed = [], 0
        self._moved = False
        self._states = EarlierStates()

    def add(self, number, view):
        """Take a step, as `step_view.View`."""
        self.followed += self._moved and not view.left_out
        self._moved = bool(view.updates) and not view.unmoved
        if self._first is None:
            self._first = view.before
        elif not view.left_out and not np.array_equal(self._after, view.before, equal_nan=True):
            self.found.append(self._gap(number, view))
        self._after, self._decay = view.after, view.decay
        self._states.add([number], view.after[:, None])
        self._batch = _batch_of(view)

    def continued_by(self, before):
        """Whether a step that starts from these statistics, float64 [2, channels], follows without a gap."""
        return self._after is not None and np.array_equal(self._after, before)

    def add_block(self, block):
        """Take the training steps of a `StepBlock` without a gap before any of them."""
        self.followed += self._moved + int((~block.unmoved[:-1]).sum())
        self._moved = not block.unmoved[-1]
        self._after, self._decay = block.after[:, -1], block.decay
        self._states.add(block.numbers, block.after)
        self._batch = checker.Moments(block.count, block.mean[-1], block.variance[-1])

    def _gap(self, number, view):
        after, before = self._after, view.before
        if at_start(before):
            return Gap(number, START)
        if np.array_equal(before, self._first):
            return Gap(number, BACK)
        if (earlier := self._states.find(before)) is not None:
            return Gap(number, EARLIER, earlier=earlier)
        batches = [batch for batch in (self._batch, _batch_of(view)) if batch is not None]
        if not batches or not np.isfinite(after).all() or not np.isfinite(before).all():
            return Gap(number, OTHER)
        decay = self._decay if self._decay is not None else view.decay
        if self._batch is not None and decay is not None and not _same(batches):
            times = self._times_again(after, before, decay)
            if times:
                return Gap(number, AGAIN, times)
        return self._towards(number, after, before, batches, decay)

    def _times_again(self, after, before, decay):
        """How many further updates with the last batch make the change; 0 if none of a few numbers does."""
        if self._layer.renorm or self._layer.zero_debias:
            return 0
        for bessel in self._conventions:
            if bessel and self._batch.weight != self._batch.count:
                continue
            stats = checker.MovingStats(
                *after,
                decay=decay,
                bessel=bessel,
                dtype=self._layer.dtype,
                recurrence=self._layer.known_recurrence,
                variance_from=self._layer.variance_from,
            )
            for times in range(1, MOST_REPEATS + 1):
                stats.update(self._batch)
                if stats.compare(*before).ok:
                    return times
        return 0

    def _towards(self, number, after, before, batches, decay):
        """The gap as updates towards the batches around it, if these explain most of the change."""
        mean, variance = (np.mean([getattr(each, name) for each in batches], axis=0) for name in ("mean", "variance"))
        finite = np.isfinite(mean) & np.isfinite(variance) & (variance > 0)
        if not finite.any():
            return Gap(number, OTHER)
        # Mean and variance in units of the batch's deviation and variance count alike.
        m, v, a0, b0, a1, b1 = (values[finite] for values in (mean, variance, *after, *before))
        way = np.concatenate([(m - a0) / np.sqrt(v), 1 - b0 / v])
        moved = np.concatenate([(a1 - a0) / np.sqrt(v), (b1 - b0) / v])
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            share = float(way @ moved / (way @ way))
            left = float(((moved - share * way) ** 2).sum() / (moved @ moved))
        if not (0 < share <= 1.05 and left <= 1 - CLEAR):
            return Gap(number, OTHER)
        count = None
        if decay is not None and 0 < decay < 1 and share < 0.98:
            count = math.log1p(-share) / math.log(decay)
        return Gap(number, UPDATES, count, min(share, 1.0))


def _batch_of(view):
    """The `Moments` of the one batch that a step trains with; None if it trains with none or with several."""
    if len(view.updates) != 1 or not view.all_moments:
        return None
    moments = view.update_moments[0]
    return moments if moments.count else None


def _same(batches):
    """Whether two batches have the same moments, so that no numbers tell them apart."""
    return len(batches) == 2 and all(
        np.array_equal(getattr(batches[0], name), getattr(batches[1], name)) for name in ("mean", "variance")
    )
