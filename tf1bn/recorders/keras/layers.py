"""The batch-norm layers of a Keras model, of Keras 3 or tf_keras: their names, their settings and their values."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from ... import trace
from ...trace.settings import DTYPES

LIBRARIES = ("keras", "tf_keras")


def library_of(model: Any) -> Any:
    """The module, `keras` or `tf_keras`, whose Layer the class of a model is made from; None if it is from neither."""
    for parent in type(model).__mro__:
        root = parent.__module__.partition(".")[0]
        if root in LIBRARIES and parent.__name__ == "Layer":
            return sys.modules[root]
    return None


def is_old(library: Any) -> bool:
    """Whether it is tf_keras, which is Keras 2."""
    return bool(library.__name__ == "tf_keras")


def backend_of(library: Any) -> str:
    """The name of the backend: "tensorflow", "jax", "torch" or another."""
    return "tensorflow" if is_old(library) else library.backend.backend()


def norms(model: Any) -> dict[str, Any]:
    """The batch-norm layers of a model by their names, each once; of equal names all but the first get a number."""
    result: dict[str, Any] = {}
    seen = set()
    for layer in model._flatten_layers():
        if id(layer) in seen or not _is_norm(layer):
            continue
        seen.add(id(layer))
        name, number = layer.name, 2
        while name in result:
            name, number = f"{layer.name}_{number}", number + 1
        result[name] = layer
    return result


def frozen_after_compile(model: Any, found: dict[str, Any]) -> list[str]:
    """The names of those ``found`` that are not trainable and that compiled functions go on to train.

    tf_keras makes layers as trainable as they were at `compile` whenever a function runs, so that none is.
    """
    library = library_of(model)
    eager = getattr(model, "run_eagerly", False) or backend_of(library) not in ("tensorflow", "jax")
    if getattr(model, "train_function", None) is None or is_old(library) or eager:
        return []
    trained = {id(variable) for variable in getattr(model.optimizer, "_trainable_variables", ())}
    frozen = {name: layer for name, layer in found.items() if not layer.trainable}
    return [name for name, layer in frozen.items() if trained & {id(layer.gamma), id(layer.beta)}]


def _is_norm(layer: Any) -> bool:
    return any(
        parent.__name__ in ("BatchNormalization", "BatchNormalizationBase")
        and parent.__module__.partition(".")[0] in LIBRARIES
        for parent in type(layer).__mro__
    )


def variance_from(library: Any) -> str | None:
    """How the backend computes the variance of a batch, as the setting of a `trace.Layer`; None if it does not show.

    Which one it is differs between backends and between versions of Keras, so two numbers are tried, whose squares
    float32 cannot hold: the mean square of their deviations from their mean is 1 exactly.
    """
    if is_old(library):
        return None
    try:
        _, variance = library.ops.moments(np.array([[4097.0], [4095.0]], np.float32), axes=[0])
        return "deviations" if float(array(variance).reshape(())) == 1.0 else "squares"
    except Exception:  # a backend without this operation, or one that cannot compute now
        return None


def settings(layer: Any, rank: int, own_variance: str | None = None) -> trace.Layer:
    """The `trace.Layer` of a layer that is built.

    Args:
      rank: of its inputs.
      own_variance: what `variance_from` says of the backend.
    """
    axis, *others = layer.axis if isinstance(layer.axis, (list, tuple)) else (layer.axis,)
    axis = axis % rank
    old = is_old(library_of(layer))
    dtype = dtype_name(layer.moving_mean)
    problem = None
    if getattr(layer, "renorm", False):
        problem = "It does batch renormalisation as Keras computes it, which the checker does not know."
    elif getattr(layer, "virtual_batch_size", None) is not None:
        problem = "It takes each batch as several virtual ones, whose statistics are not those of the batch."
    elif others:
        problem = f"It has the statistics of each position on the axes {[axis, *others]}, which are no channels."
    elif dtype not in DTYPES:
        problem = f"Its moving statistics are {dtype}, which a trace does not hold."
    return trace.Layer(
        decay=float(layer.momentum),
        epsilon=float(layer.epsilon),
        data_format="NCHW" if axis == 1 and rank > 2 else "NHWC",
        axis=None if axis in (1, rank - 1) else axis,
        dtype="float32" if problem else dtype,
        fused=bool(getattr(layer, "fused", False)) if old else False,
        trainable=bool(layer.trainable),
        center=bool(layer.center),
        scale=bool(layer.scale),
        recurrence="difference" if old else "weighted",
        # All-reduced sums are of values and of their squares, on every backend.
        variance_from="squares" if getattr(layer, "synchronized", False) else own_variance,
        unrecordable=problem,
    )


def dtype_name(value: Any) -> str:
    """The dtype of a tensor, variable or array of any backend by its name: "float32"."""
    dtype = value.dtype
    return getattr(dtype, "name", None) or str(dtype).rpartition(".")[2]


def array(value: Any) -> np.ndarray[Any, Any]:
    """The numbers of an eager tensor of any backend, in the tensor's memory where that is possible."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        return value.float().numpy() if dtype_name(value) == "bfloat16" else value.numpy()
    value = np.asarray(value)
    return value.astype(np.float32) if value.dtype.name == "bfloat16" else value
