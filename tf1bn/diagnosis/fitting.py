"""How well a hypothesis about a layer's updates predicts the statistics after a step from those before it."""

import array
import dataclasses
import math

import numpy as np

from .. import checker
from ..checker import error_bounds
from ..checker.roundoff import HALVES, SMALLEST
from ..checker.summation import same_moments
from ..evidence.averaged import debias_state
from ..evidence.statistic_error import StatisticError
from ..verdicts import FINDING, OK, RANK, UNDECIDABLE
from .assumed import (
    all_in,
    assumed_averages,
    assumed_decays,
    assumed_moments,
    assumed_quantity,
    bessel_factor,
    keras_factor,
    keras_variance,
    schedules,
)
from .hypotheses import Debiased


@dataclasses.dataclass(frozen=True, eq=False)
class Fit:
    """A prediction compared with what was observed after one step.

    Attributes:
      verdict: "ok", "undecidable" or "finding".
      misfit: the largest error in units of what is allowed there.
      comparison: the `checker.MovingComparison`; None if nothing could be compared.
      replayed: whether it took a replay of the batches to find it ok.
      stats: the `checker.MovingStats` that made the prediction.
      updates: the updates that ran, as indices among those of the step, in their order; empty where they race.
      channels: int array, the indices of the channels that were compared.
    """

    verdict: str
    misfit: float
    comparison: object = None
    replayed: bool = False
    stats: object = None
    updates: tuple = ()
    channels: object = None


IMPOSSIBLE = Fit(FINDING, math.inf)
SCREENED = 8  # channels, evenly spaced, in which most hypotheses miss


def badness(fit):
    """The key that sorts a `Fit` or `WorstFit` of one step or of many from the best to the worst."""
    return RANK[fit.verdict], fit.misfit


class WorstFit:
    """The worst `Fit` of one hypothesis over any number of steps, and the worst error of each statistic.

    Attributes:
      verdict, misfit: those of the worst step so far; "ok" and 0 before the first.
      steps: how many steps were compared.
      replayed: whether a replay of the batches was needed in any step.
      errors: for mean and variance the `StatisticError` where it is largest against what is allowed; or None.
      reason: why the verdict is "undecidable", the end of a sentence; None if it never was.
      first_not_ok: the number of the first step that is not ok; None if there is none.
      findings: the numbers of the steps that are findings.
    """

    def __init__(self):
        self.verdict, self.misfit, self.steps, self.replayed = OK, 0.0, 0, False
        self.errors = [None, None]
        self.reason = self.first_not_ok = None
        self.findings = array.array("q")

    def add(self, fit, number=None):
        """Take the `Fit` to the step with this number."""
        self.steps += 1
        self.misfit = max(self.misfit, fit.misfit)
        self.replayed |= fit.replayed
        if fit.verdict != OK and self.first_not_ok is None:
            self.first_not_ok = number
        if fit.verdict == FINDING and number is not None:
            self.findings.append(number)
        if RANK[fit.verdict] > RANK[self.verdict]:
            self.verdict = fit.verdict
            if fit.verdict == UNDECIDABLE:
                self.reason = fit.comparison.undecided or "a bound is not finite"
        if fit.comparison is not None:
            for i, compared in enumerate(fit.comparison):
                error = StatisticError.of(compared, fit.channels, number)
                if error is not None and (self.errors[i] is None or _rank(error) > _rank(self.errors[i])):
                    self.errors[i] = error

    def add_within(self, shares, numbers, error_of):
        """Take steps that are within their bounds in every channel.

        Args:
          shares: for mean and variance the largest error of each step in units of what is allowed, float64 [2, steps].
          numbers: those of the steps.
          error_of: a function that returns the `StatisticError` of mean (0) or variance (1) in a step by its index.
        """
        self.steps += len(numbers)
        self.misfit = max(self.misfit, float(shares.max()))
        for i, largest in enumerate(shares.argmax(axis=1).tolist()):
            if self.errors[i] is None or (False, shares[i, largest]) > _rank(self.errors[i]):
                self.errors[i] = error_of(i, largest)


def _rank(error):
    return error.is_wrong, error.share


