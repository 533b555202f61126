"""How well a hypothesis about a layer's updates predicts the statistics after a step from those before it."""

import array
import dataclasses
import itertools
import math

import numpy as np

from .. import checker
from ..checker.roundoff import HALVES, SMALLEST, UNIT_ROUNDOFF, rounded_to
from ..evidence.averaged import debias_state, renormalised
from ..evidence.statistic_error import StatisticError
from ..evidence.step_view import select_channels
from ..verdicts import FINDING, OK, RANK, UNDECIDABLE
from .hypotheses import Cumulative


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


def fit_step(view, hypothesis, bessel, updates_before=0):
    """The `Fit` of a hypothesis to a step.

    Args:
      view: the step's `View`, with at least one update and one finite channel.
      hypothesis: the `Hypothesis`.
      bessel: the declared convention.
      updates_before: how many updates the layer had before, for zero debias without a recorded state.
    """
    corrected = (bessel if hypothesis.bessel is None else hypothesis.bessel) is True
    moments = _moments(view, _quantity(view, hypothesis), hypothesis.reduction, corrected)
    decays = None if moments is None else _decays(view, hypothesis, updates_before, len(moments))
    if decays is None:
        return IMPOSSIBLE
    if hypothesis.dtype in HALVES and not _all_in(view, hypothesis.dtype):
        return IMPOSSIBLE
    model = _Model(view, hypothesis, bessel, decays, updates_before)
    best, tried = IMPOSSIBLE, []
    for updates in _schedules(hypothesis, len(moments)):
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
        self._before, self._after = _around(view, hypothesis)

    def fit(self, moments, updates):
        """The `Fit` of updates with these `Moments`, at the indices ``updates`` in this order or "parallel"."""
        stats = self._predicted(moments, updates)
        if stats is None or self._after is None:
            return IMPOSSIBLE
        compared = stats.compare(*self._after)
        replayed = False
        plain = _quantity(self._view, self._hypothesis) == "variance" and not self._keras and updates != "parallel"
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

    def _predicted(self, moments, updates):
        """The `checker.MovingStats` after the updates; None if they are not possible."""
        if updates == "parallel":
            return self._parallel(moments)
        stats = self._start()
        if stats is not None:
            for i in updates:
                batch = _keras_variance(moments[i], self._view.layer.epsilon) if self._keras else moments[i]
                stats.update(batch, decay=self._decays[i])
        return stats

    def _parallel(self, moments):
        """Updates that all start from the old values: one with the sum of the rates, to the mean weighted by them."""
        rates = [1 - decay for decay in self._decays]
        rate = sum(rates)
        if rate > 1:
            return None
        shares = rates if rate > 0 else [1] * len(rates)
        scales = [_bessel_factor(batch.count) if self._bessel else 1.0 for batch in moments]
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
        view, hypothesis, layer = self._view, self._hypothesis, self._view.layer
        arguments = {"decay": self._decays[0], "bessel": self._bessel} | changed
        if layer.zero_debias if hypothesis.zero_debias is None else hypothesis.zero_debias:
            state = debias_state(view, self._before, arguments["decay"], self._updates_before, view.finite)
            if state is None:
                return None
            arguments |= state
        return checker.MovingStats(
            *self._before,
            dtype=hypothesis.dtype or layer.dtype,
            rate_dtype=hypothesis.rate_dtype or (layer.rate_dtype if hypothesis.decay is None else None),
            input_error=getattr(view.record, "input_error", 0.0),
            recurrence=layer.known_recurrence,
            variance_from=hypothesis.variance_from or layer.variance_from,
            **arguments,
        )


