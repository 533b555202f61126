"""How well a layer as it is declared explains many steps, each from the statistics before it."""

import numpy as np

from ...checker import error_bounds
from ...checker.comparison import compare_rows
from ...evidence.statistic_error import StatisticError


class BlockFit:
    """The predictions of each step of a `StepBlock`, under one variance convention, compared with what was observed.

    Attributes:
      expected: the predicted mean and variance, float64 [2, steps, channels].
      within: whether both are within the expected error in every channel, bool [steps].
    """

    def __init__(self, block, bessel):
        layer = block.layer
        self._block = block
        self._predicted = error_bounds.predictions(
            block.before,
            block.mean,
            block.variance,
            block.count,
            decay=block.decay,
            dtype=layer.dtype,
            rate_dtype=layer.rate_dtype,
            bessel=bessel,
            recurrence=layer.known_recurrence,
            variance_from=layer.variance_from,
        )
        self._shares = error_bounds.largest_shares(block.after, self._predicted[0], self._predicted[1])

    @property
    def expected(self):
        return self._predicted[0]

    @property
    def variance(self):
        """The predicted variance, float64 [steps, channels]."""
        return self._predicted[0, 1]

    @property
    def variance_bound(self):
        """How far the variance of a correct layer can be from it at most, float64 [steps, channels]."""
        return self._predicted[2, 1]

    @property
    def within(self):
        return ~np.isnan(self._shares).any(axis=0)

    def part(self, start, end):
        """The `BlockFit` of some of the steps."""
        part = BlockFit.__new__(BlockFit)
        part._block = self._block.part(start, end)
        part._predicted, part._shares = self._predicted[:, :, start:end], self._shares[:, start:end]
        return part

    def add_to(self, worst):
        """Add the steps, all of which are `within`, to a `WorstFit`."""
        worst.add_within(self._shares, self._block.numbers, self._error)

    def _error(self, statistic, step):
        values = (self._block.after, *self._predicted)
        rows = [each[statistic, step, np.newaxis] for each in values]
        (compared,) = compare_rows(*rows, self._block.layer.dtype)
        return StatisticError.of(compared, np.arange(rows[0].size), self._block.numbers[step])
