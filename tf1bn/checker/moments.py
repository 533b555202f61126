"""Count, mean and population variance of batches, per channel."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import SupportsIndex

import numpy as np
import numpy.typing as npt

from .._native import moments as _native
from .._util.threads import Progress, checked_threads
from ..cluster.chunks import reduced
from ..cluster.packages import is_dask
from .accumulation import Accumulation, accumulated, small_state
from .arguments import CHANNEL_AXIS, check_data_format, checked_batch, vector
from .weights import checked_weight, checked_weights, weighted_state

SHOWN_CHANNELS = 4  # in a repr


def batch_moments(
    batch: npt.ArrayLike,
    *,
    data_format: str = "NHWC",
    weights: npt.ArrayLike | None = None,
    threads: int | None = None,
    progress: Callable[[int, int], object] | None = None,
    dtype: str | None = None,
) -> Moments:
    """The moments of every channel of a batch.

    Args:
      batch: array of float16, bfloat16, float32 or float64 and rank 2 or more, of any strides, byte order and
        alignment, read-only or memory-mapped or not; or what `numpy.asarray` turns into one. No copy is made of
        an array, and the memory that is needed besides grows with the channels alone. Of a `dask.array.Array` the
        chunks are measured where Dask computes them, and merged in a tree that follows from the chunks: the same
        chunks give the same bits, whatever the scheduler.
      data_format: "NHWC" if the last axis holds the channels, "NCHW" if axis 1 does; at any rank.
      weights: None, or [batch.shape[0]] finite numbers, none negative: the weight of every item of axis 0, like
        the batch_weights of `tf.contrib.layers.batch_norm`. An item of weight 0 counts for nothing, except that
        its NaN and infinities make their channels NaN, as 0 * NaN does. If all are 0, the moments are NaN.
      threads: how many threads to use, a positive integer; None: one for small batches, else the cores that the
        process may use. The result has the same bits whatever their number. For each chunk of a Dask array, one
        if None.
      progress: None, or a callable that gets two integers from time to time: the elements done so far, never
        fewer than before, and the total. It is called in the calling thread; what it raises ends the work.
        The last call, unless there is nothing to do, has both equal. For a Dask array there is this call alone.
      dtype: None, or "bfloat16" if the batch is of uint16 and holds the bits of such numbers. It may be left out where
        the batch has the dtype "bfloat16" of the package ml_dtypes, as an array of TensorFlow or JAX has.

    Returns:
      `Moments`. A constant channel has exactly its constant and 0. A NaN or an infinity makes the mean of its
      channel what it makes of a sum, and the variance NaN; other channels do not see it. Float64 values
      beyond 1e150 may overflow.

    Raises:
      TypeError: the batch is not an array of floating-point numbers, the weights are not real numbers, threads
        is not an integer, or progress is not callable.
      ValueError: the rank is below 2, there are no channels, the data_format is unknown, threads is below 1, or
        the weights are not one finite number for each item, none negative; or a Dask array does not know the sizes
        of its chunks.

    Float32 and shorter: the mean is within 1e-14 of the mean of |x|, the variance within a relative 1e-14.
    Float64: the variance within 1e-13 sqrt(1 + mean^2 / variance).

    Chunks that fit the cache are summed in float64 about a shift per channel, their squares too; where the shift
    turns out not to suit the data, once more about a better one, so that the variance never is the small
    difference of large numbers. Chunks are merged by the pairwise update with low-order words (Chan, Golub and
    LeVeque, "Algorithms for computing the sample variance: analysis and recommendations", The American
    Statistician 37, 1983; Knuth, The Art of Computer Programming 2, 4.2.2: the two-sum).
    """
    check_data_format(data_format)
    threads = checked_threads(threads)
    if is_dask(batch):
        return _moments_of_chunks(batch, data_format, weights, threads or 1, progress, dtype)
    array = checked_batch(batch, data_format, dtype)
    with _native.DefaultEnvironment():
        if weights is None and progress is None and (small := small_state(array, data_format)):
            return Moments._from_state(small[0], float(small[0]), small[1])
        counter = Progress(progress, array.size)
        if weights is None:
            count, state = accumulated(Accumulation(array, data_format), threads, counter)
            return Moments._from_state(count, float(count), state)
        weights = checked_weights(weights, array.shape[0])
        return Moments._from_state(*weighted_state(array, data_format, weights, threads, counter))


def _moments_of_chunks(array, data_format, weights, threads, progress, dtype):
    """The moments of a `dask.array.Array`, for `batch_moments`."""
    if not isinstance(getattr(array, "chunks", None), tuple):
        raise TypeError(f"`batch` is a {type(array).__name__} of Dask; of its collections an array is accepted.")
    if any(math.isnan(size) for size in array.shape):
        raise ValueError(
            f"`batch` has shape {array.shape}, whose chunks have sizes that are not known; call its method "
            "compute_chunk_sizes() first."
        )
    # As if it were in memory, without its values.
    checked_batch(np.broadcast_to(np.zeros((), array.dtype), array.shape), data_format, dtype)
    if weights is not None:
        weights = checked_weights(weights, array.shape[0]).values
    counter = Progress(progress, array.size)
    of_chunk = partial(_chunk_moments, data_format=data_format, weights=weights, threads=threads, dtype=dtype)
    result = reduced(array, CHANNEL_AXIS[data_format], of_chunk, Moments.merge, _side_by_side)
    if array.size:
        counter.add(array.size, report=True)
    return result


def _chunk_moments(chunk, items, *, data_format, weights, threads, dtype):
    # The bits may depend on the layout in memory, which may differ between a slice here and what a worker was sent.
    chunk = np.ascontiguousarray(chunk)
    weights = None if weights is None else weights[items]
    return batch_moments(chunk, data_format=data_format, weights=weights, threads=threads, dtype=dtype)


def _side_by_side(moments):
    """The `Moments` of all channels from those of some channels each, of the same elements."""
    state = np.concatenate([part._state for part in moments], axis=1)
    return Moments._from_state(moments[0].count, moments[0].weight, state)


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Moments:
    """Count, mean and population variance of a batch, per channel; immutable.

    Args:
      count: the number N of elements per channel, an integer.
      mean, variance: [channels], real numbers; NaN if the count or the weight is 0.
      weight: the sum of the weights of these elements; None: they have none.

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
      ValueError: the count, the weight or a variance is negative, the count is 2^1024 or more, the weight is not
        finite, the shapes disagree, or count or weight 0 has moments.
    """

    count: int
    mean: npt.NDArray[np.float64]
    variance: npt.NDArray[np.float64]
    weight: float
    # What the extension merges: mean, its low-order word, variance, its low-order word.
    _state: npt.NDArray[np.float64] = field(init=False)

    def __init__(
        self, count: SupportsIndex, mean: npt.ArrayLike, variance: npt.ArrayLike, weight: float | None = None
    ) -> None:
        try:
            number = operator.index(count)
        except TypeError:
            raise TypeError(f"`count` is {count!r}; it must be an integer.") from None
        if number < 0:
            raise ValueError(f"`count` is {number}; it must not be negative.")
        unweighted = _as_float(number)
        weight = unweighted if weight is None else checked_weight(weight, number)
        mean = vector("mean", mean)
        variance = vector("variance", variance, like=mean)
        if (variance < 0).any():
            raise ValueError(f"`variance` is {variance.min()} in one channel; it must not be negative.")
        if weight == 0 and not (np.isnan(mean).all() and np.isnan(variance).all()):
            name = "weight" if number else "count"
            raise ValueError(f"`{name}` is 0, so `mean` and `variance` must be NaN: nothing has no moments.")
        state = np.zeros((4, mean.size))
        state[0], state[2] = mean, variance
        self._fill(number, weight, state)

    @classmethod
    def _from_state(cls, count, weight, state):
        moments = cls.__new__(cls)
        moments._fill(count, weight, state)
        return moments

    def _fill(self, count, weight, state):
        state.setflags(write=False)
        # Not by `object.__setattr__`, which takes as long as the moments of a small batch.
        vars(self).update(count=count, mean=state[0], variance=state[2], weight=weight, _state=state)

    def __repr__(self) -> str:
        weight = "" if self.weight == float(self.count) else f", weight={self.weight:g}"
        return (
            f"Moments(count={self.count}, mean={shown_channels(self.mean)}, "
            f"variance={shown_channels(self.variance)}{weight})"
        )

    @property
    def unbiased_variance(self) -> npt.NDArray[np.float64]:
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

    def merge(self, other: Moments) -> Moments:
        """The `Moments` of both batches together; one with weight 0 changes nothing but the count.

        Raises:
          TypeError: the other is not `Moments`.
          ValueError: the channels disagree, or the weights, or the counts, add up to infinity.
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
        weight = _as_float(count)
        with _native.DefaultEnvironment():
            if not all(moments.weight == float(moments.count) for moments in (large, small)):
                weight = large.weight + small.weight
            if not math.isfinite(weight):
                raise ValueError(
                    f"The weights {large.weight} and {small.weight} add up to infinity; scale all of them."
                )
            state = large._state
            if small.weight != 0:
                state = state.copy()
                _native.merge_states(state, small._state, small.weight / weight)
        return Moments._from_state(count, weight, state)


