# -*- coding: utf-8 -*-
# Runs on Python 2.7 too:
# ruff: noqa: B028, B904, B905, RUF005, SIM105, SIM115, UP004, UP008, UP009, UP010, UP024, UP031
"""Records the batch-norm layers of a TensorFlow 1.x graph, run by run, as a trace that tf1bn reads.

One file, for Python 2.7 and 3.5 to 3.7 and TensorFlow 1.3 to 1.15, and for sessions of tf.compat.v1 in TensorFlow 2;
needs nothing but tensorflow and numpy. Put it beside your script, and run your training through it:

    import record_tf1

    with record_tf1.Recorder(sess, "old.trace") as rec:
        for batch in batches:
            rec.run(train_op, {x: batch})

or, where something else runs the session, through a hook:

    with tf.train.MonitoredTrainingSession(hooks=[record_tf1.RecorderHook("old.trace")]) as sess:
        ...
    estimator.train(input_fn, hooks=[record_tf1.RecorderHook("old.trace")])

It finds the layers of tf.contrib.layers.batch_norm, tf.layers.batch_normalization and others of their form in the
graph, built or imported; `Recorder` says what is written. The docstring of tf1bn/trace/__init__.py
describes the format of the trace. The parts below that are marked "from tf1bn/..." are copies; change them there.
"""

from __future__ import absolute_import, division, print_function

import collections
import json
import os
import shutil
import socket
import sys
import tempfile
import threading
import warnings

import numpy as np
import tensorflow as tf

if not hasattr(tf, "Session"):
    # TensorFlow 2 keeps there what this file uses.
    tf = tf.compat.v1

# ---- from tf1bn/graphdef/view.py ----

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


# ---- from tf1bn/graphdef/patterns.py ----

# What changes a variable by a difference, and which of the two in it is the variable.
STEPS = {"AssignSub": 0, "AssignSubVariableOp": 0, "AssignAdd": 1, "AssignAddVariableOp": 1}

Update = collections.namedtuple("Update", "op variable roots rate")
"""An operation that moves the average `variable` (an operation) towards a value, made of the tensors named `roots`;
`rate` is the tensor with 1 - decay."""

BatchNormPattern = collections.namedtuple("BatchNormPattern", "fused op x y gamma beta means epsilon data_format mean")
"""The operations of one batch normalisation.

fused: whether it is one of TensorFlow's fused operations. op: the last operation. x, y: the input and the output.
gamma, beta: tensors, or None. means: for the mean and for the variance a list as `GraphView.roots` makes it. epsilon: a
float. data_format: bytes, None in a composed one. mean: the tensor of the mean, None in a fused one.
"""


