"""Where a run diverges first, and what of each layer's error it inherited, in words. Used by ``diagnosis``.

Every step is judged from the statistics that were observed before it, and every layer by the inputs that it got. So a
step or a layer that only carries on with what another one did wrong is right, and the first one that is not is where
to look.
"""

import dataclasses
import math

from .. import verdicts
from .._util.text import listed
from ..verdicts import FINDING, OK

# Findings that are seen in the values, and in what they were seen first.
_STANDING = {"frozen", "trainable-false", "training-flag-off", "half-precision", "not-restored", "not-updated"}
_OUTPUTS = {"epsilon", "epsilon-floor", "gamma-beta-swapped", "batch-stats-at-inference", "training-flag-off"}


def first_step(survey, found):
    """The number of the first step in which something was wrong with a layer; None if nothing ever left its bound.

    Args:
      survey: the layer's `survey.Survey`; found: its list of `causes.Cause`.
    """
    ids = {one.id for one in found if one.severity == verdicts.FINDING}
    events, steps = survey.events, []
    if not ids:
        return None
    if survey.best.verdict == FINDING and survey.best.wrong:
        steps.append(survey.best.wrong[0])
    elif ids & _STANDING:
        steps.append(events.get("trained", events["seen"]))
    if ids & {"validation-leak", "batch-stats-at-inference", "unexplained"} and "moved" in events:
        steps.append(events["moved"])
    if ids & (_OUTPUTS | {"unexplained"}):
        steps += survey.outputs.wrong.values()
    if "empty-batch" in ids:
        steps.append(events["empty"])
    if "single-value" in ids:
        steps.append(events["single"])
    if "dead-channel" in ids:
        steps.append(events["seen"])
    if "not-finite" in ids:
        steps.append((survey.not_finite or survey.untouched)[0])
    if "bad-variance" in ids:
        steps.append(survey.bad_variance[0])
    return min(steps, default=None)


def mark_first(results):
    """The list of `Diagnosis` with the one marked that diverges first; of one step's, the first in the list."""
    wrong = [i for i, one in enumerate(results) if one.verdict == FINDING and one.first_step is not None]
    if not wrong:
        return results
    first = min(wrong, key=lambda i: results[i].first_step)
    return [dataclasses.replace(one, first=i == first) for i, one in enumerate(results)]


def account(survey):
    """What a layer's errors come to and what of them was inherited, in sentences; for a layer with a finding."""
    sentences = []
    chain, errors = survey.chains[survey.convention], survey.output_errors[survey.convention]
    parts = []
    for name, one in zip(("mean", "variance"), chain.accumulated(), strict=True):
        if one is None or abs(one.error) <= one.bound:
            continue
        if not parts:
            parts.append(f"After step {one.step} the moving {name} is ")
        else:
            parts.append(f"; the moving {name} ")
        parts.append(
            f"{abs(one.error):.3g} too {'high' if one.error > 0 else 'low'} in channel {one.channel} "
            f"({_allowed(one.bound)}): {one.added:+.3g} added by that step, {one.inherited:+.3g} inherited"
        )
        if one.largest_step not in (None, one.step) and one.largest > abs(one.error) / 2:
            parts.append(f", most of it from step {one.largest_step}")
    if parts:
        sentences.append("".join(parts) + ".")
    inherited, added = errors.inherited, errors.added
    if inherited is not None and inherited.error > inherited.bound:
        sentences.append(
            f"Outputs inherit {inherited.error:.3g} from the statistics (root mean square in step {inherited.step}, "
            f"channel {inherited.channel}; {_allowed(inherited.bound)})."
        )
    if added is not None and added.error > added.bound:
        sentences.append(
            f"The layer's own arithmetic adds {added.error:.3g} to its outputs (root mean square in step {added.step}, "
            f"channel {added.channel}; {_allowed(added.bound)})."
        )
    return sentences


def _allowed(bound):
    return f"{bound:.2g} allowed" if bound and math.isfinite(bound) else "none allowed" if not bound else "no bound"


def jumps(survey):
    """What is to be said about statistics that changed between two steps; None if they did not."""
    found = survey.chains[survey.convention].jumps
    if not found:
        return None
    steps = "step" if len(found) == 1 else "steps"
    return f"The statistics changed outside of the recorded steps before {steps} {listed(found, 6)}."


def note(results):
    """A sentence on how the layers stand to the one that diverges first; None if none does."""
    first = next((one for one in results if one.first), None)
    if first is None:
        return None
    text = (
        f"{first.name} diverges first, in step {first.first_step}. Each layer is judged by the inputs and the "
        "statistics that it was given"
    )
    right = [one.name for one in results[results.index(first) + 1 :] if one.verdict == OK]
    if not right:
        return text + "."
    names = ", ".join(right[:3]) + (f" and {len(right) - 3} more" if len(right) > 3 else "")
    verb = "is" if len(right) == 1 else "are"
    return f"{text}: {names} {verb} right for the inputs received, which may carry what an earlier layer did wrong."
