# -*- coding: utf-8 -*-
# Runs on Python 2.7 too:
# ruff: noqa: B905, C408, RUF005, UP004, UP009, UP010, UP031
"""One table of cases for ``batch_norm``, and the one builder that both sides use.

``record.py`` plays the table under the real TensorFlow 1.x and writes what it saw; ``test_recordings_contrib.py``
plays the same graph code under today's TensorFlow and compares. This module therefore runs on Python 2.7 and
3.7 as well as on today's Python, and knows TensorFlow only through the ``Api`` that it is given.

The rows of the arguments that change variables, moments or corrections are in ``arguments.py``. A case is a
row: an id, a function that builds the graph, the shape of its input, and the steps to run. Add
one with ``add(...)``; a recording is then missing and the tests say so until ``record.py --write`` has been
run.

The inputs can tell rival hypotheses apart: few elements per channel, channels that differ, means far from 0,
another batch at every step, and (unless a row asks for other data) every value exact in float16. They come
from arithmetic, not from a random module.
"""

from __future__ import division, print_function

import collections

import numpy as np

Api = collections.namedtuple("Api", "tf batch_norm arg_scope")
Step = collections.namedtuple("Step", "mode apps updates")
App = collections.namedtuple("App", "mode output updates source")

STANDARD = (
    Step("train", None, True),
    Step("train", None, True),
    Step("train", None, True),
    Step("test", None, False),
)
# A graph with a dynamic is_training can also run its updates while testing.
DYNAMIC = STANDARD + (Step("test", None, True),)

RANKS = {
    2: (6, 3),
    3: (4, 3, 3),
    4: (2, 2, 2, 3),
    5: (2, 2, 1, 2, 3),
}


class Make(object):
    """An argument that needs a graph: made by ``function(g)``, once for each graph."""

    def __init__(self, function):
        self.function = function


class Case(object):
    def __init__(
        self,
        id,
        net,
        shape=RANKS[4],
        dtype="float32",
        data_format="NHWC",
        static=None,
        steps=STANDARD,
        start="warm",
        data="wide",
        gradients=False,
        names=False,
        twin=None,
        any_order=False,
        layer=None,
        losses=False,
        sample_weights=None,
        adjusted=None,
        clipping=None,
        factors=None,
        repeats=1,
        first_batch=0,
    ):
        self.id = id
        self.net = net
        self.shape = tuple(shape)  # channels last, whatever the layout
        self.dtype = dtype
        self.data_format = data_format
        self.static = static  # "full" when None, else a function of the placeholder's shape
        self.steps = steps
        self.start = start  # "cold": as the initialisers left the variables; else a table of start values
        self.data = data
        self.gradients = gradients  # "second": those of the gradient by the input, too
        self.names = names  # record the names of all operations too
        self.twin = twin  # TF 1.x has no CPU kernel: build only there, and compare the numbers with this case
        self.any_order = any_order  # two updates of a variable in one run
        self.layer = layer  # keyword arguments of a single-layer case, for the independent model
        self.losses = losses  # watch the REGULARIZATION_LOSSES
        self.sample_weights = sample_weights  # batch_weights, a function of the step and of the input's number
        self.adjusted = adjusted  # (scale, bias) that `adjustment` gives, channels last
        self.clipping = clipping or (lambda step: {})  # renorm_clipping of a step
        self.factors = factors or {}  # what a custom getter multiplies beta or gamma with
        self.first_batch = first_batch
        self.repeats = repeats  # how often one run updates the statistics with the same batch

    @property
    def group(self):
        return self.id.split("/")[0]

    def placed(self, array):
        """Channels-last data in the layout of the case."""
        if self.data_format == "NCHW" and array.ndim > 2:
            array = np.moveaxis(array, -1, 1)
        return array

    def channels_last(self, array):
        if self.data_format == "NCHW" and array.ndim > 2:
            array = np.moveaxis(array, 1, -1)
        return array

    def batch(self, step, which=0):
        """The input of a step, in the layout of the case; ``which`` numbers the placeholders."""
        flat = np.empty((int(np.prod(self.shape[:-1])), self.shape[-1]), np.float64)
        state = 12345 + 7919 * (step + self.first_batch) + 104729 * which
        for n in range(flat.shape[0]):
            for c in range(flat.shape[1]):
                state = (1103515245 * state + 12345) % 2**31
                eighths = (state >> 16) % 256 - 128
                if self.data == "small":
                    flat[n, c] = (eighths * (1 + c % 3) + 96 * (c - 1)) / 2.0**13
                else:
                    flat[n, c] = eighths / 8.0 * (0.5 + 0.5 * (c % 3)) + (30, -45, 70)[c % 3]
        if self.data == "nan":
            flat[1, 0], flat[-1, 1] = np.nan, np.inf
        if self.data == "constant":
            flat[:, 0] = 0.1
        return self.placed(flat.reshape(self.shape)).astype(self.dtype)

    def weights(self, order=0):
        """What the outputs, or their first gradients, are multiplied with before their sum is differentiated."""
        count = int(np.prod(self.shape))
        flat = ((np.arange(count) * (37 - 14 * order) + 11) % 64 - 24) / 16.0
        return self.placed(flat.reshape(self.shape)).astype(self.dtype)

    def start_value(self, name, shape):
        """Where a variable starts; None leaves it as its initialiser left it."""
        last, part = role_of(name)
        c = np.arange(int(np.prod(shape, dtype=int))) + 2 * part
        table = {
            "warm": {
                "beta": 0.75 - 0.5 * c,
                "gamma": 1.5 - 0.875 * c,
                "moving_mean": 8.0 + 4.0 * c,
                "moving_variance": 1.25 + 0.5 * c,
                "moving_stddev": np.array([3.0, 8.0, 11.0])[c % 3],
                # Near enough to the data for a correction to be clipped in one channel and not in another.
                "renorm_mean": np.array([28.0, -44.0, 62.0])[c % 3],
                "renorm_stddev": np.array([4.0, 12.0, 8.0])[c % 3],
                "renorm_mean_weight": 0.75 + 0 * c,
                "renorm_stddev_weight": 0.625 + 0 * c,
                "biased": 3.0 + 2.0 * c,
                "local_step": 2.0 + c,
            },
            "small": {
                "beta": 0.75 - 0.5 * c,
                "gamma": 1.5 - 0.875 * c,
                "moving_mean": 2.0**-8 * (1 + c),
                "moving_variance": 2.0**-16 * (1 + c),
                "moving_stddev": 2.0**-8 * (1 + c),
                "renorm_mean": 2.0**-8 * (1 + c),
                "renorm_stddev": 2.0**-7 * (1 + c),
                "renorm_mean_weight": 0.75 + 0 * c,
                "renorm_stddev_weight": 0.625 + 0 * c,
            },
            "cold": {},
        }[self.start]
        if last not in table:
            return None
        return table[last].reshape(shape)


