"""Two runs of one network: parity where it holds, and the layer and the cause where it does not."""

import json
import math

import numpy as np
import pytest
import tiers
from portnet import CHANNELS, NAMES, Net, Rules, batches, write

from tf1bn import checker, trace
from tf1bn._util import strict_json
from tf1bn.errors import MappingError
from tf1bn.parity import layer_map
from tf1bn.parity.layer_pairs import LayerSignature, match_layers
from tf1bn.parity.stored import checked
from tf1bn.parity.traces.compare import compare_traces
from tf1bn.parity.verdict import rejudge
from tf1bn.trace.views import TraceView


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    return write(tmp_path_factory.mktemp("old") / "old.trace")


def ids(layer):
    return [cause["id"] for cause in layer["causes"]]


def by_name(found):
    return {layer["old"] or layer["new"]: layer for layer in found["layers"]}


def assert_only(found, wrong, *names, others=NAMES):
    """Only the layer ``wrong`` is a finding, with these causes, and diverges first."""
    __tracebackhide__ = True
    layers = by_name(found)
    assert not found["ok"]
    for name in others:
        expected = "finding" if name == wrong else "ok"
        assert layers[name]["verdict"] == expected, (name, layers[name]["explanation"])
        assert layers[name]["first"] == (name == wrong)
    assert tuple(ids(layers[wrong])) == names, layers[wrong]["explanation"]
    assert all(cause["misfit"] is None or cause["misfit"] <= 1 for cause in layers[wrong]["causes"])


# ---------------------------------------------------------------- parity holds


@pytest.mark.parametrize(
    "port",
    [
        {},
        {"order": "8 lanes"},
        {"weighted": True},
        {"weighted": True, "layout": "NCHW", "order": "random tree"},
        {"layout": "NCHW", "dtype": "float64"},
    ],
    ids=lambda port: "-".join(map(str, port)) or "same",
)
def test_parity_holds(old, tmp_path, port):
    found = compare_traces(old, write(tmp_path / "t", **port))
    assert found["ok"], [layer["explanation"] for layer in found["layers"]]
    assert (found["format"], found["kind"], found["problems"]) == ("tf1bn-parity", "traces", [])
    assert found["data"]["state"] == "bitwise"
    assert [layer["name"] for layer in found["layers"]] == list(NAMES)
    for layer in found["layers"]:
        assert (layer["matched"], layer["causes"], layer["first"]) == ("name", [], False)
        # Outputs, both statistics over all steps and in one step, their start, gamma and beta.
        assert len(layer["checks"]) == 9
        assert all(check["error"] <= check["bound"] for check in layer["checks"])
        assert all(check["bound"] < 2e-5 for check in layer["checks"] if check["what"] == "outputs")
        assert layer["added_error"] < 1e-5
        assert layer["inherited_error"] < 1e-5


@pytest.mark.parametrize("seed", tiers.slow_but([0], range(3)))
@pytest.mark.parametrize("decay", [0.5, 0.99, 0.999])
def test_honest_ports_raise_no_alarm(tmp_path, seed, decay):
    data = batches(8, shape=(6 + seed, 3, 3, 2), seed=seed)
    training = (True,) * 6 + (False,) * 2
    rules = {"decay": decay, "bessel": seed % 2 == 0}
    old = write(tmp_path / "old", Net(Rules(**rules)), data=data, training=training)
    new = Net(Rules(**rules, weighted=True, order=("4 lanes", "in order, shifted", "2 blocks")[seed]))
    assert compare_traces(old, write(tmp_path / "new", new, data=data, training=training))["ok"]


def test_float16_statistics_are_judged_by_what_float16_can(old, tmp_path):
    found = compare_traces(old, write(tmp_path / "t", dtype="float16"))
    assert found["ok"], [layer["explanation"] for layer in found["layers"]]
    assert all(ids(layer) == ["half-precision"] for layer in found["layers"])


def test_what_both_do_is_no_finding(tmp_path):
    for i, rules in enumerate((Rules(updates=2), Rules(update=False), Rules(batch_at_inference=True))):
        settings = {"decay": 0.9}
        old = write(tmp_path / f"old{i}", Net({"bn2": rules}), settings=settings)
        new = write(tmp_path / f"new{i}", Net({"bn2": rules}), settings=settings)
        found = compare_traces(old, new)
        layer = by_name(found)["bn2"]
        assert layer["verdict"] == "ok", (rules, layer["explanation"])
        assert by_name(compare_traces(old, write(tmp_path / f"fine{i}")))["bn2"]["verdict"] == "finding"


def test_what_both_do_on_data_that_is_rounded_is_no_finding(tmp_path):
    data = batches(4)
    rules = {"bn2": Rules(updates=2)}
    old = write(tmp_path / "old", Net(rules), data=data)
    new = write(tmp_path / "new", Net(rules), data=[batch * (1 + 1e-4) for batch in data])
    found = compare_traces(old, new)
    assert found["data"]["state"] == "close"
    assert by_name(found)["bn2"]["verdict"] == "ok", by_name(found)["bn2"]["explanation"]


