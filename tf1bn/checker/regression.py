"""The least-squares line of a layer's outputs over its inputs, per channel, in one pass over both.

And what the slopes of its statistics over the steps are summed of.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from .._native import moments as _native
from .._native import moving as _moving
from .._util.threads import Progress, available_cores, run
from .roundoff import Bfloat16Bits, as_dtype, bfloat16_bits

_Doubles = npt.NDArray[np.float64]

_LARGEST_SCRATCH = 1 << 20  # numbers
_scratch: list[_Doubles] = []  # memory that is used again, no more than threads use at once

BLOCK = 1 << 16  # values that are converted at a time
LANES = 64  # columns that the kernel sums side by side: as many short rows as fit are taken as one
SAMPLE = 16  # rows from which the first line is taken
CANCELLED = 1e-8  # share of the squares about the first line; if less is left of them, they are summed again


def fit_line(x, y, axis, moments, *, threads=None, pair=None):
    """The least-squares line y = value + slope (x - mean) of each channel, where mean is that of x.

    A sample of the rows gives a first line, y = at + slope (x - mid). All rows are summed about it, in float64: with
    the residual r = (y - at) - slope (x - mid) and

        R = sum r, D = sum (x - mean) r, Q = sum r^2

    the least-squares line has the slope `slope + D / (N variance)` and the value `at + R / N`, and the mean square
    distance from it is `Q / N - (R / N)^2 - D^2 / (N^2 variance)`: a difference of small numbers, if the first line is
    a good one. If it is not, the arrays are read once more about the line that the first pass gave.

    Args:
      x, y: arrays of one shape, floating-point; axis: that of the channels; moments: the `Moments` of x.
      threads: how many; None: one for small arrays, else the cores that the process may use.
      pair: None, or the `ArrayPair` of x and y, which may have its first sums already.

    Returns:
      slope (NaN where x is constant), value at the mean of x, and root mean square distance: float64 [channels] each.
    """
    pair = pair or ArrayPair(x, y, axis)
    count, mean, variance = moments.count, moments.mean, moments.variance
    varies = variance > 0
    with np.errstate(all="ignore"):
        mid, at, slope = pair.first
        sums = pair.sums
        total, cross, square = pair.residuals(pair.first, threads) if sums is None else sums
        # From the middle of the sample to that of the batch.
        at = at + slope * (mean - mid)
        cross = cross - (mean - mid) * total
        for again in range(2):
            bend = np.where(varies, cross / (count * variance), 0.0)
            rest = square / count - np.square(total / count) - bend * cross / count
            slope, at = slope + bend, at + total / count
            if again or not (rest < CANCELLED * square / count).any():
                break
            total, cross, square = pair.residuals(np.stack([mean, at, slope]), threads)
        return np.where(varies, slope, np.nan), at, np.sqrt(np.maximum(rest, 0.0))


class ArrayPair:
    """Two arrays of one shape as rows of channels; only a block is converted at a time, where that is needed at all.

    Attributes:
      first: middle, value there and slope [3, channels] of the line through some of the rows, from all over the arrays.
    """

    def __init__(self, x, y, axis):
        x, y = (array if (bits := bfloat16_bits(array, declared=False)) is None else bits for array in (x, y))
        self._arrays = [np.moveaxis(array, axis, -1) for array in (x, y)]
        self._channels = self._arrays[0].shape[-1]
        self._direct = x.dtype == y.dtype and all(
            array.dtype.isnative and array.flags.c_contiguous and array.flags.aligned for array in self._arrays
        )
        # What is read directly must be alike, and what is not is converted.
        self._bfloat16 = self._direct and isinstance(x, Bfloat16Bits)
        numbers = (np.dtype(np.float32) if isinstance(array, Bfloat16Bits) else array.dtype for array in (x, y))
        self._dtype = np.result_type(np.float32, *numbers).newbyteorder("=")
        if self._direct:
            self._arrays = [array.reshape(-1, self._channels) for array in self._arrays]
        self._copies = max(1, LANES // self._channels)
        self._parts, self._sums = [], None
        with np.errstate(all="ignore"):
            self.first = self._sample()

    def _sample(self):
        taken = []
        for array in self._arrays:
            array = array[:: max(1, len(array) // SAMPLE)]
            # The axes between are thinned out from the first to the last, until few enough rows are left.
            for axis in range(1, array.ndim - 1):
                left = math.prod(array.shape[:-1])
                step = min(array.shape[axis], max(1, left // SAMPLE))
                array = array[(slice(None),) * axis + (slice(None, None, step),)]
            taken.append(as_dtype(array, np.float64).reshape(-1, self._channels))
        x, y = taken
        mid, at = x.mean(axis=0), y.mean(axis=0)
        x = x - mid
        slope = (x * (y - at)).sum(axis=0) / np.square(x).sum(axis=0)
        first = np.array([mid, at, slope])
        finite = np.isfinite(first)
        if not finite.all():
            first[2, ~finite.all(axis=0)] = 0.0
            first[~finite] = 0.0
        return first

    def goes_with(self, accumulation):
        """Whether an `Accumulation` of the first array can make the sums about the first line in the same pass."""
        return self._direct and accumulation.contiguous

    def part(self):
        """For a part of the rows, what `Tasks.add` of the extension takes: bytes, the line, and where its sums go."""
        if not self._parts:
            self._tiled = np.tile(self.first, self._copies)
        self._parts.append(np.zeros_like(self._tiled))
        return self._arrays[1].reshape(-1).view(np.uint8), self._tiled, self._parts[-1]

    def fold(self):
        """Add up what the parts that `part` returned have summed; none of them is summed into any more."""
        if self._parts:
            self._sums, self._parts = self._fold(self._parts), []

    @property
    def sums(self):
        """The sums [3, channels] over all parts that `part` returned; None if it was not called."""
        self.fold()
        return self._sums

    def _fold(self, parts):
        return np.sum(parts, axis=0).reshape(3, self._copies, self._channels).sum(axis=1)

    def residuals(self, line, threads):
        """The sums [3, channels] of r, (x - mid) r and r^2 about a line [3, channels]: mid, at and slope."""
        size = sum(array.nbytes for array in self._arrays)
        pieces = min(64, max(1, size >> 23), len(self._arrays[0]))
        if threads is None:
            threads = available_cores() if pieces > 1 else 1
        # The same pieces whatever the number of threads, so that the sums are the same bits.
        length = -(-len(self._arrays[0]) // pieces)
        length += -length % self._copies if self._direct else 0
        starts = range(0, len(self._arrays[0]), length)
        sums = np.zeros((len(starts), 3, self._copies * self._channels))
        line = np.tile(line, self._copies)
        with _native.DefaultEnvironment():
            jobs = [
                self._job([array[start : start + length] for array in self._arrays], line, sums[i])
                for i, start in enumerate(starts)
            ]
            run(jobs, threads, Progress(None, size))
        return self._fold(sums)

    def _job(self, arrays, line, sums):
        for pair in [arrays] if self._direct else self._converted(*arrays):
            # Cython has no numbers of 16 bits.
            pair = [array.view(np.uint16) if array.itemsize == 2 else array for array in pair]
            # Short rows side by side, and what is left of them.
            whole = len(pair[0]) // self._copies * self._copies
            x, y = (array[:whole].reshape(-1, line.shape[1]) for array in pair)
            _native.add_residuals(x, y, line, sums, self._bfloat16)
            if whole < len(pair[0]):
                x, y = (array[whole:].reshape(1, -1) for array in pair)
                rest = np.zeros((3, x.shape[1]))
                _native.add_residuals(x, y, np.ascontiguousarray(line[:, : x.shape[1]]), rest, self._bfloat16)
                sums[:, : x.shape[1]] += rest
            yield 0

    def _converted(self, x, y):
        size = math.prod(x.shape[1:])
        if size > BLOCK and x.ndim > 2:
            for x_item, y_item in zip(x, y, strict=True):
                yield from self._converted(x_item, y_item)
            return
        step = max(1, BLOCK // max(1, size))
        for start in range(0, len(x), step):
            yield [
                np.require(as_dtype(array[start : start + step], self._dtype), requirements=["C", "A"]).reshape(
                    -1, self._channels
                )
                for array in (x, y)
            ]


def step_sums(
    before: _Doubles, after: _Doubles, mean: _Doubles, variance: _Doubles, unit: float, sums: float, squares: bool
) -> tuple[list[_Doubles] | None, float]:
    """What estimates of the rate and of the variance's multiple take of each step, summed over the channels.

    Args:
      before, after: the statistics, [2, steps, channels]; mean, variance: of the batches, [steps, channels].
      unit: the unit roundoff of the statistics; sums: what the sums over a batch can lose relatively.
      squares: whether the variance of a batch is a difference of squares.

    Returns:
      sums: six arrays [steps], or None where something is not finite. With x the way to the batch's mean and y the
        change of the moving mean, in units of the bound of that, the sums of x^2, xy and y^2; and those of the change
        of the moving variance, its old value and the batch's variance, each times the latter over the squared bound.
      largest: |mean| in units of the deviation; inf where that is no number.
    """
    arrays = (np.ascontiguousarray(values) for values in (before, after, mean, variance))
    size = 5 * mean.size
    # New pages would take longer than what is computed in them.
    try:
        buffer = _scratch.pop()
    except IndexError:
        buffer = np.empty(0)
    if buffer.size < size:
        buffer = np.empty(size)
    terms = buffer[:size].reshape(5, *mean.shape)
    finite, largest = _moving.terms(*arrays, unit, sums, squares, terms)
    x, y = terms[:2]
    results = [*dots(x, y), *terms[2:].sum(axis=-1)] if finite else None
    if size <= _LARGEST_SCRATCH:
        _scratch.append(buffer)
    return results, largest


def dots(x, y):
    """The sums of x^2, xy and y^2 over the channels, [steps] each, of [steps, channels]."""
    with np.errstate(over="ignore", invalid="ignore"):
        return [(a[:, np.newaxis] @ b[..., np.newaxis])[:, 0, 0] for a, b in ((x, x), (x, y), (y, y))]
