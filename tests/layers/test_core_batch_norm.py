"""``batch_normalization`` beyond the recordings of test_batch_normalization.py: sentences, recording, odd axes."""

import inspect
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow
import tiers
from modes import played_in

import tf1bn
from tf1bn import trace
from tf1bn.diagnosis import engine as diagnosis
from tf1bn.layers import graph_collections

tf = tensorflow.compat.v1

# Of tf.layers.batch_normalization in TF 1.15.5, from inspect there; the initializers are objects.
PARAMETERS = {
    "inputs": inspect.Parameter.empty,
    "axis": -1,
    "momentum": 0.99,
    "epsilon": 0.001,
    "center": True,
    "scale": True,
    "beta_initializer": "Zeros",
    "gamma_initializer": "Ones",
    "moving_mean_initializer": "Zeros",
    "moving_variance_initializer": "Ones",
    "beta_regularizer": None,
    "gamma_regularizer": None,
    "beta_constraint": None,
    "gamma_constraint": None,
    "training": False,
    "trainable": True,
    "name": None,
    "reuse": None,
    "renorm": False,
    "renorm_clipping": None,
    "renorm_momentum": 0.99,
    "fused": None,
    "virtual_batch_size": None,
    "adjustment": None,
}
FOUR = (6, 4, 5, 3)
PORTING = (Path(__file__).resolve().parents[2] / "docs" / "porting.md").read_text(encoding="utf-8")


@pytest.fixture
def graph():
    with tf.Graph().as_default() as made:
        yield made


@pytest.fixture(params=["reference", "resource"])
def mode(request):
    with played_in(request.param), tf.Graph().as_default():
        yield request.param


def test_signature_is_that_of_1_15():
    parameters = inspect.signature(tf1bn.batch_normalization).parameters
    assert list(parameters) == list(PARAMETERS)
    for name, parameter in parameters.items():
        default = parameter.default
        if name.endswith("_initializer"):
            default = type(default).__name__.replace("Initializer", "")
        assert default == PARAMETERS[name], name
        assert parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD


CALLS = [
    ({"axis": (1,)}, TypeError, r"`axis` is \(1,\); it must be an int or a list of ints"),
    ({"axis": []}, IndexError, "`axis` is an empty list; give at least one axis"),
    ({"axis": 4}, ValueError, r"`axis` is 4 and the inputs have rank 4; it must be -4 to 3"),
    ({"axis": [1, -3]}, ValueError, r"`axis` is \[1, -3\], which names a dimension .* twice"),
    ({"virtual_batch_size": 0}, ValueError, "`virtual_batch_size` is 0; it must be None or such a number"),
    ({"virtual_batch_size": 2, "axis": 0}, ValueError, "`virtual_batch_size` splits dimension 0, and `axis` names it"),
    ({"virtual_batch_size": 2, "adjustment": len}, ValueError, "`virtual_batch_size` and `adjustment` exclude"),
    (
        {"renorm": True, "renorm_clipping": {"max": 1}},
        ValueError,
        r"`renorm_clipping` has the keys \['max'\]; its keys must be among rmax, rmin, dmax",
    ),
    ({"training": np.array([True, False])}, TypeError, r"`training` is array\(\[ True, False\]\); it must be True"),
    ({"training": "yes"}, TypeError, "`training` is 'yes'; it must be True, False, or a boolean tensor"),
    ({"momentum": "much", "training": True}, TypeError, "`momentum` is 'much'; it must be a number"),
    ({"momentum": None, "training": True}, ValueError, "`momentum` is None; it must be a number"),
    ({"epsilon": "small"}, TypeError, "`epsilon` is 'small'; it must be a number"),
    ({"fused": "yes", "axis": 2}, ValueError, "`fused` is 'yes'; it must be None, True or False"),
    (
        {"beta_initializer": "nope"},
        ValueError,
        "`beta_initializer` is 'nope'; it must be .* the names zeros, ones",
    ),
    ({"beta_initializer": 3}, ValueError, "`beta_initializer` is 3; it must be an initializer, a function"),
    ({"gamma_regularizer": "l3"}, ValueError, "`gamma_regularizer` is 'l3'; it must be a function .* the names"),
    ({"gamma_regularizer": 3}, ValueError, "`gamma_regularizer` is 3; it must be"),
    ({"beta_constraint": "nope"}, ValueError, "`beta_constraint` is 'nope'; it must be a function .* the names"),
    ({"gamma_constraint": 3}, ValueError, "`gamma_constraint` is 3; it must be a function"),
]


