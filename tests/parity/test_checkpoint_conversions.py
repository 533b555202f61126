"""What conversions do to the values of checkpoints, each made in closed form or by a framework, and named."""

import json
import struct

import layer_vectors
import numpy as np
import pytest

from tf1bn.cli import main as cli
from tf1bn.parity.checkpoints.compare import compare_checkpoints
from tf1bn.parity.layer_values import truncated, ulps_apart
from tf1bn.parity.order import nearness

CHANNELS = 16
LAYERS = ("block1/conv/BatchNorm", "block2/conv/BatchNorm", "block10/conv/BatchNorm")


def draw(seed, channels=CHANNELS):
    return layer_vectors.vectors(seed, channels)


def network(seed=0, bias=False, layers=LAYERS):
    """A dict of variables: three convolutions 3 x 3 from 5 channels to 16, each with a batch norm."""
    variables = {}
    for i, layer in enumerate(layers):
        random = np.random.default_rng([seed, i])
        scope = layer.removesuffix("/BatchNorm")
        variables[f"{scope}/weights"] = random.normal(0, 0.2, (3, 3, 5, CHANNELS)).astype("f4")
        if bias:
            variables[f"{scope}/biases"] = random.normal(0, 1, CHANNELS).astype("f4")
        variables |= {f"{layer}/{role}": values for role, values in draw([seed, i, 1]).items()}
    return variables


@pytest.fixture
def compare(tmp_path):
    """Compares two dicts of variables; returns the result, which goes into JSON and is judged alike from there."""

    def compared(old, new, *arguments, **options):
        for name, variables in (("old", old), ("new", new)):
            np.savez(tmp_path / f"{name}.npz", **variables)
        result = compare_checkpoints(tmp_path / "old.npz", tmp_path / "new.npz", *arguments, **options)
        path = tmp_path / "result.json"
        path.write_text(json.dumps(result, allow_nan=False))
        assert cli.main(["parity", str(path), "--quiet"]) in ((0,) if result["ok"] else (1, 2))
        return result

    return compared


def causes(result):
    return {layer["name"]: [(c["id"], c["severity"]) for c in layer["causes"]] for layer in result["layers"]}


def changed(variables, **changes):
    """The variables with some of the first layer's changed by functions."""
    return {
        name: changes[name.rpartition("/")[2]](values)
        if name.startswith(LAYERS[0]) and name.rpartition("/")[2] in changes
        else values
        for name, values in variables.items()
    }


def without_bias(variables, kept=(), sign=-1):
    """The bias of each convolution taken out of the moving mean, and dropped."""
    new = dict(variables)
    for layer in LAYERS:
        bias = f"{layer.removesuffix('/BatchNorm')}/biases"
        new[f"{layer}/moving_mean"] = variables[f"{layer}/moving_mean"] + np.float32(sign) * variables[bias]
        if layer not in kept:
            del new[bias]
    return new


def test_a_bias_that_was_taken_out_of_the_mean_is_named(compare):
    old = network(bias=True)
    result = compare(old, without_bias(old))
    assert result["ok"] is True
    assert set(map(tuple, causes(result).values())) == {(("folded-bias", "advisory"),)}
    assert "OLD's bias `block1/conv/biases`" in result["layers"][0]["explanation"]


def test_a_bias_that_was_put_into_the_mean_is_named(compare):
    new = network(bias=True)
    result = compare(without_bias(new), new)
    assert set(map(tuple, causes(result).values())) == {(("folded-bias", "advisory"),)}
    assert "plus NEW's bias" in result["layers"][0]["explanation"]


def test_a_bias_that_counts_twice_or_with_the_wrong_sign_is_a_finding(compare):
    old = network(bias=True)
    twice = causes(compare(old, without_bias(old, kept=LAYERS[:1])))
    assert twice[LAYERS[0]] == [("folded-bias", "finding")]
    assert twice[LAYERS[1]] == [("folded-bias", "advisory")]
    result = compare(old, without_bias(old, sign=1))
    assert set(map(tuple, causes(result).values())) == {(("folded-bias", "finding"),)}
    assert "the sign is wrong" in result["layers"][0]["explanation"]


