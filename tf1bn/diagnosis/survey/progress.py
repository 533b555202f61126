"""How far a layer has come in its steps: which of them trained it, and what they changed."""

import array

import numpy as np

from ...evidence.gaps import at_start


class Progress:
    """How far a layer has come in its steps.

    Attributes:
      steps: how many steps hold the layer; trained: how many of them train it; tested: the others.
      withheld: the numbers of those of the others that ran it in training and were to leave the statistics as they are.
      updates: how many updates it had; a step without training that moved the statistics counts as its applications.
      first: the number of the first step, by what happened in it: "seen", "trained", "moved" without training.
      fresh: whether the statistics were (0, 1) before the first step; None before it.
      start_is_bad: whether they were negative or not finite there.
      initial: whether they were then, and are so after the last step.
      affine_trained: whether gamma or beta has other values than an initializer gives, in the last step.
      affine_trained_before: whether one of them had before the first step.
      affine_moved: the number of steps without training after which gamma or beta were others and the statistics not.
      unmoved: whether every training step left the statistics as they were, bit by bit.
      with_affine: how many training steps moved the statistics and changed gamma or beta, as the next step shows.
      without_affine: the numbers of those that moved the statistics alone.
      affine_alone: the numbers of those that changed gamma or beta alone; neither: of those that changed nothing.
      in_both_modes: how many steps ran the layer on the same batch in training and in inference, and moved the
        statistics; in_both_modes_unmoved: how many did and left them alone, which count as tests.
    """

    def __init__(self):
        self.steps = self.trained = self.tested = self.updates = 0
        self.withheld = array.array("q")
        self.first = {}
        self.fresh = None
        self.start_is_bad = False
        self.initial = self.affine_trained = self.affine_trained_before = False
        self.affine_moved = 0
        self.unmoved = True
        self.with_affine, self.without_affine = 0, array.array("q")
        self.affine_alone, self.neither = array.array("q"), array.array("q")
        self.in_both_modes = self.in_both_modes_unmoved = 0
        self._last = None  # of the last step, if it trained: number, gamma and beta, whether it moved the statistics
        self._untrained = None  # of the last step, if it did not train: gamma and beta, statistics after, withheld

    def add(self, number, view):
        """Take a step."""
        self.steps += 1
        self.first.setdefault("seen", number)
        if self.fresh is None:
            self.fresh = at_start(view.before)
            self.start_is_bad = not np.isfinite(view.before).all() or bool((view.before[1] < 0).any())
        self.initial = self.fresh and at_start(view.after)
        gamma, beta = view.record.gamma, view.record.beta
        self.affine_trained = bool((gamma is not None and (gamma != 1).any()) or (beta is not None and beta.any()))
        self.affine_trained_before |= self.affine_trained and self.steps == 1
        state = tuple(None if values is None else values.tobytes() for values in (gamma, beta))
        if self._last is not None and not view.left_out and state != (None, None):
            number_before, state_before, moved = self._last
            self._take([number_before], np.array([moved]), np.array([state_before != state]))
        self._last = (number, state, not view.unmoved) if view.updates else None
        if self._untrained is not None and self._untrained[1] == view.before.tobytes() and self._untrained[0] != state:
            self.affine_moved += not self._untrained[2]
        self._untrained = None if view.updates else (state, view.after.tobytes(), view.withheld)
        if view.updates:
            self.in_both_modes += view.in_both_modes and not view.unmoved
            self.trained += 1
            self.first.setdefault("trained", number)
            self.unmoved &= view.unmoved
            self.updates += len(view.updates)
        else:
            self.tested += 1
            if view.withheld:
                self.withheld.append(number)
            self.in_both_modes_unmoved += view.in_both_modes
            if not view.unmoved:
                self.first.setdefault("moved", number)
                self.updates += len(view.training)

    def add_block(self, block):
        """Take the training steps of a `StepBlock`, of a layer that `follows_training`."""
        self.steps += len(block)
        self.trained += len(block)
        self.updates += len(block)
        self.initial = self.fresh and at_start(block.after[:, -1])
        self.unmoved &= bool(block.unmoved.all())
        self.affine_trained = block.affine_trained
        if block.has_affine:
            # Each step shows what the one before it did to gamma and beta.
            changed, moved, numbers = block.affine_moved[1:], ~block.unmoved[:-1], block.numbers[: len(block) - 1]
            if self._last is not None:
                number, state, moved_before = self._last
                changed = np.append(state != block.affine(0), changed)
                numbers, moved = [number, *numbers], np.append(moved_before, moved)
            self._take(numbers, moved, changed)
        self._last = (block.numbers[-1], block.affine(-1), not block.unmoved[-1])

    def _take(self, numbers, moved, changed):
        """Take training steps: whether each moved the statistics, and whether it changed gamma or beta."""
        self.with_affine += int((moved & changed).sum())
        for kind, those in (
            (self.without_affine, moved & ~changed),
            (self.affine_alone, ~moved & changed),
            (self.neither, ~moved & ~changed),
        ):
            kind.extend(numbers[i] for i in np.flatnonzero(those).tolist())

    @property
    def follows_training(self):
        """Whether the last step trained the layer."""
        return self.trained > 0 and self._untrained is None
