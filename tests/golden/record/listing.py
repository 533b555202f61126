# -*- coding: utf-8 -*-
# Runs on Python 2.7 too:
# ruff: noqa: B905, UP009, UP010, UP031
"""The article's listing, run for real by whatever TensorFlow 1.x runs this file (Python 2.7 or 3.7).

    python tests/golden/record/listing.py                    runs it and compares with the recording, writes nothing
    python tests/golden/record/listing.py --write            writes article/tf-RELEASE-python-X.Y.json if missing
    python tests/golden/record/listing.py --write --force    writes it again

What differs from the article's text: this file has a coding line, as Python 2 wants it; 1.3.0 has no
``tf.AUTO_REUSE``, so there ``reuse=not is_training`` stands in its place; the input is not random but
recovered from what the article printed; and besides the release's defaults, ``fused=False`` and
``fused=True`` are run too.
"""

from __future__ import division, print_function

import argparse
import collections
import json
import os
import platform
import sys

import numpy as np

GOLDEN = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# What the article printed, row by row.
TRAIN_OUTPUT_DECAY_0 = (
    "0.27311635 -0.7590425 -0.4103117 -1.40655911 -0.25747275 0.40145767 0.46040225 1.17546725 "
    "-1.32714963 -1.20369065 -0.08007884 -0.7148838 1.18637156 1.85863471 -0.70913869 1.51287651"
)
MEAN_DECAY_0, VARIANCE_DECAY_0 = 114.78817749, 5496.60107422
TEST_OUTPUT_DECAY_1 = (
    "223.02729797 193.41201782 182.02893066 94.50087738 42.50252914 50.74484634 1.68685985 84.89615631 "
    "167.51550293 181.2091217 122.47590637 78.69338226 159.11407471 169.5544281 140.99295044 145.92274475"
)
EPSILON = 0.001


def recovered_inputs():
    """The author's two inputs: the layer's formula turned round, in float64, then float32 as it was fed."""
    y0 = np.array(TRAIN_OUTPUT_DECAY_0.split(), np.float64)
    y1 = np.array(TEST_OUTPUT_DECAY_1.split(), np.float64)
    return collections.OrderedDict(
        [
            ("decay0", (y0 * np.sqrt(VARIANCE_DECAY_0 + EPSILON) + MEAN_DECAY_0).astype(np.float32)),
            ("decay1", (y1 * np.sqrt(1 + EPSILON)).astype(np.float32)),
        ]
    )


def numbers(array):
    """The shortest decimals that give back every bit of a float32."""
    result = []
    for item in np.asarray(array, np.float32).ravel():
        number = float(str(item))
        assert np.float32(number) == item
        result.append(number)
    return result


def run(tf, batch_norm, x_value, decay, arguments):
    """The listing once; the tests run it with today's TensorFlow and tf1bn too."""
    graph = tf.Graph()
    with graph.as_default():
        x = tf.placeholder(tf.float32, [1, 4, 4, 1])
        outputs = collections.OrderedDict()
        for name, is_training in (("train", True), ("test", False)):
            reuse = tf.AUTO_REUSE if hasattr(tf, "AUTO_REUSE") else not is_training
            with tf.variable_scope("my", reuse=reuse):
                outputs[name] = batch_norm(
                    x, decay=decay, is_training=is_training, updates_collections=None, **arguments
                )
        operations = collections.Counter(op.type for op in graph.get_operations())
        variables = tf.global_variables()
        result = collections.OrderedDict(
            [
                ("printed_variables", [repr(v) for v in variables]),
                ("output_names", [y.name for y in outputs.values()]),
                ("op_types", dict(operations)),
                ("phases", []),
            ]
        )
        config = tf.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
        with tf.Session(config=config) as session:
            session.run(tf.global_variables_initializer())
            for name in outputs:
                before = session.run(variables)
                output = session.run(outputs[name], {x: x_value.reshape(1, 4, 4, 1)})
                after = session.run(variables)
                phase = collections.OrderedDict([("name", name), ("output", numbers(output))])
                for v, b, a in zip(variables, before, after):
                    short = v.op.name.split("/")[-1]
                    phase[short + "_before"] = numbers(b)
                    phase[short + "_after"] = numbers(a)
                result["phases"].append(phase)
    return result


def record(tf):
    from tensorflow.contrib.layers import batch_norm

    runs = []
    variants = (("default", {}), ("False", {"fused": False}), ("True", {"fused": True}))
    for input_name, x_value in recovered_inputs().items():
        for decay in (0, 1):
            for fused, arguments in variants:
                head = [("decay", decay), ("input", input_name), ("fused", fused)]
                runs.append(
                    collections.OrderedDict(head + list(run(tf, batch_norm, x_value, decay, arguments).items()))
                )
    reuse = "tf.AUTO_REUSE" if hasattr(tf, "AUTO_REUSE") else "not is_training (this release has no tf.AUTO_REUSE)"
    return collections.OrderedDict(
        [
            ("what", "the article's listing; input: recovered from what the article printed for that decay"),
            ("tensorflow", tf.__version__),
            ("python", platform.python_version()),
            ("numpy", np.__version__),
            ("command", "python tests/golden/listing.py --write"),
            ("reuse", reuse),
            ("numbers", "float32, as the shortest decimals that give back every bit"),
            ("inputs", collections.OrderedDict((k, numbers(v)) for k, v in recovered_inputs().items())),
            ("runs", runs),
        ]
    )


def text_of(recording):
    """JSON with one line for each entry and each run."""
    lines = []
    for key, value in recording.items():
        if key == "runs":
            rows = ",\n".join(json.dumps(row, separators=(",", ":"), sort_keys=True) for row in value)
            lines.append('"runs":[\n%s\n]' % rows)
        else:
            lines.append("%s:%s" % (json.dumps(key), json.dumps(value, separators=(",", ":"))))
    return "{%s}\n" % ",\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the file; without it nothing is written")
    parser.add_argument("--force", action="store_true", help="with --write: replace the file if it exists")
    options = parser.parse_args()

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    import warnings

    warnings.filterwarnings("ignore")
    import tensorflow as tf

    tf.logging.set_verbosity(tf.logging.ERROR)
    if not tf.__version__.startswith("1."):
        sys.exit("This records the real TensorFlow 1.x; the TensorFlow here is %s." % tf.__version__)
    text = text_of(record(tf))
    python = ".".join(platform.python_version_tuple()[:2])
    path = os.path.join(GOLDEN, "article", "tf-%s-python-%s.json" % (tf.__version__, python))
    old = None
    if os.path.exists(path):
        with open(path, "rb") as stream:
            old = stream.read().decode("ascii")
    name = os.path.relpath(path)
    if old == text:
        print("%s holds the same" % name)
        return 0
    if options.write and (old is None or options.force):
        with open(path + ".new", "wb") as stream:
            stream.write(text.encode("ascii"))
        os.rename(path + ".new", path)
        print("%s written" % name)
        return 0
    print("%s %s" % (name, "is missing" if old is None else "HOLDS SOMETHING ELSE"))
    return 1


if __name__ == "__main__":
    sys.exit(main())
