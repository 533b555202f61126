# coding: utf-8
# Runs on Python 2.7 too:
# ruff: noqa: UP009, UP010, UP031, RUF005
"""Traces of the network in tests/support/resnet.py, in the real TensorFlow 1.x and in PyTorch.

    python tests/golden/record/record_resnet.py                    records again, compares, writes nothing
    python tests/golden/record/record_resnet.py --write            writes resnet/ORIGINAL/ if it is missing
    python tests/golden/record/record_resnet.py --write --force    writes it again

Run it with a real TensorFlow 1.x (composed and fused layers, by docker/tf1/record_tf1.py), or with PyTorch and tf1bn.
"""

from __future__ import division, print_function

import argparse
import filecmp
import os
import shutil
import sys
import tempfile

GOLDEN = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FOLDER = os.path.join(GOLDEN, "resnet")
TESTS = os.path.dirname(GOLDEN)
ROOT = os.path.dirname(TESTS)
sys.path[:0] = [TESTS, os.path.join(TESTS, "support"), ROOT, os.path.join(ROOT, "docker", "tf1")]

import resnet  # noqa: E402


def with_tensorflow(tf, folder):
    import record_tf1

    name = "tf-" + tf.__version__
    for fused in (False, True):
        with tf.Graph().as_default():
            x = tf.placeholder(tf.float32, [None] + list(resnet.SHAPE[1:]))
            flag = tf.placeholder(tf.bool, [])
            y = resnet.tf1(tf, tf.contrib.layers.batch_norm, x, flag, fused=fused)
            updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
            config = tf.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
            path = os.path.join(folder, "%s-%s" % (name, "fused" if fused else "composed"))
            producer = "python tests/golden/record_resnet.py --write, with TensorFlow " + tf.__version__
            with tf.Session(config=config) as session:
                session.run(tf.global_variables_initializer())
                with record_tf1.Recorder(session, path, producer=producer) as rec:
                    for batch, training in zip(resnet.batches(), resnet.STEPS):  # noqa: B905
                        rec.run([y, updates if training else []], {x: batch, flag: training})


def with_torch(torch, folder):
    from tf1bn.testing import assertions as testing

    torch.set_num_threads(1)
    path = os.path.join(folder, "torch-" + torch.__version__.partition("+")[0])
    port = resnet.torch_port(torch, resnet.torch_net(torch))
    testing.record_port(
        port,
        resnet.batches(),
        path,
        training=resnet.STEPS,
        data_format="NCHW",
        fused=True,
        decay=resnet.DECAY,
        epsilon=resnet.EPSILON,
        producer="python tests/golden/record_resnet.py --write, with PyTorch " + torch.__version__,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write what is missing; without it nothing is written")
    parser.add_argument("--force", action="store_true", help="with --write: replace what is there")
    options = parser.parse_args()
    from golden.record import record as recordings

    recordings.restart_with_zeroed_memory()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    new = tempfile.mkdtemp()
    try:
        try:
            import tensorflow as tf

            old_release = tf.__version__.startswith("1.")
        except ImportError:
            old_release = False
        if old_release:
            with_tensorflow(tf, new)
        else:
            import torch

            with_torch(torch, new)
        code = 0
        for name in sorted(os.listdir(new)):
            target, made = os.path.join(FOLDER, name), os.path.join(new, name)
            if os.path.isdir(target) and _same(made, target):
                print("%s holds the same" % target)
            elif not options.write or (os.path.isdir(target) and not options.force):
                print("%s %s" % (target, "HOLDS SOMETHING ELSE" if os.path.isdir(target) else "is missing"))
                code = 1
            else:
                shutil.rmtree(target, ignore_errors=True)
                shutil.copytree(made, target)
                print("%s written" % target)
        return code
    finally:
        shutil.rmtree(new)


def _same(one, other):
    names = []
    for path, _, files in os.walk(one):
        names.extend(os.path.relpath(os.path.join(path, name), one) for name in files)
    return not any(filecmp.cmpfiles(one, other, names, shallow=False)[1:])


if __name__ == "__main__":
    sys.exit(main())
