# -*- coding: utf-8 -*-
# Runs on Python 3.6 too:
# ruff: noqa: B905, UP008, UP009, UP031
"""What objects of the real ``tf.layers.BatchNormalization`` are and do, from construction to their updates.

    python tests/golden/record/layer_objects.py     adds this release to layer_objects.json

Each case is a function of ``tf`` and the class, run in a graph of its own. What it gives is plain data: names, errors,
and numbers that are the same bits everywhere (the batches are of few small integers).
"""

import collections
import json
import os
import sys

import numpy as np

PATH = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "layer_objects.json")
CASES = collections.OrderedDict()


def case(build):
    CASES[build.__name__] = build
    return build


def images(tf, name="x"):
    return tf.placeholder(tf.float32, [None, 2, 2, 3], name)


def batch(offset=0.0):
    return (np.arange(24.0).reshape(2, 2, 2, 3) % 5 * 2 + offset).astype(np.float32)


def names(items):
    return [getattr(item, "name", str(item)) for item in items]


def lists(layer):
    """The lists of a layer."""
    kinds = "variables", "trainable_variables", "non_trainable_variables", "updates"
    result = {kind: names(getattr(layer, kind)) for kind in kinds}
    assert names(layer.weights) == result["variables"]
    assert names(layer.trainable_weights) == result["trainable_variables"]
    return dict(result, built=layer.built, losses=len(layer.losses))


def collections_of(tf):
    keys = tf.GraphKeys
    wanted = keys.GLOBAL_VARIABLES, keys.TRAINABLE_VARIABLES, keys.UPDATE_OPS, keys.REGULARIZATION_LOSSES
    return {key: names(tf.get_collection(key)) for key in wanted}


def error(function, *args, **kwargs):
    try:
        function(*args, **kwargs)
    except Exception as caught:
        return type(caught).__name__
    return None


def run(tf, layer, outputs, feeds, steps=2):
    """Outputs of the last of some training steps, and the values of the layer's variables after it."""
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for _ in range(steps):
            values = session.run([outputs, tf.get_collection(tf.GraphKeys.UPDATE_OPS)], feeds)[0]
        after = session.run(list(layer.variables))
    return {
        "outputs": [np.asarray(value).ravel().tolist() for value in values],
        "variables": {v.name: np.asarray(value).ravel().tolist() for v, value in zip(layer.variables, after)},
    }


@case
def unnamed(tf, layer_class):
    layers = [layer_class() for _ in range(2)]
    result = {"before": [lists(layer) for layer in layers]}
    scope_before = error(lambda: layers[0].scope_name)
    x = images(tf)
    # The scope is that of the first call.
    ys = [layers[1](x, training=True), layers[0](x, training=False)]
    return dict(
        result,
        scope_before=scope_before,
        after=[lists(layer) for layer in layers],
        scopes=[layer.scope_name for layer in layers],
        outputs=names(ys),
        collections=collections_of(tf),
    )


@case
def named(tf, layer_class):
    x = images(tf)
    layers = [layer_class(name="bn") for _ in range(2)]
    ys = [layer(x, training=True) for layer in layers]
    return {
        "names": names(layers),
        "scopes": [layer.scope_name for layer in layers],
        "outputs": names(ys),
        "lists": [lists(layer) for layer in layers],
    }


@case
def beside_the_function(tf, layer_class):
    x = images(tf)
    y = tf.layers.batch_normalization(x)
    layer = layer_class()
    z = layer.apply(y)
    return {"name": layer.name, "scope": layer.scope_name, "outputs": names([y, z]), "all": collections_of(tf)}


@case
def twice(tf, layer_class):
    layer = layer_class(momentum=0.5, fused=False)
    a, b = images(tf, "a"), images(tf, "b")
    ys = [layer(a, training=True), layer.apply(b, training=True), layer(a, training=False)]
    found = {
        "a": names(layer.get_updates_for(a)),
        "b": names(layer.get_updates_for([b])),
        "none": names(layer.get_updates_for(None)),
    }
    return {
        "outputs": names(ys),
        "lists": lists(layer),
        "updates_for": found,
        "collections": collections_of(tf),
    }


