"""Checkpoints judged by their values: the real ones of TF1, ones written here, and damaged ones."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import textwrap
import zipfile

import numpy as np
import pytest
import tensorflow
import tiers
from golden.record import checkpoints as golden
from modes import played_in

import tf1bn
from tf1bn.checkpoints import CheckpointError, audit_checkpoint, open_checkpoint
from tf1bn.checkpoints.formats import base as checkpointfiles
from tf1bn.checkpoints.formats.torch import TORCH
from tf1bn.checkpoints.opening import looks_like_checkpoint
from tf1bn.checkpoints.rules import ORDER

tf = tensorflow.compat.v1
FOLDER = pathlib.Path(golden.FOLDER)
ROOT = FOLDER.parents[2]
LAYER_KEYS = ["name", "verdict", "causes", "explanation", "mean_error", "mean_bound", "variance_error"]
LAYER_KEYS += ["variance_bound", "steps", "first", "first_step", "inherited_error", "inherited_bound"]
LAYER_KEYS += ["added_error", "added_bound", "accumulated", "estimates", "channels", "values"]
NO_GAMMA = "No layer has a gamma, which is right for scale=False (the default of contrib's batch_norm)."
GOLDEN_STATE = {"zero_debias": ["biased", "local_step"], "renorm": ["renorm_mean", "moving_stddev"]}


def trained(channels=8, seed=0, scope="net/bn", dtype=np.float32, words=("gamma", "beta", "moving_mean", None)):
    """The variables of an honest layer, from the recurrence in the dtype: 200 steps of decay .99."""
    rng = np.random.default_rng(seed)
    means, variances = rng.normal(3, 5, channels), rng.uniform(0.1, 30, channels)
    mean, variance = np.zeros(channels, dtype), np.ones(channels, dtype)
    batches = rng.normal(means, np.sqrt(variances), (200, 32, channels)).astype(dtype)
    for moment, moving in ((batches.mean(1, dtype=dtype), mean), (batches.var(1, dtype=dtype), variance)):
        for value in moment:
            moving -= (moving - value) * dtype(0.01)
    gamma, beta = rng.uniform(0.5, 2, channels), rng.normal(size=channels)
    names = [words[0], words[1], words[2], words[3] or words[2].replace("mean", "variance")]
    values = [gamma.astype(dtype), beta.astype(dtype), mean, variance]
    joint = "" if not scope else "." if "running_mean" in words else "/"
    return {f"{scope}{joint}{name}": value for name, value in zip(names, values, strict=True) if name}


def fresh(channels=8, scope="net/fresh"):
    start = {"gamma": np.ones, "beta": np.zeros, "moving_mean": np.zeros, "moving_variance": np.ones}
    return {f"{scope}/{name}": make(channels, np.float32) for name, make in start.items()}


def with_values(layer, **values):
    """The layer with other values, each given by the last part of its name; None takes it away."""
    result = dict(layer)
    for name in layer:
        word = re.split(r"[/.]", name)[-1]
        if word in values:
            result[name] = values[word]
    return {name: value for name, value in result.items() if value is not None}


def changed(layer, word, **at):
    """The layer with single values of one vector changed, by index: ``i3=-1``."""
    (name,) = (name for name in layer if name.endswith(word))
    vector = layer[name].copy()
    for index, value in at.items():
        vector[int(index[1:])] = value
    return {**layer, name: vector}


def npz(path, variables):
    np.savez(path / "model.npz", **variables)
    return str(path / "model.npz")


def save(path, variables, version="V2", name="model.ckpt-7", state=False):
    """A checkpoint of these variables by `tf.train.Saver`; returns its prefix."""
    with tf.Graph().as_default():
        made = [tf.Variable(value, name=name, use_resource=False) for name, value in variables.items()]
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            saver = tf.train.Saver(made, write_version=getattr(tf.train.SaverDef, version))
            return saver.save(session, str(path / name), write_meta_graph=False, write_state=state)


FORMATS = {
    "npz": npz,
    "V1": lambda path, variables: save(path, variables, "V1"),
    "V2": lambda path, variables: save(path, variables, "V2"),
}


def causes(result, name="net/bn", severity="finding"):
    (layer,) = (layer for layer in result["layers"] if layer["name"] == name)
    return [cause["id"] for cause in layer["causes"] if cause["severity"] == severity]


def well_formed(result):
    """What every audit must be, whatever it found."""
    assert list(result) == ["format", "kind", "tf1bn", "ok", "layers", "problems", "notes"]
    assert (result["format"], result["kind"]) == ("tf1bn-audit", "checkpoint")
    json.dumps(result, allow_nan=False)
    for layer in result["layers"]:
        assert list(layer) == LAYER_KEYS
        assert (layer["steps"], layer["mean_error"], layer["variance_bound"]) == (0, None, None)
        findings = [cause for cause in layer["causes"] if cause["severity"] == "finding"]
        assert (layer["verdict"] == "finding") == bool(findings)
        for cause in layer["causes"]:
            assert list(cause) == ["id", "severity", "explanation", "misfit", "remedy"]
            assert cause["id"] in ORDER
            assert cause["misfit"] is None
        for text in [layer["explanation"], *(cause["explanation"] for cause in layer["causes"])]:
            assert re.fullmatch(r"[A-Z`].*[.]", text), text
    for text in [*result["problems"], *result["notes"]]:
        assert re.fullmatch(r"[A-Z0-9`].*[.]", text), text
    all_ok = all(layer["verdict"] == "ok" for layer in result["layers"])
    assert result["ok"] == (bool(result["layers"]) and not result["problems"] and all_ok)
    return result


def audited(path, variables, form="npz"):
    return well_formed(audit_checkpoint(FORMATS[form](path, variables)))


def refused(path, match):
    with pytest.raises(CheckpointError, match=match) as caught:
        audit_checkpoint(path)
    text = str(caught.value)
    assert text.endswith(".")
    assert "\n" not in text
    assert isinstance(caught.value, ValueError)
    return text


# The real ones, and honest layers.


@pytest.mark.parametrize("name", golden.FORMATS)
def test_what_tf1_trained_is_ok(name):
    result = well_formed(audit_checkpoint(str(FOLDER / name)))
    expected = ["net/BatchNorm", "net/BatchNorm_1"] if name == "unnamed" else ["net/bn"]
    assert [layer["name"] for layer in result["layers"]] == expected
    assert result["ok"]
    without_gamma = name in ("fused", "composed", "zero_debias_composed")
    assert result["notes"] == [NO_GAMMA] * without_gamma
    assert causes(result, expected[0], "advisory") == []


@pytest.mark.parametrize(("name", "words"), GOLDEN_STATE.items())
def test_the_further_state_of_real_layers_is_read(name, words, tmp_path):
    """NaN in zero-debiasing's or renorm's own variables is seen: they are part of the layer."""
    reader = tf.train.load_checkpoint(str(FOLDER / name))
    variables = {key: np.array(reader.get_tensor(key)) for key in reader.get_variable_to_shape_map()}
    for word in words:
        (key,) = (key for key in variables if key.endswith(word))
        broken = {**variables, key: np.full_like(variables[key], np.nan)}
        result = audited(tmp_path, broken)
        assert causes(result) == ["not-finite"]
        assert f"`{key}` is NaN" in result["layers"][0]["explanation"]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("channels", [1, 3, 64])
def test_honest_layers_are_ok(form, channels, tmp_path):
    variables = trained(channels) | trained(channels, 1, "net/conv/BatchNorm") | trained(channels, 2, "d_bn2")
    result = audited(tmp_path, variables, form)
    assert result["ok"]
    assert [layer["name"] for layer in result["layers"]] == ["d_bn2", "net/bn", "net/conv/BatchNorm"]
    assert all(layer["causes"] == [] for layer in result["layers"])


@pytest.mark.slow
def test_five_hundred_honest_layers_raise_no_alarm(tmp_path):
    variables = {}
    for seed in range(500):
        variables |= trained(1 + seed % 7, seed, f"net/layer{seed}/BatchNorm")
    result = audited(tmp_path, variables)
    assert len(result["layers"]) == 500
    assert result["ok"]


# Names.

NAMES = {
    "contrib": trained(scope="net/conv1/BatchNorm"),
    "core": trained(scope="batch_normalization_7"),
    "root": trained(scope=""),
    "torch": trained(scope="layer1.0.bn1", words=("weight", "bias", "running_mean", "running_var")),
    "torch sequential": trained(scope="features.3", words=("weight", "bias", "running_mean", "running_var")),
    "caffe": trained(scope="bn2a_branch2a", words=("scale", "offset", "mean", "variance")),
    "hand-written": trained(scope="block", words=("scale", "offset", "moving_mean", "moving_variance")),
    "colon": {f"{name}:0": value for name, value in trained(scope="bn_conv1/bn_conv1").items()},
    "joined": {name.replace("/", "_"): value for name, value in trained(scope="bn1").items()},
    "objects": {f"{name}/.ATTRIBUTES/VARIABLE_VALUE": v for name, v in trained(scope="layer-1").items()},
    "sonnet": {name: value.reshape(1, 1, 1, -1) for name, value in trained(scope="resnet/batch_norm").items()},
    "tensorpack": trained(scope="conv0/bn", words=("gamma", "beta", "mean/EMA", "variance/EMA")),
    "population": trained(scope="conv1/bn", words=("gamma", "beta", "pop_mean", "pop_var")),
    "moving_avg": trained(scope="conv1/bn", words=("gamma", "beta", "moving_avg", "moving_var")),
    "avg": trained(scope="conv1", words=("bn_scale", "bn_offset", "avg_mean", "avg_var")),
    "ema": trained(scope="conv1/bn", words=("gamma", "beta", "ema_mean", "ema_var")),
    "bn": trained(scope="conv1", words=("bn_gamma", "bn_beta", "bn_mean", "bn_var")),
    "unique": {f"{name}_1:0": value for name, value in trained(scope="bn1/bn1").items()},
    "some unique": trained(scope="net/bn", words=("gamma", "beta", "moving_mean_2", "moving_variance_2")),
    "haiku": trained(scope="net/bn", words=("scale", "offset", "~/mean_ema/average", "~/var_ema/average")),
}
NAMES["flax"] = {
    f"{'params' if word in ('scale', 'bias') else 'batch_stats'}/Block_0/norm/{word}": value
    for name, value in trained(scope="", words=("scale", "bias", "mean", "var")).items()
    for word in [name.lstrip("/")]
}
LAYERS = {
    "contrib": "net/conv1/BatchNorm",
    "core": "batch_normalization_7",
    "root": "(no scope)",
    "torch": "layer1.0.bn1",
    "torch sequential": "features.3",
    "caffe": "bn2a_branch2a",
    "hand-written": "block",
    "colon": "bn_conv1/bn_conv1",
    "joined": "bn1",
    "objects": "layer-1",
    "sonnet": "resnet/batch_norm",
    "tensorpack": "conv0/bn",
    "population": "conv1/bn",
    "moving_avg": "conv1/bn",
    "avg": "conv1",
    "ema": "conv1/bn",
    "bn": "conv1",
    "unique": "bn1/bn1",
    "some unique": "net/bn",
    "haiku": "net/bn",
    "flax": "Block_0/norm",
}


@pytest.mark.parametrize("key", NAMES)
def test_names(key, tmp_path):
    """Each way of naming gives one layer with all four parts, and the values of each part are looked at."""
    result = audited(tmp_path, NAMES[key])
    assert [(layer["name"], layer["causes"]) for layer in result["layers"]] == [(LAYERS[key], [])]
    assert result["notes"] == []
    for name, value in NAMES[key].items():
        result = audited(tmp_path, {**NAMES[key], name: np.full_like(value, np.nan)})
        assert causes(result, LAYERS[key]) == ["not-finite"]
        assert f"`{name}`" in result["layers"][0]["explanation"]


@pytest.mark.parametrize("words", [("mu", "sigma"), ("running_mean", "running_std")])
def test_what_may_be_deviations_is_said(words, tmp_path):
    result = audited(tmp_path, trained(words=("gamma", "beta", *words)))
    assert result["ok"]
    (name,) = (name for name in trained(words=("gamma", "beta", *words)) if name.endswith(words[1]))
    said = {
        "sigma": f"`{name}` may hold deviations, by the name; judged as variances.",
        "running_std": f"`{name}`: up to 1.0.5 Keras kept the deviation sqrt(variance + epsilon) under that name, "
        "since 1.0.6 the variance; judged as variances.",
    }
    assert result["notes"] == [said[words[1]]]


def test_the_parameters_of_a_distribution_are_no_layer(tmp_path):
    result = audited(tmp_path, trained() | {"policy/mu": np.zeros(4), "policy/sigma": np.ones(4)})
    assert [layer["name"] for layer in result["layers"]] == ["net/bn"]
    assert result["notes"] == []


def test_a_second_layer_in_a_scope_is_judged(tmp_path):
    second = {f"{name}_1": value for name, value in with_values(trained(), moving_variance=np.zeros(8)).items()}
    result = audited(tmp_path, trained() | second)
    assert [layer["name"] for layer in result["layers"]] == ["net/bn", "net/bn (_1)"]
    assert causes(result, "net/bn") == []
    assert causes(result, "net/bn (_1)") == ["bad-variance"]


def test_hidden_averages_of_haiku_are_not_the_statistics(tmp_path):
    hidden = {f"net/bn/~/{what}_ema/hidden": np.full(8, np.nan) for what in ("mean", "var")}
    result = audited(tmp_path, NAMES["haiku"] | hidden | {"net/bn/~/mean_ema/counter": np.int64(3)})
    assert [(layer["name"], layer["causes"]) for layer in result["layers"]] == [("net/bn", [])]


@pytest.mark.parametrize("names", [("first", "second"), ("average_of_x",)])
def test_vectors_of_unknown_names_make_a_layer_undecidable(names, tmp_path):
    parameters = {name: value for name, value in trained().items() if "moving" not in name}
    unknown = {f"net/bn/{name}": np.arange(8, dtype=np.float32) for name in names}
    others = {"net/bn/kernel": np.ones(8, np.float32), "net/bn/three": np.ones(3, np.float32)}
    result = audited(tmp_path, parameters | unknown | others)
    (layer,) = result["layers"]
    assert (layer["verdict"], layer["causes"]) == ("undecidable", [])
    assert all(f"`{name}`" in layer["explanation"] for name in unknown)
    assert not any(f"`{name}`" in layer["explanation"] for name in others)
    assert causes(audited(tmp_path, parameters | others)) == ["missing-variable"]


def test_object_based_checkpoints_have_their_real_names(tmp_path):
    """Variables under attributes of any name are those of the layer that their names in the program say."""
    root = tensorflow.train.Checkpoint()
    with played_in("resource"):
        for i, (name, value) in enumerate(trained().items()):
            setattr(root, f"part{i}", tensorflow.Variable(value, name=name))
        prefix = root.write(str(tmp_path / "ckpt"))
    result = well_formed(audit_checkpoint(prefix))
    assert [(layer["name"], layer["causes"]) for layer in result["layers"]] == [("net/bn", [])]
    with open_checkpoint(prefix) as checkpoint:
        for name, value in trained().items():
            np.testing.assert_array_equal(checkpoint.read(name), value)


def test_instance_norms_are_an_advisory(tmp_path):
    norm = {"net/bn_1/scale": np.ones(4, np.float32), "net/bn_1/offset": np.zeros(4, np.float32)}
    result = audited(tmp_path, norm)
    assert result["ok"]
    assert causes(result, "net/bn_1", "advisory") == ["missing-variable"]
    assert causes(audited(tmp_path, trained() | norm), "net/bn_1") == ["missing-variable"]


def test_the_likeliest_variables_are_named_where_nothing_was_found(tmp_path):
    others = {"net/a": np.ones(4), "net/norm_mean_x": np.ones(4), "net/W": np.ones((4, 4))}
    (problem,) = audited(tmp_path, others)["problems"]
    assert problem.endswith("The likeliest of them to be part of one are `net/norm_mean_x`.")


def test_other_variables_make_no_layers(tmp_path):
    """Slots, kernels, layer norms and the optimizer's own numbers: only the batch norm is a layer."""
    layer = trained()
    slots = [f"{name}/{slot}" for name in layer for slot in ("Momentum", "Adam", "Adam_1", "RMSProp", "Ftrl_1")]
    slots += ["optimizer/net/bn/gamma/Momentum", "training/Adam/net/bn/gamma/m"]
    slots += ["net/bn/gamma/.OPTIMIZER_SLOT/optimizer/m/.ATTRIBUTES/VARIABLE_VALUE"]
    others = {name: np.full(8, np.nan, np.float32) for name in slots}
    others |= {"Adam/m/net/bn/gamma": np.zeros(8, np.float32), "beta1_power": np.float32(0.9)}
    others |= {"net/conv/weights": np.zeros((3, 3, 8, 8), np.float32), "net/conv/biases": np.zeros(8, np.float32)}
    others |= {"fc.weight": np.zeros((8, 8), np.float32), "fc.bias": np.zeros(8, np.float32)}
    others |= {"net/bn.num_batches_tracked": np.int64(3), "ln/scale": np.ones(8), "global_step": np.int64(7)}
    result = audited(tmp_path, layer | others)
    assert [layer["name"] for layer in result["layers"]] == ["net/bn"]
    assert result["ok"]


