# -*- coding: utf-8 -*-
# Runs on Python 3.6 too:
# ruff: noqa: UP009, UP031
"""What a batch with NaN and infinity does to the moving statistics when decay is 1, under a real TensorFlow 1.x.

    python tests/golden/record/decay_one.py     adds this release to decay_one.json

The releases differ by their graph optimizer, so the graph is run with it.
"""

import json
import os
import sys

import numpy as np

PATH = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "decay_one.json")
# Contrib's own code and the core layer, fused and composed: the code paths of `cases.py`.
PATHS = {
    "A": {"fused": True, "updates_collections": None},
    "B": {"fused": True},
    "C": {"fused": False},
    "D": {"fused": False, "updates_collections": None},
}


def run(tf, batch_norm):
    """Whether the statistics are kept, by code path and by how is_training is given."""
    result = {}
    value = np.arange(24.0).reshape(2, 2, 2, 3).astype("float32")
    value[0, 0, 1, 0], value[1, 1, 1, 1] = np.nan, np.inf
    for path, arguments in sorted(PATHS.items()):
        for fed in (False, True):
            with tf.Graph().as_default(), tf.Session() as session:
                x = tf.placeholder(tf.float32, value.shape)
                training = tf.placeholder(tf.bool, []) if fed else True
                y = batch_norm(x, decay=1.0, is_training=training, scope="bn", **arguments)
                session.run(tf.global_variables_initializer())
                updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
                session.run([y, updates], {x: value, training: True} if fed else {x: value})
                moving = session.run([v for v in tf.global_variables() if "moving" in v.name])
                result["%s-%s" % (path, "fed" if fed else "bool")] = bool(np.isfinite(moving).all())
    return result


def main():
    os.environ["CUDA_VISIBLE_DEVICES"], os.environ["TF_CPP_MIN_LOG_LEVEL"] = "-1", "3"
    import tensorflow as tf

    recorded = {}
    if os.path.exists(PATH):
        with open(PATH) as stream:
            recorded = json.load(stream)
    recorded[tf.__version__] = run(tf, tf.contrib.layers.batch_norm)
    with open(PATH, "w") as stream:
        json.dump(recorded, stream, sort_keys=True, indent=1)
        stream.write("\n")


if __name__ == "__main__":
    sys.exit(main())
