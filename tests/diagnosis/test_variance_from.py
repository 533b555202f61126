"""Traces of layers that take the variance as E[x^2] - E[x]^2, declared and undeclared."""

import re

import numpy as np
import pytest

from tf1bn import trace
from tf1bn.diagnosis.engine import diagnose

F32 = np.float32
FEW = [8, pytest.param(150, marks=pytest.mark.slow)]  # seeds of each mean over deviation


def mean_of(x):
    return np.ascontiguousarray(x.T).mean(axis=1, dtype=F32)


def write(path, seed, ratio, decay=0.9, own_decay=0.9, keep="all", steps=4, **declared):
    """A trace of steps of a layer as Keras has it on PyTorch: weighted averages, outputs by the batch's own moments."""
    rng = np.random.default_rng(seed)
    count = int(rng.choice([32, 72, 256]))
    moving = np.zeros(5, F32), np.ones(5, F32)
    settings = {"decay": decay, "epsilon": 0.001, "fused": False, "recurrence": "weighted"} | declared
    names = [f"{name}_{when}" for when in ("before", "after") for name in ("moving_mean", "moving_variance")]
    with trace.Writer(path, overwrite=True) as writer:
        writer.add_layer("bn", **settings)
        for _ in range(steps):
            x = (rng.normal(ratio, 1, (count, 5)) * np.linspace(0.01, 5, 5)).astype(F32)
            mean = mean_of(x)
            variance = mean_of(x * x) - mean * mean
            keep_, rate = F32(own_decay), F32(1 - own_decay)
            after = moving[0] * keep_ + mean * rate, moving[1] * keep_ + variance * rate
            inverse = 1 / np.sqrt(variance + F32(0.001))
            record = {"inputs": [x], **dict(zip(names, (*moving, *after), strict=True))}
            record |= {"gamma": np.ones(5, F32), "beta": np.zeros(5, F32)}
            if keep == "all":
                record["outputs"] = [x * inverse + (-mean * inverse)]
            writer.add_step({"bn": record}, training=True)
            moving = after
    (result,) = diagnose(path)
    return result


def ids(result):
    return [cause.id for cause in result.causes if cause.id != "cold-start"]


@pytest.mark.parametrize("seeds", FEW)
@pytest.mark.parametrize("ratio", [0, 4, 30, 1000])
def test_declared_squares_are_ok(tmp_path, ratio, seeds):
    for seed in range(seeds):
        result = write(tmp_path / "run.trace", seed, ratio, variance_from="squares")
        # Near 1000 deviations the rounding takes a percent of the variance and more, which is worth a word.
        assert (result.verdict, ids(result)) == ("ok", ["cancellation"] * (ratio == 1000)), f"{seed}: {result}"
    if ratio == 1000:
        assert re.search(r"1e\+03 times|1\.\d\de\+03 times", result.explanation)
        assert "an error below that does not show" in result.explanation


@pytest.mark.parametrize("seeds", FEW)
@pytest.mark.parametrize("ratio", [1, 4, 12])
def test_undeclared_squares_near_zero_are_no_finding(tmp_path, ratio, seeds):
    """Keras' and Flax' layers in traces that do not say how the variance was computed: they cost next to nothing."""
    for seed in range(seeds):
        result = write(tmp_path / "run.trace", seed, ratio)
        assert result.verdict == "ok", f"{seed}: {result.explanation}"
        assert set(ids(result)) <= {"cancellation", "rounding"}


def test_undeclared_squares_that_lose_the_variance_are_named(tmp_path):
    result = write(tmp_path / "run.trace", 0, 1000)
    assert (result.verdict, ids(result)) == ("finding", ["cancellation"])
    assert "% of the batch's variance" in result.explanation


@pytest.mark.parametrize("variance_from", [None, "squares"])
@pytest.mark.parametrize("ratio", [0, 4, 30])
def test_another_decay_is_named_with_digits_that_differ(tmp_path, ratio, variance_from):
    for own in (0.99, 0.5, 0.9 - 2e-6):
        result = write(tmp_path / "run.trace", 0, ratio, own_decay=own, variance_from=variance_from)
        if own == 0.9 - 2e-6 and result.verdict == "ok":
            continue  # smaller than what rounding hides
        assert (result.verdict, ids(result)[0]) == ("finding", "decay"), result.explanation
        seen, declared = re.search(r"the decay in use is (\S+) and not (\S+)\.(?: |$)", result.explanation).groups()
        assert seen != declared
        assert float(seen) == pytest.approx(own, rel=1e-3)


@pytest.mark.parametrize("seeds", FEW)
def test_no_report_says_the_same_value_twice(tmp_path, seeds):
    """Whatever is just outside of a bound, two values that print alike are no cause."""
    for seed in range(seeds):
        rng = np.random.default_rng([seed, 1])
        own = 0.9 + float(rng.choice([1e-9, 1e-8, 6e-8, 1e-7, 1e-6])) * float(rng.choice([-1, 1]))
        result = write(tmp_path / "run.trace", seed, float(rng.choice([0, 4, 8])), own_decay=own, keep="inputs")
        assert not re.search(r"(\S+) and not \1(?:[ .,;]|$)", result.explanation), result.explanation
        assert not re.search(r"(\S+) instead of (?:1 - decay = )?\1(?:[ .,;]|$)", result.explanation)
