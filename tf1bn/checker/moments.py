"""Count, mean and population variance of batches, per channel. Reached through ``checker``."""

import math
import operator
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from .._native import moments as _native
from . import threads as parallel
from . import weights as weighting
from .comparison import vector

_CHANNEL_AXIS = {"NHWC": -1, "NCHW": 1}

# The work is cut by the shape of the batch alone, so that results do not depend on the number of threads.
_SINGLE = 1 << 22  # bytes from which on several threads pay
_SEGMENT = 1 << 24  # bytes of a task, for large batches
_BAND = 1 << 25  # bytes between two looks at signals and two calls of `progress`
_SEGMENTS = 64  # tasks at most
_STATES = 1 << 18  # task states of this many channels in all, unless there are more channels


def batch_moments(batch, *, data_format="NHWC", weights=None, threads=None, progress=None):
    """The moments of every channel of a batch.

    Args:
      batch: array of float16, float32 or float64 and rank 2 or more, of any strides, byte order and
        alignment, read-only or memory-mapped or not; or what `numpy.asarray` turns into one. No copy is made of
        an array, and the memory that is needed besides grows with the channels alone.
      data_format: "NHWC" if the last axis holds the channels, "NCHW" if axis 1 does; at any rank.
      weights: None, or [batch.shape[0]] finite numbers, none negative: the weight of every item of axis 0, like
        the batch_weights of `tf.contrib.layers.batch_norm`. An item of weight 0 counts for nothing, except that
        its NaN and infinities make their channels NaN, as 0 * NaN does. If all are 0, the moments are NaN.
      threads: how many threads to use, a positive integer; None: one for small batches, else the cores that the
        process may use. The result has the same bits whatever their number.
      progress: None, or a callable that gets two integers from time to time: the elements done so far, never
        fewer than before, and the total. It is called in the calling thread; what it raises ends the work.
        The last call, unless there is nothing to do, has both equal.

    Returns:
      `Moments`. A constant channel has exactly its constant and 0. A NaN or an infinity makes the mean of its
      channel what it makes of a sum, and the variance NaN; other channels do not see it. Float64 values
      beyond 1e150 may overflow.

    Raises:
      TypeError: the batch is not an array of floating-point numbers, the weights are not real numbers, threads
        is not an integer, or progress is not callable.
      ValueError: the rank is below 2, there are no channels, the data_format is unknown, threads is below 1, or
        the weights are not one finite number for each item, none negative.

    Float32 and float16: the mean is within 1e-14 of the mean of |x|, the variance within a relative 1e-14.
    Float64: the variance within 1e-13 sqrt(1 + mean^2 / variance).

    Chunks that fit the cache are summed in float64 about a shift per channel, their squares too; where the shift
    turns out not to suit the data, once more about a better one, so that the variance never is the small
    difference of large numbers. Chunks are merged by the pairwise update with low-order words (Chan, Golub and
    LeVeque, "Algorithms for computing the sample variance: analysis and recommendations", The American
    Statistician 37, 1983; Knuth, The Art of Computer Programming 2, 4.2.2: the two-sum).
    """
    check_data_format(data_format)
    threads = parallel.checked_threads(threads)
    array = _checked_batch(batch, data_format)
    progress = parallel.Progress(progress, array.size)
    with _native.DefaultEnvironment():
        if weights is None:
            count, state = _unweighted(array, data_format, threads, progress)
            return Moments._from_state(count, float(count), state)
        weights = weighting.checked_weights(weights, array.shape[0])
        unweighted = partial(_unweighted, data_format=data_format, threads=threads, progress=progress)
        channels = array.shape[_CHANNEL_AXIS[data_format]]
        return Moments._from_state(*weighting.weighted_state(array, weights, channels, unweighted, progress))


def _checked_batch(batch, data_format):
    if isinstance(batch, np.ma.MaskedArray):
        raise TypeError("`batch` is a masked array, whose mask would be ignored; pass a plain array.")
    try:
        array = np.asarray(batch)
    except ValueError as error:
        raise TypeError(f"`batch` cannot be turned into an array: {error}") from error
    if array.dtype.type not in (np.float16, np.float32, np.float64):
        raise TypeError(
            f"`batch` has dtype {array.dtype}; float16, float32 and float64 are accepted, so cast it to the "
            "one that the layer computes in."
        )
    if array.ndim < 2:
        raise ValueError(f"`batch` has shape {array.shape}; it must have at least 2 axes, one of them the channels.")
    if array.shape[_CHANNEL_AXIS[data_format]] == 0:
        raise ValueError(f"`batch` has shape {array.shape}; it must have at least one channel.")
    return array


