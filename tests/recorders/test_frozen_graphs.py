"""Graphs whose variables were made constants: inference is recorded, and who sees no layer says so."""

import dataclasses
import sys
import types
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import tensorflow
from recorded import verdicts

import tf1bn
from tf1bn import trace

tf = tensorflow.compat.v1
STANDALONE = Path(__file__).resolve().parents[2] / "docker/tf1/record_tf1.py"


def batch(seed=0):
    return np.random.default_rng(seed).normal(3, 2, (4, 5, 5, 3)).astype(np.float32)


def frozen(**arguments):
    """The GraphDef of a trained layer with constants for variables, and its output for `batch()`."""
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, [None, 5, 5, 3], name="x")
        settings = {"decay": 0.5, "scope": "bn", "scale": True, "updates_collections": None, **arguments}
        tf1bn.batch_norm(x, is_training=True, **settings)
        y = tf.identity(tf1bn.batch_norm(x, is_training=False, reuse=True, **settings), name="y")
        session.run(tf.global_variables_initializer())
        values = {"gamma": [0.5, 1.5, 2.0], "moving_mean": [1, 2, 3], "moving_variance": [0.5, 1, 4]}
        for variable in tf.global_variables():
            if variable.op.name.rpartition("/")[2] in values:
                session.run(variable.assign(values[variable.op.name.rpartition("/")[2]]))
        output = session.run(y, {x: batch()})
        definition = tf.get_default_graph().as_graph_def()
        return tensorflow.compat.v1.graph_util.convert_variables_to_constants(session, definition, ["y"]), output


def imported(definition):
    tf.import_graph_def(definition)
    graph = tf.get_default_graph()
    return graph.get_tensor_by_name("import/x:0"), graph.get_tensor_by_name("import/y:0")


def standalone():
    """The recorder for the real TensorFlow 1.x, with the names of that."""
    namespace = {"__name__": "record_tf1"}
    # Its hook is made from a class of that TensorFlow.
    with mock.patch.dict(sys.modules, tensorflow=tf):
        exec(compile(STANDALONE.read_text(encoding="utf-8"), str(STANDALONE), "exec"), namespace)
    namespace["tf"] = types.SimpleNamespace(
        **{name: getattr(tf, name) for name in dir(tf) if name != "__version__"}, __version__="1.15.0"
    )
    return namespace["Recorder"]


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("recorder", ["ours", "standalone"])
def test_inference_of_a_frozen_layer(tmp_path, fused, recorder):
    definition, output = frozen(fused=fused)
    path = str(tmp_path / "run.trace")
    make = tf1bn.Recorder if recorder == "ours" else standalone()
    with tf.Graph().as_default(), tf.Session() as session:
        x, y = imported(definition)
        with make(session, path) as rec:
            np.testing.assert_allclose(rec.run(y, {x: batch()}), output, rtol=1e-5, atol=1e-5)
            rec.run(y, {x: batch(2)})
    assert verdicts(path) == {"import/bn": ("ok", [])}
    opened = trace.open(path)
    first, second = opened
    assert not first.training
    record = first.layers["import/bn"]
    np.testing.assert_array_equal(record.gamma, np.float32([0.5, 1.5, 2.0]))
    assert opened.layers["import/bn"].scale is not False
    np.testing.assert_array_equal(record.moving_mean_after, second.layers["import/bn"].moving_mean_before)


def test_both_recorders_declare_the_same(tmp_path):
    definition, _ = frozen()
    layers = []
    for name, make in (("ours", tf1bn.Recorder), ("standalone", standalone())):
        with tf.Graph().as_default(), tf.Session() as session:
            x, y = imported(definition)
            with make(session, str(tmp_path / name)) as rec:
                rec.run(y, {x: batch()})
        layers.append(trace.open(tmp_path / name).layers["import/bn"])
    assert layers[1].release == "1.15"
    assert layers[0] == dataclasses.replace(layers[1], release=None)


@pytest.mark.parametrize("recorder", ["ours", "standalone"])
def test_a_recorder_that_sees_no_layer_says_so(tmp_path, capsys, recorder):
    make = tf1bn.Recorder if recorder == "ours" else standalone()
    for number, run in enumerate((True, False)):
        with tf.Graph().as_default(), tf.Session() as session:
            y = tf.ones([2]) + 1
            rec = make(session, str(tmp_path / str(number)))
            if run:
                rec.run(y)
            rec.close()
            rec.close()
        said = capsys.readouterr().err
        assert said.count("no layer was recorded: ") == 1
        assert "moving statistics" in said or not run
