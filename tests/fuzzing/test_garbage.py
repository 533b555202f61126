"""Garbage in a trace never crashes the diagnosis, is never said to be ok, and leaves no number that JSON has not.

More of it: `python tests/support/garbage.py --count 100000`.
"""

import garbage
import numpy as np
import pytest
import tiers
from faulty import Layer, data, record, simulated

from tf1bn.diagnosis.engine import diagnose
from tf1bn.evidence.estimators import VarianceFactor

SEEDS = tiers.slow_but([0], range(4))


@pytest.mark.parametrize("seed", SEEDS)
def test_garbage_is_never_ok(tmp_path, seed):
    verdicts = set()
    for index in range(40):
        said = garbage.case(seed, index, tmp_path / str(index))
        verdicts |= set(said.values()) if isinstance(said, dict) else {"refused"}
    assert verdicts == {"ok", "finding", "undecidable", "refused"}


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("channels", [slice(1, 2), slice(None)], ids=["one", "all"])
def test_statistics_that_stay_finite_under_an_input_that_is_not(tmp_path, bad, channels):
    clean = {}

    def batches(t, i):
        clean[t] = data("normal", np.random.default_rng(t), (8, 3, 4))
        return clean[t]

    def dirty(t):
        if t != 1:
            return {}
        spoiled = clean[t].copy()
        spoiled[3, 1, channels] = bad
        return {"inputs": [spoiled]}

    opened = record(tmp_path / "trace", Layer(0.9), decay=0.9, shape=(8, 3, 4), batches=batches, extra=dirty, steps=3)
    (result,) = diagnose(opened)
    assert result.verdict == "finding"
    assert [one.id for one in result.causes] == ["not-finite"]
    shown = "channel 1" if channels != slice(None) else "channels 0, 1, 2, 3"
    assert f"In step 1 the input holds NaN or infinity in {shown} and the statistics do not" in result.explanation


def test_what_moved_outside_of_training_is_no_update_with_a_batch_of_zeros(tmp_path):
    # However many zeros there are, their sums are exact, so the bound is finite.
    def moments(t):
        return {"moments": [{"count": 10**18, "mean": np.zeros(3), "variance": np.zeros(3)}]} if t else {}

    opened = record(
        tmp_path / "trace",
        MovesInTests(0.9),
        decay=0.9,
        shape=(8, 3),
        training=lambda t: t == 0,
        keep="moments",
        extra=moments,
        steps=2,
    )
    (result,) = diagnose(opened)
    assert result.verdict == "finding"
    assert [one.id for one in result.causes] == ["unexplained"]
    assert "not as an update with the batch of the step" in result.explanation


def test_an_infinite_mean_under_zero_debias_warns_of_nothing(tmp_path):
    def spoil(t):
        return {"moving_mean_before": np.full(4, np.inf, np.float32)} if t == 0 else {}

    opened = record(tmp_path / "trace", Layer(0.9), decay=0.9, steps=2, extra=spoil, zero_debias=True)
    (result,) = diagnose(opened)
    assert result.verdict == "finding"
    assert "not-finite" in [one.id for one in result.causes]


def test_a_factor_of_a_step_too_small_to_divide_by_is_not_known():
    factor = VarianceFactor()
    factor.add(*(np.array([each]) for each in (1.0, 1.0, 0.1, 1.0)))
    assert np.isnan(factor.estimate(5e-324).value)
    # (b0 + (b1 - b0) / rate) / v
    assert factor.estimate(0.5).value == pytest.approx(10, rel=1e-12)


class MovesInTests(Layer):
    def test(self, moving, batches):
        return tuple(one * np.float32(2) for one in moving)


def test_the_reference_sees_what_is_wrong():
    """A reference that allowed all would be no test."""
    settings, made = simulated(Layer(0.9), decay=0.9, steps=1)
    (values, trains), *_ = made
    assert garbage.too_far(settings, values, trains) is None
    for name in garbage.STATISTICS[2:]:
        assert garbage.too_far(settings, values | {name: values[name] * 1.01}, trains) is not None
        assert garbage.too_far(settings, values | {name: values[name] * np.nan}, trains) is not None
    assert garbage.too_far(settings, values | {"inputs": [values["inputs"][0] * np.inf]}, trains) is not None
    assert garbage.too_far(settings, values, False) is not None
