"""Functions around the calls of a Keras model and its layers. Reached through `recorders.keras`."""

from __future__ import annotations

import inspect
import os
import weakref
from typing import Any

import numpy as np

from ..collecting import SteppingRecorder
from ..collector import Application, Collector
from ..limits import Limits
from .layers import (
    array,
    backend_of,
    dtype_name,
    frozen_after_compile,
    is_old,
    library_of,
    norms,
    settings,
    variance_from,
)
from .tensors import tensors_of

_recorded: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()


class KerasRecorder(SteppingRecorder):
    """Records a model until it is closed; made by `record`."""

    def __init__(
        self, model: Any, path: str | os.PathLike[str], limits: Limits, *, overwrite: bool, quiet: bool = False
    ) -> None:
        library = library_of(model)
        if library is None:
            raise TypeError(f"`model` is of type {type(model).__name__}; it must be a Keras model or layer.")
        _check_recordable(model)
        backend = backend_of(library)
        self._tensors, self._variance_from = tensors_of(backend), variance_from(library)
        self._model, self._norms = model, norms(model)
        if getattr(model, "built", False):
            _check_layers(model, self._norms, limits)
        version = getattr(library, "__version__", None)
        self._collector = Collector(
            path,
            limits,
            overwrite=overwrite,
            quiet=quiet,
            producer=f"tf1bn.recorders.keras, backend {backend}",
            framework="Keras" if library.__name__ == "keras" else library.__name__,
            framework_version=version,
        )
        super().__init__()
        self._with_outputs = limits.keep in ("auto", "all")
        self._wrapped: list[Any] = []
        self._wrap(model, self._around_model)
        for name, layer in self._norms.items():
            self._wrap(layer, self._around_norm(name))
        self.frozen_after_compile = frozen_after_compile(model, self._norms)
        self._jit = _without_compiled_functions(model)
        _recorded[id(model)] = self

    def close(self) -> None:
        """Finish the trace and let go of the model; closing again does nothing."""
        with self._lock:
            if self._collector.closed or not self._collector.in_own_process:
                return
            self._tensors.wait()
            for layer in self._wrapped:
                layer.__dict__.pop("call", None)
            _restore_compiled_functions(self._model, self._jit)
            _recorded.pop(id(self._model), None)
            self._end(None)
            for name, layer in self._norms.items():
                if layer.built and name not in self._collector.layers and layer.input_spec is not None:
                    self._declare(name, layer, _rank(layer))
            self._collector.close()

    def _wrap(self, layer: Any, around: Any) -> None:
        """Put a function around the `call` of one layer; ``around`` makes it from the layer and its own `call`."""
        if layer is self._model and self._wrapped:
            return
        layer.__dict__["call"] = around(layer, layer.call)
        self._wrapped.append(layer)

    def _around_model(self, model: Any, original: Any) -> Any:
        """The call of the model, which begins and ends a step. A model that is one layer is recorded in it."""
        signature = inspect.signature(original)
        name = next((name for name, layer in self._norms.items() if layer is model), None)
        inner = original if name is None else self._around_norm(name)(model, original)
        begin, end = self._tensors.plain(self._before_model), self._tensors.plain(self._after_model)

        def call(*args: Any, **kwargs: Any) -> Any:
            training = begin(signature, args, kwargs)
            result = inner(*args, **kwargs)
            end(training)
            return result

        call.__signature__ = signature  # type: ignore[attr-defined]
        return call

    def _before_model(self, signature: inspect.Signature, args: Any, kwargs: Any) -> Any:
        training = _argument(signature, args, kwargs, "training")
        self._add_new_layers()
        self._tensors.send(lambda values: self._begin(), [])
        return training

    def _after_model(self, training: Any) -> None:
        given = [] if training is None or isinstance(training, (bool, int)) else [training]
        known = bool(training) if not given else None
        self._tensors.send(lambda values: self._leave(bool(values[0]) if values else known), given)

    def _around_norm(self, name: str) -> Any:
        def around(layer: Any, original: Any) -> Any:
            signature = inspect.signature(original)
            before, after = self._tensors.plain(self._before_norm), self._tensors.plain(self._after_norm)

            def call(*args: Any, **kwargs: Any) -> Any:
                seen = before(layer)
                output = original(*args, **kwargs)
                after(name, layer, signature, args, kwargs, output, seen)
                return output

            call.__signature__ = signature  # type: ignore[attr-defined]
            return call

        return around

    def _before_norm(self, layer: Any) -> Any:
        return [self._tensors.value(v) for v in (layer.moving_mean, layer.moving_variance, layer.gamma, layer.beta)]

    def _after_norm(
        self, name: str, layer: Any, signature: inspect.Signature, args: Any, kwargs: Any, output: Any, seen: list[Any]
    ) -> None:
        """Send what one application of a layer showed to `_take`."""
        inputs = _argument(signature, args, kwargs, "inputs")
        if inputs is None:
            inputs = args[0] if args else next(iter(kwargs.values()))
        training, mask = (_argument(signature, args, kwargs, key) for key in ("training", "mask"))
        if training is None and is_old(library_of(layer)):
            training = library_of(layer).backend.learning_phase()
        tensors = {
            "inputs": inputs,
            "outputs": output if self._with_outputs else None,
            "mask": mask,
            **dict(zip(("mean", "variance", "gamma", "beta"), seen, strict=True)),
            "mean_after": self._tensors.value(layer.moving_mean),
            "variance_after": self._tensors.value(layer.moving_variance),
        }
        if not (training is None or isinstance(training, (bool, int))):
            tensors["training"] = training
        present = {key: tensor for key, tensor in tensors.items() if tensor is not None}
        facts = {
            "training": bool(training) if "training" not in present else None,
            "trainable": bool(layer.trainable),
            "decay": float(layer.momentum),
            "inputs_dtype": dtype_name(inputs),
            "outputs_dtype": dtype_name(output),
        }
        keys = list(present)
        self._tensors.send(
            lambda values: self._take(name, layer, facts, dict(zip(keys, values, strict=True))), list(present.values())
        )

    def _add_new_layers(self) -> None:
        """Wrap the layers that were made since, as when the model was built by its first call."""
        for name, layer in norms(self._model).items():
            if name not in self._norms:
                self._norms[name] = layer
                self._wrap(layer, self._around_norm(name))

    # What happens when the values are there.

    def _take(self, name: str, layer: Any, facts: dict[str, Any], values: dict[str, Any]) -> None:
        with self._lock:
            if not self._listens_to(name):
                return
            inputs = array(values["inputs"])
            if name not in self._collector.layers:
                self._declare(name, layer, max(2, inputs.ndim))
            if self._collector.layers.get(name) is None or self._collector.layers[name].unrecordable:
                return
            training = facts["training"] if facts["training"] is not None else bool(np.all(array(values["training"])))
            training = training and facts["trainable"]
            vectors = {
                key: np.array(array(values[key]))
                for key in ("mean", "variance", "mean_after", "variance_after", "gamma", "beta")
                if key in values
            }
            mask = array(values["mask"]) if "mask" in values and training else None
            # A function that was traced keeps the momentum of then, whatever the layer says now.
            decay = float(layer.momentum) if self._tensors.in_step else facts["decay"]
            application = Application(
                inputs=inputs,
                outputs=array(values["outputs"]) if "outputs" in values else None,
                training=training,
                before=(vectors["mean"], vectors["variance"]),
                after=(vectors["mean_after"], vectors["variance_after"]),
                gamma=vectors.get("gamma"),
                beta=vectors.get("beta"),
                decay=decay if training and decay != self._collector.layers[name].decay else None,
                mask=mask,
                inputs_dtype=facts["inputs_dtype"],
                outputs_dtype=facts["outputs_dtype"],
            )
            self._collector.take(name, application)

    def _declare(self, name: str, layer: Any, rank: int) -> None:
        self._collector.declare({name: settings(layer, rank, self._variance_from)})


