# -*- coding: utf-8 -*-
# Runs on Python 2.7 too:
# ruff: noqa: B905, C408, RUF005, UP009, UP010, UP031
"""Rows for the arguments that change variables, moments or corrections; ``cases.py`` explains the table."""

from __future__ import division, print_function

import numpy as np

from golden.record import cases
from golden.record.cases import DYNAMIC, PATHS, RANKS, STANDARD, Make, Step, add, add_layer, on_nets, on_paths

BEFORE = set(cases.GROUPS)

SHORT = STANDARD[1:]
# Dicts are one argument value, so an argument with tensors or tf names in it is made as a whole.
UNFUSED = dict(fused=False)


def half_sum_of_squares(g):
    return lambda w: 0.5 * g.tf.reduce_sum(w * w)


def sum_of_squares(g):
    return lambda w: 2.0 * g.tf.reduce_sum(w * w)


# ---------------------------------------------------------------- batch_weights

SAMPLES = {6: [1, 2, 0, 3, 1, 2], 4: [2, 0, 1, 3], 2: [1, 3]}


def _samples(shape):
    return lambda step, which=0: np.array(SAMPLES[shape[0]], np.float64)


def _halves(shape):
    return lambda step, which=0: np.array(SAMPLES[shape[0]], np.float64) / 2 + 0.25


def _turning(shape):
    return lambda step, which=0: np.roll(np.array(SAMPLES[shape[0]], np.float64), step) + 0.5


def _zeros(shape):
    return lambda step, which=0: np.zeros(shape[0])


def _constant(dtype, of=_samples):
    return (of, lambda g: g.tf.constant(of(g.case.shape)(0), dtype))


def _python(convert, of=_samples):
    return (of, lambda g: convert(of(g.case.shape)(0)))


def _fed(dtype, static):
    def make(g):
        values = _turning(g.case.shape)
        shape = [g.case.shape[0]] if static == "full" else static
        return g.placeholder(lambda mode, step: values(step), dtype, shape, "weights")

    return (_turning, make)


BATCH_WEIGHTS = {
    "int32": _constant("int32"),
    "int64": _constant("int64"),
    "float32": _constant("float32", _halves),
    "float64": _constant("float64", _halves),
    "float16": _constant("float16", _halves),
    "list_int": _python(lambda v: [int(x) for x in v]),
    "list_float": _python(lambda v: [float(x) for x in v], _halves),
    "numpy": _python(lambda v: v, _halves),
    "zeros": _constant("float32", _zeros),
    "list_zeros": _python(lambda v: [0] * len(v), _zeros),
    "placeholder": _fed("float32", "full"),
    "placeholder_float64": _fed("float64", "full"),
    "placeholder_unknown_length": _fed("float32", [None]),
    "placeholder_unknown_shape": _fed("float32", None),
}


def weighted(kind, shape, **kwargs):
    """Arguments with batch_weights of a kind, and the option that tells the tests what they are."""
    of, make = BATCH_WEIGHTS[kind]
    return dict(kwargs, batch_weights=Make(make)), of(shape)


def _batch_weights():
    updates = {"default": {}, "none": dict(updates_collections=None), "list": dict(updates_collections=["my_updates"])}

    def row(name, weights, rank, kwargs, **options):
        kwargs, sample_weights = weighted(weights, RANKS[rank], **kwargs)
        add_layer("batch_weights/%s-D" % name, kwargs, shape=RANKS[rank], sample_weights=sample_weights, **options)

    for rank in sorted(RANKS):
        for fused in (None, True, False) if rank == 4 else (None,):
            for name in sorted(updates):
                kwargs = dict(updates[name], decay=0.75, scale=True, fused=fused)
                row(
                    "rank%d-fused%s-updates_%s" % (rank, fused, name),
                    "float32",
                    rank,
                    kwargs,
                    gradients=fused is None and name != "list",
                )
        for name in ("default", "none"):
            row(
                "rank%d-NCHW-updates_%s" % (rank, name),
                "int32",
                rank,
                dict(updates[name], decay=0.75, data_format="NCHW"),
                data_format="NCHW",
                gradients=True,
            )
    for kind in sorted(BATCH_WEIGHTS):
        for rank in (2, 4) if kind in ("int32", "list_float", "placeholder_unknown_shape") else (4,):
            for name in ("default", "none"):
                id = "weights_%s-rank%d-updates_%s" % (kind, rank, name)
                row(id, kind, rank, dict(updates[name], decay=0.5), steps=SHORT)
    for is_training in ("constant", "placeholder", "variable"):
        for name in sorted(updates):
            row(
                "is_training_%s-updates_%s" % (is_training, name),
                "placeholder",
                4,
                dict(updates[name], decay=0.75, scale=True),
                kind=is_training,
                gradients=True,
            )
    for dtype in ("float16", "float64"):
        for kind in ("int32", "float32", "float64"):
            for name in ("default", "none") if kind == "float32" else ("default",):
                row(
                    "inputs_%s-%s-updates_%s" % (dtype, kind, name),
                    kind,
                    4,
                    dict(updates[name], decay=0.9, scale=True),
                    dtype=dtype,
                    gradients=kind == "float32",
                )
    row("trainable_False", "int32", 4, dict(trainable=False, decay=0.5))
    row("no_center", "int32", 4, dict(center=False, decay=0.5), gradients=True)
    row("small_epsilon", "int32", 4, dict(epsilon=1e-8, decay=0.5), data="small", start="small")
    row("decay_default", "int32", 4, dict(), start="cold")
    row("decay_tensor", "int32", 4, dict(decay=Make(cases.TENSOR_DECAYS["placeholder"])))
    row("zero_debias", "float32", 4, dict(decay=0.75, zero_debias_moving_mean=True))
    row("names", "float32", 4, dict(decay=0.75), names=True, steps=STANDARD[:1])
    row("names-none", "float32", 4, dict(decay=0.75, updates_collections=None), names=True, steps=STANDARD[:1])

    def towers(g, kw):
        weights = Make(lambda g: g.tf.constant([1.0, 2.5]))
        other = Make(lambda g: g.tf.constant([4, 1]))
        x, x2 = g.input("x"), g.input("x2")
        for i, inputs in enumerate((x, x2)):
            with g.tf.variable_scope("net", reuse=i > 0):
                g.train(g.bn(inputs, decay=0.75, scope="bn", batch_weights=(weights, other)[i], **kw))
        with g.tf.variable_scope("net", reuse=True):
            g.test(g.bn(x, decay=0.75, scope="bn", is_training=False, **kw))

    def branches(g, kw):
        x = g.input()
        training = g.placeholder(lambda mode, step: mode == "train", g.tf.bool, [], "training")
        weights = g.tf.constant([1.0, 3.0])

        def branch(is_training, reuse):
            with g.api.arg_scope([g.api.batch_norm], batch_weights=weights, decay=0.5, **kw):
                return g.bn(x, scope="bn", is_training=is_training, reuse=reuse)

        g.both(g.tf.cond(training, lambda: branch(True, None), lambda: branch(False, True)))
        g.apps[-1] = g.apps[-1]._replace(updates=[])

    for body, steps in ((towers, cases.TOWERS), (branches, STANDARD)):
        for name in ("default", "none"):
            add(
                "batch_weights_use/%s-updates_%s" % (body.__name__, name),
                (lambda g, body=body, name=name: body(g, updates[name])),
                steps=steps,
                sample_weights=(lambda step, which=0: np.array([[1, 2.5], [4, 1]][which], float))
                if body is towers
                else (lambda step, which=0: np.array([1.0, 3.0])),
            )

    def mistake(name, make, steps=STANDARD[:1], static=None, **kwargs):
        def net(g):
            x = g.input()
            g.train(g.bn(x, scope="bn", batch_weights=Make(make), **kwargs))

        add("batch_weights_use/mistake-%s" % name, net, steps=steps, static=static)

    for training in (True, False):
        end = "" if training else "-test"
        mistake("wrong_length" + end, lambda g: g.tf.constant([1.0, 2.0, 3.0]), is_training=training)
        mistake("wrong_length_list" + end, lambda g: [1, 2, 3], is_training=training)
        mistake(
            "wrong_length_at_run" + end,
            lambda g: g.placeholder(lambda mode, step: [1.0, 2.0, 3.0], g.tf.float32, [None], "w"),
            is_training=training,
        )
        mistake("column" + end, lambda g: g.tf.constant([[1.0], [2.0]]), is_training=training)
        mistake("per_element" + end, lambda g: g.tf.ones([2, 2, 2, 3]), is_training=training)
        mistake("scalar" + end, lambda g: 2.0, is_training=training)
        mistake("one_for_two" + end, lambda g: [2.0], is_training=training)
        mistake("string" + end, lambda g: ["a", "b"], is_training=training)
        mistake("boolean" + end, lambda g: [True, False], is_training=training)
        mistake("unknown_rank" + end, lambda g: [1.0, 2.0], is_training=training, static=lambda s: None)
        mistake("unknown_channels" + end, lambda g: [1.0, 2.0], is_training=training, static=lambda s: s[:3] + [None])
        mistake("unknown_batch" + end, lambda g: [1.0, 2.0, 3.0], is_training=training, static=lambda s: [None] + s[1:])
        mistake("renorm" + end, lambda g: [1.0, 2.0], is_training=training, renorm=True)
        mistake("lower_format" + end, lambda g: [1.0, 2.0], is_training=training, data_format="nhwc")


