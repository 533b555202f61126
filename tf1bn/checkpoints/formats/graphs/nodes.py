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
from ..protobuf import BYTES, FIXED32, LONGEST_TEXT, VARINT, fields, message, repeated, text, varint
from ..tf1.tensors import dtype_name, numpy_dtype, parse_shape
from ..tf1.values import READ, typed_values

MOST_NODES = 2**18
# The first bytes of fields 1, 2 and 3 with bytes, the name, operation and inputs of a node, and of a control.
_NAME, _OP, _INPUT, _CONTROL = 0x0A, 0x12, 0x1A, 0x5E
# What gives its first input on, as far as the values of parameters go.
_PASSES_ON = {
    *("Identity", "Switch", "RefSwitch", "Enter", "RefEnter", "StopGradient", "CheckNumerics", "PreventGradient"),
    *("Snapshot", "ReadVariableOp", "Cast", "Reshape", "Squeeze", "ExpandDims", "PlaceholderWithDefault"),
}
VARIABLES = {"Variable", "VariableV2", "VarHandleOp", "AutoReloadVariable"}
# So many controls of its own a node may have before those that it shares with others.
_MOST_BEFORE = 4
# So many nodes are looked at on the way to a constant, and behind one; a layer has a few.
_FURTHEST = 256


def mapped(path):
    """The bytes of a file as a memoryview, which the system reads as they are needed."""
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            raise ValueError("it is empty")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


class Node:
    """An operation of a graph: its name, kind and inputs.

    The nodes that only have to run before it, its controls, and its attributes are read when they are asked for, from
    ``rest``, the part of a NodeDef that has them.
    """

    __slots__ = ("_raw", "inputs", "name", "op", "rest")

    def __init__(self, name, op, inputs, rest):
        self.name, self.op, self.inputs, self.rest, self._raw = name, op, inputs, rest, None

    @property
    def controls(self):
        """The names of its controls."""
        return [text(value)[1:] for value in repeated(self.rest, 3)]

    @property
    def raw(self):
        """The bytes of each attribute, an AttrValue, by its name."""
        if self._raw is None:
            self._raw = attribute_values(self.rest)
        return self._raw

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
        return default if value is None else text(value)

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
        self._consumers, self._leaves = None, {}

    def source(self, text):
        """The node that an input like "name:1" names, or None."""
        return self.nodes.get(text.partition(":")[0])

    def consumers(self, node):
        """The nodes that take a value of a node, as many as are looked at."""
        if self._consumers is None:
            self._consumers = collections.defaultdict(list)
            for consumer in self.nodes.values():
                for text in dict.fromkeys(one.partition(":")[0] for one in consumer.inputs[:_FURTHEST]):
                    if len(self._consumers[text]) < _FURTHEST:
                        self._consumers[text].append(consumer)
        return self._consumers.get(node.name, [])

    def leaf(self, text):
        """The constant or variable that an input is, unchanged but for dtype and shape; None if it is computed.

        Where a switch chooses between a computed value and one that is stored, it is the stored one.
        """
        if text not in self._leaves:
            self._leaves[text] = self._leaf(text)
        return self._leaves[text]

    def _leaf(self, text):
        waiting, seen, found = [text], set(), {}
        while waiting:
            node = self.source(waiting.pop())
            if node is None or node.name in seen:
                continue
            seen.add(node.name)
            if len(seen) > _FURTHEST:
                return None
            if node.op == "Const" or node.op in VARIABLES:
                found[node.name] = node
            elif node.op == "Merge":
                waiting += node.inputs[:_FURTHEST]
            elif node.op in _PASSES_ON and node.inputs:
                waiting.append(node.inputs[0])
        return next(iter(found.values())) if len(found) == 1 else None


def graph_from_bytes(data):
    """The `Graph` of a GraphDef; controls, of which each node of a training graph may have hundreds, are left out."""
    return Graph(_node(value) for number, kind, value in fields(data) if number == 1 and kind == BYTES)


def _node(data):
    name, op, inputs, _, at = node_head(data, 0, len(data))
    return Node(name, op, inputs, data[at:])


class Controls:
    """The controls of nodes that are read one after the other.

    Under ``tf.control_dependencies`` thousands of nodes wait for the same hundreds, some of them for one more that
    stands before these. The hundreds are read once.
    """

    def __init__(self):
        self._names, self._data = (), b""

    def read(self, data, at, end):
        """The names of the controls that begin at offset ``at`` of a NodeDef, a tuple, and the offset behind them."""
        names, begin = [], at
        while _is_control(data, at, end):
            stop = at + len(self._data)
            if self._names and len(names) < _MOST_BEFORE and data[at:stop] == self._data:
                if not names and not _is_control(data, stop, end):
                    return self._names, stop
                names += self._names
                at = stop
                continue
            at += 1
            size, at = varint(data, at)
            if size > end - at:
                raise ValueError("a node is cut off")
            names.append(text(data[at + 1 : at + size]))
            at += size
        names = tuple(names)
        if len(names) > len(self._names) + _MOST_BEFORE or len(self._names) < _MOST_BEFORE:
            self._names, self._data = names, bytes(data[begin:at])
        return names, at


def _is_control(data, at, end):
    # Those of 128 to 2**14 bytes have a length of two.
    if at + 2 >= end or data[at] != _INPUT:
        return False
    return data[at + 2 if data[at + 1] < 128 else at + 3] == _CONTROL


def node_head(data, at, end, shared=None):
    """What stands before the attributes of a NodeDef; graphs have many, so this goes through its fields by itself.

    Args:
      data, at, end: the NodeDef is ``data[at:end]``.
      shared: the `Controls` of the nodes that are read one after the other; None to end at the first control.

    Returns:
      The name, the operation, the list of the inputs that bring a value, the names of the controls, and the offset of
      the rest.
    """
    name = op = ""
    inputs, controls = [], ()
    try:
        while at < end:
            key = data[at]
            if key not in (_INPUT, _NAME, _OP):
                break
            size, begin = data[at + 1], at + 2
            if size > 127:
                size, begin = varint(data, at + 1)
            stop = begin + size
            if stop > end:
                raise ValueError("a node is cut off")
            if size > LONGEST_TEXT:
                raise ValueError(f"it has a name of {size} bytes")
            if key == _INPUT and size and data[begin] == _CONTROL:
                if shared is None:
                    break
                names, at = shared.read(data, at, end)
                controls = (*controls, *names) if controls else names
                continue
            word = str(data[begin:stop], "utf-8", "backslashreplace")
            if key == _INPUT:
                inputs.append(word)
            elif key == _NAME:
                name = word
            else:
                op = word
            at = stop
    except IndexError:
        raise ValueError("a node is cut off") from None
    return name, op, inputs, controls, at


def attribute_values(data):
    """The bytes of each attribute, an AttrValue, by its name, in the rest of a NodeDef."""
    values = {}
    for entry in repeated(data, 5):
        size = entry[1] if len(entry) > 2 else 0
        # Nearly every entry is a short name, and then bytes up to its end, of one byte's or two bytes' length.
        at = 2 + size
        if entry[:1] == b"\n" and size < 128 and entry[at : at + 1] == b"\x12" and at + 2 <= len(entry):
            low, at = entry[at + 1], at + 2
            if low > 127 and at < len(entry):
                low, at = (low & 127) | (entry[at] << 7), at + 1
            if low == len(entry) - at:
                values[str(entry[2 : 2 + size], "utf-8", "backslashreplace")] = entry[at:]
                continue
        pair = message(entry, {1: BYTES, 2: BYTES})
        values[text(pair.get(1, b""))] = pair.get(2, b"")
    return values