def role_of(name):
    """('beta', 1) of 'net/bn/beta/part_1:0': which parameter a variable is, and which part of it."""
    parts = name.split(":")[0].split("/")
    if parts[-1].startswith("part_"):
        return parts[-2], int(parts[-1][5:])
    return parts[-1], 0


class Graph(object):
    """What a ``net`` builds with: placeholders, layers, and which outputs belong to which mode."""

    def __init__(self, api, case, graph):
        self.api, self.tf, self.case, self.graph = api, api.tf, case, graph
        self.apps = []
        self.before_step = []  # functions of (session, mode, step)
        self.feeds = []  # (placeholder, function of (mode, step))
        self.pending = []  # what the last layers added to the update collections
        self.made = {}
        self.inputs = []
        self.watched = collections.OrderedDict()  # tensors read after every step, in a run of their own
        self.notes = []  # plain data to record
        self.source = 0  # what the last layer was applied to: the number of an input, or "app N"

    def placeholder(self, value, dtype, shape=None, name=None):
        """A placeholder fed with ``value(mode, step)``."""
        result = self.tf.placeholder(dtype, shape, name)
        self.feeds.append((result, value))
        return result

    def input(self, name="x"):
        which = len(self.inputs)
        shape = list(self.case.placed(np.empty(self.case.shape)).shape)
        if self.case.static is not None:
            shape = self.case.static(shape)
        dtype = self.tf.as_dtype(self.case.dtype)
        self.inputs.append(self.placeholder(lambda mode, step: self.case.batch(step, which), dtype, shape, name))
        return self.inputs[-1]

    def arguments(self, kwargs):
        for value in kwargs.values():
            if isinstance(value, Make) and value not in self.made:
                self.made[value] = value.function(self)
        return {k: self.made[v] if isinstance(v, Make) else v for k, v in kwargs.items()}

    def bn(self, *args, **kwargs):
        if args:
            known = [(i, x) for i, x in enumerate(self.inputs)]
            known += [("app %d" % i, app.output) for i, app in enumerate(self.apps)]
            self.source = ([name for name, x in known if x is args[0]] + [0])[0]
        before = self._update_items()
        output = self.api.batch_norm(*args, **self.arguments(kwargs))
        self.pending = [item for item in self._update_items() if not any(item is b for b in before)]
        return output

    def train(self, output, mode="train"):
        self.apps.append(App(mode, output, self.pending, self.source))
        self.pending = []
        return output

    def test(self, output):
        return self.train(output, "test")

    def both(self, output):
        return self.train(output, "both")

    def _update_items(self):
        return [item for key in ("update_ops", "my_updates") for item in self.graph.get_collection(key)]


def update_items_of(g, step):
    chosen = apps_of(g, step)
    return [item for i in chosen for item in g.apps[i].updates] if step.updates else []


def apps_of(g, step):
    if step.apps is not None:
        return list(step.apps)
    return [i for i, app in enumerate(g.apps) if app.mode in (step.mode, "both")]


# ---------------------------------------------------------------- playing a case


def values(array):
    """An array as JSON: the shortest decimals that give back every bit; NaN and infinities as strings."""
    array = np.asarray(array)
    result = []
    for item in array.ravel():
        if array.dtype.kind != "f":
            result.append(item.item())
        elif np.isnan(item):
            result.append("NaN")
        elif np.isinf(item):
            result.append("Infinity" if item > 0 else "-Infinity")
        else:
            number = float(str(item))
            assert array.dtype.type(number) == item, (array.dtype, item)
            result.append(number)
    return result


def array_of(listed, dtype):
    return np.array([float(item) if isinstance(item, str) else item for item in listed], dtype)


def item_of(item):
    kind = type(item).__name__
    if kind.endswith("Variable"):
        kind = "Variable"
    elif kind.endswith("Tensor"):
        kind = "Tensor"
    return [kind, getattr(item, "name", repr(item))]


def shape_of(shape):
    return None if shape.ndims is None else shape.as_list()


def variables_under(tensor):
    """Names of the variables that a tensor is computed from (control dependencies do not count)."""
    found, seen, stack = set(), set(), [tensor.op]
    while stack:
        op = stack.pop()
        if op.name in seen:
            continue
        seen.add(op.name)
        if op.type in ("VariableV2", "Variable", "VarHandleOp"):
            found.add(op.name)
        stack.extend(i.op for i in op.inputs)
    return sorted(found)


def describe(g):
    """The graph as plain data, before anything else is added to it."""
    collected = {}
    for key in g.graph.get_all_collection_keys():
        # Tuples and dunder names hold TensorFlow's own bookkeeping.
        if isinstance(key, str) and not key.startswith("__") and "context" not in key:
            items = g.graph.get_collection(key)
            if items:
                collected[key] = [item_of(item) for item in items]
    result = {
        "variables": [[v.name, shape_of(v.get_shape()), v.dtype.name] for v in g.graph.get_collection("variables")],
        "collections": collected,
        "outputs": [
            {
                "mode": app.mode,
                "name": app.output.name,
                "dtype": app.output.dtype.name,
                "shape": shape_of(app.output.get_shape()),
                "aliases": list(getattr(app.output, "aliases", [])),
                "source": app.source,
                "uses": variables_under(app.output),
                "updates": [item_of(item) for item in app.updates],
            }
            for app in g.apps
        ],
    }
    if g.watched:
        result["watched"] = {name: [tensor.name, variables_under(tensor)] for name, tensor in g.watched.items()}
    if g.notes:
        result["notes"] = g.notes
    if g.case.names:
        result["op_types"] = dict(collections.Counter(op.type for op in g.graph.get_operations()))
        result["op_names"] = [op.name for op in g.graph.get_operations()]
    return result


