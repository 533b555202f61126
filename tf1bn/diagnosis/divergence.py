"""Where a run diverges first, which causes follow from others, and which part of an error a layer inherited, in words.

Every step is compared from the statistics that were observed before it, and every layer by the inputs that it got. So
a step or a layer that only carries on an earlier error is ok, and the first one that is not is where to look.
"""

import dataclasses
import math

from .._util.text import quoted
from ..evidence.gaps import AGAIN
from ..verdicts import FINDING, OK

# Findings that are seen in the values from the first training step on, and those that are seen in the outputs.
_STANDING = {"frozen", "trainable-false", "training-flag-off", "half-precision", "not-restored", "not-updated"}
_OUTPUTS = {
    "epsilon",
    "epsilon-floor",
    "epsilon-outside-root",
    "std-in-output",
    "gamma-beta-swapped",
    "batch-stats-at-inference",
    "training-flag-off",
}


def first_step(survey, causes):
    """The number of the first step in which something was wrong with a layer; None if nothing ever left its bound.

    Args:
      survey: the layer's `survey.Survey`.
      causes: its `Cause`s.
    """
    ids = {cause.id for cause in causes if cause.severity == FINDING}
    if not ids:
        return None
    first, seen, best = survey.progress.first, survey.anomalies, survey.best
    steps = []
    if best.verdict == FINDING and best.findings:
        steps.append(best.findings[0])
    elif ids & _STANDING:
        steps.append(first.get("trained", first["seen"]))
    if ids & {"validation-leak", "batch-stats-at-inference", "unexplained"} and "moved" in first:
        steps.append(first["moved"])
    if ids & (_OUTPUTS | {"unexplained"}):
        steps += survey.outputs.first_wrong.values()
    if "empty-batch" in ids:
        steps.append(seen.first_empty)
    if "single-value" in ids:
        steps.append(seen.first_single)
    if "dead-channel" in ids:
        steps.append(first["seen"])
    if "not-finite" in ids:
        steps += [seen.not_finite.step] if seen.not_finite else []
        steps += [seen.not_updated_with_input[0]] if seen.not_updated_with_input and not seen.not_finite else []
        steps += [outputs.step for outputs in survey.outputs.not_finite.values()]
    if "changed-between-steps" in ids:
        steps.append(min(gap.step for gap in survey.gaps.found if gap.kind == AGAIN))
    if "bad-variance" in ids:
        steps.append(seen.bad_variance.step if seen.bad_variance else first["seen"])
    return min(steps, default=None)


def mark_first(results):
    """The list of `Diagnosis` with the one marked that diverges first; of one step's, the first in the list."""
    wrong = [i for i, result in enumerate(results) if result.verdict == FINDING and result.first_step is not None]
    if not wrong:
        return results
    first = min(wrong, key=lambda i: results[i].first_step)
    return [dataclasses.replace(result, first=i == first) for i, result in enumerate(results)]


def account(survey, causes):
    """List of sentences on the errors of a layer with a finding, and on what of them was inherited."""
    ids = {cause.id for cause in causes if cause.severity == FINDING}
    return [*_statistics(survey), *_outputs(survey.best_fit.output_errors, ids)]


def accumulated(survey):
    """The `AccumulatedError` of the mean and that of the variance, each in the channel that is named as its worst."""
    named = [None if error is None or not error.is_wrong else error.channel for error in survey.best.errors]
    return survey.best_fit.statistic_errors.accumulated(named)


