"""The second pass over a trace: which hypotheses explain every training step of a layer that is not as declared."""

import dataclasses
import math

import numpy as np

from ..evidence.estimators import Slope, likely_decays, rate_terms
from ..evidence.reachable import MOST
from ..verdicts import FINDING, OK, RANK
from .causes import rank
from .fitting import WorstFit, fit_step
from .hypotheses import Cumulative, Debiased, Hypothesis, pairs, singles
from .many_updates import ManyUpdates

LATEST = 1000  # batches, after which an average of all is no longer told from one of constant decay
CANCELLATION = Hypothesis(("cancellation",), variance_from="squares")
# The default of moving_averages.assign_moving_average, which frees the variance from its start too.
DEBIASED = Hypothesis(("zero-debias",), decay=Debiased(), zero_debias=False)
CANCELS = 1.0  # mean over deviation, from which a difference of squares can lose what shows

# Causes that give way where another one explains the numbers too: they predict the same up to the bound, or they have
# a number of their own to fit.
GIVES_WAY_TO = {
    "keras-bessel": ("bessel", "no-bessel"),
    "double-update": ("one-tower-only", "replica", "momentum-flipped", "no-memory"),
    "replica": ("one-tower-only",),
    "cumulative-average": ("decay", "momentum-flipped"),
    "decay": ("momentum-flipped", "no-memory", "double-update", "float32-decay", "zero-debias"),
}


def candidate_decays(rate, applications):
    """Decays that an `Estimate` of the rate suggests for a layer with so many updates in a step."""
    decays = likely_decays(rate)
    if applications > 1:
        # Each of n updates keeps the n-th root; the estimate takes their batches for one and is rough.
        kept = max(0.0, 1 - rate.value) ** (1 / applications)
        decays += [round(kept, digits) for digits in (1, 2, 3, 4) if 0 <= kept <= 1]
    return list(dict.fromkeys(decays))


def candidate_repeats(rate, decay):
    """How often an update may have run with one batch, by an `Estimate` of the rate and the declared decay."""
    repeats = [2, 3, 4]
    if decay is not None and 0 < decay < 1 and 0 < rate.value < 1:
        times = math.log1p(-rate.value) / math.log(decay)
        if 4 < times <= MOST:
            repeats += [math.floor(times), math.ceil(times)]
    return list(dict.fromkeys(repeats))


def cumulative_starts(view, trained):
    """The n of a layer whose updates may have the rates 1/n, 1/(n + 1) and so on, by its first step.

    Args:
      view: the `View` of that step.
      trained: how many training steps there are; of fewer than three any decay may be one.
    """
    if trained < 3 or view.all_moments is None or view.layer.renorm:
        return []
    count = len(view.updates)
    if count != 1 and view.decay is None:
        return []  # several decays that are not known explain much
    rate = Slope()
    rate.add(*rate_terms(view))
    value = rate.estimate().value
    if not 1 / LATEST <= value < 1.5:
        return []
    # Together the updates of the step take their share of n + count - 1 batches.
    middle = max(1, round(count / value - count + 1))
    return [start for start in (middle, middle - 1, middle + 1) if start >= 1]


@dataclasses.dataclass(frozen=True, eq=False)
class Candidate:
    """A `Hypothesis` under one variance convention, and its `WorstFit` over the training steps."""

    hypothesis: Hypothesis
    bessel: bool
    worst: WorstFit

    @property
    def ids(self):
        """The causes that the hypothesis stands for."""
        return self.hypothesis.ids