class PatternFinder(GraphView):
    """A graph in which batch normalisation and updates of moving averages are looked for."""

    def update(self, op):
        """The `Update` that an assignment, an operation, makes of a moving average, or None."""
        if len(op.inputs) < 2:
            return None
        variable = self.variable(op.inputs[0])
        value = op.inputs[1].op
        while value.type in PASSES + SELECTS:
            value = value.inputs[0 if value.type in PASSES else 1].op
        terms = None
        if variable is not None and op.type in STEPS and value.type == "Mul":
            # variable -= (variable - new) * rate, or variable += (new - variable) * rate
            factors = tuple(uncast(tensor) for tensor in value.inputs)
            old = STEPS[op.type]
            for difference, rate in (factors, factors[::-1]):
                if difference.op.type == "Sub" and self.variable(difference.op.inputs[old]) is variable:
                    terms = (difference.op.inputs[1 - old], rate)
        elif variable is not None and op.type in ("Assign", "AssignVariableOp") and value.type in ADDS:
            # variable = variable * decay + new * rate
            muls = [term.op for term in map(uncast, value.inputs) if term.op.type == "Mul"]
            old = [any(self.variable(factor) is variable for factor in mul.inputs) for mul in muls]
            if sorted(old) == [False, True]:
                new = sorted(muls[old.index(False)].inputs, key=lambda tensor: tensor.get_shape().ndims or 0)
                terms = (new[1], new[0])
        if terms is None:
            return None
        new, rate = terms
        return Update(op, variable, [root.name for root, _ in self.roots(new)], rate)

    def pattern(self, op):
        """The `BatchNormPattern` of the batch normalisation that an operation of `NORMS` is, or begins; or None."""
        if op.type in FUSED:
            return self.fused_pattern(op)
        if op.type == GLOBAL:
            return self.global_pattern(op)
        return self.composed_pattern(op)

    def global_pattern(self, op):
        """The `BatchNormPattern` of the operation that there was before TF 1.0, whose inputs are in another order."""
        x, mean, variance, beta, gamma = op.inputs[:5]
        gamma = gamma if op.get_attr("scale_after_normalization") else None
        means, epsilon = [self.roots(mean), self.roots(variance)], shortest(np.float32(op.get_attr("variance_epsilon")))
        return BatchNormPattern(False, op, x, op.outputs[0], gamma, beta, means, epsilon, b"NHWC", mean)

    def fused_pattern(self, op):
        """The `BatchNormPattern` of one of TensorFlow's fused operations."""
        if op.get_attr("is_training"):
            means = [[(op.outputs[i], ())] for i in (1, 2)]
        else:
            means = [self.roots(op.inputs[i]) for i in (3, 4)]
        epsilon, data_format = shortest(np.float32(op.get_attr("epsilon"))), op.get_attr("data_format")
        x, gamma, beta = op.inputs[0], op.inputs[1], op.inputs[2]
        return BatchNormPattern(True, op, x, op.outputs[0], gamma, beta, means, epsilon, data_format, None)

    def composed_pattern(self, op):
        """The `BatchNormPattern` that begins with the operation 1 / sqrt(variance + epsilon) or its inverse, or None.

        It goes on to x * inverse + (beta - mean * inverse), as tf.nn.batch_normalization computes it, or by hand to
        (x - mean) * inverse or (x - mean) / root, times gamma, plus beta.
        """
        add = op.inputs[0].op
        if add.type not in ADDS:
            return None
        values = [self.static(tensor) for tensor in add.inputs]
        numbers = [i for i, value in enumerate(values) if value is not None and value.size == 1]
        if len(numbers) == 2:
            # The variance of a single channel may be a constant too, a vector.
            numbers = [i for i in numbers if not values[i].ndim]
        if len(numbers) != 1:
            return None
        epsilon, variance = shortest(values[numbers[0]].reshape(-1)[0]), add.inputs[1 - numbers[0]]
        scales = [(op.outputs[0], None)]
        if op.type == "Sqrt":
            return self._by_hand(op, scales, variance, epsilon)
        scales += [(mul.outputs[0], other_input(mul, tensor)) for mul, tensor in self._users(op.outputs[0], ("Mul",))]
        for inverse, gamma in scales:
            products = {mul.name: uncast(other_input(mul, tensor)) for mul, tensor in self._users(inverse, ("Mul",))}
            for name, x in products.items():
                product = self.graph.get_operation_by_name(name).outputs[0]
                for last, tensor in self._users(product, ADDS):
                    mean, beta = self._offset(other_input(last, tensor), products)
                    if mean is not None:
                        means = [self.roots(mean), self.roots(variance)]
                        y = last.outputs[0]
                        return BatchNormPattern(False, last, x, y, gamma, beta, means, epsilon, None, mean)
        return self._by_hand(op, scales, variance, epsilon)

    def _by_hand(self, op, scales, variance, epsilon):
        """The `BatchNormPattern` of (x - mean) * scale or (x - mean) / scale, perhaps times gamma plus beta, or None.

        op: the root, or its inverse. scales: pairs of that, perhaps times gamma, and this gamma or None.
        """
        for scale, gamma in scales:
            for last, tensor in self._users(scale, ("Mul",) if op.type == "Rsqrt" else ("RealDiv", "Div")):
                if op.type == "Sqrt" and last.inputs[1].name != tensor.name:
                    continue
                deviation = uncast(other_input(last, tensor))
                if gamma is None and deviation.op.type == "Mul":
                    deviation, gamma = self._with_variable(deviation.op)
                if deviation is None or deviation.op.type != "Sub":
                    continue
                x, mean = deviation.op.inputs
                if gamma is None:
                    last, gamma = self._then_variable(last, ("Mul",), mean)
                last, beta = self._then_variable(last, ADDS, mean)
                means = [self.roots(mean), self.roots(variance)]
                return BatchNormPattern(False, last, x, last.outputs[0], gamma, beta, means, epsilon, None, mean)
        return None

    def _then_variable(self, op, types, mean):
        """The operation of these types that joins a variable to the value of ``op``, and the variable; or op, None.

        It has a value for each of ``mean``, as far as their shapes are known.
        """
        for user, tensor in self._users(op.outputs[0], types):
            other = other_input(user, tensor)
            shapes = [value.get_shape() for value in (other, mean)]
            known = None not in [shape.ndims for shape in shapes]
            sizes = [[size for size in shape.as_list() if size not in (1, None)] for shape in shapes] if known else []
            if self.variable(other) is not None and sizes[:1] == sizes[1:]:
                return user, other
        return op, None

    def _with_variable(self, mul):
        """``other, parameter``: the factors of a product of which the second is a variable; None, None without one."""
        for factor, other in (tuple(mul.inputs), tuple(mul.inputs)[::-1]):
            if self.variable(factor) is not None:
                return uncast(other), factor
        return None, None

    def axes_of(self, pattern, batch):
        """The axes that a composed pattern does not average over, ascending; or None and why they are not known."""
        x = pattern.x
        rank = x.get_shape().ndims
        if not rank:
            return None, "the rank of its input is not known"
        for root, _ in batch:
            if root.op.type in CALLS:
                return None, IN_FUNCTION
            own = {origin.name for origin, _ in self.roots(x)}
            axes = self.static(root.op.inputs[1]) if root.op.type == "Mean" else None
            if axes is None or {origin.name for origin, _ in self.roots(root.op.inputs[0])} != own:
                return None, "its batch statistics are not the plain moments of its input, as with weights"
            return sorted(set(range(rank)) - {int(axis) % rank for axis in axes.reshape(-1)}), None
        shape = pattern.mean.get_shape()
        if shape.ndims == 1:
            return [rank - 1], None
        sizes = shape.as_list() if shape.ndims == rank else []
        if not sizes:
            return None, "the axis of its channels cannot be found"
        return [i for i, size in enumerate(sizes) if size != 1] or [1], None

    def clipping_of(self, pattern):
        """The limits of r and d of batch renormalisation, a dict of numbers; None if they cannot be seen.

        Its scale is r, perhaps times gamma, and its offset d, perhaps times gamma, perhaps plus beta.
        """
        limits = {}
        for tensor, names in ((pattern.gamma, ("rmax", "rmin")), (pattern.beta, ("dmax", None))):
            op, found = None, None
            for factor in self._factors(tensor):
                ops = [root.op for root, _ in self.roots(factor)]
                op = op or next((op for op in ops if op.type in ("Minimum", "Maximum", "RealDiv", "Div")), None)
            for kind, name in (("Minimum", names[0]), ("Maximum", names[1])):
                if op is not None and op.type == kind:
                    found = self.static(op.inputs[1])
                    if found is None or found.size != 1:
                        return None
                    if name is not None:
                        limits[name] = shortest(found.reshape(-1)[0])
                    op = self._plain(op.inputs[0]).op
            if op is None or op.type not in ("RealDiv", "Div"):
                return None
        return limits

    def _factors(self, tensor):
        """A tensor, and what it is made of by sums and products."""
        waiting, found = [tensor] if tensor is not None else [], []
        while waiting:
            tensor = self._plain(waiting.pop())
            found.append(tensor)
            if tensor.op.type in ADDS + ("Mul",):
                waiting.extend(tensor.op.inputs)
        return found

    def _plain(self, tensor):
        while tensor.op.type in ("Identity", "Reshape", "ExpandDims"):
            tensor = tensor.op.inputs[0]
        return tensor

    def _offset(self, offset, products):
        """``mean, beta`` if ``offset`` is beta - mean * inverse or, without a beta, -mean * inverse; else None, None.

        products: dict from the names of the products with the inverse to the other factor.
        """
        beta, op = None, offset.op
        while op.type in ("Cast", "Identity"):
            op = op.inputs[0].op
        if op.type == "Sub":
            beta, op = op.inputs[0], uncast(op.inputs[1]).op
        mean = products.get(op.name)
        if mean is not None and beta is None:
            mean = mean.op.inputs[0] if mean.op.type == "Neg" else None
        return mean, beta

    def _users(self, tensor, types):
        """Pairs of an operation of these types that takes ``tensor``, perhaps cast, and the input that it takes."""
        users = []
        for op in tensor.consumers():
            if op.type in types:
                users.append((op, tensor))
            elif op.type in ("Cast", "Identity"):
                users.extend(self._users(op.outputs[0], types))
        return users


def other_input(op, tensor):
    """That of an operation's two inputs which is not ``tensor``."""
    return op.inputs[1 if op.inputs[0].name == tensor.name else 0]


def shortest(number):
    """The shortest decimal that rounds to ``number`` in its dtype, as a float: the number that a program contained."""
    return float(str(number))


# ---- from tf1bn/graphdef/model.py ----


Channels = collections.namedtuple("Channels", "axes virtual")
"""The axes of a layer's inputs that hold its channels, and the one that numbers virtual batches, or None."""


