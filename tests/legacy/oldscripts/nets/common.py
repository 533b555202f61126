import tensorflow as tf


def initializer(seed):
    print 'seed', seed
    return tf.contrib.layers.variance_scaling_initializer(seed=seed)
