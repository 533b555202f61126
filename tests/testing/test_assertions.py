"""``tf1bn.testing.assert_parity``: a graph and a port on the same batches; failures name layer and cause."""

import json

import numpy as np
import pytest

import tf1bn
from tf1bn import trace
from tf1bn.parity.traces import compare as parity
from tf1bn.testing import assert_parity, record_port
from tf1bn.testing.assertions import relative_distance

KERNEL = np.random.default_rng(5).normal(0, 1, (3, 4)).astype(np.float32)
TRAINING = [True, True, True, False]


def batches(count=4):
    return [np.random.default_rng(i).normal(1, 2, (9, 3)).astype(np.float32) for i in range(count)]


def original(x, is_training):
    """Two layers, composed."""
    import tensorflow.compat.v1 as tf

    kernel = tf.get_variable("kernel", initializer=KERNEL)
    arguments = {"decay": 0.9, "is_training": is_training, "fused": False, "scale": True}
    x = tf.nn.relu(tf1bn.batch_norm(x, scope="bn1", **arguments))
    return tf1bn.batch_norm(tf.matmul(x, kernel), scope="bn2", **arguments)


class Port:
    """The same in NumPy; ``rules`` by layer: decay, epsilon, bessel, offset."""

    def __init__(self, inputs=True, names=("bn1", "bn2"), kernel=KERNEL, **rules):
        self.inputs, self.names, self.kernel, self.rules = inputs, names, kernel, rules
        self.moving = [(np.zeros(c, np.float32), np.ones(c, np.float32)) for c in (3, 4)]

    def __call__(self, batch, training):
        self.state = {}
        x = np.maximum(self.norm(0, batch, training), 0)
        return self.norm(1, x @ self.kernel, training), self.state

    def norm(self, i, x, training):
        rules = self.rules.get(f"bn{i + 1}", {})
        mean, variance = x.mean(axis=0), x.var(axis=0)
        use = (mean, variance) if training else self.moving[i]
        y = (x - use[0]) / np.sqrt(use[1] + np.float32(rules.get("epsilon", 1e-3))) + np.float32(rules.get("offset", 0))
        if training:
            factor = np.float32(len(x) / (len(x) - 1)) if rules.get("bessel") else np.float32(1)
            rate = np.float32(1 - rules.get("decay", 0.9))
            old = self.moving[i]
            self.moving[i] = tuple(
                a * (1 - rate) + m * rate for a, m in zip(old, (mean, variance * factor), strict=True)
            )
        state = {"moving_mean": self.moving[i][0], "moving_variance": self.moving[i][1]}
        if self.inputs:
            state |= {"inputs": x, "outputs": y, "gamma": np.ones_like(mean), "beta": np.zeros_like(mean)}
        self.state[self.names[i]] = state
        return y


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """The trace that the original leaves: building the graph once is enough for most tests."""
    folder = tmp_path_factory.mktemp("recorded")
    found = assert_parity(original, Port(), batches(), training=TRAINING, keep=folder)
    assert found["ok"]
    assert found["output_error"] < 1e-5
    return folder / "original.trace"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["reference", "reference, shapes of numbers", "resource", "resource, control flow v1"])
def test_a_graph_and_its_port_agree_in_every_mode(name, tmp_path):
    from modes import played_in

    with played_in(name):
        found = assert_parity(original, Port(), batches(), training=TRAINING, keep=tmp_path / "kept")
        assert found["ok"]
        with pytest.raises(AssertionError, match=r"bn2.*decay"):
            assert_parity(original, Port(bn2={"decay": 0.8}), batches(), training=TRAINING)
        record_port(Port(), batches(), tmp_path / "port", training=TRAINING)
    assert set(trace.open(tmp_path / "port").layers) == {"bn1", "bn2"}


@pytest.mark.parametrize("inputs", [True, False], ids=["inputs", "statistics"])
def test_a_graph_and_its_port_agree(inputs):
    found = assert_parity(original, Port(inputs), batches(), training=TRAINING)
    assert found["ok"]
    assert found["only"] == (None if inputs else "training")
    assert [layer["name"] for layer in found["layers"]] == ["bn1", "bn2"]