@pytest.mark.parametrize(("arguments", "kind", "message"), CALLS)
def test_wrong_arguments_are_named_in_a_sentence(graph, arguments, kind, message):
    with pytest.raises(kind, match=message):
        tf1bn.batch_normalization(tf.placeholder(tf.float32, FOUR), **arguments)


@pytest.mark.parametrize(
    ("shape", "arguments", "kind", "message"),
    [
        (None, {}, ValueError, r"`inputs` \(.*\) has an unknown rank; .* needs rank 1 or more"),
        ([], {}, ValueError, r"`inputs` \(.*\) has rank 0"),
        ([2, None, 3], {"axis": [1, 2]}, ValueError, "an unknown size of axis 1, which `axis` names"),
        ([None, None, 3], {"virtual_batch_size": 2}, TypeError, "every size but that of the batch must be known"),
    ],
)
def test_wrong_shapes_are_named_in_a_sentence(graph, shape, arguments, kind, message):
    with pytest.raises(kind, match=message):
        tf1bn.batch_normalization(tf.placeholder(tf.float32, shape), **arguments)


def test_the_example_of_the_manual_runs(graph):
    (example,) = re.findall(r"```python\n(x = tf.placeholder[^`]*?batch_normalization\n)```", PORTING, re.DOTALL)
    names = {"tf": tf, "tf1bn": tf1bn}
    exec(example, names)
    assert names["y"].shape.as_list() == [None, 64, 28, 28]
    assert [v.op.name for v in tf.trainable_variables()] == ["bn2/gamma", "bn2/beta"]


def test_two_inputs_are_not_stacked_without_a_word(graph):
    with pytest.raises(TypeError, match="`inputs` is a list; it must be one tensor or array"):
        tf1bn.batch_normalization([tf.ones([2, 3]), tf.ones([2, 3])])


def test_it_takes_no_arg_scope_as_in_1_15(graph):
    with (
        pytest.raises(ValueError, match="takes no defaults from an `arg_scope`"),
        tf1bn.arg_scope([tf1bn.batch_normalization], momentum=0.5),
    ):
        pass


def test_a_virtual_batch_is_normalised_like_a_batch_of_its_own(mode):
    """Exact arithmetic apart from rounding: every slice i::B of the batch has mean 0 and variance v / (v + epsilon)."""
    batch = np.random.default_rng(3).normal(50, 4, (12, 5, 3)).astype(np.float32)
    x = tf.placeholder(tf.float32, [None, 5, 3])
    y = tf1bn.batch_normalization(x, virtual_batch_size=4, training=True)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        got = session.run(y, {x: batch}).astype(float)
    for i in range(3):
        part, wide = got[i::3], batch[i::3].astype(float)
        spread = wide.var((0, 1))
        assert np.abs(part.mean((0, 1))).max() < 1e-5
        assert np.abs(part.var((0, 1)) - spread / (spread + 0.001)).max() < 1e-5


# ---------------------------------------------------------------- recording


