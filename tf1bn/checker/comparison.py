"""Observed against expected values, channel by channel, and the verdict as a sentence."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .._native import moving as _native
from ..verdicts import FINDING, OK, UNDECIDABLE, worst
from .arguments import vector


@dataclass(frozen=True, eq=False)
class Comparison:
    """The result of comparing observed values with expected ones; true if all channels are ok, a sentence as text.

    Attributes:
      mask: bool [channels], True where the channel is ok.
      worst: the channel with the largest error relative to its bound, among those with the worst verdict; None if no
        channel is finite.
      error, allowed: the absolute error and the bound in that channel; NaN if there is none.
      ulp: that error in units in the last place of the expected value, in the dtype compared in; NaN if there is none.
      not_finite: the channels where a value or the bound is NaN or infinite; these are never ok.
      observed, expected: the values in the channel `worst`; NaN if there is none.
      expected_error, worst_case: the two bounds there: what is within the first is ok, what is beyond the second is a
        finding; ``allowed`` is the second if the channel is a finding and else the first.
    """

    mask: npt.NDArray[np.bool_]
    worst: int | None
    error: float
    allowed: float
    ulp: float
    not_finite: tuple[int, ...]
    _outside: npt.NDArray[np.bool_] = field(repr=False)
    observed: float = math.nan
    expected: float = math.nan
    expected_error: float = math.nan
    worst_case: float = math.nan

    @functools.cached_property
    def verdicts(self) -> npt.NDArray[np.str_]:
        """The verdict of each channel, "ok", "finding" or "undecidable"; a read-only array [channels]."""
        verdicts = np.where(self.mask, OK, np.where(self._outside, FINDING, UNDECIDABLE))
        verdicts.setflags(write=False)
        return verdicts

    @functools.cached_property
    def verdict(self) -> str:
        """The worst verdict of all channels."""
        # From the masks: `verdicts` takes longer to make than a batch of a small layer takes.
        return FINDING if self._outside.any() else OK if self.mask.all() else UNDECIDABLE

    @property
    def ok(self) -> bool:
        """Whether every channel is ok."""
        return self.verdict == OK

    @property
    def share(self) -> float:
        """The error of the worst channel divided by the bound there; NaN if there is none."""
        if self.error == 0:
            return 0.0
        return self.error / self.allowed if self.allowed else self.error * math.inf

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        total = self.verdicts.size
        parts = []
        for verdict, text in ((FINDING, "outside the bound"), (UNDECIDABLE, "undecidable")):
            count = int((self.verdicts == verdict).sum())
            if count:
                parts.append(f"{count} of {total} channels {'is' if count == 1 else 'are'} {text}")
        if not parts:
            parts = [f"All {total} channels are within the bound" if total > 1 else "It is within the bound"]
        if self.worst is not None and (self.ok or self.worst not in self.not_finite):
            size = f" ({self.share:.2g} of it, {self.ulp:.3g} ulp)" if self.error else ""
            parts.append(
                f"the worst is channel {self.worst}, {self.error:.3g} off where {self.allowed:.3g} is allowed{size}"
            )
        if self.not_finite:
            shown = ", ".join(str(channel) for channel in self.not_finite[:8])
            rest = f" and {len(self.not_finite) - 8} more" if len(self.not_finite) > 8 else ""
            parts.append(f"not finite in {shown}{rest}")
        return "; ".join(parts) + "."


class Resolution(NamedTuple):
    """The smallest effects on the moving variance that these steps could show, because they exceed its bound.

    Attributes:
      factor: the smallest relative change of the batches' variances that one channel would show; inf if none does.
      bessel: by how much Bessel's correction changes the moving variance, in the channel where that is largest
        relative to the bound; NaN if it changes no channel.
      bound: the bound of that channel.
      steps: how many such steps would show it, over all channels together; the number of steps taken if these do. An
        estimate: the mean over independent errors becomes sharper as the square root of their number. None if no
        number of steps would.
      channels: how many channels there are.
      taken: the number of steps taken.
    """

    factor: float
    bessel: float
    bound: float
    steps: int | None
    channels: int
    taken: int

    @classmethod
    def of(
        cls,
        bound: npt.NDArray[np.float64],
        share: npt.NDArray[np.float64],
        bessel: npt.NDArray[np.float64],
        steps: int,
    ) -> Resolution:
        """The resolution that follows from the moving variance of each channel.

        Args:
          bound: [channels], that of the moving variance.
          share: [channels], what the batches contributed to the moving variance.
          bessel: [channels], what Bessel's correction would add to it.
          steps: the number of steps taken.
        """
        usable = np.isfinite(bound) & np.isfinite(share) & (bessel > 0) & (bound > 0)
        if not usable.any():
            return cls(math.inf, math.nan, math.nan, None, bound.size, steps)
        with np.errstate(divide="ignore"):
            factor = float((bound[usable] / share[usable]).min())
        signal = bessel[usable] / bound[usable]
        best = int(np.argmax(signal))
        needed = steps
        if signal[best] <= 1:
            with np.errstate(divide="ignore", over="ignore"):
                needed = float(steps / np.square(signal).sum())
            needed = max(steps, math.ceil(needed)) if math.isfinite(needed) else None
        return cls(factor, float(bessel[usable][best]), float(bound[usable][best]), needed, bound.size, steps)

    @property
    def decides_bessel(self) -> bool:
        """Whether one channel alone shows whether Bessel's correction was made."""
        return self.bessel > self.bound

    def __str__(self) -> str:
        if math.isnan(self.bessel):
            return "Bessel's correction has no effect on these statistics."
        taken = "one step" if self.taken == 1 else f"{self.taken} steps"
        sizes = f"Bessel's correction here is {self.bessel:.1g}, the bound {self.bound:.1g}"
        if self.decides_bessel:
            return f"{sizes}: decidable in {taken}."
        if self.steps == self.taken:
            return f"{sizes}: decidable in {taken} over the {self.channels} channels together."
        if self.steps is None:
            return f"{sizes}: not decidable in any number of steps."
        return f"{sizes}: not decidable in {taken}; in about {self.steps:,} steps."


