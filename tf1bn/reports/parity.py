"""The result of a comparison of two runs or checkpoints as text on a terminal."""

from .._util.printable import printable_values
from .._util.text import counted
from ..verdicts import FINDING, OK, UNDECIDABLE
from .layers.declared import head_of_comparison
from .layers.grouping import Row, count_verdicts
from .layers.table import print_layers


def print_comparison(result, out, *, quiet=False, in_full=False):
    """Print the result of a comparison, the worst layers first.

    Args:
      result: the dict of the comparison's JSON.
      out: a rich console.
      quiet: whether to list only the layers that are not ok.
      in_full: whether every layer gets a row of its own, also where many are alike, and those that are ok.
    """
    from rich.text import Text

    result = printable_values(result)
    data = data_sentence(result)
    head = [text for text in (None if quiet else head_of_comparison(result), data) if text]
    for text in head:
        out.print(Text(text))
    if head:
        out.print()
    renamed_as = _renamed_alike(result)
    rows = [
        Row(
            layer,
            matched_names(layer),
            "diverges first" if layer.get("first") else "",
            explanation(layer),
            renamed_as.get(layer["name"]),
        )
        for layer in result["layers"]
    ]
    print_layers(rows, out, quiet=quiet, in_full=in_full)
    for sentence in (*result.get("problems", ()), *result.get("notes", ())):
        if sentence != data:
            out.print(Text(sentence))
    names = f"{result.get('old')} -> {result.get('new')}"
    layers = result["layers"]
    summary = count_verdicts(layers) if layers else "no layers, so nothing was compared."
    out.print(Text(f"{names}: {summary}"), soft_wrap=True)


def _renamed_alike(result):
    """A number by the name of each layer whose name alone differs; the same for layers renamed in the same way."""
    ids = {layer["name"]: {cause["id"] for cause in layer["causes"]} for layer in result["layers"]}
    return {
        name: i
        for i, group in enumerate(result.get("renames") or ())
        for name in group["layers"]
        if ids.get(name, set()) <= {"renamed", "renumbered"}
    }


def data_sentence(result):
    """Whether both runs had the same inputs, in a sentence; None for a comparison of checkpoints."""
    return (result.get("data") or {}).get("sentence")


def matched_names(layer):
    """The layer's name in OLD and in NEW, and how the two were matched if not by name."""
    old, new = layer.get("old"), layer.get("new")
    if old is None or new is None:
        return f"{old or new} (only in {'NEW' if old is None else 'OLD'})"
    how = {"guess": " (guess)", "map": " (map)", "folded": " (folded)"}.get(layer.get("matched"), "")
    return (old if old == new else f"{old} -> {new}") + how


def explanation(layer):
    """Why the layer has its verdict and, if it is not ok, how large the errors of its outputs are."""
    text = layer.get("explanation") or " ".join(cause["explanation"] for cause in layer["causes"])
    own, inherited = layer.get("added_error"), layer.get("inherited_error")
    if layer["verdict"] != OK and own is not None:
        text += f" Error of its outputs: {own:.2g} of its own"
        text += "." if inherited is None else f", {inherited:.2g} inherited through its inputs."
    return text


def headline(result):
    """The whole comparison in a sentence."""
    layers = result["layers"]
    if not layers:
        return "Nothing was compared: there are no layers."
    wrong, unsure = (sum(layer["verdict"] == verdict for layer in layers) for verdict in (FINDING, UNDECIDABLE))
    of_all = f"of {counted(len(layers), 'layer')}"
    verb, verbs = ("hold", "holds") if result.get("kind") == "checkpoints" else ("do", "does")
    if wrong:
        first = next((f": {matched_names(layer)} diverges first" for layer in layers if layer.get("first")), "")
        return f"NEW does not {verb} what OLD {verbs} in {wrong} {of_all}{first}."
    if unsure:
        return f"No difference was found, but {unsure} {of_all} could not be decided."
    if not result["ok"]:
        return "No difference was found, but not everything could be compared."
    where = "the layer" if len(layers) == 1 else f"all {len(layers)} layers"
    return f"NEW {verbs} what OLD {verbs} in {where}."
