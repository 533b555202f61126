"""Slices of tensors and the keys of slices, as both forms of TensorFlow's checkpoints have them."""

from ....binary.protobuf import VARINT, message, repeated, signed

_HEADER_BITS = (0, 0x80, 0xC000, 0xE00000, 0xF0000000, 0xF800000000, 0xFC0000000000, 0xFE000000000000)


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
