"""``tf1bn inspect``: what a trace or a checkpoint holds, on the terminal and as JSON."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tf1bn.cli import main as cli

SAMPLE = Path(__file__).parents[2] / "docs/samples/port.trace"
GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture
def command(capsys, monkeypatch):
    """Run ``tf1bn inspect`` in this process; returns exit code, stdout, stderr."""
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments):
        code = cli.main(["inspect", *map(str, arguments)])
        return code, *capsys.readouterr()

    return run


def test_a_trace(command):
    code, out, err = command(SAMPLE)
    assert (code, err) == (0, "")
    assert "a trace of 2 batch-norm layers, 4 steps (3 training, 1 inference), " in " ".join(out.split())
    assert "every layer: decay 0.7, epsilon 0.001" in out
    assert "conv1/bn         2      4  2x2x2x2 float32  inputs, outputs, gamma, beta" in out
    report = json.loads(command(SAMPLE, "--json", "-")[1])
    assert (report["format"], report["kind"], report["steps"], report["training_steps"]) == (
        "tf1bn-inspect",
        "trace",
        4,
        3,
    )
    assert report["bytes"] == sum(path.stat().st_size for path in SAMPLE.rglob("*") if path.is_file())
    layer = report["layers"][0]
    assert (layer["name"], layer["channels"], layer["steps"], layer["training_steps"]) == ("conv1/bn", 2, 4, 3)
    assert (layer["shape"], layer["dtype"]) == ([2, 2, 2, 2], "float32")
    assert layer["settings"]["decay"] == 0.7


def test_an_unfinished_step_is_told(command, tmp_path):
    shutil.copytree(SAMPLE, tmp_path / "t")
    with open(tmp_path / "t/steps.jsonl", "a") as file:
        file.write('{"step": 9, "tr')
    code, out, _ = command(tmp_path / "t")
    assert code == 0
    assert "The last step was not finished" in out
    assert "4 steps" in out


def test_a_checkpoint(command, tmp_path):
    names = {"moving_mean": np.zeros(3), "moving_variance": np.ones(3), "gamma": np.ones(3, np.float32)}
    np.savez(tmp_path / "w.npz", kernel=np.zeros((3, 3)), **{f"a/bn/{name}": value for name, value in names.items()})
    code, out, err = command(tmp_path / "w.npz")
    assert (code, err) == (0, "")
    assert "a checkpoint of 1 batch-norm layer and 4 variables" in out
    report = json.loads(command(tmp_path / "w.npz", "--json", "-")[1])
    (layer,) = report["layers"]
    assert (layer["name"], layer["channels"], report["variables"]) == ("a/bn", 3, 4)
    assert layer["variables"]["gamma"] == "a/bn/gamma"
    assert set(layer["holds"]) == {"gamma", "mean", "variance"}
    assert report["bytes"] == (tmp_path / "w.npz").stat().st_size


def test_what_a_graph_declares(command):
    report = json.loads(command(GOLDEN / "onnx/trained.onnx", "--json", "-")[1])
    assert [layer["settings"]["decay"] for layer in report["layers"]] == [0.98, 0.9]
    assert report["about"] == {"format": "ONNX model"}
    assert "format: TensorFlow checkpoint" in command(GOLDEN / "checkpoints/fused")[1]


def test_some_layers_alone(command):
    out = command(SAMPLE, "--layer", "conv2/*")[1]
    assert "conv2/bn" in out
    assert "conv1/bn" not in out
    code, out, err = command(SAMPLE, "--layer", "bn")
    assert (code, out) == (2, "")
    assert "matches none of the 2 layers. Did you mean `conv1/bn` or `conv2/bn`?" in err


@pytest.mark.parametrize("path", ["none.trace", "none.npz"])
def test_what_is_not_there(command, tmp_path, path):
    code, out, err = command(tmp_path / path)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1


def test_a_long_name_is_folded_and_nothing_is_cut(command, tmp_path):
    name = "network/" + "block/" * 20 + "bn"
    np.savez(tmp_path / "w.npz", **{f"{name}/moving_mean": np.zeros(3), f"{name}/moving_variance": np.ones(3)})
    out = command(tmp_path / "w.npz")[1]
    assert "…" not in out
    assert out.count("block/") == 20


def test_what_is_read_is_not_written(command, tmp_path):
    shutil.copytree(SAMPLE, tmp_path / "t")
    assert command(tmp_path / "t", "--json", tmp_path / "t/trace.json")[0] == 2
