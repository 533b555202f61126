"""A small GAN: the discriminator is built twice on the same variables."""
import numpy as np
import tensorflow as tf

BATCH = 8


class BatchNorm(object):
    def __init__(self, name, momentum=0.9, epsilon=1e-5):
        self.name, self.momentum, self.epsilon = name, momentum, epsilon

    def __call__(self, x, train=True):
        return tf.contrib.layers.batch_norm(x, decay=self.momentum, epsilon=self.epsilon, scale=True,
                                            updates_collections=None, is_training=train, scope=self.name)


d_bn1, d_bn2 = BatchNorm('d_bn1'), BatchNorm('d_bn2')
g_bn0, g_bn1 = BatchNorm('g_bn0'), BatchNorm('g_bn1')


def filters(seed):
    return tf.truncated_normal_initializer(stddev=0.1, seed=seed)


def lrelu(x):
    return tf.maximum(x, 0.2 * x)


def discriminator(image, reuse=False):
    with tf.variable_scope('discriminator') as scope:
        if reuse:
            scope.reuse_variables()
        w = tf.get_variable('h0/w', [5, 5, 3, 4], initializer=filters(1))
        h0 = lrelu(d_bn1(tf.nn.conv2d(image, w, strides=[1, 2, 2, 1], padding='SAME')))
        w = tf.get_variable('h1/w', [5, 5, 4, 6], initializer=filters(2))
        h1 = lrelu(d_bn2(tf.nn.conv2d(h0, w, strides=[1, 2, 2, 1], padding='SAME')))
        flat = tf.reshape(h1, [BATCH, -1])
        w = tf.get_variable('h2/w', [flat.get_shape()[1], 1], initializer=filters(3))
        return tf.matmul(flat, w)


def generator(z, train=True):
    size = 16 / 4
    with tf.variable_scope('generator') as scope:
        if not train:
            scope.reuse_variables()
        w = tf.get_variable('h0/w', [10, size * size * 6], initializer=filters(4))
        h0 = tf.reshape(tf.matmul(z, w), [-1, size, size, 6])
        h0 = tf.nn.relu(g_bn0(h0, train=train))
        w = tf.get_variable('h1/w', [5, 5, 4, 6], initializer=filters(5))
        h1 = tf.nn.conv2d_transpose(h0, w, [BATCH, 8, 8, 4], [1, 2, 2, 1])
        h1 = tf.nn.relu(g_bn1(h1, train=train))
        w = tf.get_variable('h2/w', [5, 5, 3, 4], initializer=filters(6))
        return tf.nn.tanh(tf.nn.conv2d_transpose(h1, w, [BATCH, 16, 16, 3], [1, 2, 2, 1]))


images = tf.placeholder(tf.float32, [BATCH, 16, 16, 3])
z = tf.placeholder(tf.float32, [BATCH, 10])
fake = generator(z)
real_logits = discriminator(images)
fake_logits = discriminator(fake, reuse=True)
sampled = generator(z, train=False)


def loss(logits, target):
    labels = target * tf.ones_like(logits)
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(logits=logits, labels=labels))


d_real, d_fake, g_loss = loss(real_logits, 1.), loss(fake_logits, 0.), loss(fake_logits, 1.)
d_vars = [v for v in tf.trainable_variables() if v.name.startswith('discriminator')]
g_vars = [v for v in tf.trainable_variables() if v.name.startswith('generator')]
optimizer = tf.train.GradientDescentOptimizer(0.05)
steps = [optimizer.minimize(d_real, var_list=d_vars), optimizer.minimize(d_fake, var_list=d_vars),
         optimizer.minimize(g_loss, var_list=g_vars)]

if __name__ == '__main__':
    rng = np.random.RandomState(0)
    with tf.Session() as sess:
        tf.initialize_all_variables().run()
        for step in xrange(3):
            batch = rng.uniform(-1, 1, [BATCH, 16, 16, 3]).astype(np.float32)
            noise = rng.uniform(-1, 1, [BATCH, 10]).astype(np.float32)
            for op in steps:
                sess.run(op, feed_dict={images: batch, z: noise})
        for v in tf.global_variables():
            if 'moving' in v.name:
                print v.op.name, ' '.join(map(repr, v.eval().tolist()))
        print 'sample', repr(float(np.abs(sess.run(sampled, {z: noise})).mean()))