# ---------------------------------------------------------------- zero_debias_moving_mean

ZERO_DEBIAS = {
    "A": dict(shape=RANKS[4], kwargs=dict()),
    "none-A": dict(shape=RANKS[4], kwargs=dict(updates_collections=None)),
    "rank2-A": dict(shape=RANKS[2], kwargs=dict()),
    "rank2-none-A": dict(shape=RANKS[2], kwargs=dict(updates_collections=None)),
    "D": dict(shape=RANKS[4], kwargs=dict(UNFUSED)),
    "none-D": dict(shape=RANKS[4], kwargs=dict(UNFUSED, updates_collections=None)),
    "list-D": dict(shape=RANKS[4], kwargs=dict(UNFUSED, updates_collections=["my_updates"])),
    "rank2-D": dict(shape=RANKS[2], kwargs=dict(UNFUSED)),
    "rank3-D": dict(shape=RANKS[3], kwargs=dict()),
    "rank5-none-D": dict(shape=RANKS[5], kwargs=dict(updates_collections=None)),
}
FEW = ("A", "none-A", "D", "none-D")


def _zero_debias():
    def rows(name, kwargs, paths=None, **options):
        for path in paths or sorted(ZERO_DEBIAS):
            merged = dict(ZERO_DEBIAS[path]["kwargs"], zero_debias_moving_mean=True, **kwargs)
            options.setdefault("steps", SHORT if options.get("kind", "bool") in ("bool", "constant") else DYNAMIC[1:])
            add_layer("zero_debias/%s-%s" % (name, path), merged, shape=ZERO_DEBIAS[path]["shape"], **options)

    rows("decay0.75", dict(decay=0.75), start="cold", steps=STANDARD)
    rows("warm", dict(decay=0.75, scale=True), gradients=True)
    for decay in (0.0, 0.9, 1.0):
        rows("decay%r" % decay, dict(decay=decay), FEW, start="cold")
    rows("default_decay", dict(), FEW, start="cold")
    for kind in ("constant", "placeholder", "variable"):
        rows("is_training_%s" % kind, dict(decay=0.75), FEW, kind=kind, start="cold", gradients=kind == "placeholder")
    rows("decay_tensor", dict(decay=Make(cases.TENSOR_DECAYS["placeholder"])), FEW, start="cold")
    rows("decay_constant", dict(decay=Make(cases.TENSOR_DECAYS["constant"])), FEW, start="cold")
    rows("NCHW", dict(decay=0.75, data_format="NCHW"), ("D", "none-D"), data_format="NCHW", start="cold")
    rows("no_center", dict(decay=0.75, center=False), FEW, steps=STANDARD[:2])
    rows("trainable_False", dict(decay=0.75, trainable=False), FEW, start="cold")
    rows("names", dict(decay=0.75), FEW, steps=STANDARD[:1], names=True)
    for dtype in ("float16", "float64"):
        rows("%s" % dtype, dict(decay=0.75), FEW, dtype=dtype, start="cold")
    everything = {n: [n + "s"] for n in ("beta", "moving_mean", "moving_variance", "biased", "local_step")}
    rows("collections_dict", dict(decay=0.75, variables_collections=everything), FEW, steps=STANDARD[:1])
    rows("collections_list", dict(decay=0.75, variables_collections=["mine"]), FEW, steps=STANDARD[:1])
    initial = Make(
        lambda g: {
            "moving_mean": g.tf.constant_initializer(40.0),
            "biased": g.tf.constant_initializer(3.0),
            "moving_variance": g.tf.constant_initializer(2.0),
        }
    )
    rows("initializers", dict(decay=0.75, param_initializers=initial), FEW, start="cold")
    rows("one_element", dict(decay=0.75), ("none-A", "none-D"), start="cold", data="nan")

    def test_only(g, kw):
        g.test(g.bn(g.input(), scope="bn", is_training=False, **kw))

    def train_only(g, kw):
        g.train(g.bn(g.input(), scope="bn", **kw))

    def in_turn(g, kw):
        x, x2 = g.input("x"), g.input("x2")
        for i, inputs in enumerate((x, x2)):
            with g.tf.variable_scope("net", reuse=i > 0):
                with g.tf.name_scope("tower_%d" % i):
                    g.train(g.bn(inputs, decay=0.75, scope="bn", **kw))
        with g.tf.variable_scope("net", reuse=True):
            g.test(g.bn(x, decay=0.75, scope="bn", is_training=False, **kw))

    def auto_reuse(g, kw):
        x, x2 = g.input("x"), g.input("x2")
        for inputs in (x, x2):
            with g.tf.variable_scope("net", reuse=g.tf.AUTO_REUSE):
                g.train(g.bn(inputs, decay=0.75, scope="bn", **kw))
        with g.tf.variable_scope("net", reuse=g.tf.AUTO_REUSE):
            g.test(g.bn(x, decay=0.75, scope="bn", is_training=False, **kw))

    def test_first(g, kw):
        x = g.input()
        g.test(g.bn(x, decay=0.75, scope="bn", is_training=False, **kw))
        g.train(g.bn(x, decay=0.75, scope="bn", reuse=True, **kw))

    def test_first_auto_reuse(g, kw):
        x = g.input()
        g.test(g.bn(x, decay=0.75, scope="bn", is_training=False, reuse=g.tf.AUTO_REUSE, **kw))
        g.train(g.bn(x, decay=0.75, scope="bn", reuse=g.tf.AUTO_REUSE, **kw))

    def plain_first(g, kw):
        x = g.input()
        plain = dict(kw, zero_debias_moving_mean=False)
        g.test(g.bn(x, decay=0.75, scope="bn", is_training=False, **plain))
        g.train(g.bn(x, decay=0.75, scope="bn", reuse=g.tf.AUTO_REUSE, **kw))

    def nested(g, kw):
        x = g.input()
        with g.tf.variable_scope("outer"):
            with g.tf.variable_scope("inner"):
                g.train(g.bn(x, decay=0.75, **kw))
                g.train(g.bn(x, decay=0.75, **kw))

    def slashes(g, kw):
        g.train(g.bn(g.input(), decay=0.75, scope="a/b/bn", **kw))

    def scope_object(g, kw):
        x = g.input()
        with g.tf.variable_scope("outer"):
            with g.tf.variable_scope("here") as here:
                pass
        with g.tf.variable_scope("elsewhere"):
            g.train(g.bn(x, decay=0.75, scope=here, **kw))

    def name_scope(g, kw):
        x = g.input()
        with g.tf.name_scope("outer"):
            with g.tf.variable_scope("net"):
                with g.tf.name_scope("inner"):
                    g.train(g.bn(x, decay=0.75, scope="bn", **kw))

    def regularized_scope(g, kw):
        x = g.input()
        with g.tf.variable_scope("net", regularizer=half_sum_of_squares(g)):
            g.train(g.bn(x, decay=0.75, scope="bn", **kw))

    def initialised_scope(g, kw):
        x = g.input()
        with g.tf.variable_scope("net", initializer=g.tf.constant_initializer(7.0)):
            g.train(g.bn(x, decay=0.75, scope="bn", **kw))

    def partitioned_scope(g, kw):
        x = g.input()
        with g.tf.variable_scope("net", partitioner=g.tf.fixed_size_partitioner(2)):
            g.train(g.bn(x, decay=0.75, scope="bn", **kw))

    def watching_getter(g, kw):
        x = g.input()
        with g.tf.variable_scope("net", custom_getter=noting(g)):
            g.train(g.bn(x, decay=0.75, scope="bn", **kw))

    def cond_branches(g, kw):
        cases.in_both_branches(g, kw, decay=0.75)

    def resource(g, kw):
        x = g.input()
        with g.tf.variable_scope("net", use_resource=True):
            cases.layer_on(g, x, "bool", dict(kw, decay=0.75))

    def twice_same_scope(g, kw):
        x = g.input()
        g.train(g.bn(x, scope="bn", decay=0.75, **kw))
        g.train(g.bn(x, scope="bn", decay=0.75, **kw))

    def string_flag(g, kw):
        kw = dict(kw, zero_debias_moving_mean="no")
        g.train(g.bn(g.input(), scope="bn", decay=0.75, **kw))

    def tensor_flag(g, kw):
        kw = dict(kw, zero_debias_moving_mean=g.tf.constant(True))
        g.train(g.bn(g.input(), scope="bn", decay=0.75, **kw))

    runs = {
        test_only: STANDARD[3:],
        in_turn: cases.TOWERS,
        auto_reuse: cases.TOWERS[1:],
        test_first: SHORT,
        test_first_auto_reuse: SHORT,
        plain_first: SHORT,
        resource: SHORT,
        cond_branches: SHORT,
    }
    bodies = [train_only, twice_same_scope, nested, slashes, scope_object, name_scope, regularized_scope]
    bodies += [initialised_scope, partitioned_scope, watching_getter, string_flag, tensor_flag]
    for body in sorted(runs, key=lambda b: b.__name__) + bodies:
        for path in FEW:
            kwargs = dict(ZERO_DEBIAS[path]["kwargs"], zero_debias_moving_mean=True)
            add(
                "zero_debias_use/%s-%s" % (body.__name__, path),
                (lambda g, body=body, kwargs=kwargs: body(g, kwargs)),
                steps=runs.get(body, STANDARD[:2]),
                start="cold",
                losses=body is regularized_scope,
            )


