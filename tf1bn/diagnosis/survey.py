"""What one pass over a trace shows about a layer, step by step, in memory of its channels. Used by ``diagnosis``."""

import array
import math

import numpy as np

from ..evidence import averaged
from ..evidence.error_propagation import Chain, OutputErrors
from ..evidence.estimators import Slope, VarianceFactor
from ..evidence.output_fit import Outputs
from ..verdicts import RANK
from . import hypotheses
from .hypotheses import Hypothesis, fit

UNITS = {"float16": 2.0**-11, "float32": 2.0**-24, "float64": 2.0**-53}


class Worst:
    """The worst `Fit` so far, and the worst error of each statistic."""

    def __init__(self):
        self.verdict, self.misfit, self.replayed, self.judged = "ok", 0.0, False, 0
        self.errors = [(-1.0, None, None), (-1.0, None, None)]
        self.undecided = None
        self.first = None
        self.wrong = array.array("q")  # the steps that are findings

    def add(self, found, step=None):
        """Take the `Fit` of a step."""
        self.judged += 1
        self.misfit = max(self.misfit, found.misfit)
        self.replayed |= found.replayed
        if found.verdict != "ok" and self.first is None:
            self.first = step
        if found.verdict == "finding" and step is not None:
            self.wrong.append(step)
        if RANK[found.verdict] > RANK[self.verdict]:
            self.verdict = found.verdict
            if found.verdict == "undecidable":
                self.undecided = found.comparison.undecided or "a bound is not finite"
        if found.comparison is not None:
            for i, compared in enumerate(found.comparison):
                share = compared.share
                share = math.inf if math.isnan(share) else share
                if share > self.errors[i][0]:
                    self.errors[i] = share, compared.error, compared.allowed


