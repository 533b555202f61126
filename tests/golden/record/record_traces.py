# -*- coding: utf-8 -*-
# Runs on Python 2.7 too:
# ruff: noqa: UP009, UP010, UP031
"""Traces of the real tf.contrib.layers.batch_norm, recorded by docker/tf1/record_tf1.py, and graphs of it.

Run it with a real TensorFlow 1.x:

    python tests/golden/record/record_traces.py                    records everything again, compares, writes nothing
    python tests/golden/record/record_traces.py --write            writes traces/tf-RELEASE-python-X.Y/ if it is missing
    python tests/golden/record/record_traces.py --write --force    writes it again

Two folders have graphs.meta.gz too, a MetaGraph with a layer for every code path: `LAYERS`. Recorded with zeroed
memory and on one thread, for the reasons that record.py gives.
"""

from __future__ import division, print_function

import argparse
import collections
import filecmp
import gzip
import os
import platform
import shutil
import sys
import tempfile

import numpy as np

GOLDEN = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FOLDER = os.path.join(GOLDEN, "traces")
SHAPE = (3, 2, 2, 3)
STEPS = (True, True, False)
META = "graphs.meta.gz"
META_OF = ("1.4.0", "1.15.5")

Net = collections.namedtuple("Net", "arguments shape keep releases")
NETS = collections.OrderedDict(
    [
        ("default", Net({"decay": 0.9, "is_training": "fed"}, SHAPE, "inputs", ("1.3", "1.4", "1.15"))),
        ("monitored", Net({"decay": 0.9, "is_training": "fed", "scale": True}, SHAPE, "inputs", ("1.15.5",))),
        ("rank2", Net({"scale": True, "fused": True}, (5, 3), "inputs", ("1.4", "1.15"))),
        (
            "composed",
            Net(
                {"decay": 0.99, "fused": False, "scale": True, "data_format": "NCHW", "updates_collections": None},
                (3, 4, 2, 2),
                "inputs",
                ("1.4", "1.15"),
            ),
        ),
        ("moments", Net({"decay": 0.9, "fused": True, "is_training": "fed"}, SHAPE, "moments", ("1.15",))),
        ("twice", Net({"decay": 0.9, "fused": False, "updates_collections": None}, SHAPE, "inputs", ("1.4", "1.15"))),
        ("half", Net({"decay": 0.9, "fused": False, "updates_collections": None}, SHAPE, "inputs", ("1.15",))),
        ("zero_debias", Net({"decay": 0.9, "zero_debias_moving_mean": True}, SHAPE, "moments", ("1.4", "1.15"))),
        ("renorm", Net({"decay": 0.9, "renorm": True, "scale": True}, SHAPE, "moments", ("1.4", "1.15"))),
    ]
)

LAYERS = collections.OrderedDict(
    [
        ("A", {"updates_collections": None, "fused": True}),
        ("A_dynamic", {"updates_collections": None, "fused": True, "is_training": "fed"}),
        ("A_debias", {"fused": True, "zero_debias_moving_mean": True}),
        ("B", {"fused": True, "scale": True}),
        ("B_dynamic", {"fused": True, "is_training": "fed"}),
        ("B_test", {"fused": True, "is_training": False}),
        ("C", {"fused": False, "scale": True}),
        ("C_dynamic", {"fused": False, "is_training": "fed"}),
        ("C_renorm", {"renorm": True, "scale": True}),
        ("C_test", {"fused": False, "is_training": False, "center": False}),
        ("D", {"fused": False, "updates_collections": None}),
        ("D_dynamic", {"fused": False, "updates_collections": None, "is_training": "fed"}),
        ("D_weights", {"batch_weights": [1.0, 2.0, 3.0]}),
        ("E_in_cond", {"fused": True, "updates_collections": None}),
    ]
)


def batch(net, step):
    """What is fed to a net in a step; a TensorFlow 2 test feeds the same."""
    dtype = np.float16 if net == "half" else np.float32
    return np.random.RandomState(100 + step).normal(3, 2, NETS[net].shape).astype(dtype)


