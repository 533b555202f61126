"""The outputs of one layer in two runs: what is inherited with the inputs, and what the layer adds.

The formula is OLD's, in float64: y = gamma (x - M) / sqrt(V + epsilon) + beta with OLD's epsilon. What it makes of
NEW's inputs, against what it makes of OLD's, is inherited. What NEW recorded, against what the formula makes of NEW's
inputs, is added, and is compared with the rounding that a layer of NEW's dtype may have on that data.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from ... import checker
from ...checker.roundoff import BFLOAT16_ROUNDOFF, SMALLEST, unit_roundoff
from .same_data import aligned, blocks, channels_last
from .worst_error import WorstError, largest, largest_of_channels

ROUNDINGS = 8.0  # of one output


@dataclasses.dataclass(frozen=True)
class OutputFormula:
    """y = scale (x - mean) + shift for one application, and the bound slope_bound |x - mean| + constant_bound of y.

    All are float64 arrays [channels].
    """

    scale: np.ndarray
    mean: np.ndarray
    shift: np.ndarray
    slope_bound: np.ndarray
    constant_bound: np.ndarray

    def outputs(self, inputs):
        """The outputs of inputs [elements, channels]."""
        return self.scale * (inputs - self.mean) + self.shift

    def bound(self, inputs):
        """How far rounding may move these outputs."""
        return self.slope_bound * np.abs(inputs - self.mean) + self.constant_bound

    def compare(self, inputs, observed):
        """Compares outputs with the formula's.

        Returns:
          expected, error: [elements, channels].
          worst: what `WorstError.add` takes, of the element of each channel that is farthest outside its bound.
        """
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            expected = self.outputs(inputs)
            error, bound = np.abs(observed - expected), self.bound(inputs)
            share = np.where(error == 0, 0.0, error / bound)
        return expected, error, largest_of_channels(share, error, bound, expected, observed)


class OutputComparison:
    """The outputs of one layer over all steps.

    Args:
      rule: the `LayerRule` of OLD.

    Attributes:
      check: `WorstError` of NEW's outputs against OLD's formula on NEW's inputs; None if no step holds outputs.
      inherited, added: the largest inherited and added error, in the unit of the outputs; None if not known.
      steps: how many steps were compared.
      unrecorded: those of "gamma" and "beta" that OLD records and NEW does not.
      without_them: `WorstError` of NEW's outputs against those of a layer that has no such gamma or beta.
      not_finite: None, or the first step with a NaN or infinity and a sentence about it.
      notes: sentences on why outputs were not compared.
    """

    def __init__(self, rule):
        self._epsilon = rule.epsilon
        self.check = self.inherited = self.added = self.not_finite = None
        self.steps = 0
        self.unrecorded, self.without_them = [], WorstError("outputs")
        self.notes = []

    def add(self, step, old, new, expected_statistics, direct, data):
        """Take the `View` of a step in OLD and in NEW.

        Args:
          step: its number.
          old, new: `View`.
          expected_statistics: the `checker.MovingStats` that NEW should hold before the step; None for those it holds.
          direct: the `DirectComparison`, which is given the outputs while it is possible.
          data: the `SameData` of all steps so far. Where their inputs are equal, bit for bit or up to rounding, what
            differs otherwise, gamma and the statistics among it, is the layer's own.
        """
        records = old.record, new.record
        if any(record.outputs is None or record.inputs is None for record in records):
            return
        if any(record.layer.renorm for record in records):
            self.notes = ["The outputs of layers with batch renormalisation are not compared."]
            return
        if (records[0].weights is None) != (records[1].weights is None) and any(old.record.training):
            self.notes = ["The outputs of training are not compared, because only one of the runs has weights."]
            return
        if self._epsilon is None or old.wrong_shape or new.wrong_shape or old.record.training != new.record.training:
            return
        self.steps += 1
        self.check = self.check or WorstError("outputs")
        lacks = [
            role
            for role in ("gamma", "beta")
            if getattr(old.record, role) is not None and getattr(new.record, role) is None
        ]
        self.unrecorded = lacks or self.unrecorded
        for i in range(len(old.record.training)):
            old_formula = _formula(old, i, self._epsilon)
            new_formula = _formula(new, i, self._epsilon, defaults=old.record, expected=expected_statistics)
            self._add_application(step, i, records, (old_formula, new_formula), direct, data)
            if lacks:
                self._add_without(step, i, new.record, _formula(new, i, self._epsilon, expected=expected_statistics))

    def _add_without(self, step, i, record, formula):
        for inputs, outputs in blocks(
            *(channels_last(arrays[i], record) for arrays in (record.inputs, record.outputs))
        ):
            *_, worst = formula.compare(inputs, outputs)
            self.without_them.add(step, *worst)

    def _add_application(self, step, i, records, formulas, direct, data):
        (old_inputs, old_outputs), (new_inputs, new_outputs) = (
            (channels_last(record.inputs[i], record), channels_last(record.outputs[i], record)) for record in records
        )
        (old_inputs, new_inputs), (old_outputs, new_outputs) = (
            aligned(*pair) for pair in ((old_inputs, new_inputs), (old_outputs, new_outputs))
        )
        of_old = [old_inputs] if old_inputs.shape == new_inputs.shape else []
        if of_old and direct.possible:
            of_old.append(old_outputs)
        old_formula, new_formula = formulas
        for inputs, outputs, *old_rows in blocks(new_inputs, new_outputs, *of_old):
            expected, error, worst = new_formula.compare(inputs, outputs)
            self.check.add(step, *worst)
            self.added = max(self.added or 0.0, largest(error))
            if not old_rows:
                continue
            with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
                of_the_original = old_formula.outputs(old_rows[0])
                carried = old_formula.outputs(inputs) if data.same else expected
                self._add_inherited(step, 0 * expected if data.bitwise else carried - of_the_original)
                if data.same:
                    self.added = max(self.added, largest(outputs - carried))
                if old_rows[1:]:
                    slope = 2 * (old_formula.slope_bound + new_formula.slope_bound)
                    constant = 2 * (old_formula.constant_bound + new_formula.constant_bound)
                    bound = slope * np.abs(inputs - new_formula.mean) + constant
                    direct.add_outputs(step, bound, old_rows[1], outputs)

    def _add_inherited(self, step, error):
        self.inherited = max(self.inherited or 0.0, largest(error))
        if not math.isfinite(self.inherited) and self.not_finite is None:
            text = f"In step {step} an input, or the output that follows from it, is NaN or infinite."
            self.not_finite = step, text


def _formula(view, i, epsilon, defaults=None, expected=None):
    """The `OutputFormula` of one application.

    Args:
      view: the `View` of the step.
      i: the application.
      epsilon: OLD's.
      defaults: None, or the record whose gamma and beta count where this one has none.
      expected: None, or the `checker.MovingStats` to use in place of the recorded moving statistics.
    """
    record = view.record
    mean, variance, mean_bound, variance_bound = _statistics(view, i, expected)
    zero = np.zeros(view.before.shape[1])
    gamma, shift = _parameter("gamma", record, defaults), _parameter("beta", record, defaults)
    gamma = np.ones_like(zero) if gamma is None else gamma.astype(np.float64)
    shift = zero if shift is None else shift.astype(np.float64)
    unit = unit_roundoff("float32", record.outputs[i].dtype, view.layer.dtype)
    if record.inputs[i].dtype == np.float16:
        unit = unit_roundoff("float16")
    if getattr(record, "outputs_dtype", None) == "bfloat16":
        unit = max(unit, BFLOAT16_ROUNDOFF)
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = gamma / np.sqrt(variance + epsilon)
        # How much steeper a variance at the lower end of its bound would make it.
        low = np.maximum(variance + epsilon - variance_bound, 0.0)
        steeper = np.where(gamma == 0, 0.0, np.abs(gamma) / np.sqrt(low) - np.abs(scale))
    size = np.abs(scale)
    slope_bound = ROUNDINGS * unit * size + steeper
    rounding = ROUNDINGS * unit * (2 * size * np.abs(mean) + np.abs(shift))
    constant_bound = rounding + (size + steeper) * mean_bound + SMALLEST["float32"] * 16
    return OutputFormula(scale, mean, shift, slope_bound, constant_bound)


def _statistics(view, i, expected):
    """Mean and variance that an application normalises by, and the bounds of both, [channels] each."""
    zero = np.zeros(view.before.shape[1])
    statistics = expected
    if view.record.training[i]:
        moments = view.all_moments[i]
        statistics = checker.MovingStats(zero, zero, decay=0.0, variance_from=view.layer.variance_from)
        statistics.update(checker.Moments(moments.count, moments.mean, moments.variance) if moments.count else moments)
    if statistics is None:
        return *view.before, zero, zero
    return statistics.mean, statistics.variance, statistics.mean_bound, statistics.variance_bound


def _parameter(role, record, defaults):
    value = getattr(record, role)
    return getattr(defaults, role) if value is None and defaults is not None else value