@pytest.mark.parametrize("inputs", [True, False], ids=["inputs", "statistics"])
@pytest.mark.parametrize(
    ("rules", "texts"),
    [
        ({"bn2": {"bessel": True}}, ["bn2 (diverges first): bessel", "NEW applies Bessel's correction"]),
        ({"bn1": {"decay": 0.1}}, ["bn1 (diverges first): momentum-flipped", "its decay is 0.1, OLD's is 0.9"]),
        ({"bn1": {"decay": 0.99}}, ["bn1 (diverges first): decay", "NEW's decay is 0.99, OLD's is 0.9"]),
    ],
    ids=["bessel", "momentum", "decay"],
)
def test_the_message_names_layer_and_cause(recorded, inputs, rules, texts):
    with pytest.raises(AssertionError) as failure:
        assert_parity(recorded, Port(inputs, **rules), batches(), training=TRAINING)
    for text in ["NEW does not do what OLD does in 1 of 2 layers", *texts]:
        assert text in str(failure.value)


def test_epsilon_needs_the_layers_own_numbers(recorded):
    with pytest.raises(AssertionError, match=r"bn1 .diverges first.: epsilon. NEW's epsilon is 0.01, OLD's is 0.001"):
        assert_parity(recorded, Port(bn1={"epsilon": 1e-2}), batches(), training=TRAINING)
    with pytest.raises(AssertionError) as failure:
        assert_parity(recorded, Port(False, bn1={"epsilon": 1e-2}), batches(), training=TRAINING)
    assert "bn2 (diverges first): unexplained" in str(failure.value)
    assert "may have begun between this layer and the one before" in str(failure.value)


def test_outputs_count_where_all_statistics_agree():
    with pytest.raises(AssertionError) as failure:
        assert_parity(original, Port(False, bn2={"offset": 0.1}), batches(), training=TRAINING)
    text = str(failure.value)
    assert "The outputs differ in 4 of 4 batches" in text
    assert "The moving statistics of all layers are as the original's." in text
    assert 'have `port` give "inputs" and "outputs"' in text
    assert assert_parity(original, Port(False, bn2={"offset": 0.1}), batches(), training=TRAINING, rtol=0.5)["ok"]


def test_what_cannot_be_decided_fails():
    with pytest.raises(AssertionError, match="continued training was not compared"):
        assert_parity(original, Port(), batches(), training=False)


def test_inputs_may_be_off_by_rounding_only(recorded):
    kernel = KERNEL * np.float32(1 + 1e-3)
    with pytest.raises(AssertionError, match="bn2"):
        assert_parity(recorded, Port(False, kernel=kernel), batches(), training=TRAINING)
    assert_parity(recorded, Port(False, kernel=kernel), batches(), training=TRAINING, input_error=2e-3)


def test_other_names_and_a_map(recorded):
    found = assert_parity(recorded, Port(names=("a", "b")), batches(), training=TRAINING)
    assert [layer["matched"] for layer in found["layers"]] == ["guess", "guess"]
    found = assert_parity(
        recorded, Port(False, names=("a", "b")), batches(), training=TRAINING, mapping={"bn1": "a", "bn2": "b"}
    )
    assert [layer["matched"] for layer in found["layers"]] == ["map", "map"]


def test_variables_go_both_ways():
    seen = {}
    start = np.float32([1, 2, 3])
    port = Port()
    port.moving[0] = start, port.moving[0][1]
    assert_parity(original, port, batches(), training=TRAINING, variables={"bn1/moving_mean": start}, load=seen.update)
    assert set(seen) == {
        "kernel", *(f"bn{i}/{name}" for i in (1, 2) for name in ("beta", "gamma", "moving_mean", "moving_variance"))
    }  # fmt: skip
    assert (seen["bn1/moving_mean"] == start).all()
    assert (seen["kernel"] == KERNEL).all()
    with pytest.raises(ValueError, match="`variables` has 'bn9/beta', which the original does not have"):
        assert_parity(original, Port(), batches(), variables={"bn9/beta": start})


