"""Runs the article's listing, and the sweep over decays, in TensorFlow. Measures; judges nothing."""

import dataclasses
import itertools

import numpy as np
import tensorflow as _tf

from ..layers import release_scope
from ..layers.contrib_batch_norm import batch_norm
from . import devices as _session

tf = _tf.compat.v1

STATISTICS = ("moving_mean", "moving_variance")


@dataclasses.dataclass(frozen=True)
class Spec:
    """One run of the listing: its arguments and its input batch (float32, channels last)."""

    decay: float
    fused: bool
    release: str
    input: str
    batch: np.ndarray


@dataclasses.dataclass(frozen=True)
class Phase:
    """One session run, "train" or "test": its output, and statistics (float32 [C]) and prints around it."""

    name: str
    output: np.ndarray
    before: dict
    after: dict
    printed_before: tuple
    printed_after: tuple


@dataclasses.dataclass(frozen=True)
class Run:
    """A listing that was run; ``ran_fused`` and ``placements`` are read from the graph that ran."""

    spec: Spec
    train: Phase
    test: Phase
    ran_fused: bool
    placements: tuple

    @property
    def phases(self):
        return (self.train, self.test)

    @property
    def devices(self):
        """Where the operations of the layer ran, such as {"CPU:0"}."""
        return frozenset(placement.device for placement in self.placements)


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Training runs on one repeated batch, one per decay.

    ``mean`` and ``variance``: float32 [decays, steps + 1, C], index 0 before the first step. ``test_steps``: the
    steps at which the test output was taken; ``test_outputs``: float32 [decays, len(test_steps), *batch].
    ``training_outputs``: float32 [decays, 2, *batch], of the first and the last step. ``devices``: where testing ran.
    """

    batch: np.ndarray
    decays: tuple
    fused: bool
    mean: np.ndarray
    variance: np.ndarray
    test_steps: tuple
    test_outputs: np.ndarray
    training_outputs: np.ndarray
    devices: frozenset


def run_listing(spec, device="auto", layer=batch_norm):
    """Build the article's graph for ``spec`` as its release would, train once, test once, and read all around both."""
    with tf.Graph().as_default() as graph, _session.place(device), release_scope.release(spec.release):
        x = tf.placeholder(tf.float32, spec.batch.shape)

        def bn(is_training):
            # Reference variables, as in TF1: they print as the article's did.
            with tf.variable_scope("my", reuse=tf.AUTO_REUSE, use_resource=False):
                return layer(x, decay=spec.decay, is_training=is_training, updates_collections=None, fused=spec.fused)

        outputs = {"train": bn(True), "test": bn(False)}
        variables = tf.global_variables()
        ran_fused = any(op.type.startswith("FusedBatchNorm") for op in graph.get_operations())
        phases, placements = [], set()
        with _session.open_session(device) as sess:
            sess.run(tf.global_variables_initializer())
            for name, output in outputs.items():
                before = sess.run(variables)
                # TensorFlow enters a variable scope for the second time under another name scope.
                result, placed = _session.placed_run(sess, output, {x: spec.batch}, "my/BatchNorm", "my_1/BatchNorm")
                values = sess.run(variables)
                placements.update(placed)
                phases.append(
                    Phase(
                        name,
                        result,
                        _statistics(variables, before),
                        _statistics(variables, values),
                        _printed(variables, before),
                        _printed(variables, values),
                    )
                )
    return Run(spec, *phases, ran_fused=ran_fused, placements=tuple(sorted(placements)))


def _statistics(variables, values):
    by_name = {v.op.name.rpartition("/")[2]: value for v, value in zip(variables, values, strict=True)}
    return {name: by_name[name] for name in STATISTICS}


def _printed(variables, values):
    return tuple((repr(v), str(value)) for v, value in zip(variables, values, strict=True))


def run_sweep(batch, decays, steps, test_steps, device="auto", fused=False, layer=batch_norm):
    """Train one layer per decay on the same ``batch`` for ``steps`` steps, testing after each of ``test_steps``.

    The steps between two tests run inside one session run: five thousand runs of their own would take longer
    than importing TensorFlow does.
    """
    test_steps = sorted({step for step in test_steps if 0 <= step <= steps} | {0, 1, steps})
    with tf.Graph().as_default(), _session.place(device):
        x = tf.placeholder(tf.float32, batch.shape)

        def layers(is_training):
            outputs = []
            for i, decay in enumerate(decays):
                with tf.variable_scope(f"decay_{i}", reuse=tf.AUTO_REUSE, use_resource=True):
                    outputs.append(
                        layer(x, decay=decay, is_training=is_training, updates_collections=None, fused=fused)
                    )
            return tf.stack(outputs)

        testing = layers(False)
        variables = [[v for v in tf.global_variables() if v.op.name.endswith("/" + name)] for name in STATISTICS]

        def read():
            return tf.stack([tf.stack([v.read_value() for v in row]) for row in variables])

        def step(i, history, _):
            output = layers(True)
            with tf.control_dependencies([output]):
                return i + 1, history.write(i, read()), output

        count = tf.placeholder(tf.int32, [])
        history = tf.TensorArray(tf.float32, count)
        _, history, training = tf.while_loop(
            lambda i, *_: i < count, step, (0, history, tf.zeros_like(testing)), parallel_iterations=1
        )
        with _session.open_session(device) as sess:
            sess.run(tf.global_variables_initializer())
            statistics = [sess.run(read())[np.newaxis]]
            untrained, devices = _session.traced_run(sess, testing, {x: batch}, scope="decay_0")
            tests = [untrained]
            trained = []
            train = sess.make_callable([history.stack(), training], feed_list=[x, count])
            test = sess.make_callable(testing, feed_list=[x])
            for done, until in itertools.pairwise(test_steps):
                values, output = train(batch, until - done)
                statistics.append(values)
                trained.append(output)
                tests.append(test(batch))
    mean, variance = np.moveaxis(np.concatenate(statistics), 0, 2)
    return Sweep(
        batch,
        tuple(decays),
        fused,
        mean,
        variance,
        tuple(test_steps),
        np.stack(tests, axis=1),
        np.stack([trained[0], trained[-1]], axis=1),
        frozenset(devices),
    )
