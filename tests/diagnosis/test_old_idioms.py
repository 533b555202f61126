"""Ways of using batch norm that code of 2016 to 2019 is full of: what is right in them is not called wrong."""

import numpy as np
import pytest

from tf1bn import trace
from tf1bn.diagnosis.engine import diagnose

DECAY, EPSILON, CHANNELS = 0.8, 1e-3, 3


class Layer:
    """A layer of float32 by the formulas; `step` records one run of it."""

    def __init__(self, path, start=(0.0, 1.0), keep="inputs", **declared):
        self.keep = keep
        self.rng = np.random.default_rng(0)
        self.statistics = [np.full(CHANNELS, value, np.float32) for value in start]
        self.gamma = np.ones(CHANNELS, np.float32)
        self.path, self.writer = path, trace.Writer(path)
        settings = {"decay": DECAY, "epsilon": EPSILON, "fused": False, "scale": True, "center": False} | declared
        self.writer.add_layer("bn", **settings)

    def batch(self):
        return (self.rng.normal(size=(64, CHANNELS)) * [1, 2, 3] + [4, 5, 6]).astype(np.float32)

    def step(self, training, update, trains=False, read=None, x=None, rate=1 - DECAY):
        """Record a run.

        Args:
          training: whether the layer normalises by the batch.
          update: whether the statistics move, by ``rate`` of the way to the batch.
          trains: whether gamma is another one after it.
          read: 0 or 1 for mean and variance: those before the update or after it, for a run in inference.
        """
        x = self.batch() if x is None else x
        moments = x.mean(0, dtype=np.float64), x.var(0, dtype=np.float64)
        after = self.statistics
        if update:
            after = [(a + rate * (b - a)).astype(np.float32) for a, b in zip(after, moments, strict=True)]
        both = self.statistics, after
        mean, variance = moments if training else (both[when][i] for i, when in enumerate(read or (0, 0)))
        record = {
            "gamma": self.gamma,
            **dict(zip(("moving_mean_before", "moving_variance_before"), self.statistics, strict=True)),
            **dict(zip(("moving_mean_after", "moving_variance_after"), after, strict=True)),
        }
        if self.keep == "inputs":
            outputs = self.gamma * (x - mean) / np.sqrt(variance + EPSILON)
            record |= {"inputs": [x], "outputs": [outputs.astype(np.float32)]}
        else:
            record["moments"] = [{"count": len(x), "mean": moments[0], "variance": moments[1]}]
        self.writer.add_step({"bn": record}, training=training)
        self.statistics = after
        if trains:
            self.gamma = self.gamma + np.float32(0.125)

    def diagnosis(self):
        self.writer.close()
        (result,) = diagnose(trace.open(self.path))
        return result

    def causes(self):
        return [(cause.id, cause.severity) for cause in self.diagnosis().causes if cause.id != "cold-start"]


@pytest.mark.parametrize("read", [(0, 0), (1, 1), (0, 1), (1, 0)])
def test_an_average_that_moves_in_inference_may_be_read_before_or_after_it(tmp_path, read):
    """ema.apply outside of the tf.cond that reads its averages: nothing orders the two."""
    layer = Layer(tmp_path / "t")
    for step in range(12):
        layer.step(training=step % 3 < 2, update=True, trains=step % 3 < 2, read=read)
    assert layer.causes() == [("validation-leak", "finding")]


def test_an_average_that_was_never_applied_is_no_dead_channel(tmp_path):
    """ema.average of a tensor starts from 0."""
    layer = Layer(tmp_path / "t", start=(0.0, 0.0))
    for step in range(8):
        layer.step(training=step % 2 == 0, update=False, trains=step % 2 == 0)
    assert layer.causes() == [("not-updated", "finding")]


def test_an_average_that_was_not_restored_divides_by_the_root_of_epsilon(tmp_path):
    layer = Layer(tmp_path / "t", start=(0.0, 0.0))
    for _ in range(3):
        layer.step(training=False, update=False)
    result = layer.diagnosis()
    assert [(cause.id, cause.severity) for cause in result.causes] == [("bad-variance", "finding")]
    assert result.first_step == 0


def test_channels_that_are_dead_beside_others_are_named(tmp_path):
    layer = Layer(tmp_path / "t", start=(0.0, 0.0))
    layer.statistics[1][0], layer.statistics[0][0] = 2, 4
    for _ in range(3):
        x = layer.batch()
        x[:, 1:] = 0
        layer.step(training=False, update=False, x=x)
    assert "dead-channel" in dict(layer.causes())


