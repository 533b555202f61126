"""A file that ``tf1bn audit --json`` wrote, judged again: its verdicts are recomputed from its causes and numbers."""

import codecs
import os

from .._util import strict_json
from .._util.json_shapes import (
    COUNT,
    FLAG,
    OPTIONAL_NUMBER,
    OPTIONAL_TEXT,
    SENTENCES,
    TEXT,
    ByName,
    Kind,
    ListOf,
    ObjectOf,
    OrNull,
    one_of,
)
from ..errors import CommandError
from ..verdicts import ADVISORY, FINDING, OK, UNDECIDABLE, VERDICTS, cause_entry
from .accept import rejudge_audit

FORMAT = "tf1bn-audit"
BYTES = 2**28
_MARK = b'"tf1bn-'
NUMBERS = ("mean", "variance")


def looks_like_result(path):
    """Whether a file is JSON that tf1bn wrote; False for what cannot be read, which is told when it is opened."""
    try:
        if not os.path.isfile(path):
            return False
        with open(path, "rb") as file:
            if not file.read(64).removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"{"):
                return False
            file.seek(0)
            return _MARK in file.read(BYTES)
    except (OSError, ValueError):
        return False


def read(path):
    """The result that a file holds, with its verdicts recomputed.

    Raises:
      CommandError: it is too large, damaged, or holds something else.
    """
    try:
        result = strict_json.read(path, BYTES)
        if not isinstance(result, dict) or result.get("format") != FORMAT:
            raise ValueError(f"it is not of the format {FORMAT!r}.{_hint(result)}")
        RESULT.check(result, "")
    except OSError as error:
        raise CommandError(f"PATH is {path!r}, which cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise CommandError(f"PATH is {path!r}, which must be a file that --json wrote, and {error}") from error
    return rejudge(result)


def _hint(result):
    is_comparison = isinstance(result, dict) and result.get("format") == "tf1bn-parity"
    return " It is that of a comparison; give it to `tf1bn parity`." if is_comparison else ""


def rejudge(result):
    """The same result with every verdict recomputed; causes are believed, and errors have to be within their bounds.

    A layer is a finding if one of its causes is, or if it has no cause and an error outside of its bound. Where the
    file says finding and nothing in it shows one, the layer is undecidable.
    """
    layers = [_with_verdict(layer) for layer in result["layers"]]
    return rejudge_audit({**result, "layers": layers})


def _with_verdict(layer):
    causes = [cause for cause in layer["causes"] if not cause.get("by_number")]
    outside = [name for name in NUMBERS if _is_outside(layer, name)]
    if any(cause["severity"] == FINDING and not cause.get("accepted") for cause in causes):
        return {**layer, "causes": causes, "verdict": FINDING}
    if any(cause["severity"] == FINDING for cause in causes):
        verdict = UNDECIDABLE if layer.get("undecided") else OK
        return {**layer, "causes": causes, "verdict": verdict}
    if outside and not causes:
        text = " ".join(
            f"The error of the moving {name} is {layer[f'{name}_error']:.6g}, and {layer[f'{name}_bound']:.6g} is "
            "allowed."
            for name in outside
        )
        causes = [{**cause_entry("unexplained", text), "by_number": True}]
        return {**layer, "causes": causes, "verdict": FINDING, "explanation": text}
    if layer["verdict"] == FINDING:
        text = "It was a finding, and no cause and no error in the file shows why."
        return {**layer, "causes": causes, "verdict": UNDECIDABLE, "explanation": text}
    verdict = UNDECIDABLE if layer.get("undecided") else layer["verdict"]
    return {**layer, "causes": causes, "verdict": verdict}


def _is_outside(layer, name):
    error, bound = layer.get(f"{name}_error"), layer.get(f"{name}_bound")
    return error is not None and bound is not None and not error <= bound


_CAUSE = ObjectOf(
    {
        "id": TEXT,
        "severity": one_of((FINDING, ADVISORY)),
        "explanation": TEXT,
        "misfit": OPTIONAL_NUMBER,
        **dict.fromkeys(("remedy", "follows_from"), OPTIONAL_TEXT),
        **dict.fromkeys(("accepted", "by_number"), FLAG),
    },
    needed=("id", "severity", "explanation"),
)
_VALUES = ObjectOf({"variable": OPTIONAL_TEXT, "min": OPTIONAL_NUMBER, "max": OPTIONAL_NUMBER, "not_finite": COUNT})
_LAYER = ObjectOf(
    {
        "name": TEXT,
        "verdict": one_of(VERDICTS),
        "causes": ListOf(_CAUSE),
        "explanation": TEXT,
        **{f"{name}_{what}": OPTIONAL_NUMBER for name in NUMBERS for what in ("error", "bound")},
        **{f"{name}_{what}": OPTIONAL_NUMBER for name in ("inherited", "added") for what in ("error", "bound")},
        "steps": COUNT,
        "first": FLAG,
        "first_step": OrNull(COUNT),
        "undecided": SENTENCES,
        "channels": OrNull(COUNT),
        "accumulated": ByName(OrNull(ByName(OrNull(Kind("a value", lambda value: True))))),
        "estimates": ByName(OrNull(ListOf(OPTIONAL_NUMBER, 2), TEXT, Kind("a number", lambda v: type(v) is float))),
        "values": ByName(OrNull(_VALUES)),
    },
    needed=("name", "verdict", "causes", "explanation"),
)
RESULT = ObjectOf(
    {
        **dict.fromkeys(("kind", "tf1bn", "path", "status"), OPTIONAL_TEXT),
        "ok": FLAG,
        "layers": ListOf(_LAYER),
        "notes": SENTENCES,
        "problems": SENTENCES,
    },
    needed=("layers",),
)
