"""Observed against expected values, channel by channel, and the verdict as a sentence. Reached through ``checker``."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


@dataclass(frozen=True, eq=False)
class Comparison:
    """How observed values stand to the expected ones; true if all are ok, and one sentence as text.

    Attributes:
      mask: bool [channels], True where the channel is ok.
      worst: the channel with the largest error relative to what is allowed there; None if none is finite.
      error, allowed: the absolute error and the bound there; NaN if there is none.
      not_finite: the channels where a value or the bound is NaN or infinite; these are never ok.
    """

    mask: np.ndarray
    worst: int | None
    error: float
    allowed: float
    not_finite: tuple[int, ...]

    @property
    def ok(self):
        """Whether every channel is ok."""
        return bool(self.mask.all())

    def __bool__(self):
        return self.ok

    def __str__(self):
        total = self.mask.size
        bad = total - int(self.mask.sum())
        if bad:
            parts = [f"{bad} of {total} channels {'is' if bad == 1 else 'are'} outside the bound"]
        else:
            parts = [f"All {total} channels are within the bound" if total > 1 else "It is within the bound"]
        if self.worst is not None and (self.ok or bad > len(self.not_finite)):
            parts.append(f"the worst is channel {self.worst}, {self.error:.3g} off where {self.allowed:.3g} is allowed")
        if self.not_finite:
            shown = ", ".join(str(channel) for channel in self.not_finite[:8])
            rest = f" and {len(self.not_finite) - 8} more" if len(self.not_finite) > 8 else ""
            parts.append(f"not finite in {shown}{rest}")
        return "; ".join(parts) + "."


class MovingComparison(NamedTuple):
    """The `Comparison` of the moving mean and that of the moving variance; true if both are ok."""

    mean: Comparison
    variance: Comparison

    @property
    def ok(self):
        """Whether both are ok."""
        return self.mean.ok and self.variance.ok

    def __bool__(self):
        return self.ok

    def __str__(self):
        return f"moving_mean: {self.mean} moving_variance: {self.variance}"


def compare(observed, expected, bound):
    """Compare observed values with the expected ones, channel by channel: ok within the bound.

    Args:
      observed, expected, bound: [channels], real numbers, the bound absolute. A channel where one of the
        three is NaN or infinite is not ok.

    Returns:
      `Comparison`.

    Raises:
      TypeError: one of them does not hold real numbers.
      ValueError: the shapes disagree, or a bound is negative.
    """
    observed = vector("observed", observed)
    expected = vector("expected", expected, like=observed)
    bound = vector("bound", bound, like=observed)
    if (bound < 0).any():
        raise ValueError(f"`bound` is {bound.min()} in one channel; it must not be negative.")
    finite = np.isfinite(observed) & np.isfinite(expected) & np.isfinite(bound)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        error = np.abs(observed - expected)
        mask = finite & (error <= bound)
        # An exact value is no error, even where none is allowed.
        excess = np.where(error > 0, error / bound, 0.0)
    mask.setflags(write=False)
    worst = int(np.argmax(np.where(finite, excess, -1.0))) if finite.any() else None
    return Comparison(
        mask,
        worst,
        np.nan if worst is None else float(error[worst]),
        np.nan if worst is None else float(bound[worst]),
        tuple(np.flatnonzero(~finite).tolist()),
    )


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
