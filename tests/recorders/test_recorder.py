"""Recording a session: what is written is what the layers took, gave and held, and recording changes nothing."""

import collections
import itertools
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import tensorflow
import tiers
from modes import played_in

import tf1bn
from tf1bn import checker, trace
from tf1bn.diagnosis import diagnose
from tf1bn.layers import graph_collections
from tf1bn.recorders import limits
from tf1bn.trace.views import TraceView

tf = tensorflow.compat.v1
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=["reference", "resource"])
def mode(request):
    with played_in(request.param), tf.Graph().as_default():
        yield request.param


@pytest.fixture
def folder(tmp_path):
    return str(tmp_path / "run.trace")


def ready():
    session = tf.Session()
    session.run(tf.global_variables_initializer())
    return session


def batch(shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(3, 2, shape).astype(dtype)


def updates():
    return tf.get_collection(tf.GraphKeys.UPDATE_OPS)


def forget():
    """Leave only the operations: what was built is found by its form, like a graph from elsewhere."""
    tf.get_default_graph().clear_collection(graph_collections.BUILT_LAYERS)


def assert_honest(record):
    """The statistics moved as the checker says, within its bounds, application by application."""
    layer = record.layer
    stats = checker.MovingStats(
        record.moving_mean_before,
        record.moving_variance_before,
        decay=0.0 if record.decay is None else record.decay,
        bessel=layer.fused,
        dtype=layer.dtype,
        rate_dtype=layer.rate_dtype,
    )
    batches = record.inputs or record.moments
    for given, trained in zip(batches, record.training, strict=True):
        if trained:
            stats.update(given, data_format=layer.data_format)
    assert stats.compare(record.moving_mean_after, record.moving_variance_after).ok


def assert_normalised(record):
    """The outputs are the inputs, normalised with what the layer had to take."""
    shape = [1] * record.inputs[0].ndim
    shape[record.layer.channel_axis] = -1
    axes = tuple(i for i, size in enumerate(shape) if size == 1)
    for x, y, trained in zip(record.inputs, record.outputs, record.training, strict=True):
        x = x.astype(np.float64)
        mean, variance = x.mean(axes), x.var(axes)
        if not trained:
            mean, variance = record.moving_mean_before.astype(float), record.moving_variance_before.astype(float)
        gamma = 1.0 if record.gamma is None else record.gamma.reshape(shape)
        beta = 0.0 if record.beta is None else record.beta.reshape(shape)
        expected = (x - mean.reshape(shape)) / np.sqrt(variance.reshape(shape) + record.layer.epsilon) * gamma + beta
        assert np.abs(y - expected).max() <= 1e-5 * np.abs(expected).max()


# ---------------------------------------------------------------- every code path

FOUR = (6, 4, 5, 3)
CASES = {  # the letter is the code path in TF 1.15
    "A": ({"updates_collections": None}, FOUR),
    "A rank 2": ({}, (6, 3)),
    "A dynamic": ({"updates_collections": None, "is_training": "fed"}, FOUR),
    "A dynamic, other collection": ({"updates_collections": "mine", "is_training": "fed"}, FOUR),
    "A test": ({"updates_collections": None, "is_training": False}, FOUR),
    "B": ({}, FOUR),
    "B scale": ({"scale": True, "center": False, "epsilon": 0.01}, FOUR),
    "B dynamic": ({"is_training": "fed", "scale": True}, FOUR),
    "B test": ({"is_training": False}, FOUR),
    "B NCHW": ({"data_format": "NCHW"}, (6, 3, 4, 5)),
    "C": ({"fused": False, "scale": True}, FOUR),
    "C bare": ({"fused": False, "center": False}, FOUR),
    "C rank 3": ({}, (6, 4, 3)),
    "C rank 5": ({"scale": True}, (2, 3, 2, 2, 3)),
    "C dynamic": ({"fused": False, "is_training": "fed", "scale": True}, FOUR),
    "C test": ({"fused": False, "is_training": False, "scale": True}, FOUR),
    "C NCHW": ({"fused": False, "data_format": "NCHW"}, (6, 3, 4, 5)),
    "C NCHW test": ({"fused": False, "data_format": "NCHW", "is_training": False}, (6, 3, 4, 5)),
    "D": ({"fused": False, "updates_collections": None}, FOUR),
    "D dynamic": ({"fused": False, "updates_collections": None, "is_training": "fed"}, FOUR),
    "D dynamic, other collection": ({"fused": False, "updates_collections": "mine", "is_training": "fed"}, FOUR),
    "D NCHW rank 2": ({"fused": False, "updates_collections": None, "data_format": "NCHW"}, (6, 3)),
}


@pytest.mark.parametrize("by_form", tiers.slow_but([True], [False, True]), ids=["built", "by form"])
@pytest.mark.parametrize("id", tiers.slow_but(list(CASES)[::3], list(CASES)))
def test_every_code_path_is_recorded(mode, folder, id, by_form):
    arguments, shape = CASES[id]
    arguments = dict(arguments)
    x = tf.placeholder(tf.float32, [None, *shape[1:]])
    flag = tf.placeholder(tf.bool, []) if arguments.get("is_training") == "fed" else None
    if flag is not None:
        arguments["is_training"] = flag
    y = tf1bn.batch_norm(x, 0.9, scope="net/bn", **arguments)
    out = tf.nn.relu(y)
    if by_form:
        forget()
    # The control flow of TensorFlow 2 hides from view what it chooses between.
    hidden = by_form and mode == "resource" and flag is not None
    todo = [out, updates(), tf.get_collection("mine")]
    with ready() as session:
        for i, variable in enumerate(tf.global_variables()):
            variable.load(np.linspace(0.5, 1.5, 3) + i, session)
        with tf1bn.Recorder(session, folder) as rec:
            for step in range(4):
                feeds = {x: batch(shape, step)} | ({} if flag is None else {flag: step % 2 == 0})
                held = session.run(tf.global_variables())
                result, *_ = rec.run(todo, feeds)
                now = session.run(tf.global_variables())
                if not hidden:
                    assert rec.steps == step + 1
        names = [variable.op.name.rpartition("/")[2] for variable in tf.global_variables()]
    opened = trace.open(folder)
    assert list(opened.layers) == ["net/bn"]
    layer = opened.layers["net/bn"]
    if hidden:
        assert layer.unrecordable == "It is in a function, as tf.cond and tf.while_loop make them."
        assert list(opened) == []
        return
    test = arguments.get("is_training") is False
    assert layer == trace.Layer(
        decay=None if by_form and test else 0.9,
        epsilon=arguments.get("epsilon", 0.001),
        data_format=arguments.get("data_format", "NHWC") if "rank 2" not in id or not by_form else layer.data_format,
        fused=id[0] in "AB",
        release=None if by_form else "1.15",
        center=arguments.get("center", True),
        scale=arguments.get("scale", False),
        rate_dtype=None if by_form and test else "float32" if id[0] == "B" else "float64",
    )
    steps = list(opened)
    assert [step.training for step in steps] == [not test and (flag is None or i % 2 == 0) for i in range(4)]
    for i, step in enumerate(steps):
        record = step.layers["net/bn"]
        assert record.training == (step.training,)
        # By form, rank 2 may be seen as rank 4: the fused operation takes nothing else.
        assert record.inputs[0].reshape(shape).tobytes() == batch(shape, i).tobytes()
        assert_honest(record)
        assert_normalised(record)
    assert np.maximum(record.outputs[0], 0).reshape(shape).tobytes() == result.tobytes()
    for values, when in ((held, "before"), (now, "after")):
        by_name = dict(zip(names, values, strict=True))
        for name in ("moving_mean", "moving_variance"):
            assert getattr(record, f"{name}_{when}").tobytes() == by_name[name].tobytes()
    for name in ("gamma", "beta"):
        value = getattr(record, name)
        assert value is None if name not in names else value.tobytes() == by_name[name].tobytes()


def test_a_run_starts_where_the_last_one_ended(mode, folder):
    x = tf.placeholder(tf.float32, [None, 3])
    y = tf1bn.batch_norm(x, 0.5, updates_collections=None, scope="bn")
    with ready() as session, tf1bn.Recorder(session, folder) as rec:
        for step in range(3):
            rec.run(y, {x: batch((4, 3), step)})
    records = [step.layers["bn"] for step in trace.open(folder)]
    assert (records[0].moving_mean_before == 0).all()
    for record, following in itertools.pairwise(records):
        assert (record.moving_mean_after == following.moving_mean_before).all()
        assert (record.moving_mean_after != record.moving_mean_before).all()


@pytest.mark.parametrize("by_form", [False, True], ids=["built", "by form"])
@pytest.mark.parametrize("arguments", [{}, {"fused": False}], ids=["fused", "composed"])
def test_zero_debias_has_its_state(mode, folder, arguments, by_form):
    x = tf.placeholder(tf.float32, [None, 3])
    y = tf1bn.batch_norm(x, 0.9, zero_debias_moving_mean=True, scope="bn", **arguments)
    if by_form:
        forget()
    with ready() as session, tf1bn.Recorder(session, folder) as rec:
        for step in range(3):
            rec.run([y, updates()], {x: batch((4, 3), step)})
    opened = trace.open(folder)
    assert opened.layers["bn"].zero_debias
    assert opened.layers["bn"].decay == 0.9
    for number, step in enumerate(opened):
        record = step.layers["bn"]
        state = record.state
        assert set(state) == {"biased", "local_step", "biased_after", "local_step_after"}
        assert (state["local_step"], state["local_step_after"]) == (number, number + 1)
        expected = state["biased_after"] / (1 - 0.9 ** (number + 1))
        assert np.allclose(record.moving_mean_after, expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("by_form", [False, True], ids=["built", "by form"])
def test_renorm_has_its_state(mode, folder, by_form):
    x = tf.placeholder(tf.float32, [None, 3])
    y = tf1bn.batch_norm(x, 0.9, renorm=True, scale=True, scope="bn")
    if by_form:
        forget()
    with ready() as session, tf1bn.Recorder(session, folder) as rec:
        rec.run([y, updates()], {x: batch((4, 3))})
    opened = trace.open(folder)
    assert opened.layers["bn"].renorm
    (record,) = (step.layers["bn"] for step in opened)
    names = {"moving_stddev", "renorm_mean", "renorm_stddev"}
    assert set(record.state) == names | {f"{name}_after" for name in names}
    deviation = record.state["moving_stddev_after"].astype(float)
    assert np.allclose(record.moving_variance_after, deviation**2 - 0.001, rtol=1e-5, atol=0)
    assert (record.gamma == 1).all()
    assert (record.beta == 0).all()


CLIPPING = {
    "none": None,
    "all": {"rmin": 0.8, "rmax": 1.25, "dmax": 0.125},
    "some": {"rmax": 1.5, "dmax": None},
}


@pytest.mark.parametrize("by_form", [False, True], ids=["built", "by form"])
@pytest.mark.parametrize("release", tiers.slow_but(["1.15"], ["1.4", "1.12", "1.15"]))
@pytest.mark.parametrize("clipping", tiers.slow_but(["all"], list(CLIPPING)))
@pytest.mark.parametrize("dynamic", tiers.slow_but([False], [False, True]), ids=["static", "dynamic"])
def test_r_and_d_of_renorm_are_judged(mode, folder, clipping, release, dynamic, by_form):
    x = tf.placeholder(tf.float32, [None, 4, 3])
    flag = tf.placeholder_with_default(True, []) if dynamic else True
    clipping = CLIPPING[clipping]
    with tf1bn.release(release):
        y = tf1bn.batch_norm(x, 0.9, renorm=True, scale=True, is_training=flag, scope="bn", renorm_clipping=clipping)
    if by_form:
        forget()
    with ready() as session, tf1bn.Recorder(session, folder) as rec:
        by_name = {variable.op.name: variable for variable in tf.global_variables()}
        by_name["bn/gamma"].load([0.5, 2.0, -1.0], session)
        by_name["bn/beta"].load([0.0, 1.0, -3.0], session)
        for step in range(6):
            rec.run([y, updates()], {x: batch((8, 4, 3), step) * (0.5 if step % 2 else 1.2)})
    opened = trace.open(folder)
    if by_form and dynamic and mode == "resource":
        assert opened.layers["bn"].unrecordable or opened.layers["bn"].renorm_clipping is None
        return
    declared = {name: limit for name, limit in (clipping or {}).items() if limit is not None}
    assert opened.layers["bn"].renorm_clipping == declared
    (found,) = diagnose(opened)
    assert found.verdict == "ok", found.explanation
    assert "not checked" not in found.explanation
    assert found.added_error <= found.added_bound
    # Before 1.15 the averages hold much of the batch itself, so that r and d are small in the first steps.
    for other in ({"rmax": 0.7}, {"rmin": 2.0}) if release != "1.15" else ({"rmax": 1.02}, {"dmax": 0.01}):
        changed = TraceView(opened, settings={"bn": {"renorm_clipping": declared | other}})
        (found,) = diagnose(changed)
        assert found.verdict == "finding", found.explanation
    (found,) = diagnose(TraceView(opened, settings={"bn": {"renorm_clipping": None}}))
    assert (found.verdict, "The outputs of training steps were not checked" in found.explanation) == ("ok", True)


def test_weights_are_recorded_and_keep_the_inputs(mode, folder):
    x, w = tf.placeholder(tf.float32, [None, 3]), tf.placeholder(tf.float32, [None])
    y = tf1bn.batch_norm(x, 0.9, batch_weights=w, scope="bn")
    with ready() as session, tf1bn.Recorder(session, folder, keep="moments") as rec:
        rec.run([y, updates()], {x: batch((4, 3)), w: [1, 2, 0, 5]})
    (record,) = (step.layers["bn"] for step in trace.open(folder))
    assert record.weights[0].tolist() == [1, 2, 0, 5]
    assert record.inputs[0].tobytes() == batch((4, 3)).tobytes()
    assert (record.moments, record.outputs) == (None, None)


def test_weights_that_are_only_seen_by_form_are_not_taken_for_plain_moments(mode, folder):
    x = tf.placeholder(tf.float32, [None, 3])
    y = tf1bn.batch_norm(x, 0.9, batch_weights=tf.constant([1.0, 2.0]), scope="bn")
    forget()
    with ready() as session, tf1bn.Recorder(session, folder) as rec:
        rec.run([y, updates()], {x: batch((2, 3))})
    sentence = "Its batch statistics are not the plain moments of its input, as with weights."
    assert trace.open(folder).layers["bn"].unrecordable == sentence


@pytest.mark.parametrize(("dtype", "kept"), [("float16", "float16"), ("bfloat16", "float32"), ("float64", "float64")])
@pytest.mark.parametrize("keep", ["inputs", "moments"])
def test_other_dtypes(mode, folder, dtype, kept, keep):
    x = tf.placeholder(dtype, [None, 3])
    y = tf1bn.batch_norm(x, 0.9, fused=False, updates_collections=None, scope="bn")
    with ready() as session, tf1bn.Recorder(session, folder, keep=keep) as rec:
        rec.run(y, {x: batch((4, 3))})
    opened = trace.open(folder)
    (record,) = (step.layers["bn"] for step in opened)
    assert opened.layers["bn"].dtype == dtype
    assert record.moving_mean_after.dtype == kept
    if keep == "inputs":
        assert record.inputs[0].dtype == record.outputs[0].dtype == kept
    if dtype != "bfloat16":
        assert_honest(record)


def test_moments_are_those_of_the_checker(mode, folder):
    x = tf.placeholder(tf.float32, [None, 3, 4, 5])
    y = tf1bn.batch_norm(x, 0.9, data_format="NCHW", scope="bn")
    with ready() as session, tf1bn.Recorder(session, folder, keep="moments") as rec:
        for rows in (6, 0):
            rec.run([y, updates()], {x: batch((rows, 3, 4, 5))})
    first, second = (step.layers["bn"] for step in trace.open(folder))
    expected = checker.batch_moments(batch((6, 3, 4, 5)), data_format="NCHW")
    (moments,) = first.moments
    assert moments.count == 120
    assert moments.mean.tobytes() == expected.mean.tobytes()
    assert moments.variance.tobytes() == expected.variance.tobytes()
    assert (first.inputs, first.outputs) == (None, None)
    assert_honest(first)
    assert second.moments[0].count == 0


def test_a_vector_is_one_sample(mode, folder):
    y = tf1bn.batch_norm(tf.constant([1.0, 2.0, 3.0]), 0.9, fused=False, scope="bn")
    with ready() as session, tf1bn.Recorder(session, folder) as rec:
        rec.run([y, updates()])
    (record,) = (step.layers["bn"] for step in trace.open(folder))
    assert record.inputs[0].tolist() == [[1, 2, 3]]
    assert record.outputs[0].shape == (1, 3)
    assert_honest(record)


def test_a_partitioned_gamma_is_whole(folder):
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [None, 4])
        with tf.variable_scope("net", partitioner=tf.fixed_size_partitioner(2)):
            y = tf1bn.batch_norm(x, 0.9, fused=False, scale=True, scope="bn")
        with ready() as session, tf1bn.Recorder(session, folder) as rec:
            parts = [v for v in tf.global_variables() if "gamma" in v.op.name]
            assert len(parts) == 2
            for i, part in enumerate(parts):
                part.load([i + 1.0, i + 1.5], session)
            rec.run([y, updates()], {x: batch((5, 4))})
    (record,) = (step.layers["net/bn"] for step in trace.open(folder))
    assert record.gamma.tolist() == [1, 1.5, 2, 2.5]
    assert_normalised(record)


# ---------------------------------------------------------------- several applications


@pytest.mark.parametrize("by_form", [False, True], ids=["built", "by form"])
def test_a_layer_applied_several_times_has_one_set_of_statistics(mode, folder, by_form):
    """A GAN's discriminator on real and on fake images, and a test of it."""
    real, fake = tf.placeholder(tf.float32, [None, 2, 2, 3]), tf.placeholder(tf.float32, [None, 2, 2, 3])

    def layer(x, is_training=True, **arguments):
        with tf.variable_scope("d", reuse=tf.AUTO_REUSE):
            return tf1bn.batch_norm(x, is_training=is_training, updates_collections=None, scope="bn", **arguments)

    on_real = layer(real, decay=0.9)
    on_fake = layer(fake, decay=0.9)
    # With another decay, which does not matter in testing.
    test = layer(real, is_training=False, decay=0.5)
    if by_form:
        forget()
    feeds = {real: batch((4, 2, 2, 3), 1), fake: batch((5, 2, 2, 3), 2)}
    with ready() as session, tf1bn.Recorder(session, folder) as rec:
        for fetches in ([on_real, on_fake], on_fake, test, [test, on_real]):
            rec.run(fetches, feeds)
    opened = trace.open(folder)
    assert opened.layers["d/bn"].decay == 0.9
    records = [step.layers["d/bn"] for step in opened]
    assert [record.training for record in records] == [(True, True), (True,), (False,), (True, False)]
    assert [step.training for step in opened] == [True, True, False, True]
    assert [[len(x) for x in record.inputs] for record in records] == [[4, 5], [5], [4], [4, 4]]
    assert [len(record.outputs) for record in records] == [2, 1, 1, 2]
    assert_honest(records[1])
    assert_honest(records[2])


def test_decays_that_differ_are_those_of_each_application(mode, folder):
    x = tf.placeholder(tf.float32, [None, 3])
    one = tf1bn.batch_norm(x, 0.9, updates_collections=None, scope="bn")
    other = tf1bn.batch_norm(x, 0.5, updates_collections=None, scope="bn", reuse=True)
    with ready() as session, tf1bn.Recorder(session, folder) as rec:
        for fetches in (one, other, [one, other]):
            rec.run(fetches, {x: batch((4, 3))})
    opened = trace.open(folder)
    assert opened.layers["bn"].decay is None
    records = [step.layers["bn"] for step in opened]
    assert [record.decay for record in records] == [0.9, 0.5, None]
    assert [record.decays for record in records] == [None, None, (0.9, 0.5)]
    assert_honest(records[0])
    assert_honest(records[1])
    # The two updates of the last step have any order, or start from the same values, or one is lost.
    assert diagnose(opened)[0].causes[0].id in ("double-update", "one-tower-only")


@pytest.mark.parametrize("by_form", [False, True], ids=["built", "by form"])
def test_a_decay_that_is_fed_is_recorded_with_each_step(mode, folder, by_form):
    x, decay = tf.placeholder(tf.float32, [None, 3]), tf.placeholder(tf.float32, [])
    y = tf1bn.batch_norm(x, decay, scope="bn")
    if by_form:
        forget()
    with ready() as session, tf1bn.Recorder(session, folder) as rec:
        for value in (0.5, 0.75, 1.5):
            rec.run([y, updates()], {x: batch((4, 3)), decay: value})
        rec.run(y, {x: batch((4, 3))})  # without the updates nobody needs the decay
    opened = trace.open(folder)
    assert opened.layers["bn"].decay is None
    records = [step.layers["bn"] for step in opened]
    assert [record.decay for record in records] == [0.5, 0.75, None, None]
    assert_honest(records[0])


def test_what_only_tests_has_no_say_in_the_decay_of_a_step(mode, folder):
    x, decay = tf.placeholder(tf.float32, [None, 3]), tf.placeholder(tf.float32, [])
    y = tf1bn.batch_norm(x, decay, scope="bn")
    test = tf1bn.batch_norm(x, 0.25, is_training=False, scope="bn", reuse=True)
    with ready() as session, tf1bn.Recorder(session, folder) as rec:
        rec.run([y, test, updates()], {x: batch((4, 3)), decay: 0.5})
    (record,) = (step.layers["bn"] for step in trace.open(folder))
    assert (record.training, record.decay) == ((True, False), 0.5)


def test_two_flags_in_one_run(mode, folder):
    x, flag = tf.placeholder(tf.float32, [None, 3]), tf.placeholder(tf.bool, [])
    a = tf1bn.batch_norm(x, 0.9, is_training=flag, scope="a")
    b = tf1bn.batch_norm(a, 0.9, is_training=tf.logical_not(flag), scope="b")
    c = tf1bn.batch_norm(b, 0.9, is_training=False, scope="c")
    with ready() as session, tf1bn.Recorder(session, folder) as rec:
        for value in (True, False):
            rec.run([c, updates()], {x: batch((4, 3)), flag: value})
    flags = [{name: record.training for name, record in step.layers.items()} for step in trace.open(folder)]
    assert flags == [
        {"a": (True,), "b": (False,), "c": (False,)},
        {"a": (False,), "b": (True,), "c": (False,)},
    ]


def test_training_can_be_said(mode, folder):
    """A validation run with the flag left on, and a training run with it off."""
    x = tf.placeholder(tf.float32, [None, 3])
    on = tf1bn.batch_norm(x, 0.9, scope="on")
    off = tf1bn.batch_norm(x, 0.9, is_training=False, scope="off")
    with ready() as session, tf1bn.Recorder(session, folder) as rec:
        for training in (None, False, True):
            rec.run([on, off, updates()], {x: batch((4, 3))}, training=training)
        with pytest.raises(ValueError, match="`training` is 1; it must be True, False or None"):
            rec.run(on, {x: batch((4, 3))}, training=1)
    steps = list(trace.open(folder))
    assert [step.training for step in steps] == [True, False, True]
    flags = [[record.training for record in step.layers.values()] for step in steps]
    assert flags == [[(True,), (False,)], [(False,), (False,)], [(True,), (True,)]]


# ---------------------------------------------------------------- what a run depends on


def test_only_layers_that_the_fetches_depend_on(mode, folder):
    x = tf.placeholder(tf.float32, [None, 3])
    a = tf1bn.batch_norm(x, 0.9, scope="a")
    b = tf1bn.batch_norm(a * 2, 0.9, scope="b")
    c = tf1bn.batch_norm(x, 0.9, scope="c")
    ups = updates()
    feeds = {x: batch((4, 3))}
    with ready() as session, tf1bn.Recorder(session, folder) as rec:
        rec.run(a, feeds)
        rec.run(b, feeds)
        rec.run([c, {"b": b}], feeds)
        rec.run(x, feeds)
        rec.run(tf.no_op())
        rec.run(b, {a: batch((4, 3))})
        rec.run(tf.group(*[op for op in ups if op.name.startswith("b/")]), feeds)
        assert rec.steps == 5
    steps = [step.layers for step in trace.open(folder)]
    assert [list(layers) for layers in steps] == [["a"], ["a", "b"], ["a", "b", "c"], ["b"], ["a", "b"]]
    refreshed = steps[-1]
    assert refreshed["a"].outputs is not None
    # Nobody computed the output of the fused operation for its own sake, but it is the same operation.
    assert_honest(refreshed["b"])


def test_an_output_that_is_fed_is_not_the_layers(mode, folder):
    x = tf.placeholder(tf.float32, [None, 4, 4, 3])
    y = tf1bn.batch_norm(x, 0.9, scope="bn")
    with ready() as session, tf1bn.Recorder(session, folder) as rec:
        rec.run([y, updates()], {x: batch((4, 4, 4, 3)), y: np.zeros((4, 4, 4, 3))})
    (record,) = (step.layers["bn"] for step in trace.open(folder))
    assert record.outputs is None
    assert_honest(record)


def test_moments_that_are_fed_leave_no_input(mode, folder):
    x = tf.placeholder(tf.float32, [None, 3])
    tf1bn.batch_norm(x, 0.9, fused=False, scope="bn")
    with ready() as session, tf1bn.Recorder(session, folder) as rec:
        rec.run(updates(), {"bn/moments/Squeeze:0": [1, 2, 3], "bn/moments/Squeeze_1:0": [1, 2, 3]})
    assert list(trace.open(folder)) == []


def test_updates_alone_compute_no_output(mode, folder):
    x = tf.placeholder(tf.float32, [None, 3])
    tf1bn.batch_norm(x, 0.9, fused=False, scope="bn")
    with ready() as session, tf1bn.Recorder(session, folder) as rec:
        rec.run(updates(), {x: batch((4, 3))})
    (record,) = (step.layers["bn"] for step in trace.open(folder))
    assert record.outputs is None
    assert record.training == (True,)
    assert_honest(record)


def test_layers_are_named_when_a_run_first_depends_on_them(mode, folder):
    x = tf.placeholder(tf.float32, [None, 3])
    a = tf1bn.batch_norm(x, 0.9, scope="a")
    tf1bn.batch_norm(x, 0.9, scope="idle")
    with ready() as session, tf1bn.Recorder(session, folder) as rec:
        assert list(trace.open(folder).layers) == []
        rec.run(a, {x: batch((4, 3))})
        assert list(trace.open(folder).layers) == ["a"]
        b = tf1bn.batch_norm(a, 0.9, scope="b")  # the graph grows
        session.run(tf.variables_initializer([v for v in tf.global_variables() if v.op.name.startswith("b/")]))
        rec.run(b, {x: batch((4, 3))})
    assert list(trace.open(folder).layers) == ["a", "b"]
    assert [list(step.layers) for step in trace.open(folder)] == [["a"], ["a", "b"]]


Pair = collections.namedtuple("Pair", "first second")


def test_it_runs_like_a_session(mode, folder):
    x = tf.placeholder(tf.float32, [None, 3], name="x")
    y = tf1bn.batch_norm(x, 0.9, is_training=False, scope="bn")
    sparse = tf.SparseTensor([[0, 0]], tf.reduce_sum(y)[tf.newaxis], [1, 1])
    feeds = {"x:0": batch((4, 3))}
    beta, mean = (
        next(v for v in tf.global_variables() if v.op.name == f"bn/{name}") for name in ("beta", "moving_mean")
    )
    structures = [
        y,
        y.name,
        y.op,
        [y, [x, (beta,)]],
        {"y": y, "nothing": [], "more": Pair(x, mean.value().name)},
        collections.OrderedDict(a=Pair(y, y)),
        sparse,
    ]
    with ready() as session, tf1bn.Recorder(session, folder) as rec:
        for structure in structures:
            got, wanted = rec.run(structure, feeds), session.run(structure, feeds)
            tensorflow.nest.assert_same_structure(got, wanted)
            for one, other in zip(tensorflow.nest.flatten(got), tensorflow.nest.flatten(wanted), strict=True):
                np.testing.assert_array_equal(one, other)
        assert rec.steps == len(structures)
        metadata = tf.RunMetadata()
        rec.run(y, feeds, tf.RunOptions(output_partition_graphs=True), metadata)
        assert metadata.partition_graphs
        rec.run(y, feed_dict=feeds, options=None, run_metadata=None)
        assert rec.run(tf.constant(3)) == 3
        with pytest.raises(TypeError, match="`fetches` holds None, which is not in the session's graph"):
            rec.run([y, None], feeds)
        with pytest.raises(TypeError, match="`fetches` holds 'nowhere:0', which is not in the session's graph"):
            rec.run("nowhere:0", feeds)
        with pytest.raises(TypeError, match="`feed_dict` holds 'nowhere:0', which is not in the session's graph"):
            rec.run(y, {"nowhere:0": 1})
        with pytest.raises(tf.errors.InvalidArgumentError, match="must feed a value"):
            rec.run(y)
        with pytest.raises(ValueError, match="Cannot feed value of shape"):
            rec.run(y, {x: batch((4, 2))})
    assert rec.steps == len(structures) + 2 == trace.open(folder).count_steps()
    with pytest.raises(ValueError, match=r"The trace '.*' is closed; nothing can be added to it"):
        rec.run(y, feeds)


def test_a_monitored_session_counts_its_own_steps(mode, folder):
    x = tf.placeholder(tf.float32, [None, 3])
    y = tf1bn.batch_norm(x, 0.9, updates_collections=None, scope="bn")
    step = tf.train.get_or_create_global_step()
    train = tf.group(y, tf.assign_add(step, 1))

    class Counts(tf.train.SessionRunHook):
        runs = 0

        def before_run(self, run_context):
            self.runs += 1

    hook = Counts()
    with tf.train.MonitoredSession(hooks=[hook]) as session, tf1bn.Recorder(session, folder) as rec:
        for i in range(3):
            rec.run(train, {x: batch((4, 3), i)})
        assert session.run(step) == 3
    assert hook.runs == 4
    for record in (step.layers["bn"] for step in trace.open(folder)):
        assert_honest(record)


def test_arguments_are_checked(tmp_path):
    with tf.Graph().as_default(), tf.Session() as session:
        with pytest.raises(ValueError, match='`keep` is \'none\'; it must be "auto", "moments", "inputs" or "all"'):
            tf1bn.Recorder(session, tmp_path / "a", keep="none")
        with pytest.raises(TypeError, match="`sess` is 3; it must be a session, with `run` and `graph`"):
            tf1bn.Recorder(3, tmp_path / "a")
        assert not (tmp_path / "a").exists()
        tf1bn.Recorder(session, tmp_path / "a").close()
        with pytest.raises(FileExistsError, match="where a trace is"):
            tf1bn.Recorder(session, tmp_path / "a")
        tf1bn.Recorder(session, tmp_path / "a", overwrite=True).close()


def test_limits(mode, folder):
    x = tf.placeholder(tf.float32, [None, 3])
    y = tf1bn.batch_norm(x, 0.9, scope="a/bn")
    z = tf1bn.batch_norm(y, 0.9, scope="b/bn")
    fetches = [z, updates()]
    with ready() as session:
        with tf1bn.Recorder(session, folder, every=2, steps=slice(1, 6), layers="a/*") as rec:
            for i in range(8):
                rec.run(fetches, {x: batch((8, 3), i)})
        opened = trace.open(folder)
        assert list(opened.layers) == ["a/bn"]
        assert [(step.number, step.left_out) for step in opened] == [(1, 1), (3, 1), (5, 1)]
        (result,) = diagnose(opened)
        assert result.verdict == "ok"
        assert "outside of the recorded steps" not in result.explanation
        with tf1bn.Recorder(session, folder, keep="auto", overwrite=True) as rec:
            for i in range(5):
                rec.run(fetches, {x: batch((8, 3), i)})
        kinds = [step.layers["a/bn"].inputs is not None for step in trace.open(folder)]
        assert kinds == [True, True, True, False, False]
        assert [result.verdict for result in diagnose(folder)] == ["ok", "ok"]
        # Of a small limit the arrays that are kept in full take half, and moments go on.
        with tf1bn.Recorder(session, folder, keep="auto", overwrite=True, max_bytes=8000) as rec:
            for i in range(3):
                rec.run(fetches, {x: batch((300, 3), i)})
        assert [step.layers["a/bn"].inputs is None for step in trace.open(folder)] == [True, True, True]
        with tf1bn.Recorder(session, folder, overwrite=True, max_bytes=2500) as rec:
            for i in range(5):
                rec.run(fetches, {x: batch((8, 3), i)})
        assert 0 < rec.steps < 5
        assert rec.bytes == sum(file.stat().st_size for file in Path(folder, "arrays").iterdir()) + (
            Path(folder, "steps.jsonl").stat().st_size
        )
        assert "with which it would exceed `max_bytes`" in rec.problem


def test_the_hook_of_a_monitored_session(folder):
    from tf1bn.recorders.estimator import RecorderHook

    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [None, 3])
        step = tf.train.get_or_create_global_step()
        y = tf1bn.batch_norm(x, 0.9, scope="bn")
        with tf.control_dependencies(updates()):
            train = tf.assign_add(step, 1)
        hook = RecorderHook(folder, every=2)
        with tf.train.MonitoredSession(hooks=[hook]) as session:
            for i in range(5):
                session.run([train, y], {x: batch((4, 3), i)})
            assert session.run(step) == 5
    steps = list(trace.open(folder))
    assert [(one.number, one.left_out, one.training) for one in steps] == [(0, 0, True), (2, 1, True), (4, 1, True)]
    for one in steps:
        assert_honest(one.layers["bn"])
        assert one.layers["bn"].outputs is not None
    with pytest.raises(ValueError, match=r"^`every` is 0; it must be a whole number, 1 or more.$"):
        RecorderHook(folder, every=0)


