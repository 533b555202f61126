"""The shape of a comparison's result, and the check that a file holds one before anything is computed from it."""

from __future__ import annotations

from typing import Any

from .._util.json_shapes import (
    COUNT,
    FLAG,
    NUMBER,
    OPTIONAL_NUMBER,
    OPTIONAL_TEXT,
    SENTENCES,
    TEXT,
    ByName,
    ListOf,
    ObjectOf,
    OrNull,
    one_of,
)
from ..verdicts import ADVISORY, FINDING, VERDICTS
from .verdict import FORMAT


def checked(result: object) -> dict[str, Any]:
    """``result``, parsed from JSON, if it is what `compare_traces` or `compare_checkpoints` returns.

    Raises:
      ValueError: it is not; the message says where.
    """
    if not isinstance(result, dict) or result.get("format") != FORMAT:
        raise ValueError(f"it is not of the format {FORMAT!r}.")
    _RESULT.check(result, "")
    return result


_CAUSE = ObjectOf(
    {
        "id": TEXT,
        "severity": one_of((FINDING, ADVISORY)),
        "explanation": TEXT,
        "misfit": OPTIONAL_NUMBER,
        "remedy": OPTIONAL_TEXT,
        "accepted": FLAG,
    },
    needed=("id", "severity", "explanation"),
)
_CHECK = ObjectOf(
    {
        "what": TEXT,
        **dict.fromkeys(("error", "bound", "old", "new", "expected_error", "worst_case"), OPTIONAL_NUMBER),
        **dict.fromkeys(("step", "channel", "first"), OrNull(COUNT)),
    },
    needed=("what", "error", "bound"),
)
# The differences of one variable in two checkpoints; "within" says that rounding explains them.
_DIFFERENCE = ObjectOf(
    {
        **dict.fromkeys(("what", "old", "new"), TEXT),
        "dtypes": ListOf(TEXT, 2),
        "equal": FLAG,
        "channels": COUNT,
        "differing": OrNull(COUNT),
        "largest": OPTIONAL_NUMBER,
        **dict.fromkeys(("channel", "ulps"), OrNull(COUNT)),
        "within": FLAG,
        "values": OrNull(ListOf(OPTIONAL_NUMBER, 2)),
    }
)
_DATA = ObjectOf({**dict.fromkeys(("state", "reason", "sentence"), OPTIONAL_TEXT), "error": OPTIONAL_NUMBER})
_EFFECTIVE = ByName(OrNull(NUMBER, TEXT, ListOf(OPTIONAL_NUMBER, 2)))
_LAYER = ObjectOf(
    {
        "name": TEXT,
        **dict.fromkeys(("old", "new", "matched", "matched_by", "inputs_follow_from", "explanation"), OPTIONAL_TEXT),
        "verdict": one_of(VERDICTS),
        "first": FLAG,
        "since": OrNull(COUNT),
        "causes": ListOf(_CAUSE),
        "undecided": SENTENCES,
        "checks": OrNull(ListOf(_CHECK)),
        **dict.fromkeys(("inherited_error", "added_error"), OPTIONAL_NUMBER),
        "differences": OrNull(ListOf(_DIFFERENCE), ByName(OPTIONAL_NUMBER)),
        "data": OrNull(_DATA),
        "effective": OrNull(ObjectOf({"old": OrNull(_EFFECTIVE), "new": OrNull(_EFFECTIVE)})),
        "notes": SENTENCES,
        "steps": OrNull(COUNT),
    },
    needed=("name", "verdict", "causes"),
)
_RESULT = ObjectOf(
    {
        **dict.fromkeys(("kind", "tf1bn", "old", "new", "only", "status"), OPTIONAL_TEXT),
        "ok": FLAG,
        "data": OrNull(_DATA),
        "steps": OrNull(ListOf(COUNT, 2)),
        "ulp": OrNull(COUNT),
        "renames": ListOf(ObjectOf({"layers": SENTENCES, "sentence": TEXT}, needed=("layers",))),
        "notes": SENTENCES,
        "problems": SENTENCES,
        "layers": ListOf(_LAYER),
    },
    needed=("layers", "problems"),
)
