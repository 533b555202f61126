"""What explains the statistics of a layer that is not as declared. Used by ``diagnosis``."""

import dataclasses
import math

import numpy as np

from .. import verdicts
from ..evidence.estimators import Estimate, likely_decays
from ..evidence.output_fit import BATCH
from ..verdicts import FINDING, OK, RANK
from .causes import Facts, cause, place, sentence
from .hypotheses import Hypothesis, fit, pairs, singles
from .survey import UNITS, Worst

CANCELS = 30.0  # mean over deviation, from which a difference of squares can lose what shows


def candidate_decays(rate, applications):
    """Decays that an `Estimate` of the rate suggests for a layer with so many applications in a step."""
    decays = likely_decays(rate)
    if applications > 1:
        # Each of n updates keeps the n-th root; the estimate takes their batches for one and is rough.
        kept = max(0.0, 1 - rate.value) ** (1 / applications)
        decays += [round(kept, digits) for digits in (1, 2, 3, 4) if 0 <= kept <= 1]
    return list(dict.fromkeys(decays))


class Search:
    """Every hypothesis about a layer that is not as declared, over the training steps; those that fail drop out."""

    def __init__(self, survey):
        self.survey = survey
        self.rate = survey.rate.estimate()
        self._alive = None
        self.updates = 0
        self.cancelled = Worst()

    def add(self, number, view):
        """Take the layer's `stepview.View` of a step."""
        if not view.updates or 0 in view.counts or not view.finite.any():
            self.updates += len(view.updates)
            return
        conventions = [self.survey.bessel] if self.survey.layer.fused is not None else [False, True]
        if self._alive is None:
            decays = candidate_decays(self.rate, self.survey.applications)
            single = singles(self.survey.layer, view, self.survey.bessel, decays)
            if len(conventions) == 2:
                single = [one for one in single if one.bessel in (None, "keras")]
            unknown = not self.survey.decay_known
            every = [*single, *pairs(single)]
            every = [one for one in every if not unknown or isinstance(one.decay, float)]
            self._alive = [(one, bessel, Worst()) for one in every for bessel in conventions]
        alive = []
        for one, bessel, worst in self._alive:
            worst.add(fit(view, one, bessel, self.updates))
            if worst.verdict != FINDING:
                alive.append((one, bessel, worst))
        self._alive = alive
        if self.survey.kappa > CANCELS and view.decay is not None:
            self._cancel(view)
        self.updates += len(view.updates)

    def _cancel(self, view):
        found = fit(view, Hypothesis(), self.survey.bessel, self.updates)
        if found.comparison is None or not found.comparison.mean.ok or self.survey.layer.renorm:
            self.cancelled.add(dataclasses.replace(found, verdict=FINDING, misfit=math.inf))
            return
        unit = UNITS["float32" if view.layer.dtype == "float16" else view.layer.dtype]
        lost = max(
            (12 * unit * math.sqrt(one.count / 3 + 4) * (one.mean**2 + one.variance) for one in view.moments),
            key=lambda each: float(each.max()),
        )
        error = np.abs(view.after[1, view.finite] - found.stats.variance)
        bound = found.stats.variance_bound + (1 - view.decay) * lost
        share = float(np.max(np.where(error > 0, error / np.maximum(bound, 1e-300), 0)))
        self.cancelled.add(dataclasses.replace(found, verdict=OK if share <= 1 else FINDING, misfit=share))

    @property
    def explains(self):
        """Whether something explains all steps."""
        return bool(self.explanations()) or self.cancels

    @property
    def cancels(self):
        """Whether the loss of a difference of squares explains all steps."""
        return self.survey.kappa > CANCELS and self.cancelled.judged > 0 and self.cancelled.verdict == OK

    def explanations(self):
        """The hypotheses that fit all steps, best first, as (hypothesis, convention, `Worst`)."""
        fitting = [one for one in self._alive or () if one[2].judged and one[2].misfit <= 1]
        fitting.sort(
            key=lambda one: (len(one[0].ids), RANK[one[2].verdict], max(map(place, one[0].ids)), one[2].misfit)
        )
        # What only the worst case allows explains nothing that the expected error explains.
        if fitting and fitting[0][2].verdict == OK:
            fitting = [one for one in fitting if one[2].verdict == OK]
        return fitting


def convention(survey, fitting, undecided, notes):
    """Which variance a layer takes that does not say."""
    words = {False: "the batch variance (population)", True: "N/(N-1) times the batch variance (Bessel)"}
    if len(fitting) == 1:
        notes.append(f"It takes {words[next(iter(fitting))]}, which the trace leaves open.")
        return
    share = survey.share.estimate()
    if math.isfinite(share.value) and share.interval < 0.2:
        for bessel, value in ((False, 0.0), (True, 1.0)):
            if abs(share.value - value) <= max(2 * share.interval, 0.1):
                notes.append(f"It takes {words[bessel]}, which the trace leaves open and all steps together show.")
                return
    needed = survey.resolved.steps if survey.resolved is not None else None
    text = "The trace does not say whether the variance carries Bessel's correction, and the data cannot tell: "
    if needed is None:
        text += "both give the same here. Batches of more than one value, that vary, would decide."
    else:
        smaller = max(2, int(max(survey.counts) * min(1.0, share.interval and 0.1 / share.interval)))
        total = max(survey.trained + 1, needed * survey.trained)
        if math.isfinite(share.interval):
            total = max(survey.trained + 1, math.ceil(survey.trained * (share.interval / 0.2) ** 2))
        text += f"about {total:,} steps like these would, or batches of about {smaller:,} values per channel."
    undecided.append(text)


