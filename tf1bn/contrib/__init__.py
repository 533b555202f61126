"""The names under which old code imports batch normalisation and what it uses around it: ``tf.contrib``.

    from tensorflow.contrib.layers import batch_norm      becomes      from tf1bn.contrib.layers import batch_norm

for every path that old code takes to them, such as ``contrib.layers.python.layers.layers``, ``contrib.framework`` and
``contrib.slim``. Every other name says in one sentence that it is missing, and what to use. Imports no TensorFlow
until a name is used. The functions themselves are in the modules whose names begin with an underscore.
"""

import importlib.util
import sys
import types
from typing import Any

from ._lent_names import CELLS
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


def provider(path: str) -> str:
    """Where the name at ``path`` below `tf.contrib` comes from, such as "layers.batch_norm".

    Returns:
      "tf1bn"; "tf_slim", which may have to be installed; or the name in `tf` that it stands for, such as "tf.nn.relu".

    Raises:
      AttributeError: there is none here; the message says what to use.
    """
    module, left = "", path.split(".") if path else []
    while left:
        part, names = left.pop(0), TREE[module]
        below = f"{module}.{part}" if module else part
        if below in TREE:
            module = below
        elif isinstance(names, str):
            # Modules that are lent whole have the names of tf_slim's; these two have modules alone.
            if module.rpartition(".")[2] in ("nets", "data"):
                raise AttributeError(missing(below))
            return "tf_slim"
        elif part.startswith("__"):
            return "tf1bn"
        elif part not in names:
            raise AttributeError(missing(path))
        elif names[part].startswith(":"):
            module = names[part][1:]
        elif names[part].startswith("tf_slim."):
            return "tf_slim"
        elif names[part] == CELLS:
            return "tf.nn.rnn_cell.RNNCell"
        else:
            # Where a whole module of `tf` stands in, what follows is a name in it.
            return ".".join([names[part], *left]) if names[part].partition(".")[0] == "tf" else "tf1bn"
    return "tf_slim" if isinstance(TREE[module], str) else "tf1bn"


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
            return _offered(self)
        if name.startswith("__"):
            raise AttributeError(name)
        value = _load(self._path, self._names, name)
        self.__dict__[name] = value
        return value

    def __dir__(self):
        if isinstance(self._names, dict):
            return sorted(self._names)
        below = [path.rpartition(".")[2] for path in _modules if path.rpartition(".")[0] == self._path]
        own = dir(_lent(self._names)) if _has_tf_slim() else []
        return sorted({*below, *(name for name in own if not name.startswith("_"))})


def _load(path, names, name):
    """The value of a name in the module at ``path``; ``names``: its table, or the module it is lent from."""
    if isinstance(names, str):
        return _modules.get(f"{path}.{name}") or _from_slim(names, path, name)
    try:
        target = names[name]
    except KeyError:
        raise AttributeError(missing(f"{path}.{name}" if path else name)) from None
    if target.startswith(":"):
        return _modules[target[1:]]
    if target.startswith("tf_slim."):
        return _from_slim(target, path, name)
    if target.partition(".")[0] == "tf":
        value = importlib.import_module("tensorflow").compat.v1
        try:
            for part in target.split(".")[1:]:
                value = getattr(value, part)
        except (AttributeError, ImportError) as error:
            needs = ", which needs the package tf_keras: `pip install tf_keras`" if "rnn_cell" in target else ""
            raise AttributeError(f"`tf.contrib.{path}.{name}` is `{target}` today{needs}.") from error
        return value
    return getattr(importlib.import_module(f"tf1bn.{target}"), name)


def _lent(name):
    """The module of this name in the copy of tf_slim."""
    from . import _slim

    return _slim.module(name)


def _from_slim(module, path, name):
    """The value of a name that is lent from a module of tf_slim."""
    try:
        return getattr(_lent(module), name)
    except ModuleNotFoundError as error:
        raise AttributeError(f"`tf.contrib.{path}.{name}`: {error}") from error
    except AttributeError:
        raise AttributeError(missing(f"{path}.{name}")) from None


def _offered(module):
    """The names that ``from module import *`` binds: without those of a package that is not installed."""
    names = dir(module)
    if _has_tf_slim() or isinstance(module._names, str):
        return names
    return [name for name in names if not module._names[name].startswith("tf_slim.")]


def _has_tf_slim():
    return importlib.util.find_spec("tf_slim") is not None


_modules = {path: _Module(path, names) for path, names in TREE.items() if path}
# The import system looks here, and so finds `tf1bn.contrib.layers` and the others without a file of each.
sys.modules.update({f"{__name__}.{path}": module for path, module in _modules.items()})


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return _load("", TREE[""], name)


def __dir__() -> list[str]:
    return sorted(TREE[""])