def test_a_hook_that_sees_no_layer_says_so(folder, capsys):
    from tf1bn.recorders.estimator import RecorderHook

    with tf.Graph().as_default():
        y = tf.constant(1.0) + 1
        with tf.train.MonitoredSession(hooks=[RecorderHook(folder)]) as session:
            session.run(y)
    assert "Nothing was recorded: no run depends on a batch-norm layer" in capsys.readouterr().err


def test_registration_is_not_seen(mode):
    tf1bn.batch_norm(tf.ones([2, 3]), scope="bn")
    graph = tf.get_default_graph()
    assert all(isinstance(name, str) for name in graph.get_all_collection_keys())
    names = {"variables", "model_variables", "trainable_variables", "update_ops"}
    assert set(graph.get_all_collection_keys()) == names
    assert set(tf.train.export_meta_graph().collection_def) == names


# ---------------------------------------------------------------- what cannot be recorded


def in_cond(x, layer):
    return tf.cond(tf.reduce_sum(x) > -1e9, lambda: layer(x * 2), lambda: x)


def in_loop(x, layer):
    return tf.while_loop(lambda i, _: i < 2, lambda i, y: (i + 1, layer(x)), [0, x])[1]


@pytest.mark.parametrize("by_form", tiers.slow_but([True], [False, True]), ids=["built", "by form"])
@pytest.mark.parametrize("fused", [True, False], ids=["fused", "composed"])
@pytest.mark.parametrize("around", [in_cond, in_loop])
def test_a_layer_in_control_flow_is_listed(mode, folder, around, fused, by_form):
    x = tf.placeholder(tf.float32, [4, 3])

    def layer(x):
        with tf.variable_scope("deep", reuse=tf.AUTO_REUSE):
            return tf1bn.batch_norm(x, 0.9, updates_collections=None, fused=fused, scope="bn")

    if mode == "reference":
        with tf.variable_scope("deep"):
            for name, value in (("beta", 0.0), ("moving_mean", 0.0), ("moving_variance", 1.0)):
                initializer = tf.constant_initializer(value)
                tf.get_variable(f"bn/{name}", [3], initializer=initializer, trainable=name == "beta")
    inner = around(x, layer)
    outer = tf1bn.batch_norm(inner, 0.9, scope="outer")
    if by_form:
        forget()
    feeds = {x: batch((4, 3))}
    with ready() as session, tf1bn.Recorder(session, folder) as rec:
        assert np.isfinite(rec.run(inner, feeds)).all()
        assert rec.steps == 0
        rec.run(outer, feeds)
        assert np.abs(session.run("deep/bn/moving_mean:0" if mode == "reference" else moving_mean())).max() > 0.1
    opened = trace.open(folder)
    assert opened.layers["deep/bn"].unrecordable == (
        "It is inside a tf.cond or tf.while_loop."
        if mode == "reference"
        else "It is in a function, as tf.cond and tf.while_loop make them."
    )
    assert opened.layers["deep/bn"].decay == (None if by_form and mode == "resource" else 0.9)
    assert opened.layers["outer"].unrecordable is None
    assert [list(step.layers) for step in opened] == [["outer"]]


