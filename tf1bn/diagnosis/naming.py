"""From what fits the training steps of a layer to the causes that are named."""

import dataclasses
import math

from .._util.text import in_percent
from ..evidence.estimators import Estimate, likely_decays
from ..evidence.outputs.fit import BATCH
from ..evidence.reachable import MOST
from ..verdicts import ADVISORY, OK
from .causes import Explanation, Facts, cause, rank, sentence
from .hypotheses import Cumulative, Debiased
from .many_updates import explain_several
from .observed.wording import words_of
from .search import GIVES_WAY_TO

HARMLESS = 1e-3  # of the batch's variance: what a difference of squares may lose and no output shows
CONVENTIONS = {False: "the batch variance (population)", True: "N/(N-1) times the batch variance (Bessel)"}


def name_convention(survey):
    """The `Explanation` of a layer that is ok and does not declare its variance convention."""
    fitting = [bessel for bessel, worst in survey.accepted.items() if worst.verdict == OK and worst.steps]
    if len(fitting) == 1:
        return Explanation(notes=(f"It takes {CONVENTIONS[fitting[0]]}, which the trace leaves open.",))
    shown = survey.estimates.shown_convention()
    if shown is not None:
        note = f"It takes {CONVENTIONS[shown]}, which the trace leaves open and all steps together show."
        return Explanation(notes=(note,))
    share, resolution = survey.estimates.bessel_share.estimate(), survey.estimates.resolution
    needed = resolution.steps if resolution is not None else None
    text = "The trace does not say whether the variance carries Bessel's correction, and the data cannot tell: "
    if needed is None:
        text += "both give the same here. Batches of more than one value, that vary, would decide."
    else:
        trained = survey.progress.trained
        smaller = max(2, int(max(survey.declared.counts) * min(1.0, share.interval and 0.1 / share.interval)))
        total = max(trained + 1, needed * trained)
        if math.isfinite(share.interval):
            total = max(trained + 1, math.ceil(trained * (share.interval / 0.2) ** 2))
        text += f"about {total:,} steps like these would, or batches of about {smaller:,} values per channel."
    return Explanation(undecided=(text,))


def explain_training(survey, search, some_steps):
    """The `Explanation` of the training steps of a layer that is not as declared.

    Args:
      survey: the layer's `Survey`; search: its `Search`.
      some_steps: its `SomeSteps`, or None.
    """
    facts, fitting = _facts(survey), search.explanations()
    if not survey.declared.decay_known:
        # Two updates of unknown decays can be what their mean of some decay is.
        fitting = [candidate for candidate in fitting if "replica" not in candidate.ids]
        for name in ("decay", "cumulative-average"):
            plain = [candidate for candidate in fitting if candidate.ids == (name,)]
            if plain:
                return _name_decay(survey, plain)
        if not fitting:
            text = "The trace does not say what the decay is, and no constant one explains all steps; record the decay "
            return Explanation(undecided=(text + "of each step.",))
        # A decay that the trace does not know is no deviation from what it declares.
        fitting = [_without(candidate, "decay") for candidate in fitting]
    single = bool(fitting) and len(fitting[0].ids) == 1
    if not single and (several := explain_several(search, survey, exact=bool(fitting))):
        return Explanation(causes=tuple(several))
    if fitting:
        return _name(survey, fitting, facts, search)
    causes, undecided = ([], []) if some_steps is None else some_steps.explain(facts)
    if causes or undecided:
        return Explanation(tuple(causes), tuple(undecided), outputs=some_steps.outputs)
    return Explanation(causes=(_unexplained(survey, facts, some_steps),))


def _facts(survey):
    declared, rate = survey.declared, survey.estimates.rate.estimate()
    declared_rate = Estimate(1 - declared.decay, 0.0) if declared.decay is not None else rate
    agrees = declared.decay is not None and math.isfinite(rate.value)
    agrees = agrees and abs(rate.value - declared_rate.value) <= 3 * rate.interval
    used = declared_rate if agrees or not math.isfinite(rate.value) else rate
    return Facts(
        words=words_of(survey),
        decay=declared.decay,
        count=max(declared.counts, default=0),
        factor=survey.estimates.factor.estimate(used.value),
        rate=rate,
        seen_decay=(likely_decays(rate) or [math.nan])[0],
        applications=declared.applications,
        batches=declared.batches,
        declared_reduction=declared.reduction,
        axis=f"axis {survey.layer.channel_axis}",
        zero_debias=survey.layer.zero_debias,
        rate_dtype=survey.layer.rate_dtype,
        dtype=survey.layer.dtype,
        mean_over_deviation=survey.estimates.mean_over_deviation,
    )


