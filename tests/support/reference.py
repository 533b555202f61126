"""Naive references for the checker in exact rational arithmetic.

Nothing here uses the package under test.
"""

from fractions import Fraction

import numpy as np


def exact_moments(values):
    """Count, mean and population variance of the finite values of one channel, as exact fractions."""
    values = np.asarray(values, np.float64).ravel()
    if values.size < 2000:
        integers, unit = in_units(values)
        mean = Fraction(sum(integers), values.size) * unit
        return values.size, mean, Fraction(sum(n * n for n in integers), values.size) * unit**2 - mean**2
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


def in_units(values):
    """Floats as integers times one power of two: the integers, and that power as a fraction."""
    ratios = [value.as_integer_ratio() for value in np.asarray(values, np.float64).ravel().tolist()]
    most = max((denominator for _, denominator in ratios), default=1)
    return [numerator * (most // denominator) for numerator, denominator in ratios], Fraction(1, most)


def _integer_sum(integers):
    return sum(int(part.sum()) for part in np.array_split(integers, integers.size // 256 + 1))


def channels_first(batch, data_format):
    """[channels, elements] of a batch."""
    axis = {"NHWC": -1, "NCHW": 1}[data_format]
    moved = np.moveaxis(batch, axis, 0)
    return moved.reshape(moved.shape[0], -1)


def exact_moving(start, moments, *, rate, bessel=None, local_step=None):
    """The moving mean and variance after the moments [(count, mean, variance), ...], as exact fractions.

    With ``local_step`` the mean is zero-debiased: ``start`` holds what it is made from, after so many steps.
    """
    mean, variance = (Fraction(value) for value in start)
    for count, m, v in moments:
        if bessel and count > 1:
            v = v * count / (count - 1)
        mean -= (mean - m) * rate
        variance -= (variance - v) * rate
    if local_step is not None:
        mean /= 1 - (1 - rate) ** (local_step + len(moments))
    return mean, variance
