"""The values in a TensorProto, one by one or packed in the field of their dtype."""

import numpy as np

from ..protobuf import BYTES, FIXED32, FIXED64, VARINT, fields, packed_varints, signed
from .tensors import numpy_dtype, widened

# The field of a TensorProto that has the values of a dtype, and how each is written.
_FIXED = {"float32": (5, FIXED32, "<f4"), "float64": (6, FIXED64, "<f8")}
_LONGEST_VARINT = 10
_VARINTS = {"int64": 10, "bool": 11, "float16": 13, "bfloat16": 13, "uint32": 16, "uint64": 17}
_INT_FIELD = 7
_INTS = ("int32", "uint8", "int16", "int8", "uint16", "qint8", "quint8", "qint32")
# The dtypes whose values are read.
READ = (*_FIXED, *_VARINTS, *_INTS)
_WRONG_NUMBER = "it has another number of values than its shape"


def typed_values(proto, dtype, count, *, fill=False):
    """The ``count`` values in a TensorProto, flat; packed and single numbers may alternate.

    With ``fill`` there may be fewer, and the last one stands for the rest, as in the constants of a graph.
    """
    if dtype in _FIXED:
        return _fixed_values(proto, dtype, count, fill)
    number, numbers = _VARINTS.get(dtype, _INT_FIELD), []
    for field, kind, value in fields(proto):
        if field != number:
            continue
        if kind not in (VARINT, BYTES) or (kind == BYTES and len(value) > _LONGEST_VARINT * count):
            raise ValueError(_WRONG_NUMBER)
        numbers += [value] if kind == VARINT else packed_varints(value)
        if len(numbers) > count:
            break
    if fill and 0 < len(numbers) < count:
        numbers += numbers[-1:] * (count - len(numbers))
    if len(numbers) != count:
        raise ValueError(_WRONG_NUMBER)
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