def moving_mean():
    return next(v for v in tf.global_variables() if v.op.name == "deep/bn/moving_mean")


def test_a_layer_that_a_function_may_update_too_is_listed(folder):
    """Found by its form: an update that is out of sight would make what is in sight look wrong."""
    with played_in("resource"), tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [4, 3])

        def layer(x):
            with tf.variable_scope("deep", reuse=tf.AUTO_REUSE):
                return tf1bn.batch_norm(x, 0.9, updates_collections=None, fused=False, scope="bn")

        y = in_cond(layer(x), layer)
        forget()
        with ready() as session, tf1bn.Recorder(session, folder) as rec:
            rec.run(y, {x: batch((4, 3))})
    opened = trace.open(folder)
    assert opened.layers["deep/bn"].unrecordable == "It is in a function, as tf.cond and tf.while_loop make them."
    assert list(opened) == []


def test_a_layer_in_a_function_is_listed(folder):
    with played_in("resource"), tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [4, 3])
        with tf.variable_scope("deep") as scope:
            tf1bn.batch_norm(x, 0.9, scope="bn")

        @tensorflow.function
        def layer(x):
            with tf.variable_scope(scope, reuse=True):
                return tf1bn.batch_norm(x, 0.5, updates_collections=None, scope="bn")

        y = layer(x)
        with ready() as session, tf1bn.Recorder(session, folder) as rec:
            rec.run(y, {x: batch((4, 3))})
            assert np.abs(session.run(moving_mean())).max() > 0.1
    opened = trace.open(folder)
    assert opened.layers["deep/bn"].unrecordable == "It is in a function, as tf.cond and tf.while_loop make them."
    assert list(opened) == []


