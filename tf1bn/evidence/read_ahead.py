"""What a trace holds of its layers, step by step; other threads read the inputs ahead. Used by ``diagnosis``."""

from ..checker.prefetch import PrefetchedMoments
from ..checker.regression import ArrayPair
from ..errors import TraceError
from .step_view import View

TOGETHER = 1 << 26  # bytes of inputs and outputs from which layers are no longer read together
MOST = 32  # layers that are


def read(trace, names, outputs=False):
    """Yields step, name and `View` of each layer of ``names``, as the steps hold them; after a step it and None twice.

    While the caller looks at some, the moments of those that follow are made, where it takes them to judge a layer.

    Args:
      trace: as for `diagnosis.diagnose`.
      outputs: whether those are judged, too; then what `regression.fit_line` sums first is summed in the same pass.

    Raises:
      TraceError: where the trace is damaged, after all before it.
    """
    groups = _Groups(trace, names, outputs)
    now = behind = None
    try:
        for group in groups:
            now, behind = behind, group
            if now is not None:
                yield from now.measured()
        now = None
        if behind is not None:
            yield from behind.measured()
    finally:
        for group in (now, behind):
            if group is not None:
                group.abandon()
    if groups.damage is not None:
        raise groups.damage


class _Groups:
    """Iterates over `_Group`, each of which is being measured already; ends at the ``damage``, if there is any."""

    def __init__(self, trace, names, outputs):
        self._trace, self._names, self._outputs = trace, names, outputs
        self.damage = None

    def __iter__(self):
        entries = []
        try:
            for entry in self._entries():
                entries.append(entry)
                if len(entries) >= MOST or sum(size for *_, size in entries) >= TOGETHER:
                    yield _Group(entries)
                    entries = []
        except TraceError as error:
            self.damage = error
        if entries:
            yield _Group(entries)

    def _entries(self):
        """Step, name, view, batches to be measured, and their bytes."""
        for step in self._trace:
            for name, record in step.layers.items():
                if name in self._names:
                    view = View(record)
                    yield step, name, view, *self._wanted(view)
            yield step, None, None, [], 0

    def _wanted(self, view):
        record = view.record
        paired = self._outputs and not view.layer.renorm and record.outputs is not None
        if not view.measurable or not (view.updates or paired):
            return [], 0
        batches, size = [], 0
        for i, array in enumerate(record.inputs):
            if paired and array.size:
                view.pairs[i] = ArrayPair(array, record.outputs[i], view.layer.channel_axis)
                size += record.outputs[i].nbytes
            batches.append((*view.batch_of(i), view.pairs.get(i)))
            size += array.nbytes
        return batches, size


class _Group:
    def __init__(self, entries):
        self._entries = entries
        self._prefetched = PrefetchedMoments([batch for _, _, _, batches, _ in entries for batch in batches])

    def measured(self):
        moments = iter(self._prefetched.moments())
        for step, name, view, batches, _ in self._entries:
            if batches:
                view.all_moments = [next(moments) for _ in batches]
            yield step, name, view

    def abandon(self):
        self._prefetched.abandon()
