"""The batch-norm layers of a Flax model: their names, their settings and their values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen, nnx

from ... import trace
from ...trace.settings import DTYPES


def is_norm(module: Any) -> bool:
    """Whether it is a batch norm of linen or nnx, or of a class made from one."""
    return isinstance(module, (linen.BatchNorm, nnx.BatchNorm))


def nnx_norms(model: Any) -> dict[str, Any]:
    """The batch-norm modules of an nnx model by their paths, each once: "blocks/0/norm"."""
    found: dict[str, Any] = {}
    for path, module in nnx.iter_modules(model):
        if is_norm(module) and not any(module is other for other in found.values()):
            found["/".join(map(str, path)) or type(module).__name__] = module
    return dict(sorted(found.items(), key=lambda item: [_natural(part) for part in item[0].split("/")]))


def _natural(part: str) -> tuple[int, int, str]:
    return (0, int(part), "") if part.isdigit() else (1, 0, part)


def settings(module: Any, rank: int, dtype: str, ndim: int) -> trace.Layer:
    """The `trace.Layer` of a module.

    Args:
      rank: of its inputs; dtype: the name of that of its statistics; ndim: how many axes these have.
    """
    axes = module.axis if isinstance(module.axis, (list, tuple)) else (module.axis,)
    axis = axes[0] % rank
    problem = None
    if len(axes) != 1 or ndim != 1:
        problem = f"Its statistics have {max(len(axes), ndim)} axes, and a trace holds those of one."
    elif dtype not in DTYPES:
        problem = f"Its statistics are {dtype}, which a trace does not hold."
    elif not getattr(module, "force_float32_reductions", True) and jnp.dtype(module.param_dtype).itemsize < 4:
        problem = f"It sums in {jnp.dtype(module.param_dtype).name}, which the checker does not know."
    return trace.Layer(
        decay=float(module.momentum),
        epsilon=float(module.epsilon),
        data_format="NCHW" if axis == 1 and rank > 2 else "NHWC",
        axis=None if axis in (1, rank - 1) else axis,
        dtype="float32" if problem else dtype,
        fused=False,
        center=bool(module.use_bias),
        scale=bool(module.use_scale),
        recurrence="weighted",
        variance_from="squares" if module.use_fast_variance else "deviations",
        unrecordable=problem,
    )


def array(value: Any) -> np.ndarray[Any, Any]:
    """The numbers of a JAX array; bfloat16, which .npy cannot hold, as float32."""
    value = np.asarray(value)
    return value.astype(np.float32) if value.dtype.name == "bfloat16" else value


def positions(mask: Any, shape: tuple[int, ...], axis: int) -> np.ndarray[Any, Any]:
    """A mask as bool in the shape of the inputs without their channels.

    Raises:
      ValueError: the mask differs between channels.
    """
    full = np.moveaxis(np.broadcast_to(np.asarray(mask, bool), shape), axis, -1)
    if not (full == full[..., :1]).all():
        raise ValueError(
            "`mask` differs between the channels of a position; a trace holds one weight for each position."
        )
    return np.ascontiguousarray(full[..., 0])


def statistics_of(variables: Any, path: tuple[Any, ...]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Copies of mean and variance at the path of a module, of linen's variables or an nnx state.

    Raises:
      ValueError: they are not there.
    """
    node = variables
    try:
        if isinstance(node, Mapping) and "batch_stats" in node and not isinstance(node, nnx.State):
            node = node["batch_stats"]
        for part in path:
            node = node[part]
        values = [node[name] for name in ("mean", "var")]
    except (KeyError, TypeError) as error:
        shown = "/".join(map(str, path)) or "the model itself"
        raise ValueError(f"`after` has no mean and var of {shown}; it must be the variables after the step.") from error
    return tuple(np.array(array(getattr(value, "value", value))) for value in values)  # type: ignore[return-value]
