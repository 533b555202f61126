"""V1 checkpoints without TensorFlow: a table in which the values of tensors lie as messages.

Each file, one or several shards, is a `table.Table` of SavedTensorSlices; see saved_tensor_slice.proto of TensorFlow.
The empty key has the names, shapes and dtypes of all tensors and which slices of them the file holds. The checksums of
the table's blocks are the only ones.
"""

import contextlib
import math

import numpy as np

from ....errors import CheckpointError
from .. import base
from ..base import Checkpoint, Variable, damaged
from ..protobuf import BYTES, FIXED32, FIXED64, VARINT, fields, message, packed_varints, repeated, signed
from .table import Table
from .tensors import dtype_name, numpy_dtype, parse_shape, parse_slice, slice_key, slices_of, widened

_META = {1: BYTES, 2: BYTES, 3: VARINT}
# The field of a TensorProto that has the values of a dtype, and how each is written.
_FIXED = {"float32": (5, FIXED32, "<f4"), "float64": (6, FIXED64, "<f8")}
_LONGEST_VARINT = 10
_VARINTS = {"int64": 10, "bool": 11, "float16": 13, "bfloat16": 13, "uint32": 16, "uint64": 17}
_INT_FIELD = 7
_INTS = ("int32", "uint8", "int16", "int8", "uint16", "qint8", "quint8", "qint32")


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
        if numpy_dtype(tensor.dtype) is None or tensor.dtype not in (*_FIXED, *_VARINTS, *_INTS):
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
        values = _values(message(data, {3: BYTES}).get(3, b""), tensor.dtype, math.prod(shape))
        if whole is None:
            whole = np.empty(tensor.shape, values.dtype)
        whole[place], filled[place] = values.reshape(shape), True
    if whole is None or not filled.all():
        raise ValueError("its slices are not the whole of it")
    return whole


def _values(proto, dtype, count):
    """The ``count`` values in a TensorProto, flat; packed and single numbers may alternate."""
    if dtype in _FIXED:
        return _fixed_values(proto, dtype, count)
    number, numbers = _VARINTS.get(dtype, _INT_FIELD), []
    for field, kind, value in fields(proto):
        if field != number:
            continue
        if kind not in (VARINT, BYTES) or (kind == BYTES and len(value) > _LONGEST_VARINT * count):
            raise ValueError("it has another number of values than its shape")
        numbers += [value] if kind == VARINT else packed_varints(value)
        if len(numbers) > count:
            break
    if len(numbers) != count:
        raise ValueError("it has another number of values than its shape")
    if dtype in ("float16", "bfloat16"):
        if any(value >= 1 << 16 for value in numbers):
            raise ValueError("its values are not numbers of 16 bits")
        bits = np.array(numbers, np.uint16)
        return bits.view(np.float16) if dtype == "float16" else widened(bits, dtype)
    stored = numpy_dtype(dtype)
    try:
        return np.array([value if stored.kind in "ub" else signed(value) for value in numbers], stored)
    except OverflowError:
        raise ValueError(f"its values are not numbers of {dtype}") from None


def _fixed_values(proto, dtype, count):
    """The ``count`` values of a dtype whose numbers are all of one size in a TensorProto."""
    number, kind_of_one, stored = _FIXED[dtype]
    size = np.dtype(stored).itemsize
    parts = []
    for field, kind, value in fields(proto):
        if field == number and kind in (kind_of_one, BYTES):
            parts.append(value if kind == BYTES else value.to_bytes(size, "little"))
        elif field == number:
            raise ValueError("its values are cut off")
    data = b"".join(parts)
    if len(data) != count * size:
        raise ValueError("it has another number of values than its shape")
    return np.frombuffer(data, stored).astype(dtype)