# ---------------------------------------------------------------- param_initializers


INITIALIZERS = {
    "constant": lambda tf: tf.constant_initializer(2.5),
    "per_channel": lambda tf: tf.constant_initializer([0.5, 2.0, 4.0]),
    "numpy_constant": lambda tf: tf.constant_initializer(np.array([0.5, 2.0, 4.0])),
    "ones": lambda tf: tf.ones_initializer(),
    "seeded": lambda tf: tf.random_uniform_initializer(1.0, 2.0, seed=5),
    "class": lambda tf: tf.ones_initializer,
    "function": lambda tf: lambda shape, dtype=None, partition_info=None: tf.fill(shape, tf.cast(3.0, dtype)),
    "function_of_two": lambda tf: lambda shape, dtype: tf.fill(shape, tf.cast(3.0, dtype)),
    "function_of_shape": lambda tf: lambda shape: tf.fill(shape, 3.0),
    "string": lambda tf: "ones",
    "string_unknown": lambda tf: "no_such_initializer",
    "tensor": lambda tf: tf.constant([0.5, 2.0, 4.0]),
    "array": lambda tf: np.array([0.5, 2.0, 4.0], np.float32),
    "number": lambda tf: 0.5,
    "wrong_count": lambda tf: tf.constant_initializer([1.0, 2.0]),
    "wrong_shape": lambda tf: lambda shape, dtype=None, partition_info=None: tf.zeros([2], dtype),
    "dict": lambda tf: {"class_name": "Constant", "config": {"value": 2.5}},
}
NAMES = ("beta", "gamma", "moving_mean", "moving_variance")
ODD = ("wrong_count", "wrong_shape", "tensor", "array", "number", "string_unknown", "function_of_shape", "dict")


def initializers(**kinds):
    return Make(lambda g: {name: INITIALIZERS[kind](g.tf) for name, kind in kinds.items()})


def _param_initializers():
    def rows(name, given, steps=STANDARD[:1], **options):
        kwargs = dict(decay=0.75, scale=True, param_initializers=given, **options.pop("kwargs", {}))
        on_paths("initializers/" + name, kwargs, start="cold", steps=steps, **options)

    for which in NAMES:
        rows("%s-constant" % which, initializers(**{which: "constant"}))
    for which in ("beta", "moving_variance"):
        for kind in sorted(INITIALIZERS):
            if kind != "constant" and (which == "beta" or kind in ("per_channel", "class", "string", "tensor")):
                paths = ("A", "B", "C", "D") if kind in ODD else tuple(PATHS)
                rows("%s-%s" % (which, kind), initializers(**{which: kind}), paths=paths)
    every = dict(zip(NAMES, ("per_channel", "constant", "per_channel", "constant")))
    rows("all", initializers(**every), steps=STANDARD)
    rows("all-dynamic", initializers(**every), steps=DYNAMIC, kind="placeholder")
    rows("unknown_key", Make(lambda g: {"betta": g.tf.ones_initializer(), "renorm_mean": 3}))
    rows("unused", initializers(gamma="constant", beta="constant"), kwargs=dict(center=False))
    rows("empty", {})
    rows("list", ["ones"], paths=("A", "B", "C", "D"))
    rows("text", "ones", paths=("A", "B", "C", "D"))
    for dtype in ("float16", "float64"):
        rows("all-%s" % dtype, initializers(**every), dtype=dtype)

    def other_under_reuse(g, kw):
        x = g.input()
        first = {"beta": g.tf.constant_initializer(2.5)}
        second = {"beta": g.tf.constant_initializer(7.0)}
        g.train(g.bn(x, scope="bn", param_initializers=first, decay=0.5, **kw))
        g.test(g.bn(x, scope="bn", param_initializers=second, is_training=False, reuse=True, **kw))

    def in_initialised_scope(g, kw):
        x = g.input()
        with g.tf.variable_scope("net", initializer=g.tf.constant_initializer(7.0)):
            given = {"beta": g.tf.constant_initializer(2.5)}
            g.train(g.bn(x, scope="bn", scale=True, param_initializers=given, **kw))

    def None_in_initialised_scope(g, kw):
        x = g.input()
        with g.tf.variable_scope("net", initializer=g.tf.constant_initializer(7.0)):
            g.train(g.bn(x, scope="bn", param_initializers={"beta": None, "moving_mean": None}, **kw))

    def in_arg_scope(g, kw):
        x = g.input()
        given = {"moving_variance": g.tf.constant_initializer(4.0), "gamma": g.tf.constant_initializer(0.5)}
        with g.api.arg_scope([g.api.batch_norm], param_initializers=given, scale=True, **kw):
            g.test(g.bn(x, scope="bn", is_training=False))
            g.test(g.bn(x, scope="other", is_training=False, param_initializers=None))

    for body in (other_under_reuse, in_initialised_scope, None_in_initialised_scope, in_arg_scope):
        steps = STANDARD[:1] if body is not in_arg_scope else STANDARD[3:]
        on_nets("initializers/%s" % body.__name__, body, start="cold", steps=steps)


# ---------------------------------------------------------------- param_regularizers


