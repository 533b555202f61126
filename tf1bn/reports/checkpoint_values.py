"""The values of a checkpoint's layers in words: the ranges of its variables."""

from .._util.text import in_words

ROLES = {"mean": "moving mean", "variance": "moving variance", "gamma": "gamma", "beta": "beta"}
COLUMNS = ("channels", *ROLES.values())


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


def print_values(layers, out):
    """Print the channels of some layers of an audit, and the ranges of their variables, as a table."""
    from rich.text import Text

    from .terminal import column_table, print_table

    table = column_table(("layer", "left"), *COLUMNS)
    for layer in layers:
        table.add_row(Text(layer["name"]), *map(Text, ranges(layer)))
    print_table(table, out)
    out.print()
