"""Records the batch-norm layers of a MonitoredSession, or of an Estimator, by a hook of ``tf.compat.v1``.

hook = tf1bn.recorders.estimator.RecorderHook("run.trace")
with tf.train.MonitoredTrainingSession(hooks=[hook]) as session: ...
estimator.train(input_fn, hooks=[hook])
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

import tensorflow as _tf

from .._util.printable import printable
from .limits import MAX_BYTES, Limits, contents
from .session import Recorder

__all__ = ["RecorderHook"]

tf = _tf.compat.v1


class RecorderHook(tf.train.SessionRunHook):
    """Records every run of a monitored session that a batch-norm layer takes part in as one step of a trace.

    What it records is what `tf1bn.Recorder` does. A session that is made anew after an error goes on with the same
    trace. At the end it says on stderr what the trace holds.

    Args:
      path: the folder of the trace, which is made with the first session.
      keep, every, steps, layers, max_bytes, overwrite: as for `tf1bn.Recorder`.

    Attributes:
      recorder: the `tf1bn.Recorder`, once there is a session.

    Raises:
      TypeError, ValueError: an argument is not as above.
      FileExistsError: there is something at `path`; raised when the session is made.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        keep: str = "auto",
        every: int = 1,
        steps: int | slice | None = None,
        layers: str | Iterable[str] | None = None,
        max_bytes: int | None = MAX_BYTES,
        overwrite: bool = False,
    ) -> None:
        super().__init__()
        Limits(keep, every, steps, layers, max_bytes)
        limits = {"every": every, "steps": steps, "layers": layers, "max_bytes": max_bytes}
        self._arguments: dict[str, Any] = {"path": path, "keep": keep, "overwrite": overwrite, **limits}
        self._plan = self._before = None
        self.recorder: Recorder | None = None

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Make the recorder, or go on with it in another session."""
        if self.recorder is None:
            self.recorder = Recorder(session, **self._arguments)
        else:
            self.recorder.use(session)

    def before_run(self, run_context: Any) -> Any:
        """Read the variables, and ask for what the step needs besides."""
        assert self.recorder is not None
        self.recorder.use(run_context.session)
        fetches, feed_dict = run_context.original_args[:2]
        self._plan = self.recorder.plan(fetches, feed_dict)
        self._before = self.recorder.before(self._plan) if self._plan.parts else None
        return None if self._before is None else tf.train.SessionRunArgs(self._plan.extra)

    def after_run(self, run_context: Any, run_values: Any) -> None:
        """Read the variables again, and write the step."""
        if self._before is not None:
            self.recorder.after(self._plan, self._before, run_values.results, None)

    def end(self, session: Any) -> None:
        """Finish the trace."""
        recorder = self.recorder
        if recorder is None:
            return
        recorder.close()
        text = contents(recorder.path, recorder.steps, recorder.layers, recorder.bytes)
        if recorder.problem is not None:
            text += f" {recorder.problem[0].upper()}{recorder.problem[1:]}."
        elif not recorder.layers:
            text += " Nothing was recorded: no run depends on a batch-norm layer that can be recognised in the graph."
        print(f"tf1bn: {printable(text)}", file=sys.stderr, flush=True)
