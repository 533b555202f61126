"""V1 checkpoints without TensorFlow: a table in which the values of tensors lie as messages.

Each file, one or several shards, is a `table.Table` of SavedTensorSlices; see saved_tensor_slice.proto of TensorFlow.
The empty key has the names, shapes and dtypes of all tensors and which slices of them the file holds. The checksums of
the table's blocks are the only ones.
"""

import contextlib
import math

import numpy as np

from ....binary.protobuf import BYTES, VARINT, message, repeated
from ....binary.tensor_protos import READ, dtype_name, parse_shape, typed_values
from ....errors import CheckpointError
from .. import base
from ..base import Checkpoint, Variable, damaged
from .slices import parse_slice, slice_key, slices_of
from .table import Table

_META = {1: BYTES, 2: BYTES, 3: VARINT}


class _Tensor:
    """What is known about a tensor: shape, dtype, and the table that has each of its slices."""

    def __init__(self, shape, dtype):
        self.shape, self.dtype, self.slices = shape, dtype, {}


def open_v1(prefix, paths, notes=()):
    """The `Checkpoint` of a V1 checkpoint in the files ``paths``."""
    with contextlib.ExitStack() as stack:
        try:
            tensors = {}
            for path in paths:
                _read_names(Table(stack.enter_context(open(path, "rb"))), tensors, prefix)
        except CheckpointError:
            raise
        except ValueError as error:
            raise damaged(prefix, str(error)) from error
        close = stack.pop_all().close
    names = {name.decode("utf-8", "backslashreplace"): name for name in tensors}
    variables = {name: Variable(tensors[key].shape, tensors[key].dtype) for name, key in names.items()}

    def read(name):
        tensor = tensors[names[name]]
        if tensor.dtype not in READ:
            raise CheckpointError(f"`{name}` in {prefix!r} is {tensor.dtype}, which is not read.")
        try:
            return _read(names[name], tensor)
        except ValueError as error:
            raise damaged(prefix, f"reading `{name}` failed: {error}") from error

    return Checkpoint(prefix, variables, read, notes, close)


def _read_names(table, tensors, prefix):
    """Add the tensors of one file to ``tensors``, by name."""
    saved = message(table.get(b"") or b"", {1: BYTES}).get(1)
    if saved is None:
        raise ValueError("it does not say what it holds")
    for meta in repeated(saved, 1):
        values = message(meta, _META)
        name, shape = values.get(1, b""), parse_shape(values.get(2, b""))
        dtype = dtype_name(values.get(3, 0))
        tensor = tensors.setdefault(name, _Tensor(shape, dtype))
        if (tensor.shape, tensor.dtype) != (shape, dtype):
            raise ValueError("its files do not agree about a tensor")
        for extents in map(parse_slice, repeated(meta, 4)):
            tensor.slices[extents] = table
        if len(tensors) > base.MOST_VARIABLES:
            raise CheckpointError(f"`path` is {prefix!r}, which has more than {base.MOST_VARIABLES} variables.")


def _read(name, tensor):
    """The values of a tensor, put together from its slices."""
    whole = filled = None
    for extents, table in tensor.slices.items():
        saved = table.get(slice_key(name, extents))
        data = message(saved or b"", {2: BYTES}).get(2)
        if data is None:
            raise ValueError("a slice of it is missing")
        place = slices_of(extents, tensor.shape)
        if filled is None:
            filled = np.zeros(tensor.shape, bool)
        shape = filled[place].shape
        values = typed_values(message(data, {3: BYTES}).get(3, b""), tensor.dtype, math.prod(shape))
        if whole is None:
            whole = np.empty(tensor.shape, values.dtype)
        whole[place], filled[place] = values.reshape(shape), True
    if whole is None or not filled.all():
        raise ValueError("its slices are not the whole of it")
    return whole