def fit_step(view, hypothesis, bessel, updates_before=0, screened=False):
    """The `Fit` of a hypothesis to a step.

    Args:
      view: the step's `View`, with at least one update and one finite channel.
      hypothesis: the `Hypothesis`.
      bessel: the declared convention.
      updates_before: how many updates the layer had before, for zero debias without a recorded state.
      screened: whether `IMPOSSIBLE` will do for a fit that is a finding in a few channels already: a channel beyond its
        worst case makes the whole a finding, whatever the others and a replay show.
    """
    quantity = assumed_quantity(view, hypothesis)
    # Only a deviation depends on it: of all else there is one to be kept.
    corrected = quantity == "deviation" and (bessel if hypothesis.bessel is None else hypothesis.bessel) is True
    moments = _kept(view, assumed_moments, quantity, hypothesis.reduction, corrected)
    decays = None if moments is None else assumed_decays(view, hypothesis, updates_before, len(moments))
    if decays is None:
        return IMPOSSIBLE
    if hypothesis.dtype in HALVES and not _kept(view, all_in, hypothesis.dtype):
        return IMPOSSIBLE
    model = _Model(view, hypothesis, bessel, decays, updates_before)
    orders = schedules(hypothesis, len(moments))
    if screened and model.misses(moments, orders):
        return IMPOSSIBLE
    best, tried = IMPOSSIBLE, []
    for updates in orders:
        tried.append(model.fit(moments, updates))
        best = min(best, tried[-1], key=badness)
        if best.verdict == OK and hypothesis.order != "any":
            break
    # Of 16-bit statistics almost anything fits somewhere, so mean and variance must agree on one order.
    if best.verdict != OK and hypothesis.dtype is None:
        best = min(best, _best_of_each_statistic(tried), key=badness)
    return best


def _best_of_each_statistic(tried):
    """The best outcome of each statistic: the updates of the mean can run in another order than the variance's."""
    compared = [fit.comparison for fit in tried if fit.comparison is not None]
    if len(compared) < 2:
        return IMPOSSIBLE
    best = [min(parts, key=lambda part: (RANK[part.verdict], part.share)) for parts in zip(*compared, strict=True)]
    if any(np.isnan(part.share) for part in best):
        return IMPOSSIBLE
    whole = dataclasses.replace(compared[0], mean=best[0], variance=best[1])
    misfit = float(max(part.share for part in best))
    nearest = min(tried, key=badness)
    return dataclasses.replace(nearest, verdict=whole.verdict, misfit=misfit, comparison=whole, replayed=False)


