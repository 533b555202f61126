"""Files with graphs: every form of them, live graphs, functions, and files that are damaged or hostile."""

import gzip
import json
import pathlib
import subprocess
import sys
import zipfile

import pytest
from graph_mutants import campaign
from protobuf_bytes import field

from tf1bn.binary.protobuf import BYTES, message
from tf1bn.graphdef.files import sources, wire
from tf1bn.graphs import GraphError, audit

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"


def unpacked(name):
    return gzip.decompress((GOLDEN / "structure" / f"{name}.gz").read_bytes())


def graph_def(name):
    return message(unpacked(name), {2: BYTES})[2]


def node(name, kind, *inputs, **attributes):
    """A NodeDef as field 1 of a GraphDef; attributes are bytes of AttrValues."""
    data = field(1, name.encode()) + field(2, kind.encode())
    data += b"".join(field(3, text.encode()) for text in inputs)
    data += b"".join(field(5, field(1, key.encode()) + field(2, value)) for key, value in attributes.items())
    return field(1, data)


def refused(path, match):
    with pytest.raises(GraphError, match=match) as caught:
        audit(str(path))
    assert str(caught.value).endswith(".")


def verdicts(result):
    return {layer["name"]: (layer["verdict"], [cause["id"] for cause in layer["causes"]]) for layer in result["layers"]}