def test_what_is_not_run_is_not_listed(mode, folder):
    x = tf.placeholder(tf.float32, [4, 3])
    in_cond(x, lambda x: tf1bn.batch_norm(x, 0.9, updates_collections=None, scope="deep"))
    y = tf1bn.batch_norm(x, 0.9, scope="bn")
    with ready() as session, tf1bn.Recorder(session, folder) as rec:
        rec.run(y, {x: batch((4, 3))})
    assert list(trace.open(folder).layers) == ["bn"]


def test_a_decay_out_of_range_is_listed(mode, folder):
    y = tf1bn.batch_norm(tf.ones([2, 3]), 1.5, scope="bn")
    with ready() as session, tf1bn.Recorder(session, folder) as rec:
        rec.run(y)
    opened = trace.open(folder)
    assert opened.layers["bn"].unrecordable == "Its decay is 1.5, which is not between 0 and 1."
    assert list(opened) == []


def test_a_layer_that_can_no_longer_be_recorded_is_warned_about(folder):
    with played_in("reference"), tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [4, 3])
        y = tf1bn.batch_norm(x, 0.9, scope="bn")
        with ready() as session, tf1bn.Recorder(session, folder) as rec:
            rec.run(y, {x: batch((4, 3))})
            z = in_cond(x, lambda x: tf1bn.batch_norm(x, 0.9, updates_collections=None, scope="bn", reuse=True))
            with pytest.warns(
                UserWarning, match="Layer 'bn' is no longer recorded: it was applied once more, and there"
            ):
                rec.run(z, {x: batch((4, 3))})
    assert trace.open(folder).count_steps() == 1


