"""Reading the layers of a trace: step by step, while other threads compute the moments of the steps that follow, or
many steps of recorded moments as one block.
"""

import collections
import functools

import numpy as np

from ..checker.prefetch import Prefetcher
from ..checker.summation import repeated_moments, same_bits
from ..errors import TraceError
from .step_view import View

# Layers are measured together, in groups of so many bytes of inputs and outputs, and of no more layers than this.
GROUP_BYTES = 1 << 26
GROUP_LAYERS = 32
# So many groups are begun before the first of them is needed: threads that measure never wait for what is judged.
GROUPS_AHEAD = 8
# Of moments that the first pass over a trace keeps: those of a thousand layers and steps of 500 channels.
KEPT_BYTES = 1 << 24
# What is added to the number of unmasked values: Keras' `backend.epsilon()`, as it is unless somebody sets it.
MASK_EPSILON = {"Keras": 1e-7}


def mask_epsilon_of(trace):
    """What the framework of a trace adds to the number of unmasked values before it divides by it."""
    framework = getattr(trace, "framework", None)
    return MASK_EPSILON.get(framework, 0.0) if isinstance(framework, str) else 0.0


class KeptMoments:
    """Moments of inputs from the first pass over a trace, so that the next ones need not read these once more.

    Those of the first steps are kept, up to `KEPT_BYTES`.
    """

    def __init__(self):
        self._moments, self._left = {}, KEPT_BYTES

    def keep(self, step, name, moments):
        """Keep the list of the `Moments` of a layer in a step."""
        # Mean and variance, and their low-order words.
        self._left -= sum(4 * each.mean.nbytes for each in moments)
        if self._left >= 0:
            self._moments[step.number, name] = moments

    def get(self, step, name):
        """The moments of a layer in a step; None if they were not kept."""
        return self._moments.get((step.number, name))

    def drop_all_but(self, names):
        """Keep those of some layers alone, and take no more."""
        self._moments = {key: moments for key, moments in self._moments.items() if key[1] in names}
        self._left = 0


def read(trace, names, outputs=False, blocks=False, kept=None):
    """Yield what every step holds of some layers.

    Args:
      trace: as for `diagnosis.diagnose`.
      names: the names of the layers.
      outputs: whether the outputs are compared, too; then what `checker.regression.fit_line` sums first is summed in
        the same pass over memory as the moments.
      blocks: whether consecutive steps of a layer may come as one `StepBlock`.
      kept: None, or the `KeptMoments` of these steps.

    Yields:
      (step, name, view): the `trace.Step`, the name of a layer in it and the layer's `View`, or a `StepBlock` that
      begins with the step; after the layers of a step, (step, None, None).

    Raises:
      TraceError: the trace is damaged; raised after everything before the damage.
    """
    with Prefetcher() as prefetcher:
        groups = _Groups(trace, names, outputs, blocks, kept or KeptMoments(), prefetcher)
        begun = collections.deque()
        for group in groups:
            begun.append(group)
            if len(begun) > GROUPS_AHEAD:
                yield from begun.popleft().measured()
        while begun:
            yield from begun.popleft().measured()
    if groups.damage is not None:
        raise groups.damage


class _Groups:
    """Iterates over `_Group`; each is being measured already when it is given out.

    Attributes:
      damage: the `TraceError` at which the iteration ended, or None.
    """

    def __init__(self, trace, names, outputs, blocks, kept, prefetcher):
        self._trace, self._names, self._outputs, self._blocks, self._kept = trace, names, outputs, blocks, kept
        self._prefetcher = prefetcher
        self.damage = None

    def __iter__(self):
        entries = []
        try:
            for entry in self._entries():
                entries.append(entry)
                if len(entries) >= GROUP_LAYERS or sum(size for *_, size in entries) >= GROUP_BYTES:
                    yield _Group(entries, self._kept, self._prefetcher)
                    entries = []
        except TraceError as error:
            self.damage = error
        if entries:
            yield _Group(entries, self._kept, self._prefetcher)

    def _entries(self):
        """Yield step, name, view, the batches to be measured, and their size in bytes."""
        left_out = dict.fromkeys(self._names, 0)
        mask_epsilon = mask_epsilon_of(self._trace)
        stretches = getattr(self._trace, "stretches", None) if self._blocks else None
        for each in self._trace if stretches is None else stretches():
            stretch = each if hasattr(each, "steps") else None
            steps = [each] if stretch is None else stretch.steps
            if getattr(steps[0], "left_out", 0):
                left_out = {name: count + steps[0].left_out for name, count in left_out.items()}
            together = set()
            for name in () if stretch is None else stretch.records:
                block = StepBlock.of(stretch, name, left_out[name], mask_epsilon) if name in self._names else None
                if block is not None:
                    together.add(name)
                    yield steps[0], name, block, [], block.nbytes
            for step in steps:
                for name in step.layers if len(together) < len(self._names) else ():
                    if name in self._names and name not in together:
                        known = self._kept.get(step, name)
                        view = View(step.layers[name], None, known, left_out[name], mask_epsilon)
                        left_out[name] = 0
                        yield step, name, view, *view.batches_to_measure(self._outputs)
                yield step, None, None, [], 0
            left_out.update(dict.fromkeys(together, 0))


