"""PyTorch modules, recalibrated. Imported beside PyTorch alone; reached through `tf1bn.recalibration`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from ..recorders.torch.layers import array, copied, is_lazy, norms, owners_of_statistics
from .engine import Convention, Statistics, Take
from .running import default_call


class TorchModule:
    """A module whose batch-norm layers are listened to by hooks; see `engine.Target`."""

    def __init__(self, model: nn.Module, call: Callable[[Any, Any], Any] | None) -> None:
        if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
            raise TypeError(
                "`model` is or holds a TorchScript module, whose layers cannot be listened to; give the module that it "
                "was made from."
            )
        if hasattr(model, "_orig_mod"):
            raise TypeError("`model` is compiled, so that its layers cannot be listened to; give the module itself.")
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            ranks = torch.distributed.get_world_size()
            if ranks > 1:
                raise ValueError(
                    f"this is one of {ranks} processes of torch.distributed, and statistics are computed in one; run "
                    "it in a process of its own, and load the statistics in all."
                )
        self._model, self._call = model, call or default_call
        self._layers: dict[str, Any] = {}
        self.conventions: dict[str, Convention] = {}
        self.left_out = {
            name: "It is no batch norm of PyTorch's, though it keeps running statistics."
            for name, _ in owners_of_statistics(model)
        }
        for name, module in norms(model).items():
            problem = _problem(module)
            if problem:
                self.left_out[name] = problem
            else:
                self._layers[name] = module
                self.conventions[name] = Convention(
                    True, float(module.eps), bfloat16=module.running_mean.dtype is torch.bfloat16
                )
        self._modes: list[tuple[nn.Module, bool]] = []
        self._buffers: list[tuple[nn.Module, str, Any, Any]] = []
        self._hooks: list[Any] = []
        self._take: Take | None = None

    def read(self, name: str) -> Statistics:
        module = self._layers[name]
        return Statistics(copied(module.running_mean), copied(module.running_var))

    def write(self, name: str, statistics: Statistics) -> None:
        module = self._layers[name]
        with torch.no_grad():
            for buffer, values in ((module.running_mean, statistics.mean), (module.running_var, statistics.variance)):
                buffer.copy_(torch.from_numpy(np.array(values)))

    def begin(self, names: list[str], by_batch: bool) -> None:
        self._modes = [(module, module.training) for module in self._model.modules()]
        # A call of the user's may bring other layers into training mode, which then count and update.
        self._buffers = [
            (module, name, buffer, buffer.clone())
            for module in self._model.modules()
            for name, buffer in module._buffers.items()
            if buffer is not None and not nn.parameter.is_lazy(buffer) and not buffer.is_inference()
        ]
        self._model.eval()
        for name in names:
            module = self._layers[name]
            module.train(by_batch)
            self._hooks.append(module.register_forward_pre_hook(self._hook(name, by_batch), with_kwargs=True))

    def end(self) -> None:
        for hook in self._hooks:
            hook.remove()
        for module, training in self._modes:
            module.training = training
        with torch.no_grad():
            for module, name, buffer, value in self._buffers:
                module._buffers[name] = buffer
                buffer.copy_(value)
        self._hooks, self._buffers, self._modes = [], [], []

    def levels(self, names: list[str], batch: Any) -> None:
        return None

    def recipe(self) -> tuple[type[TorchModule], tuple[Any, ...]]:
        return TorchModule, (self._model, self._call)

    def run(self, batch: Any, names: list[str], take: Take) -> None:
        self._take = take
        try:
            with torch.no_grad():
                self._call(self._model, batch)
        finally:
            self._take = None

    def _hook(self, name: str, by_batch: bool) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if module.training is not by_batch:
                now, wanted = ("training", "inference") if module.training else ("inference", "training")
                raise ValueError(
                    f"Layer {name!r} was brought into {now} mode while the model ran, and the order needs {wanted} "
                    "mode; let `call` and the model leave the modes as they are."
                )
            given = args[0] if args else next(iter(kwargs.values()))
            if self._take is not None:
                # A view, with the channels last.
                self._take(name, np.moveaxis(array(given), 1, -1))

        return hook


def _problem(module: Any) -> str | None:
    if is_lazy(module):
        return "It has no variables before its first input; run the model once."
    if module.running_mean is None or module.running_var is None:
        return "It keeps no running statistics (track_running_stats=False)."
    if module.running_mean.is_inference():
        return "Its statistics were made in torch.inference_mode, outside of which they cannot be written."
    return None