def test_another_mean_is_no_bias(compare):
    old = network(bias=True)
    new = changed(old, moving_mean=lambda a: a - np.float32(0.5))
    assert causes(compare(old, new))[LAYERS[0]] == [("unexplained", "finding")]


def bits_of(number):
    return struct.unpack("<I", struct.pack("<f", number))[0]


def test_truncation_cuts_bits_off_towards_zero():
    numbers = np.array([1 + 2**-8, -1 - 2**-8 - 2**-9, 3.0e-3, -7.7, 0.0, 1.5])
    expected = [struct.unpack("<f", struct.pack("<I", bits_of(x) & 0xFFFF0000))[0] for x in numbers]
    assert truncated(numbers, "bfloat16").tolist() == expected
    half = 1 + 2.0**-10
    values = np.array([half + 0.9 * 2**-10, -half - 0.9 * 2**-10, 0.75, 2.0**-24 * 1.9])
    assert truncated(values, "float16").tolist() == [half, -half, 0.75, 2.0**-24]


def cut(values):
    return (values.view("u4") & np.uint32(0xFFFF0000)).view("f4")


def rounded_up(values):
    """To bfloat16 by adding half a unit, as hardware does, where no number is a tie."""
    return cut((values.view("u4") + np.uint32(0x8000)).view("f4"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (cut, "cut off (not rounded) to the bits of bfloat16"),
        (rounded_up, "rounded to bfloat16"),
        (lambda a: a.astype("f2").astype("f4"), "rounded to float16"),
    ],
)
def test_half_precision_is_named_rounded_or_cut_off(change, said, compare):
    old = network()
    for one, other, who in (
        (old, changed(old, moving_mean=change), "NEW's"),
        (changed(old, beta=change), old, "OLD's"),
    ):
        result = compare(one, other)
        assert causes(result)[LAYERS[0]] == [("half-precision", "finding")]
        explanation = next(layer["explanation"] for layer in result["layers"] if layer["name"] == LAYERS[0])
        assert said in explanation
        assert explanation.startswith(who)


@pytest.mark.parametrize("role", ["moving_mean", "beta", "gamma"])
def test_the_other_sign_is_named(role, compare):
    old = network()
    result = compare(old, changed(old, **{role: np.negative}))
    assert causes(result)[LAYERS[0]] == [("negated", "finding")]
    assert "in all channels" in result["layers"][0]["explanation"]
    flip = np.where(np.arange(CHANNELS) % 8 == 1, -1, 1).astype("f4")
    some = compare(old, changed(old, **{role: lambda a: a * flip}))
    assert "in 2 of 16 channels (1, 9)" in some["layers"][0]["explanation"]


def test_units_in_the_last_place_are_counted():
    values = np.array([1.0, -1.0, 0.0, 2.0**-149, 1.0])
    next_ones = np.array([1 + 2.0**-23, -1 + 2.0**-24, 2.0**-149, -(2.0**-149), 1 - 3 * 2.0**-24])
    assert ulps_apart(values, next_ones, "float32").tolist() == [1, 1, 1, 2, 3]
    assert ulps_apart(np.array([1.0, -1.0]), np.array([1 + 2.0**-7, -1 - 2.0**-6]), "bfloat16").tolist() == [1, 2]
    assert ulps_apart(np.array([-1.0]), np.array([1.0]), "float64").tolist() == [2 * 0x3FF0000000000000]


def test_one_ulp_is_allowed_where_it_is_asked_for(compare, tmp_path, capsys):
    old = network()
    new = changed(old, moving_mean=lambda a: np.nextafter(a, np.float32(99)), beta=lambda a: np.nextafter(a, a * 2))
    strict = compare(old, new)
    assert causes(strict)[LAYERS[0]] == [("unexplained", "finding")]
    assert "`--ulp 1` allows it" in strict["layers"][0]["explanation"]
    allowed = compare(old, new, ulp=1)
    assert (allowed["ok"], allowed["ulp"]) == (True, 1)
    assert "but for 1 ulp at most, of 1 allowed" in allowed["layers"][0]["explanation"]
    assert {entry["ulps"] for entry in allowed["layers"][0]["differences"]} == {0, 1}
    paths = [str(tmp_path / "old.npz"), str(tmp_path / "new.npz")]
    assert cli.main(["parity", *paths]) == 1
    assert cli.main(["parity", *paths, "--ulp", "1"]) == 0
    capsys.readouterr()
    for option, value in (("--ulp", "-1"), ("--epsilon", "nan"), ("--epsilon", "-1.5")):
        assert cli.main(["parity", *paths, option, value]) == 2
        assert capsys.readouterr().err.startswith(f"tf1bn parity: `{option}` is {value}; it must be")


