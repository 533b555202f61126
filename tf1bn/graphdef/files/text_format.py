"""Graphs in the text format of protocol buffers (``.pbtxt``), turned into the bytes of the same message.

Fields that say nothing about batch norms are left out. Functions raise ValueError for what is not of this format.
"""

import re
import struct

from ...binary.protobuf import FIXED32, FIXED64, bytes_field, key, number_field
from ...binary.tensor_protos import DTYPES, REFERENCE

LARGEST_TEXT = 2**28
_DEEPEST = 64
# Messages, and of each the fields that are read: their numbers, and their types or the messages that they are.
SCHEMA = {
    "GraphDef": {"node": (1, "NodeDef"), "library": (2, "FunctionDefLibrary")},
    "NodeDef": {"name": (1, "text"), "op": (2, "text"), "input": (3, "text"), "attr": (5, "AttrEntry")},
    "AttrEntry": {"key": (1, "text"), "value": (2, "AttrValue")},
    "AttrValue": {
        "list": (1, "AttrList"),
        "s": (2, "text"),
        "i": (3, "int"),
        "f": (4, "float"),
        "b": (5, "bool"),
        "type": (6, "dtype"),
        "shape": (7, "TensorShapeProto"),
        "tensor": (8, "TensorProto"),
        "func": (10, "NameAttrList"),
    },
    "AttrList": {"s": (2, "text"), "shape": (7, "TensorShapeProto")},
    "NameAttrList": {"name": (1, "text")},
    "TensorShapeProto": {"dim": (2, "Dim"), "unknown_rank": (3, "bool")},
    "Dim": {"size": (1, "int")},
    "TensorProto": {
        "dtype": (1, "dtype"),
        "tensor_shape": (2, "TensorShapeProto"),
        "tensor_content": (4, "text"),
        "float_val": (5, "float"),
        "double_val": (6, "double"),
        "int_val": (7, "int"),
        "string_val": (8, "text"),
        "int64_val": (10, "int"),
        "bool_val": (11, "bool"),
        "half_val": (13, "int"),
    },
    "FunctionDefLibrary": {"function": (1, "FunctionDef")},
    "FunctionDef": {
        "signature": (1, "OpDef"),
        "node_def": (3, "NodeDef"),
        "ret": (4, "TextEntry"),
        "control_ret": (6, "TextEntry"),
    },
    "TextEntry": {"key": (1, "text"), "value": (2, "text")},
    "OpDef": {"name": (1, "text"), "input_arg": (2, "ArgDef"), "output_arg": (3, "ArgDef")},
    "ArgDef": {"name": (1, "text")},
    "MetaGraphDef": {
        "meta_info_def": (1, "MetaInfoDef"),
        "graph_def": (2, "GraphDef"),
        "saver_def": (3, "SaverDef"),
        "collection_def": (4, "CollectionEntry"),
        "signature_def": (5, "SignatureEntry"),
    },
    "MetaInfoDef": {"tensorflow_version": (5, "text"), "tags": (4, "text")},
    "SaverDef": {"save_tensor_name": (2, "text")},
    "CollectionEntry": {"key": (1, "text"), "value": (2, "CollectionDef")},
    "CollectionDef": {"node_list": (1, "TextList"), "bytes_list": (2, "TextList")},
    "TextList": {"value": (1, "text")},
    "SignatureEntry": {"key": (1, "text"), "value": (2, "SignatureDef")},
    "SignatureDef": {"inputs": (1, "InfoEntry"), "outputs": (2, "InfoEntry"), "method_name": (3, "text")},
    "InfoEntry": {"key": (1, "text"), "value": (2, "TensorInfo")},
    "TensorInfo": {"name": (1, "text")},
    "SavedModel": {"saved_model_schema_version": (1, "int"), "meta_graphs": (2, "MetaGraphDef")},
}
_TOKEN = re.compile(
    r"(?:\s|\#[^\n]*)+|(?P<string>\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*')|(?P<word>[-+]?[\w.][\w.+-]*)"
    r"|(?P<mark>[{}<>\[\]:;,/])"
)
_ESCAPE = re.compile(r"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
_SIMPLE = {"n": b"\n", "r": b"\r", "t": b"\t", "a": b"\a", "b": b"\b", "f": b"\f", "v": b"\v"}
_DTYPE_NAMES = {"FLOAT": 1, "DOUBLE": 2, "HALF": 19, **{name.upper(): number for number, name in DTYPES.items()}}
_FIRST = re.compile(rb"\s*(?:#[^\n]*\n\s*)*(node|meta_info_def|versions|library|saved_model_schema_version)\s*[:{]")
_MESSAGES = {b"meta_info_def": "MetaGraphDef", b"saved_model_schema_version": "SavedModel"}


def message_in(head):
    """The message that a text holds by its first bytes: "GraphDef", "MetaGraphDef", "SavedModel"; None if none."""
    match = _FIRST.match(head)
    return match and _MESSAGES.get(match[1], "GraphDef")


def to_bytes(data, message):
    """The bytes of the ``message`` that is written as text in ``data``, bytes."""
    if len(data) > LARGEST_TEXT:
        raise ValueError(f"it is a text of {len(data)} bytes, and at most {LARGEST_TEXT} are read")
    return _Reader(data.decode("utf-8", "surrogateescape")).message(message, None, 0)


class _Reader:
    def __init__(self, text):
        self._tokens = self._split(text)
        self._next = next(self._tokens)

    def _split(self, text):
        at, end = 0, len(text)
        while at < end:
            match = _TOKEN.match(text, at)
            if match is None:
                raise ValueError(f"there is {text[at : at + 20]!r} at character {at}")
            at = match.end()
            if match.lastgroup:
                yield match.lastgroup, match[0]
        while True:
            yield None, ""

    def _take(self):
        taken, self._next = self._next, next(self._tokens)
        return taken

    def message(self, name, closing, depth):
        """The bytes of a message up to its ``closing`` brace, or the end of the text; ``name`` is None to skip it."""
        if depth > _DEEPEST:
            raise ValueError("its messages are nested too deeply")
        fields, parts = SCHEMA.get(name, {}), []
        while True:
            kind, word = self._take()
            if word == closing or (kind is None and closing is None):
                return b"".join(parts)
            if kind is None:
                raise ValueError("a message is cut off")
            if word in (";", ","):
                continue
            if word == "[":
                while self._next[1] != "]":
                    if self._take()[0] is None:
                        raise ValueError("a message is cut off")
                self._take()
            elif kind != "word":
                raise ValueError(f"there is {word[:20]!r} where the name of a field should be")
            number, of = fields.get(word, (None, None))
            parts += self._values(number, of, depth)

    def _values(self, number, of, depth):
        """The encoded values of one field; ``number`` is None for one that is left out."""
        if self._next[1] == ":":
            self._take()
        several = self._next[1] == "["
        if several:
            self._take()
        parts = []
        while not (several and self._next[1] == "]"):
            parts.append(self._value(number, of, depth))
            if not several:
                return parts
            if self._next[1] == ",":
                self._take()
        self._take()
        return parts

    def _value(self, number, of, depth):
        kind, word = self._take()
        if word in ("{", "<"):
            body = self.message(of, "}" if word == "{" else ">", depth + 1)
            return b"" if number is None else bytes_field(number, body)
        if kind == "string":
            data = _unescaped(word)
            while self._next[0] == "string":
                data += _unescaped(self._take()[1])
            return bytes_field(number, data) if number is not None and of == "text" else b""
        if kind != "word":
            raise ValueError(f"there is {word[:20]!r} where a value should be")
        return b"" if number is None else scalar(number, of, word)


def scalar(number, of, word):
    """The bytes of a field with one value that is no text and no message; ``of`` is its type in the schema."""
    if of == "float":
        return key(number, FIXED32) + struct.pack("<f", _float32(word))
    if of == "double":
        return key(number, FIXED64) + struct.pack("<d", _real(word))
    if of == "bool":
        return number_field(number, word in ("true", "True", "t", "1"))
    if of == "dtype":
        return number_field(number, _dtype(word))
    if of == "int":
        return number_field(number, int(word, 0) & (2**64 - 1))
    raise ValueError(f"there is {word[:20]!r} where a text or a message should be")


def _real(word):
    return float(word.removesuffix("f") if word not in ("inf", "-inf") else word)


def _float32(word):
    try:
        return struct.unpack("<f", struct.pack("<f", _real(word)))[0]
    except OverflowError:
        raise ValueError(f"{word[:20]!r} is no float") from None


def _dtype(word):
    if word.isdecimal():
        return int(word) % 2**32
    name = word.removeprefix("DT_")
    reference = name.endswith("_REF")
    return _DTYPE_NAMES.get(name.removesuffix("_REF"), 0) + REFERENCE * reference


def _unescaped(word):
    data, at = b"", 1
    body = word[:-1]
    for match in _ESCAPE.finditer(body):
        data += body[at : match.start()].encode("utf-8", "surrogateescape")
        octal, hexadecimal, short, long, simple = match.groups()
        if octal or hexadecimal:
            data += bytes([(int(octal, 8) if octal else int(hexadecimal, 16)) & 0xFF])
        elif short or long:
            data += chr(min(int(short or long, 16), 0x10FFFF)).encode("utf-8", "surrogatepass")
        else:
            data += _SIMPLE.get(simple, simple.encode("utf-8", "surrogateescape"))
        at = match.end()
    return data + body[at:].encode("utf-8", "surrogateescape")
