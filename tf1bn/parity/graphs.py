"""Whether two graphs have the same batch norms: settings, modes and what stands around them, without any values."""

from __future__ import annotations

import os
from collections.abc import Mapping

from .. import __version__
from .._util.text import quoted
from ..graphs import audit
from ..graphs.structure.layers import epsilons_differ
from ..results import Result
from ..verdicts import ADVISORY, FINDING, OK, UNDECIDABLE, cause_entry
from .layer_pairs import LayerSignature, match_layers
from .verdict import FORMAT

_PARAMETERS = (("scale", "gamma"), ("center", "beta"))


def compare_graphs(
    old: str | os.PathLike[str], new: str | os.PathLike[str], mapping: Mapping[str, str | None] | None = None
) -> Result:
    """Compare the batch norms of two graphs by their structure.

    Args:
      old, new: what `graphs.audit` takes.
      mapping: None, or a dict from OLD's names or patterns to NEW's, or to None; see `layer_pairs.match_layers`.

    Returns:
      `Result`, the dict of a comparison's JSON, see `checkpoints.compare.compare_checkpoints`; "kind" is "graphs", and
      there are no "differences" of values.

    Raises:
      GraphError: a graph is not there, damaged or too large.
      MappingError: the map cannot be used.
    """
    sides = [audit(old), audit(new)]
    by_old, by_new = ({layer["name"]: layer for layer in side["layers"]} for side in sides)
    signatures = [[_signature(layer) for layer in side["layers"]] for side in sides]
    matching = match_layers(*signatures, mapping)
    folded = set(sides[1]["graph"]["folded"])
    layers = [_pair(pair, by_old[pair.old], by_new[pair.new], sides) for pair in matching.pairs]
    layers += [_folded(name) if name in folded else _alone(name, "OLD") for name in matching.only_old]
    layers += [_alone(name, "NEW") for name in matching.only_new]
    problems = [
        f"{run}: {sentence}"
        for run, side in zip(("OLD", "NEW"), sides, strict=True)
        for sentence in (side["problems"] if not side["graph"]["folded"] else ())
    ]
    if not layers and not problems:
        problems.append("Nothing was compared: neither graph has a batch norm, or the map leaves out every layer.")
    notes = [f"{run}: {text}" for run, side in zip(("OLD", "NEW"), sides, strict=True) for text in side["notes"]]
    if matching.ignored:
        notes.append(f"The map leaves out {quoted(sorted(matching.ignored))} of OLD.")
    return Result(
        {
            "format": FORMAT,
            "tf1bn": __version__,
            "kind": "graphs",
            "ok": not problems and all(layer["verdict"] == OK for layer in layers),
            "old": os.fspath(old),
            "new": os.fspath(new),
            "layers": layers,
            "renames": [],
            "problems": problems,
            "notes": notes,
        }
    )


def _signature(layer):
    return LayerSignature(layer["name"], layer["structure"].get("channels"))


def _pair(pair, old, new, sides):
    """The result of two layers."""
    before, after = old["structure"], new["structure"]
    causes = [*_settings(before, after), *_parameters(before, after), *_around(before, after)]
    known = {cause["id"] for cause in (*causes, *old["causes"])}
    undecided = []
    for cause in new["causes"]:
        if cause["severity"] != FINDING or cause["id"] in known:
            continue
        if new["verdict"] == UNDECIDABLE:
            undecided.append(f"In NEW: {cause['explanation']}")
        else:
            causes.append({**cause, "explanation": f"In NEW alone: {cause['explanation']}"})
    if new["verdict"] == UNDECIDABLE and not new["causes"]:
        undecided.append(f"In NEW: {new['explanation']}")
    return _result(pair.old, pair.old, pair.new, pair.how, causes, undecided, _same(before, sides))


def _settings(before, after):
    epsilons = before["epsilon"], after["epsilon"]
    if epsilons_differ(*epsilons):
        yield cause_entry("epsilon", f"Epsilon is {epsilons[0]:.6g} in OLD and {epsilons[1]:.6g} in NEW.")
    decays = before["decay"]["value"], after["decay"]["value"]
    if None not in decays and abs(decays[0] - decays[1]) > 1e-9:
        name = "momentum-flipped" if abs(1 - sum(decays)) < 1e-9 else "decay"
        yield cause_entry(name, f"The decay is {decays[0]:.6g} in OLD and {decays[1]:.6g} in NEW.")
    axes = before["axis"], after["axis"]
    if None not in axes and axes[0] != axes[1]:
        yield cause_entry(
            "wrong-axis",
            f"The channels are axis {axes[0]} in OLD and {axes[1]} in NEW, which is right if the inputs were "
            "transposed with it.",
            ADVISORY,
        )
    sizes = before.get("channels"), after.get("channels")
    if None not in sizes and sizes[0] != sizes[1]:
        yield cause_entry("wrong-axis", f"The statistics have {sizes[0]} channels in OLD and {sizes[1]} in NEW.")


def _parameters(before, after):
    for setting, role in _PARAMETERS:
        pair = before.get(setting), after.get(setting)
        if None not in pair and pair[0] != pair[1]:
            has, lacks = ("OLD", "NEW") if pair[0] else ("NEW", "OLD")
            yield cause_entry("missing-variable", f"{lacks} has no {role}, and {has} has one.")


def _around(before, after):
    pairs = [(side.get("around") or {}).get("before") for side in (before, after)]
    if None not in pairs and pairs[0] != pairs[1]:
        yield cause_entry(
            "other-inputs",
            f"The layer takes what `{pairs[0]}` gives in OLD and what `{pairs[1]}` gives in NEW; a dropout that only "
            "training has, or operations that a tool joined, explain that, and an activation that has changed places "
            "with the layer does not.",
            ADVISORY,
        )


def _same(structure, sides):
    text = "The same settings in both"
    if structure["epsilon"] is not None:
        text += f" (epsilon {structure['epsilon']:.6g})"
    if sides[0]["graph"]["trains"] and not sides[1]["graph"]["trains"]:
        text += "; NEW does not train, so its decay and updates were not compared"
    return f"{text}."


def _folded(name):
    text = f"NEW has `{name}` folded into constants; compare it with the checkpoint to see whether these are right."
    return _result(name, name, None, None, [cause_entry("folded", text, ADVISORY)], [text], "")


def _alone(name, run):
    text = f"Only {run} has the layer `{name}`."
    pair = (name, None) if run == "OLD" else (None, name)
    return _result(name, *pair, None, [cause_entry("unmatched", text)], [], "")


def _result(name, old, new, how, causes, undecided, same):
    wrong = any(cause["severity"] == FINDING for cause in causes)
    causes = sorted(causes, key=lambda cause: cause["severity"] != FINDING)
    texts = [*(cause["explanation"] for cause in causes), *(text for text in undecided if not wrong)]
    if not wrong and not undecided:
        texts.insert(0, same)
    return {
        "name": name,
        "old": old,
        "new": new,
        "matched": how,
        "verdict": FINDING if wrong else UNDECIDABLE if undecided else OK,
        "causes": causes,
        "undecided": undecided,
        "explanation": " ".join(dict.fromkeys(texts)),
        "differences": [],
        "steps": 0,
    }
