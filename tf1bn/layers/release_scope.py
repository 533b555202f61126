"""The TensorFlow release in force while a graph is built: ``with tf1bn.release("1.3"):``. Needs no TensorFlow."""

from __future__ import annotations

import contextlib
import functools
import inspect
import threading
from collections.abc import Callable
from typing import Any, TypeVar, cast

from ..releases import LATEST, TABLE, Release, get

_Function = TypeVar("_Function", bound=Callable[..., Any])


class _InForce(threading.local):
    """For each thread its own stack of pairs: a `release` that was entered, and its row of the table."""

    def __init__(self):
        self.stack = []


_in_force = _InForce()
# The release of the process; the last one counts.
_everywhere = [LATEST]


def current():
    """The `releases.Release` in force: that of the innermost ``release(...)`` of this thread, else 1.15.

    In a script of ``tf1bn run --release R`` it is R instead of 1.15.
    """
    return _in_force.stack[-1][1] if _in_force.stack else _everywhere[-1]


@contextlib.contextmanager
def everywhere(name):
    """Put the release ``name`` in force in all threads of the process that have none of their own."""
    _everywhere.append(get(name))
    try:
        yield
    finally:
        _everywhere.pop()


class release:
    """Inside ``with tf1bn.release("1.3"):``, ``batch_norm`` has the defaults, arguments and numbers of that release.

    It is also a decorator. It can be nested and used again, applies to the thread that entered it (as a default graph
    does), and matters while the graph is built, not while it runs. Outside of it the release is 1.15.

    Args:
      name: "1.0" to "1.15".

    Raises:
      ValueError: there is no such release.
      TypeError: it decorates something other than a plain function: the body of a generator or coroutine does not run
        in the call.
    """

    def __init__(self, name: str) -> None:
        self._row = get(name)

    def __enter__(self) -> Release:
        _in_force.stack.append((self, self._row))
        return self._row

    def __exit__(self, *_: object) -> None:
        stack = _in_force.stack
        # Its own last entry: blocks may end in another order than they began, and must not remove another's release.
        del stack[max(i for i, (owner, _) in enumerate(stack) if owner is self)]

    def __call__(self, function: _Function) -> _Function:
        if (
            not callable(function)
            or inspect.isclass(function)
            or inspect.isgeneratorfunction(function)
            or inspect.iscoroutinefunction(function)
            or inspect.isasyncgenfunction(function)
        ):
            raise TypeError(
                f"`tf1bn.release` decorates {function!r}; it must decorate a plain function. In a generator, a "
                "coroutine or a class write `with tf1bn.release(...):` inside."
            )

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return cast(_Function, wrapper)


def as_released(function=None, *, missing="missing"):
    """Decorate a function that has the arguments of 1.15: it takes those of the release in force.

    The default of its argument `fused` is that of the release too. When called, it raises TypeError for an argument
    that the release does not have.

    Args:
      missing: the attribute of a `releases.Release` with the names of the arguments that it does not have.
    """
    if function is None:
        return functools.partial(as_released, missing=missing)
    signature = inspect.signature(function)

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        row = current()
        if row.since != LATEST.since:
            unknown = getattr(row, missing)
            absent = [name for name in kwargs if name in unknown]
            if absent:
                raise TypeError(
                    f"{function.__name__}() got an unexpected keyword argument '{absent[0]}': TensorFlow {row.name} "
                    f"has no such argument, it came with {_came_with(absent[0], missing)}. Leave it out, or take a "
                    "later `tf1bn.release`."
                )
            present = [p for p in signature.parameters.values() if p.name not in unknown]
            bound = signature.replace(parameters=present).bind(*args, **kwargs)
            args, kwargs = (), dict(bound.arguments)
            if not row.fused_default:
                kwargs.setdefault("fused", False)
        return function(*args, **kwargs)

    return wrapper


def _came_with(argument, missing):
    return next(row.name for row in TABLE if argument not in getattr(row, missing))