def test_the_traces_can_be_kept_and_a_port_recorded_alone(recorded, tmp_path):
    assert json.loads((recorded.parent / "parity.json").read_text())["ok"] is True
    record_port(Port(), batches(), tmp_path / "port.trace", training=TRAINING, decay=0.9, epsilon=1e-3, fused=False)
    new = trace.open(tmp_path / "port.trace")
    assert new.layers["bn1"].decay == 0.9
    assert parity.compare_traces(trace.open(recorded), new)["ok"]
    with pytest.raises(ValueError, match='must give "inputs" of layer'):
        record_port(Port(False), batches(), tmp_path / "other.trace")


def returning(value):
    return lambda batch, training: value


STATISTICS = {"moving_mean": np.zeros(3, np.float32), "moving_variance": np.ones(3, np.float32)}


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ((original, Port(), []), ValueError, "`batches` is empty"),
        ((original, Port(), ["text"]), TypeError, "must hold arrays of numbers"),
        ((original, 3, batches()), TypeError, "`port` is 3; it must be a function"),
        ((original, lambda batch: 0, batches()), TypeError, "`port` must take two arguments"),
        ((lambda x: x, Port(), batches()), TypeError, "`original` must take two arguments"),
        ((lambda x, flag: 3, Port(), batches()), TypeError, "it must return the output tensor"),
        (("RECORDED", returning(3), batches()), TypeError, "`port` returned int; it must return two things"),
        (("RECORDED", returning((3, {"bn1": {}})), batches()), TypeError, '"moving_mean" and "moving_variance"'),
        (
            ("RECORDED", returning((3, {"bn1": {**STATISTICS, "mean": 1}})), batches()),
            ValueError,
            r"gives \['mean'\] of layer 'bn1'; each must be one of",
        ),
        (("RECORDED", Port(), batches(2)), ValueError, "has 4 steps, and `batches` are 2"),
    ],
)
def test_what_is_not_as_it_should_be_is_said(recorded, arguments, error, text):
    arguments = [recorded if one == "RECORDED" else one for one in arguments]
    with pytest.raises(error, match=text):
        assert_parity(*arguments)


def test_flags_and_shapes():
    with pytest.raises(ValueError, match="it must be a bool, or 4 of them"):
        assert_parity(original, Port(), batches(), training=[True])
    with pytest.raises(AssertionError, match=r"output for batch 0 has shape \(2,\), the original's has \(9, 4\)"):
        assert_parity(original, returning((np.zeros(2), {})), batches())


class Also(Port):
    """A port whose layers include one that the original has not."""

    def __call__(self, batch, training):
        output, layers = super().__call__(batch, training)
        return output, {**layers, "bn3": {**STATISTICS, **({"inputs": batch[..., :3]} if self.inputs else {})}}


@pytest.mark.parametrize("inputs", [True, False], ids=["inputs", "statistics"])
def test_a_layer_more_is_a_finding(recorded, inputs):
    with pytest.raises(AssertionError, match=r"bn3 \(only in NEW\): unmatched"):
        assert_parity(recorded, Also(inputs), batches(), training=TRAINING)


@pytest.mark.parametrize(
    ("one", "other"), [(np.nan, np.nan), (np.nan, 1), (1, np.nan), (np.inf, np.inf), (np.inf, 1), (-np.inf, np.inf)]
)
def test_what_is_not_finite_equals_nothing(one, other):
    outputs = np.float32([0, one]), np.float32([0, other])
    assert relative_distance(*outputs, 0) == np.inf
    assert relative_distance(np.float32([1, 2]), np.float32([1, 4]), 0) == 0.5


def test_outputs_that_are_not_finite_are_no_success():
    with pytest.raises(AssertionError, match="The outputs cannot be compared in 4 of 4 batches, as in batch 0"):
        assert_parity(original, Port(bn2={"offset": np.nan}), batches(), training=TRAINING)


def test_it_is_a_public_name():
    assert tf1bn.testing.assert_parity is assert_parity
