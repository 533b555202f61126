"""Batch norms of frozen graphs, whatever their constants are called; the graphs are written here, node by node."""

import numpy as np
import pytest
from protobuf_bytes import field

from tf1bn.checkpoints import CheckpointError, audit_checkpoint, open_checkpoint
from tf1bn.graphdef.files import json_format, text_format
from tf1bn.graphs import audit

ROWS = {"gamma": [1.5, 2.5], "beta": [0.1, 0.2], "moving_mean": [3.25, 4.5], "moving_variance": [5.125, 6.0]}
FALSE, TRUE = field(5, 0), field(5, 1)
F32 = np.float32


def node(name, op, *inputs, **attributes):
    data = field(1, name) + field(2, op) + b"".join(field(3, one) for one in inputs)
    return field(1, data + b"".join(field(5, field(1, key) + field(2, one)) for key, one in attributes.items()))


def constant(name, row):
    array = np.array(row, "<f4")
    shape = b"".join(field(2, field(1, size)) for size in array.shape)
    value = field(8, field(1, 1) + field(2, shape) + field(4, array.tobytes()))
    return node(name, "Const", dtype=field(6, 1), value=value)


def number(value):
    return b"\x25" + np.array(value, "<f4").tobytes()


def composed(names, *, gamma=True, epsilon=0.003):
    """The nodes of ``tf.nn.batch_normalization`` in the scope "net/bn" on constants of these names."""
    scope = "net/bn/batchnorm"
    nodes = constant(f"{scope}/add/y", epsilon) + node(f"{scope}/add", "AddV2", names[3], f"{scope}/add/y")
    nodes += node(f"{scope}/Rsqrt", "Rsqrt", f"{scope}/add")
    factor = f"{scope}/Rsqrt"
    if gamma:
        nodes, factor = nodes + node(f"{scope}/mul", "Mul", factor, names[0]), f"{scope}/mul"
    nodes += node(f"{scope}/mul_1", "Mul", "x", factor) + node(f"{scope}/mul_2", "Mul", names[2], factor)
    nodes += node(f"{scope}/sub", "Sub", names[1], f"{scope}/mul_2")
    return nodes + node(f"{scope}/add_1", "AddV2", f"{scope}/mul_1", f"{scope}/sub")


def written(path, *parts):
    path.write_bytes(node("x", "Placeholder", dtype=field(6, 1)) + b"".join(parts))
    return str(path)


def constants(names, rows=ROWS):
    return b"".join(constant(name, row) for name, row in zip(names, rows.values(), strict=True))


def values(path):
    with open_checkpoint(path) as checkpoint:
        return {name: checkpoint.read(name) for name in checkpoint.variables}, checkpoint.declared


UNNAMED = ["Const", "Const_1", "Const_2", "Const_3"]
LAYERS = {
    **{
        op: node("net/bn/FusedBatchNormV3", op, "x", *UNNAMED, is_training=FALSE, epsilon=number(3e-3))
        for op in ("FusedBatchNorm", "FusedBatchNormV3", "_FusedBatchNormEx")
    },
    "global": node(
        "net/bn/batchnorm",
        "BatchNormWithGlobalNormalization",
        "x",
        *(UNNAMED[i] for i in (2, 3, 1, 0)),
        variance_epsilon=number(3e-3),
        scale_after_normalization=TRUE,
    ),
    "composed": composed(UNNAMED),
}


@pytest.mark.parametrize("form", LAYERS)
def test_constants_without_names_are_found_by_their_use(form, tmp_path):
    path = written(tmp_path / "a.pb", constants(UNNAMED), LAYERS[form])
    found, declared = values(path)
    for word, row in ROWS.items():
        np.testing.assert_array_equal(found[f"net/bn/{word}"], np.array(row, F32))
    assert (declared["net/bn"]["epsilon"], declared["net/bn"]["training"]) == (0.003, False)
    assert audit_checkpoint(path)["ok"]
    (layer,) = audit(path)["layers"]
    assert layer["name"] == "net/bn"
    assert layer["structure"]["statistics"] == {"mean": "Const_2", "variance": "Const_3"}
    assert layer["structure"]["frozen"]
    assert layer["structure"]["epsilon"] == 0.003
    assert (layer["structure"]["form"] == "composed operations") == (form == "composed")


