# Runs on Python 2.7 too.
# ruff: noqa: B905, UP031
"""Graphs of the real TF 1.x for the audit of structure: for each cause wrong ones, and right ones of every kind.

    python tests/golden/record/structure.py                  says what would be written, writes nothing
    python tests/golden/record/structure.py --write          writes the graphs that are missing into structure/
    python tests/golden/record/structure.py --write --force  writes them all again

Needs TF 1.15, or another 1.x for those of `OLD`; `structure_tf2.py` makes those of TF 2. Each graph is written as
NAME.meta.gz (`tf.train.export_meta_graph`) or NAME.pb.gz, NAME.pbtxt.gz; nothing runs. What is right to say of each
stands in tests/graphs/test_structure.py. File names end with the release unless that is 1.15.
"""

import argparse
import gzip
import io
import os
import sys
import tempfile

FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "structure")
RIGHT, WRONG, OLD = {}, {}, ("right-layers", "right-contrib", "not-updated-contrib", "right-towers", "double-gan")


def case(table, name):
    def add(function):
        table[name] = function
        return function

    return add


def images(tf, channels=3):
    return tf.placeholder(tf.float32, [None, 8, 8, channels], "images")


def contrib(tf, x, **arguments):
    arguments.setdefault("is_training", True)
    return tf.contrib.layers.batch_norm(x, **arguments)


def core(tf, x, **arguments):
    return tf.layers.batch_normalization(x, **arguments)


def conv(tf, x, filters=4, **arguments):
    return tf.layers.conv2d(x, filters, 3, padding="same", **arguments)


def loss_of(tf, y):
    return tf.reduce_mean(tf.square(y))


def minimize(tf, loss, updates="all", **arguments):
    """A train op; ``updates`` is "all" for UPDATE_OPS, or a list of operations."""
    if updates == "all":
        updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
    with tf.control_dependencies(updates):
        return tf.train.GradientDescentOptimizer(0.1).minimize(loss, **arguments)


# ---- right ones


@case(RIGHT, "right-layers")
def _(tf):
    y = core(tf, conv(tf, images(tf)), training=True)
    minimize(tf, loss_of(tf, y))
    tf.train.Saver()


@case(RIGHT, "right-layers-placeholder")
def _(tf):
    y = core(tf, conv(tf, images(tf)), training=tf.placeholder(tf.bool, [], "training"))
    minimize(tf, loss_of(tf, y))
    tf.train.Saver()


@case(RIGHT, "right-layers-composed")
def _(tf):
    y = core(tf, tf.layers.dense(tf.reshape(images(tf), [-1, 192]), 5), training=True)
    minimize(tf, loss_of(tf, y))


@case(RIGHT, "right-layers-default")
def _(tf):
    flag = tf.placeholder_with_default(False, [], "training")
    minimize(tf, loss_of(tf, core(tf, conv(tf, images(tf)), training=flag, fused=False)))


@case(RIGHT, "right-contrib")
def _(tf):
    y = contrib(tf, conv(tf, images(tf)), scale=True)
    minimize(tf, loss_of(tf, contrib(tf, conv(tf, y), scale=True)))
    tf.train.Saver()


@case(RIGHT, "right-contrib-in-place")
def _(tf):
    y = contrib(tf, conv(tf, images(tf)), updates_collections=None)
    minimize(tf, loss_of(tf, y), [])


@case(RIGHT, "right-contrib-switched-in-place")
def _(tf):
    flag = tf.placeholder(tf.bool, [], "training")
    y = contrib(tf, conv(tf, images(tf)), updates_collections=None, is_training=flag, fused=False)
    minimize(tf, loss_of(tf, y), [])


@case(RIGHT, "right-contrib-switched-fused-in-place")
def _(tf):
    flag = tf.placeholder(tf.bool, [], "training")
    y = contrib(tf, conv(tf, images(tf)), updates_collections=None, is_training=flag)
    minimize(tf, loss_of(tf, y), [])