def test_nothing_of_tensorflow_is_imported(tmp_path):
    code = (
        "import sys, gzip, pathlib\n"
        "from tf1bn.graphs import audit\n"
        "path = pathlib.Path(sys.argv[1]) / 'g.meta'\n"
        "path.write_bytes(gzip.decompress(pathlib.Path(sys.argv[2]).read_bytes()))\n"
        "assert audit(path)['ok']\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    command = [sys.executable, "-c", code, str(tmp_path), str(GOLDEN / "structure/right-slim.meta.gz")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert {"tensorflow", "keras", "google"}.isdisjoint(done.stdout.split())


@pytest.mark.parametrize("name", ["right-contrib", "shared-epsilon", "right-if-2", "cond-2"])
def test_a_graph_as_text_is_the_same_graph(name, tmp_path):
    from google.protobuf import text_format
    from tensorflow.core.protobuf import meta_graph_pb2

    (tmp_path / "bytes.meta").write_bytes(unpacked(f"{name}.meta"))
    message = meta_graph_pb2.MetaGraphDef.FromString(unpacked(f"{name}.meta"))
    (tmp_path / "text.meta").write_text(text_format.MessageToString(message))
    (tmp_path / "graph.pbtxt").write_text(text_format.MessageToString(message.graph_def))
    (tmp_path / "graph.pb").write_bytes(message.graph_def.SerializeToString())
    expected = audit(tmp_path / "bytes.meta")
    assert audit(tmp_path / "text.meta") == expected
    from_text, from_bytes = audit(tmp_path / "graph.pbtxt"), audit(tmp_path / "graph.pb")
    assert from_text == from_bytes
    assert from_text["graph"]["form"] == "a GraphDef"
    assert verdicts(from_text) == verdicts(expected)


def test_the_folder_of_a_saved_model(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(unpacked("batch-stats-export-2.pb"))
    for path in (tmp_path, tmp_path / "saved_model.pb"):
        assert verdicts(audit(path)) == {"batch_normalization": ("finding", ["batch-stats-at-inference"])}
        assert audit(path)["graph"]["signatures"] == ["serving_default"]


def test_a_live_graph_is_the_graph_in_its_file():
    import tensorflow as tf

    graph = tf.Graph()
    with graph.as_default():
        tf.compat.v1.train.import_meta_graph(meta("double-towers.meta"))
    result = audit(graph)
    assert verdicts(result) == {"net/bn": ("finding", ["double-update"])}
    op = graph.get_operation_by_name("GradientDescent")
    assert verdicts(audit(graph, op)) == verdicts(audit(graph, [op.name])) == verdicts(result)
    with pytest.raises(GraphError, match="a graph without operations"):
        audit(tf.Graph())
    with pytest.raises(GraphError, match="`graph` is no graph"):
        audit(3)


def meta(name):
    from tensorflow.core.protobuf import meta_graph_pb2

    return meta_graph_pb2.MetaGraphDef.FromString(unpacked(name))


def test_the_function_of_a_training_step():
    import tensorflow as tf

    mean, variance = tf.Variable(tf.zeros(3), name="bn/moving_mean"), tf.Variable(tf.ones(3), name="bn/moving_variance")
    gamma, beta = tf.Variable(tf.ones(3), name="bn/gamma"), tf.Variable(tf.zeros(3), name="bn/beta")

    def step(training, updates):
        def run(x):
            with tf.GradientTape() as tape:
                if training:
                    y, m, v = tf.compat.v1.nn.fused_batch_norm(x, gamma, beta, epsilon=1e-3)
                    if updates:
                        mean.assign_sub((mean - m) * 0.1)
                        variance.assign_sub((variance - v) * 0.1)
                else:
                    y, _, _ = tf.compat.v1.nn.fused_batch_norm(
                        x, gamma, beta, mean.read_value(), variance.read_value(), epsilon=1e-3, is_training=False
                    )
                loss = tf.reduce_mean(y**3)
            for variable, gradient in zip((gamma, beta), tape.gradient(loss, (gamma, beta)), strict=True):
                variable.assign_sub(0.1 * gradient)
            return loss

        return tf.function(run).get_concrete_function(tf.TensorSpec([None, 4, 4, 3]))

    right = audit(step(True, True))
    assert verdicts(right) == {"bn": ("ok", [])}
    assert right["graph"]["train_ops"] == ["a call of the function"]
    assert verdicts(audit(step(False, True))) == {"bn": ("finding", ["training-flag-off"])}


def test_functions_are_opened_and_recursive_ones_are_not(tmp_path):
    body = field(1, field(1, b"f") + field(2, field(1, b"x")) + field(3, field(1, b"y")))
    call = field(1, b"again") + field(2, b"PartitionedCall") + field(3, b"x")
    call += field(5, field(1, b"f") + field(2, field(10, field(1, b"f"))))
    body += field(3, call) + field(4, field(1, b"y") + field(2, b"again:output:0"))
    nodes = node("x", "Placeholder") + node("call", "PartitionedCall", "x", f=field(10, field(1, b"f")))
    path = tmp_path / "graph.pb"
    path.write_bytes(nodes + node("y", "Identity", "call") + field(2, field(1, body)))
    source = sources.open_source(str(path))
    assert "PartitionedCall" in {op.type for op in source.graph.get_operations()}
    assert audit(path)["problems"] == [
        "The graph has no batch norm that is found by its operations, so nothing was judged."
    ]


def test_functions_that_call_each_other_many_times(tmp_path):
    """Each of 40 functions calls the next twice: 2**40 nodes if all were opened."""
    library = b""
    for i in range(40):
        name, after = b"f%d" % i, b"f%d" % (i + 1)
        body = field(1, field(1, name) + field(2, field(1, b"x")) + field(3, field(1, b"y")))
        for call in (b"a", b"b"):
            data = field(1, call) + field(2, b"PartitionedCall") + field(3, b"x")
            body += field(3, data + field(5, field(1, b"f") + field(2, field(10, field(1, after)))))
        library += field(1, body + field(4, field(1, b"y") + field(2, b"a:output:0")))
    nodes = node("x", "Placeholder") + node("call", "PartitionedCall", "x", f=field(10, field(1, b"f0")))
    (tmp_path / "graph.pb").write_bytes(nodes + field(2, library))
    refused(tmp_path / "graph.pb", "its functions have more than")


def test_controls_that_nodes_share():
    """Those of thousands of nodes are read once, and each node has its own."""
    updates = [f"update_{i}" for i in range(9)]
    controls = [updates, updates, ["own", *updates], [*updates, "more"], updates[:4], updates[1:], [], ["own"], updates]
    data = b"".join(node(f"n{i}", "NoOp", "x", *(f"^{one}" for one in names)) for i, names in enumerate(controls))
    nodes, _ = wire.graph(data)
    assert [list(one.controls) for one in nodes] == controls
    assert {tuple(one.inputs) for one in nodes} == {("x",)}
    assert nodes[0].controls is nodes[1].controls


def function(name, arguments, *returned):
    """A function of a library as field 1: it returns values that texts like "argument" or "node:output:0" name."""
    results = [f"result_{i}" for i in range(len(returned))]
    signature = field(1, name.encode())
    signature += b"".join(field(2, field(1, one.encode())) for one in arguments)
    signature += b"".join(field(3, field(1, one.encode())) for one in results)
    given = zip(results, returned, strict=True)
    return field(
        1, field(1, signature) + b"".join(field(4, field(1, a.encode()) + field(2, b.encode())) for a, b in given)
    )


@pytest.mark.parametrize(
    ("condition", "body", "said"),
    [
        ([], ["y", "x"], "the condition 'cond' of a loop has 0 results in the place of one"),
        (["x"], ["y"], "the body 'body' of a loop has not as many results as arguments"),
        (["x"], ["y", "z"], "the function 'body' has the input 'z', which is not there"),
    ],
)
def test_a_damaged_loop(condition, body, said, tmp_path):
    library = function("cond", "xy", *condition) + function("body", "xy", *body)
    names = {key: field(10, field(1, key.encode())) for key in ("cond", "body")}
    data = node("a", "Const") + node("loop", "While", "a", "a", **names)
    (tmp_path / "graph.pb").write_bytes(data + field(2, library))
    refused(tmp_path / "graph.pb", said)


def test_a_layer_among_unknown_operations_is_judged(tmp_path):
    data = graph_def("flag-off-default.meta")
    assert data.count(b"\x12\x06Conv2D") == 1
    (tmp_path / "graph.pb").write_bytes(data.replace(b"\x12\x06Conv2D", b"\x12\x06My>Own"))
    assert verdicts(audit(tmp_path / "graph.pb")) == {"batch_normalization": ("finding", ["training-flag-off"])}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "it is empty"),
        (b"nothing of this kind", "holds no graph of TensorFlow"),
        (node("a", "Identity", "b") + node("b", "Identity", "a"), "wait for each other in a circle, 'a' among them"),
        (node("a", "Identity", "missing"), "has the input 'missing', which is not there"),
        (node("a", "NoOp", "^missing"), "waits for 'missing', which is not there"),
        (node("a", "NoOp") + node("a", "NoOp"), "two of its nodes have the name 'a'"),
        (node("a", "NoOp") + node("b", "Switch", "a"), "'b' of the type 'Switch' has too few inputs"),
        (node("a", "NoOp") + b"\x0a\x7fshort", "a node is cut off"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a pointer of Git LFS"),
        (b'node { name: "a" op: "NoOp" ', "a message is cut off"),
        (b'node { name: "a" op: "NoOp" attr { key: "x" value { i: 3x } } }', "is damaged"),
        (b"node {" * 100 + b"}" * 100, "nested too deeply"),
    ],
)
def test_a_damaged_graph(data, said, tmp_path):
    path = tmp_path / "graph.pb"
    path.write_bytes(data)
    refused(path, said)