def _param_regularizers():
    def regularizers(**of):
        return Make(lambda g: {name: make(g) for name, make in of.items()})

    def rows(name, given, steps=STANDARD[:2], **options):
        kwargs = dict(dict(decay=0.75, scale=True, param_regularizers=given), **options.pop("kwargs", {}))
        on_paths("regularizers/" + name, kwargs, steps=steps, losses=True, **options)

    both = dict(beta=half_sum_of_squares, gamma=sum_of_squares)
    rows("beta", regularizers(beta=half_sum_of_squares))
    rows("gamma", regularizers(gamma=sum_of_squares))
    rows("both", regularizers(**both), steps=STANDARD)
    rows("both-dynamic", regularizers(**both), kind="placeholder", steps=DYNAMIC)
    rows("both-frozen", regularizers(**both), kwargs=dict(trainable=False))
    rows("no_gamma", regularizers(**both), kwargs=dict(scale=False))
    rows("moving", regularizers(moving_mean=half_sum_of_squares, moving_variance=half_sum_of_squares))
    rows("unknown_key", regularizers(betta=half_sum_of_squares))
    rows("None", {"beta": None, "gamma": None})
    rows("empty", {})
    rows("returns_None", regularizers(beta=lambda g: lambda w: None))
    rows("returns_number", regularizers(beta=lambda g: lambda w: 0.25))
    rows("string", {"beta": "l2"})
    rows("number", {"beta": 0.5}, paths=("A", "B", "C", "D"))
    rows("list", [0.5], paths=("A", "B", "C", "D"))
    for dtype in ("float16", "float64"):
        rows("both-%s" % dtype, regularizers(**both), dtype=dtype, steps=STANDARD[:1])

    def scope_and_argument(g, kw):
        x = g.input()
        with g.tf.variable_scope("net", regularizer=half_sum_of_squares(g)):
            given = {"beta": sum_of_squares(g)}
            g.train(g.bn(x, scope="bn", scale=True, param_regularizers=given, **kw))
            g.test(g.bn(x, scope="bn", scale=True, param_regularizers=given, is_training=False, reuse=True, **kw))

    def scope_only(g, kw):
        x = g.input()
        with g.tf.variable_scope("net", regularizer=half_sum_of_squares(g)):
            g.train(g.bn(x, scope="bn", scale=True, **kw))
            g.test(g.bn(x, scope="bn", scale=True, is_training=False, reuse=True, **kw))

    def scope_of_two(g, kw):
        x = g.input()
        for reuse in (False, True):
            with g.tf.variable_scope("net", regularizer=half_sum_of_squares(g), reuse=reuse):
                g.train(g.bn(x, scope="bn", scale=True, **kw), "first" if not reuse else "train")

    def first_under_auto_reuse(g, kw):
        x = g.input()
        for i in range(2):
            given = {"beta": sum_of_squares(g)} if i else None
            y = g.bn(x, scope="bn", param_regularizers=given, reuse=g.tf.AUTO_REUSE, decay=0.75, **kw)
            g.train(y, "train" if i else "first")

    def automatic_names(g, kw):
        x = g.input()
        given = {"beta": half_sum_of_squares(g), "gamma": sum_of_squares(g)}
        for _ in range(2):
            g.train(g.bn(x, scale=True, param_regularizers=given, decay=0.75, **kw))

    def in_arg_scope(g, kw):
        x = g.input()
        with g.api.arg_scope([g.api.batch_norm], param_regularizers={"beta": half_sum_of_squares(g)}, **kw):
            g.train(g.bn(x, scope="bn", decay=0.75))
            g.train(g.bn(x, scope="other", decay=0.75, param_regularizers=None))

    def in_name_scope(g, kw):
        x = g.input()
        with g.tf.name_scope("outer"):
            with g.tf.variable_scope("net"):
                with g.tf.name_scope("inner"):
                    given = {"beta": half_sum_of_squares(g)}
                    g.train(g.bn(x, scope="bn", decay=0.75, param_regularizers=given, **kw))

    def resource(g, kw):
        x = g.input()
        with g.tf.variable_scope("net", use_resource=True):
            given = {"beta": half_sum_of_squares(g), "gamma": sum_of_squares(g)}
            cases.layer_on(g, x, "bool", dict(kw, decay=0.75, scale=True, param_regularizers=given))

    for body in (scope_and_argument, scope_only, scope_of_two, first_under_auto_reuse, automatic_names):
        on_nets("regularizers/%s" % body.__name__, body, steps=STANDARD[:1], losses=True)
    for body in (in_arg_scope, in_name_scope, resource):
        on_nets("regularizers/%s" % body.__name__, body, steps=STANDARD[:1], losses=True)


# ---------------------------------------------------------------- renorm

CLIPPINGS = {
    "none": {},
    "rmin": {"rmin": 0.875},
    "rmax": {"rmax": 1.25},
    "dmax": {"dmax": 0.25},
    "rmin_rmax": {"rmin": 0.875, "rmax": 1.25},
    "rmin_dmax": {"rmin": 0.875, "dmax": 0.25},
    "rmax_dmax": {"rmax": 1.25, "dmax": 0.25},
    "all": {"rmin": 0.875, "rmax": 1.25, "dmax": 0.25},
}


