"""Calls of `torch.nn.functional.batch_norm`, for as long as a recorder listens.

PyTorch's modules, their subclasses and most layers of others call it through its module, so it is replaced there. It
shows what a forward hook does not: the raw output of a subclass that applies an activation, and the momentum of a
cumulative average.
"""

from __future__ import annotations

import threading
from typing import Any, Protocol

import torch
from torch.nn import functional


class Listener(Protocol):
    """What hears of the calls."""

    def before_call(self, call: Call) -> object:
        """Hear of a call before it; returns what `after_call` gets, or None to ignore the call."""

    def after_call(self, token: Any, call: Call, output: Any) -> None:
        """Hear of the same call's output."""


class Call:
    """The arguments of a call, under the names that the function gives them."""

    def __init__(self, input, running_mean, running_var, weight, bias, training, momentum, eps):
        self.input, self.running_mean, self.running_var = input, running_mean, running_var
        self.weight, self.bias = weight, bias
        self.training, self.momentum, self.eps = training, momentum, eps


_listeners: list[Listener] = []
_lock = threading.Lock()
_original: Any = None


def batch_norm(
    input, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5
):  # fmt: skip
    """`torch.nn.functional.batch_norm`, which the listeners hear of."""
    call = Call(input, running_mean, running_var, weight, bias, training, momentum, eps)
    original = functional.batch_norm if _original is None else _original
    if torch.compiler.is_compiling() or torch.jit.is_scripting():
        return original(input, running_mean, running_var, weight, bias, training, momentum, eps)
    tokens = [(listener, listener.before_call(call)) for listener in tuple(_listeners)]
    output = None
    try:
        output = original(input, running_mean, running_var, weight, bias, training, momentum, eps)
    finally:
        # Also if it was interrupted: where activations are recomputed, as soon as the last one is there.
        for listener, token in tokens:
            if token is not None:
                listener.after_call(token, call, output)
    return output


def listen(listener: Listener) -> None:
    """Tell a listener of the calls from now on."""
    global _original
    with _lock:
        if not _listeners:
            _original = functional.batch_norm
            functional.batch_norm = batch_norm
        _listeners.append(listener)


def stop(listener: Listener) -> None:
    """Tell a listener of no more calls; after the last one PyTorch's function is back in its place."""
    global _original
    with _lock:
        if listener in _listeners:
            _listeners.remove(listener)
        if not _listeners and functional.batch_norm is batch_norm:
            functional.batch_norm = _original
            _original = None
