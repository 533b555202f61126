"""Graphs in the JSON of protocol buffers, as TensorFlow.js has them, turned into the bytes of the same message.

Fields that say nothing about batch norms are left out. `to_bytes` raises ValueError, TypeError or AttributeError for
what is not of this format.
"""

import base64
import re

from ...binary.protobuf import bytes_field
from .text_format import SCHEMA, scalar

# The fields with bytes, which JSON has in base 64.
_BYTES = {"s", "tensor_content", "string_val"}
_UPPER = re.compile(r"([A-Z])")


def to_bytes(value, message):
    """The bytes of the ``message`` that ``value``, a dict, is; as `text_format.to_bytes`."""
    parts = []
    for word, item in value.items():
        name = _UPPER.sub(r"_\1", word).lower()
        number, of = SCHEMA[message].get(name, (None, None))
        if number is None or item is None:
            continue
        if of.endswith("Entry"):
            # A map.
            item = [{"key": key, "value": value} for key, value in item.items()]
        items = item if isinstance(item, list) else [item]
        parts += [_field(number, of, one, name in _BYTES) for one in items]
    return b"".join(parts)


def _field(number, of, value, is_bytes):
    if of in SCHEMA:
        return bytes_field(number, to_bytes(value, of))
    if of == "text":
        return bytes_field(number, base64.b64decode(value) if is_bytes else value.encode("utf-8", "surrogatepass"))
    return scalar(number, of, str(value))
