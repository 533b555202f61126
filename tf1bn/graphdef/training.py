"""What a graph trains: its optimizers' operations, the operations that run them, and what these reach."""

import re

from ..errors import GraphError

_APPLIES = re.compile(r"(Resource)?(Sparse)?Apply[A-Z]\w*")
_GRADIENTS = re.compile(r"\w*(Grad|GradV\d|BackpropFilter|BackpropInput)(V\d)?")
# The train op of a function's graph.
A_CALL = "a call of the function"
# So many operations at the end of a graph are looked at one by one.
_MOST_ENDS = 32


class Training:
    """The train ops of a graph and what a run of each does.

    Args:
      source: a `files.sources.Source`.
      scan: a `layers.StructureScan`.
      train_op: names of the operations or tensors that a training step asks for; None to find them.

    Attributes:
      applies: the operations by which optimizers change variables.
      targets: dict from names of train ops to the sets of names of all operations that a run of each does.
      too_many: whether the train ops are so many that what a run of one does is not told from what others do.
      given: whether the train ops were named.
      has_gradients: whether anything in the graph is a gradient.
      trains: whether the graph trains anything.
      trained: names of the variables' operations that optimizers change.
    """

    def __init__(self, source, scan, train_op=None):
        self._graph, self._inside = source.graph, None
        self.applies = [
            op
            for op in source.graph.get_operations()
            if "Apply" in op.type and _APPLIES.fullmatch(op.type) and op.inputs
        ]
        self.given, self.too_many = train_op is not None, False
        self.has_gradients = self._has_gradients()
        if not self.applies and self.has_gradients:
            # Keras 3, and optimizers by hand, assign.
            self.applies = self._assignments(scan, source.trainable)
        if self.given:
            ops = [self._named(name) for name in train_op]
            # They are asked for together, in each step.
            self.targets = {", ".join(op.name for op in ops): self.before(ops)}
        elif source.outputs is not None:
            self.targets = {A_CALL: self.before([op for op in map(self._graph.find, source.outputs) if op is not None])}
        else:
            ends = self._ends(source)
            self.too_many = len(ends) > _MOST_ENDS
            if self.too_many:
                self.targets = {f"one of {len(ends)} operations": self.before(ends)}
            else:
                self.targets = {op.name: self.before([op]) for op in ends}
        variables = (scan.variable(op.inputs[0]) for op in self.applies)
        self.trained = {variable.name for variable in variables if variable is not None}
        self.trains = bool(self.applies or self.given)

    def reaching(self, op):
        """The names of the train ops that run an operation."""
        return [name for name, reached in self.targets.items() if op.name in reached]

    def before(self, ops):
        """The names of operations and of all that must run for them."""
        seen, waited = {op.name for op in ops}, set()
        stack = list(ops)
        find = self._graph.get_operation_by_name
        while stack:
            op = stack.pop()
            for text in op.node.inputs:
                name = text.partition(":")[0]
                if name not in seen:
                    seen.add(name)
                    stack.append(find(name))
            if op.group is not None and op.group not in waited:
                waited.add(op.group)
                for name in op.group.names:
                    if name not in seen:
                        seen.add(name)
                        stack.append(find(name))
        return seen

    def _behind(self, ops):
        """The names of operations and of all that depend on them."""
        seen = {op.name for op in ops}
        stack = list(seen)
        while stack:
            for name in self._graph.followers(stack.pop()):
                if name not in seen:
                    seen.add(name)
                    stack.append(name)
        return seen

    def _named(self, name):
        op = self._graph.find(name)
        if op is None:
            raise GraphError(f"`train_op` is {name!r}, which is no operation of the graph; give one by its name.")
        return op

    def _ends(self, source):
        find, followers = self._graph.get_operation_by_name, self._graph.followers
        ends = [find(name) for name in self._behind(self.applies) if not followers(name)]
        # What only reads a variable behind its update, for somebody who did not ask, is no train op if another op is.
        ends = [op for op in ends if op.type != "ReadVariableOp"] or ends or source.collection("train_op")
        return sorted(ends, key=lambda op: op.name)

    def _has_gradients(self):
        return any(map(_is_gradient, self._graph.get_operations()))

    def _assignments(self, scan, trainable):
        """The assignments to trainable variables that are no initialization, no restore and no moving average.

        Where nothing says which are trainable, those to all variables whose new value depends on a gradient.
        """
        variables = [op for name, op in scan.variables.items() if not trainable or name in trainable]
        writers = [op for variable in variables for op in scan.writers_of(variable) if scan.update(op) is None]
        if trainable or not writers:
            return writers
        behind = self._behind(filter(_is_gradient, self._graph.get_operations()))
        return [op for op in writers if op.name in behind]

    def inside_cond(self, scan):
        """An operation of an optimizer that is in a cond, and the predicate's name, or None for both."""
        if self._inside is None:
            self._inside = next(((op, scan.guards(op)) for op in self.applies if scan.depth(op)), (None, ()))
        op, guards = self._inside
        return op, min(guards, default=(None,))[0]


def _is_gradient(op):
    return op.name.startswith(("gradients/", "gradient_tape/")) or _GRADIENTS.fullmatch(op.type) is not None
