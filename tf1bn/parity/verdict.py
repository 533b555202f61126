"""The verdicts of a comparison, from its causes and from the errors and bounds of its checks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from .._util.text import in_percent
from ..results import Result
from ..verdicts import FINDING, OK, UNDECIDABLE, cause_entry

FORMAT = "tf1bn-parity"


def rejudge(result: Mapping[str, Any]) -> Result:
    """The same result with every verdict recomputed from its causes and checks; needs no traces.

    A layer is a finding if one of its causes is, or if an error in its checks is not within its bound; else it is
    undecidable if anything is listed as undecided or a number is missing; else ok. The result is ok if there are
    layers, all are ok, and nothing is a problem.

    Args:
      result: the dict of `compare_traces` or `compare_checkpoints`, or what `stored.checked` accepts.
    """
    layers = [_with_verdict(layer) for layer in result["layers"]]
    # A difference without a step, such as a variable that is missing, is there from the start.
    earliest = min((step for layer in layers for step in _first_steps(layer)), default=0)
    starts = [
        (min(_first_steps(layer), default=earliest), i)
        for i, layer in enumerate(layers)
        if layer["verdict"] == FINDING and layer.get("matched") and "checks" in layer
    ]
    if starts:
        layers[min(starts)[1]]["first"] = True
    for layer in layers:
        if layer.get("checks") is not None:
            layer["explanation"] = _explanation(layer)
    ok = bool(layers) and all(layer["verdict"] == OK for layer in layers) and not result["problems"]
    return Result({**result, "layers": layers, "ok": ok})


def _with_verdict(layer):
    causes = [cause for cause in layer["causes"] if cause["id"] != "unexplained" or not cause.get("by_number")]
    checks = layer.get("checks") or []
    missing = [check for check in checks if not _finite(check.get("bound"))]
    outside = outside_of(checks)
    findings = [cause for cause in causes if cause["severity"] == FINDING]
    if findings and all(cause.get("accepted") for cause in findings):
        # The errors outside of their bounds are those of what is accepted.
        verdict = UNDECIDABLE if missing or layer.get("undecided") else OK
    elif findings:
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
    text = _own_explanation(layer)
    if layer.get("inputs_follow_from"):
        text += (
            f" It gets other inputs than OLD's layer, which follows from {layer['inputs_follow_from']!r} before it, "
            "and is judged by its own inputs."
        )
    return text


def _own_explanation(layer):
    if layer["verdict"] == FINDING:
        return " ".join(cause["explanation"] for cause in layer["causes"] if cause["severity"] == FINDING)
    if layer["verdict"] == UNDECIDABLE:
        return " ".join(layer["undecided"]) or "A check has no bound, so nothing can be concluded from it."
    accepted = [cause["explanation"] for cause in layer["causes"] if cause.get("accepted")]
    if accepted:
        return f"Accepted: {' '.join(accepted)}"
    shares = [share(check) for check in layer["checks"]]
    text = "NEW does what OLD does"
    if shares:
        text += f"; the largest error is {in_percent(max(shares))} of what is allowed"
    return " ".join([text + ".", *(cause["explanation"] for cause in layer["causes"])])
