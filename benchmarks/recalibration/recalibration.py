"""Cost of recalibrating a model beside its forward passes alone, in turn: PyTorch, and a session of TensorFlow.

    make bench NAME=recalibration       exit code 1 if it costs more than 15 % of the forward passes

Six convolutions of 3x3 with 32 channels on images of 32x32, each with batch norm and ReLU. The order is "batch", whose
layers normalise by the batch, so the forward passes beside it do that too. Prints the median of the times and of the
ratios to the plain passes just before.
"""

import argparse
import os
import statistics
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

LIMIT = 1.15
LAYERS, CHANNELS, SIZE = 6, 32, 32


def batches(count, rows):
    rng = np.random.default_rng(0)
    return [rng.normal(1, 2, (rows, SIZE, SIZE, 3)).astype(np.float32) for _ in range(count)]


def of_torch(data):
    """Two functions: the forward passes, and the recalibration."""
    import torch

    import tf1bn

    layers, before = [], 3
    for _ in range(LAYERS):
        layers += [torch.nn.Conv2d(before, CHANNELS, 3, padding=1), torch.nn.BatchNorm2d(CHANNELS), torch.nn.ReLU()]
        before = CHANNELS
    model = torch.nn.Sequential(*layers)
    tensors = [torch.tensor(np.moveaxis(x, -1, 1).copy()) for x in data]

    def forward():
        with torch.no_grad():
            for x in tensors:
                model(x)

    return forward, lambda: tf1bn.recalibrate(model, tensors, write=False)


def of_session(data):
    """The same for a session, which fetches the output of the last layer."""
    import tensorflow.compat.v1 as tf

    import tf1bn

    graph = tf.Graph()
    with graph.as_default():
        x = y = tf.placeholder(tf.float32, [None, SIZE, SIZE, 3])
        for i in range(LAYERS):
            kernel = tf.get_variable(f"kernel{i}", [3, 3, y.shape[-1], CHANNELS])
            y = tf.nn.conv2d(y, kernel, 1, "SAME")
            y = tf1bn.batch_norm(y, is_training=True, activation_fn=tf.nn.relu, scope=f"bn{i}")
        start = tf.global_variables_initializer()
    session = tf.Session(graph=graph)
    session.run(start)
    feeds = [{x: batch} for batch in data]

    def forward():
        for feed in feeds:
            session.run(y.op, feed)

    return forward, lambda: tf1bn.recalibrate(session, feeds, write=False)


MODELS = {"torch": of_torch, "session": of_session}


def measured(forward, recalibrate, rounds):
    """The times of both in seconds, in turn, a list of pairs."""
    pairs = []
    for i in range(rounds + 1):
        times = []
        for function in (forward, recalibrate):
            start = time.perf_counter()
            function()
            times.append(time.perf_counter() - start)
        if i:  # the first round warms up
            pairs.append(times)
    return pairs


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=MODELS, help="one of the frameworks")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batches", type=int, default=10)
    parser.add_argument("--rows", type=int, default=64)
    arguments = parser.parse_args()
    data = batches(arguments.batches, arguments.rows)
    worst = 0.0
    for name in [arguments.only] if arguments.only else MODELS:
        pairs = measured(*MODELS[name](data), arguments.rounds)
        plain, with_moments = (statistics.median(times) for times in zip(*pairs, strict=True))
        ratio = statistics.median(second / first for first, second in pairs)
        worst = max(worst, ratio)
        print(f"{name:<8} forward passes {plain:7.3f} s   recalibration {with_moments:7.3f} s   ratio {ratio:.2f}")
    if not worst <= LIMIT:
        sys.exit(f"The largest ratio is {worst:.2f}; at most {LIMIT} is wanted.")


if __name__ == "__main__":
    main()
