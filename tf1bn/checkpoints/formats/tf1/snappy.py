"""Decompression of Snappy, which a table may use for its blocks."""

from ....binary.protobuf import varint


def decompress(data, limit):
    """The bytes that ``data`` is the compressed form of.

    Raises:
      ValueError: it is damaged, or would be longer than ``limit`` bytes.
    """
    size, at = varint(data, 0)
    if size > limit:
        raise ValueError(f"a compressed block is {size} bytes long")
    result = bytearray()
    while at < len(data):
        tag, at = data[at], at + 1
        if tag & 3 == 0:
            length = tag >> 2
            if length >= 60:
                count = length - 59
                length, at = _number(data, at, count)
            length += 1
            if length > len(data) - at:
                raise ValueError("a compressed block is cut off")
            result += data[at : at + length]
            at += length
        else:
            if tag & 3 == 1:
                length, high = (tag >> 2 & 7) + 4, tag >> 5 << 8
                offset, at = _number(data, at, 1)
                offset += high
            else:
                length = (tag >> 2) + 1
                offset, at = _number(data, at, 2 if tag & 3 == 2 else 4)
            if not 0 < offset <= len(result):
                raise ValueError("a compressed block refers to what is before its start")
            pattern = result[len(result) - offset :][:length]
            result += (pattern * (length // len(pattern) + 1))[:length]
        if len(result) > size:
            break
    if len(result) != size:
        raise ValueError("a compressed block is of another length than it says")
    return bytes(result)


def _number(data, at, size):
    """A little-endian number of ``size`` bytes, and the offset behind it."""
    if size > len(data) - at:
        raise ValueError("a compressed block is cut off")
    return int.from_bytes(data[at : at + size], "little"), at + size
