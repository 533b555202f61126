"""What the HTML page of an audit says: each layer as texts for the template, and the audit as a whole in a sentence.

Results may come from any file, so nothing is taken for granted: what is missing or not a number is named in words.
"""

import math

from .._util.text import counted, in_times, in_words
from ..errors import PlotUnavailableError
from ..verdicts import ADVISORY, FINDING, OK, UNDECIDABLE
from .curve_data import Curve, share_in_words
from .curve_plot import draw

# The verdicts, and between them layers that are ok but have an advisory; the most severe first.
SEVERITIES = (FINDING, UNDECIDABLE, ADVISORY, OK)


def layer_content(given):
    """What the template shows of one layer.

    Args:
      given: the layer in the result that `html.render` takes; with "cells", pairs of a column's name and a text, it is
        one of a checkpoint, which has no steps and no errors.

    Returns:
      dict: "rank" sorts layers, the most severe first; "curves" are those of ``given``; everything else is text, or
      dicts and lists of texts and flags.
    """
    causes = given.get("causes") or []
    verdict = given.get("verdict")
    severity = verdict if verdict in SEVERITIES else UNDECIDABLE
    if severity == OK and causes:
        severity = ADVISORY
    of_checkpoint = given.get("cells") is not None
    errors = [] if of_checkpoint else [_error(given, statistic) for statistic in ("mean", "variance")]
    first = bool(given.get("first"))
    explanation = str(given.get("explanation") or "")
    for cause in causes:
        # The causes are listed in full below; what is left of the explanation are remarks.
        explanation = " ".join(explanation.replace(str(cause.get("explanation") or ""), "").split())
    worst = max((error["share"] for error in errors if error["share"] is not None), default=-1)
    return {
        "name": str(given.get("name") or "(a layer without a name)"),
        "severity": severity,
        "verdict": "no verdict" if verdict is None else str(verdict),
        "first": first,
        "causes": [_cause(cause) for cause in causes],
        "explanation": explanation,
        "errors": errors,
        "cells": [{"name": name, "text": text, "over": False} for name, text in given.get("cells") or ()] or errors,
        "steps": None if of_checkpoint else _whole(given.get("steps")),
        "facts": _facts(given),
        "curves": given.get("curves") or {},
        "rank": (SEVERITIES.index(severity), not first, -worst),
    }


def _cause(cause):
    misfit = cause.get("misfit")
    if "misfit" not in cause:
        fit = None
    elif not _finite(misfit):
        fit = f"largest remaining error: {in_words(misfit)}"
    else:
        fit = f"largest remaining error {share_in_words(misfit)}"
        if misfit <= 1:
            fit = f"explains the numbers; {fit}"
    return {
        "id": str(cause.get("id")),
        "advisory": cause.get("severity") == ADVISORY,
        "explanation": cause.get("explanation") or "No explanation is given.",
        "fit": fit,
        "remedy": str(cause.get("remedy") or ""),
        "accepted": bool(cause.get("accepted")),
    }


def _error(given, statistic):
    """The largest error of a moving statistic, in words, and as a share of what is allowed; None if not measured."""
    error, bound = (given.get(f"{statistic}_{what}") for what in ("error", "bound"))
    name = f"moving {statistic}"
    if error is None and bound is None:
        return {"name": name, "text": "not measured", "share": None, "over": False}
    text = error_in_words(error, bound)
    if not (_finite(error) and _finite(bound)):
        # NaN is null in the JSON: if only one of the two is missing, something is wrong.
        share = math.inf
    elif error <= bound:
        share = error / bound if bound else 0.0
    else:
        share = error / bound if bound > 0 else math.inf
        text = error_in_words(error, bound, share)
    return {"name": name, "text": text, "share": share, "over": share > 1}


def error_in_words(error, bound, share=0):
    """An error beside the allowed one, and how many times as large it is; ``share`` is their quotient."""
    if share > 1 and math.isfinite(share):
        return f"{in_words(error)}, {in_times(share)} the allowed {in_words(bound)}"
    return f"{in_words(error)}, allowed {in_words(bound)}"


def _finite(value):
    try:
        return isinstance(value, (int, float)) and math.isfinite(value)
    except OverflowError:
        return False


