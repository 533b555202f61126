"""``import tensorflow`` as an old script means it: `tf.compat.v1` with the ``contrib`` and ``layers`` of TF 1.x.

The script and its own modules run with builtins of their own, whose ``__import__`` answers to every name below
``tensorflow``. So nothing is put into ``sys.modules``, and TensorFlow itself and all installed packages go on seeing
the real one. The script's own modules are those found below its folder and below folders that it adds to ``sys.path``.
"""

import builtins
import functools
import importlib.machinery
import importlib.util
import os
import sys
import types

from .. import contrib
from . import before_1_0, python2_translation
from .left_names import GONE, renamed


def legacy_layers():
    """Whether `tf.layers` works: TensorFlow was imported with the Keras of TensorFlow 2.15 and before, tf_keras."""
    return os.environ.get("TF_USE_LEGACY_KERAS") in ("1", "true", "True") and has_legacy_keras()


def has_legacy_keras():
    """Whether the package tf_keras is installed."""
    return importlib.util.find_spec("tf_keras") is not None


class OldTensorFlow:
    """The module ``tensorflow`` of TensorFlow 1.x, and the import system through which a script meets it.

    Args:
      release: the release that ``tf.__version__`` names, such as "1.15".
      own_folder: a function from a folder to whether modules found there are the script's own.
      old_names: the `OldNames` that the script gets; None if it gets none.

    Attributes:
      module: the module ``tensorflow``.
      builtins: the dict of builtins that the script and its modules run with.
      python2: whether the script is Python 2; see `python2_translation.is_python2`.
    """

    def __init__(self, release, own_folder, old_names):
        import tensorflow

        from . import static_shapes

        self._v1 = tensorflow.compat.v1
        self._own_folder = own_folder
        self._old_names = old_names
        self._import = builtins.__import__
        version = f"{release}.0" if release.count(".") == 1 else release
        self.module = _Module("tensorflow", self._find)
        self.module.__path__ = list(tensorflow.__path__)
        self.module.__version__ = self.module.VERSION = version
        self.module.contrib = contrib
        self.module.layers = _Module("tensorflow.layers", self._find_layer)
        old = {"BatchNorm": "BatchNormalization", "batch_norm": "batch_normalization"}
        name_of_module = "tensorflow.python.layers.normalization"
        self._normalization = _Module(name_of_module, lambda name: self._find_layer(old.get(name, name)))
        operations = dict(static_shapes.OPERATIONS)
        if old_names is not None:
            operations |= before_1_0.operations(old_names.lent.add)
        self._copy("image"), self._copy("train")
        for path, operation in operations.items():
            above, _, name = path.rpartition(".")
            setattr(self._copy(above) if above else self.module, name, operation)
        self.module.gfile = _Module("tensorflow.gfile", self._find_file)
        self.module.py_func = self._py_func
        self.module.compat = _Module("tensorflow.compat", lambda name: getattr(self._v1.compat, name))
        self.module.compat.v1 = self.module
        self.module.compat.v2 = tensorflow.compat.v2
        self.module.examples = _tutorials()
        # All modules of the script see what it puts in here.
        self._builtins = types.ModuleType("builtins", builtins.__doc__)
        # A dict, because that is what the interpreter looks names up in.
        self.builtins = vars(self._builtins)
        self.builtins.update({**vars(builtins), **python2_translation.BUILTINS, "__import__": self.import_})
        if old_names is not None:
            self.builtins.update(old_names.builtins)
        self.python2 = False

    def import_(self, name, globals=None, locals=None, fromlist=(), level=0):
        """``__import__`` that answers ``import tensorflow`` with the module of TensorFlow 1.x."""
        top, _, rest = name.partition(".")
        if name == "builtins" and not level:
            return self._builtins
        if level or top != "tensorflow":
            try:
                found = self._import(name, globals, locals, fromlist, level)
                return found if level else self._with_old_names(found)
            except ModuleNotFoundError as error:
                replaced = self._replaced(error.name, name, fromlist)
                if replaced is not None:
                    return replaced
                if level or error.name != top or not (globals or {}).get("__package__"):
                    raise
                missing = error
            # In Python 2 a module of a package imports its neighbours like this.
            try:
                return self._import(name, globals, locals, fromlist, 1)
            except ModuleNotFoundError as error:
                if error.name != f"{globals['__package__']}.{top}":
                    raise
            raise missing
        found = self._walk(rest)
        if found is None:
            try:
                found = self._import(name, globals, locals, fromlist or ("__name__",), 0)
            except ModuleNotFoundError as error:
                if (error.name or "").partition(".")[0] != "tensorflow":
                    raise
                raise ModuleNotFoundError(_no_module(name), name=name) from None
            found = self._internal(found)
        for wanted in fromlist or ():
            if wanted != "*" and isinstance(found, (_Module, types.ModuleType)):
                _require(found, name, wanted)
        return found if fromlist else self.module

    def _with_old_names(self, found):
        """An imported module as the script sees it."""
        if self._old_names is None or isinstance(getattr(found, "__loader__", None), _Loader):
            return found
        return self._old_names.seen(found)

    def _replaced(self, missing, name, fromlist):
        """What importing ``name`` gives if it has left its package; None if the import failed otherwise."""
        # A package above it may have left too, but not the one that is installed or not.
        gone = missing is not None and "." in missing and f"{name}.".startswith(f"{missing}.")
        if self._old_names is None or not gone or (replaced := self._old_names.replaced(name)) is None:
            return None
        return replaced if fromlist else self._with_old_names(self._import(name.partition(".")[0]))

    def compiled(self, data, path, in_package):
        """The code of one of the script's sources; see `python2_translation.compiled`."""
        return python2_translation.compiled(data, path, in_package, self.python2, self._old_names is not None)

    def _walk(self, rest):
        """The module at this path below ``tensorflow``; None if only the real TensorFlow may have it."""
        parts = rest.split(".") if rest else []
        while parts[:2] == ["compat", "v1"]:
            parts = parts[2:]
        if not parts:
            return self.module
        if parts[0] not in ("contrib", "layers", "compat"):
            # The real `tensorflow.train` and its like are those of version 2.
            found = self.module if parts[0] not in ("python", "keras") else None
            for part in parts:
                found = getattr(found, part, None)
            return found if isinstance(found, types.ModuleType) else None
        if parts[0] == "contrib":
            return contrib.module(".".join(parts[1:])) if parts[1:] else contrib
        if len(parts) > 1 and (parts[0] == "layers" or parts[1] != "v2"):
            raise ModuleNotFoundError(_no_module(f"tensorflow.{rest}"), name=f"tensorflow.{rest}")
        return None if parts[1:] else getattr(self.module, parts[0])

    def _internal(self, found):
        """A module below ``tensorflow.python`` that also finds what has left it since, by the public names."""
        if not isinstance(found, types.ModuleType):
            # Nothing is asked of it: `flags.FLAGS` parses the command line when it is.
            return found
        own = {
            "tensorflow.python.platform.gfile": self.module.gfile,
            "tensorflow.python.layers.layers": self.module.layers,
            "tensorflow.python.layers.normalization": self._normalization,
        }.get(found.__name__)
        if own is not None:
            return own
        if not f"{found.__name__}.".startswith("tensorflow.python."):
            return found

        def find(name):
            if not hasattr(found, name):
                name = renamed(found.__name__, name)
            for module in (found, self._v1, self._v1.nn, self._v1.train):
                if hasattr(module, name):
                    return self._internal(getattr(module, name))
            raise AttributeError(f"module {found.__name__!r} has no attribute {name!r} in today's TensorFlow.")

        internal = _Module(found.__name__, find)
        internal.__path__, internal.__file__ = getattr(found, "__path__", []), getattr(found, "__file__", None)
        internal.__all__ = getattr(found, "__all__", [name for name in vars(found) if not name.startswith("_")])
        return internal

    def _find(self, name):
        """An attribute of ``tensorflow``."""
        if name in GONE:
            raise AttributeError(_no_module(f"tensorflow.{name}"))
        if name == "python":
            return self._internal(importlib.import_module("tensorflow.python"))
        try:
            return getattr(self._v1, name)
        except AttributeError:
            version = importlib.import_module("tensorflow").__version__
            missing = (
                f"module 'tensorflow' has no attribute {name!r}, and nor has `tf.compat.v1` of TensorFlow {version}."
            )
        return before_1_0.lent(name, missing, self._old_names)

    def _copy(self, name):
        """The script's copy of a module of ``tensorflow``, in which names may be replaced."""
        if name not in vars(self.module):
            real = getattr(self._v1, name)

            def find(wanted):
                try:
                    return getattr(real, wanted)
                except AttributeError as error:
                    missing = str(error)
                return before_1_0.lent(f"{name}.{wanted}", missing, self._old_names)

            copy = _Module(f"tensorflow.{name}", find)
            copy.__all__ = [public for public in dir(real) if not public.startswith("_")]
            setattr(self.module, name, copy)
        return vars(self.module)[name]

    def _find_file(self, name):
        """An attribute of ``tensorflow.gfile``."""
        if self.python2 and name in ("FastGFile", "GFile", "Open"):
            from .python2_tensorflow import File

            return File
        return getattr(self._v1.gfile, name)

    def _py_func(self, *args, **kwargs):
        """`tf.py_func`, which gives Python 2 the strings that it takes."""
        if self.python2:
            from .python2_tensorflow import py_func

            return py_func(*args, **kwargs)
        return self._v1.py_func(*args, **kwargs)

    def _find_layer(self, name):
        """An attribute of ``tensorflow.layers``."""
        if name in ("batch_normalization", "BatchNormalization"):
            # Here, because the runner uses this module before TensorFlow is imported.
            from ..layers.core import functional, layer_object

            return getattr(functional if name.islower() else layer_object, name)
        if legacy_layers():
            return getattr(self._v1.layers, name)
        if has_legacy_keras():
            raise AttributeError(
                f"`tf.layers.{name}` needs TF_USE_LEGACY_KERAS=1 in the environment before TensorFlow is imported, and "
                "it was imported before the script was started."
            )
        raise AttributeError(
            f"`tf.layers.{name}` needs the package tf_keras: `pip install tf_keras`, of TensorFlow's own version, or "
            "`tf1bn[legacy]`. `tf.layers.batch_normalization` and `tf.layers.BatchNormalization` work without it."
        )

    # ---- the script's own modules: a finder in sys.meta_path ----

    def forget(self, before):
        """Remove the script's own modules from `sys.modules`, except those whose names are in ``before``."""
        for name, module in list(sys.modules.items()):
            loader = getattr(module, "__loader__", None)
            folders = list(getattr(module, "__path__", ())) if getattr(module, "__file__", None) is None else []
            # A folder without an __init__.py is a package without a loader.
            if name not in before and (isinstance(loader, _Loader) or any(map(self._own_folder, folders))):
                del sys.modules[name]

    def find_spec(self, name, path=None, target=None):
        """The spec of one of the script's own modules; None for any other."""
        if name.partition(".")[0] in ("tensorflow", "tf1bn"):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or type(spec.loader) is not importlib.machinery.SourceFileLoader:
            return None
        if not self._own_folder(os.path.dirname(spec.origin)):
            return None
        spec.loader = _Loader(name, spec.origin, self)
        return spec


