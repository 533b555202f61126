"""The replay: correctly rounded layers of many orders of summation, run on the very batches of another layer."""

from __future__ import annotations

import math
import mmap
from typing import NamedTuple

import numpy as np

from .._native import replay as _native
from .error_bounds import Rates
from .moments import Moments, batch_moments
from .roundoff import SIGNIFICAND_BITS, as_dtype, rounded_to, sum_dtype

BLOCK = 2**16  # values that are converted at a time
WORKERS = 8  # blocks of consecutive rows in the order "blocked", as if so many threads shared them

SHIFTED = "in order, shifted"
# In the sequence of ext/replay_kernels.h. Eigen's workers take a block of rows each; its vector units, and a GPU's
# warps, every n-th row.
_SUMS = ("in order", "backwards", "blocked", "2 lanes", "4 lanes", "8 lanes", "16 lanes", "pairwise")
_WELFORDS = ("welford", "welford, backwards", "welford, lanes")
ORDERS = (*_SUMS, SHIFTED, *_WELFORDS)


def layer_moments(batch, dtype, weights=None, squares=False, variant=None):
    """The batch's mean and population variance as correctly rounded layers have them, a row for each of ``ORDERS``.

    Every operation is rounded to ``dtype``. Sums are made twice, of the values and then of the squared deviations
    from their mean, as ``tf.nn.moments`` does; shifted, the sum of the deviations corrects both, as it did up to TF 1.3
    ("sufficient statistics"). Welford's update (Technometrics 4, 1962) makes both in one pass.

    Args:
      batch: floating-point array [..., C] with at least one row.
      dtype: NumPy float32 or float64, what the layer sums in.
      weights: one per item of axis 0, or None. With weights the sums alone are made, since no layer of TF 1.x does
        anything else, and the other rows repeat the first.
      squares: whether the variance is E[x^2] - E[x]^2; then, too, the sums alone are made.
      variant: the name of the kernels to use; None for the fastest.

    Returns:
      means, variances: ``dtype`` [orders, C].
    """
    count, channels = math.prod(batch.shape[:-1]), batch.shape[-1]
    moments = np.empty((2, len(ORDERS), channels), dtype)
    divisors = np.full(len(_SUMS), count, dtype)
    welford = weights is None and not squares
    with np.errstate(all="ignore"):
        if weights is not None:
            weights = np.repeat(np.asarray(weights, dtype), count // max(1, batch.shape[0]))
            # Their sum is made in the same order, and rounded as often.
            ones = np.broadcast_to(dtype.type(1), (count, 1))
            totals = np.empty((_native.sums, 1), dtype)
            _native.totals(_state_after(ones, dtype, weights, variant=variant), count, totals)
            divisors[:] = totals[: len(_SUMS), 0]
        # Not kept: a state is as large as many rows of the batch.
        _native.means(_state_after(batch, dtype, weights, None, welford, variant), count, divisors, welford, moments)
        centers = np.zeros_like(moments[0, : len(_SUMS)]) if squares else moments[0, : len(_SUMS)]
        state = _state_after(batch, dtype, weights, centers, False, variant)
        _native.variances(state, count, divisors, welford, squares, moments)
    return moments[0], moments[1]


def _state_after(batch, dtype, weights, centers=None, welford=False, variant=None):
    """The extension's state of all orders after the whole of a batch [..., C]; ``weights``: one per row, or None."""
    count, channels = math.prod(batch.shape[:-1]), batch.shape[-1]
    state = np.zeros((_native.slots, channels), dtype)
    length, done = max(1, -(-count // WORKERS)), 0
    for front, back in zip(_blocks(batch, dtype, False), _blocks(batch, dtype, True), strict=True):
        left = count - done
        own = (None, None) if weights is None else (weights[done : done + len(front)], weights[left - len(back) : left])
        _native.take(front, back, *own, centers, done, length, welford, state, variant)
        done += len(front)
    return state


def _blocks(batch, dtype, backwards):
    """The rows of ``batch`` [..., C] in blocks [rows, C] of ``dtype``, contiguous; no more than a block is copied.

    Backwards the last rows come first; within a block they are as they were. Blocks are as long as forwards.
    """
    flags = batch.flags
    if batch.dtype == dtype and flags.c_contiguous and flags.aligned:
        yield batch.reshape(-1, batch.shape[-1])
        return
    size = math.prod(batch.shape[1:])
    if size > BLOCK and batch.ndim > 2:
        for part in batch[::-1] if backwards else batch:
            yield from _blocks(part, dtype, backwards)
        return
    step, items = max(1, BLOCK // max(1, size)), batch.shape[0]
    for start in range(0, items, step):
        part = batch[max(0, items - start - step) : items - start] if backwards else batch[start : start + step]
        # Aligned, too: a file or a buffer may start anywhere.
        yield np.require(as_dtype(part, dtype), requirements=["C", "A"]).reshape(-1, batch.shape[-1])


class _Step(NamedTuple):
    moments: Moments
    batch: np.ndarray  # channels last
    weights: np.ndarray | None
    factor: float  # Bessel's, or 1
    rates: Rates


class ReplayedLayers:
    """A layer for each of ``ORDERS`` and each form of the recurrence, from the start values through all steps.

    The steps are taken when ``largest_error`` is called and not before: until then the batches are referenced, up to
    ``limit`` bytes, memory-mapped files not counted.

    Args:
      start: [2, C], the start values of mean and variance; dtype: that of the layers.
      limit: in bytes; forms: how many forms of the recurrence the `Rates` of the steps have.
      squares: whether the layers take the variance as E[x^2] - E[x]^2.

    Attributes:
      obstacle: why the layers cannot be run, as the end of a sentence; None if they can.
    """

    def __init__(self, start, dtype, limit, forms, squares=False):
        self._stored = dtype
        # What NumPy has no type for is computed in float32, and rounded.
        self._dtype = np.dtype("float32" if dtype == "bfloat16" else dtype)
        self._start = start
        self._squares = squares
        self._values = None  # of every layer, once there are any
        self._forms = forms
        self._limit = limit
        self._bytes = 0
        self._steps = []
        self.obstacle = None

    def add_step(self, moments, batch, weights, factor, rates):
        """Add a step, to be taken later.

        Args:
          moments: the `Moments` of the batch; batch: [..., C], or None if it is not at hand.
          weights: one per item, or None; factor: Bessel's, or 1; rates: the `Rates` of the step.
        """
        if self.obstacle is not None:
            return
        if batch is not None and not _is_mapped(batch):
            self._bytes += batch.nbytes
        if batch is None:
            self._give_up("a step was taken from moments, without its batch")
        elif self._bytes > self._limit:
            self._give_up(f"the batches are larger than `replay_bytes`, {self._limit} bytes")
        else:
            self._steps.append(_Step(moments, batch, weights, factor, rates))

    def largest_error(self, value, divisor=1.0):
        """The largest distance [2, C] of a layer's statistics from ``value`` [2, C]; None if they cannot be run.

        divisor: by what the layers divide the mean before it is compared.
        """
        for step in self._steps:
            self._take(step)
            if self.obstacle is not None:
                break
        self._steps.clear()
        self._bytes = 0
        if self.obstacle is not None:
            return None
        with np.errstate(all="ignore"):
            values = self._started().copy()
            if divisor != 1.0:
                values[:, :, 0] /= self._dtype.type(divisor)
            # A layer that overflows is as far off as can be.
            distance = np.abs(values.astype(np.float64) - value)
            return np.where(np.isnan(distance), np.inf, distance).max(axis=(0, 1))

    def _take(self, step):
        if not same_moments(batch_moments(step.batch, weights=step.weights), step.moments):
            self._give_up("a batch was changed after its update")
            return
        sums = np.dtype(sum_dtype(self._dtype.name))
        means, variances = layer_moments(step.batch, sums, step.weights, self._squares)
        with np.errstate(all="ignore"):
            variances *= variances.dtype.type(step.factor)
            moments = np.stack([means, variances], axis=1).astype(self._dtype)
            for values, (keep, rate, bits) in zip(self._started(), step.rates.forms, strict=True):
                own = self._rounding(bits)
                layer, rate = own(moments), self._dtype.type(rate)
                if keep is None:
                    new = values - own(own(values - layer) * rate)
                else:
                    new = own(values * self._dtype.type(keep)) + own(layer * rate)
                values[...] = self._rounding(SIGNIFICAND_BITS[self._stored])(new)

    def _rounding(self, bits):
        """A function that rounds to so many bits of significand what is computed in the layers' dtype of NumPy."""
        if bits == SIGNIFICAND_BITS[self._dtype.name]:
            return lambda values: values
        return lambda values: rounded_to(values, "bfloat16").astype(self._dtype)

    def _started(self):
        """The statistics [forms, orders, 2, C] of all layers, before the first step the start values."""
        if self._values is None:
            with np.errstate(over="ignore"):
                start = rounded_to(self._start, self._stored).astype(self._dtype)
            self._values = np.broadcast_to(start, (self._forms, len(ORDERS), *start.shape)).copy()
        return self._values

    def _give_up(self, reason):
        self.obstacle = reason
        self._steps.clear()
        self._values = None


def same_moments(moments, other):
    """Whether two `Moments` are the same bits."""
    return moments.count == other.count and moments._state.tobytes() == other._state.tobytes()


def repeated_moments(mean, variance):
    """Whether moments [steps, channels] have the same bits as those of the step before, bool [steps]."""
    same = np.zeros(len(mean), bool)
    if len(mean) > 1:
        same[1:] = same_bits(mean[1:], mean[:-1]) & same_bits(variance[1:], variance[:-1])
    return same


def same_bits(values, others):
    """Whether rows of two arrays of one dtype [rows, channels] have the same bits; bool [rows]."""
    values, others = (each.view(f"u{each.dtype.itemsize}") for each in (values, others))
    same = values[:, 0] == others[:, 0]
    # Mostly the first channel tells them apart.
    return same & (values == others).all(axis=1) if same.any() else same


def _is_mapped(array):
    """Whether the array's memory is that of a mapped file, directly or through views and buffers."""
    while array is not None:
        if isinstance(array, (np.memmap, mmap.mmap)):
            return True
        array = array.obj if isinstance(array, memoryview) else getattr(array, "base", None)
    return False
