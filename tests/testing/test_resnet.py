"""One network in the real TF 1.15.5, tf1bn, Keras 3 and PyTorch: parity, and every fault by layer and cause."""

import shlex
from pathlib import Path

import numpy as np
import pytest
import resnet
import tiers

from tf1bn import checker, trace
from tf1bn.cli import main as cli
from tf1bn.parity.traces import compare as parity
from tf1bn.testing import assert_parity, record_port

RECORDED = Path(__file__).parents[1] / "golden/resnet"
COMPOSED, FUSED, TORCH = (RECORDED / name for name in ("tf-1.15.5-composed", "tf-1.15.5-fused", "torch-2.13.0"))
STEPS = list(resnet.STEPS)
WRONG = "block1/bn2"
# Keras takes a layer that is not trainable for one in inference mode; PyTorch's stands still with momentum 0.
NAMED = {
    "epsilon": ("epsilon", "NEW's epsilon is 1e-05, OLD's is 0.001"),
    "momentum": ("momentum-flipped", "its decay is 0.1, OLD's is 0.9"),
    "gamma": ("missing-variable", "OLD has gamma and NEW has none"),
}
IN_KERAS = {
    **NAMED,
    "missing updates": ("training-flag-off", "NEW normalises by the moving statistics in training"),
    "axis": ("wrong-axis", "NEW takes its statistics along another axis than OLD"),
}
IN_TORCH = {**NAMED, "missing updates": ("not-updated", "stand still in training, where OLD's move")}


@pytest.fixture(scope="module")
def keras():
    return pytest.importorskip("keras", reason="Keras is not installed")


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="PyTorch is not installed")


def assert_fails(original, port, wrong, cause, text, **more):
    __tracebackhide__ = True
    with pytest.raises(AssertionError) as failure:
        assert_parity(original, port, resnet.batches(), training=STEPS, **more)
    message = str(failure.value)
    assert f"NEW does not do what OLD does in 1 of 6 layers: {wrong} -> " in message
    assert f"(diverges first): {cause}" in message
    assert text in message


def test_the_recordings_are_small_and_in_the_order_of_application():
    for path in (COMPOSED, FUSED, TORCH):
        assert sum(file.stat().st_size for file in path.rglob("*")) < 100_000
        assert [step.training for step in trace.open(path)] == STEPS
    for path in (COMPOSED, FUSED):
        assert [list(step.layers) for step in trace.open(path)] == [list(resnet.NORMS)] * len(STEPS)


def test_the_real_one_and_pytorch_as_recorded():
    """Both apply Bessel's correction if TF's layers are fused."""
    found = parity.compare_traces(trace.open(FUSED), trace.open(TORCH))
    assert found["ok"], [layer["explanation"] for layer in found["layers"]]
    assert found["data"]["state"] in ("bitwise", "close")
    assert [layer["new"] for layer in found["layers"]] == [name.replace("/", ".") for name in resnet.NORMS]
    # The names differ by their separators alone.
    assert {layer["matched"] for layer in found["layers"]} == {"name"}
    found = parity.compare_traces(trace.open(COMPOSED), trace.open(TORCH))
    for layer in found["layers"]:
        assert [cause["id"] for cause in layer["causes"]] == ["bessel"]
        assert layer["causes"][0]["explanation"].startswith("NEW applies Bessel's correction")
    assert found["layers"][0]["first"]
    back = parity.compare_traces(trace.open(TORCH), trace.open(COMPOSED))
    assert {layer["causes"][0]["id"] for layer in back["layers"]} == {"no-bessel"}
    assert {
        layer["causes"][0]["id"] for layer in parity.compare_traces(trace.open(COMPOSED), trace.open(FUSED))["layers"]
    } == {"bessel"}


@pytest.mark.parametrize("fused", tiers.slow_but([True], [False, True]))
def test_tf1bn_does_what_the_real_one_did(tmp_path, fused):
    import tensorflow.compat.v1 as tf

    import tf1bn

    with tf.Graph().as_default() as graph:
        x, flag = tf.placeholder(tf.float32, [None, *resnet.SHAPE[1:]]), tf.placeholder(tf.bool, [])
        y = resnet.tf1(tf, tf1bn.batch_norm, x, flag, fused=fused)
        updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
        with tf.Session(graph=graph) as session, tf1bn.Recorder(session, tmp_path / "new.trace") as recorder:
            session.run(tf.global_variables_initializer())
            for batch, training in zip(resnet.batches(), STEPS, strict=True):
                recorder.run([y, updates if training else []], {x: batch, flag: training})
    found = parity.compare_traces(trace.open(FUSED if fused else COMPOSED), trace.open(tmp_path / "new.trace"))
    assert found["ok"], [layer["explanation"] for layer in found["layers"]]
    assert {layer["matched"] for layer in found["layers"]} == {"name"}


def test_keras_does_what_the_composed_layers_do(keras):
    port = resnet.keras_port(keras, resnet.keras_net(keras))
    found = assert_parity(COMPOSED, port, resnet.batches(), training=STEPS)
    # stem/bn is stem_bn there; the others have other names.
    assert [layer["matched"] for layer in found["layers"]].count("name") == 1


