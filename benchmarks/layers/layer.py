"""Cost of the layer: nodes, build time and training step of stacked layers, against real contrib and a bare kernel.

    make bench NAME=layer ARGS="--tf1 /path/to/python3.7"      a Python with tensorflow 1.15 and numpy

Stacks of N layers on [32, 28, 28, 64] float32, forward, backward and the updates of the moving statistics in one
session run. Compared in turn, in one call: tf1bn, the bare ``tf.nn.fused_batch_norm`` with two assigns, and, where
`--tf1` names an interpreter, real ``tf.contrib.layers.batch_norm``. With ``--api layers`` it is
``tf1bn.batch_normalization`` and real ``tf.layers.batch_normalization``. Prints medians per layer and ratios.
Runs under Python 3.7 too: the measuring half is executed by the TF1 interpreter.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

SHAPE = (32, 28, 28, 64)
KINDS = ("fused", "composed")
FIELDS = ("nodes", "build", "step")


def bare_layer(tf, x, kind):
    """The least that can be done: the kernel, or moments and normalisation, and two assigns."""
    with tf.variable_scope(None, "bare"):
        beta = tf.get_variable("beta", SHAPE[-1:], initializer=tf.zeros_initializer())
        mean = tf.get_variable("mean", SHAPE[-1:], initializer=tf.zeros_initializer(), trainable=False)
        variance = tf.get_variable("variance", SHAPE[-1:], initializer=tf.ones_initializer(), trainable=False)
        if kind == "fused":
            y, m, v = tf.nn.fused_batch_norm(x, tf.ones(SHAPE[-1:]), beta, epsilon=0.001)
        else:
            m, v = tf.nn.moments(x, [0, 1, 2])
            y = tf.nn.batch_normalization(x, m, v, beta, None, 0.001)
        for old, new in ((mean, m), (variance, v)):
            tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, tf.assign_sub(old, (old - new) * 0.001).op)
        return y


def layer_of(layer_name, api):
    """The layer of the real TF 1.15, or that of tf1bn, as a function of the input and of `fused`."""
    if api == "layers":
        if layer_name == "tf1bn":
            from tf1bn import batch_normalization
        else:
            import tensorflow

            batch_normalization = tensorflow.layers.batch_normalization
        return lambda x, fused: batch_normalization(x, training=True, fused=fused)
    if layer_name == "tf1bn":
        from tf1bn import batch_norm
    else:
        from tensorflow.contrib.layers import batch_norm
    return lambda x, fused: batch_norm(x, is_training=True, fused=fused)


def measure(layer_name, kind, api, layers, steps):
    """Build and run one stack in this process; returns a dict."""
    import numpy as np

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow

    tf = tensorflow if tensorflow.__version__.startswith("1.") else tensorflow.compat.v1
    if tf is not tensorflow:
        tf.disable_v2_behavior()
    made = None if layer_name == "bare" else layer_of(layer_name, api)

    def layer(x):
        return bare_layer(tf, x, kind) if made is None else made(x, kind == "fused")

    x = tf.placeholder(tf.float32, SHAPE)
    layer(x)  # the first one loads what is loaded late
    known = len(tf.trainable_variables())
    graph = tf.get_default_graph()
    tf.get_collection_ref(tf.GraphKeys.UPDATE_OPS)[:] = []
    nodes, start = len(graph.get_operations()), time.perf_counter()
    y = x
    for _ in range(layers):
        y = layer(y)
    build = time.perf_counter() - start
    nodes = len(graph.get_operations()) - nodes
    gradients = tf.gradients(tf.reduce_sum(y * y), [x, *tf.trainable_variables()[known:]])
    train = tf.group(*(gradients + tf.get_collection(tf.GraphKeys.UPDATE_OPS)))
    batch = np.random.RandomState(0).uniform(0, 255, SHAPE).astype(np.float32)
    taken = []
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        step = session.make_callable(train, feed_list=[x])
        for i in range(steps + 3):
            start = time.perf_counter()
            step(batch)
            if i >= 3:
                taken.append(time.perf_counter() - start)
    return {
        "tensorflow": tensorflow.__version__,
        "nodes": nodes / layers,
        "build": build / layers,
        "step": statistics.median(taken) / layers,
    }


def in_turn(interpreters, arguments):
    """Medians over rounds in which every candidate runs once, each in a process of its own."""
    rows = {}
    for _ in range(arguments.rounds):
        for kind in KINDS:
            for name, python in interpreters:
                command = [python, os.path.abspath(__file__), "--measure", name, kind]
                command += ["--layers", str(arguments.layers), "--steps", str(arguments.steps)]
                command += ["--api", arguments.api]
                done = subprocess.run(command, capture_output=True, text=True)
                if done.returncode:
                    sys.exit(f"{name} {kind} failed:\n{done.stderr}")
                rows.setdefault((kind, name), []).append(json.loads(done.stdout.splitlines()[-1]))
    return {key: {field: statistics.median(r[field] for r in runs) for field in FIELDS} for key, runs in rows.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tf1", help="Python interpreter with tensorflow 1.15")
    parser.add_argument("--api", choices=("contrib", "layers"), default="contrib", help="which of the two functions")
    parser.add_argument("--layers", type=int, default=100)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(*arguments.measure, arguments.api, arguments.layers, arguments.steps)))
        return
    interpreters = [("tf1bn", sys.executable), ("bare", sys.executable)]
    if arguments.tf1:
        interpreters.append((arguments.api, arguments.tf1))
    medians = in_turn(interpreters, arguments)
    print(f"per layer, {arguments.layers} stacked on {list(SHAPE)}; {arguments.rounds} rounds, {os.cpu_count()} cores")
    print(f"{'':<18} {'nodes':>6} {'build ms':>10} {'step ms':>9}   tf1bn over it: nodes, build, step")
    for (kind, name), row in sorted(medians.items()):
        own = medians[kind, "tf1bn"]
        ratios = ", ".join(f"{own[field] / row[field]:.2f}" for field in FIELDS) if name != "tf1bn" else ""
        print(f"{kind:<9} {name:<8} {row['nodes']:6.1f} {1e3 * row['build']:10.2f} {1e3 * row['step']:9.2f}   {ratios}")


if __name__ == "__main__":
    main()
