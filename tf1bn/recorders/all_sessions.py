"""Records all sessions of a script without changing the script: one trace for each session that runs a layer."""

import contextlib
import os
import sys
import threading
import weakref

import tensorflow as _tf

from .._util.printable import printable
from .limits import in_bytes
from .session import Plans, Recorder

tf = _tf.compat.v1


class Recording:
    """While it is entered, the runs of all sessions of this process are recorded.

    ``tf.Session.run`` and ``tf.InteractiveSession.run`` are replaced for the time. TensorFlow's own classes, such as
    MonitoredSession and Supervisor, call them too, hooks included, and so do the functions of ``make_callable`` for a
    layer. Steps of ``partial_run`` are counted in `partial`, and forked processes reported in `problem`: they cannot be
    recorded.

    Args:
      path: the folder of the first session that runs a layer; the second one's is ``path.2``, and so on. A relative
        path is below the working directory of this moment, wherever the script goes.

      limits: None, or arguments of each `Recorder` by name: keep, every, steps, layers, max_bytes.

    Attributes:
      details: for each of these paths the size as text, and why the recording ended early or None.
      traces: a list of (path, number of steps, number of layers) of the traces, complete when the block is left.
      partial: the number of partial runs with a layer, which are in no trace.
      problem: None, or a sentence about what ended the recording.
    """

    def __init__(self, path, limits=None):
        self._path, self._limits = os.path.abspath(path), dict(limits or {})
        self.details = {}
        self._sessions = weakref.WeakKeyDictionary()
        self._recorders = []
        self._lock = threading.Lock()
        self._process = os.getpid()
        self.traces, self.partial, self.problem = [], 0, None

    def __enter__(self):
        self._replaced, self._originals = [], {}
        for kind in (tf.Session, tf.InteractiveSession):
            for name, wrapped in (
                ("run", self._wrapped),
                ("make_callable", self._wrapped_make_callable),
                ("partial_run_setup", self._wrapped_partial_run_setup),
            ):
                self._replaced.append((kind, name, kind.__dict__.get(name)))
                self._originals[kind, name] = getattr(kind, name)
                setattr(kind, name, wrapped(getattr(kind, name)))
        return self

    def __exit__(self, *error):
        for kind, name, own in self._replaced:
            if own is None:
                delattr(kind, name)
            else:
                setattr(kind, name, own)
        for recorder in self._recorders:
            with contextlib.suppress(OSError):
                recorder.close()
            self.traces.append((recorder.path, recorder.steps, recorder.layers))
            self.details[recorder.path] = in_bytes(recorder.bytes), recorder.problem

    def _wrapped(self, original):
        recording = self

        def run(self, fetches, feed_dict=None, options=None, run_metadata=None):
            arguments = (fetches, feed_dict, options, run_metadata)
            if recording.problem is not None:
                return original(self, *arguments)
            return recording._run(self, original, arguments)

        return run

    def _wrapped_make_callable(self, original):
        recording = self

        def make_callable(self, fetches, feed_list=None, accept_options=False):
            callable_ = original(self, fetches, feed_list, accept_options)
            if not recording._recorded(self, (fetches, feed_list)):
                return callable_
            fed = list(feed_list or ())

            def run(*values, **options):
                if recording.problem is not None or len(values) != len(fed) or (options and not accept_options):
                    return callable_(*values, **options)
                return self.run(fetches, dict(zip(fed, values, strict=True)), **options)

            return run

        return make_callable

    def _wrapped_partial_run_setup(self, original):
        recording = self

        def partial_run_setup(self, fetches, feeds=None):
            handle = original(self, fetches, feeds)
            recording.partial += recording._recorded(self, (fetches, feeds)) is not None
            return handle

        return partial_run_setup

    def _recorded(self, session, arguments):
        """The `_RecordedSession` of a session; None if no layer takes part in a run with these fetches and feeds."""
        if os.getpid() != self._process:
            # A fork: the trace is its parent's, and so may be the lock.
            if self.problem is None and _RecordedSession(session, self._originals).takes_part(arguments):
                self.problem = f"process {os.getpid()}, which the script forked, runs a layer and is not recorded"
                print(f"tf1bn run: {printable(self.problem)}.", file=sys.stderr, flush=True)
            return None
        with self._lock:
            if session not in self._sessions:
                self._sessions[session] = _RecordedSession(session, self._originals)
            recorded = self._sessions[session]
            return recorded if recorded.takes_part(arguments) else None

    def _run(self, session, original, arguments):
        recorded = self._recorded(session, arguments)
        if recorded is None:
            # No lock is held: other threads may run what fills the queues meanwhile, and those runs touch no layer.
            return original(session, *arguments)
        with recorded.lock:
            try:
                if recorded.recorder is None:
                    with self._lock:
                        recorded.recorder = Recorder(recorded, self._next_path(), **self._limits)
                        self._recorders.append(recorded.recorder)
                return recorded.recorder.run(*arguments)
            except (OSError, ValueError, TypeError) as error:
                if error is recorded.error:
                    raise
                self.problem = f"the recording ended with {type(error).__name__}: {error}"
                return recorded.results[0] if recorded.results else original(session, *arguments)
            finally:
                recorded.results = recorded.error = None

    def _next_path(self):
        return self._path if not self._recorders else f"{self._path}.{len(self._recorders) + 1}"


class _RecordedSession:
    """A session with the methods that it had before they were replaced, for its recorder."""

    def __init__(self, session, originals):
        kind = tf.Session if isinstance(session, tf.Session) else tf.InteractiveSession
        self._session, self._run, self._make_callable = (
            weakref.ref(session),
            originals[kind, "run"],
            originals[kind, "make_callable"],
        )
        self._plans = Plans(session.graph, True)
        self.graph = session.graph
        self.lock = threading.RLock()
        self.recorder = self.results = self.error = None

    def takes_part(self, arguments):
        """Whether a layer takes part in a run with these fetches and feeds."""
        try:
            return bool(self._plans.of(*arguments[:2]).layers)
        except (TypeError, ValueError):
            # The session itself has the better message about what is wrong with the fetches.
            return False

    def run(self, *arguments, **options):
        try:
            self.results = self._run(self._session(), *arguments, **options)
        except BaseException as error:
            self.error = error
            raise
        return self.results

    def make_callable(self, *arguments, **options):
        return self._make_callable(self._session(), *arguments, **options)
