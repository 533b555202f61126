# Runs on Python 2.7 too, see below:
# ruff: noqa: B905, RUF005, UP004, UP008, UP010
"""Batch-norm layers in a graph, found by what its operations are and not by who made them.

Works on live graphs and on imported ones, of any TensorFlow 1.x or 2.x; imports no TensorFlow. All below the imports
stands word for word in docker/tf1/record_tf1.py too, which runs on Python 2.7; a test compares.
"""

from __future__ import absolute_import, division, print_function

import collections

from .patterns import Sites, shortest
from .view import CALLS, FIXED, FUSED, IN_FUNCTION, MERGES, SELECTS, SWITCHES, VARIABLES, closes_loop

# ---- what record_tf1.py holds ----


class Application(object):
    """One place in a graph where a layer is applied.

    statistic: the operation of the moving mean's variable, which tells layers apart. inputs, outputs: tensors. reads:
    dict from "moving_mean", "moving_variance" and perhaps "gamma" and "beta" to lists of tensors, whose values are
    put together; state: the same for other variables. flag: None, or the tensor that says whether it trains, which it
    does if its value is `trains`; without a flag, it does if `trains`. rate: None, or the tensor with 1 - decay, or
    with the decay if `rate_is_decay`, where that is not known before a run. weights: tensor of one weight per sample,
    or None. touched: the operations that a run cannot do without applying the layer. settings: those of the layer.
    problem: why it cannot be recorded, or None.
    """

    def __init__(self, **attributes):
        self.flag = self.rate = self.weights = self.problem = None
        self.rate_is_decay = False
        self.state = {}
        self.__dict__.update(attributes)


class Layer(object):
    """A layer: a name, its settings, its applications in the order of the graph, and why it cannot be recorded."""

    def __init__(self, name, applications):
        self.name = name
        self.applications = applications
        self.problem = next((a.problem for a in applications if a.problem), None)
        # What only tests may have been built with another decay, and does not matter to the statistics.
        training = [a for a in applications if a.trains or a.flag is not None] or applications
        self.reads, self.state, self.settings = {}, {}, dict(training[0].settings)
        for application in applications:
            self.reads.update(application.reads)
            self.state.update(application.state)
        for key, givers in (
            ("decay", training),
            ("fused", training),
            ("rate_dtype", training),
            ("epsilon", applications),
        ):
            values = [a.settings[key] for a in givers]
            self.settings[key] = values[0] if all(value == values[0] for value in values) else None
        axes = [(a.settings["data_format"], a.settings.get("axis")) for a in applications]
        if len(set(axes)) > 1:
            self.problem = self.problem or "its applications do not agree about the axis of the channels"
        for key in ("center", "scale"):
            self.settings[key] = next((a.settings[key] for a in applications if a.settings[key] is not None), None)


def layers_of(applications):
    """The applications as a list of `Layer`, by their statistics."""
    by_statistic = collections.OrderedDict()
    for application in applications:
        by_statistic.setdefault(application.statistic.name, []).append(application)
    layers, names = [], set()
    for statistic, group in by_statistic.items():
        name = statistic[: -len("/moving_mean")] if statistic.endswith("/moving_mean") else statistic
        name = statistic if name in names else name
        names.add(name)
        layers.append(Layer(name, group))
    return layers


