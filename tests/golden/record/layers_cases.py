# -*- coding: utf-8 -*-
# Runs on Python 3.7 too, beside the real TensorFlow 1.15:
# ruff: noqa: B905, C408, RUF005, UP008, UP009, UP031
"""The table of cases for ``batch_normalization``, played by the machinery of ``cases.py``.

``record_layers.py`` plays it under the real ``tf.layers.batch_normalization``, ``tests/layers/test_recordings_core.py``
under tf1bn. A case has an input of any layout: ``real`` is its shape and ``axes`` are those that hold channels. What
``Case.shape`` says is the same data with the axes of the channels put together at the end, as ``errors.py`` wants it.
"""

import collections

import numpy as np

from golden.record import arguments, cases
from golden.record.cases import DYNAMIC, STANDARD, TENSOR_DECAYS, TRAINING, Make, Step

Api = collections.namedtuple("Api", "tf batch_norm arg_scope")

REAL = {1: (3,), 2: (6, 3), 3: (4, 3, 2), 4: (2, 3, 2, 3), 5: (2, 3, 1, 2, 3)}
SHORT = STANDARD[:2] + STANDARD[3:]


class Case(cases.Case):
    def __init__(self, id, net, real=REAL[4], axis=-1, virtual=None, **options):
        self.real, self.virtual = tuple(real), virtual
        self.axes = sorted(i % len(real) for i in (axis if isinstance(axis, list) else [axis]))
        self.rest = [i for i in range(len(real)) if i not in self.axes]
        shape = [real[i] for i in self.rest] + [int(np.prod([real[i] for i in self.axes]))]
        super(Case, self).__init__(id, net, shape=shape, **options)

    def placed(self, array):
        if array.ndim != len(self.shape):
            return array
        if len(self.axes) == 1:
            return np.moveaxis(array, -1, self.axes[0])
        order = self.rest + self.axes
        return array.reshape([self.real[i] for i in order]).transpose(np.argsort(order))

    def channels_last(self, array):
        if array.ndim != len(self.real):
            return array
        return array.transpose(self.rest + self.axes).reshape(self.shape)


CASES = collections.OrderedDict()
GROUPS = collections.OrderedDict()


def add(id, net, **options):
    assert id not in CASES, id
    CASES[id] = Case(id, net, **options)
    GROUPS.setdefault(CASES[id].group, []).append(CASES[id])


def layer_on(g, x, kind, kwargs):
    if kind in ("bool", "int", "constant"):
        flags = {
            "bool": (True, False),
            "int": (1, 0),
            "constant": (Make(lambda g: g.tf.constant(True)), Make(lambda g: g.tf.constant(False))),
        }[kind]
        g.train(g.bn(x, training=flags[0], name="bn", **kwargs))
        g.test(g.bn(x, training=flags[1], name="bn", reuse=True, **kwargs))
    else:
        flag = TRAINING[kind](g)
        g.both(g.bn(x, training=flag, name="bn", **kwargs))


def add_layer(id, kwargs, kind="bool", **options):
    """A row of one layer 'net/bn', trained and tested."""

    def net(g):
        x = g.input()
        with g.tf.variable_scope("net"):
            layer_on(g, x, kind, kwargs)

    if kind not in ("bool", "int", "constant"):
        options.setdefault("steps", DYNAMIC)
    options.setdefault("axis", kwargs.get("axis", -1))
    options.setdefault("virtual", kwargs.get("virtual_batch_size"))
    # The derivation of the bounds calls it decay, after contrib.
    known = dict(kwargs, decay=kwargs.get("momentum", 0.99))
    if kwargs.get("renorm"):
        known["renorm_decay"] = kwargs.get("renorm_momentum", 0.99)
        clipping = kwargs.get("renorm_clipping")
        if not isinstance(clipping, Make):
            options.setdefault("clipping", lambda step: clipping or {})
    return add(id, net, layer=known, **options)


# One way to each form: fused, composed, composed over several axes, virtual batches.
FORMS = collections.OrderedDict(
    [
        ("B", dict(real=(2, 2, 2, 3), kwargs=dict())),
        ("C", dict(real=(2, 2, 2, 3), kwargs=dict(fused=False))),
        ("M", dict(real=(2, 3, 2, 3), kwargs=dict(axis=[1, 3]))),
        ("V", dict(real=(4, 2, 1, 3), kwargs=dict(virtual_batch_size=2))),
    ]
)


def on_forms(name, kwargs, forms="BCMV", **options):
    for form in forms:
        merged = dict(FORMS[form]["kwargs"], **kwargs)
        add_layer("%s-%s" % (name, form), merged, **dict(dict(real=FORMS[form]["real"]), **options))


def on_nets(name, body, forms="BC", **options):
    """A free-form net ``body(g, kwargs)``."""
    for form in forms:
        kwargs = FORMS[form]["kwargs"]
        rows = dict(real=FORMS[form]["real"], axis=kwargs.get("axis", -1), virtual=kwargs.get("virtual_batch_size"))
        add("%s-%s" % (name, form), (lambda g, kwargs=kwargs: body(g, kwargs)), **dict(rows, **options))


# ---------------------------------------------------------------- the table


def _layout():
    axes = {
        1: [-1, 0],
        2: [-1, 0, 1, [1], -2],
        3: [-1, 0, 1, 2, [1], -2],
        4: [-1, 0, 1, 2, 3, [3], [1], -3, [-1], -2],
        5: [-1, 0, 1, 3, -4],
    }
    for rank in sorted(axes):
        for axis in axes[rank]:
            # Where nothing can be fused, `fused` is another word for the same.
            for fused in (None, True, False) if rank == 4 or axis == -1 else (None,):
                if (rank != 4 and fused is False) or (axis in (0, 2, [3], [-1], -2) and fused is True):
                    continue
                kwargs = dict(momentum=0.75, axis=axis)
                if fused is not None:
                    kwargs["fused"] = fused
                real, twin = REAL[rank], None
                if rank == 4 and fused is not False and axis in (1, [1], -3):
                    # TF 1.x has no CPU kernel for it.
                    twin, real = "layout/rank4-axis-1-fusedNone-even", (2, 3, 2, 2)
                add_layer(
                    ("layout/rank%d-axis%s-fused%s" % (rank, axis, fused)).replace(" ", ""),
                    kwargs,
                    real=real,
                    gradients=True,
                    twin=twin,
                )
    add_layer("layout/rank4-axis-1-fusedNone-even", dict(momentum=0.75), real=(2, 2, 2, 3), gradients=True)
    for rank, axis in ((2, 0), (3, 1), (3, -1), (4, 1), (4, 2), (4, 0), (5, 1), (5, -1)):
        kwargs = dict(momentum=0.75, axis=axis, fused=False)
        id = "layout/rank%d-axis%s-dynamic" % (rank, axis)
        add_layer(id, kwargs, kind="placeholder", real=REAL[rank], gradients=True)


