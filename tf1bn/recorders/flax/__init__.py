"""Records the batch-norm layers of a Flax model, linen or nnx, as a trace.

from tf1bn.recorders.flax import Recorder, record

with record(model, "run.trace"):
    for batch in batches:
        train_step(model, batch)

with Recorder(model, "run.trace") as recorder:  # no part of what is compiled: from the variables before and after
    for batch in batches:
        new = train_step(variables, batch)
        recorder.step(variables, new, batch, train=True)
        variables = new
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

try:
    import flax  # noqa: F401 - only to say what is missing
    import jax  # noqa: F401
except ModuleNotFoundError as error:
    if error.name not in ("flax", "jax"):
        raise
    raise ModuleNotFoundError(
        "tf1bn.recorders.flax needs JAX and Flax; install them with `pip install 'tf1bn[flax]'`.", name=error.name
    ) from error

from ..limits import MAX_BYTES, Limits
from .recorder import FlaxRecorder

__all__ = ["FlaxRecorder", "Recorder", "record"]


def record(
    model: Any,
    path: str | os.PathLike[str],
    *,
    keep: str = "auto",
    every: int = 1,
    steps: int | slice | None = None,
    layers: str | Iterable[str] | None = None,
    max_bytes: int | None = MAX_BYTES,
    overwrite: bool = False,
) -> FlaxRecorder:
    """Record the batch-norm layers of a model from now on, until the block is left or `FlaxRecorder.close` is called.

    A step of the trace is one call of the model, eager or compiled by `jax.jit` or `nnx.jit`, with or without
    derivatives; of a linen module ``apply`` with any of its methods, of an nnx module its ``__call__``. The values
    leave compiled functions by ordered calls of the host. What was compiled before the recording began holds none, so
    make such functions inside of it. Ordered calls exist neither in `jax.vmap` nor on several devices, nor where
    activations are recomputed (`jax.checkpoint`); use `Recorder` there.

    Args:
      model: a `flax.linen.Module` or a `flax.nnx.Module`.
      path: the folder of the trace, which is made.
      keep, every, steps, layers, max_bytes: as for `recorders.limits.Limits`; names of layers are their paths, such as
        "block/norm".
      overwrite: whether to replace a trace that is there.

    Raises:
      TypeError: `model` is no module of Flax.
      ValueError: an nnx model has no batch norm, reduces it over devices (`axis_name`), or is being recorded already;
        or an argument is not as above. In a linen model `axis_name` is refused when it is applied.
      FileExistsError: there is something at `path`; see `trace.Writer`.
    """
    limits = Limits(keep, every, steps, layers, max_bytes)
    return FlaxRecorder(model, path, limits, by_hand=False, overwrite=overwrite)


def Recorder(
    model: Any,
    path: str | os.PathLike[str],
    *,
    keep: str = "auto",
    every: int = 1,
    steps: int | slice | None = None,
    layers: str | Iterable[str] | None = None,
    max_bytes: int | None = MAX_BYTES,
    overwrite: bool = False,
) -> FlaxRecorder:
    """A recorder that is told of each step, by `FlaxRecorder.step`, and changes nothing about how the model runs.

    The arguments and exceptions are those of `record`, but for `axis_name`, which is no obstacle: the batch that
    `FlaxRecorder.step` gets is that of all devices.
    """
    limits = Limits(keep, every, steps, layers, max_bytes)
    return FlaxRecorder(model, path, limits, by_hand=True, overwrite=overwrite)
