"""Whether a layer gets the same inputs in two runs."""

from __future__ import annotations

import math
import typing

import numpy as np

from ...evidence.step_view import View
from ..layer_pairs import CLOSE, moments_distance

BLOCK = 2**18  # elements that are compared at a time
# Standard deviations. Two trainings that drift apart by rounding stay below in a first layer, other batches do not.
OTHER_DATA = 0.1
# Of numbers that a layer of half precision gives, in its unit roundoff: one of the input, those of the weights, and
# those of sums and products over a few layers. Other data is further off by a factor of 20.
HALF_ROUNDINGS = 16
SAME_MOMENTS = 1e-9  # largest distance of equal moments that were written in float64, in standard deviations
SAME_PARTS = 1e-5  # the same for merged moments, which chance can bring closer than others


class InputComparison(typing.NamedTuple):
    """How NEW's inputs of a layer in one step compare with OLD's.

    Attributes:
      state: "bitwise"; "moments" (the moments are the same, the values were not recorded); "close" (to `CLOSE`, or to
        the rounding of half precision where one of the two holds float16 or bfloat16 numbers); or "different".
      error: the distance in standard deviations of OLD's inputs; inf where they cannot be compared.
      reason: why they cannot be compared; None if they can.
      half: the unit roundoff of half precision where one of the two holds only such numbers; else 0.0.
      rounding: how far apart, in standard deviations, a unit roundoff of 1 may bring them.
      seen: whether the records show how they compare; moments over other axes of the same values do not.
    """

    state: str
    error: float
    reason: str | None = None
    half: float = 0.0
    rounding: float = 0.0
    seen: bool = True


class SameData:
    """Whether a layer gets the same inputs in both runs, step by step.

    Attributes:
      first: the `InputComparison` of the first step that both runs hold; None before it.
      first_step: the number of that step.
      later: None, or the first later step with different inputs: its number and its `InputComparison`.
      other: None, or the same for the first later step whose inputs are further apart than `OTHER_DATA`.
      other_steps: how many such steps there are.
      bitwise: whether the inputs of all steps are equal bit for bit; same: whether they are, or differ by rounding.
    """

    def __init__(self):
        self.first = self.first_step = self.later = self.other = None
        self.other_steps = 0
        self.bitwise = self.same = True

    def add(self, step, old, new):
        """Take the records of a step."""
        comparison = compare_inputs(old, new)
        self.bitwise &= comparison.state == "bitwise"
        self.same &= comparison.state != "different"
        if self.first is None:
            self.first, self.first_step = comparison, step
            return
        if comparison.state == "different" and comparison.seen:
            self.later = self.later or (step, comparison)
            if not comparison.error <= OTHER_DATA:
                self.other = self.other or (step, comparison)
                self.other_steps += 1


def aligned(old, new):
    """Two arrays, channels last, without axes of size 1 where these alone tell their shapes apart.

    Contrib's fused layer records [N, 1, 1, C] of an input [N, C].
    """
    if old.shape == new.shape:
        return old, new
    squeezed = [
        array.reshape([size for size in array.shape[:-1] if size != 1] + [array.shape[-1]]) for array in (old, new)
    ]
    return squeezed if squeezed[0].shape == squeezed[1].shape else (old, new)


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
    error = half = rounding = 0.0
    axes = old.layer.channel_axis, new.layer.channel_axis if axis is None else axis
    for old_input, new_input in zip(old.inputs, new.inputs, strict=True):
        for run, array, channels in zip(("OLD", "NEW"), (old_input, new_input), axes, strict=True):
            if not has_axis(array, channels):
                return _different(f"{run} declares axis {channels} for the channels of an input of rank {array.ndim}")
        old_input, new_input = (
            np.moveaxis(array, channels, -1) for array, channels in zip((old_input, new_input), axes, strict=True)
        )
        old_input, new_input = aligned(old_input, new_input)
        if old_input.ndim != new_input.ndim:
            return _different(f"the ranks are {old_input.ndim} and {new_input.ndim}")
        if old_input.shape != new_input.shape:
            return _different(f"the shapes, channels last, are {old_input.shape} and {new_input.shape}")
        apart = distance(old_input, new_input)
        if apart > 0:
            half = max(half, *map(_half_unit, (old_input, new_input)))
        if apart > CLOSE:
            rounding = max(rounding, _rounding(old_input))
        error = max(error, apart)
    state = "bitwise" if error == 0 else "close" if error <= max(CLOSE, half * rounding) else "different"
    return InputComparison(state, error, half=half, rounding=rounding)


