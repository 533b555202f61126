"""Two checkpoints compared by their values: `tf1bn.parity.compare_checkpoints`, and `tf1bn parity` on them."""

import json

import layer_vectors
import numpy as np
import pytest

from tf1bn.cli import main as cli
from tf1bn.parity.checkpoints.compare import _aligned, compare_checkpoints
from tf1bn.parity.checkpoints.differences import causes
from tf1bn.parity.layer_pairs import LayerPair
from tf1bn.parity.layer_values import LayerValues, align_affine_names, rounded
from tf1bn.parity.names import plain_path

CHANNELS = 6


def vectors(seed, channels=CHANNELS):
    return layer_vectors.vectors(seed, channels)


OLD = {"net/first": vectors(1), "net/second": vectors(2), "net/wide": vectors(3, 9)}
TORCH = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}


@pytest.fixture
def write(tmp_path):
    def written(name, layers):
        path = tmp_path / f"{name}.npz"
        np.savez(path, **{f"{layer}/{role}": a for layer, held in layers.items() for role, a in held.items()})
        return str(path)

    return written


def changed(layer="net/first", **roles):
    """OLD with other values of a layer; a function is called with those that it had, None takes the variable away."""
    layers = {name: dict(held) for name, held in OLD.items()}
    for role, change in roles.items():
        new = change(layers[layer][role]) if callable(change) else change
        layers[layer].pop(role, None)
        if new is not None:
            layers[layer][role] = new
    return layers


def judged(result):
    return {layer["name"]: layer for layer in result["layers"]}


def ids(layer):
    return [cause["id"] for cause in layer["causes"]]


def test_the_same_numbers_are_the_same(write):
    result = compare_checkpoints(write("old", OLD), write("new", OLD))
    assert result["ok"] is True
    assert (result["format"], result["kind"]) == ("tf1bn-parity", "checkpoints")
    assert {layer["matched"] for layer in result["layers"]} == {"name"}
    for layer in result["layers"]:
        assert (layer["verdict"], layer["causes"], layer["steps"]) == ("ok", [], 0)
        assert [entry["what"] for entry in layer["differences"]]
        assert all(e["equal"] for e in layer["differences"])
    json.dumps(result, allow_nan=False)


def start(value):
    return lambda array: np.full_like(array, value)


