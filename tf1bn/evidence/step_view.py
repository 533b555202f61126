"""One layer in one step, as numbers that a prediction can be compared with."""

import functools
import typing

import numpy as np

from .. import checker
from ..checker.regression import ArrayPair
from ..checker.roundoff import sum_dtype
from ..checker.summation import same_moments

COMPARABLE = ("bfloat16", "float16", "float32", "float64")


class View:
    """A `trace.Record` with the moments of its inputs, and the channels in which everything is finite.

    Args:
      record: the `trace.Record`.
      updates: the indices of the applications that updated the statistics; None: those that the record says.
      all_moments: the `Moments` of every application, where they have been computed already.
      left_out: as the attribute.
      mask_epsilon: what the framework adds to the number of unmasked values before it divides by it.

    Attributes:
      record: the `trace.Record`; layer: its `trace.Layer`.
      decays: the decay of each update in `updates`, None where it is not known.
      decay: the decay of this step, or None if it is not known or differs between the updates.
      training: tuple of bool, for each application whether it trained.
      updates: the indices of the applications that updated the statistics; where those of replicas were reduced to one
        update, the first of them stands for it.
      reduction: "pooled" or "mean" where the updates of several replicas were reduced to one; else None.
      withheld: whether it was applied in training and no application was to update the statistics.
      in_both_modes: whether the layer ran on one batch in training and in inference. Where that left the statistics
        alone, the step counts as a test: a tf.cond chooses between the two outputs, and needs both.
      record_reduction: what the record says of it, also where it holds one replica's batch alone; or None.
      left_out: how many runs of the model since the layer's step before are not in the trace.
      before, after: the moving mean and variance as float64 [2, channels], of all channels.
      unmoved: whether both statistics have the same bits before and after the step.
      pairs: by application, the `checker.regression.ArrayPair` of its input and output, where their sums are computed
        in the same pass over memory as the moments.
      kept: a dict of what others computed of the step and will want again.
      wrong_shape: whether the axis that the layer declares for the channels has another length than the statistics.
    """

    def __init__(self, record, updates=None, all_moments=None, left_out=0, mask_epsilon=0.0):
        self.record = record
        self._mask_epsilon = mask_epsilon
        self.layer = record.layer
        self.training = record.training
        self.left_out = left_out
        flags = getattr(record, "updated", None) or record.training
        self.updates = [i for i, updated in enumerate(flags) if updated] if updates is None else updates
        self.withheld = not self.updates and any(record.training)
        self.record_reduction = getattr(record, "reduction", None)
        self.reduction = self.record_reduction if self.record_reduction != "none" and len(self.updates) > 1 else None
        self._reduced = self.updates
        if self.reduction is not None:
            self.updates = self.updates[:1]
        of_applications = getattr(record, "decays", None) or (record.decay,) * len(self.training)
        self.decays = [of_applications[i] for i in self.updates]
        self.decay = record.decay if not self.decays else self.decays[0] if len(set(self.decays)) == 1 else None
        self.before, self.after, self.unmoved = _around(record)
        self.in_both_modes = bool(self.updates) and _in_both_modes(record)
        if self.in_both_modes and self.unmoved and (record.gamma is not None or record.beta is not None):
            # Without gamma and beta nothing would tell it from a training step that lacks its updates.
            self.updates, self.decays, self.reduction, self._reduced = [], [], None, []
        self.pairs, self.kept = {}, {}
        self._weights = record.weights or (None,) * record.applications
        self._all_moments = all_moments
        self.wrong_shape = record.inputs is not None and any(
            _length(array, self.layer.channel_axis) != self.before.shape[1] for array in record.inputs
        )

    def with_all_updates(self):
        """A `View` of the same step as it would be if every application had updated the statistics."""
        return View(self.record, list(range(len(self.training))), self.all_moments, mask_epsilon=self._mask_epsilon)

    @property
    def measured(self):
        """Whether `all_moments` has been computed already."""
        return self._all_moments is not None

    @property
    def all_moments(self):
        """List of the `Moments` of each application, weighted where there are weights; None if `wrong_shape`."""
        if self._all_moments is None:
            if self.record.moments is not None:
                self._all_moments = list(self.record.moments)
            elif not self.wrong_shape:
                self._all_moments = [self.moments_of(i) for i in range(len(self.record.inputs))]
        return self._all_moments

    def batches_to_measure(self, with_outputs):
        """The batches whose moments other threads can compute ahead, as `take_moments` will want them.

        Args:
          with_outputs: whether the outputs are compared, too; then their sums are computed in the same pass.

        Returns:
          batches: list of (array, data_format, `ArrayPair` or None), one for each application; empty if the moments are
            recorded, weighted or not needed.
          size: the number of bytes that are read for them.
        """
        paired = with_outputs and not self.layer.renorm and self.record.outputs is not None
        if not self._measurable or not (self.updates or paired) or (self.measured and not paired):
            return [], 0
        batches, size = [], 0
        for i, array in enumerate(self.record.inputs):
            if paired and array.size:
                self.pairs[i] = ArrayPair(array, self.record.outputs[i], self.layer.channel_axis)
                size += self.record.outputs[i].nbytes
            batches.append((*self.batch_of(i), self.pairs.get(i)))
            size += array.nbytes
        return batches, size

    def take_moments(self, moments):
        """Use these `Moments`, one for each of `batches_to_measure`, and compute none."""
        self._all_moments = list(moments)
        for pair in self.pairs.values():
            pair.fold()

    @functools.cached_property
    def moments(self):
        """The `Moments` of the updates, on the finite channels."""
        return [select_channels(moments, self.finite) for moments in self.update_moments]

    @functools.cached_property
    def update_moments(self):
        """The `Moments` of the updates, of all channels: of each application in `updates`, or reduced over replicas."""
        if self.reduction is None:
            return [self.all_moments[i] for i in self._reduced]
        return self._reduced_moments(self.reduction)

    @property
    def batch_count(self):
        """How many batches come into the updates: those of all replicas, where several are reduced to one update."""
        return len(self._reduced)

    def moments_reduced(self, how):
        """The `Moments` of one update by several batches, on the finite channels, a list of one.

        Args:
          how: "mean" of the updates by each batch, "pooled" as one batch, or the index of the only batch that counts.
        """
        return [select_channels(moments, self.finite) for moments in self._reduced_moments(how)]

    def _reduced_moments(self, how):
        moments = [self.all_moments[i] for i in self._reduced]
        if isinstance(how, int):
            return moments[how : how + 1]
        return [_pooled(moments) if how == "pooled" else _mean(moments)]

    def output_moments(self, i):
        """The `Moments` that normalised the outputs of application ``i`` if it trained."""
        pooled = self.reduction == "pooled" and i in self._reduced
        return self.update_moments[0] if pooled else self.all_moments[i]

    @functools.cached_property
    def finite(self):
        """Bool [channels]: the statistics before and after and the moments of all updates are finite."""
        mask = np.isfinite(self.before).all(axis=0) & np.isfinite(self.after).all(axis=0)
        # The moments of other applications are not needed, so they are not computed for this.
        for i in self._reduced if self.updates and self.all_moments else ():
            mask &= np.isfinite(self.all_moments[i].mean) & np.isfinite(self.all_moments[i].variance)
        return mask

    @property
    def counts(self):
        """The number of elements per channel of each application in `updates`."""
        return [moments.count for moments in self.update_moments] if self.updates and self.all_moments else []

    @property
    def weighted(self):
        """Whether any update has weights."""
        return any(self._weights[i] is not None for i in self.updates)

    @property
    def _measurable(self):
        unweighted = all(weights is None for weights in self._weights)
        return self.record.inputs is not None and not self.wrong_shape and unweighted

    def moments_of(self, i, axis=None, weights=True):
        """The `Moments` of an input over all axes but ``axis`` (None: the layer's), with or without its weights."""
        array, data_format = self.batch_of(i, axis)
        weights = self._weights[i] if weights else None
        moments = checker.batch_moments(array, data_format=data_format, weights=weights)
        if weights is None or not self._mask_epsilon:
            return moments
        return _divided_by_more(moments, self._mask_epsilon, sum_dtype(self.layer.dtype))

    def batch_of(self, i, axis=None):
        """An input and its data format, as `checker.batch_moments` takes them for the channels on ``axis``."""
        array = self.record.inputs[i]
        axis = self.layer.channel_axis if axis is None else axis
        if axis == 1 and array.ndim > 2:
            return array, "NCHW"
        return np.moveaxis(array, axis, -1), "NHWC"

    def other_axes(self):
        """The axes of the inputs that are as long as the statistics, without the axis that the layer declares."""
        if self.record.inputs is None:
            return []
        shapes = [array.shape for array in self.record.inputs]
        declared, rank = self.layer.channel_axis, len(shapes[0])
        usual = declared % rank if -rank <= declared < rank else None
        return [
            axis
            for axis in range(rank)
            if axis != usual and all(axis < len(shape) and shape[axis] == self.before.shape[1] for shape in shapes)
        ]

    def batches(self):
        """The inputs of the updates, channels last, with their weights, for a replay.

        None if they are not recorded, or were reduced over replicas, which sum in another way.
        """
        if self.record.inputs is None or self.wrong_shape or self.reduction is not None:
            return None
        every = self.finite.all()
        result = []
        for i in self.updates:
            array = np.moveaxis(self.record.inputs[i], self.layer.channel_axis, -1)
            result.append((array if every else array[..., self.finite], self._weights[i]))
        return result

    @functools.cached_property
    def around(self):
        """`before` and `after` on the finite channels, float64 [2, finite channels] each."""
        if self.finite.all():
            return self.before, self.after
        return self.before[:, self.finite], self.after[:, self.finite]


