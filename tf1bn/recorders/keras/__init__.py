"""Records the batch-norm layers of a Keras model as a trace: of Keras 3 with any backend, or of tf_keras.

from tf1bn.recorders.keras import Recorder, record

model.fit(x, y, callbacks=[Recorder("run.trace")])

with record(model, "run.trace"):  # for a loop of one's own
    for batch in batches:
        train_step(batch)
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from typing import Any

try:
    from keras.callbacks import Callback
except ModuleNotFoundError:
    try:
        from tf_keras.callbacks import Callback
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "tf1bn.recorders.keras needs Keras; install it with `pip install keras` and a backend.", name="keras"
        ) from error

from ..limits import MAX_BYTES, Limits
from .recorder import KerasRecorder

__all__ = ["KerasRecorder", "Recorder", "record"]


def record(
    model: Any,
    path: str | os.PathLike[str],
    *,
    keep: str = "auto",
    every: int = 1,
    steps: int | slice | None = None,
    layers: str | Iterable[str] | None = None,
    max_bytes: int | None = MAX_BYTES,
    overwrite: bool = False,
) -> KerasRecorder:
    """Record the batch-norm layers of a model from now on, until the block is left or `KerasRecorder.close` is called.

    A step of the trace is one call of `model`, whether it runs eagerly, inside a ``tf.function`` or compiled by JAX. A
    layer that is applied outside of a call of `model` makes a step of its own. Every BatchNormalization is recorded
    that the model holds at any depth, in each call of it, with its mask. What was traced or compiled before the
    recording began holds no recorder, so make such functions afterwards; those of ``fit``, ``evaluate`` and ``predict``
    are made anew, without XLA where the backend is TensorFlow; what was made not trainable since they were compiled is
    frozen in the new ones alone, and a warning says so.

    Args:
      model: the model; built or not.
      path: the folder of the trace, which is made.
      keep, every, steps, layers, max_bytes: as for `recorders.limits.Limits`; names of layers are their `name`.
      overwrite: whether to replace a trace that is there.

    Raises:
      TypeError: `model` is no Keras model or layer.
      ValueError: the model has no BatchNormalization, runs in several replicas, or is being recorded already; or an
        argument is not as above.
      FileExistsError: there is something at `path`; see `trace.Writer`.
    """
    recorder = KerasRecorder(model, path, Limits(keep, every, steps, layers, max_bytes), overwrite=overwrite)
    if recorder.frozen_after_compile:
        warnings.warn(_frozen(recorder.frozen_after_compile), stacklevel=2)
    return recorder


def _frozen(names: list[str]) -> str:
    """That layers were made not trainable when it was too late for what is compiled."""
    return (
        f"`trainable` of {', '.join(names[:8])} was set to False after `model.compile`: what was compiled before "
        "goes on to train them, and a recording, which compiles anew, freezes them and so shows another training. Call "
        "`model.compile` again where they are to be frozen, or set `trainable` to True again."
    )


class Recorder(Callback):
    """A callback that records the batch-norm layers of the model, one step of a trace for each of its calls.

        model.fit(x, y, callbacks=[Recorder("run.trace")])

    The trace is finished when the training ends, or the evaluation or prediction if there is no training. One whose
    training raised is whole up to the step before; `close` then lets go of the model.

    Args:
      path, keep, every, steps, layers, max_bytes, overwrite: as for `record`.

    Attributes:
      recorder: the `KerasRecorder`, once there is a model.

    Raises:
      TypeError, ValueError, FileExistsError: as `record` does; what concerns the model, when it is known.
      ValueError: a layer was made not trainable after the model was compiled and trained, and `fit` begins.
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
        self._path, self._overwrite = path, overwrite
        self._limits = Limits(keep, every, steps, layers, max_bytes)
        self._trains = False
        self.recorder: KerasRecorder | None = None

    def set_model(self, model: Any) -> None:
        """Begin to record the model."""
        super().set_model(model)
        if self.recorder is not None and self.recorder._model is model and not self.recorder._collector.closed:
            return
        if self.recorder is not None:
            raise ValueError(f"The recorder of {self.recorder.path!r} has ended; make another with a path of its own.")
        self.recorder = KerasRecorder(model, self._path, self._limits, overwrite=self._overwrite)

    def on_train_begin(self, logs: Any = None) -> None:
        """Note that there is a training, at whose end the trace ends."""
        self._trains = True
        if self.recorder is not None and (names := self.recorder.frozen_after_compile):
            self.close()
            raise ValueError(_frozen(names))

    def on_train_end(self, logs: Any = None) -> None:
        """Finish the trace."""
        self.close()

    def on_test_end(self, logs: Any = None) -> None:
        """Finish the trace of an evaluation by itself."""
        if not self._trains:
            self.close()

    def on_predict_end(self, logs: Any = None) -> None:
        """Finish the trace of a prediction by itself."""
        if not self._trains:
            self.close()

    def close(self) -> None:
        """Finish the trace and let go of the model; closing again does nothing."""
        if self.recorder is not None:
            self.recorder.close()

    # tf_keras asks its callbacks whether it may skip them; a callback of Keras 3 that is used there has no answer.

    def _implements_train_batch_hooks(self) -> bool:
        return False

    def _implements_test_batch_hooks(self) -> bool:
        return False

    def _implements_predict_batch_hooks(self) -> bool:
        return False
