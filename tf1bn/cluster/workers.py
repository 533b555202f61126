"""Processes that examine the layers of a trace for this one. Reached through `tf1bn.cluster`."""

from __future__ import annotations

import contextlib
import logging
import pickle
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

from .. import __version__
from .._util.threads import available_cores
from ..errors import ClusterError
from .packages import import_dask

PROCESSES = "processes"
CONNECTING = 10  # seconds to wait for a scheduler, and then for its first worker
# So many shares for each worker: one that is done early takes from those of the others. Each reads the trace's lines.
SHARES = 2


class Workers:
    """Worker processes of `dask.distributed`, a context manager; what `diagnosis.diagnose` takes as ``spread``.

    A worker that dies loses nothing: the scheduler gives its share to another one. Only if a share has ended several
    workers, as many as Dask's setting ``distributed.scheduler.allowed-failures`` has, it is given up, and with it all.

    Args:
      scheduler: "processes", for one process on each core of this machine; or the address of a scheduler, such as
        "tcp://10.0.0.1:8786", whose workers see the same files at the same paths and have the same tf1bn.
      count: how many processes; None: as many as there are cores that this one may use. For "processes" alone.

    Attributes:
      count: how many workers there were at the start.

    Raises:
      ClusterError: Dask is not installed, or the scheduler cannot be reached or has no worker.
      ValueError: ``count`` is no whole number of 1 or more, or is given with an address.
    """

    count: int

    def __init__(self, scheduler: str, *, count: int | None = None) -> None:
        if count is not None and scheduler != PROCESSES:
            raise ValueError(f"`count` is {count}, and the scheduler {scheduler!r} has its own workers; leave it out.")
        if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
            raise ValueError(f"`count` is {count!r}; it must be a whole number of 1 or more, or None for all cores.")
        distributed = import_dask("distributed", "Spreading work over processes")
        self._closing = contextlib.ExitStack()
        with contextlib.ExitStack() as closing:
            # A worker that is lost is the scheduler's to replace; only what cannot be mended is told, as an exception.
            closing.enter_context(_quiet("distributed"))
            if scheduler == PROCESSES:
                started = distributed.LocalCluster(
                    n_workers=available_cores() if count is None else count,
                    threads_per_worker=1,
                    processes=True,
                    # What is mapped counts as memory there, and a worker would be ended for it.
                    memory_limit=None,
                    # A free port: the usual one may be that of another cluster.
                    dashboard_address="127.0.0.1:0",
                    silence_logs=logging.CRITICAL,
                )
                closing.enter_context(started)
                self._client = closing.enter_context(distributed.Client(started, set_as_default=False))
            else:
                self._client = closing.enter_context(_connected(distributed, scheduler))
            self.count = len(self._client.scheduler_info(n_workers=-1)["workers"])
            self._closing = closing.pop_all()

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the processes that were started, and the connection; it may be called more than once."""
        self._closing.close()

    def __call__(self, function: Callable[[list[Any]], dict[Any, Any]], names: list[Any]) -> dict[Any, Any]:
        """The union of the dicts that a function returns for lists of names, which are all of ``names`` between them.

        Args:
          function: can be pickled; returns a dict, which is the same for a name whatever other names it is given.
          names: what is shared out; none are given to the function if there are none.

        Raises:
          ClusterError: a share could not be done.
          Tf1bnError: what the function raises, of the first share that raises something.
        """
        shares = [share for i in range(SHARES * self.count) if (share := names[i :: SHARES * self.count])]
        distributed = import_dask("distributed", "Spreading work over processes")
        # As bytes, which the scheduler does not unpickle: it need not see the files of a trace.
        packed = import_dask("cloudpickle", "Spreading work over processes").dumps(function)
        with _told_as_sentences(distributed):
            futures = [self._client.submit(_run, __version__, packed, share, pure=False) for share in shares or [[]]]
            try:
                results = [future.result() for future in futures]
            finally:
                # What is left of them after an exception is not to be computed.
                self._client.cancel(futures, force=True)
        return {name: value for result in results for name, value in result.items()}


def _run(version: str, packed: bytes, share: list[Any]) -> dict[Any, Any]:
    """In a worker: what a pickled function returns for a share."""
    if version != __version__:
        raise ClusterError(
            f"A worker has tf1bn {__version__}, and here is {version}; install the same one for all of them."
        )
    function: Callable[[list[Any]], dict[Any, Any]] = pickle.loads(packed)
    return function(share)


def _connected(distributed: Any, address: str) -> Any:
    """A client of the scheduler at an address, which has a worker at least."""
    try:
        client = distributed.Client(address, timeout=CONNECTING, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise ClusterError(
            f"The scheduler {address!r} cannot be reached: {str(error).rstrip('.')}. Give the address that it prints "
            "when it starts, as tcp://10.0.0.1:8786, or `processes` for those of this machine."
        ) from error
    with contextlib.ExitStack() as closing:
        closing.callback(client.close)
        try:
            client.wait_for_workers(1, timeout=CONNECTING)
        except distributed.TimeoutError as error:
            raise ClusterError(
                f"The scheduler {address!r} has no worker; start some, as with `dask worker {address}`."
            ) from error
        except OSError as error:
            raise ClusterError(
                f"The scheduler {address!r} is gone: {str(error).rstrip('.')}; start it again."
            ) from error
        closing.pop_all()
    return client


@contextlib.contextmanager
def _told_as_sentences(distributed: Any) -> Iterator[None]:
    """Raise what Dask raises for lost workers and connections as `ClusterError`."""
    from concurrent.futures import CancelledError

    try:
        yield
    except distributed.KilledWorker as error:
        raise ClusterError(
            "The workers that were given one share of the layers have ended, one after the other, so it was given up "
            "and nothing is told of the others either. Look in their logs: often the memory is too small, or a file "
            "became shorter while it was read."
        ) from error
    except ModuleNotFoundError as error:
        raise ClusterError(
            f"A worker lacks a package: {error}; install the same packages for the scheduler and all workers."
        ) from error
    except (CancelledError, distributed.comm.CommClosedError, TimeoutError) as error:
        raise ClusterError(
            "The connection to the scheduler was lost before all shares were done, so nothing is told of the layers; "
            "run it again."
        ) from error


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Keep what a package logs, unless it is critical, from the terminal."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
