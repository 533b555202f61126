"""Moments that do not decide whether an update was right leave the inputs in the trace."""

import honest
import numpy as np
import pytest

from tf1bn import diagnosis, trace
from tf1bn.recorders.collector import Application, Collector
from tf1bn.recorders.limits import Limits

STEPS = 6


def recorded(path, order, faulty=False, **limits):
    """A trace of a layer whose moments are sums in this order; ``faulty``: with Bessel's correction."""
    collector = Collector(path, Limits(**limits))
    collector.declare({"bn": trace.Layer(decay=0.9, epsilon=1e-3, fused=False)})
    moving = np.zeros(2, np.float32), np.ones(2, np.float32)
    for step in range(STEPS):
        batch = honest.KINDS["relu"](np.random.default_rng(step), (4096, 2)).astype(np.float32)
        mean, variance = honest.layer_moments(honest.MOMENTS[order], batch)
        own = mean, variance * np.float32(1.5) if faulty else variance
        after = tuple(old - (old - new) * np.float32(1 - 0.9) for old, new in zip(moving, own, strict=True))
        collector.begin()
        collector.take("bn", Application(batch, None, True, moving, after))
        collector.end()
        moving = after
    collector.close()
    return path


def kept(path):
    """For each step whether its inputs are in the trace."""
    return [bool(step.layers["bn"].inputs) for step in trace.open(path)]


@pytest.mark.parametrize(("order", "more"), [("in order", True), ("pairwise", False)])
def test_inputs_are_kept_where_moments_do_not_decide(order, more, tmp_path):
    path = recorded(tmp_path / "t", order)
    assert kept(path)[:3] == [True] * 3
    assert any(kept(path)[3:]) is more
    assert [one.verdict for one in diagnosis.diagnose(path)] == ["ok"]


def test_moments_alone_are_undecidable_there(tmp_path):
    path = recorded(tmp_path / "t", "in order", keep="moments")
    assert kept(path) == [False] * STEPS
    assert [one.verdict for one in diagnosis.diagnose(path)] == ["undecidable"]


def test_what_is_wrong_needs_no_inputs(tmp_path):
    path = recorded(tmp_path / "t", "in order", faulty=True)
    assert kept(path) == [True] * 3 + [False] * (STEPS - 3)
    assert [one.verdict for one in diagnosis.diagnose(path)] == ["finding"]


def test_the_inputs_that_are_kept_have_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr("tf1bn.recorders.limits.FULL_BYTES", 4 * 4096 * 2 * 4)
    assert sum(kept(recorded(tmp_path / "t", "in order"))) == 4