def _facts(survey, rate):
    decays = sorted(survey.decays)
    known = decays[0] if len(decays) == 1 else None
    declared = Estimate(1 - known, 0.0) if known is not None else rate
    agrees = known is not None and math.isfinite(rate.value) and abs(rate.value - declared.value) <= 3 * rate.interval
    used = declared if agrees or not math.isfinite(rate.value) else rate
    return Facts(
        decay=known,
        count=max(survey.counts, default=0),
        factor=survey.factor.estimate(used.value),
        rate=rate,
        seen_decay=(likely_decays(rate) or [math.nan])[0],
        applications=survey.applications,
        axis=f"axis {survey.layer.channel_axis}",
        debias=survey.layer.zero_debias,
        rate_dtype=survey.layer.rate_dtype,
        dtype=survey.layer.dtype,
        kappa=survey.kappa,
    )


def explain(survey, search, some_steps, found, undecided):
    """Name what fits the numbers of a layer that is not as declared; ``some_steps``: a `SomeSteps`, or None."""
    facts = _facts(survey, search.rate)
    fitting = search.explanations()
    if not survey.decay_known:
        plain = [one for one in fitting if one[0].ids == ("decay",)]
        if plain:
            best = plain[0]
            text = f"The trace does not say what the decay is; {best[0].decay:.6g} explains all steps."
            survey.declared = best[2]
            survey.either = {best[1]: best[2]}
            found.append(cause("decay", text, best[2].misfit, verdicts.ADVISORY))
            if survey.layer.fused is None and len({one[1] for one in plain}) > 1:
                undecided.append("The data cannot tell whether the variance carries Bessel's correction.")
            return
        fitting = [
            (dataclasses.replace(one, ids=tuple(name for name in one.ids if name != "decay")), bessel, worst)
            for one, bessel, worst in fitting
        ]
        if not fitting:
            undecided.append(
                "The trace does not say what the decay is, and no constant one explains all steps; record the decay of "
                "each step."
            )
            return
    if fitting:
        _name(survey, fitting, facts, found)
    elif search.cancels:
        found.append(cause("cancellation", sentence("cancellation", facts), search.cancelled.misfit))
    elif some_steps is not None and (partly := some_steps.explain(facts)):
        found.extend(partly)
        survey.outputs = some_steps.outputs
    else:
        found.append(_unexplained(survey, facts))


# Names that give way where another explains the numbers too: they predict the same up to the bound, or more freely.
YIELDS = {
    "keras-bessel": ("bessel", "no-bessel"),
    "double-update": ("one-tower-only",),
    "decay": ("momentum-flipped", "no-memory", "double-update", "float32-decay", "zero-debias"),
}


def _name(survey, fitting, facts, found):
    pairs = {frozenset(one[0].ids) for one in fitting}
    least = len(fitting[0][0].ids)
    fitting = [one for one in fitting if len(one[0].ids) == least]
    if any(one[0].ids == ("float32-decay",) for one in fitting):
        fitting = [one for one in fitting if one[0].ids == ("float32-decay",)]
        # Honest, so this is what the layer is compared with.
        survey.declared = fitting[0][2]
        survey.either = {fitting[0][1]: fitting[0][2]}
    sets = {frozenset(one[0].ids) for one in fitting}
    fitting = [one for one in fitting if not _yields(frozenset(one[0].ids), sets)]
    if least > 1:
        # Only the best pair: a second one would read as if four things had happened.
        fitting = fitting[:1]
    already = set()
    for one, _, worst in fitting:
        if one.repeats > 1:
            facts.repeats = one.repeats
        if isinstance(one.decay, float) and "decay" in one.ids:
            facts.seen_decay = one.decay
        for name in sorted(one.ids, key=place):
            if name not in already:
                already.add(name)
                text = sentence(name, facts)
                if one.ids == ("half-precision",) and any({name, other} in pairs for other in ("bessel", "no-bessel")):
                    text += (
                        " Float16 is too coarse here to tell whether the variance takes the other convention as well: "
                        "with and without N/(N-1) both fit."
                    )
                found.append(cause(name, text, worst.misfit))
        if one.repeats > 1 and survey.applications == 1 and "decay" not in already and facts.decay is not None:
            # The same batch twice is one update with the square of the decay: nothing in the numbers tells them apart.
            already.add("decay")
            facts.seen_decay = facts.decay**one.repeats
            found.append(cause("decay", sentence("decay", facts), worst.misfit))


def _yields(ids, sets):
    return any(
        name in ids and ids - {name} | {other} in sets for name, others in YIELDS.items() for other in others
    ) or ("decay" in ids and any("decay" not in one for one in sets if len(one) == 1 == len(ids)))


def _unexplained(survey, facts):
    worst = survey.best
    eps = ""
    source = survey.outputs.sources[True, BATCH]
    if source.seen and source.consistent and math.isfinite(source.low):
        eps = f", epsilon between {source.low:.3g} and {source.high:.3g}"
    step = "" if worst.first is None else f", first in step {worst.first}"
    text = (
        f"The statistics are not as declared ({worst.misfit:.3g} bounds off{step}), and no known cause explains "
        f"all steps. Estimates: step alpha = {facts.rate} where 1 - decay = "
        f"{'unknown' if facts.decay is None else format(1 - facts.decay, '.6g')} is due, variance factor k = "
        f"{facts.factor}{eps}."
    )
    return cause("unexplained", text, None if math.isinf(worst.misfit) else worst.misfit)