def _unweighted(array, data_format, threads, progress):
    """Count and state of an array."""
    work = Work(array, data_format)
    if threads is None:
        threads = parallel.available_cores() if work.size >= _SINGLE else 1
    if jobs := work.jobs():
        parallel.run(jobs, threads, progress)
    return work.count, work.state()


class Work:
    """The moments of an array while they are made, in parts.

    Attributes:
      count: elements per channel; size: bytes to be read.
      contiguous: whether the rows follow each other in memory and are read as they are, all channels at once.
    """

    def __init__(self, array, data_format):
        self._channels = array.shape[_CHANNEL_AXIS[data_format]]
        self._batch = _native.Batch(np.moveaxis(array, _CHANNEL_AXIS[data_format], -1))
        self.count = self._batch.count
        self.size = self._batch.rows * self._channels * self._batch.itemsize
        self._slabs, self._segments = _cut(self._batch, self._channels, self.size) if self.count else ([], [])
        self.contiguous = self._batch.contiguous and len(self._slabs) == 1
        self._states = [[np.empty((4, width)) for _ in self._segments] for _, width in self._slabs]

    def _parts(self):
        """State, first row, rows, rows of a band, first channel of each part."""
        grain = self._batch.grain
        for (channel, width), states in zip(self._slabs, self._states, strict=True):
            band = max(1, _BAND // (width * self._batch.itemsize))
            band = max(grain, band - band % grain)
            for state, (first, rows) in zip(states, self._segments, strict=True):
                yield state, first, rows, band, channel

    def jobs(self):
        """Iterators for `parallel.run`, which yield the elements done."""
        return [self._job(*part) for part in self._parts()]

    def _job(self, state, first, rows, band, channel):
        repeats = self._batch.count // self._batch.rows
        for done in range(0, rows, band):
            count = min(band, rows - done)
            self._batch.accumulate(state, first + done, count, channel, done)
            yield count * state.shape[1] * repeats

    def add_to(self, tasks, pair=None):
        """The same as tasks of the extension; ``pair``: a `linefit.Pair` with this array, to be summed with it."""
        for part in self._parts():
            tasks.add(self._batch, *part, *(() if pair is None else pair.part()))

    def state(self):
        """The parts merged, [4, channels]; NaN without an element."""
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


def _cut(batch, channels, size):
    """Slabs of channels and segments of rows, (first, count) each."""
    wanted = min(_SEGMENTS, max(size // _SEGMENT, min(8, size // (_SEGMENT // 16))))
    pieces = max(1, min(wanted, _STATES // channels))
    length = -(-batch.rows // pieces)
    length += -length % batch.grain
    segments = [(first, min(length, batch.rows - first)) for first in range(0, batch.rows, length)]
    # Too few rows to share out: share out the channels instead.
    width = -(-channels // max(1, wanted // len(segments)))
    width = min(channels, width + -width % 512)
    slabs = [(channel, min(width, channels - channel)) for channel in range(0, channels, width)]
    return slabs, segments


@dataclass(frozen=True, eq=False)
class Moments:
    """Count, mean and population variance of a batch, per channel; immutable.

    Attributes:
      count: the number N of elements per channel.
      mean: float64 [channels].
      variance: float64 [channels], the mean squared deviation from the mean (divided by N, not by N-1).
      weight: the sum of the weights of these elements, a float; the count if they have none.

    With weight 0, and so with count 0, both are NaN. Moments that `batch_moments` made keep low-order words through
    `merge`: any split, order and tree of merges stays within the error of the whole. Those made of rounded mean
    and variance, as from JSON, are off by that rounding, u = 2^-53 of |mean| and of the variance, and each merge
    of such adds a few u to the mean, relative to the mean of |x|, and a few u (1 + mean^2 / variance) to the
    variance, mean and variance being those of the result: its variance contains the squared difference of two
    means, each with an error of u |mean|.

    Raises:
      TypeError: the count is not an integer, the weight is not a number, or the vectors do not hold real numbers.
      ValueError: the count, the weight or a variance is negative, the weight is not finite, the shapes disagree,
        or count or weight 0 has moments.
    """

    count: int
    mean: np.ndarray
    variance: np.ndarray
    weight: float | None = None
    # What the extension merges: mean, its low-order word, variance, its low-order word.
    _state: np.ndarray = field(init=False, repr=False)

    def __post_init__(self):
        try:
            count = operator.index(self.count)
        except TypeError:
            raise TypeError(f"`count` is {self.count!r}; it must be an integer.") from None
        if count < 0:
            raise ValueError(f"`count` is {count}; it must not be negative.")
        weight = float(count) if self.weight is None else weighting.checked_weight(self.weight, count)
        mean = vector("mean", self.mean)
        variance = vector("variance", self.variance, like=mean)
        if (variance < 0).any():
            raise ValueError(f"`variance` is {variance.min()} in one channel; it must not be negative.")
        if weight == 0 and not (np.isnan(mean).all() and np.isnan(variance).all()):
            name = "weight" if count else "count"
            raise ValueError(f"`{name}` is 0, so `mean` and `variance` must be NaN: nothing has no moments.")
        zero = np.zeros_like(mean)
        self._fill(count, weight, np.stack([mean, zero, variance, zero]))

    @classmethod
    def _from_state(cls, count, weight, state):
        moments = cls.__new__(cls)
        moments._fill(count, weight, state)
        return moments

    def _fill(self, count, weight, state):
        state.setflags(write=False)
        values = {"count": count, "mean": state[0], "variance": state[2], "weight": weight, "_state": state}
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def unbiased_variance(self):
        """The variance with Bessel's correction N/(N-1), as fused layers store it; the factor is 1 at N=1.

        Raises:
          ValueError: the moments are weighted.
        """
        if self.weight != float(self.count):
            raise ValueError(
                f"These moments have weight {self.weight} and count {self.count}; Bessel's correction is only defined "
                "without weights: no release of TensorFlow combines the two."
            )
        return self.variance * (self.count / (self.count - 1) if self.count > 1 else 1.0)

    def merge(self, other):
        """The `Moments` of both batches together; one with weight 0 changes nothing but the count.

        Raises:
          TypeError: the other is not `Moments`.
          ValueError: the channels disagree, or the weights add up to infinity.
        """
        if not isinstance(other, Moments):
            raise TypeError(f"`other` is of type {type(other).__name__}; it must be Moments.")
        if other.mean.shape != self.mean.shape:
            raise ValueError(
                f"`other` has {other.mean.size} channels and these moments have {self.mean.size}; "
                "only moments of the same channels can be merged."
            )
        large, small = (self, other) if self.weight >= other.weight else (other, self)
        count = large.count + small.count
        # Weights that are counts: the sum of the integers is rounded once.
        plain = all(moments.weight == float(moments.count) for moments in (large, small))
        with _native.DefaultEnvironment():
            weight = float(count) if plain else large.weight + small.weight
            if not math.isfinite(weight):
                raise ValueError(
                    f"The weights {large.weight} and {small.weight} add up to infinity; scale all of them."
                )
            state = large._state
            if small.weight != 0:
                state = state.copy()
                _native.merge_states(state, small._state, small.weight / weight)
        return Moments._from_state(count, weight, state)


class Ahead:
    """The `Moments` of several batches, made by other threads while the caller goes on; it must `abandon` them or wait.

    They are those of `batch_moments`, bit by bit. The threads are started once for all and need no interpreter.

    Args:
      batches: list of (array, data_format, pair) without weights; pair: None, or a `linefit.Pair` with that array,
        whose sums are made in the same pass over memory.
      threads: how many; None: none for small arrays, else as many as there are cores that the process may use.
    """

    def __init__(self, batches, threads=None):
        self._works = [Work(_checked_batch(array, data_format), data_format) for array, data_format, _ in batches]
        tasks = _native.Tasks()
        for work, (_, _, pair) in zip(self._works, batches, strict=True):
            work.add_to(tasks, pair if pair is not None and pair.goes_with(work) else None)
        if threads is None:
            threads = parallel.available_cores() if sum(work.size for work in self._works) >= _SINGLE else 0
        with _native.DefaultEnvironment():
            self._behind = parallel.Behind(tasks.run, tasks.stop, threads)

    def moments(self):
        """The list of them, once they are made."""
        with _native.DefaultEnvironment():
            self._behind.end()
            return [Moments._from_state(work.count, float(work.count), work.state()) for work in self._works]

    def abandon(self):
        """Return when no thread is left, which is soon."""
        self._behind.abandon()


def check_data_format(data_format):
    if not isinstance(data_format, str) or data_format not in _CHANNEL_AXIS:
        raise ValueError(f'`data_format` is {data_format!r}; it must be "NHWC" or "NCHW".')