def _argument(signature: inspect.Signature, args: Any, kwargs: Any, name: str) -> Any:
    """The argument of this name of a call; None if the function has none of this name, or it was not given."""
    try:
        return signature.bind_partial(*args, **kwargs).arguments.get(name)
    except TypeError:
        return kwargs.get(name)


def _check_recordable(model: Any) -> None:
    if id(model) in _recorded:
        raise ValueError("`model` is being recorded already; close the other recorder first.")
    strategy = getattr(model, "distribute_strategy", None)
    replicas = getattr(strategy, "num_replicas_in_sync", 1)
    if replicas > 1:
        raise ValueError(
            f"`model` runs in {replicas} replicas of a {type(strategy).__name__}, each with moving statistics of its "
            "own, which this recorder does not record; make the model outside of the strategy's scope, and record a "
            "run on one device with the batches that one replica gets."
        )


def _check_layers(model: Any, found: dict[str, Any], limits: Limits) -> None:
    if not found:
        raise ValueError(f"`model` is a {type(model).__name__} without a BatchNormalization layer.")
    if not any(limits.takes_layer(name) for name in found):
        raise ValueError(f"`layers` fits no layer of the model; it has {', '.join(list(found)[:8])}.")


def _rank(layer: Any) -> int:
    spec = layer.input_spec
    spec = spec[0] if isinstance(spec, (list, tuple)) else spec
    return spec.ndim or max(2, 1 + max(spec.axes or {1: 0}))


_FUNCTIONS = ("train_function", "test_function", "predict_function")


def _without_compiled_functions(model: Any) -> Any:
    """Make a model trace its functions anew, without XLA, which runs no recorder; returns what is to be restored."""
    for name in _FUNCTIONS:
        if hasattr(model, name):
            setattr(model, name, None)
    jit = getattr(model, "_jit_compile", None)
    library = library_of(model)
    if jit is not None and backend_of(library) == "tensorflow":
        model._jit_compile = False
    return jit


def _restore_compiled_functions(model: Any, jit: Any) -> None:
    for name in _FUNCTIONS:
        if hasattr(model, name):
            setattr(model, name, None)
    if jit is not None:
        model._jit_compile = jit
