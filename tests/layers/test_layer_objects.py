"""``tf1bn.BatchNormalization`` against objects of the real ``tf.layers.BatchNormalization`` of TF 1.3 to 1.15.

``golden/record/layer_objects.py`` has the cases and recorded them: names, lists, errors, and numbers.
"""

import contextlib
import functools
import json
import pathlib
import types

import numpy as np
import pytest
import tensorflow
from golden.record import layer_objects
from modes import MODES, played_in

import tf1bn
from tf1bn.errors import GraphError

tf = tensorflow.compat.v1
RECORDED = json.loads(pathlib.Path(layer_objects.PATH).read_text("ascii"))
LATEST = "1.15.5"
# Where tf1bn is meant to differ: (releases, case, key, why). What lies below the key is not compared.
DEVIATIONS = (
    (("1.3.0", "1.4.1"), "reused", "same", "the lists of a layer that reuses variables were empty"),
    (("1.3.0", "1.4.1"), "reused", "second", "the lists of a layer that reuses variables were empty"),
    (("1.3.0", "1.4.1"), "reused", "shared", "the lists of a layer that reuses variables were empty"),
    (("1.3.0", "1.4.1"), "partitioned", "trainable", "1.15 does not list what a partitioner has split as trainable"),
    (("1.3.0",), "mistakes", None, "the class had no count_params"),
    (("1.4.1", "1.12.0"), "mistakes", "axis", "a string was taken for a list, and failed later"),
    (("1.3.0", "1.4.1"), "named_initializers", "error", "it failed when the variable was made"),
    (("1.12.0",), "dtypes", None, "float16 fails in the release, see test_recordings_core_releases.py"),
)


class OldTensorFlow(types.ModuleType):
    layers = types.SimpleNamespace(batch_normalization=tf1bn.batch_normalization)
    contrib = tf1bn.contrib

    def __getattr__(self, name):
        return getattr(tf, name)


def play(version, case, mode="reference"):
    with played_in(mode), tf1bn.release(version.rpartition(".")[0]):
        return layer_objects.play(OldTensorFlow("tensorflow"), tf1bn.BatchNormalization, [case])[case]


def compare(here, there, path=()):
    """Equal names, flags and errors; numbers to a few units in the last place of float32."""
    if isinstance(there, dict):
        assert set(here) == set(there), path
        for key, value in there.items():
            compare(here[key], value, (*path, key))
    elif isinstance(there, list) and there and isinstance(there[0], float):
        np.testing.assert_allclose(here, there, rtol=1e-6, atol=1e-6, err_msg=str(path))
    elif isinstance(there, list) and any(isinstance(item, (dict, list)) for item in there):
        assert len(here) == len(there), path
        for number, (item, recorded) in enumerate(zip(here, there, strict=True)):
            compare(item, recorded, (*path, number))
    else:
        assert here == there, path


def check(version, case):
    here, there = play(version, case), dict(RECORDED[version][case])
    for versions, name, key, _ in DEVIATIONS:
        if version in versions and name == case:
            if key is None:
                return
            assert here.pop(key) != there.pop(key)
    compare(here, there)


@pytest.mark.parametrize("case", layer_objects.CASES)
def test_as_recorded(case):
    check(LATEST, case)


@pytest.mark.recordings
@pytest.mark.parametrize(
    ("version", "case"),
    [(version, case) for version in sorted(set(RECORDED) - {LATEST}) for case in sorted(RECORDED[version])],
)
def test_as_recorded_under_earlier_releases(version, case):
    check(version, case)


@pytest.mark.recordings
@pytest.mark.parametrize("case", [case for case, result in RECORDED[LATEST].items() if "run" in result])
@pytest.mark.parametrize("mode", sorted(set(MODES) - {"reference"}))
def test_numbers_in_every_mode(mode, case):
    here, there = play(LATEST, case, mode), RECORDED[LATEST][case]
    for key in ("run", "test"):
        compare(here.get(key, {}), there.get(key, {}))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"decay": 0}, TypeError, "Expected int32, but got 1.0 .*`decay` .* is 0; it must be a floating point number"),
        ({"epsilon": "tensor"}, TypeError, "`epsilon` is the tensor .*; the fused layer takes a number"),
        ({"is_training": "tensor"}, TypeError, "type int32 that does not match expected type of bool.*`is_training`"),
        ({"inputs": "int32"}, TypeError, "DataType int32 not in list of allowed values.*cast it with"),
        ({"inputs": "float64"}, TypeError, "DataType float64 not in list of allowed values.*`fused=False`"),
        ({"inputs": "int32", "fused": False, "updates_collections": None}, TypeError, "DataType int32 not in list"),
    ],
)
def test_arguments_of_a_wrong_kind_get_a_sentence(options, error, message):
    with tf.Graph().as_default():
        made = {"inputs": tf.zeros([2, 2, 2, 3], options.get("inputs", "float32"))}
        made |= {name: value for name, value in options.items() if name != "inputs" and value != "tensor"}
        if options.get("epsilon"):
            made["epsilon"] = tf.constant(0.1)
        if options.get("is_training"):
            made["is_training"] = tf.placeholder(tf.int32, [])
        with pytest.raises(error, match=message):
            tf1bn.batch_norm(**made)


