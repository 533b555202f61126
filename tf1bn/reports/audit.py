"""The result of an audit as text on a terminal."""

from .._util.printable import printable, printable_values
from ..verdicts import FINDING
from .checkpoint_values import print_values
from .layers.declared import head_line, own_settings, usual_settings
from .layers.grouping import Row, count_verdicts
from .layers.table import print_layers


def print_audit(result, path, out, *, quiet=False, values=False, in_full=False):
    """Print the result of an audit, the worst layers first.

    Args:
      result: the dict of the audit's JSON.
      path: that of the trace or checkpoint.
      out: a rich console.
      quiet: whether to list only the layers that are not ok.
      values: whether to print the ranges of a checkpoint's variables too, of the same layers.
      in_full: whether every layer gets a row of its own, also where many are alike, and those that are ok.
    """
    from rich.text import Text

    result, path = printable_values(result), printable(path)
    layers = result["layers"]
    several = sum(layer["verdict"] == FINDING for layer in layers) > 1
    usual = usual_settings(layers)
    rows = [Row(layer, layer["name"], _first_step(layer, several), _with_settings(layer, usual)) for layer in layers]
    if not quiet and (head := head_line(result, usual)) is not None:
        out.print(Text(head))
        out.print()
    shown = print_layers(rows, out, quiet=quiet, in_full=in_full)
    if values and shown:
        print_values([row.layer for row in shown], out)
    for sentence in (*result.get("problems", ()), *result.get("notes", ())):
        out.print(Text(sentence))
    summary = count_verdicts(layers) if layers else "no layers, so nothing was judged."
    out.print(Text(f"{path}: {summary}"), soft_wrap=True)


def _with_settings(layer, usual):
    """The explanation of a layer, with what it declares other than the others."""
    own = own_settings(layer, usual)
    return f"{layer['explanation']} It is declared with {own}." if own else layer["explanation"]


def _first_step(layer, several):
    """The first step in which the layer is wrong, and whether it is the one of ``several`` that diverges first."""
    if layer.get("first_step") is None:
        return ""
    return f"first in step {layer['first_step']}" + (",\ndiverges first" if layer["first"] and several else "")
