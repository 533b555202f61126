"""Runs the article's listing, and the sweep over decays, in TensorFlow. It measures and decides nothing."""

import dataclasses
import itertools
from typing import Any, NamedTuple

import numpy as np
import tensorflow as _tf

from ..layers import release_scope
from ..layers.contrib_batch_norm import batch_norm
from . import devices

tf = _tf.compat.v1

STATISTICS = ("moving_mean", "moving_variance")
# Training steps of a sweep that gain as much time from a rewritten graph as it takes to rewrite it.
WORTH_REWRITING = 20_000


@dataclasses.dataclass(frozen=True)
class Spec:
    """What is run: the arguments of the listing's layer and its input.

    Attributes:
      decay, fused: arguments of the layer.
      release: the TensorFlow release whose rules hold, such as "1.15".
      input: where the batch is from, "article" or "random".
      batch: float32, channels last.
    """

    decay: float
    fused: bool
    release: str
    input: str
    batch: np.ndarray

    @property
    def layer(self):
        """The code path that ``fused`` asks for, "fused" or "composed"."""
        return "fused" if self.fused else "composed"


@dataclasses.dataclass(frozen=True)
class Phase:
    """One session run of the listing, and the variables before and after it.

    Attributes:
      name: "train" or "test".
      output: float32, the shape of the batch.
      before, after: dicts from STATISTICS to float32 [C].
      printed_before, printed_after: for each variable its repr and its value as text, as the article printed them.
    """

    name: str
    output: np.ndarray
    before: dict
    after: dict
    printed_before: tuple
    printed_after: tuple


@dataclasses.dataclass(frozen=True)
class Run:
    """A run of the listing.

    Attributes:
      spec: what was run.
      train, test: its two session runs.
      ran_fused: whether the graph has the fused kernel.
      placements: a `devices.Placement` for each operation of the layer that was executed.
    """

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
        """The devices on which the operations of the layer ran, such as {"CPU:0"}."""
        return frozenset(placement.device for placement in self.placements)


@dataclasses.dataclass(frozen=True)
class Sweep:
    """One layer per decay, all trained on the same repeated batch.

    Attributes:
      batch: float32, channels last.
      decays: one for each layer.
      fused: an argument of the layers.
      mean, variance: float32 [decays, steps + 1, C], the moving statistics; index 0 is before the first step.
      test_steps: after how many steps each layer was tested.
      test_outputs: float32 [decays, len(test_steps), *batch].
      training_outputs: float32 [decays, 2, *batch], of the first and the last step.
      devices: the devices on which the first layer's test ran.
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
    """Build the article's graph for ``spec`` as its release would, train once and test once; returns a `Run`.

    Args:
      spec: a `Spec`.
      device: "auto", "cpu" or "gpu".
      layer: the function that is called for the layer.
    """
    with tf.Graph().as_default() as graph, devices.device_scope(device), release_scope.release(spec.release):
        x = tf.placeholder(tf.float32, spec.batch.shape)

        def bn(is_training):
            # Reference variables, as in TF1: they print as the article's did.
            with tf.variable_scope("my", reuse=tf.AUTO_REUSE, use_resource=False):
                return layer(x, decay=spec.decay, is_training=is_training, updates_collections=None, fused=spec.fused)

        outputs = {"train": bn(True), "test": bn(False)}
        variables = tf.global_variables()
        ran_fused = any(op.type.startswith("FusedBatchNorm") for op in graph.get_operations())
        phases, placements = [], set()
        with devices.open_session(device) as sess:
            sess.run(tf.global_variables_initializer())
            before = sess.run(variables)
            for name, output in outputs.items():
                # TensorFlow enters a variable scope for the second time under another name scope.
                result, new_placements = devices.run_with_placements(
                    sess, output, {x: spec.batch}, "my/BatchNorm", "my_1/BatchNorm"
                )
                after = sess.run(variables)
                placements.update(new_placements)
                phases.append(
                    Phase(
                        name,
                        result,
                        _statistics(variables, before),
                        _statistics(variables, after),
                        _printed(variables, before),
                        _printed(variables, after),
                    )
                )
                before = after
    return Run(spec, *phases, ran_fused=ran_fused, placements=tuple(sorted(placements)))


def _statistics(variables, values):
    by_name = {v.op.name.rpartition("/")[2]: value for v, value in zip(variables, values, strict=True)}
    return {name: by_name[name] for name in STATISTICS}


def _printed(variables, values):
    return tuple((repr(v), str(value)) for v, value in zip(variables, values, strict=True))


class _SweepGraph(NamedTuple):
    """The tensors of the sweep's graph."""

    x: Any  # placeholder of the batch
    count: Any  # placeholder, how many training steps to run
    statistics: Any  # [2, decays, C], the moving statistics as they are
    history: Any  # [count, 2, decays, C], the moving statistics after each training step
    training: Any  # [decays, *batch], the outputs of the last training step
    testing: Any  # [decays, *batch]


