"""Consecutive steps of a layer as arrays, which are judged together where they show nothing unusual."""

import functools

import numpy as np

from ..checker.summation import repeated_moments, same_bits
from ..errors import TraceError
from .step_view import View

STATISTICS = [f"moving_{which}_{when}" for when in ("before", "after") for which in ("mean", "variance")]
# So many bytes of steps that were read one by one are gathered, of all layers, and so many of their inputs and outputs
# stay open: they may be in memory, or in copies of files from elsewhere.
GATHERED_BYTES = 1 << 24
OPEN_BYTES = 1 << 26


class StepBlock:
    """Consecutive steps that train a layer once, all alike, as arrays.

    Args:
      record: the `trace.Record` of one of the steps, for what they have in common.
      numbers: their numbers; count: of the values per channel of each batch.
      arrays: by name [steps, channels], as they were written: the moving statistics, "mean" and "variance" of the
        batches, and perhaps "gamma" and "beta".
      view: a function that returns the `View` of a step by its index.
      left_out: how many runs of the model before the first step are not in the trace.

    Attributes:
      numbers, count, left_out: as above.
      layer: the `trace.Layer`; decay: that of the steps; from_moments: whether moments are recorded, and no inputs.
      outputs: whether outputs are recorded.
    """

    def __init__(self, record, numbers, count, arrays, view, left_out=0):
        self.numbers, self.count, self.view, self.left_out = numbers, count, view, left_out
        self.layer, self.decay = record.layer, record.decay
        self.from_moments, self.outputs = "inputs" not in record.holds, "outputs" in record.holds
        self._record, self._arrays = record, arrays

    @classmethod
    def of_stretch(cls, stretch, name, left_out, mask_epsilon):
        """The block of a layer in what `trace.Trace.stretches` gives; None if its steps have to be taken one by one."""
        record = stretch.records[name]
        if not _is_plain(record) or {"inputs", "outputs"} & {*record.holds}:
            return None
        ((count, mean, variance),) = record.moments_paths()
        names = _names(record)
        try:
            arrays = stretch.vectors([*record.paths(*names), mean, variance])
        except TraceError:
            return None  # raised again where a step is read
        if count < 2 or arrays is None or len({array.dtype for array in arrays[: len(STATISTICS)]}) > 1:
            return None

        def view(i):
            return View(stretch.steps[i].layers[name], left_out=0 if i else left_out, mask_epsilon=mask_epsilon)

        numbers = [step.number for step in stretch.steps]
        arrays = dict(zip([*names, "mean", "variance"], arrays, strict=True))
        return cls(record, numbers, count, arrays, view, left_out)

    @classmethod
    def of_views(cls, numbers, views):
        """The block of steps with these numbers, as `step_view.View`, all of the same `_kind`."""
        records = [view.record for view in views]
        arrays = {name: np.array([getattr(record, name) for record in records]) for name in _names(records[0])}
        moments = [view.all_moments[0] for view in views]
        arrays |= {name: np.array([getattr(each, name) for each in moments]) for name in ("mean", "variance")}
        return cls(records[0], numbers, moments[0].count, arrays, views.__getitem__, views[0].left_out)

    def __len__(self):
        return len(self.numbers)

    def part(self, start, end):
        """The `StepBlock` of some of the steps."""
        arrays = {name: array[start:end] for name, array in self._arrays.items()}
        part = StepBlock(self._record, self.numbers[start:end], self.count, arrays, lambda i: self.view(start + i))
        part.before, part.after = self.before[:, start:end], self.after[:, start:end]
        part.mean, part.variance = self.mean[start:end], self.variance[start:end]
        return part

    @property
    def nbytes(self):
        """The bytes of its arrays in the trace."""
        return sum(array.nbytes for array in self._arrays.values())

    def _statistics(self, when):
        names = [f"moving_{statistic}_{when}" for statistic in ("mean", "variance")]
        statistics = np.empty((2, *self._arrays[names[0]].shape))
        statistics[0], statistics[1] = (self._arrays[name] for name in names)
        return statistics

    @functools.cached_property
    def before(self):
        """The moving mean and variance before each step, float64 [2, steps, channels]."""
        return self._statistics("before")

    @functools.cached_property
    def after(self):
        """The moving mean and variance after each step, float64 [2, steps, channels]."""
        return self._statistics("after")

    @functools.cached_property
    def mean(self):
        """The mean of each batch, float64 [steps, channels]."""
        return np.ascontiguousarray(self._arrays["mean"], np.float64)

    @functools.cached_property
    def variance(self):
        """The population variance of each batch, float64 [steps, channels]."""
        return np.ascontiguousarray(self._arrays["variance"], np.float64)

    @functools.cached_property
    def unmoved(self):
        """Whether a step left the bits of both statistics as they were, bool [steps]."""
        pairs = [
            [self._arrays[f"moving_{name}_{when}"] for when in ("before", "after")] for name in ("mean", "variance")
        ]
        return same_bits(*pairs[0]) & same_bits(*pairs[1])

    @functools.cached_property
    def continues(self):
        """Whether a step starts from what the step before it left, bool [steps]; the first is taken to do so."""
        same = np.ones(len(self), bool)
        same[1:] = (self.before[:, 1:] == self.after[:, :-1]).all(axis=(0, 2))
        return same

    @functools.cached_property
    def negative(self):
        """Whether any variance in a step is negative or NaN, bool [steps]."""
        return ~(
            (self.before[1].min(axis=1) >= 0) & (self.after[1].min(axis=1) >= 0) & (self.variance.min(axis=1) >= 0)
        )

    @functools.cached_property
    def repeated(self):
        """Whether the batch of a step has the bits of the one before, bool [steps]; False for the first."""
        return repeated_moments(self.mean, self.variance)

    @property
    def _affine(self):
        return [self._arrays.get(name) for name in ("gamma", "beta")]

    @property
    def has_affine(self):
        """Whether gamma or beta are recorded."""
        return any(values is not None for values in self._affine)

    def affine(self, i):
        """The bytes of gamma and beta before a step, None for what is not recorded."""
        return tuple(None if values is None else values[i].tobytes() for values in self._affine)

    @functools.cached_property
    def affine_moved(self):
        """Whether gamma or beta are not those of the step before, bool [steps]; False for the first."""
        moved = np.zeros(len(self), bool)
        for values in self._affine:
            if values is not None:
                moved[1:] |= ~same_bits(values[1:], values[:-1])
        return moved

    @property
    def affine_trained(self):
        """Whether gamma or beta have other values than an initializer gives, before the last step."""
        gamma, beta = self._affine
        return bool((gamma is not None and (gamma[-1] != 1).any()) or (beta is not None and beta[-1].any()))


