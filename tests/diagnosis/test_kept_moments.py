"""Traces that hold the inputs of the first steps and moments after them, as recorders write them if nothing is said."""

import numpy as np
import pytest

from tf1bn import trace
from tf1bn.checker import Moments, batch_moments
from tf1bn.diagnosis.engine import diagnose


def judged(path, kinds, weights=None):
    """Verdict and ids of a layer of 5 channels, declared to be on the last axis.

    Args:
      kinds: for each step the length of the batch's middle axis, whether the inputs are kept or their moments, and the
        axes that the statistics are taken over.
      weights: those of the 8 samples, where the inputs are kept; the statistics count all samples alike.
    """
    names = [f"moving_{one}_{when}" for when in ("before", "after") for one in ("mean", "variance")]
    moving = np.zeros(5), np.ones(5)
    with trace.Writer(path) as writer:
        writer.add_layer("bn", decay=0.9, epsilon=1e-3, fused=False, dtype="float64")
        for step, (length, kept, axes) in enumerate(kinds):
            x = np.random.default_rng(step).normal(1, np.arange(1, 6), (8, length, 5))
            after = moving[0] - 0.1 * (moving[0] - x.mean(axes)), moving[1] - 0.1 * (moving[1] - x.var(axes))
            record = dict(zip(names, (*moving, *after), strict=True))
            if kept:
                record |= {"inputs": [x]} if weights is None else {"inputs": [x], "weights": [weights]}
            else:
                moments = batch_moments(x, weights=weights)
                record["moments"] = [Moments(moments.count, moments.mean, moments.variance, moments.weight)]
            writer.add_step({"bn": record}, training=True)
            moving = after
    (result,) = diagnose(path)
    return result.verdict, [cause.id for cause in result.causes if cause.severity == "finding"]


PER_CHANNEL, PER_POSITION = (0, 1), (0, 2)


@pytest.mark.parametrize("later", [[], [False] * 3, [True, False]], ids=["none", "moments", "both"])
def test_another_axis_is_named_by_the_steps_that_hold_inputs(tmp_path, later):
    kinds = [(5, kept, PER_POSITION) for kept in (True, True, *later)]
    assert judged(tmp_path / "run.trace", kinds) == ("finding", ["wrong-axis"])


def test_an_axis_that_is_longer_in_another_step_explains_nothing_there(tmp_path):
    kinds = [(5, True, PER_POSITION), (7, True, PER_CHANNEL), (5, False, PER_CHANNEL)]
    assert judged(tmp_path / "run.trace", kinds) == ("finding", ["wrong-axis"])


def test_weights_that_were_not_used_are_named_by_the_steps_that_hold_inputs(tmp_path):
    kinds = [(5, kept, PER_CHANNEL) for kept in (True, True, False)]
    assert judged(tmp_path / "run.trace", kinds, np.r_[np.ones(5), np.zeros(3)]) == ("finding", ["padding-counted"])