# ---------------------------------------------------------------- one thing is wrong

WRONG = {
    "bessel": ({"bessel": True}, ("bessel",), "NEW applies Bessel's correction"),
    "momentum": ({"decay": 0.1}, ("momentum-flipped",), "its decay is 0.1, OLD's is 0.9"),
    "decay": ({"decay": 0.99}, ("decay",), "NEW's decay is 0.99, OLD's is 0.9"),
    "epsilon": ({"epsilon": 1e-5}, ("epsilon",), "NEW's epsilon is 1e-05, OLD's is 0.001"),
    "missing updates": ({"update": False}, ("not-updated",), "stand still"),
    "gamma": ({"gamma": False}, ("missing-variable",), "OLD has gamma and NEW has none"),
    "flag": ({"training": False}, ("training-flag-off",), "in training"),
    "inference": ({"batch_at_inference": True}, ("batch-stats-at-inference",), "in inference"),
    "two": ({"bessel": True, "epsilon": 1e-5}, ("bessel", "epsilon"), "Bessel"),
    "twice": ({"updates": 2}, ("double-update", "decay"), "more than once"),
    "outputs": ({"extra": 0.01}, ("unexplained",), "outputs"),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("declared", tiers.slow_but([False], [False, True]), ids=["declared", "declared as OLD"])
def test_the_layer_and_the_cause_are_named(old, tmp_path, case, declared):
    """Whatever the trace of NEW declares: its numbers count."""
    rules, names, text = WRONG[case]
    settings = {"decay": 0.9, "epsilon": 1e-3, "fused": False} if declared else None
    found = compare_traces(old, write(tmp_path / "t", Net({"bn2": Rules(**rules)}), settings=settings))
    assert_only(found, "bn2", *names)
    layer = by_name(found)["bn2"]
    assert text in layer["explanation"]
    assert layer["inherited_error"] < 1e-5
    if case != "gamma" and case != "missing updates":
        assert any(check["error"] > check["bound"] for check in layer["checks"])
    # What comes after it inherits, and adds nothing.
    assert by_name(found)["bn3"]["inherited_error"] > 100 * by_name(found)["bn3"]["added_error"]


def test_the_other_way_round(old, tmp_path):
    fused = write(tmp_path / "fused", bessel=True)
    found = compare_traces(fused, old)
    assert all(ids(layer) == ["no-bessel"] for layer in found["layers"])
    assert "OLD applies Bessel's correction" in found["layers"][0]["explanation"]
    assert "inference from the same statistics agrees, continued training will not" in str(found["layers"][0])
    without = write(tmp_path / "without", Net({"bn2": Rules(gamma=False)}))
    assert "NEW has gamma and OLD has none" in by_name(compare_traces(without, old))["bn2"]["explanation"]


def test_a_convention_that_nobody_declares_is_inferred(tmp_path):
    """From OLD's numbers."""
    for i, bessel in enumerate((False, True)):
        unknown = write(tmp_path / f"o{i}", bessel=bessel, settings={"fused": None})
        assert compare_traces(unknown, write(tmp_path / f"n{i}", bessel=bessel, settings={"fused": None}))["ok"]
        found = compare_traces(unknown, write(tmp_path / f"w{i}", bessel=not bessel, settings={"fused": None}))
        assert {tuple(ids(layer)) for layer in found["layers"]} == {("no-bessel" if bessel else "bessel",)}


def test_a_wrong_axis_is_seen_in_the_data(tmp_path):
    """NEW normalises axis 1 of [8, 3, 4, 3] arrays, which has as many values as the channels."""
    x = np.random.default_rng(0).normal(2, 3, (8, 3, 4, 3)).astype(np.float32) * np.float32([1, 2, 3])
    paths = {}
    for name, axis in (("old", -1), ("new", 1)):
        with trace.Writer(tmp_path / name) as writer:
            writer.add_layer("bn", decay=0.9, epsilon=1e-3, fused=False, axis=None if axis == -1 else 1)
            flat = np.moveaxis(x, axis, -1).reshape(-1, 3).astype(np.float64)
            mean, variance = flat.mean(axis=0), flat.var(axis=0)
            start = np.zeros(3, np.float32), np.ones(3, np.float32)
            shape = [1, 1, 1, 1]
            shape[axis] = 3
            y = (x - mean.reshape(shape)) / np.sqrt(variance + 1e-3).reshape(shape)
            record = {
                "inputs": [x],
                "outputs": [y.astype(np.float32)],
                "gamma": np.ones(3),
                "beta": np.zeros(3),
                "moving_mean_before": start[0],
                "moving_variance_before": start[1],
                "moving_mean_after": (0.1 * mean).astype(np.float32),
                "moving_variance_after": (0.9 + 0.1 * variance).astype(np.float32),
            }
            writer.add_step({"bn": record}, training=True)
        paths[name] = trace.open(tmp_path / name)
    found = compare_traces(paths["old"], paths["new"])
    assert found["data"]["state"] == "bitwise"
    assert "wrong-axis" in ids(found["layers"][0]), found["layers"][0]["explanation"]
    assert "another axis than OLD" in found["layers"][0]["explanation"]
    assert compare_traces(paths["new"], paths["new"])["data"]["state"] == "bitwise"


def test_layers_that_changed_places(old, tmp_path):
    moved = write(tmp_path / "moved", Net(swapped=True), names=("bn3", "bn2", "bn1", "bn4"))
    found = compare_traces(old, moved)
    assert found["data"]["state"] == "close"
    layers = by_name(found)
    assert "swapped-layers" in ids(layers["bn1"])
    assert "swapped-layers" in ids(layers["bn3"])
    assert "'bn3' the inputs of OLD's 'bn1'" in layers["bn3"]["explanation"]
    assert layers["bn2"]["verdict"] == layers["bn4"]["verdict"] == "ok"
    loaded = compare_traces(old, write(tmp_path / "loaded", Net(swapped=True)))
    assert {name: ids(layer) for name, layer in by_name(loaded).items()} == {
        "bn1": ["swapped-layers"],
        "bn2": [],
        "bn3": ["swapped-layers"],
        "bn4": [],
    }
    assert "holds the gamma and beta of OLD's 'bn3'" in by_name(loaded)["bn1"]["explanation"]
    # With the statistics that they start from.
    old, new = (write(tmp_path / name, started(swapped=name == "new")) for name in ("old", "new"))
    layers = by_name(compare_traces(old, new))
    assert {name: ids(layer) for name, layer in layers.items() if layer["causes"]} == {
        "bn1": ["swapped-layers"],
        "bn3": ["swapped-layers"],
    }
    assert "gamma and beta and moving statistics of OLD's 'bn1'" in layers["bn3"]["explanation"]


def test_what_lies_between_is_a_finding(old, tmp_path):
    found = compare_traces(old, write(tmp_path / "t", Net(other_weight=True)))
    layers = by_name(found)
    assert {name: ids(layer) for name, layer in layers.items()} == {
        "bn1": [],
        "bn2": [],
        "bn3": ["other-inputs"],
        "bn4": [],
    }
    assert "what lies between them differs" in layers["bn3"]["explanation"]
    assert [layer["first"] for layer in layers.values()] == [False, False, True, False]


def test_what_lies_behind_a_wrong_layer_is_not_blamed(old, tmp_path):
    class Off(Net):
        def step(self, x, training):
            self.layers[1].rules = Rules(extra=0.5)
            return super().step(x, training)

    layers = by_name(compare_traces(old, write(tmp_path / "t", Off())))
    assert [ids(layer) for layer in layers.values()] == [[], ["unexplained"], [], []]
    assert layers["bn3"]["data"]["state"] == "different"


def test_statistics_and_parameters_that_were_not_carried_over(old, tmp_path):
    net = Net()
    net.layers[1].mean += np.float32(0.5)
    net.layers[2].gamma = net.layers[2].gamma * np.float32(1.01)
    net.layers[3].gamma, net.layers[3].beta = net.layers[3].beta, net.layers[3].gamma
    layers = by_name(compare_traces(old, write(tmp_path / "t", net)))
    assert ids(layers["bn2"]) == ["not-restored"]
    assert "NEW's moving statistics start from other values" in layers["bn2"]["explanation"]
    assert ids(layers["bn3"]) == ["other-parameters"]
    assert "another gamma" in layers["bn3"]["explanation"]
    assert "gamma-beta-swapped" in ids(layers["bn4"])


def started(change=None, **more):
    """A net whose statistics were trained; ``change`` is made to its layer bn2."""
    net = Net(**more)
    for layer in net.layers:
        rng = np.random.default_rng([len(layer.mean), int(1e6 * layer.gamma[0])])
        layer.mean = rng.uniform(0.5, 2, layer.mean.size).astype(np.float32)
        layer.variance = rng.uniform(0.5, 2, layer.mean.size).astype(np.float32)
    for name in ("gamma", "beta", "mean", "variance") if change is not None else ():
        values = {name: getattr(net.layers[1], name) for name in ("gamma", "beta", "mean", "variance")}
        setattr(net.layers[1], name, change(name, values).astype(np.float32))
    return net


CONVERSIONS = {
    "half": (lambda name, held: held[name].astype(np.float16), ["half-precision"], "variance are OLD's rounded"),
    "order": (lambda name, held: held[name][[2, 0, 3, 1]], ["wrong-axis"], "another order of the channels"),
    "mixed": (
        lambda name, held: held["variance" if name == "mean" else name],
        ["renamed"],
        "mean holds OLD's moving var",
    ),
    "deviation": (
        lambda name, held: np.sqrt(held[name]) if name == "variance" else held[name],
        ["std-for-variance"],
        "",
    ),
    "one": (lambda name, held: held[name] + (name == "mean"), ["not-restored"], "other values than OLD's"),
}


@pytest.mark.parametrize("case", CONVERSIONS)
def test_what_a_conversion_did_to_the_numbers_is_named(tmp_path, case):
    change, names, text = CONVERSIONS[case]
    found = compare_traces(write(tmp_path / "old", started()), write(tmp_path / "new", started(change)))
    assert_only(found, "bn2", *names)
    assert text in by_name(found)["bn2"]["explanation"]


def test_statistics_that_change_between_steps(old, tmp_path):
    class Forgets(Net):
        def step(self, x, training):
            if not training:
                self.layers[1].mean = self.layers[1].mean * np.float32(0.5)
            return super().step(x, training)

    layer = by_name(compare_traces(old, write(tmp_path / "t", Forgets())))["bn2"]
    assert (layer["verdict"], ids(layer)) == ("finding", ["unexplained"])
    assert "changed before step 3, outside of the recorded steps" in layer["explanation"]


# ---------------------------------------------------------------- other data, other forms


def test_other_data_is_said_first_and_is_no_success(old, tmp_path):
    found = compare_traces(old, write(tmp_path / "t", data=batches(4, seed=9)))
    assert not found["ok"]
    assert found["data"]["sentence"].startswith("The data is not the same")
    assert "nothing about the outputs can be concluded" in found["problems"][0]
    assert all(layer["verdict"] == "ok" for layer in found["layers"])
    # Each is judged on its own data all the same.
    found = compare_traces(old, write(tmp_path / "u", Net({"bn2": Rules(bessel=True)}), data=batches(4, seed=9)))
    assert ids(by_name(found)["bn2"]) == ["bessel"]
    assert by_name(found)["bn3"]["verdict"] == "ok"


def test_data_that_differs_later_is_said(old, tmp_path):
    data = batches(4)
    found = compare_traces(old, write(tmp_path / "t", data=[*data[:2], data[2] + 1, data[3]]))
    assert not found["ok"]
    assert {layer["verdict"] for layer in found["layers"]} == {"ok"}
    assert "inputs are not the same in step 2 (they are 0." in found["problems"][0]
    assert "the batches are others, as no layer explains it" in found["problems"][0]
    assert found["data"]["sentence"].startswith("Before step 2 the data is the same: ")
    found = compare_traces(old, write(tmp_path / "u", data=[*data[:2], data[2][:4], data[3]]))
    assert not found["ok"]
    assert (
        "not the same in step 2 (the shapes, channels last, are (8, 5, 4, 3) and (4, 5, 4, 3))" in found["problems"][0]
    )


def test_another_number_of_channels_is_a_finding(tmp_path):
    sides = [write(tmp_path / name, names=(name, "b", "c", "d"), only=(i,)) for i, name in enumerate("xy")]
    (layer,) = compare_traces(*sides, {"x": "b"})["layers"]
    assert (layer["verdict"], ids(layer)) == ("finding", ["wrong-axis"])
    assert layer["explanation"] == "OLD's statistics have 3 channels and NEW's have 4."


def test_another_split_into_batches_and_another_number_of_steps(old, tmp_path):
    halves = [half for batch in batches(4) for half in (batch[:4], batch[4:])]
    training = (True,) * 6 + (False,) * 2
    found = compare_traces(old, write(tmp_path / "t", data=halves, training=training))
    assert not found["ok"]
    assert found["data"]["sentence"].startswith("NEW gets each batch of OLD in 2 parts, one in each of its steps")
    assert found["problems"] == [found["data"]["sentence"]]
    found = compare_traces(old, write(tmp_path / "u", data=batches(8, seed=4), training=training))
    assert found["problems"][1:] == ["OLD has 4 steps and NEW has 8; the first 4 of both were compared."]
    assert found["steps"] == [4, 8]


def test_training_flags_that_differ(old, tmp_path):
    layers = by_name(compare_traces(old, write(tmp_path / "t", training=(True, True, False, False))))
    for layer in layers.values():
        assert ids(layer) == ["training-flag-off"]
        assert layer["first"] == (layer["name"] == "bn1")
        assert "OLD trains in step 2 and NEW does not" in layer["explanation"]
    layers = by_name(compare_traces(old, write(tmp_path / "u", training=(True,) * 4)))
    assert all("NEW trains in step 3 and OLD does not" in layer["explanation"] for layer in layers.values())


@pytest.mark.parametrize("sides", [("moments", "inputs"), ("inputs", "moments"), ("moments", "moments")])
def test_moments_decide_about_training_and_say_what_they_cannot(tmp_path, sides):
    old = write(tmp_path / "o", keep=sides[0])
    found = compare_traces(old, write(tmp_path / "n", keep=sides[1]))
    assert found["data"]["state"] == "moments"
    for layer in found["layers"]:
        assert layer["verdict"] == "undecidable"
        assert "no usable outputs together with inputs, gamma and beta" in layer["explanation"]
    found = compare_traces(old, write(tmp_path / "w", Net({"bn2": Rules(bessel=True)}), keep=sides[1]))
    assert ids(by_name(found)["bn2"]) == ["bessel"]


def test_nothing_trained_and_nothing_in_common_is_no_success(old, tmp_path):
    tests = (False, False)
    found = compare_traces(write(tmp_path / "o", training=tests), write(tmp_path / "n", training=tests))
    assert {layer["verdict"] for layer in found["layers"]} == {"undecidable"}
    assert "continued training was not compared" in found["layers"][0]["explanation"]
    with trace.Writer(tmp_path / "empty"):
        pass
    empty = trace.open(tmp_path / "empty")
    assert not compare_traces(empty, empty)["ok"]
    assert {layer["verdict"] for layer in compare_traces(old, empty)["layers"]} == {"finding"}


def test_a_layer_that_could_not_be_recorded(tmp_path):
    with trace.Writer(tmp_path / "t") as writer:
        writer.add_layer("bn1", decay=0.9, epsilon=1e-3, unrecordable="It is inside a cond.")
    hidden = trace.open(tmp_path / "t")
    (layer,) = compare_traces(hidden, hidden)["layers"]
    assert layer["verdict"] == "undecidable"
    assert "inside a cond" in layer["explanation"]


def test_nan_passes_nothing(old, tmp_path):
    class Breaks(Net):
        def step(self, x, training):
            records = super().step(x, training)
            if not training:
                records[1]["outputs"][0] = np.full_like(records[1]["outputs"][0], np.nan)
            return records

    layer = by_name(compare_traces(old, write(tmp_path / "t", Breaks())))["bn2"]
    assert layer["verdict"] == "finding"
    (outputs,) = (check for check in layer["checks"] if check["what"] == "outputs")
    assert math.isnan(outputs["error"])
    again = rejudge(json.loads(strict_json.to_json({"layers": [{**layer, "causes": []}], "problems": []})))
    assert again["layers"][0]["verdict"] == "finding"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("moving_mean_before", np.inf),
        pytest.param("moving_variance_after", np.nan, marks=pytest.mark.slow),
        pytest.param("gamma", np.inf, marks=pytest.mark.slow),
        ("beta", np.nan),
        ("inputs", np.nan),
    ],
)
@pytest.mark.filterwarnings("error")
def test_what_is_not_finite_on_both_sides_is_no_success(old, tmp_path, key, value):
    class Breaks(Net):
        def step(self, x, training):
            records = super().step(x, training)
            array = records[1][key][0] if key == "inputs" else records[1][key]
            broken = array.copy()
            broken.flat[0] = value
            records[1][key] = [broken] if key == "inputs" else broken
            return records

    broken = write(tmp_path / "t", Breaks())
    for sides in ((broken, broken), (broken, old), (old, broken)):
        found = compare_traces(*sides)
        assert not found["ok"]
        assert by_name(found)["bn2"]["verdict"] != "ok"
        assert by_name(found)["bn1"]["verdict"] == "ok"


