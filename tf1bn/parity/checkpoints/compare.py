"""Whether one checkpoint holds the batch norms of another: `compare_checkpoints`, for all formats of ``checkpoints``.

A converted checkpoint holds the same numbers, in float32 the same bits; the only difference that is none is the
rounding to another dtype that NEW stores, see ``parity.layer_values``. Needs no TensorFlow but to read TF1's own files.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Mapping

from ... import __version__
from ..._util.text import counted, quoted
from ...checkpoints import open_checkpoint
from ...results import Result
from ...variable_names import length
from ...verdicts import ADVISORY, FINDING, OK, UNDECIDABLE, cause_entry
from ..layer_values import TITLES, align_affine_names, variable_differences
from ..names import natural
from ..verdict import FORMAT
from .differences import causes
from .folded_layers import folded_result
from .pairs_by_statistics import fingerprint, match_checkpoint_layers
from .renames import rename_groups, with_number_order
from .same_run import with_other_step
from .side import Side

__all__ = ["compare_checkpoints"]

MOST_ULP = 2**20


def compare_checkpoints(
    old: str | os.PathLike[str],
    new: str | os.PathLike[str],
    mapping: Mapping[str, str | None] | None = None,
    *,
    ulp: int = 0,
    epsilon: float | None = None,
) -> Result:
    """Compare the batch-norm layers of two checkpoints by their values.

    Args:
      old, new: paths; see `checkpoints.audit_checkpoint` for what they may be.
      mapping: None, or a dict from OLD's names or patterns to NEW's, or to None; see `layer_pairs.match_layers`.
      ulp: how many units in the last place of NEW's dtype a number of NEW may be from OLD's, rounded to that dtype. The
        default is what a conversion does: none, as it computes nothing.
      epsilon: that of the layers, for batch norms that one of the two has only folded into convolutions; None if it is
        to be solved for.

    Returns:
      `Result`, the dict of a comparison's JSON: "format", "tf1bn", "kind", "ok", "old", "new", "ulp", "layers",
      "renames", "problems" (sentences; with any of them "ok" is false) and "notes". A layer has "name", "old",
      "new", "matched" ("name", "map", "guess", "folded" where one of the names is that of a convolution's kernel,
      or None where it has no counterpart), "verdict", "causes", "undecided" (sentences), "explanation", "steps"
      (0) and "differences", one dict for each variable: "what", the names "old" and "new", "dtypes", "equal",
      "channels", "differing" (how many channels), "largest" difference and its "channel", the two "values" there,
      and "ulps", the most units in the last place. "renames" has groups of layers that were renamed in the same
      way: "layers" and "sentence".

    Raises:
      CheckpointError: a checkpoint is not there, damaged or too large, or a package that reads it is missing.
      MappingError: the map cannot be used.
      ValueError: `ulp` or `epsilon` is no such number.
    """
    _check_numbers(ulp, epsilon)
    with contextlib.ExitStack() as stack:
        sides = [Side(stack.enter_context(open_checkpoint(path)), run) for path, run in ((old, "OLD"), (new, "NEW"))]
        layers, ignored = _compare(sides, mapping, ulp, epsilon)
    notes = [f"The map leaves out {quoted(sorted(ignored))} of OLD."] if ignored else []
    found_folded = any(layer["matched"] == "folded" for layer in layers)
    problems = [text for side in sides for text in (*side.problems, *([] if found_folded else side.nothing))]
    if not layers and not problems:
        problems.append("Nothing was compared: the map leaves out every layer.")
    ok = not problems and all(layer["verdict"] == OK for layer in layers)
    result = {"format": FORMAT, "tf1bn": __version__, "kind": "checkpoints", "ok": ok}
    result |= {"old": os.fspath(old), "new": os.fspath(new), "ulp": ulp, "layers": layers}
    result |= {"renames": rename_groups(layers), "problems": problems}
    return Result(result | {"notes": [*sides[0].notes, *notes, *sides[1].notes]})


def _check_numbers(ulp, epsilon):
    """Raise ValueError for arguments that are not the numbers they must be."""
    if isinstance(ulp, bool) or not isinstance(ulp, int) or not 0 <= ulp <= MOST_ULP:
        raise ValueError(f"`ulp` is {ulp!r}; it must be a whole number from 0 to {MOST_ULP}.")
    number = isinstance(epsilon, (int, float)) and not isinstance(epsilon, bool)
    if epsilon is not None and not (number and 0 <= epsilon < math.inf):
        raise ValueError(f"`epsilon` is {epsilon!r}; it must be a number, 0 or more.")


def _compare(sides, mapping, ulp, epsilon):
    """The results of all layers of two `Side`, and the names of OLD's layers that the map leaves out."""
    by_old, by_new = (side.layers for side in sides)
    signatures = (
        {name: (*_signature(layer), _vectors(layer)) for name, layer in layers.items()} for layers in (by_old, by_new)
    )
    matching = match_checkpoint_layers(*signatures, mapping)
    twins = _twins(matching.pairs, by_old, by_new)
    same_framework = sides[0].framework == sides[1].framework
    layers, values, neighbours = [], [], [side.neighbours for side in sides]
    by_old, aligned_new, all_warnings = _aligned(matching.pairs, twins, by_old, by_new)
    for pair in sorted(matching.pairs, key=lambda pair: natural(pair.old)):
        twin = by_old.get(twins.get(pair.old))
        new_layer, warnings = aligned_new[pair.new], all_warnings[pair.old]
        mutual = twins.get(twins.get(pair.old)) == pair.old
        own_causes = causes(by_old[pair.old], new_layer, twin, mutual, neighbours=neighbours, ulp=ulp)
        layers.append(_pair(pair, by_old[pair.old], new_layer, own_causes, warnings, same_framework, ulp))
        values.append((by_old[pair.old], new_layer))
    layers = with_other_step(with_number_order(layers), values, [side.step for side in sides])
    for names, has, lacks in ((matching.only_old, *sides), (matching.only_new, *reversed(sides))):
        for name in names:
            around = has.neighbours, lacks.neighbours
            folded = folded_result(has.layers[name], has.run, lacks.run, around, epsilon)
            layers.append(folded or _unmatched(has.layers[name], has.run, _may_hide(has, lacks)))
    return layers, matching.ignored


