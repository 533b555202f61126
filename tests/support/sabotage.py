"""The real layer with one thing wrong, as it goes wrong in ports: what the checks must notice."""

import numpy as np
import tensorflow

import tf1bn

tf = tensorflow.compat.v1


def no_update(x, decay, is_training, **arguments):
    return tf1bn.batch_norm(x, decay, is_training=is_training, **{**arguments, "updates_collections": ["never run"]})


def bessel(x, decay, is_training, **arguments):
    return tf1bn.batch_norm(x, decay, is_training=is_training, **{**arguments, "fused": True})


def decay_swapped(x, decay, is_training, **arguments):
    return tf1bn.batch_norm(x, 1 - decay, is_training=is_training, **arguments)


def updates_first(x, decay, is_training, **arguments):
    """Updates the moving statistics and normalises with them, in training too."""
    if is_training:
        updated = tf1bn.batch_norm(x, decay, is_training=True, **arguments)
        with tf.control_dependencies([updated]):
            x = tf.identity(x)
    return tf1bn.batch_norm(x, decay, is_training=False, reuse=is_training or None, scope="BatchNorm", **arguments)


def stale_test(x, decay, is_training, **arguments):
    """Tests with the initial statistics instead of the trained ones."""
    y = tf1bn.batch_norm(x, decay, is_training=is_training, **arguments)
    return y if is_training else x * 1.001**-0.5 + 0 * y


def trains_at_test(x, decay, is_training, **arguments):
    return tf1bn.batch_norm(x, decay, is_training=True, **arguments)


def moves_at_test(x, decay, is_training, **arguments):
    """Normalises with the moving statistics when testing, but updates them too."""
    if is_training:
        return tf1bn.batch_norm(x, decay, is_training=True, **arguments)
    y = tf1bn.batch_norm(x, decay, is_training=False, **arguments)
    with tf.variable_scope(tf.get_variable_scope(), reuse=True), tf.control_dependencies([y]):
        update = tf.assign_add(tf.get_variable("BatchNorm/moving_mean", [1]), [1e-5])
    with tf.control_dependencies([update]):
        return tf.identity(y)


def nan_at_test(x, decay, is_training, **arguments):
    """Right but for NaN in one place when testing."""
    y = tf1bn.batch_norm(x, decay, is_training=is_training, **arguments)
    return y if is_training else tf.where(tf.equal(x, tf.reduce_max(x)), y * np.nan, y)