def test_a_composed_layer_without_gamma(tmp_path):
    found, declared = values(written(tmp_path / "a.pb", constants(UNNAMED), composed(UNNAMED, gamma=False)))
    assert set(declared) == {"net/bn"}
    assert "net/bn/gamma" not in found
    np.testing.assert_array_equal(found["net/bn/beta"], np.array(ROWS["beta"], F32))


def test_the_global_one_may_leave_gamma_out(tmp_path):
    attributes = {"variance_epsilon": number(3e-3), "scale_after_normalization": FALSE}
    inputs = ["x", *(UNNAMED[i] for i in (2, 3, 1, 0))]
    path = written(
        tmp_path / "a.pb",
        constants(UNNAMED),
        node("bn/batchnorm", "BatchNormWithGlobalNormalization", *inputs, **attributes),
    )
    found, _ = values(path)
    assert "bn/gamma" not in found
    np.testing.assert_array_equal(found["bn/moving_mean"], np.array(ROWS["moving_mean"], F32))
    assert audit(path)["layers"][0]["structure"]["axis"] == 3


def test_a_single_channel_has_a_variance_of_one_number_as_epsilon_is(tmp_path):
    rows = {word: row[:1] for word, row in ROWS.items()}
    found, declared = values(written(tmp_path / "a.pb", constants(UNNAMED, rows), composed(UNNAMED)))
    assert declared["net/bn"]["epsilon"] == 0.003
    np.testing.assert_array_equal(found["net/bn/moving_variance"], np.array(ROWS["moving_variance"][:1], F32))


@pytest.mark.parametrize("op", ["Identity", "Snapshot", "CheckNumerics", "PreventGradient", "StopGradient"])
def test_what_passes_a_constant_on(op, tmp_path):
    passed = [f"{name}/read" for name in UNNAMED]
    reads = b"".join(node(after, op, name) for name, after in zip(UNNAMED, passed, strict=True))
    found, declared = values(written(tmp_path / "a.pb", constants(UNNAMED), reads, composed(passed)))
    assert set(declared) == {"net/bn"}
    for word, row in ROWS.items():
        np.testing.assert_array_equal(found[f"net/bn/{word}"], np.array(row, F32))


def test_layers_that_share_a_constant_are_two(tmp_path):
    """Tools that optimize graphs keep one of several equal constants."""
    second = LAYERS["FusedBatchNormV3"].replace(b"net/bn/", b"net/b2/").replace(b"Const_1", b"Const_4")
    path = written(
        tmp_path / "a.pb", constants(UNNAMED), constant("Const_4", [7.5, 8.5]), LAYERS["FusedBatchNormV3"], second
    )
    found, declared = values(path)
    assert set(declared) == {"net/bn", "net/b2"}
    np.testing.assert_array_equal(found["net/b2/beta"], np.array([7.5, 8.5], F32))


def test_a_network_for_training_beside_one_for_tests(tmp_path):
    names = [f"bn/{word}" for word in ROWS]
    training = node("train/bn", "FusedBatchNorm", "x", *names[:2], "x", "x", is_training=TRUE)
    testing = node("test/bn", "FusedBatchNorm", "x", *names, is_training=FALSE)
    found, declared = values(written(tmp_path / "a.pb", constants(names), training, testing))
    # Neither mode is the layer's.
    assert declared == {"bn": {"epsilon": 1e-4, "data_format": "NHWC"}}
    assert {f"bn/{word}" for word in ROWS} <= set(found)


