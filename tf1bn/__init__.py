"""tf1bn: the ``batch_norm`` of TensorFlow 1.x on today's TensorFlow, and a checker of moving statistics.

Importing the package imports neither TensorFlow nor NumPy; the names below are loaded when they are used.
"""

import importlib
import sys

if getattr(sys, "argv", None) and sys.argv[0] == "-m":
    # The interpreter imports this package to run a module by name. Most modules of it would do nothing and succeed.
    from ._util.run_as_module import refuse_other_modules

    refuse_other_modules()

__version__ = "0.1.0"

# The module that has each public name; None for packages and modules of that name.
_PUBLIC = {
    "Recorder": "tf1bn.recorders.session",
    "arg_scope": "tf1bn.layers.arg_scopes",
    "batch_norm": "tf1bn.layers.contrib_batch_norm",
    "batch_normalization": "tf1bn.layers.core.functional",
    "BatchNormalization": "tf1bn.layers.core.layer_object",
    "recalibrate": "tf1bn.recalibration",
    "release": "tf1bn.layers.release_scope",
    "checker": None,
    "checkpoints": None,
    "cluster": None,
    "contrib": None,
    "diagnosis": None,
    "errors": None,
    "graphs": None,
    "legacy": None,
    "parity": None,
    "recalibration": None,
    "recorders": None,
    "releases": None,
    "reproduce": None,
    "testing": None,
    "trace": None,
}

# Other names of two modules, kept for one release.
_ALIASES = ("article", "oldscript")

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name):
    if name not in _PUBLIC and name not in _ALIASES:
        raise AttributeError(f"module 'tf1bn' has no attribute {name!r}")
    module = _PUBLIC.get(name)
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
    return sorted({*globals(), *_PUBLIC, *_ALIASES})
