"""What the values of a layer in a checkpoint say about it, as verdicts and causes. Used by ``checkpoints``.

Nothing is replayed here: a cause is named where values are what no data leaves behind.
"""

import numpy as np

from .._util.text import quoted
from ..verdicts import ADVISORY, FINDING, cause_entry
from .grouping import length

# Beside the smallest epsilon in use, 1e-5, such a variance lets the normalised values vary by 1e-6 at most.
DEAD_VARIANCE = 1e-17
# float32 has 13 more bits than float16, so a value is a float16 number by chance once in 2**13; four of four once in
# 2**52, about 2e-16. Some statistics are round by nature (means of small integers), so half of the values must
# need more than 8 of float16's 11 bits: 7 in 8 do that if float16 rounded them, and no integer below 256 does.
LEAST_HALVES = 4
ROUND_BITS = 8
# Best first; a cause that spoils every number comes before one that spoils some.
ORDER = (
    "not-finite",
    "bad-variance",
    "wrong-axis",
    "not-restored",
    "not-updated",
    "missing-variable",
    "dead-channel",
    "half-precision",
    "shadow-average",
)
_TITLES = {"mean": "moving mean", "variance": "moving variance", "gamma": "gamma", "beta": "beta"}
_TITLES |= {"affine": "gamma or beta"}


def at_start(values):
    """Whether both statistics are what an initializer leaves; None if they cannot say (absent or not finite)."""
    if not {"mean", "variance"} <= values.keys():
        return None
    mean, variance = (values[role].astype(np.float64).ravel() for role in ("mean", "variance"))
    if not mean.size or not variance.size or not (np.isfinite(mean).all() and np.isfinite(variance).all()):
        return None
    if (mean == 0).all() and (variance == 1).all():
        return True
    if not variance.any():
        return None
    # Another initializer's constants. All-zero inputs also leave equal channels: mean 0, and less than variance 1.
    constant = mean.size > 1 and np.ptp(mean) == 0 and np.ptp(variance) == 0
    return bool(constant and not (mean[0] == 0 and variance[0] < 1))


def judge(layer, values, *, stored, averages, others_moved, step, usual):
    """The dict of a layer in an audit's JSON.

    Args:
      layer: a `checkpointlayers.Layer`.
      values: its arrays by role, and its further state by name.
      stored: the dtypes that these have in the file.
      averages: the arrays of its shadows by role.
      others_moved: whether the statistics of another layer were ever updated.
      step: the checkpoint's global step, or None.
      usual: those of "gamma" and "beta" whose absence is worth an advisory.
    """
    shapes = {key: array.shape for key, array in values.items()}
    wide = {key: array.astype(np.float64).ravel() for key, array in values.items()}
    causes = [
        *_missing(layer, usual),
        *_lengths(layer, shapes),
        *_not_finite(layer, wide),
        *_variances(layer, wide),
        *_updates(layer, values, wide, others_moved, step),
        *_dead(layer, wide),
        *_half(layer, wide, stored),
        *_shadows(layer, wide, averages),
    ]
    causes.sort(key=lambda cause: (cause["severity"] != FINDING, ORDER.index(cause["id"])))
    findings = any(cause["severity"] == FINDING for cause in causes)
    verdict = "finding" if findings else "undecidable" if layer.unclear else "ok"
    texts = [*layer.unclear.values(), *(cause["explanation"] for cause in causes)]
    if verdict == "ok":
        count = wide["mean"].size
        channels = f"{count} channel{'s' if count > 1 else ''}"
        texts.insert(0, f"Nothing is wrong with the {channels} as far as values can show.")
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
    }


def _title(layer, key):
    """How a part is called in a sentence."""
    return f"The {_TITLES[key]} (`{layer.parts[key]}`)" if key in _TITLES else f"`{key}`"


def _which(flags):
    """The channels at which ``flags`` are true, for a sentence."""
    found = np.flatnonzero(flags)
    shown = ", ".join(map(str, found[:5])) + (f" and {found.size - 5} more" if found.size > 5 else "")
    return f"{found.size} of {flags.size} channel{'s' if flags.size > 1 else ''} ({shown})"


def _missing(layer, usual):
    absent = [role for role in ("mean", "variance") if role not in layer.parts and role not in layer.unclear]
    if len(absent) == 2 and layer.parts:
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
                f"The {_TITLES[there]} `{layer.parts[there]}` has no {_TITLES[absent[0]]} beside it; a model that is "
                "restored from this would keep the start value there.",
            )
    if {"mean", "variance"} <= layer.parts.keys() and "affine" not in layer.parts:
        for role, option in (("gamma", "scale=False"), ("beta", "center=False")):
            if role in usual and role not in layer.parts and role not in layer.unclear:
                yield cause_entry(
                    "missing-variable",
                    f"There is no {role}, which is right if the layer was built with {option}"
                    + (", and other layers have one." if role == "gamma" else "."),
                    ADVISORY,
                )


