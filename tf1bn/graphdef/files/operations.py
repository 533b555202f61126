"""A graph from a file with the interface of a live one, so that the same matcher reads both: operations and tensors."""

import collections
import math

from ..view import FUSED, GLOBAL
from . import attributes
from .ranks import rank_of
from .wire import attribute_values

# What an operation must have for the matcher to look at it: its least number of inputs.
LEAST_INPUTS = {
    **dict.fromkeys(("Identity", "RefIdentity", "Cast", "Squeeze", "StopGradient", "ReadVariableOp"), 1),
    **dict.fromkeys(("Snapshot", "CheckNumerics", "PreventGradient"), 1),
    **dict.fromkeys(("Enter", "RefEnter", "Exit", "RefExit", "NextIteration", "RefNextIteration", "Rsqrt", "Neg"), 1),
    **dict.fromkeys(("Reshape", "ExpandDims", "Switch", "RefSwitch", "Mul", "Sub", "Add", "AddV2", "Mean"), 2),
    **dict.fromkeys(("Merge", "RefMerge", "PlaceholderWithDefault", "LogicalNot", "If", "StatelessIf"), 1),
    **dict.fromkeys(("Select", "SelectV2"), 3),
    **dict.fromkeys((*FUSED, GLOBAL), 5),
}
# Values that a node may have; more than any operation in use has.
_MOST_OUTPUTS = 2**16


class FileTensor:
    """A value of an operation; has what the matcher asks of a ``tf.Tensor``."""

    __slots__ = ("op", "value_index")

    def __init__(self, op, value_index):
        self.op, self.value_index = op, value_index

    @property
    def name(self):
        """The operation's name, a colon and the number of the value."""
        return f"{self.op.name}:{self.value_index}"

    @property
    def graph(self):
        """The graph of the operation."""
        return self.op.graph

    def consumers(self):
        """The operations that take this value."""
        return self.op.graph.consumers_of(self.op.name, self.value_index)

    def get_shape(self):
        """The `attributes.Shape`, as far as the file says it."""
        sizes = self.op.shape(self.value_index)
        if sizes.ndims is None:
            rank = rank_of(self)
            return attributes.Shape(None if rank is None else [-1] * rank)
        return sizes


class _Outputs:
    """The values of an operation; a file does not say how many there are."""

    __slots__ = ("_op",)

    def __init__(self, op):
        self._op = op

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [FileTensor(self._op, i) for i in range(index.stop or 1)]
        return FileTensor(self._op, index)

    def __iter__(self):
        return iter([FileTensor(self._op, i) for i in sorted(self._op.graph.used_outputs(self._op.name))])


class ControlGroup:
    """Operations that wait for the same others, as thousands do under one ``tf.control_dependencies``.

    Attributes:
      names: those of the others, a tuple.
      waiting: the operations, a list of `FileOperation`.
    """

    __slots__ = ("names", "waiting")

    def __init__(self, names):
        self.names, self.waiting = names, []


class FileOperation:
    """A node; has what the matcher asks of a ``tf.Operation``, and the `ControlGroup` that it is in, or None."""

    __slots__ = ("_attributes", "_inputs", "graph", "group", "name", "node", "type")

    def __init__(self, graph, node):
        self.graph, self.node, self.name, self.type = graph, node, node.name, node.type
        self.group = self._inputs = self._attributes = None

    def __repr__(self):
        return f"<{self.type} {self.name!r}>"

    @property
    def inputs(self):
        """Its inputs, a list of `FileTensor`."""
        if self._inputs is None:
            self._inputs = [self.graph.tensor(text) for text in self.node.inputs]
        return self._inputs

    @property
    def outputs(self):
        """Its values."""
        return _Outputs(self)

    @property
    def control_inputs(self):
        """The operations that must run before it."""
        return [] if self.group is None else [self.graph.get_operation_by_name(name) for name in self.group.names]

    def get_attr(self, name):
        """The value of an attribute, see `attributes.value`; raises ValueError if it has none of this name."""
        data = self.attributes.get(name)
        if data is None:
            if name in attributes.DEFAULTS:
                return attributes.DEFAULTS[name]
            raise ValueError(f"the node {self.name!r} has no attribute {name!r}")
        return attributes.value(data)

    @property
    def attributes(self):
        """The bytes of its attributes by name."""
        if self._attributes is None:
            self._attributes = attribute_values(self.node.attributes)
        return self._attributes

    def shape(self, index):
        """The shape of one of its values, as the file says it."""
        if "_output_shapes" in self.attributes:
            shapes = self.get_attr("_output_shapes")
            if index < len(shapes) and isinstance(shapes[index], attributes.Shape):
                return shapes[index]
        if "shape" in self.attributes and index == 0 and isinstance(sizes := self.get_attr("shape"), attributes.Shape):
            # Before TF 1.6 a placeholder of unknown shape had an empty one.
            return attributes.Shape(sizes.sizes or None) if self.type.startswith("Placeholder") else sizes
        return attributes.Shape(None)