def test_a_frozen_graph_as_text(tmp_path):
    path = tmp_path / "a.pbtxt"
    lines = ['node { name: "x" op: "Placeholder" }']
    for word, row in ROWS.items():
        tensor = "dtype: DT_FLOAT tensor_shape { dim { size: 2 } } " + " ".join(f"float_val: {one}" for one in row)
        attributes = 'attr { key: "dtype" value { type: DT_FLOAT } }'
        attributes += f' attr {{ key: "value" value {{ tensor {{ {tensor} }} }} }}'
        lines.append(f'node {{ name: "bn/{word}" op: "Const" {attributes} }}')
    inputs = "".join(f' input: "{name}"' for name in ("x", *(f"bn/{word}" for word in ROWS)))
    attribute = 'attr { key: "is_training" value { b: false } }'
    lines.append(f'node {{ name: "bn/FusedBatchNorm" op: "FusedBatchNorm"{inputs} {attribute} }}')
    path.write_text("\n".join(lines))
    found, declared = values(str(path))
    assert set(declared) == {"bn"}
    for word, row in ROWS.items():
        np.testing.assert_array_equal(found[f"bn/{word}"], np.array(row, F32))
    assert audit_checkpoint(str(path))["ok"]


def test_a_kernel_of_more_values_than_a_vector_may_have_is_read(tmp_path):
    kernel = np.arange(2**20 + 2, dtype=F32).reshape(2, -1)
    with open_checkpoint(written(tmp_path / "a.pb", constant("kernel", kernel))) as checkpoint:
        np.testing.assert_array_equal(checkpoint.read("kernel", most=2**21), kernel)
        with pytest.raises(CheckpointError, match="has 1048578 values; at most 1048576 are read"):
            checkpoint.read("kernel")


def test_missing_inputs_are_damage(tmp_path):
    with pytest.raises(CheckpointError, match=r"is damaged: a node has the input 'y', which is not there"):
        open_checkpoint(written(tmp_path / "a.pb", node("bn", "Rsqrt", "y")))


def test_operations_that_take_one_value_twice_are_gone_through_once(tmp_path):
    """Each doubles the number of ways to the last one."""
    chain = node("p", "Placeholder", dtype=field(6, 10)) + node("x/switch", "Switch", "x", "p")
    chain += node("net/bn/FusedBatchNormV3", "FusedBatchNormV3", "x/switch:1", *UNNAMED, is_training=FALSE)
    before = "net/bn/FusedBatchNormV3"
    for name in (f"i{i}" for i in range(60)):
        chain, before = chain + node(name, "Identity", before, f"{before}:0"), name
    _, declared = values(written(tmp_path / "a.pb", constants(UNNAMED), chain))
    assert set(declared) == {"net/bn"}


def test_json_and_text_are_one_message():
    json = {
        "node": [
            {
                "name": "a",
                "op": "Const",
                "input": ["b", "^c"],
                "device": "left out",
                "attr": {
                    "f": {"f": 0.25},
                    "b": {"b": True},
                    "i": {"i": "-3"},
                    "s": {"s": "TkhXQw=="},
                    "type": {"type": "DT_HALF"},
                    "shape": {"shape": {"dim": [{"size": "-1"}, {"size": "3"}], "unknownRank": False}},
                    "value": {
                        "tensor": {
                            "dtype": "DT_FLOAT",
                            "tensorShape": {"dim": [{"size": 1}]},
                            "tensorContent": "AACAPw==",
                        }
                    },
                    "list": {"list": {"s": ["YQ==", "Yg=="]}},
                },
            }
        ],
        "versions": {"producer": 134},
    }
    text = rb"""
      node {
        name: "a" op: "Const" input: "b" input: "^c"
        attr { key: "f" value { f: 0.25 } }
        attr { key: "b" value { b: true } }
        attr { key: "i" value { i: -3 } }
        attr { key: "s" value { s: "NHWC" } }
        attr { key: "type" value { type: DT_HALF } }
        attr { key: "shape" value { shape { dim { size: -1 } dim { size: 3 } unknown_rank: false } } }
        attr {
          key: "value"
          value { tensor { dtype: DT_FLOAT tensor_shape { dim { size: 1 } } tensor_content: "\000\000\200?" } }
        }
        attr { key: "list" value { list { s: "a" s: "b" } } }
      }
    """
    assert json_format.to_bytes(json, "GraphDef") == text_format.to_bytes(text, "GraphDef")


@pytest.mark.parametrize("node", [{"name": 3}, {"attr": []}, {"attr": {"f": {"f": "x"}}}, "a", {"input": [None]}])
def test_json_that_is_no_graph(node):
    with pytest.raises((ValueError, TypeError, AttributeError)):
        json_format.to_bytes({"node": [node]}, "GraphDef")
