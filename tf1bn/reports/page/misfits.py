"""Errors beside their bounds: the two most significant of a layer for its row, and the exact numbers of all."""

import dataclasses
import math

from ..._util.text import in_percent, in_words
from .words import exact, finite, share_in_words, whole

IN_A_ROW = 2
EXPECTED_ERROR, WORST_CASE = "expected error", "worst case"


@dataclasses.dataclass(frozen=True)
class Misfit:
    """How far one number of a layer is off, and how far it may be.

    Attributes:
      what: what was compared, such as "moving mean".
      error: the absolute difference of observed and expected; None or NaN if it is no number.
      expected_error: within it all is ok; worst_case: beyond it nothing is; both None where one bound alone is known.
      allowed: the bound that decided.
      channel, step: where the error was seen; None if not known.
      observed, expected: the numbers there; None if not known.
    """

    what: str
    error: object
    allowed: object
    expected_error: object = None
    worst_case: object = None
    channel: object = None
    step: object = None
    observed: object = None
    expected: object = None

    @property
    def two_bounds(self):
        """Whether both bounds are known, and differ."""
        bounds = self.expected_error, self.worst_case
        return all(map(finite, bounds)) and self.expected_error != self.worst_case

    @property
    def measured(self):
        """Whether there is anything to say: NaN is null in JSON, so if one number alone is missing, something is."""
        return self.error is not None or self.allowed is not None

    @property
    def over(self):
        """Whether the error is more than is allowed, or no number."""
        return self.measured and self.score > 1

    @property
    def score(self):
        """What sorts misfits: up to 1 within the bound, from 2 on beyond the worst case; infinite if no number."""
        if not self.measured:
            return -1.0
        if self.two_bounds and finite(self.error):
            if self.error <= self.expected_error:
                return _quotient(self.error, self.expected_error)
            share = _quotient(self.error, self.worst_case)
            return 1 + share if share <= 1 else 2 * share
        if not (finite(self.error) and finite(self.allowed)):
            return math.inf
        share = _quotient(self.error, self.allowed)
        return share if share <= 1 else 2 * share

    @property
    def text(self):
        """The size of the error as a share of its bound, with two digits."""
        if not self.measured:
            return "not measured"
        if not finite(self.error):
            return f"the error is {in_words(self.error)}"
        if self.two_bounds:
            if self.error > self.worst_case:
                return _in_words(self.error, self.worst_case, f"the {WORST_CASE}")
            text = _in_words(self.error, self.expected_error, f"the {EXPECTED_ERROR}")
            if self.error > self.expected_error:
                text += f", {in_percent(_quotient(self.error, self.worst_case))} of the {WORST_CASE}"
            return text
        if not finite(self.allowed):
            return f"{in_words(self.error)}; what is allowed is not known"
        return _in_words(self.error, self.allowed, "the allowed")

    @property
    def place(self):
        """The channel and the step, as text: "channel 1, step 2"; empty if neither is known."""
        named = (("channel", self.channel), ("step", self.step))
        return ", ".join(f"{name} {whole(value)}" for name, value in named if value is not None)


def _quotient(error, bound):
    return 0.0 if error == 0 else error / bound if bound > 0 else math.inf


def _in_words(error, bound, name):
    share = _quotient(error, bound)
    return share_in_words(share, name) if math.isfinite(share) else f"{in_words(error)}, where none is allowed"


def _brief(what):
    """What was compared, in the fewest words."""
    update = "one update of the "
    return what.removeprefix(update).removeprefix("moving ") + (" in one update" if what.startswith(update) else "")


def row_cell(misfits):
    """The cell of a table with the most significant misfits, two at most; of those within their bounds one alone.

    Returns:
      dict: "lines", dicts of "text", "where" and "over"; "sort", a number, or None if nothing was measured.
    """
    ranked = sorted((misfit for misfit in misfits if misfit.measured), key=lambda misfit: -misfit.score)
    shown = [misfit for misfit in ranked if misfit.over][:IN_A_ROW] or ranked[:1]
    lines = [
        {"text": f"{_brief(misfit.what)}: {misfit.text}", "where": misfit.place, "over": misfit.over}
        for misfit in shown
    ]
    sort = f"{min(ranked[0].score, 1e300):.6g}" if ranked else None
    return {"lines": lines or [{"text": "not measured", "where": "", "over": False}], "sort": sort}


def table(misfits, caption, names=("observed", "expected")):
    """A table of the details with the exact numbers of the misfits; columns that would be empty are left out.

    Args:
      misfits: list of `Misfit`.
      caption: what the table says.
      names: of the columns of observed and expected numbers.
    """
    if not misfits:
        return None
    columns = {
        "error": lambda misfit: misfit.error,
        EXPECTED_ERROR: lambda misfit: misfit.expected_error if misfit.two_bounds else None,
        WORST_CASE: lambda misfit: misfit.worst_case if misfit.two_bounds else None,
        "allowed": lambda misfit: None if misfit.two_bounds else misfit.allowed,
        "channel": lambda misfit: misfit.channel,
        "step": lambda misfit: misfit.step,
        names[0]: lambda misfit: misfit.observed,
        names[1]: lambda misfit: misfit.expected,
    }
    columns = {
        name: get for name, get in columns.items() if name == "error" or any(get(m) is not None for m in misfits)
    }
    rows = []
    for misfit in misfits:
        values = [get(misfit) for get in columns.values()]
        if not misfit.measured:
            cells = ["not measured", *("-" for _ in values[1:])]
        else:
            cells = ["-" if value is None and i else exact(value) for i, value in enumerate(values)]
        rows.append({"name": misfit.what, "cells": cells, "over": misfit.over})
    return {"caption": caption, "first": "of", "columns": list(columns), "marked": 0, "rows": rows}
