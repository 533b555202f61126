"""PyTorch's count of the batches that a layer trained with, where a trace holds it."""

import array

from ...evidence.gaps import at_start

NAME = "num_batches_tracked"


class BatchCount:
    """The count of one layer over the steps.

    Attributes:
      around: by the number of a step before which the statistics changed, the count after the step before and that
        before it.
      began: the numbers of the training steps in which an average of all batches began, by the count or from the
        statistics of a new layer; restarted: of those in which the statistics were not those of a new layer.
    """

    def __init__(self):
        self.around, self.began, self.restarted = {}, array.array("q"), array.array("q")
        self._after = None

    def add(self, number, view, changed):
        """Take a step, as `step_view.View`; ``changed``: whether the statistics changed before it."""
        state = view.record.state
        before, after = (_number(state.get(name)) for name in (NAME, f"{NAME}_after"))
        if changed and None not in (self._after, before):
            self.around[number] = self._after, before
        self._after = after
        if not view.updates or view.decays[0] != 0:
            return
        new, by_count = at_start(view.before), view.layer.decay is None and before == 0
        if new or by_count:
            self.began.append(number)
            if not new:
                self.restarted.append(number)

    def add_block(self, block):
        """Take the training steps of a `StepBlock`, whose decay is constant, without a gap before any of them."""
        if self._after is not None:
            self._after = _number(block.view(len(block) - 1).record.state.get(f"{NAME}_after"))


def _number(values):
    return None if values is None or values.size != 1 else int(values[0])
