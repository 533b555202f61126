"""What only all layers together show: whose inputs are whose, and what has no counterpart. Used by ``parity``."""

import math

from ...verdicts import FINDING, cause_entry
from ..verdict import outside_of

# Deviations, which two trainings that drift apart by rounding do not reach in a first layer, and other batches do.
OTHER = 0.1


def in_sequence(old_faces, new_faces, pairs):
    """Whether both runs apply as many layers, of the same channels, in the same order, to the same data."""
    places = {face.name: i for i, face in enumerate(new_faces)}
    return (
        len(pairs) == len(old_faces) == len(new_faces) > 0
        and all(
            places[pair.new] == i and pair.old == face.name
            for i, (pair, face) in enumerate(zip(pairs, old_faces, strict=True))
        )
        and old_faces[0].resembles(new_faces[0]) is True
    )


def placed(judged, numbers, old_faces, new_faces, complete):
    """Layers whose inputs are not those of their counterpart: swapped ones, and what lies between.

    ``numbers``: the `paritypair.Pair` of each. ``complete``: whether all layers of both runs are among those that are
    compared.
    """
    different = [layer for layer in judged if layer["data"]["state"] == "different"]
    for layer in different:
        for other in different:
            if other is not layer and old_faces[other["old"]].resembles(new_faces[layer["new"]]):
                text = (
                    f"NEW gives {layer['new']!r} the inputs of OLD's {other['old']!r}: the layers {layer['old']!r} and "
                    f"{other['old']!r} have changed places."
                )
                for one in (layer, other):
                    if "swapped-layers" not in {cause["id"] for cause in one["causes"]}:
                        one["causes"].insert(0, cause_entry("swapped-layers", text))
                        one["since"] = numbers[judged.index(one)].began
    if not complete or judged[0]["data"]["state"] in ("different", None):
        return
    explained = False
    for layer, number in zip(judged, numbers, strict=True):
        wrong = any(cause["severity"] == FINDING for cause in layer["causes"]) or bool(outside_of(layer["checks"]))
        if layer["data"]["state"] == "different" and not wrong and not explained:
            reason = layer["data"]["reason"] or f"{layer['data']['error']:.3g} deviations off"
            text = (
                f"NEW gives this layer other inputs than OLD in the first step ({reason}), although every batch-norm "
                "layer before it does what OLD's does: what lies between them differs."
            )
            layer["causes"].insert(0, cause_entry("other-inputs", text))
            layer["since"] = number.began
        explained |= wrong or layer["data"]["state"] == "different"


def exchanged(judged, numbers):
    """Layers that hold each other's gamma and beta."""
    wrong = [
        (layer, number)
        for layer, number in zip(judged, numbers, strict=True)
        if number.gamma_beta and any(cause["id"] == "other-parameters" for cause in layer["causes"])
    ]
    for layer, mine in wrong:
        for other, others in wrong:
            if other is layer or mine.gamma_beta.keys() != others.gamma_beta.keys():
                continue
            if _crossed(mine, others, mine.gamma_beta):
                statistics = "not-restored" in {cause["id"] for cause in layer["causes"]} and _crossed(
                    mine, others, ("mean", "variance")
                )
                what = " and ".join([*mine.gamma_beta, *(["moving statistics"] if statistics else [])])
                text = f"NEW's {layer['new']!r} holds the {what} of OLD's {other['old']!r}, and the other way round."
                explained = {"other-parameters", *(["not-restored"] if statistics else [])}
                layer["causes"] = [cause for cause in layer["causes"] if cause["id"] not in explained]
                layer["causes"].insert(0, cause_entry("swapped-layers", text))


def _crossed(one, other, roles):
    """Whether each of two `paritypair.Pair` starts in NEW with what the other has in OLD."""
    held = one.held, other.held
    return all(held[i][0][role].tobytes() == held[1 - i][1][role].tobytes() for role in roles for i in (0, 1))


def same_run(judged, numbers, problems, notes):
    """What the inputs of the first layer say about the data of the two runs."""
    states = [layer["data"] for layer in judged if layer["data"]["state"] is not None]
    if not states:
        return {"state": None, "error": None, "sentence": "No layer was compared."}
    first = states[0]
    if first["state"] == "different" and any(cause["id"] == "swapped-layers" for cause in judged[0]["causes"]):
        sentence = "The data is the same as far as layers show that have changed places."
        return {"state": "close", "error": None, "sentence": sentence}
    sentences = {
        "bitwise": "The data is the same: the first layer's inputs are equal bit for bit.",
        "moments": "The data is the same as far as the moments of the first layer's inputs show.",
        "close": "The data is the same up to rounding: the first layer's inputs are "
        f"{first['error']:.2g} deviations apart.",
    }
    sentence = sentences.get(first["state"])
    if sentence is None:
        reason = first["reason"] or f"the first layer's inputs are {first['error']:.2g} deviations apart"
        sentence = (
            f"The data is not the same ({reason}): nothing about the outputs can be concluded; the layers are judged "
            "on their own data."
        )
        problems.insert(0, sentence)
    elif (later := next(number.later for number in numbers if number.data is not None)) is not None:
        step, error, reason = later
        text = f"The first layer's inputs are not the same in step {step}"
        if reason is not None or not math.isfinite(error):
            problems.append(f"{text} ({reason or 'they are not finite on both sides'}).")
        elif error > OTHER:
            notes.append(f"{text}: {error:.2g} deviations apart. Each layer is judged by its own inputs.")
    return {"state": first["state"], "error": first["error"], "sentence": sentence}


def unmatched(old, new):
    """A layer of one side alone."""
    side, other = ("OLD", "NEW") if new is None else ("NEW", "OLD")
    text = f"{side} has this layer, and no layer of {other} is its counterpart."
    return {
        "name": old or new,
        "old": old,
        "new": new,
        "matched": None,
        "verdict": FINDING,
        "first": False,
        "causes": [cause_entry("unmatched", text)],
        "undecided": [],
        "explanation": text,
        "checks": [],
        "inherited_error": None,
        "added_error": None,
        "differences": {},
        "data": {"state": None, "error": None, "reason": None},
        "effective": {"old": None, "new": None},
        "notes": [],
        "steps": 0,
    }