@case(RIGHT, "right-optimizer-by-hand")
def _(tf):
    """Weights are assigned, as the optimizer of BERT does."""
    y = contrib(tf, conv(tf, images(tf)))
    loss, weights = loss_of(tf, y), tf.trainable_variables()
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        tf.group(*[tf.assign(w, w - 0.1 * g) for w, g in zip(weights, tf.gradients(loss, weights))], name="train")


@case(RIGHT, "right-loop")
def _(tf):
    """A layer with frozen statistics in a loop, which is trained."""
    x = tf.placeholder(tf.float32, [None, 3])
    layer = tf.layers.BatchNormalization(trainable=False)
    layer.build([None, 3])
    weight = tf.get_variable("w", [3])
    y = tf.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, layer(y * weight)), [0, x])[1]
    minimize(tf, loss_of(tf, y))


@case(RIGHT, "right-two-savers")
def _(tf):
    """One Saver for a pretrained backbone's weights, and one for everything; and a third for another part alone."""
    with tf.variable_scope("backbone"):
        y = contrib(tf, conv(tf, images(tf)))
    with tf.variable_scope("head"):
        y = contrib(tf, conv(tf, y))
    minimize(tf, loss_of(tf, y))
    tf.train.Saver(tf.trainable_variables("backbone"), name="pretrained")
    tf.train.Saver()


@case(RIGHT, "right-saver-of-another-part")
def _(tf):
    with tf.variable_scope("backbone"):
        y = conv(tf, images(tf))
    with tf.variable_scope("head"):
        y = contrib(tf, conv(tf, y))
    minimize(tf, loss_of(tf, y))
    tf.train.Saver(tf.trainable_variables("backbone"))


@case(RIGHT, "right-export")
def _(tf):
    x, flag = images(tf), tf.placeholder_with_default(False, [], "training")
    return {"x": x}, {"y": core(tf, conv(tf, x), training=flag)}


@case(RIGHT, "right-contrib-zero-debias")
def _(tf):
    y = contrib(tf, conv(tf, images(tf)), zero_debias_moving_mean=True)
    minimize(tf, loss_of(tf, y))


@case(RIGHT, "right-renorm")
def _(tf):
    minimize(tf, loss_of(tf, contrib(tf, conv(tf, images(tf)), renorm=True)))


@case(RIGHT, "right-slim")
def _(tf):
    slim = tf.contrib.slim
    with slim.arg_scope([slim.conv2d], normalizer_fn=slim.batch_norm, normalizer_params={"is_training": True}):
        y = slim.conv2d(slim.conv2d(images(tf), 4, 3), 4, 3)
    slim.learning.create_train_op(loss_of(tf, y), tf.train.AdamOptimizer(0.1))
    tf.train.Saver()


@case(RIGHT, "right-slim-resnet")
def _(tf):
    from tensorflow.contrib.slim.nets import resnet_v1

    x = tf.placeholder(tf.float32, [None, 32, 32, 3], "images")
    blocks = [resnet_v1.resnet_v1_block("block1", base_depth=2, num_units=2, stride=1)]
    with tf.contrib.slim.arg_scope(resnet_v1.resnet_arg_scope()):
        y, _ = resnet_v1.resnet_v1(x, blocks, 3, is_training=True)
    tf.contrib.slim.learning.create_train_op(loss_of(tf, y), tf.train.MomentumOptimizer(0.1, 0.9))
    tf.train.Saver()


@case(RIGHT, "right-keras")
def _(tf):
    layer = tf.keras.layers.BatchNormalization()
    y = layer(conv(tf, images(tf)), training=True)
    minimize(tf, loss_of(tf, y), layer.updates)


@case(RIGHT, "right-keras-model")
def _(tf):
    first = tf.keras.layers.Conv2D(4, 3, input_shape=(8, 8, 3))
    model = tf.keras.Sequential([first, tf.keras.layers.BatchNormalization()])
    model.compile("sgd", "mse")
    model._make_train_function()


@case(RIGHT, "right-estimator")
def _(tf):
    def model(features, labels, mode):
        training = mode == tf.estimator.ModeKeys.TRAIN
        y = core(tf, tf.layers.dense(features, 4), training=training)
        loss = loss_of(tf, y)
        step = tf.train.get_or_create_global_step()
        return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=minimize(tf, loss, global_step=step))

    model(tf.placeholder(tf.float32, [None, 3]), None, tf.estimator.ModeKeys.TRAIN)
    tf.train.Saver()


