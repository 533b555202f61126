"""A frozen or folded graph against the checkpoint that it came from: right checkpoint, right mode, right epsilon?

All are of TF 1.15.5, by tests/golden/record/graphs.py; the expected verdicts are what that script did to each."""

import gzip
import pathlib
import shutil
import struct

import numpy as np
import pytest
from protobuf_bytes import field

from tf1bn.parity import compare_checkpoints

GRAPHS = pathlib.Path(__file__).resolve().parents[1] / "golden" / "graphs"
EPSILON = struct.pack("<f", 2e-3)


@pytest.fixture
def compare(tmp_path):
    def run(checkpoint, graph, change=lambda data: data, **arguments):
        for path in GRAPHS.glob(f"{checkpoint}.*"):
            if path.suffix != ".pb":
                shutil.copy(path, tmp_path)
        meta = GRAPHS / f"{checkpoint}.meta.gz"
        (tmp_path / f"{checkpoint}.meta").write_bytes(gzip.decompress(meta.read_bytes()))
        new = tmp_path / "frozen.pb"
        new.write_bytes(change((GRAPHS / f"{graph}.pb").read_bytes()))
        (layer,) = compare_checkpoints(str(tmp_path / checkpoint), str(new), **arguments)["layers"]
        return layer

    return run


def ids(layer):
    return [cause["id"] for cause in layer["causes"] if cause["severity"] == "finding"]


@pytest.mark.parametrize("graph", ["fused_inference", "fused_folded"])
def test_statistics_that_are_there(graph, compare):
    layer = compare("fused", graph)
    assert (layer["verdict"], layer["causes"]) == ("ok", [])


@pytest.mark.parametrize("case", ["composed", "unscaled"])
def test_folded_into_two_constants(case, compare):
    layer = compare(case, f"{case}_folded")
    assert (layer["verdict"], layer["matched"]) == ("ok", "folded")
    assert [cause["id"] for cause in layer["causes"]] == ["folded"]
    assert "4 channels (epsilon 0.002)" in layer["explanation"]
    # Without a declared epsilon, the scales show it.
    scale, shift = layer["differences"]
    assert scale["within"]
    assert shift["within"]


def test_the_wrong_checkpoint(compare):
    assert ids(compare("fused", "inference")) == ["not-restored", "unexplained"]
    assert ids(compare("composed", "unscaled_folded")) == ["folded"]
    assert ids(compare("unscaled", "composed_folded")) == ["folded"]


@pytest.mark.parametrize(("case", "graph"), [("fused", "fused"), ("composed", "composed"), ("unscaled", "unscaled")])
def test_the_wrong_mode(case, graph, compare):
    layer = compare(case, graph)
    assert ids(layer) == ["batch-stats-at-inference"]
    assert "training mode" in layer["explanation"]


def other_epsilon(data):
    """A graph with the epsilon 1e-3 in the place of 2e-3."""
    assert data.count(EPSILON) == 1
    return data.replace(EPSILON, struct.pack("<f", 1e-3))


@pytest.mark.parametrize("graph", ["fused_inference", "fused_folded"])
def test_the_wrong_epsilon(graph, compare):
    layer = compare("fused", graph, other_epsilon)
    assert ids(layer) == ["epsilon"]
    assert "0.002" in layer["explanation"]
    assert "0.001" in layer["explanation"]


def test_the_wrong_epsilon_in_folded_constants(compare):
    layer = compare("composed", "composed_folded", epsilon=1e-3)
    assert ids(layer) == ["epsilon"]
    assert "not with 0.001" in layer["explanation"]


@pytest.mark.parametrize(("nth", "said"), [(0, "other scales"), (1, "is not beta - mean * scale in 1 of 4 channels")])
def test_one_constant_that_was_changed(nth, said, compare):
    def changed(data):
        # The constants have 4 numbers each; the first of the scales, or of the shifts, is 1e-4 larger.
        name = (b"bn/batchnorm/mul/_0__cf__0", b"bn/batchnorm/sub/_1__cf__1")[nth]
        at = data.index(b'"\x10', data.index(name + b"\x12\x05Const")) + 2
        (value,) = struct.unpack_from("<f", data, at)
        return data[:at] + struct.pack("<f", value * 1.0001 + 1e-4) + data[at + 4 :]

    layer = compare("composed", "composed_folded", changed)
    assert ids(layer) == ["folded"]
    assert said in layer["explanation"]


def initializer(name, array):
    dims = b"".join(field(1, size) for size in array.shape)
    return field(5, dims + field(2, 1) + field(8, name) + field(9, array.astype("<f4").tobytes()))


def test_a_kernel_that_an_exporter_to_onnx_folded(tmp_path):
    """PyTorch's exporter names what it folded by numbers, as it did in tests/golden/onnx/folded.onnx."""
    draw = np.random.default_rng(3)
    state = {f"bn.{word}": draw.uniform(0.5, 2, 4).astype("f4") for word in ("weight", "bias", "running_mean")}
    state |= {"bn.running_var": draw.uniform(0.5, 2, 4).astype("f4")}
    state |= {"conv.weight": draw.normal(size=(4, 3, 2, 2)).astype("f4"), "conv.bias": draw.normal(size=4).astype("f4")}
    scale = state["bn.weight"] / np.sqrt(state["bn.running_var"] + np.float32(1e-3))
    kernel = state["conv.weight"] * scale[:, None, None, None]
    shift = state["bn.bias"] + (state["conv.bias"] - state["bn.running_mean"]) * scale
    names = ("input.1", "onnx::Conv_20", "onnx::Conv_21")
    node = b"".join(field(1, name) for name in names) + field(2, "y") + field(3, "/net/conv/Conv") + field(4, "Conv")
    graph = field(1, node) + initializer(names[1], kernel) + initializer(names[2], shift)
    (tmp_path / "new.onnx").write_bytes(field(1, 8) + field(2, "pytorch") + field(7, graph))

    def compared():
        np.savez(tmp_path / "old.npz", **state)
        (layer,) = compare_checkpoints(str(tmp_path / "old.npz"), str(tmp_path / "new.onnx"))["layers"]
        return layer

    layer = compared()
    assert (layer["verdict"], layer["matched"], layer["new"]) == ("ok", "folded", "net/conv/weight")
    assert "epsilon 0.001, solved for" in layer["explanation"]
    state["bn.running_mean"][1] += np.float32(0.001)
    assert ids(compared()) == ["folded"]