def _is_plain(record):
    """Whether a `trace.Record` is of a step that trains a layer once, as far as it says so, without more to it."""
    layer = record.layer
    return (
        not (layer.renorm or layer.zero_debias)
        and {*record.holds} <= {"inputs", "moments", "outputs", "gamma", "beta", "state"}
        and {*record.state_names} <= {"num_batches_tracked", "num_batches_tracked_after"}
        and record.training == record.updated == (True,)
        and record.recomputed == (False,)
        and record.reduction in (None, "none")
        and record.decay is not None
        and record.decays is None
    )


def _names(record):
    """The names of what a step records of a layer, but for its batch."""
    return [*STATISTICS, *(name for name in ("gamma", "beta") if name in record.holds)]


def _kind(view):
    """What the steps of a block have in common; None if a step, a `step_view.View`, has to be taken by itself."""
    record = view.record
    # Views of a trace may put other things in the place of its records.
    if getattr(record, "holds", None) is None or getattr(record, "input_error", 0.0) or not _is_plain(record):
        return None
    if view.wrong_shape or view.all_moments is None or view.all_moments[0].count < 2:
        return None
    arrays = [getattr(record, name) for name in _names(record)]
    if len({array.dtype for array in arrays[: len(STATISTICS)]}) > 1:
        return None
    shapes = [(array.dtype, array.shape) for array in arrays]
    return record.layer, record.decay, record.holds, view.all_moments[0].count, shapes


class Gathering:
    """Makes a `StepBlock` of consecutive steps of a layer, and passes on in its place what belongs to none."""

    def __init__(self):
        self._steps, self._kinds = {}, {}
        self._bytes = self._open = 0

    def take(self, step, name, view):
        """Take what `read_ahead.read` yields; yields what is to be passed on now, in the order of each layer."""
        if name is None or not isinstance(view, View):
            if name in self._steps:
                yield self._gathered(name)
            yield step, name, view
            return
        kind = _kind(view)
        if name in self._steps and (kind != self._kinds[name] or view.left_out):
            yield self._gathered(name)
        if kind is None:
            yield step, name, view
            return
        self._kinds[name] = kind
        self._steps.setdefault(name, []).append((step, view))
        self._bytes += _bytes_of(view)
        self._open += _open_bytes(view)
        if self._bytes > GATHERED_BYTES or self._open > OPEN_BYTES:
            yield from self.rest()

    def rest(self):
        """Yield all that was gathered."""
        for name in list(self._steps):
            yield self._gathered(name)

    def _gathered(self, name):
        steps, views = zip(*self._steps.pop(name), strict=True)
        self._bytes -= sum(map(_bytes_of, views))
        self._open -= sum(map(_open_bytes, views))
        if len(views) == 1:
            return steps[0], name, views[0]
        return steps[0], name, StepBlock.of_views([step.number for step in steps], views)


def _bytes_of(view):
    """About as much memory as a `step_view.View` keeps: moments, statistics, gamma and beta, and sums of outputs."""
    return (8 if view.pairs else 5) * view.before.nbytes


def _open_bytes(view):
    """The bytes of a view's inputs, and of its outputs where they are compared."""
    inputs = view.record.inputs or ()
    return sum(array.nbytes for array in inputs) * (2 if view.pairs else 1)
