"""Where a layer may be built: in a graph and what belongs to it; elsewhere it says how to build one."""

import inspect
import subprocess
import sys

import numpy as np
import pytest
import tensorflow
import tiers
from modes import SHAPES, played_in, shapes_as

import tf1bn
from tf1bn.errors import GraphError
from tf1bn.graphs.layers import layers_in

tf = tensorflow.compat.v1
LAYERS, FRAMEWORK = tf1bn.contrib.layers, tf1bn.contrib.framework
X = np.random.default_rng(0).normal(3, 2, (8, 4, 4, 3)).astype(np.float32)
SAY = r"^`{}` is called {}; call it while a graph is built, inside `with tf\.Graph\(\)\.as_default\(\):`.*Session`\.$"
FUNCTION = r"in a function of TensorFlow 2, outside of any graph"

BUILDERS = {
    "batch_norm": lambda x: tf1bn.batch_norm(x, scope="bn"),
    "batch_normalization": lambda x: tf1bn.batch_normalization(x, name="bn"),
    "convolution2d": lambda x: LAYERS.conv2d(x, 2, 3, scope="c"),
    "convolution2d_transpose": lambda x: LAYERS.conv2d_transpose(x, 2, 3, scope="c"),
    "separable_convolution2d": lambda x: LAYERS.separable_conv2d(x, 2, 3, scope="c"),
    "fully_connected": lambda x: LAYERS.relu(x, 2, scope="c"),
    "bias_add": lambda x: LAYERS.bias_add(x, scope="c"),
    "max_pool2d": lambda x: LAYERS.max_pool2d(x, 2),
    "avg_pool2d": lambda x: LAYERS.avg_pool2d(x, 2),
    "flatten": lambda x: LAYERS.flatten(x),
    "dropout": lambda x: LAYERS.dropout(x),
    "softmax": lambda x: LAYERS.softmax(x),
    "one_hot_encoding": lambda x: LAYERS.one_hot_encoding(tensorflow.constant([1]), 2),
    "repeat": lambda x: LAYERS.repeat(x, 2, LAYERS.linear, 2),
    "stack": lambda x: LAYERS.stack(x, LAYERS.linear, [2]),
    "apply_regularization": lambda x: LAYERS.apply_regularization(LAYERS.l2_regularizer(0.1), [x]),
    "variable": lambda x: FRAMEWORK.variable("v", [2]),
    "model_variable": lambda x: FRAMEWORK.model_variable("v", [2]),
    "local_variable": lambda x: FRAMEWORK.local_variable(1.0),
    "global_variable": lambda x: FRAMEWORK.global_variable(1.0),
    "add_model_variable": lambda x: FRAMEWORK.add_model_variable(tensorflow.Variable(1.0)),
    "get_variables": lambda x: FRAMEWORK.get_variables("bn"),
    "get_variables_to_restore": lambda x: FRAMEWORK.get_variables_to_restore(),
    "get_unique_variable": lambda x: FRAMEWORK.get_unique_variable("bn/beta"),
    "assign_from_values": lambda x: FRAMEWORK.assign_from_values({"bn/beta": 1.0}),
    "assign_from_checkpoint_fn": lambda x: FRAMEWORK.assign_from_checkpoint_fn("path", []),
}


@pytest.mark.parametrize("name", BUILDERS)
def test_without_a_graph_it_says_how_to_build_one(name):
    build = BUILDERS[name]
    x = tensorflow.constant(X)
    with pytest.raises(GraphError, match=SAY.format(name, "eagerly")):
        build(x)
    with pytest.raises(GraphError, match=SAY.format(name, FUNCTION)):
        tf.wrap_function(build, [tensorflow.TensorSpec([None, 4, 4, 3])])


@pytest.mark.parametrize("name", ["batch_norm", "batch_normalization"])
def test_in_a_function_it_says_how_to_build_a_graph(name):
    with pytest.raises(GraphError, match=FUNCTION):
        tensorflow.function(BUILDERS[name])(tensorflow.constant(X))
    with tf.Graph().as_default():
        assert BUILDERS[name](tf.constant(X)).shape.as_list() == [8, 4, 4, 3]


def test_a_gate_keeps_names_and_signatures():
    assert str(inspect.signature(LAYERS.flatten)) == "(inputs, outputs_collections=None, scope=None)"
    assert FRAMEWORK.arg_scoped_arguments(LAYERS.flatten) == ("outputs_collections", "scope")
    assert LAYERS.flatten.__name__ == "flatten"


@pytest.mark.parametrize("mode", tiers.slow_but(["reference"], ["reference", "resource"]))
@pytest.mark.parametrize("through", ["map_fn", "while_loop", "cond", "function", "wrap_function", "data"])
def test_what_belongs_to_a_graph_builds_in_it(mode, through):
    with played_in(mode), tf.Graph().as_default(), tf.variable_scope("", reuse=tf.AUTO_REUSE):
        tf1bn.batch_norm(tf.constant(X), scope="bn")
        tf.get_default_graph().clear_collection(tf.GraphKeys.UPDATE_OPS)

        def build(x):
            return tf1bn.batch_norm(x, scope="bn", is_training=False)

        x = tf.constant(X)
        if through == "map_fn":
            y = tf.map_fn(lambda part: build(part[None])[0], x)
        elif through == "while_loop":
            y = tf.while_loop(lambda i, _: i < 1, lambda i, v: (i + 1, build(v)), [0, x])[1]
        elif through == "cond":
            y = tf.cond(tf.placeholder_with_default(True, []), lambda: build(x), lambda: x)
        elif through == "function":
            y = tensorflow.function(build)(x)
        elif through == "wrap_function":
            y = tf.wrap_function(lambda v: LAYERS.flatten(v), [tensorflow.TensorSpec([8, 4, 4, 3])])(x)
        else:
            data = tensorflow.data.Dataset.from_tensors(X).map(lambda v: LAYERS.flatten(v))
            y = tf.data.make_one_shot_iterator(data).get_next()
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            wanted = X.reshape(8, -1) if through in ("wrap_function", "data") else X / np.sqrt(1.001)
            np.testing.assert_allclose(session.run(y), wanted, rtol=1e-5)


