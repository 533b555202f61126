"""What steps without training show: statistics that move in them, and gamma or beta that are trained in them."""

import math

from ..._util.text import counted, ranges
from ...evidence.outputs.fit import BATCH, MOVING
from ...verdicts import ADVISORY, FINDING, OK
from ..causes import cause
from .wording import words_of


def moved_without_training(survey):
    """Causes in statistics that moved in steps without training."""
    steps, leak_fit = survey.anomalies.moved_in_tests, survey.anomalies.leak
    words = words_of(survey)
    if not steps:
        return []
    moved = f"The statistics changed in {len(steps)} of {counted(survey.progress.tested, 'inference step')}"
    if len(steps) < survey.progress.tested:
        moved += f" ({ranges(steps, range(steps[-1] + 1))})"
    if moved_unseen(survey):
        return []
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
        f"{moved}, as they do when {words.flag_on_where} and normalises by the batch.",
        leak_fit.misfit,
    )
    moving, batch = (survey.outputs.sources[False, source] for source in (MOVING, BATCH))
    if moving.seen and moving.consistent and not batch.consistent:
        return [leak]
    if batch.seen and batch.consistent and not moving.consistent:
        return [flag]
    return [leak, flag]


def withheld_updates(survey):
    """The cause of training steps that were to leave the statistics as they are: a finding if all were; or None."""
    progress = survey.progress
    steps = progress.withheld
    if not steps:
        return None
    total = progress.trained + len(steps)
    where = f"{len(steps)} of {counted(total, 'step')} in training mode ({ranges(steps, range(steps[-1] + 1))})"
    if len(steps) == total:
        where = "the step in training mode" if total == 1 else f"all {total} steps in training mode"
    text = f"In {where} the layer normalised by its batch and was not to update its statistics"
    text += f"{words_of(survey).withheld}. "
    if progress.trained:
        text += (
            "That is right where these passes only compute a further loss, as adversarial and consistency losses take "
            "them; if it is they that train the layer on its data, the statistics miss these."
        )
        return cause("not-updated", text, severity=ADVISORY, variant="withheld")
    return cause("not-updated", text + "No other step updates them.", severity=FINDING)


def moved_unseen(survey):
    """Whether steps in inference alone moved the statistics, by decays that the trace does not know."""
    known = survey.progress.trained == 0 or survey.declared.decay_known
    return bool(survey.anomalies.moved_in_tests) and survey.progress.unmoved and not known


def moved_elsewhere(survey):
    """What such steps leave open, a sentence."""
    steps = survey.anomalies.moved_in_tests
    of_all = f"{len(steps)} of {counted(survey.progress.tested, 'inference step')}"
    return (
        f"No training step changed the statistics, and {of_all} did ({ranges(steps, range(steps[-1] + 1))}): either "
        "the updates run in calls of their own, with the layer in inference mode, and all is well if these are fed "
        "training data; or evaluation moves the statistics and training does not. The trace does not say what the "
        "decay is, so it was not checked how far they moved."
    )


def trained_without_updates(survey):
    """The cause where gamma or beta change in steps that run the layer in inference; None if they do not."""
    progress, words = survey.progress, words_of(survey)
    if progress.trained or not progress.affine_moved:
        return None
    if progress.in_both_modes_unmoved == progress.tested:
        text = (
            "Each step runs the layer in training and in inference on the same batch, and gamma or beta changed from "
            f"step to step ({progress.affine_moved} of {counted(progress.tested - 1, 'time')}), but the statistics "
            f"never did. {words.no_updates}"
        )
        return cause("not-updated", text)
    text = (
        f"Gamma or beta changed from step to step ({progress.affine_moved} of {counted(progress.tested - 1, 'time')}) "
        "although every step runs the layer in inference, and the statistics did not"
    )
    trained, copied = f"the layer is trained while {words.flag_off_while}", "copied or averaged from another model"
    if progress.initial:
        text += (
            f". They are still mean 0 and variance 1. Either {trained}, or gamma and beta are {copied} in which the "
            "statistics are others."
        )
        return cause("training-flag-off", text, severity=FINDING)
    text += (
        f": {trained}, or gamma and beta are {copied}. As the statistics are not those of a new layer, that is either "
        "right, where they are frozen on purpose in fine-tuning, or a flag that was never set, or a copy that leaves "
        "the statistics out."
    )
    return cause("training-flag-off", text, severity=ADVISORY)