@pytest.mark.parametrize("trained", [False, True])
def test_a_gamma_of_ones_on_one_side_alone_is_an_advisory(tmp_path, trained):
    """PyTorch has no beta without gamma, and contrib's default is just that."""

    def run(name, gamma):
        net = Net({"bn2": Rules(gamma=gamma)})
        net.layers[1].gamma = np.ones(4, "f4") * np.float32(1.1 if trained and gamma else 1)
        return write(tmp_path / name, net)

    sides = run("with", True), run("without", False)
    for old, new in (sides, sides[::-1]):
        layer = by_name(compare_traces(old, new))["bn2"]
        assert (layer["verdict"], ids(layer)[0]) == ("finding" if trained else "ok", "missing-variable")
        assert ("is 1 in all channels and steps" in layer["explanation"]) != trained


def test_an_advisory_does_not_hide_a_finding_of_the_same_name(tmp_path):
    class Bare(Net):
        def step(self, x, training):
            self.layers[1].gamma = np.ones(4, "f4")
            self.layers[1].beta *= not self.bare
            records = super().step(x, training)
            if self.bare:
                del records[1]["gamma"], records[1]["beta"]
            return records

    paths = {}
    for bare in (False, True):
        net = Bare()
        net.bare = bare
        paths[bare] = write(tmp_path / str(bare), net, settings={"scale": not bare, "center": not bare})
    layer = by_name(compare_traces(paths[False], paths[True]))["bn2"]
    assert (layer["verdict"], ids(layer)) == ("finding", ["missing-variable", "missing-variable"])


