"""What the values of one layer say, as causes: each is named where values are what no data leaves behind.

The functions take a `grouping.Layer` and ``wide``, its flat float64 vectors by role or by the name of further state.
"""

import numpy as np

from .._util.text import counted, listed
from ..verdicts import cause_entry
from .dead_channels import never_fed

# float32 has 13 more bits than float16, so a value is a float16 number by chance once in 2**13; four of four once in
# 2**52, about 2e-16. Some statistics are round by nature (means of small integers), so half of the values must
# need more than 8 of float16's 11 bits: 7 in 8 do that if float16 rounded them, and no integer below 256 does.
LEAST_HALVES = 4
ROUND_BITS = 8
TITLES = {
    "mean": "moving mean",
    "variance": "moving variance",
    "gamma": "gamma",
    "beta": "beta",
    "affine": "gamma or beta",
}


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


def title(layer, key):
    """How a sentence begins that is about one variable of a layer."""
    return f"The {TITLES[key]} (`{layer.parts[key]}`)" if key in TITLES else f"`{key}`"


def channels_where(flags):
    """The channels at which ``flags``, a boolean vector, are true, as text: "2 of 8 channels (0, 5)"."""
    channels = np.flatnonzero(flags)
    return f"{channels.size} of {counted(flags.size, 'channel')} ({listed(channels, 5)})"


def not_finite(layer, wide):
    """NaN and infinity in any variable."""
    texts = []
    for key, array in wide.items():
        bad = ~np.isfinite(array)
        if bad.any():
            kinds = [word for word, flags in (("NaN", np.isnan(array)), ("Inf", np.isinf(array))) if flags.any()]
            texts.append(f"{title(layer, key)} is {' and '.join(kinds)} in {channels_where(bad)}.")
    if texts:
        yield cause_entry("not-finite", " ".join(texts))


def variances(layer, wide):
    """Variances and deviations that are negative, and a variance that is 0 in all channels."""
    texts = []
    for key, array in wide.items():
        if key != "variance" and not key.endswith("stddev"):
            continue
        negative = array < 0
        if negative.any():
            texts.append(
                f"{title(layer, key)} is negative in {channels_where(negative)}; the least is {array.min():.6g}."
            )
        elif key == "variance" and array.size > 1 and (array == 0).all():
            texts.append(
                f"{title(layer, key)} is 0 in all {array.size} channels: an initializer of zeros, or batches of one "
                "value per channel."
            )
    if texts:
        yield cause_entry("bad-variance", " ".join(texts))


def _trained(layer, wide):
    """Sentences on gamma and beta that are not what an initializer leaves."""
    sentences = []
    for role, starts in (("gamma", (0, 1)), ("beta", (0,)), ("affine", (0, 1))):
        array = wide.get(role)
        if array is None or not array.size:
            continue
        finite = array[np.isfinite(array)]
        if finite.size < array.size:
            sentences.append(f"{TITLES[role]} is not finite")
        elif np.ptp(array) > 0:
            sentences.append(f"{TITLES[role]} varies by {np.ptp(array):.4g} over the channels")
        elif array.size == 1 and array[0] not in starts:
            sentences.append(f"{TITLES[role]} is {array[0]:.4g}")
    return sentences


def _counted_batches(batches):
    """What PyTorch's count of training batches says, to be added to a sentence."""
    if batches is None:
        return ""
    if batches == 0:
        return "; num_batches_tracked is 0, so the layer never ran in training mode since it was made"
    return (
        f"; num_batches_tracked is {batches}, so the layer did run in training mode, and the statistics were reset or "
        "replaced since, were not restored with this count (load_state_dict with strict=False, where names differ), or "
        "its momentum is 0"
    )


def _why_untouched(trained, others_moved, step, batches):
    """What can have left both statistics at their start values; every explanation that the evidence allows."""
    if batches:
        return _counted_batches(batches).removeprefix("; ")
    if step == 0 and not trained:
        return "nothing was trained yet since the initialization"
    never = "the update operations never ran since the initialization"
    mode = "the layer was trained with training=False, which is the default of tf.layers"
    if batches == 0:
        never, mode = _counted_batches(batches).removeprefix("; "), ""
    reasons = [never, mode] if mode else [never]
    if trained:
        reasons.append("gamma and beta were loaded without the statistics")
    elif step or others_moved:
        reasons.append("the layer took no part in the training, or was not restored")
    else:
        reasons.append("nothing was trained yet")
    return f"{', '.join(reasons[:-1])}, or {reasons[-1]}"


