"""tf1bn: the ``batch_norm`` of TensorFlow 1.x on today's TensorFlow, and a referee for moving statistics.

Importing the package imports neither TensorFlow nor NumPy; the names below are loaded when they are used.
"""

import importlib

__version__ = "0.1.0"

_PUBLIC = {
    "batch_norm": "tf1bn.layer",
    "arg_scope": "tf1bn.argscope",
    "article": None,
    "checker": None,
    "contrib": None,
    "releases": None,
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name):
    try:
        module = _PUBLIC[name]
    except KeyError:
        raise AttributeError(f"module 'tf1bn' has no attribute {name!r}") from None
    value = (
        importlib.import_module(f"tf1bn.{name}") if module is None else getattr(importlib.import_module(module), name)
    )
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *_PUBLIC})
