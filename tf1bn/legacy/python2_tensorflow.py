"""What TensorFlow 1.x did under Python 2, where ``str`` was bytes: files, functions of Python and fetched strings."""

import contextlib
import functools

import numpy as np
import tensorflow

tf = tensorflow.compat.v1


class File(tf.gfile.GFile):
    """A file whose ``read`` returns what is there: text, or the bytes if they are no text, in the mode "r" too."""

    def read(self, n=-1):
        """At most ``n`` bytes from where the file is read next, all that are left with -1."""
        start = self.tell()
        try:
            return super().read(n)
        except UnicodeDecodeError:
            with tf.gfile.GFile(self.name, "rb") as file:
                file.seek(start)
                data = file.read(n)
            self.seek(start + len(data))
            return data


def py_func(func, inp, Tout, stateful=True, name=None):
    """`tf.py_func` that gives ``func`` the strings of a tensor as ``str`` where they are text."""
    return tf.py_func(lambda *arguments: func(*map(_as_str, arguments)), inp, Tout, stateful, name)


def _as_str(value):
    """A value with its bytes as ``str``, in an array of objects each of them; bytes that are no text stay bytes."""
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return value
    if getattr(value, "dtype", None) == np.dtype(object):
        texts = value.copy()
        texts.flat = [_as_str(item) for item in value.flat]
        return texts
    return value


class Fetched(bytes):
    """A string that a session returned: bytes, as TensorFlow wants them back, which print and mix as Python 2's did."""

    __hash__ = bytes.__hash__

    def __str__(self):
        return self.decode("utf-8", "replace")

    def __repr__(self):
        return bytes.__repr__(self)[1:]

    def __format__(self, spec):
        return format(str(self), spec)

    def __eq__(self, other):
        return str(self) == other if isinstance(other, str) else bytes.__eq__(self, other)

    def __ne__(self, other):
        return not self == other

    def __radd__(self, other):
        return other + str(self) if isinstance(other, str) else NotImplemented

    def __getitem__(self, index):
        found = bytes.__getitem__(self, index)
        return Fetched(found if isinstance(found, bytes) else [found])

    def __iter__(self):
        return (Fetched([byte]) for byte in bytes.__iter__(self))

    def __reduce__(self):
        return bytes, (bytes(self),)


def _with_text(name):
    """The method of bytes, or that of text where an argument is text."""
    of_bytes, of_text = getattr(bytes, name), getattr(str, name)

    @functools.wraps(of_bytes)
    def method(self, *args):
        if any(isinstance(part, str) for arg in args for part in (arg if isinstance(arg, tuple) else (arg,))):
            return of_text(str(self), *args)
        result = of_bytes(self, *args)
        if isinstance(result, (list, tuple)):
            return type(result)(map(Fetched, result))
        return Fetched(result) if isinstance(result, bytes) else result

    return method


for _name in [
    *("__add__", "__contains__", "capitalize", "count", "endswith", "find", "index", "join", "lower", "lstrip"),
    *("partition", "replace", "rfind", "rindex", "rpartition", "rsplit", "rstrip", "split", "splitlines"),
    *("startswith", "strip", "title", "upper"),
]:
    setattr(Fetched, _name, _with_text(_name))


@contextlib.contextmanager
def fetched_strings(is_python2):
    """Has sessions return `Fetched` for strings, where ``is_python2()``, while the block runs."""
    kinds = [(kind, vars(kind).get("run"), kind.run) for kind in (tf.Session, tf.InteractiveSession)]
    for kind, _, run in kinds:
        kind.run = _returning_fetched(run, is_python2)
    try:
        yield
    finally:
        for kind, own, _ in kinds:
            if own is None:
                del kind.run
            else:
                kind.run = own


def _returning_fetched(run, is_python2):
    @functools.wraps(run)
    def wrapped(self, *args, **kwargs):
        values = run(self, *args, **kwargs)
        return _as_fetched(values) if is_python2() else values

    return wrapped


def _as_fetched(value):
    """A value with its bytes as `Fetched`, also in arrays of objects, lists, tuples and dicts."""
    if type(value) is bytes:
        return Fetched(value)
    if type(value) is dict:
        # Not `tf.nest`, which sorts the keys: those of hooks are objects.
        return {key: _as_fetched(item) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(_as_fetched, value))
    if type(value) in (list, tuple):
        return type(value)(map(_as_fetched, value))
    if getattr(value, "dtype", None) == np.dtype(object):
        fetched = value.copy()
        fetched.flat = [_as_fetched(item) for item in value.flat]
        return fetched
    return value
