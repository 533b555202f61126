"""What one pass over a trace shows about a layer, step by step or many steps together, in memory of its channels."""

import copy

import numpy as np

from ...evidence import averaged
from ...evidence.error_propagation import StatisticErrors
from ...evidence.estimators import Estimates
from ...evidence.gaps import Gaps
from ...evidence.outputs.errors import OutputErrors
from ...evidence.outputs.fit import OutputFit
from ...evidence.population import Population
from ...verdicts import FINDING, OK
from ..anomalies import Anomalies
from ..fitting import IMPOSSIBLE, WorstFit, badness, fit_step
from ..hypotheses import Hypothesis
from .batch_count import BatchCount
from .block_fit import BlockFit
from .declared import Declared
from .progress import Progress
from .rate_rounding import RateRounding


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
      declared: `Declared`; progress: `Progress`; estimates: `Estimates`; rate_rounding: `RateRounding`; anomalies:
        `Anomalies`.
      outputs: the `OutputFit` of the steps; gaps: the `Gaps` between them; counted: the `BatchCount`.
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
        self.declared, self.progress, self.estimates = Declared(layer), Progress(), Estimates()
        self.anomalies = Anomalies(self.declared.conventions)
        self.rate_rounding = RateRounding(layer)
        self.outputs, self.population = OutputFit(), Population()
        self.gaps, self.counted = Gaps(layer, self.declared.conventions), BatchCount()
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
        return OK not in verdicts and self.layer.rate_dtype is not None and self.rate_rounding.shown() is not None

    def add(self, number, view):
        """Take a step, as `step_view.View`."""
        updates_before = self.progress.updates
        self.progress.add(number, view)
        gaps = len(self.gaps.found)
        self.gaps.add(number, view)
        self.counted.add(number, view, len(self.gaps.found) > gaps)
        if not self.progress.trained:
            self.population.add(number, view)
        for fit in self.fits.values():
            fit.statistic_errors.before_updates(number, view, updates_before)
        self._add_output(number, view)
        if view.updates:
            self.declared.add(number, view)
        self.anomalies.add(number, view)
        step_fits = self._train(number, view, updates_before) if view.updates else {}
        for bessel, fit in self.fits.items():
            fit.statistic_errors.after_updates(step_fits.get(bessel))

    def add_block(self, block):
        """Take a `StepBlock`: what is within the bounds many steps at a time, and everything else step by step."""
        fits = {bessel: BlockFit(block, bessel) for bessel in self.fits}
        # A step that follows from the one before it, and is as the layer declares under each convention.
        usual = ~block.negative
        for fit in fits.values():
            usual &= fit.within
        start = 0
        while start < len(block):
            end = start
            if usual[start] and self._follows(block, start):
                going = usual[start:] & np.append(True, block.continues[start + 1 :])
                end = len(block) if going.all() else start + int(going.argmin())
            if end > start:
                part = block.part(start, end)
                self._add_usual(part, {bessel: fit.part(part, start, end) for bessel, fit in fits.items()})
            else:
                self.add(block.numbers[start], block.view(start))
                end = start + 1
            start = end

    def _follows(self, block, start):
        """Whether a step of a block follows a training step without a gap."""
        if self.missing or not self.progress.follows_training or (start == 0 and block.left_out):
            return False
        return self.gaps.continued_by(block.before[:, start]) and self.anomalies.dead.size == block.mean.shape[1]

    def _add_usual(self, block, fits):
        """Take steps of a `StepBlock` that show nothing unusual, with the `BlockFit` of each convention."""
        self.progress.add_block(block)
        self.gaps.add_block(block)
        self.counted.add_block(block)
        self._add_outputs(block)
        self.declared.add_block(block)
        self.anomalies.add_block(block)
        self.estimates.add_block(block)
        self.rate_rounding.add_block(block)
        for bessel, fit in fits.items():
            fit.add_to(self.fits[bessel].worst)
            self.fits[bessel].statistic_errors.add_block(block, fit.last)
        if len(fits) == 2:
            self.estimates.add_conventions(block.after[1], fits[False], fits[True])
            last = fit_step(block.view(len(block) - 1), Hypothesis(), True)
            self.estimates.resolution = last.comparison.resolution

    def _add_output(self, number, view):
        """Take the outputs of a step, before its updates."""
        self.outputs.add(number, view)
        for line in self.outputs.lines:
            for fit in self.fits.values():
                fit.output_errors.add(number, line, fit.statistic_errors.expected)

    def _add_outputs(self, block):
        """Take those of a `StepBlock`, in which a layer trains, so that they show nothing of the moving statistics."""
        self.outputs.lines = []
        for i, number in enumerate(block.numbers if block.outputs else ()):
            self._add_output(number, block.view(i))

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
        self.rate_rounding.add(view)
        if None in view.decays:
            return {}
        step_fits = {bessel: fit_step(view, Hypothesis(), bessel, updates_before) for bessel in self.fits}
        for bessel, fit in step_fits.items():
            self.fits[bessel].worst.add(fit, number)
        if self._observe is not None:
            self._observe(number, view, step_fits[self.declared.bessel].stats)
        if len(step_fits) == 2 and all(fit.stats is not None for fit in step_fits.values()):
            population, bessel = step_fits[False], step_fits[True]
            self.estimates.add_conventions(view.after[1, view.finite], population.stats, bessel.stats)
            self.estimates.resolution = bessel.comparison.resolution
        return step_fits
