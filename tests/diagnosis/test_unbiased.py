"""Layers by hand that take x.std() or x.var() of PyTorch, which have the correction unless they are told not to."""

import numpy as np
import pytest

from tf1bn import trace
from tf1bn.diagnosis.engine import diagnose

COUNT = 24


def judged(path, kept, divided_by):
    """The diagnosis of a layer declared as PyTorch's; ``kept`` and ``divided_by`` make of an unbiased variance."""
    names = [f"moving_{one}_{when}" for when in ("before", "after") for one in ("mean", "variance")]
    moving, scale = (np.zeros(4), np.ones(4)), np.array([0.3, 1, 3, 10])
    with trace.Writer(path) as writer:
        writer.add_layer("bn", decay=0.9, epsilon=1e-3, fused=True, dtype="float64")
        for step in range(5):
            x = np.random.default_rng(step).normal(1, scale, (COUNT, 4))
            variance = x.var(0, ddof=1)
            after = moving[0] - 0.1 * (moving[0] - x.mean(0)), moving[1] - 0.1 * (moving[1] - kept(variance))
            record = {"inputs": [x], **dict(zip(names, (*moving, *after), strict=True))}
            outputs = (x - x.mean(0)) / np.sqrt(divided_by(variance) + 1e-3)
            writer.add_step(
                {"bn": {**record, "outputs": [outputs], "gamma": np.ones(4), "beta": np.zeros(4)}}, training=True
            )
            moving = after
    (result,) = diagnose(trace.open(path))
    return result


def population(variance):
    return variance * (COUNT - 1) / COUNT


def same(variance):
    return variance


@pytest.mark.parametrize(
    ("kept", "divided_by", "ids"),
    [
        (same, population, []),
        (np.sqrt, population, ["std-for-variance"]),
        (same, same, ["std-in-output"]),
        (np.sqrt, same, ["std-for-variance", "std-in-output"]),
        (lambda variance: np.sqrt(population(variance)), population, ["no-bessel", "std-for-variance"]),
        (same, lambda variance: 1.3 * variance, ["unexplained"]),
    ],
)
def test_the_correction_is_below_the_root(tmp_path, kept, divided_by, ids):
    result = judged(tmp_path / "a", kept, divided_by)
    assert sorted(cause.id for cause in result.causes if cause.severity == "finding") == ids
    if ids[-1:] == ["std-in-output"]:
        assert "are (x - mean) / sqrt(variance N/(N-1) + epsilon)" in result.explanation
    if ids == ["unexplained"]:
        assert "but not divided by the root of the batch's variance plus one epsilon" in result.explanation
