"""The wire format of protocol buffers: the fields of a message, without its schema, read and written.

All functions that read raise ValueError for what is not a whole message; none reads past the end of its data.
"""

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10
LONGEST_TEXT = 4096


def varint(data, at):
    """The unsigned number of at most 64 bits at offset ``at`` of ``data``, and the offset behind it."""
    value = shift = 0
    for end in range(at, min(at + _LONGEST_VARINT, len(data))):
        byte = data[end]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >= 1 << 64:
                break
            return value, end + 1
        shift += 7
    raise ValueError("a number is cut off or too long")


def fields(data):
    """The fields of a message in their order, as (number, wire type, value).

    The value is an unsigned int for `VARINT`, `FIXED64` and `FIXED32`, and bytes for `BYTES`: text, a message, or
    packed numbers. Groups, which no message in use has, are refused.
    """
    at, end = 0, len(data)
    while at < end:
        # Nearly every key and size is a number of one byte.
        key, at = (data[at], at + 1) if data[at] < 128 else varint(data, at)
        number, kind = key >> 3, key & 7
        if not 0 < number < 1 << 29:
            raise ValueError(f"a field has the number {number}")
        if kind == VARINT:
            value, at = varint(data, at)
        elif kind == BYTES:
            size, at = (data[at], at + 1) if at < end and data[at] < 128 else varint(data, at)
            if size > end - at:
                raise ValueError("a field is cut off")
            value, at = data[at : at + size], at + size
        elif kind in (FIXED32, FIXED64):
            size = 4 if kind == FIXED32 else 8
            if size > end - at:
                raise ValueError("a field is cut off")
            value, at = int.from_bytes(data[at : at + size], "little"), at + size
        else:
            raise ValueError(f"a field is of the wire type {kind}")
        yield number, kind, value


def message(data, wanted):
    """The last value of each of the ``wanted`` fields, a dict from a field's number to its wire type.

    Fields that are not wanted are skipped, and a wanted field of another type is an error. Returns a dict by number,
    without the fields that the message does not have.
    """
    values = {}
    for number, kind, value in fields(data):
        if number in wanted:
            if kind != wanted[number]:
                raise ValueError(f"field {number} is of the wire type {kind}, not {wanted[number]}")
            values[number] = value
    return values


def repeated(data, wanted):
    """All values of one field of the type `BYTES`, in their order."""
    values = []
    for number, kind, value in fields(data):
        if number == wanted:
            if kind != BYTES:
                raise ValueError(f"field {number} is of the wire type {kind}, not {BYTES}")
            values.append(value)
    return values


def signed(value):
    """The int64 that an unsigned varint stands for."""
    return value - (1 << 64) if value >= 1 << 63 else value


def text(data):
    """A name, or another short text, from its bytes."""
    if len(data) > LONGEST_TEXT:
        raise ValueError(f"it has a name of {len(data)} bytes")
    return str(data, "utf-8", "backslashreplace")


def packed_varints(data):
    """The unsigned numbers of a packed field."""
    values, at = [], 0
    while at < len(data):
        value, at = varint(data, at)
        values.append(value)
    return values


def bytes_field(number, data):
    """The bytes of a field with bytes."""
    return key(number, BYTES) + _varint_bytes(len(data)) + data


def number_field(number, value):
    """The bytes of a field with an unsigned number."""
    return key(number, VARINT) + _varint_bytes(value)


def key(number, kind):
    """The bytes that a field of this number and wire type begins with."""
    return _varint_bytes(number << 3 | kind)


def _varint_bytes(value):
    value, data = int(value), bytearray()
    while True:
        low, value = value & 0x7F, value >> 7
        data.append(low | 0x80 if value else low)
        if not value:
            return bytes(data)
