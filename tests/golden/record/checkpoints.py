# -*- coding: utf-8 -*-
# Runs on Python 3.7 too:
# ruff: noqa: C408, UP009, UP031
"""Checkpoints across the border: written by the real TF 1.15 and read by tf1bn, and the other way round.

With a real TensorFlow 1.15 (Python 3.7):

    python tests/golden/record/checkpoints.py                    makes everything, compares, writes nothing
    python tests/golden/record/checkpoints.py --write            writes the fixtures in checkpoints/ that are missing
    python tests/golden/record/checkpoints.py --write --force    writes all of them again
    python tests/golden/record/checkpoints.py --verify-tf1 DIR   restores what tf1bn wrote into DIR, in the same manner

With tf1bn:

    python tests/golden/record/checkpoints.py --by-tf1bn DIR     writes checkpoints and DIR/written.json

Both sides build the same nets from the same code and the same names; no name is mapped anywhere. A recording
has the steps that follow the restoring: a test, two steps of training, a test.
"""

import argparse
import collections
import hashlib
import json
import os
import sys
import tempfile

GOLDEN = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FOLDER = os.path.join(GOLDEN, "checkpoints")
sys.path.insert(0, os.path.dirname(GOLDEN))

import numpy as np  # noqa: E402

from golden.record import arguments, cases  # noqa: E402

CLIPPING = arguments.CLIPPINGS["all"]
UNFUSED = dict(fused=False)


def single(**kwargs):
    return cases.layer(decay=0.75, **kwargs)


def two_towers(g):
    for i in range(2):
        x = g.input("x%d" % i)
        with g.tf.variable_scope("net", reuse=i > 0):
            with g.tf.name_scope("tower_%d" % i):
                g.train(g.bn(x, decay=0.75, scale=True, scope="bn"))
    with g.tf.variable_scope("net", reuse=True):
        g.test(g.bn(g.inputs[0], decay=0.75, scale=True, scope="bn", is_training=False))


def unnamed(g):
    """Two layers with automatic names; only the order in which they are made connects them with a checkpoint."""
    x = g.input()
    for reuse in (False, True):
        with g.tf.variable_scope("net", reuse=reuse):
            for _ in range(2):
                y = g.bn(x, decay=0.75, scale=True, is_training=not reuse)
                (g.test if reuse else g.train)(y)


NETS = collections.OrderedDict(
    [
        ("fused", ("B", single())),
        ("fused_gamma", ("B", single(scale=True))),
        ("composed", ("C", single(**UNFUSED))),
        ("composed_gamma", ("C", single(scale=True, **UNFUSED))),
        ("in_place", ("A", single(scale=True, updates_collections=None))),
        ("zero_debias", ("A", single(scale=True, zero_debias_moving_mean=True))),
        ("zero_debias_composed", ("D", single(zero_debias_moving_mean=True, **UNFUSED))),
        ("renorm", ("C", single(scale=True, renorm=True, renorm_decay=0.5, renorm_clipping=CLIPPING))),
        ("two_towers", ("B", two_towers)),
        ("unnamed", ("B", unnamed)),
    ]
)
FORMATS = collections.OrderedDict((name, "V2") for name in NETS)
FORMATS["fused_gamma-V1"] = "V1"

Step = cases.Step
BEFORE = (Step("train", None, True),) * 3
AFTER = (Step("test", None, False), Step("train", None, True), Step("train", None, True), Step("test", None, False))
TOWERS = dict(
    before=(Step("train", [0], True), Step("train", [1], True), Step("train", [0], True)),
    after=(AFTER[0], Step("train", [1], True), Step("train", [0], True), AFTER[3]),
)


def net_of(name):
    return NETS[name.split("-")[0]]


def case_of(name, after):
    """The training before a checkpoint, or what follows it on other batches."""
    steps = AFTER if after else BEFORE
    if name.startswith("two_towers"):
        steps = TOWERS["after" if after else "before"]
    clipping = (lambda step: CLIPPING) if name == "renorm" else None
    return cases.Case(
        "checkpoints/" + name, net_of(name)[1], steps=steps, first_batch=10 if after else 0, clipping=clipping
    )


def descending(case):
    """The case with a step of gradient descent before every step, as a training script has it."""

    def net(g, build=case.net):
        build(g)
        outputs = [app.output for app in g.apps if app.mode == "train"]
        loss = g.tf.add_n([g.tf.reduce_mean(g.tf.square(y - 0.5)) for y in outputs])
        step = g.tf.train.get_or_create_global_step()
        train = g.tf.train.GradientDescentOptimizer(0.0625).minimize(loss, global_step=step)

        def descend(session, mode, number):
            session.run(train, {tensor: value(mode, number) for tensor, value in g.feeds})

        g.before_step.append(descend)

    case.net = net
    return case


def save(api, name, folder):
    def write(session):
        tf = api.tf
        version = tf.train.SaverDef.V1 if FORMATS[name] == "V1" else tf.train.SaverDef.V2
        saver = tf.train.Saver(write_version=version)
        saver.save(session, os.path.join(folder, name), write_meta_graph=False, write_state=False)

    return write