@case(RIGHT, "right-train-and-test")
def _(tf):
    x = images(tf)
    for training in (True, False):
        with tf.variable_scope("net", reuse=not training):
            y = contrib(tf, tf.contrib.layers.conv2d(x, 4, 3, scope="c"), is_training=training, scope="bn")
        if training:
            minimize(tf, loss_of(tf, y))


def generator(tf, z):
    return core(tf, tf.layers.dense(z, 6), training=True)


@case(RIGHT, "right-gan")
def _(tf):
    with tf.variable_scope("generator"):
        fake = generator(tf, tf.placeholder(tf.float32, [None, 5]))
    real = tf.placeholder(tf.float32, [None, 6])
    scores, own = [], []
    for i, x in enumerate((real, fake)):
        with tf.variable_scope("discriminator", reuse=bool(i)):
            before = len(tf.get_collection(tf.GraphKeys.UPDATE_OPS))
            scores.append(core(tf, tf.layers.dense(x, 4), training=True))
            own.append(tf.get_collection(tf.GraphKeys.UPDATE_OPS)[before:])
    g_vars = tf.trainable_variables("generator")
    d_vars = tf.trainable_variables("discriminator")
    g_updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS, "generator")
    minimize(tf, loss_of(tf, scores[0]) - loss_of(tf, scores[1]), own[0], var_list=d_vars)
    minimize(tf, loss_of(tf, scores[1]), g_updates, var_list=g_vars)


@case(RIGHT, "right-towers")
def _(tf):
    losses = []
    optimizer, gradients = tf.train.GradientDescentOptimizer(0.1), []
    for i in range(2):
        with tf.variable_scope("net", reuse=i > 0), tf.name_scope("tower_%d" % i) as scope:
            y = contrib(tf, tf.contrib.layers.conv2d(images(tf), 4, 3, scope="c"), scope="bn")
            losses.append(loss_of(tf, y))
            gradients.append(optimizer.compute_gradients(losses[-1]))
            if i == 0:
                updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS, scope)
    mean = [(sum(g for g, _ in pair) / 2, pair[0][1]) for pair in zip(*gradients)]
    with tf.control_dependencies(updates):
        optimizer.apply_gradients(mean)


@case(RIGHT, "right-grouped")
def _(tf):
    y = core(tf, conv(tf, images(tf)), training=True)
    step = minimize(tf, loss_of(tf, y), [])
    tf.group(step, *tf.get_collection(tf.GraphKeys.UPDATE_OPS), name="train")


@case(RIGHT, "right-by-hand")
def _(tf):
    by_hand(tf, guarded=True)


@case(RIGHT, "right-cond")
def _(tf):
    flag = tf.placeholder(tf.bool, [], "training")
    x = images(tf)
    with tf.variable_scope("net"):
        y = tf.cond(
            flag,
            lambda: contrib(tf, x, is_training=True, updates_collections=None, scope="bn"),
            lambda: contrib(tf, x, is_training=False, reuse=True, scope="bn"),
        )
    minimize(tf, loss_of(tf, y), [])


@case(RIGHT, "right-nchw")
def _(tf):
    x = tf.placeholder(tf.float32, [None, 3, 8, 8])
    y = contrib(tf, conv(tf, x, data_format="channels_first"), data_format="NCHW")
    minimize(tf, loss_of(tf, contrib(tf, tf.nn.relu(y), data_format="NCHW")))


@case(RIGHT, "right-other-norms")
def _(tf):
    x = images(tf)
    y = contrib(tf, tf.contrib.layers.layer_norm(tf.contrib.layers.instance_norm(conv(tf, x))))
    minimize(tf, loss_of(tf, y))


@case(RIGHT, "right-inference")
def _(tf):
    core(tf, conv(tf, images(tf)), training=False)
    tf.train.Saver()


@case(RIGHT, "right-frozen-backbone")
def _(tf):
    with tf.variable_scope("backbone"):
        y = contrib(tf, conv(tf, images(tf)), is_training=False, trainable=False)
    with tf.variable_scope("head"):
        y = contrib(tf, conv(tf, y))
    minimize(tf, loss_of(tf, y), var_list=tf.trainable_variables("head"))


