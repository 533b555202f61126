# Runs on Python 2.7 too, see below:
# ruff: noqa: UP010
"""The operations of batch normalisation and of moving averages, found by their form.

Works on live graphs and on imported ones, of any TensorFlow 1.x or 2.x; imports no TensorFlow. All below the imports
stands word for word in docker/tf1/record_tf1.py too, which runs on Python 2.7; a test compares.
"""

from __future__ import absolute_import, division, print_function

import collections

import numpy as np

from .view import ADDS, PASSES, SELECTS, GraphView

# ---- what record_tf1.py holds ----

Update = collections.namedtuple("Update", "op variable roots rate")


class Sites(GraphView):
    """A graph in which batch normalisation and updates of moving averages are looked for."""

    def update(self, op):
        """The `Update` that an operation makes of a moving average, or None."""
        if not op.type.startswith("Assign") or len(op.inputs) < 2:
            return None
        variable = self.variable(op.inputs[0])
        value = op.inputs[1].op
        while value.type in PASSES + SELECTS:
            value = value.inputs[0 if value.type in PASSES else 1].op
        terms = None
        if variable is not None and op.type in ("AssignSub", "AssignSubVariableOp") and value.type == "Mul":
            # variable -= (variable - new) * rate
            for difference, rate in (tuple(value.inputs), tuple(value.inputs)[::-1]):
                if difference.op.type == "Sub" and self.variable(difference.op.inputs[0]) is variable:
                    terms = (difference.op.inputs[1], rate)
        elif variable is not None and op.type in ("Assign", "AssignVariableOp") and value.type in ADDS:
            # variable = variable * decay + new * rate
            muls = [tensor.op for tensor in value.inputs if tensor.op.type == "Mul"]
            old = [any(self.variable(item) is variable for item in mul.inputs) for mul in muls]
            if sorted(old) == [False, True]:
                new = sorted(muls[old.index(False)].inputs, key=lambda tensor: tensor.get_shape().ndims or 0)
                terms = (new[1], new[0])
        if terms is None:
            return None
        new, rate = terms
        return Update(op, variable, [root.name for root, _ in self.roots(new)], rate)

    def fused_site(self, op):
        training = op.get_attr("is_training")
        means = [(op.outputs[i], ()) for i in (1, 2)] if training else None
        return {
            "kind": "fused",
            "op": op,
            "x": op.inputs[0],
            "y": op.outputs[0],
            "gamma": op.inputs[1],
            "beta": op.inputs[2],
            "means": [means[:1], means[1:]] if training else [self.roots(op.inputs[i]) for i in (3, 4)],
            "epsilon": shortest(np.float32(op.get_attr("epsilon"))),
            "data_format": op.get_attr("data_format"),
        }

    def composed_site(self, op):
        """From 1 / sqrt(variance + epsilon) to x * inv + (beta - mean * inv), as tf.nn.batch_normalization does it."""
        add = op.inputs[0].op
        if add.type not in ADDS:
            return None
        known = [self.static(tensor) for tensor in add.inputs]
        if sum(value is not None and value.size == 1 for value in known) != 1:
            return None
        at = 0 if known[0] is not None and known[0].size == 1 else 1
        variance, epsilon = add.inputs[1 - at], known[at]
        scales = [(op.outputs[0], None)]
        scales += [(mul.outputs[0], other(mul, tensor)) for mul, tensor in self._users(op.outputs[0], ("Mul",))]
        for inverse, gamma in scales:
            products = {mul.name: other(mul, tensor) for mul, tensor in self._users(inverse, ("Mul",))}
            for name, x in products.items():
                product = self.graph.get_operation_by_name(name).outputs[0]
                for last, tensor in self._users(product, ADDS):
                    mean, beta = self._offset(other(last, tensor), products)
                    if mean is not None:
                        return {
                            "kind": "composed",
                            "op": last,
                            "x": x,
                            "y": last.outputs[0],
                            "gamma": gamma,
                            "beta": beta,
                            "means": [self.roots(mean), self.roots(variance)],
                            "epsilon": shortest(epsilon.reshape(-1)[0]),
                            "mean": mean,
                        }
        return None

    def _offset(self, offset, products):
        """``mean, beta`` if ``offset`` is beta - mean * inverse or, without a beta, -mean * inverse."""
        beta, op = None, offset.op
        while op.type in ("Cast", "Identity"):
            op = op.inputs[0].op
        if op.type == "Sub":
            beta, op = op.inputs[0], op.inputs[1].op
        mean = products.get(op.name)
        if mean is not None and beta is None:
            mean = mean.op.inputs[0] if mean.op.type == "Neg" else None
        return mean, beta

    def _users(self, tensor, types):
        """Pairs of an operation of these types that takes ``tensor``, perhaps cast, and what it takes."""
        found = []
        for op in tensor.consumers():
            if op.type in types:
                found.append((op, tensor))
            elif op.type in ("Cast", "Identity"):
                found.extend(self._users(op.outputs[0], types))
        return found


def other(op, tensor):
    """The other of an operation's two inputs."""
    return op.inputs[1 if op.inputs[0].name == tensor.name else 0]


def shortest(number):
    """The number that somebody wrote: the shortest decimal that rounds to ``number`` in its dtype."""
    return float(str(number))
