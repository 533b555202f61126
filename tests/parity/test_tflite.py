"""A model of TensorFlow Lite against the checkpoint that it was made from; tests/golden/record/tflite.py made both."""

import pathlib

import numpy as np
import pytest

from tf1bn.parity import compare_checkpoints

pytest.importorskip("tflite")
TFLITE = pathlib.Path(__file__).resolve().parents[1] / "golden" / "tflite"
LAYERS = {"conv_bn", "depthwise_bn", "pool_bn", "dense_bn"}


@pytest.fixture
def compare(tmp_path):
    """A function that compares the checkpoint, after a change of its dict of arrays, with a model."""

    def run(change=lambda arrays: None, model="float32", **arguments):
        arrays = dict(np.load(TFLITE / "weights.npz"))
        change(arrays)
        np.savez(tmp_path / "old.npz", **arrays)
        model = TFLITE / f"{model}.tflite"
        result = compare_checkpoints(str(tmp_path / "old.npz"), str(model), **arguments)
        return {layer["name"]: layer for layer in result["layers"]}, result

    return run


@pytest.mark.parametrize("model", ["float32", "float16"])
def test_the_right_checkpoint(model, compare):
    layers, result = compare(model=model)
    assert result["ok"]
    assert {name: layer["matched"] for name, layer in layers.items()} == dict.fromkeys(LAYERS, "folded")
    assert all(difference["within"] for layer in layers.values() for difference in layer["differences"])


def test_scopes_around_the_names_of_one(compare):
    def change(arrays):
        renamed = {f"model/net/{name}": array for name, array in arrays.items()}
        arrays.clear()
        arrays.update(renamed)

    layers, result = compare(change)
    assert result["ok"]
    assert set(layers) == {f"model/net/{name}" for name in LAYERS}


def test_kernels_in_the_order_of_pytorch(compare):
    def change(arrays):
        arrays["conv/kernel"] = arrays["conv/kernel"].transpose(3, 2, 0, 1)
        arrays["dense/kernel"] = arrays["dense/kernel"].T

    layers, result = compare(change)
    assert result["ok"]
    assert layers["conv_bn"]["matched"] == "folded"


@pytest.mark.parametrize("name", sorted(LAYERS))
@pytest.mark.parametrize("word", ["gamma", "beta", "moving_mean", "moving_variance"])
def test_another_value_of_one_channel(name, word, compare):
    def change(arrays):
        arrays[f"{name}/{word}"][1] *= np.float32(1.001)

    layers, _ = compare(change)
    assert {one for one, layer in layers.items() if layer["verdict"] != "ok"} == {name}
    assert [cause["id"] for cause in layers[name]["causes"] if cause["severity"] == "finding"] == ["folded"]


def test_the_wrong_epsilon(compare):
    layers, _ = compare(epsilon=1e-3)
    for layer in layers.values():
        assert "epsilon" in {cause["id"] for cause in layer["causes"]}, layer["name"]


def test_another_run(compare):
    layers, _ = compare(lambda arrays: arrays.update({name: array[::-1] for name, array in arrays.items()}))
    assert {layer["verdict"] for layer in layers.values()} == {"finding"}


def test_a_checkpoint_without_kernels_leaves_it_open(compare):
    def change(arrays):
        for name in ("conv/kernel", "depthwise/kernel", "dense/kernel"):
            del arrays[name]

    layers, result = compare(change)
    assert not result["ok"]
    assert layers["pool_bn"]["verdict"] == "ok"
    for name in LAYERS - {"pool_bn"}:
        assert layers[name]["verdict"] == "undecidable"
        assert "no kernel of OLD can be read" in layers[name]["explanation"]
