"""The moments of batches that will be needed next, made by other threads meanwhile. Private to the checker."""

from __future__ import annotations

from .._native import moments as _native
from .._util.threads import BackgroundWork
from .accumulation import Accumulation, default_threads
from .arguments import checked_batch
from .moments import Moments


class PrefetchedMoments:
    """The `Moments` of several batches, made by other threads while the caller goes on.

    They have the same bits as those of `batch_moments`. The threads are started at once and do not need the
    interpreter. The caller must call `moments` or `abandon` before it drops this object.

    Args:
      batches: list of (array, data_format, pair) without weights; pair: None, or a `regression.ArrayPair` of that
        array and another, whose sums are made in the same pass over memory.
      threads: how many; None: none for small arrays, else as many as there are cores that the process may use.
    """

    def __init__(self, batches, threads=None):
        self._accumulations = [
            Accumulation(checked_batch(array, data_format), data_format) for array, data_format, _ in batches
        ]
        tasks = _native.Tasks()
        for accumulation, (_, _, pair) in zip(self._accumulations, batches, strict=True):
            accumulation.add_to(tasks, pair if pair is not None and pair.goes_with(accumulation) else None)
        if threads is None:
            threads = default_threads(sum(accumulation.size for accumulation in self._accumulations), few=0)
        with _native.DefaultEnvironment():
            self._work = BackgroundWork(tasks.run, tasks.stop, threads)

    def moments(self):
        """Wait until all are made; returns the list of `Moments`, in the order of the batches."""
        with _native.DefaultEnvironment():
            self._work.finish()
            return [Moments._from_state(part.count, float(part.count), part.state()) for part in self._accumulations]

    def abandon(self):
        """End the threads after what each is doing now; returns when none is left."""
        self._work.abandon()