class Search:
    """Every hypothesis about a layer that is not as declared; those that fail in a step drop out.

    Args:
      survey: the layer's `survey.Survey` of the first pass.

    Attributes:
      lost: the largest share of the batch's variance that one computed as E[x^2] - E[x]^2 was off by, beyond other
        rounding.
      several: `ManyUpdates` of both variance conventions.
      alone: by cause, the misfit that is left in the first step where it alone is accounted for; empty where no pair of
        causes explains that step.
    """

    def __init__(self, survey):
        self._survey = survey
        self._updates = 0
        self._candidates = None
        self.lost = 0.0
        self.alone = {}
        self.several = [ManyUpdates(bessel) for bessel in (False, True)]

    def add(self, number, view):
        """Take a step, as `step_view.View`."""
        if view.updates and 0 not in view.counts and view.finite.any():
            first = self._candidates is None
            if first:
                self._candidates = self._all_candidates(view)
            for candidate in self._candidates:
                if candidate.hypothesis.needs_inputs and view.record.inputs is None:
                    continue  # moments neither show nor refute it
                fit = fit_step(view, candidate.hypothesis, candidate.bessel, self._updates, screened=True)
                candidate.worst.add(fit, number)
                if CANCELLATION.variance_from == candidate.hypothesis.variance_from and fit.comparison is not None:
                    self._note_loss(view, candidate, fit)
            tried = self._candidates
            self._candidates = [candidate for candidate in tried if candidate.worst.verdict != FINDING]
            if first and any(len(candidate.ids) > 1 for candidate in self._candidates):
                self._try_alone(view, [candidate for candidate in tried if len(candidate.ids) == 1])
            for several in self.several:
                several.add(view)
        self._updates += len(view.updates)

    def _try_alone(self, view, candidates):
        """Take note of the misfits of single causes, which a pair of them is named by."""
        for candidate in candidates:
            misfit = fit_step(view, candidate.hypothesis, candidate.bessel, self._updates).misfit
            (name,) = candidate.ids
            self.alone[name] = min(misfit, self.alone.get(name, math.inf))

    def _all_candidates(self, view):
        declared = self._survey.declared
        decays = candidate_decays(self._survey.estimates.rate.estimate(), declared.applications)
        repeats = candidate_repeats(self._survey.estimates.rate.estimate(), declared.decay)
        starts = cumulative_starts(view, self._survey.progress.trained)
        single = singles(view, declared.bessel, decays, repeats, starts)
        if len(declared.conventions) == 2:
            single = [hypothesis for hypothesis in single if hypothesis.bessel in (None, "keras")]
        every = [*single, *pairs(single)]
        if self._can_cancel and not view.layer.renorm:
            every += [CANCELLATION, *filter(None, map(CANCELLATION.merged, single))]
        if view.layer.zero_debias and declared.applications == 1:
            every.append(DEBIASED)
        if not declared.decay_known:
            every = [hypothesis for hypothesis in every if isinstance(hypothesis.decay, (float, Cumulative))]
        return [Candidate(each, bessel, WorstFit()) for each in every for bessel in declared.conventions]

    @property
    def _can_cancel(self):
        squares = self._survey.layer.variance_from == "squares"
        return not squares and self._survey.estimates.mean_over_deviation > CANCELS

    def _note_loss(self, view, candidate, fit):
        """Take note of what a difference of squares lost in a step that it explains."""
        if fit.verdict != OK or fit.stats is None:
            return
        plain = dataclasses.replace(candidate.hypothesis, variance_from="deviations")
        stats = fit_step(view, plain, candidate.bessel, self._updates).stats
        rate = self._survey.estimates.rate.estimate().value
        with np.errstate(divide="ignore", invalid="ignore"):
            batch = rate * np.mean([moments.variance for moments in view.moments], axis=0)
            beyond = np.abs(view.after[1, view.finite] - stats.variance) - stats.variance_bound
            lost = np.maximum(beyond, 0.0) / batch
        self.lost = max(self.lost, float(np.nan_to_num(lost, nan=0.0, posinf=math.inf).max()))

    @property
    def explains(self):
        """Whether something explains all training steps."""
        return bool(self.explanations()) or any(each.fits and each.steps for each in self.several)

    def explains_by(self, name):
        """Whether the cause ``name`` alone explains all training steps within the expected error."""
        return any(each.ids == (name,) and each.worst.verdict == OK for each in self.explanations())

    def explanations(self):
        """The `Candidate`s that fit all training steps, best first."""
        fitting = [
            candidate for candidate in self._candidates or () if candidate.worst.steps and candidate.worst.misfit <= 1
        ]
        fitting.sort(
            key=lambda candidate: (
                len(candidate.ids),
                RANK[candidate.worst.verdict],
                max(map(rank, candidate.ids)),
                candidate.worst.misfit,
            )
        )
        # What only the worst case allows explains nothing that the expected error explains.
        if fitting and fitting[0].worst.verdict == OK:
            fitting = [candidate for candidate in fitting if candidate.worst.verdict == OK]
        # What is lost to cancellation may be large, and would hide in its bound what something else explains exactly.
        exact = [candidate for candidate in fitting if "cancellation" not in candidate.ids]
        return exact or [candidate for candidate in fitting if candidate.worst.verdict == OK]
