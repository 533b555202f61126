"""Records the batch-norm layers of a PyTorch model as a trace.

from tf1bn.recorders.torch import record

with record(model, "run.trace"):
    train(model)
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

try:
    import torch
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise ModuleNotFoundError(
        "tf1bn.recorders.torch needs PyTorch; install it with `pip install torch`.", name="torch"
    ) from error
from torch import nn

from ..._util.validation import one_of
from ..limits import MAX_BYTES, Limits
from .recorder import TorchRecorder, is_recorded

__all__ = ["TorchRecorder", "record"]


def record(
    model: nn.Module,
    path: str | os.PathLike[str],
    *,
    keep: str = "auto",
    every: int = 1,
    steps: int | slice | None = None,
    layers: str | Iterable[str] | None = None,
    max_bytes: int | None = MAX_BYTES,
    step_ends: str = "forward",
    overwrite: bool = False,
) -> TorchRecorder:
    """Record the batch-norm layers of a model from now on, until the block is left, `TorchRecorder.close` is called
    or the program ends.

    A step of the trace is one forward pass of `model`, with what its backward pass recomputes (activation
    checkpointing). A layer that is applied outside of a forward pass of `model`, as when a part of it is called, makes
    a step of its own. In training mode PyTorch updates the statistics in the forward pass, so that is what a step needs
    to hold.

    Every batch norm is recorded that calls `torch.nn.functional.batch_norm` with running statistics among the model's
    buffers, and every module that is a `BatchNorm1d`, `2d` or `3d`, a `SyncBatchNorm`, or of a class made from them:
    each application of it in each step, in the mode that its own `training` had. A module without running statistics is
    listed with the reason. The model, its numbers and its random state are left as they are; copies of it and pickles
    of it, made meanwhile, are not recorded.

    Where `torch.distributed` runs several processes, call it in each: process 1 writes "run.rank1.trace" for
    "run.trace".

    Args:
      model: the model, whatever it consists of; of a `DistributedDataParallel` its module is recorded.
      path: the folder of the trace, which is made.
      keep, every, steps, layers, max_bytes: as for `recorders.limits.Limits`; names of layers are those of
        `model.named_modules()`.
      step_ends: "forward", as above; or "call": a step ends where `TorchRecorder.step` is called, so that a step can
        hold several forward passes.
      overwrite: whether to replace a trace that is there.

    Raises:
      TypeError: `model` is no module.
      ValueError: the model has no batch norm, is compiled, or is being recorded already; or an argument is not as
        above.
      FileExistsError: there is something at `path`; see `trace.Writer`.
    """
    limits = Limits(keep, every, steps, layers, max_bytes)
    one_of("step_ends", step_ends, ("forward", "call"))
    return TorchRecorder(recordable(model), path, limits, by_forward=step_ends == "forward", overwrite=overwrite)


def recordable(model: Any) -> nn.Module:
    """The module of a model whose forward passes are recorded; raises what `record` does."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"`model` is of type {type(model).__name__}; it must be a torch.nn.Module.")
    if isinstance(model, nn.DataParallel):
        if len(model.device_ids) > 1:
            raise ValueError(
                f"`model` is a DataParallel over {len(model.device_ids)} devices, which runs copies of it; record it "
                "on one device, or use DistributedDataParallel, whose processes are recorded each."
            )
        model = model.module
    elif isinstance(model, nn.parallel.DistributedDataParallel):
        model = model.module
    if isinstance(model, torch.jit.ScriptModule):
        raise ValueError("`model` is a ScriptModule, which runs no hooks; record the module that it was made from.")
    if hasattr(model, "_orig_mod") or any(
        getattr(module, "_compiled_call_impl", None) is not None for module in model.modules()
    ):
        raise ValueError(
            "`model` is compiled by torch.compile, whose code runs no hooks; record the module before it is compiled, "
            "and run it without compilation while it is recorded."
        )
    if is_recorded(model):
        raise ValueError("`model` is being recorded already; close the other recorder first.")
    return model