@pytest.mark.slow
def test_live_against_tf1bn(keras):
    import tensorflow.compat.v1 as tf

    import tf1bn

    def original(x, is_training):
        return resnet.tf1(tf, tf1bn.batch_norm, x, is_training, fused=False)

    port = resnet.keras_port(keras, resnet.keras_net(keras))
    assert assert_parity(original, port, resnet.batches(), training=STEPS)["output_error"] < 1e-5


@pytest.mark.parametrize("fault", tiers.slow_but(["missing updates"], list(IN_KERAS)))
def test_faults_in_keras(keras, fault):
    port = resnet.keras_port(keras, resnet.keras_net(keras, fault))
    assert_fails(COMPOSED, port, WRONG, *IN_KERAS[fault])


def test_bessel_in_keras(keras):
    """Keras averages the population variance, the fused layers of TF 1.15 do not."""
    port = resnet.keras_port(keras, resnet.keras_net(keras))
    with pytest.raises(AssertionError) as failure:
        assert_parity(FUSED, port, resnet.batches(), training=STEPS)
    assert str(failure.value).count("OLD applies Bessel's correction") == 6


@pytest.mark.parametrize("framework", ["keras", pytest.param("torch", marks=pytest.mark.torch)])
def test_a_renamed_layer_and_two_that_are_swapped(request, framework):
    module = request.getfixturevalue(framework)
    net, port = getattr(resnet, f"{framework}_net"), getattr(resnet, f"{framework}_port")
    old, more = (COMPOSED, {}) if framework == "keras" else (FUSED, {"data_format": "NCHW"})
    found = assert_parity(old, port(module, net(module, "renamed")), resnet.batches(), training=STEPS, **more)
    layer = next(layer for layer in found["layers"] if layer["old"] == WRONG)
    assert (layer["new"], layer["matched"]) == ("renamed", "guess")
    assert [cause["id"] for cause in layer["causes"]] == ["renamed"]
    with pytest.raises(AssertionError) as failure:
        assert_parity(old, port(module, net(module, "swapped")), resnet.batches(), training=STEPS, **more)
    message = str(failure.value)
    assert "in 2 of 6 layers: block1/bn1 -> " in message
    assert message.count("swapped-layers") == 2
    # Names that differ by separators alone belong together, so PyTorch's layers are known by what they are given.
    said = {
        "keras": "holds the gamma and beta of OLD's 'block1/bn2'",
        "torch": "the layers 'block1/bn2' and 'block1/bn1' are swapped",
    }
    assert said[framework] in message


@pytest.mark.torch
def test_torch_does_what_the_fused_layers_do(torch):
    port = resnet.torch_port(torch, resnet.torch_net(torch))
    assert assert_parity(FUSED, port, resnet.batches(), training=STEPS, data_format="NCHW")["ok"]


@pytest.mark.torch
@pytest.mark.parametrize("fault", IN_TORCH)
def test_faults_in_torch(torch, fault):
    port = resnet.torch_port(torch, resnet.torch_net(torch, fault))
    assert_fails(FUSED, port, WRONG, *IN_TORCH[fault], data_format="NCHW")


def test_what_keras_does_as_measured(keras):
    """Decay .99, epsilon 1e-3, population variance, and the weighted recurrence bit for bit."""
    layer = keras.layers.BatchNormalization()
    assert (layer.momentum, layer.epsilon, layer.axis) == (0.99, 1e-3, -1)
    layer.build((4, 3))
    one, rate = np.float32(0.99), np.float32(1 - 0.99)
    expected = checker.MovingStats(np.zeros(3), np.ones(3), decay=0.99, recurrence="weighted")
    bessel = checker.MovingStats(np.zeros(3), np.ones(3), decay=0.99, recurrence="weighted", bessel=True)
    differs = False
    for i in range(50):
        batch = np.random.default_rng(i).normal(5, 2, (4, 3)).astype(np.float32)
        before = [value.numpy() for value in (layer.moving_mean, layer.moving_variance)]
        moments = [value.numpy() for value in keras.ops.moments(batch, [0])]
        layer(batch, training=True)
        after = [value.numpy() for value in (layer.moving_mean, layer.moving_variance)]
        for old, new, moment in zip(before, after, moments, strict=True):
            assert np.array_equal(new, old * one + moment * rate)
            differs |= not np.array_equal(new, old - (old - moment) * rate)
        expected.update(batch)
        bessel.update(batch)
    assert differs
    assert expected.compare(*after).ok
    assert bessel.compare(*after).verdict == "finding"