def _moments(view, quantity, reduction, corrected):
    """The `Moments` that would be averaged, one for each update, on the finite channels; None if there are none.

    Args:
      corrected: whether the variance will get Bessel's correction, which a deviation has below its root.
    """
    if isinstance(quantity, tuple):
        if quantity[1] not in view.other_axes():
            return None  # not recorded in this step, or of another length there
        made = [view.moments_of(i, axis=quantity[1], weights=False) for i in view.updates]
        return [select_channels(moments, view.finite) for moments in made]
    if view.all_moments is None:
        return None
    if quantity == "renorm":
        return renormalised(view)
    if reduction is not None:
        if isinstance(reduction, int) and reduction >= view.batch_count:
            return None
        return view.moments_reduced(reduction)
    if quantity == "unweighted":
        if view.record.inputs is None:
            return None
        return [select_channels(view.moments_of(i, weights=False), view.finite) for i in view.updates]
    if quantity == "deviation":
        roots = [np.sqrt(_bessel_factor(moments.count)) if corrected else 1.0 for moments in view.moments]
        return [
            checker.Moments(moments.count, moments.mean, np.sqrt(moments.variance) / root, moments.weight)
            for moments, root in zip(view.moments, roots, strict=True)
        ]
    return view.moments


def _quantity(view, hypothesis):
    return "renorm" if view.layer.renorm and hypothesis.quantity == "variance" else hypothesis.quantity


def _around(view, hypothesis):
    """The averages before and after, float64 [2, finite channels] each; after is None where it contradicts a renorm.

    With moving_stddev the moving variance is no average: it is set to relu(moving_stddev^2 - epsilon).
    """
    before, after = view.around
    state = view.record.state
    if _quantity(view, hypothesis) != "renorm" or not {"moving_stddev", "moving_stddev_after"} <= state.keys():
        return before, after
    was, now = (state[name].astype(np.float64)[view.finite] for name in ("moving_stddev", "moving_stddev_after"))
    epsilon = view.layer.epsilon
    unit = 8 * UNIT_ROUNDOFF[view.layer.dtype]
    with np.errstate(over="ignore", invalid="ignore"):
        assigned = np.abs(after[1] - np.maximum(now**2 - epsilon, 0)) <= unit * (now**2 + epsilon)
    return np.stack([before[0], was]), np.stack([after[0], now]) if assigned.all() else None


def _decays(view, hypothesis, updates_before, count):
    """The decay of each of ``count`` updates; None if they are not known."""
    decay = hypothesis.decay
    if isinstance(decay, Cumulative):
        return [decay.decay(updates_before + i) for i in range(count)]
    if decay is not None and decay != "flipped":
        return [decay] * count
    declared = view.decays[:count]
    if None in declared:
        return None
    return [1 - each for each in declared] if decay == "flipped" else declared


def _schedules(hypothesis, count):
    """The updates that run, as lists of indices, in each of the orders that are possible; "parallel" is one of them."""
    if isinstance(hypothesis.order, int):
        return [[hypothesis.order]] if hypothesis.order < count else []
    forward = [i for i in range(count) for _ in range(hypothesis.repeats)]
    if count < 2:
        return [forward]
    orders = [list(order) for order in itertools.permutations(forward)] if count <= 3 else [forward, forward[::-1]]
    # TensorFlow gives two updates in one run no order; it may also start both from the old value, or lose one.
    return orders if hypothesis.order == "successive" else [*orders, "parallel", *([i] for i in range(count))]


def _keras_variance(moments, epsilon):
    """The `Moments` with the variance times N/(N-1-epsilon), as the old multi-backend Keras took it."""
    rest = moments.count - 1 - (1e-3 if epsilon is None else epsilon)
    factor = moments.count / rest if rest > 0 else 1.0
    return checker.Moments(moments.count, moments.mean, moments.variance * factor, moments.weight)


def _bessel_factor(count):
    return count / (count - 1) if count > 1 else 1.0


def _all_in(view, dtype):
    """Whether the statistics that the step moved are numbers of ``dtype``, or all of them where it moved none."""
    after = view.after[:, view.finite]
    moved = after[after != view.before[:, view.finite]]
    moved = moved if moved.size else after
    return moved.size > 0 and bool((rounded_to(moved, dtype) == moved).all())