RECORDABLE = {
    "last": ({}, FOUR, "NHWC", None),
    "last, named": ({"axis": 3}, FOUR, "NHWC", None),
    "second": ({"axis": 1, "fused": False}, (6, 3, 4, 5), "NCHW", None),
    "second, fused": ({"axis": -3}, (6, 3, 4, 5), "NCHW", None),
    "third": ({"axis": 2}, (6, 4, 3, 5), "NHWC", 2),
    "first": ({"axis": 0}, (3, 6, 4, 5), "NHWC", 0),
    "rank 1": ({"axis": 0}, (3,), "NHWC", None),
    "rank 2": ({"axis": [1]}, (6, 3), "NHWC", None),
    "rank 2, first": ({"axis": 0}, (3, 6), "NHWC", 0),
    "rank 5, second": ({"axis": 1}, (2, 3, 2, 2, 3), "NCHW", None),
    "rank 5, fourth": ({"axis": [-2]}, (2, 2, 2, 3, 2), "NHWC", 3),
    "renorm": ({"renorm": True, "axis": 2}, (6, 4, 3, 5), "NHWC", 2),
    "frozen": ({"trainable": False, "axis": 2}, (6, 4, 3, 5), "NHWC", 2),
}


def record(folder, shape, arguments, steps=3, forget=False):
    x = tf.placeholder(tf.float32, shape)
    y = tf1bn.batch_normalization(x, momentum=0.9, name="net/bn", **arguments)
    if forget:
        tf.get_default_graph().clear_collection(graph_collections.BUILT_LAYERS)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        with tf1bn.Recorder(session, folder) as rec:
            for step in range(steps):
                batch = np.random.default_rng(step).normal(3, 2, shape)
                rec.run([y, tf.get_collection(tf.GraphKeys.UPDATE_OPS)], {x: batch})
            return rec.steps


@pytest.mark.parametrize("id", tiers.slow_but(list(RECORDABLE)[::2], list(RECORDABLE)))
def test_layers_of_one_axis_are_recorded_and_judged(mode, tmp_path, id):
    arguments, shape, data_format, axis = RECORDABLE[id]
    assert record(str(tmp_path / "t"), shape, dict(arguments, training=True)) == 3
    opened = trace.open(str(tmp_path / "t"))
    layer = opened.layers["net/bn"]
    assert (layer.data_format, layer.axis, layer.unrecordable) == (data_format, axis, None)
    assert (layer.decay, layer.scale, layer.release) == (0.9, True, "1.15")
    channels = layer.channel_axis % len(shape)
    for number, step in enumerate(opened):
        got = step.layers["net/bn"]
        x = np.random.default_rng(number).normal(3, 2, shape).astype(np.float32)
        assert np.array_equal(got.inputs[0].reshape(shape), x)
        mean = x.astype(float).mean(tuple(i for i in range(len(shape)) if i != channels))
        if "trainable" in arguments:
            mean = got.moving_mean_before
        moved = got.moving_mean_before + 0.1 * (mean - got.moving_mean_before)
        assert np.abs(got.moving_mean_after - moved).max() < 1e-6
    (judged,) = diagnosis.diagnose(opened)
    if "trainable" in arguments:
        assert [cause.id for cause in judged.causes] == ["trainable-false"]
    else:
        assert judged.verdict == "ok", judged


SEVERAL = {
    "several axes": ({"axis": [1, 3]}, FOUR, 12),
    "several axes, one wide": ({"axis": [1, 3]}, (6, 4, 5, 1), 4),
    "virtual": ({"virtual_batch_size": 2}, FOUR, 3),
}


@pytest.mark.parametrize("by_form", [False, True], ids=["built", "by form"])
@pytest.mark.parametrize("training", [True, False], ids=["train", "test"])
@pytest.mark.parametrize("id", SEVERAL)
def test_several_axes_and_virtual_batches_are_judged(mode, tmp_path, id, training, by_form):
    """By form as in graphs that come from TF 1.15 itself."""
    arguments, shape, channels = SEVERAL[id]
    assert record(str(tmp_path / "t"), shape, dict(arguments, training=training), forget=by_form) == 3
    opened = trace.open(str(tmp_path / "t"))
    assert next(iter(opened)).layers["net/bn"].moving_mean_before.shape == (channels,)
    (judged,) = diagnosis.diagnose(opened)
    assert judged.verdict == "ok", judged
