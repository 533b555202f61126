"""The numbers of one plot, checked: one statistic of one channel over the steps, observed against expected."""

import math

import numpy as np

from ...._util.text import apart, counted, in_words
from ....errors import PlotUnavailableError
from ..misfits import Misfit
from ..words import finite, whole

POINTS = 200  # of more steps than these only some are drawn, among them the extremes
DRAWABLE = 1e100  # an axis far beyond would overflow
OK, UNDECIDABLE, FINDING = range(3)


class Curve:
    """The numbers of one plot.

    Args:
      given: dict with the series "observed" and "expected", perhaps "expected_error" and "worst_case", or "bound" for
        both, and "step", lists or arrays of one length; and perhaps "at", the number of the step to be marked. Other
        keys are ignored.

    Attributes:
      count: the number of steps.
      step, observed, expected, expected_error, worst_case: float64 [count]; the bounds are NaN if none are given.
      two_bounds: whether the bounds differ.
      error: float64 [count], the absolute difference of observed and expected.
      verdicts: int [count], `OK`, `UNDECIDABLE` or `FINDING`; all OK if there are no bounds and the values are finite.
      share: float64 [count], the error divided by the bound that decides; 0 where there is no error.
      at: the index of the step to be marked: the given one, or where the share is largest.

    Raises:
      PlotUnavailableError: a series is missing or of another length, or holds nothing that could be drawn.
    """

    def __init__(self, given):
        if not isinstance(given, dict):
            raise PlotUnavailableError("No steps were kept.")
        self.observed, self.expected = (_floats(given.get(key), key) for key in ("observed", "expected"))
        self.count = len(self.observed)
        if not self.count:
            raise PlotUnavailableError("No steps were kept.")
        self.expected_error, self.worst_case = (self._bound(given, key) for key in ("expected_error", "worst_case"))
        step = given.get("step")
        self.step = np.arange(float(self.count)) if step is None else _floats(step, "step")
        self._check_series()
        with np.errstate(all="ignore"):
            self.two_bounds = bool((self.expected_error != self.worst_case).any() and self._has_bounds())
            self.error = np.abs(self.observed - self.expected)
            self.verdicts = self._judge()
            deciding = np.where(self.verdicts == FINDING, self.worst_case, self.expected_error)
            self.share = np.where(self.error == 0, 0, self.error / deciding)
        self.at = self._marked(given.get("at"))

    def _bound(self, given, key):
        series = given.get(key, given.get("bound"))
        return np.full(self.count, np.nan) if series is None else _floats(series, key)

    def _has_bounds(self):
        return np.isfinite(self.expected_error).any() and np.isfinite(self.worst_case).any()

    def _check_series(self):
        series = (self.observed, self.expected, self.expected_error, self.worst_case, self.step)
        if {len(values) for values in series} != {self.count}:
            raise PlotUnavailableError("The curve is damaged: its series have different lengths.")
        if not (np.isfinite(self.step) & (np.abs(self.step) < DRAWABLE)).all():
            raise PlotUnavailableError("The curve is damaged: a step has no number.")
        if not (drawable(self.observed).any() or drawable(self.expected).any()):
            raise PlotUnavailableError(
                f"There is nothing to draw: no value of the {counted(self.count, 'step')} is a finite number."
            )

    def _judge(self):
        """The verdict of each step as `checker.compare` has it."""
        finite = np.isfinite(self.observed) & np.isfinite(self.expected)
        verdicts = np.full(self.count, UNDECIDABLE)
        verdicts[self.error <= self.expected_error] = OK
        verdicts[self.error > self.worst_case] = FINDING
        if not self._has_bounds():
            verdicts[:] = OK
        verdicts[~finite] = FINDING
        return verdicts

    def _marked(self, at):
        # Where a value is not finite, that is what is wrong.
        share = np.where(np.isnan(self.share), np.inf, self.share)
        found = np.flatnonzero(self.step == at) if finite(at) else ()
        return (
            int(found[0]) if len(found) else int(np.argmax(np.where(self.verdicts == self.verdicts.max(), share, -1)))
        )

    @property
    def not_drawable(self):
        """bool [count]: the steps with an observed value that cannot be drawn."""
        return ~drawable(self.observed)

    def summary(self):
        """What the picture shows in words: the caption, which also serves readers who do not see the picture."""
        at = self.at
        numbers = {key: _number(getattr(self, key)[at]) for key in ("expected_error", "worst_case")}
        allowed = numbers["worst_case" if self.verdicts[at] == FINDING else "expected_error"]
        misfit = Misfit("", _number(self.error[at]), allowed, **numbers)
        pair = float(self.observed[at]), float(self.expected[at])
        observed, expected = apart(*pair, digits=4) if all(map(finite, pair)) else map(in_words, pair)
        text = f"{counted(self.count, 'step')}. In step {whole(int(self.step[at]))} {observed} is observed and "
        text += f"{expected} expected"
        if math.isfinite(self.error[at]) and self._has_bounds():
            text += f": an error of {misfit.text}"
        if self.not_drawable.any():
            text += f"; {counted(int(self.not_drawable.sum()), 'step')} without a finite observed value"
        return text + "."

    def points(self):
        """Indices of the steps to draw: all of them, or of each stretch its ends and its extremes."""
        if self.count <= POINTS:
            return np.arange(self.count)
        kept = {0, self.at, self.count - 1}
        for part in np.array_split(np.arange(self.count), POINTS // 5 - 1):
            kept.add(int(part[0]))
            for values in (self.observed, -self.observed, np.nan_to_num(self.share, nan=-1)):
                kept.add(int(part[np.argmax(np.where(np.isnan(values[part]), -np.inf, values[part]))]))
            kept.update(part[self.not_drawable[part]][:1].tolist())
        return np.array(sorted(kept))


def drawable(values):
    """Elementwise, whether the values can be drawn."""
    return np.isfinite(values) & (np.abs(values) < DRAWABLE)


def _number(value):
    return float(value) if math.isfinite(value) else None


def _floats(values, name):
    if not isinstance(values, (list, tuple, np.ndarray)):
        raise PlotUnavailableError(f"The curve is damaged: it has no series {name!r}.")
    try:
        return np.asarray(values, np.float64) if np.ndim(values) == 1 else np.array([_float(v) for v in values])
    except (TypeError, ValueError, OverflowError):
        return np.array([_float(value) for value in values])


def _float(value):
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
    except OverflowError:
        return math.inf
