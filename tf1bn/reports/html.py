"""The result of an audit as one HTML page that needs nothing else: no network, no scripts. Decides nothing.

jinja2 and matplotlib are imported where they are used, so that importing this module costs nothing.
"""

import math
from importlib import resources

from .._util import files
from .._util.printable import printable
from .._util.text import in_times, in_words
from ..errors import PlotUnavailableError
from .curve_plot import Curve, draw

PLOTTED = 40  # layers with plots; a page with all of a thousand would be 100 MB
SEVERITIES = ("finding", "undecidable", "advisory", "ok")
STATISTICS = ("mean", "variance")


def write(result, path, title=None, *, option="--html"):
    """Write the page of ``result`` to ``path``, whole or not at all.

    Raises:
      OutputError: the message names ``option``, the file and the reason.
    """
    files.write_file(path, render(result, title).encode("utf-8"), option)


def render(result, title=None):
    """The page of an audit.

    Args:
      result: the dict of the audit's JSON. Beside what every audit has, "path", "problems", "notes", "headline",
        "legend" (of the plots; all are sentences) and "tf1bn" (a version) are shown if there, and of a layer "first"
        (it diverges first), "first_step", "explanation", "estimates" (a dict from name to value, interval or text),
        "facts" (pairs of a name and a text), "accumulated", "inherited_error" and "added_error" (with bounds where
        they are of one run) and "curves": {"moving_mean" and "moving_variance":
        {"channel", "step", "observed", "expected", "bound"}}.
      title: instead of "Audit of " and the path.

    Raises:
      ImportError: jinja2 or matplotlib is missing; the message says how to install it.
    """
    try:
        import jinja2
    except ImportError as error:
        raise ImportError(
            "The HTML report needs the package `jinja2`; install it with `pip install jinja2`, or `tf1bn[report]`."
        ) from error

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_shown
    )
    template = environment.from_string(
        (resources.files("tf1bn.reports") / "audit.html.jinja").read_text(encoding="utf-8")
    )
    layers = sorted((_layer(given) for given in result.get("layers") or []), key=lambda layer: layer["rank"])
    left_out = 0
    for number, layer in enumerate(layers, 1):
        layer["id"] = f"layer-{number}"
        layer["plots"] = []
        if layer["curves"] and number > PLOTTED:
            left_out += 1
        else:
            layer["plots"] = [
                _plot(key, curve, f"{layer['id']}-{i}-", jinja2)
                for i, (key, curve) in enumerate(layer["curves"].items())
            ]
    counts = {severity: sum(layer["severity"] == severity for layer in layers) for severity in SEVERITIES}
    problems = result.get("problems") or []
    worst = next((severity for severity in SEVERITIES if counts[severity]), "undecidable")
    if worst in ("advisory", "ok") and (problems or result.get("ok") is False):
        worst = "undecidable"
    path = result.get("path")
    return template.render(
        title=title or (f"Audit of {path}" if path else "Audit of batch normalization"),
        path=path,
        version=result.get("tf1bn"),
        worst=worst,
        verdict=result.get("headline") or _verdict(counts, worst),
        notes=result.get("notes") or [],
        legend=result.get("legend"),
        counts=counts,
        problems=problems,
        layers=layers,
        # Whoever asks for one layer wants to see it, however good it is.
        open=[layer for layer in layers if layer["severity"] != "ok" or len(layers) == 1],
        folded=[layer for layer in layers if layer["severity"] == "ok" and len(layers) > 1],
        left_out=left_out,
        plotted=PLOTTED,
        has_plots=any(layer["plots"] for layer in layers),
    )


def _shown(value):
    return printable(value) if type(value) is str else value


def _layer(given):
    """What the template shows of one layer."""
    causes = given.get("causes") or []
    verdict = given.get("verdict")
    severity = verdict if verdict in SEVERITIES else "undecidable"
    if severity == "ok" and causes:
        severity = "advisory"
    errors = [_error(given, statistic) for statistic in STATISTICS]
    first = bool(given.get("first"))
    explanation = str(given.get("explanation") or "")
    for cause in causes:
        # The causes are shown in full; what is left are the notes beside them.
        explanation = " ".join(explanation.replace(str(cause.get("explanation") or ""), "").split())
    worst = max((error["share"] for error in errors if error["share"] is not None), default=-1)
    return {
        "name": str(given.get("name") or "(a layer without a name)"),
        "severity": severity,
        "verdict": "not judged" if verdict is None else str(verdict),
        "first": first,
        "causes": [_cause(cause) for cause in causes],
        "explanation": explanation,
        "errors": errors,
        "steps": _whole(given.get("steps")),
        "facts": _facts(given),
        "curves": given.get("curves") or {},
        "rank": (SEVERITIES.index(severity), not first, -worst),
    }


