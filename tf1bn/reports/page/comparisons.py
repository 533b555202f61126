"""What the page shows of a layer in a comparison: of two runs the checks and plots, of two checkpoints the values."""

from ..._util.text import counted, in_words
from . import misfits, traces
from .kind import Column, Kind, cell
from .misfits import Misfit
from .words import dicts, exact, finite, interval, mapping, whole


def describe_runs(layer, curves):
    """The cells and details of a layer in two traces, see `kind.Kind`."""
    found = [_misfit(check) for check in dicts(layer.get("checks"))]
    facts = [("steps", whole(layer.get("steps") or 0)), *_data(layer), *_outputs(layer), *_estimates(layer)]
    return {
        "cells": [misfits.row_cell(found), _since(layer)],
        "tables": [misfits.table(found, "Everything that was compared", ("NEW", "OLD"))],
        "facts": facts,
        "curves": lambda: traces.plotted(layer.get("curves"), curves, layer.get("new"), _places(found)),
    }


def _misfit(check):
    numbers = {}
    # A step without a channel is the first one of several errors.
    if check.get("channel") is not None:
        numbers = {"observed": check.get("new"), "expected": check.get("old")}
        numbers |= {key: check.get(key) for key in ("expected_error", "worst_case", "channel", "step")}
    return Misfit(str(check.get("what")), check.get("error"), check.get("bound"), **numbers)


def _places(found):
    """Where the moving statistics are farthest off, by "mean" and "variance", the largest misfit of each."""
    places = {}
    for misfit in sorted(found, key=lambda misfit: -misfit.score):
        name = misfit.what.rpartition("moving ")[2]
        if name in traces.STATISTICS and "start" not in misfit.what and misfit.channel is not None:
            places.setdefault(name, {"channel": misfit.channel, "step": misfit.step})
    return places


def _since(layer):
    steps = [layer.get("since"), *(check.get("first") for check in dicts(layer.get("checks")))]
    steps = [step for step in steps if finite(step)]
    return cell(whole(min(steps)), min(steps)) if steps else cell("-")


def _data(layer):
    data = mapping(layer.get("data"))
    if data.get("state") is None:
        return []
    words = {"bitwise": "equal bit for bit", "moments": "equal in their moments"}
    text = words.get(data["state"]) or data.get("reason") or f"{in_words(data.get('error'))} standard deviations apart"
    return [("inputs in the first step", text)]


def _outputs(layer):
    names = (
        ("inherited_error", "output error inherited through its inputs"),
        ("added_error", "output error of its own"),
    )
    return [(name, exact(layer[key])) for key, name in names if layer.get(key) is not None]


def _estimates(layer):
    """Facts on what each run does, measured."""
    facts = []
    for run in ("old", "new"):
        effective = mapping(mapping(layer.get("effective")).get(run))
        for name in ("decay", "factor", "epsilon"):
            value = effective.get(name)
            if value not in (None, [None, None]):
                label = "variance factor" if name == "factor" else name
                facts.append((f"estimate of the {label} in {run.upper()}", interval(value)))
    return facts


def describe_checkpoints(layer, curves):
    """The cells and details of a layer in two checkpoints, see `kind.Kind`."""
    entries = dicts(layer.get("differences"))
    # Those of the statistics: another variable may have another size.
    in_order = sorted(entries, key=lambda entry: not str(entry.get("what")).startswith("moving"))
    channels = next((entry.get("channels") for entry in in_order), None)
    differing = [entry for entry in entries if not entry.get("equal")]
    ranked = sorted(differing, key=_size, reverse=True)
    lines = [
        {"text": f"{entry.get('what')}: {_difference(entry)}", "where": "", "over": not entry.get("within")}
        for entry in ranked[: misfits.IN_A_ROW]
    ]
    equal = [{"text": "all equal" if entries else "-", "where": "", "over": False}]
    sort = _size(ranked[0]) if ranked else 0 if entries else None
    names = ["variable in OLD", "variable in NEW", "channels", "differ", "largest difference", "channel", "OLD", "NEW"]
    rows = [
        {"name": str(entry.get("what")), "cells": _exact_cells(entry), "over": _is_over(entry)} for entry in entries
    ]
    table = {"caption": "Every variable of the layer", "first": "what", "columns": names, "marked": 3, "rows": rows}
    return {
        "cells": [
            cell("-" if channels is None else whole(channels), channels if finite(channels) else None),
            {"lines": lines or equal, "sort": sort if finite(sort) else None},
        ],
        "tables": [table if rows else None],
        "facts": [],
        "curves": dict,
    }


def _size(entry):
    """What sorts differences: a variable of another size first, rounding last."""
    if entry.get("differing") is None:
        return 1e300
    largest = entry.get("largest")
    size = float(largest) if finite(largest) else 1e299
    return size * 1e-30 if entry.get("within") else size


def _is_over(entry):
    return not entry.get("equal") and not entry.get("within")


def _difference(entry):
    if entry.get("differing") is None:
        return "another size"
    text = f"{entry['differing']} of {counted(entry.get('channels'), 'channel')}"
    if entry.get("largest") is not None:
        text += f", by {in_words(entry['largest'])} at most"
    return text + (", no more than rounding" if entry.get("within") else "")


def _exact_cells(entry):
    values = entry.get("values")
    pair = values if isinstance(values, list) and len(values) == 2 else ["-", "-"]
    numbers = ["not finite" if value is None else exact(value) for value in pair]
    if entry.get("equal"):
        numbers, channel = ["-", "-"], "-"
    else:
        channel = "-" if entry.get("channel") is None else whole(entry["channel"])
    count = "another size" if entry.get("differing") is None and not entry.get("equal") else entry.get("differing")
    largest = "-" if entry.get("largest") is None else exact(entry["largest"])
    names = ["-" if entry.get(key) is None else str(entry[key]) for key in ("old", "new")]
    channels = "-" if entry.get("channels") is None else whole(entry["channels"])
    return [*names, channels, count if isinstance(count, str) else whole(count or 0), largest, channel, *numbers]


RUNS = Kind(
    title="Parity of {new} with {old}",
    order="order in OLD",
    caption="Errors are the largest of all channels and steps, beside what rounding explains at most.",
    columns=(Column("largest errors"), Column("first wrong step")),
    describe=describe_runs,
    legend="Observed is NEW; expected is what OLD's rules make of NEW's inputs and of its statistics before the step.",
)
CHECKPOINTS = Kind(
    title="Parity of {new} with {old}",
    order="order in OLD",
    caption="In how many channels a variable differs, and by how much; a conversion keeps every value.",
    columns=(Column("channels"), Column("largest differences")),
    describe=describe_checkpoints,
)


def describe_graphs(layer, curves):
    """The cells and details of a layer in two graphs, see `kind.Kind`: what differs is in its causes."""
    names = [("in OLD", layer.get("old")), ("in NEW", layer.get("new")), ("matched by", layer.get("matched"))]
    facts = [(name, str(value)) for name, value in names if value is not None]
    return {"cells": [], "tables": [], "facts": facts, "curves": dict}


GRAPHS = Kind(
    title="Parity of the graph {new} with {old}",
    order="order in OLD",
    caption="The settings of each layer and what lies around it. The graphs were read and not run: values were not "
    "compared.",
    columns=(),
    describe=describe_graphs,
)
