"""What outputs inherit from wrong statistics, and what the layer's own arithmetic adds to them."""

from __future__ import annotations

import dataclasses

import numpy as np

from ...checker.roundoff import SMALLEST


@dataclasses.dataclass(frozen=True)
class OutputError:
    """An error of the outputs: root mean square over the values of one channel in one application, in their unit.

    Attributes:
      step, channel: where the error is largest against its bounds; training: the mode of that application.
      error: the error there.
      expected_error: how far rounding is expected to take a correct layer there.
      worst_case: how far rounding can take a correct layer at most; beyond it the outputs are wrong.
    """

    step: int
    channel: int
    training: bool
    error: float
    expected_error: float
    worst_case: float

    @property
    def is_wrong(self):
        """Whether no correct layer is so far off."""
        return not self.error <= self.worst_case


class OutputErrors:
    """The largest errors of a layer's outputs; nothing is known about them if the layer declares no epsilon.

    The expected output is gamma (x - M) / sqrt(V + epsilon) + beta in real numbers, of the recorded x, gamma and beta.
    docs/design/error-bounds.md derives both bounds.

    Args:
      epsilon: the layer's, or None.
    """

    def __init__(self, epsilon):
        self._epsilon = epsilon
        self._inherited, self._added = _Largest(), _Largest()

    @property
    def inherited(self):
        """The `OutputError` of what is expected with the observed (M, V) against what is expected with correct ones.

        In training both are the batch's own, and nothing is inherited. None if it is not known.
        """
        return self._inherited.error

    @property
    def added(self):
        """The `OutputError` of the recorded outputs against what is expected with the observed (M, V), or None."""
        return self._added.error

    def add(self, number, line, expected):
        """Take the outputs of one application.

        Args:
          number: the step's.
          line: the `outputs.fit.OutputLine` of the outputs.
          expected: a function without arguments that returns the expected moving mean and variance, the expected
            errors and the worst cases of both, [channels] each, or None; called only if they are needed.
        """
        if self._epsilon is None:
            return
        moments, gamma, beta = line.moments, line.gamma, line.beta
        mean, variance, *worst_case = line.statistics
        slope, centre, rest = line.fitted
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            own_slope, own_centre = self._line(moments, mean, variance, gamma, beta)
            # The line through the outputs and their distance from it are orthogonal, so squares add up.
            off = np.where(moments.variance > 0, slope - own_slope, 0.0)
            added = np.sqrt(off**2 * moments.variance + (centre - own_centre) ** 2 + rest**2)
            size = np.sqrt(moments.mean**2 + moments.variance) + np.abs(mean)
            rounding = line.unit * (8 * np.abs(own_slope) * size + 4 * (np.abs(centre) + np.abs(beta)))
            rounding += SMALLEST["float64"]
            bounds = [
                rounding + self._spread(moments, mean, variance, *errors, gamma)
                for errors in (line.expected_errors, worst_case)
            ]
            self._added.take(added, *bounds, number, line)
            if line.after_updates:
                return  # what they should be between the updates of a step is not known
            if line.training:
                self._inherited.take_none(number, line)
                return
            if (statistics := expected()) is None:
                return
            mean, variance, *errors = (values[line.mask] for values in statistics)
            true_slope, true_centre = self._line(moments, mean, variance, gamma, beta)
            inherited = np.hypot((own_slope - true_slope) * np.sqrt(moments.variance), own_centre - true_centre)
            bounds = [self._spread(moments, mean, variance, *pair, gamma) for pair in (errors[:2], errors[2:])]
        self._inherited.take(inherited, *bounds, number, line)

    def _line(self, moments, mean, variance, gamma, beta):
        """The slope of the expected output over the input, and its value at the batch's mean."""
        slope = gamma / np.sqrt(variance + self._epsilon)
        return slope, slope * (moments.mean - mean) + beta

    def _spread(self, moments, mean, variance, mean_bound, variance_bound, gamma):
        """How far statistics that are off by their bounds move the output."""
        gamma = np.abs(gamma)
        steepest = gamma / np.sqrt(np.maximum(variance - variance_bound, 0) + self._epsilon)
        steep = gamma / np.sqrt(variance + self._epsilon)
        flattest = gamma / np.sqrt(variance + variance_bound + self._epsilon)
        distance = np.hypot(np.sqrt(moments.variance), moments.mean - mean)
        return steepest * mean_bound + distance * np.maximum(steepest - steep, steep - flattest)


class _Largest:
    """The `OutputError` that is largest against its bounds, of any number of `take`; None before the first."""

    def __init__(self):
        self.error, self._rank = None, -1.0

    def take_none(self, number, line):
        """Take errors and bounds that are 0 in all channels."""
        if self.error is None:
            self._rank, last = 0.0, int(np.flatnonzero(line.mask)[-1])
            self.error = OutputError(number, last, line.training, 0.0, 0.0, 0.0)

    def take(self, error, expected_error, worst_case, number, line):
        """Take errors and both bounds, [channels of the line] each."""
        with np.errstate(invalid="ignore", divide="ignore"):
            # Up to 1 within the expected error, from 2 on beyond the worst case.
            share, of_worst = (np.where(error == 0, 0.0, error / bound) for bound in (expected_error, worst_case))
            rank = np.where(error <= expected_error, share, np.where(error <= worst_case, 1 + of_worst, 2 * of_worst))
        rank = np.where(np.isfinite(error), np.where(np.isnan(rank), np.inf, rank), -1.0)
        # Of the channels with the highest rank, the last one with the largest error.
        worst = np.flatnonzero(rank == rank.max())[::-1]
        at = int(worst[np.argmax(error[worst])])
        if rank[at] < 0 or (self.error is not None and (rank[at], error[at]) <= (self._rank, self.error.error)):
            return
        self._rank = float(rank[at])
        channel = int(np.flatnonzero(line.mask)[at])
        numbers = (float(values[at]) for values in (error, expected_error, worst_case))
        self.error = OutputError(number, channel, line.training, *numbers)
