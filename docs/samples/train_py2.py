"""A training script as they were in 2017: Python 2, tf.contrib, and one batch-norm layer."""
import numpy as np
import tensorflow as tf
from tensorflow.contrib.layers import batch_norm

x = tf.placeholder(tf.float32, [8, 4])
target = tf.placeholder(tf.float32, [8, 1])


def network(inputs, is_training):
    with tf.variable_scope('net', reuse=not is_training):
        w1 = tf.get_variable('w1', [4, 3], initializer=tf.constant_initializer(0.1))
        hidden = batch_norm(tf.matmul(inputs, w1), decay=0.9, scale=True, is_training=is_training,
                            updates_collections=None, scope='bn')
        w2 = tf.get_variable('w2', [3, 1], initializer=tf.constant_initializer(1.0))
        return tf.matmul(hidden, w2)


loss = tf.reduce_mean(tf.square(network(x, True) - target))
train = tf.train.GradientDescentOptimizer(0.05).minimize(loss)
predicted = network(x, False)

rng = np.random.RandomState(0)
with tf.Session() as sess:
    sess.run(tf.global_variables_initializer())
    for step in xrange(5):
        batch = rng.normal(2, 1, [8, 4])
        sess.run(train, {x: batch, target: batch.sum(axis=1, keepdims=True) / 4})
    for variable in tf.global_variables('net/bn'):
        print variable.op.name, ' '.join('%.4f' % value for value in sess.run(variable))
    print 'prediction %.4f' % sess.run(predicted, {x: np.full([8, 4], 2.0)})[0, 0]
