"""Pickles as plain data: what a pickle would build is described, and nothing of it is built or run.

A pickle is a program for a small machine with a stack. `load` goes through its instructions and makes of each function
or class that it names a `Global`, and of each call of one a `Call`, which are inert. Only ordered and default dicts
become dicts. What the values mean is for the caller to say.
"""

import dataclasses
import pickletools
import warnings
from typing import Any

# 4 million instructions build at most a few hundred MB; a state dict has some twenty for each tensor.
MOST_INSTRUCTIONS = 2**22
# No text on a line of its own is longer in any pickle of a checkpoint.
LONGEST_LINE = 2**16
_DICTS = {("collections", "OrderedDict"), ("collections", "defaultdict"), ("builtins", "dict"), ("__builtin__", "dict")}
_KEYS = (str, int, float, bytes, type(None))
_MARK = object()
_CONSTANTS = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": list,
}
_LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}


@dataclasses.dataclass(frozen=True)
class Global:
    """A function or class that a pickle names."""

    module: str
    name: str

    def __str__(self):
        return f"{self.module}.{self.name}"


@dataclasses.dataclass(eq=False)
class Call:
    """A call that a pickle asks for, or an object of a class: what is called, with what, and the object's state."""

    function: Any
    arguments: Any
    state: Any = None


@dataclasses.dataclass(frozen=True, eq=False)
class Persistent:
    """A reference to something outside of the pickle."""

    identity: Any


class Bounded:
    """A file of which no more is asked than is there: to ask for more would set that much memory aside."""

    def __init__(self, file, size):
        self._file, self._size = file, size

    def read(self, count):
        """Up to ``count`` bytes."""
        return self._file.read(max(0, min(count, self._size - self._file.tell())))

    def readline(self):
        """The rest of a line, of at most `LONGEST_LINE` bytes."""
        return self._file.readline(LONGEST_LINE)

    def tell(self):
        """The place of the next byte."""
        return self._file.tell()


def load(file):
    """What the pickle says that begins where ``file`` stands, which then stands behind the pickle.

    Args:
      file: a `Bounded`, or a BytesIO.

    Returns:
      The value that the pickle describes, and the `Machine` that went through it.

    Raises:
      ValueError: it is not a whole pickle, or one of too many instructions.
    """
    machine = Machine()
    try:
        return _run(file, machine), machine
    except (IndexError, KeyError, TypeError, OverflowError, AttributeError) as error:
        raise ValueError("a pickle of it makes no sense") from error


def _run(file, machine):
    """What is on top of the stack at the end of a pickle."""
    with warnings.catch_warnings():
        # Texts with unknown escapes, which are as good as others.
        warnings.simplefilter("ignore")
        for number, (opcode, argument, _) in enumerate(pickletools.genops(file)):
            if number >= MOST_INSTRUCTIONS:
                raise ValueError(f"a pickle of it has more than {MOST_INSTRUCTIONS} instructions")
            if opcode.name == "STOP":
                return machine.pop()
            machine.step(opcode.name, argument)
    raise ValueError("a pickle of it has no end")