def by_hand(tf, guarded):
    x, flag = images(tf), tf.placeholder(tf.bool, [], "training")
    beta, gamma = tf.Variable(tf.zeros([3]), name="beta"), tf.Variable(tf.ones([3]), name="gamma")
    mean, variance = tf.nn.moments(x, [0, 1, 2], name="moments")
    ema = tf.train.ExponentialMovingAverage(decay=0.5)
    if guarded:

        def update():
            with tf.control_dependencies([ema.apply([mean, variance])]):
                return tf.identity(mean), tf.identity(variance)

        m, v = tf.cond(flag, update, lambda: (ema.average(mean), ema.average(variance)))
    else:
        apply = ema.apply([mean, variance])
        with tf.control_dependencies([apply]):
            trained = tf.identity(mean), tf.identity(variance)
        m, v = tf.cond(flag, lambda: trained, lambda: (ema.average(mean), ema.average(variance)))
    minimize(tf, loss_of(tf, tf.nn.batch_normalization(x, m, v, beta, gamma, 1e-3)), [])


# ---- wrong ones, three for each cause


@case(WRONG, "not-updated-contrib")
def _(tf):
    minimize(tf, loss_of(tf, contrib(tf, conv(tf, images(tf)))), [])
    tf.train.Saver()


@case(WRONG, "not-updated-early")
def _(tf):
    y = core(tf, conv(tf, images(tf)), training=True)
    updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
    y = core(tf, conv(tf, y), training=True)
    minimize(tf, loss_of(tf, y), updates)


@case(WRONG, "not-updated-private")
def _(tf):
    y = contrib(tf, conv(tf, images(tf)), updates_collections="my_updates")
    minimize(tf, loss_of(tf, y))


@case(WRONG, "not-updated-keras")
def _(tf):
    y = core(tf, conv(tf, images(tf)), training=True)
    y = tf.keras.layers.BatchNormalization()(conv(tf, y), training=True)
    minimize(tf, loss_of(tf, y))


@case(WRONG, "flag-off-default")
def _(tf):
    minimize(tf, loss_of(tf, core(tf, conv(tf, images(tf)))))


@case(WRONG, "flag-off-contrib")
def _(tf):
    y = contrib(tf, conv(tf, images(tf)), is_training=False, fused=False, scale=True)
    tf.train.AdamOptimizer().minimize(loss_of(tf, y))
    tf.train.Saver()


@case(WRONG, "flag-off-keras")
def _(tf):
    y = tf.keras.layers.BatchNormalization()(conv(tf, images(tf)), training=False)
    minimize(tf, loss_of(tf, y))


@case(WRONG, "batch-stats-contrib")
def _(tf):
    contrib(tf, conv(tf, images(tf)), is_training=True)
    tf.train.Saver()


@case(WRONG, "batch-stats-composed")
def _(tf):
    core(tf, conv(tf, images(tf)), training=True, fused=False)


@case(WRONG, "batch-stats-keras")
def _(tf):
    tf.keras.layers.BatchNormalization()(conv(tf, images(tf)), training=True)


@case(WRONG, "leak-by-hand")
def _(tf):
    by_hand(tf, guarded=False)


def leaking(tf, **arguments):
    """A layer whose updates the user hung on its output, whatever the mode."""
    flag = tf.placeholder(tf.bool, [], "training")
    x = conv(tf, images(tf))
    axes = [0, 1, 2]
    with tf.variable_scope("net"):
        moving_mean = tf.get_variable("moving_mean", [4], initializer=tf.zeros_initializer(), trainable=False)
        moving_variance = tf.get_variable("moving_variance", [4], initializer=tf.ones_initializer(), trainable=False)
        beta = tf.get_variable("beta", [4], initializer=tf.zeros_initializer())
    mean, variance = tf.nn.moments(x, axes)
    decay = 0.9
    updates = [
        tf.assign(moving_mean, moving_mean * decay + mean * (1 - decay)),
        tf.assign(moving_variance, moving_variance * decay + variance * (1 - decay)),
    ]
    if arguments.get("where"):
        m, v = tf.where(flag, mean, moving_mean), tf.where(flag, variance, moving_variance)
    else:
        m, v = (
            tf.cond(flag, lambda: mean, lambda: moving_mean),
            tf.cond(flag, lambda: variance, lambda: moving_variance),
        )
    with tf.control_dependencies(updates):
        y = tf.nn.batch_normalization(tf.identity(x), m, v, beta, None, 1e-3)
    minimize(tf, loss_of(tf, y), [])