def test_a_layer_that_has_no_gamma_and_does_not_say_so(old, tmp_path):
    class Bare(Net):
        def step(self, x, training):
            self.layers[1].gamma, self.layers[1].beta = np.ones(4, "f4"), np.zeros(4, "f4")
            records = super().step(x, training)
            del records[1]["gamma"], records[1]["beta"]
            return records

    layers = by_name(compare_traces(old, write(tmp_path / "t", Bare(), settings={"scale": None, "center": None})))
    assert ids(layers["bn2"]) == ["missing-variable"]
    assert "OLD has gamma and beta; NEW records none" in layers["bn2"]["explanation"]


# ---------------------------------------------------------------- matching


def test_layers_of_other_names_are_guessed_and_confirmed(old, tmp_path):
    found = compare_traces(old, write(tmp_path / "t", names=("a", "b", "c", "d")))
    assert found["ok"]
    for layer, new in zip(found["layers"], "abcd", strict=True):
        assert (layer["matched"], layer["new"], ids(layer)) == ("guess", new, ["renamed"])
        assert layer["matched_by"] == "data"
        assert "matched by their data: bit for bit the same inputs" in layer["explanation"] or layer["old"] != "bn1"
    one = compare_traces(old, write(tmp_path / "u", names=("bn1", "b", "bn3", "bn4")))
    assert one["ok"]
    assert [layer["matched"] for layer in one["layers"]] == ["name", "guess", "name", "name"]
    other = compare_traces(old, write(tmp_path / "v", names=("a", "b", "c", "d"), data=batches(4, seed=5)))
    # By gamma and beta, which are the same.
    assert all("the same gamma and beta" in str(layer["causes"]) for layer in other["layers"])


