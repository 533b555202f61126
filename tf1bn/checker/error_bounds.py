"""How a layer forms its rate, and how far the statistics of a correctly rounded layer can be from the expected ones.

Per channel and accumulated over all steps there are three figures; docs/design/error-bounds.md derives them.

    expected error   DEVIATIONS standard errors of independent roundings, errors of one sign, and twice the distance of
                     the recurrence itself, run in the layer's dtype on exact moments. Within it the answer is ok.
    worst case       over all orders of summation and all signs of roundings. Beyond it the answer is a finding.
    replay           SAFETY times the largest error of many orders of summation, run on the very batches. It decides
                     in between, if the batches are at hand.

``ext/_moving.pyx`` advances the first two with each step, in an array [2, figures, C] for mean and variance.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from .._native import moving as _native
from .roundoff import SIGNIFICAND_BITS, SMALLEST, UNIT_ROUNDOFF, rounded_to, step_dtypes, sum_dtype

if TYPE_CHECKING:
    from .moments import Moments

# The checker itself rounds in float64, so this is added to the unit roundoff of each dtype.
OWN_UNIT = UNIT_ROUNDOFF["float64"]
ROUNDING = _native.rounding  # root mean square of a rounding error in units of the unit roundoff
DEVIATIONS = 6.0  # one normal error in 5e8 is larger
SAFETY = 8.0  # correct orders that are not replayed were at most 4.8 times as far off (benchmarks/bounds.py)
_FLAGS = np.zeros(1, np.uint8), np.ones(1, np.uint8)

RECURRENCES = {
    "difference": _native.Recurrence.DIFFERENCE,
    "weighted": _native.Recurrence.WEIGHTED_SUM,
    None: _native.Recurrence.DIFFERENCE | _native.Recurrence.WEIGHTED_SUM,
}
_Figure = _native.Figure
Doubles = npt.NDArray[np.float64]


class Rates(NamedTuple):
    """What one decay means for the expected statistics and for layers of one dtype.

    Attributes:
      keep, rate: the weights of the old value and of the batch in the expected statistics: real numbers that add up to
        1, each as a float64 and the float64 that is to be added to it.
      slack, keep_slack: how far a correct layer's rate, and its weight of the old value, can be from them.
      forms: for each way in which correct layers of the dtype take a step, their weight of the old value, which is None
        if they take the difference, their rate, and the bits of significand of the type that they compute in. Their
        number does not depend on the decay.
    """

    keep: tuple[float, float]
    rate: tuple[float, float]
    slack: float
    keep_slack: float
    forms: tuple[tuple[float | None, float, int], ...]


@functools.lru_cache(maxsize=256)
def rates_of(decay: float, dtype: str, rate_dtype: str | None, recurrence: str | None) -> Rates:
    """The `Rates` of a decay.

    A layer forms 1 - decay in Python, in float64, or as 1 - float32(decay) (the core layer of TF 1.8 and later), and
    rounds it to its dtype. A layer with a weighted recurrence has a weight of the old value as well: the decay, or 1
    minus its rate, rounded to its dtype.

    Args:
      decay: from 0 to 1.
      dtype: that of the layer's statistics, "bfloat16", "float16", "float32" or "float64".
      rate_dtype: "float64" or "float32": in what the layer forms 1 - decay; the expected statistics then have exactly
        its rate. None: it may be either, and they have exactly 1 - decay.
      recurrence: "difference", "weighted", or None for both.
    """
    differences: list[tuple[None, float, int]] = []
    weighted: list[tuple[float, float, int]] = []
    for own in step_dtypes(dtype):
        by_dtype = {"float64": 1.0 - decay, "float32": float(np.float32(1.0) - np.float32(decay))}
        for layer_rate in by_dtype.values() if rate_dtype is None else (by_dtype[rate_dtype],):
            layer_rate, bits = float(rounded_to(layer_rate, own)), SIGNIFICAND_BITS[own]
            differences.append((None, layer_rate, bits))
            weighted += [(float(rounded_to(kept, own)), layer_rate, bits) for kept in (decay, 1.0 - layer_rate)]
    if rate_dtype is None:
        keep, rate = (decay, 0.0), _one_minus(decay)
    else:
        keep, rate = _one_minus(differences[0][1]), (differences[0][1], 0.0)
    return Rates(
        keep,
        rate,
        max(abs((layer_rate - rate[0]) - rate[1]) for _, layer_rate, _ in differences),
        max(abs((layer_keep - keep[0]) - keep[1]) for layer_keep, _, _ in weighted),
        tuple({"difference": differences, "weighted": weighted, None: differences + weighted}[recurrence]),
    )


def _one_minus(x: float) -> tuple[float, float]:
    """1 - x exactly, for x from 0 to 1, as a float64 and what is to be added to it (Dekker's fast two-sum)."""
    high = 1.0 - x
    return high, (1.0 - high) - x


class Debias(NamedTuple):
    """The division of a zero-debiased mean.

    Attributes:
      divisor: 1 - keep^steps.
      expected_error, worst_error: how far, relatively, the division of a correct layer can be from the exact one.
    """

    divisor: float
    expected_error: float
    worst_error: float


def debias(rates: Rates, steps: int, dtype: str) -> Debias:
    """The division by 1 - keep^steps, as a layer of ``dtype`` does it.

    A layer forms the divisor by a power and two differences. With u the unit roundoff of the dtype and k = keep + slack
    the largest weight of the old value that a layer can have, its divisor is at most

        x = (steps + 3) u k^steps + steps slack k^(steps - 1)

    off: the power takes ``steps`` times the rounding of its base and three of its own. The quotient is then off by
    x / divisor, to first order, and by x / (divisor - x) at most, relatively. The difference, the division and the
    store add a rounding each.
    """
    unit = UNIT_ROUNDOFF[dtype] + OWN_UNIT
    steps = float(min(steps, 2**1000))
    largest = np.float64(min(rates.keep[0] + rates.slack, 1.0))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        divisor = -np.expm1(steps * np.log1p(-np.float64(rates.rate[0])))
        off = (steps + 3) * unit * largest**steps + steps * rates.slack * largest ** (steps - 1)
        worst = off / (divisor - off) if off < divisor else np.inf
        return Debias(float(divisor), float(off / divisor + 3 * unit), float(worst + 3 * unit * (1 + worst)))


@functools.lru_cache(maxsize=1024)
def steps_of(
    count: float,
    rates: Rates,
    *,
    dtype: str,
    bessel: bool,
    recurrence: str | None,
    squares: bool,
    weighted: bool = False,
    input_error: float = 0.0,
    variant: str | None = None,
) -> _native.Steps:
    """The extension's `Steps` with batches of ``count`` values, of layers with these settings of `MovingStats`."""
    sums = sum_dtype(dtype)
    return _native.Steps(
        count,
        weighted=weighted,
        bessel=bessel,
        recurrence=RECURRENCES[recurrence],
        input_error=input_error,
        squares=squares,
        **rates._asdict(),
        sum_unit=UNIT_ROUNDOFF[sums] + OWN_UNIT,
        sum_smallest=SMALLEST[sums],
        sum_bits=SIGNIFICAND_BITS[sums],
        unit=UNIT_ROUNDOFF[dtype] + OWN_UNIT,
        smallest=SMALLEST[dtype],
        bits=SIGNIFICAND_BITS[dtype],
        deviations=DEVIATIONS,
        variant=variant,
    )


def declared_steps(
    count: int,
    *,
    decay: float,
    dtype: str,
    rate_dtype: str | None,
    bessel: bool,
    recurrence: str | None,
    variance_from: str | None,
    weighted: bool = False,
) -> _native.Steps:
    """`steps_of` layers that take ``decay``, as `MovingStats` has the settings."""
    rates = rates_of(decay, dtype, rate_dtype, recurrence)
    squares = variance_from == "squares"
    return steps_of(count, rates, dtype=dtype, bessel=bessel, recurrence=recurrence, squares=squares, weighted=weighted)


def predictions(steps: _native.Steps, before: Doubles, mean: Doubles, variance: Doubles) -> Doubles:
    """What each of many steps makes of the statistics before it, as a new `MovingStats` for each step has it.

    Args:
      steps: of `declared_steps`.
      before: [2, steps, channels], contiguous.
      mean, variance: [steps, channels], or [channels] of one step, contiguous, those of the batch of each step.

    Returns:
      expected values, expected error and worst case, [3, 2, steps, channels].
    """
    out = np.empty((3, 2, mean.size))
    steps.predict(before.reshape(2, -1), mean.reshape(-1), variance.reshape(-1), out)
    return out.reshape(3, *before.shape)


def shares_of(steps: _native.Steps, before: Doubles, after: Doubles, mean: Doubles, variance: Doubles) -> Doubles:
    """The largest errors in units of the expected ones of `predictions`, whose arrays are not made, [2, steps].

    Args:
      before, after: [2, steps, channels], contiguous; else as for `predictions`.

    Returns:
      NaN where an error is not within its bound, or something is not finite.
    """
    out = np.empty(before.shape[:2])
    steps.shares(before, after, mean, variance, out)
    return out


class Update(NamedTuple):
    """One update of some channels.

    Attributes:
      moments: the `Moments` of its batch, in all channels; mean, variance: of some of them.
      decay: that of the update; repeated: whether its batch is that of the update before.
    """

    moments: Moments
    mean: Doubles
    variance: Doubles
    decay: float
    repeated: bool


def beyond_worst(
    before: Doubles,
    after: Doubles,
    updates: Iterable[Update],
    *,
    dtype: str,
    rate_dtype: str | None,
    bessel: bool,
    recurrence: str | None,
    variance_from: str | None,
    input_error: float,
) -> npt.NDArray[np.bool_]:
    """Whether mean and variance after some updates are beyond the worst case in any of a few channels, bool [2].

    Args:
      before, after: [2, channels].
    """
    stats = None
    for moments, mean, variance, decay, repeated in updates:
        rates = rates_of(decay, dtype, rate_dtype, recurrence)
        if stats is None:
            stats = start_figures(before, dtype, len(rates.forms))
        steps = steps_of(
            moments.count,
            rates,
            dtype=dtype,
            bessel=bessel,
            recurrence=recurrence,
            squares=variance_from == "squares",
            weighted=moments.weight != moments.count,
            input_error=input_error,
        )
        steps.advance(stats, mean[np.newaxis], variance[np.newaxis], _FLAGS[repeated])
    assert stats is not None
    value, (inside, worst) = stats[:, _Figure.VALUE], expected_and_worst(stats)
    with np.errstate(invalid="ignore", over="ignore"):
        outside = np.isfinite(inside) & ~(np.abs(after - value) <= worst)
    return (outside | ~(np.isfinite(after) & np.isfinite(value))).any(axis=1)


def start_figures(values: Doubles, dtype: str, forms: int) -> Doubles:
    """The figures [2, figures, C] before the first step.

    Args:
      values: [2, C], the start values of mean and variance; the layer holds them rounded to ``dtype``.
      forms: in how many forms the recurrence is run.
    """
    stats = np.empty((2, _Figure.RUNS + forms, values.shape[1]))
    _native.start(np.ascontiguousarray(values), SIGNIFICAND_BITS[dtype], stats)
    return stats


def expected_and_worst(stats: Doubles) -> Doubles:
    """The expected error and the worst case, [2, 2, C], of statistics [2, figures, C]."""
    bounds = np.empty((2, 2, stats.shape[2]))
    _native.bounds(stats, DEVIATIONS, bounds)
    return bounds


def replayed(expected: Doubles, worst: Doubles, largest_error: Doubles) -> Doubles:
    """The bound [2, C] that decides after a replay, whose orders of summation had errors up to ``largest_error``."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.minimum(worst, np.maximum(expected, SAFETY * largest_error))
