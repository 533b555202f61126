"""Moments with one weight for each item of a batch, as the ``batch_weights`` of TensorFlow's layer asks for."""

from __future__ import annotations

import math
import numbers
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .._native import moments as _native
from .accumulation import Accumulation, accumulated, is_small, reader

_LARGE = 900  # weights with larger exponents are scaled: else their sum, or a power of two, might be infinite
_READ = (np.dtype(np.float64), np.dtype(np.float32))  # read by the extension


class Weights(NamedTuple):
    """One weight for each item, [items], the least and the largest, and numbers whose exact sum is theirs."""

    values: npt.NDArray[np.float64] | npt.NDArray[np.float32]
    least: float
    largest: float
    sums: list[float]


def checked_weights(weights, items):
    """The `Weights` of a batch of so many items.

    Raises:
      TypeError: the weights are not real numbers.
      ValueError: there is not one for each item, or one of them is negative, NaN or infinite.
    """
    try:
        array = np.asarray(weights)
    except ValueError as error:
        raise TypeError(f"`weights` cannot be turned into an array: {error}") from error
    if array.dtype.kind not in "iuf" and array.size:
        raise TypeError(f"`weights` has dtype {array.dtype}; it must hold real numbers.")
    if array.shape != (items,):
        raise ValueError(
            f"`weights` has shape {array.shape}; it must have shape {(items,)}, one weight for each item of axis 0."
        )
    # Others are converted, to float32 if it holds all of them.
    dtype = np.promote_types(array.dtype, np.float32) if array.dtype.kind in "iuf" else None
    array = np.require(array, dtype if dtype in _READ else np.float64, ["C", "A"])
    least, largest, sums = _native.survey_weights(array)
    if least < 0 or not math.isfinite(sum(sums)):
        infinite = array[~np.isfinite(array)]
        if infinite.size:
            raise ValueError(f"`weights` holds {infinite[0]}; every weight must be finite.")
        if least < 0:
            raise ValueError(f"`weights` holds {least}; no weight may be negative.")
    return Weights(array, least, largest, sums)


def checked_weight(weight, count):
    """The weight of all elements of moments that the caller gives, as a float.

    Raises:
      TypeError: it is not a number.
      ValueError: it is negative, NaN or infinite, or it is not 0 although the count is 0.
    """
    if isinstance(weight, bool) or not isinstance(weight, numbers.Real):
        raise TypeError(f"`weight` is {weight!r}; it must be None or a number.")
    if not 0 <= weight < math.inf:
        raise ValueError(f"`weight` is {weight!r}; it must be finite and not negative.")
    if count == 0 and weight != 0:
        raise ValueError(f"`weight` is {weight!r} and `count` is 0; nothing has no weight.")
    return float(weight)


def weighted_state(array, data_format, weights, threads, progress):
    """Count, weight and state [4, channels] of an array whose items, along axis 0, have weights.

    Every element of an item has the item's weight, as in TensorFlow's weighted moments. Items of weight 0 count for
    nothing but values that are not finite.

    Args:
      array: as `arguments.checked_batch` returns it; weights: its `Weights`.
      threads: how many, or None; progress: a `Progress`, which counts elements.

    Raises:
      ValueError: the weights of all elements together are infinite.
    """
    scaled = 0
    if abs(math.frexp(weights.largest)[1]) > _LARGE:
        scaled = math.frexp(weights.largest)[1]
        values = np.ldexp(weights.values, -scaled)
        weights = Weights(values, *_native.survey_weights(values))
    # To at most 1 by a power of two, so that neither a sum of weights nor one of weighted squares overflows.
    factor = math.ldexp(1.0, -math.frexp(weights.largest)[1])
    if array.size == 0 or weights.least == weights.largest > 0:
        count, state = accumulated(Accumulation(array, data_format), threads, progress)
    elif is_small(array):
        count, state = _small_state(reader(array, data_format, weights.values, factor))
        progress.add(array.size, report=True)
    else:
        accumulation = _WeightedAccumulation(array, data_format, weights.values, factor)
        count, state = accumulated(accumulation, threads, progress)
    try:
        weight = math.ldexp(math.fsum(weights.sums) * (count / max(1, len(weights.values))), scaled)
    except OverflowError:
        largest = math.ldexp(weights.largest, scaled)
        raise ValueError(
            f"`weights` reaches {largest}, and all elements together have no finite weight; scale all of them."
        ) from None
    return count, weight, state


def _small_state(batch):
    """Count and state [4, channels] of a `Batch` that is not cut; a `_WeightedAccumulation` has the same, but later."""
    state, poison = np.empty((4, batch.channels)), np.zeros(batch.channels)
    if batch.accumulate_weighted(state, poison, 0, batch.rows)[0] == 0:
        state.fill(np.nan)
    _poison(state, poison)
    return batch.count, state


def _poison(state, poison):
    """Make the channels NaN of which `poison` [channels] says so."""
    if poison.any():
        with np.errstate(invalid="ignore"):  # which a signaling NaN of the batch would raise
            state[0::2] += poison


class _WeightedAccumulation(Accumulation):
    """The same of an array whose items have weights; a part that weighs nothing leaves its state undefined."""

    def __init__(self, array, data_format, weights, factor):
        super().__init__(array, data_format, weights, factor)
        # By the first channel and row of a part: what it weighs, and NaN for channels that nothing can make finite.
        self._weighed = {}

    def _job(self, state, first, rows, band, channel):
        poison, high, low = np.zeros(state.shape[1]), 0.0, 0.0
        for done in range(0, rows, band):
            count = min(band, rows - done)
            high, low = self._batch.accumulate_weighted(state, poison, first + done, count, channel, high, low)
            self._weighed[channel, first] = high, poison
            yield count * state.shape[1] * (self._batch.count // self._batch.rows)

    def state(self):
        merged = np.empty((4, self._channels))
        for (channel, width), parts in zip(self._slabs, self._states, strict=True):
            state, total, poison = np.full((4, width), np.nan), 0.0, np.zeros(width)
            for part, (first, _) in zip(parts, self._segments, strict=True):
                weight, part_poison = self._weighed[channel, first]
                poison += part_poison
                large, small = (state, part) if total >= weight else (part, state)
                if min(weight, total) > 0:
                    _native.merge_states(large, small, min(weight, total) / (weight + total))
                state, total = large, total + weight
            _poison(state, poison)
            merged[:, channel : channel + width] = state
        return merged