def _signature(layer):
    """The number of channels and the fingerprint that a layer is recognised by."""
    roles = [role for role in ("variance", "mean", "gamma", "beta", "affine") if role in layer.values]
    channels = length(layer.values[roles[0]].shape) if roles else None
    if not {"mean", "variance"} <= layer.values.keys():
        return channels, None
    return channels, fingerprint(layer.flat("mean"), layer.flat("variance"))


def _vectors(layer):
    """The values of a layer by role, by which it is told from others."""
    return {role: layer.flat(role) for role in TITLES if role in layer.values}


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


def _aligned(pairs, twins, by_old, by_new):
    """The layers with a parameter that may be gamma or beta called what the other checkpoint calls it.

    Where NEW holds a layer's statistics under another name, the layer that has them is asked, whatever the order.

    Args:
      pairs: the `LayerPair`s.
      twins: what `_twins` gives.
      by_old, by_new: the `LayerValues` by name.

    Returns:
      Those of OLD and those of NEW by name, and by OLD's name the sentences on what cannot be compared.
    """
    holder = {twins[pair.old]: pair.new for pair in pairs if pair.old in twins}
    aligned_old, aligned_new, warnings = dict(by_old), dict(by_new), {}
    for pair in pairs:
        old, _, _ = align_affine_names(by_old[pair.old], by_new[holder.get(pair.old, pair.new)])
        _, new, _ = align_affine_names(by_old[twins.get(pair.old, pair.old)], by_new[pair.new])
        aligned_old[pair.old], aligned_new[pair.new], warnings[pair.old] = align_affine_names(old, new)
    return aligned_old, aligned_new, warnings


