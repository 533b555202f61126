"""What is wrong in the values of a layer's statistics and inputs, whatever the updates should have been."""

import array
import dataclasses
import math

import numpy as np

from ..verdicts import FINDING, UNDECIDABLE
from .fitting import IMPOSSIBLE, WorstFit, badness, fit_step
from .hypotheses import Hypothesis


@dataclasses.dataclass(frozen=True)
class NotFinite:
    """The first statistics that are NaN or infinite.

    Attributes:
      step: the number of the step.
      when: "before" or "after" it.
      statistic: "moving mean" or "moving variance".
      channels: their indices.
      from_input: whether the input is not finite in any of them either.
    """

    step: int
    when: str
    statistic: str
    channels: np.ndarray
    from_input: bool


@dataclasses.dataclass(frozen=True)
class NegativeVariance:
    """The first moving variance below 0.

    Attributes:
      step: the number of the step.
      when: "before" or "after" it.
      channel: that of the most negative one; value: what it is.
    """

    step: int
    when: str
    channel: int
    value: float


class Anomalies:
    """The anomalies of one layer over the steps of a trace.

    Args:
      conventions: the variance conventions to try, as booleans for Bessel's correction.

    Attributes:
      moved_in_tests: the steps without training that changed the statistics.
      leak: the `WorstFit` of such changes to an update with the step's own batch.
      not_finite: the first `NotFinite` that no empty batch and no single value explains; or None.
      not_updated_with_input: (step, channels) where the input is not finite and the statistics are; or None.
      bad_variance: the `NegativeVariance`; or None.
      dead: bool [channels], the moving variance is 0 in all steps; None before the first step.
      still_zero: whether both statistics are 0 in all channels, before and after each step.
      empty: how many training steps had an empty batch and left NaN; first_empty: the first with an empty batch.
      single: how many training steps had one value per channel; first_single: the first of them.
      single_nan: in how many of them only the moving variance became NaN.
    """

    def __init__(self, conventions):
        self._conventions = conventions
        self.moved_in_tests, self.leak = array.array("q"), WorstFit()
        self.not_finite = self.not_updated_with_input = self.bad_variance = self.dead = None
        self.still_zero = True
        self.empty = self.single = self.single_nan = 0
        self.first_empty = self.first_single = None

    def add(self, number, view):
        """Take a step, as `step_view.View`."""
        self._variances(number, view)
        self.still_zero = self.still_zero and not view.before.any() and not view.after.any()
        if view.updates:
            self._train(number, view)
        else:
            self._look_for_not_finite(number, view)
            if not view.unmoved:
                self._moved(number, view)

    def add_block(self, block):
        """Take the training steps of a `StepBlock`, in which all is finite and no variance negative."""
        self.still_zero = self.still_zero and not block.before.any() and not block.after.any()
        if self.dead.any():
            self.dead = self.dead & (block.before[1] == 0).all(axis=0) & (block.after[1] == 0).all(axis=0)

    def _variances(self, number, view):
        for when, (_, variance) in (("before", view.before), ("after", view.after)):
            if self.bad_variance is None and (variance < 0).any():
                channel = int(np.argmin(np.where(np.isnan(variance), np.inf, variance)))
                self.bad_variance = NegativeVariance(number, when, channel, float(variance[channel]))
        zero = (view.before[1] == 0) & (view.after[1] == 0)
        if not view.counts or max(view.counts) <= 1:
            zero &= not view.updates
        self.dead = zero if self.dead is None or self.dead.shape != zero.shape else self.dead & zero

    def _look_for_not_finite(self, number, view):
        if self.not_finite is not None:
            return
        for when, values in (("before", view.before), ("after", view.after)):
            bad = ~np.isfinite(values)
            if not bad.any():
                continue
            channels = bad.any(axis=0)
            from_input = any(
                ((~np.isfinite(moments.mean) | ~np.isfinite(moments.variance)) & channels).any()
                for moments in view.all_moments or ()
            )
            statistic = "moving mean" if bad[0].any() else "moving variance"
            self.not_finite = NotFinite(number, when, statistic, np.flatnonzero(channels), from_input)
            return

    def _train(self, number, view):
        if 0 in view.counts:
            # An empty batch makes the statistics NaN, which is a cause of its own.
            self.first_empty = number if self.first_empty is None else self.first_empty
            self.empty += bool(np.isnan(view.after).all())
            return
        if view.counts and max(view.counts) == 1:
            self.first_single = number if self.first_single is None else self.first_single
            self.single += 1
            self.single_nan += bool(np.isnan(view.after[1]).all() and np.isfinite(view.after[0]).all())
            explained = self.single_nan
        else:
            explained = not view.wrong_shape and (self.empty or self.single_nan)
        if not explained:
            self._look_for_not_finite(number, view)
        if self.not_updated_with_input is None and view.counts and not view.finite.all():
            clean = np.isfinite(view.before).all(axis=0) & np.isfinite(view.after).all(axis=0) & ~view.finite
            if clean.any():
                self.not_updated_with_input = number, np.flatnonzero(clean)

    def _moved(self, number, view):
        """Take a step without training that changed the statistics."""
        self.moved_in_tests.append(number)
        updated = view.with_all_updates()
        if updated.finite.any() and None not in updated.decays and updated.all_moments is not None:
            hypotheses = [Hypothesis(order=order) for order in ("successive", "any")]
            fits = [fit_step(updated, each, bessel) for each in hypotheses for bessel in self._conventions]
            fit = min(fits, key=badness)
            if fit.verdict != FINDING and not _tells(fit, updated):
                # The bounds are so wide that no update at all would lie within them, too.
                fit = dataclasses.replace(fit, verdict=UNDECIDABLE, misfit=math.inf)
            self.leak.add(fit, number)
        else:
            self.leak.add(IMPOSSIBLE, number)


def _tells(fit, view):
    """Whether the prediction of a `Fit` differs from the statistics before by more than its bounds in any channel."""
    if fit.stats is None:
        return True
    predicted = np.stack([fit.stats.mean, fit.stats.variance])
    bound = np.stack([fit.stats.mean_bound, fit.stats.variance_bound])
    return bool((np.abs(predicted - view.around[0]) > bound).any())
