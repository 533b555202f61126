"""Frozen graphs and ``.meta`` files that the real TF 1.15.5 wrote; tests/golden/record/graphs.py made them."""

import gzip
import json
import pathlib
import shutil

import numpy as np
import pytest
from protobuf_bytes import field

from tf1bn.checkpoints import CheckpointError, audit_checkpoint, open_checkpoint
from tf1bn.checkpoints.formats.graphs import meta
from tf1bn.graphdef.files import wire

GRAPHS = pathlib.Path(__file__).resolve().parents[1] / "golden" / "graphs"
EXPECTED = json.loads((GRAPHS / "expected.json").read_text())["values"]
F32 = np.float32
WORDS = ("gamma", "beta", "moving_mean", "moving_variance")


def opened(name):
    """The values of a frozen graph by name, what it declares and its notes."""
    with open_checkpoint(str(GRAPHS / name)) as checkpoint:
        names = [f"bn/{word}" for word in WORDS if f"bn/{word}" in checkpoint.variables]
        return {one: checkpoint.read(one) for one in names}, checkpoint.declared, checkpoint.notes


def exact(case):
    return {name: np.array(row, F32) for name, row in EXPECTED[case].items() if name.startswith("bn/")}


@pytest.mark.parametrize(
    ("name", "case", "format"),
    [
        ("fused_inference.pb", "fused", "NHWC"),
        ("composed_inference.pb", "composed", None),
        ("unscaled_inference.pb", "unscaled", None),
        ("inference.pb", "inference", "NHWC"),
    ],
)
def test_frozen_for_inference(name, case, format):
    values, declared, _ = opened(name)
    expected = exact(case)
    assert sorted(values) == sorted(expected)
    for variable, array in expected.items():
        np.testing.assert_array_equal(values[variable], array)
    data_format = {"data_format": format} if format else {}
    assert declared == {"bn": {"epsilon": 0.002, "training": False, **data_format}}


def test_verdicts_on_frozen_graphs():
    for name in ("fused_inference.pb", "composed_inference.pb", "unscaled_inference.pb"):
        result = audit_checkpoint(str(GRAPHS / name))
        assert result["ok"], name
        # The graph says itself that there is no gamma.
        assert result["layers"][0]["causes"] == []
        assert result["notes"][0].startswith("By its nodes the graph has 1 batch norm, with epsilon 0.002")
    (layer,) = audit_checkpoint(str(GRAPHS / "inference.pb"))["layers"]
    assert [cause["id"] for cause in layer["causes"]] == ["not-updated"]


@pytest.mark.parametrize("name", ["fused.pb", "composed.pb", "unscaled.pb"])
def test_frozen_in_training_mode(name):
    (layer,) = audit_checkpoint(str(GRAPHS / name))["layers"]
    assert [cause["id"] for cause in layer["causes"]] == ["batch-stats-at-inference"]
    assert "exported in training mode" in layer["explanation"]


@pytest.mark.parametrize("name", ["switched", "switched_composed"])
def test_frozen_with_a_switch(name):
    values, declared, _ = opened(f"{name}.pb")
    assert declared["bn"]["epsilon"] == 0.002
    for variable, array in exact(name).items():
        np.testing.assert_array_equal(values[variable], array)
    assert audit_checkpoint(str(GRAPHS / f"{name}.pb"))["ok"]


@pytest.mark.parametrize("name", ["composed_folded.pb", "unscaled_folded.pb"])
def test_a_folded_layer_is_said_to_be_folded(name):
    result = audit_checkpoint(str(GRAPHS / name))
    assert not result["ok"]
    assert result["layers"] == []
    assert "1 batch norm (`bn`) was folded into a multiplication and an addition" in result["notes"][0]


@pytest.fixture
def with_meta(tmp_path):
    """A function that copies the files of a checkpoint and its graph, and returns the prefix."""

    def copy(name):
        for path in GRAPHS.glob(f"{name}.*"):
            shutil.copy(path, tmp_path)
        with gzip.open(GRAPHS / f"{name}.meta.gz") as packed:
            (tmp_path / f"{name}.meta").write_bytes(packed.read())
        return str(tmp_path / name)

    return copy


