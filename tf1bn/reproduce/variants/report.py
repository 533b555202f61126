"""The part of the terminal report of ``tf1bn reproduce`` about the variants of the layer and the devices."""

import math

from ...reports.terminal import column_table, print_indented, print_table, yes_or_no
from ...verdicts import FINDING, UNDECIDABLE
from .check import JSON_VERDICTS, NOT_RUN
from .expected import QUANTITIES

_HEADERS = ("training\noutput", "test\noutput", "moving\nmean", "moving\nvariance")


def print_variants(result, out):
    """Print the variants in the result of ``tf1bn reproduce`` (the JSON's dict), if any were run.

    Args:
      result: the JSON's dict.
      out: a rich console.
    """
    rows, pairs = result["variants"], result["side_by_side"]
    if not rows:
        return
    out.print("6  Every variant of the layer, checked after every step: error/bound", style="bold")
    for device in dict.fromkeys(row["device"] for row in rows):
        of_device = [row for row in rows if row["device"] == device]
        shapes = dict.fromkeys("x".join(str(size) for size in row["shape"]) for row in of_device)
        print_indented(f"On the {device.upper()}, the worst of the shapes {', '.join(shapes)}", out)
        _print_rows(of_device, ("same\nagain", "same_bits_again"), _variant, out)
    if pairs:
        out.print("7  CPU and GPU side by side: difference/twice the bound", style="bold")
        print_indented("Rows with a decay are the article's listing; the others are the variants above.", out)
        _print_rows(pairs, ("same\nbits", "same_bits"), _pair, out)
    _placements(rows, out)
    _details(result["device"], out)


def _variant(row):
    return f"{row['layer']} {row['data_format']} {row['dtype']}"


def _pair(row):
    return f"{row['layer']}, decay {row['decay']:g}" if row["input"] == "article" else _variant(row)


def _print_rows(rows, bits, name, out):
    """Print a table with one line for all rows of one name.

    Args:
      rows: dicts of the JSON.
      bits: the header and the JSON key of the column about identical bits.
      name: a function that gives the name of a row.
      out: a rich console.
    """
    table = column_table(("", "left"), *_HEADERS, bits[0], "ok")
    groups = {}
    for row in rows:
        groups.setdefault(name(row), []).append(row)
    for label, group in groups.items():
        ran = [row for row in group if row[QUANTITIES[0]] is not None]
        cells = [_worst([row[quantity] for row in ran]) for quantity in QUANTITIES]
        same = {True: "yes", False: "no"}[all(row[bits[1]] for row in ran)] if ran else ""
        table.add_row(label, *cells, same, _verdict([row["verdict"] for row in group]))
    print_table(table, out)
    out.print()


def _worst(numbers):
    """The pair error/bound whose share of the bound is the largest."""
    if not numbers:
        return ""
    # What is not finite is null in the JSON.
    worst = max(numbers, key=lambda item: math.inf if item["share"] is None else item["share"])
    return f"{_short(worst['error'])}/{_short(worst['allowed'])}"


def _short(value):
    value = math.nan if value is None else value
    return "0" if value == 0 else f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e+")


def _verdict(verdicts):
    if FINDING in verdicts:
        return yes_or_no(False)
    if JSON_VERDICTS[UNDECIDABLE] in verdicts:
        return "?"
    return NOT_RUN if NOT_RUN in verdicts else yes_or_no(True)


def _placements(rows, out):
    """Print where the operations ran, counted by type; the JSON has each by its name."""
    out.print("   Where the operations ran, as executed (--json has each by its name)", style="bold")
    columns = [(device, layer) for device in ("cpu", "gpu") for layer in ("fused", "composed")]
    counts = {}  # by operation, column and device
    for row in rows:
        for operation in row["operations"]:
            cells = counts.setdefault(operation["operation"], {})
            cell = cells.setdefault((row["device"], row["layer"]), {})
            cell[operation["device"]] = cell.get(operation["device"], 0) + 1
    columns = [column for column in columns if any(column in cells for cells in counts.values())]
    table = column_table(("operation", "left"), *(f"{layer}\nfor the {device.upper()}" for device, layer in columns))
    for operation, cells in sorted(counts.items()):
        table.add_row(operation, *(_counts_in_words(cells.get(column, {})) for column in columns))
    print_table(table, out)
    out.print()


def _counts_in_words(cell):
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
    print_indented(
        f"TensorFlow is built {built}; installed: {packages or 'no libraries of NVIDIA'}; NVIDIA "
        f"driver: {details['driver'] or 'not found'}.{sees}",
        out,
    )
    out.print()
