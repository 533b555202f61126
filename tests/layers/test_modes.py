"""Layers in every mode of TensorFlow 2 (`modes.MODES`); the recordings are replayed in them by test_recordings_*.py."""

import pytest
import tensorflow
from modes import MODES, played_in

import tf1bn
from tf1bn.graphs.layers import layers_in

tf = tensorflow.compat.v1


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_layers_are_found_and_recorded_in_every_mode(mode, tmp_path):
    with played_in(mode), tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 4, 4, 3])
        y = tf1bn.batch_norm(x, is_training=True, scale=True, scope="a")
        y = tf1bn.contrib.layers.conv2d(y, 2, 3, normalizer_fn=tf1bn.batch_norm, scope="c")
        y = tf1bn.batch_normalization(y, training=True, name="b")
        names = {layer.name for layer in layers_in(graph)}
        assert names == {"a", "c/BatchNorm", "b"}
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            with tf1bn.Recorder(session, str(tmp_path / "trace")) as recorder:
                updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
                for step in range(2):
                    batch = [
                        [[[float(step + i + j + c * i) for c in range(3)] for j in range(4)] for i in range(4)]
                    ] * 2
                    recorder.run([y, *updates], {x: batch})
    trace = tf1bn.trace.open(str(tmp_path / "trace"))
    assert set(trace.layers) == names
