"""The result of an audit as a dict, as terminal text and as an exit code. Decides nothing."""

import contextlib
import dataclasses

from . import __version__, divergence

VERDICTS = ("finding", "undecidable", "ok")
STYLES = {"finding": "bold red", "undecidable": "bold yellow", "ok": "green"}


def result(diagnoses):
    """The dict that the JSON holds, from a list of ``diagnosis.Diagnosis``."""
    layers = [
        {
            "name": one.name,
            "verdict": one.verdict,
            "causes": [
                {
                    "id": cause.id,
                    "severity": cause.severity,
                    "explanation": cause.explanation,
                    "misfit": cause.misfit,
                }
                for cause in one.causes
            ],
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
    from rich import box
    from rich.table import Table
    from rich.text import Text

    layers = sorted(found["layers"], key=lambda layer: (VERDICTS.index(layer["verdict"]), not layer.get("first")))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
    table.add_column("layer", overflow="fold", ratio=2)
    table.add_column("verdict", no_wrap=True)
    table.add_column("causes", overflow="fold", min_width=14, ratio=2)
    table.add_column("explanation", overflow="fold", ratio=6)
    shown = [layer for layer in layers if not quiet or layer["verdict"] != "ok"]
    for layer in shown:
        causes = "\n".join(
            cause["id"] + (" (advisory)" if cause["severity"] == "advisory" else "") for cause in layer["causes"]
        )
        table.add_row(
            Text(layer["name"]),
            _verdict(layer, Text),
            Text(causes),
            Text(layer["explanation"]),
        )
    if shown:
        out.print(table)
    for sentence in (*found.get("problems", ()), *found.get("notes", ())):
        out.print(Text(sentence))
    counts = [sum(layer["verdict"] == verdict for layer in layers) for verdict in VERDICTS]
    if not layers:
        out.print(Text(f"{path}: no layers, so nothing was judged."))
        return
    parts = ", ".join(f"{count} {verdict}" for count, verdict in zip(counts, VERDICTS, strict=True))
    out.print(Text(f"{path}: {len(layers)} layer{'s' if len(layers) > 1 else ''}: {parts}."), soft_wrap=True)


def _verdict(layer, Text):
    """The verdict, since which step, and whether that is where the run diverges first."""
    cell = Text(layer["verdict"], style=STYLES[layer["verdict"]])
    if layer.get("first_step") is not None:
        cell.append(f"\nin step {layer['first_step']}" + (",\nfirst of all" if layer["first"] else ""))
    return cell


@contextlib.contextmanager
def progress(opened, stream):
    """A function to call after each step, which shows a bar on ``stream`` if that is a terminal."""
    if not stream.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(file=stream), transient=True) as bar:
        task = bar.add_task("judging steps", total=opened.count_steps())
        yield lambda step: bar.advance(task)