def _around(record):
    """The statistics before and after a step, float64 [2, channels] each, and whether the bits of both are the same."""
    names = ("mean_before", "variance_before", "mean_after", "variance_after")
    arrays = [getattr(record, f"moving_{name}") for name in names]
    if len({(array.dtype, array.shape) for array in arrays}) > 1:
        before, after = np.stack(arrays[:2]), np.stack(arrays[2:])
        return before.astype(np.float64), after.astype(np.float64), before.tobytes() == after.tobytes()
    unmoved = all(old.tobytes() == new.tobytes() for old, new in zip(arrays[:2], arrays[2:], strict=True))
    both = np.empty((2, 2, *arrays[0].shape))
    both[0, 0], both[0, 1], both[1, 0], both[1, 1] = arrays
    return both[0], both[1], unmoved


class StepConsumer(typing.Protocol):
    """Whatever collects something about one layer over the steps of a trace."""

    def add(self, number: int, view: View) -> None:
        """Take the step with this number."""


def select_channels(moments, mask):
    """The `Moments` of the channels in ``mask``, bool [channels]."""
    if mask.all():
        return moments
    return checker.Moments(moments.count, moments.mean[mask], moments.variance[mask], moments.weight)


def _pooled(moments):
    """The `Moments` of several batches as one."""
    result = moments[0]
    for other in moments[1:]:
        result = result.merge(other)
    return result