def failure(error, when):
    lines = [line.strip() for line in (getattr(error, "message", None) or str(error)).split("\n") if line.strip()]
    # AutoGraph puts the message behind a traceback of its own.
    line = lines[-1] if lines and lines[0].startswith("in converted code") else "".join(lines[:1])
    kinds = [kind.__name__ for kind in type(error).__mro__ if issubclass(kind, Exception) and kind is not Exception]
    return {"when": when, "kinds": kinds, "message": line[:240]}


def play(api, case, run=True, inspect=None, restore=None, save=None):
    """Builds and runs one case; the result is plain data that JSON holds.

    ``restore(session)`` gives the variables their start values instead of the case's table, ``save(session)`` is
    called at the end.
    """
    tf = api.tf
    graph = tf.Graph()
    with graph.as_default():
        g = Graph(api, case, graph)
        try:
            case.net(g)
        except Exception as error:
            return {"error": failure(error, "build")}
        if case.losses:
            for i, loss in enumerate(graph.get_collection("regularization_losses")):
                if hasattr(loss, "op"):
                    g.watched["loss %d" % i] = loss
        result = {"graph": describe(g)}
        if inspect is not None:
            result.update(inspect(g))
        if not run or not g.apps:
            return result
        try:
            gradients = gradients_of(g) if case.gradients else {}
        except Exception as error:
            return dict(result, error=failure(error, "gradients"))
        result["steps"] = steps = []
        config = tf.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
        with tf.Session(graph=graph, config=config) as session:
            variables = graph.get_collection("variables")
            session.run([v.initializer for v in variables])
            result["initial"] = last = read(session, variables)
            if restore is not None:
                restore(session)
            else:
                values_at_start = [(v, case.start_value(v.name, shape_of(v.get_shape()))) for v in variables]
                assign(session, [(v, value) for v, value in values_at_start if value is not None])
            now = read(session, variables)
            result["start"] = changed(last, now)
            last = now
            for number, step in enumerate(case.steps):
                assert apps_of(g, step), "step %d of %s runs nothing" % (number, case.id)
                try:
                    record = play_step(g, session, number, step, gradients)
                except Exception as error:
                    result["error"] = failure(error, "step %d" % number)
                    break
                now = read(session, variables)
                record["variables"] = changed(last, now)
                if g.watched:
                    record["watched"] = {name: values(a) for name, a in session.run(dict(g.watched)).items()}
                last = now
                steps.append(record)
            if save is not None:
                save(session)
    return result


def assign(session, pairs):
    """Through the initialisers, which every release and every kind of variable has."""
    session.run([v.initializer for v, _ in pairs], {v.initializer.inputs[1]: value for v, value in pairs})


def read(session, variables):
    return {v.name: values(a) for v, a in zip(variables, session.run(variables))} if variables else {}


def changed(before, after):
    return {name: value for name, value in after.items() if repr(value) != repr(before[name])}


def play_step(g, session, number, step, gradients):
    for function in g.before_step:
        function(session, step.mode, number)
    feed = {tensor: value(step.mode, number) for tensor, value in g.feeds}
    feed = {tensor: value for tensor, value in feed.items() if value is not None}
    chosen = apps_of(g, step)
    wanted = {"outputs": [g.apps[i].output for i in chosen], "updates": update_items_of(g, step)}
    differentiable = {i: gradients[i] for i in chosen if i in gradients}
    wanted["gradients"] = {
        i: {name: tensor for name, tensor in named.items() if tensor is not None} for i, named in differentiable.items()
    }
    got = session.run(wanted, feed)
    record = {
        "mode": step.mode,
        "updates": bool(step.updates),
        "outputs": {str(i): values(a) for i, a in zip(chosen, got["outputs"])},
    }
    if differentiable:
        record["gradients"] = {
            str(i): {
                name: values(got["gradients"][i][name]) if tensor is not None else None
                for name, tensor in named.items()
            }
            for i, named in differentiable.items()
        }
    return record


def gradients_of(g):
    """Gradients of sum(output * w) of every output."""
    tf = g.tf
    x = g.feeds[0][0]
    trainable = g.graph.get_collection("trainable_variables")
    result = {}
    for i, app in enumerate(g.apps):
        loss = tf.reduce_sum(app.output * tf.constant(g.case.weights(), app.output.dtype))
        names = ["x"] + [v.name for v in trainable]
        first = tf.gradients(loss, [x] + list(trainable))
        result[i] = dict(zip(names, first))
        if g.case.gradients == "second":
            again = tf.reduce_sum(first[0] * tf.constant(g.case.weights(1), first[0].dtype))
            second = tf.gradients(again, [x] + list(trainable))
            result[i].update(zip(["second " + name for name in names], second))
    return result


# ---------------------------------------------------------------- pieces that rows are made of


def layer(kind="bool", **kwargs):
    """One layer 'net/bn', trained and tested; ``kind`` says what is_training is."""

    def net(g):
        x = g.input()
        with g.tf.variable_scope("net"):
            layer_on(g, x, kind, kwargs)

    return net


def layer_on(g, x, kind, kwargs):
    if kind in ("bool", "int", "constant"):
        flags = {
            "bool": (True, False),
            "int": (1, 0),
            "constant": (Make(lambda g: g.tf.constant(True)), Make(lambda g: g.tf.constant(False))),
        }[kind]
        g.train(g.bn(x, is_training=flags[0], scope="bn", **kwargs))
        g.test(g.bn(x, is_training=flags[1], scope="bn", reuse=True, **kwargs))
    else:
        flag = TRAINING[kind](g)
        g.both(g.bn(x, is_training=flag, scope="bn", **kwargs))


