"""Names and orders of arguments that TensorFlow lost in 1.0; it ran with TensorFlow 0.12.1."""
from __future__ import print_function
import os
import shutil
import tempfile

import numpy as np
import tensorflow as tf

x = tf.constant(np.arange(12, dtype=np.float32).reshape(3, 4) / 10 - 0.3)
y = tf.constant(np.linspace(-1, 1, 12).astype(np.float32).reshape(3, 4))
labels = tf.constant(np.array([2, 0, 1]))
some = tf.constant([True, False, True])
wide = tf.nn.softmax(y)
values = [
    tf.mul(x, y),
    tf.sub(x, y),
    tf.neg(x),
    tf.pack([x, y], axis=1),
    tf.unpack(x, axis=1)[2],
    tf.unpack(y)[1],
    tf.select(some, x, y),
    tf.concat(1, [x, y]),
    tf.concat(concat_dim=0, values=[x, y]),
    tf.concat_v2([x, y], 1),
    tf.split(1, 2, x)[1],
    tf.split(split_dim=0, num_split=3, value=y)[2],
    tf.split_v(x, [1, 3], 1)[1],
    tf.batch_matmul(x, y, adj_y=True),
    tf.complex_abs(tf.complex(x, y)),
    tf.reverse(x, [False, True]),
    tf.reverse(x, [True, True]),
    tf.nn.softmax_cross_entropy_with_logits(x, wide),
    tf.nn.sparse_softmax_cross_entropy_with_logits(x, labels),
    tf.nn.sigmoid_cross_entropy_with_logits(x, wide),
    tf.nn.sigmoid_cross_entropy_with_logits(logits=x, targets=wide),
]
with tf.name_scope("outer"):
    tf.scalar_summary("a/loss", tf.reduce_sum(x))
    tf.scalar_summary(["b", "c"], tf.constant([1.5, 2.5]))
    tf.histogram_summary("h", x)
    tf.image_summary("images", tf.zeros([2, 3, 3, 1]), 1)
    tf.audio_summary("sound", tf.zeros([1, 5]), 8000.0, max_outputs=1)
merged = tf.merge_summary([tf.scalar_summary("other", 0.25, collections=["mine"])])
everything = tf.merge_all_summaries()
with tf.Session() as sess:
    sess.run(tf.initialize_all_variables())
    for value in sess.run(values):
        print(value.shape, *["%.5f" % number for number in value.ravel()])
    folder = tempfile.mkdtemp()
    writer = tf.train.SummaryWriter(folder, sess.graph)
    for wanted in (everything, merged):
        text = sess.run(wanted)
        writer.add_summary(text, 3)
        for part in tf.Summary.FromString(text).value:
            print(part.tag, part.WhichOneof("value"), "%.5f" % part.simple_value)
    writer.close()
    print(len(os.listdir(folder)), len(tf.get_collection("mine")))
    shutil.rmtree(folder)