def _whole(value):
    """A count or an index with all of its digits."""
    return str(value) if isinstance(value, int) and abs(value) < 10**15 else in_words(value)


def _facts(given):
    """Pairs of a name and a text: what else is known of a layer."""
    facts = list(given.get("facts") or [])
    if given.get("first_step") is not None:
        facts.append(("first wrong step", _whole(given["first_step"])))
    facts += _accumulated(given.get("accumulated"))
    facts += _output_errors(given)
    for name, value in (given.get("estimates") or {}).items():
        if isinstance(value, (list, tuple)) and len(value) == 2:
            text = f"between {in_words(value[0])} and {in_words(value[1])}"
        elif isinstance(value, (list, tuple)):
            text = ", ".join(in_words(item) for item in value) or "not given"
        else:
            text = in_words(value)
        facts.append((f"estimate of {name}", text))
    return facts


def _output_errors(given):
    """Facts on the outputs: the error from outside of the layer's arithmetic, and that of the arithmetic."""
    facts = []
    for key, of_an_audit, of_a_comparison in (
        ("inherited", "output error inherited from the statistics", "output error inherited through its inputs"),
        ("added", "output error of the layer's arithmetic", "output error of its own"),
    ):
        error, bound = given.get(f"{key}_error"), given.get(f"{key}_bound")
        if error is None:
            continue
        if bound is None:  # only the audit of one run has bounds for them
            facts.append((of_a_comparison, in_words(error)))
        else:
            facts.append((of_an_audit, f"{error_in_words(error, bound)} (root mean square of the worst channel)"))
    return facts


def _accumulated(given):
    """Facts on the errors of all steps together, where they exceed what is allowed."""
    facts = []
    for statistic, parts in (given or {}).items():
        if not isinstance(parts, dict):
            continue
        error, bound = parts["error"], parts["bound"]
        if _finite(error) and _finite(bound) and abs(error) <= bound:
            continue
        text = (
            f"{error_in_words(error, bound)}, in channel {_whole(parts['channel'])} after step "
            f"{_whole(parts['step'])}; {in_words(parts['added'])} added by that step and "
            f"{in_words(parts['inherited'])} inherited from earlier ones"
        )
        facts.append((f"moving {statistic}, error of all steps together", text))
    return facts


def plot_content(key, given, prefix):
    """What the template shows of one plot.

    Args:
      key: such as "moving_mean".
      given: the series of `curve_data.Curve`.
      prefix: what the ids in the drawing start with.

    Returns:
      dict: "name", "summary" (a text; the reason if nothing can be drawn) and "svg", a text or None.

    Raises:
      ImportError: matplotlib is missing; the message says how to install it.
    """
    name = key.replace("_", " ")
    channel = given.get("channel") if isinstance(given, dict) else None
    if channel is not None:
        name += f", channel {_whole(channel)}"
    try:
        curve = Curve(given)
        drawing = draw(curve, prefix)
    except PlotUnavailableError as reason:
        return {"name": name, "svg": None, "summary": str(reason)}
    return {"name": name, "svg": drawing, "summary": curve.summary()}


def overall_severity(counts, incomplete):
    """The severity of an audit as a whole.

    Args:
      counts: dict from each of SEVERITIES to the number of such layers.
      incomplete: whether something besides the layers is wrong.
    """
    worst = next((severity for severity in SEVERITIES if counts[severity]), UNDECIDABLE)
    return UNDECIDABLE if incomplete and worst in (ADVISORY, OK) else worst


def overall_verdict(counts, worst):
    """The whole audit in a sentence; ``worst`` is the `overall_severity`."""
    total = sum(counts.values())
    if not total:
        return "Nothing was judged: there are no layers."
    of_all = f"of {counted(total, 'layer')}"
    if counts[FINDING]:
        return f"Something is wrong in {counts[FINDING]} {of_all}."
    if counts[UNDECIDABLE]:
        return f"Nothing wrong was found, but {counts[UNDECIDABLE]} {of_all} could not be decided."
    if worst == UNDECIDABLE:
        return "Nothing wrong was found, but the audit is not complete."
    advised = counts[ADVISORY]
    if total == 1:
        return "The layer is as it should be" + (", with advice." if advised else ".")
    return f"All {total} layers are as they should be" + (f", with advice for {advised}." if advised else ".")
