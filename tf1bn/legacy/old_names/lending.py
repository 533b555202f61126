"""Lends a script the old names of the modules that it imports."""

import functools
import importlib
import types

from .methods import CALL, READ
from .table import ATTRIBUTES, FUNCTIONS, METHODS, MODULES, NAMES

# Modules of which the script gets a stand-in: those of the tables and the packages above them.
_PATHS = {
    ".".join(path.split(".")[:end])
    for path in (*NAMES, *MODULES, *(function.rpartition(".")[0] for function in FUNCTIONS))
    for end in range(1, path.count(".") + 2)
}


class OldNames:
    """The modules as a script of another age sees them.

    Args:
      say: a function of a sentence, with which a lent name says that it does less than it did.

    Attributes:
      lent: the old names that the script has used, such as "numpy.float".
    """

    def __init__(self, say):
        self._say = say
        self._stand_ins = {}
        self.lent = set()
        self.builtins = {CALL: self.call_method, READ: self.read_attribute}

    def seen(self, module):
        """What the script sees of an imported module: itself, or a stand-in that has the old names too."""
        name = getattr(module, "__name__", None)
        if name not in _PATHS or not isinstance(module, types.ModuleType):
            return module
        return self._stand_in(name, module)

    def replaced(self, name):
        """What the script sees of a module that has left altogether; None if there is nothing."""
        if name not in MODULES:
            return None
        real = types.ModuleType(name) if MODULES[name] is None else importlib.import_module(MODULES[name])
        if MODULES[name] is not None:
            self.lent.add(name)
        return self._stand_in(name, real)

    def _stand_in(self, name, real):
        if name not in self._stand_ins:
            self._stand_ins[name] = _StandIn(name, real, self)
        return self._stand_ins[name]

    def value(self, path, real):
        """What the old name at ``path`` means; ``real``: the value that it has today."""
        if path in FUNCTIONS:
            return functools.wraps(real)(functools.partial(_found(FUNCTIONS[path]), real, self._lends(path)))
        module, _, name = path.rpartition(".")
        value = _found(NAMES[module][name])
        if real is not value:
            self.lent.add(path)
        return value

    def call_method(self, owner, name, *args, **kwargs):
        """``owner.name(*args)`` for a method that types of C have lost."""
        successor = METHODS[name]
        of_numpy = "." in successor
        there = hasattr(owner, "dtype") and hasattr(owner, "tobytes") if of_numpy else hasattr(owner, successor)
        if hasattr(owner, name) or not there:
            return getattr(owner, name)(*args, **kwargs)
        self.lent.add(f"{type(owner).__name__}.{name}")
        return _found(successor)(owner, *args, **kwargs) if of_numpy else getattr(owner, successor)(*args, **kwargs)

    def read_attribute(self, owner, name):
        """``owner.name`` for an attribute that types of a package have lost."""
        module, successor = ATTRIBUTES[name]
        if type(owner).__module__.partition(".")[0] != module or hasattr(owner, name):
            return getattr(owner, name)
        try:
            value = _found(successor)(owner)
        except Exception:
            # What never had it is told so.
            return getattr(owner, name)
        self.lent.add(f"{type(owner).__name__}.{name}")
        return value

    def _lends(self, path):
        def lent(less=None):
            if less and path not in self.lent:
                self._say(less)
            self.lent.add(path)

        return lent


class _StandIn(types.ModuleType):
    """A module with its old names. What the script puts into it goes into the module itself, as ever."""

    def __init__(self, name, real, names):
        super().__init__(name, real.__doc__)
        own = {"_real": real, "_names": names, "_old": NAMES.get(name, {})}
        kept = ("__loader__", "__package__", "__spec__")
        self.__dict__.update(own | {key: getattr(real, key, None) for key in kept})

    def __getattr__(self, name):
        path = f"{self.__name__}.{name}"
        if name in self._old:
            value = self._names.value(path, vars(self._real).get(name))
        elif path in FUNCTIONS:
            value = self._names.value(path, getattr(self._real, name))
        else:
            try:
                return self._names.seen(getattr(self._real, name))
            except AttributeError:
                if (value := self._names.replaced(path)) is None:
                    raise
        self.__dict__[name] = value
        return value

    def __setattr__(self, name, value):
        setattr(self._real, name, value)
        self.__dict__[name] = value

    def __delattr__(self, name):
        self.__dict__.pop(name, None)
        delattr(self._real, name)

    def __dir__(self):
        return sorted({*dir(self._real), *self._old})


def _found(path):
    """The value at a path such as "collections.abc.Mapping"."""
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError:
        return getattr(_found(module), name)
