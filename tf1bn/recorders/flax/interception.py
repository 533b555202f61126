"""How a recorder hears of the calls of a model and of its layers, in linen and in nnx."""

from __future__ import annotations

import contextlib
import functools
import threading
import weakref
from collections.abc import Callable
from typing import Any, Protocol

import jax.numpy as jnp
from flax import linen, nnx

from .layers import is_norm, nnx_norms

MARK = "_tf1bn_recorded"


class Listener(Protocol):
    """What hears of the calls, while they run or are traced."""

    def around_model(self, call: Callable[[], Any]) -> Any:
        """Call the model."""

    def around_norm(self, application: Running) -> Any:
        """Call a layer."""


class Running:
    """A batch-norm module that is about to be applied.

    Attributes:
      name: its path as text; path: the same as a tuple of keys; module: itself.
      inputs: the input in the dtype in which the module takes it; training: whether it uses the batch's statistics.
      mask: the mask, or None.
      call: calls it and returns its output.
    """

    def __init__(self, path: tuple[Any, ...], module: Any, call: Callable[[], Any], args: Any, kwargs: Any) -> None:
        self.path, self.module, self.call = path, module, call
        self.name = "/".join(map(str, path)) or type(module).__name__
        self.inputs = jnp.asarray(args[0] if args else kwargs["x"])
        own_dtype = getattr(module, "dtype", None)
        if isinstance(module, nnx.BatchNorm) and own_dtype is not None:
            self.inputs = self.inputs.astype(own_dtype)  # nnx casts before it takes the moments, linen after
        given = args[1] if len(args) > 1 else kwargs.get("use_running_average")
        self.training = not (module.use_running_average if given is None else given)
        self.mask = kwargs.get("mask")

    def values(self) -> dict[str, Any]:
        """What the module holds now, by "mean", "variance", "gamma" and "beta", without what it has not."""
        module = self.module
        if isinstance(module, nnx.Module):
            held = {"mean": module.mean, "variance": module.var, "gamma": module.scale, "beta": module.bias}
            return {key: value[...] for key, value in held.items() if value is not None}
        places = {"mean": ("batch_stats", "mean"), "variance": ("batch_stats", "var")}
        places |= {"gamma": ("params", "scale"), "beta": ("params", "bias")}
        return {key: module.get_variable(*place) for key, place in places.items() if module.has_variable(*place)}

    @contextlib.contextmanager
    def on_one_device(self) -> Any:
        """Let the module reduce over no devices: its batch is that of all of them."""
        axis_name = self.module.axis_name
        object.__setattr__(self.module, "axis_name", None)
        try:
            yield
        finally:
            object.__setattr__(self.module, "axis_name", axis_name)


class LinenCalls:
    """Interception of linen's methods, in the thread that makes it, until it is closed.

    Args:
      model: the module; listener: the `Listener`.
    """

    def __init__(self, model: Any, listener: Listener) -> None:
        self._model, self._listener = model, listener
        self._inside = threading.local()
        self._stack = contextlib.ExitStack()
        self._stack.enter_context(linen.intercept_methods(self._intercept))

    def close(self) -> None:
        """Intercept no more."""
        self._stack.close()

    def _intercept(self, function: Any, args: Any, kwargs: Any, context: Any) -> Any:
        module, call = context.module, functools.partial(function, *args, **kwargs)
        if context.method_name == "setup" or module.scope is None or module.is_initializing():
            return call()
        norm = is_norm(module) and context.method_name == "__call__"
        inside = getattr(self._inside, "model", False)
        if not inside and type(module) is type(self._model) and not module.path:
            self._inside.model = True
            try:
                if norm:
                    call = functools.partial(self._listener.around_norm, Running((), module, call, args, kwargs))
                return self._listener.around_model(call)
            finally:
                self._inside.model = False
        if norm and inside:
            return self._listener.around_norm(Running(tuple(module.path), module, call, args, kwargs))
        return call()


_listeners: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()
_originals: dict[type, Any] = {}
_lock = threading.Lock()
_numbers = iter(range(1 << 62))


class NnxCalls:
    """Interception of the calls of an nnx model and its batch norms, by a mark on each, until it is closed.

    The mark is static, so that it is there in what `nnx.jit` makes of the module, and compiles anew with it.
    """

    def __init__(self, model: Any, listener: Listener) -> None:
        self._norms, self._model = nnx_norms(model), model
        self._key, self._listener = str(next(_numbers)), listener
        _listeners[self._key] = self
        paths = {id(module): path for path, module in nnx.iter_modules(model)}
        for module in self._norms.values():
            _mark(module, self._key, paths[id(module)])
        if not is_norm(model) and callable(model):
            _mark(model, self._key, None)

    def close(self) -> None:
        """Take the marks off."""
        for module in (self._model, *self._norms.values()):
            if MARK in vars(module):
                delattr(module, MARK)
        _listeners.pop(self._key, None)
        with _lock:
            while not _listeners and _originals:
                owner, original = _originals.popitem()
                owner.__call__ = original

    @property
    def listener(self) -> Listener:
        """What hears of the calls."""
        return self._listener


def _mark(module: Any, key: str, path: tuple[Any, ...] | None) -> None:
    """Mark a module and let its class look for marks."""
    setattr(module, MARK, (key, path))
    # Where the class inherits its call, that of the parent looks for marks.
    owner = next(parent for parent in type(module).__mro__ if "__call__" in vars(parent))
    if is_norm(module):
        owner = nnx.BatchNorm
    with _lock:
        if owner not in _originals:
            _originals[owner] = owner.__call__
            owner.__call__ = _watched(owner.__call__)


def _watched(original: Any) -> Any:
    @functools.wraps(original)
    def call(module: Any, *args: Any, **kwargs: Any) -> Any:
        own = functools.partial(original, module, *args, **kwargs)
        key, path = vars(module).get(MARK, (None, None))
        calls = _listeners.get(key) if key is not None else None
        if calls is None:
            return own()
        if path is None:
            return calls.listener.around_model(own)
        return calls.listener.around_norm(Running(path, module, own, args, kwargs))

    return call