def test_a_guess_that_nothing_confirms_is_undecidable(tmp_path):
    nets = [Net(), Net()]
    for net in nets:
        for layer in net.layers:
            layer.gamma, layer.beta = np.ones_like(layer.gamma), np.zeros_like(layer.beta)
    old = write(tmp_path / "o", nets[0])
    new = write(tmp_path / "n", nets[1], names=("a", "b", "c", "d"), data=batches(4, seed=5))
    found = compare_traces(old, new)
    assert {layer["verdict"] for layer in found["layers"]} == {"undecidable"}
    assert "name the pair with --map" in found["layers"][0]["explanation"]
    mapped = compare_traces(old, new, dict(zip(NAMES, "abcd", strict=True)))
    assert {layer["verdict"] for layer in mapped["layers"]} == {"ok"}


def test_unmatched_layers_are_findings(old, tmp_path):
    some = write(tmp_path / "t", only=(0, 1, 3))
    found = compare_traces(old, some)
    assert ids(by_name(found)["bn3"]) == ["unmatched"]
    assert not found["ok"]
    assert by_name(found)["bn3"]["explanation"] == "OLD has this layer, and no layer of NEW is its counterpart."
    found = compare_traces(some, old)
    assert by_name(found)["bn3"]["explanation"] == "NEW has this layer, and no layer of OLD is its counterpart."
    left_out = compare_traces(old, some, {"bn3": None})
    assert left_out["ok"]
    assert "'bn3' is left out" in left_out["notes"][0]


