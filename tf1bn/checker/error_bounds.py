"""How a layer forms its rate, and how far the statistics of a correctly rounded layer can be from the expected ones.

Per channel and accumulated over all steps there are three figures; docs/design/error-bounds.md derives them.

    expected error   DEVIATIONS standard errors of independent roundings, errors of one sign, and twice the distance of
                     the recurrence itself, run in the layer's dtype on exact moments. Within it the answer is ok.
    worst case       over all orders of summation and all signs of roundings. Beyond it the answer is a finding.
    replay           SAFETY times the largest error of many orders of summation, run on the very batches. It decides
                     in between, if the batches are at hand.

``ext/_moving.pyx`` advances the first two with each step, in the rows of an array [ROWS, C].
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .._native import moving as _native
from .roundoff import UNIT_ROUNDOFF

# The checker itself rounds in float64, so this is added to the unit roundoff of each dtype.
OWN_UNIT = UNIT_ROUNDOFF["float64"]
DEVIATIONS = 6.0  # one normal error in 5e8 is larger
SAFETY = 8.0  # correct orders that are not replayed were at most 4.8 times as far off (benchmarks/bounds.py)

RECURRENCES = {
    "difference": _native.Recurrence.DIFFERENCE,
    "weighted": _native.Recurrence.WEIGHTED_SUM,
    None: _native.Recurrence.DIFFERENCE | _native.Recurrence.WEIGHTED_SUM,
}
# The rows in which the recurrence is run in the layer's dtype.
_DIFFERENCE_ROWS = (_native.Row.LAYER, _native.Row.OTHER_LAYER)
_WEIGHTED_ROWS = (_native.Row.WEIGHTED, _native.Row.OTHER_WEIGHTED)
_LAYER_ROWS = {
    "difference": _DIFFERENCE_ROWS,
    "weighted": _WEIGHTED_ROWS,
    None: _DIFFERENCE_ROWS + _WEIGHTED_ROWS,
}

Doubles = npt.NDArray[np.float64]


class Rates(NamedTuple):
    """What one decay means for the expected statistics and for layers of one dtype.

    Attributes:
      rate: the weight of the batch in the expected statistics, 1 - decay.
      slack: how far the rate of a correct layer can be from it.
      layer_rates: the two rates that correct layers of the dtype have.
      keep: the weight of the old value that a layer with a weighted recurrence has.
      keep_slack: how far that of a correct layer can be from 1 - rate.
    """

    rate: float
    slack: float
    layer_rates: tuple[float, float]
    keep: float
    keep_slack: float


@functools.lru_cache(maxsize=256)
def rates_of(decay: float, dtype: str, rate_dtype: str | None) -> Rates:
    """The `Rates` of a decay.

    A layer forms 1 - decay in Python, in float64, or as 1 - float32(decay) (the core layer of TF 1.8 and later), and
    rounds it to its dtype. A layer with a weighted recurrence holds the weight of the old value as well: the decay, or
    1 minus its rate, rounded to its dtype.

    Args:
      decay: from 0 to 1.
      dtype: that of the layer's statistics, "float16", "float32" or "float64".
      rate_dtype: "float64" or "float32": in what the layer forms 1 - decay; the expected statistics then have exactly
        its rate. None: it may be either, and they have 1 - decay.
    """
    cast = np.dtype(dtype).type
    by_dtype = {
        "float64": float(cast(1.0 - decay)),
        "float32": float(cast(np.float32(1.0) - np.float32(decay))),
    }
    if rate_dtype is not None:
        rate = by_dtype[rate_dtype]
        layer_rates = (rate, rate)
    else:
        rate = 1.0 - decay
        layer_rates = (by_dtype["float64"], by_dtype["float32"])
    layer_keeps = [float(cast(decay)), *(float(cast(1.0 - layer_rate)) for layer_rate in layer_rates)]
    return Rates(
        rate,
        max(abs(layer_rate - rate) for layer_rate in layer_rates),
        layer_rates,
        layer_keeps[0],
        max(abs(keep - (1.0 - rate)) for keep in layer_keeps),
    )


def debias(rate: float, slack: float, steps: int, dtype: str) -> tuple[float, float]:
    """The divisor 1 - (1 - rate)^steps of a zero-debiased mean, and the relative error that a layer's division has.

    A layer forms the divisor in its dtype by a power and two differences. With u the unit roundoff, the power takes
    ``steps`` times the rounding of its base and three of its own; the difference, the division and the store take one
    each; a rate that is off by ``slack`` shifts the divisor by ``steps slack (1 - rate)^(steps - 1)``.
    """
    unit = UNIT_ROUNDOFF[dtype] + UNIT_ROUNDOFF["float64"]
    with np.errstate(divide="ignore", invalid="ignore"):
        divisor = -np.expm1(steps * np.log1p(-np.float64(rate)))
        base = np.float64(1.0 - rate)
        error = ((steps + 3) * unit * base**steps + steps * slack * base ** (steps - 1)) / divisor
    return float(divisor), float(error + 3 * unit)


def start_rows(values: Doubles, dtype: str) -> Doubles:
    """The rows [ROWS, C] before the first step, for start values [2, C], which the layer holds rounded to ``dtype``."""
    stats = np.zeros((_native.Row.ROWS, values.shape[1]))
    with np.errstate(over="ignore", invalid="ignore"):
        stored = values.astype(dtype).astype(np.float64)
        stats[_native.Row.VALUE : _native.Row.VALUE + 2] = values
        for row in (_native.Row.WORST, _native.Row.LINEAR):
            stats[row : row + 2] = np.abs(values - stored)
        for row in _LAYER_ROWS[None]:
            stats[row : row + 2] = stored
    return stats


def row_pair(stats: Doubles, row: int) -> Doubles:
    """The row of the mean and the row of the variance, [2, C]."""
    return stats[row : row + 2]


def expected_and_worst(stats: Doubles, recurrence: str | None = "difference") -> tuple[Doubles, Doubles]:
    """The expected error and the worst case, [2, C] each, of the statistics in ``stats`` [ROWS, C]."""
    value, worst = row_pair(stats, _native.Row.VALUE), row_pair(stats, _native.Row.WORST)
    with np.errstate(invalid="ignore", over="ignore"):
        drift = np.max([np.abs(row_pair(stats, row) - value) for row in _LAYER_ROWS[recurrence]], axis=0)
        standard = np.hypot(row_pair(stats, _native.Row.COHERENT), np.sqrt(row_pair(stats, _native.Row.SQUARE)))
        expected = row_pair(stats, _native.Row.LINEAR) + DEVIATIONS * standard + 2 * drift
        return np.minimum(expected, worst), worst.copy()


def replayed(expected: Doubles, worst: Doubles, largest_error: Doubles) -> Doubles:
    """The bound [2, C] that decides after a replay, whose orders of summation had errors up to ``largest_error``."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.minimum(worst, np.maximum(expected, SAFETY * largest_error))