def record(tf, record_tf1, net, path, producer):
    arguments = dict(NETS[net].arguments)
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float16 if net == "half" else tf.float32, NETS[net].shape)
        flag = tf.placeholder(tf.bool, []) if arguments.get("is_training") == "fed" else None
        if flag is not None:
            arguments["is_training"] = flag
        outputs = [tf.contrib.layers.batch_norm(x, scope="bn", **arguments)]
        if net == "twice":
            outputs.append(tf.contrib.layers.batch_norm(x * 2, scope="bn", reuse=True, **arguments))
        config = tf.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
        todo = [outputs, tf.get_collection(tf.GraphKeys.UPDATE_OPS)]
        feeds = []
        for step, training in enumerate(STEPS):
            feeds.append({x: batch(net, step)})
            if flag is not None:
                feeds[-1][flag] = training
        if net == "monitored":
            tf.train.get_or_create_global_step()
            hook = record_tf1.RecorderHook(path, keep=NETS[net].keep, producer=producer)
            with tf.train.MonitoredTrainingSession(config=config, hooks=[hook]) as session:
                for given in feeds:
                    session.run(todo, given)
            return
        with tf.Session(config=config) as session:
            session.run(tf.global_variables_initializer())
            with record_tf1.Recorder(session, path, keep=NETS[net].keep, producer=producer) as rec:
                for given in feeds:
                    rec.run(todo, given)


def meta_graph(tf):
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, SHAPE, name="x")
        flag = tf.placeholder(tf.bool, [], name="flag")
        for name, arguments in LAYERS.items():
            arguments = dict(arguments, scope=name, decay=0.9)
            if arguments.get("is_training") == "fed":
                arguments["is_training"] = flag

            def layer(x=x, arguments=arguments):
                return tf.contrib.layers.batch_norm(x, **arguments)

            if name == "E_in_cond":
                with tf.variable_scope(name):
                    for variable in ("beta", "moving_mean", "moving_variance"):
                        tf.get_variable(variable, [3], trainable=variable == "beta")
                arguments["reuse"] = True
                y = tf.cond(flag, lambda: layer(x * 2), lambda: x)
            else:
                y = layer()
            tf.identity(y, name="out_" + name)
        return tf.train.export_meta_graph(clear_devices=True)


def files_in(folder):
    found = []
    for path, _, names in os.walk(folder):
        found.extend(os.path.relpath(os.path.join(path, name), folder) for name in names)
    return sorted(found)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write what is missing; without it nothing is written")
    parser.add_argument("--force", action="store_true", help="with --write: replace what is there")
    options = parser.parse_args()

    sys.path[:0] = [os.path.dirname(GOLDEN), os.path.join(GOLDEN, "..", "..", "docker", "tf1")]
    from golden.record import record as recordings

    recordings.restart_with_zeroed_memory()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    import warnings

    warnings.simplefilter("ignore")
    import record_tf1
    import tensorflow as tf

    tf.logging.set_verbosity(tf.logging.ERROR)
    if not tf.__version__.startswith("1."):
        sys.exit("This records the real TensorFlow 1.x; the TensorFlow here is %s." % tf.__version__)
    release = ".".join(tf.__version__.split(".")[:2])
    python = ".".join(platform.python_version_tuple()[:2])
    target = os.path.join(FOLDER, "tf-%s-python-%s" % (tf.__version__, python))
    producer = "python tests/golden/record_traces.py --write, with TensorFlow %s, Python %s, NumPy %s" % (
        tf.__version__,
        platform.python_version(),
        np.__version__,
    )
    new = tempfile.mkdtemp()
    try:
        for net in NETS:
            if release in NETS[net].releases or tf.__version__ in NETS[net].releases:
                record(tf, record_tf1, net, os.path.join(new, net), producer)
        graph = meta_graph(tf) if tf.__version__ in META_OF else None
        names = files_in(new)
        same = os.path.isdir(target) and files_in(target) == sorted(names + ([META] if graph else []))
        same = same and not any(filecmp.cmpfiles(new, target, names, shallow=False)[1:])
        if same and graph:
            with gzip.open(os.path.join(target, META), "rb") as stream:
                # The collections hold messages in messages, whose bytes come out in another order every time.
                same = type(graph).FromString(stream.read()).graph_def == graph.graph_def
        if same:
            print("%s holds the same" % target)
            return 0
        if not options.write or (os.path.isdir(target) and not options.force):
            print("%s %s" % (target, "HOLDS SOMETHING ELSE" if os.path.isdir(target) else "is missing"))
            return 1
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(new, target)
        if graph:
            with open(os.path.join(target, META), "wb") as stream:
                with gzip.GzipFile("", "wb", 9, stream, mtime=0) as packed:
                    packed.write(graph.SerializeToString())
        print("%s written" % target)
        return 0
    finally:
        shutil.rmtree(new)


if __name__ == "__main__":
    sys.exit(main())
