"""What one pass over a trace shows about a layer, step by step, in memory of its channels."""

import array
import copy

import numpy as np

from ..evidence import averaged
from ..evidence.error_propagation import StatisticErrors
from ..evidence.estimators import Estimates
from ..evidence.gaps import Gaps
from ..evidence.output_errors import OutputErrors
from ..evidence.output_fit import OutputFit
from ..evidence.population import Population
from ..verdicts import FINDING, OK
from .anomalies import Anomalies
from .fitting import IMPOSSIBLE, WorstFit, badness, fit_step
from .hypotheses import Hypothesis


class Declared:
    """What a layer and its training steps declare.

    Attributes:
      layer: the `trace.Layer`.
      bessel: the declared variance convention, whether it has Bessel's correction; False if none is declared.
      conventions: the conventions that the declaration allows, one or both of False and True.
      decays: the set of the decays of the training steps; decay_known: whether each of them has one.
      always_one, always_zero: whether the decay is 1, or 0, in every training step; ones, zeros: the numbers of the
        steps in which it is.
      start_weight: how much of the statistics is still their start value, after all updates.
      applications: the largest number of updates in a step; batches: of batches that come into them.
      reduction: how the trace says that the batches of replicas become one update, "mean" or "pooled"; or None.
      counts: the set of the numbers of values per channel of the batches.
      recomputed: whether an update of any step repeated an earlier one, in a backward pass.
      from_moments: whether moments are recorded instead of inputs in any training step.
    """

    def __init__(self, layer):
        self.layer = layer
        self.bessel = bool(layer.fused)
        self.conventions = (False, True) if layer.fused is None else (self.bessel,)
        self.decays, self.decay_known = set(), True
        self.always_one = self.always_zero = True
        self.ones, self.zeros = array.array("q"), array.array("q")
        self.start_weight = 1.0
        self.applications = self.batches = 1
        self.reduction = None
        self.recomputed = False
        self.counts, self.from_moments = set(), False
        self._batch, self._run, self._runs, self._twice = None, 0, 0, True

    @property
    def every_batch_twice(self):
        """Whether the steps train with two or more batches, and with each of them in two steps in a row."""
        return self._twice and self._run == 2 and self._runs >= 1

    def _follow_batches(self, view):
        """Take note of whether the batch of a step is that of the step before."""
        batch = None
        if len(view.updates) == 1 and view.all_moments and not view.left_out:
            moments = view.update_moments[0]
            batch = moments.count, moments.mean.tobytes(), moments.variance.tobytes()
        if batch is not None and batch == self._batch:
            self._run += 1
        else:
            if self._run:
                self._twice &= self._run == 2
                self._runs += 1
            self._run = 1
        self._batch = batch

    def add(self, number, view):
        """Take a training step."""
        self.applications = max(self.applications, len(view.updates))
        self.batches = max(self.batches, view.batch_count)
        self.reduction = self.reduction or view.reduction
        recomputed = getattr(view.record, "recomputed", None)
        self.recomputed |= recomputed is not None and any(recomputed[i] for i in view.updates)
        self._follow_batches(view)
        self.decay_known &= view.decay is not None
        if view.left_out:
            self.start_weight = (
                0.0  # not known: the steps that were left out count, and how many of them trained is open
            )
        if view.decay is not None:
            self.decays.add(view.decay)
            self.start_weight *= view.decay ** len(view.updates)
        self.always_one &= view.decay == 1
        self.always_zero &= view.decay == 0
        if view.decay in (0, 1):
            (self.ones if view.decay else self.zeros).append(number)
        self.counts.update(view.counts)
        self.from_moments |= view.record.inputs is None

    @property
    def decay(self):
        """The decay of all training steps, or None if it is not known or not the same in all."""
        return next(iter(self.decays)) if len(self.decays) == 1 else None


