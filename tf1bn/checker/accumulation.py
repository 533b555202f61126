"""How a batch is cut into tasks for several threads, and how their results are merged. Private to the checker."""

from __future__ import annotations

import numpy as np

from .._native import moments as _native
from .._util.threads import available_cores, run
from .arguments import CHANNEL_AXIS
from .roundoff import Bfloat16Bits

# A batch is cut by its shape alone, so that results do not depend on the number of threads.
_THREADED_BYTES = 1 << 22  # from which on several threads pay
_SEGMENT_BYTES = 1 << 23  # of a task, for large batches: so many that threads end together
_BAND_BYTES = 1 << 25  # read between two checks for Ctrl-C and two calls of `progress`
_MOST_SEGMENTS = 64  # tasks at most
_STATE_CHANNELS = 1 << 18  # over all tasks, unless the batch itself has more channels


class Accumulation:
    """The moments of one array while they are made, in parts.

    Args:
      array: as `arguments.checked_batch` returns it; weights: None, or one for each item, which
        times the factor are at most 1, as the extension takes them.

    Attributes:
      count: elements per channel; size: bytes to be read.
      contiguous: whether the rows follow each other in memory and are read as they are, all channels at once.
    """

    def __init__(self, array, data_format, weights=None, factor=1.0):
        self._channels = array.shape[CHANNEL_AXIS[data_format]]
        self._batch = reader(array, data_format, weights, factor)
        self.count = self._batch.count
        self.size = self._batch.rows * self._channels * self._batch.itemsize
        self._slabs, self._segments = _cut(self._batch, self._channels, self.size) if self.count else ([], [])
        self.contiguous = self._batch.contiguous and len(self._slabs) == 1
        self._states = [[np.empty((4, width)) for _ in self._segments] for _, width in self._slabs]

    def _parts(self):
        """State, first row, rows, rows of a band, first channel of each part."""
        grain = self._batch.grain
        for (channel, width), states in zip(self._slabs, self._states, strict=True):
            band = max(1, _BAND_BYTES // (width * self._batch.itemsize))
            band = max(grain, band - band % grain)
            for state, (first, rows) in zip(states, self._segments, strict=True):
                yield state, first, rows, band, channel

    def jobs(self):
        """Iterators for `threads.run`, which yield the number of elements done."""
        return [self._job(*part) for part in self._parts()]

    def _job(self, state, first, rows, band, channel):
        repeats = self._batch.count // self._batch.rows
        for done in range(0, rows, band):
            count = min(band, rows - done)
            self._batch.accumulate(state, first + done, count, channel, done)
            yield count * state.shape[1] * repeats

    def add_to(self, tasks, pair=None):
        """Add the same work to a `Tasks` of the extension.

        pair: None, or a `regression.ArrayPair` of this array and another, whose sums are made in the same pass.
        """
        for part in self._parts():
            tasks.add(self._batch, *part, *(() if pair is None else pair.part()))

    def state(self):
        """The merged state [4, channels]; NaN if the array has no element."""
        state = np.full((4, self._channels), np.nan)
        for (channel, width), parts in zip(self._slabs, self._states, strict=True):
            done = 0
            for part, (_, rows) in zip(parts, self._segments, strict=True):
                # Each segment but the last is as long as the first, so that no part is larger than what it joins.
                if done:
                    _native.merge_states(parts[0], part, rows / (done + rows))
                done += rows
            state[:, channel : channel + width] = parts[0]
        return state


def reader(array, data_format, weights=None, factor=1.0):
    """The `Batch` of the extension; the arguments are those of an `Accumulation`."""
    moved = array if data_format == "NHWC" else np.moveaxis(array, 1, -1)
    return _native.Batch(moved, isinstance(array, Bfloat16Bits), weights, factor)


def is_small(array):
    """Whether an array has elements, and too few to be cut."""
    return 0 < array.nbytes < _SEGMENT_BYTES // 8


def small_state(array, data_format):
    """Count and state [4, channels] of an array that is too small to be cut; None of one that is not.

    An `Accumulation` has the same, but takes longer than a small batch.
    """
    if not is_small(array):
        return None
    batch, state = reader(array, data_format), np.empty((4, array.shape[CHANNEL_AXIS[data_format]]))
    batch.accumulate(state, 0, batch.rows)
    return batch.count, state


def accumulated(accumulation, threads, progress):
    """Count and state [4, channels] of an `Accumulation`, done here; ``threads``: None to decide by its size."""
    if threads is None:
        threads = default_threads(accumulation.size, few=1)
    if jobs := accumulation.jobs():
        run(jobs, threads, progress)
    return accumulation.count, accumulation.state()


def default_threads(size, few):
    """How many threads read ``size`` bytes: all cores, or only ``few`` where more would not pay."""
    return available_cores() if size >= _THREADED_BYTES else few


def _cut(batch, channels, size):
    """Slabs of channels and segments of rows, (first, count) each."""
    wanted = min(_MOST_SEGMENTS, max(size // _SEGMENT_BYTES, min(8, size // (_SEGMENT_BYTES // 8))))
    pieces = max(1, min(wanted, _STATE_CHANNELS // channels))
    length = -(-batch.rows // pieces)
    length += -length % batch.grain
    segments = [(first, min(length, batch.rows - first)) for first in range(0, batch.rows, length)]
    # If there are too few rows to share out, the channels are shared out instead.
    width = -(-channels // max(1, wanted // len(segments)))
    width = min(channels, width + -width % 512)
    slabs = [(channel, min(width, channels - channel)) for channel in range(0, channels, width)]
    return slabs, segments