def _fed(shape):
    return lambda g: g.placeholder(lambda mode, step: mode == "train", g.tf.bool, shape, "training")


def _with_default(g):
    flag = g.tf.placeholder_with_default(False, [], "training")
    # Testing relies on the default.
    g.feeds.append((flag, lambda mode, step: True if mode == "train" else None))
    return flag


def _phase_variable(g):
    flag = g.tf.get_variable("phase", [], g.tf.bool, initializer=g.tf.zeros_initializer(), trainable=False)
    g.before_step.append(lambda session, mode, step: assign(session, [(flag, mode == "train")]))
    return flag


def _computed(g):
    return g.tf.greater(g.placeholder(lambda mode, step: int(mode == "train"), g.tf.int32, [], "phase"), 0)


TRAINING = {
    "placeholder": _fed([]),
    "placeholder_unknown_shape": _fed(None),
    "placeholder_with_default": _with_default,
    "variable": _phase_variable,
    "computed": _computed,
}

DECAYS = (0.5, 0.875, 0.25, 0.75, 0.75)


def _decay_constant(g):
    return g.tf.constant(0.9, g.tf.float32)


def _decay_placeholder(g):
    return g.placeholder(lambda mode, step: DECAYS[step], g.tf.float32, [], "decay")


def _decay_variable(g):
    rate = g.tf.get_variable("rate", [], g.tf.float32, initializer=g.tf.constant_initializer(0.75), trainable=False)
    return rate


def _decay_schedule(g):
    step = g.placeholder(lambda mode, step: step, g.tf.float32, [], "global_step")
    return g.tf.minimum(0.99, (1.0 + step) / (10.0 + step))


TENSOR_DECAYS = {
    "constant": _decay_constant,
    "placeholder": _decay_placeholder,
    "variable": _decay_variable,
    "schedule": _decay_schedule,
}

# One representative of each code path of TF 1.15: contrib's own fused branch (rank 4 and rank 2), the core
# layer fused and composed, contrib's own composed branch.
PATHS = collections.OrderedDict(
    [
        ("A", dict(shape=RANKS[4], kwargs=dict(updates_collections=None))),
        ("A2", dict(shape=RANKS[2], kwargs=dict())),
        ("B", dict(shape=RANKS[4], kwargs=dict())),
        ("C", dict(shape=RANKS[4], kwargs=dict(fused=False))),
        ("D", dict(shape=RANKS[4], kwargs=dict(fused=False, updates_collections=None))),
    ]
)

CASES = collections.OrderedDict()
GROUPS = collections.OrderedDict()


def add(id, net, **options):
    assert id not in CASES, id
    CASES[id] = Case(id, net, **options)
    GROUPS.setdefault(CASES[id].group, []).append(CASES[id])
    return CASES[id]


def add_layer(id, kwargs, kind="bool", **options):
    """A row of one layer; the independent model of the tests covers these."""
    if kind not in ("bool", "int", "constant"):
        options.setdefault("steps", DYNAMIC)
    return add(id, layer(kind, **kwargs), layer=dict(kwargs), **options)


def on_paths(name, kwargs, paths=tuple(PATHS), **options):
    """The same arguments on every code path."""
    for path in paths:
        merged = dict(PATHS[path]["kwargs"])
        merged.update(kwargs)
        rows = dict(shape=PATHS[path]["shape"])
        rows.update(options)
        add_layer("%s-%s" % (name, path), merged, **rows)


# ---------------------------------------------------------------- the table


def _layout():
    for rank in sorted(RANKS):
        for data_format in ("NHWC", "NCHW"):
            for fused in (None, True, False):
                for updates in ("default", "none"):
                    kwargs = dict(decay=0.9, scale=True, data_format=data_format)
                    if fused is not None:
                        kwargs["fused"] = fused
                    if updates == "none":
                        kwargs["updates_collections"] = None
                    id = "layout/rank%d-%s-fused%s-updates_%s" % (rank, data_format, fused, updates)
                    unsupported = data_format == "NCHW" and fused is not False and rank in (2, 4)
                    add_layer(
                        id,
                        kwargs,
                        shape=RANKS[rank],
                        data_format=data_format,
                        gradients=rank in (2, 4) or data_format == "NHWC",
                        names=rank in (2, 4),
                        twin=id.replace("NCHW", "NHWC") if unsupported else None,
                    )


def _static_shapes():
    shapes = {
        "batch": lambda s: [None] + s[1:],
        "all_but_channels": lambda s: [None] * (len(s) - 1) + s[-1:],
    }
    for unknown in sorted(shapes):
        on_paths("static_shape/unknown_%s" % unknown, dict(decay=0.75), static=shapes[unknown])
        on_paths(
            "static_shape/unknown_%s-dynamic" % unknown,
            dict(decay=0.75),
            static=shapes[unknown],
            kind="placeholder",
        )
    for fused in (None, False):
        add_layer(
            "static_shape/unknown_all_but_channels-NCHW-fused%s" % fused,
            dict(decay=0.75, data_format="NCHW", fused=fused),
            data_format="NCHW",
            static=lambda s: [None, s[1], None, None],
            twin="static_shape/unknown_all_but_channels-B" if fused is None else None,
        )


def _affine():
    for center in (True, False):
        for scale in (True, False):
            name = "affine/center%s-scale%s" % (center, scale)
            on_paths(name, dict(center=center, scale=scale, decay=0.875), gradients=True, names=center and scale)
            on_paths(
                name + "-dynamic",
                dict(center=center, scale=scale, decay=0.875),
                kind="placeholder",
                gradients=True,
                names=center and scale,
            )