@case(WRONG, "leak-assign")
def _(tf):
    leaking(tf)


@case(WRONG, "leak-where")
def _(tf):
    leaking(tf, where=True)


def called_twice(tf, rank=4, **arguments):
    """Calls in training and in inference, both outside of the tf.cond that chooses between them."""
    x = conv(tf, images(tf)) if rank == 4 else tf.layers.dense(tf.placeholder(tf.float32, [None, 6]), 4)
    train = contrib(tf, x, scope="bn", **arguments)
    test = contrib(tf, x, scope="bn", reuse=True, is_training=False, **arguments)
    y = tf.cond(tf.placeholder(tf.bool, [], "training"), lambda: train, lambda: test)
    minimize(tf, loss_of(tf, y))


@case(RIGHT, "right-called-twice")
def _(tf):
    called_twice(tf)


@case(WRONG, "leak-called-twice")
def _(tf):
    called_twice(tf, updates_collections=None)


@case(WRONG, "leak-called-twice-rank-2")
def _(tf):
    called_twice(tf, rank=2, updates_collections=None, scale=True)


def gan(tf, layer):
    with tf.variable_scope("generator"):
        fake = generator(tf, tf.placeholder(tf.float32, [None, 5]))
    scores = []
    for i, x in enumerate((tf.placeholder(tf.float32, [None, 6]), fake)):
        with tf.variable_scope("discriminator", reuse=bool(i)):
            scores.append(layer(tf.layers.dense(x, 4, name="d")))
    d_vars = tf.trainable_variables("discriminator") if hasattr(tf, "AUTO_REUSE") else None
    minimize(tf, loss_of(tf, scores[0]) - loss_of(tf, scores[1]), var_list=d_vars)
    minimize(tf, loss_of(tf, scores[1]))


@case(WRONG, "double-gan")
def _(tf):
    gan(tf, lambda x: core(tf, x, training=True, name="bn"))


def centred(tf, normalised, updates_run=True):
    """A layer by hand that chooses its moments in a tf.cond; ``normalised`` makes it of them and of gamma and beta."""
    from tensorflow.python.training import moving_averages

    x, phase = tf.placeholder(tf.float32, [None, 4], "x"), tf.placeholder(tf.bool, [], "phase")
    with tf.variable_scope("bn"):
        names = ("gamma", "beta", "moving_mean", "moving_variance")
        gamma, beta, mean, variance = [tf.get_variable(n, [4], trainable=n in names[:2]) for n in names]

    def batch():
        m, v = tf.nn.moments(x, [0])
        assign = moving_averages.assign_moving_average
        moved = [assign(mean, m, 0.9, zero_debias=False), assign(variance, v, 0.9, zero_debias=False)]
        with tf.control_dependencies(moved if updates_run else []):
            return tf.identity(m), tf.identity(v)

    m, v = tf.cond(phase, batch, lambda: (tf.identity(mean), tf.identity(variance)))
    minimize(tf, loss_of(tf, normalised(x, m, v, gamma, beta)))


@case(RIGHT, "right-divided")
def _(tf):
    centred(tf, lambda x, m, v, gamma, beta: gamma * (x - m) / tf.sqrt(v + 1e-5) + beta)


@case(RIGHT, "right-centred")
def _(tf):
    centred(tf, lambda x, m, v, gamma, beta: (x - m) * tf.rsqrt(v + 1e-5) * gamma + beta)


@case(WRONG, "not-updated-divided")
def _(tf):
    centred(tf, lambda x, m, v, gamma, beta: gamma * ((x - m) / tf.sqrt(v + 1e-5)) + beta, updates_run=False)


