"""The numbers of one layer in two runs, step by step: everything that the layer takes, holds and gives.

The layer function is OLD's. What it makes of NEW's inputs, against what it makes of OLD's, is inherited; what NEW
recorded, against what it makes of NEW's inputs, is added, and is compared with the rounding that a layer of NEW's dtype
may have on that data.
"""

from __future__ import annotations

import numpy as np

from ...evidence.step_view import View
from .moving_statistics import DirectComparison, MovingStatistics
from .outputs import OutputComparison
from .same_data import SameData
from .start_values import StartValues


class LayerHistory:
    """What one of the runs shows about a layer by itself.

    Args:
      run: "OLD" or "NEW".

    Attributes:
      not_finite: None, or the first step with a NaN or infinity and a sentence about it.
      changed_before: the first step before which the statistics changed without a step of the layer; None if none.
      trained: those of "gamma" and "beta" that in some step are not all 1 or not all 0.
    """

    def __init__(self, run):
        self._run, self._last = run, None
        self.not_finite = self.changed_before = None
        self.trained = set()

    def add(self, step, view):
        """Take the `View` of a step."""
        if self.not_finite is None and (what := _not_finite(view)) is not None:
            text = f"{self._run}'s {what} in step {step} contains NaN or infinity, so no comparison is possible."
            self.not_finite = step, text
        before = view.before.tobytes()
        if self._last is not None and self._last != before and self.changed_before is None:
            self.changed_before = step
        self._last = view.after.tobytes()
        for role, neutral in (("gamma", 1), ("beta", 0)):
            value = getattr(view.record, role)
            if value is not None and (value != neutral).any():
                self.trained.add(role)


class LayerComparison:
    """One matched layer over the steps that both runs hold.

    Args:
      rule: the `LayerRule` of OLD.
      mask_epsilons: for OLD and NEW what `View` takes as ``mask_epsilon``.

    Attributes:
      steps: how many steps were taken.
      data: `SameData` of the inputs.
      channels: those of OLD and NEW where they are not as many, and nothing else is compared; None otherwise.
      histories: the `LayerHistory` of OLD and NEW.
      weighted: for OLD and NEW, whether weights leave out or prefer some values in any training step.
      flags: list of (step, OLD's training flags, NEW's training flags) where they differ.
      stood_still: whether any step in which both runs train left NEW's statistics as they were.
      shifted_from: None, or the step from which on a step of NEW may not be the step of OLD that has its number.
      start: the `StartValues`; statistics: the `MovingStatistics`; both are None before a step could be compared.
      outputs: the `OutputComparison`.
      direct: the `DirectComparison`.
    """

    def __init__(self, rule, mask_epsilons=(0.0, 0.0)):
        self._rule, self._mask_epsilons = rule, mask_epsilons
        self.steps = 0
        self.data = SameData()
        self.channels = self.start = self.statistics = None
        self.histories = LayerHistory("OLD"), LayerHistory("NEW")
        self.flags, self.weighted, self.shifted_from = [], [False, False], None
        self.stood_still = False
        self.outputs, self.direct = OutputComparison(rule), DirectComparison(rule)

    def add(self, step, old, new):
        """Take the records of one step."""
        self.data.add(step, old, new)
        self.steps += 1
        pairs = zip((old, new), self._mask_epsilons, strict=True)
        views = old_view, new_view = tuple(View(record, mask_epsilon=epsilon) for record, epsilon in pairs)
        if old_view.withheld is not new_view.withheld and old.training == new.training:
            # One of the runs was told to leave its statistics alone: the other's rule is what shows that it did.
            views = old_view, new_view = tuple(v.with_all_updates() if v.withheld else v for v in views)
        if old_view.before.shape != new_view.before.shape:
            self.channels = old_view.before.shape[1], new_view.before.shape[1]
            return
        for history, view in zip(self.histories, views, strict=True):
            history.add(step, view)
        if self.start is None:
            self.start = StartValues(step, old, new, old_view, new_view)
            self.statistics = MovingStatistics(self._rule, old_view, new_view)
        for i, view in enumerate(views):
            self.weighted[i] |= bool(view.updates) and _leaves_out(view.record)
        if old.training != new.training:
            self.flags.append((step, old.training, new.training))
            self.statistics.stop_predicting()
        elif new_view.updates and new_view.unmoved:
            self.stood_still = True
        self.direct.begin_step(self.data.bitwise)
        self.outputs.add(step, old_view, new_view, self.statistics.expected, self.direct, self.data)
        self.direct.add_statistics(step, old_view, new_view)
        self.statistics.add(step, old_view, new_view)

    @property
    def modes(self):
        """Those of `flags` whose steps are the same in both runs."""
        return [flag for flag in self.flags if self.shifted_from is None or flag[0] < self.shifted_from]

    def add_modes(self, findings):
        """Add the cause of steps in which only one of the runs trains to the `Findings`."""
        if not self.flags:
            return
        if not self.modes:
            if self.shifted_from:
                findings.undecided.append(
                    f"In step {self.flags[0][0]} only one of the runs trains; from step {self.shifted_from} on they "
                    "get other data, so these may not be the same steps, and their modes were not compared."
                )
            return
        step, old, new = self.modes[0]
        where = f"step {step}" if len(self.modes) == 1 else f"{len(self.modes)} steps, first in step {step}"
        if any(old) and not any(new):
            findings.add("training-flag-off", f"OLD trains in {where} and NEW does not.")
        else:
            findings.add("batch-stats-at-inference", f"NEW trains in {where} and OLD does not, or fewer times.")

    @property
    def training_steps(self):
        """How many training steps were compared."""
        return 0 if self.statistics is None else self.statistics.training_steps

    @property
    def checks(self):
        """Dict from what is compared to its `WorstError`: the start values, the outputs, the moving statistics."""
        checks = {} if self.start is None else dict(self.start.checks)
        if self.outputs.check is not None:
            checks["outputs"] = self.outputs.check
        if self.statistics is not None:
            checks |= {statistic.name: statistic.predicted for statistic in self.statistics.both}
        return {name: check for name, check in checks.items() if check.values is not None}

    @property
    def differences(self):
        """Dict from a statistic to the largest difference of NEW from OLD after any step."""
        both = () if self.statistics is None else self.statistics.both
        return {statistic.name: statistic.largest_difference for statistic in both}

    @property
    def not_finite(self):
        """Sentences on NaN and infinities, which equal nothing, in the order of their steps."""
        parts = (*self.histories, self.outputs)
        sentences = [part.not_finite for part in parts if part.not_finite is not None]
        return [text for _, text in sorted(sentences, key=lambda pair: pair[0])]


def _leaves_out(record):
    """Whether a record has weights that are not the same for all values."""
    return any(weights is not None and np.ptp(weights) > 0 for weights in record.weights or () if np.size(weights))


def _not_finite(view):
    """What in a step's record is not finite; None if all is that is compared."""
    values = [("moving mean or variance", view.before), ("moving mean or variance", view.after)]
    values += [(role, getattr(view.record, role)) for role in ("gamma", "beta")]
    for what, array in values:
        if array is not None and not np.isfinite(array).all():
            return what
    return None if view.finite.all() else "input"
