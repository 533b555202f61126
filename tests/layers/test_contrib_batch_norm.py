"""What the recordings of real TF 1.15 cannot show: refusals, v2 control flow, and independence of the order of calls.

The numbers, names and collections of the layer are tested against recordings in test_golden.py.
"""

import dataclasses
import inspect

import numpy as np
import pytest
import tensorflow

import tf1bn
from tf1bn import checker
from tf1bn.checker import outputs
from tf1bn.layers import graph_collections
from tf1bn.reproduce import article

tf = tensorflow.compat.v1

SIGNATURE = (  # of tf.contrib.layers.batch_norm in TF 1.15.5, from inspect there
    "(inputs, decay=0.999, center=True, scale=False, epsilon=0.001, activation_fn=None, param_initializers=None, "
    "param_regularizers=None, updates_collections='update_ops', is_training=True, reuse=None, "
    "variables_collections=None, outputs_collections=None, trainable=True, batch_weights=None, fused=None, "
    "data_format='NHWC', zero_debias_moving_mean=False, scope=None, renorm=False, renorm_clipping=None, "
    "renorm_decay=0.99, adjustment=None)"
)


@pytest.fixture(autouse=True)
def graph():
    with tf.Graph().as_default() as made:
        yield made


def test_signature_is_that_of_1_15():
    assert str(inspect.signature(tf1bn.batch_norm)) == SIGNATURE


def test_both_functions_build_from_one_kind_of_call(graph):
    x = tf.placeholder(tf.float32, [4, 3, 2, 5])
    tf1bn.batch_norm(x, 0.9, scale=True, data_format="NCHW", is_training=False, scope="contrib")
    tf1bn.batch_normalization(x, 1, 0.9, training=False, name="core")
    contrib, core = graph.get_collection(graph_collections.BUILT_LAYERS)
    with pytest.raises(dataclasses.FrozenInstanceError):
        contrib.call.decay = 0.5
    own = ("inputs", "batch", "initializers", "regularizers", "constraints", "argument_name", "model_variables")
    names = [field.name for field in dataclasses.fields(contrib.call) if field.name not in own]
    same = {name: getattr(contrib.call, name) == getattr(core.call, name) for name in names}
    assert all(same.values()), same
    assert contrib.call.inputs is core.call.inputs is contrib.call.batch is core.call.batch is x


def test_what_1_15_ignores_without_renorm_is_taken():
    tf1bn.batch_norm(
        tf.ones([2, 3]),
        param_initializers={},
        param_regularizers={},
        renorm_clipping={"rmax": 3.0},
        renorm_decay=0.5,
    )


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (lambda: tf.ones([2, 3]), {"data_format": "NHCW"}, r"`data_format` is 'NHCW'; it must be 'NHWC'"),
        (lambda: tf.ones([2, 3]), {"is_training": None}, r"`is_training` is None; it must be True, False"),
        (lambda: tf.placeholder(tf.float32), {}, r"`inputs` \(.*\) has an unknown rank"),
        (
            lambda: tf.placeholder(tf.float32, [2, None]),
            {},
            r"`inputs` \(.*\) has shape .* unknown number of channels",
        ),
        (
            lambda: tf.placeholder(tf.float32, [2, None, 3]),
            {"data_format": "NCHW"},
            "unknown number of channels",
        ),
        (lambda: tf.ones([]), {}, r"needs rank 1 or more"),
    ],
)
@pytest.mark.parametrize("updates_collections", [None, tf.GraphKeys.UPDATE_OPS])
def test_mistakes_get_a_sentence(make, arguments, message, updates_collections):
    with pytest.raises(ValueError, match=message):
        tf1bn.batch_norm(make(), updates_collections=updates_collections, **arguments)
    assert not tf.global_variables()


@pytest.mark.parametrize("shape", [(5, 3), (2, 4, 3), (2, 2, 3, 3), (2, 1, 2, 2, 3)])
@pytest.mark.parametrize("fused", [True, False])
def test_channels_first_is_channels_last_transposed(shape, fused):
    """Both layouts of the same data give the same statistics and, transposed, the same output."""
    rank = len(shape)
    to_first = (0, rank - 1, *range(1, rank - 1))
    values = (np.arange(np.prod(shape), dtype=np.float32) ** 1.5).reshape(shape)
    layers = {}
    for name, data in (("NHWC", values), ("NCHW", values.transpose(to_first))):
        layers[name] = tf1bn.batch_norm(
            tf.constant(data), 0.5, fused=fused, data_format=name, updates_collections=None, scope=name
        )
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        last, first = sess.run([layers["NHWC"], layers["NCHW"]])
        statistics = {
            v.op.name: value for v, value in zip(tf.global_variables(), sess.run(tf.global_variables()), strict=True)
        }
    own = checker.MovingStats(np.zeros(3), np.ones(3), decay=0.5, bessel=fused and rank in (2, 4))
    own.update(values)
    for name in layers:
        assert own.compare(statistics[f"{name}/moving_mean"], statistics[f"{name}/moving_variance"]).ok
    batch = outputs.batch_statistics(values)
    expected, bound = outputs.expected_output(
        values,
        batch.mean,
        batch.variance,
        batch.mean_bound,
        batch.variance_bound,
        epsilon=article.EPSILON,
    )
    assert outputs.within(last, expected, bound)
    assert outputs.within(first, expected.transpose(to_first), bound.transpose(to_first))