@pytest.mark.parametrize("name", ["fused", "composed", "unscaled", "switched_composed"])
def test_the_graph_beside_a_checkpoint(name, with_meta):
    prefix = with_meta(name)
    with open_checkpoint(prefix) as checkpoint:
        setting = checkpoint.declared["bn"]
        assert setting["epsilon"] == 0.002
        assert setting["decay"] == pytest.approx(0.97, abs=1e-7)
        assert "a train op depends on them" in setting["updates"]
        assert any("TensorFlow 1.15.5" in note and "epsilon 0.002" in note for note in checkpoint.notes)
    result = audit_checkpoint(prefix + ".meta")
    assert result["ok"]
    assert result["layers"][0]["causes"] == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("forgotten", "has operations that update them, and no train op depends on them"),
        ("inference", "has no operation that updates them, as where the layer is built with training=False."),
    ],
)
def test_the_graph_says_why_nothing_was_updated(name, said, with_meta):
    (layer,) = audit_checkpoint(with_meta(name))["layers"]
    assert [cause["id"] for cause in layer["causes"]] == ["not-updated"]
    assert f"The graph '{name}.meta' {said}" in layer["causes"][0]["explanation"]


def test_a_graph_alone_is_no_checkpoint(with_meta, tmp_path):
    prefix = pathlib.Path(with_meta("fused"))
    for path in tmp_path.glob("fused.*"):
        if path.suffix != ".meta":
            path.unlink()
    with pytest.raises(CheckpointError, match=r"a graph without values, and the checkpoint .* is not there"):
        audit_checkpoint(f"{prefix}.meta")
    renamed = prefix.with_suffix(".graph")
    prefix.with_suffix(".meta").rename(renamed)
    with pytest.raises(CheckpointError, match="a graph without values; give the checkpoint that was saved with it"):
        audit_checkpoint(str(renamed))


def test_a_damaged_graph_beside_a_checkpoint_is_left_out(with_meta):
    prefix = with_meta("fused")
    path = pathlib.Path(prefix + ".meta")
    path.write_bytes(path.read_bytes()[:-1])
    result = audit_checkpoint(prefix)
    assert result["ok"]
    assert any("'fused.meta' beside it was left out. The graph" in note for note in result["notes"])


def test_a_graph_beside_that_is_too_large(with_meta, monkeypatch):
    prefix = with_meta("fused")
    monkeypatch.setattr(meta, "LARGEST_META", 1000)
    assert any("more than 1000 bytes, and was not read" in note for note in audit_checkpoint(prefix)["notes"])


# Graphs that are written here.


def attribute(name, value):
    return field(5, field(1, name) + field(2, value))


def node(name, op, *inputs, **attributes):
    data = field(1, name) + field(2, op) + b"".join(field(3, one) for one in inputs)
    return field(1, data + b"".join(attribute(key, value) for key, value in attributes.items()))


def constant(name, array):
    shape = b"".join(field(2, field(1, size)) for size in array.shape)
    value = field(8, field(1, 1) + field(2, shape) + field(4, array.astype("<f4").tobytes()))
    return node(name, "Const", dtype=field(6, 1), value=value)


def batch_norm(name, op="FusedBatchNormV3", training=False, prefix=None, epsilon=None):
    roles = {"gamma": [1.5, 2.5], "beta": [0.1, 0.2], "moving_mean": [3.25, 4.5], "moving_variance": [5.125, 6]}
    names = [f"{prefix or name}/{role}" for role in roles]
    data = b"".join(constant(one, np.array(row)) for one, row in zip(names, roles.values(), strict=True))
    attributes = {"is_training": b"\x28" + bytes([training])}
    if epsilon is not None:
        attributes["epsilon"] = b"\x25" + np.array(epsilon, "<f4").tobytes()
    return data + node(f"{name}/{op}", op, "x", *names, **attributes)


def write(path, *parts):
    path.write_bytes(node("x", "Placeholder") + b"".join(parts))
    return str(path)


def test_names_that_say_nothing_are_those_of_the_node(tmp_path):
    path = write(tmp_path / "a.graph", batch_norm("net/block/bn", prefix="weights/17", epsilon=1e-3))
    with open_checkpoint(path) as checkpoint:
        assert checkpoint.declared == {"weights/17": {"epsilon": 1e-3, "training": False, "data_format": "NHWC"}}
    roles = ("gamma", "beta", "moving_mean", "moving_variance")
    data = b"".join(constant(f"c{i}", np.array([i + 1.5, i + 0.5])) for i in range(4))
    data += node("net/bn/FusedBatchNorm", "FusedBatchNorm", "x", *(f"c{i}" for i in range(4)), is_training=b"\x28\0")
    with open_checkpoint(write(tmp_path / "b", data)) as checkpoint:
        for i, role in enumerate(roles):
            np.testing.assert_array_equal(checkpoint.read(f"net/bn/{role}"), [i + 1.5, i + 0.5])
        # The default of the operation.
        assert checkpoint.declared["net/bn"]["epsilon"] == 1e-4


