"""What the names of all pairs together show: layers that were renamed in one way, and numbers in another order."""

from __future__ import annotations

import re

from ..._util.text import counted
from ...verdicts import ADVISORY, cause_entry
from ..names import natural

_NUMBER = re.compile(r"[_.]?\d+")
_TOKEN = re.compile(r"[/._]|[^/._]+")


def rename_groups(layers):
    """Groups of layers with other names in NEW that differ in the same way but for numbers in them.

    Args:
      layers: the results, as the JSON has them.

    Returns:
      List of dicts of the JSON: "layers", the names of the results, and "sentence"; only groups of two or more.
    """
    groups = {}
    for layer in layers:
        named = layer["matched"] not in (None, "folded")
        if named and layer["old"] != layer["new"]:
            groups.setdefault((_way(layer["old"], layer["new"]), layer["matched"]), []).append(layer)
    return [
        {
            "layers": [layer["name"] for layer in group],
            "sentence": f"{counted(len(group), 'layer')} have other names in NEW, all in the same way: "
            f"`{group[0]['old']}` is `{group[0]['new']}`, ..., `{group[-1]['old']}` is `{group[-1]['new']}`.",
        }
        for group in groups.values()
        if len(group) > 1
    ]


def _way(old, new):
    """The names without numbers, and without the levels that both begin and end with."""
    old, new = (_TOKEN.findall(_NUMBER.sub("", name)) for name in (old, new))
    while old and new and old[-1] == new[-1]:
        old, new = old[:-1], new[:-1]
    while old and new and old[0] == new[0]:
        old, new = old[1:], new[1:]
    return tuple(old), tuple(new)


def with_number_order(layers):
    """The results, with an advisory for layers whose numbers run in another order in NEW's names.

    Only layers that were matched by their values are looked at, and only among names that are equal but for numbers.
    """
    groups = {}
    for i, layer in enumerate(layers):
        if layer["matched"] == "guess" and any(cause["id"] == "renamed" for cause in layer["causes"]):
            key = tuple(_NUMBER.sub("", layer[run]) for run in ("old", "new"))
            groups.setdefault(key, []).append(i)
    results = list(layers)
    for members in groups.values():
        old, new = ([layers[i][run] for i in members] for run in ("old", "new"))
        places_old, places_new = _places(old, natural), _places(new, natural)
        moved = [k for k in range(len(members)) if places_old[k] != places_new[k]]
        if not moved:
            continue
        if places_new == _places(old, str):
            why = ": OLD's names were sorted as text, 10 before 2"
        elif places_old == _places(new, str):
            why = ": NEW's names are in the order of OLD when they are sorted as text, 10 before 2"
        else:
            why = ""
        for k in moved:
            text = (
                f"The numbers in the names run in another order in NEW{why}. By its number `{old[k]}` is layer "
                f"{places_old[k] + 1} of {len(members)} in OLD, and `{new[k]}` is layer {places_new[k] + 1} in NEW: a "
                "program that assigns by order or number mixes the layers up."
            )
            layer = results[members[k]]
            causes = [*layer["causes"], cause_entry("renumbered", text, ADVISORY)]
            results[members[k]] = {**layer, "causes": causes, "explanation": f"{layer['explanation']} {text}"}
    return results


def _places(names, key):
    """The place of each name when they are sorted by ``key``."""
    place = {name: i for i, name in enumerate(sorted(names, key=key))}
    return [place[name] for name in names]
