"""How values leave a model while it runs: at once where it runs eagerly, by a host call where it is compiled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Receiver = Callable[[Sequence[Any]], object]


class Eager:
    """A backend that always runs eagerly, such as PyTorch.

    Attributes:
      in_step: whether values arrive before the program goes on behind the step that sent them.
    """

    in_step = True

    def plain(self, function: Any) -> Any:
        """The function as it is to be called inside of a layer."""
        return function

    def value(self, variable: Any) -> Any:
        """The value of a variable now, which later updates do not change; None for None."""
        if variable is None:
            return None
        value = getattr(variable, "value", variable)
        value = value() if callable(value) else value
        return np.array(value.detach().cpu().float() if hasattr(value, "detach") else value)

    def send(self, receiver: Receiver, values: list[Any]) -> None:
        """Have a receiver called with the values, in the order of the program."""
        receiver(values)

    def wait(self) -> None:
        """Wait until everything that was sent has arrived."""


class Jax(Eager):
    """JAX: eager, or compiled with a call of the host in the order of the program."""

    in_step = False

    def __init__(self) -> None:
        import jax
        from jax.experimental import io_callback

        self._jax, self._io_callback = jax, io_callback

    def value(self, variable: Any) -> Any:
        return None if variable is None else variable.value

    def send(self, receiver: Receiver, values: list[Any]) -> None:
        if any(is_symbolic(value) for value in values):
            return

        def receive(*arrays: Any) -> None:
            receiver(arrays)

        # A call of the host has no derivative, and needs none.
        values = [self._jax.lax.stop_gradient(value) for value in values]
        self._io_callback(receive, None, *values, ordered=True)

    def wait(self) -> None:
        self._jax.effects_barrier()


def is_symbolic(value: Any) -> bool:
    """Whether it is a value of Keras' that only has a shape."""
    return type(value).__name__ == "KerasTensor"
