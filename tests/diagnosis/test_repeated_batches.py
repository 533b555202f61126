"""The same batch in two steps in a row: recomputation, or a second pass; not one batch over and over."""

import numpy as np
import pytest

from tf1bn import trace
from tf1bn.diagnosis.engine import diagnose


def judged(path, order):
    """Verdict and ids of a correct layer that trains with the batches of these numbers, one after the other."""
    moving = np.zeros(3), np.ones(3)
    names = [f"moving_{one}_{when}" for when in ("before", "after") for one in ("mean", "variance")]
    with trace.Writer(path) as writer:
        writer.add_layer("bn", decay=0.5, epsilon=1e-3, fused=False, dtype="float64")
        for number in order:
            x = np.random.default_rng(number).normal(2, 1, (16, 3))
            after = moving[0] - 0.5 * (moving[0] - x.mean(0)), moving[1] - 0.5 * (moving[1] - x.var(0))
            writer.add_step({"bn": {"inputs": [x], **dict(zip(names, (*moving, *after), strict=True))}}, training=True)
            moving = after
    (result,) = diagnose(path)
    return result.verdict, [cause.id for cause in result.causes if cause.id != "cold-start"]


@pytest.mark.parametrize("order", [[0, 0, 1, 1], [0, 0, 1, 1, 2, 2]])
def test_every_batch_twice_is_a_double_update(tmp_path, order):
    assert judged(tmp_path / "run.trace", order) == ("finding", ["double-update"])


@pytest.mark.parametrize("order", [[0, 0], [0, 0, 0, 0], [0, 1, 0, 1], [0, 0, 1], [0, 0, 1, 2, 2], [0, 0, 0, 1, 1, 1]])
def test_other_orders_are_the_users_own(tmp_path, order):
    assert judged(tmp_path / "run.trace", order) == ("ok", [])
