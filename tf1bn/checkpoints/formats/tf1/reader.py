"""Checkpoints of TensorFlow, read by TensorFlow."""

import os
import re

import numpy as np

from ....errors import CheckpointError
from ..base import Checkpoint, Variable, damaged, reason
from .files import check, prefix_of


def open_prefix(path, notes=()):
    """The `Checkpoint` of a prefix, or of one of its files; ``notes`` are sentences on how it was found."""
    path = prefix_of(path)
    data = check(path)
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
