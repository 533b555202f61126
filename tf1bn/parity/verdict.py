"""The verdicts of a comparison, from its causes and from the errors and bounds of its checks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from .._util.text import in_percent
from ..verdicts import ADVISORY, FINDING, OK, UNDECIDABLE, cause_entry

FORMAT = "tf1bn-parity"


def checked(result: object) -> dict[str, Any]:
    """``result``, parsed from JSON, if it is what `compare_traces` or `compare_checkpoints` returns.

    Raises:
      ValueError: it is not; the message says why.
    """
    if not isinstance(result, dict) or result.get("format") != FORMAT:
        raise ValueError(f"it is not of the format {FORMAT!r}.")
    for name in ("layers", "problems"):
        if not isinstance(result.get(name), list):
            raise ValueError(f"`{name}` in it is no list.")
    for layer in result["layers"]:
        if not isinstance(layer, dict) or not isinstance(layer.get("name"), str):
            raise ValueError("a layer in it has no name.")
        _check_layer(layer, f"layer {layer['name']!r} in it")
    return result


def _check_layer(layer, where):
    if layer.get("verdict") not in (OK, FINDING, UNDECIDABLE):
        raise ValueError(f"{where} has the verdict {layer.get('verdict')!r}.")
    for name in ("causes", "checks", "undecided"):
        if not isinstance(layer.get(name, []), list):
            raise ValueError(f"{where} has `{name}` that is no list.")
    for cause in layer.get("causes", [None]):
        if not isinstance(cause, dict) or cause.get("severity") not in (FINDING, ADVISORY):
            raise ValueError(f"{where} has a cause without a severity.")
        if not isinstance(cause.get("id"), str) or not isinstance(cause.get("explanation"), str):
            raise ValueError(f"{where} has a cause without an id or explanation.")
    if not _is_number_or_none(layer.get("since")):
        raise ValueError(f"{where} has `since` that is {layer['since']!r}.")
    for check in layer.get("checks") or []:
        if not isinstance(check, dict) or not isinstance(check.get("what"), str):
            raise ValueError(f"{where} has a check that does not say what it is of.")
        for name in ("error", "bound", "first", "step", "old", "new"):
            if not _is_number_or_none(check.get(name)):
                raise ValueError(f"{where} has a check whose `{name}` is {check[name]!r}.")
    if any(not isinstance(text, str) for text in layer.get("undecided", ())):
        raise ValueError(f"{where} has `undecided` that are no sentences.")


def _is_number_or_none(value):
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


def rejudge(result: Mapping[str, Any]) -> dict[str, Any]:
    """The same result with every verdict recomputed from its causes and checks; needs no traces.

    A layer is a finding if one of its causes is, or if an error in its checks is not within its bound; else it is
    undecidable if anything is listed as undecided or a number is missing; else ok. The result is ok if there are
    layers, all are ok, and nothing is a problem.

    Args:
      result: the dict of `compare_traces` or `compare_checkpoints`, or what `checked` accepts.
    """
    layers = [_with_verdict(layer) for layer in result["layers"]]
    starts = [
        (min(steps), i)
        for i, layer in enumerate(layers)
        if layer["verdict"] == FINDING and layer.get("matched") and (steps := _first_steps(layer))
    ]
    if starts:
        layers[min(starts)[1]]["first"] = True
    for layer in layers:
        if layer.get("checks") is not None:
            layer["explanation"] = _explanation(layer)
    ok = bool(layers) and all(layer["verdict"] == OK for layer in layers) and not result["problems"]
    return {**result, "layers": layers, "ok": ok}


def _with_verdict(layer):
    causes = [cause for cause in layer["causes"] if cause["id"] != "unexplained" or not cause.get("by_number")]
    checks = layer.get("checks") or []
    missing = [check for check in checks if not _finite(check.get("bound"))]
    outside = outside_of(checks)
    if any(cause["severity"] == FINDING for cause in causes):
        verdict = FINDING
    elif outside:
        causes = [_by_number(outside), *causes]
        verdict = FINDING
    elif missing or layer.get("undecided") or (layer["verdict"] == UNDECIDABLE and "checks" not in layer):
        verdict = UNDECIDABLE
    else:
        verdict = OK
    return {**layer, "causes": causes, "verdict": verdict, "first": False}


def outside_of(checks):
    """Those of some checks whose error is not within its bound."""
    return [check for check in checks if _finite(check.get("bound")) and not _within(check)]


def _first_steps(layer):
    """The steps from which on a cause or a check of the layer shows a difference."""
    steps = [layer.get("since"), *(check.get("first") for check in layer.get("checks") or [])]
    return [step for step in steps if step is not None]


def _finite(number):
    return isinstance(number, (int, float)) and math.isfinite(number)


def _within(check):
    """Whether an error is a number and within its bound."""
    return _finite(check.get("error")) and check["error"] <= check["bound"]


def _by_number(outside):
    """The cause for errors outside of their bounds that nothing else explains."""
    worst = max(outside, key=share)
    where = "" if worst.get("channel") is None else f" in channel {worst['channel']}"
    where += "" if worst.get("step") is None else f" of step {worst['step']}"
    expected, observed, error, bound = (_shown(worst.get(name)) for name in ("old", "new", "error", "bound"))
    what = f"{worst['what'][:1].upper()}{worst['what'][1:]}"
    if _finite(worst.get("old")) and _finite(worst.get("new")):
        text = f"{what}: {observed}{where}, where OLD's layer gives {expected} for NEW's inputs; "
    else:
        text = f"{what}{where}: "
    text += f"the difference is {error}, and rounding explains at most {bound}. No known cause explains it."
    return {**cause_entry("unexplained", text), "by_number": True}


def share(check):
    """The error of a check in units of its bound; inf if it is no number."""
    if not _finite(check.get("error")):
        return math.inf
    return check["error"] / check["bound"] if check["bound"] else math.inf if check["error"] else 0.0


def _shown(number):
    return f"{number:.6g}" if _finite(number) else "not a finite number"


def _explanation(layer):
    if layer["verdict"] == FINDING:
        return " ".join(cause["explanation"] for cause in layer["causes"] if cause["severity"] == FINDING)
    if layer["verdict"] == UNDECIDABLE:
        return " ".join(layer["undecided"]) or "A check has no bound, so nothing can be concluded from it."
    shares = [share(check) for check in layer["checks"]]
    text = "NEW does what OLD does"
    if shares:
        text += f"; the largest error is {in_percent(max(shares))} of what is allowed"
    return " ".join([text + ".", *(cause["explanation"] for cause in layer["causes"])])
