"""What accuracy the moments promise, and data that are hard to be accurate on. Nothing here uses the package."""

from fractions import Fraction

import numpy as np
from reference import channels_first, exact_moments, in_units

DTYPES = ["float16", "float32", "float64"]
# What the checker states: relative to the mean of |x| and to the variance.
ACCURACY = Fraction(1, 10**14)
ACCURACY_FLOAT64 = Fraction(1, 10**13)


def assert_accurate(moments, batch, data_format="NHWC"):
    """The moments are within the stated accuracy of the exact ones in every channel."""
    channels = channels_first(batch, data_format)
    assert moments.mean.shape == moments.variance.shape == (channels.shape[0],)
    for i, values in enumerate(channels):
        count, mean, variance = exact_moments(values)
        _, magnitude, _ = exact_moments(np.abs(values))
        assert moments.count == count
        assert_close(moments.mean[i], moments.variance[i], count, mean, variance, magnitude, batch.dtype)


def assert_close(seen_mean, seen_variance, count, mean, variance, magnitude, dtype):
    """One channel against exact fractions; `magnitude` is the mean of |x|."""
    mean_error = abs(Fraction(float(seen_mean)) - mean)
    variance_error = abs(Fraction(float(seen_variance)) - variance)
    # A subnormal result has no relative accuracy: every operation can lose half of 2**-1074.
    lost = (count + 8) * Fraction(2) ** -1075
    assert mean_error <= ACCURACY * magnitude + lost
    if dtype.itemsize < 8:
        assert variance_error <= ACCURACY * variance + lost
    else:
        # ACCURACY_FLOAT64 * variance * sqrt(1 + mean**2 / variance), squared to stay exact.
        allowed = ACCURACY_FLOAT64**2 * variance * (variance + mean**2)
        assert max(variance_error - lost, 0) ** 2 <= allowed


def exact_weighted(values, weights):
    """Weighted mean, variance and mean of |x| of one channel, as exact fractions."""
    # The unit of the weights cancels out.
    (values, unit), (weights, _) = in_units(values), in_units(weights)
    total = sum(weights)
    mean = Fraction(sum(w * x for w, x in zip(weights, values, strict=True)), total)
    square = Fraction(sum(w * x * x for w, x in zip(weights, values, strict=True)), total)
    magnitude = Fraction(sum(w * abs(x) for w, x in zip(weights, values, strict=True)), total)
    return mean * unit, (square - mean**2) * unit**2, magnitude * unit


def _outlier_first(rng, size):
    values = rng.normal(size=size)
    values[:, 0] = 1e30
    return values


def _one_differs(rng, size):
    # Mean/std of 1e9 in float32.
    values = np.full(size, 1.0)
    values[:, size[1] // 2] = 1.0 + 2.0**-23
    return values


def _scales(rng, size):
    # No shift of one stretch suits the next.
    return (
        rng.normal(1, 0.01, size)
        * 10.0 ** np.repeat(rng.integers(-20, 20, (size[0], size[1] // 500 + 1)), 500, 1)[:, : size[1]]
    )


# name: function of a generator and a size [channels, elements]
HARD = {
    "uniform": lambda rng, size: rng.uniform(0, 255, size),
    "mean/std 1e7": lambda rng, size: 1e7 + rng.integers(0, 5, size),
    "mean/std 1e8": lambda rng, size: 1e8 + 8 * (rng.random(size) < 0.015),
    "one differs": _one_differs,
    "outlier first": _outlier_first,
    "sorted": lambda rng, size: np.sort(rng.lognormal(0, 3, size), axis=1),
    "alternating": lambda rng, size: np.where(np.arange(size[1]) % 2, 1, -1) * rng.uniform(0.999, 1.001, size),
    "scales": _scales,
    "relu": lambda rng, size: np.maximum(rng.normal(size=size), 0),
    "huge": lambda rng, size: rng.uniform(-3e38, 3e38, size),
    "tiny": lambda rng, size: rng.uniform(1e-38, 1.1e-38, size),
    "denormal": lambda rng, size: rng.uniform(-1e-39, 1e-39, size),
    "mostly equal": lambda rng, size: np.where(rng.random(size) < 1e-3, 0.3, 0.1),
}

# (shape, data_format): each way through the kernels, a little less and more than rows, lanes, runs and chunks.
PATHS = [
    # Rows that lie side by side in the lanes: 64, 32, 8 and 1 of them.
    ((40_000, 1), "NHWC"),
    ((63, 1), "NHWC"),
    ((3, 17, 19, 3), "NHWC"),
    ((2100, 2), "NHWC"),
    ((700, 65), "NHWC"),
    ((3, 7, 11, 63), "NHWC"),
    ((3, 7, 11, 64), "NHWC"),
    ((1100, 64), "NHWC"),
    ((3, 5, 7, 130), "NHWC"),
    # Wide rows, more than the lanes.
    ((300, 1030), "NHWC"),
    ((9, 2048), "NHWC"),
    # Short runs: in neighbouring channels side by side.
    ((700, 5, 7, 7), "NCHW"),
    ((5, 3, 31, 29), "NCHW"),
    ((3, 70, 2, 2), "NCHW"),
    ((20, 4, 300), "NCHW"),
    ((1500, 2, 2), "NCHW"),
    ((2, 70, 4, 5, 6), "NCHW"),
    # Long runs: parts of a run, one run, several runs in a chunk.
    ((2, 3, 50_000), "NCHW"),
    ((70, 3, 600), "NCHW"),
    ((3, 40, 513), "NCHW"),
    ((1, 2, 70), "NCHW"),
    ((2100, 2), "NCHW"),
    # Many axes.
    ((2, 4, 5, 6, 70), "NHWC"),
    ((7,) * 2 + (1,) * 10 + (3,), "NHWC"),
]
