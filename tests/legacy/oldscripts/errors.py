"""Prints what becomes of graphs most of which TF 1.15 does not run on a CPU, one a line."""
from __future__ import print_function

import numpy as np
import tensorflow as tf


def said(name, build):
    with tf.Graph().as_default(), tf.Session() as sess:
        try:
            out = build()
            sess.run(tf.global_variables_initializer())
            value = sess.run(out)
            print(name, "-> runs", np.asarray(value).shape if not isinstance(value, list) else len(value))
        except Exception as error:
            print(name, "->", type(error).__name__)


def on_gpu():
    with tf.device("/gpu:0"):
        return tf.matmul(tf.ones([2, 2]), tf.Variable(tf.ones([2, 2])))


def checked():
    x = tf.ones([2])
    out = tf.cond(tf.constant(True), lambda: x * 2, lambda: x)
    return tf.group(out, tf.add_check_numerics_ops())

def nested_while():
    return tf.while_loop(lambda i: i < 3, lambda i: i + tf.check_numerics(tf.ones([]), "a"), [0.0])

def uninitialized():
    v = tf.get_variable("v", [2], collections=["mine"])
    return v + 1

def shapes_differ():
    tf.get_variable("a", [2])
    return tf.get_variable("a", [2])

def fetch_inside():
    kept = []
    tf.cond(tf.constant(True), lambda: kept.append(tf.ones([2]) * 2) or kept[0], lambda: tf.ones([2]))
    return kept[0]

def x():
    return tf.ones([1, 3, 8, 8])


said("gpu", on_gpu)
said("nchw max_pool", lambda: tf.nn.max_pool(x(), [1, 1, 2, 2], [1, 1, 2, 2], "SAME", data_format="NCHW"))
said("nchw avg_pool", lambda: tf.nn.avg_pool(x(), [1, 1, 2, 2], [1, 1, 2, 2], "SAME", data_format="NCHW"))
said("nchw conv2d", lambda: tf.nn.conv2d(x(), tf.ones([3, 3, 3, 4]), [1, 1, 1, 1], "SAME", data_format="NCHW"))
said("nchw bias", lambda: tf.nn.bias_add(x(), tf.ones([3]), data_format="NCHW"))
said("nchw fused", lambda: tf.nn.fused_batch_norm(x(), tf.ones([3]), tf.ones([3]), data_format="NCHW")[0])
said("nchw conv2d grad", lambda: tf.gradients(tf.nn.conv2d(x(), tf.get_variable("w", [3, 3, 3, 4]), [1, 1, 1, 1], "SAME", data_format="NCHW"), tf.trainable_variables()))
said("check_numerics beside cond", checked)
said("check_numerics in while", nested_while)
said("uninitialized", uninitialized)
said("variable twice", shapes_differ)
said("inside cond", fetch_inside)
said("nan", lambda: tf.check_numerics(tf.log(-tf.ones([2])), "bad"))
said("assert", lambda: tf.Assert(tf.constant(False), ["no"]))
said("shape", lambda: tf.matmul(tf.ones([2, 3]), tf.ones([2, 3])))
said("label", lambda: tf.nn.sparse_softmax_cross_entropy_with_logits(labels=[7], logits=tf.ones([1, 3])))
said("gather", lambda: tf.gather(tf.ones([3]), [5]))
said("feed", lambda: tf.placeholder(tf.float32, [2]))
said("restore", lambda: tf.train.Saver([tf.Variable(1.0)]).restore(tf.get_default_session(), "/nowhere/model"))
said("convert", lambda: tf.constant("a") + 1)
said("none gradient", lambda: tf.train.GradientDescentOptimizer(.1).minimize(tf.ones([])))
said("no file", lambda: tf.gfile.GFile("/nowhere/a").read())
