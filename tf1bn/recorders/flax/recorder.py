"""What becomes of what the layers of a Flax model do. Reached through `recorders.flax`."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Any

import flax
import jax
import numpy as np
from flax import linen, nnx

from ..collecting import SteppingRecorder
from ..collector import Application, Collector
from ..limits import Limits
from ..values import Jax
from .interception import LinenCalls, NnxCalls, Running
from .layers import array, nnx_norms, positions, settings, statistics_of

_recorded: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()


class FlaxRecorder(SteppingRecorder):
    """Records a model until it is closed; made by `record` and `Recorder`."""

    def __init__(
        self,
        model: Any,
        path: str | os.PathLike[str],
        limits: Limits,
        *,
        by_hand: bool,
        overwrite: bool,
        quiet: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(model, (linen.Module, nnx.Module)):
            raise TypeError(
                f"`model` is of type {type(model).__name__}; it must be a module of flax.linen or flax.nnx."
            )
        if id(model) in _recorded:
            raise ValueError("`model` is being recorded already; close the other recorder first.")
        self._model, self._by_hand = model, by_hand
        if isinstance(model, nnx.Module):
            _check_layers(model, limits, by_hand)
        self._jax = Jax()
        self._after: Any = None  # the variables after a step that `step` was told of
        self._collector = Collector(
            path,
            limits,
            overwrite=overwrite,
            quiet=quiet,
            producer="tf1bn.recorders.flax, " + ("linen" if isinstance(model, linen.Module) else "nnx"),
            framework="Flax",
            framework_version=flax.__version__,
        )
        self._with_outputs = limits.keep in ("auto", "all")
        self._calls = None if by_hand else self._intercepted(model)
        _recorded[id(model)] = self

    def close(self) -> None:
        """Finish the trace and let go of the model; closing again does nothing."""
        with self._lock:
            if self._collector.closed or not self._collector.in_own_process:
                return
        self._jax.wait()
        with self._lock:
            if self._calls is not None:
                self._calls.close()
            _recorded.pop(id(self._model), None)
            self._end(None)
            self._collector.close()

    def step(self, before: Any, after: Any, *args: Any, **kwargs: Any) -> None:
        """Record a step that ran elsewhere: the model is applied to the same arguments once more, and not compiled.

        What the layers are given follows from `before`; what became of their statistics is taken from `after`. A layer
        with `axis_name` gets the batch of all devices, of which it has the statistics then.

        Args:
          before: linen's variables before the step, params included; or the `nnx.State` of an nnx model, as of
            `nnx.state(model)` and copied if the model changes in place.
          after: the same after it; of linen's variables the "batch_stats" are enough.
          args, kwargs: what the model was called with in that step; ``rngs`` and ``method`` go to linen's ``apply``.

        Raises:
          ValueError: the recorder was made by `record`, is closed, or `after` lacks the statistics of a layer.
        """
        if not self._by_hand:
            raise ValueError("This recorder hears of the steps by itself; make one that is told of them by `Recorder`.")
        if self._collector.closed:
            raise ValueError(f"The recorder of {self.path!r} has ended; make another with a path of its own.")
        nnx_model = isinstance(self._model, nnx.Module)
        model = self._model
        if nnx_model:
            model = nnx.clone(self._model)
            nnx.update(model, before)
        self._after = nnx.state(after) if isinstance(after, nnx.Module) else after
        calls = self._intercepted(model)
        self._begin()
        try:
            if nnx_model:
                model(*args, **kwargs)
            else:
                model.apply(before, *args, mutable=["batch_stats"], **kwargs)
            self._jax.wait()
        except BaseException:
            self._collector.drop()
            self._running = False
            raise
        finally:
            calls.close()
            self._leave(None)
            self._after = None

    def _intercepted(self, model: Any) -> Any:
        return (NnxCalls if isinstance(model, nnx.Module) else LinenCalls)(model, self)

    # What is heard of the calls, while they run or are traced.

    def around_model(self, call: Callable[[], Any]) -> Any:
        """Call the model in a step of its own."""
        if self._by_hand:
            return call()
        self._jax.send(lambda values: self._begin(), [])
        output = call()
        self._jax.send(lambda values: self._leave(None), [])
        return output

    def around_norm(self, running: Running) -> Any:
        """Call a layer, and send what it showed to `_take`."""
        module = running.module
        if self._by_hand:
            with running.on_one_device():
                return self._sent(running)
        if module.axis_name is not None and running.training:
            raise ValueError(
                f"The layer {running.name!r} reduces its moments over the axis {module.axis_name!r}, and calls of the "
                "host have no order there; record the model by `Recorder` and its `step`."
            )
        return self._sent(running)

    def _sent(self, running: Running) -> Any:
        before = running.values()
        output = running.call()
        after = running.values()
        tensors = {"inputs": running.inputs, **before}
        tensors |= {f"{key}_after": after[key] for key in ("mean", "variance")}
        if self._with_outputs:
            tensors["outputs"] = output
        if running.mask is not None and running.training:
            tensors["mask"] = running.mask
        keys = list(tensors)
        facts = {
            "training": bool(running.training),
            "inputs_dtype": running.inputs.dtype.name,
            "outputs_dtype": output.dtype.name,
            "dtype": before["mean"].dtype.name,
        }

        def take(values: Any) -> None:
            self._take(running, facts, dict(zip(keys, values, strict=True)))

        if self._by_hand and not any(isinstance(value, jax.core.Tracer) for value in tensors.values()):
            take(list(tensors.values()))
        else:
            self._jax.send(take, list(tensors.values()))
        return output

    # What happens when the values are there.

    def _take(self, running: Running, facts: dict[str, Any], values: dict[str, Any]) -> None:
        with self._lock:
            if not self._listens_to(running.name):
                return
            inputs = array(values["inputs"])
            statistics = np.array(array(values["mean"]))
            if running.name not in self._collector.layers:
                layer = settings(running.module, max(2, inputs.ndim), facts["dtype"], statistics.ndim)
                self._collector.declare({running.name: layer})
            layer = self._collector.layers.get(running.name)
            if layer is None or layer.unrecordable:
                return
            after = np.array(array(values["mean_after"])), np.array(array(values["variance_after"]))
            if self._after is not None:
                after = statistics_of(self._after, running.path)
            vectors = {key: np.array(array(values[key])) for key in ("gamma", "beta") if key in values}
            mask = positions(values["mask"], inputs.shape, layer.channel_axis) if "mask" in values else None
            self._collector.take(
                running.name,
                Application(
                    inputs=inputs,
                    outputs=array(values["outputs"]) if "outputs" in values else None,
                    training=facts["training"],
                    before=(statistics, np.array(array(values["variance"]))),
                    after=after,
                    gamma=vectors.get("gamma"),
                    beta=vectors.get("beta"),
                    mask=mask,
                    inputs_dtype=facts["inputs_dtype"],
                    outputs_dtype=facts["outputs_dtype"],
                ),
            )


def _check_layers(model: Any, limits: Limits, by_hand: bool) -> None:
    norms = nnx_norms(model)
    if not norms:
        raise ValueError(f"`model` is a {type(model).__name__} without a BatchNorm layer.")
    if not any(limits.takes_layer(name) for name in norms):
        raise ValueError(f"`layers` fits no layer of the model; it has {', '.join(list(norms)[:8])}.")
    reduced = [name for name, module in norms.items() if module.axis_name is not None]
    if reduced and not by_hand:
        raise ValueError(
            f"`model` has {reduced[0]!r}, which reduces its moments over the axis {norms[reduced[0]].axis_name!r}, and "
            "calls of the host have no order there; record the model by `Recorder` and its `step`."
        )
