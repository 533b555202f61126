"""Work in several threads that ends with the call: no pool survives it, so forking stays safe."""

from __future__ import annotations

import collections
import contextlib
import math
import operator
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

_QUOTA_FILE = "/sys/fs/cgroup/cpu.max"


def checked_threads(threads: Any) -> int | None:
    """A number of threads as an int, or None, which leaves it to the size of the batch.

    Raises:
      TypeError: it is neither None nor an integer; True and False are not integers here.
      ValueError: it is below 1.
    """
    if threads is None:
        return None
    try:
        count = operator.index(threads)
    except TypeError:
        count = None
    if count is None or isinstance(threads, bool):
        raise TypeError(f"`threads` is {threads!r}; it must be None or a positive integer.")
    if count < 1:
        raise ValueError(f"`threads` is {count}; it must be None or a positive integer.")
    return count


def available_cores() -> int:
    """How many cores this process may use: its affinity mask, and the quota of its control group (version 2)."""
    if hasattr(os, "process_cpu_count"):
        cores = os.process_cpu_count()
    elif hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count()
    try:
        with open(_QUOTA_FILE, encoding="ascii") as file:
            quota, period = file.read().split()
        cores = min(cores or 1, max(1, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):
        # No control group, or the quota is "max".
        pass
    return cores or 1


class Progress:
    """Counts what is done, and passes it on to ``callback(done, total)``, if there is one.

    Raises:
      TypeError: the callback is neither None nor callable.
    """

    def __init__(self, callback: Callable[[int, int], object] | None, total: int) -> None:
        if callback is not None and not callable(callback):
            raise TypeError(f"`progress` is {callback!r}; it must be None or callable with (done, total).")
        self._callback = callback
        self._total = total
        self._done = 0
        self._reported: int | None = None
        self._lock = threading.Lock()

    def add(self, amount: int, report: bool) -> None:
        """Count ``amount``; only the calling thread reports, so that the callback needs no lock and may raise."""
        with self._lock:
            self._done += amount
        if report:
            self.report()

    def report(self) -> None:
        """Call the callback, if anything has been done since the last time."""
        done = self._done
        if self._callback is not None and done != self._reported:
            self._reported = done
            self._callback(done, self._total)


def run(jobs: Sequence[Iterator[int]], threads: int, progress: Progress) -> None:
    """Run iterators to their ends, each in one thread; the caller's thread is one of them.

    Args:
      jobs: iterators that do a part of their work at a time, without the GIL, and yield how much it was. They keep
        their results themselves. What one of them raises, or Ctrl-C here, ends the others after their current part
        and comes out of this call.
      threads: how many threads at most, the caller's included.
      progress: counts what the iterators yield.
    """
    pool = _ThreadPool(jobs, progress)
    helpers: list[threading.Thread] = []
    try:
        for _ in range(min(threads, len(jobs)) - 1):
            helper = threading.Thread(target=pool.work_as_helper, name="tf1bn")
            try:
                helper.start()
            except RuntimeError:
                # The system has no more threads; those that there are do it all.
                break
            helpers.append(helper)
        pool.work(report=True)
    except BaseException:
        pool.stop()
        raise
    finally:
        _join(helpers, pool.stop)
    if pool.error is not None:
        raise pool.error
    progress.report()


class BackgroundWork:
    """Threads that do one piece of work after the other, until this is closed, while the caller goes on.

    The threads are started when they are first wanted, and none is left after `close`.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._pieces: collections.deque[BackgroundPiece] = collections.deque()  # in which something may be left to do
        self._begun: list[BackgroundPiece] = []  # the one that each thread is in now
        self._threads: list[threading.Thread] = []
        self._closed = False

    def add(self, work: Callable[[], object], stop: Callable[[], object], threads: int) -> BackgroundPiece:
        """Begin a piece of work.

        Args:
          work: a function that does what no other call of it has done yet; it is called in each of the threads, and by
            `BackgroundPiece.finish` for what is left.
          stop: a function that ends these calls early.
          threads: how many threads there must be from now on, beside the caller's; 0 leaves this piece to the caller.
        """
        piece = BackgroundPiece(self, work, stop)
        if threads:
            with self._changed:
                self._pieces.append(piece)
                self._changed.notify_all()
        while len(self._threads) < threads:
            # First, so that `close` knows it whenever Ctrl-C comes.
            self._threads.append(threading.Thread(target=self._work, name="tf1bn"))
            try:
                self._threads[-1].start()
            except RuntimeError:
                # The system has no more threads.
                self._threads.pop()
                break
        return piece

    def _work(self):
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pieces or self._closed)
                if self._closed:
                    return
                piece = self._pieces[0]
                self._begun.append(piece)
            # What is not done here is done by `finish`, which raises the same there.
            with contextlib.suppress(Exception):
                piece.work()
            with self._changed:
                self._begun.remove(piece)
                self._drop(piece)
                self._changed.notify_all()

    def _drop(self, piece):
        """Let no further thread begin with a piece."""
        with contextlib.suppress(ValueError):
            self._pieces.remove(piece)

    def _leave(self, piece):
        """Return when no thread works on a piece; Ctrl-C stops it first and is raised then, as by `_join`."""
        try:
            with self._changed:
                self._drop(piece)
                self._changed.wait_for(lambda: piece not in self._begun)
        except KeyboardInterrupt:
            piece.stop()
            self._leave(piece)
            raise

    def close(self) -> None:
        """Stop all work; returns when the threads have ended, each after its current part."""
        with self._changed:
            self._closed = True
            pieces = [*self._pieces, *self._begun]
            self._changed.notify_all()
        for piece in pieces:
            piece.stop()
        _join([thread for thread in self._threads if thread.is_alive()], lambda: None)


class BackgroundPiece:
    """A piece of work that was begun by `BackgroundWork.add`.

    Attributes:
      work, stop: as there.
    """

    def __init__(self, owner: BackgroundWork, work: Callable[[], object], stop: Callable[[], object]) -> None:
        self._owner, self.work, self.stop = owner, work, stop

    def finish(self) -> None:
        """Do what is left in this thread, and return when everything is done."""
        try:
            self.work()
        except BaseException:
            self.stop()
            raise
        finally:
            self._owner._leave(self)


class _ThreadPool:
    """The jobs that no thread has taken yet, and what stops all of them."""

    def __init__(self, jobs, progress):
        self._jobs = list(reversed(jobs))
        self._progress = progress
        self.stopped = False
        self.error = None

    def work(self, report=False):
        """Take jobs and run them to their ends until there are none."""
        while not self.stopped:
            try:
                job = self._jobs.pop()
            except IndexError:
                break
            for amount in job:
                self._progress.add(amount, report)
                if self.stopped:
                    break

    def stop(self):
        """End the work of every thread after its current part."""
        self.stopped = True

    def work_as_helper(self):
        """The same as `work` in a thread whose exceptions nobody else would see."""
        try:
            self.work()
        except BaseException as error:
            self.error = error
            self.stopped = True


def _join(threads, stop):
    """Wait for the threads; Ctrl-C stops them first, however often it comes, and is raised when they have ended."""
    try:
        for thread in threads:
            thread.join()
    except KeyboardInterrupt:
        stop()
        _join(threads, stop)
        raise
