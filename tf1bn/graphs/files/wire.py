"""The nodes of a GraphDef from its bytes. Graphs have tens of thousands, so this goes through their fields by itself.

All functions raise ValueError for what is not a whole message.
"""

import dataclasses

from ...checkpoints.formats.graphs.nodes import MOST_NODES, Controls, node_head
from ...checkpoints.formats.protobuf import BYTES, fields, message, repeated, text, varint

_NODE = 0x0A  # the first byte of field 1 with bytes


@dataclasses.dataclass(slots=True)
class Node:
    """A node as a file has it.

    Attributes:
      name, type: its name and that of its operation.
      inputs: texts like "name" and "name:1".
      controls: names of the nodes that only have to run before it; nodes may share one tuple.
      attributes: bytes of the rest of the NodeDef, which has its attributes.
    """

    name: str
    type: str
    inputs: list
    controls: tuple | list
    attributes: bytes


@dataclasses.dataclass(slots=True)
class Function:
    """A function of a graph's library.

    Attributes:
      inputs: the names of its arguments.
      outputs: what it returns, texts like "node:output:0" or "argument", in their order.
      controls: the names of the nodes that each call has to run.
      nodes: a list of `Node`; their inputs are texts like "node:output:0" or "argument".
    """

    inputs: list
    outputs: list
    controls: list
    nodes: list


def graph(data):
    """The list of `Node` and the dict of `Function` by name of a GraphDef."""
    nodes, library, at, end, shared = [], b"", 0, len(data), Controls()
    try:
        while at < end:
            if data[at] == _NODE:
                size, begin = data[at + 1], at + 2
                if size > 127:
                    # Nearly every node has a length of two bytes.
                    low, size = size & 127, data[at + 2]
                    size, begin = (low | size << 7, at + 3) if size < 128 else varint(data, at + 1)
                at = begin + size
                if at > end:
                    raise ValueError("a node is cut off")
                nodes.append(_node(data, begin, at, shared))
            else:
                break
    except IndexError:
        raise ValueError("a node is cut off") from None
    if at < end:
        rest = data[at:]
        nodes += [_node(one, 0, len(one), shared) for one in map(bytes, repeated(rest, 1))]
        library = message(rest, {2: BYTES}).get(2, b"")
    functions = {}
    for one in repeated(library, 1):
        name, function = _function(bytes(one))
        functions[name] = function
    if len(nodes) + sum(len(function.nodes) for function in functions.values()) > MOST_NODES:
        raise ValueError(f"it has more than {MOST_NODES} nodes")
    return nodes, functions


def _node(data, at, end, shared):
    """The node in ``data[at:end]``."""
    name, kind, inputs, controls, at = node_head(data, at, end, shared)
    return Node(name, kind, inputs, controls, data[at:end])


def _function(data):
    """The name and the `Function` of a FunctionDef: its signature is field 1, then nodes 3, results 4 and 6."""
    signature, nodes, results, controls, shared = b"", [], {}, [], Controls()
    for number, kind, value in fields(data):
        if kind != BYTES:
            continue
        value = bytes(value)
        if number == 1:
            signature = value
        elif number == 3:
            nodes.append(_node(value, 0, len(value), shared))
        elif number in (4, 6):
            entry = message(value, {1: BYTES, 2: BYTES})
            if number == 4:
                results[text(entry.get(1, b""))] = text(entry.get(2, b""))
            else:
                controls.append(text(entry.get(2, b"")))
    arguments = [_argument(one) for one in repeated(signature, 2)]
    outputs = [results.get(_argument(one), "") for one in repeated(signature, 3)]
    return text(message(signature, {1: BYTES}).get(1, b"")), Function(arguments, outputs, controls, nodes)


def _argument(data):
    return text(message(data, {1: BYTES}).get(1, b""))
