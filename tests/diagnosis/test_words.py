"""Sentences and remedies are in the terms of the framework that a trace names, and every cause has a remedy."""

import pytest
from faults import StandsStill
from faulty import Layer, record

from tf1bn.diagnosis import conclude
from tf1bn.diagnosis.engine import diagnose
from tf1bn.remedies import REMEDIES, remedy
from tf1bn.verdicts import CAUSES


class Framed:
    """A trace that names its framework."""

    def __init__(self, opened, name):
        self.layers, self._opened = opened.layers, opened
        self.framework = {"name": name, "version": "1"}

    def __iter__(self):
        return iter(self._opened)


def text_of(path, layer, framework, **arguments):
    (result,) = diagnose(Framed(record(path, layer, **arguments), framework))
    (entry,) = conclude.audit_result([result])["layers"]
    return entry["explanation"], {cause["id"]: cause["remedy"] for cause in entry["causes"]}


def test_pytorch_has_no_update_operations(tmp_path):
    text, remedies = text_of(tmp_path / "a", StandsStill(0.9), "torch", decay=0.9)
    assert "UPDATE_OPS" not in text + remedies["not-updated"]
    assert "track_running_stats" in text
    text, remedies = text_of(tmp_path / "b", Layer(0.8), "torch", decay=0.9)
    assert "0.8 (momentum 0.2) and not 0.9 (momentum 0.1)" in text
    assert "momentum" in remedies["decay"]


def test_a_layer_of_tf1_has_them(tmp_path):
    text, remedies = text_of(tmp_path / "a", StandsStill(0.9), "tensorflow", decay=0.9, release="1.15")
    assert "UPDATE_OPS" in text
    assert "UPDATE_OPS" in remedies["not-updated"]


@pytest.mark.parametrize(("framework", "verdict"), [("keras", "finding"), ("torch", "ok"), (None, "ok")])
def test_a_frozen_layer_that_moves_is_wrong_where_it_cannot_by_design(tmp_path, framework, verdict):
    opened = record(tmp_path / "a", Layer(0.9), decay=0.9, trainable=False)
    (result,) = diagnose(Framed(opened, framework))
    assert ([cause.id for cause in result.causes], result.verdict) == (["frozen-but-moves"], verdict)


def test_every_cause_has_a_remedy_of_a_few_lines():
    assert set(CAUSES) <= set(REMEDIES)
    for name in CAUSES:
        for framework, release in ((None, None), ("torch", None), ("keras", None), ("tensorflow", "1.15")):
            text = remedy(name, framework, release)
            assert text.endswith(".")
            assert len(text) <= 3 * 120, name
