"""The moving statistics of one layer in two runs: NEW's against what OLD's rule makes of NEW's inputs, and OLD's."""

from __future__ import annotations

import numpy as np

from ... import checker
from ...evidence.step_view import COMPARABLE
from .worst_error import WorstError, largest, largest_of_channels


class StatisticComparison:
    """One statistic, the moving mean or the moving variance, over all steps.

    Attributes:
      name: "moving mean" or "moving variance".
      largest_difference: of NEW from OLD after any step; None before the first.
      predicted: `WorstError` of NEW against what OLD's rule makes of NEW's inputs from the start on.
    """

    def __init__(self, name):
        self.name = name
        self.largest_difference = None
        self.predicted = WorstError(name)

    def add_difference(self, old, new):
        """Take the statistic after a step in OLD and in NEW, [channels] each."""
        with np.errstate(invalid="ignore"):
            self.largest_difference = max(self.largest_difference or 0.0, largest(old - new))

    def add_predicted(self, step, expected, bound, observed):
        """Take the statistic of NEW after a training step, what is expected and its bound, [channels] each."""
        with np.errstate(invalid="ignore"):
            self.predicted.add(step, np.abs(observed - expected), bound, expected, observed)


class MovingStatistics:
    """Both statistics of a layer, and their prediction by OLD's rule over all steps.

    Args:
      rule: the `LayerRule` of OLD.
      old, new: the `View` of the first step, from whose statistics the predictions start.

    Attributes:
      mean, variance: `StatisticComparison`.
      training_steps: how many training steps were compared.
    """

    def __init__(self, rule, old, new):
        self.mean, self.variance = StatisticComparison("moving mean"), StatisticComparison("moving variance")
        self.training_steps = 0
        computable = _computable(old) and _computable(new)
        self._old, self._new = (predictor(rule, view) if computable else None for view in (old, new))
        self._predictable = rule.predictable and computable

    @property
    def both(self):
        """The two comparisons in the order of a `View`: mean, variance."""
        return self.mean, self.variance

    @property
    def expected(self):
        """The `checker.MovingStats` that OLD's rule makes of NEW's inputs so far; None if they cannot be predicted."""
        return self._new if self._predictable else None

    def stop_predicting(self):
        """Predict nothing from this step on."""
        self._predictable = False

    def add(self, step, old, new):
        """Take the `View` of a step in OLD and in NEW."""
        for i, comparison in enumerate(self.both):
            comparison.add_difference(old.after[i], new.after[i])
        if not old.updates:
            return
        self.training_steps += 1
        if not self._predictable or not _single_update(old, new):
            self.stop_predicting()
            return
        for stats, view in ((self._old, old), (self._new, new)):
            stats.update(view.update_moments[0], decay=old.decay)
        expected = self._new
        self.mean.add_predicted(step, expected.mean, expected.mean_bound, new.after[0])
        self.variance.add_predicted(step, expected.variance, expected.variance_bound, new.after[1])


def _single_update(old, new):
    """Whether a step updates the statistics once in both runs, with a known decay and by moments without weights."""
    if old.decay is None or not old.all_moments or not new.all_moments:
        return False
    return max(len(old.updates), len(new.updates)) == 1 and not old.weighted and not new.weighted


class DirectComparison:
    """NEW's numbers against OLD's own, as long as both runs get bitwise the same inputs.

    This is what counts where both layers do the same thing that OLD does not declare: then OLD's rule predicts nothing.

    Attributes:
      checks: dict from "outputs", "moving mean" and "moving variance" to `WorstError`.
      possible: whether all inputs so far were the same, and finite.
    """

    def __init__(self, rule):
        self._rule = rule
        self.checks, self.possible = {}, True
        self._bound = None

    def begin_step(self, bitwise):
        """Forget everything unless the inputs of all steps, this one included, are ``bitwise`` the same."""
        self.possible &= bitwise
        if not self.possible:
            self.checks = {}

    def add_outputs(self, step, bound, old, new):
        """Take some outputs of OLD and NEW and the bound of their distance, [elements, channels] each."""
        with np.errstate(invalid="ignore", over="ignore"):
            error = np.abs(new - old)
        self._check("outputs").add(step, *largest_of_channels(error, error, bound, old, new))

    def add_statistics(self, step, old, new):
        """Take the `View` of a step in OLD and in NEW; several updates in one step have no order."""
        if not old.updates or not self.possible or old.decay is None or not old.all_moments or not new.all_moments:
            return
        single = len(old.updates) == len(new.updates) == 1
        if not single or not all(view.finite.all() and _computable(view) for view in (old, new)):
            self.possible = False
            return
        for view in (old, new):
            stats = predictor(self._rule, view)
            stats.update(checker.Moments(view.counts[0], view.moments[0].mean, view.moments[0].variance))
            # Whatever both do in place of this update rounds about as often, twice at most.
            bound = 2 * np.stack([stats.mean_bound, stats.variance_bound])
            self._bound = bound if self._bound is None else self._bound + bound
        for i, name in enumerate(("moving mean", "moving variance")):
            error = np.abs(new.after[i] - old.after[i])
            self._check(name).add(step, error, self._bound[i], old.after[i], new.after[i])

    def _check(self, name):
        return self.checks.setdefault(name, WorstError(f"{name} against OLD's own"))


def _computable(view):
    """Whether the checker computes in the dtype of a layer's statistics."""
    return view.layer.dtype in COMPARABLE


def predictor(rule, view):
    """The `checker.MovingStats` that start from the statistics before a step and follow OLD's rule."""
    # NaN in the statistics is a finding elsewhere; here it makes every error NaN.
    return checker.MovingStats(
        *view.before,
        decay=view.decay if view.decay is not None else 1.0,
        bessel=bool(rule.bessel),
        dtype=view.layer.dtype,
        recurrence=view.layer.known_recurrence,
        variance_from=view.layer.variance_from,
        input_error=getattr(view.record, "input_error", 0.0),
    )
