"""What a layer and its training steps declare."""

import array
import math


class Declared:
    """What a layer and its training steps declare.

    Attributes:
      layer: the `trace.Layer`.
      bessel: the declared variance convention, whether it has Bessel's correction; False if none is declared.
      conventions: the conventions that the declaration allows, one or both of False and True.
      decays: the set of the decays of the training steps; decay_known: whether each of them has one.
      always_one, always_zero: whether the decay is 1, or 0, in every training step; ones, zeros: the numbers of the
        steps in which it is.
      start_weight: how much of the statistics is still their start value, after all updates.
      applications: the largest number of updates in a step; batches: of batches that come into them.
      reduction: how the trace says that the batches of replicas become one update, "mean" or "pooled"; or None.
      counts: the set of the numbers of values per channel of the batches.
      recomputed: whether an update of any step repeated an earlier one, in a backward pass.
      same_batch: whether all updates of a step have one batch, in every step.
      from_moments: whether moments are recorded instead of inputs in any training step.
    """

    def __init__(self, layer):
        self.layer = layer
        self.bessel = bool(layer.fused)
        self.conventions = (False, True) if layer.fused is None else (self.bessel,)
        self.decays, self.decay_known = set(), True
        self.always_one = self.always_zero = True
        self.ones, self.zeros = array.array("q"), array.array("q")
        self.start_weight = 1.0
        self.applications = self.batches = 1
        self.reduction = None
        self.recomputed, self.same_batch = False, True
        self.counts, self.from_moments = set(), False
        self._batch, self._run, self._runs, self._twice = None, 0, 0, True

    @property
    def every_batch_twice(self):
        """Whether the steps train with two or more batches, and with each of them in two steps in a row."""
        return self._twice and self._run == 2 and self._runs >= 1

    def _follow_batches(self, view):
        """Take note of whether the batch of a step is that of the step before."""
        batch = None
        if len(view.updates) == 1 and view.all_moments and not view.left_out:
            batch = _bits_of(view.update_moments[0])
        self._count_batch(batch is not None and batch == self._batch)
        self._batch = batch

    def _count_batch(self, repeated):
        if repeated:
            self._run += 1
            return
        if self._run:
            self._twice &= self._run == 2
            self._runs += 1
        self._run = 1

    def add(self, number, view):
        """Take a training step."""
        self.applications = max(self.applications, len(view.updates))
        self.batches = max(self.batches, view.batch_count)
        self.reduction = self.reduction or view.reduction
        recomputed = getattr(view.record, "recomputed", None)
        self.recomputed |= recomputed is not None and any(recomputed[i] for i in view.updates)
        if len(view.updates) > 1:
            self.same_batch &= bool(view.all_moments) and len({_bits_of(each) for each in view.update_moments}) == 1
        self._follow_batches(view)
        known = None not in view.decays
        self.decay_known &= known
        if view.left_out:
            # How many of the steps that were left out trained is open.
            self.start_weight = 0.0
        if known:
            self.decays.update(view.decays)
            self.start_weight *= math.prod(view.decays)
        self.always_one &= view.decay == 1
        self.always_zero &= view.decay == 0
        if view.decay in (0, 1):
            (self.ones if view.decay else self.zeros).append(number)
        self.counts.update(view.counts)
        self.from_moments |= view.record.inputs is None

    def add_block(self, block):
        """Take the training steps of a `StepBlock`, of a layer that has trained before."""
        first = block.count, block.mean[0].tobytes(), block.variance[0].tobytes()
        self._count_batch(first == self._batch)
        if block.repeated.any():
            for repeated in block.repeated[1:].tolist():
                self._count_batch(repeated)
        elif len(block) > 1:
            # As many batches as steps, each of them once.
            self._count_batch(False)
            self._runs, self._twice = self._runs + len(block) - 2, self._twice and len(block) == 2
        self._batch = block.count, block.mean[-1].tobytes(), block.variance[-1].tobytes()
        self.decays.add(block.decay)
        # Step by step, so that it is rounded as in `add`.
        for _ in block.numbers:
            self.start_weight *= block.decay
        self.always_one &= block.decay == 1
        self.always_zero &= block.decay == 0
        if block.decay in (0, 1):
            (self.ones if block.decay else self.zeros).extend(block.numbers)
        self.counts.add(block.count)
        self.from_moments |= block.from_moments

    @property
    def decay(self):
        """The decay of all training steps, or None if it is not known or not the same in all."""
        return next(iter(self.decays)) if len(self.decays) == 1 else None


def _bits_of(moments):
    """What tells one batch from another."""
    return moments.count, moments.mean.tobytes(), moments.variance.tobytes()