def _renorm():
    def row(name, kwargs, rank=4, **options):
        kwargs = dict(dict(decay=0.75, renorm=True, renorm_decay=0.5), **kwargs)
        clipping = kwargs.get("renorm_clipping")
        if not isinstance(clipping, Make):
            options.setdefault("clipping", lambda step: clipping or {})
        group = "renorm_clipping" if name.startswith(("rank", "clip", "center")) else "renorm"
        add_layer("%s/%s-C" % (group, name), kwargs, shape=RANKS[rank], **options)

    for rank in sorted(RANKS):
        for data_format in ("NHWC", "NCHW"):
            row(
                "rank%d-%s" % (rank, data_format),
                dict(scale=True, data_format=data_format, renorm_clipping=CLIPPINGS["all"]),
                rank,
                data_format=data_format,
                gradients=True,
            )
        row("rank%d-fused%s" % (rank, rank == 4), dict(fused=rank == 4), rank, start="cold")
    for name in sorted(CLIPPINGS):
        for kind in ("bool", "placeholder"):
            clipping = CLIPPINGS[name] or None
            row("clip_%s-%s" % (name, kind), dict(scale=True, renorm_clipping=clipping), kind=kind, gradients=True)
    row("clip_cold", dict(renorm_clipping=CLIPPINGS["all"]), start="cold")
    row("clip_empty", dict(renorm_clipping={}))
    row("clip_None", dict(renorm_clipping={"rmin": None, "rmax": 1.25}))
    row("clip_int", dict(renorm_clipping={"rmin": 1, "rmax": 1, "dmax": 0}))
    tensors = Make(lambda g: {k: g.tf.constant(v) for k, v in CLIPPINGS["all"].items()})
    row("clip_tensors", dict(renorm_clipping=tensors), clipping=lambda step: CLIPPINGS["all"])
    schedule = Make(
        lambda g: {
            "rmax": g.placeholder(lambda mode, step: 1.0 + 0.25 * step, g.tf.float32, [], "rmax"),
            "dmax": g.placeholder(lambda mode, step: 0.25 * step, g.tf.float32, [], "dmax"),
        }
    )
    row("clip_schedule", dict(renorm_clipping=schedule), clipping=lambda s: dict(rmax=1 + s / 4.0, dmax=s / 4.0))
    per_channel = Make(lambda g: {"rmax": g.tf.constant([1.0, 0.5, 1.5])})
    row("clip_per_channel", dict(renorm_clipping=per_channel), clipping=lambda s: dict(rmax=np.array([1.0, 0.5, 1.5])))
    row("clip_crossed", dict(renorm_clipping={"rmin": 1.5, "rmax": 0.5, "dmax": -0.25}))
    for decay in (0.0, 0.9, 1.0, 1):
        row("renorm_decay%r" % decay, dict(renorm_decay=decay))
        row("decay%r" % decay, dict(decay=decay))
    add_layer("renorm/defaults-C", dict(renorm=True), start="cold")
    add_layer("renorm/defaults-warm-C", dict(renorm=True))
    row("renorm_decay_tensor", dict(renorm_decay=Make(cases.TENSOR_DECAYS["placeholder"])))
    row("decay_tensor", dict(decay=Make(cases.TENSOR_DECAYS["placeholder"])))
    for center in (True, False):
        for scale in (True, False):
            for kind in ("bool", "placeholder"):
                row(
                    "center%s-scale%s-%s" % (center, scale, kind),
                    dict(center=center, scale=scale, renorm_clipping=CLIPPINGS["all"]),
                    kind=kind,
                    gradients=True,
                    names=center and scale,
                )
    for kind in ("constant", "placeholder_with_default", "variable"):
        row("is_training_%s" % kind, dict(renorm_clipping=CLIPPINGS["all"]), kind=kind)
    without = (Step("train", None, False), Step("train", None, True), Step("train", None, False)) + STANDARD[3:]
    for kind in ("bool", "placeholder"):
        row("updates_not_run-%s" % kind, dict(renorm_clipping=CLIPPINGS["all"]), kind=kind, steps=without)
    for dtype in ("float16", "float64"):
        for kind in ("bool", "placeholder"):
            row("%s-%s" % (dtype, kind), dict(renorm_clipping=CLIPPINGS["all"]), dtype=dtype, kind=kind)
            row("%s-%s-no_clipping" % (dtype, kind), dict(scale=True), dtype=dtype, kind=kind)

    def test_only_float64(g):
        g.test(g.bn(g.input(), scope="bn", renorm=True, is_training=False))

    add("renorm/float64-test_only-C", test_only_float64, dtype="float64", steps=STANDARD[3:])
    for kind in ("bool", "placeholder"):
        row("trainable_False-%s" % kind, dict(trainable=False, renorm_clipping=CLIPPINGS["all"]), kind=kind)
    row("epsilon_small", dict(epsilon=1e-8), data="small", start="small")
    row("epsilon_0", dict(epsilon=0.0), data="small", start="small")
    row("epsilon_large", dict(epsilon=16.0))
    row("constant_channel", dict(), data="constant")
    row("not_finite", dict(renorm_clipping=CLIPPINGS["all"]), data="nan")
    row("initial_variance", dict(param_initializers=initializers(moving_variance="per_channel")), start="cold")
    row("initial_variance_tensor", dict(param_initializers=initializers(moving_variance="tensor")), start="cold")
    row("initial_variance_string", dict(param_initializers=initializers(moving_variance="string")), start="cold")
    row("initial_mean", dict(param_initializers=initializers(moving_mean="per_channel")), start="cold")
    every = {n: [n + "s"] for n in NAMES + ("moving_stddev", "renorm_mean", "renorm_stddev")}
    row("collections_dict", dict(variables_collections=every), steps=STANDARD[:1])
    row("collections_list", dict(variables_collections=["mine"]), steps=STANDARD[:1])
    row("outputs_collections", dict(outputs_collections="mine"), steps=STANDARD[:1])
    row("activation", dict(activation_fn=lambda y: -y), steps=STANDARD[:1])
    row("truthy", dict(renorm=1), steps=STANDARD[:1])
    row("regularizers", dict(param_regularizers=Make(lambda g: {"beta": half_sum_of_squares(g)})), losses=True)
    row("unknown_batch", dict(renorm_clipping=CLIPPINGS["all"]), static=lambda s: [None] + s[1:])
    row("one_element", dict(), steps=STANDARD[:2])

    # These have an effect only together with renorm.
    on_paths("renorm/off-clipping", dict(renorm_clipping={"no_such_key": 1.0}, decay=0.5), steps=STANDARD[:1])
    on_paths("renorm/off-renorm_decay", dict(renorm_decay="no number", decay=0.5), steps=STANDARD[:1])

    def in_turn(g):
        x, x2 = g.input("x"), g.input("x2")
        kw = dict(renorm=True, renorm_decay=0.5, renorm_clipping=CLIPPINGS["all"], decay=0.75, scope="bn")
        for i, inputs in enumerate((x, x2)):
            with g.tf.variable_scope("net", reuse=i > 0):
                g.train(g.bn(inputs, **kw))
        with g.tf.variable_scope("net", reuse=True):
            g.test(g.bn(x, is_training=False, **kw))

    def regularized_scope(g):
        x = g.input()
        with g.tf.variable_scope("net", regularizer=half_sum_of_squares(g)):
            g.train(g.bn(x, scope="bn", renorm=True, scale=True, renorm_decay=0.5))

    def partitioned_scope(g):
        x = g.input()
        with g.tf.variable_scope("net", partitioner=g.tf.fixed_size_partitioner(2)):
            g.train(g.bn(x, scope="bn", renorm=True, scale=True, renorm_decay=0.5))

    def watching_getter(g):
        x = g.input()
        with g.tf.variable_scope("net", custom_getter=noting(g)):
            g.train(g.bn(x, scope="bn", renorm=True, scale=True, renorm_decay=0.5))

    def cond_branches(g):
        x = g.input()
        training = g.placeholder(lambda mode, step: mode == "train", g.tf.bool, [], "training")
        kw = dict(scope="bn", renorm=True, decay=0.75)
        g.both(
            g.tf.cond(
                training,
                lambda: g.bn(x, is_training=True, **kw),
                lambda: g.bn(x, is_training=False, reuse=True, **kw),
            )
        )
        g.apps[-1] = g.apps[-1]._replace(updates=[])

    def resource(g):
        x = g.input()
        with g.tf.variable_scope("net", use_resource=True):
            kw = dict(renorm=True, renorm_decay=0.5, renorm_clipping=CLIPPINGS["all"], decay=0.75)
            cases.layer_on(g, x, "bool", kw)

    def later(g):
        x = g.input()
        g.test(g.bn(x, scope="bn", is_training=False))
        g.train(g.bn(x, scope="bn", renorm=True, renorm_decay=0.5, decay=0.75, reuse=g.tf.AUTO_REUSE))

    def later_reuse(g):
        x = g.input()
        g.test(g.bn(x, scope="bn", is_training=False))
        g.train(g.bn(x, scope="bn", renorm=True, renorm_decay=0.5, decay=0.75, reuse=True))

    def two_names(g):
        x = g.input()
        for _ in range(2):
            g.train(g.bn(x, renorm=True, renorm_decay=0.5, decay=0.75))

    runs = {in_turn: cases.TOWERS, resource: STANDARD, cond_branches: STANDARD, later: STANDARD}
    for body in (in_turn, regularized_scope, partitioned_scope, watching_getter, cond_branches, resource, later):
        add(
            "renorm/%s-C" % body.__name__,
            body,
            steps=runs.get(body, STANDARD[:2]),
            losses=body is regularized_scope,
            clipping=lambda step, all=body in (in_turn, resource): CLIPPINGS["all" if all else "none"],
        )
    add("renorm/later_reuse", later_reuse, steps=STANDARD[:1])
    add("renorm/two_names-C", two_names, steps=STANDARD[:2], names=True)

    def mistake(name, **kwargs):
        def net(g):
            g.train(g.bn(g.input(), scope="bn", renorm=True, **kwargs))

        add("renorm/mistake-%s" % name, net, steps=STANDARD[:1])

    mistake("updates_none", updates_collections=None)
    mistake("updates_list", updates_collections=["update_ops"])
    mistake("updates_custom-unfused", updates_collections="mine", fused=False)
    mistake("zero_debias", zero_debias_moving_mean=True)
    mistake("updates_none-test", updates_collections=None, is_training=False)
    mistake("clipping_key", renorm_clipping={"rmax": 1.0, "rmix": 0.5})
    mistake("clipping_case", renorm_clipping={"RMAX": 1.0})
    mistake("clipping_list", renorm_clipping=["rmax"])
    mistake("clipping_number", renorm_clipping=3.0)
    mistake("clipping_key-test", renorm_clipping={"rmix": 0.5}, is_training=False)
    mistake("clipping_string", renorm_clipping={"rmax": "one"})
    mistake("renorm_decay_None", renorm_decay=None)
    mistake("renorm_decay_string", renorm_decay="0.9")


