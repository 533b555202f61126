# contrib.rnn's cells over batch-normalised inputs, unrolled, dynamic and in both directions.
from __future__ import print_function
import numpy as np
import tensorflow as tf
from tensorflow.contrib import rnn
from tensorflow.contrib.rnn import BasicLSTMCell, LSTMStateTuple

random = np.random.RandomState(5)
x = tf.constant(random.normal(1, 2, (3, 4, 2)).astype(np.float32))
x = tf.contrib.layers.batch_norm(x, is_training=True, updates_collections=None)
steps = tf.unstack(x, axis=1)


def show(name, tensors):
    outputs.append((name, tensors))


outputs = []
with tf.variable_scope("static"):
    out, state = rnn.static_rnn(BasicLSTMCell(3, forget_bias=0.5), steps, dtype=tf.float32)
    assert isinstance(state, LSTMStateTuple)
    show("static", [out[-1], state.c])
with tf.variable_scope("stack"):
    cell = rnn.MultiRNNCell([rnn.DropoutWrapper(rnn.GRUCell(3), output_keep_prob=1.0),
                             rnn.ResidualWrapper(rnn.BasicRNNCell(3))])
    out, state = tf.nn.dynamic_rnn(cell, x, sequence_length=[4, 2, 3], dtype=tf.float32)
    show("stack", [out, state[1]])
with tf.variable_scope("both"):
    out, _, _ = tf.contrib.rnn.static_bidirectional_rnn(
        rnn.LSTMCell(2, use_peepholes=True, num_proj=3), rnn.LSTMCell(2), steps, dtype=tf.float32)
    show("both", [out[0], out[-1]])
with tf.variable_scope("rare"):
    out, state = tf.nn.dynamic_rnn(rnn.NASCell(3), x, sequence_length=[4, 2, 3], dtype=tf.float32, scope="nas")
    show("nas", [out[:, -1], state.c, state.h])
    out, state = rnn.static_rnn(rnn.NASCell(3, num_proj=2, use_bias=True), steps, dtype=tf.float32, scope="projected")
    show("projected", [out[-1], state.c, state.h])
    for name, cell in [("normed", rnn.LayerNormBasicLSTMCell(3, forget_bias=0.5, norm_gain=0.5, norm_shift=0.25)),
                       ("plain", rnn.LayerNormBasicLSTMCell(2, layer_norm=False, activation=tf.nn.relu))]:
        out, state = tf.nn.dynamic_rnn(cell, x, sequence_length=[4, 2, 3], dtype=tf.float32, scope=name)
        show(name, [out[:, -1], out[:, 0], state.c, state.h])
    cell = rnn.MultiRNNCell([rnn.LayerNormBasicLSTMCell(2) for _ in range(2)])
    out, state = rnn.static_rnn(cell, steps, dtype=tf.float32, scope="two")
    show("two", [out[-1], state[1].c])
    cell = rnn.OutputProjectionWrapper(rnn.GRUCell(3), 2, activation=tf.tanh)
    out, state = rnn.static_rnn(cell, steps, dtype=tf.float32, scope="wrapped")
    show("wrapped", [out[0], out[-1], state])
    out, forwards, backwards = rnn.stack_bidirectional_dynamic_rnn(
        [rnn.GRUCell(2), rnn.LSTMCell(3)], [rnn.GRUCell(2), rnn.GRUCell(1)], x, dtype=tf.float32, sequence_length=[4, 1, 3])
    assert out.name == "rare/stack_bidirectional_rnn/cell_1/concat:0"
    show("layers", [out, forwards[1].c, backwards[0]])
with tf.Session() as sess:
    sess.run(tf.global_variables_initializer())
    for v in tf.trainable_variables():
        size = int(np.prod(v.shape.as_list()))
        v.load(np.cos(np.arange(size) * 1.7).reshape(v.shape.as_list()), sess)
        print(v.name, v.shape)
    for name, tensors in outputs:
        for value in sess.run(tensors):
            print(name, value.shape, " ".join("%.5f" % v for v in value.ravel()[:8]))
