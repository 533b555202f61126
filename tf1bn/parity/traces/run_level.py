"""What only all layers together show: layers with each other's inputs or parameters, and layers without a counterpart.

The functions take the results of all layers and return them with further causes; they change none.
"""

from __future__ import annotations

import math

from ..._util.text import apart
from ...verdicts import ADVISORY, FINDING, cause_entry
from ..verdict import outside_of


def in_sequence(old, new, pairs):
    """Whether both runs apply the same number of layers, matched in order, to the same data.

    Args:
      old, new: lists of `LayerSignature` in order of application.
      pairs: the `LayerPair` of all layers.
    """
    return (
        len(pairs) == len(old) == len(new) > 0
        and all(
            (pair.old, pair.new) == (old_layer.name, new_layer.name)
            for pair, old_layer, new_layer in zip(pairs, old, new, strict=True)
        )
        and old[0].same_data(new[0]) is True
    )


def with_swapped_inputs(layers, comparisons, old, new):
    """The results, with a cause for layers of NEW that get the inputs of another layer of OLD.

    Args:
      layers: the results, as `layer.layer_result` gives them.
      comparisons: the `LayerComparison` of each.
      old, new: dicts from names to `LayerSignature`.
    """
    different = [i for i, layer in enumerate(layers) if layer["data"]["state"] == "different"]
    texts = {}
    for i in different:
        for j in different:
            if i != j and old[layers[j]["old"]].same_data(new[layers[i]["new"]]):
                text = (
                    f"NEW gives {layers[i]['new']!r} the inputs of OLD's {layers[j]['old']!r}: the layers "
                    f"{layers[i]['old']!r} and {layers[j]['old']!r} are swapped."
                )
                texts.setdefault(i, text)
                texts.setdefault(j, text)
    return [
        _with_first(layer, "swapped-layers", texts[i], comparisons[i]) if i in texts else layer
        for i, layer in enumerate(layers)
    ]


def with_other_inputs(layers, comparisons):
    """The results, with a cause for the first layer that gets other inputs although none before it is wrong."""
    if not layers or layers[0]["data"]["state"] in ("different", None):
        return layers
    explained, outputs_seen, half, results, root = False, True, 0.0, [], None
    for layer, comparison in zip(layers, comparisons, strict=True):
        inputs = comparison.data.first
        # What was rounded to half precision once stays as inexact as that, whatever dtype it has later.
        half = max(half, inputs.half if inputs else 0.0)
        if inputs and inputs.state == "different" and inputs.reason is None and inputs.error <= half * inputs.rounding:
            layer = {**layer, "data": {**layer["data"], "state": "close"}}
        different = layer["data"]["state"] == "different"
        wrong = any(cause["severity"] == FINDING for cause in layer["causes"]) or bool(outside_of(layer["checks"]))
        result = layer
        if different and not wrong and not explained:
            reason = layer["data"]["reason"] or f"{layer['data']['error']:.3g} standard deviations off"
            text = f"NEW gives this layer other inputs than OLD in the first step ({reason}), "
            if outputs_seen:
                text += "although every batch norm before it does what OLD's does: what lies between them differs."
            else:
                text += (
                    "and nothing in the batch norms before it explains it: either what lies between them differs, or "
                    "their outputs, which were not recorded and would tell."
                )
            result = _with_first(layer, "other-inputs", text, comparison)
        elif different and root is not None:
            result = {**layer, "inputs_follow_from": root}
        results.append(result)
        seen = comparison.outputs.steps > 0
        # Without outputs, an epsilon that is declared otherwise may be what makes the inputs of later layers differ.
        unseen_epsilon = not seen and any(cause["id"] == "epsilon" for cause in layer["causes"])
        explained |= wrong or different or unseen_epsilon
        if root is None and (wrong or result is not layer):
            root = layer["name"]
        outputs_seen &= seen
    return results


def _with_first(layer, name, text, comparison):
    causes = [cause_entry(name, text), *layer["causes"]]
    return {**layer, "causes": causes, "since": comparison.data.first_step}


def with_exchanged_parameters(layers, comparisons):
    """The results, with a cause for layers of NEW that hold each other's gamma and beta."""
    suspects = [
        i
        for i, layer in enumerate(layers)
        if comparisons[i].start is not None
        and comparisons[i].start.parameters
        and any(cause["id"] == "other-parameters" for cause in layer["causes"])
    ]
    results = list(layers)
    for i in suspects:
        for j in suspects:
            if i != j:
                results[i] = _exchanged(results[i], layers[j], comparisons[i].start, comparisons[j].start)
    return results


def _exchanged(layer, other, start, other_start):
    """The result of a layer, with a cause if it starts with the parameters of the other one and the other with its."""
    roles = [*start.parameters]
    if roles != [*other_start.parameters] or not _crossed(start, other_start, roles):
        return layer
    explained = {"other-parameters"}
    if "not-restored" in {cause["id"] for cause in layer["causes"]} and _crossed(
        start, other_start, ("mean", "variance")
    ):
        explained.add("not-restored")
        roles.append("moving statistics")
    text = f"NEW's {layer['new']!r} holds the {' and '.join(roles)} of OLD's {other['old']!r}, and the other way round."
    causes = [cause for cause in layer["causes"] if cause["id"] not in explained]
    return {**layer, "causes": [cause_entry("swapped-layers", text), *causes]}


def _crossed(start, other, roles):
    """Whether each of two `StartValues` has in NEW the bits that the other has in OLD."""
    return all(
        mine.values[0][role].tobytes() == yours.values[1][role].tobytes()
        for role in roles
        for mine, yours in ((start, other), (other, start))
    )


