"""Kinds of pairs that were judged wrongly in the wild: what is the same is no finding, and what differs is said."""

import numpy as np
import pytest
from portnet import NAMES, Layer, Net, Rules, batches, write

from tf1bn.cli import main as cli
from tf1bn.parity.traces.compare import compare_traces


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    return write(tmp_path_factory.mktemp("old") / "old.trace")


def ids(found):
    return {layer["name"]: [cause["id"] for cause in layer["causes"]] for layer in found["layers"]}


def by_name(found):
    return {layer["name"]: layer for layer in found["layers"]}


class ChangedLayer(Layer):
    """A layer whose inputs go through ``change`` first."""

    def __init__(self, layer, change):
        self.__dict__.update(layer.__dict__)
        self.change = change

    def __call__(self, x, training):
        return super().__call__(self.change(x), training)


class Reshaped(Net):
    """The rank-2 layer recorded as contrib's fused layer records it."""

    def step(self, x, training):
        records = super().step(x, training)
        for key in ("inputs", "outputs"):
            records[3][key] = [array.reshape(len(array), 1, 1, -1) for array in records[3][key]]
        return records


def test_a_rank_2_layer_that_is_recorded_with_two_axes_more_gets_the_same_data(old, tmp_path):
    fused = write(tmp_path / "t", Reshaped())
    for sides in ((fused, old), (old, fused)):
        found = compare_traces(*sides)
        assert found["ok"], [layer["explanation"] for layer in found["layers"]]
        assert by_name(found)["bn4"]["data"]["state"] == "bitwise"
        assert "outputs" in [check["what"] for check in by_name(found)["bn4"]["checks"]]


@pytest.mark.parametrize("declared", [1e-5, 1.001e-5])
def test_the_floor_of_the_fused_kernel_is_no_other_epsilon(tmp_path, declared):
    """The fused kernel takes 1.001e-5 where 1e-5 is declared."""
    sides = [
        write(tmp_path / str(i), Net(Rules(epsilon=1.001e-5, bessel=True)), settings={"epsilon": epsilon})
        for i, epsilon in enumerate((1e-5, declared))
    ]
    for pair in (sides, sides[::-1]):
        found = compare_traces(*pair)
        assert found["ok"], [layer["explanation"] for layer in found["layers"]]
        assert set(map(tuple, ids(found).values())) == {()}
    # Without outputs nothing tells them apart either.
    bare = [
        write(tmp_path / f"b{i}", Net(Rules(bessel=True)), settings={"epsilon": epsilon}, outputs=False)
        for i, epsilon in enumerate((1e-5, declared))
    ]
    assert "epsilon" not in str(ids(compare_traces(*bare)))


@pytest.mark.parametrize("step", [1, 3])
def test_other_data_from_some_step_on_is_no_success(old, tmp_path, step):
    data = [*batches(4)[:step], *batches(4, seed=9)[step:]]
    found = compare_traces(old, write(tmp_path / "t", data=data))
    assert {layer["verdict"] for layer in found["layers"]} == {"ok"}
    assert not found["ok"]
    where = f"in {4 - step} steps, first in step {step}" if step < 3 else "in step 3"
    assert f"The first layer's inputs are not the same {where}" in found["problems"][0]
    assert found["data"]["sentence"].startswith(f"Before step {step} the data is the same")
    assert cli.main(["parity", old.path, str(tmp_path / "t")]) == 2


def to_bfloat16(x):
    bits = x.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)).view(np.float32)


HALVES = {"bfloat16": to_bfloat16, "float16": lambda x: x.astype(np.float16).astype(np.float32)}


@pytest.mark.parametrize("half", HALVES)
def test_what_half_precision_before_a_layer_rounds_is_the_same_data(old, tmp_path, half):
    net = Net()
    net.layers[1] = ChangedLayer(net.layers[1], HALVES[half])
    found = compare_traces(old, write(tmp_path / "t", net))
    assert "other-inputs" not in str(ids(found))
    assert by_name(found)["bn2"]["data"]["state"] == "close"
    assert found["ok"], [layer["explanation"] for layer in found["layers"]]


@pytest.mark.parametrize("half", HALVES)
def test_other_weights_in_half_precision_are_other_inputs(old, tmp_path, half):
    net = Net()
    net.layers[1] = ChangedLayer(net.layers[1], lambda x: HALVES[half](x * np.float32(1.2)))
    assert ids(compare_traces(old, write(tmp_path / "t", net)))["bn2"] == ["other-inputs"]