def _tutorials():
    """The module ``tensorflow.examples``, of which ``tutorials.mnist.input_data`` alone is there."""
    found = contrib.module("learn.datasets.mnist")
    path = "tensorflow.examples.tutorials.mnist.input_data"
    while path != "tensorflow":
        path, _, name = path.rpartition(".")
        above = _Module(path, functools.partial(_not_there, path))
        setattr(above, name, found)
        found = above
    return found.examples


def _not_there(path, name):
    raise AttributeError(_no_module(f"{path}.{name}"))


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads a module of an old script as the script itself is loaded."""

    def __init__(self, name, path, old):
        super().__init__(name, path)
        self._old = old

    def get_code(self, fullname):
        data = self.get_data(self.path)
        return self._old.compiled(data, self.path, "." in fullname)

    def exec_module(self, module):
        module.__builtins__ = self._old.builtins
        exec(self.get_code(module.__name__), module.__dict__)


class _Module(types.ModuleType):
    """A module whose attributes come from a function of their names, ``find``."""

    def __init__(self, name, find):
        super().__init__(name)
        self.__dict__["_find"] = find

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return self._find(name)


def _require(module, path, name):
    """Raises ImportError with the reason if a module lacks a name; Python's "cannot import name" leaves it out."""
    try:
        getattr(module, name)
    except AttributeError as error:
        if f"{module.__name__}.{name}" in sys.modules:
            return
        own = module.__name__.startswith(("tf1bn", "tensorflow")) and not str(error).startswith("module ")
        reason = str(error) if own else f"cannot import name {name!r} from {path!r}: today's TensorFlow has none there."
        raise ImportError(reason, name=path) from None


def _no_module(name):
    parts = name.split(".")
    use = GONE.get(parts[1] if len(parts) > 1 else "")
    return f"No module named {name!r} in today's TensorFlow; {use or 'it has left, or was never public'}."
