"""The numbers of one plot, checked: one statistic of one channel over the steps, observed against expected."""

import math

import numpy as np

from .._util.text import counted, in_times, in_words
from ..errors import PlotUnavailableError

POINTS = 600  # of more steps than these only some are drawn, among them the extremes
DRAWABLE = 1e100  # matplotlib overflows when it lays out axes far beyond


class Curve:
    """The numbers of one plot.

    Args:
      given: dict with the series "observed" and "expected" and perhaps "bound" and "step", lists or arrays of one
        length; other keys are ignored.

    Attributes:
      count: the number of steps.
      step, observed, expected, bound: float64 [count]; the bounds are NaN if none are given.
      error: float64 [count], the absolute difference of observed and expected.
      share: float64 [count], the error divided by the bound; 0 where there is no error.

    Raises:
      PlotUnavailableError: a series is missing or of another length, or holds nothing that could be drawn.
    """

    def __init__(self, given):
        if not isinstance(given, dict):
            raise PlotUnavailableError("No steps were kept.")
        observed, expected = (_floats(given.get(key), key) for key in ("observed", "expected"))
        self.count = len(observed)
        if not self.count:
            raise PlotUnavailableError("No steps were kept.")
        bound, step = given.get("bound"), given.get("step")
        self.bound = np.full(self.count, np.nan) if bound is None else _floats(bound, "bound")
        self.step = np.arange(float(self.count)) if step is None else _floats(step, "step")
        self.observed, self.expected = observed, expected
        if {len(values) for values in (observed, expected, self.bound, self.step)} != {self.count}:
            raise PlotUnavailableError("The curve is damaged: its series have different lengths.")
        if not (np.isfinite(self.step) & (np.abs(self.step) < DRAWABLE)).all():
            raise PlotUnavailableError("The curve is damaged: a step has no number.")
        if not (drawable(observed).any() or drawable(expected).any()):
            raise PlotUnavailableError(
                f"There is nothing to draw: no value of the {counted(self.count, 'step')} is a finite number."
            )
        with np.errstate(all="ignore"):
            self.error = np.abs(observed - expected)
            self.share = np.where(self.error == 0, 0, self.error / self.bound)

    @property
    def not_drawable(self):
        """bool [count]: the steps with an observed value that cannot be drawn."""
        return ~drawable(self.observed)

    def summary(self):
        """What the picture shows in words: the caption, which also serves readers who do not see the picture."""
        parts = [
            f"{counted(self.count, 'step')}; at the end {in_words(self.observed[-1])} is observed and "
            f"{in_words(self.expected[-1])} expected"
        ]
        shares = self.share[np.isfinite(self.share)]
        if np.isposinf(self.share).any():
            parts.append("there is an error where none is allowed")
        elif len(shares):
            parts.append(f"the largest error is {share_in_words(float(shares.max()))}")
        if self.not_drawable.any():
            parts.append(f"{counted(int(self.not_drawable.sum()), 'step')} without a finite observed value")
        return "; ".join(parts) + "."

    def points(self):
        """Indices of the steps to draw: all of them, or of each stretch its ends and its extremes."""
        if self.count <= POINTS:
            return np.arange(self.count)
        kept = {0, self.count - 1}
        for part in np.array_split(np.arange(self.count), POINTS // 5):
            kept.add(int(part[0]))
            for values in (self.observed, -self.observed, np.nan_to_num(self.share, nan=-1)):
                kept.add(int(part[np.argmax(np.where(np.isnan(values[part]), -np.inf, values[part]))]))
            kept.update(part[self.not_drawable[part]][:1].tolist())
        return np.array(sorted(kept))


def drawable(values):
    """Elementwise, whether matplotlib can draw the values."""
    return np.isfinite(values) & (np.abs(values) < DRAWABLE)


def share_in_words(share):
    """An error as a share of the allowed one, as text: "24 % of the allowed", or "5 times the allowed"."""
    return f"{float(f'{100 * share:.2g}'):g} % of the allowed" if 0 <= share <= 1 else f"{in_times(share)} the allowed"


def _floats(values, name):
    if not isinstance(values, (list, tuple, np.ndarray)):
        raise PlotUnavailableError(f"The curve is damaged: it has no series {name!r}.")
    return np.array([_float(value) for value in values])


def _float(value):
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
    except OverflowError:
        return math.inf
