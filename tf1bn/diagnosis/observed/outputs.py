"""What the outputs show: which statistics and which epsilon they were computed with, and in which form."""

from ...evidence.output_fit import BATCH, FUSED_FLOOR, MOVING
from ..causes import Explanation, cause
from ..wording import words_of


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
            text = f"In inference the outputs are normalised by the batch's own statistics: {words_of(survey).flag_on}."
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