def test_the_batch_norm_of_before_1_0(tmp_path):
    data = b"".join(constant(f"bn/{word}", np.array([i + 1.5])) for i, word in enumerate(WORDS))
    inputs = ("x", "bn/moving_mean", "bn/moving_variance", "bn/beta", "bn/gamma")
    epsilon = b"\x25" + np.array(0.003, "<f4").tobytes()
    attributes = {"variance_epsilon": epsilon, "scale_after_normalization": field(5, 1)}
    data += node("bn/batchnorm", "BatchNormWithGlobalNormalization", *inputs, **attributes)
    with open_checkpoint(write(tmp_path / "a.pb", data)) as checkpoint:
        assert checkpoint.declared == {"bn": {"epsilon": 0.003, "training": False, "data_format": "NHWC"}}
        assert [checkpoint.read(f"bn/{word}")[0] for word in WORDS] == [1.5, 2.5, 3.5, 4.5]


def test_constants_that_are_shared_between_layers(tmp_path):
    first = b"".join(constant(f"a/{word}", np.array([i + 1.5])) for i, word in enumerate(WORDS))
    second = b"".join(constant(f"b/{word}", np.array([i + 9.5])) for i, word in enumerate(WORDS[2:]))
    training = {"is_training": b"\x28\0"}
    data = first + second + node("a/bn", "FusedBatchNorm", "x", *(f"a/{word}" for word in WORDS), **training)
    inputs = ["a/gamma", "a/beta", "b/moving_mean", "b/moving_variance"]
    data += node("b/bn", "FusedBatchNorm", "a/bn", *inputs, **training)
    result = audit_checkpoint(write(tmp_path / "a.pb", data))
    assert [layer["name"] for layer in result["layers"]] == ["a", "b"]
    assert result["ok"]


def test_values_written_one_by_one(tmp_path):
    """A TensorProto may have fewer numbers than its shape, the last of which stands for the rest."""
    proto = field(1, 1) + field(2, field(2, field(1, 5))) + field(5, np.array([2, 7], "<f4").tobytes())
    data = node("bn/moving_mean", "Const", value=field(8, proto))
    with open_checkpoint(write(tmp_path / "a.pb", data)) as checkpoint:
        np.testing.assert_array_equal(checkpoint.read("bn/moving_mean"), [2, 7, 7, 7, 7])


def test_a_graph_that_is_not_frozen(tmp_path):
    data = node("bn/gamma", "VariableV2")
    with pytest.raises(CheckpointError, match="a graph whose 1 variable lie in a checkpoint; give that"):
        audit_checkpoint(write(tmp_path / "a.pb", data))


def test_circles_and_forks_end(tmp_path):
    circle = node("a", "Identity", "b") + node("b", "Identity", "a")
    with pytest.raises(CheckpointError, match="its nodes wait for each other in a circle, 'a' among them"):
        audit_checkpoint(write(tmp_path / "a.pb", circle))
    forks = b"".join(node(f"m{i}", "Merge", *[f"m{i + 1}" if i < 39 else "x"] * 8) for i in range(40))
    data = forks + node("bn", "FusedBatchNorm", "x", "x", "x", "m0", "x", is_training=b"\x28\0")
    with pytest.raises(CheckpointError, match="the value of 'm38' is chosen among more than 4096 others"):
        audit_checkpoint(write(tmp_path / "b.pb", data))


def test_too_many_nodes(tmp_path, monkeypatch):
    monkeypatch.setattr(wire, "MOST_NODES", 3)
    with pytest.raises(CheckpointError, match="more than 3 nodes"):
        audit_checkpoint(write(tmp_path / "a.pb", batch_norm("bn")))


def test_two_nodes_of_one_name(tmp_path):
    with pytest.raises(CheckpointError, match="two of its nodes have the name 'bn/gamma'"):
        audit_checkpoint(write(tmp_path / "a.pb", batch_norm("bn"), batch_norm("bn")))


def test_layer_and_instance_norms_are_no_batch_norms(tmp_path):
    data = (
        node("m", "Placeholder")
        + node("s", "SquaredDifference", "x", "m")
        + node("axes", "Const", value=field(8, field(1, 3) + field(2, field(2, field(1, 2))) + field(7, b"\x01\x02")))
        + node("v", "Mean", "s", "axes")
        + constant("ln/batchnorm/add/y", np.array(1e-5))
        + node("ln/batchnorm/add", "Add", "v", "ln/batchnorm/add/y")
        + node("ln/batchnorm/Rsqrt", "Rsqrt", "ln/batchnorm/add")
        + constant("ln/gamma", np.ones(2))
        + node("ln/batchnorm/mul", "Mul", "ln/batchnorm/Rsqrt", "ln/gamma")
    )
    with open_checkpoint(write(tmp_path / "a.pb", data)) as checkpoint:
        assert not checkpoint.declared