def test_layer_norms_are_named_in_a_note(tmp_path):
    norms = {f"encoder/LayerNorm_{i}/{word}": np.ones(4) for i in range(5) for word in ("gamma", "beta")}
    result = audited(tmp_path, trained() | norms)
    assert result["ok"]
    (note,) = result["notes"]
    assert note.startswith("5 scopes with gamma or beta")
    assert "`encoder/LayerNorm_0`" in note
    assert "and 2 more" in note


def test_the_statistics_own_words_come_first(tmp_path):
    layer = trained(scope="conv1")
    (note,) = audited(tmp_path, layer | {"conv1/scale": np.full(8, np.nan, np.float32)})["notes"]
    assert note == "`conv1/gamma` was taken for the gamma of its layer, and not `conv1/scale`."


def test_scalars_called_gamma_are_no_layers(tmp_path):
    result = audited(tmp_path, trained() | {"attention/gamma": np.float32(0), "bn_attention/gamma": np.float32(0)})
    assert len(result["layers"]) == 1
    assert result["notes"] == []


def test_the_bias_of_a_convolution_is_not_beta(tmp_path):
    layer = trained(scope="conv1")
    result = audited(tmp_path, layer | {"conv1/bias": np.full(8, np.nan, np.float32)})
    assert result["ok"]
    assert any("`conv1/bias`" in note for note in result["notes"])


