"""The results for batch norms that one of two checkpoints has only folded into a convolution's kernel and bias."""

from __future__ import annotations

import numpy as np

from ..._util.text import counted
from ...verdicts import ADVISORY, FINDING, OK, UNDECIDABLE, cause_entry
from ..traces.wording import interval
from .folded_constants import find_constants
from .folding import find_folded


def folded_result(layer, has, lacks, neighbours, epsilon):
    """The result for a batch norm without a counterpart, if the other checkpoint has it folded.

    Args:
      layer: its `LayerValues`.
      has, lacks: "OLD" and "NEW", or the reverse: which checkpoint has the batch norm.
      neighbours: the `Neighbours` of those two checkpoints, in this order.
      epsilon: the epsilon that is known, or None.

    Returns:
      The dict of a layer in a comparison's JSON; None if it is not seen to be folded.
    """
    if not {"mean", "variance"} <= layer.values.keys() or layer.flat("mean").size != layer.flat("variance").size:
        return None
    sizes = {layer.flat(role).size for role in ("gamma", "beta") if role in layer.variables}
    if sizes - {layer.flat("variance").size} or not all(np.isfinite(values).all() for values in layer.values.values()):
        return None
    folded = find_constants(layer, neighbours[1]) or find_folded(layer, *neighbours)
    if folded is None:
        return None
    known = layer.declared.get("epsilon") if epsilon is None else epsilon
    causes, undecided = _causes(layer, folded, has, lacks, known)
    wrong = any(cause["severity"] == FINDING for cause in causes)
    texts = [*(cause["explanation"] for cause in causes), *undecided]
    kernel = folded.kernel[1]
    return {
        "name": layer.name,
        "old": layer.name if has == "OLD" else kernel,
        "new": layer.name if has == "NEW" else kernel,
        "matched": "folded",
        "verdict": FINDING if wrong else UNDECIDABLE if undecided else OK,
        "causes": causes,
        "undecided": undecided,
        "explanation": " ".join(texts),
        "differences": _differences(layer, folded, known),
        "steps": 0,
    }


def _causes(layer, folded, has, lacks, epsilon):
    """The causes, and sentences on what is left undecided."""
    if folded.unscaled:
        text = (
            f"{lacks} has no batch norm for {has}'s `{layer.name}`, and its kernel `{folded.kernel[1]}` is {has}'s, "
            "not scaled: the batch norm is neither there nor folded."
        )
        return [cause_entry("unmatched", text)], []
    into = f"{lacks} has {has}'s `{layer.name}` folded into `{folded.kernel[1]}`"
    if not folded.possible_epsilon:
        return [cause_entry("folded", f"{into}, with other scales: {_misfit(layer, folded)}")], []
    causes, low, high = [], max(folded.epsilon[0], 0.0), folded.epsilon[1]
    shown = interval(low, high)
    if epsilon is not None and not low <= epsilon <= high:
        causes.append(cause_entry("epsilon", f"{into} with the epsilon {shown}, and not with {epsilon:g}."))
    shifted = _shift_causes(layer, folded, has, lacks)
    causes += shifted
    if not causes:
        source = f"epsilon {epsilon:g}" if epsilon is not None else f"epsilon {shown}, solved for"
        steps = ", as far as the steps of its whole numbers tell," if folded.radius.any() else ""
        text = (
            f"{into}: scales and shifts are what folding gives{steps} in {counted(folded.scale.size, 'channel')} "
            f"({source}). "
            "Inference agrees; without the statistics training cannot go on."
        )
        causes.append(cause_entry("folded", text, ADVISORY))
    undecided = []
    if not np.isfinite(folded.epsilon[1]):
        undecided.append("No channel of the kernel shows a scale, so that only the bias was compared.")
    return causes, undecided


def _shift_causes(layer, folded, has, lacks):
    """What the bias of the folded convolution shows, as a list."""
    zero = "beta" not in layer.variables and not layer.flat("mean").any()
    if folded.shift_error is None:
        if zero:
            return []
        text = f"{lacks}'s `{folded.kernel[1]}` has the scales of {has}'s `{layer.name}`, and no bias beside it has "
        return [cause_entry("missing-variable", f"{text}beta - mean * scale.")]
    if (folded.shift_error <= 1).all():
        return []
    worst = int(np.argmax(folded.shift_error))
    expected, observed = (values[worst] for values in folded.shifts)
    count = int(np.count_nonzero(folded.shift_error > 1))
    text = (
        f"{lacks}'s `{folded.kernel[1]}` has the scales of {has}'s `{layer.name}`, and its bias `{folded.bias[1]}` is "
        f"not beta - mean * scale in {count} of {counted(folded.scale.size, 'channel')}; the most in channel {worst}: "
        f"{observed:.9g} where folding gives {expected:.9g}."
    )
    return [cause_entry("folded", text)]


def _misfit(layer, folded):
    """Why no epsilon fits, in words."""
    worst = folded.worst
    scale, variance = folded.scale[worst], layer.flat("variance")[worst]
    gamma = layer.flat("gamma")[worst] if "gamma" in layer.variables else 1.0
    return (
        f"in channel {worst} the scale is {scale:.9g}, where gamma is {gamma:.9g} and the variance "
        f"{variance:.9g}; no epsilon gives gamma / sqrt(variance + epsilon) in all channels."
    )


def _differences(layer, folded, epsilon):
    """The scales and shifts against what folding gives, as dicts of a comparison's "differences"."""
    variance = layer.flat("variance")
    gamma = layer.flat("gamma") if "gamma" in layer.variables else np.ones_like(variance)
    epsilon = folded.likely_epsilon if epsilon is None else epsilon
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = gamma / np.sqrt(variance + epsilon)
    low, high = folded.epsilon
    within = folded.possible_epsilon and low <= epsilon <= high
    rows = [("scale gamma / sqrt(variance + epsilon)", folded.kernel, expected, folded.scale, within)]
    if folded.shifts is not None:
        within = bool((folded.shift_error <= 1).all())
        rows.append(("shift beta - mean * scale", (layer.name, folded.bias[1]), *folded.shifts, within))
    return [_entry(*row) for row in rows]


def _entry(what, names, expected, observed, within):
    known = np.isfinite(expected) & np.isfinite(observed)
    difference = np.where(known, np.abs(np.where(known, observed - expected, 0.0)), 0.0)
    worst = int(np.argmax(difference))
    values = [float(array[worst]) if known[worst] else None for array in (expected, observed)]
    return {
        "what": what,
        "old": names[0],
        "new": names[1],
        "equal": False,
        "within": within,
        "channels": expected.size,
        "differing": int(np.count_nonzero(difference)),
        "largest": float(difference[worst]),
        "channel": worst,
        "values": values,
    }
