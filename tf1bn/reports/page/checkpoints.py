"""What the page shows of a layer in the audit of a checkpoint: the ranges of its variables; it has no steps."""

from ..checkpoint_values import COLUMNS, ROLES, ranges
from . import graphs
from .kind import Column, Kind, cell
from .words import exact, finite, mapping, whole


def describe(layer, curves):
    """The cells and details of a layer, see `kind.Kind`."""
    values = {role: given for role, given in mapping(layer.get("values")).items() if isinstance(given, dict)}
    keys = [layer.get("channels"), *((values.get(role) or {}).get("max") for role in ROLES)]
    cells = [
        cell(text, key if finite(key) else None)
        for text, key in zip(ranges({**layer, "values": values}), keys, strict=True)
    ]
    rows = [
        {
            "name": ROLES.get(role, "gamma or beta"),
            "cells": [str(given.get("variable")), *(exact(given.get(key)) for key in ("min", "max")), _others(given)],
            "over": bool(given.get("not_finite")),
        }
        for role, given in values.items()
    ]
    columns = ["variable", "smallest", "largest", "not finite"]
    table = {
        "caption": "The values of the layer's variables",
        "first": "what",
        "columns": columns,
        "marked": 3,
        "rows": rows,
    }
    return {"cells": cells, "tables": [table if rows else None], "facts": graphs.details(layer), "curves": dict}


def _others(given):
    return whole(given.get("not_finite") or 0)


KIND = Kind(
    title="Audit of the checkpoint {path}",
    order="order in the checkpoint",
    caption="Of each variable the smallest and the largest value of all channels. A checkpoint holds values and no "
    "steps, so that what led to them is not seen.",
    columns=tuple(Column(name) for name in COLUMNS),
    describe=describe,
)
