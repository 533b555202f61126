"""Work on several threads that ends with the call: no pool survives it, so forking stays safe. No TensorFlow."""

import contextlib
import math
import operator
import os
import threading

_QUOTA = "/sys/fs/cgroup/cpu.max"


def checked_threads(threads):
    """None or a positive integer, as an int.

    Raises:
      TypeError: it is no integer; True and False are none.
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


def available_cores():
    """How many cores this process may use: its affinity mask, and the quota of its control group (version 2)."""
    if hasattr(os, "process_cpu_count"):
        cores = os.process_cpu_count()
    elif hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count()
    try:
        with open(_QUOTA, encoding="ascii") as file:
            quota, period = file.read().split()
        cores = min(cores or 1, max(1, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):
        # No control group, or the quota is "max".
        pass
    return cores or 1


class Progress:
    """Counts what is done, and passes it on to `callback(done, total)`, if there is one."""

    def __init__(self, callback, total):
        if callback is not None and not callable(callback):
            raise TypeError(f"`progress` is {callback!r}; it must be None or callable with (done, total).")
        self._callback = callback
        self._total = total
        self._done = 0
        self._reported = None
        self._lock = threading.Lock()

    def add(self, amount, report):
        """Count; only the calling thread reports, so that the callback needs no lock and may raise."""
        with self._lock:
            self._done += amount
        if report:
            self.report()

    def report(self):
        """Call back, if anything has been done since the last time."""
        done = self._done
        if self._callback is not None and done != self._reported:
            self._reported = done
            self._callback(done, self._total)


def run(jobs, threads, progress):
    """Run iterators to their ends, each on one thread, this thread among them; results are the jobs' business.

    jobs: iterators that do a part of their work at a time, without the GIL, and yield how much it was. What one
    of them raises, or Ctrl-C here, ends the others after their current part and comes out of this call.
    """
    crew = _Crew(jobs, progress)
    helpers = []
    try:
        for _ in range(min(threads, len(jobs)) - 1):
            helper = threading.Thread(target=crew.help, name="tf1bn")
            try:
                helper.start()
            except RuntimeError:
                # The system has no more threads; those that there are do it all.
                break
            helpers.append(helper)
        crew.work(report=True)
    except BaseException:
        crew.halt()
        raise
    finally:
        _join(helpers, crew.halt)
    if crew.error is not None:
        raise crew.error
    progress.report()


class Behind:
    """Work that goes on behind the caller until `end`.

    Args:
      work: a function that does what no other call of it has done yet; it is called on each of the threads, and by
        `end` for what is left.
      stop: a function that ends these calls early.
      threads: how many.
    """

    def __init__(self, work, stop, threads):
        self._work, self._stop = work, stop
        self._threads = []
        for _ in range(threads):
            thread = threading.Thread(target=self._help, name="tf1bn")
            try:
                thread.start()
            except RuntimeError:
                # The system has no more threads.
                break
            self._threads.append(thread)

    def _help(self):
        # What is not done here is done by `end`, which raises the same there.
        with contextlib.suppress(Exception):
            self._work()

    def end(self):
        """Return when everything is done."""
        try:
            self._work()
        except BaseException:
            self._stop()
            raise
        finally:
            _join(self._threads, self._stop)

    def abandon(self):
        """Return when the threads have ended, which is soon."""
        self._stop()
        _join(self._threads, self._stop)


class _Crew:
    def __init__(self, jobs, progress):
        self._jobs = list(reversed(jobs))
        self._progress = progress
        self.stop = False
        self.error = None

    def work(self, report=False):
        while not self.stop:
            try:
                job = self._jobs.pop()
            except IndexError:
                break
            for amount in job:
                self._progress.add(amount, report)
                if self.stop:
                    break

    def halt(self):
        self.stop = True

    def help(self):
        try:
            self.work()
        except BaseException as error:
            self.error = error
            self.stop = True


def _join(helpers, stop):
    try:
        for helper in helpers:
            helper.join()
    except KeyboardInterrupt:
        # However often: they end after their current part.
        stop()
        _join(helpers, stop)
        raise
