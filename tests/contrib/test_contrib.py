"""The names of tf.contrib that old code around batch_norm imports, against recordings of TF 1.15.5."""

import importlib
import itertools
import json
import pathlib

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
import tiers
from golden.record import contrib as cases
from modes import MODES, played_in

import tf1bn
from tf1bn.contrib import _names

with open(cases.PATH, encoding="ascii") as _stream:
    RECORDED = json.load(_stream)


@pytest.mark.parametrize("mode", tiers.slow_but(["reference"], list(MODES)))
@pytest.mark.parametrize("name", cases.CASES)
def test_the_recorded_graphs(name, mode):
    with played_in(mode):
        seen = cases.observed(tf, tf1bn.contrib, cases.CASES[name])
    wanted = dict(RECORDED[name])
    named = ["output", *wanted["collections"]["variables"]]
    values = zip(seen.pop("values"), wanted.pop("values"), strict=True)
    for variable, (mine, theirs) in itertools.zip_longest(named, list(values)):
        # In the run that updates it, a resource variable may be read before or after.
        if not (MODES[mode].resource and variable and "moving_" in variable):
            np.testing.assert_allclose(mine, theirs, rtol=3e-6, atol=3e-7)
    if MODES[mode].control_flow_v2:
        wanted["output"] = wanted["output"].replace("cond/Merge", "cond/Identity")
    assert seen == wanted


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("layers", "batch_norm"),
        ("layers.python.layers", "batch_norm"),
        ("layers.python.layers.layers", "batch_norm"),
        ("slim", "batch_norm"),
        ("layers.python.layers.initializers", "xavier_initializer"),
        ("layers.python.layers.regularizers", "l2_regularizer"),
        ("layers.python.layers.utils", "collect_named_outputs"),
        ("framework", "arg_scope"),
        ("framework.python.ops", "arg_scope"),
        ("framework.python.ops", "add_arg_scope"),
        ("framework.python.ops.arg_scope", "arg_scope"),
        ("framework.python.ops.variables", "model_variable"),
        ("slim", "arg_scope"),
        ("slim", "conv2d"),
        ("slim", "get_or_create_global_step"),
    ],
)
def test_old_paths(path, name):
    module = importlib.import_module(f"tf1bn.contrib.{path}")
    assert getattr(module, name).__name__ in (name, "convolution2d", "get_or_create_global_step")
    if name == "batch_norm":
        assert module.batch_norm is tf1bn.batch_norm
    assert name in dir(module)


def test_type_checkers_find_the_modules():
    stubs = pathlib.Path(tf1bn.contrib.__file__).parent.glob("*.pyi")
    assert sorted(path.stem for path in stubs) == tf1bn.contrib.__all__ == sorted(_names.TREE[""])


def test_every_listed_name_is_there():
    for path, names in _names.TREE.items():
        if isinstance(names, str):
            continue
        module = importlib.import_module(f"tf1bn.contrib.{path}") if path else tf1bn.contrib
        # `test_lent` has those of other packages.
        others = ("tf_slim.", "tf.nn.rnn_cell", "contrib._other.cells")
        own = {name: target for name, target in names.items() if not target.startswith(others)}
        assert all(getattr(module, name) is not None for name in own)
        assert set(own) <= set(dir(module))


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("rnn.UGRNNCell", "use another cell of tf.nn.rnn_cell"),
        ("seq2seq.dynamic_decode", "a decoding loop of your own"),
        ("crf.CrfForwardRnnCell", "crf_log_norm or crf_decode"),
        ("training.stratified_sample", "tf.train and tf.data"),
        ("framework.fuse_op", "replace it with its successor"),
    ],
)
def test_what_is_missing_says_what_to_use(path, words):
    module = tf1bn.contrib
    *parents, name = path.split(".")
    for parent in parents:
        module = getattr(module, parent)
    with pytest.raises(AttributeError, match=rf"^tf1bn does not provide `tf\.contrib\.{path}`.*{words}.*\.$"):
        getattr(module, name)
    assert not hasattr(module, name)


def test_wrong_arguments_are_named():
    layers, framework = tf1bn.contrib.layers, tf1bn.contrib.framework
    with tf.Graph().as_default():
        image, unknown = tf.placeholder(tf.float32, [None, 4, 4, 3]), tf.placeholder(tf.float32, [None, None])
        for call, error, words in [
            (lambda: layers.conv2d(image, 2, [3, 3, 3]), ValueError, "must be an integer or a sequence of two"),
            (lambda: layers.conv2d(image, 2, 3, data_format="NWHC"), ValueError, "`data_format` is 'NWHC'"),
            (lambda: layers.conv2d(unknown, 2, 3), ValueError, r"it must have rank 4"),
            (lambda: layers.fully_connected(unknown, 2), ValueError, "unknown number of channels"),
            (lambda: layers.fully_connected(image, 2.0), ValueError, "`num_outputs` is 2.0"),
            (lambda: layers.l2_regularizer(1), ValueError, "`scale` is the integer 1"),
            (lambda: layers.l1_regularizer(-1.0), ValueError, "`scale` is -1; it must be 0.0 or more"),
            (lambda: layers.l1_regularizer(float("nan")), ValueError, "`scale` is nan"),
            (lambda: layers.apply_regularization(layers.l2_regularizer(0.1)), ValueError, "nothing to regularize"),
            (lambda: layers.apply_regularization(lambda w: w, [image]), ValueError, "must return a scalar"),
            (lambda: layers.variance_scaling_initializer(mode="FAN"), ValueError, "`mode` is 'FAN'"),
            (lambda: layers.xavier_initializer(dtype=tf.int32), TypeError, "`dtype` is"),
            (lambda: layers.stack(image, layers.conv2d, 3), ValueError, "`stack_args` is 3"),
            (lambda: framework.get_variables_to_restore(include="a"), TypeError, "`include` is 'a'"),
            (lambda: framework.get_unique_variable("nowhere"), ValueError, "no variable has that name"),
            (lambda: framework.get_global_step(), ValueError, "no global step"),
            (lambda: framework.arg_scoped_arguments(len), ValueError, "not decorated"),
            (lambda: framework.assign_from_checkpoint_fn("x", []), ValueError, "`var_list` is empty"),
        ]:
            with pytest.raises(error, match=words):
                call()


