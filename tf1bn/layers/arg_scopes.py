"""Argument scopes: default arguments for a block of code, with the rules of TF 1.x's contrib.framework.

Needs no TensorFlow. ``arg_scope`` is public as ``tf1bn.arg_scope``, and all functions have their old names in
``tf1bn.contrib.framework``.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

_defaults: contextvars.ContextVar[dict[Any, dict[str, Any]]]
_defaults = contextvars.ContextVar("tf1bn_arg_scope", default={})  # noqa: B039 (never mutated, only replaced)
_ATTRIBUTE = "_tf1bn_arg_scope_key"


def add_arg_scope(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let ``arg_scope`` supply keyword arguments of ``function``; a keyword in a call wins over the scope."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **{**_defaults.get().get(function, {}), **kwargs})

    setattr(wrapper, _ATTRIBUTE, function)
    return wrapper


def has_arg_scope(function: Any) -> bool:
    """Whether ``function`` was decorated with ``add_arg_scope``."""
    return hasattr(function, _ATTRIBUTE)


@contextlib.contextmanager
def arg_scope(
    list_ops_or_scope: Sequence[Callable[..., Any]] | dict[Any, dict[str, Any]], **kwargs: Any
) -> Iterator[dict[Any, dict[str, Any]]]:
    """Give every function in ``list_ops_or_scope`` the default arguments ``kwargs`` inside the block.

    Nested scopes add to the outer ones and override them name by name. The scope that ``with ... as scope``
    yields can be passed again, alone, to return to exactly those defaults.

    Raises:
      TypeError: ``list_ops_or_scope`` is neither a list or tuple of functions nor a scope from an earlier block.
      ValueError: a function is not decorated with ``add_arg_scope``, or a scope comes with further arguments.
    """
    if isinstance(list_ops_or_scope, dict):
        if kwargs:
            raise ValueError(
                f"`arg_scope` got a scope from an earlier block together with {', '.join(sorted(kwargs))}: a scope "
                "cannot be changed. Open a second `arg_scope` inside it for further defaults."
            )
        scope = list_ops_or_scope
    elif isinstance(list_ops_or_scope, (list, tuple)):
        scope = dict(_defaults.get())
        for op in list_ops_or_scope:
            if not has_arg_scope(op):
                raise ValueError(
                    f"`list_ops_or_scope` holds {op!r}, which takes no defaults from an `arg_scope`: decorate it "
                    "with `add_arg_scope` first."
                )
            key = getattr(op, _ATTRIBUTE)
            scope[key] = {**scope.get(key, {}), **kwargs}
    else:
        raise TypeError(
            f"`list_ops_or_scope` is {list_ops_or_scope!r}; it must be a list or tuple of functions decorated with "
            "`add_arg_scope`, or a scope from an earlier `with arg_scope(...) as scope`."
        )
    token = _defaults.set(scope)
    try:
        yield scope
    finally:
        _defaults.reset(token)


def current_arg_scope() -> dict[Any, dict[str, Any]]:
    """The scope in force, in the form that `arg_scope` takes."""
    return _defaults.get()


def arg_scope_func_key(function: Any) -> Any:
    """The key of ``function`` in a scope."""
    return getattr(function, _ATTRIBUTE, str(function))


def arg_scoped_arguments(function: Callable[..., Any]) -> tuple[str, ...]:
    """The names of the arguments of ``function`` that have defaults, which an `arg_scope` can give others.

    Raises:
      ValueError: ``function`` is not decorated with ``add_arg_scope``.
    """
    if not has_arg_scope(function):
        raise ValueError(f"`function` is {function!r}, which is not decorated with `add_arg_scope`.")
    parameters = inspect.signature(function).parameters.values()
    return tuple(parameter.name for parameter in parameters if parameter.default is not parameter.empty)