@pytest.mark.parametrize("options", [{"updates_collections": None}, {"fused": False}, {"renorm": True}])
def test_reference_variables_in_functions_of_control_flow_v2(options):
    with played_in("reference"), tf.Graph().as_default():
        tf.enable_control_flow_v2()
        x, flag = tf.placeholder(tf.float32, [None, 4, 4, 3]), tf.placeholder(tf.bool, [])
        words = (
            r"^The reference variable 'bn/\w+' cannot be updated in a function, .*enable_resource_variables.*built\.$"
        )
        with pytest.raises(GraphError, match=words):
            tf1bn.batch_norm(x, is_training=flag, scope="bn", **options)
        tf1bn.batch_norm(x, is_training=True, scope="static", **options)
        tf1bn.batch_norm(x, is_training=flag, scope="unconditional")


@pytest.mark.parametrize("strategy", ["one device", "mirrored"])
@pytest.mark.parametrize("options", [{}, {"updates_collections": None}, {"fused": False}])
def test_a_strategy_with_one_replica(strategy, options):
    with tf.Graph().as_default():
        made = (
            tensorflow.distribute.OneDeviceStrategy("CPU:0")
            if strategy == "one device"
            else tensorflow.distribute.MirroredStrategy(["CPU:0"])
        )
        with made.scope():
            x = tf.placeholder(tf.float32, [None, 4, 4, 3])
            y = made.run(lambda: tf1bn.batch_norm(x, 0.0, scope="bn", **options))
            if strategy == "mirrored":
                with pytest.raises(GraphError, match=r"^The layer is built in the scope of .*`strategy\.run` is given"):
                    tf1bn.batch_norm(x, scope="across", **options)
            else:
                tf1bn.batch_norm(x, scope="across", **options)
        (mean,) = (v for v in tf.global_variables() if v.name == "bn/moving_mean:0")
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            session.run([y, tf.get_collection(tf.GraphKeys.UPDATE_OPS)], {x: X})
            np.testing.assert_allclose(session.run(mean), X.mean((0, 1, 2)), rtol=1e-5)


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("axis", [-1, 1, [1, 3]])
def test_sizes_as_numbers_and_as_dimension_objects(shapes, axis):
    with shapes_as(shapes), tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [None, 4, 4, 3])
        for options in ({}, {"fused": False}, {"virtual_batch_size": 2}):
            y = tf1bn.batch_normalization(x, axis, training=True, **options)
            assert y.shape.as_list() == [None, 4, 4, 3]
        if axis == -1:
            for options in ({}, {"fused": False}, {"updates_collections": None}, {"zero_debias_moving_mean": True}):
                assert tf1bn.batch_norm(x, **options).shape.as_list() == [None, 4, 4, 3]
            assert LAYERS.flatten(x).shape.as_list() == [None, 48]
            assert LAYERS.softmax(x).shape.as_list() == [None, 4, 4, 3]
            assert LAYERS.fully_connected(x, 2).shape.as_list() == [None, 4, 4, 2]
            assert LAYERS.conv2d(x, 2, 3, normalizer_fn=tf1bn.batch_norm).shape.as_list() == [None, 4, 4, 2]
            assert LAYERS.bias_add(x).shape.as_list() == [None, 4, 4, 3]
        unknown = tf.placeholder(tf.float32, [3, None, 4, None])
        with pytest.raises(ValueError, match="with an unknown size of axis"):
            tf1bn.batch_normalization(unknown, axis)
        with pytest.raises(ValueError, match="with an unknown number of channels"):
            tf1bn.batch_norm(unknown)
        assert len(layers_in(tf.get_default_graph())) >= 3


NUMPY_BEHAVIOUR = """
import tensorflow
from tf1bn.graphs.layers import layers_in
import tf1bn
tf = tensorflow.compat.v1
tensorflow.experimental.numpy.experimental_enable_numpy_behavior()
with tf.Graph().as_default() as graph:
    x = tf.placeholder(tf.float32, [None, 4])
    for name, scale in (("sub", None), ("add", 2.0)):
        with tf.variable_scope(name):
            mean, variance = (
                tf.get_variable(f"moving_{key}", [4], initializer=initializer, trainable=False)
                for key, initializer in (("mean", tf.zeros_initializer()), ("variance", tf.ones_initializer()))
            )
            beta = None if scale is None else tf.get_variable("beta", [4])
            batch = tf.nn.moments(x, [0])
            for variable, value in zip((mean, variance), batch):
                if name == "sub":
                    tf.assign_sub(variable, (variable - value) * 0.1)
                else:
                    tf.assign(variable, variable * 0.9 + value * 0.1)
            tf.nn.batch_normalization(x, *batch, beta, scale, 0.001)
    tf1bn.batch_norm(x, 0.9, fused=False, scope="own")
    for layer in layers_in(graph):
        print(layer.name, layer.settings["decay"], layer.settings["epsilon"], layer.problem)
"""


@pytest.mark.slow
def test_composed_layers_are_found_where_numpy_behaviour_casts_everything():
    done = subprocess.run([sys.executable, "-c", NUMPY_BEHAVIOUR], capture_output=True, text=True, check=False)
    assert sorted(done.stdout.splitlines()) == ["add 0.9 0.001 None", "own 0.9 0.001 None", "sub 0.9 0.001 None"], (
        done.stderr
    )
