"""Several updates of one step that run in any order, race, or are more than are recorded: what explains every step."""

from __future__ import annotations

import math

import numpy as np

from ..evidence.reachable import MOST, TRIED, averages_around, excess, updates_of
from .causes import cause
from .observed.wording import words_of

IN_TURN, PARALLEL, RACE = "in turn", "parallel", "race"


class ManyUpdates:
    """What the updates of each step of a layer do together, under one variance convention.

    Args:
      bessel: whether the variance has Bessel's correction.

    Attributes:
      fits: whether every training step so far is explained.
      kinds: the set of how its updates ran: "in turn", "parallel" or "race".
      lost: the largest number of updates that were lost in a step.
      counts: the set of the numbers of updates in a step; more than are recorded, where one batch explains all.
      misfit: the largest error in units of the bound.
      debiased: whether the moving mean is zero-debiased.
    """

    def __init__(self, bessel):
        self.bessel = bessel
        self.fits, self.kinds, self.lost, self.counts, self.misfit = True, set(), 0, set(), 0.0
        self._decays, self.steps, self.debiased = set(), 0, False

    def add(self, view):
        """Take a training step, as `step_view.View`."""
        if not self.fits:
            return
        updates = updates_of(view, self.bessel)
        if updates is None or (updates.debias and (updates.count < 2 or not self._debiased(updates, view))):
            self.fits = False
            return
        _, after = averages_around(view)
        if updates.count > 1:
            self._several(updates, after)
        else:
            self._one(updates, after)
        self.steps += 1
        self._decays.add(view.decay)

    def _debiased(self, updates, view):
        """Whether the zero-debiased mean is one that the updates can have left."""
        low, high, bound = updates.range_of_debiased()
        misfit = excess(view.around[1][0], low, high, bound)
        self.misfit, self.debiased = max(self.misfit, misfit), True
        return misfit <= 1

    def _take(self, kind, count, misfit, lost=0):
        self.kinds.add(kind)
        self.counts.add(count)
        self.misfit, self.lost = max(self.misfit, misfit), max(self.lost, lost)

    def _several(self, updates, after):
        n = updates.count
        misfit = _in_turn(updates, after)
        if misfit <= 1:
            return self._take(IN_TURN, n, misfit)
        at_once = updates.parallel()
        misfit = excess(after, at_once, at_once, updates.bound)
        if misfit <= 1:
            return self._take(PARALLEL, n, misfit)
        for lost in range(n):
            misfit = excess(after, *updates.range_of_race(lost), updates.bound)
            if misfit <= 1:
                return self._take(RACE, n, misfit, lost)
        # Elements of one vector can be lost in different updates.
        ranges = [updates.range_of_race(lost) for lost in range(n)]
        low, high = np.min([each[0] for each in ranges], axis=0), np.max([each[1] for each in ranges], axis=0)
        misfit = excess(after, low, high, updates.bound)
        if misfit <= 1:
            return self._take(RACE, n, misfit, n - 1)
        self.fits = False
        return None

    def _one(self, updates, after):
        """One batch, whose update ran so often from the same old value that the statistics went beyond it."""
        way = updates.taken[0] - updates.before
        with np.errstate(invalid="ignore", divide="ignore"):
            weights = way / updates.bound
            share = float((weights * (after - updates.before) / updates.bound).sum() / (weights**2).sum())
        times = share / updates.rates[0]
        if not (math.isfinite(times) and 1.5 <= times <= MOST and share > 1):
            self.fits = False
            return
        updates = updates.repeated(round(times))
        at_once = updates.parallel()
        misfit = excess(after, at_once, at_once, updates.bound)
        self.fits = misfit <= 1
        self._take(PARALLEL, updates.count, misfit)

    def explanation(self, recorded, no_order):
        """The `Cause`, for a layer with so many recorded updates in a step, and the clause on their order."""
        low, high = min(self.counts), max(self.counts)
        counts = str(high) if low == high else f"{low} to {high}"
        text = f"The {counts} updates of a step"
        if recorded == 1:
            text = f"One update is recorded in a step, and {counts} ran: they"
        decay = next(iter(self._decays)) if len(self._decays) == 1 else None
        text = f"{text} {self._how(decay, high, no_order)}"
        if self.debiased:
            text += (
                " The zero-debiased mean is the biased one as one of them read it, over 1 - decay^t with a count t "
                "that another one may have left."
            )
        return cause("double-update", text, self.misfit)

    def _how(self, decay, n, no_order):
        together = ""
        if decay is not None:
            turn, once = 1 - decay**n, n * (1 - decay)
            together = f"{once:.4g} of the way to the batches" if self.kinds == {PARALLEL} else f"{turn:.4g} of the way"
            between = f"between 1 - {decay:g}^{n} = {turn:.4g} and {n} (1 - {decay:g}) = {once:.4g} of the way"
        if self.kinds == {IN_TURN}:
            text = f"ran one after the other, in an order that changes: {no_order}"
            return text + (f". Together they move the statistics {together}." if together else ".")
        if self.kinds == {PARALLEL}:
            text = "all started from the same old values"
            if not together:
                return text + "."
            text += f": together they move the statistics {together}"
            if n * (1 - decay) > 1:
                text += ", which is beyond them, so the statistics swing and the variance can become negative"
            return text + "."
        text = "raced: some of them read values that others had not yet changed"
        if self.lost:
            text += f", and up to {self.lost} in a step were lost"
        return text + (f". Such updates move the statistics {between}." if together else ".")


def _in_turn(updates, after):
    """The misfit of updates one after the other: of the best order for each statistic, or of the range of all.

    It is inf for many updates of different decays.
    """
    if updates.count > TRIED:
        if updates.decay is None:
            return math.inf  # left to the range of a race, which holds every order
        return excess(after, *updates.range_in_turn(), updates.bound)
    with np.errstate(invalid="ignore"):
        errors = np.abs(updates.in_turn() - after) / np.maximum(updates.bound, 1e-300)
    misfits = errors.max(axis=2).min(axis=0)
    return math.inf if np.isnan(misfits).any() else float(misfits.max())


def explain_several(search, survey, exact):
    """The list of causes that many updates in a step explain; empty if they do not.

    Args:
      search: the layer's `search.Search`.
      survey: its `survey.Survey`.
      exact: whether a range of values, or another variance convention, is no explanation.
    """
    declared = survey.declared
    fitting = [many for many in search.several if many.fits and many.steps]
    if exact:
        fitting = [many for many in fitting if RACE not in many.kinds and many.bessel in declared.conventions]
    fitting.sort(key=lambda many: (many.bessel != declared.bessel, RACE in many.kinds, many.misfit))
    if not fitting:
        return []
    many = fitting[0]
    causes = [many.explanation(declared.applications, words_of(survey).no_order)]
    if many.bessel not in declared.conventions:
        text = "has Bessel's correction, which is not declared" if many.bessel else "lacks the declared correction"
        causes.append(cause("bessel" if many.bessel else "no-bessel", f"The variance {text}.", many.misfit))
    return causes
