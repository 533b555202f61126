"""The rules that turn the variables of one layer in a checkpoint into a verdict and causes. Nothing is replayed."""

import numpy as np

from .._util.text import counted, quoted
from ..variable_names import length
from ..verdicts import ADVISORY, FINDING, OK, UNDECIDABLE, cause_entry
from .dead_channels import dead
from .value_rules import TITLES, at_start, channels_where, half_precision, not_finite, title, updates, variances

# Best first; a cause that spoils every number comes before one that spoils some.
ORDER = (
    "not-finite",
    "batch-stats-at-inference",
    "bad-variance",
    "wrong-axis",
    "not-restored",
    "not-updated",
    "missing-variable",
    "dead-channel",
    "half-precision",
    "shadow-average",
)


def audit_layer(layer, values, *, stored, averages, others_moved, step, batches, usual, declared=None, quantized=False):
    """The dict of a layer in an audit's JSON.

    Args:
      layer: a `grouping.Layer`.
      values: its arrays by role, and its further state by name.
      stored: the dtypes that these have in the file, by the same keys.
      averages: the exponential moving averages of its variables, by role.
      others_moved: whether the statistics of another layer were ever updated.
      step: the checkpoint's global step, or None.
      batches: the number of training batches that PyTorch counted in the layer, or None.
      usual: those of "gamma" and "beta" whose absence is worth an advisory.
      declared: what the file's own configuration or graph says of the layer; see `formats.base.Checkpoint`.
      quantized: whether its values were rounded to few bits for delivery, so that small and equal ones say nothing.
    """
    declared = declared or {}
    shapes = {key: array.shape for key, array in values.items()}
    wide = {key: array.astype(np.float64).ravel() for key, array in values.items()}
    causes = [
        *(_batch_statistics(layer) if declared.get("training") else _missing(layer, usual)),
        *_lengths(layer, shapes),
        *not_finite(layer, wide),
        *_with_evidence(updates(layer, values, wide, others_moved, step, batches), declared),
        *_shadows(layer, wide, averages),
    ]
    if quantized:
        causes = [cause for cause in causes if cause["id"] != "not-updated" or at_start(values)]
    else:
        causes += [*variances(layer, wide), *dead(layer, wide, channels_where), *half_precision(layer, wide, stored)]
    causes.sort(key=lambda cause: (cause["severity"] != FINDING, ORDER.index(cause["id"])))
    findings = any(cause["severity"] == FINDING for cause in causes)
    verdict = FINDING if findings else UNDECIDABLE if layer.unclear else OK
    texts = [*dict.fromkeys(layer.unclear.values()), *(cause["explanation"] for cause in causes)]
    if verdict == OK:
        # An instance norm has no mean.
        channels = counted(next(iter(wide.values())).size, "channel")
        texts.insert(0, f"Nothing is wrong with the {channels} as far as values can show.")
    if quantized and wide:
        texts.append("The values are quantized, so dead channels and lost updates were not looked for.")
    return {
        "name": layer.name,
        "verdict": verdict,
        "causes": causes,
        "explanation": " ".join(texts),
        "mean_error": None,
        "mean_bound": None,
        "variance_error": None,
        "variance_bound": None,
        "steps": 0,
        # A checkpoint has no steps, so nothing came before anything else.
        "first": False,
        **dict.fromkeys(("first_step", "inherited_error", "inherited_bound", "added_error", "added_bound")),
        "accumulated": {"mean": None, "variance": None},
        "estimates": {},
        "channels": next((array.size for array in wide.values()), 0),
        "values": {role: _value_range(layer.parts[role], wide[role]) for role in TITLES if role in layer.parts},
    }


def _batch_statistics(layer):
    unused = "leaves the moving ones aside" if "mean" in layer.parts else "has no moving ones"
    yield cause_entry(
        "batch-stats-at-inference",
        f"The graph has the layer in training mode, beside {quoted(list(layer.parts.values()))}: it normalises by the "
        f"statistics of each batch that it is given, and {unused}. It was exported in training mode.",
    )


def _with_evidence(causes, declared):
    """The causes, with what the graph says about the updates in those that are about them."""
    for cause in causes:
        if declared.get("updates") and cause["id"] in ("not-updated", "not-restored"):
            cause = {**cause, "explanation": f"{cause['explanation']} {declared['updates']}"}
        yield cause