class StepBlock:
    """Consecutive steps that train a layer once, with recorded moments and all alike, as arrays.

    Args:
      layer: the `trace.Layer`.
      record: the `trace.Record` of the steps, for what they have in common.
      numbers: their numbers; count: of the values per channel of each batch.
      arrays: by name [steps, channels], as they were written: the moving statistics, "mean" and "variance" of the
        batches, and perhaps "gamma" and "beta".
      view: a function that returns the `View` of a step by its index.
      left_out: how many runs of the model before the first step are not in the trace.

    Attributes:
      layer, numbers, count, left_out: as above.
      decay: that of the steps.
    """

    def __init__(self, layer, record, numbers, count, arrays, view, left_out=0):
        self.layer, self.numbers, self.count, self.view, self.left_out = layer, numbers, count, view, left_out
        self.decay = record.decay
        self._record, self._arrays = record, arrays

    @classmethod
    def of(cls, stretch, name, left_out, mask_epsilon):
        """The block of a layer in what `trace.Trace.stretches` gives; None if its steps have to be taken one by one."""
        record = stretch.records[name]
        layer = record.layer
        plain = not (layer.renorm or layer.zero_debias) and {*record.holds} <= {"moments", "gamma", "beta", "state"}
        plain = plain and {*record.state_names} <= {"num_batches_tracked", "num_batches_tracked_after"}
        once = record.training == record.updated == (True,) and record.recomputed == (False,)
        if not plain or not once or record.decay is None or record.reduction not in (None, "none"):
            return None
        ((count, mean, variance),) = record.moments_paths()
        statistics = [f"moving_{which}_{when}" for when in ("before", "after") for which in ("mean", "variance")]
        names = [*statistics, *(name for name in ("gamma", "beta") if name in record.holds)]
        try:
            arrays = stretch.vectors([*record.paths(*names), mean, variance])
        except TraceError:
            return None  # raised again where a step is read
        if count < 2 or arrays is None or len({array.dtype for array in arrays[: len(statistics)]}) > 1:
            return None

        def view(i):
            return View(stretch.steps[i].layers[name], left_out=0 if i else left_out, mask_epsilon=mask_epsilon)

        numbers = [step.number for step in stretch.steps]
        arrays = dict(zip([*names, "mean", "variance"], arrays, strict=True))
        return cls(layer, record, numbers, count, arrays, view, left_out)

    def __len__(self):
        return len(self.numbers)

    def part(self, start, end):
        """The `StepBlock` of some of the steps."""
        arrays = {name: array[start:end] for name, array in self._arrays.items()}
        part = StepBlock(
            self.layer, self._record, self.numbers[start:end], self.count, arrays, lambda i: self.view(start + i)
        )
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


class _Group:
    """Some consecutive entries, whose moments are computed by other threads from now on."""

    def __init__(self, entries, kept, prefetcher):
        self._entries, self._kept = entries, kept
        self._prefetched = prefetcher.begin([batch for _, _, _, batches, _ in entries for batch in batches])

    def measured(self):
        moments = iter(self._prefetched.moments())
        for step, name, view, batches, _ in self._entries:
            if batches:
                view.take_moments([next(moments) for _ in batches])
                self._kept.keep(step, name, view.all_moments)
            yield step, name, view
