"""Outputs of layers with weights, which are normalised by the weighted moments, and of renorm, which says so."""

import pytest
from faults import CountsPadding, Masked, Renorm
from faulty import Layer, record

from tf1bn.diagnosis.engine import diagnose


class Unweighted(Masked):
    """The statistics take the weights, the outputs do not."""

    def statistics(self, moving, batch, training):
        return Layer.moments(self, batch) if training else moving


def judge(path, layer, **arguments):
    (result,) = diagnose(record(path, layer, **{"decay": 0.9, "shape": (9, 3, 4), "outputs": True} | arguments))
    return result


@pytest.mark.parametrize("kind", ["normal", "uniform", "lognormal", "relu"])
def test_outputs_with_weights_are_judged(tmp_path, kind):
    honest = judge(tmp_path / "a", Masked(0.9), kind=kind)
    assert (honest.verdict, honest.causes) == ("ok", ())
    assert "not checked" not in honest.explanation
    swapped = judge(tmp_path / "b", Masked(0.9, epsilon=0.5), kind="normal")
    assert [one.id for one in swapped.causes] == ["epsilon"]
    ignored = judge(tmp_path / "c", Unweighted(0.9), kind=kind)
    assert (ignored.verdict, [one.id for one in ignored.causes]) == ("finding", ["unexplained"])
    assert "The outputs in training" in ignored.explanation
    padding = judge(tmp_path / "d", CountsPadding(0.9), kind=kind)
    assert [one.id for one in padding.causes] == ["padding-counted"]


def test_outputs_of_renorm_that_are_not_judged_are_said(tmp_path):
    result = judge(tmp_path / "a", Renorm(0.9), renorm=True)
    assert result.verdict == "ok"
    assert "The outputs of training steps were not checked: batch renormalisation" in result.explanation