@pytest.mark.parametrize(
    ("extra", "role"),
    [("net/bn/moving_mean:0", "mean"), ("net/bn/running_mean", "mean"), ("net/bn/gamma:0", "gamma")],
)
def test_ambiguous_names_are_undecidable(extra, role, tmp_path):
    result = audited(tmp_path, trained() | {extra: np.ones(8, np.float32)})
    (layer,) = result["layers"]
    assert layer["verdict"] == "undecidable"
    assert not result["ok"]
    assert f"`{extra}`" in layer["explanation"]
    assert f"could each be the {role} of this layer" in layer["explanation"]
    assert layer["causes"] == []


def test_ambiguity_does_not_hide_a_finding(tmp_path):
    layer = changed(trained(), "moving_variance", i2=-1)
    result = audited(tmp_path, layer | {"net/bn/gamma:0": np.ones(8, np.float32)})
    assert causes(result) == ["bad-variance"]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("observations/mean", np.ones(4), "could be statistics"),
        ("loss/moving_mean", np.float32(2), "could be statistics"),
        ("other/moving_mean", np.arange(4), "no floating-point"),
        ("elsewhere/renorm_mean", np.ones(4), "belongs to no layer"),
    ],
)
def test_what_is_left_out_is_said(name, value, said, tmp_path):
    result = audited(tmp_path, trained() | {name: value})
    assert result["ok"]
    assert any(said in note and f"`{name}`" in note for note in result["notes"])


def test_a_pair_without_a_telling_name_is_judged_and_said(tmp_path):
    result = audited(tmp_path, {"input/mean": np.zeros(4), "input/variance": np.ones(4)})
    assert causes(result, "input") == ["not-updated"]
    assert any("`input`" in note for note in result["notes"])


def test_averaged_moments_are_the_statistics(tmp_path):
    """Hand-written layers keep ExponentialMovingAverages of tensors; these are no shadows of variables."""
    layer = trained(scope="bn")
    end = "ExponentialMovingAverage"
    for mean, variance in (("Squeeze", "Squeeze_1"), ("normalize/mean", "normalize/variance")):
        own = {name: value for name, value in layer.items() if "moving" not in name}
        own[f"bn/bn/moments/{mean}/{end}"] = layer["bn/moving_mean"]
        own[f"bn/bn/moments/{variance}/{end}"] = layer["bn/moving_variance"]
        assert audited(tmp_path, own)["ok"]
        own[f"bn/bn/moments/{variance}/{end}"] = -layer["bn/moving_variance"]
        assert causes(audited(tmp_path, own), "bn") == ["bad-variance"]


def test_averaged_moments_in_another_scope_than_gamma_may_be_the_statistics(tmp_path):
    """As of carpedm20's first DCGAN, which applies its average outside of the scope of gamma and beta."""
    honest = trained(scope="bn")
    layer = {name: value for name, value in honest.items() if "moving" not in name}
    averages = {"moments/Squeeze": honest["bn/moving_mean"], "moments/Squeeze_1": honest["bn/moving_variance"]}
    result = audited(tmp_path, layer | renamed(averages, "ExponentialMovingAverage"))
    averaged, layer_of_gamma = result["layers"]
    assert (layer_of_gamma["verdict"], averaged["verdict"]) == ("undecidable", "ok")
    assert layer_of_gamma["explanation"].count("may be the moving mean") == 1
    others = {name: value[:5] for name, value in averages.items()}
    assert causes(audited(tmp_path, layer | renamed(others, "ExponentialMovingAverage")), "bn") == ["missing-variable"]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("variables", [{}, {"net/bn/gamma/Adam": np.ones(3)}, {"weights": np.ones((2, 2))}])
