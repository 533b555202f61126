"""The names under which old code imports batch normalisation and what it uses around it: ``tf.contrib``.

    from tensorflow.contrib.layers import batch_norm      becomes      from tf1bn.contrib.layers import batch_norm

for every path that old code takes to them, such as ``contrib.layers.python.layers.layers``, ``contrib.framework`` and
``contrib.slim``. Every other name says in one sentence that it is missing, and what to use. Imports no TensorFlow
until a name is used. The functions themselves are in the modules whose names begin with an underscore.
"""

import importlib
import sys
import types
from typing import Any

from ._names import TREE, missing

__all__ = sorted(TREE[""])


def module(path: str) -> types.ModuleType:
    """The module at ``path`` below `tf.contrib`, such as "layers.python.layers".

    Raises:
      ModuleNotFoundError: there is none here; the message says what to use.
    """
    try:
        return _modules[path]
    except KeyError:
        raise ModuleNotFoundError(missing(path), name=f"tensorflow.contrib.{path}") from None


class _Module(types.ModuleType):
    """A module whose names are loaded when they are used."""

    def __init__(self, path, names):
        super().__init__(
            f"{__name__}.{path}", f"The names of `tf.contrib.{path}` that old code around batch_norm imports."
        )
        self.__dict__["_path"] = path
        self.__dict__["_names"] = names
        self.__path__ = []

    def __getattr__(self, name):
        if name == "__all__":
            return sorted(self._names)
        if name.startswith("__"):
            raise AttributeError(name)
        value = _load(self._path, self._names, name)
        self.__dict__[name] = value
        return value

    def __dir__(self):
        return sorted(self._names)


def _load(path, names, name):
    """The value of a name in the module at ``path``; ``names`` is that module's table."""
    try:
        target = names[name]
    except KeyError:
        raise AttributeError(missing(f"{path}.{name}" if path else name)) from None
    if target.startswith(":"):
        return _modules[target[1:]]
    if target.startswith("tf."):
        value = importlib.import_module("tensorflow").compat.v1
        for part in target.split(".")[1:]:
            value = getattr(value, part)
        return value
    return getattr(importlib.import_module(f"tf1bn.{target}"), name)


_modules = {path: _Module(path, names) for path, names in TREE.items() if path}
# The import system looks here, and so finds `tf1bn.contrib.layers` and the others without a file of each.
sys.modules.update({f"{__name__}.{path}": module for path, module in _modules.items()})


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return _load("", TREE[""], name)


def __dir__() -> list[str]:
    return sorted(TREE[""])