def _lengths(layer, shapes):
    parts = [role for role in layer.parts if not _per_class(role, shapes)]
    if _several_axes({shapes[role] for role in parts}):
        return
    for role in parts:
        if length(shapes[role]) is None:
            yield cause_entry(
                "wrong-axis",
                f"{_title(layer, role)} has the shape {list(shapes[role])}, and a batch norm over one axis of channels "
                "has vectors.",
            )
            return
    sizes = {role: length(shapes[role]) for role in parts}
    if 0 in sizes.values():
        empty = next(role for role, size in sizes.items() if size == 0)
        yield cause_entry("wrong-axis", f"{_title(layer, empty)} has no values at all.")
    elif len(set(sizes.values())) > 1:
        each = ", ".join(f"{layer.parts[role]} {size}" for role, size in sizes.items())
        yield cause_entry("wrong-axis", f"The vectors of the layer are not of one length: {each}.")


def _several_axes(shapes):
    """Whether these are variables of tf.layers with a list of axes: of one shape, 1 wherever it was reduced."""
    (shape, *others) = shapes or {()}
    return not others and 1 in shape and length(shape) is None


def _per_class(role, shapes):
    """Whether gamma or beta is a table of vectors, one for each class, as conditional batch norms have it."""
    statistics = [length(shapes[key]) for key in ("mean", "variance") if key in shapes]
    return role in ("gamma", "beta") and len(shapes[role]) == 2 and shapes[role][1] in statistics


def _not_finite(layer, wide):
    texts = []
    for key, array in wide.items():
        bad = ~np.isfinite(array)
        if bad.any():
            kinds = [word for word, flags in (("NaN", np.isnan(array)), ("Inf", np.isinf(array))) if flags.any()]
            texts.append(f"{_title(layer, key)} is {' and '.join(kinds)} in {_which(bad)}.")
    if texts:
        yield cause_entry("not-finite", " ".join(texts))


def _variances(layer, wide):
    texts = []
    for key, array in wide.items():
        if key != "variance" and not key.endswith("stddev"):
            continue
        negative = array < 0
        if negative.any():
            texts.append(f"{_title(layer, key)} is negative in {_which(negative)}; the least is {array.min():.6g}.")
        elif key == "variance" and array.size > 1 and (array == 0).all():
            texts.append(
                f"{_title(layer, key)} is 0 in all {array.size} channels: an initializer of zeros, or batches of one "
                "value per channel."
            )
    if texts:
        yield cause_entry("bad-variance", " ".join(texts))


def _trained(layer, wide):
    """Sentences on gamma and beta that are not what an initializer leaves."""
    found = []
    for role, starts in (("gamma", (0, 1)), ("beta", (0,)), ("affine", (0, 1))):
        array = wide.get(role)
        if array is None or not array.size:
            continue
        finite = array[np.isfinite(array)]
        if finite.size < array.size:
            found.append(f"{_TITLES[role]} is not finite")
        elif np.ptp(array) > 0:
            found.append(f"{_TITLES[role]} varies by {np.ptp(array):.4g} over the channels")
        elif array.size == 1 and array[0] not in starts:
            found.append(f"{_TITLES[role]} is {array[0]:.4g}")
    return found


def _updates(layer, values, wide, others_moved, step):
    if not {"mean", "variance"} <= wide.keys():
        return
    mean, variance = wide["mean"], wide["variance"]
    when = "" if step is None else f" at global step {step}"
    untouched = at_start(values)
    if untouched:
        start = f"the moving mean is exactly {mean[0]:.6g} and the moving variance exactly {variance[0]:.6g}"
        text = f"In all {mean.size} channels {start}{when}" if mean.size > 1 else start.capitalize() + when
        if (trained := _trained(layer, wide)) and others_moved:
            yield cause_entry(
                "not-restored",
                f"{text}, though {' and '.join(trained)}, and the statistics of other layers moved: these were at "
                "their start values when this was saved, as after a restore by Saver(trainable_variables()).",
            )
            return
        trained = f", though {' and '.join(trained)}" if trained else ""
        why = "nothing was trained yet" if step == 0 and not trained else "the update operations never ran"
        yield cause_entry("not-updated", f"{text}{trained}: {why} since the initialization.")
        return
    if mean.size != variance.size or untouched is None or not mean.size:
        return
    still = (mean == 0) & (variance == 1)
    if still.any():
        yield cause_entry(
            "not-updated",
            f"In {_which(still)} the moving mean is exactly 0 and the moving variance exactly 1, and the others moved.",
        )
    elif (variance == 1).all():
        yield cause_entry(
            "not-updated", f"The moving variance is exactly 1 in all {mean.size} channels{when}, and the mean moved."
        )
    elif (mean == 0).all() and not _never_fed(mean, variance).all() and not (variance == 0).all():
        yield cause_entry(
            "not-updated", f"The moving mean is exactly 0 in all {mean.size} channels{when}, and the variance moved."
        )


