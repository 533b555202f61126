"""The error of one statistic after one update, in the channel where it is largest, with the two bounds of rounding."""

from __future__ import annotations

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class StatisticError:
    """How far the moving mean or variance is from what its step's update should make of the values before it.

    Attributes:
      step: the number of the step; channel: the index of the channel.
      observed, expected: the values after the step.
      error: the absolute difference.
      expected_error: how far rounding is expected to take a correct layer on this data; within it all is well.
      worst_case: how far rounding can take a correct layer at most; beyond it the layer is wrong. The same as the
        expected error where the batches were replayed.
    """

    step: int
    channel: int
    observed: float
    expected: float
    error: float
    expected_error: float
    worst_case: float

    @classmethod
    def of(cls, compared, channels, step):
        """The `StatisticError` of a `checker.Comparison`; None if it has no channel with finite numbers.

        Args:
          compared: the comparison.
          channels: int array, the index in the layer of each channel that was compared.
          step: the number of the step.
        """
        if compared.worst is None:
            return None
        return cls(
            step,
            int(channels[compared.worst]),
            compared.observed,
            compared.expected,
            compared.error,
            compared.expected_error,
            compared.worst_case,
        )

    @property
    def is_wrong(self):
        """Whether no correct layer is so far off."""
        return not self.error <= self.worst_case

    @property
    def allowed(self):
        """The bound that decides: the worst case for an error that is beyond it, and else the expected error."""
        return self.worst_case if self.is_wrong else self.expected_error

    @property
    def share(self):
        """The error in units of `allowed`; inf where none is allowed and there is one."""
        if self.error == 0:
            return 0.0
        return self.error / self.allowed if self.allowed > 0 else math.inf

    def __str__(self):
        more = "too high" if self.observed > self.expected else "too low"
        return f"{self.error:.3g} {more} in channel {self.channel} of step {self.step}"
