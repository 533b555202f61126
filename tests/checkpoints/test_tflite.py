"""Models of TensorFlow Lite, as TensorFlow's converter wrote them; tests/golden/record/tflite.py made them."""

import pathlib
import random
import sys

import numpy as np
import pytest

from tf1bn.checkpoints import CheckpointError, audit_checkpoint, open_checkpoint
from tf1bn.checkpoints.formats.graphs import tflite

TFLITE = pathlib.Path(__file__).resolve().parents[1] / "golden" / "tflite"
WEIGHTS = np.load(TFLITE / "weights.npz")


@pytest.fixture
def package():
    return pytest.importorskip("tflite")


def variables(name):
    with open_checkpoint(str(TFLITE / f"{name}.tflite")) as checkpoint:
        return {key: checkpoint.read(key) for key in checkpoint.variables}


@pytest.mark.parametrize(("dtype", "allowed"), [("float32", 2.0**-22), ("float16", 2.0**-10)])
def test_kernels_and_constants(dtype, allowed, package):
    found = variables(dtype)
    assert {array.dtype.name for array in found.values()} == {dtype}
    for kernel in ("conv/kernel", "depthwise/kernel", "dense/kernel"):
        layer = kernel.replace("/kernel", "_bn")
        scale = WEIGHTS[f"{layer}/gamma"] / np.sqrt(WEIGHTS[f"{layer}/moving_variance"] + 2e-3)
        before = WEIGHTS[kernel]
        # A depthwise kernel has its output channels on two axes.
        after = before * (scale.reshape(before.shape[-2:]) if kernel.startswith("depthwise") else scale)
        np.testing.assert_allclose(found[f"{layer}/kernel"], after, rtol=allowed)
    scale = WEIGHTS["pool_bn/gamma"] / np.sqrt(WEIGHTS["pool_bn/moving_variance"] + 2e-3)
    np.testing.assert_allclose(found["pool_bn/batchnorm/mul"], scale, rtol=allowed)
    shift = WEIGHTS["pool_bn/beta"] - WEIGHTS["pool_bn/moving_mean"] * scale
    np.testing.assert_allclose(found["pool_bn/batchnorm/sub"], shift, atol=4 * allowed)


def test_kernels_have_the_order_of_axes_of_tensorflow(package):
    found, weights = variables("other"), np.load(TFLITE / "other.npz")
    for name in ("transposed/kernel", "solid/kernel"):
        np.testing.assert_array_equal(found[name], weights[name])
    np.testing.assert_array_equal(found["transposed/bias"], weights["transposed/bias"])


class OneProduct:
    """A model of a product and a sum with constants; ``takers`` operations take the product."""

    def __init__(self, takers):
        self.operators = [tflite._Operator("MUL", [0, 1], [2]), tflite._Operator("RELU", [2], [5])][:takers]
        self.operators.append(tflite._Operator("ADD", [2, 3], [4]))

    def constant(self, number):
        return (np.ones(2, np.float32), None) if number in (1, 3) else None

    def name(self, number):
        return f"bn/batchnorm/{number}"


def test_a_product_that_others_take_too_is_no_batch_norm():
    assert tflite._constants(OneProduct(1))[1] == ["bn"]
    assert tflite._constants(OneProduct(2)) == ({}, [])


def test_there_is_nothing_to_judge_in_one_alone(package):
    result = audit_checkpoint(str(TFLITE / "float32.tflite"))
    assert not result["ok"]
    assert result["layers"] == []
    assert "tf1bn parity CHECKPOINT MODEL" in result["notes"][0]
    assert "1 batch norm (`pool_bn`) was folded into a multiplication and an addition" in result["notes"][1]


def test_whole_numbers_are_within_half_a_step_of_what_was_folded(package):
    with (
        open_checkpoint(str(TFLITE / "int8.tflite")) as exact,
        open_checkpoint(str(TFLITE / "float32.tflite")) as float32,
    ):
        assert exact.variables.keys() == float32.variables.keys() == exact.steps.keys()
        for name in exact.variables:
            got, wanted, step = exact.read(name), float32.read(name), exact.steps[name]
            assert got.shape == wanted.shape == step.shape
            # The zero of constants without a kernel is moved to a whole number.
            share = 1 if "batchnorm" in name else 0.5
            assert (np.abs(got - wanted) <= share * step * (1 + 1e-3)).all()
            # No other step does: some value is off by more than a quarter.
            assert (np.abs(got - wanted) > step / 4).any()
        assert "8 constants of the model are whole numbers, known to their steps alone." in exact.notes


