"""Whether a layer gets the same data in two runs. Used by ``parity`` and ``paritypair``."""

import math

import numpy as np

from ...evidence.step_view import View
from ..matching import CLOSE, apart

BLOCK = 2**18  # elements at a time
SAME_MOMENTS = 1e-9  # of moments that were written in float64, in units of the deviation


def channels_last(array, record):
    """An input or output of a `trace.Record` with the channels, where its layer declares them, as the last axis."""
    return np.moveaxis(array, record.layer.channel_axis, -1)


def blocks(*arrays):
    """Arrays of one shape, channels last, some rows at a time: as [elements, channels] in float64."""
    shape = arrays[0].shape
    size = max(1, BLOCK // max(1, math.prod(shape[1:])))
    for start in range(0, shape[0] if arrays[0].size else 0, size):
        yield [array[start : start + size].reshape(-1, shape[-1]).astype(np.float64) for array in arrays]


def distance(x, y):
    """How far y is from x, both channels last: the largest root mean square over channels, in deviations of x.

    0.0 means that they are equal, NaN in the same places included.
    """
    if not x.size:
        return 0.0
    channels = x.shape[-1]
    total, sums, squares, equal = np.zeros(channels), np.zeros(channels), np.zeros(channels), True
    shift = x[:1].reshape(-1, channels)[:1].astype(np.float64)
    for one, two in blocks(x, y):
        if np.array_equal(one, two, equal_nan=True):
            rest = np.zeros_like(one)
        else:
            equal = False
            with np.errstate(invalid="ignore"):
                rest = one - two
        with np.errstate(invalid="ignore", over="ignore"):
            total += np.square(rest).sum(axis=0)
            sums += (one - shift).sum(axis=0)
            squares += np.square(one - shift).sum(axis=0)
    if equal:
        return 0.0
    count = x.size / channels
    with np.errstate(invalid="ignore", divide="ignore"):
        deviation = np.sqrt(np.maximum(squares / count - np.square(sums / count), 0))
        scale = np.maximum(deviation, 1e-6 * np.abs(shift)) + np.finfo(np.float64).tiny
        away = np.sqrt(total / count) / scale
    return float(np.max(np.where(np.isnan(away), np.inf, away)))


def same_data(old, new, axis=None):
    """How NEW's inputs in one step stand to OLD's: a state, a distance, and a reason where they cannot be compared.

    The state is "bitwise", "moments" (the moments are the same, the values were not recorded), "close" (to `CLOSE`),
    or "different". ``axis``: that of NEW's channels, instead of the declared one.
    """
    if old.applications != new.applications:
        return "different", math.inf, f"OLD applies it {old.applications} times and NEW {new.applications} times"
    worst = 0.0
    if old.inputs is not None and new.inputs is not None:
        for x, y in zip(old.inputs, new.inputs, strict=True):
            x = channels_last(x, old)
            if y.ndim != x.ndim:
                return "different", math.inf, f"the ranks are {x.ndim} and {y.ndim}"
            y = np.moveaxis(y, new.layer.channel_axis if axis is None else axis, -1)
            if x.shape != y.shape:
                return "different", math.inf, f"the shapes, channels last, are {x.shape} and {y.shape}"
            worst = max(worst, distance(x, y))
        return ("bitwise" if worst == 0 else "close" if worst <= CLOSE else "different"), worst, None
    for one, two in zip(View(old).all_moments or (), View(new).all_moments or (), strict=False):
        if one.count != two.count or one.mean.shape != two.mean.shape:
            return "different", math.inf, f"the values per channel are {one.count} and {two.count}"
        worst = max(worst, apart(one, two))
    return ("moments" if worst <= SAME_MOMENTS else "close" if worst <= CLOSE else "different"), worst, None