class Application(object):
    """One call of a layer in a graph: the place where it is applied to one input.

    Attributes:
      statistic: the operation of the moving mean's variable, which identifies the layer.
      variance: that of the moving variance's, where a scan found the layer.
      inputs, outputs: tensors.
      reads: dict from "moving_mean", "moving_variance" and perhaps "gamma" and "beta" to lists of tensors, whose values
        are concatenated.
      state: the same for the layer's further variables.
      flag: None, or the tensor that decides whether it trains: it does if the value is `trains`.
      trains: without a flag, whether it trains.
      rate: None, or, where the decay is known in a run alone, the tensor with 1 - decay, or with the decay if
        `rate_is_decay`.
      weights: a tensor of one weight per sample, or None.
      channels: the `Channels` of a layer whose statistics are no vectors, with several axes or virtual batches, each of
        which has moments of its own that move the statistics by their mean; None where the settings say it.
      touched: the operations that a run cannot do without applying the layer.
      settings: the dict of the layer's settings, by the names in a trace.
      problem: why it cannot be recorded, part of a sentence; or None.
    """

    def __init__(self, **attributes):
        self.flag = self.rate = self.weights = self.channels = self.problem = None
        self.rate_is_decay = False
        self.state = {}
        self.__dict__.update(attributes)


class GraphLayer(object):
    """A layer of a graph: a name, its settings, its applications in the order of the graph, and its problem.

    Settings that the applications do not share are None. What only tests may have been built with another decay, which
    does not matter to the statistics, so training applications alone decide about some.
    """

    def __init__(self, name, applications):
        self.name = name
        self.applications = applications
        self.problem = next((a.problem for a in applications if a.problem), None)
        training = [a for a in applications if a.trains or a.flag is not None] or applications
        self.reads, self.state, self.settings = {}, {}, dict(training[0].settings)
        for application in applications:
            self.reads.update(application.reads)
            self.state.update(application.state)
        for key, deciding in (
            ("decay", training),
            ("fused", training),
            ("rate_dtype", training),
            ("renorm_clipping", training),
            ("epsilon", applications),
        ):
            values = [a.settings[key] for a in deciding]
            self.settings[key] = values[0] if all(value == values[0] for value in values) else None
        axes = [(a.settings["data_format"], a.settings.get("axis"), a.channels is None) for a in applications]
        if len(set(axes)) > 1:
            self.problem = self.problem or "its applications do not agree about the axis of the channels"
        if len([a for a in training if a.channels is not None and a.channels.virtual is not None]) > 1:
            self.problem = self.problem or "it is trained with virtual batches in several places, each an update"
        for key in ("center", "scale"):
            self.settings[key] = next((a.settings[key] for a in applications if a.settings[key] is not None), None)


def layers_of(applications):
    """The applications grouped by their moving mean: a list of `GraphLayer`, in the order of the first application."""
    by_statistic = collections.OrderedDict()
    for application in applications:
        by_statistic.setdefault(application.statistic.name, []).append(application)
    layers, names = [], set()
    for statistic, group in by_statistic.items():
        name = statistic[: -len("/moving_mean")] if statistic.endswith("/moving_mean") else statistic
        name = statistic if name in names else name
        names.add(name)
        layers.append(GraphLayer(name, group))
    return layers


def unknown_settings():
    """The settings of a layer about which only its moving mean is known."""
    settings = dict.fromkeys(("decay", "epsilon", "fused", "release", "center", "scale", "axis", "rate_dtype"))
    settings.update(data_format="NHWC", dtype="float32", zero_debias=False, trainable=True, renorm=False)
    settings.update(renorm_clipping=None)
    return settings


# ---- from tf1bn/graphdef/scan.py ----

UNSEEN_FLAG = "the tensor that decides whether it trains cannot be found"