def test_variables_of_a_normalizer_are_the_models():
    # As printed by 1.15.5. `bias_add` is another matter there, too.
    slim = tf1bn.contrib.slim

    def norm(x):
        gamma = tf.get_variable("gamma", [x.shape[-1]], initializer=tf.ones_initializer(), trainable=False)
        return x * gamma * tf.get_variable("local", [], collections=[tf.GraphKeys.LOCAL_VARIABLES])

    with tf.Graph().as_default():
        x = slim.conv2d(tf.ones([1, 4, 4, 2]), 3, 1, normalizer_fn=norm, scope="c")
        x = slim.fully_connected(x, 2, normalizer_fn=norm, scope="f")
        slim.bias_add(x, activation_fn=norm, scope="b")
        names = {
            collection: [variable.op.name for variable in tf.get_collection(collection)]
            for collection in ("model_variables", "variables", "local_variables", "trainable_variables")
        }
    layers = ["c/weights", "c/gamma", "c/local", "f/weights", "f/gamma", "f/local", "b/biases"]
    assert names == {
        "model_variables": layers,
        "variables": [*layers, "b/gamma"],
        "local_variables": ["c/local", "f/local", "b/local"],
        "trainable_variables": ["c/weights", "c/local", "f/weights", "f/local", "b/biases", "b/local"],
    }


def test_the_small_helpers():
    # As 1.15.5 answers.
    utils = tf1bn.contrib.slim.utils
    shape = tf.TensorShape([None, 4, 5])
    sizes = [utils.channel_dimension(shape, f"channels_{where}") for where in ("first", "last")]
    assert (utils.last_dimension(shape, min_rank=3), sizes) == (5, [4, 5])
    integers = utils.n_positive_integers
    assert [integers(2, 3), integers(3, (1, 2, 3)), integers(2, shape[1:])] == [(3, 3), (1, 2, 3), (4, 5)]
    with tf.Graph().as_default():
        fed, one = tf.placeholder(tf.bool, []), tf.constant(1)
        assert [utils.constant_value(value) for value in (3, one, fed, tf.Variable(1))] == [3, 1, None, None]
        chosen = [utils.smart_cond(pred, lambda: "a", lambda: "b") for pred in (True, tf.constant(False))]
        assert [*chosen, utils.static_cond(0, lambda: "a", lambda: "b")] == ["a", "b", "b"]
        made = utils.smart_cond(fed, lambda: tf.constant(1), lambda: tf.constant(2), name="unused")
        with tf.Session() as session:
            assert [session.run(made, {fed: value}) for value in (True, False)] == [1, 2]
        for call, error, words in [
            (
                lambda: utils.channel_dimension(tf.TensorShape([2, None]), None),
                ValueError,
                "dimension -1 must be known",
            ),
            (lambda: utils.last_dimension(shape, min_rank=4), ValueError, "rank of at least 4"),
            (lambda: utils.last_dimension(tf.TensorShape(None)), ValueError, "known rank"),
            (lambda: integers(2, [1]), ValueError, r"`value` is \[1\]"),
            (lambda: integers(2, 0), ValueError, "`value` is 0"),
            (lambda: integers(0, 1), ValueError, "`n` is 0"),
            (lambda: utils.constant_value(None), ValueError, "is None"),
            (lambda: utils.constant_value(one, tf.float32), ValueError, "has dtype"),
            (lambda: utils.static_cond(True, 1, max), TypeError, "`fn1` is 1"),
        ]:
            with pytest.raises(error, match=words):
                call()


def test_values_from_arrays_and_checkpoints(tmp_path):
    framework = tf1bn.contrib.framework
    with tf.Graph().as_default(), tf.Session() as session:
        a = framework.model_variable("a", [2], initializer=tf.zeros_initializer())
        b = framework.model_variable("b", [2], initializer=tf.zeros_initializer())
        session.run(tf.global_variables_initializer())
        framework.assign_from_values_fn({"a": np.array([1.0, 2.0]), "b": np.array([3.0, 4.0])})(session)
        path = tf.train.Saver([a]).save(session, str(tmp_path / "model.ckpt"))
        session.run(tf.global_variables_initializer())
        with pytest.raises(ValueError, match=r"`var_list` holds .b., which the checkpoint .* lacks"):
            framework.assign_from_checkpoint(path, [a, b])
        framework.assign_from_checkpoint_fn(path, [a, b], ignore_missing_vars=True)(session)
        assert session.run([a, b])[0].tolist() == [1, 2]
        assert framework.assign_from_checkpoint_fn(path, [b], ignore_missing_vars=True) is None
        assign, feeds = framework.assign_from_checkpoint(path, {"a": b})
        session.run(assign, feeds)
        assert session.run(b).tolist() == [1, 2]
