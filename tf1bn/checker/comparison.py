"""Observed against expected values, channel by channel, and the verdict as a sentence. Reached through ``checker``."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ..verdicts import FINDING, OK, UNDECIDABLE


@dataclass(frozen=True, eq=False)
class Comparison:
    """How observed values stand to the expected ones; true if all are ok, and one sentence as text.

    Attributes:
      mask: bool [channels], True where the channel is ok.
      verdicts: [channels], "ok", "finding" or "undecidable".
      worst: the channel with the largest error relative to what is allowed there; None if none is finite. A finding
        comes before what is undecidable, and that before what is ok.
      error, allowed: the absolute error and the bound there; NaN if there is none.
      ulp: that error in units in the last place of the expected value, in the dtype compared in; NaN if there is none.
      not_finite: the channels where a value or the bound is NaN or infinite; these are never ok.
    """

    mask: np.ndarray
    worst: int | None
    error: float
    allowed: float
    ulp: float
    not_finite: tuple[int, ...]
    _outside: np.ndarray = field(repr=False)

    @functools.cached_property
    def verdicts(self):
        """[channels], "ok", "finding" or "undecidable"; read-only."""
        verdicts = np.where(self.mask, OK, np.where(self._outside, FINDING, UNDECIDABLE))
        verdicts.setflags(write=False)
        return verdicts

    @functools.cached_property
    def verdict(self):
        """ "finding" if any channel is one, else "undecidable" if any is, else "ok"."""
        return FINDING if self._outside.any() else OK if self.mask.all() else UNDECIDABLE

    @property
    def ok(self):
        """Whether every channel is ok."""
        return self.verdict == OK

    @property
    def share(self):
        """The error of the worst channel in units of what is allowed there; NaN if there is none."""
        with np.errstate(divide="ignore", over="ignore"):
            return 0.0 if self.error == 0 else float(np.float64(self.error) / self.allowed)

    def __bool__(self):
        return self.ok

    def __str__(self):
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
    """What the moving variance of these steps could have shown: the smallest effect that is larger than its bound.

    Attributes:
      factor: the smallest relative change of the batches' variances that one channel would show; inf if none does.
      bessel: what Bessel's correction makes of the moving variance, in the channel where it is largest against the
        bound; NaN where no channel has any.
      bound: the bound of that channel.
      steps: how many such steps would show it, over all channels together; the number of steps taken if they do. An
        estimate: the mean over independent errors becomes sharper as the square root of their number. None where no
        number of steps would.
      channels: how many channels there are.
    """

    factor: float
    bessel: float
    bound: float
    steps: int | None
    channels: int
    taken: int

    @classmethod
    def of(cls, bound, share, bessel, steps):
        """From the bounds, what the batches contributed and Bessel's share of it [C], and the number of steps."""
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
    def decides_bessel(self):
        """Whether one channel shows whether Bessel's correction was made."""
        return self.bessel > self.bound

    def __str__(self):
        if math.isnan(self.bessel):
            return "Bessel's correction cannot show."
        taken = "one step" if self.taken == 1 else f"{self.taken} steps"
        sentence = f"Bessel's correction here is {self.bessel:.1g}, the bound {self.bound:.1g}: "
        if self.decides_bessel:
            return sentence + f"decidable in {taken}."
        if self.steps == self.taken:
            return sentence + f"decidable in {taken} over the {self.channels} channels together."
        if self.steps is None:
            return sentence + "not decidable in any number of steps."
        return sentence + f"not decidable in {taken}; in about {self.steps:,} steps."