def _as_float(count):
    try:
        return float(count)
    except OverflowError:
        raise ValueError("`count` is 2^1024 or more; it must be smaller.") from None


def shown_channels(values: npt.NDArray[np.float64]) -> str:
    """The values [channels] as text for a repr: all of a few, else the first ones and how many there are."""
    shown = ", ".join(f"{value:.6g}" for value in values[:SHOWN_CHANNELS].tolist())
    return f"[{shown}]" if values.size <= SHOWN_CHANNELS else f"[{shown}, ... {values.size} channels]"


def moments_and_batch(batch_or_moments, data_format, weights, dtype):
    """The `Moments`, and the batch with its channels last, or None if there are only moments, or it is Dask's."""
    if isinstance(batch_or_moments, Moments):
        for name, value in (("weights", weights), ("dtype", dtype)):
            if value is not None:
                raise ValueError(f"`{name}` goes with a batch; these are `Moments`, which have it in them.")
        return batch_or_moments, None
    if is_dask(batch_or_moments):
        return batch_moments(batch_or_moments, data_format=data_format, weights=weights, dtype=dtype), None
    batch = checked_batch(batch_or_moments, data_format, dtype)
    moments = batch_moments(batch, data_format=data_format, weights=weights)
    return moments, np.moveaxis(batch, 1, -1) if data_format == "NCHW" else batch