class _Model:
    """What a layer would compute in one step under a hypothesis."""

    def __init__(self, view, hypothesis, bessel, decays, updates_before):
        self._view, self._hypothesis, self._updates_before = view, hypothesis, updates_before
        bessel = bessel if hypothesis.bessel is None else hypothesis.bessel
        self._keras = bessel == "keras"
        weighted = view.weighted and hypothesis.quantity != "unweighted"
        self._bessel = False if self._keras or weighted else bessel
        self._decays = decays
        self._before, self._after = assumed_averages(view, hypothesis)

    def fit(self, moments, updates):
        """The `Fit` of updates with these `Moments`, at the indices ``updates`` in this order or "parallel"."""
        stats = self._predicted(moments, updates)
        if stats is None or self._after is None:
            return IMPOSSIBLE
        compared = stats.compare(*self._after)
        replayed = False
        plain = (
            assumed_quantity(self._view, self._hypothesis) == "variance" and not self._keras and updates != "parallel"
        )
        plain = plain and self._hypothesis.reduction is None
        if compared.verdict == UNDECIDABLE and plain and (batches := self._view.batches()) is not None:
            stats = self._start()
            for i in updates:
                stats.update(batches[i][0], weights=batches[i][1], decay=self._decays[i])
            compared = stats.compare(*self._after)
            replayed = compared.ok
        shares = [part.share for part in compared]
        if compared.verdict == UNDECIDABLE:
            # Without the batches the bound is the worst case.
            bounds = np.maximum([stats.mean_bound, stats.variance_bound], SMALLEST["float64"])
            shares = (np.abs(self._after - [stats.mean, stats.variance]) / bounds).max(axis=1)
        misfit = math.inf if any(np.isnan(share) for share in shares) else float(max(shares))
        ran = () if updates == "parallel" else tuple(updates)
        return Fit(compared.verdict, misfit, compared, replayed, stats, ran, np.flatnonzero(self._view.finite))

    def misses(self, moments, orders):
        """Whether no outcome of any of the orders is within the worst case in a few of the channels."""
        view = self._view
        channels = self._before.shape[1]
        if view.layer.renorm or self._hypothesis.quantity == "renorm":
            return False
        few = slice(None, None, -(-channels // SCREENED))
        before, after = (np.ascontiguousarray(values[:, few]) for values in (self._before, self._after))
        factor = keras_factor(moments[0], view.layer.epsilon) if self._keras else 1.0
        batches = [(batch.mean[few].copy(), batch.variance[few] * factor) for batch in moments]
        # The best outcome may take the mean of one order and the variance of another.
        missed = np.ones(2, bool)
        for order in orders:
            if order == "parallel" or (self._keras and len(moments) > 1):
                return False
            updates = []
            for last, i in zip([None, *order], order, strict=False):
                repeated = last is not None and (i == last or same_moments(moments[i], moments[last]))
                updates.append(error_bounds.Update(moments[i], *batches[i], self._decays[i], repeated))
            missed &= error_bounds.beyond_worst(before, after, updates, bessel=self._bessel, **self._settings())
            # A zero-debiased mean is made of another vector; the variance is as it is without.
            if not missed[1 if self._debiased else slice(None)].any():
                return False
        return True

    def _predicted(self, moments, updates):
        """The `checker.MovingStats` after the updates; None if they are not possible."""
        if updates == "parallel":
            return self._parallel(moments)
        stats = self._start()
        if stats is not None:
            for i in updates:
                batch = keras_variance(moments[i], self._view.layer.epsilon) if self._keras else moments[i]
                stats.update(batch, decay=self._decays[i])
        return stats

    def _parallel(self, moments):
        """Updates that all start from the old values: one with the sum of the rates, to the mean weighted by them."""
        rates = [1 - decay for decay in self._decays]
        rate = sum(rates)
        if rate > 1:
            return None
        shares = rates if rate > 0 else [1] * len(rates)
        scales = [bessel_factor(batch.count) if self._bessel else 1.0 for batch in moments]
        merged = checker.Moments(
            sum(batch.count for batch in moments),
            np.average([batch.mean for batch in moments], axis=0, weights=shares),
            np.average([batch.variance * scale for batch, scale in zip(moments, scales, strict=True)], 0, shares),
        )
        stats = self._start(bessel=False, decay=1 - rate)
        if stats is not None:
            stats.update(merged)
            for decay in self._decays[1:]:
                # No step, but the roundings of one more: with decay 1 there would be none.
                stats.update(checker.Moments(merged.count, stats.mean, stats.variance), decay=decay)
        return stats

    def _start(self, **changed):
        """The `checker.MovingStats` before the updates; None if the state of zero debias is not known."""
        arguments = {"decay": self._decays[0], "bessel": self._bessel} | changed
        if self._debiased:
            finite = self._view.finite
            state = debias_state(self._view, self._before, arguments["decay"], self._updates_before, finite)
            if state is None:
                return None
            arguments |= state
        return checker.MovingStats(*self._before, **self._settings(), **arguments)

    @property
    def _debiased(self):
        declared = self._hypothesis.zero_debias
        return self._view.layer.zero_debias if declared is None else declared

    def _settings(self):
        """The arguments of `checker.MovingStats` that do not depend on the updates."""
        hypothesis, layer = self._hypothesis, self._view.layer
        input_error = getattr(self._view.record, "input_error", 0.0)
        if isinstance(hypothesis.decay, Debiased):
            input_error = max(input_error, *map(hypothesis.decay.input_error, self._view.decays))
        return {
            "dtype": hypothesis.dtype or layer.dtype,
            "rate_dtype": hypothesis.rate_dtype or (layer.rate_dtype if hypothesis.decay is None else None),
            "input_error": input_error,
            "recurrence": layer.known_recurrence,
            "variance_from": hypothesis.variance_from or layer.variance_from,
        }


def _kept(view, function, *arguments):
    """What the function returns for a view and these arguments; it is called once for the view."""
    key = function, arguments
    if key not in view.kept:
        view.kept[key] = function(view, *arguments)
    return view.kept[key]