class FileGraph:
    """The operations of a graph; raises ValueError where an input is missing or the graph runs in a circle.

    Args:
      nodes: a list of `wire.Node`.
      inside: the names of those that are in functions.

    Attributes:
      inside: likewise; nobody can ask for these by themselves.
      order: the names of all operations, each behind those that must run before it.
    """

    def __init__(self, nodes, inside=()):
        self._by_name, self.inside = {}, frozenset(inside)
        for node in nodes:
            if node.name in self._by_name:
                raise ValueError(f"two of its nodes have the name {node.name!r}")
            self._by_name[node.name] = FileOperation(self, node)
        self._consumers, self._waiting = collections.defaultdict(list), None
        self._groups = {}
        self._tensors, self._used = {}, collections.defaultdict(lambda: {0})
        for op in self._by_name.values():
            inputs = op.node.inputs
            if len(inputs) < LEAST_INPUTS.get(op.type, 0):
                raise ValueError(f"the node {op.name!r} of the type {op.type!r} has too few inputs")
            for text in inputs if len(inputs) < 2 else dict.fromkeys(inputs):
                self._consumers[text].append(op)
            if op.node.controls:
                names = tuple(op.node.controls)
                op.group = self._groups.setdefault(names, ControlGroup(names))
                op.group.waiting.append(op)
        for group in self._groups.values():
            for name in group.names:
                if name not in self._by_name:
                    raise ValueError(f"the node {group.waiting[0].name!r} waits for {name!r}, which is not there")
        for text in list(self._consumers):
            if text in self._by_name:
                continue
            name, colon, index = text.partition(":")
            if name not in self._by_name or (colon and not index.isdecimal()) or int(index or 0) > _MOST_OUTPUTS:
                raise ValueError(
                    f"a node has the input {text!r}, which is not there, as in the text graphs of OpenCV, which are a "
                    "part of the graph beside them"
                )
            number = int(index or 0)
            self._used[name].add(number)
            if colon and (not number or str(number) != index):
                # Two texts for one value.
                usual = f"{name}:{number}" if number else name
                self._consumers[usual] += self._consumers[text]
        self.order = self._ordered()

    def close(self):
        """Forget the operations, which all know the graph: without the circle they need no garbage collector."""
        for table in (self._by_name, self._consumers, self._tensors, self._groups):
            table.clear()

    def get_operations(self):
        """All operations, in the order of the file."""
        return list(self._by_name.values())

    def get_operation_by_name(self, name):
        """The operation of this name."""
        return self._by_name[name]

    def find(self, text):
        """The operation of a name like "name" or "name:0" or "^name", or None."""
        return self._by_name.get(text.removeprefix("^").partition(":")[0])

    def tensor(self, text):
        """The tensor of an input's text."""
        found = self._tensors.get(text)
        if found is None:
            op, index = self._by_name.get(text), "0"
            if op is None:
                name, _, index = text.partition(":")
                op = self._by_name[name]
            found = self._tensors[text] = FileTensor(op, int(index or 0))
        return found

    def consumers_of(self, name, index):
        """The operations that take one value of an operation."""
        return self._consumers.get(f"{name}:{index}" if index else name, [])

    def used_outputs(self, name):
        """The numbers of the values of an operation that others take, and that of its first."""
        return self._used.get(name, (0,))

    def followers(self, name):
        """The names of the operations that take a value of an operation or wait for it."""
        if self._waiting is None:
            self._waiting = collections.defaultdict(list)
            for group in self._groups.values():
                names = [op.name for op in group.waiting]
                for other in group.names:
                    self._waiting[other] += names
        takers = [op for index in self.used_outputs(name) for op in self.consumers_of(name, index)]
        return [*(op.name for op in takers), *self._waiting.get(name, ())]

    def _ordered(self):
        """The names of all operations in an order to run them; raises ValueError for a circle that is no loop."""
        order, seen, self._done = [], set(), set()
        self._seen = seen
        for first in self._by_name.values():
            # TensorFlow writes nearly all operations behind those that must run before them.
            if first.group is None and seen.issuperset(first.node.inputs):
                seen.add(first.name)
                order.append(first.name)
                continue
            stack, around = [first], set()
            while stack:
                op = stack[-1]
                if op.name in seen:
                    stack.pop()
                elif not (missing := self._missing(op)):
                    seen.add(op.name)
                    order.append(op.name)
                    stack.pop()
                else:
                    around.add(op.name)
                    if circle := around.intersection(missing):
                        raise ValueError(f"its nodes wait for each other in a circle, {min(circle)!r} among them")
                    stack += [self._by_name[name] for name in missing]
        return order

    def _missing(self, op):
        """The names of the operations that must run before one and have no place yet, without the ends of loops."""
        seen = self._seen
        missing = [name for text in op.node.inputs if text not in seen and (name := text.partition(":")[0]) not in seen]
        if missing and op.type in ("Merge", "RefMerge"):
            missing = [name for name in missing if not self._by_name[name].type.endswith("NextIteration")]
        if op.group is not None and op.group not in self._done:
            waits = [name for name in op.group.names if name not in seen]
            if not waits:
                self._done.add(op.group)
            missing += waits
        return missing


def size_of(sizes):
    """The number of values of a shape, or None."""
    return None if sizes is None or any(size < 0 for size in sizes) else math.prod(sizes)