def face(name, channels=3, seed=None):
    moments = None
    if seed is not None:
        moments = checker.batch_moments(np.random.default_rng(seed).normal(size=(9, channels)))
    return LayerSignature(name, channels, moments)


def pairs(matching_):
    return [(pair.old, pair.new, pair.how) for pair in matching_.pairs]


def test_matching_by_map_name_data_and_order():
    old = [face("a"), face("b", 4), face("c", 4, seed=1), face("d", 4, seed=2), face("e", 5)]
    new = [face("x"), face("b", 4), face("z", 4, seed=2), face("y", 4, seed=1), face("w", 6)]
    found = match_layers(old, new, {"a": "x"})
    assert pairs(found) == [("a", "x", "map"), ("b", "b", "name"), ("c", "y", "guess"), ("d", "z", "guess")]
    assert [pair.confirmed for pair in found.pairs[2:]] == [True, True]
    assert (found.only_old, found.only_new) == (("e",), ("w",))
    # In order, as long as possible, where the data tell nothing.
    found = match_layers([face("a"), face("b", 4), face("c", 5)], [face("p", 5), face("q", 4), face("r", 5)])
    assert pairs(found) == [("b", "q", "guess"), ("c", "r", "guess")]
    assert (found.only_old, found.only_new) == (("a",), ("p",))