def _epsilon():
    for epsilon in (1e-3, 1.002e-5, 1.001e-5, 1e-5, 1e-8, 0.0):
        on_paths("epsilon/%g" % epsilon, dict(epsilon=epsilon, scale=True, decay=0.5), data="small", start="small")
    for epsilon in (1e-3, 1e-8):
        on_paths(
            "epsilon/%g-dynamic" % epsilon,
            dict(epsilon=epsilon, scale=True, decay=0.5),
            data="small",
            start="small",
            kind="placeholder",
        )
        on_paths("epsilon/%g-constant_channel" % epsilon, dict(epsilon=epsilon), data="constant")


def _decay():
    for decay in (0.0, 0.5, 0.9, 0.99, 0.999, 1.0, 0, 1):
        on_paths("decay/%r" % decay, dict(decay=decay), start="cold")
    on_paths("decay/default", dict(), start="cold")
    on_paths("decay/default-warm", dict())
    on_paths("decay/default-dynamic", dict(), start="cold", kind="placeholder")
    for kind in sorted(TENSOR_DECAYS):
        on_paths("decay/tensor_%s" % kind, dict(decay=Make(TENSOR_DECAYS[kind])))
        on_paths("decay/tensor_%s-dynamic" % kind, dict(decay=Make(TENSOR_DECAYS[kind])), kind="placeholder")


def _updates_collections():
    choices = {
        "custom": "my_updates",
        "list_update_ops": ["update_ops"],
        "list_two": ["update_ops", "my_updates"],
        "tuple": ("my_updates",),
        # Equal to the default and not the same object.
        "equal_string": "".join(["update", "_", "ops"]),
        "none": None,
    }
    for name in sorted(choices):
        for fused in (None, False):
            for rank in (2, 3, 4):
                kwargs = dict(updates_collections=choices[name], decay=0.75)
                if fused is not None:
                    kwargs["fused"] = fused
                add_layer("updates/%s-rank%d-fused%s" % (name, rank, fused), kwargs, shape=RANKS[rank])
    for name in ("custom", "list_update_ops"):
        for fused in (None, False):
            add_layer(
                "updates/%s-fused%s-dynamic" % (name, fused),
                dict(updates_collections=choices[name], decay=0.75, fused=fused),
                kind="placeholder",
            )


def _is_training():
    for kind in ["bool", "int", "constant"] + sorted(TRAINING):
        on_paths("is_training/%s" % kind, dict(decay=0.75, scale=True), kind=kind, gradients=True)


def _in_scope(fuse, body, **options):
    """Rows for the core layer and for contrib's own code, with fused as given."""
    for updates in ("default", "none"):
        kwargs = {} if updates == "default" else {"updates_collections": None}
        if fuse is False:
            kwargs["fused"] = False
        yield (
            {("default", None): "B", ("none", None): "A", ("default", False): "C", ("none", False): "D"}[updates, fuse],
            (lambda g, kwargs=kwargs: body(g, kwargs)),
        )


def on_nets(name, body, **options):
    """A free-form net ``body(g, kwargs)`` on the four code paths."""
    for fuse in (None, False):
        for path, net in _in_scope(fuse, body):
            add("%s-%s" % (name, path), net, **options)


def _reuse():
    def by_scope(g, kw):
        x = g.input()
        with g.tf.variable_scope("net"):
            g.train(g.bn(x, decay=0.75, **kw))
        with g.tf.variable_scope("net", reuse=True):
            g.test(g.bn(x, decay=0.75, is_training=False, **kw))

    def auto_reuse(g, kw):
        x = g.input()
        for training in (True, False):
            with g.tf.variable_scope("my", reuse=g.tf.AUTO_REUSE):
                y = g.bn(x, decay=0.75, is_training=training, **kw)
                g.train(y, "train" if training else "test")

    def argument(g, kw):
        x = g.input()
        g.train(g.bn(x, decay=0.75, scope="bn", scale=True, **kw))
        g.test(g.bn(x, decay=0.75, scope="bn", scale=True, is_training=False, reuse=True, **kw))

    def argument_auto(g, kw):
        x = g.input()
        for training in (True, False):
            y = g.bn(x, decay=0.75, scope="bn", is_training=training, reuse=g.tf.AUTO_REUSE, **kw)
            g.train(y, "train" if training else "test")

    def reuse_variables(g, kw):
        x = g.input()
        with g.tf.variable_scope("net") as scope:
            g.train(g.bn(x, decay=0.75, scope="bn", **kw))
            scope.reuse_variables()
            g.test(g.bn(x, decay=0.75, scope="bn", is_training=False, **kw))

    def test_first(g, kw):
        x = g.input()
        g.test(g.bn(x, decay=0.75, scope="bn", is_training=False, **kw))
        g.train(g.bn(x, decay=0.75, scope="bn", is_training=True, reuse=True, **kw))

    def more_variables(g, kw):
        x = g.input()
        g.train(g.bn(x, decay=0.75, scope="bn", **kw))
        g.test(g.bn(x, decay=0.75, scope="bn", scale=True, is_training=False, reuse=g.tf.AUTO_REUSE, **kw))

    for body in (by_scope, auto_reuse, argument, argument_auto, reuse_variables, test_first, more_variables):
        on_nets("reuse/%s" % body.__name__, body, names=body is auto_reuse)


TOWERS = (
    Step("train", [0], True),
    Step("train", [1], True),
    Step("train", [0], True),
    Step("test", None, False),
)


def _resource():
    def standard(kind):
        def body(g, kw):
            x = g.input()
            with g.tf.variable_scope("net", use_resource=True):
                layer_on(g, x, kind, dict(kw, decay=0.75, scale=True))

        return body

    for kind in ("bool", "placeholder"):
        steps = STANDARD if kind == "bool" else DYNAMIC
        on_nets("resource/%s" % kind, standard(kind), steps=steps, gradients=True)

    def rank2(g, kw):
        x = g.input()
        with g.tf.variable_scope("net", use_resource=True):
            layer_on(g, x, "bool", dict(kw, decay=0.75))

    on_nets("resource/rank2", rank2, shape=RANKS[2])


