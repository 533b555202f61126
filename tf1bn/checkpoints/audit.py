"""Checkpoints judged before anybody trains: `audit_checkpoint` reads one and says what is wrong with its layers.

Reads, with the packages in brackets, prefixes and folders of TF1 checkpoints of both formats (TensorFlow), ``.npz``,
``.keras``, ``.weights.h5`` and ``.h5`` (h5py), ``.safetensors`` (safetensors), and ``.pt`` and ``.pth`` (PyTorch).
Nothing is unpickled that could run code, and only vectors whose names may belong to a batch norm are read.

Limits: 2**20 values in a vector, 2**25 in all, 2**18 variables, and 2**28 bytes of an index or a state file; those of
each format are in the module that reads it.
"""

import glob
import os
import re

import numpy as np

from .. import __version__
from .._util import files
from ..errors import CheckpointError
from .formats import sandbox
from .formats.base import (
    LARGEST_INDEX,
    Checkpoint,
    Variable,
    damaged,
    holds,
    holds_pickle,
    latest,
    open_npz,
    reason,
    shards,
)
from .formats.keras import is_keras, open_hdf5, open_keras
from .formats.torch import open_safetensors, open_torch
from .grouping import group
from .rules import at_start, judge

__all__ = ["CheckpointError", "audit_checkpoint", "looks_like_one", "open_checkpoint"]
ENDINGS = (".npz", ".keras", ".h5", ".hdf5", ".safetensors", ".pt", ".pth")
_HDF5 = bytes.fromhex("894844460d0a1a0a")
# The last bytes of a table, which a V1 checkpoint and the index of a V2 checkpoint both are.
_TABLE = bytes.fromhex("57fb808b247547db")
_ENDINGS = re.compile(r"\.(index|meta|data-\d{5}-of-\d{5})$")


def audit_checkpoint(path):
    """Judge every batch-norm layer of a checkpoint by its values alone.

    Args:
      path: a TF1 prefix (or one of its files), a folder with a ``checkpoint`` state file, an ``.npz`` file whose keys
        are names of variables, or a file of Keras or PyTorch (see above).

    Returns:
      The dict of an audit's JSON: "format", "tf1bn", "ok", "layers", and beside them "problems" (sentences; with any
      of them "ok" is false) and "notes" (sentences on what was read and left out). Errors and bounds are None and
      steps are 0, since nothing was replayed.

    Raises:
      CheckpointError: there is no such checkpoint, it is damaged or too large, or a package that reads it is missing.
    """
    with open_checkpoint(path) as checkpoint:
        layers, notes = group(checkpoint.variables)
        step = _global_step(checkpoint)
        values = [read_values(checkpoint, layer) for layer in layers]
        averages = [{role: checkpoint.read(name) for role, name in layer.shadows.items()} for layer in layers]
    moved = [at_start(own) is False for own in values]
    usual = {role for layer in layers for role in ("gamma", "beta") if role in layer.parts}
    results = [
        judge(
            layer,
            own,
            stored=stored(checkpoint, layer),
            averages=averages[i],
            others_moved=any(moved[:i] + moved[i + 1 :]),
            step=step,
            usual=() if layer.name in checkpoint.declared else {"beta"} | usual,
        )
        for i, (layer, own) in enumerate(zip(layers, values, strict=True))
    ]
    if not usual & {"gamma"} and any(_without_gamma(layer, checkpoint) for layer in layers):
        notes.append("No layer has a gamma, which is right for scale=False (the default of contrib's batch_norm).")
    problems = list(checkpoint.problems)
    if not layers and not problems:
        problems.append(
            f"None of the {len(checkpoint.variables)} variables of {checkpoint.path!r} belongs to a batch-norm layer, "
            "so nothing was judged."
        )
    return {
        "format": "tf1bn-audit",
        "tf1bn": __version__,
        "ok": not problems and all(result["verdict"] == "ok" for result in results),
        "layers": results,
        "problems": problems,
        "notes": [*checkpoint.notes, *notes],
    }


def open_checkpoint(path):
    """The `Checkpoint` at ``path``; see `audit_checkpoint` for what that may be."""
    path = os.fspath(path)
    if not isinstance(path, str) or not path or "\0" in path:
        raise CheckpointError(f"`path` is {path!r}; give the path of a checkpoint as text.")
    try:
        if os.path.isdir(path):
            prefix, notes = latest(path)
            return _open_tf1(prefix, notes)
        if os.path.isfile(path) and (reader := _reader(path)):
            if reader in (open_keras, open_hdf5):
                sandbox.attempt(reader.__name__, path)
            return reader(path)
        if path.endswith(ENDINGS) and not os.path.isfile(path):
            raise CheckpointError(f"`path` is {path!r}, and there is no such file.")
        return _open_tf1(path, [])
    except OSError as error:
        raise CheckpointError(f"`path` is {path!r}, which cannot be read: {error.strerror or error}.") from error


def looks_like_one(path):
    """Whether a path is none of a trace but looks like a checkpoint's."""
    if os.path.isdir(path):
        return not os.path.lexists(os.path.join(path, "trace.json")) and os.path.exists(
            os.path.join(path, "checkpoint")
        )
    found = any(os.path.isfile(path + ending) for ending in files.CHECKPOINT)
    return found or path.endswith((*ENDINGS, ".ckpt", ".index"))