class Progress:
    """How far a layer has come in its steps.

    Attributes:
      steps: how many steps hold the layer; trained: how many of them train it; tested: the others.
      updates: how many updates it had; a step without training that moved the statistics counts as its applications.
      first: the number of the first step, by what happened in it: "seen", "trained", "moved" without training.
      fresh: whether the statistics were (0, 1) before the first step; None before it.
      start_is_bad: whether they were negative or not finite there.
      initial: whether they were then, and are so after the last step.
      affine_trained: whether gamma or beta has other values than an initializer gives, in the last step.
      affine_trained_before: whether one of them had before the first step.
      affine_moved: the number of steps without training after which gamma or beta were others and the statistics not.
      unmoved: whether every training step left the statistics as they were, bit by bit.
      with_affine: how many training steps moved the statistics and changed gamma or beta, as the next step shows.
      without_affine: the numbers of those that moved the statistics alone.
    """

    def __init__(self):
        self.steps = self.trained = self.tested = self.updates = 0
        self.first = {}
        self.fresh = None
        self.start_is_bad = False
        self.initial = self.affine_trained = self.affine_trained_before = False
        self.affine_moved = 0
        self.unmoved = True
        self.with_affine, self.without_affine = 0, array.array("q")
        self._last = None  # the number of the last step, if it moved the statistics in training, with gamma and beta
        self._untrained = None  # gamma, beta and the statistics after the last step, where that did not train

    def add(self, number, view):
        """Take a step."""
        self.steps += 1
        self.first.setdefault("seen", number)
        if self.fresh is None:
            self.fresh = _is_initial(view.before)
            self.start_is_bad = not np.isfinite(view.before).all() or bool((view.before[1] < 0).any())
        self.initial = self.fresh and _is_initial(view.after)
        gamma, beta = view.record.gamma, view.record.beta
        self.affine_trained = bool((gamma is not None and (gamma != 1).any()) or (beta is not None and beta.any()))
        self.affine_trained_before |= self.affine_trained and self.steps == 1
        state = tuple(None if values is None else values.tobytes() for values in (gamma, beta))
        if self._last is not None and not view.left_out and state != (None, None):
            if self._last[1] != state:
                self.with_affine += 1
            else:
                self.without_affine.append(self._last[0])
        self._last = (number, state) if view.updates and not view.unmoved else None
        if self._untrained is not None and self._untrained[1] == view.before.tobytes() and self._untrained[0] != state:
            self.affine_moved += 1
        self._untrained = None if view.updates else (state, view.after.tobytes())
        if view.updates:
            self.trained += 1
            self.first.setdefault("trained", number)
            self.unmoved &= view.unmoved
            self.updates += len(view.updates)
        else:
            self.tested += 1
            if not view.unmoved:
                self.first.setdefault("moved", number)
                self.updates += len(view.training)


def _is_initial(statistics):
    return bool((statistics[0] == 0).all() and (statistics[1] == 1).all())


class ConventionFit:
    """A layer as it is declared, under one variance convention.

    Attributes:
      worst: the `WorstFit` of the training steps.
      statistic_errors: the `StatisticErrors`; output_errors: the `OutputErrors`.
    """

    def __init__(self, layer, bessel):
        self.worst = WorstFit()
        self.statistic_errors = StatisticErrors(layer, bessel)
        self.output_errors = OutputErrors(layer.epsilon)


