"""Graphs as nodes by name, whatever file they come from: GraphDef as bytes, or as JSON in a web model.

A graph is as its producer wrote it and may be damaged: functions raise ValueError for what makes no sense.
"""

import collections

import numpy as np

from ....binary.protobuf import BYTES, FIXED32, VARINT, fields, message, repeated, text
from ....binary.tensor_protos import dtype_name, parse_shape, tensor_values
from ....graphdef.files.wire import MOST_NODES, attribute_values, node_head

# What gives its first input on, as far as the values of parameters go.
_PASSES_ON = {
    *("Identity", "Switch", "RefSwitch", "Enter", "RefEnter", "StopGradient", "CheckNumerics", "PreventGradient"),
    *("Snapshot", "ReadVariableOp", "Cast", "Reshape", "Squeeze", "ExpandDims", "PlaceholderWithDefault"),
}
VARIABLES = {"Variable", "VariableV2", "VarHandleOp", "AutoReloadVariable"}
# So many nodes are looked at on the way to a constant, and behind one; a layer has a few.
_FURTHEST = 256


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
