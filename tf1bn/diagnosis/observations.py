"""Causes that are seen without trying any hypothesis: in the batches, in inference, in the outputs, in the values.

Each function takes a `survey.Survey` and returns what it sees as a list of `Cause` or one `Cause` or None.
"""

import math

import numpy as np

from .._util.text import counted, listed, ranges
from ..evidence.output_fit import BATCH, FUSED_FLOOR, MOVING
from ..verdicts import ADVISORY, FINDING, OK
from .causes import Explanation, cause

DOMINATED = 0.5  # the share of the start value from which statistics count as not warm yet
WARM = 0.01


def batches(survey):
    """Causes in the sizes of the training batches."""
    seen, causes = survey.anomalies, []
    if seen.empty:
        text = f"In {counted(seen.empty, 'step')} the batch was empty, which makes both statistics NaN."
        causes.append(cause("empty-batch", text))
    if seen.single:
        text = f"In {counted(seen.single, 'step')} there was one value per channel, whose variance is 0"
        if seen.single_nan:
            text += "; the moving variance became NaN, as on a GPU, where N/(N-1) is infinite at N = 1."
            causes.append(cause("single-value", text, severity=FINDING))
        else:
            causes.append(cause("single-value", text + ": the moving variance only shrinks."))
    return causes


def frozen(survey):
    """The cause of a layer whose decay is 1 in all training steps; None if its statistics move all the same."""
    unmoved = survey.progress.unmoved
    if not (unmoved or survey.declared_fit.verdict == OK):
        return None
    text = "The decay is 1 in training, so the statistics keep their start values for ever; use a smaller one."
    return cause("frozen", text, 0.0 if unmoved else survey.declared_fit.misfit)


def unmoved(survey, others_moved):
    """Why the statistics have the same bits before and after every training step."""
    progress, layer = survey.progress, survey.layer
    steps = f"all {progress.trained} training steps" if progress.trained > 1 else "the training step"
    stood = f"The statistics have the same bits before and after {steps}"
    if not layer.trainable:
        text = f"{stood}: the layer is declared not trainable, and TF 2 then freezes the statistics."
        return cause("trainable-false", text, 0.0)
    moving, batch = survey.outputs.sources[True, MOVING], survey.outputs.sources[True, BATCH]
    if moving.seen and moving.consistent and not batch.consistent:
        text = f"{stood}, and the outputs are normalised by the moving statistics: the layer ran with training=False."
        return cause("training-flag-off", text, moving.misfit)
    if layer.dtype == "float16" and any(worst.verdict == OK for worst in survey.accepted.values()):
        text = f"{stood}: they are float16, and the updates are too small to change a float16 number."
        return cause("half-precision", text, survey.best.misfit)
    if progress.initial and progress.affine_trained and others_moved:
        return cause("not-restored", f"{stood} and are still (0, 1), while beta or gamma are trained.", 0.0)
    never = ", and have never been updated: they are still (0, 1)" if progress.initial else ""
    return cause("not-updated", f"{stood}{never}. The update operations (UPDATE_OPS) did not run.", 0.0)


def inference(survey):
    """Causes in statistics that moved in steps without training."""
    steps, leak_fit = survey.anomalies.moved_in_tests, survey.anomalies.leak
    if not steps:
        return []
    moved = f"The statistics changed in {len(steps)} of {counted(survey.progress.tested, 'inference step')}"
    if len(steps) < survey.progress.tested:
        moved += f" ({ranges(steps, range(steps[-1] + 1))})"
    if leak_fit.verdict == FINDING:
        return [cause("unexplained", f"{moved}, and not as an update with the batch of the step would change them.")]
    if leak_fit.verdict != OK and math.isinf(leak_fit.misfit):
        text = f"{moved}, and the bounds are too wide to tell whether by an update with the batch of the step."
        return [cause("unexplained", text)]
    leak = cause(
        "validation-leak",
        f"{moved}, each time by an update with the batch of the step: evaluation data went into them.",
        leak_fit.misfit,
    )
    flag = cause(
        "batch-stats-at-inference",
        f"{moved}, as they do when the layer runs with is_training=True and normalises by the batch.",
        leak_fit.misfit,
    )
    moving, batch = (survey.outputs.sources[False, source] for source in (MOVING, BATCH))
    if moving.seen and moving.consistent and not batch.consistent:
        return [leak]
    if batch.seen and batch.consistent and not moving.consistent:
        return [flag]
    return [leak, flag]


def outputs(survey, already):
    """The `Explanation` of the outputs.

    Args:
      survey: the layer's `Survey`.
      already: the ids of the causes that have been found.
    """
    causes, notes = [], []
    for training in (False, True):
        right = survey.outputs.sources[training, BATCH if training else MOVING]
        epsilon = survey.layer.epsilon
        if not right.seen or (epsilon is not None and right.allows(epsilon)):
            continue
        if epsilon is None and right.consistent and not _other_source(survey, training):
            notes.append(f"Epsilon is between {max(0, right.low):.4g} and {right.high:.4g}.")
            continue
        each = _outputs(survey, training, already)
        if each is not None:
            causes.append(each)
    return Explanation(tuple(causes), notes=tuple(notes))


