# -*- coding: utf-8 -*-
# Runs on Python 2.7 too:
# ruff: noqa: E721, RUF005, UP009, UP010, UP031
"""Graphs of contrib's layers around batch_norm, their variables, losses, outputs and numbers.

    python tests/golden/record/contrib.py                    under TensorFlow 1.15.5: compares with contrib.json
    python tests/golden/record/contrib.py --write            writes contrib.json

The tests build the same graphs with tf1bn.contrib and compare. Weights come from seeds, so equal numbers show that
the initializers draw the same values; one case feeds ones as weights, so that the layers are judged by themselves.
"""

from __future__ import division, print_function

import collections
import json
import os
import sys

import numpy as np

PATH = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "contrib.json")
CASES = collections.OrderedDict()


def case(build):
    CASES[build.__name__] = build
    return build


def image(tf, shape=(2, 8, 6, 3)):
    values = np.cos(np.arange(np.prod(shape)) * 0.7).astype(np.float32).reshape(shape)
    return tf.constant(values, name="image")


def seeded(contrib, seed=7):
    return contrib.layers.xavier_initializer(seed=seed)


@case
def conv2d(tf, contrib):
    y = contrib.layers.conv2d(image(tf), 4, 3, weights_initializer=seeded(contrib))
    return contrib.layers.conv2d(y, 2, [3, 1], stride=2, padding="VALID", activation_fn=None,
                                 weights_initializer=seeded(contrib, 8), scope="second")  # fmt: skip


@case
def conv2d_normalized(tf, contrib):
    slim = contrib.slim
    with slim.arg_scope([slim.conv2d, slim.fully_connected], normalizer_fn=slim.batch_norm,
                        normalizer_params={"decay": 0.9, "is_training": True}, weights_initializer=seeded(contrib),
                        weights_regularizer=slim.l2_regularizer(0.01), variables_collections=["all"],
                        outputs_collections="ends"):  # fmt: skip
        y = slim.conv2d(image(tf), 4, [3, 3], scope="conv1")
        y = slim.max_pool2d(y, [2, 2], scope="pool1")
        y = slim.flatten(y, scope="flat")
        return slim.fully_connected(y, 5, scope="fc")


@case
def conv2d_dilated(tf, contrib):
    return contrib.layers.conv2d(image(tf), 4, 3, rate=2, weights_initializer=seeded(contrib))


@case
def conv2d_reuse(tf, contrib):
    y = []
    for reuse in (False, True):
        with tf.variable_scope("net", reuse=reuse):
            y.append(contrib.slim.conv2d(image(tf), 2, 3, weights_initializer=seeded(contrib), scope="c",
                                         weights_regularizer=contrib.slim.l1_regularizer(0.1)))  # fmt: skip
    return y[0] + y[1]


@case
def conv2d_transpose(tf, contrib):
    layer = contrib.layers.conv2d_transpose
    y = layer(image(tf), 4, [5, 5], stride=2, weights_initializer=seeded(contrib))
    return layer(y, 2, 3, stride=2, padding="VALID", activation_fn=None, weights_initializer=seeded(contrib, 8))


@case
def separable_conv2d(tf, contrib):
    layer = contrib.layers.separable_conv2d
    y = layer(image(tf), 4, 3, depth_multiplier=2, weights_initializer=seeded(contrib))
    return layer(y, None, 3, stride=2, weights_initializer=seeded(contrib, 8), scope="depthwise")


@case
def fully_connected(tf, contrib):
    y = contrib.layers.fully_connected(image(tf), 4, weights_initializer=seeded(contrib))
    y = contrib.layers.flatten(y)
    y = contrib.layers.linear(y, 5, weights_initializer=seeded(contrib, 8),
                              biases_initializer=tf.constant_initializer(0.5))  # fmt: skip
    return contrib.layers.flatten(contrib.layers.relu(y, 3, weights_initializer=seeded(contrib, 9)))


@case
def pools(tf, contrib):
    y = contrib.layers.max_pool2d(image(tf), 2)
    z = contrib.layers.avg_pool2d(image(tf), [3, 3], stride=1, padding="SAME")
    return tf.concat([tf.reshape(y, [-1]), tf.reshape(z, [-1]),
                      tf.reshape(contrib.layers.max_pool2d(image(tf), 2, scope="named"), [-1])], 0)  # fmt: skip


@case
def dropout(tf, contrib):
    y = contrib.slim.dropout(image(tf), 0.6, seed=3)
    return contrib.slim.dropout(y, 0.6, is_training=False, scope="off")


@case
def dropout_dynamic(tf, contrib):
    return contrib.slim.dropout(image(tf), 0.6, is_training=tf.placeholder_with_default(True, []), seed=3)


@case
def softmax_and_bias(tf, contrib):
    y = contrib.layers.bias_add(image(tf), initializer=tf.constant_initializer(0.25),
                                regularizer=contrib.layers.l2_regularizer(0.5))  # fmt: skip
    return contrib.layers.softmax(y)


@case
def one_hot(tf, contrib):
    return contrib.layers.one_hot_encoding(tf.constant([0, 2, 1]), 4)


