"""What the outputs show: which statistics and which epsilon they were computed with, and in which form."""

import math

import numpy as np

from ..._util.text import between
from ...evidence.outputs.fit import BATCH, FUSED_FLOOR, MOVING
from ...evidence.outputs.forms import AFTER, CORRECTED, DEVIATION, ORDER, OUTSIDE, RECIPROCAL, UNROOTED
from ..causes import Explanation, cause
from .wording import words_of


def outputs(survey, already):
    """The `Explanation` of the outputs.

    Args:
      survey: the layer's `Survey`.
      already: the ids of the causes that have been found.
    """
    causes, notes, undecided = [], [], []
    if survey.outputs.rounded is not None:
        rounded = survey.outputs.rounded
        notes.append(f"The outputs were rounded to {rounded}, so they were compared by its roundoff.")
    for training in (False, True):
        right = survey.outputs.sources[training, BATCH if training else MOVING]
        epsilon = survey.layer.epsilon
        if not right.seen or (epsilon is not None and right.allows(epsilon)):
            continue
        if epsilon is None and right.consistent and not _other_source(survey, training):
            notes.append(f"Epsilon is {between(max(0, right.low), right.high)}.")
            continue
        each = _outputs(survey, training, already)
        if each is not None and each.id == "unexplained" and training and survey.reduction == "pooled":
            undecided.append(
                "The outputs in training were not checked: they may be normalised by all batches of the step together, "
                "which the trace would have to declare."
            )
        elif each is not None:
            causes.append(each)
    return Explanation(tuple(causes), undecided=tuple(undecided), notes=tuple(notes))


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
    if training and "cancellation" in already:
        return None  # the variance that they were normalised by is off as well
    if right.consistent:
        seen = between(right.low, right.high, beside=epsilon)
        if epsilon < FUSED_FLOOR and right.allows(FUSED_FLOOR):
            text = (
                f"The outputs show an epsilon {seen}: the fused kernel takes no less than {FUSED_FLOOR}, and "
                f"{epsilon:g} is declared."
            )
            return cause("epsilon-floor", text, right.misfit)
        text = f"The outputs in {where} show an epsilon {seen}, in every channel, and {epsilon:g} is declared"
        if right.allows(2 * epsilon):
            text += ", half of it: it is added twice"
        elif survey.outputs.forms[training][OUTSIDE].allows(epsilon):
            text += "; or the declared one is added outside of the root, which channels of other variances would tell"
        return cause("epsilon", text + ".", right.misfit)
    if training in survey.outputs.not_finite:
        return _not_finite(survey.outputs.not_finite[training], epsilon, where)
    if (form := _other_form(survey, training, where)) is not None:
        return form
    if already & {"training-flag-off", "unexplained"} or (training and "padding-counted" in already):
        return None
    if right.misfit <= 1:
        whose = "batch's" if training else "moving"
        text = (
            f"The outputs in {where} are the input less the {whose} mean, but not divided by the root of the {whose} "
            f"variance plus one epsilon: it would have to be {right.low:.3g} or more in one channel and "
            f"{right.high:.3g} or less in another"
        )
        return cause("unexplained", text + ".")
    text = (
        f"The outputs in {where} are neither the input normalised by the batch's statistics nor by the moving ones "
        f"(errors {right.misfit:.3g} and {wrong.misfit:.3g} times the bound)."
    )
    return cause("unexplained", text)


def _not_finite(seen, epsilon, where):
    """The `Cause` of outputs that are NaN or infinite where the inputs and statistics are finite.

    Args:
      seen: the `evidence.outputs.fit.NotFiniteOutputs`.
      epsilon: the declared one, or None.
    """
    text = (
        f"The outputs in {where} are NaN or infinite in step {seen.step}, channel {seen.channel}, where the inputs and "
        "statistics are finite"
    )
    if epsilon is not None:
        total = max(seen.variance, 0) + epsilon
        text += f": they are divided by the root of variance + epsilon = {total:.3g}"
        largest = float(np.finfo(seen.dtype).max) if seen.dtype in ("float16", "float32", "float64") else math.inf
        if total <= 0 or 1 / math.sqrt(total) > largest:
            text += f", and 1 over that root is beyond the largest {seen.dtype} number; a larger epsilon mends it"
    return cause("not-finite", text + ".")


_FORM_SENTENCES = {
    OUTSIDE: (
        "epsilon-outside-root",
        "are (x - mean) / (sqrt(variance) + epsilon): epsilon is added outside of the root",
    ),
    AFTER: (
        "epsilon-outside-root",
        "are (x - mean) / sqrt(variance) + epsilon: epsilon is added after the division",
    ),
    DEVIATION: (
        "std-in-output",
        "are (x - mean) / sqrt(s + epsilon) with the standard deviation s in the place of the variance",
    ),
    CORRECTED: (
        "std-in-output",
        "are (x - mean) / sqrt(variance N/(N-1) + epsilon), with Bessel's correction in the variance of the batch",
    ),
    UNROOTED: ("std-in-output", "are (x - mean) / (variance + epsilon): the root is not taken"),
    RECIPROCAL: (
        "std-in-output",
        "are (x - mean) times sqrt(variance + epsilon), where they should be divided by it",
    ),
    ORDER: ("gamma-beta-swapped", "are gamma (normalised + beta): beta is added before gamma multiplies, not after it"),
}


def _other_form(survey, training, where):
    """The `Cause` of outputs that another formula explains; None if none does."""
    epsilon, forms = survey.layer.epsilon, survey.outputs.forms[training]
    fitting = [form for form, fit in forms.items() if epsilon is not None and fit.allows(epsilon)]
    note = ""
    if not fitting:
        fitting = [form for form, fit in forms.items() if fit.consistent and fit.high > 0]
        if fitting:
            note = f", with an epsilon {between(max(0, forms[fitting[0]].low), forms[fitting[0]].high)}"
    if not fitting:
        return None
    form = fitting[0]
    name, text = _FORM_SENTENCES[form]
    others = [_FORM_SENTENCES[other][1].partition(": ")[0] for other in fitting[1:]]
    if others:
        note += f"; or they {' or '.join(others)}, which channels of other variances would tell"
    variant = {RECIPROCAL: "reciprocal", UNROOTED: "unrooted", CORRECTED: "corrected"}.get(form) if not others else None
    return cause(name, f"The outputs in {where} {text}{note}.", forms[form].misfit, variant=variant)