def _statistics(survey):
    parts = []
    for name, error, worst in zip(("mean", "variance"), accumulated(survey), survey.best.errors, strict=True):
        if error is None or abs(error.error) <= error.bound:
            continue
        start = f"; the moving {name} is" if parts else f"After step {error.step} the moving {name} is"
        # As many decimals in the parts as in their sum, so that they add up.
        decimals = max(0, 2 - math.floor(math.log10(abs(error.error)))) if 1e-4 < abs(error.error) < 1e6 else None
        added, inherited = (_part(part, decimals) for part in (error.added, error.inherited))
        parts.append(
            f"{start} {abs(error.error):.3g} too {'high' if error.error > 0 else 'low'} in channel {error.channel} "
            f"({_allowed(error.bound)}): {added} by that step, {inherited} by those before it"
        )
        source = error.largest_step if error.largest and error.largest > abs(error.error) / 2 else None
        if source not in (None, error.step):
            parts.append(f", most of it from step {source}")
        # Tables and plots show the update that is farthest off, and not the last one.
        if worst is not None and worst.is_wrong and worst.step != error.step:
            farthest = f"by {worst.error:.3g}"
            if worst.channel != error.channel:
                farthest += f" in channel {worst.channel}"
            if worst.step == source:
                parts.append(f", whose update alone is off {farthest}")
            else:
                parts.append(f" (the update of step {worst.step} is farthest off, {farthest})")
    return ["".join(parts) + "."] if parts else []


def _part(value, decimals):
    """A part of an error with its sign, with so many decimals or three digits if None; "0" where they are all 0."""
    text = f"{value:+.3g}" if decimals is None else f"{value:+.{decimals}f}"
    return text if float(text) else "0"


def _outputs(errors, ids):
    inherited, added = errors.inherited, errors.added
    # Outputs that are normalised by the batch have nothing from the moving statistics.
    if inherited is not None and inherited.is_wrong and "batch-stats-at-inference" not in ids:
        yield (
            f"The statistics make the outputs in inference wrong by {inherited.error:.3g} (root mean square in step "
            f"{inherited.step}, channel {inherited.channel}; {_allowed(inherited.worst_case)})."
        )
    if added is not None and added.is_wrong:
        yield (
            f"Given its statistics and inputs, the layer's outputs are wrong by {added.error:.3g} (root mean square in "
            f"step {added.step}, channel {added.channel}; {_allowed(added.worst_case)})."
        )


def between_bounds(survey):
    """A sentence on outputs that are off by more than is expected and less than is possible; None if they are not."""
    error = survey.best_fit.output_errors.added
    if error is None or error.error <= error.expected_error or error.is_wrong:
        return None
    return (
        f"The outputs are off by {error.error:.3g} (root mean square in step {error.step}, channel {error.channel}), "
        f"more than rounding is expected to cause ({error.expected_error:.2g}) and less than it can "
        f"({error.worst_case:.2g}), so they say nothing about epsilon; outputs in inference, or smaller batches, would."
    )


def _allowed(bound):
    if not bound:
        return "no rounding"
    return f"worst case of rounding {bound:.2g}" if math.isfinite(bound) else "no bound"


def note(results):
    """A sentence on the `Diagnosis` that diverges first and on the layers after it.

    None if none diverges, or one alone does and hands nothing on: its statistics are wrong, and its outputs are not.
    """
    first = next((result for result in results if result.first), None)
    if first is None:
        return None
    alone = sum(result.verdict == FINDING for result in results) == 1
    errors = (first.inherited_error, first.inherited_bound), (first.added_error, first.added_bound)
    handed_on = any(error is not None and error > bound for error, bound in errors)
    if alone and not handed_on:
        return None
    text = (
        f"`{first.name}` diverges first, in step {first.first_step}. Each layer is checked with the inputs and "
        "statistics that it got"
    )
    right = [result.name for result in results[results.index(first) + 1 :] if result.verdict == OK]
    if not (right and handed_on):
        return text + "."
    names = f"{quoted(right)} {'is' if len(right) == 1 else 'are'}"
    return f"{text}: {names} right for the inputs received, which may carry what `{first.name}` did wrong."


# What each of these causes can make of the values of a layer.
_CONSEQUENCES = {"bad-variance": ("double-update", "cancellation"), "not-finite": ("bad-variance", "empty-batch")}


