"""Reading the layers of a trace: step by step or many steps as one block, while other threads compute the moments of
the steps that follow.
"""

import collections

from ..checker.prefetch import Prefetcher
from ..errors import TraceError
from .step_block import Gathering, StepBlock
from .step_view import View

# Layers are measured together, in groups of so many bytes of inputs and outputs, and of no more layers than this.
GROUP_BYTES = 1 << 26
GROUP_LAYERS = 32
# So many groups are begun before the first of them is needed: threads that measure never wait for what is judged.
GROUPS_AHEAD = 4
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
        gathering = Gathering() if blocks else None
        for entry in _measured(groups):
            yield from (entry,) if gathering is None else gathering.take(*entry)
        if gathering is not None:
            yield from gathering.rest()
    if groups.damage is not None:
        raise groups.damage


def _measured(groups):
    """Yield the entries of `_Groups`, so many of which are begun before the first is needed."""
    begun = collections.deque()
    for group in groups:
        begun.append(group)
        if len(begun) > GROUPS_AHEAD:
            yield from begun.popleft().measured()
    while begun:
        yield from begun.popleft().measured()


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
                block = (
                    StepBlock.of_stretch(stretch, name, left_out[name], mask_epsilon) if name in self._names else None
                )
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
