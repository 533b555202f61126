"""Moments with one weight for each item of a batch, as the ``batch_weights`` of TensorFlow's layer asks for."""

from __future__ import annotations

import math
import numbers

import numpy as np

from .._native import moments as _native

_ROWS = 4096  # merged between two checks for Ctrl-C


def checked_weights(weights, items):
    """The weights as an array [items] of float64.

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
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"`weights` holds {array[~np.isfinite(array)][0]}; every weight must be finite.")
    if (array < 0).any():
        raise ValueError(f"`weights` holds {array.min()}; no weight may be negative.")
    return array


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


def weighted_state(array, weights, channels, unweighted, progress):
    """Count, weight and state [4, channels] of an array whose items, along axis 0, have weights.

    Every element of an item has the item's weight, as in TensorFlow's weighted moments. Neighbours of equal weight
    are one part; parts are merged by their weights (Chan, Golub and LeVeque's update for weighted data). Items of
    weight 0 are only searched for values that are not finite.

    Args:
      array: float16, float32 or float64, of any layout; weights: [items] float64, finite, none negative.
      channels: how many channels the array has.
      unweighted: a function that returns count and state of a part of the array.
      progress: a `Progress`, which counts elements.

    Raises:
      ValueError: the weights of all elements together are infinite.
    """
    items = array.shape[0]
    count = array.size // channels
    state = np.full((4, channels), np.nan)
    if count == 0:
        return 0, 0.0, state
    # By a power of two, so that no sum of weights overflows.
    largest = float(weights.max())
    exponent = math.frexp(largest)[1]
    weights = np.ldexp(weights, -exponent)
    ends = [*(np.flatnonzero(np.diff(weights)) + 1).tolist(), items]
    # NaN for the channels in which an item of weight 0 is not finite.
    poison = np.zeros(channels)
    total = _Total()
    if array.ndim == 2 and 64 * len(ends) > items:
        # Runs are short and an item is one element per channel: merged one by one in the extension.
        batch = _native.Batch(array)
        for first in range(0, items, _ROWS):
            part = weights[first : first + _ROWS]
            total.high, total.low = batch.accumulate_weighted(state, poison, part, first, total.high, total.low)
            progress.add(part.size * channels, report=True)
    else:
        for first, end in zip([0, *ends], ends, strict=False):
            part_count, part = unweighted(array[first:end])
            if weights[first] == 0:
                poison += np.where(np.isfinite(part[0]), 0.0, np.nan)
            else:
                state = total.merge(state, part, float(weights[first]) * part_count)
    with np.errstate(invalid="ignore"):  # which a signaling NaN of the batch would raise
        state[0] += poison
        state[2] += poison
    try:
        weight = math.ldexp(total.high, exponent)
    except OverflowError:
        raise ValueError(
            f"`weights` reaches {largest}, and all elements together have no finite weight; scale all of them."
        ) from None
    return count, weight, state


class _Total:
    """A sum of weights with its low-order word, of what has been merged so far."""

    def __init__(self):
        self.high = self.low = 0.0

    def merge(self, state, part, weight):
        """Merge the state of a part with this weight; returns the result, which is one of the two."""
        if self.high == 0:
            merged = part
        elif weight <= self.high:
            merged = state
            _native.merge_states(state, part, weight / (self.high + weight))
        else:
            merged = part
            _native.merge_states(part, state, self.high / (self.high + weight))
        # Knuth's two-sum.
        high = self.high + weight
        rest = high - self.high
        low = (self.high - (high - rest)) + (weight - rest) + self.low
        self.high = high + low
        self.low = low - (self.high - high)
        return merged
