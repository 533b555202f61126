"""What the recorders of models, of PyTorch, Keras and Flax, have in common."""

from __future__ import annotations

import threading
from typing import TypeVar

from .collector import Collector

_Recorder = TypeVar("_Recorder", bound="CollectingRecorder")


class CollectingRecorder:
    """Says what its trace holds, and is closed at the end of a block.

    Attributes:
      path: the folder of the trace.
      steps: the number of steps recorded so far.
      layers: the number of layers listed in the trace so far.
      bytes: the size of the trace so far.
    """

    _collector: Collector

    path = property(lambda self: self._collector.path)
    steps = property(lambda self: self._collector.steps)
    layers = property(lambda self: len(self._collector.layers))
    bytes = property(lambda self: self._collector.bytes)

    def close(self) -> None:
        """Finish the trace and let go of the model; closing again does nothing."""
        raise NotImplementedError

    def summary(self) -> str:
        """What the trace holds, in a sentence or more."""
        return self._collector.summary()

    def __enter__(self: _Recorder) -> _Recorder:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class SteppingRecorder(CollectingRecorder):
    """A recorder that hears of the calls of a model and of its layers, perhaps from compiled code."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._depth, self._running = 0, False

    def _begin(self) -> None:
        with self._lock:
            self._depth += 1
            if self._depth == 1:
                self._end(None)
                self._running = True
                self._collector.begin()

    def _leave(self, training: bool | None) -> None:
        with self._lock:
            self._depth = max(0, self._depth - 1)
            if not self._depth:
                self._end(training or None)

    def _end(self, training: bool | None) -> None:
        if self._running:
            self._running = False
            self._collector.end(training)

    def _listens_to(self, name: str) -> bool:
        """Whether an application of this layer is recorded; one outside of a call of the model may begin a step."""
        collector = self._collector
        if collector.closed or not collector.in_own_process or not collector.takes_layer(name):
            return False
        if not self._depth and collector.holds(name):
            self._end(None)
        if not self._running:
            self._running = True
            collector.begin()
        return collector.recording