def run_sweep(batch, decays, steps, test_steps, device="auto", fused=False, layer=batch_norm, progress=None):
    """Train one layer per decay on the same ``batch``; returns a `Sweep`.

    Args:
      batch: float32, channels last.
      decays: one for each layer.
      steps: the number of training steps.
      test_steps: after how many steps to test; 0, 1 and ``steps`` are added.
      device: "auto", "cpu" or "gpu".
      fused: an argument of the layers.
      layer: the function that is called for the layers.
      progress: None, or called with the number of training steps that are done.
    """
    test_steps = sorted({step for step in test_steps if 0 <= step <= steps} | {0, 1, steps})
    with tf.Graph().as_default(), devices.device_scope(device):
        graph = _sweep_graph(batch.shape, decays, fused, layer)
        with devices.open_session(device, rewrite=steps >= WORTH_REWRITING) as sess:
            sess.run(tf.global_variables_initializer())
            statistics = [sess.run(graph.statistics)[np.newaxis]]
            untrained, used_devices = devices.run_with_devices(sess, graph.testing, {graph.x: batch}, scope="decay_0")
            tests = [untrained]
            training_outputs = []
            train = sess.make_callable([graph.history, graph.training], feed_list=[graph.x, graph.count])
            test = sess.make_callable(graph.testing, feed_list=[graph.x])
            for done, until in itertools.pairwise(test_steps):
                values, output = train(batch, until - done)
                statistics.append(values)
                training_outputs.append(output)
                tests.append(test(batch))
                if progress is not None:
                    progress(until)
    mean, variance = np.moveaxis(np.concatenate(statistics), 0, 2)
    return Sweep(
        batch,
        tuple(decays),
        fused,
        mean,
        variance,
        tuple(test_steps),
        np.stack(tests, axis=1),
        np.stack([training_outputs[0], training_outputs[-1]], axis=1),
        frozenset(used_devices),
    )


def _sweep_graph(shape, decays, fused, layer):
    """Build the layers of the sweep, testing and, in a loop, training; returns a `_SweepGraph`.

    The steps between two tests run inside one session run: thousands of session runs would take longer than the import
    of TensorFlow.
    """
    x = tf.placeholder(tf.float32, shape)
    count = tf.placeholder(tf.int32, [])

    def outputs(is_training):
        results = []
        for i, decay in enumerate(decays):
            with tf.variable_scope(f"decay_{i}", reuse=tf.AUTO_REUSE, use_resource=True):
                results.append(layer(x, decay=decay, is_training=is_training, updates_collections=None, fused=fused))
        return tf.stack(results)

    testing = outputs(False)
    variables = [[v for v in tf.global_variables() if v.op.name.endswith("/" + name)] for name in STATISTICS]

    def read():
        return tf.stack([tf.stack([v.read_value() for v in row]) for row in variables])

    def train_once(i, history, _):
        output = outputs(True)
        with tf.control_dependencies([output]):
            return i + 1, history.write(i, read()), output

    _, history, training = tf.while_loop(
        lambda i, *_: i < count,
        train_once,
        (0, tf.TensorArray(tf.float32, count), tf.zeros_like(testing)),
        parallel_iterations=1,
    )
    return _SweepGraph(x, count, read(), history.stack(), training, testing)
