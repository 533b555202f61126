"""A slim network with its update operations, in the way of the TF-slim model collection."""
import sys

import numpy as np
import tensorflow as tf
from nets import small

slim = tf.contrib.slim

tf.app.flags.DEFINE_integer('steps', 3, 'Training steps.')
FLAGS = tf.app.flags.FLAGS


def main(_):
    images = tf.placeholder(tf.float32, [None, 8, 8, 3])
    labels = tf.placeholder(tf.int64, [None])
    is_training = tf.placeholder(tf.bool, [])
    with slim.arg_scope(small.arg_scope(is_training)):
        logits, end_points = small.network(images, 4)
    tf.losses.softmax_cross_entropy(slim.one_hot_encoding(labels, 4), logits)
    total = tf.losses.get_total_loss()
    step = slim.get_or_create_global_step()
    updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
    with tf.control_dependencies(updates):
        train = tf.train.MomentumOptimizer(0.1, 0.9).minimize(total, global_step=step)
    rng = np.random.RandomState(2)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        for i in xrange(FLAGS.steps):
            feed = {images: rng.uniform(0, 1, (12, 8, 8, 3)), labels: rng.randint(0, 4, 12), is_training: True}
            loss, _ = sess.run([total, train], feed)
            print >>sys.stderr, 'step', i, 'loss', loss
        for v in slim.get_model_variables():
            if 'moving' in v.op.name:
                print v.op.name, ' '.join(map(repr, sess.run(v).tolist()))
        feed[is_training] = False
        print 'loss', repr(float(sess.run(total, feed)))
        print 'ends', sorted(end_points.keys())
        print 'restore', [v.op.name for v in slim.get_variables_to_restore(exclude=['small/logits', 'global_step'])]


if __name__ == '__main__':
    tf.app.run()
