"""How well a layer as it is declared explains many steps, each from the statistics before it."""

import functools

import numpy as np

from ...checker import error_bounds
from ...checker.comparison import compare_rows
from ...evidence.statistic_error import StatisticError


class BlockFit:
    """The predictions of each step of a `StepBlock`, under one variance convention, compared with what was observed.

    Attributes:
      within: whether mean and variance are within the expected error in every channel, bool [steps].
    """

    def __init__(self, block, bessel):
        layer = block.layer
        self._block = block
        self._steps = error_bounds.declared_steps(
            block.count,
            decay=block.decay,
            dtype=layer.dtype,
            rate_dtype=layer.rate_dtype,
            bessel=bessel,
            recurrence=layer.known_recurrence,
            variance_from=layer.variance_from,
        )
        self._shares = error_bounds.shares_of(self._steps, block.before, block.after, block.mean, block.variance)

    def _predictions(self, start, end):
        """Expected values, expected error and worst case of some steps, float64 [3, 2, steps, channels]."""
        block, steps = self._block, slice(start, end)
        before = np.ascontiguousarray(block.before[:, steps])
        return error_bounds.predictions(self._steps, before, block.mean[steps], block.variance[steps])

    @functools.cached_property
    def _predicted(self):
        return self._predictions(0, len(self._block))

    @property
    def last(self):
        """The predicted mean and variance of the last step, float64 [2, channels]."""
        return self._predictions(len(self._block) - 1, len(self._block))[0, :, 0]

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

    def part(self, block, start, end):
        """The `BlockFit` of some of the steps, which are this ``block``."""
        part = BlockFit.__new__(BlockFit)
        part._block, part._steps, part._shares = block, self._steps, self._shares[:, start:end]
        return part

    def add_to(self, worst):
        """Add the steps, all of which are `within`, to a `WorstFit`."""
        worst.add_within(self._shares, self._block.numbers, self._error)

    def _error(self, statistic, step):
        values = (self._block.after[:, step], *self._predictions(step, step + 1)[:, :, 0])
        rows = [each[statistic, np.newaxis] for each in values]
        (compared,) = compare_rows(*rows, self._block.layer.dtype)
        return StatisticError.of(compared, np.arange(rows[0].size), self._block.numbers[step])
