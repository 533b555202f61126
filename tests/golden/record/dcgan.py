# coding: utf-8
# ruff: noqa: UP009, UP010, UP032
"""A DCGAN-style discriminator, trained for three steps: the worked port of docs/porting.md, and its recording.

    python tests/golden/record/dcgan.py           under TensorFlow 1.15 (contrib) or 2 (tf1bn): prints what it measures
    python tests/golden/record/dcgan.py --write   under TensorFlow 1.15: writes ../dcgan.json; --force replaces

The part between the two "port" lines is what that page shows. The discriminator is applied to real and to fake
images on shared variables, so every training step updates each moving statistic twice. TensorFlow gives two updates
of one variable in one run no order and may start both from the old value; one inter-op thread makes that rare.
"""

from __future__ import print_function

import json
import os
import platform
import sys

import numpy as np

STEPS, BATCH, SIZE, COLOURS, FILTERS = 3, 4, 8, 3, 6
GOLDEN = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def images(seed, scale):
    """Deterministic float32 images from a linear congruential generator, the same in every NumPy."""
    count = BATCH * SIZE * SIZE * COLOURS
    state, values = seed, []
    for _ in range(count):
        state = (1103515245 * state + 12345) % 2**31
        values.append(state // 2**16 % 256)
    return (np.array(values, np.float32) / 128 - 1).reshape(BATCH, SIZE, SIZE, COLOURS) * np.float32(scale)


# port: begins
def discriminator(tf, batch_norm, image, reuse):
    with tf.variable_scope("discriminator", reuse=reuse):
        w = tf.get_variable("d_h0_conv/w", [5, 5, COLOURS, FILTERS], initializer=filters(tf))
        h0 = tf.nn.conv2d(image, w, strides=[1, 2, 2, 1], padding="SAME")
        h0 = batch_norm(
            h0, decay=0.9, updates_collections=None, epsilon=1e-5, scale=True, is_training=True, scope="d_bn0"
        )
        h0 = tf.maximum(h0, 0.2 * h0)
        return tf.reduce_mean(h0, [1, 2, 3])


# port: ends


def filters(tf):
    values = np.sin(np.arange(5 * 5 * COLOURS * FILTERS, dtype=np.float64)).astype(np.float32)
    return tf.constant_initializer(values.reshape(5, 5, COLOURS, FILTERS))


def train(tf, batch_norm):
    """Three steps; returns per step the inputs of the layer and the statistics before and after."""
    real = tf.placeholder(tf.float32, [BATCH, SIZE, SIZE, COLOURS])
    fake = tf.placeholder(tf.float32, [BATCH, SIZE, SIZE, COLOURS])
    d_real = discriminator(tf, batch_norm, real, reuse=False)
    d_fake = discriminator(tf, batch_norm, fake, reuse=True)
    loss = tf.reduce_mean(d_fake) - tf.reduce_mean(d_real)
    optimizer = tf.train.GradientDescentOptimizer(0.01).minimize(loss)
    convolutions = [op.outputs[0] for op in tf.get_default_graph().get_operations() if op.type == "Conv2D"]
    by_name = {v.op.name.split("/")[-1]: v for v in tf.global_variables()}
    statistics = [by_name["moving_mean"], by_name["moving_variance"]]
    config = tf.ConfigProto(inter_op_parallelism_threads=1, intra_op_parallelism_threads=1)
    steps = []
    with tf.Session(config=config) as session:
        session.run(tf.global_variables_initializer())
        for step in range(STEPS):
            feed = {real: images(2 * step + 1, 1), fake: images(2 * step + 2, 0.25)}
            before = session.run(statistics)
            layer_inputs = session.run(convolutions, feed)
            session.run(optimizer, feed)
            after = session.run(statistics)
            steps.append((layer_inputs, before, after))
    return steps


def compact(steps):
    return [
        {"before": [v.tolist() for v in before], "after": [v.tolist() for v in after]} for _, before, after in steps
    ]


def main():
    import tensorflow

    if tensorflow.__version__.startswith("1."):
        from tensorflow.contrib.layers import batch_norm

        tf = tensorflow
    else:
        from tf1bn import batch_norm

        tf = tensorflow.compat.v1
        tf.disable_v2_behavior()
    recording = {
        "what": "moving_mean and moving_variance of discriminator/d_bn0 around three training steps",
        "tensorflow": tensorflow.__version__,
        "python": platform.python_version(),
        "command": "python tests/golden/dcgan.py --write",
        "steps": compact(train(tf, batch_norm)),
    }
    text = json.dumps(recording, indent=1, sort_keys=True) + "\n"
    path = os.path.join(GOLDEN, "dcgan.json")
    if "--write" not in sys.argv:
        print(text)
    elif not tensorflow.__version__.startswith("1."):
        sys.exit("The recording is made under TensorFlow 1.x; this is {}.".format(tensorflow.__version__))
    elif os.path.exists(path) and "--force" not in sys.argv:
        sys.exit("{} exists; --force replaces it.".format(path))
    else:
        with open(path, "w") as file:
            file.write(text)


if __name__ == "__main__":
    main()
