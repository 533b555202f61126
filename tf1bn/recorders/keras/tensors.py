"""How values leave a Keras model while it runs, for each of its backends."""

from __future__ import annotations

from typing import Any

from ..values import Eager, Jax, Receiver, is_symbolic


class TensorFlow(Eager):
    """Eager TensorFlow, and functions of ``tf.function``."""

    def __init__(self) -> None:
        import tensorflow

        self._tf = tensorflow

    def plain(self, function: Any) -> Any:
        return self._tf.autograph.experimental.do_not_convert(function)

    def value(self, variable: Any) -> Any:
        if variable is None:
            return None
        value = getattr(variable, "value", variable)
        value = value() if callable(value) else value
        return self._tf.identity(value)

    def send(self, receiver: Receiver, values: list[Any]) -> None:
        tf = self._tf
        if tf.executing_eagerly() and not any(is_symbolic(value) for value in values):
            receiver(values)
            return
        if any(is_symbolic(value) for value in values):
            return  # while Keras works out shapes

        def receive(*arrays: Any) -> None:
            receiver(arrays)

        tf.numpy_function(receive, values, [])


def tensors_of(backend: str) -> Eager:
    """The way in which values leave a model of this backend."""
    if backend == "tensorflow":
        return TensorFlow()
    return Jax() if backend == "jax" else Eager()