@case
def in_another_scope(tf, layer_class):
    layer = layer_class(momentum=0.5)
    x = images(tf)
    ys = []
    for scope in ("first", "second"):
        with tf.variable_scope(scope):
            ys.append(layer(x, training=scope == "first"))
    return {
        "scope": layer.scope_name,
        "outputs": names(ys),
        "lists": lists(layer),
        "run": run(tf, layer, ys[:1], {x: batch()}),
    }


@case
def fed_training(tf, layer_class):
    layer = layer_class(momentum=0.75)
    x, training = images(tf), tf.placeholder(tf.bool, [])
    y = layer(x, training=training)
    return {"lists": lists(layer), "run": run(tf, layer, [y], {x: batch(), training: True}), "test": run(
        tf, layer, [y], {x: batch(3.0), training: False})}  # fmt: skip


@case
def built_by_hand(tf, layer_class):
    layer = layer_class(momentum=0.5, name="bn")
    layer.build([None, 2, 2, 3])
    before = lists(layer)
    x = images(tf)
    y = layer(x, training=True)
    return {"before": before, "after": lists(layer), "output": y.name, "run": run(tf, layer, [y], {x: batch()})}


@case
def attributes(tf, layer_class):
    layer = layer_class(axis=1, momentum=0.5, epsilon=0.25, scale=False, fused=False)
    plain = ("momentum", "epsilon", "center", "scale", "trainable", "built", "renorm", "axis")
    before = {name: getattr(layer, name) for name in plain}
    layer.momentum = 0.75
    x = tf.placeholder(tf.float32, [None, 3, 2, 2], "x")
    y = layer(x, training=True)
    return {
        "before": before,
        "after": {name: getattr(layer, name) for name in plain if name != "axis"},
        "gamma": layer.gamma is None,
        "named": names([layer.beta, layer.moving_mean, layer.moving_variance]),
        "run": run(tf, layer, [y], {x: batch().transpose(0, 3, 1, 2)}),
    }


@case
def frozen(tf, layer_class):
    x = images(tf)
    layer = layer_class(trainable=False)
    layer(x, training=True)
    first = lists(layer)
    later = layer_class(name="later")
    later(x, training=True)
    before = lists(later)
    later.trainable = False
    after = lists(later)
    later(x, training=True)
    return {"layer": first, "before": before, "after": after, "again": lists(later), "all": collections_of(tf)}


@case
def regularized(tf, layer_class):
    def loss(variable):
        return tf.reduce_sum(variable) * 0.5

    x = images(tf)
    layer = layer_class(gamma_regularizer=loss, beta_regularizer=loss, name="bn", fused=False)
    layer(x, training=True)
    layer(x, training=False)
    return {
        "lists": lists(layer),
        "collections": collections_of(tf),
        "unconditional": len(layer.get_losses_for(None)),
        "conditional": len(layer.get_losses_for(x)),
    }


@case
def renorm(tf, layer_class):
    x = images(tf)
    layer = layer_class(renorm=True, momentum=0.5, renorm_momentum=0.5, renorm_clipping={"rmax": 2.0})
    y = layer(x, training=True)
    return {"lists": lists(layer), "output": y.name, "collections": collections_of(tf)}


@case
def virtual(tf, layer_class):
    x = images(tf)
    layer = layer_class(virtual_batch_size=2, momentum=0.5)
    layer(x, training=True)
    layer(x, training=True)
    return {"lists": lists(layer), "shapes": [v.get_shape().as_list() for v in layer.variables]}


@case
def mistakes(tf, layer_class):
    x = images(tf)
    layer = layer_class()
    layer(x)
    flat, wide = tf.placeholder(tf.float32, [None, 3]), tf.placeholder(tf.float32, [None, 2, 2, 4])
    return {
        "rank": error(layer, flat),
        "channels": error(layer, wide),
        "unknown": error(layer_class, surprise=1),
        "axis": error(layer_class, axis="3"),
        "clipping": error(layer_class, renorm=True, renorm_clipping={"rmix": 1}),
        "no_channels": error(layer_class(), tf.placeholder(tf.float32, [None, None])),
        "no_rank": error(layer_class(), tf.placeholder(tf.float32)),
        "far_axis": error(layer_class(axis=4), x),
        "build": error(layer_class().build, [None, None]),
        "count": error(layer_class().count_params),
        "counted": layer.count_params(),
    }


