"""Whether one checkpoint holds the batch norms of another: `compare_checkpoints`, for all formats of ``checkpoints``.

A converted checkpoint holds the same numbers, in float32 the same bits; the only difference that is none is the
rounding to another dtype that NEW stores, see ``parity.layer_values``. Needs no TensorFlow but to read TF1's own files.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from ... import __version__
from ..._util.text import counted, quoted
from ...checkpoints import open_checkpoint
from ...checkpoints.audit import read_values, stored
from ...checkpoints.grouping import group, length
from ...verdicts import ADVISORY, FINDING, OK, UNDECIDABLE, cause_entry
from ..layer_values import LayerValues, align_affine_names, variable_differences
from ..verdict import FORMAT
from .differences import causes
from .matching import fingerprint, match_checkpoint_layers

__all__ = ["compare_checkpoints"]


def compare_checkpoints(
    old: str | os.PathLike[str], new: str | os.PathLike[str], mapping: Mapping[str, str | None] | None = None
) -> dict[str, Any]:
    """Compare the batch-norm layers of two checkpoints by their values.

    Args:
      old, new: paths; see `checkpoints.audit_checkpoint` for what they may be.
      mapping: None, or a dict from OLD's names or patterns to NEW's, or to None; see `matching.match_layers`.

    Returns:
      The dict of a comparison's JSON: "format", "tf1bn", "kind", "ok", "old", "new", "layers", "problems" (sentences;
      with any of them "ok" is false) and "notes". A layer has "name", "old", "new", "matched" ("name", "map", "guess",
      or None where it has no counterpart), "verdict", "causes", "undecided" (sentences), "explanation", "steps" (0) and
      "differences", one dict for each variable: "what", the names "old" and "new", "dtypes", "equal", "channels",
      "differing" (how many channels), "largest" difference and its "channel", and the two "values" there.

    Raises:
      CheckpointError: a checkpoint is not there, damaged or too large, or a package that reads it is missing.
      MappingError: the map cannot be used.
    """
    (old_layers, notes, problems), (new_layers, more_notes, more_problems) = _read(old, "OLD"), _read(new, "NEW")
    by_old, by_new = ({layer.name: layer for layer in layers} for layers in (old_layers, new_layers))
    signatures = ({name: _signature(layer) for name, layer in layers.items()} for layers in (by_old, by_new))
    matching = match_checkpoint_layers(*signatures, mapping)
    twins = _twins(matching.pairs, by_old, by_new)
    same_framework = _framework(old, old_layers) == _framework(new, new_layers)
    layers = []
    for pair in matching.pairs:
        twin = by_old.get(twins.get(pair.old))
        by_old[pair.old], new_layer, warnings = align_affine_names(by_old[pair.old], by_new[pair.new])
        mutual = twins.get(twins.get(pair.old)) == pair.old
        own_causes = causes(by_old[pair.old], new_layer, twin, mutual)
        layers.append(_pair(pair, by_old[pair.old], new_layer, own_causes, warnings, same_framework))
    layers += [_unmatched(by_old[name], "OLD") for name in matching.only_old]
    layers += [_unmatched(by_new[name], "NEW") for name in matching.only_new]
    if matching.ignored:
        notes.append(f"The map leaves out {quoted(sorted(matching.ignored))} of OLD.")
    problems = [*problems, *more_problems]
    if not layers and not problems:
        problems.append("Nothing was compared: the map leaves out every layer.")
    ok = not problems and all(layer["verdict"] == OK for layer in layers)
    result = {"format": FORMAT, "tf1bn": __version__, "kind": "checkpoints", "ok": ok}
    result |= {"old": os.fspath(old), "new": os.fspath(new), "layers": layers}
    return result | {"problems": problems, "notes": [*notes, *more_notes]}


def _read(path, which):
    """Reads one checkpoint, "OLD" or "NEW".

    Returns:
      layers: list of `LayerValues`.
      notes, problems: lists of sentences.
    """
    with open_checkpoint(path) as checkpoint:
        groups, notes = group(checkpoint.variables)
        layers = [_layer_values(checkpoint, layer) for layer in groups]
        problems = [f"{which}: {sentence}" for sentence in checkpoint.problems]
        if not layers:
            problems.append(f"None of the {len(checkpoint.variables)} variables of {which} belongs to a batch norm.")
        return layers, [f"{which}: {sentence}" for sentence in (*checkpoint.notes, *notes)], problems


def _layer_values(checkpoint, layer):
    """The `LayerValues` of one `checkpoints.grouping.Layer`."""
    values = {role: array.astype(np.float64) for role, array in read_values(checkpoint, layer).items()}
    short = {}
    for role in values:
        word = role if role in layer.parts else role.rpartition("/")[2]
        short[role] = role if word in short.values() else word
    return LayerValues(
        layer.name,
        {short[role]: layer.parts.get(role, role) for role in values},
        {short[role]: array for role, array in values.items()},
        {short[role]: dtype for role, dtype in stored(checkpoint, layer).items()},
        {role: checkpoint.read(name).astype(np.float64) for role, name in layer.shadows.items()},
        checkpoint.declared.get(layer.name, {}),
        tuple(layer.unclear.values()),
    )


def _signature(layer):
    """The number of channels and the fingerprint that a layer is recognised by."""
    roles = [role for role in ("variance", "mean", "gamma", "beta", "affine") if role in layer.values]
    channels = length(layer.values[roles[0]].shape) if roles else None
    if not {"mean", "variance"} <= layer.values.keys():
        return channels, None
    return channels, fingerprint(layer.flat("mean"), layer.flat("variance"))


def _framework(path, layers):
    """By what conventions the variables are named: what loads them looks for these names."""
    words = {name for layer in layers for name in layer.variables.values()}
    if any("running_" in word for word in words):
        return "PyTorch"
    return "Keras" if os.fspath(path).endswith((".keras", ".h5", ".hdf5")) else "TensorFlow"


def _twins(pairs, by_old, by_new):
    """For a matched layer of OLD, the only other layer of OLD whose statistics its counterpart has: names by name."""
    holders = {}
    for name, layer in by_old.items():
        holders.setdefault(_signature(layer)[1], []).append(name)
    twins = {}
    for pair in pairs:
        key = _signature(by_new[pair.new])[1]
        names = holders.get(key, []) if key is not None else []
        if len(names) == 1 and names != [pair.old]:
            twins[pair.old] = names[0]
    return twins


def _pair(pair, old, new, own_causes, warnings, same_framework):
    """The result for a `LayerPair`.

    Args:
      pair: the `LayerPair`.
      old, new: the `LayerValues`.
      own_causes: list of the causes that the values show, as `differences.causes` gives them.
      warnings: sentences on what cannot be compared.
      same_framework: whether both checkpoints name their variables by the same conventions.
    """
    undecided = [
        *warnings,
        *(f"{run}: {text}" for run, layer in (("OLD", old), ("NEW", new)) for text in layer.unclear),
    ]
    compared = variable_differences(old, new)
    if not {"moving mean", "moving variance"} <= {entry["what"] for entry in compared} and not own_causes:
        # A layer that was saved without statistics in both checkpoints is not shown to be the same.
        undecided.append("The statistics are in neither checkpoint, so they cannot be compared.")
    if pair.how == "guess":
        guess, doubt = _guess(old, new, own_causes, compared, same_framework)
        own_causes = [*guess, *own_causes]
        undecided += doubt
    wrong = any(cause["severity"] == FINDING for cause in own_causes)
    verdict = FINDING if wrong else UNDECIDABLE if undecided else OK
    own_causes = sorted(own_causes, key=lambda cause: cause["severity"] != FINDING)
    texts = [cause["explanation"] for cause in own_causes]
    if verdict == OK:
        texts.insert(0, _same(compared))
    return {
        "name": old.name,
        "old": old.name,
        "new": new.name,
        "matched": pair.how,
        "verdict": verdict,
        "causes": own_causes,
        "undecided": undecided,
        "explanation": " ".join([*texts, *undecided]),
        "differences": compared,
        "steps": 0,
    }


def _guess(old, new, own_causes, compared, same_framework):
    """What is reported about a guess: a list of causes, and a list of sentences on what it leaves undecided."""
    text = f"OLD's `{old.name}` was matched with NEW's `{new.name}`"
    equal = {entry["what"] for entry in compared if entry["equal"]}
    if _signature(old)[1] is not None and equal & {"moving mean", "moving variance"}:
        text += " because they hold equal statistics"
        if same_framework:
            # A restore looks for the same names; the names of two frameworks are never the same.
            return [cause_entry("renamed", f"{text}; a restore by name would not find it.")], []
        return [cause_entry("renamed", f"{text}; a map would confirm it.", ADVISORY)], []
    if all(entry["equal"] for entry in compared) and not any(cause["severity"] == FINDING for cause in own_causes):
        return [], [f"{text} by the order and number of channels alone; give a map to confirm it."]
    text += " by a guess, from the order and number of channels; if that is wrong, give a map."
    return [cause_entry("renamed", text)], []


def _same(compared):
    changed = sorted({" -> ".join(entry["dtypes"]) for entry in compared if len({*entry["dtypes"]}) > 1})
    words = ", ".join(entry["what"] for entry in compared)
    text = f"The same numbers in {counted(compared[-1]['channels'], 'channel')} ({words})"
    return text + (f", converted {' and '.join(changed)}." if changed else ".")


def _unmatched(layer, run):
    """The result for a layer that only ``run``, "OLD" or "NEW", has."""
    other = "NEW" if run == "OLD" else "OLD"
    channels = _signature(layer)[0]
    size = "" if channels is None else f", of {counted(channels, 'channel')},"
    text = f"{other} has no layer that could be {run}'s `{layer.name}`{size} by name, map, values or order."
    return {
        "name": layer.name,
        "old": layer.name if run == "OLD" else None,
        "new": layer.name if run == "NEW" else None,
        "matched": None,
        "verdict": FINDING,
        "causes": [cause_entry("missing-variable", text)],
        "undecided": [],
        "explanation": text,
        "differences": [],
        "steps": 0,
    }
