"""The result of an audit as a dict, as terminal text and as an exit code. Decides nothing."""

import contextlib
import dataclasses

from .. import __version__
from ..diagnosis import divergence
from ..diagnosis.causes import entry

VERDICTS = ("finding", "undecidable", "ok")
NARROW = 96  # columns of the terminal, below which a table does not fit
STYLES = {"finding": "bold red", "undecidable": "bold yellow", "ok": "green"}


def result(diagnoses):
    """The dict that the JSON holds, from a list of ``diagnosis.Diagnosis``."""
    layers = [
        {
            "name": one.name,
            "verdict": one.verdict,
            "causes": [entry(cause.id, cause.explanation, cause.severity, cause.misfit) for cause in one.causes],
            "explanation": one.explanation,
            "mean_error": one.mean_error,
            "mean_bound": one.mean_bound,
            "variance_error": one.variance_error,
            "variance_bound": one.variance_bound,
            "steps": one.steps,
            "first": one.first,
            "first_step": one.first_step,
            "inherited_error": one.inherited_error,
            "inherited_bound": one.inherited_bound,
            "added_error": one.added_error,
            "added_bound": one.added_bound,
            "accumulated": {
                name: None if each is None else dataclasses.asdict(each) for name, each in one.accumulated.items()
            },
            "estimates": {name: list(interval) for name, interval in one.estimates.items()},
        }
        for one in diagnoses
    ]
    ok = bool(layers) and all(layer["verdict"] == "ok" for layer in layers)
    said = divergence.note(diagnoses)
    notes = [] if said is None else [said]
    return {"format": "tf1bn-audit", "tf1bn": __version__, "ok": ok, "layers": layers, "notes": notes}


def exit_code(found):
    """0 if all is ok, 1 if there is a finding, else 2: an audit that judged nothing is no success."""
    if found["ok"]:
        return 0
    return 1 if any(layer["verdict"] == "finding" for layer in found["layers"]) else 2


def audit(found, path, out, *, quiet=False):
    """Print the dict of `result` to the rich console ``out``, the worst layers first."""
    from rich.text import Text

    layers = sorted(found["layers"], key=lambda layer: (VERDICTS.index(layer["verdict"]), not layer.get("first")))
    rows = [
        (layer, layer["name"], _since(layer), layer["explanation"])
        for layer in layers
        if not quiet or layer["verdict"] != "ok"
    ]
    print_table(rows, out, causes_width=14)
    for sentence in (*found.get("problems", ()), *found.get("notes", ())):
        out.print(Text(sentence))
    out.print(
        Text(f"{path}: {counted(layers)}" if layers else f"{path}: no layers, so nothing was judged."), soft_wrap=True
    )


def print_table(rows, out, *, causes_width):
    """Print layers: (the dict of one, its name, what to say below its verdict, its explanation) each."""
    from rich import box
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    if not rows:
        return
    if out.width < NARROW:
        # Four columns would leave a word or two to each line of the explanation.
        for layer, name, below, explanation in rows:
            head = Text(name + ": ", style="bold")
            head.append(layer["verdict"], style=STYLES[layer["verdict"]])
            head.append("".join(f", {part}" for part in (" ".join(below.split()), *_ids(layer)) if part))
            out.print(head)
            out.print(Padding(Text(explanation), (0, 0, 1, 4), expand=False))
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
    table.add_column("layer", overflow="fold", ratio=2)
    table.add_column("verdict", no_wrap=True)
    table.add_column("causes", overflow="fold", min_width=causes_width, ratio=2)
    table.add_column("explanation", overflow="fold", ratio=6)
    for layer, name, below, explanation in rows:
        verdict = Text(layer["verdict"], style=STYLES[layer["verdict"]])
        if below:
            verdict.append("\n" + below, style="bold")
        table.add_row(Text(name), verdict, Text("\n".join(_ids(layer))), Text(explanation))
    out.print(table)


def _ids(layer):
    return [cause["id"] + (" (advisory)" if cause["severity"] == "advisory" else "") for cause in layer["causes"]]


def counted(layers):
    """How many layers there are, and of each verdict."""
    parts = ", ".join(f"{sum(layer['verdict'] == one for layer in layers)} {one}" for one in VERDICTS)
    return f"{len(layers)} layer{'s' if len(layers) > 1 else ''}: {parts}."


def _since(layer):
    """Since which step the layer is wrong, and whether that is where the run diverges first."""
    if layer.get("first_step") is None:
        return ""
    return f"in step {layer['first_step']}" + (",\nfirst of all" if layer["first"] else "")


@contextlib.contextmanager
def progress(what, steps, stream):
    """A function to call after each of so many steps, which shows a bar on ``stream`` if that is a terminal."""
    if not stream.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(file=stream), transient=True) as bar:
        task = bar.add_task(what, total=steps)
        yield lambda step: bar.advance(task)
