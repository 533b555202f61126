"""The result of an audit as one HTML page that needs nothing else: no network, no scripts."""

from importlib import resources

from .._util import files
from .._util.printable import printable
from .checkpoint_values import COLUMNS, is_checkpoint, with_ranges
from .packages import import_for
from .page_content import SEVERITIES, layer_content, overall_severity, overall_verdict, plot_content

CAPTIONS = {
    None: "Each error is the largest of all channels and steps; a correctly rounded layer stays within what is "
    "allowed.",
    "checkpoint": "Of each variable the smallest and the largest value of all channels.",
    "checkpoints": "How many channels of each variable differ, and by how much; a conversion keeps every value.",
}
PLOTTED = 40  # layers with plots; a page with all of a thousand would be 100 MB


def write(result, path, title=None, *, option="--html"):
    """Write the page of ``result`` to ``path``, whole or not at all.

    Raises:
      OutputError: the message names ``option``, the file and the reason.
      ImportError: jinja2 or matplotlib is missing; the message says how to install it.
    """
    files.write_file(path, render(result, title).encode("utf-8"), option)


def render(result, title=None):
    """The page of an audit, a string.

    Args:
      result: the dict of the audit's JSON. These further keys are shown if they are there: "path", "tf1bn" (a version),
        "kind" ("checkpoint" or "checkpoints" where values are shown in the place of errors),
        and the sentences "problems", "notes", "headline" and "legend" (of the plots); of a layer "first" (whether it
        diverges first), "first_step", "explanation", "estimates" (dict from a name to a value, interval or text),
        "facts" (pairs of a name and a text), "accumulated", "inherited_error" and "added_error" (with bounds if they
        are of one run) and "curves": {"moving_mean" and "moving_variance": {"channel", "step", "observed", "expected",
        "bound"}}.
      title: the title of the page; None for "Audit of " and the path.

    Raises:
      ImportError: jinja2 or matplotlib is missing; the message says how to install it.
    """
    markup = import_for("The HTML report", "jinja2").utils.markupsafe.Markup
    given_layers = result.get("layers") or []
    if is_checkpoint(result):
        given_layers = [with_ranges(layer) for layer in given_layers]
    layers = sorted(map(layer_content, given_layers), key=lambda layer: layer["rank"])
    left_out = 0
    for number, layer in enumerate(layers, 1):
        layer["id"] = f"layer-{number}"
        layer["plots"] = []
        if layer["curves"] and number > PLOTTED:
            left_out += 1
            continue
        for i, (key, curve) in enumerate(layer["curves"].items()):
            plot = plot_content(key, curve, f"{layer['id']}-{i}-")
            layer["plots"].append({**plot, "svg": plot["svg"] and markup(plot["svg"])})
    counts = {severity: sum(layer["severity"] == severity for layer in layers) for severity in SEVERITIES}
    problems = result.get("problems") or []
    worst = overall_severity(counts, bool(problems) or result.get("ok") is False)
    path = result.get("path")
    return _template().render(
        title=title or (f"Audit of {path}" if path else "Audit of batch normalization"),
        path=path,
        version=result.get("tf1bn"),
        worst=worst,
        verdict=result.get("headline") or overall_verdict(counts, worst),
        notes=result.get("notes") or [],
        legend=result.get("legend"),
        counts=counts,
        problems=problems,
        layers=layers,
        columns=COLUMNS if is_checkpoint(result) else ("moving mean", "moving variance"),
        caption=CAPTIONS.get(result.get("kind"), CAPTIONS[None]),
        # A single layer is shown open even if it is ok: it is what the reader asked for.
        open=[layer for layer in layers if layer["severity"] != "ok" or len(layers) == 1],
        folded=[layer for layer in layers if layer["severity"] == "ok" and len(layers) > 1],
        left_out=left_out,
        plotted=PLOTTED,
        has_plots=any(layer["plots"] for layer in layers),
    )


def _template():
    jinja2 = import_for("The HTML report", "jinja2")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_shown
    )
    source = (resources.files("tf1bn.reports") / "audit.html.jinja").read_text(encoding="utf-8")
    return environment.from_string(source)


def _shown(value):
    return printable(value) if type(value) is str else value