def folded(variables, epsilon=1e-3, scale_by=1.0, shift_by=0.0, bias=True):
    """The network with its batch norms folded, in float32, as converters do."""
    new = {}
    for layer in LAYERS:
        scope = layer.removesuffix("/BatchNorm")
        gamma, beta, mean, variance = (variables[f"{layer}/{role}"] for role in draw(0))
        scale = gamma / np.sqrt(variance + np.float32(epsilon)) * np.float32(scale_by)
        new[f"{scope}/weights"] = variables[f"{scope}/weights"] * scale
        if bias:
            own = variables.get(f"{scope}/biases", np.float32(0))
            new[f"{scope}/biases"] = beta + (own - mean) * scale + np.float32(shift_by)
    return new


@pytest.mark.parametrize("own_bias", [False, True])
@pytest.mark.parametrize("epsilon", [1e-3, 1e-5])
def test_a_folded_batch_norm_is_recomputed(epsilon, own_bias, compare):
    old = network(bias=own_bias)
    result = compare(old, folded(old, epsilon))
    assert (result["ok"], result["problems"]) == (True, [])
    assert set(map(tuple, causes(result).values())) == {(("folded", "advisory"),)}
    assert {layer["matched"] for layer in result["layers"]} == {"folded"}
    assert f"epsilon {epsilon:g}, solved for" in result["layers"][0]["explanation"]
    for layer in result["layers"]:
        assert [entry["within"] for entry in layer["differences"]] == [True, True]
        assert max(entry["largest"] for entry in layer["differences"]) < 1e-5
    back = compare(folded(old, epsilon), old)
    assert (back["ok"], set(map(tuple, causes(back).values()))) == (True, {(("folded", "advisory"),)})


def test_a_known_epsilon_is_compared(compare):
    old = network()
    assert compare(old, folded(old), epsilon=1e-3)["ok"] is True
    result = compare(old, folded(old), epsilon=1e-5)
    assert set(map(tuple, causes(result).values())) == {(("epsilon", "finding"),)}
    assert "with the epsilon 0.001, and not with 1e-05" in result["layers"][0]["explanation"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"scale_by": 1.01}, "no epsilon gives gamma / sqrt(variance + epsilon) in all channels"),
        ({"scale_by": -1}, "no epsilon gives"),
        ({"shift_by": 0.001}, "is not beta - mean * scale in 16 of 16 channels"),
    ],
)
def test_wrong_folding_is_a_finding(options, said, compare):
    old = network()
    result = compare(old, folded(old, **options))
    assert set(map(tuple, causes(result).values())) == {(("folded", "finding"),)}
    assert said in result["layers"][0]["explanation"]


def test_folding_that_lacks_the_bias_or_was_not_done_is_a_finding(compare):
    old = network()
    result = compare(old, folded(old, bias=False))
    assert "no bias beside it has beta - mean * scale" in result["layers"][0]["explanation"]
    dropped = compare(old, {name: values for name, values in old.items() if "BatchNorm" not in name})
    assert "the batch norm is neither there nor folded" in dropped["layers"][0]["explanation"]
    assert set(map(tuple, causes(result).values())) == {(("missing-variable", "finding"),)}
    assert set(map(tuple, causes(dropped).values())) == {(("unmatched", "finding"),)}


def test_what_is_not_folded_is_missing(compare):
    other = {f"{layer.removesuffix('/BatchNorm')}/weights": np.ones((3, 3, 5, CHANNELS), "f4") for layer in LAYERS}
    result = compare(network(), other)
    assert set(map(tuple, causes(result).values())) == {(("unmatched", "finding"),)}
    assert "belongs to a batch norm" in result["problems"][0]