class Machine:
    """The stack and the memory of an unpickler.

    Attributes:
      references: the identities of all `Persistent` references.
      called: the functions and classes that were called, as texts; dicts are not among them.
    """

    def __init__(self):
        self.references, self.called = [], set()
        self._stack, self._marks, self._memo = [], [], {}

    def pop(self):
        """Take the top of the stack."""
        value = self._stack.pop()
        if value is _MARK:
            raise ValueError("a pickle of it makes no sense")
        return value

    def _pop_to_mark(self):
        at = self._marks.pop()
        values = self._stack[at + 1 :]
        del self._stack[at:]
        return values

    def step(self, name, argument):
        """Do what one instruction says."""
        if name in _LITERALS:
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name]())
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self._memo[argument] = self._top()
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            self._stack.append(self._memo[argument])
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = self._top()
        elif name not in ("PROTO", "FRAME", "READONLY_BUFFER"):
            getattr(self, "_" + name.lower())(argument)

    def _top(self):
        if self._stack[-1] is _MARK:
            raise ValueError("a pickle of it makes no sense")
        return self._stack[-1]

    def _mark(self, _):
        self._marks.append(len(self._stack))
        self._stack.append(_MARK)

    def _pop(self, _):
        if self._stack.pop() is _MARK:
            self._marks.pop()

    def _pop_mark(self, _):
        self._pop_to_mark()

    def _dup(self, _):
        self._stack.append(self._top())

    def _tuple(self, _):
        self._stack.append(tuple(self._pop_to_mark()))

    def _tuple1(self, _):
        self._stack.append((self.pop(),))

    def _tuple2(self, _):
        last = self.pop()
        self._stack.append((self.pop(), last))

    def _tuple3(self, _):
        last, middle = self.pop(), self.pop()
        self._stack.append((self.pop(), middle, last))

    def _list(self, _):
        self._stack.append(self._pop_to_mark())

    _frozenset = _list

    def _dict(self, _):
        values = self._pop_to_mark()
        self._stack.append({})
        self._set_items(values)

    def _setitem(self, _):
        value = self.pop()
        self._set_items([self.pop(), value])

    def _setitems(self, _):
        self._set_items(self._pop_to_mark())

    def _set_items(self, values):
        if len(values) % 2:
            raise ValueError("a pickle of it makes no sense")
        target = self._top()
        if isinstance(target, dict):
            # A tuple of tuples takes very long to hash, and no tensor lies under one.
            pairs = zip(values[::2], values[1::2], strict=True)
            target.update((key, value) for key, value in pairs if isinstance(key, _KEYS))

    def _append(self, _):
        self._extend([self.pop()])

    def _appends(self, _):
        self._extend(self._pop_to_mark())

    _additems = _appends

    def _extend(self, values):
        target = self._top()
        if isinstance(target, list):
            target.extend(values)

    def _global(self, argument):
        # The two parts are separated by a space, and neither has one.
        self._stack.append(Global(*argument.split(" ", 1)))

    def _stack_global(self, _):
        name = self.pop()
        self._stack.append(Global(str(self.pop()), str(name)))

    def _reduce(self, _):
        arguments = self.pop()
        self._call(self.pop(), arguments)

    _newobj = _reduce

    def _newobj_ex(self, _):
        self.pop()
        self._reduce(None)

    def _inst(self, argument):
        arguments = tuple(self._pop_to_mark())
        self._call(Global(*argument.split(" ", 1)), arguments)

    def _obj(self, _):
        function, *arguments = self._pop_to_mark()
        self._call(function, tuple(arguments))

    def _call(self, function, arguments):
        result = _called(function, arguments)
        if isinstance(result, Call) and isinstance(function, Global):
            self.called.add(str(function))
        self._stack.append(result)

    def _build(self, _):
        state = self.pop()
        target = self._top()
        if isinstance(target, Call):
            target.state = state

    def _persid(self, argument):
        self._stack.append(Persistent(argument))

    def _binpersid(self, _):
        self.references.append(self.pop())
        self._stack.append(Persistent(self.references[-1]))


def _called(function, arguments):
    """What a call stands for: a dict for a dict's class, a `Call` for anything else."""
    if isinstance(function, Global) and (function.module, function.name) in _DICTS:
        pairs = arguments[-1] if isinstance(arguments, tuple) and arguments else ()
        if isinstance(pairs, dict):
            return dict(pairs)
        if isinstance(pairs, list | tuple):
            return {pair[0]: pair[1] for pair in pairs if _is_pair(pair) and isinstance(pair[0], _KEYS)}
        return {}
    return Call(function, arguments)


def _is_pair(value):
    return isinstance(value, list | tuple) and len(value) == 2