def _several_axes():
    axes = {
        2: ([0, 1],),
        3: ([1, 2], [0, 2], [-1, -2]),
        4: ([1, 3], [3, 1], [1, 2], [0, 3], [1, 2, 3], [0, 1, 2, 3], [-1, 1], [2, 3]),
        5: ([1, 4], [-1, 2], [0, 1, 4]),
    }
    for rank in sorted(axes):
        for axis in axes[rank]:
            for kind in ("bool", "placeholder") if (rank == 4 and len(axis) > 2) or axis == [1, 3] else ("bool",):
                id = ("several_axes/rank%d-%s-%s" % (rank, axis, kind)).replace(" ", "")
                add_layer(id, dict(momentum=0.75, axis=axis), kind=kind, real=REAL[rank], gradients=True)
    for fused in (True, False):
        add_layer("several_axes/fused%s" % fused, dict(momentum=0.75, axis=[1, 3], fused=fused))

    def kept(g):
        axis = [-1, 1]
        x = g.input()
        g.train(g.bn(x, axis=axis, training=True))
        g.test(g.bn(x, axis=axis, name="batch_normalization", reuse=True))
        g.notes.append(list(axis))

    add("several_axes/list_is_left_as_it_is", kept, axis=[-1, 1])


def _affine():
    for center in (True, False):
        for scale in (True, False):
            for kind in ("bool", "placeholder"):
                on_forms(
                    "affine/center%s-scale%s-%s" % (center, scale, kind),
                    dict(center=center, scale=scale, momentum=0.875),
                    "BCMV" if kind == "bool" else "BC",
                    kind=kind,
                    gradients=True,
                )


def _epsilon():
    for epsilon in (1e-3, 1.002e-5, 1.001e-5, 1e-5, 1e-8, 0.0):
        for kind in ("bool", "placeholder") if epsilon in (1e-3, 1e-8) else ("bool",):
            kwargs = dict(epsilon=epsilon, momentum=0.5)
            on_forms("epsilon/%g-%s" % (epsilon, kind), kwargs, "BC", kind=kind, data="small", start="small")
    on_forms("epsilon/constant_channel", dict(), "BC", data="constant")


def _momentum():
    for momentum in (0.0, 0.5, 0.9, 0.999, 1.0, 0, 1):
        forms = "BCMV" if momentum == 0.9 else "BC"
        on_forms("momentum/%r" % momentum, dict(momentum=momentum), forms, start="cold")
    on_forms("momentum/default", dict(), start="cold")
    on_forms("momentum/default-warm", dict())
    on_forms("momentum/default-dynamic", dict(), kind="placeholder")
    for kind in sorted(TENSOR_DECAYS):
        for training in ("bool", "placeholder") if kind == "placeholder" else ("bool",):
            name = "momentum/tensor_%s-%s" % (kind, training)
            on_forms(name, dict(momentum=Make(TENSOR_DECAYS[kind])), "BC", kind=training)


def _training():
    for kind in ["bool", "int", "constant"] + sorted(TRAINING):
        forms = "BCMV" if kind in ("bool", "placeholder", "variable") else "BC"
        on_forms("training/%s" % kind, dict(momentum=0.75), forms, kind=kind, gradients=True)

    def learning_phase(g, kw):
        g.test(g.bn(g.input(), name="bn", training=None, **kw))

    def default(g, kw):
        g.test(g.bn(g.input(), name="bn", **kw))

    for body in (learning_phase, default):
        on_nets("training/%s" % body.__name__, body, "BCMV", steps=STANDARD[3:])


def _dtypes():
    for dtype in ("float16", "float64"):
        for rank in (1, 2, 3, 4, 5):
            for fused in (None, False) if rank == 4 else (None,):
                kwargs = dict(momentum=0.875)
                if fused is not None:
                    kwargs["fused"] = fused
                id = "dtype/%s-rank%d-fused%s" % (dtype, rank, fused)
                add_layer(id, kwargs, real=REAL[rank], dtype=dtype, gradients=True)
        on_forms("dtype/%s-dynamic" % dtype, dict(momentum=0.875), dtype=dtype, kind="placeholder")
        on_forms("dtype/%s-default_momentum" % dtype, dict(), "BC", dtype=dtype, start="cold")
        on_forms("dtype/%s-several" % dtype, dict(momentum=0.875), "MV", dtype=dtype, gradients=True)
        on_forms("dtype/%s-renorm" % dtype, dict(momentum=0.875, renorm=True), "C", dtype=dtype)
    for dtype in ("int32", "float32"):

        def from_array(g, dtype=dtype):
            g.train(g.bn(g.case.batch(0).astype(dtype), name="bn", momentum=0.5, training=True))

        add("dtype/numpy_%s" % dtype, from_array, steps=STANDARD[:1])