CASES = {
    "one ulp": ({"moving_mean": lambda a: np.nextafter(a, np.float32(99))}, "unexplained"),
    "bessel": ({"moving_variance": lambda a: (a * np.float64(32 / 31)).astype("f4")}, "bessel"),
    "no bessel": ({"moving_variance": lambda a: (a * np.float64(31 / 32)).astype("f4")}, "no-bessel"),
    "deviation": ({"moving_variance": np.sqrt}, "std-for-variance"),
    "unbiased deviation": (
        {"moving_variance": lambda a: np.sqrt(a * np.float64(32 / 31)).astype("f4")},
        "std-for-variance",
    ),
    "square": ({"moving_variance": np.square}, "std-for-variance"),
    "inverse": ({"moving_variance": lambda a: (1 / np.sqrt(a + np.float64(1e-3))).astype("f4")}, "std-for-variance"),
    "epsilon inside": ({"moving_variance": lambda a: (a + np.float64(1e-3)).astype("f4")}, "epsilon"),
    "not restored": ({"moving_mean": start(0), "moving_variance": start(1)}, "not-restored"),
    "half": ({"moving_mean": lambda a: a.astype("f2").astype("f4")}, "half-precision"),
    "stored as half": ({"moving_variance": lambda a: a.astype("f2")}, "half-precision"),
    "backwards": ({"moving_mean": lambda a: a[::-1].copy()}, "wrong-axis"),
    "shorter": ({"moving_mean": lambda a: a[:4], "moving_variance": lambda a: a[:4]}, "wrong-axis"),
    "no gamma": ({"gamma": None}, "missing-variable"),
    "no beta": ({"beta": None}, "missing-variable"),
    "nan": ({"moving_mean": start(np.nan)}, "not-finite"),
    "infinite": ({"moving_variance": start(np.inf)}, "not-finite"),
    "swapped": ({"gamma": OLD["net/first"]["beta"], "beta": OLD["net/first"]["gamma"]}, "gamma-beta-swapped"),
    "negative": ({"moving_variance": lambda a: np.concatenate([a[:2], -a[2:]])}, "negated"),
    "averages alone": (
        {"moving_mean": None, "moving_mean/ExponentialMovingAverage": OLD["net/first"]["moving_mean"]},
        "shadow-average",
    ),
    "mean for variance": ({"moving_variance": OLD["net/first"]["moving_mean"]}, "renamed"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_change_is_named(name, write):
    roles, expected = CASES[name]
    result = compare_checkpoints(write("old", OLD), write("new", changed(**roles)))
    layers = judged(result)
    assert (layers["net/first"]["verdict"], ids(layers["net/first"])[0]) == ("finding", expected)
    assert {layers[other]["verdict"] for other in ("net/second", "net/wide")} == {"ok"}
    assert result["ok"] is False
    json.dumps(result, allow_nan=False)


def test_a_negative_variance_on_both_sides_is_no_success(write):
    negative = changed(moving_variance=np.negative)
    layer = judged(compare_checkpoints(write("old", negative), write("new", negative)))["net/first"]
    assert (layer["verdict"], ids(layer)) == ("finding", ["bad-variance"] * 2)
    assert "In OLD `net/first/moving_variance` is negative in 6 of 6 channels; the least is -" in layer["explanation"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_on_both_sides_is_no_success(write, value):
    broken = changed(moving_mean=start(value))
    layer = judged(compare_checkpoints(write("old", broken), write("new", broken)))["net/first"]
    assert (layer["verdict"], ids(layer)) == ("finding", ["not-finite"] * 2)
    assert [one["equal"] for one in layer["differences"] if one["what"] == "moving mean"] == [False]


def test_bfloat16_rounds_to_the_nearest_and_ties_to_even():
    unit = 2.0**-7
    numbers = {1 + unit / 2: 1, 1 + 1.5 * unit: 1 + 2 * unit, 1 + 0.51 * unit: 1 + unit, 1 - unit / 8: 1, -1.25: -1.25}
    assert rounded(np.array(list(numbers)), "bfloat16").tolist() == list(numbers.values())


@pytest.mark.parametrize("name", ["module.net.conv1_bn", "_orig_mod.net.conv1_bn", "net/conv1/bn/BatchNorm"])
def test_what_wraps_a_layer_is_no_part_of_its_path(name):
    assert plain_path(name)[:3] == ("net", "conv1", "bn")


def test_what_is_not_shown_is_undecidable(write):
    fresh = {"moving_mean": np.zeros(4, "f4"), "moving_variance": np.ones(4, "f4")}
    guessed = compare_checkpoints(write("old", {"stem": fresh}), write("new", {"tail": fresh}))
    (layer,) = guessed["layers"]
    assert (layer["matched"], layer["verdict"], guessed["ok"]) == ("guess", "undecidable", False)
    assert "give a map" in layer["explanation"]
    parameters = {"a/BatchNorm": {name: OLD["net/first"][name] for name in ("gamma", "beta")}}
    (layer,) = compare_checkpoints(write("old", parameters), write("new", parameters))["layers"]
    assert (layer["verdict"], layer["causes"]) == ("undecidable", [])
    assert "The statistics are in neither checkpoint" in layer["explanation"]


def side(declared, **more):
    values = {"mean": np.zeros(2), "variance": np.full(2, 2.0), **more}
    return LayerValues("a", {role: role for role in values}, values, {}, {}, declared)


def test_what_the_files_declare_is_compared():
    old = side({"epsilon": 1e-3, "decay": 0.99})
    for declared, names in (
        ({"epsilon": 1e-3, "decay": 0.99}, []),
        ({"epsilon": 1e-5, "decay": 0.99}, ["epsilon"]),
        ({"epsilon": 1e-3, "decay": 0.01}, ["momentum-flipped"]),
        ({"epsilon": 1e-3, "decay": 0.9}, ["decay"]),
        ({}, []),
    ):
        assert [cause["id"] for cause in causes(old, side(declared))] == names


def affine(seed, role="affine"):
    values = {role: np.random.default_rng(seed).uniform(1, 2, 3)}
    return LayerValues("bn", {role: f"bn/{role}"}, values, {role: "float32"}, {}, {})


def test_a_single_parameter_is_called_what_the_other_checkpoint_calls_it():
    """A `.weights.h5` does not say whether its only parameter is gamma or beta."""
    unnamed, beta = affine(1), affine(1, "beta")
    old, new, warnings = align_affine_names(unnamed, beta)
    assert (old.variables, list(old.values), list(old.dtypes)) == ({"beta": "bn/affine"}, ["beta"], ["beta"])
    assert (new, warnings, list(unnamed.values)) == (beta, [], ["affine"])
    assert align_affine_names(beta, unnamed)[1].variables == {"beta": "bn/affine"}
    both = LayerValues(
        "bn", {"gamma": "g", "beta": "b"}, {**affine(2, "gamma").values, **affine(3, "beta").values}, {}, {}, {}
    )
    old, _, (warning,) = align_affine_names(unnamed, both)
    assert old is unnamed
    assert "`bn/affine` is gamma or beta, and equals neither" in warning
    assert align_affine_names(affine(3), both)[0].variables == {"beta": "bn/affine"}
    assert align_affine_names(unnamed, unnamed) == (unnamed, unnamed, [])


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_the_parameter_of_exchanged_layers_is_called_alike_in_any_order(order):
    """OLD does not say which of the two it is; NEW has the layers exchanged, each with its own."""
    old = {name: affine(seed) for seed, name in enumerate("ab")}
    new = {name: affine(seed, role) for name, seed, role in (("a", 1, "beta"), ("b", 0, "gamma"))}
    for name, seed in (("a", 1), ("b", 0)):
        more = affine(seed + 7, "gamma" if seed else "beta")
        values, variables = new[name].values | more.values, new[name].variables | more.variables
        new[name] = LayerValues("bn", variables, values, dict.fromkeys(values, "float32"), {}, {})
    pairs = [LayerPair(name, name, "name") for name in order]
    aligned, _, warnings = _aligned(pairs, {"a": "b", "b": "a"}, old, new)
    assert {name: list(layer.variables) for name, layer in aligned.items()} == {"a": ["gamma"], "b": ["beta"]}
    assert warnings == {"a": [], "b": []}


def test_further_state_that_differs_is_told():
    (cause,) = causes(side({}, biased=np.ones(2)), side({}, biased=np.zeros(2)))
    assert (cause["id"], cause["severity"]) == ("unexplained", "finding")
    assert causes(side({}, biased=np.ones(2)), side({}, biased=np.ones(2))) == []


def test_two_channels_do_not_show_a_large_count(write):
    one = {"bn": {"moving_mean": np.ones(2, "f4"), "moving_variance": np.array([1.5, 2.5])}}
    other = {"bn": {"moving_mean": np.ones(2, "f4"), "moving_variance": (np.array([1.5, 2.5]) * 1.0001).astype("f4")}}
    (layer,) = compare_checkpoints(write("old", one), write("new", other))["layers"]
    assert ids(layer) == ["unexplained"]


def test_an_absent_gamma_of_one_is_an_advisory(write):
    old = changed(gamma=start(1))
    layer = judged(compare_checkpoints(write("old", old), write("new", changed(gamma=None))))["net/first"]
    assert (layer["verdict"], ids(layer)) == ("ok", ["missing-variable"])
    assert layer["causes"][0]["severity"] == "advisory"


def test_the_worst_channel_is_told(write):
    other = changed(moving_mean=lambda a: a + np.float32(0.5) * (np.arange(CHANNELS) == 4))
    layer = judged(compare_checkpoints(write("old", OLD), write("new", other)))["net/first"]
    (entry,) = (entry for entry in layer["differences"] if not entry["equal"])
    assert (entry["what"], entry["differing"], entry["channels"], entry["channel"]) == ("moving mean", 1, CHANNELS, 4)
    assert abs(entry["largest"] - 0.5) < 1e-6


def test_two_layers_exchanged_are_named(write):
    new = {**OLD, "net/first": OLD["net/second"], "net/second": OLD["net/first"]}
    layers = judged(compare_checkpoints(write("old", OLD), write("new", new)))
    for name, other in (("net/first", "net/second"), ("net/second", "net/first")):
        assert ids(layers[name])[0] == "swapped-layers"
        assert f"`{other}`" in layers[name]["explanation"]
        assert "the two layers are exchanged" in layers[name]["explanation"]


def test_a_layer_that_is_nowhere_is_no_silence(write):
    new = {name: held for name, held in OLD.items() if name != "net/wide"}
    lost = judged(compare_checkpoints(write("old", OLD), write("new", new)))["net/wide"]
    assert (lost["new"], lost["verdict"], ids(lost)) == (None, "finding", ["unmatched"])
    more = judged(compare_checkpoints(write("old", new), write("new", OLD)))["net/wide"]
    assert (more["old"], more["verdict"], ids(more)) == (None, "finding", ["unmatched"])


def test_names_of_pytorch_are_the_same_names(write, tmp_path):
    port = {f"{layer.replace('/', '.')}.{TORCH[role]}": a for layer, held in OLD.items() for role, a in held.items()}
    np.savez(tmp_path / "port.npz", **port)
    result = compare_checkpoints(write("old", OLD), str(tmp_path / "port.npz"))
    assert result["ok"] is True
    assert len(result["layers"]) == 3


def test_a_renamed_layer_is_found_by_its_values_and_by_a_map(write):
    new = {name.replace("net/second", "net/other_name"): held for name, held in OLD.items()}
    paths = write("old", OLD), write("new", new)
    layer = judged(compare_checkpoints(*paths))["net/second"]
    assert (layer["new"], layer["matched"], ids(layer)) == ("net/other_name", "guess", ["renamed"])
    result = compare_checkpoints(*paths, {"net/second": "net/other_name"})
    assert result["ok"] is True
    assert judged(result)["net/second"]["matched"] == "map"


def test_without_batch_norms_nothing_is_shown(tmp_path, write):
    np.savez(tmp_path / "none.npz", kernel=np.ones((3, 3)))
    result = compare_checkpoints(write("old", OLD), str(tmp_path / "none.npz"))
    assert result["ok"] is False
    assert "belongs to a batch norm" in result["problems"][0]


@pytest.mark.parametrize(("new", "code"), [(OLD, 0), (changed(gamma=None), 1)])
def test_the_command(new, code, write, tmp_path, capsys):
    done = cli.main(["parity", write("old", OLD), write("new", new), "--json", str(tmp_path / "p.json")])
    assert (done, capsys.readouterr().err) == (code, "")
    result = json.loads((tmp_path / "p.json").read_text())
    assert (result["ok"], result["kind"]) == (code == 0, "checkpoints")
    assert cli.main(["parity", str(tmp_path / "p.json")]) == code


def test_the_command_refuses_what_is_no_checkpoint(write, tmp_path, capsys):
    (tmp_path / "b.npz").write_bytes(b"PK")
    assert cli.main(["parity", write("old", OLD), str(tmp_path / "b.npz")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("kernel", ["bn_conv.weight", "up_bn/kernel", "bn/weights"])
def test_a_convolution_whose_name_holds_bn_is_no_batch_norm(write, tmp_path, kernel):
    bias = kernel.replace("weights", "biases").replace("weight", "bias").replace("kernel", "bias")
    convolution = {kernel: np.ones((3, 3, 4, 6), "f4"), bias: np.linspace(0, 1, 6, dtype="f4")}
    for name in ("old", "new"):
        variables = {f"{layer}/{role}": values for layer, held in OLD.items() for role, values in held.items()}
        np.savez(tmp_path / f"{name}.npz", **variables, **convolution)
    result = compare_checkpoints(tmp_path / "old.npz", tmp_path / "new.npz")
    assert (result["ok"], [layer["name"] for layer in result["layers"]]) == (True, list(OLD))