@case
def reused(tf, layer_class):
    x = images(tf)
    first = layer_class(name="bn", _scope="bn")
    first(x, training=True)
    second = layer_class(name="bn", _scope="bn", _reuse=True)
    second(x, training=True)
    third = error(layer_class(name="bn", _scope="bn"), x)
    with tf.variable_scope("outer"):
        layer_class(name="bn")(x)
    with tf.variable_scope("outer", reuse=True):
        again = error(layer_class(name="bn"), x)
        shared = layer_class(name="bn")
        shared(x, scope="bn")
    return {"same": names(first.variables) == names(second.variables), "third": third, "again": again,
            "shared": lists(shared), "second": lists(second), "collections": collections_of(tf)}  # fmt: skip


@case
def partitioned(tf, layer_class):
    x = images(tf)
    with tf.variable_scope("net", partitioner=tf.fixed_size_partitioner(2)):
        layer = layer_class()
        layer(x, training=True)
    split = [len(list(v)) if type(v).__name__ == "PartitionedVariable" else v.name for v in layer.variables]
    return {"variables": split, "trainable": len(layer.trainable_variables), "collections": collections_of(tf)}


@case
def in_a_subclass(tf, layer_class):
    class Norm2d(layer_class):
        def __init__(self, **options):
            super(Norm2d, self).__init__(momentum=0.5, **options)
            self.seen = []

        def build(self, input_shape):
            self.seen.append("build %d" % len(list(input_shape)))
            super(Norm2d, self).build(input_shape)

        def call(self, inputs, training=False):
            self.seen.append("call")
            return super(Norm2d, self).call(inputs, training=training) + 1.0

    x = images(tf)
    layer = Norm2d()
    ys = [layer(x, training=True), layer(x)]
    return {"name": layer.name, "seen": layer.seen, "outputs": names(ys), "lists": lists(layer),
            "run": run(tf, layer, ys[:1], {x: batch()})}  # fmt: skip


@case
def dtypes(tf, layer_class):
    result = {}
    for name in ("float16", "float32", "float64"):
        layer = layer_class(name=name, fused=False)
        layer(tf.placeholder(name, [None, 3]), training=True)
        result[name] = [str(tf.as_dtype(layer.dtype).name), layer.moving_mean.dtype.base_dtype.name]
    layer = layer_class(dtype=tf.float64, fused=False)
    before = tf.as_dtype(layer.dtype).name
    layer.build([None, 3])
    return dict(result, given=[before, layer.moving_mean.dtype.base_dtype.name])


@case
def named_initializers(tf, layer_class):
    def values(kind):
        layer = layer_class(gamma_initializer={"class_name": kind, "config": {"seed": 3}})
        layer.build([None, 40])
        return layer.gamma

    kinds = "RandomUniform", "RandomNormal", "TruncatedNormal"
    made = [values(kind) for kind in kinds]
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        return dict(zip(kinds, [value.tolist() for value in session.run(made)]))


@case
def getters(tf, layer_class):
    seen = []

    def getter(original, name, *args, **options):
        seen.append([name, len(args), sorted(set(options) & {"shape", "trainable", "collections", "reuse"})])
        return original(name, *args, **options)

    x, flat = images(tf), tf.placeholder(tf.float32, [None, 3])
    with tf.variable_scope("net", custom_getter=getter):
        for options in ({}, {"fused": False}, {"fused": False, "updates_collections": None}):
            tf.contrib.layers.batch_norm(x, scope="bn%d" % len(seen), **options)
        kinds = [error(tf.contrib.layers.batch_norm, flat, scope="flat"), error(layer_class(name="core"), x)]
    return {"seen": [name for name, _, _ in seen], "by_name": kinds}


