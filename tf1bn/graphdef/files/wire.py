"""The nodes of a GraphDef from its bytes. Graphs have tens of thousands, so this goes through their fields by itself.

All functions raise ValueError for what is not a whole message.
"""

import dataclasses

from ...binary.protobuf import BYTES, LONGEST_TEXT, fields, message, repeated, text, varint

MOST_NODES = 2**18
_NODE = 0x0A  # the first byte of field 1 with bytes
# The first bytes of fields 1, 2 and 3 with bytes, the name, operation and inputs of a node, and of a control.
_NAME, _OP, _INPUT, _CONTROL = 0x0A, 0x12, 0x1A, 0x5E
# So many controls of its own a node may have before those that it shares with others.
_MOST_BEFORE = 4


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
    """The list of `Node` and the dict of `Function` by name of a GraphDef, bytes."""
    nodes, library, at, end, shared = [], b"", 0, len(data), Controls()
    try:
        while at < end and data[at] == _NODE:
            size, begin = data[at + 1], at + 2
            if size > 127:
                # Nearly every node has a length of two bytes.
                low, size = size & 127, data[at + 2]
                size, begin = (low | size << 7, at + 3) if size < 128 else varint(data, at + 1)
            at = begin + size
            if at > end:
                raise ValueError("a node is cut off")
            nodes.append(_node(data[begin:at], shared))
    except IndexError:
        raise ValueError("a node is cut off") from None
    if at < end:
        rest = data[at:]
        nodes += [_node(one, shared) for one in repeated(rest, 1)]
        library = message(rest, {2: BYTES}).get(2, b"")
    functions = {}
    for one in repeated(library, 1):
        name, function = _function(bytes(one))
        functions[name] = function
    if len(nodes) + sum(len(function.nodes) for function in functions.values()) > MOST_NODES:
        raise ValueError(f"it has more than {MOST_NODES} nodes")
    return nodes, functions


def _node(data, shared):
    """The `Node` of a NodeDef, bytes; graphs have many, so this goes through its fields by itself.

    ``shared`` are the `Controls` of the nodes that are read one after the other.
    """
    # TensorFlow takes no names but of ASCII.
    words, at, end = str(data, "latin-1"), 0, len(data)
    name = kind = ""
    inputs, controls = [], ()
    try:
        while at < end:
            key = data[at]
            if key not in (_INPUT, _NAME, _OP):
                break
            size, begin = data[at + 1], at + 2
            if size > 127:
                size, begin = varint(data, at + 1)
                if size > LONGEST_TEXT:
                    raise ValueError(f"it has a name of {size} bytes")
            stop = begin + size
            if stop > end:
                raise ValueError("a node is cut off")
            if key == _INPUT:
                if size and data[begin] == _CONTROL:
                    names, at = shared.read(data, at)
                    controls = (*controls, *names) if controls else names
                    continue
                inputs.append(words[begin:stop])
            elif key == _NAME:
                name = words[begin:stop]
            else:
                kind = words[begin:stop]
            at = stop
    except IndexError:
        raise ValueError("a node is cut off") from None
    return Node(name, kind, inputs, controls, data[at:])


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
            nodes.append(_node(value, shared))
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


class Controls:
    """The controls of nodes that are read one after the other.

    Under ``tf.control_dependencies`` thousands of nodes wait for the same hundreds, some of them for one more that
    stands before these. The hundreds are read once.
    """

    def __init__(self):
        self._names, self._data = (), b""

    def read(self, data, at):
        """The names of the controls that begin at offset ``at`` of a NodeDef, a tuple, and the offset behind them."""
        names, begin = [], at
        while _is_control(data, at):
            if self._names and len(names) < _MOST_BEFORE and data.startswith(self._data, at):
                stop = at + len(self._data)
                if not names and not _is_control(data, stop):
                    return self._names, stop
                names += self._names
                at = stop
                continue
            size, at = varint(data, at + 1)
            if size > len(data) - at:
                raise ValueError("a node is cut off")
            names.append(text(data[at + 1 : at + size]))
            at += size
        names = tuple(names)
        if len(names) > len(self._names) + _MOST_BEFORE or len(self._names) < _MOST_BEFORE:
            self._names, self._data = names, data[begin:at]
        return names, at


def _is_control(data, at):
    # Those of 128 to 2**14 bytes have a length of two.
    if at + 2 >= len(data) or data[at] != _INPUT:
        return False
    return data[at + 2 if data[at + 1] < 128 else at + 3] == _CONTROL


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