@dataclass(frozen=True, eq=False)
class MovingComparison:
    """The `Comparison` of the moving mean and that of the moving variance; true if both are ok. Iterates over the two.

    Attributes:
      mean, variance: `Comparison`.
      undecided: why the batches could not be replayed although that was needed; None otherwise.
    """

    mean: Comparison
    variance: Comparison
    undecided: str | None
    _resolve: Callable[[], Resolution] = field(repr=False)

    @functools.cached_property
    def resolution(self) -> Resolution:
        """The `Resolution` of the moving variance by the bound that decides, which may replay the batches.

        If the statistics have been updated since the comparison, it is that of the worst case.
        """
        return self._resolve()

    def __iter__(self) -> Iterator[Comparison]:
        return iter((self.mean, self.variance))

    @property
    def verdict(self) -> str:
        """The worse of the two verdicts."""
        return worst([self.mean.verdict, self.variance.verdict])

    @property
    def ok(self) -> bool:
        """Whether both are ok."""
        return self.verdict == OK

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        text = f"moving_mean: {self.mean} moving_variance: {self.variance}"
        if self.undecided is not None:
            text += f" The batches would decide, but {self.undecided}."
        return text


def compare(
    observed: npt.ArrayLike,
    expected: npt.ArrayLike,
    bound: npt.ArrayLike,
    limit: npt.ArrayLike | None = None,
    *,
    dtype: npt.DTypeLike = "float32",
) -> Comparison:
    """Compare observed values with the expected ones, channel by channel.

    Args:
      observed, expected, bound: [channels], real numbers, the bound absolute: what is within it is ok. A channel
        where one of the three is NaN or infinite is not ok: a finding if one of the values is, and undecidable if
        only the bound is.
      limit: [channels], absolute and not below the bound: what is beyond it is a finding, what lies between the two
        is undecidable. None: the bound.
      dtype: the floating-point type whose last place `ulp` counts in.

    Returns:
      `Comparison`.

    Raises:
      TypeError: one of them does not hold real numbers.
      ValueError: the shapes disagree, a bound is negative, or a limit is below its bound.
    """
    observed = vector("observed", observed)
    expected = vector("expected", expected, like=observed)
    bound = vector("bound", bound, like=observed)
    limit = bound if limit is None else vector("limit", limit, like=observed)
    return compare_rows(*(row[np.newaxis] for row in (observed, expected, bound, limit)), dtype)[0]