def _value_range(name, array):
    """The name of a variable, and the range of its finite values; null where there is none, as the JSON has it."""
    finite = array[np.isfinite(array)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (None, None)
    return {"variable": name, "min": low, "max": high, "not_finite": int(array.size - finite.size)}


def _missing(layer, usual):
    absent = [role for role in ("mean", "variance") if role not in layer.parts and role not in layer.unclear]
    if len(absent) == 2 and layer.perhaps_instance_norm:
        yield cause_entry(
            "missing-variable",
            f"There is no moving mean and no moving variance beside {quoted(list(layer.parts.values()))}, nor in any "
            "other layer: right for an instance norm, which keeps none. Those of a batch norm would be missing.",
            ADVISORY,
        )
    elif len(absent) == 2 and layer.parts:
        yield cause_entry(
            "missing-variable",
            f"There is no moving mean and no moving variance beside {quoted(list(layer.parts.values()))}, as if saved "
            "by Saver(trainable_variables()); a model that is restored from this would keep the start values 0 and 1.",
        )
    elif absent and layer.parts:
        there = "variance" if absent == ["mean"] else "mean"
        if there in layer.parts:
            yield cause_entry(
                "missing-variable",
                f"The {TITLES[there]} `{layer.parts[there]}` has no {TITLES[absent[0]]} beside it; a model that is "
                "restored from this would keep the start value there.",
            )
    if {"mean", "variance"} <= layer.parts.keys() and "affine" not in layer.parts:
        options = {"gamma": "scale=False", "beta": "center=False"}
        none = [role for role in options if role in usual and role not in layer.parts and role not in layer.unclear]
        if none:
            built = " and ".join(options[role] for role in none)
            text = f"There is no {' and no '.join(none)}, which is right if the layer was built with {built}"
            text += " (affine=False in PyTorch)" if len(none) == 2 else ""
            text += ", and other layers have a gamma." if "gamma" in none else "."
            yield cause_entry("missing-variable", text, ADVISORY)


def _lengths(layer, shapes):
    parts = [role for role in layer.parts if not _per_class(role, shapes)]
    if _several_axes({shapes[role] for role in parts}):
        return
    for role in parts:
        if length(shapes[role]) is None:
            yield cause_entry(
                "wrong-axis",
                f"{title(layer, role)} has the shape {list(shapes[role])}, and a batch norm over one axis of channels "
                "has vectors.",
            )
            return
    sizes = {role: length(shapes[role]) for role in parts}
    if 0 in sizes.values():
        empty = next(role for role, size in sizes.items() if size == 0)
        yield cause_entry("wrong-axis", f"{title(layer, empty)} has no values at all.")
    elif len(set(sizes.values())) > 1:
        lengths = ", ".join(f"{layer.parts[role]} {size}" for role, size in sizes.items())
        yield cause_entry("wrong-axis", f"The vectors of the layer are not of one length: {lengths}.")


def _several_axes(shapes):
    """Whether these are variables of tf.layers with a list of axes: of one shape, 1 wherever it was reduced."""
    (shape, *others) = shapes or {()}
    return not others and 1 in shape and length(shape) is None


def _per_class(role, shapes):
    """Whether gamma or beta is a table of vectors, one for each class, as conditional batch norms have it."""
    statistics = [length(shapes[key]) for key in ("mean", "variance") if key in shapes]
    return role in ("gamma", "beta") and len(shapes[role]) == 2 and shapes[role][1] in statistics


def _shadows(layer, wide, averages):
    """Exponential moving averages of a layer's variables: an advisory, as they are meant to be there.

    It is a finding if the variable itself is absent, or if its values show that the average is none of it: a restore of
    either would then find less than it should.
    """
    if not layer.shadows:
        return
    averaged = [role for role in TITLES if role in layer.shadows]
    alone = [role for role in averaged if role not in layer.parts]
    text = f"There are exponential moving averages of its {', '.join(TITLES[role] for role in averaged)} "
    text += f"(`{layer.shadows[averaged[0]]}`); "
    wrong = [
        problem
        for role in averaged
        if role in wide
        for problem in _wrong_average(role, averages[role].astype(np.float64).ravel(), wide[role])
    ]
    if alone:
        text += f"the {', '.join(TITLES[role] for role in alone)} itself is absent, so a plain restore finds no value."
    elif wrong:
        text += f"{' and '.join(wrong)}, so a restore of the averages gives what training did not."
    else:
        text += "a plain restore takes the variables themselves, and one for evaluation may want the averages."
    yield cause_entry("shadow-average", text, FINDING if alone or wrong else ADVISORY)


def _wrong_average(role, average, values):
    """What shows that ``average`` cannot be the moving average of the variable with these values, in words."""
    name = f"that of its {TITLES[role]}"
    start = {"variance": 1, "gamma": 1}.get(role, 0)
    if average.size != values.size:
        yield f"{name} has {average.size} values and not {values.size}"
    elif (bad := ~np.isfinite(average) & np.isfinite(values)).any():
        yield f"{name} is not finite in {channels_where(bad)}"
    elif role == "variance" and (bad := (average < 0) & (values >= 0)).any():
        yield f"{name} is negative in {channels_where(bad)}"
    elif values.size and (average == start).all() and (values != start).any():
        yield f"{name} is still exactly {start}, as it began"