class Scan(PatternFinder):
    """The batch-norm layers of a graph.

    Args:
      graph: the graph.
      make_ndarray: TensorFlow's function from a TensorProto to an array.
      trainable: names of the trainable variables' operations; empty if not known.
    """

    def __init__(self, graph, make_ndarray, trainable=()):
        super(Scan, self).__init__(graph, make_ndarray)
        self._trainable = trainable
        self._updates_of = collections.defaultdict(list)
        self._updates_by_root = collections.defaultdict(list)
        self._debiasing = None
        for op in self._operations:
            update = self.update(op) if op.type.startswith("Assign") else None
            if update is not None:
                self._updates_of[update.variable.name].append(update)
                for root in update.roots:
                    self._updates_by_root[root].append(update)

    def applications(self, own=()):
        """A list of `Application`: first ``own``, those that are known already, and then all others in the graph."""
        claimed = set()
        for application in own:
            if application.outputs.graph is self.graph:
                claimed |= self._behind(application.outputs)
        groups, pairs = [], collections.OrderedDict()
        for op in self._operations:
            pattern = self.pattern(op) if op.type in NORMS else None
            if pattern is None or pattern.y.op.name in claimed:
                continue
            merge = self._merge_after(pattern.y) if pattern.fused and self.depth(op) else None
            if merge is None:
                groups.append([self._application([pattern], pattern.x, pattern.y, None)])
            elif merge.name not in claimed:
                if merge.name not in pairs:
                    pairs[merge.name] = (merge, [])
                    groups.append(merge.name)
                pairs[merge.name][1].append(pattern)
        groups = [group if isinstance(group, list) else self._paired(*pairs[group]) for group in groups]
        found = list(own) + [application for group in groups for application in group if application is not None]
        # A layer of ``own`` may well call a function, to choose between training and testing.
        return found + self._in_functions({application.statistic.name for application in own})

    def _merge_after(self, y):
        return next((op for op in y.consumers() if op.type in MERGES and not closes_loop(op)), None)

    def _paired(self, merge, patterns):
        """The applications of patterns whose outputs end in one Merge of a cond.

        Two fused operations, of which one trains, are one application.
        """
        inputs = [pattern.x.op.inputs[0] if pattern.x.op.type in SWITCHES else None for pattern in patterns]
        ends = [self._merged(tensor).name for tensor in merge.inputs]
        ways = [i for pattern in patterns for i, name in enumerate(ends) if name == pattern.y.name]
        statistics = [self._statistic("moving_mean", pattern.means[0], ())[0] for pattern in patterns]
        statistics = {op.name for op in statistics if op is not None}
        alike = len({getattr(tensor, "name", None) for tensor in inputs}) == 1 and len(statistics) < 2
        if not alike or inputs[0] is None or sorted(ways) != [0, 1]:
            return [self._application([pattern], pattern.x, pattern.y, None) for pattern in patterns]
        return [self._application(patterns, inputs[0], merge.outputs[0], (merge, dict(zip(ways, patterns))))]

    def _merged(self, tensor):
        """The output of a layer that a Merge takes, given the Merge's input."""
        return tensor

    def _application(self, patterns, x, y, paired):
        """The `Application` made of one pattern, or of the two in a cond; None without moving statistics.

        paired: None, or the cond's Merge and a dict from its inputs' numbers to the patterns.
        """
        means, variances = ([root for pattern in patterns for root in pattern.means[i]] for i in (0, 1))
        gamma, beta = self._parameter([p.gamma for p in patterns]), self._parameter([p.beta for p in patterns])
        mean, mean_updates = self._statistic("moving_mean", means, (gamma, beta))
        variance, variance_updates = self._statistic("moving_variance", variances, (mean, gamma, beta))
        if mean is None or variance is None:
            return None
        pattern, prefix = patterns[0], mean.name.rpartition("/")[0]
        # What nothing multiplies or is added to here may be the parameters of an operation behind the layer.
        if gamma is None and any(p.gamma is not None for p in patterns):
            gamma = self.variables.get(prefix + "/gamma")
        if beta is None and any(p.beta is not None for p in patterns):
            beta = self.variables.get(prefix + "/beta")
        state = self._state(mean, prefix)
        renorm = "renorm_mean" in state
        # Statistics that were made constants are neither the batch's nor moving.
        batch = [(root, branches) for root, branches in means if root.op.type not in FIXED + VARIABLES]
        flag, trains, flag_problem = self._flag(means, batch, paired)
        data_format, axis, channels, layout_problem = self._layout(pattern, x, mean, batch)
        decay, rate, rate_dtype = self._decay(mean, mean_updates)
        reads = [("moving_mean", mean), ("moving_variance", variance), ("gamma", gamma), ("beta", beta)]
        reads = {name: self.read_of(op) for name, op in reads if op is not None}
        problem = self.problem_of(x, y) or flag_problem or layout_problem
        if any(read is None for read in reads.values()):
            problem = problem or "one of its variables is never read outside of a tf.cond or tf.while_loop"
        return Application(
            statistic=mean,
            variance=variance,
            inputs=x,
            outputs=y,
            reads={name: [read] for name, read in reads.items()},
            state={name: [self.read_of(op)] for name, op in state.items() if self.read_of(op) is not None},
            flag=flag,
            trains=trains,
            rate=rate,
            touched=[y.op] + [update.op for update in mean_updates + variance_updates],
            channels=channels,
            problem=problem,
            settings={
                "decay": decay,
                "epsilon": pattern.epsilon,
                "data_format": data_format,
                "dtype": mean.get_attr("dtype").base_dtype.name,
                "fused": pattern.fused,
                "zero_debias": "biased" in state,
                "trainable": self._is_trainable(gamma, beta),
                "release": None,
                "center": self._has(pattern.beta, beta, ADDS if renorm else None),
                "scale": self._has(pattern.gamma, gamma, ("Mul",) if renorm else None),
                "axis": axis,
                "renorm": renorm,
                "renorm_clipping": self.clipping_of(pattern) if renorm else None,
                "rate_dtype": rate_dtype,
            },
        )

    def _flag(self, means, batch, paired):
        """``flag, trains, problem`` of an `Application`.

        means, batch: the roots of its mean, and those among them that are the batch's. paired: see `_application`.
        """
        flag, trains = None, bool(batch)
        if paired is not None:
            merge, ways = paired
            training = [way for way, pattern in ways.items() if pattern.op.get_attr("is_training")]
            if len(training) != 1:
                return None, len(training) == 2, None
            flag, trains = self._branch(merge, training[0])
        elif batch and len(batch) < len(means):
            branches = batch[0][1]
            if len(batch) == 1 and len(branches) == 1:
                flag, trains = self._branch(*branches[0])
        else:
            return flag, trains, None
        return flag, trains, None if flag is not None else UNSEEN_FLAG

    def _layout(self, pattern, x, mean, batch):
        """``data_format, axis, channels, problem`` of an `Application`; axis is None where data_format says it."""
        if pattern.data_format is not None:
            return "NCHW" if pattern.data_format.startswith(b"NC") else "NHWC", None, None, None
        axes, problem = self.axes_of(pattern, batch)
        sizes = [dim.size for dim in mean.get_attr("shape").dim] if mean.type in VARIABLES else []
        if problem is None and len(sizes) > 1:
            return ("NHWC", None) + self._several_axes(axes, sizes, x)
        if problem is None and len(axes) != 1:
            problem = "its batch statistics are not those of one axis of channels"
        rank, axis = x.get_shape().ndims, None if problem else axes[0]
        data_format = "NCHW" if axis == 1 and rank != 2 else "NHWC"
        return data_format, None if axis in (1, (rank or 0) - 1) else axis, None, problem

    def _several_axes(self, axes, sizes, x):
        """``channels, problem`` of an `Application` whose statistics, of these sizes, are no vectors.

        axes: those of ``x`` over which its moments do not run.
        """
        lengths = x.get_shape().as_list()
        # As they are broadcast.
        sizes = [1] * (len(lengths) - len(sizes)) + sizes
        virtual = [i for i in axes if sizes[i] == 1 and lengths[i] != 1]
        if len(sizes) != len(lengths) or len(virtual) > 1:
            return None, "the axes of its channels cannot be found"
        channels = [i for i in axes if i not in virtual]
        return Channels(channels, virtual[0] if virtual else None), None

    def _is_trainable(self, gamma, beta):
        names = [op.name for op in (gamma, beta) if op is not None] if self._trainable else []
        return not names or any(name in self._trainable for name in names)

    def _has(self, tensor, variable, corrected=None):
        """Whether a layer has a gamma or beta, a tensor of its pattern or None; None if that cannot be seen.

        corrected: None, or the types of the operation by which a gamma or beta joins r or d of renormalisation.
        """
        if variable is not None:
            return True
        if corrected is not None and tensor is not None and self._plain(tensor).op.type not in corrected:
            return False
        return False if tensor is None or self.static(tensor) is not None else None

    def _parameter(self, tensors):
        """The variable's operation behind the first of these tensors that is not None, or None."""
        tensors = [tensor for tensor in tensors if tensor is not None]
        found = [self.variable(tensor) for tensor in tensors]
        found += [self._frozen(name, self._plain(tensor).op) for tensor in tensors for name in ("gamma", "beta")]
        return ([op for op in found if op is not None] + [None])[0]

    def _frozen(self, name, op):
        """The operation of a vector that was a variable of this name before its graph was frozen, or None."""
        last = op.name.rpartition("/")[2]
        if op.type in FIXED and last == name and op.outputs[0].get_shape().ndims == 1:
            return op
        return None

    def _statistic(self, name, roots, relatives):
        """The operation of a moving average's variable, or None, and the list of its updates.

        Args:
          name: "moving_mean" or "moving_variance".
          roots: what the mean or variance of a layer is made of: the variable, or values that the variable follows.
          relatives: operations of other variables of the layer, or None, beside which it may lie.
        """
        direct = [root.op for root, _ in roots if root.op.name in self.variables]
        updates = []
        for root, _ in roots:
            updates += self._updates_by_root[root.name]
        averages = [self._average(update.variable) for update in updates]
        named = [op for op in direct + averages if op.name.rpartition("/")[2] == name]
        unnamed = [op for op in direct + averages if "renorm_" not in op.name and "stddev" not in op.name]
        for op in direct + averages + [op for op in relatives if op is not None]:
            sibling = self.variables.get(op.name.rpartition("/")[0] + "/" + name)
            if sibling is not None:
                named.append(sibling)
        found = direct + named + unnamed
        if not found and not updates:
            found = [op for op in (self._frozen(name, root.op) for root, _ in roots) if op is not None]
        return (found + [None])[0], updates

    def _average(self, variable):
        """The moving average that a variable of zero debias belongs to; otherwise the variable itself."""
        name, _, last = variable.name.rpartition("/")
        if last.startswith("biased"):
            for other in self.variables:
                if name == other or name.endswith("/" + other):
                    return self.variables[other]
        return variable

    def _state(self, mean, prefix):
        """The layer's further variables: a dict from their names in a trace to operations."""
        state = {}
        for name in ("moving_stddev", "renorm_mean", "renorm_stddev", "renorm_mean_weight", "renorm_stddev_weight"):
            if prefix + "/" + name in self.variables:
                state[name] = self.variables[prefix + "/" + name]
        if self._debiasing is None:
            # Large graphs have thousands of variables, which are gone through once.
            last = ("/biased", "/local_step")
            self._debiasing = [(name, op) for name, op in self.variables.items() if name.endswith(last)]
        for name in ("biased", "local_step"):
            for other, op in self._debiasing:
                if other.endswith(mean.name + "/" + name):
                    state[name] = op
        return state

    def _branch(self, choice, way):
        """The tensor that decides about a choice, and the value with which it takes this way; or None, None.

        choice, way: a choice as `GraphView.roots` makes it.
        """
        if choice.type in SELECTS:
            return self._plain(choice.inputs[0]), way == 1
        stack, seen = [choice.inputs[way]], set()
        while stack:
            tensor = stack.pop()
            op = tensor.op
            if op.type in SWITCHES and self.depth(op) == self.depth(choice) + 1:
                return self._plain(op.inputs[1]), tensor.value_index == 1
            if op.name not in seen and self.depth(op) > self.depth(choice):
                seen.add(op.name)
                stack.extend(op.inputs)
                stack.extend(out for other in op.control_inputs for out in other.outputs[:1])
        return None, None

    def _decay(self, mean, updates):
        """The decay if it is known, else the tensor with 1 - decay if there is one; and the rate's dtype."""
        own = [update for update in updates if self._average(update.variable) is mean] or self._updates_of[mean.name]
        if not own:
            return None, None, None
        rate = own[0].rate
        while rate.op.type in SWITCHES + ("Identity", "Cast"):
            rate = rate.op.inputs[0]
        value = self._constant(rate, 0)
        if value is not None:
            # Formed in Python, the rate may be rounded to float32 on its way to a float64 variable.
            rounded = value.dtype.name == "float32" and mean.get_attr("dtype").base_dtype.name == "float64"
            return round(1 - shortest(value), 12), None, None if rounded else "float64"
        value = self._constant(rate.op.inputs[1], 1) if rate.op.type == "Sub" else None
        if value is not None:
            # The core layer of TF 1.8 and later makes the decay a tensor, and forms the rate from that.
            return shortest(value), None, "float32"
        return None, (None if self.depth(rate.op) else rate), None

    def _constant(self, tensor, still):
        """The one number that a tensor is made of, apart from ``still``, its value while testing; or None."""
        values = [self.static(root) for root, _ in self.roots(tensor)]
        if any(value is None or value.size != 1 for value in values):
            return None
        values = [value.reshape(-1)[0] for value in values]
        values = [value for value in values if value != still] or values[:1]
        return values[0] if len(values) == 1 else None

    def _in_functions(self, own):
        """Applications inside a function: its call with a moving mean is all that the graph shows of them.

        own: names of the moving means of the layers that are known already.
        """
        hidden = []
        for name, op in self.variables.items():
            callers = self.callers_of(op) if name.endswith("/moving_mean") and name not in own else []
            if callers:
                hidden.append(
                    Application(
                        statistic=op,
                        inputs=None,
                        outputs=None,
                        reads={},
                        trains=False,
                        touched=callers,
                        problem=IN_FUNCTION,
                        settings=unknown_settings(),
                    )
                )
        return hidden