def _towers():
    def towers(g, kw):
        x, x2 = g.input("x"), g.input("x2")
        for i, inputs in enumerate((x, x2)):
            with g.tf.variable_scope("net", reuse=i > 0):
                with g.tf.name_scope("tower_%d" % i):
                    g.train(g.bn(inputs, decay=0.75, scale=True, scope="bn", **kw))
        with g.tf.variable_scope("net", reuse=True):
            g.test(g.bn(x, decay=0.75, scale=True, scope="bn", is_training=False, **kw))

    on_nets("towers/in_turn", towers, steps=TOWERS, names=True)
    together = (Step("train", [0, 1], True),)
    on_nets("towers/in_one_run", towers, steps=together, any_order=True)


def _scopes():
    def string(g, kw):
        g.train(g.bn(g.input(), scope="norm", **kw))

    def slashes(g, kw):
        g.train(g.bn(g.input(), scope="a/b/norm", **kw))

    def scope_object(g, kw):
        x = g.input()
        with g.tf.variable_scope("outer"):
            with g.tf.variable_scope("here") as here:
                pass
        with g.tf.variable_scope("elsewhere"):
            g.train(g.bn(x, scope=here, **kw))
            g.test(g.bn(x, scope=here, is_training=False, reuse=True, **kw))

    def automatic(g, kw):
        x = g.input()
        for _ in range(3):
            g.train(g.bn(x, decay=0.5, **kw))

    def automatic_nested(g, kw):
        x = g.input()
        with g.tf.variable_scope("net"):
            g.train(g.bn(x, decay=0.5, **kw))
            with g.tf.variable_scope("block"):
                g.train(g.bn(x, decay=0.5, **kw))
                g.train(g.bn(x, decay=0.5, **kw))
            g.train(g.bn(x, decay=0.5, **kw))

    def automatic_reentered(g, kw):
        x = g.input()
        with g.tf.variable_scope("net"):
            g.train(g.bn(x, **kw))
        with g.tf.variable_scope("net"):
            g.train(g.bn(x, **kw))

    def automatic_reentered_reuse(g, kw):
        x = g.input()
        with g.tf.variable_scope("net"):
            g.train(g.bn(x, **kw), "first")
            g.train(g.bn(x, **kw), "second")
        with g.tf.variable_scope("net", reuse=True):
            g.train(g.bn(x, **kw))
            g.train(g.bn(x, **kw))

    def reentered_by_object(g, kw):
        x = g.input()
        with g.tf.variable_scope("net") as net:
            g.train(g.bn(x, scope="bn", **kw))
        with g.tf.variable_scope("other"):
            with g.tf.variable_scope(net, reuse=True):
                g.test(g.bn(x, scope="bn", is_training=False, **kw))

    def name_scope(g, kw):
        x = g.input()
        with g.tf.name_scope("outer"):
            with g.tf.variable_scope("net"):
                with g.tf.name_scope("inner"):
                    g.train(g.bn(x, decay=0.5, **kw))
                    g.train(g.bn(x, decay=0.5, **kw))

    def mixed_automatic(g, kw):
        x = g.input()
        g.train(g.bn(x, decay=0.5, **kw))
        g.train(g.bn(x, decay=0.5, scope="BatchNorm_1", **kw))
        g.train(g.bn(x, decay=0.5, **kw))

    def twice_same_scope(g, kw):
        x = g.input()
        g.train(g.bn(x, scope="bn", **kw))
        g.train(g.bn(x, scope="bn", **kw))

    def regularized_scope(g, kw):
        x = g.input()
        with g.tf.variable_scope("net", regularizer=lambda w: 0.5 * g.tf.reduce_sum(w * w)):
            g.train(g.bn(x, scope="bn", scale=True, **kw))
            g.test(g.bn(x, scope="bn", scale=True, is_training=False, reuse=True, **kw))

    def initialised_scope(g, kw):
        x = g.input()
        with g.tf.variable_scope("net", initializer=g.tf.constant_initializer(7.0)):
            g.train(g.bn(x, scope="bn", scale=True, **kw))

    def partitioned_scope(g, kw):
        x = g.input()
        with g.tf.variable_scope("net", partitioner=g.tf.fixed_size_partitioner(1)):
            g.train(g.bn(x, scope="bn", scale=True, **kw))

    def stacked(g, kw):
        x = g.input()
        with g.tf.variable_scope("net"):
            y = g.train(g.bn(x, scope="first", decay=0.5, **kw))
            g.train(g.bn(y, scope="second", decay=0.5, **kw))

    def no_reuse_inside_reuse(g, kw):
        x = g.input()
        g.train(g.bn(x, scope="net/bn", decay=0.5, **kw))
        with g.tf.variable_scope("net", reuse=True):
            g.test(g.bn(x, scope="bn", decay=0.5, is_training=False, reuse=False, **kw))

    for body in (
        string,
        slashes,
        scope_object,
        automatic,
        automatic_nested,
        automatic_reentered,
        automatic_reentered_reuse,
        reentered_by_object,
        name_scope,
        mixed_automatic,
        twice_same_scope,
        regularized_scope,
        initialised_scope,
        partitioned_scope,
        no_reuse_inside_reuse,
    ):
        start = "cold" if body is initialised_scope else "warm"
        on_nets(
            "scope/%s" % body.__name__,
            body,
            steps=STANDARD[:1],
            start=start,
            names=body in (string, automatic, name_scope),
        )
    on_nets("scope/stacked", stacked, steps=STANDARD[:3])


def _activation():
    relu = Make(lambda g: g.tf.nn.relu)
    on_paths("activation/relu", dict(activation_fn=relu, decay=0.5), names=True)
    on_paths("activation/relu-dynamic", dict(activation_fn=relu, decay=0.5), kind="placeholder")
    on_paths("activation/lambda", dict(activation_fn=lambda y: -y, decay=0.5))
    on_paths("activation/relu-collected", dict(activation_fn=relu, outputs_collections="my_outputs", decay=0.5))