class Autocast(Net):
    """Gives the outputs of one layer in bfloat16, as under autocast, and computes in float32."""

    def step(self, x, training):
        records = super().step(x, training)
        records[2] |= {"outputs": [to_bfloat16(y) for y in records[2]["outputs"]], "outputs_dtype": "bfloat16"}
        return records


def test_outputs_in_bfloat16_are_rounded_once_more(old, tmp_path):
    cast = write(tmp_path / "t", Autocast())
    for sides in ((old, cast), (cast, old), (cast, cast)):
        found = compare_traces(*sides)
        assert found["ok"], [layer["explanation"] for layer in found["layers"]]
    bounds = [check["bound"] for layer in found["layers"] for check in layer["checks"] if check["what"] == "outputs"]
    assert [bound > 1e-3 for bound in bounds] == [False, False, True, False]
    wrong = Autocast()
    wrong.layers[2].beta = wrong.layers[2].beta + np.float32(0.5)
    assert ids(compare_traces(old, write(tmp_path / "wrong", wrong)))["bn3"] == ["other-parameters"]


def test_training_alone_needs_neither_inference_nor_outputs(tmp_path):
    training = (True, True, True)
    sides = [write(tmp_path / str(i), Net(Rules(weighted=i == 1)), training=training, outputs=False) for i in range(2)]
    assert {layer["verdict"] for layer in compare_traces(*sides)["layers"]} == {"undecidable"}
    found = compare_traces(*sides, only="training")
    assert found["ok"], [layer["explanation"] for layer in found["layers"]]
    other = write(tmp_path / "e", Net(Rules(epsilon=1e-5)), training=training, outputs=False)
    found = compare_traces(sides[0], other, only="training")
    assert (found["ok"], set(map(tuple, ids(found).values()))) == (True, {("epsilon",)})
    flipped = write(tmp_path / "f", Net({"bn2": Rules(decay=0.1)}), training=training, outputs=False)
    assert ids(compare_traces(sides[0], flipped, only="training"))["bn2"] == ["momentum-flipped"]


def test_the_first_layer_that_diverges_is_marked_whatever_the_cause(old, tmp_path):
    for name, settings in (("declared", {"renorm": True}), ("trainable", {"trainable": False})):
        view = write(tmp_path / name, settings=settings)
        layers = by_name(compare_traces(old, view))
        assert [layer["verdict"] for layer in layers.values()] == ["finding"] * 4
        assert [layer["first"] for layer in layers.values()] == [True, False, False, False]


def test_nothing_is_inherited_with_equal_inputs(old, tmp_path):
    net = Net()
    net.layers[0].gamma = net.layers[0].gamma * np.float32(1.5)
    layers = by_name(compare_traces(old, write(tmp_path / "t", net)))
    assert layers["bn1"]["inherited_error"] == 0
    assert layers["bn1"]["added_error"] > 0.1
    assert layers["bn2"]["inherited_error"] > 0.1
    same = compare_traces(old, old)
    assert {layer["inherited_error"] for layer in same["layers"]} == {0}
    assert [layer["name"] for layer in same["layers"]] == list(NAMES)


def test_other_parameters_are_not_inherited_with_inputs_that_rounding_alone_tells_apart(old, tmp_path):
    net = Net()
    net.layers[1].gamma, net.layers[1].beta = net.layers[1].beta, net.layers[1].gamma
    data = [x * (1 + 2.0**-22) for x in batches()]
    layers = by_name(compare_traces(old, write(tmp_path / "t", net, data=data)))
    assert layers["bn2"]["data"]["state"] == "close"
    assert [cause["id"] for cause in layers["bn2"]["causes"]] == ["gamma-beta-swapped"]
    assert layers["bn2"]["added_error"] > 1
    assert layers["bn2"]["inherited_error"] < 1e-4
    assert layers["bn3"]["inherited_error"] > 0.1


class LeftInTraining(Net):
    """bn2 is in training mode in steps that train nothing, and whose update operations do not run."""

    def step(self, x, training):
        records = super().step(x, training)
        records[1]["training"] = True
        return records


def test_steps_that_only_new_trains_are_not_steps_in_which_its_updates_are_missing(old, tmp_path):
    net = LeftInTraining({"bn2": Rules(batch_at_inference=True)})
    assert ids(compare_traces(old, write(tmp_path / "t", net)))["bn2"] == ["batch-stats-at-inference"]
    net = LeftInTraining({"bn2": Rules(batch_at_inference=True, update=False)})
    assert {"batch-stats-at-inference", "not-updated"} <= {*ids(compare_traces(old, write(tmp_path / "u", net)))["bn2"]}


