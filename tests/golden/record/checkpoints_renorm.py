# -*- coding: utf-8 -*-
# Runs on Python 3.6 too:
# ruff: noqa: UP009, UP031
"""Checkpoints of batch renormalisation of 1.2 to 1.14, across the border in both directions.

python tests/golden/record/checkpoints_renorm.py --by-tf1bn     with tf1bn: writes checkpoints-renorm/tf1bn-RELEASE
python tests/golden/record/checkpoints_renorm.py                with a real release of them, 1.3.0 or 1.12.0: writes
                                    its own checkpoint, and what follows after restoring it and that of tf1bn
"""

import json
import os
import sys

GOLDEN = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FOLDER = os.path.join(GOLDEN, "checkpoints-renorm")
sys.path.insert(0, os.path.dirname(GOLDEN))

from golden.record import cases, checkpoints  # noqa: E402

VERSIONS = ("1.3.0", "1.12.0")


def saved(api, prefix):
    """Train three steps and save what the variables then hold."""

    def save(session):
        api.tf.train.Saver().save(session, prefix, write_meta_graph=False, write_state=False)

    return cases.play(api, checkpoints.case_of("renorm", after=False), save=save)


def restored(api, prefix):
    """What follows after restoring: a test, two steps of training, a test, on other batches."""

    def restore(session):
        api.tf.train.Saver().restore(session, prefix)

    return dict(cases.play(api, checkpoints.case_of("renorm", after=True), restore=restore), path="C")


def main():
    os.environ["CUDA_VISIBLE_DEVICES"], os.environ["TF_CPP_MIN_LOG_LEVEL"] = "-1", "3"
    if "--by-tf1bn" in sys.argv[1:]:
        import tf1bn

        for version in VERSIONS:
            release = version.rpartition(".")[0]
            with tf1bn.release(release):
                saved(checkpoints.tf1bn_on_tensorflow_2(), os.path.join(FOLDER, "tf1bn-" + release))
        return
    import tensorflow as tf

    api = cases.Api(tf, tf.contrib.layers.batch_norm, tf.contrib.framework.arg_scope)
    release = tf.__version__.rpartition(".")[0]
    saved(api, os.path.join(FOLDER, "tf-" + release))
    result = {by: restored(api, os.path.join(FOLDER, by + "-" + release)) for by in ("tf", "tf1bn")}
    with open(os.path.join(FOLDER, "tf-%s.json" % release), "w") as stream:
        json.dump(dict(result, tensorflow=tf.__version__), stream, sort_keys=True)


if __name__ == "__main__":
    main()