# ---------------------------------------------------------------- adjustment


def adjust(shape_of, data_format="NHWC"):
    """(the adjustment as the layer takes it, its pair of arrays as the tests take it) for a shape of constants."""

    def arrays(shape):
        full = tuple(shape_of(shape))
        count = np.arange(int(np.prod(full)))
        scale = (0.5 + (count * 5 % 8) / 8.0).reshape(full)
        bias = ((count * 3 % 7) / 4.0 - 0.75).reshape(full)
        return scale, bias

    def make(g):
        def placed(array):
            array = g.case.placed(array) if array.ndim == len(g.case.shape) else array
            return g.tf.constant(array, "float32" if g.case.dtype == "float16" else g.case.dtype)

        def adjustment(shape):
            g.notes.append(["adjustment got", shape.dtype.name, cases.shape_of(shape.get_shape())])
            return tuple(placed(array) for array in arrays(g.case.shape))

        return adjustment

    return make, arrays


ADJUSTMENTS = {
    "channels": adjust(lambda shape: [1] * (len(shape) - 1) + [shape[-1]]),
    "samples": adjust(lambda shape: [shape[0]] + [1] * (len(shape) - 2) + [shape[-1]]),
    "elements": adjust(lambda shape: shape),
    "vector": adjust(lambda shape: [shape[-1]]),
}


def _adjustment():
    def row(name, which, kwargs, rank=4, end="C", **options):
        make, arrays = ADJUSTMENTS[which]
        options.setdefault("adjusted", arrays(RANKS[rank]))
        kwargs = dict(dict(decay=0.75), **kwargs)
        kwargs["adjustment"] = Make(make)
        add_layer("adjustment/%s-%s-%s" % (name, which, end), kwargs, shape=RANKS[rank], **options)

    for which in sorted(ADJUSTMENTS):
        for rank in sorted(RANKS):
            row("rank%d" % rank, which, dict(scale=True), rank, gradients=True)
            if rank in (2, 4) and which != "vector":
                row("rank%d-NCHW" % rank, which, dict(data_format="NCHW"), rank, data_format="NCHW")
        row("dynamic", which, dict(scale=True), kind="placeholder", gradients=True)
    for center in (True, False):
        for scale in (True, False):
            for kind in ("bool", "placeholder"):
                kwargs = dict(center=center, scale=scale)
                row("center%s-scale%s-%s" % (center, scale, kind), "samples", kwargs, kind=kind, gradients=True)
    for kind in ("constant", "variable"):
        row("is_training_%s" % kind, "samples", dict(), kind=kind)
    for fused in (True, False):
        row("fused%s" % fused, "samples", dict(fused=fused))
    for dtype in ("float16", "float64"):
        row(dtype, "samples", dict(scale=True), dtype=dtype)
        row(dtype + "-dynamic", "channels", dict(scale=True), dtype=dtype, kind="placeholder")
    row("trainable_False", "samples", dict(trainable=False))
    row("renorm", "samples", dict(renorm=True, renorm_decay=0.5, scale=True), gradients=True)
    clipped = dict(renorm=True, renorm_decay=0.5, renorm_clipping=CLIPPINGS["all"])
    clipping = dict(clipping=lambda step: CLIPPINGS["all"])
    row("renorm_clipped", "channels", clipped, kind="placeholder", gradients=True, **clipping)
    row("unknown_batch", "channels", dict(), static=lambda s: [None] + s[1:])
    row("unknown_batch", "elements", dict(), static=lambda s: [None] + s[1:])
    row("names", "samples", dict(scale=True), names=True, steps=STANDARD[:1])
    for rank in (2, 4):
        row("ignored-none-rank%d" % rank, "samples", dict(updates_collections=None), rank, end="D", adjusted=None)
        row("ignored-debias-rank%d" % rank, "samples", dict(zero_debias_moving_mean=True), rank, "D", adjusted=None)
    weights = dict(batch_weights=Make(BATCH_WEIGHTS["int32"][1]))
    row("ignored-weights", "samples", weights, 4, "D", adjusted=None, sample_weights=_samples(RANKS[4]))

    def of_dynamic_shape(g):
        def adjustment(shape):
            ones = g.tf.ones(g.tf.concat([shape[:1], [1, 1], shape[-1:]], 0))
            return 0.5 * ones, ones - 0.25

        g.train(g.bn(g.input(), scope="bn", adjustment=adjustment, decay=0.5))

    full = (np.full(RANKS[4], 0.5), np.full(RANKS[4], 0.75))
    add("adjustment/of_dynamic_shape-C", of_dynamic_shape, steps=STANDARD[:2], adjusted=full)

    def not_called(g):
        def adjustment(shape):
            raise RuntimeError("called")

        g.test(g.bn(g.input(), scope="bn", adjustment=adjustment, is_training=False))

    add("adjustment/not_called_when_testing-C", not_called, steps=STANDARD[3:])

    def mistake(name, adjustment, **kwargs):
        def net(g):
            g.train(g.bn(g.input(), scope="bn", adjustment=lambda shape: adjustment(g.tf), decay=0.5, **kwargs))

        add("adjustment/mistake-%s" % name, net, steps=STANDARD[:1], adjusted=(np.full(3, 0.5), np.full(3, 0.75)))

    mistake("single", lambda tf: tf.ones([1, 1, 1, 3]))
    mistake("three", lambda tf: (1.0, 2.0, 3.0))
    mistake("None", lambda tf: None)
    mistake("pair_of_None", lambda tf: (None, None))
    mistake("numbers", lambda tf: (0.5, 0.75))
    mistake("numpy", lambda tf: (np.full([1, 1, 1, 3], 0.5), np.full([1, 1, 1, 3], 0.75)))
    mistake("numpy32", lambda tf: (np.full([1, 1, 1, 3], 0.5, "f"), np.full([1, 1, 1, 3], 0.75, "f")))
    mistake("shape", lambda tf: (tf.ones([5]), tf.ones([5])))

    def not_callable(g):
        g.train(g.bn(g.input(), scope="bn", adjustment=3))

    def not_callable_zero(g):
        g.train(g.bn(g.input(), scope="bn", adjustment=0))

    add("adjustment/mistake-not_callable", not_callable, steps=STANDARD[:1])
    add("adjustment/mistake-zero", not_callable_zero, steps=STANDARD[:1])


# ---------------------------------------------------------------- getters, partitioners, devices


def noting(g):
    """A custom getter that writes down what it is asked for."""

    def getter(getter, name, *args, **kwargs):
        regularizer = kwargs.get("regularizer")
        collections = kwargs.get("collections")
        g.notes.append(
            [
                name,
                cases.shape_of(g.tf.TensorShape(kwargs["shape"])),
                g.tf.as_dtype(kwargs["dtype"]).name,
                bool(kwargs["trainable"]),
                None if collections is None else sorted(collections),
                regularizer is not None,
                kwargs.get("partitioner") is not None,
                str(kwargs.get("reuse")),
            ]
        )
        return getter(name, *args, **kwargs)

    return getter


REPLACED = [0.5, 2.0, 1.5]


