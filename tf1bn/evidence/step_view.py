"""One layer in one step, as numbers that a prediction can be compared with. Used by ``diagnosis``."""

import functools

import numpy as np

from .. import checker

COMPARABLE = ("float16", "float32", "float64")


class View:
    """A `trace.Record` with its moments, on the channels where everything is finite.

    Attributes:
      layer: its `trace.Layer`.
      decay: that of the step, or None.
      updates: the indices of the applications that trained.
      before, after: the moving mean and variance as float64 [2, channels], all channels.
      unmoved: whether both statistics are the same bits before and after.
      finite: bool [channels], where the statistics before and after and all moments are finite.
      pairs: `regression.ArrayPair` of input and output by application, where they have been read already.
      wrong_shape: whether an input has another number of channels on the layer's axis than the statistics.
    """

    def __init__(self, record):
        self._record = record
        self.layer = record.layer
        self.decay = record.decay
        self.training = record.training
        self.updates = [i for i, training in enumerate(record.training) if training]
        around = [
            np.stack([getattr(record, f"moving_mean_{when}"), getattr(record, f"moving_variance_{when}")])
            for when in ("before", "after")
        ]
        self.unmoved = around[0].tobytes() == around[1].tobytes()
        self.before, self.after = (values.astype(np.float64) for values in around)
        self.pairs = {}
        self._weights = record.weights or (None,) * record.applications
        self.wrong_shape = record.inputs is not None and any(
            _length(array, self.layer.channel_axis) != self.before.shape[1] for array in record.inputs
        )

    @property
    def record(self):
        return self._record

    @functools.cached_property
    def all_moments(self):
        """The `Moments` of every application, weighted where there are weights; None if `wrong_shape`."""
        if self._record.moments is not None:
            return list(self._record.moments)
        if self.wrong_shape:
            return None
        return [self.moments_of(i) for i in range(len(self._record.inputs))]

    @functools.cached_property
    def moments(self):
        """The `Moments` of the applications that trained, on the finite channels."""
        return [self._cut(self.all_moments[i]) for i in self.updates]

    @functools.cached_property
    def finite(self):
        mask = np.isfinite(self.before).all(axis=0) & np.isfinite(self.after).all(axis=0)
        # What did not train is not measured for this.
        for i in self.updates if self.updates and self.all_moments else ():
            mask &= np.isfinite(self.all_moments[i].mean) & np.isfinite(self.all_moments[i].variance)
        return mask

    @property
    def counts(self):
        """The number of elements per channel of the applications that trained."""
        return [self.all_moments[i].count for i in self.updates] if self.updates and self.all_moments else []

    @property
    def weighted(self):
        return any(self._weights[i] is not None for i in self.updates)

    @property
    def measurable(self):
        """Whether there are inputs, with the channels where they belong and without weights."""
        return self._record.inputs is not None and not self.wrong_shape and all(one is None for one in self._weights)

    def moments_of(self, i, axis=None, weights=True):
        """The moments of an input over all axes but ``axis`` (None: the layer's), with or without its weights."""
        array, data_format = self.batch_of(i, axis)
        return checker.batch_moments(array, data_format=data_format, weights=self._weights[i] if weights else None)

    def batch_of(self, i, axis=None):
        """An input and its data format, as `checker.batch_moments` takes them for the channels on ``axis``."""
        array = self._record.inputs[i]
        axis = self.layer.channel_axis if axis is None else axis
        if axis == 1 and array.ndim > 2:
            return array, "NCHW"
        return np.moveaxis(array, axis, -1), "NHWC"

    def other_axes(self):
        """The other axes of the inputs that are as long as the statistics."""
        if self._record.inputs is None:
            return []
        shapes = [array.shape for array in self._record.inputs]
        usual = self.layer.channel_axis % len(shapes[0]) if -len(shapes[0]) <= self.layer.channel_axis else None
        return [
            axis
            for axis in range(len(shapes[0]))
            if axis != usual and all(axis < len(shape) and shape[axis] == self.before.shape[1] for shape in shapes)
        ]

    def batches(self):
        """The inputs that trained, channels last, with their weights, for a replay; None if they are not there."""
        if self._record.inputs is None or self.wrong_shape:
            return None
        every = self.finite.all()
        result = []
        for i in self.updates:
            array = np.moveaxis(self._record.inputs[i], self.layer.channel_axis, -1)
            result.append((array if every else array[..., self.finite], self._weights[i]))
        return result

    @functools.cached_property
    def around(self):
        """`before` and `after` on the finite channels, [2, channels] each."""
        if self.finite.all():
            return self.before, self.after
        return self.before[:, self.finite], self.after[:, self.finite]

    def _cut(self, moments):
        return cut(moments, self.finite)


def cut(moments, mask):
    """The `Moments` of the channels in ``mask``."""
    if mask.all():
        return moments
    return checker.Moments(moments.count, moments.mean[mask], moments.variance[mask], moments.weight)


def _length(array, axis):
    return array.shape[axis] if -array.ndim <= axis < array.ndim else None