def _renorm():
    def row(name, kwargs, **options):
        kwargs = dict(dict(momentum=0.75, renorm=True, renorm_momentum=0.5), **kwargs)
        add_layer("renorm/%s" % name, kwargs, **options)

    every = arguments.CLIPPINGS["all"]
    for rank, axis in ((1, -1), (2, -1), (3, -1), (3, 1), (4, -1), (4, 1), (4, 2), (5, -1), (4, [1, 3]), (5, [1, 4])):
        for kind in ("bool", "placeholder") if axis in (-1, [1, 3]) and rank in (2, 4) else ("bool",):
            row(
                ("rank%d-axis%s-%s" % (rank, axis, kind)).replace(" ", ""),
                dict(axis=axis, renorm_clipping=every),
                real=REAL[rank],
                kind=kind,
                gradients=True,
            )
    for name in sorted(arguments.CLIPPINGS):
        row("clip_%s" % name, dict(renorm_clipping=arguments.CLIPPINGS[name] or None))
    tensors = Make(lambda g: {k: g.tf.constant(v) for k, v in every.items()})
    row("clip_tensors", dict(renorm_clipping=tensors), clipping=lambda step: every)
    schedule = Make(
        lambda g: {
            "rmax": g.placeholder(lambda mode, step: 1.0 + 0.25 * step, g.tf.float32, [], "rmax"),
            "dmax": g.placeholder(lambda mode, step: 0.25 * step, g.tf.float32, [], "dmax"),
        }
    )
    row("clip_schedule", dict(renorm_clipping=schedule), clipping=lambda s: dict(rmax=1 + s / 4.0, dmax=s / 4.0))
    row("defaults", dict(momentum=0.99, renorm_momentum=0.99), start="cold")
    for momentum in (0.0, 0.9, 1.0):
        row("renorm_momentum%r" % momentum, dict(renorm_momentum=momentum))
    row("renorm_momentum_tensor", dict(renorm_momentum=Make(TENSOR_DECAYS["placeholder"])))
    row("momentum_tensor", dict(momentum=Make(TENSOR_DECAYS["placeholder"])))
    for fused in (True, False):
        row("fused%s" % fused, dict(fused=fused))
    row("not_trainable", dict(trainable=False))
    row("plain", dict(center=False, scale=False, renorm_clipping=every), gradients=True)
    for kind in ("bool", "placeholder"):
        kwargs = dict(virtual_batch_size=2, renorm_clipping=every)
        row("virtual-%s" % kind, kwargs, real=(4, 2, 1, 3), kind=kind)
    initial = Make(lambda g: g.tf.constant_initializer(4.0))
    row("initial_variance", dict(moving_variance_initializer=initial), start="cold")

    def without_renorm_first(g):
        x = g.input()
        g.test(g.bn(x, name="bn"))
        g.train(g.bn(x, name="bn", training=True, renorm=True, momentum=0.5, reuse=g.tf.AUTO_REUSE))

    add("renorm/plain_first", without_renorm_first, steps=STANDARD[3:])


def _virtual():
    rows = [(2, (6, 3), -1), (3, (4, 2, 3), -1), (3, (4, 3, 2), 1), (4, (4, 2, 1, 3), -1), (4, (4, 3, 2, 1), 1)]
    rows += [(4, (6, 2, 1, 3), -1), (4, (4, 3, 1, 2), [1, 3]), (5, (4, 2, 1, 1, 3), -1), (4, (4, 2, 2, 2), [1, 2, 3])]
    for rank, real, axis in rows:
        for size in (1, 2, real[0]):
            for kind in ("bool", "placeholder") if size == 2 else ("bool",):
                add_layer(
                    ("virtual/rank%d-%s-axis%s-size%d-%s" % (rank, list(real), axis, size, kind)).replace(" ", ""),
                    dict(momentum=0.75, axis=axis, virtual_batch_size=size),
                    real=real,
                    kind=kind,
                    gradients=True,
                    static=(lambda s: [None] + s[1:]) if size != 2 else None,
                )
    real = (4, 2, 1, 3)
    for fused in (True, False):
        add_layer("virtual/fused%s" % fused, dict(virtual_batch_size=2, fused=fused), real=real)
    for center, scale in ((False, True), (False, False)):
        kwargs = dict(virtual_batch_size=2, center=center, scale=scale)
        add_layer("virtual/center%s-scale%s" % (center, scale), kwargs, real=real, gradients=True)

    def not_dividing(g):
        g.train(g.bn(g.input(), virtual_batch_size=3, training=True))

    unknown = lambda s: [None] + s[1:]  # noqa: E731
    add("virtual/does_not_divide", not_dividing, real=real, virtual=3, steps=STANDARD[:1])
    add("virtual/does_not_divide-unknown", not_dividing, real=real, virtual=3, steps=STANDARD[:1], static=unknown)

    def tested_without(g):
        x = g.input()
        with g.tf.variable_scope("net"):
            g.train(g.bn(x, virtual_batch_size=2, training=True, name="bn"))
            g.test(g.bn(x, training=False, name="bn", reuse=True))

    add("virtual/tested_without", tested_without, real=real, virtual=2)


def _adjustment():
    for name in sorted(arguments.ADJUSTMENTS):
        make, arrays = arguments.ADJUSTMENTS[name]
        for kind in ("bool", "placeholder"):
            for fused in (None, False) if name == "channels" else (None,):
                add_layer(
                    "adjustment/%s-%s-fused%s" % (name, kind, fused),
                    dict(adjustment=Make(make), momentum=0.75, fused=fused),
                    kind=kind,
                    gradients=True,
                    adjusted=arrays((2, 3, 2, 3)),
                )
    make, arrays = arguments.ADJUSTMENTS["elements"]
    kwargs = dict(adjustment=Make(make), momentum=0.75, axis=1)
    add_layer("adjustment/axis1", kwargs, real=(2, 3, 2, 2), gradients=True, adjusted=arrays((2, 2, 2, 3)))
    kwargs = dict(adjustment=Make(make), momentum=0.75, axis=[1, 3])
    add_layer("adjustment/axis13", kwargs, gradients=True, adjusted=arrays((2, 2, 9)))
    kwargs = dict(adjustment=Make(make), momentum=0.75, renorm=True, renorm_momentum=0.5)
    add_layer("adjustment/renorm", kwargs, gradients=True, adjusted=arrays((2, 3, 2, 3)))
    kwargs = dict(adjustment=Make(make), momentum=0.75, center=False, scale=False)
    add_layer("adjustment/plain", kwargs, gradients=True, adjusted=arrays((2, 3, 2, 3)))


