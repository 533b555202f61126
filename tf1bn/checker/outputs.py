"""What a layer should give out, with the bound of its rounding, and whether numbers lie within bounds."""

import numpy as np

from . import error_bounds
from .moments import Moments
from .moving_stats import MovingStats

EVERY_BATCH = 2**62  # bytes: the one batch of a run is in memory anyway, to be replayed where the bounds need it


def expected_output(
    batch, mean, variance, mean_bound=0.0, variance_bound=0.0, *, epsilon, dtype="float32", stored=None
):
    """``(batch - mean) / sqrt(variance + epsilon)`` in float64, and how far an honest layer can be from it.

    The bound follows the layer's own formula, y = x * r - mean * r with r = rsqrt(variance + epsilon). With the
    variance off by variance_bound at most, r lies between its values at the two ends, cut off at variance 0; r itself
    takes at most 5 roundings (epsilon and one addition, half of each; an rsqrt good to 2 ulp, which are up to 4
    roundings), the products and the difference one each (Higham 2002, section 2.2). The fused form (x - mean) * r has
    fewer, and so has any that contracts a product and a sum. The bound is finite whenever the arguments are.

    Args:
      batch: [..., C]; mean, variance and their bounds: [C] or scalar.
      dtype: what the layer computes in, "float32" or "float16".
      stored: what it gives out, if that is another one: "float16", which takes one rounding more.

    Returns:
      expected, bound: float64, the shape of ``batch``.
    """
    x = np.asarray(batch, np.float64)
    mean, variance = np.asarray(mean, np.float64), np.asarray(variance, np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        r = 1 / np.sqrt(variance + epsilon)
        largest = 1 / np.sqrt(np.maximum(variance - variance_bound, 0) + epsilon)
        smallest = 1 / np.sqrt(variance + variance_bound + epsilon)
        expected = (x - mean) * r
        unit, underflow, _ = error_bounds.TYPES[dtype]
        rounding = 8 * unit * (np.abs(x) + np.abs(mean)) * largest + 2 * unit * np.abs(expected) + 3 * underflow
        bound = mean_bound * largest + np.abs(x - mean) * np.maximum(largest - r, r - smallest) + rounding
        if stored is not None:
            unit, underflow, _ = error_bounds.TYPES[stored]
            bound += unit * (np.abs(expected) + bound) + underflow
    return expected, bound


def within(observed, expected, bound):
    """Whether every element is as close as ``bound`` allows. NaN never is; a bound that is not finite allows none."""
    with np.errstate(invalid="ignore"):
        return bool(np.all(np.isfinite(bound) & (np.abs(np.asarray(observed, np.float64) - expected) <= bound)))


def same_bits(before, after):
    """Whether both statistics are finite and equal bit for bit."""
    return all(np.isfinite(before[name]).all() and before[name].tobytes() == after[name].tobytes() for name in before)


def batch_statistics(batch, dtype="float32"):
    """A batch's, or its ``Moments``', mean and population variance with the bounds of a layer's own, of ``dtype``."""
    channels = batch.mean.size if isinstance(batch, Moments) else batch.shape[-1]
    zeros = np.zeros(channels)
    stats = MovingStats(zeros, zeros, decay=0.0, dtype=dtype, replay_bytes=EVERY_BATCH)
    stats.update(batch)
    return stats