# ---------------------------------------------------------------- layers that tf1bn did not build


def statistics(name="pop", channels=3):
    with tf.variable_scope(name):
        return (
            tf.get_variable("moving_mean", [channels], initializer=tf.zeros_initializer(), trainable=False),
            tf.get_variable("moving_variance", [channels], initializer=tf.ones_initializer(), trainable=False),
        )


def test_what_has_no_moving_statistics_is_no_layer(mode, folder):
    """Instance and layer normalisation, and batch normalisation that keeps nothing."""
    x = tf.placeholder(tf.float32, [2, 4, 4, 3])
    beta = tf.get_variable("beta", [3])
    mean, variance = tf.nn.moments(x, [1, 2], keepdims=True)
    instance = tf.nn.batch_normalization(x, mean, variance, beta, None, 1e-3)
    fused, *_ = tf.nn.fused_batch_norm(x, tf.ones([3]), beta)
    frozen, *_ = tf.nn.fused_batch_norm(
        x, tf.ones([3]), beta, mean=tf.zeros([3]), variance=tf.ones([3]), is_training=False
    )
    by_hand = x * tf.math.rsqrt(tf.reduce_mean(x**2) + 1e-3)
    centred = (x - mean) * tf.math.rsqrt(variance + 1e-3) * beta + beta
    divided = (x - tf.reduce_mean(x, 3, keepdims=True)) / tf.sqrt(tf.math.reduce_variance(x, 3, keepdims=True) + 1e-3)
    with ready() as session, tf1bn.Recorder(session, folder) as rec:
        rec.run([instance, fused, frozen, by_hand, centred, divided], {x: batch((2, 4, 4, 3))})
    assert len(trace.open(folder).layers) == 0


