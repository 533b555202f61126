"""Models of TensorFlow.js, as its real converter wrote them and as they are written here."""

import json
import pathlib
import shutil

import numpy as np
import pytest

from tf1bn.checkpoints import CheckpointError, audit_checkpoint, open_checkpoint

TFJS = pathlib.Path(__file__).resolve().parents[1] / "golden" / "tfjs"
EXPECTED = json.loads((TFJS / "expected.json").read_text())["values"]


def values(name):
    with open_checkpoint(str(TFJS / name / "model.json")) as checkpoint:
        return {word: checkpoint.read(f"bn/{word}") for word in EXPECTED}, dict(checkpoint.steps)


def test_a_layers_model():
    found, steps = values("layers")
    for word, row in EXPECTED.items():
        np.testing.assert_array_equal(found[word], np.array(row, np.float32))
    assert not steps
    with open_checkpoint(str(TFJS / "layers")) as checkpoint:
        setting = checkpoint.declared["bn"]
        assert (setting["epsilon"], setting["decay"], setting["axis"]) == (0.002, 0.97, None)
    assert audit_checkpoint(str(TFJS / "layers"))["ok"]


@pytest.mark.parametrize("name", ["layers_uint8", "layers_uint16", "layers_float16"])
def test_quantized_weights(name):
    found, steps = values(name)
    for word, row in EXPECTED.items():
        exact = np.array(row)
        allowed = 0.5001 * steps[f"bn/{word}"] if "uint" in name else 2.0**-11 * np.abs(exact)
        assert (np.abs(found[word] - exact) <= allowed + 1e-7).all()
    result = audit_checkpoint(str(TFJS / name / "model.json"))
    # Neither is the smallest variance a dead channel, nor are the values those of training in float16.
    assert result["ok"]
    assert result["layers"][0]["causes"] == []
    assert "The values are quantized" in result["layers"][0]["explanation"]
    assert "6 weights of the model are quantized." in result["notes"]


def test_8_bits_make_a_small_variance_a_zero_that_means_nothing(tmp_path):
    shutil.copytree(TFJS / "layers_uint8", tmp_path / "model")
    path = tmp_path / "model" / "model.json"
    model = json.loads(path.read_text())
    for weight in model["weightsManifest"][0]["weights"]:
        if weight["name"].endswith("variance"):
            weight["quantization"] |= {"min": 0.0}
    path.write_text(json.dumps(model))
    with open_checkpoint(str(path)) as checkpoint:
        assert (checkpoint.read("bn/moving_variance") == 0).any()
    assert audit_checkpoint(str(path))["ok"]


@pytest.mark.parametrize("name", ["graph", "graph_uint8"])
def test_a_graph_model_is_folded_by_its_converter(name):
    result = audit_checkpoint(str(TFJS / name / "model.json"))
    assert not result["ok"]
    assert result["layers"] == []
    assert "model/bn`) was folded into a multiplication and an addition" in " ".join(result["notes"])


def test_a_graph_model_that_is_not_folded(tmp_path):
    rows = {"gamma": [1.5, 0.5], "beta": [0.25, 0.5], "moving_mean": [3.0, 4.5], "moving_variance": [5.5, 6.5]}
    attributes = {"epsilon": {"f": 0.002}, "is_training": {"b": False}, "data_format": {"s": "TkhXQw=="}}
    inputs = ["x", *(f"bn/{word}" for word in rows)]
    topology = [{"name": "x", "op": "Placeholder", "attr": {"dtype": {"type": "DT_FLOAT"}}}]
    topology += [{"name": name, "op": "Const", "attr": {}} for name in inputs[1:]]
    topology.append({"name": "bn/FusedBatchNormV3", "op": "FusedBatchNormV3", "input": inputs, "attr": attributes})
    weights = [{"name": f"bn/{word}", "shape": [2], "dtype": "float32"} for word in rows]
    model = {"modelTopology": {"node": topology}, "weightsManifest": [{"paths": ["a", "b"], "weights": weights}]}
    (tmp_path / "model.json").write_text(json.dumps(model))
    data = np.array(list(rows.values()), "<f4").tobytes()
    # A weight may lie in two shards.
    (tmp_path / "a").write_bytes(data[:13])
    (tmp_path / "b").write_bytes(data[13:])
    with open_checkpoint(str(tmp_path)) as checkpoint:
        for word, row in rows.items():
            np.testing.assert_array_equal(checkpoint.read(f"bn/{word}"), row)
        assert checkpoint.declared == {"bn": {"epsilon": 0.002, "training": False, "data_format": "NHWC"}}
    assert audit_checkpoint(str(tmp_path))["ok"]


def changed(tmp_path, change):
    shutil.rmtree(tmp_path / "model", ignore_errors=True)
    shutil.copytree(TFJS / "layers", tmp_path / "model")
    path = tmp_path / "model" / "model.json"
    model = json.loads(path.read_text())
    change(model["weightsManifest"][0])
    path.write_text(json.dumps(model))
    return str(path)


@pytest.mark.parametrize(
    ("said", "change"),
    [
        ("outside of its folder", lambda group: group.update(paths=["../x"])),
        ("outside of its folder", lambda group: group.update(paths=["/dev/zero"])),
        ("is missing", lambda group: group.update(paths=["x"])),
        ("is no file", lambda group: group.update(paths=["folder"])),
        ("of another size than its weights", lambda group: group["weights"].pop()),
        ("a shape that none can have", lambda group: group["weights"][0].update(shape=[-1])),
        ("a shape that none can have", lambda group: group["weights"][0].update(shape=[2**63])),
        ("of another size", lambda group: group["weights"][0].update(shape=[2**60])),
        ("is string, which is not read", lambda group: group["weights"][0].update(dtype="string")),
        ("no name of its own", lambda group: group["weights"][0].update(name="bn/beta")),
        ("not a whole model", lambda group: group["weights"][0].pop("shape")),
        ("not a whole model", lambda group: group.update(paths=[3])),
        (
            "in a way that makes no sense",
            lambda group: group["weights"][0].update(quantization={"dtype": "uint8", "scale": -1, "min": 0}),
        ),
    ],
)
def test_manifests_that_make_no_sense(said, change, tmp_path):
    path = changed(tmp_path, change)
    (tmp_path / "model" / "folder").mkdir()
    with pytest.raises(CheckpointError, match=said):
        audit_checkpoint(path)
