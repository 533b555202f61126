"""Whether one checkpoint holds the batch norms of another: `compare_checkpoints`, for all formats of ``checkpoints``.

A converted checkpoint holds the same numbers, in float32 the same bits; the only difference that is none is the
rounding to another dtype that NEW stores, see ``checkpointside``. Needs no TensorFlow but to read TF1's own files.
"""

import os

import numpy as np

from ... import __version__
from ..._util.text import quoted
from ...checkpoints.audit import open_checkpoint, read_values, stored
from ...checkpoints.grouping import group, length
from ...verdicts import ADVISORY, FINDING, cause_entry
from ..layer_values import Side, differences, settle
from .differences import causes
from .matching import fingerprint, match

__all__ = ["compare_checkpoints"]


def compare_checkpoints(old, new, mapping=None):
    """Compare the batch-norm layers of two checkpoints by their values.

    Args:
      old, new: paths; see `checkpoints.audit_checkpoint` for what they may be.
      mapping: None, or a dict from OLD's names or patterns to NEW's, or to None; see `matching.match`.

    Returns:
      The dict of a parity's JSON: "format", "tf1bn", "kind", "ok", "old", "new", "layers", "problems" (sentences; with
      any of them "ok" is false) and "notes". A layer has "name", "old", "new", "matched" ("name", "map", "guess", or
      None where it has no counterpart), "verdict", "causes", "undecided" (sentences), "explanation", "steps" (0) and
      "differences", one dict for each variable: "what", the names "old" and "new", "dtypes", "equal", "channels",
      "differing" (how many channels), "largest" difference and its "channel", and the two "values" there.

    Raises:
      CheckpointError: a checkpoint is not there, damaged or too large, or a package that reads it is missing.
      MappingError: the map cannot be used.
    """
    (sides, notes, problems), (others, more_notes, more_problems) = _read(old, "OLD"), _read(new, "NEW")
    by_old, by_new = {side.name: side for side in sides}, {side.name: side for side in others}
    found = match(*({name: _face(side) for name, side in by.items()} for by in (by_old, by_new)), mapping)
    twins = _twins(found.pairs, by_old, by_new)
    same_framework = _framework(old, sides) == _framework(new, others)
    layers = [_pair(pair, by_old, by_new, twins, same_framework) for pair in found.pairs]
    layers += [_alone(by_old[name], "OLD") for name in found.only_old]
    layers += [_alone(by_new[name], "NEW") for name in found.only_new]
    if found.ignored:
        notes.append(f"The map leaves out {quoted(sorted(found.ignored))} of OLD.")
    problems = [*problems, *more_problems]
    if not layers and not problems:
        problems.append("Nothing was compared: the map leaves out every layer.")
    ok = not problems and all(layer["verdict"] == "ok" for layer in layers)
    result = {"format": "tf1bn-parity", "tf1bn": __version__, "kind": "checkpoints", "ok": ok}
    result |= {"old": os.fspath(old), "new": os.fspath(new), "layers": layers}
    return result | {"problems": problems, "notes": [*notes, *more_notes]}


def _read(path, which):
    """The layers as `Side`, notes, and problems of one checkpoint."""
    with open_checkpoint(path) as checkpoint:
        layers, notes = group(checkpoint.variables)
        sides = []
        for layer in layers:
            wide = {role: array.astype(np.float64) for role, array in read_values(checkpoint, layer).items()}
            short = {}
            for role in wide:
                word = role if role in layer.parts else role.rpartition("/")[2]
                short[role] = role if word in short.values() else word
            sides.append(
                Side(
                    layer.name,
                    {short[role]: layer.parts.get(role, role) for role in wide},
                    {short[role]: array for role, array in wide.items()},
                    {short[role]: dtype for role, dtype in stored(checkpoint, layer).items()},
                    {role: checkpoint.read(name).astype(np.float64) for role, name in layer.shadows.items()},
                    checkpoint.declared.get(layer.name, {}),
                    tuple(layer.unclear.values()),
                )
            )
        problems = [f"{which}: {sentence}" for sentence in checkpoint.problems]
        if not layers:
            problems.append(f"None of the {len(checkpoint.variables)} variables of {which} belongs to a batch norm.")
        return sides, [f"{which}: {sentence}" for sentence in (*checkpoint.notes, *notes)], problems


