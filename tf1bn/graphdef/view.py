# Runs on Python 2.7 too, see below:
# ruff: noqa: RUF005, UP004, UP010, UP031
"""Questions to a graph: what a value is made of, what a run needs, what is inside a cond or loop.

Works on live graphs and on imported ones, of any TensorFlow 1.x or 2.x; imports no TensorFlow. All below the imports
stands word for word in docker/tf1/record_tf1.py too, which runs on Python 2.7; a test compares.
"""

from __future__ import absolute_import, division, print_function

import collections

import numpy as np

# ---- what record_tf1.py holds ----

FUSED = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3", "_FusedBatchNormEx")
# The one of before TF 1.0, for inference alone.
GLOBAL = "BatchNormWithGlobalNormalization"
# Where batch normalisation is looked for; the root of variance + epsilon begins one that is made of several operations.
NORMS = frozenset(FUSED + (GLOBAL, "Rsqrt", "Sqrt"))
VARIABLES = ("Variable", "VariableV2", "VarHandleOp")
SWITCHES = ("Switch", "RefSwitch")
SELECTS = ("Select", "SelectV2")
MERGES = ("Merge", "RefMerge")
# Operations that pass a value on, perhaps in another shape or dtype, perhaps into a loop.
PASSES = ("Identity", "RefIdentity", "Cast", "Reshape", "Squeeze", "ExpandDims", "StopGradient", "ReadVariableOp")
PASSES += ("Enter", "RefEnter", "Snapshot", "CheckNumerics", "PreventGradient")
ADDS = ("Add", "AddV2")
FIXED = ("Const",)
CALLS = ("If", "StatelessIf", "While", "StatelessWhile", "Case", "PartitionedCall", "StatefulPartitionedCall")
IN_CONTROL_FLOW = "it is inside a tf.cond or tf.while_loop"
IN_FUNCTION = "it is in a function, as tf.cond and tf.while_loop make them"


def reached(targets, fed):
    """A set of the names of all operations that a run must do.

    Args:
      targets: the operations and tensors that are fetched.
      fed: names of the tensors that are fed, whose operations are not needed.
    """
    stack = [getattr(target, "op", target) for target in targets if target.name not in fed]
    seen = {op.name for op in stack}
    while stack:
        op = stack.pop()
        before = [tensor.op for tensor in op.inputs if tensor.name not in fed]
        before.extend(op.control_inputs)
        for other in before:
            if other.name not in seen:
                seen.add(other.name)
                stack.append(other)
    return seen