def _regularizers():
    half, twice = Make(arguments.half_sum_of_squares), Make(arguments.sum_of_squares)
    on_forms("regularizers/both", dict(beta_regularizer=half, gamma_regularizer=twice), steps=SHORT, losses=True)
    on_forms("regularizers/beta-dynamic", dict(beta_regularizer=half), "BC", kind="placeholder", losses=True)
    on_forms("regularizers/not_trainable", dict(beta_regularizer=half, trainable=False), "BC", losses=True)
    on_forms("regularizers/returns_None", dict(beta_regularizer=lambda w: None), "BC", losses=True)
    on_forms("regularizers/without_gamma", dict(gamma_regularizer=half, scale=False), "BC", losses=True)
    for kind in ("l1", "l2", "l1_l2"):
        on_forms("regularizers/string-%s" % kind, dict(beta_regularizer=kind), "BC", steps=STANDARD[:1], losses=True)
    given = {"class_name": "L1L2", "config": {"l2": 0.5}}
    on_forms("regularizers/string-dict", dict(beta_regularizer=given), "BC", steps=STANDARD[:1], losses=True)

    def of_scope(g, kw):
        x = g.input()
        with g.tf.variable_scope("net", regularizer=arguments.half_sum_of_squares(g)):
            g.train(g.bn(x, name="bn", training=True, gamma_regularizer=arguments.sum_of_squares(g), **kw))
            g.test(g.bn(x, name="bn", reuse=True, gamma_regularizer=arguments.sum_of_squares(g), **kw))

    def partitioned(g, kw):
        x = g.input()
        with g.tf.variable_scope("net", partitioner=g.tf.fixed_size_partitioner(2)):
            g.train(g.bn(x, name="bn", training=True, gamma_regularizer=arguments.sum_of_squares(g), **kw))

    def later(g, kw):
        x = g.input()
        g.train(g.bn(x, name="bn", training=True, **kw))
        g.test(g.bn(x, name="bn", reuse=True, beta_regularizer=arguments.sum_of_squares(g), **kw))

    on_nets("regularizers/of_scope", of_scope, "BCM", steps=STANDARD[:1], losses=True)
    on_nets("regularizers/partitioned", partitioned, steps=STANDARD[:1], losses=True)
    on_nets("regularizers/later", later, steps=STANDARD[:1], losses=True)


def _initializers():
    def constant(value):
        return Make(lambda g: g.tf.constant_initializer(value))

    of = {
        "constants": dict(
            beta_initializer=constant(0.5),
            gamma_initializer=constant(2.0),
            moving_mean_initializer=constant(-3.0),
            moving_variance_initializer=constant(4.0),
        ),
        "names": dict(
            beta_initializer="ones",
            gamma_initializer="zeros",
            moving_mean_initializer="ones",
            moving_variance_initializer="zeros",
        ),
        "dicts": dict(gamma_initializer={"class_name": "Constant", "config": {"value": 3.0}}),
        "classes": dict(beta_initializer=Make(lambda g: g.tf.ones_initializer)),
        "functions": dict(
            beta_initializer=Make(lambda g: lambda shape, dtype=None, partition_info=None: g.tf.ones(shape, dtype))
        ),
        "mean_only": dict(moving_mean_initializer=constant(7.0)),
    }
    for name in sorted(of):
        on_forms("initializers/%s" % name, of[name], "BCMV" if name == "constants" else "BM", start="cold", steps=SHORT)
    array = dict(beta_initializer=Make(lambda g: g.tf.constant_initializer([1.0, 2.0, 4.0])))
    on_forms("initializers/array", array, "BV", start="cold", steps=SHORT)
    tensor = dict(beta_initializer=Make(lambda g: g.tf.ones([3])))
    on_forms("initializers/tensor", tensor, "BC", steps=STANDARD[:1])

    def of_scope(g, kw):
        x = g.input()
        with g.tf.variable_scope("net", initializer=g.tf.constant_initializer(7.0)):
            g.train(g.bn(x, name="bn", training=True, beta_initializer=None, moving_mean_initializer=None, **kw))
            g.train(g.bn(x, name="other", training=True, **kw))

    on_nets("initializers/None_in_scope", of_scope, "BCMV", steps=STANDARD[:1], start="cold")


def descending(g, constants):
    """Before every step, one of gradient descent on a sum whose gradients are the same numbers everywhere."""
    variables = g.graph.get_collection("trainable_variables")
    parts = [g.tf.reduce_sum(v) * c for v, c in zip(variables, constants)]
    train = g.tf.train.GradientDescentOptimizer(0.5).minimize(g.tf.add_n(parts), var_list=variables)
    g.before_step.append(lambda session, mode, step: session.run(train))