def _other_source(survey, training):
    """The `SourceFit` of the statistics that the layer should not use, if they explain the outputs better; or None."""
    keys = (BATCH, MOVING) if training else (MOVING, BATCH)
    right, wrong = (survey.outputs.sources[training, source] for source in keys)
    epsilon = survey.layer.epsilon
    better = wrong.consistent and (epsilon is None or wrong.allows(epsilon) or not right.consistent)
    return wrong if better else None


def _outputs(survey, training, already):
    """The `Cause` of outputs that are not as declared, or None; see `outputs`."""
    keys = (BATCH, MOVING) if training else (MOVING, BATCH)
    right, wrong = (survey.outputs.sources[training, source] for source in keys)
    epsilon, swapped = survey.layer.epsilon, survey.outputs.swapped[training]
    where = "training" if training else "inference"
    if epsilon is not None and swapped.allows(epsilon):
        text = f"In {where} the outputs are scaled by beta and shifted by gamma: the two are exchanged."
        return cause("gamma-beta-swapped", text, swapped.misfit)
    if _other_source(survey, training):
        if not training:
            text = "In inference the outputs are normalised by the batch's own statistics: is_training was left True."
            return cause("batch-stats-at-inference", text, wrong.misfit)
        if already & {"training-flag-off", "trainable-false"}:
            return None
        text = "In training the outputs are normalised by the moving statistics and not by the batch's."
        return cause("training-flag-off", text, wrong.misfit)
    if right.consistent:
        seen = f"between {right.low:.6g} and {right.high:.6g}"
        if epsilon < FUSED_FLOOR and right.allows(FUSED_FLOOR):
            text = (
                f"The outputs show an epsilon {seen}: the fused kernel takes no less than {FUSED_FLOOR}, and "
                f"{epsilon:g} is declared."
            )
            return cause("epsilon-floor", text, right.misfit)
        text = f"The outputs in {where} show an epsilon {seen}, in every channel, and {epsilon:g} is declared."
        return cause("epsilon", text, right.misfit)
    if already & {"training-flag-off", "unexplained"} or (training and "padding-counted" in already):
        return None
    text = (
        f"The outputs in {where} are neither the input normalised by the batch's statistics nor by the moving ones "
        f"(errors {right.misfit:.3g} and {wrong.misfit:.3g} times the bound)."
    )
    return cause("unexplained", text)


def values(survey, others_moved):
    """Causes that are seen in the values themselves."""
    seen, progress, causes = survey.anomalies, survey.progress, []
    if (first := seen.not_finite) is not None:
        source = "; the input holds NaN or infinity there" if first.from_input else ""
        text = f"The {first.statistic} is NaN or infinite {first.when} step {first.step}, in channel "
        causes.append(cause("not-finite", f"{text}{listed(first.channels, 6)}{source}."))
    elif seen.not_updated_with_input is not None:
        number, channels = seen.not_updated_with_input
        text = (
            f"In step {number} the input holds NaN or infinity in channel {listed(channels, 6)} and the statistics do "
            "not, before or after: they were not updated with this input."
        )
        causes.append(cause("not-finite", text))
    if seen.bad_variance is not None:
        number, channel = seen.bad_variance
        causes.append(cause("bad-variance", f"The moving variance is negative in step {number}, in channel {channel}."))
    if seen.dead is not None and seen.dead.any():
        channels = listed(np.flatnonzero(seen.dead), 6)
        text = f"The moving variance is 0 in every step in channel {channels}: no input that varies has reached it."
        causes.append(cause("dead-channel", text))
    if not progress.trained and progress.initial and progress.affine_trained:
        text = "The statistics are still (0, 1) while beta or gamma are trained"
        if others_moved:
            text += ", and other layers have moved statistics: they were not restored."
            causes.append(cause("not-restored", text))
        else:
            causes.append(cause("not-updated", f"{text}: they were never updated."))
    return causes


def advise(survey):
    """What is worth knowing about training steps that are as declared."""
    worst, declared, causes = survey.best, survey.declared, []
    if worst.verdict != OK or not survey.declared_fit.steps:
        return []
    if declared.applications > 1:
        text = (
            f"The layer was applied {declared.applications} times in a step and updated its statistics each time, one "
            "after the other; TensorFlow gives such updates no order, and can lose one."
        )
        causes.append(cause("double-update", text, worst.misfit))
    if declared.always_zero:
        text = "The decay is 0: the statistics are those of the last batch."
        causes.append(cause("no-memory", text, worst.misfit, ADVISORY))
    if worst.replayed:
        text = "The error is no larger than what the rounding of sums over these batches causes; nothing is wrong."
        causes.append(cause("rounding", text, worst.misfit))
    if survey.progress.fresh and declared.start_weight > DOMINATED:
        text = (
            f"The start values (0, 1) still make up {declared.start_weight:.0%} of the statistics after "
            f"{counted(survey.progress.updates, 'update')}"
        )
        if declared.decay is not None and 0 < declared.decay < 1:
            text += f"; after {math.ceil(math.log(WARM) / math.log(declared.decay)):,} updates it is 1 %"
        causes.append(cause("cold-start", text + "."))
    return causes
