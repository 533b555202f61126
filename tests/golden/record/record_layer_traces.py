# -*- coding: utf-8 -*-
# Runs on Python 3.6 and 3.7:
# ruff: noqa: UP009, UP031
"""Traces of the real layers with several axes, virtual batches and renorm, recorded by docker/tf1/record_tf1.py.

Run it with a real TensorFlow 1.4 or 1.15:

    python tests/golden/record/record_layer_traces.py                  records all, writes nothing
    python tests/golden/record/record_layer_traces.py --write          writes traces-layers/tf-RELEASE/ if it is missing
"""

import argparse
import os
import shutil
import sys
import tempfile

import numpy as np

GOLDEN = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FOLDER = os.path.join(GOLDEN, "traces-layers")
CLIPPING = {"rmin": 0.8, "rmax": 1.25, "dmax": 0.125}
FOUR, THREE = (6, 4, 5, 3), (6, 4, 3)
# name: whether it is contrib's function, its arguments, the shape of its input, and the releases that have them
NETS = {
    "axes": (False, {"axis": [1, 3]}, FOUR, ("1.15",)),
    "axes-test": (False, {"axis": [1, 2], "training": False}, FOUR, ("1.15",)),
    "virtual": (False, {"virtual_batch_size": 4}, (12, 5, 3), ("1.15",)),
    "virtual-axis1": (False, {"virtual_batch_size": 2, "axis": 1}, (4, 3, 5, 2), ("1.15",)),
    "renorm": (True, {"scale": True}, THREE, ("1.4", "1.15")),
    "renorm-no-gamma": (True, {}, THREE, ("1.4", "1.15")),
    "renorm-no-beta": (True, {"center": False, "scale": True}, THREE, ("1.4", "1.15")),
    "renorm-clipped": (True, {"scale": True, "renorm_clipping": CLIPPING}, THREE, ("1.4", "1.15")),
    "renorm-core": (False, {"renorm": True, "renorm_clipping": {"rmax": 1.2}}, THREE, ("1.4", "1.15")),
}
STEPS = 4


def batch(net, step):
    """What is fed to a net in a step."""
    values = np.random.RandomState(100 + step).normal(3, 2, NETS[net][2])
    return (values * (0.6 if step % 2 else 1.3)).astype(np.float32)


def record(tf, record_tf1, net, path):
    contrib, arguments, shape, _ = NETS[net]
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [None, *shape[1:]])
        if contrib:
            y = tf.contrib.layers.batch_norm(x, 0.9, renorm=True, scope="bn", **arguments)
        else:
            y = tf.layers.batch_normalization(x, **dict({"momentum": 0.9, "training": True, "name": "bn"}, **arguments))
        config = tf.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
        with tf.Session(config=config) as session:
            session.run(tf.global_variables_initializer())
            producer = "%s, TensorFlow %s" % (os.path.basename(__file__), tf.__version__)
            with record_tf1.Recorder(session, path, producer=producer) as recorder:
                for step in range(STEPS):
                    recorder.run([y, tf.get_collection(tf.GraphKeys.UPDATE_OPS)], {x: batch(net, step)})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write what is missing; without it nothing is written")
    write = parser.parse_args().write
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(GOLDEN)), "docker", "tf1"))
    import record_tf1
    import tensorflow as tf

    if not tf.__version__.startswith(("1.4.", "1.15.")):
        sys.exit("This records the real TensorFlow 1.4 and 1.15; the TensorFlow here is %s." % tf.__version__)
    target = os.path.join(FOLDER, "tf-" + tf.__version__)
    if write and os.path.exists(target):
        sys.exit("%s is there already; delete it first." % target)
    made = tempfile.mkdtemp()
    for net, (_, _, _, releases) in NETS.items():
        if tf.__version__.startswith(tuple(release + "." for release in releases)):
            record(tf, record_tf1, net, os.path.join(made, net))
    print("%s: %s" % (target, ", ".join(sorted(os.listdir(made)))))
    if write:
        shutil.copytree(made, target)
    shutil.rmtree(made)


if __name__ == "__main__":
    main()
