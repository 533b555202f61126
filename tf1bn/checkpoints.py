"""Checkpoints judged before anybody trains: `audit_checkpoint` reads one and says what is wrong with its layers.

Reads prefixes and folders of TF1 checkpoints (V1 and V2), which needs TensorFlow, and ``.npz``, which needs NumPy
alone. Nothing is unpickled, and only vectors whose names may belong to a batch norm are read.

Limits: 2**20 values in a vector, 2**25 in all, 2**18 variables, and 2**28 bytes of an index or a state file.
"""

import glob
import os
import re

import numpy as np

from . import __version__
from .checkpointcauses import at_start, judge
from .checkpointfiles import (
    LARGEST_INDEX,
    Checkpoint,
    CheckpointError,
    Variable,
    damaged,
    holds,
    latest,
    open_npz,
    reason,
    shards,
)
from .checkpointlayers import group

__all__ = ["CheckpointError", "audit_checkpoint", "open_checkpoint"]
# The last bytes of a table, which a V1 checkpoint and the index of a V2 checkpoint both are.
_TABLE = bytes.fromhex("57fb808b247547db")
_ENDINGS = re.compile(r"\.(index|meta|data-\d{5}-of-\d{5})$")


def audit_checkpoint(path):
    """Judge every batch-norm layer of a checkpoint by its values alone.

    Args:
      path: a TF1 prefix (or one of its files), a folder with a ``checkpoint`` state file, or an ``.npz`` file whose
        keys are names of variables.

    Returns:
      The dict of an audit's JSON: "format", "tf1bn", "ok", "layers", and beside them "problems" (sentences; with any
      of them "ok" is false) and "notes" (sentences on what was read and left out). Errors and bounds are None and
      steps are 0, since nothing was replayed.

    Raises:
      CheckpointError: there is no such checkpoint, it is damaged or too large, or TensorFlow is missing.
    """
    with open_checkpoint(path) as checkpoint:
        layers, notes = group(checkpoint.variables)
        step = _global_step(checkpoint)
        values = [_values(checkpoint, layer) for layer in layers]
    moved = [at_start(own) is False for own in values]
    results = [
        judge(layer, own, any(moved[:i] + moved[i + 1 :]), step)
        for i, (layer, own) in enumerate(zip(layers, values, strict=True))
    ]
    problems = []
    if not layers:
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
        if os.path.isfile(path) and (path.endswith(".npz") or holds(path, b"PK", at=0)):
            return open_npz(path)
        if path.endswith(".npz"):
            raise CheckpointError(f"`path` is {path!r}, and there is no such file.")
        return _open_tf1(path, [])
    except OSError as error:
        raise CheckpointError(f"`path` is {path!r}, which cannot be read: {error.strerror or error}.") from error


def _values(checkpoint, layer):
    """The layer's values by the names of its variables' roles, the further state by its own names."""
    names = {**layer.parts, **{name: name for name in layer.state}}
    return {role: checkpoint.read(name) for role, name in names.items()}


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
                f"`path` is {bad[0]!r}, which is neither a whole TF1 checkpoint nor an `.npz` file; it is damaged or "
                "of another format."
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
