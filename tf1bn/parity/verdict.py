"""The verdicts of a comparison, from its causes and the errors and bounds of its checks. Used by ``parity``."""

import math

from ..verdicts import ADVISORY, FINDING, OK, UNDECIDABLE, cause_entry

FORMAT = "tf1bn-parity"


def checked(found):
    """``found`` if it is a result as this module makes it.

    Raises:
      ValueError: it is not; the message says why.
    """
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ValueError(f"it is not of the format {FORMAT!r}.")
    lists = {name: found.get(name) for name in ("layers", "problems")}
    for name, value in lists.items():
        if not isinstance(value, list):
            raise ValueError(f"`{name}` in it is no list.")
    for layer in found["layers"]:
        if not isinstance(layer, dict) or not isinstance(layer.get("name"), str):
            raise ValueError("a layer in it has no name.")
        where = f"layer {layer['name']!r} in it"
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
        since = layer.get("since")
        if isinstance(since, bool) or not (since is None or isinstance(since, (int, float))):
            raise ValueError(f"{where} has `since` that is {since!r}.")
        for check in layer.get("checks") or []:
            if not isinstance(check, dict) or not isinstance(check.get("what"), str):
                raise ValueError(f"{where} has a check that does not say what it is of.")
            for name in ("error", "bound", "first", "step", "old", "new"):
                number = check.get(name)
                if isinstance(number, bool) or not (number is None or isinstance(number, (int, float))):
                    raise ValueError(f"{where} has a check whose `{name}` is {number!r}.")
        if any(not isinstance(text, str) for text in layer.get("undecided", ())):
            raise ValueError(f"{where} has `undecided` that are no sentences.")
    return found


def rejudge(found):
    """The same result with every verdict recomputed from its causes and checks; needs no traces.

    A layer is a finding if one of its causes is, or if an error in its checks is not within its bound; else it is
    undecidable if anything is listed as undecided or a number is missing; else ok. The result is ok if there are
    layers, all are ok, and nothing is a problem.
    """
    layers = []
    for layer in found["layers"]:
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
        layers.append({**layer, "causes": causes, "verdict": verdict, "first": False})
    starts = [
        (min(steps), i)
        for i, layer in enumerate(layers)
        if layer["verdict"] == FINDING and layer.get("matched") and (steps := _steps(layer))
    ]
    if starts:
        layers[min(starts)[1]]["first"] = True
    for layer in layers:
        if layer.get("checks") is not None:
            layer["explanation"] = _explanation(layer)
    ok = bool(layers) and all(layer["verdict"] == OK for layer in layers) and not found["problems"]
    return {**found, "layers": layers, "ok": ok}


def outside_of(checks):
    """Those whose error is not within its bound."""
    return [check for check in checks if _finite(check.get("bound")) and not _within(check)]


def _steps(layer):
    """The steps from which on something is otherwise."""
    steps = [layer.get("since"), *(check.get("first") for check in layer.get("checks") or [])]
    return [step for step in steps if step is not None]


def _finite(number):
    return isinstance(number, (int, float)) and math.isfinite(number)


def _within(check):
    """Whether an error is a number and within its bound."""
    return _finite(check.get("error")) and check["error"] <= check["bound"]


def _by_number(outside):
    worst = max(outside, key=share)
    where = "" if worst.get("channel") is None else f" in channel {worst['channel']}"
    where += "" if worst.get("step") is None else f" of step {worst['step']}"
    due, error, bound = (_shown(worst.get(name)) for name in ("old", "error", "bound"))
    text = (
        f"{_capital(worst['what'])}: {_shown(worst.get('new'))}{where}, where {due} follows from what OLD does with "
        f"NEW's inputs; {error} off, and an honest layer can be {bound} off. No known cause explains it."
    )
    return {**cause_entry("unexplained", text), "by_number": True}


def share(check):
    if not _finite(check.get("error")):
        return math.inf
    return check["error"] / check["bound"] if check["bound"] else math.inf if check["error"] else 0.0


def _shown(number):
    return f"{number:.6g}" if _finite(number) else "no number"


def _explanation(layer):
    bad = [cause["explanation"] for cause in layer["causes"] if cause["severity"] == FINDING]
    if layer["verdict"] == FINDING:
        return " ".join(bad)
    if layer["verdict"] == UNDECIDABLE:
        return " ".join(layer["undecided"]) or "A number is missing, so it cannot be judged."
    shares = [share(check) for check in layer["checks"]]
    text = "NEW does what OLD does"
    if shares:
        text += f", at most {max(shares):.2g} of the bound off"
    return " ".join([text + ".", *(cause["explanation"] for cause in layer["causes"])])


def _capital(text):
    return text[:1].upper() + text[1:]
