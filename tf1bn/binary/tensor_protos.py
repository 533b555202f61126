"""The dtypes, shapes and values of TensorFlow's tensors, as its checkpoints and graphs store them."""

import math

import numpy as np

from .numbers import numbers, widened
from .protobuf import BYTES, FIXED32, FIXED64, VARINT, fields, message, packed_varints, repeated, signed

# The numbers of DataType in types.proto, by TensorFlow's own names.
DTYPES = {
    1: "float32",
    2: "float64",
    3: "int32",
    4: "uint8",
    5: "int16",
    6: "int8",
    7: "string",
    8: "complex64",
    9: "int64",
    10: "bool",
    11: "qint8",
    12: "quint8",
    13: "qint32",
    14: "bfloat16",
    15: "qint16",
    16: "quint16",
    17: "uint16",
    18: "complex128",
    19: "float16",
    20: "resource",
    21: "variant",
    22: "uint32",
    23: "uint64",
}
REFERENCE = 100  # the number of the reference to a dtype is this much larger
MOST_DIMENSIONS = 254
# The field of a TensorProto that has the values of a dtype, and how each is written.
_FIXED = {"float32": (5, FIXED32, "<f4"), "float64": (6, FIXED64, "<f8")}
_LONGEST_VARINT = 10
_VARINTS = {"int64": 10, "bool": 11, "float16": 13, "bfloat16": 13, "uint32": 16, "uint64": 17}
_INT_FIELD = 7
_INTS = ("int32", "uint8", "int16", "int8", "uint16", "qint8", "quint8", "qint32")
# The dtypes whose values are read.
READ = (*_FIXED, *_VARINTS, *_INTS)
_WRONG_NUMBER = "it has another number of values than its shape"


def dtype_name(number):
    """TensorFlow's name of a dtype; "dtype 29" for one that is not known here."""
    number = number - REFERENCE if number > REFERENCE else number
    return DTYPES.get(number, f"dtype {number}")


def numpy_dtype(name):
    """The NumPy dtype whose bytes hold values of a dtype, or None where the values are not of a fixed size."""
    if name == "bfloat16":
        return np.dtype(np.uint16)
    if name in ("string", "resource", "variant") or name not in DTYPES.values():
        return None
    return np.dtype(name.removeprefix("q"))


def parse_shape(data):
    """The shape in a TensorShapeProto."""
    shape = tuple(signed(message(size, {1: VARINT}).get(1, 0)) for size in repeated(data, 2))
    if len(shape) > MOST_DIMENSIONS or any(size < 0 for size in shape) or message(data, {3: VARINT}).get(3):
        raise ValueError("a tensor has no certain shape")
    return shape


def tensor_values(shape, dtype, proto):
    """The array in a TensorProto with this shape and dtype."""
    count = math.prod(shape)
    if dtype not in READ:
        raise ValueError(f"it has {count} values of {dtype}")
    content = message(proto, {4: BYTES}).get(4)
    if not content:
        return typed_values(proto, dtype, count, fill=True).reshape(shape)
    if len(content) != count * numpy_dtype(dtype).itemsize:
        raise ValueError("it has another number of values than its shape")
    return numbers(content, dtype.removeprefix("q")).reshape(shape)


def typed_values(proto, dtype, count, *, fill=False):
    """The ``count`` values in a TensorProto, flat; packed and single numbers may alternate.

    With ``fill`` there may be fewer, and the last one stands for the rest, as in the constants of a graph.
    """
    if dtype in _FIXED:
        return _fixed_values(proto, dtype, count, fill)
    number, integers = _VARINTS.get(dtype, _INT_FIELD), []
    for field, kind, value in fields(proto):
        if field != number:
            continue
        if kind not in (VARINT, BYTES) or (kind == BYTES and len(value) > _LONGEST_VARINT * count):
            raise ValueError(_WRONG_NUMBER)
        integers += [value] if kind == VARINT else packed_varints(value)
        if len(integers) > count:
            break
    if fill and 0 < len(integers) < count:
        integers += integers[-1:] * (count - len(integers))
    if len(integers) != count:
        raise ValueError(_WRONG_NUMBER)
    return values_of(integers, dtype)


def values_of(integers, dtype):
    """The values of a dtype that a message of TensorFlow or ONNX has as varints, its own bits for a 16-bit float."""
    if dtype in ("float16", "bfloat16"):
        if any(value >= 1 << 16 for value in integers):
            raise ValueError("its values are not numbers of 16 bits")
        bits = np.array(integers, np.uint16)
        return bits.view(np.float16) if dtype == "float16" else widened(bits)
    stored = numpy_dtype(dtype)
    try:
        return np.array([value if stored.kind in "ub" else signed(value) for value in integers], stored)
    except OverflowError:
        raise ValueError(f"its values are not numbers of {dtype}") from None


def _fixed_values(proto, dtype, count, fill):
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
    if fill and size <= len(data) < count * size and len(data) % size == 0:
        data += data[-size:] * (count - len(data) // size)
    if len(data) != count * size:
        raise ValueError(_WRONG_NUMBER)
    return np.frombuffer(data, stored).astype(dtype)
