"""Reading the layers of a trace step by step, while other threads compute the moments of the steps that follow."""

from ..checker.prefetch import PrefetchedMoments
from ..errors import TraceError
from .step_view import View

# Layers are measured together, in groups of so many bytes of inputs and outputs, and of no more layers than this.
GROUP_BYTES = 1 << 26
GROUP_LAYERS = 32
# What is added to the number of unmasked values: Keras' `backend.epsilon()`, as it is unless somebody sets it.
MASK_EPSILON = {"Keras": 1e-7}


def mask_epsilon_of(trace):
    """What the framework of a trace adds to the number of unmasked values before it divides by it."""
    framework = getattr(trace, "framework", None)
    return MASK_EPSILON.get(framework, 0.0) if isinstance(framework, str) else 0.0


def read(trace, names, outputs=False):
    """Yield what every step holds of some layers.

    Args:
      trace: as for `diagnosis.diagnose`.
      names: the names of the layers.
      outputs: whether the outputs are compared, too; then what `checker.regression.fit_line` sums first is summed in
        the same pass over memory as the moments.

    Yields:
      (step, name, view): the `trace.Step`, the name of a layer in it and the layer's `View`; after the layers of a
      step, (step, None, None).

    Raises:
      TraceError: the trace is damaged; raised after everything before the damage.
    """
    groups = _Groups(trace, names, outputs)
    current = following = None
    try:
        for group in groups:
            current, following = following, group
            if current is not None:
                yield from current.measured()
        current = None
        if following is not None:
            yield from following.measured()
    finally:
        for group in (current, following):
            if group is not None:
                group.abandon()
    if groups.damage is not None:
        raise groups.damage


class _Groups:
    """Iterates over `_Group`; each is being measured already when it is given out.

    Attributes:
      damage: the `TraceError` at which the iteration ended, or None.
    """

    def __init__(self, trace, names, outputs):
        self._trace, self._names, self._outputs = trace, names, outputs
        self.damage = None

    def __iter__(self):
        entries = []
        try:
            for entry in self._entries():
                entries.append(entry)
                if len(entries) >= GROUP_LAYERS or sum(size for *_, size in entries) >= GROUP_BYTES:
                    yield _Group(entries)
                    entries = []
        except TraceError as error:
            self.damage = error
        if entries:
            yield _Group(entries)

    def _entries(self):
        """Yield step, name, view, the batches to be measured, and their size in bytes."""
        left_out = dict.fromkeys(self._names, 0)
        mask_epsilon = mask_epsilon_of(self._trace)
        for step in self._trace:
            if getattr(step, "left_out", 0):
                left_out = {name: count + step.left_out for name, count in left_out.items()}
            for name, record in step.layers.items():
                if name in self._names:
                    view = View(record, left_out=left_out[name], mask_epsilon=mask_epsilon)
                    left_out[name] = 0
                    yield step, name, view, *view.batches_to_measure(self._outputs)
            yield step, None, None, [], 0


class _Group:
    """Some consecutive entries, whose moments are computed by other threads from now on."""

    def __init__(self, entries):
        self._entries = entries
        self._prefetched = PrefetchedMoments([batch for _, _, _, batches, _ in entries for batch in batches])

    def measured(self):
        moments = iter(self._prefetched.moments())
        for step, name, view, batches, _ in self._entries:
            if batches:
                view.take_moments([next(moments) for _ in batches])
            yield step, name, view

    def abandon(self):
        self._prefetched.abandon()
