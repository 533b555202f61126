"""What a variant of the layer should give, step by step, with the bounds of a correctly rounded layer.

docs/design/error-bounds.md says why the bounds hold on a GPU too, and what they do not cover: cuDNN, whose source is
closed, may form E[x^2] - E[x]^2. The `limit` of a quantity allows for that.
"""

import dataclasses

import numpy as np

from ... import checker
from ...checker import error_bounds, outputs
from ...checker.roundoff import UNIT_ROUNDOFF
from .. import article

QUANTITIES = ("training_output", "test_output", "moving_mean", "moving_variance")


@dataclasses.dataclass(frozen=True)
class ExpectedQuantity:
    """One quantity at one moment.

    Attributes:
      quantity: one of QUANTITIES.
      when: "before training", "of step 1", "after step 1" or "after training", for all steps.
      value: float64, the expected value.
      bound: in the shape of ``value``, how far a correctly rounded layer may be off.
      limit: the same for a layer that computes the variance as E[x^2] - E[x]^2 in float32; at least ``bound``.
    """

    quantity: str
    when: str
    value: np.ndarray
    bound: np.ndarray
    limit: np.ndarray


class ExpectedRun:
    """What a variant should give on its batches, whatever the data format and the device.

    Args:
      variant: a `grid.Variant`.
      decay: that of the moving statistics.

    Attributes:
      decay: as given.
      quantities: an `ExpectedQuantity` for every statistic and output, in order: before training, after each step, and
        the test's output with the expected statistics.
    """

    def __init__(self, variant, decay):
        *batches, self._test_batch = variant.batches()
        channels = variant.shape[-1]
        self._variant, self.decay = variant, decay
        start = np.full(channels, float(article.INITIAL_MEAN)), np.full(channels, float(article.INITIAL_VARIANCE))
        stats = checker.MovingStats(
            *start,
            decay=decay,
            bessel=variant.fused,
            dtype=variant.statistics_dtype,
            replay_bytes=outputs.EVERY_BATCH,
        )
        exact = np.zeros(channels)
        self.quantities = [
            ExpectedQuantity(name, "before training", value, exact, exact)
            for name, value in zip(QUANTITIES[2:], start, strict=True)
        ]
        accumulated = exact  # what subtracted squares add to the error of the moving variance
        for step, batch in enumerate(batches, 1):
            batch_stats = outputs.batch_statistics(batch, variant.statistics_dtype)
            moments = checker.batch_moments(batch)
            extra = subtracted_squares(moments)
            self.quantities.append(self._output("training_output", f"of step {step}", batch, batch_stats, extra))
            stats.update(batch)
            accumulated = accumulated * decay + extra * moments.count / (moments.count - 1) * (1 - decay)
            when = f"after step {step}"
            bound = stats.variance_bound
            self.quantities += [
                ExpectedQuantity("moving_mean", when, stats.mean, stats.mean_bound, stats.mean_bound),
                ExpectedQuantity("moving_variance", when, stats.variance, bound, bound + accumulated),
            ]
        self.quantities.append(self._output("test_output", "after training", self._test_batch, stats, accumulated))

    def _output(self, quantity, when, batch, stats, extra):
        value, bound = self._normalised(batch, stats.mean, stats.variance, stats.mean_bound, stats.variance_bound)
        _, limit = self._normalised(batch, stats.mean, stats.variance, stats.mean_bound, stats.variance_bound + extra)
        return ExpectedQuantity(quantity, when, value, bound, np.maximum(bound, limit))

    def _normalised(self, batch, *statistics):
        dtype = self._variant.statistics_dtype
        stored = None if dtype == self._variant.dtype else self._variant.dtype
        return outputs.expected_output(batch, *statistics, dtype=dtype, stored=stored, epsilon=article.EPSILON)

    def test_output(self, mean, variance):
        """The `ExpectedQuantity` of the test's output with the statistics that the layer really had, [C] each."""
        value, bound = self._normalised(self._test_batch, mean.astype(np.float64), variance.astype(np.float64))
        return ExpectedQuantity("test_output", "after training", value, bound, bound)


def subtracted_squares(moments):
    """How far off E[x^2] - E[x]^2 in float32 can be beyond the bound of the variance; float64 [C].

    The derivation is in docs/design/error-bounds.md.
    """
    squares = moments.mean**2 + moments.variance
    unit = UNIT_ROUNDOFF["float32"]
    return error_bounds.DEVIATIONS * 3 * error_bounds.ROUNDING * unit * squares * np.sqrt(moments.count / 3 + 4)
