# An arg_scope around two calls in a tf.cond, which share their variables.
import numpy as np
import tensorflow as tf
from tensorflow.contrib.framework.python.ops import arg_scope
from tensorflow.contrib.layers.python.layers import batch_norm


def normalized(x, phase, name):
    with arg_scope([batch_norm], decay=0.8, center=True, scale=True, updates_collections=None, scope=name):
        return tf.cond(phase,
                       lambda: batch_norm(x, is_training=True, reuse=None),
                       lambda: batch_norm(x, is_training=False, reuse=True))


phase = tf.placeholder(tf.bool, name='phase')
x = tf.placeholder(tf.float32, [None, 5])
y = x
for layer in range(2):
    w = tf.get_variable('w%d' % layer, [5, 5], initializer=tf.contrib.layers.xavier_initializer(seed=layer))
    y = normalized(tf.matmul(y, w), phase, 'bn%d' % layer)

sess = tf.Session()
sess.run(tf.initialize_all_variables())
rng = np.random.RandomState(1)
for i in xrange(4):
    batch = rng.normal(2, 3, (6, 5)).astype(np.float32)
    sess.run(y, {x: batch, phase: True})
for v in tf.global_variables():
    if v.op.name.find('moving') >= 0:
        print v.op.name, ' '.join(map(repr, sess.run(v).tolist()))
print 'inference', ' '.join(map(repr, sess.run(y, {x: batch, phase: False}).ravel().tolist()))
