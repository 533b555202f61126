"""The terminal's part of ``tf1bn reproduce`` about the variants of the layer and the devices. Decides nothing."""

import math

from ...reports import terminal
from .check import NOT_RUN, QUANTITIES, UNDECIDED

_HEADERS = ("training\noutput", "test\noutput", "moving\nmean", "moving\nvariance")


def show(result, out):
    """Print the variants of the result of ``tf1bn reproduce`` (the JSON's dict), if any were run, to a rich console."""
    rows, pairs = result["variants"], result["side_by_side"]
    if not rows:
        return
    out.print("6  Every variant of the layer, checked after every step: error/bound", style="bold")
    for device in dict.fromkeys(row["device"] for row in rows):
        own = [row for row in rows if row["device"] == device]
        shapes = dict.fromkeys("x".join(str(size) for size in row["shape"]) for row in own)
        terminal.indented(f"On the {device.upper()}, the worst of the shapes {', '.join(shapes)}", out)
        _table(own, ("same\nagain", "same_bits_again"), _variant, out)
    if pairs:
        out.print("7  CPU and GPU side by side: difference/twice the bound", style="bold")
        terminal.indented("Named by decay: the article's listing. The others: the variants above.", out)
        _table(pairs, ("same\nbits", "same_bits"), _pair, out)
    _placements(rows, out)
    _details(result["device"], out)


def _variant(row):
    return f"{row['layer']} {row['data_format']} {row['dtype']}"


def _pair(row):
    return f"{row['layer']}, decay {row['decay']:g}" if row["input"] == "article" else _variant(row)


def _table(rows, bits, name, out):
    table = terminal.column_table(("", "left"), *_HEADERS, bits[0], "ok")
    groups = {}
    for row in rows:
        groups.setdefault(name(row), []).append(row)
    for label, group in groups.items():
        ran = [row for row in group if row[QUANTITIES[0]] is not None]
        cells = [_worst([row[quantity] for row in ran]) for quantity in QUANTITIES]
        same = {True: "yes", False: "no"}[all(row[bits[1]] for row in ran)] if ran else ""
        table.add_row(label, *cells, same, _verdict([row["verdict"] for row in group]))
    terminal.print_table(table, out)
    out.print()


def _worst(numbers):
    """The pair error/bound whose share of the bound is the largest."""
    if not numbers:
        return ""
    # What is not finite is null in the JSON.
    worst = max(numbers, key=lambda each: math.inf if each["share"] is None else each["share"])
    return f"{_short(worst['error'])}/{_short(worst['allowed'])}"


def _short(value):
    value = math.nan if value is None else value
    return "0" if value == 0 else f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e+")


def _verdict(verdicts):
    if "finding" in verdicts:
        return terminal.mark(False)
    if UNDECIDED in verdicts:
        return "?"
    return NOT_RUN if NOT_RUN in verdicts else terminal.mark(True)


def _placements(rows, out):
    """Where the operations ran, by their types; the JSON has each by its name."""
    out.print("   Where the operations ran, as executed (each by its name: --json)", style="bold")
    columns = [(device, layer) for device in ("cpu", "gpu") for layer in ("fused", "composed")]
    counted = {}
    for row in rows:
        for operation in row["operations"]:
            cells = counted.setdefault(operation["operation"], {})
            cell = cells.setdefault((row["device"], row["layer"]), {})
            cell[operation["device"]] = cell.get(operation["device"], 0) + 1
    columns = [column for column in columns if any(column in cells for cells in counted.values())]
    table = terminal.column_table(
        ("operation", "left"), *(f"{layer}\nfor the {device.upper()}" for device, layer in columns)
    )
    for operation, cells in sorted(counted.items()):
        table.add_row(operation, *(_places(cells.get(column, {})) for column in columns))
    terminal.print_table(table, out)
    out.print()


def _places(cell):
    return ", ".join(f"{count} {device}" for device, count in sorted(cell.items()))


def _details(device, out):
    details = device["details"]
    for gpu in details["devices"]:
        out.print(
            f"   {gpu['device']}: {gpu['name']}, compute capability {gpu['compute_capability']}.", highlight=False
        )
    packages = ", ".join(f"{name} {version}" for name, version in sorted(details["packages"].items()))
    sees = "" if details["devices"] else " It sees no GPU."
    built = f"for CUDA {details['cuda_version']} and cuDNN {details['cudnn_version']}"
    built = "without CUDA" if details["cuda_version"] is None else built
    terminal.indented(
        f"TensorFlow is built {built}; installed: {packages or 'no package of these'}; NVIDIA driver: "
        f"{details['driver'] or 'not found'}.{sees}",
        out,
    )
    out.print()