class Survey:
    """A layer over the steps that it was in.

    Attributes:
      steps, trained, tested: how many steps held the layer, trained it, and did not.
      declared: `Worst` of the training steps for the layer as it is declared.
      either: `Worst` by convention (False, True) where the layer declares none.
      rate, factor: the estimators of the step taken and of the variance taken.
      observe: None, or called after each training step that was compared with its number, its `stepview.View` and the
        `checker.MovingStats` of the layer as it is declared.
      chains, output_errors: `inheritance.Chain` and `inheritance.OutputErrors` by convention, as `either`.
      events: the first step by what happened in it: "seen", "trained", "moved" without training, "empty", "single".
      everything else: what the name says.
    """

    def __init__(self, layer):
        self.layer = layer
        self.bessel = bool(layer.fused)
        self.steps = self.trained = self.tested = self.updates = 0
        self.declared = Worst()
        self.either = {False: self.declared, True: Worst()} if layer.fused is None else {self.bessel: self.declared}
        self.tried = self.either
        self.share, self.resolved = Slope(), None
        self.rate, self.factor = Slope(), VarianceFactor()
        self.observe = None
        self.variance_rate = Slope()
        self.outputs = Outputs()
        self.chains = {bessel: Chain(layer, bessel) for bessel in self.either}
        self.output_errors = {bessel: OutputErrors(layer.epsilon) for bessel in self.either}
        self.events = {}
        self.unmoved = True  # in every training step
        self.needless = True  # the honest update was nothing
        self.moved_in_tests, self.leak = array.array("q"), Worst()
        self.frozen = self.decay_0 = True
        self.decay_known = True
        self.kept = 1.0
        self.fresh = None
        self.decays, self.counts = set(), set()
        self.applications = 1
        self.kappa = 0.0
        self.wrong_shape = False
        self.from_moments = False
        self.empty = self.single = self.single_nan = 0
        self.not_finite = self.untouched = self.bad_variance = None
        self.dead = None
        self.initial = self.changed = False
        self.unusable = 0
        self.missing = None

    @property
    def best(self):
        """The `Worst` of the convention that fits better."""
        return min(self.either.values(), key=lambda worst: (RANK[worst.verdict], worst.misfit))

    @property
    def convention(self):
        """Whether the convention that fits better, of those that were tried, has Bessel's correction."""
        return min(self.chains, key=lambda bessel: (RANK[self.tried[bessel].verdict], self.tried[bessel].misfit))

    def add(self, number, view):
        """Take the layer's `stepview.View` of a step."""
        self.steps += 1
        self._look(number, view)
        self.events.setdefault("seen", number)
        for chain in self.chains.values():
            chain.enter(number, view, self.updates)
        self.outputs.add(view, number)
        for line in self.outputs.lines:
            for bessel, errors in self.output_errors.items():
                errors.add(number, line, self.chains[bessel].expected)
        found = {}
        if view.updates:
            self.trained += 1
            self.events.setdefault("trained", number)
            found = self._train(number, view) or {}
        else:
            self.tested += 1
            self._test(number, view)
        for bessel, chain in self.chains.items():
            chain.leave(found.get(bessel))
        self.updates += len(view.updates)

    def _look(self, number, view):
        initial = bool((view.after[0] == 0).all() and (view.after[1] == 1).all())
        if self.fresh is None:
            self.fresh = bool((view.before[0] == 0).all() and (view.before[1] == 1).all())
        gamma, beta = view.record.gamma, view.record.beta
        self.changed = bool((gamma is not None and (gamma != 1).any()) or (beta is not None and (beta != 0).any()))
        self.initial = initial and self.fresh
        for values in (view.before, view.after):
            if self.bad_variance is None and (values[1] < 0).any():
                self.bad_variance = number, int(np.argmin(np.where(np.isnan(values[1]), np.inf, values[1])))
        stuck = (view.before[1] == 0) & (view.after[1] == 0)
        if not view.counts or max(view.counts) <= 1:
            stuck &= not view.updates
        self.dead = stuck if self.dead is None or self.dead.shape != stuck.shape else self.dead & stuck

    def _nan(self, number, view, explained=False):
        for when, values in (("before", view.before), ("after", view.after)):
            bad = ~np.isfinite(values)
            if bad.any() and self.not_finite is None and not explained:
                where = "moving mean" if bad[0].any() else "moving variance"
                channels = np.flatnonzero(bad.any(axis=0))
                source = ""
                if view.all_moments:
                    dirty = [~np.isfinite(one.mean) | ~np.isfinite(one.variance) for one in view.all_moments]
                    if any((one & bad.any(axis=0)).any() for one in dirty):
                        source = "; the input holds NaN or infinity there"
                self.not_finite = (number, when, where, channels, source)

    def _test(self, number, view):
        self._nan(number, view)
        if view.unmoved:
            return
        self.moved_in_tests.append(number)
        self.events.setdefault("moved", number)
        view.updates = list(range(len(view.training)))
        if view.finite.any() and view.decay is not None and view.all_moments is not None:
            worst = [
                fit(view, Hypothesis(order=order), bessel) for order in ("successive", "any") for bessel in self.either
            ]
            self.leak.add(min(worst, key=lambda one: (RANK[one.verdict], one.misfit)), number)
        else:
            self.leak.add(hypotheses.IMPOSSIBLE, number)

    def _train(self, number, view):
        """Judge a training step; returns its `Fit` as declared by convention, or None."""
        self.applications = max(self.applications, len(view.updates))
        self.unmoved &= view.unmoved
        self.decay_known &= view.decay is not None
        if view.decay is not None:
            self.decays.add(view.decay)
            self.kept *= view.decay ** len(view.updates)
        self.frozen &= view.decay == 1
        self.decay_0 &= view.decay == 0
        if view.wrong_shape:
            self.wrong_shape = True
            for worst in self.either.values():
                worst.add(hypotheses.IMPOSSIBLE, number)
            self._nan(number, view)
            return None
        self.counts.update(view.counts)
        self.from_moments |= view.record.inputs is None
        if 0 in view.counts:
            self.events.setdefault("empty", number)
            self.empty += bool(np.isnan(view.after).all())
            self._nan(number, view, explained=True)
            return None
        if view.counts and max(view.counts) == 1:
            self.single += 1
            self.events.setdefault("single", number)
            only_variance = bool(np.isnan(view.after[1]).all() and np.isfinite(view.after[0]).all())
            self.single_nan += only_variance
            self._nan(number, view, explained=only_variance or self.single_nan)
        else:
            self._nan(number, view, explained=bool(self.empty or self.single_nan))
        if self.untouched is None and view.counts and not view.finite.all():
            untouched = np.isfinite(view.before).all(axis=0) & np.isfinite(view.after).all(axis=0) & ~view.finite
            if untouched.any():
                self.untouched = number, np.flatnonzero(untouched)
        if not view.finite.any():
            self.unusable += 1
            return None
        self.missing = self.missing or averaged.lacks_state(view, self.fresh)
        if self.missing:
            return None
        self._estimate(view)
        updates = self.updates
        if view.decay is None:
            return None
        found = {}
        for bessel, worst in self.either.items():
            found[bessel] = fit(view, Hypothesis(), bessel, updates)
            worst.add(found[bessel], number)
        if self.observe is not None:
            self.observe(number, view, found[self.bessel].stats)
        if len(found) == 2 and all(one.stats is not None for one in found.values()):
            self._tell_apart(view, *found.values())
        return found

    def _tell_apart(self, view, plain, bessel):
        """Pool all channels and steps into one share of Bessel's correction, 0 or 1."""
        after = view.after[1, view.finite]
        bound = plain.stats.variance_bound
        self.share.add(bessel.stats.variance - plain.stats.variance, after - plain.stats.variance, bound)
        self.resolved = bessel.comparison.resolution

    def _estimate(self, view):
        if view.layer.renorm:
            return
        self.rate.add(*rate_terms(view))
        before, after, variance, bound = factor_terms(view)
        self.factor.add(before, after, variance, bound)
        self.variance_rate.add(variance - before, after - before, bound)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            ratio = np.where(variance > 0, np.abs(_averaged(view)[0]) / np.sqrt(variance), 0.0)
        self.kappa = max(self.kappa, float(ratio.max()))


def _averaged(view):
    """Mean and variance of a training step's batches, the average of those of several, on the finite channels."""
    if len(view.moments) == 1:
        return view.moments[0].mean, view.moments[0].variance
    return tuple(np.mean([getattr(one, name) for one in view.moments], axis=0) for name in ("mean", "variance"))


def _units(view):
    """The roundoff of the statistics, and what the sums of a batch can lose relatively."""
    dtype = view.layer.dtype
    return UNITS[dtype], math.sqrt(max(view.counts)) * UNITS["float32" if dtype == "float16" else dtype]


def rate_terms(view):
    """What `Slope.add` takes of a training step: the way to the batch, the way gone, and how far off that can be."""
    (unit, sums), (m, v) = _units(view), _averaged(view)
    (a0, _), (a1, _) = view.around
    with np.errstate(over="ignore", invalid="ignore"):
        return m - a0, a1 - a0, 4 * unit * (np.abs(a0) + np.abs(a1)) + sums * np.sqrt(m * m + v) * 0.1 + 1e-300


def factor_terms(view):
    """What `VarianceFactor.add` takes of a training step."""
    (unit, sums), (m, v) = _units(view), _averaged(view)
    (_, b0), (_, b1) = view.around
    with np.errstate(over="ignore", invalid="ignore"):
        lost = sums * (v + np.abs(m) * np.sqrt(v)) * 0.1
        return b0, b1, v, 4 * unit * (np.abs(b0) + np.abs(b1)) + lost + 1e-300
