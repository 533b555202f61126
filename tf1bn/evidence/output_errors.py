"""What outputs inherit from wrong statistics, and what the layer's own arithmetic adds to them."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..checker.roundoff import SMALLEST


@dataclasses.dataclass(frozen=True)
class OutputError:
    """An error of the outputs: root mean square over the values of one channel in one application, in their unit.

    Attributes:
      error, bound: of the channel, application and step where the error is largest against its bound.
      step, channel, training: where that is.
    """

    error: float
    bound: float
    step: int
    channel: int
    training: bool


class OutputErrors:
    """The largest errors of a layer's outputs; nothing is known about them if the layer declares no epsilon.

    The expected output is gamma (x - M) / sqrt(V + epsilon) + beta in real numbers, of the recorded x, gamma and beta.

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
          line: the `output_fit.OutputLine` of the outputs.
          expected: a function without arguments that returns the expected moving mean and variance and the bounds of
            both, [channels] each, or None; called only if they are needed.
        """
        if self._epsilon is None:
            return
        moments, gamma, beta = line.moments, line.gamma, line.beta
        mean, variance, mean_bound, variance_bound = line.statistics
        slope, centre, rest = line.fitted
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            own_slope, own_centre = self._line(moments, mean, variance, gamma, beta)
            # The line through the outputs and their distance from it are orthogonal, so squares add up.
            off = np.where(moments.variance > 0, slope - own_slope, 0.0)
            added = np.sqrt(off**2 * moments.variance + (centre - own_centre) ** 2 + rest**2)
            size = np.sqrt(moments.mean**2 + moments.variance) + np.abs(mean)
            rounding = line.unit * (8 * np.abs(own_slope) * size + 4 * (np.abs(centre) + np.abs(beta)))
            rounding += SMALLEST["float64"]
            bound = rounding + self._spread(moments, mean, variance, mean_bound, variance_bound, gamma)
            self._added.take(added, bound, number, line)
            if line.training:
                inherited = bound = np.zeros_like(added)
            elif (statistics := expected()) is None:
                return
            else:
                mean, variance, mean_bound, variance_bound = (values[line.mask] for values in statistics)
                true_slope, true_centre = self._line(moments, mean, variance, gamma, beta)
                inherited = np.hypot((own_slope - true_slope) * np.sqrt(moments.variance), own_centre - true_centre)
                bound = self._spread(moments, mean, variance, mean_bound, variance_bound, gamma)
        self._inherited.take(inherited, bound, number, line)

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
    """The `OutputError` that is largest against its bound, of any number of `take`; None before the first."""

    def __init__(self):
        self.error, self._share = None, -1.0

    def take(self, error, bound, number, line):
        """Take errors and bounds, [channels of the line] each."""
        with np.errstate(invalid="ignore", divide="ignore"):
            share = np.where(error == 0, 0.0, error / bound)
        share = np.where(np.isfinite(error), np.where(np.isnan(share), np.inf, share), -1.0)
        # Of the channels with the largest share, the last one with the largest error.
        worst = np.flatnonzero(share == share.max())[::-1]
        at = int(worst[np.argmax(error[worst])])
        if share[at] < 0 or (self.error is not None and (share[at], error[at]) <= (self._share, self.error.error)):
            return
        self._share = float(share[at])
        channel = int(np.flatnonzero(line.mask)[at])
        self.error = OutputError(float(error[at]), float(bound[at]), number, channel, line.training)
