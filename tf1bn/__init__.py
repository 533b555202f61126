"""tf1bn: the ``batch_norm`` of TensorFlow 1.x on today's TensorFlow, and a checker of moving statistics.

Importing the package imports neither TensorFlow nor NumPy; the names below are loaded when they are used.
"""

import importlib

__version__ = "0.1.0"

_PUBLIC = {
    "batch_norm": "tf1bn.layers.contrib_batch_norm",
    "batch_normalization": "tf1bn.layers.core_batch_norm",
    "arg_scope": "tf1bn.layers.arg_scopes",
    "Recorder": "tf1bn.recorders.session",
    "article": None,
    "checker": None,
    "checkpoints": None,
    "contrib": None,
    "diagnosis": None,
    "legacy": None,
    "release": "tf1bn.layers.release_scope",
    "parity": None,
    "recorders": None,
    "releases": None,
    "reproduce": None,
    "testing": None,
    "trace": None,
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name):
    try:
        module = _PUBLIC[name]
    except KeyError:
        raise AttributeError(f"module 'tf1bn' has no attribute {name!r}") from None
    try:
        loaded = importlib.import_module(module or f"tf1bn.{name}")
    except ModuleNotFoundError as error:
        if error.name != "tensorflow":
            raise
        raise ModuleNotFoundError(
            f"tf1bn.{name} needs TensorFlow; install it with `pip install tensorflow`, or `tf1bn[tensorflow]`.",
            name="tensorflow",
        ) from error
    value = getattr(loaded, name) if module else loaded
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *_PUBLIC})