@pytest.mark.parametrize("trainable", [True, False])
def test_a_layer_made_by_hand(mode, folder, trainable):
    """moving = moving * decay + batch * (1 - decay), under other names, over the middle axis."""
    x = tf.placeholder(tf.float32, [None, 3, 5])
    mean, variance = tf.get_variable("m", [3]), tf.get_variable("v", [3], initializer=tf.ones_initializer())
    gamma = tf.get_variable("g", [3], trainable=trainable, initializer=tf.ones_initializer())
    batch_mean, batch_variance = tf.nn.moments(x, [0, 2], keepdims=True)
    flat = [tf.reshape(value, [3]) for value in (batch_mean, batch_variance)]
    update_mean = tf.assign(mean, mean * 0.75 + flat[0] * (1 - 0.75))
    update_variance = tf.assign(variance, variance * 0.75 + flat[1] * (1 - 0.75))
    scale = tf.reshape(gamma, [1, 3, 1])
    y = tf.nn.batch_normalization(x, batch_mean, batch_variance, None, scale, 1e-2)
    with ready() as session, tf1bn.Recorder(session, folder) as rec:
        rec.run([y, update_mean, update_variance], {x: batch((4, 3, 5))})
    opened = trace.open(folder)
    assert dict(opened.layers) == {
        "m": trace.Layer(
            decay=0.75,
            epsilon=0.01,
            data_format="NCHW",
            fused=False,
            trainable=trainable,
            center=False,
            scale=True,
            rate_dtype="float64",
        )
    }
    (record,) = (step.layers["m"] for step in opened)
    assert record.training == (True,)
    assert_honest(record)
    assert_normalised(record)


BY_HAND = {
    "centred": lambda x, m, v, g, b: (x - m) * tf.math.rsqrt(v + 1e-2) * g + b,
    "scaled root": lambda x, m, v, g, b: b + (x - m) * (tf.math.rsqrt(v + 1e-2) * g),
    "divided": lambda x, m, v, g, b: g * ((x - m) / tf.sqrt(v + 1e-2)) + b,
    "scaled, divided": lambda x, m, v, g, b: g * (x - m) / tf.sqrt(v + 1e-2) + b,
    "without gamma": lambda x, m, v, g, b: (x - m) / tf.sqrt(v + 1e-2) + b,
    "without beta": lambda x, m, v, g, b: (x - m) * tf.math.rsqrt(v + 1e-2) * g,
}


@pytest.mark.parametrize("form", BY_HAND)
@pytest.mark.parametrize("add", [False, True], ids=["assign_sub", "assign_add"])
def test_a_layer_that_subtracts_the_mean_first(mode, folder, form, add):
    """Without tf.nn.batch_normalization; what multiplies and is added afterwards is not taken for gamma and beta."""
    x = tf.placeholder(tf.float32, [None, 3])
    mean, variance = tf.get_variable("m", [3]), tf.get_variable("v", [3], initializer=tf.ones_initializer())
    gamma, beta = (tf.get_variable(n, [3], initializer=tf.constant_initializer(2.0)) for n in "gb")
    moments = tf.nn.moments(x, [0])
    y, test = (BY_HAND[form](x, *chosen, gamma, beta) for chosen in (moments, (mean, variance)))
    after = y * 3.0 + x
    changes = [
        tf.assign_add(old, 0.1 * (new - old)) if add else tf.assign_sub(old, 0.1 * (old - new))
        for old, new in zip((mean, variance), moments, strict=True)
    ]
    with ready() as session, tf1bn.Recorder(session, folder) as rec:
        for seed in range(3):
            rec.run([after, changes], {x: batch((16, 3), seed)})
        outputs = rec.run([test], {x: batch((16, 3), 9)})
    opened = trace.open(folder)
    layer = opened.layers["m"]
    assert (layer.decay, layer.epsilon, layer.axis) == (0.9, 0.01, None)
    assert (layer.scale, layer.center) == (form != "without gamma", form != "without beta")
    (result,) = diagnose(opened)
    assert result.verdict == "ok", result.explanation
    assert result.outputs["added"].error <= result.outputs["added"].worst_case
    last = list(opened)[-1].layers["m"]
    assert last.outputs[0].tobytes() == outputs[0].tobytes()


@pytest.mark.parametrize("by_hand", [False, True], ids=["tf.nn", "by hand"])
def test_parameters_that_join_behind_a_layer_are_not_its_own(mode, folder, by_hand):
    """gamma and beta beside the statistics that are applied later, and a scalar that scales the output."""
    x = tf.placeholder(tf.float32, [None, 3])
    mean, variance = statistics()
    with tf.variable_scope("pop"):
        gamma, beta = (tf.get_variable(n, [3], initializer=tf.constant_initializer(2.0)) for n in ("gamma", "beta"))
    scalar = tf.get_variable("temperature", [], initializer=tf.constant_initializer(3.0))
    moments = tf.nn.moments(x, [0])
    changes = [tf.assign_sub(old, 0.1 * (old - new)) for old, new in zip((mean, variance), moments, strict=True)]
    if by_hand:
        outputs = [(x - m) * tf.math.rsqrt(v + 1e-3) * scalar for m, v in (moments, (mean, variance))]
    else:
        outputs = [tf.nn.batch_normalization(x, m, v, None, None, 1e-3) for m, v in (moments, (mean, variance))]
    trained, tested = (tf.tanh(y) * gamma + beta if by_hand else y * gamma + beta for y in outputs)
    with ready() as session, tf1bn.Recorder(session, folder) as rec:
        for seed in range(2):
            rec.run([trained, changes], {x: batch((16, 3), seed)})
        rec.run(tested, {x: batch((16, 3), 9)})
    opened = trace.open(folder)
    assert (opened.layers["pop"].scale, opened.layers["pop"].center) == (False, False)
    (result,) = diagnose(opened)
    assert result.verdict == "ok", result.explanation


