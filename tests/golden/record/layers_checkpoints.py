# -*- coding: utf-8 -*-
# Runs on Python 3.7 too:
# ruff: noqa: C408, UP009
"""As ``checkpoints.py``, for ``tf.layers.batch_normalization`` and ``tf1bn.batch_normalization``.

With a real TensorFlow 1.15 (Python 3.7):

    python tests/golden/record/layers_checkpoints.py                    makes everything, compares, writes nothing
    python tests/golden/record/layers_checkpoints.py --write            writes what is missing in checkpoints-layers/
    python tests/golden/record/layers_checkpoints.py --write --force    writes all of it again
    python tests/golden/record/layers_checkpoints.py --verify-tf1 DIR   restores what tf1bn wrote into DIR likewise

With tf1bn:

    python tests/golden/record/layers_checkpoints.py --by-tf1bn DIR     writes checkpoints and DIR/written.json
"""

import argparse
import collections
import json
import os
import sys
import tempfile

GOLDEN = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FOLDER = os.path.join(GOLDEN, "checkpoints-layers")
sys.path.insert(0, os.path.dirname(GOLDEN))

from golden.record import checkpoints, layers_cases  # noqa: E402
from golden.record.checkpoints import AFTER, BEFORE, CLIPPING, TOWERS  # noqa: E402


def single(**kwargs):
    def net(g):
        x = g.input()
        with g.tf.variable_scope("net"):
            layers_cases.layer_on(g, x, "bool", dict(kwargs, momentum=0.75))

    return net


def two_towers(g):
    for i in range(2):
        x = g.input("x%d" % i)  # noqa: UP031
        with g.tf.variable_scope("net", reuse=i > 0):
            g.train(g.bn(x, momentum=0.75, name="bn", training=True))
    with g.tf.variable_scope("net", reuse=True):
        g.test(g.bn(g.inputs[0], momentum=0.75, name="bn"))


def unnamed(g):
    """Automatic names: batch_normalization and batch_normalization_1."""
    x = g.input()
    for reuse in (False, True):
        with g.tf.variable_scope("net", reuse=reuse):
            for _ in range(2):
                y = g.bn(x, momentum=0.75, training=not reuse)
                (g.test if reuse else g.train)(y)


# What the net takes, its code path, and the layout of its input.
NETS = collections.OrderedDict(
    [
        ("fused", ("B", single(), {})),
        ("composed", ("C", single(fused=False), {})),
        ("axis_1", ("C", single(axis=1, fused=False), dict(axis=1))),
        ("several_axes", ("C", single(axis=[1, 3]), dict(axis=[1, 3]))),
        ("virtual", ("C", single(virtual_batch_size=2), dict(real=(4, 2, 1, 3), virtual=2))),
        ("renorm", ("C", single(renorm=True, renorm_momentum=0.5, renorm_clipping=CLIPPING), {})),
        ("two_towers", ("B", two_towers, {})),
        ("unnamed", ("B", unnamed, {})),
    ]
)


def case_of(name, after):
    """The training before a checkpoint, or what follows it on other batches."""
    steps = AFTER if after else BEFORE
    if name == "two_towers":
        steps = TOWERS["after" if after else "before"]
    options = dict(NETS[name][2], steps=steps, first_batch=10 if after else 0)
    if name == "renorm":
        options["clipping"] = lambda step: CLIPPING
    return layers_cases.Case("checkpoints/" + name, NETS[name][1], **options)


def save(api, name, folder):
    def write(session):
        saver = api.tf.train.Saver()
        saver.save(session, os.path.join(folder, name), write_meta_graph=False, write_state=False)

    return write


def restored(api, name, folder):
    """The recording of what follows after restoring ``folder/name`` into a new graph."""

    def restore(session):
        api.tf.train.Saver().restore(session, os.path.join(folder, name))

    result = layers_cases.cases.play(api, case_of(name, after=True), restore=restore)
    return dict(result, path=NETS[name][0])


def make_by_tf1(api, folder):
    recording = collections.OrderedDict()
    for name in NETS:
        case = checkpoints.descending(case_of(name, after=False))
        played = layers_cases.cases.play(api, case, save=save(api, name, folder))
        assert "error" not in played, played
        written = checkpoints.contents(api.tf, os.path.join(folder, name))
        recording[name] = {"written": written, "restored": restored(api, name, folder)}
    return recording


def make_by_tf1bn(api, folder):
    recording = collections.OrderedDict()
    for name in NETS:
        played = layers_cases.cases.play(api, case_of(name, after=False), save=save(api, name, folder))
        assert "error" not in played, played
        written = checkpoints.contents(api.tf, os.path.join(folder, name))
        recording[name] = {"written": written, "training": dict(played, path=NETS[name][0])}
    return recording


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write fixtures; without it nothing is written")
    parser.add_argument("--force", action="store_true", help="with --write: replace files that exist")
    parser.add_argument("--by-tf1bn", metavar="DIR", help="write checkpoints with tf1bn into DIR")
    parser.add_argument("--verify-tf1", metavar="DIR", help="restore those checkpoints in the real TF 1.15")
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

    if options.by_tf1bn:
        import tf1bn

        tf = checkpoints.tf1bn_on_tensorflow_2().tf
        api = layers_cases.Api(tf, tf1bn.batch_normalization, tf1bn.arg_scope)
        header = [("what", "checkpoints written by tf1bn"), ("tensorflow", tf.__version__)]
        text = checkpoints.dump(header, make_by_tf1bn(api, options.by_tf1bn))
        with open(os.path.join(options.by_tf1bn, "written.json"), "w") as stream:
            stream.write(text)
        return 0

    tf = checkpoints.real_tensorflow_1().tf
    api = layers_cases.Api(tf, tf.layers.batch_normalization, None)
    if not os.path.isdir(FOLDER) and options.write:
        os.makedirs(FOLDER)
    if options.verify_tf1:
        with open(os.path.join(options.verify_tf1, "written.json")) as stream:
            written = json.load(stream, object_pairs_hook=collections.OrderedDict)
        recording = written["checkpoints"]
        for name, entry in recording.items():
            assert checkpoints.contents(tf, os.path.join(options.verify_tf1, name)) == entry["written"], name
            entry["restored"] = restored(api, name, options.verify_tf1)
            assert "error" not in entry["restored"], entry["restored"]
        header = [
            ("what", "checkpoints written by tf1bn, restored by tf.layers.batch_normalization"),
            ("written_by", "tf1bn on TensorFlow " + written["tensorflow"]),
            ("restored_by", "TensorFlow " + tf.__version__),
            ("commands", ["layers_checkpoints.py --by-tf1bn DIR", "layers_checkpoints.py --verify-tf1 DIR --write"]),
        ]
        path = os.path.join(FOLDER, "by_tf1bn.json")
        return 0 if checkpoints.put(path, checkpoints.dump(header, recording), options) else 1

    header = [
        ("what", "checkpoints written by tf.layers.batch_normalization and what followed after restoring them"),
        ("tensorflow", tf.__version__),
        ("command", "layers_checkpoints.py --write"),
    ]
    path = os.path.join(FOLDER, "by_tf1.json")
    writes = options.write and (options.force or not os.path.exists(path))
    folder = FOLDER if writes else tempfile.mkdtemp()
    return 0 if checkpoints.put(path, checkpoints.dump(header, make_by_tf1(api, folder)), options) else 1


if __name__ == "__main__":
    sys.exit(main())