def test_a_depthwise_kernel_in_the_layout_of_pytorch(compare):
    old = {"conv/kernel": np.random.default_rng(5).normal(0, 1, (3, 3, CHANNELS, 1)).astype("f4")}
    old |= {f"bn/{role}": values for role, values in draw(3).items()}
    gamma, beta, mean, variance = (old[f"bn/{role}"] for role in draw(0))
    scale = gamma / np.sqrt(variance + np.float32(1e-3))
    folded = {"conv.weight": (old["conv/kernel"] * scale[:, None]).transpose(2, 3, 0, 1)}
    folded["conv.bias"] = beta - mean * scale
    result = compare(old, folded, epsilon=1e-3)
    assert set(map(tuple, causes(result).values())) == {(("folded", "advisory"),)}
    assert set(map(tuple, causes(compare(folded, old)).values())) == {(("folded", "advisory"),)}


def test_folding_in_the_layout_and_under_the_names_of_pytorch(compare):
    old = network()
    names = {"weights": "weight", "biases": "bias"}
    new = {
        f"{name.rpartition('/')[0].replace('/', '.')}.{names[name.rpartition('/')[2]]}": np.ascontiguousarray(
            values.transpose(3, 2, 0, 1) if values.ndim == 4 else values
        )
        for name, values in folded(old).items()
    }
    assert compare(old, new)["ok"] is True


@pytest.mark.torch
def test_folding_by_pytorch_itself(tmp_path):
    import torch
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    torch.manual_seed(1)
    pairs = [(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8, eps=1e-4)) for _ in range(2)]
    for _, norm in pairs:
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.01, 4)
        torch.nn.init.uniform_(norm.weight, -2, 2)
        torch.nn.init.normal_(norm.bias)
    model = torch.nn.Sequential(*(torch.nn.Sequential(*pair) for pair in pairs)).eval()
    fused = torch.nn.Sequential(*(torch.nn.Sequential(fuse_conv_bn_eval(*pair)) for pair in model))
    torch.save(model.state_dict(), tmp_path / "old.pt")
    torch.save(fused.state_dict(), tmp_path / "new.pt")
    result = compare_checkpoints(tmp_path / "old.pt", tmp_path / "new.pt")
    assert (result["ok"], [layer["new"] for layer in result["layers"]]) == (True, ["0.0.weight", "1.0.weight"])
    assert "epsilon 0.0001, solved for" in result["layers"][0]["explanation"]


def trained_on(variables, steps=300, decay=0.999, seed=7):
    """The network some steps later: gamma and beta moved a little, the statistics towards noisy batches."""
    random, new = np.random.default_rng(seed), {}
    for name, values in variables.items():
        left, noise = decay**steps, random.normal(0, 1, values.shape)
        role = name.rpartition("/")[2]
        if role == "moving_mean":
            values = left * values + (1 - left) * (values + 0.3 * noise)
        elif role == "moving_variance":
            values = left * values + (1 - left) * values * np.exp(0.2 * noise)
        else:
            values = values + 0.01 * noise
        new[name] = values.astype("f4")
    return new


def test_another_step_of_the_same_run_is_recognised(compare):
    old = network()
    new = trained_on(old)
    result = compare(old | {"global_step": np.int64(1000)}, new | {"global_step": np.int64(1300)})
    assert set(map(tuple, causes(result).values())) == {(("other-step", "finding"),)}
    assert "global step 1000 in OLD and 1300 in NEW" in result["layers"][0]["explanation"]
    unknown = compare(old, new)
    assert set(map(tuple, causes(unknown).values())) == {(("other-step", "finding"),)}
    assert "either NEW is another step of the same training, or " in unknown["layers"][0]["explanation"]
    same = compare(old | {"global_step": np.int64(1000)}, new | {"global_step": np.int64(1000)})
    assert set(map(tuple, causes(same).values())) == {(("unexplained", "finding"),)}


def test_what_rounding_alone_tells_apart_is_not_another_step(compare):
    """As of the same training in another framework: `--ulp` is what the report has to name."""
    old = network()
    noise = np.random.default_rng(3)
    new = {
        name: (values * (1 + noise.integers(-3, 4, values.shape) * 2.0**-24)).astype("f4")
        if name.endswith(("moving_mean", "moving_variance"))
        else values
        for name, values in old.items()
    }
    result = compare(old, new)
    assert set(map(tuple, causes(result).values())) == {(("unexplained", "finding"),)}
    assert all("--ulp" in layer["explanation"] for layer in result["layers"])