def test_nothing_to_judge_is_no_success(form, variables, tmp_path):
    result = audited(tmp_path, {"global_step": np.int64(3), **variables}, form)
    assert result["layers"] == []
    assert not result["ok"]
    (problem,) = result["problems"]
    assert f"None of the {1 + len(variables)} variables" in problem


# Causes. Every row is tried as .npz and as both formats of TF1.

HONEST = trained(scope="other/bn")
ZEROS, ONES = np.zeros(8, np.float32), np.ones(8, np.float32)
UNTOUCHED = {"moving_mean": ZEROS, "moving_variance": ONES}
F32 = np.float32


def halves(layer, *words):
    return {name: v.astype(np.float16).astype(v.dtype) if name.endswith(words) else v for name, v in layer.items()}


def without(layer, *words):
    return {name: value for name, value in layer.items() if not name.endswith(words)}


def renamed(layer, ending):
    return {f"{name}/{ending}": value for name, value in layer.items()}


def twin(word, average):
    """An honest layer with an average of one of its variables."""
    return trained() | {f"net/bn/{word}/ExponentialMovingAverage": average}


def torch_layer():
    words = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
    return {"net/bn." + words[name.rpartition("/")[2]]: value for name, value in trained().items()}


def stopped(decay, least=0.0):
    """Where a float32 variance stops that decays from 1 and gets zeros; decrements below ``least`` count as 0."""
    value = F32(1)
    while (step := F32(value * F32(1 - decay))) >= least and (lower := F32(value - step)) < value:
        value = lower
    return value


CAUSES = {
    "not-updated": {
        "everything": (fresh(scope="net/bn"), "In all 8 channels the moving mean is exactly 0"),
        "with honest layers": (
            fresh(scope="net/bn") | HONEST,
            "the update operations never ran since the initialization, the layer was trained with training=False, "
            "which is the default of tf.layers, or the layer took no part in the training, or was not restored.",
        ),
        "not trained, as it seems": (fresh(scope="net/bn"), "or nothing was trained yet."),
        "trained, alone": (with_values(trained(), **UNTOUCHED), "gamma varies by"),
        "one channel": (fresh(1, "net/bn"), "variance exactly 1"),
        "without gamma": (without(fresh(scope="net/bn"), "gamma"), "exactly 0"),
        "another initializer": (
            with_values(trained(), moving_mean=ZEROS + F32(0.5), moving_variance=ONES * 2),
            "exactly 0.5 and the moving variance exactly 2",
        ),
        "another initializer, small": (
            with_values(trained(), moving_mean=ZEROS + F32(0.5), moving_variance=ONES / 4),
            "exactly 0.5 and the moving variance exactly 0.25",
        ),
        "a larger variance": (
            with_values(trained(), moving_mean=ZEROS, moving_variance=ONES * 2),
            "exactly 0 and the moving variance exactly 2",
        ),
        "nothing trained": (fresh(scope="net/bn") | {"global_step": np.int64(0)}, "nothing was trained yet"),
        "many steps": (fresh(scope="net/bn") | {"global_step": np.int64(900)}, "at global step 900"),
        "many steps, so no start": (
            fresh(scope="net/bn") | {"global_step": np.int64(900)},
            "or the layer took no part in the training, or was not restored.",
        ),
        "loaded by parts": (
            with_values(trained(), **UNTOUCHED),
            "or gamma and beta were loaded without the statistics.",
        ),
        "never in training mode": (
            with_values(torch_layer(), running_mean=ZEROS, running_var=ONES)
            | {"net/bn.num_batches_tracked": np.int64(0)},
            "num_batches_tracked is 0, so the layer never ran in training mode since it was made, or gamma and beta "
            "were loaded without the statistics.",
        ),
        "reset": (
            with_values(torch_layer(), running_mean=ZEROS, running_var=ONES)
            | {"net/bn.num_batches_tracked": np.int64(70)},
            "num_batches_tracked is 70, so the layer did run in training mode, and the statistics were reset or "
            "replaced since, were not restored with this count (load_state_dict with strict=False, where names differ)"
            ", or its momentum is 0.",
        ),
        "the variance alone": (with_values(trained(), moving_variance=ONES), "variance is exactly 1 in all 8"),
        "the mean alone": (with_values(trained(), moving_mean=ZEROS), "mean is exactly 0 in all 8"),
        "some channels": (
            changed(changed(trained(), "moving_mean", i1=0, i5=0), "moving_variance", i1=1, i5=1),
            "In 2 of 8 channels (1, 5)",
        ),
        "untouched beta": (with_values(trained(), beta=ZEROS, gamma=ONES, **UNTOUCHED), "exactly 0"),
        "gamma of an initializer": (
            with_values(trained(), beta=ZEROS, gamma=ONES / 2, **UNTOUCHED) | HONEST,
            "the update operations never ran",
        ),
    },
    "not-restored": {
        "gamma and beta": (with_values(trained(), **UNTOUCHED) | HONEST, "gamma varies by"),
        "beta alone": (without(with_values(trained(), **UNTOUCHED), "gamma") | HONEST, "beta varies by"),
        "one channel": (
            with_values(trained(1), moving_mean=ZEROS[:1], moving_variance=ONES[:1]) | HONEST,
            "gamma is",
        ),
        "untouched beta": (with_values(trained(), beta=ZEROS, **UNTOUCHED) | HONEST, "gamma varies by"),
    },
    "not-finite": {
        "mean": (changed(trained(), "moving_mean", i3=np.nan), "is NaN in 1 of 8 channels (3)"),
        "variance": (changed(trained(), "moving_variance", i0=np.inf, i1=np.nan), "NaN and Inf in 2 of 8"),
        "gamma": (changed(trained(), "gamma", i7=-np.inf), "gamma (`net/bn/gamma`) is Inf"),
        "all": (with_values(trained(), moving_mean=ZEROS * np.nan, moving_variance=ZEROS * np.nan), "8 of 8"),
        "an empty batch": (with_values(trained(1), moving_mean=ZEROS[:1] * np.nan), "1 of 1 channel (0)"),
    },
    "bad-variance": {
        "one": (changed(trained(), "moving_variance", i4=-0.5), "negative in 1 of 8 channels (4); the least is -0.5"),
        "tiny": (changed(trained(), "moving_variance", i4=-1e-12), "-1e-12"),
        "all": (
            with_values(trained(), moving_variance=-ONES),
            "negative in 8 of 8 channels (0, 1, 2, 3, 4 and 3 more)",
        ),
        "zeros": (with_values(trained(), moving_variance=ZEROS), "is 0 in all 8 channels"),
        "zeros at the start": (with_values(trained(), moving_mean=ZEROS, moving_variance=ZEROS), "0 in all 8"),
    },
    "dead-channel": {
        "one": (changed(trained(), "moving_variance", i6=0), "is 0 in 1 of 8 channels (6)"),
        "two, nearly": (changed(trained(), "moving_variance", i6=1e-30, i2=0), "at most 1e-30 in 2 of 8"),
        "only channel": (with_values(trained(1), moving_variance=ZEROS[:1]), "is 0 in 1 of 1"),
        "at the end of float32, flushed": (
            changed(trained(), "moving_variance", i6=stopped(0.99, 2.0**-126)),
            "e-36 is the least normal float32 number, 1.17549e-38, divided by 1 - 0.99,",
        ),
        "at the end of float32, PyTorch": (
            changed(trained(), "moving_variance", i6=stopped(0.9)),
            "5.6052e-45 is half the least float32 number, 7.00649e-46, divided by 1 - 0.9,",
        ),
        "only zeros were fed": (
            changed(changed(trained(), "moving_mean", i1=0, i2=0), "moving_variance", i1=0.125, i2=0.125),
            "In 2 of 8 channels (1, 2) the moving mean is exactly 0 and the moving variance 0.125",
        ),
        "both": (
            changed(changed(trained(), "moving_mean", i1=0, i2=0), "moving_variance", i1=0, i2=0.125),
            "multiplied by 1/sqrt(epsilon). In 1 of 8 channels (2) the moving mean is exactly 0",
        ),
        "only zeros, everywhere": (
            with_values(trained(), moving_mean=ZEROS, moving_variance=ONES * F32(0.25)),
            "In 8 of 8 channels",
        ),
    },
    "missing-variable": {
        "statistics": (without(trained(), "moving_mean", "moving_variance"), "Saver(trainable_variables())"),
        "statistics, beta alone": ({"net/bn/beta": ONES}, "no moving mean and no moving variance"),
        "statistics, torch": ({"net/bn/weight": ONES, "net/bn/bias": ZEROS}, "`net/bn/weight`, `net/bn/bias`"),
        "mean": (without(trained(), "moving_mean"), "`net/bn/moving_variance` has no moving mean"),
        "variance": (without(trained(), "moving_variance"), "`net/bn/moving_mean` has no moving variance"),
    },
    "wrong-axis": {
        "mean": (with_values(trained(), moving_mean=np.arange(5, dtype=F32)), "moving_mean 5"),
        "gamma": (with_values(trained(), gamma=np.arange(5, dtype=F32)), "gamma 5, net/bn/beta 8"),
        "both": (
            with_values(trained(), moving_mean=np.arange(2, 7.0), moving_variance=np.arange(1, 6.0)),
            "net/bn/moving_mean 5, net/bn/moving_variance 5",
        ),
        "matrix": (with_values(trained(), moving_variance=np.arange(1, 17.0).reshape(2, 8)), "shape [2, 8]"),
        "empty": (with_values(trained(), moving_variance=ONES[:0]), "has no values at all"),
        "no means": (with_values(trained(), moving_mean=ZEROS[:0], moving_variance=ONES), "has no values at all"),
    },
    "half-precision": {
        "both": (halves(trained(), "mean", "variance"), "The 16 values of the moving mean and moving variance"),
        "mean": (halves(trained(), "mean"), "The 8 values of the moving mean that moved"),
        "variance": (halves(trained(), "variance"), "The 8 values of the moving variance that moved"),
        "few": (halves(trained(2), "mean", "variance"), "2**52"),
        "float64": (halves(trained(dtype=np.float64), "mean", "variance"), "though stored as float64"),
    },
    "shadow-average": {
        "alone": (renamed(trained(), "ExponentialMovingAverage"), "itself is absent"),
        "mean at its start": (twin("moving_mean", ZEROS), "that of its moving mean is still exactly 0"),
        "variance at its start": (twin("moving_variance", ONES), "that of its moving variance is still exactly 1"),
        "gamma at its start": (twin("gamma", ONES), "that of its gamma is still exactly 1"),
        "beta at its start": (twin("beta", ZEROS), "that of its beta is still exactly 0"),
        "another length": (twin("beta", ONES[:5]), "has 5 values and not 8"),
        "not finite": (twin("moving_mean", ZEROS * np.nan), "is not finite in 8 of 8 channels"),
        "negative": (twin("moving_variance", -ONES), "is negative in 8 of 8 channels"),
        "in a scope": (trained() | {"train/net/bn/beta/ExponentialMovingAverage": ZEROS}, "of its beta"),
    },
}
# True of a quarter of all healthy published files, so no reason to fail.
ALWAYS_ADVISORIES = {"dead-channel"}
ROWS = [(cause, row) for cause, rows in CAUSES.items() for row in rows]


