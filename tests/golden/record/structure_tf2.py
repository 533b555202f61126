"""Graphs of TF 2 for the audit of structure: one for each cause and right ones, with functions and tf.cond as If.

    python tests/golden/record/structure_tf2.py --write [--force] [NAME ...]

Needs TF 2 with Keras 3. Writes structure/NAME-2.meta.gz and structure/NAME-2.pb.gz (the graph of a SavedModel);
structure.py is the same for TF 1.x. TF 2 has no graph-level layer any more, so the layers are written by hand here, or
are those of Keras in functions.
"""

import argparse
import gzip
import os
import sys
import tempfile

FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "structure")
CASES, EXPORTS = {}, {}


def case(name, table=CASES):
    def add(function):
        table[name] = function
        return function

    return add


def images(tf, shape=(None, 8, 8, 3)):
    return tf.compat.v1.placeholder(tf.float32, shape, "images")


def variables(tf, channels, scope="bn"):
    v1 = tf.compat.v1
    with v1.variable_scope(scope, reuse=v1.AUTO_REUSE):
        return [
            v1.get_variable(name, [channels], initializer=start, trainable=name in ("gamma", "beta"))
            for name, start in (
                ("gamma", v1.ones_initializer()),
                ("beta", v1.zeros_initializer()),
                ("moving_mean", v1.zeros_initializer()),
                ("moving_variance", v1.ones_initializer()),
            )
        ]


def layer(tf, x, training=True, *, scope="bn", decay=0.9, epsilon=1e-3, data_format="NHWC", guarded=True):
    """A fused batch norm with the wiring of contrib's; its updates go to UPDATE_OPS."""
    v1 = tf.compat.v1
    gamma, beta, moving_mean, moving_variance = variables(tf, x.shape[1 if data_format == "NCHW" else -1], scope)

    def train():
        return v1.nn.fused_batch_norm(x, gamma, beta, epsilon=epsilon, data_format=data_format, is_training=True)

    def test():
        return v1.nn.fused_batch_norm(
            x, gamma, beta, moving_mean, moving_variance, epsilon=epsilon, data_format=data_format, is_training=False
        )

    if isinstance(training, bool):
        y, mean, variance = train() if training else test()
        rate = 1 - decay
    else:
        y, mean, variance = tf.cond(training, train, test)
        rate = tf.cond(training, lambda: 1 - decay, lambda: 0.0) if guarded else 1 - decay
    if training is not False:
        for variable, new in ((moving_mean, mean), (moving_variance, variance)):
            update = v1.assign_sub(variable, (variable - new) * rate)
            v1.add_to_collection(v1.GraphKeys.UPDATE_OPS, update.op)
    return y


def conv(tf, x, filters=4, name="kernel", data_format="NHWC"):
    kernel = tf.compat.v1.get_variable(name, [3, 3, x.shape[1 if data_format == "NCHW" else -1], filters])
    return tf.nn.conv2d(x, kernel, 1, "SAME", data_format=data_format)


def minimize(tf, y, updates="all", rate=0.1, step=None):
    v1 = tf.compat.v1
    updates = v1.get_collection(v1.GraphKeys.UPDATE_OPS) if updates == "all" else updates
    with tf.control_dependencies(updates):
        return v1.train.GradientDescentOptimizer(rate).minimize(tf.reduce_mean(y**2), step)


@case("right-constant")
def _(tf):
    minimize(tf, layer(tf, conv(tf, images(tf))))
    tf.compat.v1.train.Saver()


@case("right-if")
def _(tf):
    minimize(tf, layer(tf, conv(tf, images(tf)), tf.compat.v1.placeholder(tf.bool, [], "training")))
    tf.compat.v1.train.Saver()


@case("right-function")
def _(tf):
    x = conv(tf, images(tf))
    variables(tf, 4)

    @tf.function
    def network(x):
        return layer(tf, x, False) * 2.0

    tf.identity(network(x), "output")


@case("not-updated")
def _(tf):
    y = layer(tf, conv(tf, images(tf)))
    updates = tf.compat.v1.get_collection("update_ops")
    minimize(tf, layer(tf, y, scope="late"), updates)


@case("flag-off")
def _(tf):
    minimize(tf, layer(tf, conv(tf, images(tf)), False))


@case("leak")
def _(tf):
    flag = tf.compat.v1.placeholder(tf.bool, [], "training")
    x = conv(tf, images(tf))
    gamma, beta, moving_mean, moving_variance = variables(tf, 4)
    mean, variance = tf.nn.moments(x, [0, 1, 2])
    updates = [
        tf.compat.v1.assign(moving_mean, moving_mean * 0.9 + mean * 0.1).op,
        tf.compat.v1.assign(moving_variance, moving_variance * 0.9 + variance * 0.1).op,
    ]
    m = tf.cond(flag, lambda: mean, lambda: tf.identity(moving_mean))
    v = tf.cond(flag, lambda: variance, lambda: tf.identity(moving_variance))
    with tf.control_dependencies(updates):
        y = tf.nn.batch_normalization(tf.identity(x), m, v, beta, gamma, 1e-3)
    minimize(tf, y, [])


