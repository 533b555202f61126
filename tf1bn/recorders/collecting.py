"""What the recorders of PyTorch's and Keras' models have in common."""

from __future__ import annotations

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
