"""Sessions of tf.compat.v1, recalibrated: layers of tf1bn, imported graphs, and graphs for training and for tests."""

import numpy as np
import pytest
import tensorflow as tf

import tf1bn
from tf1bn.recalibration import recalibrate

v1 = tf.compat.v1


def data(count=3, batch=6):
    rng = np.random.default_rng(0)
    return [rng.normal(1, 2, (batch + i, 5, 5, 3)).astype(np.float32) for i in range(count)]


def network(x, training, **settings):
    """A convolution, layer b1, two branches with layers b2 and b3, and layer b4 behind both."""
    kernel = v1.get_variable("kernel", [3, 3, 3, 4], initializer=v1.glorot_uniform_initializer(seed=1))
    settings = {"decay": 0.9, "is_training": training, **settings}
    first = tf1bn.batch_norm(tf.nn.conv2d(x, kernel, 1, "SAME"), scope="b1", updates_collections=None, **settings)
    left = tf1bn.batch_norm(tf.nn.relu(first), scope="b2", **settings)
    right = tf1bn.batch_norm(first * first, scope="b3", **{**settings, "fused": False})
    return first, left, right, tf1bn.batch_norm(left + right, scope="b4", **settings)


@pytest.fixture
def graph():
    with v1.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 5, 5, 3], name="x")
        training = v1.placeholder(tf.bool, [], name="training")
        outputs = network(x, training)
        v1.add_to_collection("outputs", outputs[-1])
        graph.finalize_later = v1.global_variables_initializer()
    return graph


def feeds(batches, training):
    return [{"x:0": x, "training:0": training} for x in batches]


@pytest.fixture
def session(graph):
    with v1.Session(graph=graph) as session:
        session.run(graph.finalize_later)
        yield session


def value(session, name):
    return session.run(session.graph.get_tensor_by_name(f"{name}:0"))


def variables(session):
    return dict(zip((v.op.name for v in _all(session)), session.run(_all(session)), strict=True))


def _all(session):
    return session.graph.get_collection("variables")


def inputs_of(session, name, feed):
    from tf1bn.graphs.layers import layers_in

    (layer,) = [layer for layer in layers_in(session.graph) if layer.name == name]
    return session.run(layer.applications[0].inputs, feed)


def assert_holds(session, name, batches, bessel=True, training=False):
    values = [inputs_of(session, name, feed) for feed in feeds(batches, training)]
    flat = np.concatenate([v.reshape(-1, v.shape[-1]) for v in values]).astype(np.float64)
    held = variables(session)
    np.testing.assert_allclose(held[f"{name}/moving_mean"], flat.mean(axis=0), rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(held[f"{name}/moving_variance"], flat.var(axis=0, ddof=bessel), rtol=2e-6)


def test_one_level_after_the_other(session):
    """b2 and b3 depend on b1 alone, so three passes are enough for four layers."""
    report = recalibrate(session, feeds(data(), False), order="sequential")
    assert (report.passes, sorted(layer.name for layer in report.layers)) == (3, ["b1", "b2", "b3", "b4"])
    for name in ("b1", "b2", "b3", "b4"):
        assert_holds(session, name, data(), bessel=name != "b3")


def test_in_one_pass(session):
    report = recalibrate(session, feeds(data(), True))
    assert report.passes == 1
    held = variables(session)
    # Under feeds of training, the inputs are those of layers that normalise by the batch, whatever is stored.
    for name in ("b1", "b2", "b3", "b4"):
        flat = np.concatenate([inputs_of(session, name, feed).reshape(-1, 4) for feed in feeds(data(), True)])
        flat = flat.astype(np.float64)
        np.testing.assert_allclose(held[f"{name}/moving_mean"], flat.mean(axis=0), rtol=2e-6, atol=2e-6)
        np.testing.assert_allclose(held[f"{name}/moving_variance"], flat.var(axis=0, ddof=name != "b3"), rtol=2e-6)


@pytest.mark.parametrize(("order", "training"), [("batch", True), ("sequential", False)])
def test_only_the_chosen_statistics_change(session, order, training):
    """b1 updates in place, so that every run in training mode would move it."""
    before = variables(session)
    recalibrate(session, feeds(data(), training), order=order, write=False)
    np.testing.assert_equal(variables(session), before)
    recalibrate(session, feeds(data(), training), order=order, layers="b4")
    after = variables(session)
    assert {name for name in before if before[name].tobytes() != after[name].tobytes()} == {
        "b4/moving_mean",
        "b4/moving_variance",
    }


def test_zero_debias_keeps_its_own_variables():
    with v1.Graph().as_default():
        x = v1.placeholder(tf.float32, [None, 3])
        tf1bn.batch_norm(x, is_training=True, updates_collections=None, zero_debias_moving_mean=True, scope="bn")
        y = tf1bn.batch_norm(x, is_training=True, updates_collections=None, zero_debias_moving_mean=True, scope="c")
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            session.run(y, {x: data()[0][:, 0, 0]})
            before = variables(session)
            recalibrate(session, [{x: batch[:, 0, 0]} for batch in data()], layers="c")
            after = variables(session)
    changed = {name for name in before if before[name].tobytes() != after[name].tobytes()}
    assert changed == {"c/moving_mean", "c/moving_variance"}


def test_a_graph_for_training_and_one_for_tests():
    """As in the article: the layer is applied twice, to two placeholders, and shares its variables."""
    with v1.Graph().as_default():
        train, test = (v1.placeholder(tf.float32, [None, 5, 5, 3], name=name) for name in ("train", "test"))
        with v1.variable_scope("net"):
            network(train, True)
        with v1.variable_scope("net", reuse=True):
            network(test, False)
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            one = recalibrate(session, [{train: x} for x in data()], write=False)
            other = recalibrate(session, [{test: x} for x in data()], order="sequential")
            assert (len(one.layers), len(other.layers)) == (4, 4)
            np.testing.assert_array_equal(one.layers[0].new_mean, other.layers[0].new_mean)
            with pytest.raises(ValueError, match="A batch does not feed 'test', on which the inputs of layer"):
                recalibrate(session, [{train: x} for x in data()], order="sequential")


@pytest.fixture
def _control_flow_of_1():
    """Switches and merges, as in every graph of TF 1.x, and no functions."""
    before = v1.control_flow_v2_enabled()
    v1.disable_control_flow_v2()
    yield
    if before:
        v1.enable_control_flow_v2()


@pytest.mark.usefixtures("_control_flow_of_1")
def test_an_imported_graph(tmp_path):
    with v1.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        training = v1.placeholder(tf.bool, [], name="training")
        network(v1.placeholder(tf.float32, [None, 5, 5, 3], name="x"), training)
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(tmp_path / "model"))
        expected = recalibrate(session, feeds(data(), False), order="sequential")
    with v1.Graph().as_default(), v1.Session() as session:
        v1.train.import_meta_graph(str(tmp_path / "model.meta")).restore(session, str(tmp_path / "model"))
        report = recalibrate(session, feeds(data(), False), order="sequential")
        assert_holds(session, "b4", data())
    for layer, other in zip(report.layers, expected.layers, strict=True):
        np.testing.assert_array_equal(layer.new_variance, other.new_variance)