def _name_decay(survey, plain):
    """The `Explanation` where the trace does not know the decay and one of the `Candidate`s ``plain`` is it."""
    best = plain[0]
    (name,), decay = best.ids, best.hypothesis.decay
    shown = f"1 - 1/n, with n = {decay.start} in the first step," if isinstance(decay, Cumulative) else f"{decay:.6g}"
    text = f"The trace does not say what the decay is; {shown} explains all steps."
    undecided = ()
    if survey.layer.fused is None and len({candidate.bessel for candidate in plain}) > 1:
        undecided = ("The data cannot tell whether the variance carries Bessel's correction.",)
    causes = (cause(name, text, best.worst.misfit, ADVISORY),)
    return Explanation(causes, undecided, accepted={best.bessel: best.worst})


def _without(candidate, name):
    ids = tuple(each for each in candidate.ids if each != name)
    return dataclasses.replace(candidate, hypothesis=dataclasses.replace(candidate.hypothesis, ids=ids))


def _name(survey, fitting, facts, search):
    """The `Explanation` by fitting `Candidate`s, best first; of two causes the one that alone leaves less leads."""
    alone = search.alone
    sets = {frozenset(candidate.ids) for candidate in fitting}
    coarse = any({"half-precision", convention} in sets for convention in ("bessel", "no-bessel"))
    least = len(fitting[0].ids)
    fitting = [candidate for candidate in fitting if len(candidate.ids) == least]
    accepted = None
    if any(candidate.ids == ("float32-decay",) for candidate in fitting):
        fitting = [candidate for candidate in fitting if candidate.ids == ("float32-decay",)]
        # Nothing is wrong with that, so this is what the layer is compared with.
        accepted = {fitting[0].bessel: fitting[0].worst}
    harmless = "cancellation" in fitting[0].ids and search.lost <= HARMLESS
    if harmless and least == 1:
        accepted = {fitting[0].bessel: fitting[0].worst}
    sets = {frozenset(candidate.ids) for candidate in fitting}
    fitting = [candidate for candidate in fitting if not _gives_way(frozenset(candidate.ids), sets)]
    if fitting[0].ids == ("replica",) and survey.declared.reduction is None:
        # Each of these ways is right by design, and only the recorder can know which was meant.
        accepted = {fitting[0].bessel: fitting[0].worst}
    if fitting[0].hypothesis.decay == Debiased():
        # Declared is what the graph shows of the mean, by its variables.
        fitting = fitting[:1]
        accepted = {fitting[0].bessel: fitting[0].worst}
    if fitting[0].ids == ("one-tower-only",) and survey.declared.same_batch:
        accepted = {fitting[0].bessel: fitting[0].worst}
    if least > 1:
        # Only the best pair: a second one would read as if four things had happened.
        fitting = fitting[:1]
    named = {}
    for candidate in fitting:
        hypothesis = candidate.hypothesis
        if {"one-tower-only", "wrong-axis", "padding-counted"} & set(candidate.ids):
            # The estimate takes the declared batches, all together.
            facts = dataclasses.replace(facts, factor=Estimate(math.nan, math.nan))
        if hypothesis.repeats > 1:
            facts = dataclasses.replace(facts, repeats=hypothesis.repeats)
        if hypothesis.reduction is not None:
            facts = dataclasses.replace(facts, reduction=hypothesis.reduction, factor=Estimate(math.nan, math.nan))
        if isinstance(hypothesis.decay, Cumulative):
            # The estimate of the factor takes one rate for all steps.
            facts = dataclasses.replace(facts, start=hypothesis.decay.start, factor=Estimate(math.nan, math.nan))
        if isinstance(hypothesis.decay, float) and "decay" in candidate.ids:
            facts = dataclasses.replace(facts, seen_decay=hypothesis.decay)
        if hypothesis.dtype is not None:
            facts = dataclasses.replace(facts, kept=hypothesis.dtype)
        for name in sorted(candidate.ids, key=lambda name: (alone.get(name, math.inf), rank(name))):
            if name not in named:
                named[name] = _named(name, candidate, facts, survey, search, coarse)
        repeated = hypothesis.repeats > 1 and survey.declared.applications == 1
        if repeated and "decay" not in named and facts.decay is not None:
            # The same batch twice is one update with the square of the decay: nothing in the numbers tells them apart.
            facts = dataclasses.replace(facts, seen_decay=facts.decay**hypothesis.repeats)
            named["decay"] = cause("decay", sentence("decay", facts), candidate.worst.misfit)
    return Explanation(tuple(named.values()), accepted=accepted, reduction=facts.reduction)


