"""Messages of protocol buffers, byte by byte."""


def number(value):
    """A varint."""
    data = b""
    while value > 127:
        data, value = data + bytes([value & 127 | 128]), value >> 7
    return data + bytes([value])


def field(key, value):
    """A field of a message: an int as a varint, text in UTF-8, bytes as they are."""
    if isinstance(value, int):
        return number(key << 3) + number(value & 2**64 - 1)
    value = value.encode() if isinstance(value, str) else value
    return number(key << 3 | 2) + number(len(value)) + value