# ---------------------------------------------------------------- which layer is which


class Chain(Net):
    """Four layers of three channels one after the other, of which ``without`` is left out."""

    def __init__(self, without=None, changed=()):
        layers = [Layer(Rules(), 3, [0, i]) for i in range(4)]
        for i in changed:
            layers[i].gamma = layers[i].gamma * np.float32(1.02)
        rng = np.random.default_rng(5)
        self.weights = [rng.normal(0, 0.7, shape).astype(np.float32) for shape in ((2, 3), (3, 3), (3, 3), (3, 3))]
        self.places = [i for i in range(4) if i != without]
        self.layers = [layers[i] for i in self.places]

    def step(self, x, training):
        records = []
        for i, weights in enumerate(self.weights):
            x = x @ weights
            if i in self.places:
                x, record = self.layers[self.places.index(i)](x, training)
                records.append(record)
            x = np.maximum(x, 0)
        return records


def chain(path, names, **options):
    return write(path, Chain(**options), names=names, only=range(len(names)))


@pytest.mark.parametrize("missing", range(4))
def test_a_missing_layer_does_not_accuse_the_others(tmp_path, missing):
    """By order alone layer 1 would be paired with layer 2 of a model that lacks layer 1."""
    old = chain(tmp_path / "old", ("a1", "a2", "a3", "a4"))
    kept = [i for i in range(4) if i != missing]
    found = compare_traces(old, chain(tmp_path / "new", tuple("xyz"), without=missing))
    layers, causes = by_name(found), ids(found)
    assert [layer["old"] for layer in layers.values() if layer["new"] is None] == [f"a{missing + 1}"]
    for i, other in zip(kept, "xyz", strict=True):
        assert not {"other-parameters", "not-restored", "unexplained"} & set(causes[f"a{i + 1} -> {other}"])


@pytest.mark.parametrize("missing", range(4))
def test_a_missing_layer_is_found_though_all_values_moved(tmp_path, missing):
    old = chain(tmp_path / "old", ("a1", "a2", "a3", "a4"))
    new = chain(tmp_path / "new", tuple("xyz"), without=missing, changed=range(4))
    pairs = [(layer["old"], layer["new"]) for layer in compare_traces(old, new)["layers"] if layer["new"] is not None]
    assert pairs == [
        (f"a{i + 1}", other) for i, other in zip([i for i in range(4) if i != missing], "xyz", strict=True)
    ]


def test_names_that_differ_by_separators_are_the_same_names(tmp_path):
    old = chain(tmp_path / "old", ("net/c1/bn", "net/c2/bn", "net/c3/BatchNorm", "net/c4/bn"))
    new = chain(tmp_path / "new", ("module.net.c1.bn", "net.c2_bn", "net.c3.bn", "c4/bn"))
    found = compare_traces(old, new)
    assert found["ok"]
    assert [layer["matched"] for layer in found["layers"]] == ["name"] * 4


def test_a_level_that_became_a_part_of_the_name_is_the_same_name(tmp_path):
    """As `model.6` of PyTorch becomes `model_6` in Keras; "model" alone is a wrapper."""
    old = chain(tmp_path / "old", ("model.3", "model.6", "model.10", "model.14"))
    new = chain(tmp_path / "new", ("model_3", "model_6", "model_10", "model_14"))
    found = compare_traces(old, new)
    assert found["ok"]
    assert [layer["matched"] for layer in found["layers"]] == ["name"] * 4


def test_inputs_that_differ_because_of_a_layer_before_say_so(old, tmp_path):
    layers = by_name(compare_traces(old, write(tmp_path / "t", Net({"bn2": Rules(epsilon=0.1)}))))
    assert [cause["id"] for cause in layers["bn2"]["causes"]] == ["epsilon"]
    assert [layer.get("inputs_follow_from") for layer in layers.values()] == [None, None, "bn2", "bn2"]
    for name in ("bn3", "bn4"):
        assert layers[name]["verdict"] == "ok"
        assert "which follows from 'bn2' before it" in layers[name]["explanation"]
    assert "follows from" not in layers["bn1"]["explanation"] + layers["bn2"]["explanation"]
    other = by_name(compare_traces(old, write(tmp_path / "w", Net(other_weight=True))))
    assert ids({"layers": list(other.values())})["bn3"] == ["other-inputs"]
    assert other["bn4"]["inputs_follow_from"] == "bn3"