def _pair(pair, old, new, own_causes, warnings, same_framework, ulp):
    """The result for a `LayerPair`.

    Args:
      pair: the `LayerPair`.
      old, new: the `LayerValues`.
      own_causes: list of the causes that the values show, as `differences.causes` gives them.
      warnings: sentences on what cannot be compared.
      same_framework: whether both checkpoints name their variables by the same conventions.
      ulp: how many units in the last place are allowed.
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
        guess, doubt = _say_how_matched(pair, old, new, own_causes, compared, same_framework)
        own_causes = [*guess, *own_causes]
        undecided += doubt
    wrong = any(cause["severity"] == FINDING for cause in own_causes)
    verdict = FINDING if wrong else UNDECIDABLE if undecided else OK
    own_causes = sorted(own_causes, key=lambda cause: cause["severity"] != FINDING)
    texts = [cause["explanation"] for cause in own_causes]
    if verdict == OK:
        texts.insert(0, _same(compared, ulp))
    return {
        "name": old.name,
        "old": old.name,
        "new": new.name,
        "matched": pair.how,
        "matched_by": pair.by,
        "verdict": verdict,
        "causes": own_causes,
        "undecided": undecided,
        "explanation": " ".join([*texts, *undecided]),
        "differences": compared,
        "steps": 0,
    }


# What a guess went by, as the end of a clause, where no equal statistics say it.
_GUESSED_BY = {
    "likeness": "the likeness of names and values",
    "shape": "the number of channels, which no other layer that is left has,",
}


def _say_how_matched(pair, old, new, own_causes, compared, same_framework):
    """What is reported about a guess: a list of causes, and a list of sentences on what it leaves undecided."""
    text = f"OLD's `{old.name}` was matched with NEW's `{new.name}`"
    by_order = "the order and number of channels"
    equal = {entry["what"] for entry in compared if entry["equal"]}
    if _signature(old)[1] is not None and equal & {"moving mean", "moving variance"}:
        text += " because they hold equal statistics"
        if same_framework:
            # A restore looks for the same names; the names of two frameworks are never the same.
            return [cause_entry("renamed", f"{text}; a restore by name would not find it.")], []
        return [cause_entry("renamed", f"{text}; a map would confirm it.", ADVISORY)], []
    if all(entry["equal"] for entry in compared) and not any(cause["severity"] == FINDING for cause in own_causes):
        return [], [f"{text} by {_GUESSED_BY.get(pair.by, by_order)} alone; give a map to confirm it."]
    text += f" by a guess, from {_GUESSED_BY.get(pair.by, by_order).rstrip(',')}; if that is wrong, give a map."
    return [cause_entry("renamed", text)], []


def _same(compared, ulp):
    changed = sorted({" -> ".join(entry["dtypes"]) for entry in compared if len({*entry["dtypes"]}) > 1})
    words = ", ".join(entry["what"] for entry in compared)
    apart = max((entry["ulps"] or 0 for entry in compared if not entry["equal"]), default=0)
    text = "The same numbers" if not apart else f"The same numbers but for {apart} ulp at most, of {ulp} allowed,"
    text += f" in {counted(compared[-1]['channels'], 'channel')} ({words})"
    return text + (f", converted {' and '.join(changed)}." if changed else ".")


def _may_hide(has, lacks):
    """Whether a layer that only one `Side` has may be folded into a kernel of the other, and nothing would show it."""
    no_norms = lacks.neighbours.folds or (not lacks.layers and lacks.neighbours.kernels)
    return bool(no_norms) and not has.neighbours.kernels


def _unmatched(layer, run, unseen):
    """The result for a layer that only ``run``, "OLD" or "NEW", has.

    With ``unseen`` the other may have it folded into a kernel, which ``run`` has no kernel to show by.
    """
    other = "NEW" if run == "OLD" else "OLD"
    channels = _signature(layer)[0]
    size = "" if channels is None else f", of {counted(channels, 'channel')},"
    text = f"{other} has no layer that could be {run}'s `{layer.name}`{size} by name, map, values or order."
    if unseen:
        text = (
            f"{other} keeps no batch norms, and whether {run}'s `{layer.name}` is folded into a kernel there is not "
            f"seen, since no kernel of {run} can be read; give {run} as a checkpoint of TensorFlow or as `.npz`."
        )
    return {
        "name": layer.name,
        "old": layer.name if run == "OLD" else None,
        "new": layer.name if run == "NEW" else None,
        "matched": None,
        "verdict": UNDECIDABLE if unseen else FINDING,
        "causes": [] if unseen else [cause_entry("unmatched", text)],
        "undecided": [text] if unseen else [],
        "explanation": text,
        "differences": [],
        "steps": 0,
    }
