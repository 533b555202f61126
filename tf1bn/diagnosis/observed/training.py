"""What training steps show: sizes of batches, statistics that stand still, and advice where nothing is wrong."""

import math

from ..._util.text import apart, counted, in_percent, ranges
from ...checker.roundoff import HALVES, UNIT_ROUNDOFF, sum_dtype
from ...evidence.outputs.fit import BATCH, MOVING
from ...verdicts import ADVISORY, FINDING, OK
from ..causes import cause, rate_sentence
from .wording import all_training_steps, words_of

DOMINATED = 0.5  # the share of the start value from which statistics count as not warm yet
WARM = 0.01
NOTICED = 0.05  # deviations of the mean, and share of the variance, that 16 bits may lose without a word
NEAR_PLACES = 2  # units in the last place that roundings of a few updates take, and not those of many
LOSES = 0.01  # the share of the batch's variance from which a difference of squares is worth a word


def _can_lose(survey):
    """The share of the batch's variance that the rounding of E[x^2] - E[x]^2 can take; docs/design/error-bounds.md."""
    count, unit = max(survey.declared.counts, default=0), UNIT_ROUNDOFF[sum_dtype(survey.layer.dtype)]
    return 8 * unit * math.sqrt(count / 3 + 5) * (1 + survey.estimates.mean_over_deviation**2)


def batches(survey):
    """Causes in the sizes of the training batches."""
    seen, causes = survey.anomalies, []
    if seen.empty:
        text = f"{_steps_of(seen.empty, survey)} the batch was empty, and both statistics became NaN."
        causes.append(cause("empty-batch", text))
    if seen.single:
        text = f"{_steps_of(seen.single, survey)} there was one value per channel (N = 1), so the batch's variance is 0"
        variant = "all" if seen.single == survey.progress.trained > 1 else None
        if seen.single_nan:
            text += (
                "; the moving variance became NaN: 0 times N/(N-1), which is infinite, as the fused layer on a GPU has."
            )
            causes.append(cause("single-value", text, severity=FINDING, variant=variant))
        else:
            text += ": the outputs are beta whatever the inputs, and the moving variance only shrinks."
            causes.append(cause("single-value", text, variant=variant))
    return causes


def _steps_of(count, survey):
    """ "In 2 of 9 training steps", the start of a sentence."""
    trained = survey.progress.trained
    return f"In {all_training_steps(trained)}" if count == trained else f"In {count} of {trained} training steps"


def frozen(survey):
    """The cause of a layer whose decay is 1 in all training steps; None if its statistics move all the same."""
    unmoved = survey.progress.unmoved
    if not (unmoved or survey.declared_fit.verdict == OK):
        return None
    words = words_of(survey).keeps_all
    text = f"{words[0].upper()}{words[1:]} in training, so the statistics keep their start values for ever."
    return cause("frozen", text, 0.0 if unmoved else survey.declared_fit.misfit)


def unmoved(survey):
    """Why the statistics have the same bits before and after every training step."""
    progress, layer, words = survey.progress, survey.layer, words_of(survey)
    stood = f"The statistics have the same bits before and after {all_training_steps(progress.trained)}"
    if not layer.trainable:
        return cause("trainable-false", f"{stood}: the layer is declared not trainable, and is frozen.", 0.0)
    moving, batch = survey.outputs.sources[True, MOVING], survey.outputs.sources[True, BATCH]
    if moving.seen and moving.consistent and not batch.consistent:
        text = f"{stood}, and the outputs are normalised by the moving statistics: {words.flag_off}."
        return cause("training-flag-off", text, moving.misfit)
    if layer.dtype in HALVES and any(worst.verdict == OK for worst in survey.accepted.values()):
        text = f"{stood}: they are {layer.dtype}, and the updates are too small to change a {layer.dtype} number."
        return cause("half-precision", text, survey.best.misfit)
    if not progress.initial:
        return cause("not-updated", f"{stood}. {words.no_updates}", 0.0)
    text = f"{stood}, and are still mean 0 and variance 1. {words.no_updates}"
    if progress.affine_trained_before:
        text += (
            " Beta or gamma were trained before the first recorded step, so either no update ran before it, too, or "
            f"the statistics were not restored with them; {words.what_was_restored}."
        )
    return cause("not-updated", text, 0.0)