def _trainable():
    for trainable in (True, False):
        on_paths("trainable/%s" % trainable, dict(trainable=trainable, scale=True, decay=0.5))
        on_paths(
            "trainable/%s-dynamic" % trainable,
            dict(trainable=trainable, scale=True, decay=0.5),
            kind="placeholder",
        )


def _collections():
    choices = {
        "string": "mine",
        "list": ["mine", "also_mine"],
        "list_with_global": ["mine", "variables"],
        "dict": {
            "beta": ["betas"],
            "gamma": ["gammas"],
            "moving_mean": ["means"],
            "moving_variance": ["variances"],
        },
        "dict_partial": {"beta": ["betas"], "moving_mean": ["means"]},
        "empty_list": [],
    }
    for name in sorted(choices):
        on_paths(
            "collections/variables_%s" % name,
            dict(variables_collections=choices[name], scale=True, decay=0.5),
            steps=STANDARD[:1],
        )
    for name, choice in (("string", "my_outputs"), ("list", ["my_outputs", "other_outputs"])):
        on_paths("collections/outputs_%s" % name, dict(outputs_collections=choice, decay=0.5), steps=STANDARD[:1])


def _dtypes():
    for dtype in ("float16", "float64"):
        for rank in sorted(RANKS):
            for fused in (None, False):
                for updates in ("default", "none"):
                    kwargs = dict(decay=0.9, scale=True)
                    if fused is not None:
                        kwargs["fused"] = fused
                    if updates == "none":
                        kwargs["updates_collections"] = None
                    add_layer(
                        "dtype/%s-rank%d-fused%s-updates_%s" % (dtype, rank, fused, updates),
                        kwargs,
                        shape=RANKS[rank],
                        dtype=dtype,
                        gradients=rank == 4,
                    )
        on_paths("dtype/%s-dynamic" % dtype, dict(decay=0.9), dtype=dtype, kind="placeholder")
        on_paths("dtype/%s-default_decay" % dtype, dict(), dtype=dtype, start="cold")
        on_paths("dtype/%s-decay_tensor" % dtype, dict(decay=Make(_decay_constant)), dtype=dtype)
    for dtype in ("int32", "float32"):
        # float32 here only to have both spellings of an input that is not a tensor.
        def from_array(g, dtype=dtype):
            x = g.case.batch(0).astype(dtype)
            g.train(g.bn(x, scope="bn", decay=0.5))

        add("dtype/numpy_%s-B" % dtype, from_array, steps=STANDARD[:1])

        def from_list(g, dtype=dtype):
            x = g.case.batch(0).astype(dtype).tolist()
            g.train(g.bn(x, scope="bn", decay=0.5, updates_collections=None))

        add("dtype/list_%s-A" % dtype, from_list, steps=STANDARD[:1])


def _few_elements():
    shapes = {
        "one_element": {4: (1, 1, 1, 3), 2: (1, 3)},
        "two_elements": {4: (1, 2, 1, 3), 2: (2, 3)},
        "one_channel": {4: (2, 2, 2, 1), 2: (6, 1)},
        "uneven": {4: (3, 1, 5, 2), 2: (11, 5)},
    }
    for name in sorted(shapes):
        for path in PATHS:
            rank = len(PATHS[path]["shape"])
            add_layer(
                "size/%s-%s" % (name, path),
                dict(PATHS[path]["kwargs"], decay=0.75),
                shape=shapes[name][rank],
                gradients=name != "one_element",
            )
    for path in PATHS:
        add_layer(
            "size/not_finite-%s" % path,
            dict(PATHS[path]["kwargs"], decay=0.75),
            shape=PATHS[path]["shape"],
            data="nan",
        )


def _positional():
    def all_positional(g):
        first = [g.input(), 0.75, True, True, 0.01, None, None, None, None, True]
        g.train(g.bn(*(first + [None, None, None, True, None, None, "NHWC", False, "bn"])))

    def positional_prefix(g):
        g.train(g.bn(g.input(), 0.75, False, True, 0.01))

    add("call/all_positional", all_positional, steps=STANDARD[:1])
    add("call/positional_prefix", positional_prefix, steps=STANDARD[:1])


def _arg_scope():
    def defaults(g, kw):
        x = g.input()
        with g.api.arg_scope([g.api.batch_norm], decay=0.5, scale=True, **kw):
            with g.tf.variable_scope("net"):
                g.train(g.bn(x, scope="bn"))
                g.test(g.bn(x, scope="bn", is_training=False, reuse=True))

    def overridden(g, kw):
        x = g.input()
        with g.api.arg_scope([g.api.batch_norm], decay=0.25, scale=True, epsilon=0.5, **kw):
            with g.api.arg_scope([g.api.batch_norm], decay=0.5, center=False):
                g.train(g.bn(x, scope="bn", epsilon=0.01))
            g.train(g.bn(x, scope="other"))

    def reused_scope(g, kw):
        x = g.input()
        with g.api.arg_scope([g.api.batch_norm], decay=0.5, is_training=False, **kw) as captured:
            pass
        with g.api.arg_scope(captured):
            g.test(g.bn(x, scope="bn"))
        g.train(g.bn(x, scope="bn", reuse=True, decay=0.5, **kw))

    def training_flag(g, kw):
        x = g.input()
        training = g.placeholder(lambda mode, step: mode == "train", g.tf.bool, [], "training")
        with g.api.arg_scope([g.api.batch_norm], is_training=training, decay=0.5, **kw):
            g.both(g.bn(x, scope="bn"))

    def unknown_argument(g, kw):
        x = g.input()
        with g.api.arg_scope([g.api.batch_norm], decya=0.5, **kw):
            g.train(g.bn(x, scope="bn"))

    for body in (defaults, overridden, reused_scope, training_flag, unknown_argument):
        steps = STANDARD[:3] if body is overridden else STANDARD
        on_nets("arg_scope/%s" % body.__name__, body, steps=steps)


