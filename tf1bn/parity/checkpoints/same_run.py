"""Whether two checkpoints are two steps of one training: every value moved a little, in all layers together.

Between two trainings the channels of a layer have nothing to do with each other, so that the values of a channel are
no nearer to those of the same channel than to those of another one. Between two steps of one training they are. What is
compared is the mean square of new[i] - old[i] with that of new[i] - old[j] over all pairs of channels,
var(old) + var(new) + (mean(new) - mean(old))**2. Unrelated normal values give 1 in the mean, with a deviation
of about 1 / sqrt(channels); `NEAR` of `LEAST_CHANNELS` channels is four and a half deviations away.
"""

from __future__ import annotations

import numpy as np

from ..._util.text import counted
from ...verdicts import cause_entry
from ..layer_values import TITLES
from ..order import nearness

NEAR = 0.2
LEAST_CHANNELS = 32
ROUNDING = 1e-6  # deviations: less than a step moves a mean by, and more than a float32 computation anew does
NEAR_LAYERS = 0.75  # of those whose values differ


def with_other_step(layers, values, steps):
    """The results, with one cause in the place of "unexplained" where the checkpoints are near each other as a whole.

    Args:
      layers: the results of the matched layers, as the JSON has them.
      values: the `LayerValues` of OLD and of NEW for each.
      steps: the global steps of OLD and of NEW, None where it is not stored.
    """
    moved = [i for i, layer in enumerate(layers) if any(cause["id"] == "unexplained" for cause in layer["causes"])]
    near = [i for i in moved if _is_near(*values[i])]
    if all(_rounded(*values[i]) for i in near):
        return layers
    channels = sum(layers[i]["differences"][0]["channels"] for i in near if layers[i]["differences"])
    if steps[0] is not None and steps[0] == steps[1]:
        return layers
    if not near or len(near) < NEAR_LAYERS * len(moved) or channels < LEAST_CHANNELS:
        return layers
    results, text = list(layers), _text(len(near), steps)
    for i in near:
        causes = [cause for cause in layers[i]["causes"] if cause["id"] != "unexplained"]
        cause = cause_entry("other-step", f"{_how_far(*values[i])} {text}")
        results[i] = {**layers[i], "causes": [*causes, cause]}
        texts = [one["explanation"] for one in results[i]["causes"]]
        results[i]["explanation"] = " ".join([*texts, *layers[i]["undecided"]])
    return results


def _is_near(old, new):
    """Whether every variable that varies over the channels is near the other one, the statistics among them."""
    shares = {role: nearness(old.flat(role), new.flat(role)) for role in _common(old, new)}
    known = {role: share for role, share in shares.items() if not np.isnan(share)}
    return {"mean", "variance"} <= known.keys() and all(share <= NEAR for share in known.values())


def _common(old, new):
    return [
        role
        for role in TITLES
        if role in old.variables and role in new.variables and old.flat(role).size == new.flat(role).size > 1
    ]


def _rounded(old, new):
    """Whether the statistics differ by what rounding makes, in all channels."""
    return bool(all(np.nanmax(distance, initial=0.0) <= ROUNDING for distance in _distances(old, new)))


def _distances(old, new):
    """How far the mean of each channel moved, in deviations, and the variance, as the logarithm of a factor."""
    with np.errstate(all="ignore"):
        moved = np.abs(new.flat("mean") - old.flat("mean")) / np.sqrt(np.abs(old.flat("variance")))
        return moved, np.abs(np.log(np.abs(new.flat("variance") / old.flat("variance"))))


def _how_far(old, new):
    """How far the statistics moved, in deviations and as a factor."""
    moved, logarithm = _distances(old, new)
    factor = np.exp(logarithm)
    return (
        f"The moving mean moved by {np.nanmedian(moved):.2g} standard deviations and the moving variance by a factor "
        f"of {np.nanmedian(factor):.3g} in the median channel."
    )


def _text(count, steps):
    where = f"So it is in {counted(count, 'layer')}, each channel near its own value in OLD: "
    if None not in steps:
        return (
            f"{where}with global step {steps[0]} in OLD and {steps[1]} in NEW, NEW is another step of the same "
            "training or of one that was continued from it, and no conversion of OLD. Compare the checkpoint of the "
            "same step."
        )
    return (
        f"{where}either NEW is another step of the same training, or was trained further from OLD, or holds averages "
        "of its steps, or its numbers were rounded in some way. What would tell is the global step, which is not "
        "stored in both."
    )