def _getters():
    def within(getter_of, **more):
        def body(g, kw):
            x = g.input()
            with g.tf.variable_scope("net", custom_getter=getter_of(g)):
                cases.layer_on(g, x, more.get("kind", "bool"), dict(kw, decay=0.75, scale=True))

        return body

    def scaling(g):
        def getter(getter, name, *args, **kwargs):
            variable = getter(name, *args, **kwargs)
            return 2.0 * variable if name.endswith(("/gamma", "/beta")) else variable

        return getter

    def renaming(g):
        def getter(getter, name, *args, **kwargs):
            return getter("renamed/" + name, *args, **kwargs)

        return getter

    def freezing(g):
        def getter(getter, name, *args, **kwargs):
            kwargs["trainable"] = False
            return getter(name, *args, **kwargs)

        return getter

    def replacing(g):
        def getter(getter, name, *args, **kwargs):
            if name.endswith("gamma"):
                return g.tf.constant(REPLACED)
            return getter(name, *args, **kwargs)

        return getter

    for getter in (noting, scaling, renaming, freezing, replacing):
        for kind in ("bool", "placeholder"):
            on_nets(
                "getters/%s-%s" % (getter.__name__, kind),
                within(getter, kind=kind),
                steps=STANDARD[:2] + STANDARD[3:],
                gradients=getter is scaling,
                factors={scaling: dict(gamma=2.0, beta=2.0), replacing: dict(gamma=REPLACED)}.get(getter),
            )

    def nested(g, kw):
        x = g.input()
        with g.tf.variable_scope("net", custom_getter=noting(g)):
            with g.tf.variable_scope("inner", custom_getter=renaming(g)):
                g.train(g.bn(x, scope="bn", decay=0.75, **kw))

    def two_layers(g, kw):
        x = g.input()
        with g.tf.variable_scope("net", custom_getter=noting(g), regularizer=half_sum_of_squares(g)):
            g.train(g.bn(x, decay=0.75, param_regularizers={"beta": sum_of_squares(g)}, **kw))
            g.train(g.bn(x, decay=0.75, variables_collections=["mine"], **kw))

    on_nets("getters/nested", nested, steps=STANDARD[:1])
    on_nets("getters/two_layers", two_layers, steps=STANDARD[:1], losses=True)


def _partitioners():
    def within(partitioner, shape=RANKS[4], kind="bool", regularized=False, **more):
        def body(g, kw):
            x = g.input()
            regularizer = half_sum_of_squares(g) if regularized else None
            with g.tf.variable_scope("net", partitioner=partitioner(g.tf), regularizer=regularizer):
                cases.layer_on(g, x, kind, dict(dict(kw, decay=0.75, scale=True), **more))

        return body

    def two(tf):
        return tf.fixed_size_partitioner(2)

    def three(tf):
        return tf.fixed_size_partitioner(3)

    def by_size(tf):
        return tf.variable_axis_size_partitioner(8)

    def of_shape(tf):
        return lambda shape, dtype: [2]

    for partitioner in (two, three, by_size, of_shape):
        on_nets("partitioners/%s" % partitioner.__name__, within(partitioner), steps=STANDARD, gradients=True)
    on_nets("partitioners/dynamic", within(two, kind="placeholder"), steps=DYNAMIC)
    on_nets("partitioners/regularized", within(two, regularized=True), steps=STANDARD[:1], losses=True)
    given = Make(lambda g: {"beta": half_sum_of_squares(g)})
    on_nets("partitioners/regularizers", within(two, param_regularizers=given), steps=STANDARD[:1], losses=True)
    names = {n: [n + "s"] for n in NAMES}
    on_nets("partitioners/collections_dict", within(two, variables_collections=names), steps=STANDARD[:1])
    on_nets("partitioners/collections_list", within(two, variables_collections=["mine"]), steps=STANDARD[:1])
    on_nets("partitioners/rank2", within(two), shape=RANKS[2], steps=STANDARD[:2])
    on_nets("partitioners/rank3", within(two), shape=RANKS[3], steps=STANDARD[:2])
    on_nets("partitioners/float16", within(two), dtype="float16", steps=STANDARD[:2])
    initial = initializers(beta="per_channel")
    on_nets("partitioners/initial_array", within(two, param_initializers=initial), start="cold", steps=STANDARD[:1])
    initial = initializers(beta="constant", gamma="constant")
    on_nets("partitioners/initial", within(two, param_initializers=initial), start="cold", steps=STANDARD[:1])

    def restored(g, kw):
        x = g.input()
        with g.tf.variable_scope("net", partitioner=g.tf.fixed_size_partitioner(2)) as scope:
            g.train(g.bn(x, scope="bn", decay=0.75, **kw))
            g.notes.append(scope.partitioner is not None)
            part = g.tf.get_variable("after", [4], g.tf.float32, g.tf.zeros_initializer())
            g.notes.append(len(list(part)))

    on_nets("partitioners/after", restored, steps=STANDARD[:1])

    def scope_object(g, kw):
        x = g.input()
        with g.tf.variable_scope("here", partitioner=g.tf.fixed_size_partitioner(2)) as here:
            pass
        g.train(g.bn(x, scope=here, decay=0.75, **kw))
        g.notes.append(here.partitioner is not None)

    on_nets("partitioners/scope_object", scope_object, steps=STANDARD[:1])


def _devices():
    def caching(g, kw):
        x = g.input()
        with g.tf.variable_scope("net", caching_device="/cpu:0"):
            cases.layer_on(g, x, "bool", dict(kw, decay=0.75, scale=True))

    def device(g, kw):
        x = g.input()
        with g.tf.device("/cpu:0"):
            g.train(g.bn(x, scope="bn", decay=0.75, scale=True, **kw))
        g.notes.extend([v.name, v.device] for v in g.graph.get_collection("variables"))

    def dtype_of_scope(g, kw):
        x = g.input()
        with g.tf.variable_scope("net", dtype=g.tf.float64):
            g.train(g.bn(x, scope="bn", decay=0.75, scale=True, **kw))

    def constraint(g, kw):
        x = g.input()
        with g.tf.variable_scope("net", constraint=lambda w: w):
            g.train(g.bn(x, scope="bn", decay=0.75, scale=True, **kw))

    for body in (caching, device, dtype_of_scope, constraint):
        on_nets("devices/%s" % body.__name__, body, steps=STANDARD if body is caching else STANDARD[:2])


# ---------------------------------------------------------------- gradients of gradients


def _second_order():
    for center in (True, False):
        for scale in (True, False):
            name = "second_order/center%s-scale%s" % (center, scale)
            kwargs = dict(center=center, scale=scale, decay=0.75)
            on_paths(name, kwargs, gradients="second", steps=STANDARD[2:])
            on_paths(name + "-dynamic", kwargs, gradients="second", steps=STANDARD[2:], kind="placeholder")
    for rank in (2, 3, 5):
        for name in ("C", "D"):
            kwargs = dict(PATHS[name]["kwargs"], scale=True, decay=0.75)
            id = "second_order/rank%d-%s" % (rank, name)
            add_layer(id, kwargs, shape=RANKS[rank], gradients="second", steps=STANDARD[2:])
    for dtype in ("float16", "float64"):
        kwargs = dict(decay=0.75, scale=True)
        on_paths("second_order/" + dtype, kwargs, dtype=dtype, gradients="second", steps=STANDARD[2:])
    kwargs, sample_weights = weighted("float32", RANKS[4], scale=True, decay=0.75)
    add_layer(
        "second_order/batch_weights-D",
        kwargs,
        gradients="second",
        steps=STANDARD[2:],
        sample_weights=sample_weights,
    )
    kwargs = dict(renorm=True, scale=True, decay=0.75, renorm_clipping=CLIPPINGS["all"])
    clipping = dict(clipping=lambda step: CLIPPINGS["all"])
    add_layer("second_order/renorm-C", kwargs, gradients="second", steps=STANDARD[2:], **clipping)
    make, arrays = ADJUSTMENTS["samples"]
    kwargs = dict(adjustment=Make(make), scale=True, decay=0.75)
    add_layer("second_order/adjustment-C", kwargs, gradients="second", steps=STANDARD[2:], adjusted=arrays(RANKS[4]))
    for epsilon in (1e-3, 1e-8):
        on_paths(
            "second_order/small-epsilon%g" % epsilon,
            dict(epsilon=epsilon, decay=0.75),
            data="small",
            start="small",
            gradients="second",
            steps=STANDARD[2:],
        )


# ---------------------------------------------------------------- loops