def _never_fed(mean, variance):
    """Channels that saw only zeros: the mean stayed 0, and of the variance some of the start value 1 is left."""
    still = mean == 0
    fed_nothing = still & (variance > 0) & (variance < 1)
    if still.all() and not fed_nothing.all():
        return np.zeros_like(still)
    # What is left of the start value is the same in all such channels.
    return fed_nothing if np.unique(variance[fed_nothing]).size <= 1 else np.zeros_like(fed_nothing)


def _dead(layer, wide):
    variance, mean = wide.get("variance"), wide.get("mean")
    # bad-variance says it better where every channel is 0.
    if variance is None or (variance.size > 1 and not variance.any()):
        return
    texts = []
    dead = (variance >= 0) & (variance <= DEAD_VARIANCE)
    if dead.any():
        worst = variance[dead].max()
        what = "0" if worst == 0 else f"at most {worst:.3g}"
        texts.append(
            f"The moving variance is {what} in {_which(dead)}: the inputs there never vary, and any that do are "
            "multiplied by 1/sqrt(epsilon)."
        )
    if mean is not None and mean.size == variance.size:
        silent = _never_fed(mean, variance) & ~dead
        if silent.any():
            texts.append(
                f"In {_which(silent)} the moving mean is exactly 0 and the moving variance {variance[silent][0]:.6g}, "
                "what is left of its start value 1: only zeros were ever fed there."
            )
    if texts:
        yield cause_entry("dead-channel", " ".join(texts))


def _half(layer, wide, stored):
    held = sorted({stored[role] for role in ("mean", "variance") if stored.get(role) in ("float16", "bfloat16")})
    if held:
        yield cause_entry(
            "half-precision",
            f"The statistics are stored as {' and '.join(held)}: an update smaller than half a unit in the last place "
            "is lost, and at decay .999 most are.",
        )
        return
    for roles in (("mean", "variance"), ("mean",), ("variance",)):
        numbers = np.concatenate([wide[role] for role in roles if role in wide] or [np.zeros(0)])
        numbers = np.unique(numbers[np.isfinite(numbers) & (numbers != 0) & (numbers != 1)])
        if numbers.size >= LEAST_HALVES and _on_the_grid(numbers):
            names = " and ".join(_TITLES[role] for role in roles)
            yield cause_entry(
                "half-precision",
                f"The {numbers.size} values of the {names} that moved are all float16 numbers, though stored as "
                f"{stored[next(role for role in roles if role in stored)]}; by chance that happens once in "
                f"2**{13 * numbers.size}, so they were kept in float16, which loses small updates.",
            )
            return


def _on_the_grid(numbers):
    """Whether float16 holds all the numbers, and enough of them look as if it had rounded them."""
    with np.errstate(over="ignore", under="ignore"):
        if not (numbers.astype(np.float16).astype(np.float64) == numbers).all():
            return False
    scaled = np.ldexp(np.frexp(numbers)[0], ROUND_BITS)
    return 2 * np.count_nonzero(scaled != np.rint(scaled)) >= numbers.size


def _shadows(layer, wide, averages):
    """A finding where a restore of either would find less than it should; twins as training leaves them are none.

    Twins are what ExponentialMovingAverage is for, and which of the two an evaluation takes is its own choice.
    """
    if not layer.shadows:
        return
    averaged = [role for role in _TITLES if role in layer.shadows]
    alone = [role for role in averaged if role not in layer.parts]
    text = f"There are exponential moving averages of its {', '.join(_TITLES[role] for role in averaged)} "
    text += f"(`{layer.shadows[averaged[0]]}`); "
    wrong = [said for role in averaged if role in wide for said in _wrong_average(layer, role, wide, averages[role])]
    if alone:
        text += f"the {', '.join(_TITLES[role] for role in alone)} itself is absent, so a plain restore finds no value."
    elif wrong:
        text += f"{' and '.join(wrong)}, so a restore of the averages gives what training did not."
    else:
        text += "a plain restore takes the variables themselves, and one for evaluation may want the averages."
    yield cause_entry("shadow-average", text, FINDING if alone or wrong else ADVISORY)


def _wrong_average(layer, role, wide, array):
    """What shows that an array is no average of the variable of that role, in words."""
    average, own = array.astype(np.float64).ravel(), wide[role]
    title = f"that of its {_TITLES[role]}"
    start = {"variance": 1, "gamma": 1}.get(role, 0)
    if average.size != own.size:
        yield f"{title} has {average.size} values and not {own.size}"
    elif (bad := ~np.isfinite(average) & np.isfinite(own)).any():
        yield f"{title} is not finite in {_which(bad)}"
    elif role == "variance" and (bad := (average < 0) & (own >= 0)).any():
        yield f"{title} is negative in {_which(bad)}"
    elif own.size and (average == start).all() and (own != start).any():
        yield f"{title} is still exactly {start}, as it began"
