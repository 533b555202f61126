"""The TensorFlow release in force while a graph is built: ``with tf1bn.release("1.3"):``. Needs no TensorFlow."""

import contextlib
import functools
import inspect
import threading

from ..releases import LATEST, TABLE, get


class _InForce(threading.local):
    def __init__(self):
        self.stack = []


_in_force = _InForce()


_everywhere = [LATEST]


def current():
    """The release whose ``batch_norm`` is built here: the innermost ``release(...)`` of this thread, else 1.15.

    In a script of ``tf1bn run --release R`` it is R instead of 1.15.
    """
    return _in_force.stack[-1][1] if _in_force.stack else _everywhere[-1]


@contextlib.contextmanager
def everywhere(name):
    """Put a release in force in all threads of the process, where they have none of their own."""
    _everywhere.append(get(name))
    try:
        yield
    finally:
        _everywhere.pop()


class release:
    """Inside ``with tf1bn.release("1.3"):``, ``batch_norm`` has the defaults, arguments and numbers of that release.

    Also a decorator. It can be nested and used again, holds for the thread that entered it (as a default graph does),
    and counts while the graph is built, not while it runs. Outside of it the release is 1.15.

    Args:
      name: "1.0" to "1.15".

    Raises:
      ValueError: there is no such release.
      TypeError: as a decorator, on what is no plain function: the body of a generator or coroutine runs elsewhere.
    """

    def __init__(self, name):
        self._row = get(name)

    def __enter__(self):
        _in_force.stack.append((self, self._row))
        return self._row

    def __exit__(self, *_):
        stack = _in_force.stack
        # The last of its own: blocks that end in another order than they began take away no other's release.
        del stack[max(i for i, (owner, _) in enumerate(stack) if owner is self)]

    def __call__(self, function):
        if (
            not callable(function)
            or inspect.isclass(function)
            or inspect.isgeneratorfunction(function)
            or inspect.iscoroutinefunction(function)
            or inspect.isasyncgenfunction(function)
        ):
            raise TypeError(
                f"`tf1bn.release` decorates {function!r}; accepted is a plain function. In a generator, a coroutine or "
                "a class write `with tf1bn.release(...):` inside."
            )

        @functools.wraps(function)
        def inside(*args, **kwargs):
            with self:
                return function(*args, **kwargs)

        return inside


def as_released(function):
    """Let ``function``, with the arguments of 1.15, take those of the release in force, and its default of ``fused``.

    Raises (when called):
      TypeError: an argument that the release has not.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def called(*args, **kwargs):
        row = current()
        if row.since != LATEST.since:
            absent = [name for name in kwargs if name in row.missing]
            if absent:
                raise TypeError(
                    f"{function.__name__}() got an unexpected keyword argument '{absent[0]}': TensorFlow {row.name} "
                    f"has no such argument, it came with {_came_with(absent[0])}. Leave it out, or take a later "
                    "`tf1bn.release`."
                )
            present = [p for p in signature.parameters.values() if p.name not in row.missing]
            bound = signature.replace(parameters=present).bind(*args, **kwargs)
            args, kwargs = (), dict(bound.arguments)
            if not row.fused_default:
                kwargs.setdefault("fused", False)
        return function(*args, **kwargs)

    return called


def _came_with(argument):
    return next(row.name for row in TABLE if argument not in row.missing)
