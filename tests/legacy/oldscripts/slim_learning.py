# slim.learning around batch norm: three training steps of a small network, and an evaluation of what they left.
from __future__ import print_function
import tempfile
import numpy as np
import tensorflow as tf
import tensorflow.contrib.slim as slim
from tensorflow.contrib.slim.python.slim import learning

random = np.random.RandomState(3)
images = tf.constant(random.normal(2, 3, (6, 5, 5, 2)).astype(np.float32))
labels = tf.constant([0, 1, 2, 0, 1, 2])
starts = tf.constant_initializer(random.uniform(-0.3, 0.3, 400).astype(np.float32)[:3 * 3 * 2 * 4])

with slim.arg_scope([slim.conv2d], normalizer_fn=slim.batch_norm, weights_regularizer=slim.l2_regularizer(0.01)):
    with slim.arg_scope([slim.batch_norm], decay=0.8, is_training=True):
        with slim.arg_scope([slim.layer_norm], scale=False):
            net = slim.conv2d(images, 4, [3, 3], weights_initializer=starts, scope="conv")
            net = slim.layer_norm(net, scope="norm")
logits = slim.fully_connected(tf.reduce_mean(net, [1, 2]), 3, activation_fn=None,
                              weights_initializer=tf.constant_initializer(random.uniform(-1, 1, 12)), scope="logits")
slim.losses.softmax_cross_entropy(logits, slim.one_hot_encoding(labels, 3))
total = slim.losses.get_total_loss()
train_op = slim.learning.create_train_op(total, tf.train.MomentumOptimizer(0.5, 0.9), clip_gradient_norm=1.0)
folder = tempfile.mkdtemp()
loss = learning.train(train_op, folder, number_of_steps=3, log_every_n_steps=100)
print("loss %.5f" % loss)
reader = tf.train.NewCheckpointReader(tf.train.latest_checkpoint(folder))
for name in sorted(reader.get_variable_to_shape_map()):
    if "Momentum" not in name:
        print(name, " ".join("%.5f" % v for v in np.ravel(reader.get_tensor(name))[:4]))
with tf.Graph().as_default():
    mean = slim.variable("conv/BatchNorm/moving_mean", [4], trainable=False)
    names_to_values, names_to_updates = slim.metrics.aggregate_metric_map({
        "accuracy": slim.metrics.streaming_accuracy(tf.cast(mean > 0, tf.int32), [0, 1, 1, 1]),
        "error": tf.contrib.metrics.streaming_mean_squared_error(mean, tf.ones([4])),
    })
    values = slim.evaluation.evaluate_once("", tf.train.latest_checkpoint(folder), tempfile.mkdtemp(), num_evals=2,
                                           eval_op=list(names_to_updates.values()), final_op=names_to_values)
    print(" ".join("%s %.5f" % pair for pair in sorted(values.items())))