def moved_though_frozen(survey):
    """The cause of a layer that is declared not trainable and whose statistics move in training; None for any other."""
    progress, layer = survey.progress, survey.layer
    if layer.trainable or not progress.trained or progress.unmoved or survey.declared.always_one:
        return None
    words = words_of(survey)
    text = f"The layer is declared not trainable, and training steps move its statistics. {words.frozen_moves}"
    return cause("frozen-but-moves", text, severity=FINDING if words.freezes else ADVISORY)


def _lost_in_halves(survey):
    """The cause of statistics of 16 bits that rounding, step after step, took far from exact updates; or None."""
    dtype, far = survey.layer.dtype, survey.best_fit.statistic_errors.largest_distance()
    if dtype not in HALVES or far is None or far[0] <= NOTICED:
        return None
    _, statistic, channel, observed, expected = far
    # Where the deviation is small beside the mean, the next number of the dtype is that far off already.
    if abs(observed - expected) <= NEAR_PLACES * 2 * UNIT_ROUNDOFF[dtype] * abs(expected):
        return None
    seen, exact = apart(observed, expected, digits=4)
    text = (
        f"The statistics are kept in {dtype}, and each update rounds to it, so that what is below half a unit in the "
        f"last place is lost: after {counted(survey.progress.updates, 'update')} the {statistic} of channel {channel} "
        f"is {seen}, and exact updates would have made it {exact}."
    )
    return cause("half-precision", text, survey.best.misfit)


def untrained_steps(survey):
    """The cause of statistics that move in training steps which leave gamma and beta as they are; else None.

    Two steps of either kind at least: one alone can be the last of a training, or one whose gradient was 0.
    """
    progress = survey.progress
    alone = progress.without_affine
    if len(alone) < 2 or progress.with_affine < 2:
        return None
    count = len(alone) + progress.with_affine
    which = f"{len(alone)} of {count} {{}}steps ({ranges(alone, range(alone[-1] + 1))})"
    if progress.in_both_modes == progress.trained:
        return cause(
            "validation-leak",
            "Each step runs the layer twice on the same batch, in training and in inference, and updates the "
            f"statistics: also {which.format('')}, which left gamma and beta as they were and so trained nothing. "
            "That is what a tf.cond does that chooses between two calls made outside of it: it needs both, "
            "whichever way it goes, so evaluation data go into the statistics.",
            variant="both-modes",
        )
    text = (
        f"In {which.format('training ')} the statistics moved and "
        "gamma and beta did not, which the other steps train. These steps may train another part of the model and run "
        "this layer's updates as well, as a discriminator's steps do with a generator's layers; or the optimizer skips "
        "them or runs once for several passes, as with accumulated gradients, each of which updates the statistics; or "
        "gamma and beta are frozen in these steps, and the statistics are not; or these steps evaluate, with the layer "
        "in training mode. Whether the optimizer ran in them, and what it trained, tells."
    )
    return cause("untrained-steps", text)


def _restarted(steps):
    """What an average of all batches that began anew did to the statistics that were there before."""
    word = "step" if len(steps) == 1 else "steps"
    return (
        f"Before {word} {ranges(steps, range(steps[-1] + 1))} `num_batches_tracked` is 0, and the statistics are not "
        "those of a new layer: `momentum=None` averages the batches that it counts, so that the old statistics were "
        "dropped for the next batch's, as where they are restored without their count."
    )


