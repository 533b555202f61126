"""The outputs that a layer should have, with the bound of its rounding, and whether numbers lie within bounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from .moments import Moments
from .moving_stats import MovingStats
from .roundoff import SMALLEST, UNIT_ROUNDOFF

EVERY_BATCH = 2**62  # bytes: the one batch of a run is in memory anyway, to be replayed where the bounds need it


def expected_output(
    batch: npt.ArrayLike,
    mean: npt.ArrayLike,
    variance: npt.ArrayLike,
    mean_bound: npt.ArrayLike = 0.0,
    variance_bound: npt.ArrayLike = 0.0,
    *,
    epsilon: float,
    dtype: str = "float32",
    stored: str | None = None,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """``(batch - mean) / sqrt(variance + epsilon)`` in float64, and how far a correct layer can be from it.

    The bound follows the layer's own formula, y = x * r - mean * r with r = rsqrt(variance + epsilon). With the
    variance off by variance_bound at most, r lies between its values at the two ends, cut off at variance 0; r itself
    takes at most 5 roundings (epsilon and one addition, half of each; an rsqrt good to 2 ulp, which are up to 4
    roundings), the products and the difference one each (Higham 2002, section 2.2). The fused form (x - mean) * r has
    fewer, and so has any that contracts a product and a sum. The bound is finite whenever the arguments are.

    Args:
      batch: [..., C]; mean, variance and their bounds: [C] or scalar.
      dtype: that in which the layer computes, "float32" or "float16".
      stored: the dtype of its outputs, if that is another one: "float16", which takes one rounding more.

    Returns:
      expected, bound: float64, the shape of ``batch``.
    """
    x, mean, variance = (np.asarray(values, np.float64) for values in (batch, mean, variance))
    mean_bound, variance_bound = (np.asarray(values, np.float64) for values in (mean_bound, variance_bound))
    with np.errstate(invalid="ignore", divide="ignore"):
        r = 1 / np.sqrt(variance + epsilon)
        largest = 1 / np.sqrt(np.maximum(variance - variance_bound, 0) + epsilon)
        smallest = 1 / np.sqrt(variance + variance_bound + epsilon)
        expected = (x - mean) * r
        unit, underflow = UNIT_ROUNDOFF[dtype], SMALLEST[dtype]
        rounding = 8 * unit * (np.abs(x) + np.abs(mean)) * largest + 2 * unit * np.abs(expected) + 3 * underflow
        bound = mean_bound * largest + np.abs(x - mean) * np.maximum(largest - r, r - smallest) + rounding
        if stored is not None:
            bound += UNIT_ROUNDOFF[stored] * (np.abs(expected) + bound) + SMALLEST[stored]
    return expected, bound


def within(observed: npt.ArrayLike, expected: npt.ArrayLike, bound: npt.ArrayLike) -> bool:
    """Whether every element is within its bound of the expected value; NaN, or a bound that is not finite, is not."""
    with np.errstate(invalid="ignore"):
        return bool(np.all(np.isfinite(bound) & (np.abs(np.asarray(observed, np.float64) - expected) <= bound)))


def same_bits(before: Mapping[str, npt.NDArray[Any]], after: Mapping[str, npt.NDArray[Any]]) -> bool:
    """Whether all arrays of ``before`` are finite and equal those of the same names in ``after`` bit for bit."""
    return all(np.isfinite(before[name]).all() and before[name].tobytes() == after[name].tobytes() for name in before)


def batch_statistics(batch: npt.NDArray[Any] | Moments, dtype: str = "float32") -> MovingStats:
    """A batch's mean and population variance, with the bounds that a layer of ``dtype`` has for them.

    Args:
      batch: [..., C], or its `Moments`.

    Returns:
      `MovingStats` after one step of decay 0.
    """
    channels = batch.mean.size if isinstance(batch, Moments) else batch.shape[-1]
    zeros = np.zeros(channels)
    stats = MovingStats(zeros, zeros, decay=0.0, dtype=dtype, replay_bytes=EVERY_BATCH)
    stats.update(batch)
    return stats