def test_a_chain_of_choices_without_end(tmp_path):
    """2**60 values that one tensor may have."""
    nodes = node("c", "Placeholder") + node("s0", "Placeholder") + node("v", "VariableV2")
    for i in range(60):
        nodes += node(f"s{i + 1}", "Select", "c", f"s{i}", f"s{i}")
    (tmp_path / "graph.pb").write_bytes(nodes + node("a", "Assign", "s60", "v"))
    refused(tmp_path / "graph.pb", "is chosen among more than 4096 others")


def test_every_cut_of_a_graph_is_refused_or_judged(tmp_path):
    data, path = unpacked("right-layers.meta"), tmp_path / "cut.meta"
    for size in range(1, len(data), 997):
        path.write_bytes(data[:size])
        refused(path, "is damaged|holds no graph")


def test_no_file_and_no_graph(tmp_path):
    refused(tmp_path / "none.meta", "there is no such file")
    refused(tmp_path, "has no 'saved_model.pb'")
    refused("", "must be a path as text")


def test_a_file_of_more_than_2_gb(tmp_path, monkeypatch):
    (tmp_path / "graph.pb").write_bytes(graph_def("right-layers.meta"))
    monkeypatch.setattr(sources, "LARGEST_GRAPH", 1000)
    refused(tmp_path / "graph.pb", "no graph has more than 1000, the limit of protocol buffers")


@pytest.mark.parametrize("seed", ["0", *(pytest.param(str(i), marks=pytest.mark.slow) for i in range(1, 100))])
def test_mutants(seed, tmp_path):
    count = 20 if seed == "0" else 100
    assert campaign(count, seed, tmp_path) == []