def added(tf, run):
    """A layer of two calls, by hand, that adds what it moves by; as tensorbayes writes it."""
    x = tf.placeholder(tf.float32, [None, 4], "x")
    with tf.variable_scope("bn"):
        mean, variance = [tf.get_variable(n, [1, 4], trainable=False) for n in ("mean", "var")]
        gamma, beta = [tf.get_variable(n, [1, 4]) for n in ("gamma", "beta")]
    m, v = tf.nn.moments(x, [0], keep_dims=True)
    for old, new in ((mean, m), (variance, v)):
        tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, tf.assign_add(old, (1 - 0.9) * (new - old)))
    tf.identity((x - mean) * tf.rsqrt(variance + 1e-3) * gamma + beta, name="test")
    loss = loss_of(tf, (x - m) * tf.rsqrt(v + 1e-3) * gamma + beta)
    minimize(tf, loss, updates="all" if run else [])


@case(RIGHT, "right-added")
def _(tf):
    added(tf, run=True)


@case(WRONG, "not-updated-added")
def _(tf):
    added(tf, run=False)


@case(WRONG, "double-steps")
def _(tf):
    h = tf.placeholder(tf.float32, [None, 4], "x")
    for i in range(3):
        with tf.variable_scope("net", reuse=i > 0):
            h = contrib(tf, h, scope="bn", updates_collections=None)
    minimize(tf, loss_of(tf, h))


@case(WRONG, "not-updated-phase")
def _(tf):
    phase = tf.placeholder(tf.bool, [], "phase")
    minimize(tf, loss_of(tf, core(tf, conv(tf, images(tf)), training=phase, fused=False, name="bn")), updates=[])


@case(WRONG, "double-towers")
def _(tf):
    losses = []
    for i in range(3):
        with tf.variable_scope("net", reuse=i > 0):
            y = contrib(tf, tf.contrib.layers.conv2d(images(tf), 4, 3, scope="c"), scope="bn", fused=False)
            losses.append(loss_of(tf, y))
    minimize(tf, sum(losses))


@case(WRONG, "double-in-place")
def _(tf):
    gan(tf, lambda x: contrib(tf, x, updates_collections=None, scope="bn"))


@case(WRONG, "shared-epsilon")
def _(tf):
    x = images(tf)
    y = core(tf, x, training=True, name="bn", epsilon=1e-3)
    core(tf, x, training=False, name="bn", reuse=True, epsilon=1e-5)
    minimize(tf, loss_of(tf, y))


@case(WRONG, "shared-decay")
def _(tf):
    x = images(tf)
    with tf.variable_scope("net"):
        y = contrib(tf, x, scope="bn", decay=0.9)
    with tf.variable_scope("net", reuse=True):
        z = contrib(tf, x, scope="bn", decay=0.99)
    minimize(tf, loss_of(tf, y + z), tf.get_collection(tf.GraphKeys.UPDATE_OPS)[:2])


@case(WRONG, "shared-axis")
def _(tf):
    x = tf.placeholder(tf.float32, [None, 4, 4, 4])
    y = core(tf, x, training=True, name="bn")
    core(tf, x, training=False, name="bn", reuse=True, axis=1)
    minimize(tf, loss_of(tf, y))


@case(WRONG, "not-saved-trainable")
def _(tf):
    minimize(tf, loss_of(tf, contrib(tf, conv(tf, images(tf)))))
    tf.train.Saver(tf.trainable_variables())


@case(WRONG, "not-saved-list")
def _(tf):
    y = core(tf, conv(tf, images(tf)), training=True)
    minimize(tf, loss_of(tf, y))
    tf.train.Saver([v for v in tf.global_variables() if "moving" not in v.name], max_to_keep=1)


@case(WRONG, "not-saved-sharded")
def _(tf):
    layer = tf.keras.layers.BatchNormalization()
    y = layer(conv(tf, images(tf)), training=tf.placeholder(tf.bool, [], "training"))
    minimize(tf, loss_of(tf, y), layer.updates)
    tf.train.Saver(tf.trainable_variables(), sharded=True)