def test_frozen_graphs_are_refused(session):
    with session.graph.as_default():
        frozen = v1.graph_util.convert_variables_to_constants(
            session, session.graph.as_graph_def(), [session.graph.get_collection("outputs")[0].op.name]
        )
    with v1.Graph().as_default(), v1.Session() as other:
        v1.import_graph_def(frozen, name="")
        with pytest.raises(ValueError, match="no batch-norm layer that can be recalibrated"):
            recalibrate(other, feeds(data(), False), order="sequential")


def test_a_partitioned_layer_of_a_monitored_session():
    steps = []

    class Counting(v1.train.SessionRunHook):
        def before_run(self, run_context):
            steps.append(1)

    with v1.Graph().as_default():
        x = v1.placeholder(tf.float32, [None, 3])
        tf1bn.batch_norm(x, is_training=True, scope="bn")
        with v1.train.MonitoredSession(hooks=[Counting()]) as session:
            steps.clear()
            report = recalibrate(session, [{x: batch[:, 0, 0]} for batch in data()])
    flat = np.concatenate([batch[:, 0, 0] for batch in data()]).astype(np.float64)
    np.testing.assert_allclose(report.layers[0].new_mean, flat.mean(axis=0), rtol=1e-6)
    assert not steps


BAD = [
    ("batch", feeds(data(), False), ValueError, "Layer 'b1' is in inference mode under the feeds of a batch"),
    ("sequential", feeds(data(), True), ValueError, "Layer 'b1' is in training mode under the feeds of a batch"),
    ("batch", [{"training:0": True}], ValueError, "A batch does not feed 'x', on which the inputs of layer 'b1'"),
    ("batch", [{"nothing:0": 1}], ValueError, "A batch feeds what is not in the session's graph"),
    ("batch", data(), TypeError, "`batches` has a batch of type ndarray; for a session each is a feed dict"),
]


@pytest.mark.parametrize(("order", "batches", "error", "message"), BAD)
def test_feeds_that_do_not_fit(session, order, batches, error, message):
    before = variables(session)
    with pytest.raises(error, match=message):
        recalibrate(session, batches, order=order)
    np.testing.assert_equal(variables(session), before)


def test_a_call_is_for_models(session):
    with pytest.raises(TypeError, match="`call` is given, and `model` is a session"):
        recalibrate(session, feeds(data(), True), call=print)


def test_batch_renormalisation_is_left_out():
    with v1.Graph().as_default():
        x = v1.placeholder(tf.float32, [None, 5, 5, 3])
        tf1bn.batch_norm(x, renorm=True, scope="bn")
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            with pytest.raises(ValueError, match="It does batch renormalisation"):
                recalibrate(session, [{x: batch} for batch in data()])