def restored(api, name, folder):
    """The recording of what follows after restoring ``folder/name`` into a new graph."""

    def restore(session):
        api.tf.train.Saver().restore(session, os.path.join(folder, name))

    result = cases.play(api, case_of(name, after=True), restore=restore)
    return dict(result, path=net_of(name)[0])


def contents(tf, prefix):
    """What a checkpoint holds: [name, shape, dtype, values, SHA-256 of the bytes]."""
    reader = tf.train.load_checkpoint(prefix)
    found = []
    for name in sorted(reader.get_variable_to_shape_map()):
        array = np.asarray(reader.get_tensor(name))
        found.append([name, list(array.shape), str(array.dtype), cases.values(array), digest(array)])
    return found


def digest(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def make_by_tf1(api, folder):
    recording = collections.OrderedDict()
    for name in FORMATS:
        played = cases.play(api, descending(case_of(name, after=False)), save=save(api, name, folder))
        assert "error" not in played, played
        prefix = os.path.join(folder, name)
        recording[name] = {"written": contents(api.tf, prefix), "restored": restored(api, name, folder)}
    return recording


def make_by_tf1bn(api, folder):
    recording = collections.OrderedDict()
    for name in NETS:
        played = cases.play(api, case_of(name, after=False), save=save(api, name, folder))
        assert "error" not in played, played
        training = dict(played, path=net_of(name)[0])
        recording[name] = {"written": contents(api.tf, os.path.join(folder, name)), "training": training}
    return recording


def dump(header, recording):
    def line(key, value):
        return "%s:%s" % (json.dumps(key), json.dumps(value, sort_keys=True, separators=(",", ":")))

    lines = [line(key, value) for key, value in header]
    rows = [line(name, value) for name, value in recording.items()]
    return '{%s,\n"checkpoints":{\n%s\n}}\n' % (",\n".join(lines), ",\n".join(rows))


def put(path, text, options):
    """Writes a recording, or says how the one on disk compares. True if nothing is left to do."""
    old = None
    if os.path.exists(path):
        with open(path) as stream:
            old = stream.read()
    if old == text:
        print("%s holds the same" % os.path.basename(path))
        return True
    if options.write and (old is None or options.force):
        with open(path, "w") as stream:
            stream.write(text)
        print("%s written, %d bytes" % (os.path.basename(path), len(text)))
        return True
    state = "is missing" if old is None else "HOLDS SOMETHING ELSE"
    print("%s %s (--write%s writes it)" % (os.path.basename(path), state, "" if old is None else " --force"))
    return False


def real_tensorflow_1():
    import warnings

    warnings.filterwarnings("ignore", category=FutureWarning)
    import tensorflow as tf

    if not tf.__version__.startswith("1."):
        sys.exit("This needs the real TensorFlow 1.x; the TensorFlow here is %s." % tf.__version__)
    tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.ERROR)
    return cases.Api(tf, tf.contrib.layers.batch_norm, tf.contrib.framework.arg_scope)


def tf1bn_on_tensorflow_2():
    import tensorflow

    import tf1bn

    tf = tensorflow.compat.v1
    tf.disable_resource_variables()
    tf.disable_control_flow_v2()
    return cases.Api(tf, tf1bn.batch_norm, tf1bn.contrib.framework.arg_scope)


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
        api = tf1bn_on_tensorflow_2()
        header = [("what", "checkpoints written by tf1bn"), ("tensorflow", api.tf.__version__)]
        text = dump(header, make_by_tf1bn(api, options.by_tf1bn))
        with open(os.path.join(options.by_tf1bn, "written.json"), "w") as stream:
            stream.write(text)
        print("%d checkpoints written into %s" % (len(NETS), options.by_tf1bn))
        return 0

    api = real_tensorflow_1()
    if options.verify_tf1:
        with open(os.path.join(options.verify_tf1, "written.json")) as stream:
            written = json.load(stream, object_pairs_hook=collections.OrderedDict)
        recording = written["checkpoints"]
        for name, entry in recording.items():
            assert contents(api.tf, os.path.join(options.verify_tf1, name)) == entry["written"], name
            entry["restored"] = restored(api, name, options.verify_tf1)
            assert "error" not in entry["restored"], entry["restored"]
        header = [
            ("what", "checkpoints written by tf1bn, restored by tf.contrib.layers.batch_norm"),
            ("written_by", "tf1bn on TensorFlow %s" % written["tensorflow"]),
            ("restored_by", "TensorFlow %s" % api.tf.__version__),
            ("commands", ["checkpoints.py --by-tf1bn DIR", "checkpoints.py --verify-tf1 DIR --write"]),
        ]
        return 0 if put(os.path.join(FOLDER, "by_tf1bn.json"), dump(header, recording), options) else 1

    header = [
        ("what", "checkpoints written by tf.contrib.layers.batch_norm and what followed after restoring them"),
        ("tensorflow", api.tf.__version__),
        ("command", "checkpoints.py --write"),
    ]
    folder = tempfile.mkdtemp()
    if options.write:
        if not os.path.isdir(FOLDER):
            os.makedirs(FOLDER)
        if options.force or not os.path.exists(os.path.join(FOLDER, "by_tf1.json")):
            folder = FOLDER
    return 0 if put(os.path.join(FOLDER, "by_tf1.json"), dump(header, make_by_tf1(api, folder)), options) else 1


if __name__ == "__main__":
    sys.exit(main())
