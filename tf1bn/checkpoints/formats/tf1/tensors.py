"""Dtypes, shapes and slices of tensors, and the keys of slices, as both forms of TensorFlow's checkpoints have them."""

import numpy as np

from ..protobuf import VARINT, message, repeated, signed

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
_HEADER_BITS = (0, 0x80, 0xC000, 0xE00000, 0xF0000000, 0xF800000000, 0xFC0000000000, 0xFE000000000000)


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


def from_bytes(data, dtype, shape, big_endian=False):
    """The array of raw bytes; bfloat16 as float32, which holds every such number."""
    stored = numpy_dtype(dtype).newbyteorder(">" if big_endian else "<")
    values = np.frombuffer(data, stored).astype(stored.newbyteorder("="))
    return widened(values, dtype).reshape(shape)


def widened(values, dtype):
    """``values``, where bfloat16 numbers are given by their bits as uint16, as numbers."""
    return (values.astype(np.uint32) << 16).view(np.float32) if dtype == "bfloat16" else values


def parse_shape(data):
    """The shape in a TensorShapeProto."""
    shape = tuple(signed(message(size, {1: VARINT}).get(1, 0)) for size in repeated(data, 2))
    if len(shape) > MOST_DIMENSIONS or any(size < 0 for size in shape) or message(data, {3: VARINT}).get(3):
        raise ValueError("a tensor has no certain shape")
    return shape


def parse_slice(data):
    """The (start, length) of each dimension in a TensorSliceProto; the length is -1 for all of it."""
    extents = [message(extent, {1: VARINT, 2: VARINT}) for extent in repeated(data, 1)]
    return tuple((signed(extent.get(1, 0)), signed(extent[2]) if 2 in extent else -1) for extent in extents)


def slices_of(extents, shape):
    """The index of a slice in an array of ``shape``, as a tuple of `slice`."""
    if len(extents) != len(shape):
        raise ValueError("a slice has another number of dimensions than its tensor")
    index = []
    for (start, size), whole in zip(extents, shape, strict=True):
        start, size = (0, whole) if size == -1 else (start, size)
        if start < 0 or size < 0 or start + size > whole:
            raise ValueError("a slice lies outside of its tensor")
        index.append(slice(start, start + size))
    return tuple(index)


def slice_key(name, extents):
    """The key of a slice of a tensor in a table: name and extents in a form whose bytes sort as the numbers do."""
    escaped = b"".join({0: b"\x00\xff", 255: b"\xff\x00"}.get(byte, bytes([byte])) for byte in name)
    numbers = b"".join(_signed_key(number) for extent in extents for number in extent)
    return _unsigned_key(0) + escaped + b"\x00\x01" + _unsigned_key(len(extents)) + numbers


def _unsigned_key(number):
    data = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return bytes([len(data)]) + data


def _signed_key(number):
    """A signed number of up to 48 bits, with as many leading ones as it has bytes; more bits are not in use."""
    magnitude = ~number if number < 0 else number
    size = magnitude.bit_length() // 7 + 1
    if size >= len(_HEADER_BITS):
        raise ValueError("a slice lies outside of its tensor")
    return ((number & ((1 << 8 * size) - 1)) ^ _HEADER_BITS[size]).to_bytes(size, "big")
