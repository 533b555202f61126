"""Layers of real frameworks with settings drawn at random: a sample of what `tests/support/correct_layers.py` runs."""

import json

import correct_layers
import pytest

MODELS = 6  # of each framework, of 6 layers each


def alarms(framework, index, path):
    return correct_layers.judge(path, correct_layers.run(framework, 1, index, path))[1]


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["contrib", "keras", "tf_keras"])
def test_no_layer_of_tensorflow_or_keras_is_called_wrong(framework, tmp_path):
    if framework != "contrib":
        pytest.importorskip(framework)
    for index in range(MODELS):
        assert alarms(framework, index, str(tmp_path / f"{index}.trace")) == []


@pytest.mark.torch
def test_no_layer_of_pytorch_is_called_wrong(tmp_path):
    pytest.importorskip("torch")
    for index in range(MODELS):
        assert alarms("torch", index, str(tmp_path / f"{index}.trace")) == []


@pytest.mark.slow
def test_a_layer_that_declares_another_decay_is_noticed(tmp_path):
    path = tmp_path / "run.trace"
    drawn = correct_layers.run("contrib", 1, 0, str(path))
    header = json.loads((path / "trace.json").read_text(encoding="utf-8"))
    for settings in header["layers"].values():
        settings["decay"] = 0.35
    (path / "trace.json").write_text(json.dumps(header), encoding="utf-8")
    lines = [json.loads(line) for line in (path / "steps.jsonl").read_text(encoding="utf-8").splitlines()]
    for line in lines:
        for layer in line["layers"].values():
            layer.pop("decay", None)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (path / "steps.jsonl").write_text(text, encoding="utf-8")
    assert len(correct_layers.judge(str(path), drawn)[1]) >= 4