SEVERAL = {
    # arguments, shape, how the trace has a batch: its channels last, one array for each virtual batch
    "axes 1 and 3": ({"axis": [1, 3]}, (6, 4, 5, 3), lambda x: [x.transpose(0, 2, 1, 3).reshape(6, 5, 12)]),
    "axes 1 and 2": ({"axis": [1, 2]}, (6, 4, 3, 5), lambda x: [x.transpose(0, 3, 1, 2).reshape(6, 5, 12)]),
    "an axis of 1": ({"axis": [1, 2]}, (6, 1, 5, 3), lambda x: [x.transpose(0, 3, 1, 2).reshape(6, 3, 5)]),
    "virtual batches": ({"virtual_batch_size": 4}, (12, 5, 3), lambda x: [x[i::3] for i in range(3)]),
    "virtual batches, axis 1": (
        {"virtual_batch_size": 2, "axis": 1},
        (4, 3, 5, 2),
        lambda x: [x[i::2].transpose(0, 2, 3, 1) for i in range(2)],
    ),
    "virtual batches, axes 1 and 2": (
        {"virtual_batch_size": 3, "axis": [1, 2]},
        (6, 2, 4, 5),
        lambda x: [x[i::2].transpose(0, 3, 1, 2).reshape(3, 5, 8) for i in range(2)],
    ),
}


def test_statistics_of_several_axes_made_by_hand(mode, folder):
    x = tf.placeholder(tf.float32, [2, 4, 3])
    with tf.variable_scope("pop"):
        starts = (("mean", tf.zeros_initializer()), ("variance", tf.ones_initializer()))
        moving = [tf.get_variable(f"moving_{name}", [4, 3], None, start, trainable=False) for name, start in starts]
    moments = tf.nn.moments(x, [0])
    changes = [tf.assign_sub(old, (old - new) * 0.1) for old, new in zip(moving, moments, strict=True)]
    y = tf.nn.batch_normalization(x, *moments, None, None, 1e-3)
    with ready() as session, tf1bn.Recorder(session, folder) as rec:
        rec.run([y, changes], {x: batch((2, 4, 3))})
    opened = trace.open(folder)
    (record,) = (step.layers["pop"] for step in opened)
    assert record.inputs[0].tobytes() == batch((2, 4, 3)).tobytes()
    assert record.inputs[0].shape == (2, 12)
    assert_normalised(record)
    (found,) = diagnose(opened)
    assert found.verdict == "ok", found.explanation


@pytest.mark.parametrize("by_form", [False, True], ids=["built", "by form"])
@pytest.mark.parametrize("id", tiers.slow_but(["axes 1 and 3", "virtual batches"], list(SEVERAL)))
def test_several_axes_and_virtual_batches_are_recorded(mode, folder, id, by_form):
    arguments, shape, arranged = SEVERAL[id]
    x = tf.placeholder(tf.float32, [None, *shape[1:]])
    y = tf1bn.batch_normalization(x, momentum=0.9, training=True, name="bn", **arguments)
    if by_form:
        forget()
    with ready() as session:
        for i, variable in enumerate(tf.global_variables()):
            size = variable.shape.num_elements()
            variable.load(np.linspace(0.5, 1.5, size).reshape(variable.shape) + i, session)
        with tf1bn.Recorder(session, folder) as rec:
            for step in range(3):
                result, _ = rec.run([y, updates()], {x: batch(shape, step)})
        now = {
            variable.op.name: value
            for variable, value in zip(tf.global_variables(), session.run(tf.global_variables()), strict=True)
        }
    opened = trace.open(folder)
    layer = opened.layers["bn"]
    assert (layer.channel_axis, layer.unrecordable, layer.fused) == (-1, None, False)
    for step in opened:
        record = step.layers["bn"]
        expected = arranged(batch(shape, step.number))
        assert [each.tobytes() for each in record.inputs] == [np.ascontiguousarray(each).tobytes() for each in expected]
        assert record.training == (True,) * len(expected)
        assert record.reduction == ("mean" if len(expected) > 1 else None)
        assert_normalised(record)
    assert [each.tobytes() for each in record.outputs] == [
        np.ascontiguousarray(each).tobytes() for each in arranged(result)
    ]
    for name in ("moving_mean", "moving_variance"):
        assert getattr(record, f"{name}_after").tobytes() == now[f"bn/{name}"].tobytes()
    (found,) = diagnose(opened)
    assert (found.verdict, found.causes) == ("ok", ()), found.explanation


def test_virtual_batches_that_move_the_statistics_otherwise_are_a_finding(mode, folder):
    """The statistics take the mean of the virtual batches' updates, and not the batch as a whole."""
    x = tf.placeholder(tf.float32, [None, 3])
    y = tf1bn.batch_normalization(x, momentum=0.9, training=True, name="bn", virtual_batch_size=4)
    whole = 0.9 * np.ones(3) + 0.1 * batch((12, 3)).var(0)
    with ready() as session, tf1bn.Recorder(session, folder) as rec:
        variance = next(each for each in tf.global_variables() if each.op.name == "bn/moving_variance")
        with tf.control_dependencies([y]):
            assigned = tf.assign(variance, whole.reshape(variance.shape))
        rec.run([y, updates()[0], assigned], {x: batch((12, 3))})
    (found,) = diagnose(folder)
    assert found.verdict == "finding"


def test_a_layer_trained_with_virtual_batches_in_two_places_is_listed(mode, folder):
    x = tf.placeholder(tf.float32, [None, 3])
    for reuse in (False, True):
        y = tf1bn.batch_normalization(x, training=True, name="bn", virtual_batch_size=2, reuse=reuse)
    with ready() as session, tf1bn.Recorder(session, folder) as rec:
        rec.run(y, {x: batch((4, 3))})
    opened = trace.open(folder)
    assert opened.layers["bn"].unrecordable == "It is trained with virtual batches in several places, each an update."
    assert list(opened) == []


def test_channels_in_an_axis_of_their_own(mode, folder):
    x = tf.placeholder(tf.float32, [2, 4, 3, 5])
    moving = statistics()
    y = tf.nn.batch_normalization(x, *(tf.reshape(v, [1, 1, 3, 1]) for v in moving), None, None, 1e-3)
    with ready() as session:
        for keep in ("inputs", "moments"):
            with tf1bn.Recorder(session, folder, keep=keep, overwrite=True) as rec:
                rec.run(y, {x: batch((2, 4, 3, 5))})
            opened = trace.open(folder)
            assert (opened.layers["pop"].axis, opened.layers["pop"].channel_axis) == (2, 2)
            (record,) = (step.layers["pop"] for step in opened)
            if keep == "inputs":
                assert_normalised(record)
            else:
                expected = checker.batch_moments(np.moveaxis(batch((2, 4, 3, 5)), 2, -1))
                assert record.moments[0].mean.tobytes() == expected.mean.tobytes()


def fused(x, moving, training):
    arguments = {} if training else {"mean": moving[0], "variance": moving[1]}
    scale, offset = tf.ones([3]), tf.zeros([3])
    y, mean, variance = tf.nn.fused_batch_norm(x, scale, offset, is_training=training, **arguments)
    if not training:
        return y
    changes = [tf.assign_sub(old, (old - new) * 0.25) for old, new in zip(moving, (mean, variance), strict=True)]
    with tf.control_dependencies(changes):
        return tf.identity(y)