def _constraints():
    def row(name, forms="BC", dtype="float32", resource=None, **constraints):
        def body(g, kw):
            x = g.input()
            with g.tf.variable_scope("net", use_resource=resource):
                layer_on(g, x, "bool", dict(kw, momentum=0.75, **constraints))
            descending(g, (1.0, -2.0))

        on_nets("constraints/%s" % name, body, forms, dtype=dtype)

    clip = Make(lambda g: lambda w: g.tf.clip_by_value(w, -0.5, 1.0))
    half = Make(lambda g: lambda w: w * 0.5)
    row("functions", "BCMV", beta_constraint=clip, gamma_constraint=half)
    row("resource", beta_constraint=clip, gamma_constraint=half, resource=True)
    row("gamma_only", gamma_constraint=clip)
    row("identity", beta_constraint=lambda w: w)
    row("without_gamma", gamma_constraint=clip, scale=False)
    row("non_neg", beta_constraint="non_neg", gamma_constraint="NonNeg")
    row("non_neg-float64", "C", dtype="float64", beta_constraint="non_neg")
    row("unit_norm", beta_constraint="unit_norm", gamma_constraint={"class_name": "UnitNorm", "config": {"axis": 0}})
    row("max_norm", beta_constraint="max_norm", gamma_constraint={"class_name": "MaxNorm", "config": {"max_value": 1}})
    given = {"class_name": "MinMaxNorm", "config": {"min_value": 2.0, "max_value": 3.0, "rate": 0.5}}
    row("min_max_norm", beta_constraint="min_max_norm", gamma_constraint=given)

    def not_trainable(g, kw):
        x = g.input()
        with g.tf.variable_scope("net"):
            layer_on(g, x, "bool", dict(kw, momentum=0.75, trainable=False, beta_constraint=lambda w: w * 0.5))
        g.notes.append([v.name for v in g.graph.get_collection("variables") if v.constraint is not None])

    def of_scope(g, kw):
        x = g.input()
        with g.tf.variable_scope("net", constraint=lambda w: w * 0.25):
            layer_on(g, x, "bool", dict(kw, momentum=0.75, beta_constraint=lambda w: w * 0.5))
        descending(g, (1.0, -2.0))
        g.notes.append([v.name for v in g.graph.get_collection("variables") if v.constraint is not None])

    def partitioned(g, kw):
        x = g.input()
        with g.tf.variable_scope("net", partitioner=g.tf.fixed_size_partitioner(2)):
            layer_on(g, x, "bool", dict(kw, momentum=0.75, beta_constraint=lambda w: w * 0.5))

    def later(g, kw):
        x = g.input()
        with g.tf.variable_scope("net"):
            g.train(g.bn(x, name="bn", training=True, **kw))
            g.test(g.bn(x, name="bn", reuse=True, beta_constraint=lambda w: w * 0.5, **kw))
        descending(g, (1.0, -2.0))

    for body in (not_trainable, of_scope, partitioned, later):
        on_nets("constraints/%s" % body.__name__, body)


def _trainable():
    for trainable in (True, False):
        for kind in ("bool", "placeholder"):
            on_forms("trainable/%s-%s" % (trainable, kind), dict(trainable=trainable, momentum=0.5), kind=kind)


def _reuse():
    def by_scope(g, kw):
        x = g.input()
        with g.tf.variable_scope("net"):
            g.train(g.bn(x, momentum=0.75, training=True, **kw))
        with g.tf.variable_scope("net", reuse=True):
            g.test(g.bn(x, momentum=0.75, **kw))

    def auto_reuse(g, kw):
        x = g.input()
        for training in (True, False):
            with g.tf.variable_scope("my", reuse=g.tf.AUTO_REUSE):
                y = g.bn(x, momentum=0.75, training=training, **kw)
                g.train(y, "train" if training else "test")

    def argument(g, kw):
        x = g.input()
        g.train(g.bn(x, momentum=0.75, name="bn", training=True, **kw))
        g.test(g.bn(x, momentum=0.75, name="bn", reuse=True, **kw))

    def argument_auto(g, kw):
        x = g.input()
        for training in (True, False):
            y = g.bn(x, momentum=0.75, name="bn", training=training, reuse=g.tf.AUTO_REUSE, **kw)
            g.train(y, "train" if training else "test")

    def argument_without_name(g, kw):
        x = g.input()
        g.train(g.bn(x, momentum=0.75, training=True, **kw))
        g.test(g.bn(x, momentum=0.75, reuse=True, **kw))

    def auto_without_name(g, kw):
        x = g.input()
        for training in (True, False):
            y = g.bn(x, momentum=0.75, training=training, reuse=g.tf.AUTO_REUSE, **kw)
            g.train(y, "train" if training else "test")

    def reuse_variables(g, kw):
        x = g.input()
        with g.tf.variable_scope("net") as scope:
            g.train(g.bn(x, momentum=0.75, name="bn", training=True, **kw))
            scope.reuse_variables()
            g.test(g.bn(x, momentum=0.75, name="bn", **kw))

    def test_first(g, kw):
        x = g.input()
        g.test(g.bn(x, momentum=0.75, name="bn", **kw))
        g.train(g.bn(x, momentum=0.75, name="bn", training=True, reuse=True, **kw))

    def more_variables(g, kw):
        x = g.input()
        g.train(g.bn(x, momentum=0.75, name="bn", scale=False, training=True, **kw))
        g.test(g.bn(x, momentum=0.75, name="bn", reuse=g.tf.AUTO_REUSE, **kw))

    def false_inside_reuse(g, kw):
        x = g.input()
        with g.tf.variable_scope("net"):
            g.train(g.bn(x, momentum=0.5, name="bn", training=True, **kw))
        with g.tf.variable_scope("net", reuse=True):
            g.test(g.bn(x, momentum=0.5, name="bn", reuse=False, **kw))

    def frozen_second(g, kw):
        x = g.input()
        g.train(g.bn(x, momentum=0.75, name="bn", training=True, **kw))
        g.train(g.bn(x, momentum=0.75, name="bn", training=True, trainable=False, reuse=True, **kw), "again")

    def frozen_first(g, kw):
        x = g.input()
        g.train(g.bn(x, momentum=0.75, name="bn", training=True, trainable=False, **kw), "frozen")
        g.train(g.bn(x, momentum=0.75, name="bn", training=True, reuse=True, **kw))

    bodies = (by_scope, auto_reuse, argument, argument_auto, argument_without_name, auto_without_name)
    for body in bodies + (reuse_variables, test_first, more_variables, false_inside_reuse):
        on_nets("reuse/%s" % body.__name__, body, "BCMV" if body in (by_scope, argument) else "BC")
    for body in (frozen_first, frozen_second):
        on_nets("reuse/%s" % body.__name__, body, steps=STANDARD[:2])