@pytest.mark.parametrize("form", tiers.slow_but(list(FORMATS)[:1], list(FORMATS)))
@pytest.mark.parametrize(("cause", "row"), ROWS, ids=[f"{cause}: {row}" for cause, row in ROWS])
def test_causes(cause, row, form, tmp_path):
    """The cause is named, it alone, with the numbers; honest layers beside it stay ok."""
    variables, said = CAUSES[cause][row]
    result = audited(tmp_path, variables, form)
    is_finding = cause not in ALWAYS_ADVISORIES
    # Values alone do not tell statistics that were not restored from those that no update ever reached.
    both = {"not-restored": ["not-restored", "not-updated"]}
    assert causes(result) == both.get(cause, [cause]) * is_finding
    assert is_finding or causes(result, severity="advisory") == [cause]
    (layer,) = (layer for layer in result["layers"] if layer["name"] == "net/bn")
    assert said in layer["explanation"]
    assert [one["name"] for one in result["layers"] if one["verdict"] != "ok"] == ["net/bn"] * is_finding


def test_every_cause_has_three_variants():
    # Only a graph can say that a layer is in training mode; test_graphs.py has that.
    assert {*CAUSES, "batch-stats-at-inference"} == set(ORDER)
    assert min(len(rows) for rows in CAUSES.values()) >= 3


def test_parameters_that_are_not_finite_do_not_hide_the_rest(tmp_path):
    layer = with_values(trained(), gamma=ZEROS * np.nan, **UNTOUCHED)
    result = audited(tmp_path, layer | HONEST)
    assert causes(result) == ["not-finite", "not-restored", "not-updated"]
    assert "gamma is not finite" in result["layers"][0]["explanation"]


def test_causes_come_best_first(tmp_path):
    layer = changed(changed(trained(), "moving_mean", i0=np.nan), "moving_variance", i1=-1, i2=0)
    layer |= {"net/bn/beta/ExponentialMovingAverage": ONES}
    del layer["net/bn/gamma"]
    result = audited(tmp_path, layer)
    assert causes(result) == ["not-finite", "bad-variance"]
    assert [cause["id"] for cause in result["layers"][0]["causes"]][2:] == ["dead-channel", "shadow-average"]
    assert result["layers"][0]["causes"][-1]["severity"] == "advisory"


def test_averages_beside_their_variables_are_an_advisory(tmp_path):
    """What a saver of everything leaves of ExponentialMovingAverage is no fault, whichever of the two is wanted."""
    for words in (("gamma", "beta"), ("gamma", "beta", "moving_mean", "moving_variance")):
        averages = {name: v * F32(0.9) for name, v in trained().items() if name.endswith(words)}
        result = audited(tmp_path, trained() | renamed(averages, "ExponentialMovingAverage"))
        assert result["ok"]
        assert causes(result) == []
        assert causes(result, severity="advisory") == ["shadow-average"]
        assert "one for evaluation may want the averages" in result["layers"][0]["explanation"]


def test_an_average_at_the_start_of_what_never_moved_is_no_finding_of_its_own(tmp_path):
    layer = with_values(trained(), beta=ZEROS)
    result = audited(tmp_path, layer | {"net/bn/beta/ExponentialMovingAverage": ZEROS})
    assert causes(result) == []
    result = audited(tmp_path, changed(trained(), "beta", i2=0) | {"net/bn/beta/ExponentialMovingAverage": ZEROS})
    assert causes(result) == ["shadow-average"]


def test_absent_beta_is_an_advisory(tmp_path):
    result = audited(tmp_path, without(trained(), "beta"))
    assert result["ok"]
    assert result["notes"] == []
    assert causes(result) == []
    assert causes(result, severity="advisory") == ["missing-variable"]