@case(WRONG, "layout-nhwc-after-nchw")
def _(tf):
    x = tf.placeholder(tf.float32, [None, 3, 4, 4])
    minimize(tf, loss_of(tf, contrib(tf, conv(tf, x, 4, data_format="channels_first"))))


@case(WRONG, "layout-nchw-after-nhwc")
def _(tf):
    x = tf.placeholder(tf.float32, [None, 4, 4, 3])
    y = tf.nn.relu(conv(tf, x, 4))
    minimize(tf, loss_of(tf, contrib(tf, y, data_format="NCHW")))


@case(WRONG, "layout-core-axis")
def _(tf):
    y = core(tf, conv(tf, images(tf), 8), axis=1, training=True)
    minimize(tf, loss_of(tf, y))


@case(WRONG, "siblings-epsilon")
def _(tf):
    y = images(tf)
    for i in range(5):
        y = core(tf, conv(tf, y), training=True, epsilon=1e-5 if i == 2 else 1e-3)
    minimize(tf, loss_of(tf, y))


@case(WRONG, "siblings-decay")
def _(tf):
    y = images(tf)
    for i in range(5):
        y = contrib(tf, conv(tf, y), decay=0.9 if i == 4 else 0.99)
    minimize(tf, loss_of(tf, y))


@case(WRONG, "siblings-layout")
def _(tf):
    y = images(tf)
    for i in range(5):
        y = core(tf, tf.transpose(y, [0, 3, 1, 2]), training=True, axis=1 if i == 0 else -1)
    minimize(tf, loss_of(tf, y))


@case(WRONG, "cold-polynomial")
def _(tf):
    step = tf.train.get_or_create_global_step()
    rate = tf.train.polynomial_decay(0.1, step, 500)
    y = contrib(tf, conv(tf, images(tf)))
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        tf.train.GradientDescentOptimizer(rate).minimize(loss_of(tf, y), step)


@case(WRONG, "cold-piecewise")
def _(tf):
    step = tf.train.get_or_create_global_step()
    rate = tf.train.piecewise_constant(step, [100, 200], [0.1, 0.01, 0.001])
    y = core(tf, conv(tf, images(tf)), training=True)
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        tf.train.MomentumOptimizer(rate, 0.9).minimize(loss_of(tf, y), step)


@case(WRONG, "cold-cosine")
def _(tf):
    step = tf.train.get_or_create_global_step()
    rate = tf.train.cosine_decay(0.1, step, 1000)
    y = contrib(tf, conv(tf, images(tf)), fused=False)
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        tf.train.GradientDescentOptimizer(rate).minimize(loss_of(tf, y), step)


def conditional(tf, **arguments):
    flag = tf.placeholder(tf.bool, [], "finite")
    y = contrib(tf, conv(tf, images(tf)), **arguments)
    loss, updates = loss_of(tf, y), tf.get_collection(tf.GraphKeys.UPDATE_OPS)

    def step():
        return tf.group(minimize(tf, loss, updates), tf.no_op())

    tf.cond(flag, step, tf.no_op, name="maybe")


@case(WRONG, "cond-contrib")
def _(tf):
    conditional(tf)


@case(WRONG, "cond-composed")
def _(tf):
    conditional(tf, fused=False)


@case(WRONG, "cond-in-place")
def _(tf):
    conditional(tf, updates_collections=None)


@case(WRONG, "gradients-alone")
def _(tf):
    """Gradients that somebody applies outside of the graph."""
    tf.gradients(loss_of(tf, contrib(tf, conv(tf, images(tf)))), tf.trainable_variables())


@case(WRONG, "not-updated-by-hand")
def _(tf):
    """Statistics that nothing updates."""
    x = conv(tf, images(tf))
    with tf.variable_scope("net"):
        start = [tf.zeros_initializer(), tf.ones_initializer()]
        m = tf.get_variable("moving_mean", [4], initializer=start[0], trainable=False)
        v = tf.get_variable("moving_variance", [4], initializer=start[1], trainable=False)
        beta = tf.get_variable("beta", [4], initializer=start[0])
    flag, batch = tf.placeholder(tf.bool, [], "training"), tf.nn.moments(x, [0, 1, 2])
    m, v = tf.cond(flag, lambda: batch, lambda: (tf.identity(m), tf.identity(v)))
    minimize(tf, loss_of(tf, tf.nn.batch_normalization(x, m, v, beta, None, 1e-3)))


