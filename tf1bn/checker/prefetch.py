"""The moments of batches that will be needed next, made by other threads meanwhile. Private to the checker."""

from __future__ import annotations

from .._native import moments as _native
from .._util.threads import BackgroundWork
from .accumulation import Accumulation, default_threads
from .arguments import checked_batch
from .moments import Moments


class Prefetcher:
    """Makes the `Moments` of batches in other threads, those that were asked for first first.

    They have the same bits as those of `batch_moments`. The threads do not need the interpreter. None is left at the
    end of a ``with`` statement, or after `close`.
    """

    def __init__(self):
        self._work = BackgroundWork()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """End the threads after what each is doing now; returns when none is left."""
        self._work.close()

    def begin(self, batches, threads=None):
        """Begin with the moments of several batches; returns the `PrefetchedMoments`.

        Args:
          batches: list of (array, data_format, pair) without weights; pair: None, or a `regression.ArrayPair` of that
            array and another, whose sums are made in the same pass over memory.
          threads: how many; None: none for small arrays, which are left to the caller, else one for each core that the
            process may use but the caller's, who does what is left when it is wanted.
        """
        accumulations = [
            Accumulation(checked_batch(array, data_format), data_format) for array, data_format, _ in batches
        ]
        tasks = _native.Tasks()
        for accumulation, (_, _, pair) in zip(accumulations, batches, strict=True):
            accumulation.add_to(tasks, pair if pair is not None and pair.goes_with(accumulation) else None)
        if threads is None:
            threads = default_threads(sum(accumulation.size for accumulation in accumulations), few=1) - 1
        with _native.DefaultEnvironment():
            return PrefetchedMoments(accumulations, self._work.add(tasks.run, tasks.stop, threads))


class PrefetchedMoments:
    """The `Moments` that a `Prefetcher` makes of several batches."""

    def __init__(self, accumulations, work):
        self._accumulations, self._work = accumulations, work

    def moments(self):
        """Wait until all are made; returns the list of `Moments`, in the order of the batches."""
        with _native.DefaultEnvironment():
            self._work.finish()
            return [Moments._from_state(part.count, float(part.count), part.state()) for part in self._accumulations]
