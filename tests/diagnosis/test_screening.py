"""Hypotheses that a few channels rule out: none of them fits, and most of those that do not fit are ruled out."""

import collections

import faults
import pytest
import tiers
from faulty import Layer, record

from tf1bn.diagnosis import fitting, partial, search
from tf1bn.diagnosis.engine import diagnose
from tf1bn.evidence.step_view import View
from tf1bn.verdicts import FINDING


@pytest.fixture
def counted(monkeypatch):
    """How many fits that were screened were ruled out, and how many were findings, each compared with the whole fit."""
    counts = collections.Counter()

    def fit_step(view, hypothesis, bessel, updates_before=0, screened=False):
        fit, whole = (fitting.fit_step(view, hypothesis, bessel, updates_before, some) for some in (screened, False))
        if screened:
            counts["ruled out"] += fit is fitting.IMPOSSIBLE
            counts["findings"] += whole.verdict == FINDING
            assert (fit is fitting.IMPOSSIBLE and whole.verdict == FINDING) or fit.verdict == whole.verdict
            assert fit is fitting.IMPOSSIBLE or fit.misfit == whole.misfit
        return fit

    monkeypatch.setattr(search, "fit_step", fit_step)
    monkeypatch.setattr(partial, "fit_step", fit_step)
    return counts


FIRST = {*sorted(faults.FAULTS)[::8], "zero-debiased", "renormalised"}


@pytest.mark.parametrize("name", tiers.slow_but(sorted(FIRST), sorted(faults.FAULTS)))
def test_what_is_ruled_out_is_a_finding_in_all_channels(tmp_path, counted, name):
    config = next(config for fault, config in faults.CASES if fault == name)
    diagnose(faults.trace_of(tmp_path / "t", name, config))
    assert counted["ruled out"] <= counted["findings"]


def test_nearly_all_that_does_not_fit_is_ruled_out(tmp_path, counted):
    diagnose(record(tmp_path / "t", faults.Slower(0.9), decay=0.9, shape=(20, 40), steps=4))
    assert counted["findings"] > 100
    assert counted["ruled out"] > 0.9 * counted["findings"]


def test_one_channel_is_enough(tmp_path, counted):
    """A mean that is off in the first channel alone, which is among the few that are looked at."""

    class OneChannel(Layer):
        def train(self, moving, batches):
            mean, variance = super().train(moving, batches)
            mean[0] += 1
            return mean, variance

    diagnose(record(tmp_path / "t", OneChannel(0.9), decay=0.9, shape=(20, 40), steps=4))
    assert counted["ruled out"] > 0.9 * counted["findings"] > 0


def test_the_inputs_of_wrong_layers_are_read_once(tmp_path, monkeypatch):
    opened = record(tmp_path / "t", faults.StillOrTwice(0.9), decay=0.9, shape=(20, 6), steps=8)
    read = []
    batches = View.batches_to_measure

    def noted(self, outputs):
        result = batches(self, outputs)
        read.extend(result[0])
        return result

    monkeypatch.setattr(View, "batches_to_measure", noted)
    (result,) = diagnose(opened)
    assert result.verdict == FINDING
    assert len(result.causes) > 1  # found in the third pass
    assert len(read) == 8