def note_shift(comparisons, parts):
    """Say in each `LayerComparison` from which step on the steps of the two runs may not be the same.

    Args:
      comparisons: those of all pairs, in the order of the layers.
      parts: into how many parts NEW splits each batch of OLD.
    """
    data = next((comparison.data for comparison in comparisons if comparison.data.first), None)
    if data is None or (data.first.state == "different" and parts == 1):
        return
    for comparison in comparisons:
        comparison.shifted_from = 0 if parts > 1 else data.other and data.other[0]


def same_run(layers, comparisons):
    """What the inputs of the first layer say about the data of the two runs.

    Returns:
      data: dict with "state", "error" and "sentence".
      problems, notes: lists of sentences.
    """
    compared = [
        (layer, comparison) for layer, comparison in zip(layers, comparisons, strict=True) if comparison.data.first
    ]
    if not compared:
        return {"state": None, "error": None, "sentence": "No layer was compared."}, [], []
    data = compared[0][1].data
    first = data.first
    if first.state == "different" and any(cause["id"] == "swapped-layers" for cause in layers[0]["causes"]):
        sentence = "The data is the same as far as the swapped layers show."
        return {"state": "close", "error": None, "sentence": sentence}, [], []
    sentences = {
        "bitwise": "The data is the same: the first layer's inputs are equal bit for bit.",
        "moments": "The data is the same as far as the moments of the first layer's inputs show.",
        "close": "The data is the same up to rounding: the first layer's inputs are "
        f"{first.error:.2g} deviations apart.",
    }
    problems, notes = [], []
    sentence = sentences.get(first.state)
    if sentence is None:
        reason = first.reason or f"the first layer's inputs are {first.error:.2g} deviations apart"
        begin = "The data is not the same" if first.seen else "Whether the data is the same is not seen"
        sentence = (
            f"{begin} ({reason}): nothing about the outputs can be concluded; the layers are judged on their own data."
        )
        problems.append(sentence)
    elif data.other is not None:
        sentence = sentence.replace("The data is the same", f"Before step {data.other[0]} the data is the same", 1)
        problems.append(_from_a_step_on(data, layers))
    return {"state": first.state, "error": first.error, "sentence": sentence}, problems, notes


def _from_a_step_on(data, layers):
    """The sentence for a first layer that gets other inputs in later steps.

    Args:
      data: its `SameData`.
      layers: the results of all layers.
    """
    step, inputs = data.other
    where = f"in step {step}" if data.other_steps == 1 else f"in {data.other_steps} steps, first in step {step}"
    how_far = f"they are {inputs.error:.2g} deviations apart"
    if not math.isfinite(inputs.error):
        how_far = inputs.reason or "they contain NaN or infinity in one of the runs"
    text = f"The first layer's inputs are not the same {where} ({how_far}): "
    if any(cause["severity"] == FINDING for layer in layers for cause in layer["causes"]):
        return (
            f"{text}either the batches are others, or the weights before it were trained otherwise, which a layer that "
            "is wrong can cause. Each layer is judged by its own inputs."
        )
    return f"{text}the batches are others, as no layer explains it. Each layer is judged by its own inputs."


def unmatched(old, new):
    """The result for a layer that only one of the runs has: one of the names is None."""
    run, other = ("OLD", "NEW") if new is None else ("NEW", "OLD")
    text = f"{run} has this layer, and no layer of {other} is its counterpart."
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


def with_micro_batches(layers, rules, parts):
    """The results and the data of a run that gets each batch of OLD in parts, as gradient accumulation does.

    Args:
      layers: the results of the pairs.
      rules: the `LayerRule` of OLD for each.
      parts: how many parts there are.

    Returns:
      results: with a cause for layers whose statistics forget otherwise in a batch of OLD.
      data: as `same_run` gives it.
    """
    results = []
    for layer, rule in zip(layers, rules, strict=True):
        new = (layer["effective"]["new"] or {}).get("decay")
        if new is None or rule.decay is None or not 0 < new < 1:
            results.append(layer)
            continue
        kept = new**parts
        same = abs(kept - rule.decay) <= 1e-3 * (1 - rule.decay)
        seen, due = apart(kept, rule.decay, digits=4)
        text = f"NEW updates the statistics {parts} times, once for each part of a batch of OLD: "
        if same:
            text += f"they forget as OLD's do in one batch, by {new:.6g}^{parts} = {rule.decay:.6g}"
        else:
            text += f"with its decay they forget by {new:.6g}^{parts} = {seen} in it, and OLD's by {due}"
        text += "; and the variances of the parts lack the differences between their means."
        entry = cause_entry("decay", text, ADVISORY if same else FINDING, variant=None if same else "parts")
        causes = [cause for cause in layer["causes"] if cause["id"] not in ("decay", "other-inputs")]
        result = {**layer, "causes": [entry, *causes]}
        if same and not any(cause["severity"] == FINDING for cause in causes):
            # OLD's rule for a whole batch predicts nothing of the parts.
            text = "The updates by parts of a batch were not compared with OLD's; an audit of NEW judges them."
            result |= {"undecided": [*layer["undecided"], text], "checks": []}
        results.append(result)
    sentence = (
        f"NEW gets each batch of OLD in {parts} parts, one in each of its steps, as where gradients are accumulated: "
        "the steps of the two runs are not the same, and each layer is judged by its own inputs."
    )
    return results, {"state": "different", "error": None, "sentence": sentence}
