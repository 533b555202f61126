"""The result of a comparison of two runs or checkpoints as text on a terminal."""

from .._util.printable import printable_values
from .._util.text import counted
from ..verdicts import FINDING, OK, UNDECIDABLE, VERDICTS
from .layer_table import count_verdicts, is_shown, print_layers, print_remedies


def print_comparison(result, out, *, quiet=False):
    """Print the result of a comparison, the worst layers first.

    Args:
      result: the dict of the comparison's JSON.
      out: a rich console.
      quiet: whether to list only the layers that are not ok.
    """
    from rich.text import Text

    result = printable_values(result)
    data = data_sentence(result)
    if data:
        out.print(Text(data))
    rows = [
        (layer, matched_names(layer), "diverges first" if layer.get("first") else "", explanation(layer))
        for layer in worst_first(result["layers"])
        if not quiet or is_shown(layer)
    ]
    print_layers(rows, out, causes_width=16)
    print_remedies([layer for layer, *_ in rows], out)
    for sentence in (*result.get("problems", ()), *result.get("notes", ())):
        if sentence != data:
            out.print(Text(sentence))
    names = f"{result.get('old')} -> {result.get('new')}"
    layers = result["layers"]
    summary = count_verdicts(layers) if layers else "no layers, so nothing was compared."
    out.print(Text(f"{names}: {summary}"), soft_wrap=True)


def worst_first(layers):
    """The layers, most severe first: of one verdict the one that diverges first, then those with advice."""
    return sorted(
        layers,
        key=lambda layer: (VERDICTS.index(layer["verdict"]), not layer.get("first"), not layer["causes"]),
    )


def data_sentence(result):
    """Whether both runs had the same inputs, in a sentence; None for a comparison of checkpoints."""
    return (result.get("data") or {}).get("sentence")


def matched_names(layer):
    """The layer's name in OLD and in NEW, and how the two were matched if not by name."""
    old, new = layer.get("old"), layer.get("new")
    if old is None or new is None:
        return f"{old or new} (only in {'NEW' if old is None else 'OLD'})"
    how = {"guess": " (guess)", "map": " (map)"}.get(layer.get("matched"), "")
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
    if wrong:
        first = next((f": {matched_names(layer)} diverges first" for layer in layers if layer.get("first")), "")
        return f"NEW does not do what OLD does in {wrong} {of_all}{first}."
    if unsure:
        return f"No difference was found, but {unsure} {of_all} could not be decided."
    if not result["ok"]:
        return "No difference was found, but not everything could be compared."
    return f"NEW does what OLD does in {'the layer' if len(layers) == 1 else f'all {len(layers)} layers'}."