def _mean(moments):
    """The `Moments` of one batch that updates the statistics as the mean of the updates with each of these does.

    Exactly so where the batches are equally large; else up to the difference of their Bessel factors.
    """
    count = min(batch.count for batch in moments)
    return checker.Moments(
        count,
        np.mean([batch.mean for batch in moments], axis=0),
        np.mean([batch.variance for batch in moments], axis=0),
    )


def _divided_by_more(moments, epsilon, dtype):
    """The `Moments` that sums over masked values give if they are divided by their number plus epsilon, in a dtype.

    Without a value the sums are 0, and so are the moments.
    """
    total = np.dtype(dtype).type(moments.weight)
    share = float(moments.weight) / float(total + np.dtype(dtype).type(epsilon))
    if not share:
        zeros = np.zeros(moments.mean.size)
        return checker.Moments(moments.count, zeros, zeros)
    moved = moments.mean * (1 - share)
    variance = share * (moments.variance + moved**2)
    return checker.Moments(moments.count, moments.mean * share, variance, moments.weight)


def _length(array, axis):
    return array.shape[axis] if -array.ndim <= axis < array.ndim else None


def _in_both_modes(record):
    """Whether a record holds one batch twice, in training and in inference."""
    if len(set(record.training)) < 2:
        return False
    kept = record.inputs if record.inputs is not None else record.moments
    if kept is None:
        return False
    trained, tested = ([kept[i] for i, flag in enumerate(record.training) if flag is mode] for mode in (True, False))
    return any(_same(one, other) for one in trained for other in tested)


def _same(batch, other):
    """Whether two batches, arrays or `Moments`, are the same."""
    if isinstance(batch, np.ndarray):
        return batch.dtype == other.dtype and np.array_equal(batch, other)
    return same_moments(batch, other)
