"""The layers of an audit or of a comparison on a terminal, and how many there are of each verdict."""

from .._util.text import counted
from ..verdicts import ADVISORY, FINDING, OK, SEVERITIES, UNDECIDABLE, VERDICTS

NARROW = 96  # columns of the terminal, below which the table would leave only a word or two to each line
# Advisories that --quiet does not leave out: a part of the run was not seen, or the statistics are of something else.
TELL_ALWAYS = ("changed-between-steps", "statistics-do-not-fit")
STYLES = {FINDING: "bold red", UNDECIDABLE: "bold yellow", OK: "green"}


def print_layers(rows, out, *, causes_width):
    """Print some layers as a table, or one below the other on a narrow terminal.

    Args:
      rows: for each layer a tuple of its dict in the JSON, its name, a remark to stand below its verdict ("" for none),
        and its explanation.
      out: a rich console.
      causes_width: the least width of the column of causes.
    """
    if not rows:
        return
    if out.width < NARROW:
        _print_list(rows, out)
    else:
        _print_table(rows, out, causes_width)


def _print_list(rows, out):
    from rich.padding import Padding
    from rich.text import Text

    for layer, name, remark, explanation in rows:
        head = Text(name + ": ", style="bold")
        head.append(layer["verdict"], style=STYLES[layer["verdict"]])
        head.append("".join(f", {part}" for part in (" ".join(remark.split()), *_causes(layer)) if part))
        out.print(head)
        out.print(Padding(Text(explanation), (0, 0, 1, 4), expand=False))


def _print_table(rows, out, causes_width):
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
    table.add_column("layer", overflow="fold", ratio=2)
    table.add_column("verdict", no_wrap=True)
    table.add_column("causes", overflow="fold", min_width=causes_width, ratio=2)
    table.add_column("explanation", overflow="fold", ratio=6)
    for layer, name, remark, explanation in rows:
        verdict = Text(layer["verdict"], style=STYLES[layer["verdict"]])
        if remark:
            verdict.append("\n" + remark, style="bold")
        table.add_row(Text(name), verdict, Text("\n".join(_causes(layer))), Text(explanation))
    out.print(table)


def _causes(layer):
    return [cause["id"] + _kind(cause) for cause in layer["causes"]]


def _kind(cause):
    """What a cause is if it makes no finding, in brackets."""
    return " (accepted)" if cause.get("accepted") else " (advisory)" if cause["severity"] == ADVISORY else ""


def print_remedies(layers, out):
    """Print what to do about the causes of some layers, each once, the findings first."""
    from rich.padding import Padding
    from rich.text import Text

    remedies = {}
    for severity in SEVERITIES:
        for layer in layers:
            for cause in layer["causes"]:
                if cause["severity"] == severity and cause.get("remedy") and not cause.get("accepted"):
                    remedies.setdefault(cause["id"], cause["remedy"])
    if not remedies:
        return
    out.print(Text("What to do", style="bold"))
    for name, text in remedies.items():
        line = Text(f"{name}: ", style="bold")
        line.append(text, style="not bold")
        out.print(Padding(line, (0, 0, 0, 2)))
    out.print()


def is_shown(layer):
    """Whether a layer is listed where only those are that need a look: not ok, or with a change that no step shows."""
    return layer["verdict"] != OK or any(cause["id"] in TELL_ALWAYS for cause in layer["causes"])


def count_verdicts(layers):
    """How many layers there are, and of each verdict: "3 layers: 1 finding, 0 undecidable, 2 ok."."""
    counts = ", ".join(f"{sum(layer['verdict'] == verdict for layer in layers)} {verdict}" for verdict in VERDICTS)
    return f"{counted(len(layers), 'layer')}: {counts}."