def _names():
    def train(g, x, **kw):
        g.train(g.bn(x, momentum=0.5, training=True, **kw))

    def automatic(g, kw):
        x = g.input()
        for _ in range(3):
            train(g, x, **kw)

    def automatic_nested(g, kw):
        x = g.input()
        with g.tf.variable_scope("net"):
            train(g, x, **kw)
            with g.tf.variable_scope("block"):
                train(g, x, **kw)
                train(g, x, **kw)
            train(g, x, **kw)
        train(g, x, **kw)

    def automatic_reentered(g, kw):
        x = g.input()
        for _ in range(2):
            with g.tf.variable_scope("net"):
                train(g, x, **kw)

    def automatic_reentered_reuse(g, kw):
        x = g.input()
        with g.tf.variable_scope("net"):
            g.train(g.bn(x, training=True, **kw), "first")
            g.train(g.bn(x, training=True, **kw), "second")
        with g.tf.variable_scope("net", reuse=True):
            train(g, x, **kw)
            train(g, x, **kw)

    def automatic_after_named(g, kw):
        x = g.input()
        train(g, x, name="batch_normalization", **kw)
        train(g, x, **kw)

    def automatic_after_named_1(g, kw):
        x = g.input()
        train(g, x, **kw)
        train(g, x, name="batch_normalization_1", **kw)
        train(g, x, **kw)

    def string(g, kw):
        train(g, g.input(), name="norm", **kw)

    def slashes(g, kw):
        train(g, g.input(), name="a/b/norm", **kw)

    def empty(g, kw):
        train(g, g.input(), name="", **kw)

    def twice_same_name(g, kw):
        x = g.input()
        train(g, x, name="bn", **kw)
        train(g, x, name="bn", **kw)

    def same_name_other_scope(g, kw):
        x = g.input()
        for scope in ("a", "b"):
            with g.tf.variable_scope(scope):
                train(g, x, name="bn", **kw)

    def scope_object(g, kw):
        x = g.input()
        with g.tf.variable_scope("outer"):
            with g.tf.variable_scope("here") as here:
                pass
        with g.tf.variable_scope("elsewhere"):
            train(g, x, name=here, **kw)
            g.test(g.bn(x, name=here, reuse=True, **kw))

    def root_scope_object(g, kw):
        x = g.input()
        train(g, x, name=g.tf.get_variable_scope(), **kw)

    def name_scope(g, kw):
        x = g.input()
        with g.tf.name_scope("outer"):
            with g.tf.variable_scope("net"):
                with g.tf.name_scope("inner"):
                    train(g, x, **kw)
                    train(g, x, name="bn", **kw)
                    g.test(g.bn(x, name="bn", reuse=True, **kw))

    def reentered_by_object(g, kw):
        x = g.input()
        with g.tf.variable_scope("net") as net:
            train(g, x, name="bn", **kw)
        with g.tf.variable_scope("other"):
            with g.tf.variable_scope(net, reuse=True):
                g.test(g.bn(x, name="bn", **kw))

    def reentered_without_name_scope(g, kw):
        x = g.input()
        with g.tf.variable_scope("net") as net:
            train(g, x, **kw)
        with g.tf.variable_scope(net, reuse=True, auxiliary_name_scope=False):
            g.test(g.bn(x, **kw))

    def after_a_scope_of_its_name(g, kw):
        x = g.input()
        with g.tf.variable_scope("batch_normalization"):
            g.tf.get_variable("w", [1], initializer=g.tf.zeros_initializer())
        train(g, x, **kw)

    def before_other_operations(g, kw):
        x = g.input()
        with g.tf.variable_scope("net"):
            train(g, x, **kw)
            y = g.tf.identity(x, "after")
            z = g.tf.layers.flatten(x) if hasattr(g.tf, "contrib") else g.tf.identity(x)
        g.notes.append([y.name, z is not None])
        g.notes.append(g.tf.get_variable_scope().name)
        g.notes.append(g.tf.get_default_graph().unique_name("probe", mark_as_used=False))

    bodies = (automatic, automatic_nested, automatic_reentered, automatic_reentered_reuse, automatic_after_named)
    bodies += (automatic_after_named_1, string, slashes, empty, twice_same_name, same_name_other_scope, scope_object)
    bodies += (root_scope_object, name_scope, reentered_by_object, reentered_without_name_scope)
    twofold = (automatic, automatic_nested, scope_object, name_scope, twice_same_name)
    for body in bodies + (after_a_scope_of_its_name,):
        on_nets("names/%s" % body.__name__, body, "BC" if body in twofold else "B", steps=STANDARD[:1])
    on_nets("names/before_other_operations", before_other_operations, steps=STANDARD[:1])
    on_nets("names/automatic", automatic, "MV", steps=STANDARD[:1])


def _scopes():
    def within(**options):
        def body(g, kw):
            x = g.input()
            given = {k: v.function(g) if isinstance(v, Make) else v for k, v in options.items()}
            with g.tf.variable_scope("net", **given):
                layer_on(g, x, "bool", dict(kw, momentum=0.75))
            g.notes.extend([v.name, v.device] for v in g.graph.get_collection("variables"))

        return body

    choices = {
        "noting": dict(custom_getter=Make(arguments.noting)),
        "caching": dict(caching_device="/cpu:0"),
        "dtype": dict(dtype=Make(lambda g: g.tf.float64)),
        "resource": dict(use_resource=True),
        "partitioned_one": dict(partitioner=Make(lambda g: g.tf.fixed_size_partitioner(1))),
        "partitioned": dict(partitioner=Make(lambda g: g.tf.fixed_size_partitioner(2))),
        "partitioned_three": dict(partitioner=Make(lambda g: g.tf.fixed_size_partitioner(3))),
        "initializer": dict(initializer=Make(lambda g: g.tf.constant_initializer(7.0))),
    }
    for name in sorted(choices):
        on_nets("scopes/%s" % name, within(**choices[name]), "BC", steps=SHORT, gradients=True)
    for name in ("noting", "resource"):
        on_nets("scopes/%s" % name, within(**choices[name]), "MV", steps=SHORT, gradients=True)

    def device(g, kw):
        x = g.input()
        with g.tf.device("/cpu:0"):
            g.train(g.bn(x, name="bn", training=True, **kw))
        g.notes.extend([v.name, v.device] for v in g.graph.get_collection("variables"))

    def control_dependencies(g, kw):
        x = g.input()
        with g.tf.control_dependencies([g.tf.identity(x)]):
            g.train(g.bn(x, name="bn", momentum=0.5, training=True, **kw))

    def freezing(g, kw):
        def getter(getter, name, *args, **kwargs):
            kwargs["trainable"] = False
            return getter(name, *args, **kwargs)

        x = g.input()
        with g.tf.variable_scope("net", custom_getter=getter):
            layer_on(g, x, "bool", dict(kw, momentum=0.75))

    def partitioned_after(g, kw):
        x = g.input()
        with g.tf.variable_scope("net", partitioner=g.tf.fixed_size_partitioner(2)) as scope:
            g.train(g.bn(x, name="bn", training=True, **kw))
            g.notes.append(scope.partitioner is not None)
            part = g.tf.get_variable("after", [4], g.tf.float32, g.tf.zeros_initializer())
            g.notes.append(len(list(part)))

    for body in (device, control_dependencies, freezing, partitioned_after):
        on_nets("scopes/%s" % body.__name__, body, steps=STANDARD[:1])