def _reader(path):
    """What reads a file, by its first bytes and else by its name; None for TF1's own."""
    if holds(path, b"PK", at=0):
        if is_keras(path):
            return open_keras
        return open_torch if holds_pickle(path) else open_npz
    if holds(path, _HDF5, at=0) or path.endswith((".h5", ".hdf5")):
        return open_hdf5
    readers = {".npz": open_npz, ".keras": open_keras, ".safetensors": open_safetensors}
    readers |= dict.fromkeys((".pt", ".pth"), open_torch)
    return readers.get(os.path.splitext(path)[1])


def read_values(checkpoint, layer):
    """The layer's values by the names of its variables' roles, the further state by its own names."""
    return {role: checkpoint.read(name) for role, name in _names(layer).items()}


def stored(checkpoint, layer):
    """The dtypes of the same as the file has them."""
    return {role: checkpoint.variables[name].dtype for role, name in _names(layer).items()}


def _names(layer):
    return {**layer.parts, **{name: name for name in layer.state}}


def _without_gamma(layer, checkpoint):
    return "mean" in layer.parts and "affine" not in layer.parts and layer.name not in checkpoint.declared


def _global_step(checkpoint):
    for name in ("global_step", "global_step:0"):
        variable = checkpoint.variables.get(name)
        if variable and variable.shape == () and variable.dtype in ("int32", "int64"):
            return int(checkpoint.read(name))
    return None


def _check_tf1(prefix):
    """Find what is missing or no table before anything slow is done. Returns the data files of V2."""
    index = prefix + ".index"
    if not os.path.isfile(index):
        tables = shards(prefix) or [prefix]
        if not os.path.isfile(tables[0]):
            if data := glob.glob(glob.escape(prefix) + ".data-*"):
                raise damaged(prefix, f"{os.path.basename(data[0])!r} is there, and {os.path.basename(index)!r} not")
            raise CheckpointError(f"`path` is {prefix!r}, and there is no checkpoint with that name or prefix.")
        if bad := [table for table in tables if not holds(table, _TABLE)]:
            raise CheckpointError(
                f"`path` is {bad[0]!r}, which is neither a whole TF1 checkpoint nor a file of another known format; "
                f"it is damaged or of another one ({', '.join(ENDINGS)} are read)."
            )
        return []
    if os.path.getsize(index) > LARGEST_INDEX:
        raise CheckpointError(f"The index {index!r} has more than {LARGEST_INDEX} bytes; it is not read.")
    if not holds(index, _TABLE):
        raise damaged(prefix, "its index is cut off or of another format")
    data = sorted(glob.glob(glob.escape(prefix) + ".data-?????-of-?????"))
    # Files of an earlier saving in other shards may lie beside those of this one.
    totals = sorted({int(file[-5:]) for file in data if file[-5:].isdigit()}) or [1]
    sets = [[f"{prefix}.data-{i:05d}-of-{total:05d}" for i in range(total)] for total in totals]
    whole = [files for files in sets if all(map(os.path.isfile, files))]
    if not whole:
        missing = next(os.path.basename(file) for file in sets[0] if not os.path.isfile(file))
        raise damaged(prefix, f"the file {missing!r} is missing")
    return max(whole, key=lambda files: sum(map(os.path.getsize, files)))


def _open_tf1(path, notes):
    path = _ENDINGS.sub("", path)
    data = _check_tf1(path)
    if special := re.search(r"[*?\[\]\\]", re.sub(r"-\?{5}-of-\d{5}$", "", path)):
        raise CheckpointError(
            f"`path` is {path!r}, and TensorFlow takes {special[0]!r} in it for a pattern; move the checkpoint."
        )
    try:
        import tensorflow as tf
    except ImportError as error:
        raise CheckpointError(
            f"`path` is {path!r}, a TensorFlow checkpoint, and TensorFlow is not installed; run "
            "`pip install tensorflow` (an `.npz` file needs NumPy alone)."
        ) from error
    try:
        reader = tf.train.load_checkpoint(path)
        dtypes = reader.get_variable_to_dtype_map()
        shapes = reader.get_variable_to_shape_map()
    except Exception as error:
        raise damaged(path, f"TensorFlow says: {reason(error)}") from error
    variables = {name: Variable(tuple(shapes[name]), dtypes[name].name) for name in shapes}
    sized = [name for name in shapes if variables[name].floating or dtypes[name].is_integer]
    least = sum(int(np.prod(shapes[name], dtype=np.float64)) * dtypes[name].size for name in sized)
    if data and sum(map(os.path.getsize, data)) < least:
        raise damaged(path, f"its data files are shorter than the {least} bytes that the index asks for")

    def read(name):
        try:
            return reader.get_tensor(name)
        except (NotImplementedError, tf.errors.UnimplementedError) as error:
            raise CheckpointError(
                f"`{name}` in {path!r} is {variables[name].dtype}, which TensorFlow cannot read there."
            ) from error
        except Exception as error:
            raise damaged(path, f"reading `{name}` failed, and TensorFlow says: {reason(error)}") from error

    return Checkpoint(path, variables, read, notes)