# ---- from tf1bn/recorders/run_plan.py ----

Part = collections.namedtuple("Part", "layer applications outputs")
"""A layer, the list of its applications in one run, and whether their outputs are recorded."""


class Plan(object):
    """What is fetched and read to record the runs with the same fetches and feeds.

    Args:
      layers: the graph's layers, a list of `GraphLayer`.
      targets: the operations and tensors that are fetched.
      fed: names of the tensors that are fed.
      outputs: whether outputs are recorded.

    Attributes:
      layers: the layers that the run depends on.
      parts: a `Part` for each of them that can be recorded.
      extra: dict from names to tensors that are fetched in the run itself.
      before, after: lists of tensors that are read just before and just after, in runs of their own.
    """

    def __init__(self, layers, targets, fed, outputs):
        names = reached(targets, fed)

        def computed(tensor):
            return tensor.op.name in names or tensor.name in fed

        self.layers, self.parts, self.extra = [], [], {}
        before, after = collections.OrderedDict(), collections.OrderedDict()
        for layer in layers:
            applied = [a for a in layer.applications if any(op.name in names for op in a.touched)]
            if not layer.problem:
                applied = [a for a in applied if computed(a.inputs)]
            if not applied:
                continue
            self.layers.append(layer)
            if layer.problem:
                continue
            with_outputs = outputs and all(a.outputs.op.name in names and a.outputs.name not in fed for a in applied)
            wanted = [a.inputs for a in applied]
            wanted += [a.outputs for a in applied if with_outputs]
            wanted += [tensor for a in applied for tensor in (a.flag, a.weights) if tensor is not None]
            wanted += [a.rate for a in applied if a.rate is not None and computed(a.rate)]
            self.extra.update((tensor.name, tensor) for tensor in wanted)
            for variables in (layer.reads, layer.state):
                for name, tensors in variables.items():
                    before.update((tensor.name, tensor) for tensor in tensors)
                    if name not in ("gamma", "beta"):
                        after.update((tensor.name, tensor) for tensor in tensors)
            self.parts.append(Part(layer, applied, with_outputs))
        self.before, self.after = list(before.values()), list(after.values())

    def step(self, before, extra, after, moments, training):
        """The dict of layers and the training flag of a step in a trace.

        Args:
          before, extra, after: dicts from the names of tensors to arrays.
          moments: None, or a function from a batch with the channels last to its moments, which replace the inputs.
          training: whether the run trained; None takes it from the applications.
        """
        entries, flags = collections.OrderedDict(), {}
        for part in self.parts:
            entries[part.layer.name], flags[part.layer.name] = _entry(part, before, extra, after, moments)
        trained = any(any(own) for own in flags.values()) if training is None else training
        for name, own in flags.items():
            if training is None and not all(flag is trained for flag in own):
                entries[name]["training"] = own
        return entries, trained