class Scan(Sites):
    """A graph, scanned.

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
        for op in self._operations:
            update = self.update(op)
            if update is not None:
                self._updates_of[update.variable.name].append(update)
                for root in update.roots:
                    self._updates_by_root[root].append(update)

    def applications(self, own=()):
        """List of `Application`, ``own`` first, which are those that are known, and then what else is found."""
        claimed = set()
        for application in own:
            if application.outputs.graph is self.graph:
                claimed |= self._behind(application.outputs)
        found, pairs = [], collections.OrderedDict()
        for op in self._operations:
            site = None
            if op.type in FUSED:
                site = self.fused_site(op)
            elif op.type == "Rsqrt":
                site = self.composed_site(op)
            if site is None or site["y"].op.name in claimed:
                continue
            merge = self._merge_after(site["y"]) if site["kind"] == "fused" and self.depth(op) else None
            if merge is None:
                found.append([self._application([site], site["x"], site["y"], None)])
            elif merge.name not in claimed:
                if merge.name not in pairs:
                    pairs[merge.name] = (merge, [])
                    found.append(merge.name)
                pairs[merge.name][1].append(site)
        found = [item if isinstance(item, list) else self._paired(*pairs[item]) for item in found]
        found = list(own) + [application for group in found for application in group if application is not None]
        # A known layer may well call a function, to choose between training and testing.
        return found + self._called({application.statistic.name for application in own})

    def _merge_after(self, y):
        return next((op for op in y.consumers() if op.type in MERGES and not closes_loop(op)), None)

    def _paired(self, merge, sites):
        """A cond between two fused operations, of which one trains, is one application."""
        inputs = [site["x"].op.inputs[0] if site["x"].op.type in SWITCHES else None for site in sites]
        ways = [i for site in sites for i, item in enumerate(merge.inputs) if item.name == site["y"].name]
        statistics = [self._statistic("moving_mean", site["means"][0], ())[0] for site in sites]
        statistics = {op.name for op in statistics if op is not None}
        alike = len({getattr(item, "name", None) for item in inputs}) == 1 and len(statistics) < 2
        if not alike or inputs[0] is None or sorted(ways) != [0, 1]:
            return [self._application([site], site["x"], site["y"], None) for site in sites]
        return [self._application(sites, inputs[0], merge.outputs[0], (merge, dict(zip(ways, sites))))]

    def _application(self, sites, x, y, paired):
        """The `Application` made of one site, or of the two in a cond; None if no moving statistics belong to it."""
        means, variances = ([root for site in sites for root in site["means"][i]] for i in (0, 1))
        gamma, beta = (self._parameter(sites, name) for name in ("gamma", "beta"))
        mean, updates = self._statistic("moving_mean", means, (gamma, beta))
        variance, more = self._statistic("moving_variance", variances, (mean, gamma, beta))
        if mean is None or variance is None:
            return None
        site = sites[0]
        prefix = mean.name.rpartition("/")[0]
        state = self._state(mean, prefix)
        if gamma is None:
            gamma = self.variables.get(prefix + "/gamma")
        if beta is None:
            beta = self.variables.get(prefix + "/beta")
        problem = self.problem_of(x, y)
        # Statistics that were made constants are neither the batch's nor moving.
        known = FIXED + VARIABLES
        batch = [(root, branches) for root, branches in means if root.op.type not in known]
        flag, trains = None, bool(batch)
        if paired is not None:
            merge, ways = paired
            training = [way for way, one in ways.items() if one["op"].get_attr("is_training")]
            trains = len(training) == 2
            if len(training) == 1:
                flag, trains = self._branch(merge, training[0])
                problem = problem or (None if flag is not None else "what decides whether it trains cannot be seen")
        elif batch and len(batch) < len(means):
            branches = batch[0][1]
            if len(batch) == 1 and len(branches) == 1:
                flag, trains = self._branch(*branches[0])
            if flag is None:
                problem = problem or "what decides whether it trains cannot be seen"
        if site["kind"] == "composed":
            axis, why = self._axis(site, batch)
            problem = problem or why or self._no_vector(mean)
            rank = x.get_shape().ndims
            data_format = "NCHW" if axis == 1 and rank != 2 else "NHWC"
            axis = None if axis in (1, (rank or 0) - 1) else axis
        else:
            data_format, axis = "NCHW" if site["data_format"].startswith(b"NC") else "NHWC", None
        decay, rate, rate_dtype = self._decay(mean, updates)
        reads = {"moving_mean": mean, "moving_variance": variance, "gamma": gamma, "beta": beta}
        reads = {name: self.read_of(op) for name, op in reads.items() if op is not None}
        if any(read is None for read in reads.values()):
            problem = problem or "one of its variables is never read outside of a tf.cond or tf.while_loop"
        parameters = [op.name for op in (gamma, beta) if op is not None] if self._trainable else []
        return Application(
            statistic=mean,
            inputs=x,
            outputs=y,
            reads={name: [read] for name, read in reads.items()},
            state={name: [self.read_of(op)] for name, op in state.items() if self.read_of(op) is not None},
            flag=flag,
            trains=trains,
            rate=rate,
            touched=[y.op] + [update.op for update in updates + more],
            problem=problem,
            settings={
                "decay": decay,
                "epsilon": site["epsilon"],
                "data_format": data_format,
                "dtype": mean.get_attr("dtype").base_dtype.name,
                "fused": site["kind"] == "fused",
                "zero_debias": "biased" in state,
                "trainable": not parameters or any(name in self._trainable for name in parameters),
                "release": None,
                "center": self._has(site, "beta", beta),
                "scale": self._has(site, "gamma", gamma),
                "axis": axis,
                "renorm": "renorm_mean" in state,
                "rate_dtype": rate_dtype,
            },
        )

    def _has(self, site, name, variable):
        """Whether a site has a gamma or beta; None if that cannot be seen."""
        if variable is not None:
            return True
        return False if site[name] is None or self.static(site[name]) is not None else None

    def _parameter(self, sites, name):
        found = [self.variable(site[name]) for site in sites if site[name] is not None]
        return found[0] if found else None

    def _statistic(self, name, roots, relatives):
        """The variable of a moving average, and the updates of it, from what is or becomes of it."""
        direct = [root.op for root, _ in roots if root.op.name in self.variables]
        updates = []
        for root, _ in roots:
            updates += self._updates_by_root[root.name]
        averages = [self._average(update.variable) for update in updates]
        named = [op for op in direct + averages if op.name.rpartition("/")[2] == name]
        others = [op for op in direct + averages if "renorm_" not in op.name and "stddev" not in op.name]
        for op in direct + averages + [op for op in relatives if op is not None]:
            sibling = self.variables.get(op.name.rpartition("/")[0] + "/" + name)
            if sibling is not None:
                named.append(sibling)
        chosen = (direct + named + others + [None])[0]
        return chosen, updates

    def _average(self, variable):
        """The moving average that a variable of zero debias belongs to; otherwise the variable itself."""
        name, _, last = variable.name.rpartition("/")
        if last.startswith("biased"):
            for other in self.variables:
                if name == other or name.endswith("/" + other):
                    return self.variables[other]
        return variable

    def _state(self, mean, prefix):
        state = {}
        for name in ("moving_stddev", "renorm_mean", "renorm_stddev", "renorm_mean_weight", "renorm_stddev_weight"):
            if prefix + "/" + name in self.variables:
                state[name] = self.variables[prefix + "/" + name]
        for name in ("biased", "local_step"):
            for other, op in self.variables.items():
                if other.endswith(mean.name + "/" + name):
                    state[name] = op
        return state

    def _branch(self, choice, way):
        """The tensor that decides about a choice, and the value with which it goes this way; or None, None."""
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

    def _plain(self, tensor):
        while tensor.op.type in ("Identity", "Reshape", "ExpandDims"):
            tensor = tensor.op.inputs[0]
        return tensor

    def _no_vector(self, variable):
        if variable.type in VARIABLES and len(variable.get_attr("shape").dim) > 1:
            return "its statistics are no vectors, as with several axes or virtual batches"
        return None

    def _axis(self, site, batch):
        """The axis of the channels of a composed site, and what is wrong with it."""
        x = site["x"]
        rank = x.get_shape().ndims
        if not rank:
            return None, "the rank of its input is not known"
        for root, _ in batch:
            if root.op.type in CALLS:
                return None, IN_FUNCTION
            ours = {item.name for item, _ in self.roots(x)}
            axes = self.static(root.op.inputs[1]) if root.op.type == "Mean" else None
            if axes is None or {item.name for item, _ in self.roots(root.op.inputs[0])} != ours:
                return None, "its batch statistics are not the plain moments of its input, as with weights"
            left = sorted(set(range(rank)) - {int(axis) % rank for axis in axes.reshape(-1)})
            if len(left) != 1:
                return None, "its batch statistics are not those of one axis of channels"
            return left[0], None
        shape = site["mean"].get_shape()
        if shape.ndims == 1:
            return rank - 1, None
        sizes = shape.as_list() if shape.ndims == rank else []
        wide = [i for i, size in enumerate(sizes) if size != 1]
        if len(wide) > 1 or not sizes:
            return None, "the axis of its channels cannot be seen"
        return (wide[0] if wide else 1), None

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
        """The one number that a tensor is made of, but for ``still``, which stands for not training; or None."""
        values = [self.static(root) for root, _ in self.roots(tensor)]
        if any(value is None or value.size != 1 for value in values):
            return None
        values = [value.reshape(-1)[0] for value in values]
        values = [value for value in values if value != still] or values[:1]
        return values[0] if len(values) == 1 else None

    def _called(self, known):
        """Applications of which nothing can be seen but that a function is called with the layer's variables."""
        hidden = []
        for name, op in self.variables.items():
            callers = self.callers_of(op) if name.endswith("/moving_mean") and name not in known else []
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


def unknown_settings():
    """The settings of a layer of which nothing is known."""
    settings = dict.fromkeys(("decay", "epsilon", "fused", "release", "center", "scale", "axis", "rate_dtype"))
    settings.update(data_format="NHWC", dtype="float32", zero_debias=False, trainable=True, renorm=False)
    return settings