def compare_rows(observed, expected, bound, limit, dtype):
    """`compare` for each row of float64 arrays [rows, channels]; returns a list of `Comparison`.

    Raises:
      ValueError: a bound is negative, or a limit is below its bound.
    """
    # Mostly all is well, and the rest of this takes longer than a batch of small layers.
    channels = _native.worst_channels(*map(np.ascontiguousarray, (observed, expected, bound)))
    if channels is not None and (limit is bound or not (limit < bound).any()):
        rows = zip(channels, zip(observed, expected, bound, limit, strict=True), strict=True)
        return [_all_within(channel, row, dtype) for channel, row in rows]
    if (bound < 0).any():
        raise ValueError(f"`bound` is {bound.min()} in one channel; it must not be negative.")
    if (limit < bound).any():
        channel = np.argmax(limit < bound)
        raise ValueError(
            f"`limit` is {limit.flat[channel]} in one channel; it must not be below its `bound`, {bound.flat[channel]}."
        )
    finite_values = np.isfinite(observed) & np.isfinite(expected)
    finite = finite_values & np.isfinite(bound)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        error = np.abs(observed - expected)
        inside = finite & (error <= bound)
        # An exact value is no error, even where none is allowed.
        excess = np.where(error > 0, error / bound, 0.0)
        outside = ~finite_values | (finite & ~(error <= limit))
    for part in (inside, outside):
        part.setflags(write=False)
    rows = zip(observed, expected, bound, limit, error, excess, finite, inside, outside, strict=True)
    return [_comparison(*row, dtype) for row in rows]


def _all_within(channel, row, dtype):
    """The `Comparison` of channels that are all ok, of which one is the worst."""
    observed, expected, bound, limit = (float(values[channel]) for values in row)
    error, (every, none) = abs(observed - expected), _masks(row[0].size)
    result = Comparison.__new__(Comparison)
    # A frozen class fills its attributes one by one, in more time than the channels of a small layer take.
    vars(result).update(mask=every, worst=channel, error=error, allowed=bound, not_finite=(), _outside=none)
    vars(result).update(observed=observed, expected=expected, expected_error=bound, worst_case=limit)
    vars(result).update(ulp=_in_ulp(error, expected, dtype))
    return result


@functools.lru_cache(maxsize=64)
def _masks(size):
    """True and False for each of so many channels, read-only."""
    masks = np.ones(size, bool), np.zeros(size, bool)
    for mask in masks:
        mask.setflags(write=False)
    return masks


def _comparison(observed, expected, bound, limit, error, excess, finite, inside, outside, dtype):
    channel, allowed = None, bound
    if finite.any():
        rank = np.where(finite, np.where(outside, 2.0, np.where(inside, 0.0, 1.0)), -1.0)
        channel = int(np.argmax(np.where(rank == rank.max(), excess, -1.0)))
        allowed = limit if outside[channel] else bound
    worst = () if channel is None else (float(row[channel]) for row in (observed, expected, bound, limit))
    return Comparison(
        inside,
        channel,
        np.nan if channel is None else float(error[channel]),
        np.nan if channel is None else float(allowed[channel]),
        np.nan if channel is None else _in_ulp(float(error[channel]), float(expected[channel]), dtype),
        () if finite.all() else tuple(np.flatnonzero(~finite).tolist()),
        outside,
        *worst,
    )


def _in_ulp(error, value, dtype):
    if error == 0:
        return 0.0
    if isinstance(dtype, str) and dtype == "bfloat16":
        # Two bytes shorter than float32, with the same exponents.
        return _in_ulp(error, value, np.dtype("float32")) / 2.0**16
    with np.errstate(over="ignore", invalid="ignore"):
        spacing = float(np.spacing(np.abs(np.asarray(value).astype(dtype))))
    return error / spacing if spacing > 0 else math.nan


def fingerprints(states, weights):
    """Sums of the bits of float64 numbers [2, steps, channels], times odd ``weights`` uint64 [2, channels].

    Returns:
      uint64 [steps], modulo 2^64.
    """
    result = np.empty(states.shape[1], np.uint64)
    _native.fingerprints(np.ascontiguousarray(states).view(np.uint64), weights, result)
    return result