def elements(graph, structure, argument, components):
    """A list of the operations and tensors in what a session's run takes as fetches, or as keys of its feeds.

    Args:
      argument: the name of the argument in the message of the TypeError for what is not in the graph.
      components: a function from anything else to the list of tensors that it consists of.
    """
    found, stack = [], [structure]
    while stack:
        item = stack.pop()
        if isinstance(item, dict) or (hasattr(item, "values") and hasattr(item, "keys")):
            stack.extend(item.values())
        elif isinstance(item, (list, tuple)):
            stack.extend(item)
        elif hasattr(type(item), "__attrs_attrs__"):
            stack.extend(getattr(item, attribute.name) for attribute in type(item).__attrs_attrs__)
        else:
            try:
                found.append(graph.as_graph_element(item))
            except (TypeError, ValueError, KeyError):
                parts = components(item)
                if not parts:
                    raise TypeError("`%s` holds %r, which is not in the session's graph." % (argument, item))
                stack.extend(parts)
    return found


def _entry(part, before, extra, after, moments):
    """A layer's part of a step, and a list with whether each application trained."""
    layer, applications = part.layer, part.applications
    entry = {}
    for name, tensors in layer.reads.items():
        moving = name.startswith("moving_")
        entry[name + "_before" if moving else name] = _joined(tensors, before)
        if moving:
            entry[name + "_after"] = _joined(tensors, after)
    if layer.state:
        entry["state"] = {name: _joined(tensors, before) for name, tensors in layer.state.items()}
        entry["state"].update((name + "_after", _joined(tensors, after)) for name, tensors in layer.state.items())
    batches = [_batches(extra[a.inputs.name], a.channels) for a in applications]
    counts = [len(own) for own in batches]
    inputs = [batch for own in batches for batch in own]
    weights = [None if a.weights is None else np.reshape(extra[a.weights.name], -1) for a in applications]
    weighted = any(weight is not None for weight in weights)
    if moments is None or weighted:
        entry["inputs"] = inputs
    else:
        axis = layer.settings["axis"]
        if axis is None:
            axis = 1 if layer.settings["data_format"] == "NCHW" else -1
        entry["moments"] = [moments(np.rollaxis(batch, axis % batch.ndim, batch.ndim)) for batch in inputs]
    if weighted:
        entry["weights"] = weights
    if part.outputs:
        entry["outputs"] = []
        for a in applications:
            outputs = np.reshape(extra[a.outputs.name], np.shape(extra[a.inputs.name]))
            entry["outputs"].extend(_batches(outputs, a.channels))
    flags = [a.trains if a.flag is None else bool(np.all(extra[a.flag.name])) == a.trains for a in applications]
    if layer.settings["decay"] is None:
        decays = [_decay(a, extra) if trained else None for a, trained in zip(applications, flags)]
        used = {decay for decay, trained in zip(decays, flags) if trained}
        entry["decay"] = used.pop() if len(used) == 1 else None
        if used and max(counts) == 1:
            entry["decays"] = decays
    if max(counts) > 1:
        # Their updates are one: the mean of those that each would make.
        entry["reduction"] = "mean"
    return entry, [flag for flag, count in zip(flags, counts) for _ in range(count)]


def _joined(tensors, values):
    arrays = [np.asarray(values[tensor.name]) for tensor in tensors]
    joined = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
    return joined if joined.ndim < 2 else joined.reshape(-1)


def _batches(array, channels):
    """The batches of an application as a trace holds them, a list of arrays: one, or its virtual batches.

    The channels of several axes are put last, as one axis, in the order of the statistics' values.
    """
    if channels is None:
        return [_batch(array)]
    axes, batches = list(channels.axes), [array]
    if channels.virtual is not None:
        batches = list(np.rollaxis(array, channels.virtual))
        axes = [axis - (axis > channels.virtual) for axis in axes]
    others = [i for i in range(batches[0].ndim) if i not in axes]
    size = int(np.prod([batches[0].shape[axis] for axis in axes]))
    return [
        _batch(batch.transpose(others + axes).reshape([batch.shape[i] for i in others] + [size])) for batch in batches
    ]


def _batch(array):
    """The array with rank 2 or more, as a trace holds it: TensorFlow normalises a vector as one sample."""
    array = np.asarray(array)
    return array[np.newaxis] if array.ndim == 1 else array


def _decay(application, extra):
    """The decay of an application in this run, or None if it is unknown or not from 0 to 1."""
    if application.rate is None:
        return application.settings["decay"]
    if application.rate.name not in extra:
        return None
    value = float(np.reshape(extra[application.rate.name], -1)[0])
    value = value if application.rate_is_decay else 1 - value
    return value if 0 <= value <= 1 else None


# ---- end of the parts of tf1bn ----


