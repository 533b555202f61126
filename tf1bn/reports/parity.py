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
    rows = _renamed_alike(rows, result.get("renames") or ())
    print_layers(rows, out, causes_width=16)
    print_remedies([layer for layer, *_ in rows], out)
    for sentence in (*result.get("problems", ()), *result.get("notes", ())):
        if sentence != data:
            out.print(Text(sentence))
    names = f"{result.get('old')} -> {result.get('new')}"
    layers = result["layers"]
    summary = count_verdicts(layers) if layers else "no layers, so nothing was compared."
    out.print(Text(f"{names}: {summary}"), soft_wrap=True)


def _renamed_alike(rows, groups):
    """The rows with one in the place of all layers whose names alone differ, and in the same way.

    Args:
      rows: what `layer_table.print_layers` takes.
      groups: the "renames" of the result.
    """
    group_of = {name: i for i, group in enumerate(groups) for name in group["layers"]}
    alike, kept = {}, []
    for row in rows:
        layer = row[0]
        ids = tuple((cause["id"], cause["severity"]) for cause in layer["causes"])
        if layer["name"] not in group_of or not {name for name, _ in ids} <= {"renamed", "renumbered"}:
            kept.append([row])
            continue
        key = group_of[layer["name"]], layer["verdict"], ids
        if key not in alike:
            alike[key] = []
            kept.append(alike[key])
        alike[key].append(row)
    return [rows[0] if len(rows) == 1 else _one_row(rows) for rows in kept]


def _one_row(rows):
    """One row for several layers that were renamed in the same way."""
    layer, name, remark, text = rows[0]
    others, last = len(rows) - 1, rows[-1][0]
    text += f" The same goes for {counted(others, 'further layer')}, renamed in the same way"
    text += f" (the last: `{last['old']}` is `{last['new']}`)."
    return layer, f"{name} and {others} more", remark, text


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
