import tensorflow as tf
from tensorflow.contrib import slim

contrib = tf.contrib


def loss(logits):
    net = slim.batch_norm(tf.placeholder(tf.float32, [8, 3]))
    return contrib.seq2seq.BasicDecoder(logits, net, 1)
