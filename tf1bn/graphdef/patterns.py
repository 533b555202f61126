# Runs on Python 2.7 too, see below:
# ruff: noqa: UP010, RUF005
"""The operations of batch normalisation and of moving averages, found by their form.

Works on live graphs and on imported ones, of any TensorFlow 1.x or 2.x; imports no TensorFlow. All below the imports
stands word for word in docker/tf1/record_tf1.py too, which runs on Python 2.7; a test compares.
"""

from __future__ import absolute_import, division, print_function

import collections

import numpy as np

from .view import ADDS, CALLS, FUSED, GLOBAL, IN_FUNCTION, PASSES, SELECTS, GraphView, uncast

# ---- what record_tf1.py holds ----

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
