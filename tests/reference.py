"""Naive references for the checker: exact rational arithmetic, and honest layers in a given dtype.

Nothing here uses the package under test.
"""

from fractions import Fraction

import numpy as np


def exact_moments(values):
    """Count, mean and population variance of the finite values of one channel, as exact fractions."""
    values = np.asarray(values, np.float64).ravel()
    total = square = Fraction(0)
    mantissas, exponents = np.frexp(values)
    mantissas = np.ldexp(mantissas, 53).astype(np.int64)
    for exponent in np.unique(exponents):
        group = mantissas[exponents == exponent]
        # In two halves, since the sums of squares must not leave int64.
        high, low = group >> 27, group & (2**27 - 1)
        scale = Fraction(2) ** (int(exponent) - 53)
        total += scale * _integer_sum(group)
        square += scale**2 * (
            (_integer_sum(high * high) << 54) + (_integer_sum(high * low) << 28) + _integer_sum(low * low)
        )
    count = values.size
    mean = total / count
    return count, mean, square / count - mean**2


def _integer_sum(integers):
    return sum(int(part.sum()) for part in np.array_split(integers, integers.size // 256 + 1))


def channels_first(batch, data_format):
    """[channels, elements] of a batch."""
    axis = {"NHWC": -1, "NCHW": 1}[data_format]
    moved = np.moveaxis(batch, axis, 0)
    return moved.reshape(moved.shape[0], -1)


def exact_moving(start, moments, *, rate, bessel=None):
    """The moving mean and variance after the moments [(count, mean, variance), ...], as exact fractions."""
    mean, variance = (Fraction(value) for value in start)
    for count, m, v in moments:
        if bessel and count > 1:
            v = v * count / (count - 1)
        mean -= (mean - m) * rate
        variance -= (variance - v) * rate
    return mean, variance


# Honest layers. Each takes [channels, elements] and returns mean and population variance, every operation
# rounded to the dtype of its input.


def _in_order(terms):
    # accumulate adds strictly from left to right; reduce would be pairwise.
    return np.add.accumulate(terms, axis=1)[:, -1]


def _pairwise(terms):
    terms = np.ascontiguousarray(terms)
    while terms.shape[1] > 1:
        half = terms.shape[1] // 2
        rest = terms[:, 2 * half :]
        terms = np.concatenate([terms[:, :half] + terms[:, half : 2 * half], rest], axis=1)
    return terms[:, 0]


def _blocked(terms):
    # Lanes as of a vector unit, each summed in order and then the lanes in order.
    lanes = 16
    padding = -terms.shape[1] % lanes
    terms = np.concatenate([terms, np.zeros((terms.shape[0], padding), terms.dtype)], axis=1)
    terms = terms.reshape(terms.shape[0], -1, lanes)
    return _in_order(np.add.accumulate(terms, axis=1)[:, -1])


def _numpy_reduce(terms):
    return np.add.reduce(np.ascontiguousarray(terms), axis=1)


def _two_pass(add, values):
    count = values.dtype.type(values.shape[1])
    mean = add(values) / count
    deviations = values - mean[:, None]
    return mean, add(deviations * deviations) / count


def _two_pass_reciprocal(add, values):
    reciprocal = values.dtype.type(1) / values.dtype.type(values.shape[1])
    mean = add(values) * reciprocal
    deviations = values - mean[:, None]
    return mean, add(deviations * deviations) * reciprocal


def _shifted(add, values):
    # tf.nn.moments of the first releases: sufficient statistics shifted by the computed mean.
    count = values.dtype.type(values.shape[1])
    shift = add(values) / count
    deviations = values - shift[:, None]
    rest = add(deviations) / count
    return shift + rest, add(deviations * deviations) / count - rest * rest


def _welford(values):
    mean = values[:, 0].copy()
    m2 = np.zeros_like(mean)
    for k in range(1, values.shape[1]):
        delta = values[:, k] - mean
        mean += delta / values.dtype.type(k + 1)
        m2 += delta * (values[:, k] - mean)
    return mean, m2 / values.dtype.type(values.shape[1])


def _merge(count_a, a, count_b, b):
    dtype = a[0].dtype.type
    total = count_a + count_b
    delta = b[0] - a[0]
    mean = a[0] + delta * (dtype(count_b) / dtype(total))
    m2 = a[1] + b[1] + delta * delta * (dtype(count_a) * (dtype(count_b) / dtype(total)))
    return total, (mean, m2)


def _chan_tree(values):
    if values.shape[1] == 1:
        return 1, (values[:, 0].copy(), np.zeros_like(values[:, 0]))
    half = values.shape[1] // 2
    return _merge(*_chan_tree(values[:, :half]), *_chan_tree(values[:, half:]))


def _chan(values):
    count, (mean, m2) = _chan_tree(values)
    return mean, m2 / values.dtype.type(count)


def _welford_threads(values):
    # What a GPU does: every thread runs Welford's update over its elements, then the threads are merged.
    parts = [part for part in np.array_split(values, min(64, values.shape[1]), axis=1) if part.shape[1]]
    width = max(part.shape[1] for part in parts)
    stacked = np.concatenate([part for part in parts if part.shape[1] == width])
    mean, variance = _welford(stacked)
    channels = values.shape[0]
    merged = None
    for i in range(stacked.shape[0] // channels):
        rows = slice(i * channels, (i + 1) * channels)
        one = width, (mean[rows], variance[rows] * values.dtype.type(width))
        merged = one if merged is None else _merge(*merged, *one)
    for part in parts:
        if part.shape[1] < width:
            m, v = _welford(part)
            merged = _merge(*merged, part.shape[1], (m, v * values.dtype.type(part.shape[1])))
    count, (mean, m2) = merged
    return mean, m2 / values.dtype.type(count)


def _shuffled(values):
    return values[:, np.random.default_rng(values.shape[1]).permutation(values.shape[1])]


HONEST_MOMENTS = {
    "in order": lambda x: _two_pass(_in_order, x),
    "in order, by 1/N": lambda x: _two_pass_reciprocal(_in_order, x),
    "in order, shuffled": lambda x: _two_pass(_in_order, _shuffled(x)),
    "in order, backwards": lambda x: _two_pass(_in_order, x[:, ::-1]),
    "in order, shifted": lambda x: _shifted(_in_order, x),
    "pairwise": lambda x: _two_pass(_pairwise, x),
    "numpy": lambda x: _two_pass(_numpy_reduce, x),
    "blocked": lambda x: _two_pass_reciprocal(_blocked, x),
    "welford threads": _welford_threads,
}
# One operation of Python per element or more: for small N.
SLOW_HONEST_MOMENTS = {
    "welford": _welford,
    "welford, shuffled": lambda x: _welford(_shuffled(x)),
    "chan": _chan,
}


def honest_moments(moments, values):
    """Mean and variance of [channels, elements] as an honest layer has them before its update."""
    # TensorFlow sums float16 in float32 and rounds the result.
    summed = values.astype(np.float32) if values.dtype == np.float16 else values
    return moments(summed)


def honest_step(moving, count, moments, *, decay, rate_dtype, bessel):
    """One step of an honest layer whose statistics have the dtype of `moving`, a pair of [channels]."""
    mean, variance = moments
    dtype = moving[0].dtype
    if bessel and count > 1:
        variance = variance * (variance.dtype.type(count) / variance.dtype.type(count - 1))
    rate = dtype.type(np.dtype(rate_dtype).type(1) - np.dtype(rate_dtype).type(decay))
    return tuple(old - (old - new.astype(dtype)) * rate for old, new in zip(moving, (mean, variance), strict=True))
