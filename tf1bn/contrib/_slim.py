"""What tf1bn lends from the package tf_slim, the kept half of `tf.contrib.slim`: a copy of its modules of our own.

The copy is executed with tf1bn's argument scopes, layers, initializers, regularizers and variables in the place of its
own, so that ``slim.arg_scope`` reaches every layer, and every batch norm is tf1bn's. The package itself stays as it is.
"""

import builtins
import importlib.machinery
import importlib.util
import os
import sys
import types

from ..layers import arg_scopes
from ._names import TREE

# Modules of the copy in which our names replace those of the package, each with the module below `tf.contrib`.
_REPLACED = {
    "tf_slim.layers.layers": "layers.python.layers.layers",
    "tf_slim.layers.initializers": "layers.python.layers.initializers",
    "tf_slim.layers.regularizers": "layers.python.layers.regularizers",
    "tf_slim.ops.variables": "framework.python.ops.variables",
}
# Modules of TensorFlow of which the sources use names that have moved since; they are all in `tf.compat.v1`.
_MOVED = (
    "tensorflow.python.framework.ops",
    "tensorflow.python.ops.array_ops",
    "tensorflow.python.ops.control_flow_ops",
)
_copies = {}


def module(name: str) -> types.ModuleType:
    """The copy of a module, such as "tf_slim.learning".

    Raises:
      ModuleNotFoundError: the package is not installed, or has no such module.
    """
    if name in _copies:
        return _copies[name]
    package = importlib.util.find_spec("tf_slim")
    if package is None:
        raise ModuleNotFoundError(
            "tf1bn lends this from the package tf_slim, which is not installed: `pip install tf_slim`, or "
            "`tf1bn[legacy]`.",
            name="tf_slim",
        )
    above, _, last = name.rpartition(".")
    parent = module(above) if above else None
    if name not in _copies:
        path = os.path.join(next(iter(package.submodule_search_locations)), *name.split(".")[1:])
        _execute(name, os.path.join(path, "__init__.py") if os.path.isdir(path) else f"{path}.py")
    if parent is not None:
        setattr(parent, last, _copies[name])
    return _copies[name]


def _execute(name, path):
    """Makes the copy of the module whose source is at ``path``."""
    if name == "tf_slim.ops.arg_scope":
        _copies[name] = arg_scopes
        return
    # Their sources look themselves up by their names.
    registered = f"tf1bn.contrib._slim_copy.{name}"
    copy = sys.modules[registered] = types.ModuleType(registered)
    copy.__file__, copy.__builtins__ = path, {**vars(builtins), "__import__": _import}
    if os.path.basename(path) == "__init__.py":
        copy.__path__ = []
    if name == "tf_slim":
        # Its source imports all of the package.
        _copies[name] = copy
        return
    try:
        code = importlib.machinery.SourceFileLoader(name, path).get_code(name)
    except FileNotFoundError:
        del sys.modules[registered]
        raise ModuleNotFoundError(f"No module named {name!r} in the package tf_slim.", name=name) from None
    _copies[name] = copy
    try:
        exec(code, vars(copy))
    except BaseException:
        del _copies[name], sys.modules[registered]
        raise
    for key, value in list(vars(copy).items()):
        if isinstance(value, types.ModuleType) and value.__name__ in _MOVED:
            setattr(copy, key, _WithMovedNames(value))
    if name in _REPLACED:
        ours = sys.modules[f"tf1bn.contrib.{_REPLACED[name]}"]
        vars(copy).update({key: getattr(ours, key) for key in TREE[_REPLACED[name]] if _is_ours(_REPLACED[name], key)})


class _WithMovedNames(types.ModuleType):
    """A module of TensorFlow with the names that have moved from it to others."""

    def __init__(self, real):
        super().__init__(real.__name__)
        self._real = real

    def __getattr__(self, name):
        real = self.__dict__["_real"]
        return getattr(real if hasattr(real, name) else importlib.import_module("tensorflow").compat.v1, name)


def _is_ours(path, name):
    """Whether tf1bn itself defines a name; the others are this copy's or modules."""
    return not TREE[path][name].startswith(("tf_slim.", ":"))


def _import(name, globals=None, locals=None, fromlist=(), level=0):
    """``__import__`` that finds the copies, for their own sources; these import by full names alone."""
    if name.partition(".")[0] != "tf_slim":
        return builtins.__import__(name, globals, locals, fromlist, level)
    found = module(name)
    for wanted in fromlist or ():
        if wanted != "*" and not hasattr(found, wanted):
            module(f"{name}.{wanted}")
    return found if fromlist else _copies["tf_slim"]
