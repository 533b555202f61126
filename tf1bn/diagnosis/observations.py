"""Causes that show outside the training updates: in inference, in outputs, in the values. Used by ``diagnosis``.

Every function adds what it finds about a `survey.Survey` to the list ``found``.
"""

import math

import numpy as np

from .. import verdicts
from .._util.text import listed, ranges
from ..evidence.output_fit import BATCH, FLOOR, MOVING
from ..verdicts import FINDING, OK
from .causes import cause

DOMINATED = 0.5  # the share of the start value from which statistics count as not warm yet
WARM = 0.01


def inference(survey, found):
    """What the steps without training show about the statistics."""
    if not survey.moved_in_tests:
        return
    steps = survey.moved_in_tests
    moved = f"The statistics moved in {len(steps)} of {survey.tested} steps that were no training"
    if len(steps) < survey.tested:
        moved += f" ({ranges(steps, range(steps[-1] + 1))})"
    if survey.leak.verdict == FINDING:
        found.append(cause("unexplained", f"{moved}, and not as an update with their batches would move them."))
        return
    if survey.leak.verdict != OK and math.isinf(survey.leak.misfit):
        text = f"{moved}, and the bounds are too wide to tell whether by the update that belongs to the batch."
        found.append(cause("unexplained", text))
        return
    moving, batch = (survey.outputs.sources[False, source] for source in (MOVING, BATCH))
    leak = cause(
        "validation-leak",
        f"{moved}, each time by the update that belongs to its batch: evaluation data went into them.",
        survey.leak.misfit,
    )
    flag = cause(
        "batch-stats-at-inference",
        f"{moved}, as they do when the layer runs with is_training=True and normalises by the batch.",
        survey.leak.misfit,
    )
    if moving.seen and moving.consistent and not batch.consistent:
        found.append(leak)
    elif batch.seen and batch.consistent and not moving.consistent:
        found.append(flag)
    else:
        found.extend([leak, flag])


def outputs(survey, found, notes):
    """What the outputs show."""
    epsilon = survey.layer.epsilon
    already = {one.id for one in found}
    for training in (False, True):
        due, other = (BATCH, MOVING) if training else (MOVING, BATCH)
        right, wrong = survey.outputs.sources[training, due], survey.outputs.sources[training, other]
        if not right.seen or (epsilon is not None and right.allows(epsilon)):
            continue
        swapped = survey.outputs.swapped[training]
        where = "training" if training else "inference"
        if epsilon is not None and swapped.allows(epsilon):
            text = f"In {where} the outputs are scaled by beta and shifted by gamma: the two are exchanged."
            found.append(cause("gamma-beta-swapped", text, swapped.misfit))
        elif wrong.consistent and (epsilon is None or wrong.allows(epsilon) or not right.consistent):
            if training and not already & {"training-flag-off", "trainable-false"}:
                text = "In training the outputs are normalised by the moving statistics and not by the batch's."
                found.append(cause("training-flag-off", text, wrong.misfit))
            elif not training:
                text = (
                    "In inference the outputs are normalised by the batch's own statistics: is_training was left True."
                )
                found.append(cause("batch-stats-at-inference", text, wrong.misfit))
        elif right.consistent:
            if epsilon is None:
                notes.append(f"Epsilon is between {max(0, right.low):.4g} and {right.high:.4g}.")
                continue
            seen = f"between {right.low:.6g} and {right.high:.6g}"
            if epsilon < FLOOR and right.allows(FLOOR):
                text = (
                    f"The outputs show an epsilon {seen}: the fused kernel takes no less than {FLOOR}, and {epsilon:g} "
                )
                found.append(cause("epsilon-floor", text + "is declared.", right.misfit))
            else:
                text = f"The outputs in {where} show an epsilon {seen}, in every channel, and {epsilon:g} is declared."
                found.append(cause("epsilon", text, right.misfit))
        elif not already & {"training-flag-off", "unexplained"} and not (training and "padding-counted" in already):
            text = (
                f"The outputs in {where} are not the input normalised by the batch's or by the moving statistics "
                f"({right.misfit:.3g} and {wrong.misfit:.3g} bounds off)."
            )
            found.append(cause("unexplained", text))


def look(survey, others_moved, found):
    """What is seen in the values themselves."""
    if survey.not_finite is not None:
        number, when, where, channels, source = survey.not_finite
        text = f"The {where} is NaN or infinite {when} step {number}, in channel {listed(channels, 6)}{source}."
        found.append(cause("not-finite", text))
    elif survey.untouched is not None:
        number, channels = survey.untouched
        text = (
            f"In step {number} the input holds NaN or infinity in channel {listed(channels, 6)} and the statistics do "
            "not, before or after: they were not updated with this input."
        )
        found.append(cause("not-finite", text))
    if survey.bad_variance is not None:
        number, channel = survey.bad_variance
        found.append(cause("bad-variance", f"The moving variance is negative in step {number}, in channel {channel}."))
    if survey.dead is not None and survey.dead.any():
        text = f"The moving variance is 0 throughout in channel {listed(np.flatnonzero(survey.dead), 6)}: nothing that "
        text += "varies reaches it."
        found.append(cause("dead-channel", text))
    if not survey.trained and survey.initial and survey.changed:
        text = "The statistics are still (0, 1) while beta or gamma are trained"
        if others_moved:
            found.append(cause("not-restored", f"{text}, and other layers have theirs: they were not restored."))
        else:
            found.append(cause("not-updated", f"{text}: they were never updated."))


def advise(survey, found):
    """What is worth knowing about an update that is right, as far as it goes."""
    if any(one.severity == verdicts.FINDING for one in found) or not survey.declared.judged:
        return
    worst = survey.best
    if worst.verdict != OK:
        return
    if survey.applications > 1:
        text = (
            f"It was applied {survey.applications} times in a step and updated its statistics each time, one after "
            "the other; TensorFlow gives such updates no order, and can lose one."
        )
        found.append(cause("double-update", text, worst.misfit, verdicts.FINDING))
    if survey.decay_0:
        found.append(
            cause(
                "no-memory",
                "The decay is 0: the statistics are those of the last batch.",
                worst.misfit,
                verdicts.ADVISORY,
            )
        )
    if worst.replayed:
        text = "The error is what an honest layer's sums lose to rounding on these batches; nothing is wrong."
        found.append(cause("rounding", text, worst.misfit))
    if survey.fresh and survey.kept > DOMINATED:
        text = f"The start values (0, 1) still make {survey.kept:.0%} of the statistics after {survey.updates} updates"
        decays = sorted(survey.decays)
        if len(decays) == 1 and 0 < decays[0] < 1:
            text += f"; it takes {math.ceil(math.log(WARM) / math.log(decays[0])):,} until that is 1 %"
        found.append(cause("cold-start", text + "."))