def _cause(cause):
    misfit = cause.get("misfit")
    if "misfit" not in cause:
        fit = None
    elif _finite(misfit):
        fit = f"explains the numbers to within {in_words(misfit)} of the bound"
    else:
        fit = f"misfit: {in_words(misfit)}"
    return {
        "id": str(cause.get("id")),
        "advisory": cause.get("severity") == "advisory",
        "explanation": cause.get("explanation") or "No explanation is given.",
        "fit": fit,
    }


def _error(given, statistic):
    """The worst error of one statistic beside what is allowed."""
    error, bound = (given.get(f"{statistic}_{what}") for what in ("error", "bound"))
    if error is None and bound is None:
        text, share = "not measured", None
    else:
        text = f"{in_words(error)} of {in_words(bound)} allowed"
        if not (_finite(error) and _finite(bound)):
            # JSON holds NaN as null, so that one of the two being missing is no good sign.
            share = math.inf
        elif error <= bound:
            share = error / bound if bound else 0.0
        else:
            share = error / bound if bound > 0 else math.inf
            if math.isfinite(share):
                text += f", {in_times(share)} the bound"
    return {"name": f"moving {statistic}", "text": text, "share": share, "over": share is not None and share > 1}


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
        facts.append(("first step that is wrong", _whole(given["first_step"])))
    facts += _accumulated(given.get("accumulated"))
    for key, alone, between in (
        ("inherited", "error of the outputs, inherited from the statistics", "error that came in with its input"),
        ("added", "error of the outputs, added by the layer's arithmetic", "error that it added itself"),
    ):
        error, bound = given.get(f"{key}_error"), given.get(f"{key}_bound")
        if error is None:
            continue
        if bound is None:  # of two runs, see `parity`
            facts.append((between, in_words(error)))
        else:
            facts.append(
                (
                    alone,
                    f"{in_words(error)} of {in_words(bound)} allowed, root mean square of the worst channel",
                )
            )
    for name, value in (given.get("estimates") or {}).items():
        if isinstance(value, (list, tuple)) and len(value) == 2:
            text = f"between {in_words(value[0])} and {in_words(value[1])}"
        elif isinstance(value, (list, tuple)):
            text = ", ".join(in_words(item) for item in value) or "not given"
        else:
            text = in_words(value)
        facts.append((f"estimate of {name}", text))
    return facts


def _accumulated(given):
    """Facts on what the errors of all steps come to."""
    facts = []
    for statistic, one in (given or {}).items():
        # An error within its bound is rounding, whose parts nobody wants to see.
        if not isinstance(one, dict):
            continue
        if _finite(one["error"]) and _finite(one["bound"]) and abs(one["error"]) <= one["bound"]:
            continue
        text = (
            f"{in_words(one['error'])} in channel {_whole(one['channel'])} after step {_whole(one['step'])}, where "
            f"{in_words(one['bound'])} is allowed; {in_words(one['added'])} added by that step and "
            f"{in_words(one['inherited'])} "
            "inherited from earlier ones"
        )
        facts.append((f"moving {statistic}, all steps together", text))
    return facts


def _plot(key, given, prefix, jinja2):
    name = key.replace("_", " ")
    channel = given.get("channel") if isinstance(given, dict) else None
    if channel is not None:
        name += f", channel {_whole(channel)}"
    try:
        curve = Curve(given)
        drawing = jinja2.utils.markupsafe.Markup(draw(curve, prefix))
    except PlotUnavailableError as reason:
        return {"name": name, "svg": None, "summary": str(reason)}
    return {"name": name, "svg": drawing, "summary": curve.summary()}


def _verdict(counts, worst):
    """The whole audit in a sentence."""
    total = sum(counts.values())
    if not total:
        return "Nothing was judged: there are no layers."
    of_all = f"of {total} layer{'' if total == 1 else 's'}"
    if counts["finding"]:
        return f"Something is wrong in {counts['finding']} {of_all}."
    if counts["undecidable"]:
        return f"Nothing wrong was found, but {counts['undecidable']} {of_all} could not be decided."
    if worst == "undecidable":
        return "Nothing wrong was found, but the audit is not complete."
    every = "The layer is" if total == 1 else f"All {total} layers are"
    if counts["advisory"]:
        return (
            f"{every} as they should be, with advice for {counts['advisory']}."
            if total > 1
            else (f"{every} as it should be, with advice.")
        )
    return f"{every} as {'it' if total == 1 else 'they'} should be."