def test_the_command_names_the_layers_of_a_map(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.trace").symlink_to(COMPOSED)
    (tmp_path / "new.trace").symlink_to(TORCH)
    (tmp_path / "names.json").write_text('{"stem/bn": "stem.bn", "block*/*": "block*.*"}')
    command = "parity old.trace new.trace --map names.json --layer 'block1/*'"
    assert cli.main(shlex.split(command)) == 1
    out = capsys.readouterr().out
    text = " ".join(out.split())
    for names in ("block1/bn1 -> block1.bn1", "block1/bn2 -> block1.bn2"):
        assert names in text.replace("(map) ", "")
    assert out.count("(map)") == 2
    assert "old.trace -> new.trace: 2 layers: 2 finding, 0 undecidable, 0 ok." in out


@pytest.mark.parametrize("framework", ["keras", pytest.param("torch", marks=pytest.mark.torch)])
def test_a_model_is_its_own_port(request, framework, tmp_path):
    module = request.getfixturevalue(framework)
    net, original = getattr(resnet, f"{framework}_net"), {"keras": COMPOSED, "torch": FUSED}[framework]
    model = net(module)
    found = assert_parity(original, model, resnet.batches(), training=STEPS, keep=tmp_path)
    assert {layer["verdict"] for layer in found["layers"]} == {"ok"}
    recorded = trace.open(tmp_path / "port.trace")
    assert {round(layer.decay, 6) for layer in recorded.layers.values()} == {resnet.DECAY}
    if framework == "torch":
        assert model.training
        assert not model.get_submodule("stem.bn")._forward_hooks
    record_port(net(module), resnet.batches(), tmp_path / "alone.trace", training=STEPS)
    for one, other in zip(recorded, trace.open(tmp_path / "alone.trace"), strict=True):
        for name, record in one.layers.items():
            assert record.moving_mean_after.tobytes() == other.layers[name].moving_mean_after.tobytes()


@pytest.mark.parametrize(
    ("framework", "fault", "cause"),
    [
        ("keras", "epsilon", "epsilon"),
        pytest.param("keras", "momentum", "momentum-flipped", marks=pytest.mark.slow),
        pytest.param("keras", "gamma", "missing-variable", marks=pytest.mark.slow),
        pytest.param("keras", "axis", "wrong-axis", marks=pytest.mark.slow),
        pytest.param("keras", "missing updates", "trainable-false", marks=pytest.mark.slow),
        pytest.param("torch", "epsilon", "epsilon", marks=pytest.mark.torch),
        pytest.param("torch", "momentum", "momentum-flipped", marks=pytest.mark.torch),
        pytest.param("torch", "gamma", "missing-variable", marks=pytest.mark.torch),
        pytest.param("torch", "missing updates", "frozen", marks=pytest.mark.torch),
    ],
)
def test_faults_of_models(request, framework, fault, cause):
    module = request.getfixturevalue(framework)
    model = getattr(resnet, f"{framework}_net")(module, fault)
    original = {"keras": COMPOSED, "torch": FUSED}[framework]
    with pytest.raises(AssertionError) as failure:
        assert_parity(original, model, resnet.batches(), training=STEPS)
    first, second, *rest = str(failure.value).splitlines()
    assert first.startswith("NEW does not do what OLD does in 1 of 6 layers: block1/bn2 -> ")
    assert f"(diverges first): {cause}" in second
    assert len(rest) < 13


@pytest.mark.slow
def test_weights_are_loaded_into_a_keras_model(keras):
    """And statistics that are not those of a fresh model, from which both then start."""
    import tensorflow.compat.v1 as tf

    import tf1bn

    def original(x, is_training):
        return tf1bn.batch_norm(x, decay=0.9, scale=True, fused=False, is_training=is_training, scope="bn")

    layer = keras.layers.BatchNormalization(momentum=0.9, name="bn")
    inputs = keras.Input(resnet.SHAPE[1:])
    model = keras.Model(inputs, layer(inputs))

    def load(values):
        layer.set_weights([values[f"bn/{name}"] for name in ("gamma", "beta", "moving_mean", "moving_variance")])

    variables = {"bn/moving_mean": np.float32([1, 2, 3]), "bn/gamma": np.float32([2, 3, 4])}
    more = {"variables": variables, "load": load, "training": STEPS}
    assert tf.executing_eagerly()
    assert assert_parity(original, model, resnet.batches(), **more)["ok"]
    np.testing.assert_array_equal(np.asarray(layer.gamma), variables["bn/gamma"])


def test_settings_of_a_model_are_its_own(keras, tmp_path):
    with pytest.raises(ValueError, match=r"^`decay` is given, and `port` is a model"):
        record_port(resnet.keras_net(keras), resnet.batches(), tmp_path / "new", decay=0.9)


def test_a_failure_names_layer_cause_and_numbers(keras):
    port = resnet.keras_port(keras, resnet.keras_net(keras, "epsilon"))
    with pytest.raises(AssertionError) as failure:
        assert_parity(COMPOSED, port, resnet.batches(), training=STEPS)
    message = " ".join(str(failure.value).split())
    assert "in 1 of 6 layers: block1/bn2 -> block1_bn2 (guess) diverges first." in message
    assert "epsilon, renamed. NEW's epsilon is 1e-05, OLD's is 0.001" in message