# ---- Keras


def keras_file(path, *layers, class_name="Functional"):
    config = {"module": "keras", "class_name": class_name, "config": {"name": "model", "layers": list(layers)}}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", json.dumps(config))
    return path


def layer(kind, name, source=None, calls=({},), **config):
    history = {"class_name": "__keras_tensor__", "config": {"keras_history": [source, 0, 0]}}
    nodes = [{"args": [history], "kwargs": kwargs} for kwargs in calls] if source else []
    return {"class_name": kind, "name": name, "config": {"name": name, **config}, "inbound_nodes": nodes}


def batch_norm(name, source=None, calls=({},), **config):
    settings = {"axis": -1, "momentum": 0.99, "epsilon": 1e-3, "center": True, "scale": True, "trainable": True}
    settings |= {"moving_mean_initializer": {}, **config}
    return layer("BatchNormalization", name, source, calls, **settings)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_a_right_keras_model_of_keras_itself(tmp_path):
    import keras

    inputs = keras.layers.Input((8, 8, 3))
    shared = keras.layers.BatchNormalization(name="shared")
    y = shared(keras.layers.Conv2D(3, 3, padding="same")(inputs))
    y = keras.layers.Activation("relu")(shared(y))
    inner = keras.Sequential(
        [keras.layers.Input((8, 8, 3)), keras.layers.BatchNormalization(name="nested")], name="inner"
    )
    keras.Model(inputs, inner(y)).save(tmp_path / "model.keras")
    result = audit(tmp_path / "model.keras")
    assert verdicts(result) == {"shared": ("ok", []), "inner/nested": ("ok", [])}
    assert len(result["layers"][0]["structure"]["applications"]) == 2
    assert result["layers"][0]["structure"]["decay"]["value"] == 0.99


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_a_wrong_keras_model_of_keras_itself(tmp_path):
    import keras

    inputs = keras.layers.Input((8, 8, 3))
    y = keras.layers.BatchNormalization(axis=1, name="axis")(keras.layers.Conv2D(8, 3, padding="same")(inputs))
    y = keras.layers.BatchNormalization(name="fixed")(y, training=True)
    y = keras.layers.BatchNormalization(name="off")(y, training=False)
    keras.Model(inputs, keras.layers.BatchNormalization(momentum=1.0, name="frozen")(y)).save(tmp_path / "model.keras")
    assert verdicts(audit(tmp_path / "model.keras")) == {
        "axis": ("finding", ["wrong-axis"]),
        "fixed": ("finding", ["batch-stats-at-inference"]),
        "off": ("ok", ["training-flag-off"]),
        "frozen": ("finding", ["frozen"]),
    }


def test_settings_of_keras_siblings(tmp_path):
    layers = [batch_norm(f"bn{i}", "x", epsilon=1e-5 if i == 1 else 1e-3) for i in range(5)]
    result = audit(keras_file(tmp_path / "m.keras", *layers))
    assert verdicts(result)["bn1"] == ("ok", ["epsilon"])
    assert verdicts(result)["bn0"] == ("ok", [])


def test_channels_first_in_keras(tmp_path):
    conv = layer("Conv2D", "conv", "x", data_format="channels_first")
    relu = layer("ReLU", "relu", "conv")
    path = keras_file(tmp_path / "m.keras", conv, relu, batch_norm("bn", "relu"), batch_norm("right", "relu", axis=1))
    assert verdicts(audit(path)) == {"bn": ("finding", ["wrong-axis"]), "right": ("ok", [])}


@pytest.mark.parametrize("text", ["{}", "[]", "{", '{"config": 3}', "[" * 100000])
def test_a_damaged_configuration(text, tmp_path):
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", text)
    refused(tmp_path / "m.keras", "is damaged")


def test_a_model_without_batch_norms_and_a_train_op(tmp_path):
    path = keras_file(tmp_path / "m.keras", layer("Dense", "dense", "x"))
    result = audit(path)
    assert not result["ok"]
    assert result["problems"] == ["The model has no batch norm in its configuration, so nothing was judged."]
    with pytest.raises(GraphError, match="`train_op` is for graphs"):
        audit(path, "Adam")
