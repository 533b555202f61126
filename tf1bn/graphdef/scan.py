# Runs on Python 2.7 too, see below:
# ruff: noqa: B905, RUF005, UP008, UP010
"""Batch-norm layers in a graph, found by what its operations are and not by who made them.

Works on live graphs and on imported ones, of any TensorFlow 1.x or 2.x; imports no TensorFlow. All below the imports
stands word for word in docker/tf1/record_tf1.py too, which runs on Python 2.7; a test compares.
"""

from __future__ import absolute_import, division, print_function

import collections

from .model import Application, Channels, unknown_settings
from .patterns import PatternFinder, shortest
from .view import ADDS, FIXED, IN_FUNCTION, MERGES, NORMS, SELECTS, SWITCHES, VARIABLES, closes_loop

# ---- what record_tf1.py holds ----

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