def played(layer, *kinds, times=4):
    """The layer after steps of these kinds, in turn: pairs of whether the statistics move and gamma does."""
    for _ in range(times):
        for update, trains in kinds:
            layer.step(training=True, update=update, trains=trains)
        layer.step(training=False, update=False)
    return layer


@pytest.mark.parametrize("kinds", [[(False, False), (True, True)], [(True, True), (False, False), (False, False)]])
def test_steps_that_train_another_network_need_no_updates(tmp_path, kinds):
    """A generator's layer in the discriminator's steps; evaluation with is_training=True looks the same."""
    result = played(Layer(tmp_path / "t"), *kinds).diagnosis()
    assert (result.verdict, result.causes) == ("undecidable", ())
    assert "another part of the model" in result.explanation
    assert "evaluate" in result.explanation


def test_updates_in_runs_of_their_own_are_advice(tmp_path):
    result = played(Layer(tmp_path / "t"), (False, True), (True, False)).diagnosis()
    assert [(cause.id, cause.severity) for cause in result.causes] == [("untrained-steps", "advisory")]
    assert "calls of their own." in result.explanation


def test_updates_in_every_third_step_forget_more_slowly(tmp_path):
    kinds = [(False, True), (False, True), (False, True), (True, False)]
    result = played(Layer(tmp_path / "t"), *kinds).diagnosis()
    assert result.verdict == "ok"
    assert "one for 3 steps of training" in result.explanation


@pytest.mark.parametrize("kinds", [[(False, True), (True, True)], [(False, True), (True, True), (False, False)]])
def test_updates_that_are_missing_in_steps_that_train_are_found(tmp_path, kinds):
    assert played(Layer(tmp_path / "t"), *kinds).causes() == [("not-updated", "finding")]


def test_blocks_of_moments_show_the_same_as_single_steps(tmp_path):
    for name, kinds, verdict in (
        ("apart", [(False, True), (True, False)], "ok"),
        ("elsewhere", [(False, False), (True, True)], "undecidable"),
        ("missing", [(False, True), (True, True)], "finding"),
    ):
        layer = Layer(tmp_path / name, keep="moments")
        for _ in range(20):
            for update, trains in kinds:
                layer.step(training=True, update=update, trains=trains)
        assert layer.diagnosis().verdict == verdict


def debiased(path, decay, factor=1.0):
    """The layer after 20 steps of moving_averages.assign_moving_average with zero_debias=True, as TF 1.15 computes it.

    Args:
      factor: by how much the variance is off.
    """
    layer = Layer(path, zero_debias=True, decay=decay)
    rate, biased = np.float32(1 - decay), np.zeros((2, CHANNELS), np.float32)
    for count in range(1, 21):
        x = layer.batch()
        before, state = layer.statistics, {"biased": biased[0], "local_step": np.float32([count - 1])}
        biased = biased - (biased - np.stack([x.mean(0), x.var(0)])) * rate
        after = biased / (np.float32(1) - np.power(np.float32(1) - rate, np.float32(count)))
        after[1] *= np.float32(factor)
        record = {"inputs": [x], "gamma": layer.gamma, "state": {**state, "biased_after": biased[0]}}
        for word, (mean, variance) in (("before", before), ("after", after)):
            record |= {f"moving_mean_{word}": mean, f"moving_variance_{word}": variance}
        layer.writer.add_step({"bn": record}, training=True)
        layer.statistics = list(after)
    return layer


@pytest.mark.parametrize("decay", [0.8, 0.9, 0.99, 0.999, 0.9997])
def test_a_zero_debiased_variance_is_advice(tmp_path, decay):
    result = debiased(tmp_path / "t", decay).diagnosis()
    assert [(cause.id, cause.severity) for cause in result.causes] == [("zero-debias", "advisory")]
    assert "start values (0, 1)" not in result.explanation


@pytest.mark.parametrize("decay", [0.8, 0.99, 0.9997])
def test_a_zero_debiased_variance_that_is_off_is_found(tmp_path, decay):
    result = debiased(tmp_path / "t", decay, factor=1.05).diagnosis()
    assert result.verdict == "finding"
    assert "zero-debias" not in [cause.id for cause in result.causes]


def test_updates_in_calls_in_inference_of_an_unknown_decay_are_undecidable(tmp_path):
    """An average with a number of updates, applied in a call of its own that feeds is_training=False."""
    layer = Layer(tmp_path / "t", decay=None)
    for step in range(8):
        layer.step(training=True, update=False, trains=True)
        layer.step(training=False, update=True, rate=9 / (10 + step))
    result = layer.diagnosis()
    assert (result.verdict, result.causes) == ("undecidable", ())
    assert "calls of their own" in result.explanation