class GraphView(object):
    """A graph, and what can be asked about it.

    Args:
      graph: the graph.
      make_ndarray: TensorFlow's function from a TensorProto to an array.

    Attributes:
      graph: the graph.
      variables: dict from names to the operations of its variables.
      most_roots: how many values one tensor may have by conds and selects.
    """

    most_roots = float("inf")

    def __init__(self, graph, make_ndarray):
        self.graph = graph
        self._make_ndarray = make_ndarray
        self._operations = graph.get_operations()
        self._depths = {}
        self.variables = collections.OrderedDict((op.name, op) for op in self._operations if op.type in VARIABLES)

    def depth(self, op):
        """The number of conds and loops of TF 1.x around an operation."""
        stack = [op]
        while stack:
            top = stack[-1]
            if top.name in self._depths:
                stack.pop()
                continue
            around = [other for other in self._before(top) if other.name not in self._depths]
            if around:
                stack.extend(around)
                continue
            stack.pop()
            depth = max([self._depths[other.name] for other in self._before(top)] or [0])
            self._depths[top.name] = depth_behind(top, depth)
        return self._depths[op.name]

    def problem_of(self, inputs, outputs):
        """Why the input or output of a layer, tensors, cannot be fetched, part of a sentence; or None."""
        if any(t.graph is not self.graph for t in (inputs, outputs)):
            return IN_FUNCTION
        if self.depth(inputs.op) or self.depth(outputs.op):
            return IN_CONTROL_FLOW
        return None

    def read_of(self, variable):
        """A tensor with the value of a variable, given its operation; None if conds and loops alone read it."""
        if variable.type != "VarHandleOp":
            return variable.outputs[0]
        reads = [op for op in variable.outputs[0].consumers() if op.type == "ReadVariableOp"]
        plain = [op for op in reads if not op.control_inputs and not self.depth(op)]
        return plain[0].outputs[0] if plain else None

    def _behind(self, tensor):
        """Names of the operations that pass a value on to ``tensor``, and of those that made the value."""
        names, stack = set(), [tensor.op]
        while stack:
            op = stack.pop()
            if op.name not in names:
                names.add(op.name)
                if op.type in PASSES + SWITCHES:
                    stack.append(op.inputs[0].op)
                elif op.type in MERGES and not closes_loop(op):
                    stack.extend(item.op for item in op.inputs)
        return names

    def callers_of(self, variable):
        """The operations that call a function with the variable of this operation."""
        tensors = list(variable.outputs)
        tensors += [out for op in variable.outputs[0].consumers() if op.type in PASSES for out in op.outputs]
        return [op for tensor in tensors for op in tensor.consumers() if op.type in CALLS]

    def static(self, tensor):
        """The value of a tensor as an array if it is the same in every run, else None."""
        op = tensor.op
        if op.type == "Const":
            return np.asarray(self._make_ndarray(op.get_attr("value")))
        if op.type in PASSES + SWITCHES:
            return self.static(op.inputs[0])
        return None

    def _before(self, op):
        loop = closes_loop(op)
        inputs = [tensor.op for tensor in op.inputs if not (loop and tensor.op.type.endswith("NextIteration"))]
        return inputs + list(op.control_inputs)

    def roots(self, tensor):
        """The tensors whose value ``tensor`` may have: a list of pairs with the choices that lead to each.

        A choice is a pair of an operation and the way: the number of a Merge's input, or for a Select 1 or 0. Raises
        ValueError where there are more than `most_roots`.
        """
        origins, stack = [], [(tensor, ())]
        while stack:
            tensor, branches = stack.pop()
            op = tensor.op
            if op.type in PASSES + SWITCHES:
                stack.append((op.inputs[0], branches))
            elif op.type in MERGES and not closes_loop(op):
                stack.extend((item, branches + ((op, i),)) for i, item in enumerate(op.inputs))
            elif op.type in SELECTS:
                stack.extend((item, branches + ((op, i),)) for i, item in ((1, op.inputs[1]), (0, op.inputs[2])))
            else:
                origins.append((tensor, branches))
            if len(origins) + len(stack) > self.most_roots:
                raise ValueError("the value of %r is chosen among more than %d others" % (op.name, self.most_roots))
        return origins

    def variable(self, tensor):
        """The operation of the variable whose value a tensor is, or None."""
        roots = self.roots(tensor)
        if len(roots) > 1 and len({root.op.name for root, _ in roots}) > 1:
            return None
        return self.variables.get(roots[0][0].op.name)


def uncast(tensor):
    """``tensor``, or what was cast to it from the same dtype, as everything is where NumPy's behaviour is enabled."""
    while tensor.op.type == "Cast" and tensor.op.get_attr("SrcT") == tensor.op.get_attr("DstT"):
        tensor = tensor.op.inputs[0]
    return tensor


def depth_behind(op, depth):
    """The number of conds and loops of TF 1.x around an operation's values, given that around what it takes."""
    if op.type in ("Enter", "RefEnter") or (op.type in SWITCHES and not closes_loop(op.inputs[0].op)):
        return depth + 1
    if op.type in ("Exit", "RefExit") or (op.type in MERGES and not closes_loop(op)):
        return max(depth - 1, 0)
    return depth


def closes_loop(op):
    """Whether an operation is the Merge at the beginning of a loop, which the end of the loop leads back to."""
    return op.type in MERGES and any(tensor.op.type.endswith("NextIteration") for tensor in op.inputs)
