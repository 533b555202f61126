"""ONNX models, as the real exporter of PyTorch wrote them and as they are written here; no package is needed."""

import json
import pathlib
import shutil

import numpy as np
import pytest
from protobuf_bytes import field, number

from tf1bn.checkpoints import CheckpointError, audit_checkpoint, open_checkpoint

ONNX = pathlib.Path(__file__).resolve().parents[1] / "golden" / "onnx"
EXPECTED = json.loads((ONNX / "expected.json").read_text())["values"]
# The network is exported with a ReLU between its first two layers, so the numbers in the names are one higher.
NAMES = {"2": "1", "3.0": "2.0"}


@pytest.mark.parametrize("name", ["trained.onnx", "typed.onnx", "external.onnx"])
def test_what_pytorch_exports(name):
    with open_checkpoint(str(ONNX / name)) as checkpoint:
        for exported, own in NAMES.items():
            for word in ("running_mean", "running_var") + ("weight", "bias") * (own == "1"):
                expected = np.array(EXPECTED[f"{own}.{word}"], np.float32)
                np.testing.assert_array_equal(checkpoint.read(f"{exported}.{word}"), expected)
        assert checkpoint.declared["2"] == {"epsilon": 1e-3, "decay": 0.98, "training": False}
        assert checkpoint.declared["3.0"] == {"epsilon": 1e-5, "decay": 0.9, "training": False}
    result = audit_checkpoint(str(ONNX / name))
    assert result["ok"]
    assert [layer["name"] for layer in result["layers"]] == ["2", "3.0"]


def test_training_mode():
    result = audit_checkpoint(str(ONNX / "training.onnx"))
    assert {cause["id"] for layer in result["layers"] for cause in layer["causes"]} == {"batch-stats-at-inference"}
    assert "leaves the moving ones aside" in result["layers"][0]["explanation"]


def test_folded():
    result = audit_checkpoint(str(ONNX / "folded.onnx"))
    assert not result["ok"]
    assert "has no BatchNormalization node" in result["notes"][0]
    # The exporter names what it folded by numbers, which say nothing.
    with open_checkpoint(str(ONNX / "folded.onnx")) as checkpoint:
        assert set(checkpoint.variables) == {"0/weight", "0/bias"}


def test_values_elsewhere(tmp_path):
    """They are read in the model's own folder only, whole, and from plain files."""
    model, inside = tmp_path / "model", tmp_path / "model" / "external.bin"
    model.mkdir()
    shutil.copy(ONNX / "external.onnx", model)
    path = str(model / "external.onnx")

    def refused(said):
        with pytest.raises(CheckpointError, match=said):
            audit_checkpoint(path)

    refused("cannot be read: No such file")
    shutil.copy(ONNX / "external.bin", tmp_path / "external.bin")
    inside.symlink_to(tmp_path / "external.bin")
    refused("outside of the folder, which is not read")
    inside.unlink()
    inside.mkdir()
    refused("is no file")
    inside.rmdir()
    inside.write_bytes((ONNX / "external.bin").read_bytes()[:-450])
    refused("is cut off")
    data = (ONNX / "external.onnx").read_bytes()
    (model / "external.onnx").write_bytes(data.replace(b"external.bin", b"../exter.bin"))
    refused("outside of the folder")


def tensor(name, values, dtype, data=None):
    dims = b"".join(field(1, size) for size in np.shape(values))
    return field(5, dims + field(2, dtype) + field(8, name) + (data or b""))


def model(*parts):
    return field(1, 8) + field(2, "somebody") + field(7, b"".join(parts))


def nodes(*inputs, name="bn", op="BatchNormalization"):
    return field(1, b"".join(field(1, one) for one in inputs) + field(2, "y") + field(3, name) + field(4, op))


HALF = np.array([1.5, 2.25], "<f2")
BFLOAT16 = (np.array([3.25, 4.5], "<f4").view("<u4") >> 16).astype("<u2")


@pytest.mark.parametrize(
    ("dtype", "data", "expected"),
    [
        (1, field(4, np.array([1.5, 2.25], "<f4").tobytes()), [1.5, 2.25]),
        (1, b"".join(number(4 << 3 | 5) + np.array(v, "<f4").tobytes() for v in (1.5, 2.25)), [1.5, 2.25]),
        (11, field(10, np.array([1.5, 2.25]).tobytes()), [1.5, 2.25]),
        (10, field(9, HALF.tobytes()), [1.5, 2.25]),
        (10, field(5, b"".join(number(int(bits)) for bits in HALF.view("<u2"))), [1.5, 2.25]),
        (16, field(9, BFLOAT16.tobytes()), [3.25, 4.5]),
        (16, field(5, b"".join(number(int(bits)) for bits in BFLOAT16)), [3.25, 4.5]),
        (7, field(7, number(2**64 - 3) + number(5)), [-3, 5]),
    ],
)
def test_dtypes_and_fields(dtype, data, expected, tmp_path):
    path = tmp_path / "a"
    path.write_bytes(model(tensor("v", [0, 0], dtype, data), nodes("x", "v")))
    with open_checkpoint(str(path)) as checkpoint:
        (name,) = checkpoint.variables
        np.testing.assert_array_equal(checkpoint.read(name), expected)


@pytest.mark.parametrize(
    "data",
    [b"", field(9, b"abc"), field(4, b"\0" * 12), field(9, b"\0" * 12), field(4, 1), field(13, b"") + field(14, 1)],
)
def test_values_that_do_not_fit(data, tmp_path):
    path = tmp_path / "a.onnx"
    statistics = tensor("bn.running_mean", [0, 0], 1, data) + tensor("bn.running_var", [0, 0], 1, data)
    path.write_bytes(model(statistics, nodes("x", "bn.running_mean")))
    with pytest.raises(CheckpointError, match="damaged"):
        audit_checkpoint(str(path))


def test_names_that_say_nothing_and_shared_parameters(tmp_path):
    rows = {"c1": [1.5, 0.5], "c2": [0.25, 0.5], "c3": [3.0, 4.5], "c4": [5.5, 6.5], "c5": [7.0, 8.5], "c6": [9.5, 0.5]}
    data = b"".join(tensor(name, row, 1, field(9, np.array(row, "<f4").tobytes())) for name, row in rows.items())
    first = nodes("x", "c1", "c2", "c3", "c4", name="/net/bn1/BatchNormalization")
    path = tmp_path / "a.onnx"
    path.write_bytes(model(data, first, first, nodes("x", "c1", "c2", "c5", "c6", name="")))
    with open_checkpoint(str(path)) as checkpoint:
        np.testing.assert_array_equal(checkpoint.read("net/bn1/BatchNormalization/moving_mean"), rows["c3"])
        np.testing.assert_array_equal(checkpoint.read("y/moving_variance"), rows["c6"])
        np.testing.assert_array_equal(checkpoint.read("y/gamma"), rows["c1"])
    assert [layer["verdict"] for layer in audit_checkpoint(str(path))["layers"]] == ["ok", "ok"]