class Recorder(object):
    """Runs like a session, and records every run that a batch-norm layer takes part in as one step of a trace.

    A layer is recorded in the runs whose fetches depend on it. Its inputs and outputs are fetched in the run itself;
    gamma, beta and the statistics are read just before and just after, in runs of their own. Nothing else may run in
    the session meanwhile; the recorded runs of threads that share a recorder take turns. A layer inside a tf.cond or
    tf.while_loop is listed with the reason, and not recorded.

    Args:
      sess: a tf.Session, or another session with its `run`.
      path: the folder of the trace, which is made.
      keep: "inputs" writes inputs and outputs; "moments" writes the moments of the inputs instead.
      overwrite: replace a trace that is there.
      producer: what the trace says that made it.
    """

    def __init__(self, sess, path, keep="inputs", overwrite=False, producer=None):
        if keep not in ("inputs", "moments"):
            raise ValueError('`keep` is %r; it must be "inputs" or "moments".' % (keep,))
        self._writer = Writer(path, overwrite, producer or "record_tf1.py, TensorFlow %s" % tf.__version__)
        self._session = sess
        self._keep = keep
        self._version = None
        self._layers, self._plans, self._declared = [], {}, {}
        self._planning, self._running = threading.Lock(), threading.RLock()
        self._closed = False
        self.path = self._writer.path
        self.steps = 0

    def run(self, fetches, feed_dict=None, options=None, run_metadata=None, training=None):
        """`sess.run`, recorded if a layer takes part; `training` says whether it trains, instead of the graph."""
        if training is not None and not isinstance(training, bool):
            raise ValueError("`training` is %r; it must be True, False or None." % (training,))
        plan = self._planned(fetches, feed_dict)
        if not plan.parts:
            # It waits for no other run: one that is being recorded may wait for what this one puts into a queue.
            return self._session.run(fetches, feed_dict, options=options, run_metadata=run_metadata)
        with self._running:
            return self._recorded(plan, fetches, feed_dict, options, run_metadata, training)

    def _recorded(self, plan, fetches, feed_dict, options, run_metadata, training):
        """Run and record one step, and return the results."""
        before = self._read(plan.before)
        results = self._session.run([fetches, plan.extra], feed_dict, options=options, run_metadata=run_metadata)
        self._finish(plan, before, results[1], training)
        return results[0]

    def _planned(self, fetches, feed_dict):
        """The `Plan` of a run, whose layers are listed in the trace."""
        self._writer.check()
        with self._planning:
            plan = self._plan(fetches, feed_dict)
            self._declare(plan.layers)
        return plan

    def _finish(self, plan, before, extra, training):
        """Write a step, with the values before it and what it fetched in addition."""
        after = self._read(plan.after)
        moments = _moments if self._keep == "moments" else None
        layers, trained = plan.step(before, extra, after, moments, training)
        self._writer.add_step(layers, trained)
        self.steps += 1

    def close(self):
        """Finish the trace, and say on stderr if it holds no layer; closing it again does nothing."""
        if not self._closed and not self._declared:
            reason = "it was never run, or its graph has no batch norm with moving statistics in what was run"
            sys.stderr.write("record_tf1: %s: no layer was recorded: %s.\n" % (self.path, reason))
        self._closed = True
        self._writer.close()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def _plan(self, fetches, feed_dict):
        graph = self._session.graph
        if graph.version != self._version:
            self._version, self._plans = graph.version, {}
            with graph.as_default():
                trainable = [variable.op.name for variable in tf.trainable_variables()]
            make_ndarray = getattr(tf, "make_ndarray", None) or tf.contrib.util.make_ndarray
            self._layers = layers_of(Scan(graph, make_ndarray, trainable).applications())
        targets = elements(graph, fetches, "fetches", _components)
        fed = elements(graph, list(feed_dict or ()), "feed_dict", _components)
        key = tuple(element.name for element in targets), frozenset(element.name for element in fed)
        if key not in self._plans:
            self._plans[key] = Plan(self._layers, targets, key[1], self._keep == "inputs")
        return self._plans[key]

    def _declare(self, layers):
        new = collections.OrderedDict()
        for layer in layers:
            if layer.name not in self._declared:
                new[layer.name] = dict(layer.settings, release=_release(tf.__version__))
                if layer.problem:
                    new[layer.name]["unrecordable"] = layer.problem[0].upper() + layer.problem[1:] + "."
            elif layer.problem and "unrecordable" not in self._declared[layer.name]:
                warnings.warn(
                    "Layer %r is no longer recorded: it was applied once more, and there %s."
                    % (layer.name, layer.problem)
                )
        self._declared.update(new)
        if new:
            self._writer.set_layers(self._declared)

    def _read(self, tensors):
        if hasattr(self._session, "run_step_fn"):
            values = self._session.run_step_fn(lambda step_context: step_context.session.run(tensors))
        else:
            values = self._session.run(tensors)
        return {tensor.name: value for tensor, value in zip(tensors, values)}


class RecorderHook(tf.train.SessionRunHook):
    """Records every run of a monitored session, or of an Estimator, that a batch-norm layer takes part in as a step.

    What it records is what `Recorder` does. A session that is made anew after an error goes on with the same trace.

    Args:
      path: the folder of the trace, which is made with the first session.
      keep, overwrite, producer: as for `Recorder`.

    Attributes:
      recorder: the `Recorder`, once there is a session.
    """

    def __init__(self, path, keep="inputs", overwrite=False, producer=None):
        self._arguments = path, keep, overwrite, producer
        self._plan = self._before = None
        self.recorder = None

    def after_create_session(self, session, coord):
        """Make the recorder, or go on with it in another session."""
        if self.recorder is None:
            self.recorder = Recorder(session, *self._arguments)

    def before_run(self, run_context):
        """Read the variables, and ask for what the step needs besides."""
        self.recorder._session = run_context.session
        fetches, feed_dict = run_context.original_args[:2]
        self._plan = self.recorder._planned(fetches, feed_dict)
        if not self._plan.parts:
            return None
        self._before = self.recorder._read(self._plan.before)
        return tf.train.SessionRunArgs(self._plan.extra)

    def after_run(self, run_context, run_values):
        """Read the variables again, and write the step."""
        if self._plan.parts:
            self.recorder._finish(self._plan, self._before, run_values.results, None)

    def end(self, session):
        """Finish the trace."""
        if self.recorder is not None:
            self.recorder.close()


def _release(version):
    """The release of TensorFlow 1.x whose rules hold, as a trace has it; None for TensorFlow 2."""
    return ".".join(version.split(".")[:2]) if version.startswith("1.") else None


def _components(item):
    """The tensors of a SparseTensor, IndexedSlices or the like."""
    return [
        getattr(item, name) for name in ("values", "indices", "dense_shape") if getattr(item, name, None) is not None
    ]


def _moments(batch):
    """Count, mean and population variance for each of the last axis, in float64."""
    rows = np.asarray(batch, np.float64).reshape(-1, batch.shape[-1])
    if not len(rows):
        nothing = np.full(batch.shape[-1], np.nan)
        return {"count": 0, "mean": nothing, "variance": nothing}
    return {"count": len(rows), "mean": rows.mean(0), "variance": rows.var(0)}


# The file in a trace that says which process writes it, as long as it does.
LOCK = "writer.lock"