@case
def configs(tf, layer_class):
    def halved(variable):
        return variable * 0.5

    made = [
        {},
        {"axis": [1, 3], "momentum": 0.5, "epsilon": 1e-4, "center": False, "trainable": False, "dtype": tf.float64},
        {"renorm": True, "renorm_clipping": {"rmax": 2.0}, "renorm_momentum": 0.5, "scale": False},
        {"virtual_batch_size": 2, "fused": False},
        {"gamma_initializer": tf.constant_initializer(2.0), "beta_initializer": "ones"},
        {"gamma_initializer": {"class_name": "RandomUniform", "config": {"seed": 3}}},
        {"gamma_initializer": tf.random_normal_initializer(1.0, 0.02), "beta_initializer": halved},
        {"beta_regularizer": "l2", "gamma_regularizer": halved},
        {"beta_regularizer": {"class_name": "L1L2", "config": {"l1": 0.1}}},
        {"beta_constraint": "non_neg", "gamma_constraint": {"class_name": "MaxNorm", "config": {"axis": 1}}},
        {"beta_constraint": halved, "gamma_constraint": "unit_norm"},
    ]
    layers = [layer_class(name="bn", **arguments) for arguments in made]
    again = [layer_class.from_config(layer.get_config()) for layer in layers if halved not in vars(layer).values()]
    built = layer_class(name="built")
    built(images(tf))
    return {
        "configs": [layer.get_config() for layer in layers],
        "again": [layer.get_config() for layer in again],
        "unnamed": sorted(set(layer_class().get_config()) - {"name"}),
        "built": built.get_config(),
        "shape": built.compute_output_shape([None, 2, 2, 3]),
    }


@case
def values(tf, layer_class):
    x = images(tf)
    layers = [layer_class(name="a"), layer_class(name="b", scale=False, trainable=False), layer_class(name="c")]
    for layer in layers[:2]:
        layer(x, training=True)
    given = [np.full(3, i, np.float32) for i in range(4)]
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        before = [[value.tolist() for value in layer.get_weights()] for layer in layers]
        layers[0].set_weights(given)
        layers[1].set_weights(given[1:])
        after = [[value.tolist() for value in layer.get_weights()] for layer in layers]
        errors = [error(layers[0].set_weights, [given[0][:1]] * 4), error(layers[0].set_weights, given[:3])]
        errors += [error(layers[2].set_weights, given), error(layers[2].set_weights, [])]
        values = [session.run(list(layer.variables)) for layer in layers[:2]]
    return {
        "before": before,
        "after": after,
        "in_session": [[value.tolist() for value in each] for each in values],
        "errors": errors,
    }


@case
def own_variables(tf, layer_class):
    class Scaled(layer_class):
        def build(self, input_shape):
            self.factor = self.add_weight("factor", [3], initializer=tf.ones_initializer())
            self.count = self.add_variable("count", [], initializer=tf.zeros_initializer(), trainable=False)
            super(Scaled, self).build(input_shape)
            self.late = error(self.add_weight, "late", [3])

        def call(self, inputs, training=False):
            return super(Scaled, self).call(inputs, training=training) * self.factor

    x = images(tf)
    layer = Scaled(name="bn")
    y = layer(x, training=True)
    return {
        "lists": lists(layer),
        "output": y.name,
        "params": layer.count_params(),
        "late": layer.late,
        "collections": collections_of(tf),
        "run": run(tf, layer, [y], {x: batch()}),
    }


@case
def tensors(tf, layer_class):
    layer = layer_class()
    layer(images(tf))
    names = "input", "output", "input_shape", "output_shape"
    return {name: error(getattr, layer, name) for name in names}


def play(tf, layer_class, wanted=None):
    """What each case gives."""
    result = {}
    for name, build in CASES.items():
        if wanted is None or name in wanted:
            with tf.Graph().as_default():
                try:
                    result[name] = json.loads(json.dumps(build(tf, layer_class)))
                except Exception as caught:
                    result[name] = {"error": type(caught).__name__}
    return result


def main():
    os.environ["CUDA_VISIBLE_DEVICES"], os.environ["TF_CPP_MIN_LOG_LEVEL"] = "-1", "3"
    import tensorflow as tf
    from tensorflow.python.layers.normalization import BatchNormalization

    tf.logging.set_verbosity(tf.logging.ERROR)
    recorded = {}
    if os.path.exists(PATH):
        with open(PATH) as stream:
            recorded = json.load(stream)
    recorded[tf.__version__] = play(tf, BatchNormalization)
    with open(PATH, "w") as stream:
        json.dump(recorded, stream, sort_keys=True, indent=1)
        stream.write("\n")


if __name__ == "__main__":
    sys.exit(main())
