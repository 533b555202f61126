"""The result of an audit as terminal text. Decides nothing."""

from .._util.printable import printable, printable_values
from ..verdicts import VERDICTS

NARROW = 96  # columns of the terminal, below which a table does not fit
STYLES = {"finding": "bold red", "undecidable": "bold yellow", "ok": "green"}


def audit(found, path, out, *, quiet=False):
    """Print the dict of `result` to the rich console ``out``, the worst layers first."""
    from rich.text import Text

    found, path = printable_values(found), printable(path)
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
