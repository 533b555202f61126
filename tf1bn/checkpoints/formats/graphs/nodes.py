"""Graphs as nodes by name, whatever file they come from: GraphDef as bytes, or as JSON in a web model.

A graph is as its producer wrote it and may be damaged: functions raise ValueError for what makes no sense.
"""

import collections
import math
import mmap
import os

import numpy as np

from ..base import LONGEST_VECTOR
from ..binary import numbers
from ..protobuf import BYTES, FIXED32, VARINT, fields, message
from ..tf1.tensors import dtype_name, numpy_dtype, parse_shape
from ..tf1.values import READ, typed_values

MOST_NODES = 2**18
LONGEST_TEXT = 4096
# What gives its first input on, as far as the values of parameters go.
_PASSES_ON = {
    *("Identity", "Switch", "RefSwitch", "Enter", "RefEnter", "StopGradient", "CheckNumerics", "PreventGradient"),
    *("Snapshot", "ReadVariableOp", "Cast", "Reshape", "Squeeze", "ExpandDims", "PlaceholderWithDefault"),
}
VARIABLES = {"Variable", "VariableV2", "VarHandleOp", "AutoReloadVariable"}
_FURTHEST = 64


def mapped(path):
    """The bytes of a file as a memoryview, which the system reads as they are needed."""
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            raise ValueError("it is empty")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


class Node:
    """An operation of a graph: its name, kind and inputs.

    Its attributes are in ``raw``, by name, as the bytes of an AttrValue; the methods read them.
    """

    __slots__ = ("inputs", "name", "op", "raw")

    def __init__(self, name, op, inputs, raw):
        self.name, self.op, self.inputs, self.raw = name, op, inputs, raw

    def number(self, name, default):
        """A float attribute, as the shortest decimal number that is this float32."""
        value = message(self.raw.get(name, b""), {4: FIXED32}).get(4)
        return default if value is None else decimal(value.to_bytes(4, "little"))

    def flag(self, name, default):
        """A boolean attribute."""
        value = message(self.raw.get(name, b""), {5: VARINT}).get(5)
        return default if value is None else bool(value)

    def text(self, name, default):
        """A text attribute."""
        value = message(self.raw.get(name, b""), {2: BYTES}).get(2)
        return default if value is None else _text(value)

    def tensor(self):
        """The (shape, dtype, TensorProto) of a constant; raises ValueError if it has none."""
        proto = message(self.raw.get("value", b""), {8: BYTES}).get(8)
        if proto is None:
            raise ValueError(f"the constant {self.name!r} has no value")
        values = message(proto, {1: VARINT, 2: BYTES})
        return parse_shape(values.get(2, b"")), dtype_name(values.get(1, 0)), proto

    def values(self):
        """The array of a constant; bfloat16 numbers as float32."""
        shape, dtype, proto = self.tensor()
        return tensor_values(shape, dtype, proto)


def decimal(data):
    """The float with the shortest decimal form that is the float32 of these four bytes."""
    return float(str(np.frombuffer(data, "<f4")[0]))


def tensor_values(shape, dtype, proto):
    """The array in a TensorProto with this shape and dtype."""
    count = math.prod(shape)
    if dtype not in READ or count > LONGEST_VECTOR:
        raise ValueError(f"it has {count} values of {dtype}")
    content = message(proto, {4: BYTES}).get(4)
    if not content:
        return typed_values(proto, dtype, count, fill=True).reshape(shape)
    if len(content) != count * numpy_dtype(dtype).itemsize:
        raise ValueError("it has another number of values than its shape")
    return numbers(content, dtype.removeprefix("q")).reshape(shape)


class Graph:
    """The nodes of a graph by name, and what consumes each."""

    def __init__(self, nodes):
        self.nodes = {}
        for node in nodes:
            if node.name in self.nodes:
                raise ValueError(f"two of its nodes have the name {node.name!r}")
            self.nodes[node.name] = node
            if len(self.nodes) > MOST_NODES:
                raise ValueError(f"it has more than {MOST_NODES} nodes")
        self._consumers = None

    def source(self, text):
        """The node that an input like "name:1" names, or None; for "^name", which orders and brings no value, too."""
        return None if text.startswith("^") else self.nodes.get(text.partition(":")[0])

    def consumers(self, node):
        """The nodes that take a value of a node."""
        if self._consumers is None:
            self._consumers = collections.defaultdict(list)
            for consumer in self.nodes.values():
                for text in dict.fromkeys(one.partition(":")[0] for one in consumer.inputs):
                    self._consumers[text].append(consumer)
        return self._consumers.get(node.name, [])

    def leaf(self, text):
        """The constant or variable that an input is, unchanged but for dtype and shape; None if it is computed.

        Where a switch chooses between a computed value and one that is stored, it is the stored one.
        """
        waiting, found = [(text, 0)], {}
        while waiting:
            text, depth = waiting.pop()
            node = self.source(text)
            if node is None or depth > _FURTHEST:
                continue
            if node.op == "Const" or node.op in VARIABLES:
                found[node.name] = node
            elif node.op == "Merge" and len(node.inputs) <= 8 and depth < 16:
                waiting += [(one, depth + 16) for one in node.inputs]
            elif node.op in _PASSES_ON and node.inputs:
                waiting.append((node.inputs[0], depth + 1))
        return next(iter(found.values())) if len(found) == 1 else None


def graph_from_bytes(data):
    """The `Graph` of a GraphDef."""
    return Graph(_node(value) for number, kind, value in fields(data) if number == 1 and kind == BYTES)


def _node(data):
    name = op = ""
    inputs, raw = [], {}
    for number, kind, value in fields(data):
        if kind != BYTES:
            continue
        if number == 1:
            name = _text(value)
        elif number == 2:
            op = _text(value)
        elif number == 3:
            inputs.append(_text(value))
        elif number == 5:
            entry = message(value, {1: BYTES, 2: BYTES})
            raw[_text(entry.get(1, b""))] = entry.get(2, b"")
    return Node(name, op, inputs, raw)


def _text(data):
    if len(data) > LONGEST_TEXT:
        raise ValueError(f"it has a name of {len(data)} bytes")
    return bytes(data).decode("utf-8", "backslashreplace")
