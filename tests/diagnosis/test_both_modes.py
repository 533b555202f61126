"""Layers called twice, in training and in inference, where a tf.cond outside chooses: each run does both calls."""

import numpy as np
import pytest

from tf1bn import trace
from tf1bn.diagnosis.engine import diagnose

DECAY, EPSILON = 0.9, 1e-3


def recorded(path, read=lambda step: ("before", "before"), updates=lambda step: True, keep="inputs", wrong=0.0):
    """The diagnosis of 12 steps, of which every second one trains gamma.

    Args:
      read: which mean and variance the call in inference reads in a step, "before" or "after" the update.
      updates: whether a step updates the statistics.
      keep: what the trace holds of the batches, "inputs" or "moments".
      wrong: what is added to the outputs in inference.
    """
    rng = np.random.default_rng(0)
    statistics, gamma = [np.zeros(3, np.float32), np.ones(3, np.float32)], np.ones(3, np.float32)
    with trace.Writer(path) as writer:
        writer.add_layer("bn", decay=DECAY, epsilon=EPSILON, fused=False, scale=True, center=False)
        for step in range(12):
            x = (rng.normal(size=(64, 3)) * [1, 2, 3] + [4, 5, 6]).astype(np.float32)
            moments = [x.mean(0, dtype=np.float64), x.var(0, dtype=np.float64)]
            moved = [(DECAY * a + (1 - DECAY) * b).astype(np.float32) for a, b in zip(statistics, moments, strict=True)]
            after = moved if updates(step) else statistics
            mean, variance = ((after if when == "after" else statistics)[i] for i, when in enumerate(read(step)))
            outputs = [gamma * (x - m) / np.sqrt(v + EPSILON) for m, v in (moments, (mean, variance + wrong))]
            record = {"moving_mean_before": statistics[0], "moving_variance_before": statistics[1], "gamma": gamma}
            record |= {"moving_mean_after": after[0], "moving_variance_after": after[1], "training": [True, False]}
            if keep == "inputs":
                record |= {"inputs": [x, x], "outputs": [y.astype(np.float32) for y in outputs]}
            else:
                record["moments"] = [{"count": 64, "mean": moments[0], "variance": moments[1]}] * 2
            writer.add_step({"bn": record}, training=True)
            statistics = after
            gamma = gamma + np.float32(0.125) * (step % 2 == 0)
    return only(path)


def only(path):
    (result,) = diagnose(trace.open(path))
    return result


@pytest.mark.parametrize("keep", ["inputs", "moments"])
def test_updates_in_every_run_are_a_leak(tmp_path, keep):
    result = recorded(tmp_path / "t", keep=keep)
    assert [(cause.id, cause.severity) for cause in result.causes] == [("validation-leak", "finding")]
    assert "5 of 11 steps (1, 3, 5, 7, 9)" in result.explanation
    assert "outside" in result.explanation


@pytest.mark.parametrize("read", [("after", "after"), ("before", "after"), ("after", "before")])
def test_inference_may_read_the_statistics_before_or_after_either_update(tmp_path, read):
    """TensorFlow gives the two calls no order."""
    result = recorded(tmp_path / "t", read=lambda step: read if step % 3 else ("before", "before"))
    assert [cause.id for cause in result.causes] == ["validation-leak"]


def test_outputs_of_other_statistics_are_found_all_the_same(tmp_path):
    result = recorded(tmp_path / "t", read=lambda step: ("after", "before"), wrong=0.25)
    assert {"unexplained", "epsilon"} & {cause.id for cause in result.causes}


def test_without_updates_in_evaluation_all_is_well(tmp_path):
    result = recorded(tmp_path / "t", updates=lambda step: step % 2 == 0)
    assert result.verdict == "ok", result.explanation
    assert {cause.id for cause in result.causes} <= {"cold-start"}


def test_without_any_update_none_ran(tmp_path):
    result = recorded(tmp_path / "t", updates=lambda step: False)
    assert [(cause.id, cause.severity) for cause in result.causes] == [("not-updated", "finding")]
    assert "in training and in inference on the same batch" in result.explanation


def test_two_batches_are_no_choice_between_two_calls(tmp_path):
    """As a generator's step runs a discriminator, or a student's its teacher."""
    path = tmp_path / "t"
    statistics = [np.zeros(1, np.float32), np.ones(1, np.float32)]
    with trace.Writer(path) as writer:
        writer.add_layer("bn", decay=DECAY, epsilon=EPSILON, fused=False, scale=True, center=False)
        for step in range(12):
            mean, variance = np.array([1.0 + step]), np.array([2.0])
            after = [
                (DECAY * a + (1 - DECAY) * b).astype(np.float32)
                for a, b in zip(statistics, (mean, variance), strict=True)
            ]
            record = {"moving_mean_before": statistics[0], "moving_variance_before": statistics[1]}
            record |= {"moving_mean_after": after[0], "moving_variance_after": after[1], "training": [True, False]}
            record["gamma"] = np.float32([1 + step // 2])
            record["moments"] = [{"count": 64, "mean": m, "variance": variance} for m in (mean, mean + 1)]
            writer.add_step({"bn": record}, training=True)
            statistics = after
    assert [cause.id for cause in only(path).causes if cause.id != "cold-start"] == ["untrained-steps"]
