"""Count, mean and population variance of batches, per channel. Reached through ``checker``."""

import operator
from dataclasses import dataclass, field

import numpy as np

from ._native import moments as _native
from .comparison import vector

_CHANNEL_AXIS = {"NHWC": -1, "NCHW": 1}


def batch_moments(batch, *, data_format="NHWC", weights=None, threads=None):
    """The moments of every channel of a batch.

    Args:
      batch: array of float16, float32 or float64 and rank 2 or more, of any strides, byte order and
        alignment, read-only or not; or what `numpy.asarray` turns into one. No copy is made of an array.
      data_format: "NHWC" if the last axis holds the channels, "NCHW" if axis 1 does; at any rank.
      weights: not supported yet.
      threads: None or 1.

    Returns:
      `Moments`. A constant channel has exactly its constant and 0. A NaN or an infinity makes the mean of its
      channel what it makes of a sum, and the variance NaN; other channels do not see it. Float64 values
      beyond 1e150 may overflow.

    Raises:
      TypeError: the batch is not an array of floating-point numbers.
      ValueError: the rank is below 2, there are no channels, or the data_format is unknown.
      NotImplementedError: weights are given, or more than one thread is asked for.

    Tiles of the batch go through the corrected two-pass algorithm in float64 and are merged by the pairwise
    update with low-order words (Chan, Golub and LeVeque, "Algorithms for computing the sample variance:
    analysis and recommendations", The American Statistician 37, 1983).
    """
    refuse_weights(weights)
    if threads is not None and (isinstance(threads, bool) or threads != 1):
        raise NotImplementedError(f"`threads` is {threads!r}; only None and 1 are supported yet.")
    check_data_format(data_format)
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
    channels = array.shape[_CHANNEL_AXIS[data_format]]
    if channels == 0:
        raise ValueError(f"`batch` has shape {array.shape}; it must have at least one channel.")
    state = np.empty((4, channels))
    count = _native.batch_state(np.moveaxis(array, _CHANNEL_AXIS[data_format], -1), state)
    return Moments._from_state(count, state)


@dataclass(frozen=True, eq=False)
class Moments:
    """Count, mean and population variance of a batch, per channel; immutable.

    Attributes:
      count: the number N of elements per channel.
      mean: float64 [channels].
      variance: float64 [channels], the mean squared deviation from the mean (divided by N, not by N-1).

    With count 0 both are NaN. Moments that `batch_moments` made keep low-order words through `merge`.

    Raises:
      TypeError: the count is not an integer, or the vectors do not hold real numbers.
      ValueError: the count or a variance is negative, the shapes disagree, or count 0 has moments.
    """

    count: int
    mean: np.ndarray
    variance: np.ndarray
    # What the extension merges: mean, its low-order word, count * variance, its low-order word.
    _state: np.ndarray = field(init=False, repr=False)

    def __post_init__(self):
        try:
            count = operator.index(self.count)
        except TypeError:
            raise TypeError(f"`count` is {self.count!r}; it must be an integer.") from None
        if count < 0:
            raise ValueError(f"`count` is {count}; it must not be negative.")
        mean = vector("mean", self.mean)
        variance = vector("variance", self.variance, like=mean)
        if (variance < 0).any():
            raise ValueError(f"`variance` is {variance.min()} in one channel; it must not be negative.")
        if count == 0 and not (np.isnan(mean).all() and np.isnan(variance).all()):
            raise ValueError("`count` is 0, so `mean` and `variance` must be NaN: nothing has no moments.")
        zero = np.zeros_like(mean)
        self._fill(count, mean, variance, np.stack([mean, zero, variance * count, zero]))

    @classmethod
    def _from_state(cls, count, state):
        moments = cls.__new__(cls)
        with np.errstate(invalid="ignore", over="ignore"):
            variance = state[2] / (count or np.nan)
        moments._fill(count, state[0], variance, state)
        return moments

    def _fill(self, count, mean, variance, state):
        for array in (mean, variance, state):
            array.setflags(write=False)
        for name, value in (("count", count), ("mean", mean), ("variance", variance), ("_state", state)):
            object.__setattr__(self, name, value)

    @property
    def unbiased_variance(self):
        """The variance with Bessel's correction N/(N-1), as fused layers store it; the factor is 1 at N=1."""
        return self.variance * (self.count / (self.count - 1) if self.count > 1 else 1.0)

    def merge(self, other):
        """The `Moments` of both batches together; one with count 0 changes nothing.

        Raises:
          TypeError: the other is not `Moments`.
          ValueError: the channels disagree.
        """
        if not isinstance(other, Moments):
            raise TypeError(f"`other` is of type {type(other).__name__}; it must be Moments.")
        if other.mean.shape != self.mean.shape:
            raise ValueError(
                f"`other` has {other.mean.size} channels and these moments have {self.mean.size}; "
                "only moments of the same channels can be merged."
            )
        large, small = (self, other) if self.count >= other.count else (other, self)
        if small.count == 0:
            return large
        state = large._state.copy()
        _native.merge_states(state, large.count, small._state, small.count)
        return Moments._from_state(large.count + small.count, state)


def check_data_format(data_format):
    if not isinstance(data_format, str) or data_format not in _CHANNEL_AXIS:
        raise ValueError(f'`data_format` is {data_format!r}; it must be "NHWC" or "NCHW".')


def refuse_weights(weights):
    if weights is not None:
        raise NotImplementedError("`weights` is not supported yet; only None is.")