def test_a_map_of_patterns():
    old = [face("block1/bn2"), face("block1/bn1"), face("head")]
    new = [face("stage1.norm1"), face("stage1.norm2"), face("out")]
    found = match_layers(old, new, {"block*/bn*": "stage*.norm*", "head": "out"})
    assert pairs(found) == [
        ("block1/bn2", "stage1.norm2", "map"),
        ("block1/bn1", "stage1.norm1", "map"),
        ("head", "out", "map"),
    ]
    found = match_layers(old, new, {"block*": None, "block1/bn1": "out"})
    assert pairs(found)[0] == ("block1/bn1", "out", "map")
    assert found.ignored == ("block1/bn2",)


def test_declared_numbers_that_differ_read_differently(tmp_path):
    vector = np.ones(2, np.float32)
    names = ("moving_mean_before", "moving_variance_before", "moving_mean_after", "moving_variance_after")
    record = {**dict.fromkeys(names, vector), "inputs": [np.eye(2, dtype=np.float32)]}
    sides = []
    for name, (decay, epsilon) in {"old": (0.999, 1e-3), "new": (0.99900001, 1.0000004e-3)}.items():
        with trace.Writer(tmp_path / name) as writer:
            writer.add_layer("bn", decay=decay, epsilon=epsilon)
            writer.add_step({"bn": record}, training=False)
        sides.append(trace.open(tmp_path / name))
    said = str(compare_traces(*sides)["layers"][0]["causes"])
    assert "NEW declares the decay 0.99900001, OLD 0.999;" in said
    assert "NEW declares the epsilon 0.0010000004, OLD 0.001;" in said


@pytest.mark.parametrize(
    ("mapping", "text"),
    [
        ({"zz": "x"}, "names 'zz', which is no layer of OLD; OLD has 'a', 'b'"),
        ({"z*": "x"}, "names 'z[*]', which is no layer of OLD"),
        ({"a": "zz"}, "makes 'a' of OLD 'zz', which is no layer of NEW; NEW has 'x', 'y'"),
        ({"a": "x", "b": "x"}, "makes both 'a' and 'b' of OLD 'x' of NEW"),
        ({"*": "x"}, "makes both 'a' and 'b' of OLD 'x' of NEW"),
        ({"a": "x*"}, "as many"),
        ({"a": 3}, "both must be names"),
        (["a"], "it must be an object"),
    ],
)
def test_maps_that_cannot_be_used(mapping, text):
    with pytest.raises(MappingError, match=text):
        match_layers([face("a"), face("b")], [face("x"), face("y")], mapping)


@pytest.mark.parametrize(
    ("mapping", "meant"), [({"block1/bm1": "x"}, "block1/bn1"), ({"block1/bn1": "Out"}, "out"), ({"bn*": None}, None)]
)
def test_a_map_with_a_slip_is_told_what_was_meant(mapping, meant):
    with pytest.raises(MappingError) as raised:
        match_layers([face("block1/bn1"), face("c")], [face("x"), face("out")], mapping)
    assert (f"Did you mean `{meant}`?" if meant else "has 'block1/bn1', 'c'.") in str(raised.value)


@pytest.mark.parametrize(
    ("content", "text"), [("{", "it is not JSON"), ('{"a": "b", "a": "c"}', "twice"), ("[]", "must be an object")]
)
def test_map_files_that_cannot_be_used(tmp_path, content, text):
    (tmp_path / "m.json").write_text(content)
    with pytest.raises(MappingError, match=text):
        layer_map.read_map(str(tmp_path / "m.json"))
    with pytest.raises(MappingError, match="cannot be read: No such file"):
        layer_map.read_map(str(tmp_path / "missing.json"))


@pytest.mark.parametrize("changed", ["old", "new", "both"])
@pytest.mark.parametrize("setting", [{"axis": 7}, {"axis": -9}], ids=str)
def test_a_declaration_that_nothing_can_be_compared_under_is_not_ok(old, changed, setting):
    view = TraceView(old, settings={"bn2": setting})
    pair = {"old": (view, old), "new": (old, view), "both": (view, view)}[changed]
    layers = by_name(compare_traces(*pair))
    # Where the data of OLD show NEW's axis, it does not matter which one NEW declares.
    shown = changed == "new" and "axis" in setting
    assert layers["bn2"]["verdict"] in (("ok",) if shown else ("finding", "undecidable"))
    assert [layers[name]["verdict"] for name in NAMES if name != "bn2"] == ["ok"] * 3


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_statistics_of_16_bits_in_new_alone_are_an_advisory(old, dtype):
    halved = TraceView(old, settings={"bn2": {"dtype": dtype}})
    layer = by_name(compare_traces(old, halved))["bn2"]
    assert (layer["verdict"], layer["causes"][0]["id"]) == ("ok", "half-precision")
    assert f"NEW keeps its statistics in {dtype}, OLD in float32" in layer["causes"][0]["explanation"]
    assert by_name(compare_traces(halved, halved))["bn2"]["verdict"] == "ok"


