"""Cost of recording: training steps of a small ResNet, recorded and not, in turn in one process.

    make bench NAME=recorder       exit code 1 if keep="moments" costs more than 30 % of a step

The ResNet for 32x32 images with 19 batch-norm layers (He et al. 2016, arXiv:1512.03385, section 4.2, n = 3), forward,
backward, momentum optimizer and updates of the moving statistics. Prints the median step and the median of the ratios
to the plain step just before.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow

import tf1bn

tf = tensorflow.compat.v1
LIMIT = 1.3


def conv(x, channels, stride, name):
    shape = [3, 3, x.shape[-1], channels]
    w = tf.get_variable(name, shape, initializer=tf.random_normal_initializer(stddev=(2 / 9 / channels) ** 0.5))
    x = tf.nn.conv2d(x, w, strides=[1, stride, stride, 1], padding="SAME")
    return tf1bn.batch_norm(x, decay=0.9, scale=True, is_training=True, scope=f"{name}_bn")


def resnet(x, labels, blocks=3):
    x = tf.nn.relu(conv(x, 16, 1, "first"))
    for channels in (16, 32, 64):
        for block in range(blocks):
            stride = 2 if channels > 16 and block == 0 else 1
            y = tf.nn.relu(conv(x, channels, stride, f"c{channels}_{block}_a"))
            y = conv(y, channels, 1, f"c{channels}_{block}_b")
            if stride == 2:
                x = tf.pad(x[:, ::2, ::2], [[0, 0], [0, 0], [0, 0], [channels // 4, channels // 4]])
            x = tf.nn.relu(x + y)
    w = tf.get_variable("classes", [64, 10])
    logits = tf.matmul(tf.reduce_mean(x, [1, 2]), w)
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(logits=logits, labels=labels))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=30)
    arguments = parser.parse_args()
    tf.disable_v2_behavior()
    x = tf.placeholder(tf.float32, [arguments.batch, 32, 32, 3])
    labels = tf.placeholder(tf.int32, [arguments.batch])
    loss = resnet(x, labels)
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        train = tf.train.MomentumOptimizer(0.01, 0.9).minimize(loss)
    rng = np.random.default_rng(0)
    feeds = {
        x: rng.normal(size=x.shape).astype(np.float32),
        labels: rng.integers(0, 10, arguments.batch, dtype=np.int32),
    }
    folder = tempfile.mkdtemp()
    taken = {}
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        recorders = {
            keep: tf1bn.Recorder(session, os.path.join(folder, keep), keep=keep) for keep in ("moments", "inputs")
        }
        runs = {"plain": session.run, **{keep: recorder.run for keep, recorder in recorders.items()}}
        for step in range(arguments.steps + 3):
            for name, run in runs.items():
                start = time.perf_counter()
                run([loss, train], feeds)
                if step >= 3:
                    taken.setdefault(name, []).append(time.perf_counter() - start)
        for recorder in recorders.values():
            recorder.close()
    shutil.rmtree(folder)
    layers = len(tf.get_collection(tf.GraphKeys.UPDATE_OPS)) // 2
    print(f"{layers} layers, batch {arguments.batch}, {arguments.steps} steps each in turn, {os.cpu_count()} cores")
    ratios = {}
    for name, times in taken.items():
        ratios[name] = statistics.median(a / b for a, b in zip(times, taken["plain"], strict=True))
        print(f"{name:<8} median {1e3 * statistics.median(times):7.1f} ms   {ratios[name]:.2f} of a plain step")
    if not ratios["moments"] <= LIMIT:
        sys.exit(f'keep="moments" costs {ratios["moments"]:.2f} of a plain step; at most {LIMIT} is allowed.')


if __name__ == "__main__":
    main()