def _use():
    def stacked(g, kw):
        x = g.input()
        with g.tf.variable_scope("net"):
            y = g.train(g.bn(x, name="first", momentum=0.5, training=True, **kw))
            g.train(g.bn(y, name="second", momentum=0.5, training=True, **kw))

    def towers(g, kw):
        x, x2 = g.input("x"), g.input("x2")
        for i, inputs in enumerate((x, x2)):
            with g.tf.variable_scope("net", reuse=i > 0):
                with g.tf.name_scope("tower_%d" % i):
                    g.train(g.bn(inputs, momentum=0.75, name="bn", training=True, **kw))
        with g.tf.variable_scope("net", reuse=True):
            g.test(g.bn(x, momentum=0.75, name="bn", **kw))

    def branches(g, kw):
        x = g.input()
        training = g.placeholder(lambda mode, step: mode == "train", g.tf.bool, [], "training")
        g.both(
            g.tf.cond(
                training,
                lambda: g.bn(x, training=True, name="bn", momentum=0.5, **kw),
                lambda: g.bn(x, training=False, name="bn", momentum=0.5, reuse=True, **kw),
            )
        )
        g.apps[-1] = g.apps[-1]._replace(updates=[])

    on_nets("use/stacked", stacked, steps=STANDARD[:3])
    on_nets("use/towers", towers, steps=cases.TOWERS)
    on_nets("use/branches", branches)

    def loop(g, body):
        x = g.input()
        _, y = g.tf.while_loop(
            lambda i, y: i < 2,
            lambda i, y: (i + 1, body(x)),
            [g.tf.constant(0), g.tf.zeros_like(x)],
            parallel_iterations=1,
        )
        return y

    def in_loop_tested(g, kw):
        g.test(loop(g, lambda x: g.bn(x, name="bn", momentum=0.75, **kw)))

    def in_loop_trained(g, kw):
        g.train(loop(g, lambda x: g.bn(x, name="bn", momentum=0.75, training=True, **kw)))
        g.apps[-1] = g.apps[-1]._replace(updates=[])

    on_nets("use/in_loop_tested", in_loop_tested, steps=STANDARD[3:])
    on_nets("use/in_loop_trained", in_loop_trained, "C", steps=STANDARD[:2])
    without = (Step("train", None, False), Step("train", None, True), Step("test", None, False))
    on_forms("use/updates_not_run", dict(momentum=0.5), steps=without)

    def positional(g):
        tf = g.tf
        zeros, ones = tf.zeros_initializer(), tf.ones_initializer()
        first = [g.input(), -1, 0.75, 0.01, True, True, zeros, ones, zeros, ones, None, None, None, None, True, True]
        g.train(g.bn(*(first + ["bn", None, False, None, 0.99, None, None, None])))

    def positional_prefix(g):
        g.test(g.bn(g.input(), 3, 0.75, 0.01, False, True))

    add("use/all_positional", positional, steps=STANDARD[:1])
    add("use/positional_prefix", positional_prefix, steps=STANDARD[3:])


def _shapes():
    static = {"batch": lambda s: [None] + s[1:], "all_but_channels": lambda s: [None] * (len(s) - 1) + s[-1:]}
    for name in sorted(static):
        for kind in ("bool", "placeholder"):
            forms = "BC" if name != "batch" else "BCMV"
            on_forms("shapes/unknown_%s-%s" % (name, kind), dict(momentum=0.75), forms, static=static[name], kind=kind)
    only_axes = lambda s: [None, s[1], None, s[3]]  # noqa: E731
    on_forms("shapes/unknown_other_axes", dict(momentum=0.75), "M", static=only_axes)
    shapes = {"one_element": (1, 1, 1, 3), "two_elements": (1, 2, 1, 3), "one_channel": (2, 2, 2, 1)}
    shapes["uneven"] = (3, 1, 5, 2)
    for name in sorted(shapes):
        on_forms("shapes/%s" % name, dict(momentum=0.75), "BC", real=shapes[name], gradients=name != "one_element")
    on_forms("shapes/not_finite", dict(momentum=0.75), "BC", data="nan")


def _second_order():
    for kind in ("bool", "placeholder"):
        on_forms("second_order/%s" % kind, dict(momentum=0.75), "BCM", kind=kind, gradients="second")


def _combined():
    half = Make(arguments.half_sum_of_squares)
    for trainable in (True, False):
        for axis in (-1, 1, [1, 2]):
            kwargs = dict(
                axis=axis,
                momentum=0.75,
                epsilon=0.01,
                trainable=trainable,
                renorm=True,
                renorm_momentum=0.5,
                renorm_clipping=arguments.CLIPPINGS["all"],
                beta_regularizer=half,
                gamma_constraint=Make(lambda g: lambda w: w * 0.5),
                gamma_initializer="ones",
            )
            for kind in ("bool", "placeholder"):
                id = ("combined/axis%s-trainable%s-%s" % (axis, trainable, kind)).replace(" ", "")
                add_layer(id, kwargs, kind=kind, gradients=True, losses=True)