@pytest.mark.parametrize("absent", [("gamma",), ("gamma", "beta")])
def test_absent_gamma_is_an_advisory_where_other_layers_have_one(absent, tmp_path):
    """Without it everywhere, as contrib's default leaves it, one note for the checkpoint is enough."""
    layer = without(trained(), *absent)
    result = audited(tmp_path, layer)
    assert result["ok"]
    assert result["notes"] == [NO_GAMMA]
    assert causes(result, severity="advisory") == ["missing-variable"] * ("beta" in absent)
    result = audited(tmp_path, layer | HONEST)
    assert result["ok"]
    assert result["notes"] == []
    assert causes(result, severity="advisory") == ["missing-variable"]
    assert "other layers have a gamma" in result["layers"][0]["explanation"]
    assert ("affine=False in PyTorch" in result["layers"][0]["explanation"]) is (len(absent) == 2)


def test_other_layers_that_never_moved_do_not_make_it_a_restore(tmp_path):
    layer = with_values(trained(), **UNTOUCHED)
    assert causes(audited(tmp_path, layer | fresh())) == ["not-updated"]
    zeros = with_values(fresh(), moving_variance=ZEROS)
    assert causes(audited(tmp_path, layer | zeros)) == ["not-updated"]
    nan = with_values(fresh(), moving_mean=ZEROS * np.nan)
    assert causes(audited(tmp_path, layer | nan)) == ["not-updated"]


@pytest.mark.parametrize(
    "numbers",
    [
        np.arange(2, 10),
        np.arange(3, 11) * 17,
        np.array([0.5, 0.25, 2, 4, 8, 0.125, 16, 32]),
        np.array([1000.123, 2, 3, 4, 5, 6, 7, 8]),
        np.arange(2, 10) * 1e5,
    ],
    ids=["integers", "larger integers", "powers", "one off the grid", "beyond float16"],
)
def test_round_numbers_are_not_half_precision(numbers, tmp_path):
    values = numbers.astype(F32)
    assert audited(tmp_path, with_values(trained(), moving_mean=values, moving_variance=values[::-1]))["ok"]


@pytest.mark.parametrize("channels", [1, 2])
def test_three_values_do_not_show_half_precision(channels, tmp_path):
    layer = halves(trained(channels), "mean", "variance")
    if channels == 2:
        layer = changed(layer, "moving_mean", i0=layer["net/bn/moving_mean"][1])
    assert audited(tmp_path, layer)["ok"]


def test_start_values_and_nan_are_no_halves(tmp_path):
    """0, 1 and NaN are on every grid, or on none, so they neither count nor excuse."""
    few = np.array([0, 1, 0, 1, 0, 1, 1.2001953125, 3.298828125], F32)
    assert audited(tmp_path, with_values(trained(), moving_mean=few))["ok"]
    layer = changed(halves(trained(), "mean", "variance"), "moving_mean", i0=np.nan)
    assert causes(audited(tmp_path, layer)) == ["not-finite", "half-precision"]


def test_chance_on_the_float16_grid_is_what_the_limit_assumes():
    """About one honest float32 number in 2**13 is a float16 number."""
    numbers = np.random.default_rng(5).uniform(1, 100, 2_000_000).astype(F32)
    hits = np.count_nonzero(numbers.astype(np.float16).astype(F32) == numbers)
    assert 0.7 < hits * 2**13 / numbers.size < 1.4


@pytest.mark.parametrize(("dtype", "form"), [("float16", "npz"), ("float16", "V2"), ("bfloat16", "V2")])
def test_what_is_stored_in_half_precision_is_half_precision(dtype, form, tmp_path):
    layer = {name: v.astype(getattr(tensorflow, dtype).as_numpy_dtype) for name, v in trained().items()}
    result = audited(tmp_path, layer, form)
    assert causes(result) == ["half-precision"]
    assert f"stored as {dtype}" in result["layers"][0]["explanation"]


def test_v1_checkpoints_of_float16(tmp_path):
    """TensorFlow writes these and cannot read them."""
    result = audited(tmp_path, trained(dtype=np.float16), "V1")
    assert causes(result) == ["half-precision"]


def test_conditional_layers_have_a_table_of_gammas(tmp_path):
    table = np.random.default_rng(1).normal(size=(10, 8)).astype(F32)
    assert audited(tmp_path, with_values(trained(), gamma=table, beta=table))["ok"]
    assert causes(audited(tmp_path, with_values(trained(), gamma=table.T))) == ["wrong-axis"]


# What TensorFlow itself leaves, with the real mistakes.


def network(layers=3):
    x = tf.placeholder(tf.float32, [16, 6])
    y = x
    for i in range(layers):
        y = tf.matmul(tf.tanh(y), np.random.default_rng(i).normal(size=(6, 6)).astype(F32)) if i else y
        y = tf1bn.batch_norm(y, scale=True, decay=0.9, scope=f"net/layer{i}/BatchNorm", is_training=True)
    return x, tf.reduce_mean(tf.square(y - x))


def train(tmp_path, optimizer, updates=True, average=False, restore=None, steps=5):
    """Train for real and save everything; returns the prefix. ``restore`` gives a prefix, and what is restored."""
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(3)
        x, loss = network()
        step = tf.train.get_or_create_global_step()
        wanted = tf.get_collection(tf.GraphKeys.UPDATE_OPS) if updates else []
        with tf.control_dependencies(wanted):
            op = optimizer.minimize(loss, global_step=step)
        if average:
            with tf.control_dependencies([op]):
                op = tf.train.ExponentialMovingAverage(0.9).apply(tf.trainable_variables())
        session.run(tf.global_variables_initializer())
        if restore:
            tf.train.Saver(restore[1]()).restore(session, restore[0])
        rng = np.random.default_rng(4)
        for _ in range(steps):
            session.run(op, {x: rng.normal(1, 2, (16, 6))})
        return tf.train.Saver().save(session, str(tmp_path / f"model-{updates}"), write_meta_graph=False)


