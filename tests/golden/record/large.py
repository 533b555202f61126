# coding: utf-8
# Runs on Python 2.7 too:
# ruff: noqa: B905, UP009, UP010, UP031
"""Moving statistics of the real layer on large batches, which are made again from a seed.

    python tests/golden/record/large.py                   under TensorFlow 1.x: measures, compares, writes nothing
    python tests/golden/record/large.py --write           writes ../large.json; --force replaces it

Small files cannot hold the batches on which sums in float32 go wrong. So a batch is a formula on the stream of
numpy.random.RandomState, which NumPy keeps the same for good; its SHA-256 is recorded with it. Each row is one training
step of ``tf.contrib.layers.batch_norm`` from 0 and 1.
"""

from __future__ import print_function

import hashlib
import json
import os
import platform
import sys

import numpy as np

PATH = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "large.json")
SHAPES = [
    (4, 2, 2, 3),
    (16, 8, 8, 4),
    (64, 16, 16, 3),
    (256, 28, 28, 3),
    (1024, 28, 28, 3),
    (32, 28, 28, 8),
    (2048, 16),
]
DECAYS = (0.0, 0.9)

# Only what every NumPy and every libm computes to the same bits.
KINDS = {
    "uniform": lambda rng, size: rng.random_sample(size) * 255,
    "normal": lambda rng, size: rng.standard_normal(size),
    "relu": lambda rng, size: np.maximum(rng.standard_normal(size), 0),
    "cubed": lambda rng, size: rng.standard_normal(size) * rng.standard_normal(size) * rng.standard_normal(size),
    "constant": lambda rng, size: np.full(size, 0.1),
    "integers": lambda rng, size: np.floor(rng.random_sample(size) * 256),
    "offset": lambda rng, size: 1000 + rng.standard_normal(size),
    "rising": lambda rng, size: rng.random_sample(size) + np.arange(size[0]).reshape([-1] + [1] * (len(size) - 1)),
}


def batch(kind, shape, seed=0):
    """The float32 batch of a kind and shape."""
    return KINDS[kind](np.random.RandomState(seed), tuple(shape)).astype(np.float32)


def checksum(values):
    return hashlib.sha256(values.astype("<f4").tobytes()).hexdigest()


def measure(kind, shape, fused, decay):
    import tensorflow as tf

    values = batch(kind, shape)
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, shape)
        tf.contrib.layers.batch_norm(
            x, decay=decay, fused=fused, is_training=True, updates_collections=None, scope="bn"
        )
        output = tf.get_default_graph().get_operations()
        updates = [op for op in output if op.type in ("AssignSub", "AssignSubVariableOp")]
        by_name = {v.op.name: v for v in tf.global_variables()}
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            session.run(updates, {x: values})
            mean, variance = session.run([by_name["bn/moving_mean"], by_name["bn/moving_variance"]])
    return {
        "kind": kind,
        "shape": list(shape),
        "sha256": checksum(values),
        "fused": fused,
        "decay": decay,
        "moving_mean": [float(value) for value in mean],
        "moving_variance": [float(value) for value in variance],
    }


def main():
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf

    if not tf.__version__.startswith("1."):
        sys.exit("This records the real TensorFlow 1.x; the TensorFlow here is %s." % tf.__version__)
    rows = [
        measure(kind, shape, fused, decay)
        for kind in sorted(KINDS)
        for shape in SHAPES
        for fused in (False, True)
        for decay in DECAYS
    ]
    header = {
        "what": "one training step of tf.contrib.layers.batch_norm(updates_collections=None), from 0 and 1",
        "tensorflow": tf.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "command": "python tests/golden/large.py --write",
    }
    lines = [json.dumps(row, sort_keys=True) for row in rows]
    text = '{"header": %s,\n"rows": [\n%s\n]}\n' % (json.dumps(header, sort_keys=True), ",\n".join(lines))
    if "--write" in sys.argv and ("--force" in sys.argv or not os.path.exists(PATH)):
        with open(PATH, "w") as stream:
            stream.write(text)
        print("written: %d rows, %d bytes" % (len(rows), len(text)))
    elif not os.path.exists(PATH):
        print("%d rows, the file is missing (--write writes it)" % len(rows))
    else:
        with open(PATH) as stream:
            old = json.load(stream)
        same = sum(a == b for a, b in zip(old["rows"], rows))
        print("%d of %d rows are the same bits (threads share a sum differently from run to run)" % (same, len(rows)))


if __name__ == "__main__":
    main()