@pytest.mark.parametrize("inverted", [False, True])
def test_a_cond_between_training_and_testing_is_one_layer(folder, inverted):
    """As old code wrote it: the flag chooses between two fused operations on the same variables."""
    with played_in("reference"), tf.Graph().as_default():
        x, flag = tf.placeholder(tf.float32, [None, 2, 2, 3]), tf.placeholder(tf.bool, [])
        moving = statistics()
        ways = [lambda: fused(x, moving, not inverted), lambda: fused(x, moving, inverted)]
        y = tf.cond(flag, *ways)
        with ready() as session, tf1bn.Recorder(session, folder) as rec:
            for value in (True, False, True):
                rec.run(y, {x: batch((4, 2, 2, 3)), flag: value})
    opened = trace.open(folder)
    assert opened.layers["pop"].unrecordable == "It is inside a tf.cond or tf.while_loop.", (
        "the updates keep the fused operation's output inside"
    )


@pytest.mark.parametrize("inverted", [False, True])
def test_a_flag_can_choose_either_way(folder, inverted):
    with played_in("reference"), tf.Graph().as_default():
        x, flag = tf.placeholder(tf.float32, [None, 2, 2, 3]), tf.placeholder(tf.bool, [])
        moving = statistics()
        scale, offset = tf.ones([3]), tf.zeros([3])

        def train():
            return tuple(tf.nn.fused_batch_norm(x, scale, offset))[:3]

        def test():
            y, *_ = tf.nn.fused_batch_norm(x, scale, offset, mean=moving[0], variance=moving[1], is_training=False)
            return y, tf.identity(moving[0]), tf.identity(moving[1])

        y, mean, variance = tf.cond(flag, *((test, train) if inverted else (train, test)))
        rate = tf.constant(0.25)
        changes = [tf.assign_sub(old, (old - new) * rate) for old, new in zip(moving, (mean, variance), strict=True)]
        with ready() as session, tf1bn.Recorder(session, folder) as rec:
            for value in (True, False, True):
                rec.run([y, changes], {x: batch((4, 2, 2, 3)), flag: value})
    opened = trace.open(folder)
    assert opened.layers["pop"].decay == 0.75
    assert [step.training for step in opened] == [value != inverted for value in (True, False, True)]
    for step in opened:
        assert_honest(step.layers["pop"])
        assert_normalised(step.layers["pop"])


def test_a_cond_between_two_layers_is_neither(folder):
    with played_in("reference"), tf.Graph().as_default():
        x, flag = tf.placeholder(tf.float32, [None, 2, 2, 3]), tf.placeholder(tf.bool, [])
        one, other = statistics("one"), statistics("other")
        y = tf.cond(flag, lambda: fused(x, one, False), lambda: fused(x, other, False))
        with ready() as session, tf1bn.Recorder(session, folder) as rec:
            rec.run(y, {x: batch((4, 2, 2, 3)), flag: True})
    layers = trace.open(folder).layers
    assert {name: layer.unrecordable for name, layer in layers.items()} == {
        "one": "It is inside a tf.cond or tf.while_loop.",
        "other": "It is inside a tf.cond or tf.while_loop.",
    }


# ---------------------------------------------------------------- nothing is changed

TRAINED = """
import hashlib, sys
import numpy as np
import tensorflow.compat.v1 as tf
import tf1bn

tf.disable_eager_execution()
reference = sys.argv[2] == "reference"
if reference:
    tf.disable_v2_behavior()

def net(x, is_training):
    for i, fused in enumerate((True, False, True)):
        w = tf.get_variable(f"w{i}", [3, 3, x.shape[-1], 8], initializer=tf.random_normal_initializer(seed=i))
        x = tf.nn.conv2d(x, w, strides=[1, 1, 1, 1], padding="SAME")
        x = tf1bn.batch_norm(x, 0.9, scale=True, fused=fused, is_training=is_training, activation_fn=tf.nn.relu)
    return x

x, flag = tf.placeholder(tf.float32, [None, 12, 12, 3]), tf.placeholder(tf.bool, [])
y = net(x, flag)
with tf.control_dependencies(tf.get_collection("update_ops")):
    train = tf.train.MomentumOptimizer(0.01, 0.9).minimize(tf.reduce_mean(y**2))
config = tf.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
for keep in (None, "inputs", "moments"):
    with tf.Session(config=config) as session:
        session.run(tf.global_variables_initializer())
        run = session.run if keep is None else tf1bn.Recorder(session, f"{sys.argv[1]}/{keep}", keep=keep).run
        outputs = []
        for step in range(8):
            batch = np.random.default_rng(step).normal(1, 2, (6, 12, 12, 3))
            fetches = train if step % 2 else [y, train] if step % 4 else y
            outputs.append(run(fetches, {x: batch, flag: step % 4 != 0}))
        values = session.run(tf.global_variables())
    print(hashlib.sha256(b"".join(np.asarray(v).tobytes() for v in values)).hexdigest())
    outputs = [v[0] if isinstance(v, list) else v for v in outputs if v is not None]
    print(hashlib.sha256(b"".join(v.tobytes() for v in outputs)).hexdigest())
"""


@pytest.mark.parametrize(
    ("variables", "onednn"), tiers.slow_after(1, [("reference", "0"), ("resource", "0"), ("reference", "1")])
)
def test_recording_changes_no_bit(tmp_path, variables, onednn):
    """Of the variables after training steps; of the outputs, too, where oneDNN does not fuse what is not fetched."""
    done = subprocess.run(
        [sys.executable, "-c", TRAINED, str(tmp_path), variables],
        env={**os.environ, "TF_ENABLE_ONEDNN_OPTS": onednn},
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    plain, outputs, *recorded = done.stdout.split()
    assert recorded[::2] == [plain, plain]
    if onednn == "0":
        assert recorded[1::2] == [outputs, outputs]
    assert trace.open(tmp_path / "inputs").count_steps() == trace.open(tmp_path / "moments").count_steps() == 8


def test_kept_is_what_is_documented():
    assert limits.KEEP == ("auto", "moments", "inputs", "all")


def test_the_package_imports_no_tensorflow():
    code = "import sys, tf1bn.recorders; print('tensorflow' in sys.modules, 'Recorder' in dir(tf1bn.recorders))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "False True\n"
    assert tf1bn.recorders.Recorder is tf1bn.Recorder
    assert tf1bn.recorders.__all__ == ["Recorder"]
    with pytest.raises(AttributeError, match=r"module 'tf1bn\.recorders' has no attribute 'Recoder'"):
        tf1bn.recorders.Recoder  # noqa: B018


def test_threads_share_a_recorder(mode, folder):
    """Their recorded runs take turns; a run without a layer waits for none, or what fills a queue could not run."""
    x = tf.placeholder(tf.float32, [None, 3])
    queue = tf.FIFOQueue(100, [tf.float32], [[4, 3]])
    fill, more = queue.enqueue([x]), queue.dequeue()
    y = tf1bn.batch_norm(x + 0.0 * tf.reduce_sum(more), 0.9, updates_collections=None, fused=False, scope="bn")
    with ready() as session, tf1bn.Recorder(session, folder) as rec:
        wrong = []

        def work(number):
            try:
                for i in range(10):
                    rec.run(y, {x: batch((8, 3), 100 * number + i)})
            except BaseException as error:
                wrong.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for i in range(30):
            rec.run(fill, {x: batch((4, 3), i)})
        for thread in threads:
            thread.join()
        assert not wrong
        assert rec.steps == 30
    records = [step.layers["bn"] for step in trace.open(folder)]
    assert len(records) == 30
    for record in records:
        assert_honest(record)
    for earlier, later in itertools.pairwise(records):
        assert earlier.moving_mean_after.tobytes() == later.moving_mean_before.tobytes()


def test_a_fork_of_the_recorder_is_refused(folder, monkeypatch):
    with tf.Graph().as_default():
        one = tf.constant(1)
        with tf.Session() as session, tf1bn.Recorder(session, folder) as rec:
            with monkeypatch.context() as patch:
                patch.setattr(os, "getpid", lambda: 7)
                # As in a process that was forked while a thread held the lock, which no one opens there.
                rec._planning = rec._running = None
                with pytest.raises(
                    ValueError, match=r"is written by process \d+, and this is its fork 7; make a writer"
                ):
                    rec.run(one)