OPTIMIZERS = {
    "Adam": lambda: tf.train.AdamOptimizer(0.1),
    "Momentum": lambda: tf.train.MomentumOptimizer(0.1, 0.9),
    "RMSProp": lambda: tf.train.RMSPropOptimizer(0.1, centered=True),
    "Ftrl": lambda: tf.train.FtrlOptimizer(0.1),
    "Adagrad": lambda: tf.train.AdagradOptimizer(0.1),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_trained_for_real(name, tmp_path):
    with played_in("reference"):
        result = well_formed(audit_checkpoint(train(tmp_path, OPTIMIZERS[name]())))
    assert [layer["name"] for layer in result["layers"]] == [f"net/layer{i}/BatchNorm" for i in range(3)]
    assert [layer["causes"] for layer in result["layers"]] == [[], [], []]
    assert result["ok"]
    assert result["notes"] == []


def test_mistakes_made_for_real(tmp_path):
    names = [f"net/layer{i}/BatchNorm" for i in range(3)]
    with played_in("reference"):
        descent = tf.train.GradientDescentOptimizer
        forgotten = well_formed(audit_checkpoint(train(tmp_path, descent(0.1), updates=False)))
        averaged = well_formed(audit_checkpoint(train(tmp_path, descent(0.1), average=True)))
        good = train(tmp_path, descent(0.1))

        def some():
            """All but the statistics of one layer."""
            return [v for v in tf.global_variables() if "layer1" not in v.name or "moving" not in v.name]

        partly = train(tmp_path, descent(0.1), restore=(good, some), steps=0)
        restored = well_formed(audit_checkpoint(partly))
    assert [causes(forgotten, name) for name in names] == [["not-updated"]] * 3
    assert all("at global step 5, though gamma varies by" in layer["explanation"] for layer in forgotten["layers"])
    assert averaged["ok"]
    assert [causes(averaged, name, "advisory") for name in names] == [["shadow-average"]] * 3
    assert [causes(restored, name) for name in names] == [[], ["not-restored", "not-updated"], []]


# Folders.


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


@pytest.mark.parametrize("name", ["model.ckpt", "m.h5", "m.keras", "m.npz", "m.pth", "m.safetensors", "weights"])
def test_a_pointer_of_git_lfs_is_named(name, tmp_path):
    (tmp_path / name).write_bytes(POINTER)
    assert "run `git lfs pull`" in refused(tmp_path / name, f"'{name}' is a pointer of Git LFS")


def test_a_pointer_in_the_place_of_a_data_file_is_named(tmp_path):
    prefix = save(tmp_path, trained(), state=True)
    pathlib.Path(prefix + ".data-00000-of-00001").write_bytes(POINTER)
    for path in (prefix, tmp_path, prefix + ".index"):
        refused(path, "is a pointer of Git LFS")


def test_a_saved_model_is_judged_by_its_variables(tmp_path):
    (tmp_path / "variables").mkdir()
    save(tmp_path / "variables", trained(), name="variables")
    for path in (tmp_path, tmp_path / "variables"):
        result = well_formed(audit_checkpoint(path))
        assert result["ok"]
        assert "is one of a SavedModel" in result["notes"][0]
        assert looks_like_checkpoint(str(path))


def test_a_folder_of_several_checkpoints_lists_them(tmp_path):
    for step in (10, 20):
        save(tmp_path, trained(), name=f"model.ckpt-{step}")
    assert looks_like_checkpoint(str(tmp_path))
    refused(tmp_path, "give one of its prefixes: model.ckpt-10, model.ckpt-20")
    for named, said in (
        ("/gone/run/", "not followed; give that prefix itself, or one"),
        ("m-3", "in the folder; give one"),
    ):
        (tmp_path / "checkpoint").write_text(f'model_checkpoint_path: "{named}"\n')
        refused(tmp_path, f"{said} of the prefixes in the folder: model.ckpt-10, model.ckpt-20")


def test_the_old_form_of_pytorch_is_known_under_any_name(tmp_path):
    data = (pathlib.Path(__file__).parents[1] / "golden/checkpoints-torch/old.pt").read_bytes()
    for name in ("resnet.th", "model.pth.tar", "weights"):
        (tmp_path / name).write_bytes(data)
        assert TORCH.matches(str(tmp_path / name), data[:64])


def test_a_folder_gives_its_latest(tmp_path):
    save(tmp_path, fresh(scope="net/bn"), name="model.ckpt-1", state=True)
    save(tmp_path, trained(), name="model.ckpt-2", state=True)
    result = well_formed(audit_checkpoint(tmp_path))
    assert result["ok"]
    assert "model.ckpt-2', which was judged" in result["notes"][0]


@pytest.mark.parametrize("version", ["V1", "V2"])
def test_a_moved_folder_is_read_where_it_is(version, tmp_path):
    """Absolute paths in a state file of a folder that was moved: what lies there still is not what is judged."""
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    save(old, fresh(scope="net/bn"), version)
    shutil.copytree(old, new)
    save(new, trained(), version)
    (new / "checkpoint").write_text(f'model_checkpoint_path: "{old / "model.ckpt-7"}"\n')
    result = well_formed(audit_checkpoint(str(new)))
    assert result["ok"]
    assert "outside of the folder, which was not followed" in result["notes"][0]


@pytest.mark.parametrize("named", ["{}/old/model.ckpt-7", "../old/model.ckpt-7", "sub/../../old/model.ckpt-7"])
def test_no_path_leaves_the_folder(named, tmp_path):
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    save(tmp_path / "old", trained())
    named = named.format(tmp_path)
    (tmp_path / "new/checkpoint").write_text(f'model_checkpoint_path: "{named}"\n')
    refused(str(tmp_path / "new"), "outside of the folder and not followed; give that prefix itself")
    assert audit_checkpoint(str(tmp_path / "old/model.ckpt-7"))["ok"]


def test_links_out_of_the_folder_are_said(tmp_path):
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    save(tmp_path / "old", trained())
    for file in (tmp_path / "old").iterdir():
        (tmp_path / "new" / file.name).symlink_to(file)
    (tmp_path / "new/checkpoint").write_text('model_checkpoint_path: "model.ckpt-7"\n')
    notes = well_formed(audit_checkpoint(tmp_path / "new"))["notes"]
    assert any("has links to files elsewhere, which were read: model.ckpt-7.index" in note for note in notes)


NAME = 'modèle\'s "1"'


def test_names_in_state_files_are_unescaped(tmp_path):
    prefix = save(tmp_path, trained(), name=NAME, state=True)
    assert audit_checkpoint(prefix)["ok"]
    assert audit_checkpoint(tmp_path)["ok"]
    # As TF1 writes it.
    (tmp_path / "checkpoint").write_bytes(rb'model_checkpoint_path: "mod\303\250le\'s \"1\""')
    assert audit_checkpoint(tmp_path)["ok"]


@pytest.mark.parametrize("ending", [".index", ".data-00000-of-00001", ".meta"])
def test_a_file_of_the_checkpoint_names_it(ending, tmp_path):
    assert audit_checkpoint(save(tmp_path, trained()) + ending)["ok"]


def test_files_of_an_earlier_saving_in_shards_do_not_matter(tmp_path):
    prefix = save(tmp_path, trained())
    pathlib.Path(prefix + ".data-00001-of-00002").write_bytes(b"old")
    assert audit_checkpoint(prefix)["ok"]


def test_a_v1_checkpoint_in_shards(tmp_path):
    with tf.Graph().as_default():
        for name, value in trained().items():
            tf.Variable(value, name=name, use_resource=False)
        saver = tf.train.Saver(sharded=True, write_version=tf.train.SaverDef.V1)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            saver.save(session, str(tmp_path / "model.ckpt"), write_meta_graph=False)
    assert "?????-of-00001" in (tmp_path / "checkpoint").read_text()
    assert well_formed(audit_checkpoint(tmp_path))["ok"]


# Damage.


@pytest.mark.parametrize("path", ["", "nothing-here", "nothing.npz", "no/such/folder/model.ckpt", "a\0b", b"bytes"])
def test_what_is_not_there(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(path, "`path` is ")


def test_a_folder_without_state(tmp_path):
    refused(str(tmp_path), "a folder without a `checkpoint` state file; give a checkpoint's prefix")
    save(tmp_path, trained())
    refused(str(tmp_path), "give one of its prefixes: model.ckpt-7")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (b"", "names no `model_checkpoint_path`"),
        (b"\x00\xff garbage", "names no `model_checkpoint_path`"),
        (b'model_checkpoint_path: ""\n', "names no `model_checkpoint_path`"),
        (b'all_model_checkpoint_paths: "model.ckpt-7"\n', "names no `model_checkpoint_path`"),
        (b'model_checkpoint_path: "model.ckpt-8"\n', "no such checkpoint in the folder"),
    ],
)
def test_damaged_state_files(text, match, tmp_path):
    save(tmp_path, trained())
    (tmp_path / "checkpoint").write_bytes(text)
    refused(str(tmp_path), match)