def test_kernels_of_other_whole_numbers_are_refused(package, monkeypatch):
    monkeypatch.setattr(tflite, "_WHOLE", {})
    with pytest.raises(
        CheckpointError, match="with 3 kernels of whole numbers that are no int8 with a step, from which"
    ):
        open_checkpoint(str(TFLITE / "int8.tflite"))


class Stored:
    """The quantization of a tensor."""

    def __init__(self, scales, zeros=(), axis=0):
        self.ScaleAsNumpy, self.ZeroPointAsNumpy = lambda: np.array(scales), lambda: np.array(zeros)
        self.ScaleLength, self.ZeroPointLength = lambda: len(scales), lambda: len(zeros)
        self.Quantization, self.QuantizedDimension = lambda: self, lambda: axis


@pytest.mark.parametrize(
    ("stored", "error"),
    [
        (Stored([0.5] * 4), "steps of another number of channels"),
        (Stored([0.5] * 3, axis=7), "steps of another number of channels"),
        (Stored([0.5, 0.5, -1.0]), "a step that is no positive number"),
        (Stored([0.5, 0.5, np.nan]), "a step that is no positive number"),
    ],
)
def test_steps_that_cannot_be_right(stored, error, package):
    model = tflite._Model(package, (TFLITE / "int8.tflite").read_bytes())
    with pytest.raises(ValueError, match=error):
        model._dequantized(stored, np.zeros((3, 2), np.int8))


def test_steps_along_an_axis_and_a_zero(package):
    model = tflite._Model(package, (TFLITE / "int8.tflite").read_bytes())
    array = np.array([[1, 2], [3, 4]], np.int8)
    values, steps = model._dequantized(Stored([0.5, 2.0], axis=1), array)
    assert (values.tolist(), steps.tolist()) == ([[0.5, 4.0], [1.5, 8.0]], [[0.5, 2.0]] * 2)
    values, steps = model._dequantized(Stored([0.5], [1]), array)
    assert (values.tolist(), steps.tolist()) == ([[0.0, 0.5], [1.0, 1.5]], [[0.5, 0.5]] * 2)
    assert model._dequantized(Stored([]), array) is None


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "tflite", None)
    with pytest.raises(CheckpointError, match="the package tflite is not installed; run `pip install tflite`"):
        open_checkpoint(str(TFLITE / "float32.tflite"))


@pytest.mark.parametrize("model", ["float32", "int8"])
def test_damaged_models_are_read_or_refused(package, tmp_path, model):
    data, draw, refused = (TFLITE / f"{model}.tflite").read_bytes(), random.Random(1), 0
    for i in range(60):
        changed = bytearray(data if i % 2 else data[: draw.randrange(8, len(data))])
        for _ in range(draw.choice((1, 4, 64))):
            changed[draw.randrange(8, len(changed)) if len(changed) > 8 else 0] = draw.randrange(256)
        changed[4:8] = b"TFL3"
        path = tmp_path / "m.tflite"
        path.write_bytes(changed)
        try:
            with open_checkpoint(str(path)) as checkpoint:
                for name in checkpoint.variables:
                    checkpoint.read(name)
        except CheckpointError:
            refused += 1
    assert refused > 20


def test_a_model_that_is_cut_off_is_refused_in_one_sentence(package, tmp_path):
    data, path = (TFLITE / "float16.tflite").read_bytes(), tmp_path / "m.tflite"
    for size in (*range(8, len(data), 250), len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(CheckpointError, match=r"is damaged: it is not a whole model of TensorFlow Lite") as caught:
            open_checkpoint(str(path))
        assert "unpack" not in str(caught.value)


def test_a_constant_of_unknown_shape_is_refused(package, tmp_path):
    known, unknown = (np.array([size, 3, 3, 3], "<i4").tobytes() for size in (4, -1))
    data, path = (TFLITE / "float32.tflite").read_bytes(), tmp_path / "m.tflite"
    assert known in data
    path.write_bytes(data.replace(known, unknown))
    with pytest.raises(CheckpointError, match=r"\(a constant has no certain shape\)"):
        open_checkpoint(str(path))


def test_parts_that_overlap_are_refused(package, monkeypatch):
    monkeypatch.setattr("tf1bn.checkpoints.formats.graphs.tflite._MOST_TIMES", 0)
    with pytest.raises(CheckpointError, match=r"is damaged: .* \(its parts overlap\)"):
        open_checkpoint(str(TFLITE / "float32.tflite"))
