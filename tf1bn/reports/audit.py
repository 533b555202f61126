"""The result of an audit as text on a terminal."""

from .._util.printable import printable, printable_values
from ..verdicts import VERDICTS
from .checkpoint_values import print_values
from .layer_table import count_verdicts, is_shown, print_layers, print_remedies


def print_audit(result, path, out, *, quiet=False, values=False):
    """Print the result of an audit, the worst layers first.

    Args:
      result: the dict of the audit's JSON.
      path: that of the trace or checkpoint.
      out: a rich console.
      quiet: whether to list only the layers that are not ok.
      values: whether to print the ranges of a checkpoint's variables too, of the same layers.
    """
    from rich.text import Text

    result, path = printable_values(result), printable(path)
    layers = sorted(result["layers"], key=lambda layer: (VERDICTS.index(layer["verdict"]), not layer.get("first")))
    rows = [
        (layer, layer["name"], _first_step(layer), layer["explanation"])
        for layer in layers
        if not quiet or is_shown(layer)
    ]
    print_layers(rows, out, causes_width=14)
    if values and rows:
        print_values([layer for layer, *_ in rows], out)
    print_remedies([layer for layer, *_ in rows], out)
    for sentence in (*result.get("problems", ()), *result.get("notes", ())):
        out.print(Text(sentence))
    summary = count_verdicts(layers) if layers else "no layers, so nothing was judged."
    out.print(Text(f"{path}: {summary}"), soft_wrap=True)


def _first_step(layer):
    """The first step in which the layer is wrong, and whether it is the layer that diverges first."""
    if layer.get("first_step") is None:
        return ""
    return f"first in step {layer['first_step']}" + (",\ndiverges first" if layer["first"] else "")
