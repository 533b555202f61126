"""Recorders write a trace while a model runs; `tf1bn audit` and `tf1bn parity` read it.

`Recorder` wraps a session of ``tf.compat.v1``. Importing this package imports no TensorFlow; using a name does.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .session import Recorder

__all__ = ["Recorder"]

_MODULES = {"Recorder": "session"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