def _face(side):
    """The number of channels and the fingerprint that a layer is recognised by."""
    held = [role for role in ("variance", "mean", "gamma", "beta", "affine") if role in side.values]
    channels = length(side.values[held[0]].shape) if held else None
    if not {"mean", "variance"} <= side.values.keys():
        return channels, None
    return channels, fingerprint(side.flat("mean"), side.flat("variance"))


def _framework(path, sides):
    """By what conventions the variables are named: what loads them looks for these names."""
    words = {name for side in sides for name in side.variables.values()}
    if any("running_" in word for word in words):
        return "PyTorch"
    return "Keras" if os.fspath(path).endswith((".keras", ".h5", ".hdf5")) else "TensorFlow"


def _twins(pairs, by_old, by_new):
    """For names of OLD, another layer of OLD whose statistics the matched layer of NEW has, if one alone has them."""
    holders = {}
    for name, side in by_old.items():
        holders.setdefault(_face(side)[1], []).append(name)
    found = {}
    for pair in pairs:
        mine = _face(by_new[pair.new])[1]
        others = holders.get(mine, []) if mine is not None else []
        if len(others) == 1 and others != [pair.old]:
            found[pair.old] = others[0]
    return found


def _pair(pair, by_old, by_new, twins, same_framework):
    old, new, twin = by_old[pair.old], by_new[pair.new], twins.get(pair.old)
    undecided = settle(old, new)
    undecided += [f"{which}: {text}" for side, which in ((old, "OLD"), (new, "NEW")) for text in side.unclear]
    told = causes(old, new, by_old.get(twin), twins.get(twin) == pair.old)
    compared = differences(old, new)
    same = {cause_entry["what"] for cause_entry in compared if cause_entry["equal"]}
    if not {"moving mean", "moving variance"} <= {cause_entry["what"] for cause_entry in compared} and not told:
        # A layer that was saved without statistics on both sides is not shown to be the same.
        undecided.append("The statistics are on neither side, so they cannot be compared.")
    if pair.how == "guess":
        text = f"OLD's `{old.name}` was matched with NEW's `{new.name}`"
        if _face(old)[1] is not None and same & {"moving mean", "moving variance"}:
            text += " because they hold equal statistics"
            told.insert(0, _renamed(text, same_framework))
        elif all(cause_entry["equal"] for cause_entry in compared) and not any(
            one["severity"] == FINDING for one in told
        ):
            undecided.append(f"{text} by the order and number of channels alone; give a map to say so.")
        else:
            text += " by a guess, from the order and number of channels; if that is wrong, give a map."
            told.insert(0, cause_entry("renamed", text))
    verdict = "finding" if any(one["severity"] == FINDING for one in told) else "undecidable" if undecided else "ok"
    told.sort(key=lambda one: one["severity"] != FINDING)
    texts = [one["explanation"] for one in told]
    if verdict == "ok":
        texts.insert(0, _same(compared))
    return {
        "name": old.name,
        "old": old.name,
        "new": new.name,
        "matched": pair.how,
        "verdict": verdict,
        "causes": told,
        "undecided": undecided,
        "explanation": " ".join([*texts, *undecided]),
        "differences": compared,
        "steps": 0,
    }


def _renamed(text, same_framework):
    """A finding where a restore looks for the same names; the names of two frameworks are never the same."""
    if same_framework:
        return cause_entry("renamed", f"{text}; a restore by name would not find it.")
    return cause_entry("renamed", f"{text}; a map would say so too.", ADVISORY)


def _same(compared):
    count = compared[-1]["channels"]
    words = ", ".join(cause_entry["what"] for cause_entry in compared)
    changed = sorted(
        {" -> ".join(cause_entry["dtypes"]) for cause_entry in compared if len({*cause_entry["dtypes"]}) > 1}
    )
    text = f"The same numbers in {count} channel{'' if count == 1 else 's'} ({words})"
    return text + (f", converted {' and '.join(changed)}." if changed else ".")


def _alone(side, which):
    other = "NEW" if which == "OLD" else "OLD"
    channels = _face(side)[0]
    size = "" if channels is None else f", of {channels} channel{'' if channels == 1 else 's'},"
    text = f"{other} has no layer that could be {which}'s `{side.name}`{size} by name, map, values or order."
    return {
        "name": side.name,
        "old": side.name if which == "OLD" else None,
        "new": side.name if which == "NEW" else None,
        "matched": None,
        "verdict": "finding",
        "causes": [cause_entry("missing-variable", text)],
        "undecided": [],
        "explanation": text,
        "differences": [],
        "steps": 0,
    }