def mark_consequences(causes, survey):
    """The tuple of causes with those marked that follow from another finding, which has to be as early.

    Args:
      causes: the layer's `Cause`s, best first.
      survey: its `survey.Survey`.
    """
    findings = {cause.id for cause in causes if cause.severity == FINDING}
    seen = survey.anomalies
    started = {
        "bad-variance": seen.bad_variance and seen.bad_variance.step,
        "not-finite": first_not_finite(survey),
        "empty-batch": seen.first_empty,
    }
    first_wrong = survey.best.findings[0] if survey.best.findings else None
    result = []
    for cause in causes:
        roots = [root for root in _CONSEQUENCES.get(cause.id, ()) if root in findings]
        start = started.get(cause.id)
        # What the updates did explains nothing that was there before them.
        of_updates = None if survey.starts_wrong else first_wrong
        earlier = started.get(roots[0], of_updates) if roots else None
        if earlier is not None and start is not None and earlier <= start:
            text = f"{cause.explanation} That follows from `{roots[0]}`."
            cause = dataclasses.replace(cause, explanation=text, follows_from=roots[0])
        result.append(cause)
    return tuple(_roots_first(result))


def mark_spread(results):
    """The list of `Diagnosis` with NaN and infinities marked that came into a layer through its inputs.

    Args:
      results: those of all layers, in the order in which these are applied.
    """
    spread, marked = None, []
    for result in results:
        survey = result.survey
        causes = {cause.id: cause for cause in result.causes}
        cause, start = causes.get("not-finite"), None if survey is None else first_not_finite(survey)
        if cause is None or start is None:
            marked.append(result)
            continue
        seen = survey.anomalies.not_finite
        if spread is not None and spread[1] <= start and seen is not None and seen.from_input:
            text = f"{cause.explanation} That follows from `not-finite` of the layer {spread[0]}, which is before it."
            result = _told_anew(
                result, cause, explanation=text, follows_from="not-finite", follows_from_layer=spread[0]
            )
        elif spread is None or start < spread[1]:
            spread = result.name, start
        marked.append(result)
    return marked


# What takes outputs in inference so far off that later layers get other data.
_FAR_OFF = {
    "statistics-do-not-fit",
    "cold-start",
    "not-restored",
    "not-updated",
    "batch-stats-at-inference",
    "gamma-beta-swapped",
    "std-in-output",
}


def mark_unfit(results):
    """The list of `Diagnosis` with statistics marked that may not fit the data because of a layer before this one.

    A layer that is far off in inference gives all later ones other inputs. What lies between them is not in a trace, so
    that it is possible and no more.

    Args:
      results: those of all layers, in the order in which these are applied.
    """
    root, marked = None, []
    for result in results:
        unfit = next((cause for cause in result.causes if cause.id == "statistics-do-not-fit"), None)
        far_off = next((cause.id for cause in result.causes if cause.id in _FAR_OFF), None)
        if unfit is not None and root is not None:
            name, why = root
            text = f"{unfit.explanation} Or that follows from `{why}` of the layer {name}, which is before it."
            result = _told_anew(result, unfit, explanation=text, may_follow_from_layer=name)
        elif root is None and far_off is not None:
            root = result.name, far_off
        marked.append(result)
    return marked


def _told_anew(result, cause, *, explanation, **changes):
    """The `Diagnosis` with another explanation, and other attributes, of one of its causes."""
    changed = dataclasses.replace(cause, explanation=explanation, **changes)
    return dataclasses.replace(
        result,
        causes=tuple(_roots_first([changed if each is cause else each for each in result.causes])),
        explanation=result.explanation.replace(cause.explanation, explanation, 1),
    )


def first_not_finite(survey):
    """The first step in which statistics or outputs are NaN or infinite; None if none are."""
    steps = [outputs.step for outputs in survey.outputs.not_finite.values()]
    if survey.anomalies.not_finite is not None:
        steps.append(survey.anomalies.not_finite.step)
    return min(steps, default=None)


def _roots_first(causes):
    return sorted(causes, key=lambda cause: (cause.severity != FINDING, cause.follows_from is not None))
