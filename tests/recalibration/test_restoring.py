"""What stands in the way of a recalibration, and that all it was not asked for stays: engine and sessions."""

import numpy as np
import pytest
import tensorflow as tf

import tf1bn
from tf1bn.errors import RecalibrationError
from tf1bn.recalibration import recalibrate
from tf1bn.recalibration.engine import Convention, Statistics, recalibrated

v1 = tf.compat.v1


class One:
    """A model of one layer, or of several that are given the same."""

    def __init__(self, names=("a",), fails_at=None, weights=None, **convention):
        self.statistics = {name: Statistics(np.zeros(2, np.float32), np.ones(2, np.float32)) for name in names}
        self.conventions = {name: Convention(False, 0.0, **convention) for name in names}
        self.left_out, self.fails_at, self.writes, self.ended, self.weights = {}, fails_at, 0, 0, weights

    def read(self, name):
        return self.statistics[name]

    def write(self, name, statistics):
        self.writes += 1
        if self.writes == self.fails_at:
            raise KeyboardInterrupt
        self.statistics[name] = statistics

    def begin(self, names, by_batch):
        pass

    def end(self):
        self.ended += 1

    def levels(self, names, batch):
        return [names]

    def run(self, batch, names, take):
        for name in names:
            take(name, batch, *([] if self.weights is None else [self.weights]))


def batches(count=3):
    return [np.random.default_rng(i).normal(i, 2, (4, 2)).astype(np.float32) for i in range(count)]


def run(target, data, order="batch", layers=None):
    return recalibrated(target, data, order=order, layers=layers, write=True)


@pytest.mark.parametrize("fails_at", [1, 2, 3, 4])
def test_an_interrupt_while_writing_leaves_no_half(fails_at):
    target = One(("a", "b"), fails_at=fails_at)
    with pytest.raises(KeyboardInterrupt):
        run(target, batches())
    assert target.ended == 1
    assert [s.mean.tolist() for s in target.statistics.values()] == [[0, 0], [0, 0]]


@pytest.mark.parametrize("order", ["batch", "sequential"])
def test_an_iterator_that_a_function_gives_again(order):
    iterator = iter(batches())
    data = lambda: iterator  # noqa: E731
    if order == "sequential":
        with pytest.raises(RecalibrationError, match="`batches` gives the same list_iterator for each pass"):
            run(One(), data, order)
    else:
        assert run(One(), data, order).layers[0].count == 12


def test_a_function_that_returns_no_batches():
    with pytest.raises(TypeError, match="`batches` is a function that returned a NoneType; it must return an iterable"):
        run(One(), lambda: None)


@pytest.mark.parametrize(
    ("layers", "error", "message"),
    [
        (3, TypeError, "`layers` has 3; it must be None"),
        (["a", 3], TypeError, "`layers` has 3; it must be None"),
        ([], ValueError, "`layers` is empty; give the names"),
    ],
)
def test_layers_that_are_no_names(layers, error, message):
    with pytest.raises(error, match=message):
        run(One(), batches(), layers=layers)


def test_batches_without_a_sample():
    with pytest.raises(ValueError, match=r"had no input, or inputs without a sample\. Nothing was changed"):
        run(One(), [np.zeros((0, 2), np.float32)])


def test_samples_count_by_their_weights():
    weights = np.array([2.0, 1.0, 0.0, 0.5])
    data = batches()
    run(target := One(weights=weights), data)
    flat, repeated = np.concatenate(data).astype(np.float64), np.tile(weights, 3)
    mean = np.average(flat, axis=0, weights=repeated)
    np.testing.assert_allclose(target.statistics["a"].mean, mean, rtol=1e-6)
    variance = np.average((flat - mean) ** 2, axis=0, weights=repeated)
    np.testing.assert_allclose(target.statistics["a"].variance, variance, rtol=1e-6)