def _several(declared, words):
    """That a layer is applied several times in a step, and what becomes of its updates."""
    if declared.recomputed:
        return (
            "A backward pass computed the layer once more (activation checkpointing), which updated its statistics "
            "a second time with the same batch; keep batch norm out of what is recomputed, or switch its updates off "
            "there."
        )
    text = (
        f"The layer was applied {declared.applications} times in a step and updated its statistics each time, one "
        "after the other"
    )
    if words.in_order:
        return f"{text}, in the order of the calls: a step forgets as {declared.applications} steps of one call do."
    return f"{text}; where none waits for another, {words.no_order}, and one can be lost."


def _cold_start(survey):
    declared, progress = survey.declared, survey.progress
    # What else wrote the statistics, a reset among others, left another share of their start.
    if not progress.fresh or declared.start_weight <= DOMINATED or survey.gaps.found:
        return None
    text = (
        f"The start values (0, 1) still make up {declared.start_weight:.0%} of the statistics after "
        f"{counted(progress.updates, 'update')}"
    )
    if declared.decay is not None and 0 < declared.decay < 1:
        text += f"; after {math.ceil(math.log(WARM) / math.log(declared.decay)):,} updates it is 1 %"
    return cause("cold-start", text + ".")


def advise(survey, already):
    """What is worth knowing about training steps that are each as declared; ``already``: the ids of other causes."""
    worst, declared, causes = survey.best, survey.declared, []
    if worst.verdict != OK or not survey.declared_fit.steps:
        return []
    if (lost := _lost_in_halves(survey)) is not None:
        causes.append(lost)
    if declared.applications > 1 and survey.reduction is None and "one-tower-only" not in already:
        causes.append(cause("double-update", _several(declared, words_of(survey)), worst.misfit))
    if declared.every_batch_twice and not declared.always_zero:
        text = (
            "Every batch is that of two training steps in a row and updated the statistics in both, as with the square "
            f"of the decay: {words_of(survey).same_batch}."
        )
        causes.append(cause("double-update", text, worst.misfit))
    words = words_of(survey)
    restarted = list(survey.counted.restarted)
    if restarted:
        causes.append(cause("no-memory", _restarted(restarted), worst.misfit, ADVISORY, "count"))
    if declared.always_zero:
        text = f"{words.keeps_nothing[0].upper()}{words.keeps_nothing[1:]}: the statistics are those of the last batch."
        causes.append(cause("no-memory", text, worst.misfit, ADVISORY))
    for steps, always, name, clause, effect in (
        (declared.ones, declared.always_one, "frozen", words.keeps_all, "they leave the statistics as they are"),
        (declared.zeros, declared.always_zero, "no-memory", words.keeps_nothing, "each keeps its own batch alone"),
    ):
        # The first batch of an average of all has a decay of 0.
        if steps and not always and not {*steps} <= {survey.progress.first["trained"], *survey.counted.began}:
            text = f"In {len(steps)} of {counted(survey.progress.trained, 'training step')} "
            text += f"({ranges(steps, range(steps[-1] + 1))}) {clause}, so that {effect}."
            causes.append(cause(name, text, worst.misfit, ADVISORY))
    if survey.rate_rounding.shown() is not None:
        causes.append(cause("float32-decay", rate_sentence(survey.layer.rate_dtype), worst.misfit))
    if worst.replayed:
        text = "The error is no larger than what the rounding of sums over these batches causes; nothing is wrong."
        causes.append(cause("rounding", text, worst.misfit))
    if survey.layer.variance_from == "squares" and (lost := _can_lose(survey)) > LOSES:
        text = (
            "The layer takes the batch's variance as E[x^2] - E[x]^2, and the mean is up to "
            f"{survey.estimates.mean_over_deviation:.3g} times the standard deviation: rounding can take "
            f"{in_percent(lost)} of the variance, and an error below that does not show."
        )
        causes.append(cause("cancellation", text, worst.misfit, ADVISORY))
    # Both statistics are free from their start where the variance is zero-debiased too.
    if "zero-debias" not in already and (cold := _cold_start(survey)) is not None:
        causes.append(cold)
    return causes