@case("double")
def _(tf):
    y = [layer(tf, conv(tf, images(tf), name=f"kernel{i}")) for i in range(2)]
    minimize(tf, y[0] + y[1])


@case("shared-epsilon")
def _(tf):
    x = conv(tf, images(tf))
    minimize(tf, layer(tf, x))
    layer(tf, x, False, epsilon=1e-5)


@case("not-saved")
def _(tf):
    minimize(tf, layer(tf, conv(tf, images(tf))))
    tf.compat.v1.train.Saver(tf.compat.v1.trainable_variables())


@case("layout")
def _(tf):
    x = conv(tf, images(tf, (None, 3, 4, 4)), 4, data_format="NCHW")
    minimize(tf, layer(tf, tf.nn.relu(x)))


@case("siblings")
def _(tf):
    y = images(tf)
    for i in range(5):
        y = layer(tf, conv(tf, y, name=f"kernel{i}"), scope=f"bn{i}", decay=0.9 if i else 0.99)
    minimize(tf, y)


@case("cold")
def _(tf):
    v1 = tf.compat.v1
    step = v1.train.get_or_create_global_step()
    rate = v1.train.polynomial_decay(0.1, step, 100)
    minimize(tf, layer(tf, conv(tf, images(tf)), decay=0.99), rate=rate, step=step)


@case("cond")
def _(tf):
    v1 = tf.compat.v1
    flag = v1.placeholder(tf.bool, [], "finite")
    y = layer(tf, conv(tf, images(tf)))
    updates = v1.get_collection("update_ops")
    loss = tf.reduce_mean(y**2)
    kernel = v1.trainable_variables()[0]
    gradient = tf.gradients(loss, kernel)[0]

    def step():
        with tf.control_dependencies(updates):
            return v1.train.GradientDescentOptimizer(0.1).apply_gradients([(gradient, kernel)])

    def train():
        with tf.control_dependencies([step()]):
            return tf.constant(True)

    tf.cond(flag, train, lambda: tf.constant(False), name="maybe")


def in_loop(tf, *, run):
    """A layer that a tf.while_loop applies three times, with updates in the loop that the loop waits for, or not."""
    v1 = tf.compat.v1

    def body(i, y):
        y = layer(tf, y)
        updates = v1.get_collection_ref(v1.GraphKeys.UPDATE_OPS)
        with tf.control_dependencies(list(updates) if run else []):
            y = tf.identity(y)
        updates.clear()
        return i + 1, y

    minimize(tf, tf.while_loop(lambda i, y: i < 3, body, [0, conv(tf, images(tf))])[1], None)


@case("right-loop")
def _(tf):
    """Updates inside a loop, which each iteration runs."""
    in_loop(tf, run=True)


@case("not-updated-loop")
def _(tf):
    """Updates inside a loop that nothing waits for."""
    in_loop(tf, run=False)


@case("right-train-loop")
def _(tf):
    """All training steps in one loop, as on a TPU."""
    x = images(tf)

    def body(i):
        train = minimize(tf, layer(tf, conv(tf, x)))
        tf.compat.v1.get_collection_ref("update_ops").clear()
        with tf.control_dependencies([train]):
            return i + 1

    tf.while_loop(lambda i: i < 10, body, [0])


def model(keras):
    inputs = keras.layers.Input((8, 8, 3))
    y = keras.layers.Conv2D(4, 3)(inputs)
    return keras.Model(inputs, keras.layers.Dense(3)(keras.layers.BatchNormalization()(y)))


@case("right-keras-export", EXPORTS)
def _(tf, keras, folder):
    model(keras).export(folder, verbose=False)


@case("batch-stats-export", EXPORTS)
def _(tf, keras, folder):
    net = model(keras)
    spec = tf.TensorSpec([None, 8, 8, 3])
    serve = tf.function(lambda x: net(x, training=True)).get_concrete_function(spec)
    module = tf.Module()
    module.net, module.variables_ = net, net.variables
    tf.saved_model.save(module, folder, signatures={"serving_default": serve})


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--force", action="store_true")
    parser.add_argument("only", nargs="*", help="names; all if there are none")
    args = parser.parse_args()
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import keras
    import tensorflow as tf

    for name in args.only or sorted([*CASES, *EXPORTS]):
        ending = "meta" if name in CASES else "pb"
        path = os.path.join(FOLDER, f"{name}-2.{ending}.gz")
        if not args.write or (os.path.exists(path) and not args.force):
            print(path, "is there" if os.path.exists(path) else "would be written")
            continue
        folder = tempfile.mkdtemp()
        if name in CASES:
            file = os.path.join(folder, "graph.meta")
            with tf.Graph().as_default():
                CASES[name](tf)
                tf.compat.v1.train.export_meta_graph(file)
        else:
            EXPORTS[name](tf, keras, folder)
            file = os.path.join(folder, "saved_model.pb")
        with open(file, "rb") as opened, open(path, "wb") as out:
            out.write(gzip.compress(opened.read(), 9, mtime=0))
    return 0


if __name__ == "__main__":
    sys.exit(main())
