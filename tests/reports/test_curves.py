"""What is kept of each step for the plots: the numbers that the diagnosis compared, in any channel."""

import numpy as np
import pytest
from faulty import Layer, record

from tf1bn.diagnosis import diagnose
from tf1bn.reports.curves import SERIES, STATISTICS, Curves


@pytest.fixture
def kept():
    with Curves() as kept:
        yield kept


@pytest.mark.parametrize("decay", [0.9, 0.8], ids=["ok", "wrong"])
def test_the_worst_is_the_one_of_which_the_result_speaks(kept, tmp_path, decay):
    record(tmp_path / "t", Layer(decay), decay=0.9)
    (layer,) = diagnose(tmp_path / "t", curves=kept)
    assert layer.verdict == ("ok" if decay == 0.9 else "finding")
    worst = kept.worst("bn")
    for name, error, allowed in (
        ("moving_mean", layer.mean_error, layer.mean_bound),
        ("moving_variance", layer.variance_error, layer.variance_bound),
    ):
        found = worst[name]
        assert found["error"] == error == abs(found["observed"] - found["expected"])
        assert found["expected_error"] <= found["worst_case"]
        assert allowed == found["expected_error" if decay == 0.9 else "worst_case"]
        # The curve is of the same channel, and has the same numbers in the same step.
        curve = kept.of("bn")[name]
        assert curve["channel"] == found["channel"]
        at = curve["step"].index(found["step"])
        assert {key: curve[key][at] for key in SERIES} == {key: found[key] for key in SERIES}


def test_the_curve_is_of_the_channel_that_is_asked_for(kept, tmp_path):
    trace = record(tmp_path / "t", Layer(0.8), decay=0.9)
    diagnose(tmp_path / "t", curves=kept)
    after = [step.layers["bn"].moving_mean_after for step in trace]
    for channel in range(len(after[0])):
        curve = kept.of("bn", {"mean": {"channel": channel}, "variance": None})["moving_mean"]
        assert curve["channel"] == channel
        assert curve["observed"] == [float(values[channel]) for values in after]
    assert "moving_mean" not in kept.of("bn", {"mean": {"channel": len(after[0])}})
    assert kept.of("another") == {}
    assert kept.worst("another") == {}


def test_channels_that_are_not_finite_are_left_out_and_shift_nothing(kept, tmp_path):
    trace = record(tmp_path / "t", Layer(0.8), decay=0.9)
    steps = []
    for step in trace:
        values = {name: np.array(getattr(step.layers["bn"], name)) for name in (*_AROUND, "inputs")}
        values["inputs"] = [values["inputs"][0]]
        values["inputs"][0][..., 0] = np.nan
        for name in _AROUND:
            values[name][0] = np.nan
        steps.append(values)
    from tf1bn.trace import Writer

    with Writer(tmp_path / "u") as writer:
        writer.add_layer("bn", trace.layers["bn"])
        for values in steps:
            writer.add_step({"bn": values}, training=True)
    diagnose(tmp_path / "u", curves=kept)
    curve = kept.of("bn", {"mean": {"channel": 1}})["moving_mean"]
    assert curve["observed"] == [float(values["moving_mean_after"][1]) for values in steps]
    assert "moving_mean" not in kept.of("bn", {"mean": {"channel": 0}})
    assert all(worst["channel"] > 0 for worst in kept.worst("bn").values())
    assert set(kept.worst("bn")) == set(STATISTICS)


_AROUND = ("moving_mean_before", "moving_variance_before", "moving_mean_after", "moving_variance_after")
