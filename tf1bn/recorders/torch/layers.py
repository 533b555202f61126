"""The batch-norm layers of a PyTorch model: their names, their settings, and the values that they hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from ... import trace

_BatchNorm = nn.modules.batchnorm._BatchNorm
DTYPES = {torch.float32: "float32", torch.float16: "float16", torch.float64: "float64", torch.bfloat16: "bfloat16"}
STATISTICS = ("running_mean", "running_var")


def norms(model: nn.Module) -> dict[str, nn.Module]:
    """The batch-norm modules of a model by their names, each once; a model that is one has the name of its class."""
    return {
        name or type(module).__name__: module
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm)
    }


def owners_of_statistics(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Names and modules with running statistics among their buffers that are no batch norm of PyTorch's."""
    for name, module in model.named_modules():
        known = isinstance(module, (_BatchNorm, nn.modules.instancenorm._InstanceNorm))
        if set(STATISTICS) <= module._buffers.keys() and not known:
            yield name or type(module).__name__, module


def is_lazy(module: nn.Module) -> bool:
    """Whether a module has no variables yet, because no input has shown how many channels there are."""
    return isinstance(module, nn.modules.lazy.LazyModuleMixin) and module.has_uninitialized_params()


def settings(module: nn.Module, momentum: float | None = None, eps: float | None = None) -> trace.Layer:
    """The `trace.Layer` of a module.

    Args:
      momentum, eps: those of a call of `torch.nn.functional.batch_norm`; None: the module's own.
    """
    mean = module.running_mean
    momentum = getattr(module, "momentum", None) if momentum is None else momentum
    weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
    affine = [parameter for parameter in (weight, bias) if isinstance(parameter, nn.Parameter)]
    problem = None
    if mean is None:
        problem = "It keeps no running statistics (track_running_stats=False), so there is nothing to check."
    elif mean.dtype not in DTYPES:
        problem = f"Its running statistics are {mean.dtype}, which a trace does not hold."
    return trace.Layer(
        decay=None if momentum is None or not 0 <= momentum <= 1 else 1 - momentum,
        epsilon=getattr(module, "eps", None) if eps is None else eps,
        data_format="NCHW",
        dtype="float32" if problem else DTYPES[mean.dtype],
        fused=True,
        trainable=not affine or any(parameter.requires_grad for parameter in affine),
        center=bias is not None,
        scale=weight is not None,
        recurrence="weighted",
        # On other devices the kernel may be a vendor's, whose formula is not published.
        variance_from="deviations" if mean is not None and mean.device.type == "cpu" else None,
        unrecordable=problem,
    )


def array(tensor: Any) -> np.ndarray[Any, Any]:
    """The numbers of a tensor as an array, which shares the tensor's memory where that is possible."""
    tensor = tensor.detach()
    if tensor.device.type != "cpu":
        tensor = tensor.cpu()
    return tensor.float().numpy() if tensor.dtype is torch.bfloat16 else tensor.numpy()


def copied(tensor: Any) -> np.ndarray[Any, Any] | None:
    """The numbers of a vector in memory of their own; None for None."""
    return None if tensor is None else np.array(array(tensor))


def statistics(module: nn.Module) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Copies of the running mean and variance."""
    return copied(module.running_mean), copied(module.running_var)


def counted(module: nn.Module) -> dict[str, np.ndarray[Any, Any]]:
    """The count of batches that a module has trained with, as a trace's "state" has it; empty if it keeps none."""
    count = module._buffers.get("num_batches_tracked")
    if count is None or count.numel() != 1 or count.is_floating_point() or count.is_complex():
        return {}
    return {"num_batches_tracked": np.array([int(count)])}