@case(WRONG, "batch-stats-alone")
def _(tf):
    """Batches alone, in training too, in a layer by hand that nobody averages."""
    x = conv(tf, images(tf))
    m, v = tf.nn.moments(x, [0, 1, 2])
    with tf.variable_scope("net"):
        beta = tf.get_variable("bn_offset", [4], initializer=tf.zeros_initializer())
        gamma = tf.get_variable("bn_scale", [4], initializer=tf.ones_initializer())
    minimize(tf, loss_of(tf, tf.nn.batch_normalization(x, m, v, beta, gamma, 1e-3)))


@case(WRONG, "batch-stats-export-default")
def _(tf):
    x, flag = images(tf), tf.placeholder_with_default(True, [], "training")
    return {"x": x}, {"y": core(tf, conv(tf, x), training=flag)}


@case(WRONG, "batch-stats-export")
def _(tf):
    x = images(tf)
    return {"x": x}, {"y": contrib(tf, conv(tf, x), fused=False)}


@case(WRONG, "not-trainable")
def _(tf):
    """A layer of TF 1.15 that is not trainable normalises by its batches and keeps its statistics."""
    minimize(tf, loss_of(tf, core(tf, conv(tf, images(tf)), training=True, trainable=False)))


@case(WRONG, "no-memory")
def _(tf):
    minimize(tf, loss_of(tf, contrib(tf, conv(tf, images(tf)), decay=0.0)))


@case(WRONG, "swapped")
def _(tf):
    x = conv(tf, images(tf))
    names = ("gamma", "beta", "moving_mean", "moving_variance")
    with tf.variable_scope("bn"):
        gamma, beta, mean, variance = [tf.get_variable(name, [4]) for name in names]
    y, _, _ = tf.nn.fused_batch_norm(x, beta, gamma, mean, variance, is_training=False)
    tf.identity(y, "output")


@case(WRONG, "frozen-decay")
def _(tf):
    minimize(tf, loss_of(tf, contrib(tf, conv(tf, images(tf)), decay=1.0)))


@case(WRONG, "unknown-decay")
def _(tf):
    """Right, with a decay that a run alone knows."""
    y = contrib(tf, conv(tf, images(tf)), decay=tf.placeholder(tf.float32, [], "decay"))
    minimize(tf, loss_of(tf, y))


def write(tf, name, build, path):
    graph = tf.Graph()
    with graph.as_default():
        tf.set_random_seed(1)
        exported, folder = build(tf), tempfile.mkdtemp()
        if exported is None:
            file = os.path.join(folder, "graph.meta")
            tf.train.export_meta_graph(file)
        else:
            with tf.Session() as session:
                session.run(tf.global_variables_initializer())
                tf.saved_model.simple_save(session, os.path.join(folder, "export"), *exported)
            file, path = os.path.join(folder, "export", "saved_model.pb"), path.replace(".meta.gz", ".pb.gz")
        with open(file, "rb") as opened:
            data = opened.read()
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0, compresslevel=9) as out:
        out.write(data)
    with open(path, "wb") as out:
        out.write(packed.getvalue())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--force", action="store_true")
    parser.add_argument("only", nargs="*", help="names; all if there are none")
    args = parser.parse_args()
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf

    release = "" if tf.__version__.startswith("1.15") else "-" + ".".join(tf.__version__.split(".")[:2])
    cases = dict(RIGHT, **WRONG)
    names = args.only or (sorted(cases) if not release else OLD)
    if not os.path.isdir(FOLDER):
        os.makedirs(FOLDER)
    for name in names:
        path = os.path.join(FOLDER, "%s%s.meta.gz" % (name, release))
        if not args.write or (os.path.exists(path) and not args.force):
            print("%s %s" % (path, "is there" if os.path.exists(path) else "would be written"))
            continue
        try:
            write(tf, name, cases[name], path)
        except Exception as error:
            print("%s failed: %r" % (name, error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