def _rounding(inputs):
    """How far a unit roundoff of 1 may move inputs, channels last, in standard deviations."""
    size, count, total = np.zeros(inputs.shape[-1]), 0, np.zeros(inputs.shape[-1])
    with np.errstate(invalid="ignore", over="ignore"):
        for (rows,) in blocks(inputs):
            size, total, count = size + np.square(rows).sum(axis=0), total + rows.sum(axis=0), count + len(rows)
        variance = size / count - np.square(total / count)
        share = np.sqrt(size / count) / np.sqrt(np.maximum(variance, np.finfo(np.float64).tiny))
    share = share[np.isfinite(share) & (variance > 1e-12 * size / count)]
    return HALF_ROUNDINGS * float(share.max(initial=0.0))


def _half_unit(array):
    """The unit roundoff of half precision if all values of an array are such numbers; else 0.0."""
    for unit, is_number in ((2.0**-11, _is_float16), (2.0**-8, _is_bfloat16)):
        if all(is_number(rows).all() for (rows,) in blocks(array)):
            return unit
    return 0.0


def _is_float16(values):
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return values.astype(np.float16).astype(np.float64) == values


def _is_bfloat16(values):
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        wide = values.astype(np.float32)
    return (wide == values) & ((wide.view(np.uint32) & np.uint32(0xFFFF)) == 0)


def _compare_moments(old, new):
    error = 0.0
    for old_moments, new_moments in zip(old, new, strict=False):
        old_channels, new_channels = old_moments.mean.size, new_moments.mean.size
        if old_channels != new_channels and old_moments.count * old_channels == new_moments.count * new_channels:
            reason = f"the recorded moments are of {old_channels} and of {new_channels} channels"
            return InputComparison("different", math.inf, reason, seen=False)
        if old_moments.count != new_moments.count or old_channels != new_channels:
            return _different(f"the values per channel are {old_moments.count} and {new_moments.count}")
        error = max(error, moments_distance(old_moments, new_moments))
    state = "moments" if error <= SAME_MOMENTS else "close" if error <= CLOSE else "different"
    return InputComparison(state, error)


def _different(reason):
    return InputComparison("different", math.inf, reason)


def micro_batches(old, new, pairs):
    """Into how many parts NEW splits the first batch of OLD, one for each of its steps; 1 if it does not.

    Args:
      old, new: the traces.
      pairs: the `LayerPair`s; the first of them that OLD's first training step holds is looked at.
    """
    record = name = None
    for step in old:
        found = next((pair for pair in pairs if pair.old in step.layers and step.layers[pair.old].training[0]), None)
        if found is not None:
            record, name = step.layers[found.old], found.new
            break
    whole = _single_moments(record)
    if whole is None:
        return 1
    parts, taken = [], 0
    for step in new:
        part = step.layers.get(name)
        moments = _single_moments(part)
        if moments is None or not part.training[0]:
            break
        parts.append(part)
        taken += moments.count
        if taken >= whole.count:
            break
    if taken != whole.count or len(parts) < 2:
        return 1
    return len(parts) if _are_parts(record, whole, parts) else 1


def _single_moments(record):
    """The `Moments` of a record that has one unweighted application; None for any other."""
    if record is None or record.applications != 1 or record.weights is not None:
        return None
    moments = View(record).all_moments
    return moments[0] if moments else None


def _are_parts(record, whole, parts):
    """Whether the inputs of some records, one after the other, are those of a record with these `Moments`."""
    if record.inputs is None or any(part.inputs is None for part in parts):
        merged = View(parts[0]).all_moments[0]
        for part in parts[1:]:
            merged = merged.merge(View(part).all_moments[0])
        return moments_distance(whole, merged) <= SAME_PARTS
    inputs = np.moveaxis(record.inputs[0], record.layer.channel_axis, -1)
    pieces = [np.moveaxis(part.inputs[0], part.layer.channel_axis, -1) for part in parts]
    if len({piece.shape[1:] for piece in pieces} | {inputs.shape[1:]}) > 1:
        return False
    return distance(inputs, np.concatenate(pieces)) <= CLOSE