@pytest.mark.parametrize("seed", range(1, 6))
def test_another_training_is_not_another_step(seed, compare):
    steps = ({"global_step": np.int64(step)} for step in (1000, 1300))
    result = compare(network(0) | next(steps), network(seed) | next(steps))
    assert set(map(tuple, causes(result).values())) == {(("unexplained", "finding"),)}


def test_unrelated_values_are_as_far_from_their_own_as_from_others():
    random = np.random.default_rng(0)
    shares = [nearness(*random.normal(size=(2, 64))) for _ in range(400)]
    assert abs(np.mean(shares) - 1) < 0.02
    assert np.std(shares) == pytest.approx(1 / 8, rel=0.3)
    assert min(shares) > 0.5


def test_layers_that_were_renamed_in_one_way_are_one_line(compare, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "500")
    old = network()
    new = {"tower_0/" + name.replace("BatchNorm", "norm"): values for name, values in old.items()}
    result = compare(old, new)
    (group,) = result["renames"]
    assert group["layers"] == [*LAYERS]
    capsys.readouterr()
    assert cli.main(["parity", str(tmp_path / "result.json")]) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert out.count("a restore by name would not find it") == 1
    assert "renamed: 3 layers" in out


def numbered(order, pattern):
    """Twelve layers, the i-th of the network under the number order[i]."""
    words = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
    name = (lambda role: role) if "normalization" in pattern else words.get
    return {f"{pattern % order[i]}/{name(role)}": array for i in range(12) for role, array in draw(i, 8).items()}


def test_numbers_in_another_order_are_an_advisory(compare):
    as_text = sorted(range(12), key=str)
    old = numbered(range(12), "batch_normalization_%d")
    result = compare(old, numbered([as_text.index(i) for i in range(12)], "bn%d"))
    assert result["ok"] is True
    by_name = causes(result)
    assert [name for name, ids in by_name.items() if ("renumbered", "advisory") in ids] == [
        f"batch_normalization_{i}" for i in range(2, 12)
    ]
    assert "OLD's names were sorted as text, 10 before 2" in result["layers"][2]["explanation"]
    right = compare(old, numbered(range(12), "bn%d"))
    assert not any(("renumbered", "advisory") in ids for ids in causes(right).values())


@pytest.mark.parametrize(
    ("change", "cause", "advice"),
    [
        (lambda v: v + np.float32(1e-3), "epsilon", "Leave epsilon out of the moving variance"),
        (lambda v: v * np.float32(8 / 7), "bessel", "without the factor"),
        (lambda v: v * np.float32(7 / 8), "no-bessel", "without the factor"),
        (
            lambda v: v + np.float32(0.01) * np.arange(v.size, dtype=np.float32),
            "unexplained",
            "how both files were made",
        ),
    ],
)
def test_what_to_do_is_about_the_conversion(change, cause, advice, compare):
    old = network()
    name = next(name for name in old if name.endswith("moving_variance"))
    result = compare(old, {**old, name: change(old[name])})
    (found,) = [each for layer in result["layers"] for each in layer["causes"]]
    assert (found["id"], advice in found["remedy"]) == (cause, True)


@pytest.mark.parametrize("factor", [1.0, 0.9, 0.998])
def test_variances_that_are_all_alike_show_no_correction(factor, compare):
    """Two trainings after a few steps: what is left of the start value 1, by a decay that is 1 - 1/N, as 0.9 is."""
    old = network()
    name = next(name for name in old if name.endswith("moving_variance"))
    random = np.random.default_rng(0)
    left = [np.float32(0.9) * (1 + 1e-7 * random.uniform(size=CHANNELS)).astype(np.float32) for _ in range(2)]
    result = compare({**old, name: left[0]}, {**old, name: np.float32(factor) * left[1]})
    assert [each["id"] for layer in result["layers"] for each in layer["causes"]] == ["unexplained"]


def test_one_channel_shows_a_correction_by_a_small_number(compare):
    old = {f"bn/{role}": values for role, values in draw(1, 1).items()}
    new = {**old, "bn/moving_variance": old["bn/moving_variance"] * np.float32(8 / 7)}
    (layer,) = compare(old, new)["layers"]
    assert [cause["id"] for cause in layer["causes"]] == ["bessel"]