def _loops():
    """The layer made before a loop and used again in its body, or made in the body."""

    def loop(g, body, times=2):
        x = g.input()
        _, y = g.tf.while_loop(
            lambda i, y: i < times,
            lambda i, y: (i + 1, body(x, i)),
            [g.tf.constant(0), g.tf.zeros_like(x)],
            parallel_iterations=1,
        )
        return x, y

    def made_inside(g, kw):
        _, y = loop(g, lambda x, i: g.bn(x, scope="bn", decay=0.75, **kw))
        g.train(y)
        g.apps[-1] = g.apps[-1]._replace(updates=[])

    def made_before(g, kw):
        x0 = g.input("x0")
        g.test(g.bn(x0, scope="bn", decay=0.75, is_training=False, **kw))
        _, y = loop(g, lambda x, i: g.bn(x, scope="bn", decay=0.75, reuse=True, **kw))
        g.train(y)
        g.apps[-1] = g.apps[-1]._replace(updates=[], source=1)

    def test_inside(g, kw):
        _, y = loop(g, lambda x, i: g.bn(x, scope="bn", decay=0.75, is_training=False, **kw))
        g.test(y)

    def fetched_updates(g, kw):
        _, y = loop(g, lambda x, i: g.bn(x, scope="bn", decay=0.75, **kw))
        g.train(y)

    def dynamic_inside(g, kw):
        training = g.placeholder(lambda mode, step: mode == "train", g.tf.bool, [], "training")
        g.feeds.reverse()
        _, y = loop(g, lambda x, i: g.bn(x, scope="bn", decay=0.75, is_training=training, **kw))
        g.both(y)
        g.apps[-1] = g.apps[-1]._replace(updates=[])

    for body in (made_inside, made_before, test_inside, fetched_updates, dynamic_inside):
        updated = body in (made_inside, made_before, dynamic_inside)
        steps = {made_before: STANDARD, test_inside: STANDARD[3:], dynamic_inside: STANDARD}.get(body, STANDARD[:2])
        on_nets("loops/%s" % body.__name__, body, steps=steps, repeats=2 if updated else 1)

    # The arguments with variables of their own, each on the path that it leads to.
    extras = {
        "renorm-C": dict(renorm=True, renorm_decay=0.5),
        "zero_debias-none-A": dict(zero_debias_moving_mean=True, updates_collections=None),
        "zero_debias-none-D": dict(zero_debias_moving_mean=True, updates_collections=None, fused=False),
        "batch_weights-none-D": dict(batch_weights=[1, 3], updates_collections=None),
    }
    for name in sorted(extras):
        for body in (made_inside, made_before):
            add(
                "loops/%s-%s" % (body.__name__, name),
                (lambda g, body=body, kw=extras[name]: body(g, kw)),
                steps=STANDARD if body is made_before else STANDARD[:2],
                start="cold",
                repeats=2,
                sample_weights=(lambda step, which=0: np.array([1.0, 3.0])) if "weights" in name else None,
            )


# ---------------------------------------------------------------- combinations


def _combined():
    collections = {"beta": ["betas"], "gamma": ["gammas"], "moving_mean": ["means"], "moving_variance": ["variances"]}
    every = dict(
        scale=True,
        epsilon=0.25,
        decay=0.75,
        variables_collections=collections,
        outputs_collections="outs",
        activation_fn=Make(lambda g: g.tf.nn.relu),
        param_initializers=Make(lambda g: {name: g.tf.constant_initializer(1.5) for name in NAMES}),
        param_regularizers=Make(lambda g: {"beta": half_sum_of_squares(g), "gamma": sum_of_squares(g)}),
    )
    for kind in ("bool", "placeholder", "variable"):
        steps = STANDARD if kind == "bool" else DYNAMIC
        on_paths("combined/everything-%s" % kind, every, kind=kind, losses=True, start="cold", steps=steps)

    extras = {
        "renorm-C": dict(renorm=True, renorm_decay=0.5, renorm_clipping=CLIPPINGS["all"]),
        "zero_debias-A": dict(zero_debias_moving_mean=True),
        "zero_debias-D": dict(zero_debias_moving_mean=True, fused=False),
        "batch_weights-D": dict(batch_weights=Make(BATCH_WEIGHTS["float32"][1])),
        "adjustment-C": dict(adjustment=Make(ADJUSTMENTS["samples"][0])),
    }

    def options_of(name):
        result = {}
        if name.startswith("renorm"):
            result["clipping"] = lambda step: CLIPPINGS["all"]
        if name.startswith("batch_weights"):
            result["sample_weights"] = _halves(RANKS[4])
        if name.startswith("adjustment"):
            result["adjusted"] = ADJUSTMENTS["samples"][1](RANKS[4])
        return result

    for name in sorted(extras):
        for kind in ("bool", "placeholder"):
            kwargs = dict(every, **extras[name])
            options = dict(options_of(name), kind=kind, losses=True, start="cold")
            add_layer("combined/everything-%s-%s" % (kind, name), kwargs, **options)

        def nested(g, kw=extras[name]):
            x = g.input()
            kw = g.arguments(kw)
            with g.api.arg_scope([g.api.batch_norm], decay=0.25, scale=True, **kw):
                with g.api.arg_scope([g.api.batch_norm], decay=0.75, is_training=True):
                    with g.tf.variable_scope("net"):
                        g.train(g.bn(x, scope="bn"))
                        g.test(g.bn(x, scope="bn", is_training=False, reuse=True))

        def cleared(g, kw=extras[name]):
            x = g.input()
            kw = g.arguments(kw)
            off = {k: False if v is True else None for k, v in kw.items() if k in ("renorm", "adjustment")}
            off.update({k: False if v is True else None for k, v in kw.items() if k[:5] in ("zero_", "batch")})
            with g.api.arg_scope([g.api.batch_norm], decay=0.75, **kw):
                with g.api.arg_scope([g.api.batch_norm], **off):
                    g.train(g.bn(x, scope="bn"))

        def global_step_decay(g, kw=extras[name]):
            x = g.input()
            step = g.tf.train.get_or_create_global_step()
            moved = g.tf.assign_add(step, 1)
            decay = g.tf.minimum(0.75, (1.0 + g.tf.cast(step, g.tf.float32)) / 4.0)
            g.before_step.append(lambda session, mode, number: session.run(moved))
            with g.tf.variable_scope("net"):
                cases.layer_on(g, x, "bool", dict(kw, decay=decay))

        def frozen(g, kw=extras[name]):
            x = g.input()
            with g.tf.variable_scope("net"):
                g.test(g.bn(x, scope="bn", is_training=False, trainable=False, scale=True, **kw))

        def stacked(g, kw=extras[name]):
            x = g.input()
            with g.tf.variable_scope("net"):
                y = g.train(g.bn(x, scope="first", decay=0.5, **kw))
                g.train(g.bn(y, scope="second", decay=0.5, **kw))

        def by_scope_reuse(g, kw=extras[name]):
            x = g.input()
            with g.tf.variable_scope("net"):
                g.train(g.bn(x, decay=0.75, **kw))
            with g.tf.variable_scope("net", reuse=True):
                g.test(g.bn(x, decay=0.75, is_training=False, **kw))

        runs = {frozen: STANDARD[3:], stacked: STANDARD[:2], cleared: STANDARD[:2]}
        for body in (nested, cleared, global_step_decay, frozen, stacked, by_scope_reuse):
            options = options_of(name) if body is not cleared else {}
            id = "combined/%s-%s" % (body.__name__, name if body is not cleared else name.replace("-", "_"))
            add(id, body, steps=runs.get(body, STANDARD), start="warm" if body is stacked else "cold", **options)

    def global_step(g, kw):
        x = g.input()
        step = g.tf.train.get_or_create_global_step()
        moved = g.tf.assign_add(step, 1)
        decay = g.tf.minimum(0.75, (1.0 + g.tf.cast(step, g.tf.float32)) / 4.0)
        g.before_step.append(lambda session, mode, number: session.run(moved))
        with g.tf.variable_scope("net"):
            cases.layer_on(g, x, "bool", dict(kw, decay=decay))

    on_nets("combined/global_step", global_step)


for _fill in (
    _batch_weights,
    _zero_debias,
    _param_initializers,
    _param_regularizers,
    _renorm,
    _adjustment,
    _getters,
    _partitioners,
    _devices,
    _second_order,
    _loops,
    _combined,
):
    _fill()

GROUPS = [group for group in cases.GROUPS if group not in BEFORE]
