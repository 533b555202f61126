"""Puts a page together: the content of a result into the template, with the styles and the script inside it.

The page allows itself nothing but its own style sheet and script, by their hashes: a name in a result that looked like
markup, and was not escaped by some mistake, would still run nothing and load nothing.
"""

import base64
import functools
import hashlib
from importlib import resources

from ..._util.printable import printable
from ...errors import PlotUnavailableError
from ..layers.declared import head_line, head_of_comparison, usual_settings
from ..packages import import_for
from ..parity import data_sentence, headline, matched_names
from . import checkpoints, comparisons, graphs, layers, summary, traces
from .plots import curve_svg
from .plots.curve_data import Curve
from .words import dicts, texts, whole

KINDS = {
    "checkpoint": checkpoints.KIND,
    "graph": graphs.KIND,
    "traces": comparisons.RUNS,
    "checkpoints": comparisons.CHECKPOINTS,
    "graphs": comparisons.GRAPHS,
}
PLOTS = ("not-ok", "all", "none")
PLOTTED = 100  # layers with plots, unless all are wanted


def page(result, title=None, *, curves=None, plots="not-ok"):
    """The page of a result, a string; arguments as for `reports.html.render`."""
    compared = "old" in result and "new" in result
    kind = KINDS.get(str(result.get("kind")), comparisons.RUNS if compared else traces.KIND)
    content = layers.contents(dicts(result.get("layers")), kind, matched_names if compared else _name, curves)
    markup = import_for("The HTML report", "jinja2").utils.markupsafe.Markup
    left_out = _add_plots(content, plots, markup)
    counts = summary.counts_of(content)
    problems = texts(result.get("problems"))
    worst = summary.overall_severity(counts, bool(problems) or result.get("ok") is False)
    names = {key: result.get(key) for key in ("path", "old", "new")}
    found = summary.by_cause(content)
    return _render(
        title=title or _title(kind, names),
        names=[str(name) for name in names.values() if name is not None],
        version=result.get("tf1bn"),
        kind=kind,
        worst=worst,
        verdict=result.get("headline") or (headline(result) if compared else summary.overall_verdict(counts, worst)),
        about=head_of_comparison(result) if compared else head_line(result, usual_settings(result["layers"])),
        problems=problems,
        notes=_notes(result, problems),
        counts=counts,
        found=found,
        anchors={cause["id"]: cause["anchor"] for cause in found},
        questions=summary.open_questions(content),
        layers=content,
        has_plots=any(layer["plots"] for layer in content),
        left_out=left_out,
        plotted=PLOTTED,
    )


def _name(layer):
    return layer.get("name")


def _title(kind, names):
    if names["path"] is None and "{path}" in kind.title:
        start = kind.title.partition(" {path}")[0]
        return f"{start} batch normalization" if start.endswith(" of") else start
    return kind.title.format(**names)


def _notes(result, problems):
    """The sentences that are about the result as a whole, each once."""
    renames = [group.get("sentence") for group in dicts(result.get("renames"))]
    sentences = texts([data_sentence(result), *renames, *texts(result.get("notes"))])
    return [sentence for sentence in sentences if sentence not in problems]


def _add_plots(content, plots, markup):
    """Draw the plots of the layers that have them; returns whether any that are not ok were left out."""
    drawn, left_out = 0, False
    for layer in content:
        if plots == "none" or (plots == "not-ok" and layer["severity"] in (layers.ADVISORY, layers.OK)):
            continue
        if plots != "all" and drawn == PLOTTED:
            left_out = True
            continue
        layer["plots"] = [_plot(key, curve, markup) for key, curve in layer["curves"]().items()]
        drawn += bool(layer["plots"])
    return left_out


def _plot(key, given, markup):
    """Dict of one plot: "name", "summary" (the reason if nothing can be drawn) and "svg", markup or None."""
    name = str(key).replace("_", " ")
    channel = given.get("channel") if isinstance(given, dict) else None
    if channel is not None:
        name += f", channel {whole(channel)}"
    try:
        curve = Curve(given)
    except PlotUnavailableError as reason:
        return {"name": name, "svg": None, "summary": str(reason)}
    return {"name": name, "svg": markup(curve_svg.draw(curve)), "summary": curve.summary()}


def _render(**content):
    markup = import_for("The HTML report", "jinja2").utils.markupsafe.Markup
    style, script = (_asset(name) for name in ("page.css", "page.js"))
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return _template().render(policy=policy, style=markup(style), script=markup(script), **content)


@functools.cache
def _template():
    jinja2 = import_for("The HTML report", "jinja2")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_shown
    )
    environment.filters["breakable"] = _breakable
    return environment.from_string(_asset("page.html.jinja"))


def _breakable(name):
    """A name as HTML that a narrow column breaks between its parts."""
    from markupsafe import Markup, escape

    return escape(printable(name)).replace("/", Markup("/<wbr>"))


def _asset(name):
    text = (resources.files("tf1bn.reports.page") / name).read_text(encoding="utf-8")
    return text.replace("\r\n", "\n")


def _hash(text):
    """What a Content-Security-Policy calls an inlined style sheet or script."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}"


def _shown(value):
    return printable(value) if type(value) is str else value
