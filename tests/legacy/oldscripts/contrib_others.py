"""Names of tf.contrib away from layers, MNIST's files, queues and both checkpoint formats, as scripts of 2017 use them."""
from __future__ import print_function

import gzip
import os
import struct
import tempfile

import numpy as np
import tensorflow as tf
from tensorflow.contrib import slim
from tensorflow.contrib.framework import with_shape
from tensorflow.examples.tutorials.mnist import input_data

os.chdir(tempfile.mkdtemp())
folder = "data"
os.mkdir(folder)


def show(name, value):
    print(name, " ".join("%.5f" % number for number in np.asarray(value, float).ravel()))


def error(function, *args, **kwargs):
    try:
        function(*args, **kwargs)
    except Exception as found:
        return type(found).__name__
    return "none"


# Hyperparameters.
hp = tf.contrib.training.HParams(rate=0.1, sizes=[4, 8], name="net", train=True, steps=3)
hp.parse("rate=1,sizes=[16, 32],train=0,name=x_1").override_from_dict({"steps": 7})
print(hp.rate, hp.sizes, hp.train, hp.name, hp.steps, hp.get("nothing", 5), "rate" in hp)
print(hp.to_json(sort_keys=True), error(hp.parse, "rate=a"), error(hp.parse, "none=1"), error(hp.parse, "steps=1.5"))
print(error(hp.set_hparam, "rate", "a"), error(hp.set_hparam, "steps", 2.5), error(hp.set_hparam, "sizes", 3))
print(error(hp.add_hparam, "parse", 1), error(hp.add_hparam, "l", []), error(hp.parse, "steps=1,steps=2"))
print(error(hp.parse, "sizes[1]=3"), error(hp.set_hparam, "train", 1), error(hp.get, "rate", "a"), str(len(str(hp))))
print(sorted(tf.contrib.training.parse_values("a=[1,2],b[1]=3,b[0]=4,c=t", {"a": float, "b": int, "c": str}).items()))

# Sequences of about the same length.
with tf.Graph().as_default():
    (length,) = tf.train.slice_input_producer([tf.constant([1, 4, 2, 5, 3, 7, 6, 1])], num_epochs=1, shuffle=False)
    sequence = tf.range(length)
    lengths, (batch,) = tf.contrib.training.bucket_by_sequence_length(
        length, [sequence], 2, [3, 6], dynamic_pad=True, allow_smaller_final_batch=True
    )
    print(lengths.shape, batch.shape, batch.dtype.name)
    with tf.Session() as sess:
        sess.run(tf.local_variables_initializer())
        coord = tf.train.Coordinator()
        threads = tf.train.start_queue_runners(coord=coord)
        found = []
        try:
            while not coord.should_stop():
                found.append(sess.run([lengths, batch]))
        except tf.errors.OutOfRangeError:
            print("no more")
        finally:
            coord.request_stop()
        coord.join(threads)
        for sizes, rows in sorted(found, key=lambda pair: pair[0].tolist()):
            print(sizes.tolist(), rows.tolist())

# Checks.
with tf.Graph().as_default(), tf.Session() as sess:
    known, unknown = tf.ones([2, 3]), tf.placeholder(tf.float32, [None, 3])
    print(with_shape([2, 3], known) is known, with_shape([2, 3], unknown).shape, error(with_shape, [3, 3], known))
    print(with_shape([], tf.ones([1])).shape, tf.contrib.framework.with_same_shape(known, unknown).shape)
    show("shape", sess.run(with_shape([2, 3], unknown), {unknown: np.ones([2, 3])}))
    print(error(sess.run, with_shape([2, 3], unknown), {unknown: np.ones([1, 3])}))
    print(error(sess.run, with_shape(tf.constant([2, -1]), unknown), {unknown: np.ones([2, 3])}))
    print(error(tf.contrib.framework.assert_scalar, known), error(tf.contrib.framework.assert_scalar_int, 2.0))
    show("sum", sess.run(tf.contrib.framework.reduce_sum_n([known, known])))
    first, second = tf.contrib.framework.remove_squeezable_dimensions(tf.ones([4, 1]), tf.ones([4]))
    print(first.shape, second.shape, slim.init_ops.zeros_initializer()([2]).shape)

    # Embeddings and convolutions by plane.
    ids = tf.constant([[0, 2, 1], [2, 2, 0]])
    table = tf.constant_initializer(np.arange(12).reshape(4, 3))
    for unique in (False, True):
        with tf.variable_scope("e", reuse=unique):
            out = tf.contrib.layers.embed_sequence(ids, 4, 3, unique=unique, initializer=table, scope="s")
        sess.run(tf.global_variables_initializer())
        print(out.shape, [v.op.name for v in slim.get_model_variables()])
        show("embedded", sess.run(out))
    image = tf.constant(np.arange(32).reshape(1, 4, 4, 2), tf.float32)
    plane = slim.conv2d_in_plane(image, 1, [2, 2], weights_initializer=tf.constant_initializer(0.5), scope="plane")
    sess.run(tf.global_variables_initializer())
    show("plane", sess.run(plane))
    batches = tf.data.Dataset.range(7).apply(tf.contrib.data.batch_and_drop_remainder(3))
    element = tf.data.make_one_shot_iterator(batches).get_next()
    print(element.shape, sess.run(element).tolist(), sess.run(element).tolist(), error(sess.run, element))

# MNIST's files.
values = np.random.RandomState(0)
for name, number in (("train", 12), ("t10k", 4)):
    with gzip.open(os.path.join(folder, name + "-images-idx3-ubyte.gz"), "wb") as stream:
        stream.write(struct.pack(">4i", 2051, number, 28, 28) + values.bytes(number * 784))
    with gzip.open(os.path.join(folder, name + "-labels-idx1-ubyte.gz"), "wb") as stream:
        stream.write(struct.pack(">2i", 2049, number) + bytes(bytearray(range(number % 8))) * (number // (number % 8)))
with tf.Graph().as_default():
    mnist = input_data.read_data_sets(folder + os.sep, one_hot=True, validation_size=3, seed=7)
    print(mnist.train.images.shape, mnist.validation.labels.shape, mnist.test.num_examples)
    for _ in range(3):
        images, labels = mnist.train.next_batch(4)
        show("mnist", [images.sum(), mnist.train.epochs_completed] + labels.argmax(1).tolist())
    tf.set_random_seed(3)
    mnist = input_data.read_data_sets(folder, dtype=tf.uint8, reshape=False, validation_size=0)
    images, labels = mnist.train.next_batch(5)
    print(images.shape, images.dtype, labels.tolist(), mnist.test.next_batch(2, shuffle=False)[1].tolist())

# Checkpoints in both formats.
for version in (tf.train.SaverDef.V1, tf.train.SaverDef.V2):
    with tf.Graph().as_default(), tf.Session() as sess:
        kept = tf.get_variable("a/kept", initializer=np.arange(6, dtype=np.float32).reshape(2, 3))
        step = tf.train.get_or_create_global_step()
        saver = tf.train.Saver(write_version=version)
        sess.run(tf.global_variables_initializer())
        path = saver.save(sess, os.path.join(folder, "model%d" % version), global_step=7)
        sess.run([kept.assign(tf.zeros([2, 3])), step.assign(9)])
        saver.restore(sess, tf.train.latest_checkpoint(folder))
        show("restored", sess.run(kept))
        print(os.path.basename(path), sorted(n for n in os.listdir(folder) if n.startswith("model%d" % version)))
        print(tf.train.list_variables(path), tf.train.NewCheckpointReader(path).get_tensor("a/kept").sum())
