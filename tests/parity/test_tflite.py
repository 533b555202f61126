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


@pytest.mark.parametrize("model", ["float32", "float16", "int8"])
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


@pytest.mark.parametrize("name", sorted(LAYERS))
@pytest.mark.parametrize("word", ["gamma", "beta", "moving_mean", "moving_variance"])
def test_another_value_of_one_channel_shows_through_the_steps_of_whole_numbers(name, word, compare):
    """A tenth of a value is more than the steps hide, and a ten-thousandth is not, which float32 shows."""

    def change(arrays, factor):
        arrays[f"{name}/{word}"][1] *= np.float32(factor)

    layers, _ = compare(lambda arrays: change(arrays, 1.1), model="int8")
    assert {one for one, layer in layers.items() if layer["verdict"] != "ok"} == {name}
    assert "folded" in {cause["id"] for cause in layers[name]["causes"] if cause["severity"] == "finding"}
    if word in ("gamma", "moving_variance") and name != "pool_bn":
        assert not compare(lambda arrays: change(arrays, 1.0001))[1]["ok"]
        layers, result = compare(lambda arrays: change(arrays, 1.0001), model="int8")
        assert result["ok"]
        assert "as far as the steps of its whole numbers tell" in layers[name]["explanation"]


def test_another_run_and_whole_numbers(compare):
    def change(arrays):
        arrays.update({name: array[::-1] for name, array in arrays.items()})

    assert {layer["verdict"] for layer in compare(change, model="int8")[0].values()} == {"finding"}


def test_the_epsilon_that_the_steps_of_whole_numbers_leave_open(compare):
    assert compare(model="int8", epsilon=2e-3)[1]["ok"]
    assert compare(model="int8", epsilon=2.01e-3)[1]["ok"]
    layers, _ = compare(model="int8", epsilon=1.0)
    assert {cause["id"] for layer in layers.values() for cause in layer["causes"]} == {"epsilon"}


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