class Writer(object):
    """Writes a trace: a folder that is readable, with all finished steps, whenever the process should end.

    It writes to the folder that it made, wherever that is moved and wherever the process goes, and never to another
    one that comes to lie at its path. Threads may share it; a forked process may not.
    """

    def __init__(self, path, overwrite, producer):
        self.path = os.path.abspath(path)
        self._producer = producer
        self._step = 0
        self._lock = threading.RLock()
        self._process = os.getpid()
        self._steps = None
        target = os.path.realpath(self.path)
        old = os.path.lexists(target) and not (os.path.isdir(target) and not os.listdir(target))
        if old:
            _check_replaceable(path, target, overwrite)
        # It is made beside `path` and renamed, so that a folder at `path` is always a whole trace.
        new = tempfile.mkdtemp(prefix="." + os.path.basename(target) + ".", dir=os.path.dirname(target))
        try:
            os.chmod(new, 0o755)
            self._folder = os.open(new, os.O_RDONLY)
            self._name = "/proc/self/fd/%d" % self._folder
            if not os.path.isdir(self._name):
                # No such folder on this system: the path has to do.
                self._name = new
            with self._created(LOCK) as file:
                file.write(json.dumps(_owner(os.getpid())).encode("ascii") + b"\n")
            os.mkdir(self._path("arrays"))
            self._created("steps.jsonl").close()
            self.set_layers({}, check=False)
            if old:
                # The old trace is there until the new one is whole.
                aside = tempfile.mkdtemp(prefix=".old.", dir=os.path.dirname(target))
                os.rename(target, os.path.join(aside, "trace"))
                try:
                    os.rename(new, target)
                except OSError:
                    os.rename(os.path.join(aside, "trace"), target)
                    raise
                finally:
                    shutil.rmtree(aside, ignore_errors=True)
            else:
                os.rename(new, target)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
        if self._name == new:
            self._name = target
        self._steps = open(self._path("steps.jsonl"), "ab")

    def check(self):
        """Raise ValueError unless this process can write the trace."""
        if os.getpid() != self._process:
            raise ValueError(
                "The trace %r is written by process %d, and this is its fork %d; make a recorder with a path of its "
                "own in each process." % (self.path, self._process, os.getpid())
            )
        if self._steps is None:
            raise ValueError("The trace %r is closed; nothing can be added to it." % self.path)
        if os.fstat(self._folder).st_nlink == 0:
            raise ValueError("The trace %r was replaced or deleted; nothing can be added to it." % self.path)

    def set_layers(self, layers, check=True):
        """Write trace.json, whole or not at all."""
        if check:
            self.check()
        content = collections.OrderedDict([("format", "tf1bn-trace"), ("version", 1), ("producer", self._producer)])
        content["layers"] = collections.OrderedDict((name, _settings(layers[name])) for name in layers)
        text = json.dumps(content, allow_nan=False, indent=1, separators=(",", ": ")).encode("ascii") + b"\n"
        with self._lock:
            _remove(self._path("trace.json.new"))
            with self._created("trace.json.new") as file:
                file.write(text)
            os.rename(self._path("trace.json.new"), self._path("trace.json"))

    def add_step(self, layers, training):
        """Write the arrays, and then the line that makes them a step; or nothing, if a file cannot be written."""
        self.check()
        with self._lock:
            self._rows, self._large = collections.OrderedDict(), collections.OrderedDict()
            # In the order of application, whatever dicts do in this Python.
            entries = collections.OrderedDict((name, _sorted(self._entry(values))) for name, values in layers.items())
            arrays = list(self._large.values()) + [(name, np.stack(rows)) for name, rows in self._rows.items()]
            line = collections.OrderedDict([("layers", entries), ("step", self._step), ("training", training)])
            text = json.dumps(line, allow_nan=False, separators=(",", ":")).encode("ascii") + b"\n"
            size, written = os.fstat(self._steps.fileno()).st_size, []
            try:
                for name, array in arrays:
                    with self._created(name) as file:
                        written.append(name)
                        np.save(file, array)
                self._steps.write(text)
                self._steps.flush()
            except BaseException:
                self._undo(size, written)
                raise
            self._step += 1

    def close(self):
        """Close the files; closing them again does nothing."""
        if os.getpid() != self._process:
            return
        with self._lock:
            if self._steps is None:
                return
            self._steps.close()
            self._steps = None
            _remove(self._path(LOCK))
            os.close(self._folder)

    def _path(self, name):
        return self._name + "/" + name

    def _created(self, name):
        """A new file of the trace, open for writing; OSError if there is one."""
        return os.fdopen(os.open(self._path(name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb")

    def _undo(self, size, written):
        """Take back a step that could not be written; ``size`` is that of steps.jsonl before."""
        # What the file object still holds must not follow later.
        try:
            self._steps.close()
        except (IOError, OSError):
            pass
        for name in written:
            _remove(self._path(name))
        self._steps = open(self._path("steps.jsonl"), "ab")
        self._steps.truncate(size)

    def _entry(self, values):
        entry = {}
        for name, value in values.items():
            if name in ("inputs", "outputs"):
                entry[name] = [self._array(array) for array in value]
            elif name == "weights":
                entry[name] = [None if array is None else self._array(array) for array in value]
            elif name == "moments":
                vectors = [{key: self._vector(item[key]) for key in ("mean", "variance")} for item in value]
                entry[name] = [dict(item, count=int(given["count"])) for item, given in zip(vectors, value)]
            elif name == "state":
                entry[name] = {key: self._vector(array) for key, array in value.items()}
            elif name in ("training", "decay", "decays", "reduction"):
                entry[name] = value
            else:
                entry[name] = self._vector(value)
        return entry

    def _array(self, array):
        if id(array) not in self._large:
            self._large[id(array)] = ("arrays/%08d-%d.npy" % (self._step, len(self._large)), _plain(array))
        return self._large[id(array)][0]

    def _vector(self, value):
        value = _plain(np.atleast_1d(value))
        name = "arrays/%08d-%s%dx%d.npy" % (self._step, value.dtype.kind, value.dtype.itemsize, value.size)
        rows = self._rows.setdefault(name, [])
        rows.append(value)
        return "%s#%d" % (name, len(rows) - 1)


def _check_replaceable(path, target, overwrite):
    """Raise ValueError unless what is at ``target`` is a trace that may be replaced."""
    if not overwrite or not os.path.exists(os.path.join(target, "trace.json")):
        raise ValueError(
            "`path` is %r, which is there; choose another path%s."
            % (path, "" if overwrite else ", or pass overwrite=True for a trace")
        )
    try:
        with open(os.path.join(target, LOCK), "rb") as file:
            owner = json.loads(file.read(4096).decode("utf-8"))
        process, start, host = owner["process"], owner["start"], owner["host"]
    except (IOError, OSError, ValueError, KeyError, TypeError):
        return
    runs = True
    if host == socket.gethostname():
        # The number may have gone to another process since.
        runs = os.path.isdir("/proc/%s" % process) if os.path.isdir("/proc/self") else True
        runs = runs and (start is None or start == _owner(process)["start"])
    if runs and owner != _owner(os.getpid()):
        raise ValueError(
            "`path` is %r, where a trace is that process %s on %s is writing; choose another path, or delete the file "
            "%s in it if that process has ended." % (path, process, host, LOCK)
        )


def _owner(process):
    """What the lock file of a trace says about the process that writes it, as tf1bn/trace/owner.py does."""
    try:
        with open("/proc/%s/stat" % process, "rb") as file:
            # The name of the program, in parentheses, may hold spaces and parentheses.
            start = file.read().rpartition(b")")[2].split()[19].decode("ascii")
    except (IOError, OSError, IndexError):
        start = None
    return collections.OrderedDict([("process", process), ("start", start), ("host", socket.gethostname())])


def _remove(path):
    try:
        os.unlink(path)
    except OSError:
        pass


def _sorted(value):
    """``value`` with the keys of every dict in it in order."""
    if isinstance(value, dict):
        return collections.OrderedDict((key, _sorted(value[key])) for key in sorted(value))
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def _plain(array):
    # TensorFlow's bfloat16 is no dtype of NumPy's own.
    array = np.asarray(array)
    return array if array.dtype.kind in "fiu" else array.astype(np.float32)


def _settings(settings):
    """The settings in a fixed order, without the further ones that are None."""
    always = ("decay", "epsilon", "data_format", "dtype", "fused", "zero_debias", "trainable", "release")
    further = [name for name in sorted(settings) if name not in always and settings[name] is not None]
    return collections.OrderedDict((name, settings[name]) for name in list(always) + further)
