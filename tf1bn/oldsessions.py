"""Records every session of a script that knows nothing about it: one trace for each session that runs a layer."""

import contextlib
import threading
import weakref

import tensorflow as _tf

from .recorder import Plans, Recorder

tf = _tf.compat.v1


class Recording:
    """While it is entered, the runs of all sessions of this process are recorded.

    ``tf.Session.run`` and ``tf.InteractiveSession.run`` are replaced for the time; what TensorFlow's own classes run,
    as MonitoredSession and Supervisor, ends there too, hooks included. Runs of ``make_callable`` are not seen.

    Args:
      path: the folder of the first session that runs a layer; the second one's is ``path.2``, and so on.

    Attributes:
      traces: a list of (path, steps, number of layers) of the traces, complete when the block is left.
      problem: None, or a sentence about what ended the recording.
    """

    def __init__(self, path):
        self._path = path
        self._sessions = weakref.WeakKeyDictionary()
        self._recorders = []
        self._lock = threading.Lock()
        self.traces, self.problem = [], None

    def __enter__(self):
        self._replaced = []
        for kind in (tf.Session, tf.InteractiveSession):
            self._replaced.append((kind, kind.__dict__.get("run")))
            kind.run = self._wrapped(kind.run)
        return self

    def __exit__(self, *error):
        for kind, own in self._replaced:
            if own is None:
                del kind.run
            else:
                kind.run = own
        for recorder in self._recorders:
            with contextlib.suppress(OSError):
                recorder.close()
            self.traces.append((recorder.path, recorder.steps, recorder.layers))

    def _wrapped(self, original):
        recording = self

        def run(self, fetches, feed_dict=None, options=None, run_metadata=None):
            arguments = (fetches, feed_dict, options, run_metadata)
            if recording.problem is not None:
                return original(self, *arguments)
            return recording._run(self, original, arguments)

        return run

    def _run(self, session, original, arguments):
        with self._lock:
            if session not in self._sessions:
                self._sessions[session] = _Recorded(session, original)
            recorded = self._sessions[session]
            takes_part = recorded.takes_part(arguments)
        if not takes_part:
            # Other threads may run what fills the queues meanwhile; those runs are none of a layer.
            return original(session, *arguments)
        with recorded.lock:
            try:
                if recorded.recorder is None:
                    with self._lock:
                        recorded.recorder = Recorder(recorded, self._next_path())
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


class _Recorded:
    """A session as its recorder sees it: with the run that was there before."""

    def __init__(self, session, original):
        self._session, self._original = weakref.ref(session), original
        self._plans = Plans(session.graph, True)
        self.graph = session.graph
        self.lock = threading.RLock()
        self.recorder = self.results = self.error = None

    def takes_part(self, arguments):
        try:
            return bool(self._plans.of(*arguments[:2]).layers)
        except (TypeError, ValueError):
            # The session says better what is wrong with the fetches.
            return False

    def run(self, *arguments, **options):
        try:
            self.results = self._original(self._session(), *arguments, **options)
        except BaseException as error:
            self.error = error
            raise
        return self.results

    def make_callable(self, *arguments, **options):
        return self._session().make_callable(*arguments, **options)