@pytest.mark.parametrize("axis", [1, 2, -2, 7])
def test_everything_is_compared_along_the_axis_that_the_data_show(old, axis):
    expected = by_name(compare_traces(old, old))["bn2"]
    layer = by_name(compare_traces(old, TraceView(old, settings={"bn2": {"axis": axis}})))["bn2"]
    assert (layer["verdict"], layer["causes"]) == ("ok", [])
    assert layer["checks"] == expected["checks"]
    assert "outputs" in [check["what"] for check in layer["checks"]]


# ---------------------------------------------------------------- judged again


def test_a_result_is_judged_again_without_the_traces(old, tmp_path):
    for rules in ({}, {"bn2": Rules(epsilon=1e-5)}, {"bn3": Rules(extra=0.01)}):
        found = compare_traces(old, write(tmp_path / f"t{len(str(rules))}", Net(rules)))
        stored = json.loads(strict_json.to_json(found))
        assert rejudge(checked(stored)) == stored
        # The numbers decide, not the verdicts that are written.
        for layer in stored["layers"]:
            layer["verdict"] = "ok"
        again = rejudge({**stored, "ok": True})
        assert [layer["verdict"] for layer in again["layers"]] == [layer["verdict"] for layer in found["layers"]]
        assert again["ok"] == found["ok"]


def test_a_larger_error_is_a_finding_and_a_missing_bound_undecidable(old, tmp_path):
    stored = json.loads(strict_json.to_json(compare_traces(old, write(tmp_path / "t"))))
    check = next(check for check in stored["layers"][1]["checks"] if check["what"] == "outputs")
    check["error"] = 2 * check["bound"]
    again = rejudge(stored)
    assert [layer["verdict"] for layer in again["layers"]] == ["ok", "finding", "ok", "ok"]
    assert ids(again["layers"][1]) == ["unexplained"]
    assert "No known cause explains it" in again["layers"][1]["explanation"]
    check["error"] = check["bound"]
    assert rejudge(again)["ok"]
    check["bound"] = None
    assert rejudge(stored)["layers"][1]["verdict"] == "undecidable"


@pytest.mark.parametrize(
    ("error", "text"),
    [(0.0, "0 %"), (0.003, "0.3 %"), (0.0984, "9.8 %"), (0.24, "24 %"), (1.0, "100 %")],
)
def test_the_largest_error_is_said_in_percent_of_what_is_allowed(error, text):
    check = {"what": "outputs", "error": error, "bound": 1.0}
    layer = {"name": "bn", "verdict": "ok", "causes": [], "undecided": [], "checks": [check, {**check, "error": 0.0}]}
    (layer,) = rejudge({"layers": [layer], "problems": []})["layers"]
    assert layer["explanation"] == f"NEW does what OLD does; the largest error is {text} of what is allowed."


def test_an_error_that_nothing_explains_is_said_with_its_numbers():
    check = {"what": "outputs", "error": 0.5, "bound": 0.25, "step": 2, "channel": 3, "old": 1.0, "new": 1.5}
    layer = {"name": "bn", "verdict": "ok", "causes": [], "undecided": []}
    numbers = "the difference is 0.5, and rounding explains at most 0.25. No known cause explains it."
    for known, text in (
        (check, f"Outputs: 1.5 in channel 3 of step 2, where OLD's layer gives 1 for NEW's inputs; {numbers}"),
        ({**check, "old": None, "new": None, "channel": None}, f"Outputs of step 2: {numbers}"),
        ({"what": "outputs", "error": 0.5, "bound": 0.25}, f"Outputs: {numbers}"),
    ):
        (result,) = rejudge({"layers": [{**layer, "checks": [known]}], "problems": []})["layers"]
        assert (result["verdict"], ids(result), result["explanation"]) == ("finding", ["unexplained"], text)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda found: found.update(format="tf1bn-audit"), "not of the format"),
        (lambda found: found.update(layers=None), r"`layers` in it is None; it must be a list"),
        (
            lambda found: found["layers"][0].update(verdict="fine"),
            r"`layers\[0\].verdict` in it is 'fine'; it must be \"finding\"",
        ),
        (lambda found: found["layers"][0].pop("name"), r"`layers\[0\]` in it has no name"),
        (
            lambda found: found["layers"][0].update(causes=[{"id": "x"}]),
            r"`layers\[0\].causes\[0\]` in it has no severity",
        ),
        (
            lambda found: found["layers"][0]["checks"][0].update(error="1"),
            r"`layers\[0\].checks\[0\].error` in it is '1'; it must be a finite number",
        ),
        (lambda found: found["layers"][0].update(checks={}), r"`layers\[0\].checks` in it is {}; it must be a list"),
    ],
)
def test_what_is_no_result_is_refused(old, tmp_path, change, text):
    stored = json.loads(strict_json.to_json(compare_traces(old, old)))
    change(stored)
    with pytest.raises(ValueError, match=text):
        checked(stored)


def test_the_network_of_the_tests_has_other_channels_in_each_layer():
    assert len(set(CHANNELS)) > 1