def _named(name, candidate, facts, survey, search, coarse):
    """The `Cause` with one of the ids of a `Candidate`; ``coarse``: whether a half cannot tell the convention."""
    text, severity, variant = sentence(name, facts), None, None
    if candidate.ids == ("half-precision",) and coarse:
        text += (
            f" {facts.kept.capitalize()} is too coarse here to tell whether the variance takes the other convention as "
            "well: with and without N/(N-1) both fit."
        )
    elif name == "replica" and survey.declared.reduction is None:
        severity = ADVISORY
    elif name == "cancellation":
        text += f" That is {in_percent(search.lost)} of the batch's variance at most."
        severity = ADVISORY if search.lost <= HARMLESS else None
    elif name == "one-tower-only" and survey.declared.same_batch:
        text = (
            f"The {facts.applications} applications in a step have the same batch, which updates the statistics once: "
            "so it is where a backward pass computes the layer again, and no batch is lost."
        )
        severity, variant = ADVISORY, "repeated"
    elif name == "zero-debias" and candidate.hypothesis.decay == Debiased():
        text = (
            "The moving variance is zero-debiased like the moving mean, as `moving_averages.assign_moving_average` "
            "does by default and `zero_debias_moving_mean` does not: a port has to free both from their start values."
        )
        severity, variant = ADVISORY, "both"
    elif name == "decay":
        text += _or_at_once(candidate, survey)
    return cause(name, text, candidate.worst.misfit, severity, variant)


def _or_at_once(candidate, survey):
    """A sentence where several updates from the same old values do what one of another decay does; empty otherwise."""
    hypothesis, declared = candidate.hypothesis, survey.declared
    mean = hypothesis.reduction == "mean" and declared.reduction is None
    of_one_batch = "one-tower-only" in candidate.ids and declared.same_batch
    if not (mean or of_one_batch) or not isinstance(hypothesis.decay, float):
        return ""
    each = 1 - (1 - hypothesis.decay) / declared.applications
    return (
        f" {declared.applications} updates of decay {each:.6g} that all start from the same old values do the same: "
        "the numbers do not tell them from one."
    )


def _gives_way(ids, sets):
    """Whether one of the other ``sets`` of causes takes precedence over the set ``ids``."""
    for name, others in GIVES_WAY_TO.items():
        if name in ids and any(ids - {name} | {other} in sets for other in others):
            return True
    others = {"decay"}, {"cumulative-average"}
    return "decay" in ids and len(ids) == 1 and any(len(each) == 1 and each not in others for each in sets)


def _like_several(survey, facts):
    """A sentence where the rate is that of more updates than are recorded; empty otherwise."""
    rate, decay = facts.rate, facts.decay
    if decay is None or not 0 < decay < 1 or not 0 < rate.value < 1 or survey.declared.applications > 1:
        return ""
    if not rate.interval < 0.1 * rate.value:
        return ""
    count = math.log1p(-rate.value) / math.log(decay)
    if not 1.5 <= count <= MOST:
        return ""
    return (
        f" The rate is that of about {count:.2g} updates of the declared decay in a step, of which one is recorded: "
        "other towers or calls may update the statistics with other batches."
    )


def _largest_error(worst):
    """Where a `WorstFit` is farthest off, and both bounds there, as a part of a sentence; empty if not known."""
    wrong = [(error, name) for error, name in zip(worst.errors, ("mean", "variance"), strict=True) if error is not None]
    if not wrong:
        return ""
    error, name = max(wrong, key=lambda pair: pair[0].share)
    if not error.is_wrong:
        return ""
    return (
        f" (the moving {name} is {error}; rounding is expected to cause {error.expected_error:.2g}, in the worst case "
        f"{error.worst_case:.2g})"
    )


def _unexplained(survey, facts, some_steps):
    if some_steps is not None and (own := some_steps.estimates()) is not None:
        measured_in, rate, factor = own
        facts = dataclasses.replace(facts, rate=rate, factor=factor)
    else:
        measured_in = "all steps"
    worst = survey.best
    epsilon = ""
    source = survey.outputs.sources[True, BATCH]
    if source.seen and source.consistent and math.isfinite(source.low):
        epsilon = f", epsilon between {source.low:.3g} and {source.high:.3g}"
    step = "" if worst.first_not_ok is None else f", first in step {worst.first_not_ok}"
    where = _largest_error(worst)
    rate = "unknown" if facts.decay is None else format(1 - facts.decay, ".6g")
    text = (
        f"The statistics are not as declared{step}{where}, and no known cause explains all steps. Estimates from "
        f"{measured_in}: rate alpha = {facts.rate} (declared 1 - decay: {rate}), variance factor k = {facts.factor}"
        f"{epsilon}."
    )
    text += _like_several(survey, facts)
    return cause("unexplained", text, None if math.isinf(worst.misfit) else worst.misfit)