class Survey:
    """A layer over the steps that hold it.

    Args:
      layer: the `trace.Layer`.
      observe: None, or called after each training step that was compared with the step's number, its `View` and the
        `checker.MovingStats` of the layer as it is declared, or None.
      framework: the name of the framework that the trace says it is of, or None.

    Attributes:
      declared: `Declared`; progress: `Progress`; estimates: `Estimates`; anomalies: `Anomalies`.
      outputs: the `OutputFit` of the steps; gaps: the `Gaps` between them.
      population: the `Population` of the data of inference steps.
      fits: `ConventionFit` by convention, for each convention that the layer's declaration allows.
      accepted: `WorstFit` by convention, of what the layer is compared with in the end: those of ``fits``, or the
        explanation that takes their place.
      missing: what the trace would have to hold so that the training steps can be compared, in words; or None.
      reduction: how the batches of a step became one update, "mean", "pooled" or the index of one, where the numbers
        show another way than the trace declares; else None.
    """

    def __init__(self, layer, observe=None, framework=None):
        self.framework = framework
        self.declared, self.progress, self.estimates = Declared(layer), Progress(), Estimates(layer)
        self.anomalies = Anomalies(self.declared.conventions)
        self.outputs, self.population = OutputFit(), Population()
        self.gaps = Gaps(layer, self.declared.conventions)
        self.fits = {bessel: ConventionFit(layer, bessel) for bessel in self.declared.conventions}
        self.accepted = {bessel: fit.worst for bessel, fit in self.fits.items()}
        self.missing = self.reduction = None
        self._observe = observe

    @property
    def layer(self):
        """The `trace.Layer`."""
        return self.declared.layer

    @property
    def best(self):
        """The `WorstFit` of the accepted convention that fits better."""
        return min(self.accepted.values(), key=badness)

    @property
    def declared_fit(self):
        """The `WorstFit` of the declared convention, or of the explanation that takes its place."""
        return self.accepted.get(self.declared.bessel) or next(iter(self.accepted.values()))

    @property
    def best_fit(self):
        """The `ConventionFit` that fits better, before any explanation."""
        return min(self.fits.values(), key=lambda fit: badness(fit.worst))

    @property
    def shown_convention(self):
        """Which convention the training steps show: False, True, or None if they fit both or none."""
        fitting = [bessel for bessel, worst in self.accepted.items() if worst.verdict == OK and worst.steps]
        if len(fitting) == 2:
            return self.estimates.shown_convention()
        return fitting[0] if fitting else None

    def explained(self, explanation):
        """A copy of this survey in which an `Explanation` has taken the place of what was declared."""
        result = copy.copy(self)
        if explanation.accepted is not None:
            result.accepted = explanation.accepted
        if explanation.outputs is not None:
            result.outputs = explanation.outputs
        if explanation.reduction is not None:
            result.reduction = explanation.reduction
        return result

    @property
    def starts_wrong(self):
        """Whether the statistics were negative or not finite before the first step already."""
        return self.progress.start_is_bad

    @property
    def is_wrong(self):
        """Whether the training steps are not, or may not be, as declared, so that a cause has to be searched for."""
        if not self.progress.trained or self.progress.unmoved or self.missing:
            return False
        verdicts = {worst.verdict for worst in self.accepted.values()}
        if not self.declared.decay_known or verdicts == {FINDING}:
            return True
        return (
            OK not in verdicts
            and self.layer.rate_dtype is not None
            and self.estimates.rate_rounding.shown() is not None
        )

    def add(self, number, view):
        """Take a step, as `step_view.View`."""
        updates_before = self.progress.updates
        self.progress.add(number, view)
        self.gaps.add(number, view)
        if not self.progress.trained:
            self.population.add(number, view)
        for fit in self.fits.values():
            fit.statistic_errors.before_updates(number, view, updates_before)
        self.outputs.add(number, view)
        for line in self.outputs.lines:
            for fit in self.fits.values():
                fit.output_errors.add(number, line, fit.statistic_errors.expected)
        if view.updates:
            self.declared.add(number, view)
        self.anomalies.add(number, view)
        step_fits = self._train(number, view, updates_before) if view.updates else {}
        for bessel, fit in self.fits.items():
            fit.statistic_errors.after_updates(step_fits.get(bessel))

    def _train(self, number, view, updates_before):
        """Compare a training step; returns its `Fit` as declared by convention, or nothing if it cannot be."""
        if view.wrong_shape:
            for fit in self.fits.values():
                fit.worst.add(IMPOSSIBLE, number)
            return {}
        if 0 in view.counts or not view.finite.any():
            return {}
        self.missing = self.missing or averaged.lacks_state(view, self.progress.fresh)
        if self.missing:
            return {}
        self.estimates.add(number, view)
        if view.decay is None:
            return {}
        step_fits = {bessel: fit_step(view, Hypothesis(), bessel, updates_before) for bessel in self.fits}
        for bessel, fit in step_fits.items():
            self.fits[bessel].worst.add(fit, number)
        if self._observe is not None:
            self._observe(number, view, step_fits[self.declared.bessel].stats)
        if len(step_fits) == 2 and all(fit.stats is not None for fit in step_fits.values()):
            population, bessel = step_fits[False], step_fits[True]
            self.estimates.add_conventions(view, population.stats, bessel.stats, bessel.comparison.resolution)
        return step_fits
