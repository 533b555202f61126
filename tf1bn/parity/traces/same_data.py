"""Whether a layer gets the same inputs in two runs."""

from __future__ import annotations

import math
import typing

import numpy as np

from ...evidence.step_view import View
from ..matching import CLOSE, moments_distance

BLOCK = 2**18  # elements that are compared at a time
SAME_MOMENTS = 1e-9  # largest distance of equal moments that were written in float64, in standard deviations


class InputComparison(typing.NamedTuple):
    """How NEW's inputs of a layer in one step compare with OLD's.

    Attributes:
      state: "bitwise"; "moments" (the moments are the same, the values were not recorded); "close" (to `CLOSE`); or
        "different".
      error: the distance in standard deviations of OLD's inputs; inf where they cannot be compared.
      reason: why they cannot be compared; None if they can.
    """

    state: str
    error: float
    reason: str | None = None


class SameData:
    """Whether a layer gets the same inputs in both runs, step by step.

    Attributes:
      first: the `InputComparison` of the first step that both runs hold; None before it.
      first_step: the number of that step.
      later: None, or the first later step with different inputs: its number and its `InputComparison`.
      bitwise: whether the inputs of all steps are equal bit for bit.
    """

    def __init__(self):
        self.first = self.first_step = self.later = None
        self.bitwise = True

    def add(self, step, old, new):
        """Take the records of a step."""
        comparison = compare_inputs(old, new)
        self.bitwise &= comparison.state == "bitwise"
        if self.first is None:
            self.first, self.first_step = comparison, step
        elif comparison.state == "different" and self.later is None:
            self.later = step, comparison


def channels_last(array, record):
    """An input or output of a `Record` with the channels, on the axis that its layer declares, as the last axis."""
    return np.moveaxis(array, record.layer.channel_axis, -1)


def has_axis(array, axis):
    """Whether an array has an axis of this number, which counts from the end where it is negative."""
    return -array.ndim <= axis < array.ndim


def blocks(*arrays):
    """Arrays of one shape, channels last, some rows at a time: as [elements, channels] in float64."""
    shape = arrays[0].shape
    size = max(1, BLOCK // max(1, math.prod(shape[1:])))
    for start in range(0, shape[0] if arrays[0].size else 0, size):
        yield [array[start : start + size].reshape(-1, shape[-1]).astype(np.float64) for array in arrays]


def distance(old, new):
    """The largest root mean square over channels of ``new - old``, channels last, in standard deviations of ``old``.

    0.0 means that they are equal, NaN in the same places included.
    """
    if not old.size:
        return 0.0
    channels = old.shape[-1]
    total, sums, squares, equal = np.zeros(channels), np.zeros(channels), np.zeros(channels), True
    shift = old[:1].reshape(-1, channels)[:1].astype(np.float64)
    for old_rows, new_rows in blocks(old, new):
        if np.array_equal(old_rows, new_rows, equal_nan=True):
            difference = np.zeros_like(old_rows)
        else:
            equal = False
            with np.errstate(invalid="ignore"):
                difference = old_rows - new_rows
        with np.errstate(invalid="ignore", over="ignore"):
            total += np.square(difference).sum(axis=0)
            sums += (old_rows - shift).sum(axis=0)
            squares += np.square(old_rows - shift).sum(axis=0)
    if equal:
        return 0.0
    count = old.size / channels
    with np.errstate(invalid="ignore", divide="ignore"):
        deviation = np.sqrt(np.maximum(squares / count - np.square(sums / count), 0))
        scale = np.maximum(deviation, 1e-6 * np.abs(shift)) + np.finfo(np.float64).tiny
        result = np.sqrt(total / count) / scale
    return float(np.max(np.where(np.isnan(result), np.inf, result)))


def compare_inputs(old, new, axis=None):
    """The `InputComparison` of two records of a layer.

    Args:
      old, new: `Record`.
      axis: that of NEW's channels, instead of the declared one.
    """
    if old.applications != new.applications:
        return _different(f"OLD applies it {old.applications} times and NEW {new.applications} times")
    if old.inputs is None or new.inputs is None:
        return _compare_moments(View(old).all_moments or (), View(new).all_moments or ())
    error = 0.0
    axes = old.layer.channel_axis, new.layer.channel_axis if axis is None else axis
    for old_input, new_input in zip(old.inputs, new.inputs, strict=True):
        if new_input.ndim != old_input.ndim:
            return _different(f"the ranks are {old_input.ndim} and {new_input.ndim}")
        for run, array, channels in zip(("OLD", "NEW"), (old_input, new_input), axes, strict=True):
            if not has_axis(array, channels):
                return _different(f"{run} declares axis {channels} for the channels of an input of rank {array.ndim}")
        old_input, new_input = (
            np.moveaxis(array, channels, -1) for array, channels in zip((old_input, new_input), axes, strict=True)
        )
        if old_input.shape != new_input.shape:
            return _different(f"the shapes, channels last, are {old_input.shape} and {new_input.shape}")
        error = max(error, distance(old_input, new_input))
    return InputComparison("bitwise" if error == 0 else "close" if error <= CLOSE else "different", error)


def _compare_moments(old, new):
    error = 0.0
    for old_moments, new_moments in zip(old, new, strict=False):
        if old_moments.count != new_moments.count or old_moments.mean.shape != new_moments.mean.shape:
            return _different(f"the values per channel are {old_moments.count} and {new_moments.count}")
        error = max(error, moments_distance(old_moments, new_moments))
    state = "moments" if error <= SAME_MOMENTS else "close" if error <= CLOSE else "different"
    return InputComparison(state, error)


def _different(reason):
    return InputComparison("different", math.inf, reason)
