"""The line of a layer's outputs over its inputs, per channel, in one pass over both. Used by ``outputfit``."""

import math

import numpy as np

from . import parallel
from ._native import moments as _native

BLOCK = 1 << 16  # values that are converted at a time
LANES = 64  # channels side by side, at least, in which the kernel sums
SAMPLE = 16  # rows from which the first line is taken
LOST = 1e-8  # of the squares about the first line: what may be left before it is taken again


def line(x, y, axis, moments, *, threads=None):
    """Slope, value at the batch's mean, and root mean square distance from that line, [channels] each.

    The sums are those of what y leaves of a line that a sample of the rows gives: r = (y - at) - slope (x - mean). With

        R = sum r, D = sum (x - mean) r, Q = sum r^2

    the least squares line has slope + D / (N variance) and at + R / N, and the mean square about it is Q / N -
    (R / N)^2 - D^2 / (N^2 variance): a difference of small numbers, where the first line was a good one. Where it was
    not, the arrays are read once more about the line that was found.

    Args:
      x, y: arrays of one shape; axis: that of the channels; moments: the `Moments` of x.
      threads: how many; None: one for small arrays, else the cores that the process may use.
    """
    pair = _Pair(x, y, axis)
    count, mean, variance = moments.count, moments.mean, moments.variance
    varies = variance > 0
    with np.errstate(all="ignore"):
        slope, at = pair.sample(mean)
        slope[~(np.isfinite(slope) & np.isfinite(at) & varies)] = 0.0
        at[~np.isfinite(at)] = 0.0
        for _ in range(2):
            total, cross, square = pair.residuals(np.stack([mean, at, slope]), threads)
            bend = np.where(varies, cross / (count * variance), 0.0)
            rest = square / count - np.square(total / count) - bend * cross / count
            again = rest < LOST * square / count
            slope, at = slope + bend, at + total / count
            if not again.any():
                break
        return np.where(varies, slope, np.nan), at, np.sqrt(np.maximum(rest, 0.0))


class _Pair:
    """Two arrays of one shape as rows of channels; only a block is converted at a time, where that is needed at all."""

    def __init__(self, x, y, axis):
        self._arrays = [np.moveaxis(array, axis, -1) for array in (x, y)]
        self._channels = self._arrays[0].shape[-1]
        self._dtype = np.result_type(x.dtype, y.dtype, np.float32).newbyteorder("=")
        self._direct = all(
            array.dtype == self._dtype and array.dtype.isnative and array.flags.c_contiguous and array.flags.aligned
            for array in self._arrays
        )
        if self._direct:
            self._arrays = [array.reshape(-1, self._channels) for array in self._arrays]
        self._copies = max(1, LANES // self._channels)

    def sample(self, mean):
        """Slope and value at the mean of the line through some of the rows, from all over the arrays."""
        taken = []
        for array in self._arrays:
            array = array[:: max(1, len(array) // SAMPLE)]
            # The axes between are thinned out from the first to the last, until few enough rows are left.
            for axis in range(1, array.ndim - 1):
                left = math.prod(array.shape[:-1])
                step = min(array.shape[axis], max(1, left // SAMPLE))
                array = array[(slice(None),) * axis + (slice(None, None, step),)]
            taken.append(array.astype(np.float64).reshape(-1, self._channels))
        x, y = taken
        x = x - mean
        middle, at = x.mean(axis=0), y.mean(axis=0)
        x -= middle
        slope = (x * (y - at)).sum(axis=0) / np.square(x).sum(axis=0)
        return slope, at - np.where(np.isfinite(slope), slope, 0.0) * middle

    def residuals(self, line, threads):
        """The sums [3, channels] about a line [3, channels]."""
        size = sum(array.nbytes for array in self._arrays)
        pieces = min(64, max(1, size >> 23), len(self._arrays[0]))
        if threads is None:
            threads = parallel.available_cores() if pieces > 1 else 1
        # The same pieces whatever the number of threads, so that the sums are the same bits.
        length = -(-len(self._arrays[0]) // pieces)
        length += -length % self._copies if self._direct else 0
        starts = range(0, len(self._arrays[0]), length)
        sums = np.zeros((len(starts), 3, self._copies * self._channels))
        line = np.ascontiguousarray(np.tile(line, self._copies))
        with _native.DefaultEnvironment():
            jobs = [
                self._job([array[start : start + length] for array in self._arrays], line, sums[i])
                for i, start in enumerate(starts)
            ]
            parallel.run(jobs, threads, parallel.Progress(None, size))
        return sums.sum(axis=0).reshape(3, self._copies, self._channels).sum(axis=1)

    def _job(self, arrays, line, sums):
        for pair in [arrays] if self._direct else self._converted(*arrays):
            # Short rows side by side, and what is left of them.
            whole = len(pair[0]) // self._copies * self._copies
            x, y = (array[:whole].reshape(-1, line.shape[1]) for array in pair)
            _native.add_residuals(x, y, line, sums)
            if whole < len(pair[0]):
                x, y = (array[whole:].reshape(1, -1) for array in pair)
                rest = np.zeros((3, x.shape[1]))
                _native.add_residuals(x, y, np.ascontiguousarray(line[:, : x.shape[1]]), rest)
                sums[:, : x.shape[1]] += rest
            yield 0

    def _converted(self, x, y):
        size = math.prod(x.shape[1:])
        if size > BLOCK and x.ndim > 2:
            for one, other in zip(x, y, strict=True):
                yield from self._converted(one, other)
            return
        step = max(1, BLOCK // max(1, size))
        for start in range(0, len(x), step):
            yield [
                np.require(array[start : start + step], self._dtype, ["C", "A"]).reshape(-1, self._channels)
                for array in (x, y)
            ]