@case
def repeated(tf, contrib):
    slim = contrib.slim
    with slim.arg_scope([slim.conv2d, slim.fully_connected], weights_initializer=seeded(contrib)):
        y = slim.repeat(image(tf), 2, slim.conv2d, 3, [3, 3], scope="conv")
        return slim.stack(slim.flatten(y), slim.fully_connected, [4, 3])


@case
def variables(tf, contrib):
    framework = contrib.framework
    with framework.arg_scope([framework.model_variable], collections=["mine"]):
        a = framework.model_variable("a", [2], initializer=tf.ones_initializer())
        with tf.variable_scope("inner"):
            b = framework.variable("b", [2], initializer=tf.zeros_initializer(), trainable=False)
    c = framework.local_variable(tf.constant(3.0), name="c")
    d = framework.global_variable(4.0, name="d")
    framework.get_or_create_global_step()
    found = [framework.get_variables_to_restore(exclude=["inner"]), framework.get_variables("inner"),
             framework.get_variables_by_name("b"), framework.get_variables_by_suffix("a"),
             framework.get_model_variables(), framework.get_local_variables(), framework.get_trainable_variables(),
             framework.filter_variables(framework.get_variables(), ["in"], ["x"]),
             [framework.get_unique_variable("inner/b")]]  # fmt: skip
    names = [v.op.name for group in found for v in group + [a]]
    tf.add_to_collection("ends", tf.constant(names, name="names"))
    return tf.concat([a, b, tf.stack([c, d])], 0)


@case
def regularizers(tf, contrib):
    layers = contrib.layers
    w = tf.constant([1.0, -2.0, 3.0], name="w")
    losses = [layers.l1_regularizer(0.1)(w), layers.l2_regularizer(0.1)(w), layers.l1_l2_regularizer(0.1, 0.2)(w),
              layers.l1_l2_regularizer(0.0, 0.2)(w), layers.l1_l2_regularizer(0.1, 0.0, scope="s")(w),
              layers.sum_regularizer([layers.l2_regularizer(0.5), None, layers.l1_regularizer(0.0)])(w),
              layers.apply_regularization(layers.l2_regularizer(0.3), [w, w]),
              layers.apply_regularization(layers.l1_regularizer(0.0), [w])]  # fmt: skip
    assert layers.l2_regularizer(0.0)(w) is None
    for loss in losses:
        tf.add_to_collection("ends", loss)
    return tf.stack(losses)


@case
def initializers(tf, contrib):
    layers = contrib.layers
    made = [layers.xavier_initializer(seed=1), layers.xavier_initializer(uniform=False, seed=2),
            layers.xavier_initializer_conv2d(seed=3), layers.variance_scaling_initializer(seed=4),
            layers.variance_scaling_initializer(1.5, "FAN_OUT", True, 5),
            layers.variance_scaling_initializer(1.5, "FAN_AVG", False, 6)]  # fmt: skip
    shapes = ([3, 3, 4, 5], [6, 7], [8])
    values = [tf.reshape(initializer(shape), [-1]) for initializer in made for shape in shapes]
    values.append(tf.reshape(made[0](shapes[1], dtype=tf.float64), [-1]))
    return tf.concat([tf.cast(value, tf.float64) for value in values], 0)


def observed(tf, contrib, build):
    """Everything about one graph that code can see."""
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(11)
        outputs = build(tf, contrib)
        keys = tf.GraphKeys
        names = {
            "output": outputs.name,
            "shape": str(outputs.shape),
            "collections": {
                key: [v.name for v in graph.get_collection(key)]
                for key in (keys.GLOBAL_VARIABLES, keys.TRAINABLE_VARIABLES, keys.MODEL_VARIABLES,
                            keys.LOCAL_VARIABLES, keys.REGULARIZATION_LOSSES, "all", "mine", "ends")
            },
            "aliases": [getattr(t, "aliases", None) for t in graph.get_collection("ends")],
        }  # fmt: skip
        with tf.Session() as session:
            session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
            wanted = [outputs, graph.get_collection(keys.GLOBAL_VARIABLES), graph.get_collection("ends")]
            value, weights, ends = session.run(wanted + [graph.get_collection(keys.UPDATE_OPS)])[:3]
            losses = session.run(graph.get_collection(keys.REGULARIZATION_LOSSES))
    names["ends"] = [[s.decode() for s in e] for e in ends if getattr(e, "dtype", None) == object]
    names["values"] = [round_trip(array) for array in [value] + weights + losses]
    return names


def round_trip(array):
    return [float(str(item)) for item in np.asarray(array).ravel()]


def main():
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import warnings

    warnings.filterwarnings("ignore")
    import tensorflow as tf

    tf.logging.set_verbosity(tf.logging.ERROR)
    if not tf.__version__.startswith("1.15"):
        sys.exit("This records the real TensorFlow 1.15; the TensorFlow here is %s." % tf.__version__)
    rows = ["%s: %s" % (json.dumps(name), json.dumps(observed(tf, tf.contrib, build), sort_keys=True))
            for name, build in CASES.items()]  # fmt: skip
    text = '{"tensorflow": "%s",\n%s}\n' % (tf.__version__, ",\n".join(rows))
    if "--write" in sys.argv:
        with open(PATH, "w") as stream:
            stream.write(text)
        return 0
    with open(PATH) as stream:
        same = stream.read() == text
    print("contrib.json holds %s" % ("the same" if same else "SOMETHING ELSE"))
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
