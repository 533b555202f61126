"""Hooks on the modules of a PyTorch model, and what becomes of what they see. Reached through `recorders.torch`."""

from __future__ import annotations

import atexit
import dataclasses
import os
import threading
import weakref
from typing import Any

import torch
from torch import nn

from ..collecting import CollectingRecorder
from ..collector import Application, Collector
from ..limits import Limits
from . import calls
from .hooks import Hook, Running
from .layers import DTYPES, array, copied, counted, is_lazy, norms, owners_of_statistics, settings, statistics

_recorded: weakref.WeakSet[nn.Module] = weakref.WeakSet()
_open: weakref.WeakSet[TorchRecorder] = weakref.WeakSet()


def is_recorded(model: nn.Module) -> bool:
    """Whether a recorder of this model is open."""
    return model in _recorded


class TorchRecorder(CollectingRecorder):
    """Records a model until it is closed; made by `record`."""

    def __init__(
        self,
        model: nn.Module,
        path: str | os.PathLike[str],
        limits: Limits,
        *,
        by_forward: bool,
        overwrite: bool,
        quiet: bool = False,
    ) -> None:
        rank, ranks = _rank()
        self._model, self._norms = model, norms(model)
        self._names = {id(module): name for name, module in self._norms.items()}
        self._others = dict(owners_of_statistics(model))
        self._at_first = {name: statistics(module) for name, module in self._others.items() if not is_lazy(module)}
        self._check_layers(limits)
        self._collector = Collector(
            _path_of_rank(path, rank, ranks),
            limits,
            overwrite=overwrite,
            quiet=quiet,
            producer="tf1bn.recorders.torch",
            framework="PyTorch",
            framework_version=torch.__version__,
            rank=rank if ranks > 1 else None,
            ranks=ranks if ranks > 1 else None,
        )
        self._rank, self._ranks, self._by_forward = rank, ranks, by_forward
        self._lock = threading.RLock()
        self._threads = threading.local()
        # Of the step that runs: whether it began in a forward pass of the model, how deep in it we are, what trained.
        self._running, self._of_model, self._depth, self._broken = False, False, 0, False
        self._model_trained = False
        self._evaluated: dict[str, tuple[nn.Module, Any, Any]] = {}
        self._trained_by_backward = False
        self._handles = self._hooked()
        calls.listen(self)
        _recorded.add(model)
        _open.add(self)

    def step(self) -> None:
        """End the step that runs; the next application of a layer begins another."""
        with self._lock:
            self._end()

    def close(self) -> None:
        """Finish the trace and let go of the model; closing again does nothing."""
        with self._lock:
            if self._collector.closed or not self._collector.in_own_process:
                return
            calls.stop(self)
            for handle in self._handles:
                handle.remove()
            _recorded.discard(self._model)
            _open.discard(self)
            self._end()
            self._declare_all()
            self._declare_unseen()
            self._collector.close()

    # The hooks.

    def before_model(self, model: nn.Module) -> None:
        """A forward pass of the model begins."""
        if not self._hears() or _in_backward():
            return
        with self._lock:
            self._depth += 1
            if self._depth == 1 and self._by_forward:
                self._end()
                self._begin(of_model=True)
            self._model_trained |= model.training

    def after_model(self, model: nn.Module, completed: bool) -> None:
        """A forward pass of the model has ended, perhaps by an exception."""
        if not self._hears() or _in_backward():
            return
        with self._lock:
            self._depth = max(0, self._depth - 1)
            self._broken |= not completed

    def before_norm(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        """A batch-norm module is about to be applied."""
        if self._hears():
            self._stack.append(Running(module, inputs[0] if inputs else None, self._before(module)))

    def after_norm(self, module: nn.Module, output: Any) -> None:
        """A batch-norm module has been applied; what no call has shown is recorded as seen from outside."""
        if not self._hears() or not self._stack or self._stack[-1].module is not module:
            return
        running = self._stack.pop()
        if running.called or running.before is None or running.inputs is None:
            return
        momentum = module.momentum
        if momentum is None and module.num_batches_tracked is not None:
            momentum = 1 / max(1, int(module.num_batches_tracked))
        used = (module.running_mean, module.running_var)
        if module.training and not module.track_running_stats:
            used = (None, None)
        call = calls.Call(running.inputs, *used, module.weight, module.bias, module.training, momentum, module.eps)
        # What runs no call is a SyncBatchNorm that pools its batch with those of other processes, or code of its own.
        pooled = self._ranks > 1 and isinstance(module, nn.SyncBatchNorm) and module.training
        self._take(module, self._names[id(module)], call, output, running.before, pooled=pooled)

    # The listener of calls.

    def before_call(self, call: calls.Call) -> object:
        """A call of `torch.nn.functional.batch_norm` begins."""
        if not self._hears():
            return None
        if self._stack:
            running = self._stack[-1]
            running.called = True
            if running.before is None:
                return None
            return running.module, self._names[id(running.module)], running.before
        for name, module in self._others.items():
            if module.running_mean is call.running_mean and module.running_mean is not None:
                return module, name, self._before(module)
        return None

    def after_call(self, token: Any, call: calls.Call, output: Any) -> None:
        """A call of `torch.nn.functional.batch_norm` has ended; without an output if it was interrupted."""
        module, name, before = token
        if before is not None:
            self._take(module, name, call, output, before)

    # What becomes of them.

    @property
    def _stack(self) -> list[Running]:
        """The batch-norm modules that this thread is in."""
        if not hasattr(self._threads, "stack"):
            self._threads.stack = []
        return self._threads.stack

    def _hears(self) -> bool:
        return self._collector.in_own_process and not self._collector.closed and not torch.compiler.is_compiling()

    def _before(self, module: nn.Module) -> Any:
        """Statistics and count before an application; None if it is not recorded. Begins a step where one is due."""
        if module.running_mean is None or is_lazy(module) or module.running_mean.device.type == "meta":
            return None
        name = self._names.get(id(module), "")
        with self._lock:
            by_itself = self._by_forward and not self._depth and not _in_backward()
            if by_itself and (self._of_model or self._collector.holds(name)):
                self._end()
            if not self._running:
                self._begin(of_model=False)
            return (statistics(module), counted(module)) if self._collector.recording else None

    def _take(
        self, module: nn.Module, name: str, call: calls.Call, output: Any, before: Any, *, pooled: bool = False
    ) -> None:
        with self._lock:
            if not self._collector.takes_layer(name) or not self._collector.recording:
                return
            if name not in self._collector.layers:
                functional = {} if name in self._norms else {"momentum": call.momentum, "eps": call.eps}
                self._collector.declare({name: settings(module, **functional)})
            inputs = array(call.input)
            tracked = call.running_mean is not None or not call.training or module.running_mean is None
            decay = None
            if call.training and call.momentum is not None and 0 <= call.momentum <= 1:
                decay = 1 - call.momentum
            application = Application(
                inputs=inputs if inputs.ndim > 1 else inputs[None],
                outputs=None if output is None else array(output),
                training=bool(call.training),
                before=before[0],
                after=statistics(module),
                state=before[1],
                state_after=counted(module),
                gamma=copied(call.weight),
                beta=copied(call.bias),
                decay=decay,
                updated=None if tracked else False,
                recomputed=_in_backward(),
                inputs_dtype=DTYPES.get(call.input.dtype),
                outputs_dtype=None if output is None else DTYPES.get(output.dtype),
                replica=self._rank if pooled else None,
                reduction="pooled" if pooled else None,
            )
            self._collector.take(name, application)
            if not module.training:
                self._watch_backward(name, module, application, output)

    def _watch_backward(self, name: str, module: nn.Module, application: Application, output: Any) -> None:
        """Learn whether a layer in evaluation mode is trained: a backward pass reaches it and its parameters change."""
        parameters = [p for p in (getattr(module, "weight", None), getattr(module, "bias", None)) if p is not None]
        if output is None or not output.requires_grad or not any(p.requires_grad for p in parameters):
            return
        self._evaluated[name] = (module, application.gamma, application.beta)
        output.register_hook(self._note_backward)

    def _note_backward(self, gradient: Any) -> None:
        self._trained_by_backward = True

    def _begin(self, of_model: bool) -> None:
        self._running, self._of_model, self._broken = True, of_model, False
        self._model_trained = self._trained_by_backward = False
        self._evaluated = {}
        self._collector.begin()
        if self._collector.recording:
            self._declare_all()

    def _end(self) -> None:
        """End the step that runs, if any."""
        if not self._running:
            return
        self._running = False
        if self._broken:
            self._collector.drop()
            return
        # In evaluation mode as a whole, and yet an optimizer moves gamma or beta: the mode was left on.
        left_on = not self._model_trained and self._trained_by_backward and self._parameters_moved()
        self._collector.end(True if left_on or self._model_trained else None, all_train=left_on)

    def _parameters_moved(self) -> bool:
        for module, gamma, beta in self._evaluated.values():
            for before, now in ((gamma, getattr(module, "weight", None)), (beta, getattr(module, "bias", None))):
                if before is not None and now is not None and before.tobytes() != array(now).tobytes():
                    return True
        return False

    def _declare_all(self) -> None:
        """List the layers in the order of the model; those that wait for their first input come later."""
        new = {name: module for name, module in self._norms.items() if self._collector.lacks(name)}
        self._collector.declare({name: settings(module) for name, module in new.items() if not is_lazy(module)})

    def _declare_unseen(self) -> None:
        """List the modules that move statistics of their own by code that shows nothing of it."""
        for name, before in self._at_first.items():
            module = self._others[name]
            moved = any(old.tobytes() != new.tobytes() for old, new in zip(before, statistics(module), strict=True))
            if self._collector.lacks(name) and (moved or not self._collector.steps):
                reason = (
                    "It computes with its running_mean and running_var itself and calls no "
                    "`torch.nn.functional.batch_norm`, which is what is recorded of modules that are no BatchNorm."
                )
                self._collector.declare({name: dataclasses.replace(settings(module), unrecordable=reason)})

    def _check_layers(self, limits: Limits) -> None:
        names = [*self._norms, *self._others]
        if not names:
            raise ValueError(
                f"`model` is a {type(self._model).__name__} without a batch-norm layer: no module of it is a "
                "BatchNorm, and none has running_mean and running_var among its buffers."
            )
        if not any(limits.takes_layer(name) for name in names):
            raise ValueError(f"`layers` fits no layer of the model; it has {', '.join(names[:8])}.")

    def _hooked(self) -> list[Any]:
        """Register the hooks, and return their handles."""
        handles = [
            self._model.register_forward_pre_hook(Hook(self, self._model, "before_model")),
            self._model.register_forward_hook(Hook(self, self._model, "after_model"), always_call=True),
        ]
        for module in self._norms.values():
            handles.append(module.register_forward_pre_hook(Hook(self, module, "before_norm")))
            handles.append(module.register_forward_hook(Hook(self, module, "after_norm"), always_call=True))
        return handles


def _rank() -> tuple[int, int]:
    """The rank of this process and how many there are."""
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def _path_of_rank(path: str | os.PathLike[str], rank: int, ranks: int) -> str:
    root, extension = os.path.splitext(os.fspath(path))
    return f"{root}.rank{rank}{extension}" if ranks > 1 else os.fspath(path)


def _in_backward() -> bool:
    """Whether a backward pass runs in this thread."""
    return torch._C._current_graph_task_id() != -1


@atexit.register
def _close_all() -> None:
    """Close what a program leaves open at its end: the last step has no end before, and so would not be written."""
    for recorder in tuple(_open):
        recorder.close()