def updates(layer, values, wide, others_moved, step, batches):
    """Statistics, or single channels of them, that are still at their start values.

    Args:
      layer: a `grouping.Layer`.
      values: its arrays by role, and its further state by name.
      wide: the same as flat float64 vectors.
      others_moved: whether the statistics of another layer were ever updated.
      step: the checkpoint's global step, or None.
      batches: the number of training batches that PyTorch counted in this layer, or None.
    """
    if not {"mean", "variance"} <= wide.keys():
        return
    mean, variance = wide["mean"], wide["variance"]
    when = "" if step is None else f" at global step {step}"
    untouched = at_start(values)
    if untouched:
        start = f"the moving mean is exactly {mean[0]:.6g} and the moving variance exactly {variance[0]:.6g}"
        text = f"In all {mean.size} channels {start}{when}" if mean.size > 1 else start.capitalize() + when
        trained = _trained(layer, wide)
        if trained and others_moved:
            yield cause_entry(
                "not-restored",
                f"{text}, though {' and '.join(trained)}, and the statistics of other layers moved: either these were "
                "at their start values when this was saved because they were not restored, as after "
                "Saver(trainable_variables()), or no update of this layer ever ran; what tells the two apart are the "
                f"statistics in the checkpoint that was restored, if any was{_counted_batches(batches)}.",
            )
            yield cause_entry("not-updated", "The other way to read them: no update of these statistics ever ran.")
            return
        though = f", though {' and '.join(trained)}" if trained else ""
        yield cause_entry(
            "not-updated", f"{text}{though}: {_why_untouched(bool(trained), others_moved, step, batches)}."
        )
        return
    if mean.size != variance.size or untouched is None or not mean.size:
        return
    still = (mean == 0) & (variance == 1)
    if still.any():
        yield cause_entry(
            "not-updated",
            f"In {channels_where(still)} the moving mean is exactly 0 and the moving variance exactly 1, and the "
            "others moved.",
        )
    elif (variance == 1).all():
        yield cause_entry(
            "not-updated", f"The moving variance is exactly 1 in all {mean.size} channels{when}, and the mean moved."
        )
    elif (mean == 0).all() and not never_fed(mean, variance).all() and not (variance == 0).all():
        yield cause_entry(
            "not-updated", f"The moving mean is exactly 0 in all {mean.size} channels{when}, and the variance moved."
        )


def half_precision(layer, wide, stored):
    """Statistics that are stored as float16 or bfloat16, or whose values show that they once were float16."""
    halves = sorted({stored[role] for role in ("mean", "variance") if stored.get(role) in ("float16", "bfloat16")})
    if halves:
        yield cause_entry(
            "half-precision",
            f"The statistics are stored as {' and '.join(halves)}: an update smaller than half a unit in the last "
            "place is lost, and at decay .999 most are.",
        )
        return
    for roles in (("mean", "variance"), ("mean",), ("variance",)):
        numbers = np.concatenate([wide[role] for role in roles if role in wide] or [np.zeros(0)])
        numbers = np.unique(numbers[np.isfinite(numbers) & (numbers != 0) & (numbers != 1)])
        if numbers.size >= LEAST_HALVES and _on_float16_grid(numbers):
            names = " and ".join(TITLES[role] for role in roles)
            yield cause_entry(
                "half-precision",
                f"The {numbers.size} values of the {names} that moved are all float16 numbers, though stored as "
                f"{stored[next(role for role in roles if role in stored)]}; by chance that happens once in "
                f"2**{13 * numbers.size}, so they were kept in float16, which loses small updates.",
            )
            return


def _on_float16_grid(numbers):
    """Whether all numbers are float16 numbers, and enough of them need so many bits that float16 rounded them."""
    with np.errstate(over="ignore", under="ignore"):
        if not (numbers.astype(np.float16).astype(np.float64) == numbers).all():
            return False
    scaled = np.ldexp(np.frexp(numbers)[0], ROUND_BITS)
    return 2 * np.count_nonzero(scaled != np.rint(scaled)) >= numbers.size
