"""The values of a checkpoint's layers in words: ranges of an audit, differences of a comparison."""

from .._util.text import in_words

ROLES = {"mean": "moving mean", "variance": "moving variance", "gamma": "gamma", "beta": "beta"}
COLUMNS = ("channels", *ROLES.values())


def is_checkpoint(result):
    """Whether a result, of an audit or of a comparison, is about checkpoints."""
    return result.get("kind") in ("checkpoint", "checkpoints")


def range_in_words(values):
    """The range of a variable: "-1.187 to 0.9495", "1" where all are equal, "-" where there is no such variable."""
    if not isinstance(values, dict):
        return "-"
    low, high, others = (values.get(key) for key in ("min", "max", "not_finite"))
    text = "" if low is None else in_words(low) if low == high else f"{in_words(low)} to {in_words(high)}"
    return ", ".join(part for part in (text, f"{others} not finite" if others else "") if part) or "no values"


def ranges(layer):
    """Texts for `COLUMNS`: the channels and the ranges of a layer in an audit's JSON."""
    values = layer.get("values") or {}
    texts = [range_in_words(values.get(role)) for role in ROLES]
    if "affine" in values:
        texts[2] = f"{range_in_words(values['affine'])} (or beta)"
    return [in_words(layer.get("channels")), *texts]


def with_ranges(layer):
    """A layer as a page shows it: with "cells" for its row, and with "facts" that name the variables.

    One of a comparison has its own cells, and keeps them.
    """
    if "cells" in layer:
        return layer
    named = [
        (f"{ROLES.get(role, 'gamma or beta')} ({values.get('variable')})", range_in_words(values))
        for role, values in (layer.get("values") or {}).items()
        if isinstance(values, dict)
    ]
    causes = [{key: value for key, value in cause.items() if key != "misfit"} for cause in layer.get("causes") or []]
    cells = list(zip(COLUMNS, ranges(layer), strict=True))
    return {**layer, "cells": cells, "facts": named, "causes": causes}


def differences(layer):
    """Texts for `COLUMNS`: the channels of a layer in a comparison's JSON, and how far each variable differs."""
    entries = {entry.get("what"): entry for entry in layer.get("differences") or [] if isinstance(entry, dict)}
    in_order = sorted(entries.values(), key=lambda entry: entry.get("what") not in (ROLES["mean"], ROLES["variance"]))
    channels = next((entry.get("channels") for entry in in_order), None)
    texts = [_difference(entries.get(title)) for title in ROLES.values()]
    return ["-" if channels is None else in_words(channels), *texts]


def _difference(entry):
    if entry is None:
        return "-"
    if entry.get("equal"):
        return "equal"
    if entry.get("differing") is None:
        return "other size"
    largest = "" if entry.get("largest") is None else f", by {in_words(entry['largest'])} at most"
    return f"{entry['differing']} differ{'s' if entry['differing'] == 1 else ''}{largest}"


def print_values(layers, out):
    """Print the channels of some layers of an audit, and the ranges of their variables, as a table."""
    from rich.text import Text

    from .terminal import column_table, print_table

    table = column_table(("layer", "left"), *COLUMNS)
    for layer in layers:
        table.add_row(Text(layer["name"]), *map(Text, ranges(layer)))
    print_table(table, out)
    out.print()
