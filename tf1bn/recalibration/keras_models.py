"""Keras models, of Keras 3 or tf_keras, recalibrated. Reached through `tf1bn.recalibration`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from ..recorders.keras.layers import array, is_old, library_of, norms
from .engine import Convention, Statistics, Take
from .running import first_of


class KerasModel:
    """A model whose batch-norm layers are listened to by a function around their calls; see `engine.Target`."""

    def __init__(self, model: Any, call: Callable[[Any, Any], Any] | None) -> None:
        strategy = getattr(model, "distribute_strategy", None)
        if getattr(strategy, "num_replicas_in_sync", 1) > 1:
            raise ValueError(
                f"`model` runs in {strategy.num_replicas_in_sync} replicas of a {type(strategy).__name__}, and "
                "statistics are computed in one; load its weights into a model that was made outside of the strategy."
            )
        self._model, self._call = model, call or _call
        self._old = is_old(library_of(model))
        self._layers: dict[str, Any] = {}
        self.conventions: dict[str, Convention] = {}
        self.left_out: dict[str, str] = {}
        for name, layer in norms(model).items():
            problem = _problem(layer)
            if problem:
                self.left_out[name] = problem
            else:
                self._layers[name] = layer
                # What the fused layer of Keras 2 stores is what the operation of TensorFlow returns: N/(N-1).
                bessel = self._old and bool(getattr(layer, "fused", False))
                bfloat16 = "bfloat16" in str(layer.moving_mean.dtype)
                self.conventions[name] = Convention(bessel, float(layer.epsilon), bfloat16)
        # Layers, and what lay in place of their method "call" before.
        self._wrapped: list[tuple[Any, Any]] = []
        self._state: list[tuple[Any, Any]] = []
        self._take: Take | None = None

    def read(self, name: str) -> Statistics:
        layer = self._layers[name]
        return Statistics(*(np.array(array(_value(v))) for v in (layer.moving_mean, layer.moving_variance)))

    def write(self, name: str, statistics: Statistics) -> None:
        layer = self._layers[name]
        layer.moving_mean.assign(statistics.mean)
        layer.moving_variance.assign(statistics.variance)

    def begin(self, names: list[str], by_batch: bool) -> None:
        # A call of the user's may bring other layers into training mode, which then update, or draw random numbers.
        trained = {id(variable) for variable in self._model.trainable_variables}
        others = [variable for variable in self._model.variables if id(variable) not in trained]
        self._state = [(variable, np.array(array(_value(variable)))) for variable in others]
        for name in names:
            layer = self._layers[name]
            self._wrapped.append((layer, layer.__dict__.get("call")))
            layer.__dict__["call"] = self._around(name, layer, layer.call, by_batch)

    def end(self) -> None:
        for layer, call in self._wrapped:
            if call is None:
                layer.__dict__.pop("call", None)
            else:
                layer.__dict__["call"] = call
        for variable, value in self._state:
            variable.assign(value)
        self._wrapped, self._state = [], []

    def levels(self, names: list[str], batch: Any) -> None:
        return None

    def recipe(self) -> tuple[type[KerasModel], tuple[Any, ...]]:
        return KerasModel, (self._model, self._call)

    def run(self, batch: Any, names: list[str], take: Take) -> None:
        self._take = take
        try:
            self._call(self._model, batch)
        finally:
            self._take = None

    def _around(self, name: str, layer: Any, original: Any, by_batch: bool) -> Any:
        signature = inspect.signature(original)

        def call(*args: Any, **kwargs: Any) -> Any:
            bound = signature.bind(*args, **kwargs)
            given = bound.arguments
            if self._take is not None:
                self._take(name, _positions(layer, given["inputs"], given.get("mask")))
            given["training"] = by_batch
            if by_batch and not layer.trainable:
                # A layer that is not trainable would normalise by the statistics that are to be replaced.
                layer.trainable = True
                try:
                    return original(*bound.args, **bound.kwargs)
                finally:
                    layer.trainable = False
            return original(*bound.args, **bound.kwargs)

        call.__signature__ = signature  # type: ignore[attr-defined]
        return call


def _call(model: Any, batch: Any) -> Any:
    return model(first_of(batch), training=False)


def _positions(layer: Any, inputs: Any, mask: Any) -> np.ndarray[Any, Any]:
    """The inputs with the channels last; of a masked input the positions that count, [positions, channels]."""
    try:
        values = array(inputs)
    except (NotImplementedError, TypeError, ValueError) as error:
        raise TypeError(
            "`model` runs in a compiled function, in which its layers cannot be listened to; let `call` run it eagerly."
        ) from error
    (axis,) = layer.axis if isinstance(layer.axis, (list, tuple)) else (layer.axis,)
    values = np.moveaxis(values, axis, -1)
    if mask is None:
        return values
    kept = np.broadcast_to(array(mask).astype(bool), values.shape[:-1])
    return values[kept]


def _value(variable: Any) -> Any:
    value = getattr(variable, "value", variable)
    return value() if callable(value) else value


def _problem(layer: Any) -> str | None:
    if not layer.built:
        return "It has no variables before its first input; run the model once."
    if getattr(layer, "renorm", False):
        return "It does batch renormalisation, whose further variables a recalibration does not know."
    return None