def _mistakes():
    def calling(case, real=REAL[4], static=None, steps=STANDARD[:1], inputs=None, **kwargs):
        def body(g, kw):
            x = g.input() if inputs is None else inputs(g)
            g.train(g.bn(x, **dict(kw, **dict(dict(name="bn", training=True), **kwargs))))

        forms = "BC" if case.startswith(("training", "momentum", "epsilon", "axis_empty", "unknown", "inputs")) else "B"
        on_nets("mistakes/%s" % case, body, forms, real=real, static=static, steps=steps)

    for name, axis in (
        ("empty", []),
        ("tuple", (1,)),
        ("text", ["a"]),
        ("float", 1.0),
        ("floats", [1.0]),
        ("None", None),
        ("high", 4),
        ("low", -5),
        ("one_high", [1, 4]),
        ("one_low", [1, -5]),
        ("twice", [1, 1]),
        ("twice_negative", [1, -3]),
        ("numpy", np.int64(1)),
    ):
        calling("axis_%s" % name, axis=axis)
    calling("axis_numpy_in_list", axis=[np.int64(3)])
    calling("axis_True", axis=True, fused=False, steps=())
    calling("unknown_rank", static=lambda s: None)
    calling("rank0", static=lambda s: [], steps=())
    calling("unknown_channels", static=lambda s: s[:3] + [None])
    calling("unknown_axis", static=lambda s: [s[0], None] + s[2:], axis=[1, 3])
    calling("virtual_zero", virtual_batch_size=0)
    calling("virtual_negative", virtual_batch_size=-2)
    calling("virtual_float", virtual_batch_size=2.0)
    calling("virtual_text", virtual_batch_size="2")
    calling("virtual_tensor", virtual_batch_size=Make(lambda g: g.tf.constant(2)))
    calling("virtual_axis0", virtual_batch_size=2, axis=0)
    calling("virtual_adjustment", virtual_batch_size=2, adjustment=lambda shape: (1.0, 0.0))
    calling("virtual_unknown_sizes", virtual_batch_size=2, static=lambda s: [None, None, 2, 3])
    calling("virtual_unknown_channels", virtual_batch_size=2, static=lambda s: [None, None, None, None])
    calling("clipping_unknown", renorm=True, renorm_clipping={"rmax": 1.0, "max": 2.0})
    calling("clipping_without_renorm", renorm_clipping={"max": 2.0})
    calling("training_text", training="yes")
    calling("training_float", training=0.5)
    calling("training_two", training=2)
    calling("training_float_tensor", training=Make(lambda g: g.tf.constant(1.0)))
    calling("training_vector", training=Make(lambda g: g.placeholder(lambda m, s: [True], g.tf.bool, [1], "t")))
    calling("momentum_text", momentum="0.9")
    calling("momentum_None", momentum=None)
    calling("momentum_above_one", momentum=1.5)
    calling("momentum_negative", momentum=-0.5)
    calling("epsilon_text", epsilon="small")
    calling("epsilon_None", epsilon=None)
    calling("epsilon_negative", epsilon=-1e-3)
    calling("epsilon_tensor", epsilon=Make(lambda g: g.tf.constant(0.5)))
    for which in ("beta", "gamma"):
        for kind in ("initializer", "regularizer", "constraint"):
            for value in ("nope", 3):
                calling("%s_%s_%s" % (which, kind, value), **{"%s_%s" % (which, kind): value})
    calling("moving_mean_initializer_3", moving_mean_initializer=3)
    calling("variance_None_renorm", moving_variance_initializer=None, renorm=True)
    calling("name_number", name=5)
    calling("name_bad", name="?? ")
    calling("reuse_without_variables", reuse=True)
    calling("reuse_without_name", reuse=True, name=None)
    calling("reuse_text", reuse="yes")
    calling("trainable_None", trainable=None)
    calling("center_None", center=None)
    calling("scale_text", scale="yes")
    calling("unknown_keyword", decay=0.9)
    calling("is_training", is_training=True)
    calling("inputs_None", inputs=lambda g: None)
    calling("inputs_list", inputs=lambda g: [[1.0, 2.0], [3.0, 4.0]])
    calling("inputs_two", inputs=lambda g: [g.tf.ones([2, 3]), g.tf.ones([2, 3])])
    calling("inputs_tuple", inputs=lambda g: (g.tf.ones([2, 3]),))
    calling("inputs_number", inputs=lambda g: 3.0)
    calling("inputs_text", inputs=lambda g: g.tf.constant([["a", "b"]]))
    calling("inputs_bool", inputs=lambda g: g.tf.constant([[True, False]]))
    calling("adjustment_number", adjustment=3)
    calling("adjustment_one", adjustment=lambda shape: 1.0)
    for fused in ("yes", 2, 0, 1, 1.0):
        add_layer("mistakes/fused_%s" % fused, dict(fused=fused, momentum=0.5))
    for real, axis in ((REAL[4], 2), (REAL[3], -1), (REAL[2], 1)):
        add_layer("mistakes/fused_text-rank%d-axis%d" % (len(real), axis), dict(fused="yes", axis=axis), real=real)

    def other_channels(g, kw):
        x = g.input()
        g.train(g.bn(x, name="bn", **kw))
        g.test(g.bn(x[..., :2], name="bn", reuse=True, **kw))

    def other_axis(g, kw):
        x = g.input()
        g.train(g.bn(x, name="bn", training=True, **kw))
        g.test(g.bn(x, name="bn", axis=[1, 3], reuse=True, **kw))

    def more_variables(g, kw):
        x = g.input()
        g.train(g.bn(x, name="bn", scale=False, **kw))
        g.test(g.bn(x, name="bn", reuse=True, **kw))

    def missing_inputs(g, kw):
        g.train(g.bn(**kw))

    def arg_scope(g, kw):
        with g.api.arg_scope([g.api.batch_norm], momentum=0.5):
            g.train(g.bn(g.input(), name="bn", **kw))

    for body in (other_channels, other_axis, more_variables, missing_inputs, arg_scope):
        on_nets("mistakes/%s" % body.__name__, body, "B", steps=STANDARD[:1])


for _fill in (
    _layout,
    _several_axes,
    _affine,
    _epsilon,
    _momentum,
    _training,
    _dtypes,
    _renorm,
    _virtual,
    _adjustment,
    _regularizers,
    _initializers,
    _constraints,
    _trainable,
    _reuse,
    _names,
    _scopes,
    _use,
    _shapes,
    _second_order,
    _combined,
    _mistakes,
):
    _fill()
