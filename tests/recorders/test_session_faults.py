"""Faults as they are made in sessions of TF 1.x, and what an audit names first; test_recorder.py has what is right."""

import numpy as np
import pytest
import tensorflow
from modes import played_in
from recorded import verdicts

import tf1bn
from tf1bn import trace
from tf1bn.parity.traces.compare import compare_traces

tf = tensorflow.compat.v1
pytestmark = pytest.mark.slow
SHAPE = (8, 4, 4, 3)


@pytest.fixture(autouse=True)
def _graph():
    with played_in("resource"), tf.Graph().as_default():
        tf.set_random_seed(0)
        yield


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "run.trace")


def batch(seed):
    return np.random.default_rng(seed).normal(2, 1.5, SHAPE).astype(np.float32)


def updates():
    return tf.get_collection(tf.GraphKeys.UPDATE_OPS)


def norm(x, is_training=True, scope="bn", decay=0.9, **more):
    return tf1bn.batch_norm(x, decay, scale=True, is_training=is_training, scope=scope, **more)


def optimizer(y):
    return tf.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_mean(tf.square(tf.cast(y, tf.float32) - 1)))


def train(path, x, *fetches, steps=4, feed=batch, before=None):
    with tf.Session() as session, tf1bn.Recorder(session, path, keep="all") as recorder:
        session.run(tf.global_variables_initializer())
        if before is not None:
            before(session)
        for seed in range(steps):
            recorder.run(list(fetches), {x: feed(seed)})


def first_causes(path):
    return {name: causes[:1] for name, (_, causes) in verdicts(path).items()}


def placeholder(dtype=tf.float32):
    return tf.placeholder(dtype, [None, *SHAPE[1:]])


def test_momentum_of_pytorch(path, tmp_path):
    """A port that took PyTorch's momentum of .1 for TF's decay."""
    for name, decay in (("old", 0.9), ("new", 0.1)):
        with tf.Graph().as_default():
            x = placeholder()
            y = norm(x, decay=decay)
            train(str(tmp_path / name), x, y, updates())
    result = compare_traces(trace.open(tmp_path / "old"), trace.open(tmp_path / "new"))
    assert [cause["id"] for cause in result["layers"][0]["causes"]][:1] == ["momentum-flipped"]


def test_training_with_is_training_false(path):
    x = placeholder()
    y = norm(x, is_training=False)
    train(path, x, y, optimizer(y))
    assert first_causes(path) == {"bn": ["training-flag-off"]}


def test_a_train_op_without_the_updates(path):
    x = placeholder()
    y = norm(x)
    train(path, x, y, optimizer(y))
    assert first_causes(path) == {"bn": ["not-updated"]}


def test_a_scope_that_is_used_twice(path):
    x = placeholder()
    y = norm(2 * tf.nn.relu(norm(x)) + 1, reuse=True)
    train(path, x, y, updates())
    assert first_causes(path) == {"bn": ["double-update"]}


def test_updates_of_one_tower_alone(path):
    """The usual loop over GPUs, which runs the updates of the first."""
    x = placeholder()
    towers = [norm(half, reuse=i > 0) for i, half in enumerate(tf.split(x, 2))]
    train(path, x, towers, updates()[:2])
    assert first_causes(path) == {"bn": ["one-tower-only"]}


def test_an_average_of_the_trainable_variables(path):
    """`ema.apply(tf.trainable_variables())` has no averages of the statistics, which stay as they were initialized."""
    x = placeholder()
    y = norm(x, is_training=False)
    gamma, beta = (next(v for v in tf.trainable_variables() if v.op.name == f"bn/{name}") for name in ("gamma", "beta"))

    def restore(session):
        session.run([gamma.assign([0.5, 1.5, 2.0]), beta.assign([1.0, -1.0, 0.5])])

    train(path, x, y, before=restore)
    assert first_causes(path) == {"bn": ["not-restored"]}


def test_overflow_in_float16(path):
    x = placeholder(tf.float16)
    y = norm(x * tf.constant(60000, tf.float16))
    with np.errstate(over="ignore"):
        train(path, x, y, updates(), feed=lambda seed: batch(seed).astype(np.float16))
    assert first_causes(path) == {"bn": ["not-finite"]}
    assert trace.open(path).layers["bn"].dtype == "float32", "TF 1.x has no statistics in half precision"


def test_accumulated_gradients_are_one_update_for_each_batch(path):
    x = placeholder()
    y = norm(x)
    variables = tf.trainable_variables()
    sums = [tf.Variable(tf.zeros_like(variable), trainable=False) for variable in variables]
    gradients = tf.gradients(tf.reduce_mean(tf.square(y - 1)), variables)
    train(path, x, y, updates(), [s.assign_add(g) for s, g in zip(sums, gradients, strict=True)])
    assert verdicts(path)["bn"] == ("ok", [])


def test_updates_that_are_collected_after_the_gradients_of_a_recomputed_block(path):
    """Building the gradients builds the layer again, whose updates come into the collection as well."""
    x = placeholder()
    y = tensorflow.recompute_grad(lambda x: norm(x, reuse=tf.AUTO_REUSE))(x)
    once = updates()
    gradient = tf.gradients(tf.reduce_mean(tf.square(y - 1)), x)
    assert len(updates()) == 2 * len(once)
    train(path, x, y, gradient, updates())
    assert first_causes(path) == {"bn": ["double-update"]}


def test_updates_that_are_collected_before_the_gradients_of_a_recomputed_block(path):
    x = placeholder()
    y = tensorflow.recompute_grad(lambda x: norm(x, reuse=tf.AUTO_REUSE))(x)
    once = updates()
    train(path, x, y, tf.gradients(tf.reduce_mean(tf.square(y - 1)), x), once)
    assert verdicts(path)["bn"] == ("ok", [])