@pytest.mark.parametrize("keep", [0, 5, 0.5, -1])
@pytest.mark.parametrize("part", ["V1", ".index", ".data-00000-of-00001", ".npz"])
def test_truncated(part, keep, tmp_path):
    variables = {**trained(), "z/kernel": np.ones((64, 64), np.float32)}
    if part == ".npz":
        path = file = npz(tmp_path, variables)
    else:
        path = save(tmp_path, variables, "V1" if part == "V1" else "V2")
        file = path if part == "V1" else path + part
    data = pathlib.Path(file).read_bytes()
    pathlib.Path(file).write_bytes(data[: int(len(data) * keep) if isinstance(keep, float) else keep])
    refused(path, "damaged")


@pytest.mark.parametrize("part", ["V1", ".index", ".data-00000-of-00001", ".npz"])
def test_garbage(part, tmp_path):
    if part == ".npz":
        path = file = npz(tmp_path, trained())
    else:
        path = save(tmp_path, trained(), "V1" if part == "V1" else "V2")
        file = path if part == "V1" else path + part
    size = os.path.getsize(file)
    pathlib.Path(file).write_bytes(np.random.default_rng(1).bytes(size))
    refused(path, "damaged")


@pytest.mark.parametrize("version", ["V1", "V2"])
def test_a_table_that_ends_well_and_is_garbage(version, tmp_path):
    path = save(tmp_path, trained(), version)
    file = pathlib.Path(path if version == "V1" else path + ".index")
    data = file.read_bytes()
    file.write_bytes(np.random.default_rng(2).bytes(len(data) - 48) + data[-48:])
    refused(path, "damaged: .*(checksum|lies outside|bytes long|cut off)")


@pytest.mark.parametrize("form", ["npz", "V2"])
def test_a_flipped_bit_in_the_values_is_seen(form, tmp_path):
    layer = trained()
    path = FORMATS[form](tmp_path, layer)
    file = pathlib.Path(path if form == "npz" else path + ".data-00000-of-00001")
    data, values = bytearray(file.read_bytes()), layer["net/bn/moving_mean"].tobytes()
    data[data.index(values) + 3] ^= 1
    file.write_bytes(data)
    refused(path, "is damaged: .*net/bn/moving_mean")


def test_missing_files(tmp_path):
    path = save(tmp_path, trained())
    os.rename(path + ".data-00000-of-00001", path + ".data-00000-of-00002")
    refused(path, r"the file 'model.ckpt-7.data-00000-of-00001' is missing")
    os.remove(path + ".data-00000-of-00002")
    refused(path, r"the file 'model.ckpt-7.data-00000-of-00001' is missing")
    os.remove(path + ".index")
    refused(path, "no checkpoint with that name or prefix")
    pathlib.Path(path + ".data-00000-of-00001").write_bytes(b"")
    refused(path, r"'model.ckpt-7.data-00000-of-00001' is there, and 'model.ckpt-7.index' not")


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("name", ["net/bn/moving_mean", "params", "net/bn/gamma"])
def test_nothing_is_unpickled(name, tmp_path):
    bomb = np.array([Bomb(str(tmp_path / "exploded"))], dtype=object)
    variables = {name: bomb} if name == "params" else {**trained(), name: bomb}
    np.savez(tmp_path / "model.npz", **variables)
    refused(str(tmp_path / "model.npz"), f"`{name}` .* holds Python objects, which are never unpickled")
    np.savez(tmp_path / "model.npz", **trained(), params=bomb)
    result = well_formed(audit_checkpoint(str(tmp_path / "model.npz")))
    assert result["ok"]
    assert any("not read" in note for note in result["notes"])
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("suffix", [".npz", ".ckpt"])
def test_a_pickle_is_not_read_under_any_name(suffix, tmp_path):
    import pickle

    path = tmp_path / f"model{suffix}"
    path.write_bytes(pickle.dumps(Bomb(str(tmp_path / "exploded"))))
    refused(str(path), "a pickle that `torch.save` did not write, and pickles are never run")
    assert not (tmp_path / "exploded").exists()


def test_other_zip_files(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        archive.writestr("archive/data.pkl", b"x")
    refused(str(tmp_path / "model.pt"), "PyTorch")
    with zipfile.ZipFile(tmp_path / "texts.npz", "w") as archive:
        archive.writestr("read.me", b"x")
    refused(str(tmp_path / "texts.npz"), "a zip file without a single array")
    with zipfile.ZipFile(tmp_path / "bad.npz", "w") as archive:
        archive.writestr("net/bn/gamma.npy", b"no header")
    refused(str(tmp_path / "bad.npz"), "damaged: it is not a whole `.npz` file")
    with zipfile.ZipFile(tmp_path / "two.npz", "w") as archive:
        archive.writestr("net/bn/gamma.npy", b"")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("net/bn/gamma.npy", b"")
    refused(str(tmp_path / "two.npz"), "two of its members have the same name")


def test_a_header_larger_than_memory_is_refused_before_anything_is_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "huge.npz", "w") as archive:
        with archive.open("net/bn/moving_mean.npy", "w") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (10**15,)})
    refused(str(tmp_path / "huge.npz"), "has 1000000000000000 values; at most 1048576 are read")


def test_limits(tmp_path, monkeypatch):
    path = npz(tmp_path, trained())
    prefix = save(tmp_path, trained())
    for name, value, match in (
        ("LONGEST_VECTOR", 7, "has 8 values; at most 7 are read"),
        ("MOST_VALUES", 31, "have more than 31 values"),
        ("MOST_VARIABLES", 3, "more than 3 (arrays|variables)"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(checkpointfiles, name, value)
            refused(path, match)
            refused(prefix, match)
    # As much as is allowed is read, and large tensors that are no vectors of a layer do not count.
    for name, value in (("LONGEST_VECTOR", 8), ("MOST_VALUES", 32), ("MOST_VARIABLES", 4)):
        monkeypatch.setattr(checkpointfiles, name, value)
    assert audit_checkpoint(path)["ok"]
    monkeypatch.setattr(checkpointfiles, "MOST_VARIABLES", 5)
    assert audit_checkpoint(npz(tmp_path, trained() | {"kernel": np.ones((9, 9))}))["ok"]


def test_a_path_that_looks_like_a_pattern(tmp_path):
    """TensorFlow would take it for one, and read other files."""
    (tmp_path / "run[1]").mkdir()
    prefix = save(tmp_path, trained())
    for file in tmp_path.glob("model*"):
        shutil.copy(file, tmp_path / "run[1]")
    assert audit_checkpoint(str(tmp_path / "run[1]" / os.path.basename(prefix)))["ok"]
    assert audit_checkpoint(npz(tmp_path / "run[1]", trained()))["ok"]


# Without TensorFlow.

BLOCKED = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "keras"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
from tf1bn.checkpoints import CheckpointError, audit_checkpoint
for path in sys.argv[1:]:
    try:
        print(audit_checkpoint(path)["ok"])
    except CheckpointError as error:
        print(error)
assert "tensorflow" not in sys.modules
"""


def test_without_tensorflow(tmp_path):
    short = tmp_path / "short.ckpt"
    short.write_bytes((FOLDER / "fused_gamma-V1").read_bytes()[:100])
    paths = [npz(tmp_path, trained()), str(FOLDER / "fused"), str(FOLDER / "fused_gamma-V1"), str(short)]
    command = [sys.executable, "-c", textwrap.dedent(BLOCKED), *paths]
    lines = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.splitlines()
    assert lines[:3] == ["True"] * 3
    assert "damaged" in lines[3]
    assert len(lines) == 4
