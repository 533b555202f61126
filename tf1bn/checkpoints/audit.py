"""The audit of a checkpoint: what the values of its batch-norm layers say, before anybody trains or restores it.

`formats.registry` has what is read: checkpoints and frozen graphs of TensorFlow, files of Keras (h5py), PyTorch, ONNX,
TensorFlow.js, ``.safetensors`` (safetensors) and ``.npz``. Nothing in a file is run, and only vectors that may belong
to a batch norm, by their names or by a graph, are read.

Limits: 2**20 values in a vector, 2**25 in all, 2**18 variables with names of 1024 characters, and 2**28 bytes of an
index or a state file; those of each format are in the module that reads it.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from .. import __version__
from .._util.text import quoted
from ..results import Result
from ..variable_names import length
from .grouping import group
from .opening import open_checkpoint
from .rules import audit_layer
from .value_rules import at_start

if TYPE_CHECKING:
    import numpy.typing as npt

    from .formats.base import Checkpoint
    from .grouping import Layer


_LIKELY = re.compile(r"(?i)mean|var|std|avg|average|norm|bn|gamma|beta|mu$|sigma")


def audit_checkpoint(path: str | os.PathLike[str]) -> Result:
    """Audit every batch-norm layer of a checkpoint by its values alone.

    Args:
      path: a TF1 prefix (or one of its files), a folder with a ``checkpoint`` state file, an ``.npz`` file whose keys
        are names of variables, or a file of Keras or PyTorch (see above).

    Returns:
      `Result`, the dict of an audit's JSON: "format", "kind" ("checkpoint"), "tf1bn", "ok", "layers", and "problems"
      (sentences; with any of them "ok" is false) and "notes" (sentences on what was read and left out). A layer has
      "channels" and "values" beside what one of a trace has: by role, "mean", "variance", "gamma", "beta" or "affine"
      (a file does not say which of the two), the "variable", "min" and "max" of its finite values, and how many are
      "not_finite". Errors and bounds are None and steps are 0, since nothing was replayed.

    Raises:
      CheckpointError: there is no such checkpoint, it is damaged or too large, or a package that reads it is missing.
    """
    with open_checkpoint(path) as checkpoint:
        return audit_opened(checkpoint)


def audit_opened(checkpoint: Checkpoint) -> Result:
    """The audit of an open checkpoint, see `audit_checkpoint`."""
    layers, notes = group(checkpoint.variables)
    step = whole_number(checkpoint, "global_step")
    batches = [_counted_batches(checkpoint, layer) for layer in layers]
    values = [read_values(checkpoint, layer) for layer in layers]
    averages = [{role: checkpoint.read(name) for role, name in layer.shadows.items()} for layer in layers]
    moved = [at_start(arrays) is False for arrays in values]
    how_many_moved = sum(moved)
    usual = {role for layer in layers for role in ("gamma", "beta") if role in layer.parts}
    results = [
        audit_layer(
            layer,
            arrays,
            stored=stored(checkpoint, layer),
            averages=averages[i],
            others_moved=how_many_moved > moved[i],
            step=step,
            batches=batches[i],
            usual=() if layer.name in checkpoint.declared else {"beta"} | usual,
            declared=checkpoint.declared.get(layer.name, {}),
            quantized=any(name in checkpoint.steps for name in layer.parts.values()),
        )
        for i, (layer, arrays) in enumerate(zip(layers, values, strict=True))
    ]
    if "gamma" not in usual and any(_without_gamma(layer, checkpoint) for layer in layers):
        notes.append("No layer has a gamma, which is right for scale=False (the default of contrib's batch_norm).")
    problems = list(checkpoint.problems)
    if not layers and not problems:
        problems.append(
            f"None of the {len(checkpoint.variables)} variables of {checkpoint.path!r} belongs to a batch-norm layer, "
            f"so nothing was judged.{_likeliest(checkpoint.variables)}"
        )
    ok = not problems and all(result["verdict"] == "ok" for result in results)
    result = {"format": "tf1bn-audit", "kind": "checkpoint", "tf1bn": __version__, "ok": ok}
    result |= {"layers": results, "problems": problems, "notes": [*checkpoint.notes, *notes]}
    return Result(result)


def read_values(checkpoint: Checkpoint, layer: Layer) -> dict[str, npt.NDArray[Any]]:
    """The values of a layer's variables: gamma, beta and the statistics by role, further state by its own name."""
    return {role: checkpoint.read(name) for role, name in _names(layer).items()}


def stored(checkpoint: Checkpoint, layer: Layer) -> dict[str, str]:
    """The dtypes that the file has for the variables which `read_values` reads, by the same keys."""
    return {role: checkpoint.variables[name].dtype for role, name in _names(layer).items()}


def _names(layer):
    return {**layer.parts, **{name: name for name in layer.state}}


def _without_gamma(layer, checkpoint):
    return "mean" in layer.parts and "affine" not in layer.parts and layer.name not in checkpoint.declared


def _likeliest(variables):
    """A sentence on the variables that a batch norm could have in a checkpoint where none was found, or nothing."""
    vectors = [name for name, one in variables.items() if one.floating and one.shape and length(one.shape) is not None]
    likely = sorted(filter(_LIKELY.search, vectors)) or sorted(vectors)
    return f" The likeliest of them to be part of one are {quoted(likely, 5)}." if likely else ""


def _counted_batches(checkpoint, layer):
    """PyTorch's count of the training batches that a layer saw, or None."""
    mean = layer.parts.get("mean", "")
    return whole_number(checkpoint, mean.removesuffix("running_mean") + "num_batches_tracked") if mean else None


def whole_number(checkpoint, name):
    """The value of a scalar integer variable, or None if there is none of that name."""
    for full_name in (name, f"{name}:0"):
        variable = checkpoint.variables.get(full_name)
        if variable and variable.shape == () and variable.dtype in ("int32", "int64"):
            return int(checkpoint.read(full_name))
    return None
