"""What the page shows of a layer in a graph that was read and not run: how it is built, and what its settings are."""

from .kind import Column, Kind, cell
from .words import dicts, finite, interval, mapping, texts, whole

# The columns of the table.
COLUMNS = ("form", "decay", "epsilon", "training")


def describe(layer, curves):
    """The cells and details of a layer, see `kind.Kind`."""
    structure = mapping(layer.get("structure"))
    decay, epsilon = structure.get("decay") or {}, structure.get("epsilon")
    number = decay.get("value") if isinstance(decay, dict) else decay
    texts = {
        "form": _text(structure.get("form")),
        "decay": _setting(decay),
        "epsilon": _text(epsilon),
        "training": "; ".join(sorted(_modes(structure))) or "-",
    }
    keys = {"decay": number, "epsilon": epsilon}
    cells = [cell(texts[name], keys[name] if finite(keys.get(name)) else None) for name in COLUMNS]
    return {"cells": cells, "tables": [_updates(structure)], "facts": details(layer), "curves": dict}


def details(layer):
    """Facts on how a layer is built; none where that is not known."""
    structure = layer.get("structure")
    if not isinstance(structure, dict):
        return []
    simple = [(name.replace("_", " "), value) for name, value in structure.items() if name not in _OWN]
    facts = [(name, _text(value)) for name, value in simple if value not in (None, [], {})]
    facts.insert(0, ("decay", _setting(structure.get("decay"))))
    for application in dicts(structure.get("applications")):
        text = f"{_text(application.get('output'))}, is_training {_setting(application.get('is_training'))}"
        facts.append(("applied in", text))
    return facts


_OWN = ("decay", "applications", "updates")


def _modes(structure):
    return {_setting(application.get("is_training")) for application in dicts(structure.get("applications"))}


def _setting(setting):
    """A setting that has a value, or comes from somewhere: "0.9", "the placeholder `is_training`"."""
    if not isinstance(setting, dict):
        return _text(setting)
    value, name, kind = (setting.get(key) for key in ("value", "name", "kind"))
    if name is None:
        return _text(value) if value is not None else "not known"
    text = f"{kind} `{name}`"
    return text if value is None else f"{text}, {_text(value)}"


def _updates(structure):
    """A table of the operations that update the statistics, and of what runs them."""
    rows = []
    for role, operations in mapping(structure.get("updates")).items():
        for one in dicts(operations):
            by = ", ".join(texts(one.get("train_ops"))) or "nothing that trains"
            cells = [_text(one.get("operation")), by]
            rows.append({"name": f"moving {role}", "cells": cells, "over": False})
    if not rows:
        return None
    caption = "The operations that update the statistics"
    return {"caption": caption, "first": "of", "columns": ["operation", "run by"], "marked": 1, "rows": rows}


def _text(value):
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_text(item)}" for key, item in value.items()) or "none"
    if isinstance(value, (list, tuple)) and not all(map(finite, value)):
        return ", ".join(map(_text, value)) or "none"
    return value if isinstance(value, str) else whole(value) if isinstance(value, int) else interval(value)


KIND = Kind(
    title="Audit of the graph {path}",
    order="order in the graph",
    caption="How the graph builds each layer. It was read and not run: what is fed to it is not seen.",
    columns=tuple(Column(name, numbers=name in ("decay", "epsilon")) for name in COLUMNS),
    describe=describe,
)
