"""The numbers in a report: one channel and step everywhere, two bounds with two names, and the digits that decide."""

import numpy as np
import pytest
from faulty import Layer, record

from tf1bn.diagnosis import diagnose
from tf1bn.diagnosis.conclude import audit_result
from tf1bn.reports.curves import Curves


def curves_of(opened, name, worst):
    with Curves() as curves:
        diagnose(opened, curves=curves)
        return curves.of(name, worst)


class OneStepOneChannel(Layer):
    """Adds to the mean of channel 2 in the fourth step, and a little to channel 0 in the second."""

    def train(self, moving, batches):
        mean, variance = super().train(moving, batches)
        mean = mean.copy()
        if self.steps == 3:
            mean[2] += np.float32(0.5)
        if self.steps == 1:
            mean[0] += np.float32(0.01)
        return mean, variance


@pytest.fixture
def result(tmp_path):
    opened = record(tmp_path / "a", OneStepOneChannel(0.9), decay=0.9, shape=(6, 4), steps=6)
    return diagnose(opened)[0], opened


def test_text_json_and_plot_speak_of_one_channel_and_step(result):
    diagnosis, opened = result
    worst = diagnosis.worst["mean"]
    assert (worst.step, worst.channel) == (3, 2)
    assert worst.observed - worst.expected == pytest.approx(0.5, abs=1e-6)
    assert (worst.error, diagnosis.mean_error) == (pytest.approx(0.5, abs=1e-6), worst.error)
    (layer,) = audit_result([diagnosis])["layers"]
    assert (layer["worst"]["mean"]["channel"], layer["worst"]["mean"]["step"]) == (2, 3)
    assert layer["accumulated"]["mean"]["channel"] == 2
    assert "too high in channel 2 of step 3" in layer["explanation"]
    assert curves_of(opened, "bn", layer["worst"])["moving_mean"]["channel"] == 2


def test_both_bounds_of_rounding_have_a_name(result):
    worst = result[0].worst["mean"]
    assert 0 < worst.expected_error < worst.worst_case < worst.error
    assert f"expected to cause {worst.expected_error:.2g}, in the worst case {worst.worst_case:.2g}" in (
        result[0].explanation
    )
    variance = result[0].worst["variance"]
    assert variance.error <= variance.expected_error < variance.worst_case


def test_a_plot_takes_the_channel_that_is_named(tmp_path):
    opened = record(tmp_path / "a", Layer(0.9), decay=0.9, shape=(6, 4), steps=3)
    for channel in range(4):
        assert curves_of(opened, "bn", {"mean": {"channel": channel}})["moving_mean"]["channel"] == channel


@pytest.mark.parametrize("decay", [0.9 + 3e-7, 0.9 - 2e-7])
def test_decays_that_differ_read_differently(tmp_path, decay):
    layer = Layer(decay, dtype="float64")
    exact = {"dtype": "float64", "rate_dtype": "float64"}
    opened = record(tmp_path / "a", layer, decay=0.9, shape=(6, 4), steps=6, **exact)
    (diagnosis,) = diagnose(opened)
    (found,) = diagnosis.causes
    assert found.id == "decay"
    assert "0.9 and not 0.9." not in found.explanation
    assert f"{decay:.9g}"[:8] in found.explanation


@pytest.mark.parametrize("count", [6, 300])
def test_the_correction_is_shown_by_what_it_exceeds_1_by(tmp_path, count):
    opened = record(tmp_path / "a", Layer(0.9, True), decay=0.9, shape=(count, 4), steps=6, fused=False)
    (diagnosis,) = diagnose(opened)
    assert f"and 1/(N-1) = {1 / (count - 1):.4g}" in diagnosis.explanation
    assert "k - 1 = " in diagnosis.explanation
    shown = float(diagnosis.explanation.partition("k - 1 = ")[2].partition(" ")[0])
    assert shown == pytest.approx(1 / (count - 1), rel=1e-2)


def test_a_layer_that_stands_still_by_design_has_no_error(tmp_path):
    class Still(Layer):
        def train(self, moving, batches):
            return moving

    opened = record(tmp_path / "a", Still(0.9), decay=0.9, shape=(6, 4), steps=3, trainable=False)
    (diagnosis,) = diagnose(opened)
    assert diagnosis.verdict == "ok"
    assert "what they should be" not in diagnosis.explanation