def test_statistics_of_bfloat16_are_rounded_once_and_checked():
    report = run(One(bfloat16=True), [np.array([[1 + 3 / 256, 0.0], [1 + 3 / 256, 1.0]], np.float32)])
    # 1 + 3/256 lies midway between two numbers of 8 bits, 1 + 1/128 and 1 + 2/128; the last bit of the latter is 0.
    assert report.layers[0].new_mean.tolist() == [1 + 2 / 128, 0.5]
    with pytest.raises(RecalibrationError, match="beyond the range of bfloat16"):
        run(One(bfloat16=True), [np.full((2, 2), 3.4e38, np.float32)])


@pytest.fixture(params=[False, True], ids=["reference", "resource"])
def graph(request):
    enabled = v1.resource_variables_enabled()
    (v1.enable_resource_variables if request.param else v1.disable_resource_variables)()
    with v1.Graph().as_default() as graph:
        yield graph
    (v1.enable_resource_variables if enabled else v1.disable_resource_variables)()


def started(graph):
    session = v1.Session(graph=graph)
    session.run(v1.global_variables_initializer())
    return session


def test_variables_that_were_made_from_one_tensor(graph):
    """The fed initial value of one must not reach the other."""
    x, ones = v1.placeholder(tf.float32, [None, 1, 1, 2]), tf.ones([2])
    mean, variance = (v1.Variable(ones, name=f"b/moving_{name}", trainable=False) for name in ("mean", "variance"))
    _, m, v, *_ = tf.raw_ops.FusedBatchNormV3(
        x=x, scale=ones, offset=tf.zeros([2]), mean=[], variance=[], is_training=True
    )
    mean.assign(mean * 0.9 + m * 0.1)
    variance.assign(variance * 0.9 + v * 0.1)
    with started(graph) as session:
        recalibrate(session, [{x: batch.reshape(4, 1, 1, 2)} for batch in batches()])
        flat = np.concatenate(batches()).astype(np.float64)
        got = session.run([mean, variance])
    np.testing.assert_allclose(got[0], flat.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(got[1], flat.var(axis=0, ddof=1), rtol=1e-6)


def test_what_a_run_changes_is_put_back(graph):
    x = v1.placeholder(tf.float32, [None, 2])
    steps = v1.Variable(0, name="steps")
    with tf.control_dependencies([v1.assign_add(steps, 1)]):
        y = tf.identity(x)
    tf1bn.batch_norm(y, is_training=True, scope="a")
    with started(graph) as session:
        recalibrate(session, [{x: batch} for batch in batches()])
        assert session.run(steps) == 0


def test_batch_weights_are_those_of_the_layer(graph):
    x, w = v1.placeholder(tf.float32, [None, 2]), v1.placeholder(tf.float32, [None], name="w")
    tf1bn.batch_norm(x, is_training=True, batch_weights=w, scope="a")
    weights = np.array([1, 0, 3, 0.5], np.float32)
    with started(graph) as session:
        with pytest.raises(ValueError, match="A batch does not feed 'w', on which the inputs of layer 'a' depend"):
            recalibrate(session, [{x: batch} for batch in batches()])
        recalibrate(session, [{x: batch, w: weights} for batch in batches()])
        (mean,) = (v for v in v1.global_variables() if v.op.name == "a/moving_mean")
        got = session.run(mean)
    expected = np.average(np.concatenate(batches()), axis=0, weights=np.tile(weights, 3))
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_layers_in_functions_are_no_silent_nothing():
    """As in a SavedModel of TensorFlow 2."""
    with v1.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 2])
        mean, variance = tf.zeros([2]), tf.ones([2])
        tf.function(lambda x: tf.nn.batch_normalization(x, mean, variance, None, None, 1e-3))(x)
        with (
            v1.Session(graph=graph) as session,
            pytest.raises(ValueError, match="in functions, as SavedModels of Tensor"),
        ):
            recalibrate(session, [{x: batch} for batch in batches()])