@dataclass(frozen=True, eq=False)
class MovingComparison:
    """The `Comparison` of the moving mean and that of the moving variance; true if both are ok. Iterates over the two.

    Attributes:
      mean, variance: `Comparison`.
      undecided: why the batches could not be replayed where that was needed; None otherwise.
      resolution: the `Resolution` of the moving variance, by the bounds that decide: asking for it may replay the
        batches. Where the statistics have been updated since the comparison, by the worst case.
    """

    mean: Comparison
    variance: Comparison
    undecided: str | None
    _resolve: Callable = field(repr=False)

    @functools.cached_property
    def resolution(self):
        """The `Resolution` of the moving variance."""
        return self._resolve()

    def __iter__(self):
        return iter((self.mean, self.variance))

    @property
    def verdict(self):
        """ "finding" if one of them is, else "undecidable" if one of them is, else "ok"."""
        verdicts = {comparison.verdict for comparison in self}
        return next((verdict for verdict in (FINDING, UNDECIDABLE) if verdict in verdicts), OK)

    @property
    def ok(self):
        """Whether both are ok."""
        return self.verdict == OK

    def __bool__(self):
        return self.ok

    def __str__(self):
        text = f"moving_mean: {self.mean} moving_variance: {self.variance}"
        if self.undecided is not None:
            text += f" The batches would decide, but {self.undecided}."
        return text


def compare(observed, expected, bound, limit=None, *, dtype="float32"):
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
    return compare_rows(*(one[np.newaxis] for one in (observed, expected, bound, limit)), dtype)[0]


def compare_rows(observed, expected, bound, limit, dtype):
    """`compare` for each row of float64 arrays [rows, channels]; returns a list of `Comparison`."""
    if (bound < 0).any():
        raise ValueError(f"`bound` is {bound.min()} in one channel; it must not be negative.")
    if (limit < bound).any():
        worst = np.argmax(limit < bound)
        raise ValueError(
            f"`limit` is {limit.flat[worst]} in one channel, below its `bound`, {bound.flat[worst]}; it must not be."
        )
    values = np.isfinite(observed) & np.isfinite(expected)
    finite = values & np.isfinite(bound)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        error = np.abs(observed - expected)
        inside = finite & (error <= bound)
        # An exact value is no error, even where none is allowed.
        excess = np.where(error > 0, error / bound, 0.0)
        # Mostly all is well, and the rest of this takes longer than a batch of small layers.
        outside = np.zeros_like(inside) if inside.all() else ~values | (finite & ~(error <= limit))
    for part in (inside, outside):
        part.setflags(write=False)
    rows = zip(expected, bound, limit, error, excess, finite, inside, outside, strict=True)
    return [_comparison(*row, np.dtype(dtype)) for row in rows]


def _comparison(expected, bound, limit, error, excess, finite, inside, outside, dtype):
    worst, allowed = None, bound
    if inside.all():
        worst = int(excess.argmax())
    elif finite.any():
        rank = np.where(finite, np.where(outside, 2.0, np.where(inside, 0.0, 1.0)), -1.0)
        worst = int(np.argmax(np.where(rank == rank.max(), excess, -1.0)))
        allowed = limit if outside[worst] else bound
    return Comparison(
        inside,
        worst,
        np.nan if worst is None else float(error[worst]),
        np.nan if worst is None else float(allowed[worst]),
        np.nan if worst is None else _in_ulp(float(error[worst]), float(expected[worst]), dtype),
        () if finite.all() else tuple(np.flatnonzero(~finite).tolist()),
        outside,
    )


def _in_ulp(error, value, dtype):
    if error == 0:
        return 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        spacing = float(np.spacing(np.abs(np.asarray(value).astype(dtype))))
    return error / spacing if spacing > 0 else math.nan


def vector(name, value, like=None):
    """A read-only float64 copy of a vector of real numbers, one per channel."""
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"`{name}` has dtype {array.dtype}; it must hold real numbers.")
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"`{name}` has shape {array.shape}; it must be a vector with one value per channel.")
    if like is not None and array.shape != like.shape:
        raise ValueError(f"`{name}` has {array.size} channels; {like.size} are expected.")
    array = array.astype(np.float64)
    array.setflags(write=False)
    return array