def in_both_branches(g, kw, decay):
    """A layer trained in one branch of a v1 cond and tested, on the same variables, in the other."""
    x = g.input()
    training = g.placeholder(lambda mode, step: mode == "train", g.tf.bool, [], "training")
    g.both(
        g.tf.cond(
            training,
            lambda: g.bn(x, is_training=True, scope="bn", decay=decay, **kw),
            lambda: g.bn(x, is_training=False, scope="bn", decay=decay, reuse=True, **kw),
        )
    )
    g.apps[-1] = g.apps[-1]._replace(updates=[])


def _control_flow():
    def branches(g, kw):
        in_both_branches(g, kw, decay=0.5)

    def arg_scope_around_branch(g, kw):
        x = g.input()
        training = g.placeholder(lambda mode, step: mode == "train", g.tf.bool, [], "training")

        def branch(is_training, reuse):
            with g.api.arg_scope([g.api.batch_norm], is_training=is_training, reuse=reuse, decay=0.5, **kw):
                return g.bn(x, scope="bn")

        g.both(g.tf.cond(training, lambda: branch(True, None), lambda: branch(False, True)))
        g.apps[-1] = g.apps[-1]._replace(updates=[])

    def inside_control_dependencies(g, kw):
        x = g.input()
        with g.tf.control_dependencies([g.tf.identity(x)]):
            g.train(g.bn(x, scope="bn", decay=0.5, **kw))

    for body in (branches, arg_scope_around_branch, inside_control_dependencies):
        steps = STANDARD[:3] if body is inside_control_dependencies else STANDARD
        on_nets("control_flow/%s" % body.__name__, body, steps=steps)


def _mistakes():
    def calling(static=None, shape=RANKS[4], steps=STANDARD[:1], **kwargs):
        def body(g, kw):
            x = g.input()
            g.train(g.bn(x, **dict(kw, **dict({"scope": "bn"}, **kwargs))))

        return body, dict(static=static, shape=shape, steps=steps, data_format=kwargs.get("data_format"))

    mistakes = {
        "unknown_rank": calling(static=lambda s: None),
        "unknown_channels": calling(static=lambda s: s[:3] + [None]),
        "unknown_channels_NCHW": calling(static=lambda s: [2, None, 2, 2], data_format="NCHW"),
        "unknown_channels_rank2": calling(static=lambda s: [6, None], shape=RANKS[2]),
        "unknown_channels_rank3": calling(static=lambda s: s[:2] + [None], shape=RANKS[3]),
        "rank0": calling(static=lambda s: [], steps=()),
        "rank1": calling(shape=(3,)),
        "rank6": calling(shape=(2, 1, 2, 1, 2, 3)),
        "rank1_NCHW": calling(shape=(3,), data_format="NCHW"),
        "rank6_NCHW": calling(shape=(2, 1, 2, 1, 2, 3), data_format="NCHW"),
        "data_format_lower": calling(data_format="nhwc"),
        "data_format_word": calling(data_format="channels_last"),
        "data_format_None": calling(data_format=None),
        "data_format_NDHWC": calling(data_format="NDHWC"),
        "is_training_None": calling(is_training=None),
        "is_training_string": calling(is_training="yes"),
        "is_training_float": calling(is_training=0.5),
        "is_training_two": calling(is_training=2),
        "is_training_float_tensor": calling(is_training=Make(lambda g: g.tf.constant(1.0))),
        "is_training_vector": calling(
            is_training=Make(lambda g: g.placeholder(lambda mode, step: [True], g.tf.bool, [1], "t"))
        ),
        "reuse_without_variables": calling(reuse=True),
        "reuse_without_scope": calling(reuse=True, scope=None),
        "decay_string": calling(decay="0.9"),
        "decay_None": calling(decay=None),
        "decay_above_one": calling(decay=1.5),
        "decay_negative": calling(decay=-0.5),
        "epsilon_negative": calling(epsilon=-1e-3),
        "epsilon_string": calling(epsilon="small"),
        "epsilon_None": calling(epsilon=None),
        "epsilon_tensor": calling(epsilon=Make(lambda g: g.tf.constant(0.5))),
        "variables_collections_bad": calling(variables_collections=5),
        "outputs_collections_bad": calling(outputs_collections=5),
        "scope_bad_name": calling(scope="?? "),
        "scope_number": calling(scope=5),
        "activation_not_callable": calling(activation_fn="relu"),
        "unknown_keyword": calling(momentum=0.9),
        "fused_string": calling(fused="yes"),
        "fused_zero": calling(fused=0),
        "center_None": calling(center=None),
        "trainable_None": calling(trainable=None),
    }
    for name in sorted(mistakes):
        body, options = mistakes[name]
        on_nets("mistake/%s" % name, body, **options)

    def missing_inputs(g, kw):
        g.train(g.bn(**kw))

    def none_inputs(g, kw):
        g.train(g.bn(None, **kw))

    def string_inputs(g, kw):
        g.train(g.bn(g.tf.constant([["a", "b"]]), **kw))

    def other_channels(g, kw):
        x = g.input()
        g.train(g.bn(x, scope="bn", **kw))
        with g.tf.variable_scope("", reuse=True):
            g.test(g.bn(x[..., :2], scope="bn", is_training=False, **kw))

    def reuse_with_more_variables(g, kw):
        x = g.input()
        g.train(g.bn(x, scope="bn", **kw))
        g.test(g.bn(x, scope="bn", scale=True, is_training=False, reuse=True, **kw))

    for body in (missing_inputs, none_inputs, string_inputs, other_channels, reuse_with_more_variables):
        on_nets("mistake/%s" % body.__name__, body, steps=STANDARD[:1])


for _fill in (
    _layout,
    _static_shapes,
    _affine,
    _epsilon,
    _decay,
    _updates_collections,
    _is_training,
    _reuse,
    _resource,
    _towers,
    _scopes,
    _activation,
    _trainable,
    _collections,
    _dtypes,
    _few_elements,
    _positional,
    _arg_scope,
    _control_flow,
    _mistakes,
):
    _fill()