def test_the_lists_hold_the_variables_themselves():
    with tf.Graph().as_default():
        layer = tf1bn.BatchNormalization()
        layer(tf.zeros([2, 3]), training=True)
        made = tf.global_variables()
        assert [id(variable) for variable in layer.variables] == [id(variable) for variable in made]
        assert [layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance] == made


def test_an_object_outside_of_a_graph():
    with tensorflow.init_scope():
        layer = tf1bn.BatchNormalization()
        for use in (lambda: layer(np.zeros([2, 3], "float32")), lambda: layer.build([2, 3])):
            with pytest.raises(GraphError, match=r"`BatchNormalization\.(__call__|build)` is called eagerly"):
                use()


def test_a_step_inside_of_the_old_layer_is_not_overridden_in_silence():
    class Synchronized(tf1bn.BatchNormalization):
        def _moments(self, inputs, reduction_axes, keep_dims):
            return super()._moments(inputs, reduction_axes, keep_dims)

    with pytest.raises(TypeError, match="`Synchronized` has a method `_moments`, a step inside"):
        Synchronized()


def test_arguments_came_with_their_release():
    with tf1bn.release("1.1"), pytest.raises(TypeError, match=r"unexpected keyword argument 'renorm'.*came with 1\.2"):
        tf1bn.BatchNormalization(renorm=True)
    with tf.Graph().as_default(), tf1bn.release("1.3"):
        layer = tf1bn.BatchNormalization()
        layer(tf.zeros([2, 2, 2, 3]), training=True)
        assert layer.fused is False


def test_other_inputs_than_the_layer_was_built_for():
    with tf.Graph().as_default():
        layer = tf1bn.BatchNormalization(name="bn")
        layer(tf.placeholder(tf.float32, [None, 3]))
        for shape, problem in (
            ([None, 4], "expected axis 1 of input shape to have value 3"),
            ([None, 2, 3], "expected ndim=2, found ndim=3"),
            (None, "expected ndim=2, found ndim=None"),
        ):
            with pytest.raises(ValueError, match=f"Input 0 of layer bn is incompatible with the layer: {problem}"):
                layer(tf.placeholder(tf.float32, shape))
        layer(tf.placeholder(tf.float32, [None, None]))


def test_values_need_the_session_that_holds_them():
    with tf.Graph().as_default():
        layer = tf1bn.BatchNormalization(name="bn")
        assert layer.get_weights() == []
        layer.build([None, 3])
        other = tf.Session(graph=tf.Graph())
        for session, problem in ((contextlib.nullcontext(), "there is no default session"), (other, "another graph")):
            with session:
                for use in (layer.get_weights, lambda: layer.set_weights([np.ones(3)] * 4)):
                    with pytest.raises(GraphError, match=f"needs the session that holds its variables.*{problem}"):
                        use()


def test_values_of_variables_of_every_kind():
    for mode in MODES:
        with played_in(mode), tf.Graph().as_default(), tf.Session() as session:
            layer = tf1bn.BatchNormalization()
            layer.build([None, 3])
            tf.get_default_graph().finalize()
            layer.set_weights([np.full(3, value) for value in range(4)])
            assert [value.tolist() for value in layer.get_weights()] == [[float(value)] * 3 for value in range(4)]
            assert session.run(layer.moving_variance).tolist() == [3.0] * 3


def test_values_of_split_variables_are_refused():
    with tf.Graph().as_default(), tf.variable_scope("net", partitioner=tf.fixed_size_partitioner(2)):
        layer = tf1bn.BatchNormalization()
        layer.build([None, 4])
        for use in (layer.get_weights, lambda: layer.set_weights([np.ones(4)] * 4)):
            with tf.Session(), pytest.raises(ValueError, match=r"A partitioner has split .*list\(layer.gamma\)"):
                use()


@pytest.mark.parametrize("name", ["input", "get_output_at", "add_update", "add_loss", "input_spec"])
def test_what_a_layer_has_not_is_said_with_what_to_do(name):
    layer = tf1bn.BatchNormalization(name="bn")
    with pytest.raises(AttributeError, match=f"Layer bn has no `{name}`: .*(keep|put|look at) "):
        getattr(layer, name)
    with pytest.raises(AttributeError, match="'BatchNormalization' object has no attribute 'surprise'"):
        _ = layer.surprise


def test_a_config_without_what_cannot_be_in_it():
    with pytest.warns(UserWarning, match="`adjustment` is a function, which a config does not hold"):
        config = tf1bn.BatchNormalization(adjustment=lambda shape: (1, 0)).get_config()
    assert tf1bn.BatchNormalization.from_config(config).adjustment is None
    with pytest.raises(ValueError, match="Cannot serialize"):
        tf1bn.BatchNormalization(gamma_initializer=functools.partial(tf.ones)).get_config()
