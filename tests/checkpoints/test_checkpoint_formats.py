"""Checkpoints of Keras and PyTorch: made by Keras in the tests, and recorded from PyTorch; hostile and damaged ones."""

import inspect
import io
import json
import os
import pathlib
import pickle
import re
import struct
import subprocess
import sys
import zipfile

import h5py
import keras
import numpy as np
import pytest
import tiers
from golden.record import torch_checkpoints as golden

from tf1bn.checkpoints import CheckpointError, audit_checkpoint, open_checkpoint, opening
from tf1bn.checkpoints import audit as checkpoints
from tf1bn.checkpoints.formats import safetensors as safetensors_format
from tf1bn.checkpoints.formats.keras import archive as checkpointkeras
from tf1bn.checkpoints.formats.keras import hdf5 as checkpointh5
from tf1bn.checkpoints.formats.keras import sandbox
from tf1bn.checkpoints.grouping import group
from tf1bn.parity.checkpoints import compare as checkpointparity

TORCH = pathlib.Path(golden.FOLDER)
ROOT = TORCH.parents[2]
# Keras turns its own variables into arrays in a way that NumPy 2 warns about.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
L = keras.layers
F32 = np.float32


def read(path):
    """The values of every layer by role, its declared settings, and the notes and problems."""
    with open_checkpoint(str(path)) as checkpoint:
        layers, notes = group(checkpoint.variables)
        values = {layer.name: checkpoints.read_values(checkpoint, layer) for layer in layers}
        return values, checkpoint.declared, [*checkpoint.notes, *notes], checkpoint.problems


def refused(path, match):
    with pytest.raises(CheckpointError, match=match) as caught:
        read(path)
    one_sentence(caught.value)


def one_sentence(error):
    text = str(error)
    assert re.fullmatch(r"(`|The |None |[A-Z]).*\.", text), text
    assert "\n" not in text
    assert "Traceback" not in text


def fill(model, seed=0):
    """Give every batch norm of a model its own values; returns them by the layer's name."""
    rng, found = np.random.default_rng(seed), {}
    for layer in model._flatten_layers():
        if isinstance(layer, L.BatchNormalization) and layer.built:
            values = {v.name: rng.uniform(0.5, 3, v.shape).astype(F32) for v in layer.variables}
            for variable in layer.variables:
                variable.assign(values[variable.name])
            roles = {"moving_mean": "mean", "moving_variance": "variance"}
            found[layer.name] = {roles.get(name, name): value for name, value in values.items()}
    return found


def assert_read(found, expected):
    """The layer has the values of each role, and none that it should not have."""
    assert {key.rpartition("/")[2] for key in found} == set(expected)
    for key, values in found.items():
        np.testing.assert_array_equal(values, expected[key.rpartition("/")[2]])


# Keras.


# Keras 3.12, the last that installs on Python 3.10, has none.
RENORM = "renorm" in inspect.signature(L.BatchNormalization.__init__).parameters


def sequential():
    return keras.Sequential(
        [
            L.Input((8, 8, 3)),
            L.Conv2D(4, 3),
            L.BatchNormalization(name="first"),
            L.ReLU(),
            L.Conv2D(5, 3),
            L.BatchNormalization(scale=False, epsilon=1e-5, momentum=0.9, name="no_gamma"),
            L.BatchNormalization(center=False, name="no_beta"),
            L.BatchNormalization(center=False, scale=False, axis=1, name="neither"),
            *([L.BatchNormalization(renorm=True, name="renormed")] if RENORM else []),
            *([L.BatchNormalization(renorm=True, scale=False, name="renormed_no_gamma")] if RENORM else []),
            L.BatchNormalization(trainable=False, name="frozen"),
            L.LayerNormalization(),
            L.GroupNormalization(groups=1),
        ]
    )


RENORMED = ["renormed", "renormed_no_gamma"] if RENORM else []
SEQUENTIAL = ["first", "no_gamma", "no_beta", "neither", *RENORMED, "frozen"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The sequential model after compiling, as all three kinds of file, and its values."""
    folder = tmp_path_factory.mktemp("keras")
    model = sequential()
    model.compile("adam", "mse")
    model.fit(np.zeros((2, 8, 8, 3)), np.zeros((2, *model.output_shape[1:])), verbose=0)
    values = fill(model)
    model.save(folder / "model.keras")
    model.save_weights(folder / "model.weights.h5")
    model.save(folder / "model.h5")
    return folder, values


def test_a_keras_file_with_all_kinds_of_layers(saved):
    folder, values = saved
    found, declared, notes, problems = read(folder / "model.keras")
    assert sorted(found) == sorted(SEQUENTIAL)
    for name in SEQUENTIAL:
        assert_read(found[name], values[name])
    assert declared["first"] | {"epsilon": 1e-3, "decay": 0.99, "axis": -1, "scale": True} == declared["first"]
    no_gamma = {"name": "no_gamma", "epsilon": 1e-5, "decay": 0.9, "axis": -1, "scale": False, "center": True}
    assert declared["no_gamma"] == {**no_gamma, "renorm": False}
    assert declared["neither"]["axis"] == 1
    assert (notes, problems) == ([], [])
    result = audit_checkpoint(str(folder / "model.keras"))
    assert result["ok"]
    assert all(layer["causes"] == [] for layer in result["layers"])


def test_a_weights_file_says_all_but_whether_one_parameter_is_gamma_or_beta(saved):
    folder, values = saved
    found, declared, notes, problems = read(folder / "model.weights.h5")
    assert sorted(found) == sorted(SEQUENTIAL)
    for name in SEQUENTIAL:
        lone = [role for role in ("gamma", "beta") if role in values[name]]
        own = dict(values[name])
        if len(lone) == 1:
            own["affine"] = own.pop(lone[0])
        assert_read(found[name], own)
    unclear = ["no_beta", "no_gamma", *RENORMED[1:]]
    assert len(notes) == len(unclear)
    assert all(f"`{name}` has one parameter" in note for name, note in zip(unclear, sorted(notes), strict=True))
    assert (declared, problems) == ({}, [])
    result = audit_checkpoint(str(folder / "model.weights.h5"))
    assert result["ok"]
    advised = {layer["name"]: len(layer["causes"]) for layer in result["layers"]}
    assert advised == {**dict.fromkeys(SEQUENTIAL, 0), "neither": 1}


def test_the_older_form_has_names(saved):
    folder, values = saved
    found, declared, _, _ = read(folder / "model.h5")
    names = {name: name.rpartition("/")[2] for name in found}
    assert sorted(names.values()) == sorted(SEQUENTIAL)
    for name, last in names.items():
        assert_read(found[name], values[last])
        assert declared[name]["name"] == last
    assert next(declared[n]["epsilon"] for n, last in names.items() if last == "no_gamma") == 1e-5


def test_keras_2_named_variables_twice(tmp_path):
    """The form that Keras 2 wrote: LAYER/LAYER/gamma:0 under model_weights or at the top, nested models by name."""
    values = {word: np.random.default_rng(0).uniform(1, 2, 4).astype(F32) for word in ("gamma", "beta", "moving_mean")}
    values["moving_variance"] = values["gamma"] + 1
    for top in ("", "model_weights/"):
        path = tmp_path / f"{len(top)}.h5"
        with h5py.File(path, "w") as file:
            file.require_group(top or "/").attrs["layer_names"] = [b"bn", b"model_1"]
            for word, value in values.items():
                file[f"{top}bn/bn/{word}:0"] = value
                file[f"{top}model_1/inner_bn/{word}:0"] = value
            file["optimizer_weights/bn/moving_mean:0"] = np.zeros(4)
        found, _, notes, _ = read(path)
        assert sorted(found) == ["bn", "model_1/inner_bn"]
        assert notes == []
        for own in found.values():
            np.testing.assert_array_equal(own["variance"], values["moving_variance"])


@keras.saving.register_keras_serializable("formats")
class Block(L.Layer):
    """Batch norms as an attribute, in a list, in a dict and in a wrapper."""

    def build(self, shape):
        self.norm = L.BatchNormalization()
        self.norms = [L.BatchNormalization() for _ in range(2)]
        self.by_name = {"a": L.BatchNormalization(scale=False), "b": L.BatchNormalization()}
        self.own = MyBN(name="own_name")
        for layer in (self.norm, *self.norms, *self.by_name.values(), self.own):
            layer.build(shape)

    def call(self, x):
        for layer in (self.norm, *self.norms, *self.by_name.values(), self.own):
            x = layer(x)
        return x


@keras.saving.register_keras_serializable("formats")
class MyBN(L.BatchNormalization):
    pass


def test_nested_models_and_layers_of_layers(tmp_path):
    inner = keras.Sequential([L.Input((6,)), L.Dense(4), L.BatchNormalization(name="bn", epsilon=1e-4)], name="inner")
    x = keras.Input((6,))
    y = L.BatchNormalization(name="outer_bn", momentum=0.5)(inner(x))
    y = L.Reshape((1, 4))(y)
    y = L.TimeDistributed(L.BatchNormalization(name="timed", center=False))(y)
    y = Block(name="block")(y)
    model = keras.Model(x, MyBN(name="mine", scale=False)(y))
    values = fill(model)
    model.save(tmp_path / "model.keras")
    found, declared, notes, problems = read(tmp_path / "model.keras")
    places = {
        "sequential/bn": "bn",
        "outer_bn": "outer_bn",
        "time_distributed/timed": "timed",
        "mine": "mine",
        "block/own_name": "own_name",
    }
    for place, name in places.items():
        assert_read(found[place], values[name])
    inside = {"block/norm", "block/norms/batch_normalization", "block/norms/batch_normalization_1"}
    inside |= {"block/by_name/batch_normalization", "block/by_name/batch_normalization_1"}
    assert set(found) == inside | set(places)
    by_values = {own["mean"].tobytes() for name, own in found.items() if name in inside}
    assert len(by_values) == 5
    assert by_values <= {own["mean"].tobytes() for own in values.values()}
    assert declared["sequential/bn"]["epsilon"] == 1e-4
    assert declared["outer_bn"]["decay"] == 0.5
    assert declared["mine"]["scale"] is False
    # The configuration of a layer does not say what layers it makes.
    assert not inside & set(declared)
    assert len(notes) == 2
    assert "`block/by_name/batch_normalization` has one parameter" in notes[0]
    assert "`layers/block/own` hold four vectors of one length, and were taken for batch norms" in notes[1]
    assert problems == []


def test_a_subclassed_model(tmp_path):
    class Model(keras.Model):
        def build(self, shape):
            self.block, self.norm = Block(), L.BatchNormalization(name="norm")
            self.block.build(shape)
            self.norm.build(shape)

        def call(self, x):
            return self.norm(self.block(x))

    model = Model()
    model.build((2, 3))
    values = fill(model)
    model.save_weights(tmp_path / "model.weights.h5")
    found, _, _, _ = read(tmp_path / "model.weights.h5")
    assert {"norm", "block/norm", "block/own_name"} <= set(found)
    assert len(found) == 7
    assert_read(found["norm"], values["norm"])


def test_keras_of_before_names(tmp_path, saved):
    """Older Keras 3 wrote no names beside the numbers; the configuration has them by place."""
    folder, values = saved
    with zipfile.ZipFile(folder / "model.keras") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    weights = io.BytesIO(parts["model.weights.h5"])
    with h5py.File(weights, "r+") as file:
        file.visititems(lambda _, item: item.attrs.pop("name", None) and None)
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        for name, data in {**parts, "model.weights.h5": weights.getvalue()}.items():
            archive.writestr(name, data)
    found, declared, _, _ = read(tmp_path / "model.keras")
    assert sorted(setting["name"] for setting in declared.values()) == sorted(SEQUENTIAL)
    for name, own in found.items():
        assert_read(own, values[declared[name]["name"]])


@pytest.mark.parametrize("dtype", tiers.slow_but([], ["float16", "bfloat16", "float64"]))
def test_dtypes_of_keras(dtype, tmp_path):
    model = keras.Sequential([L.Input((6,)), L.BatchNormalization(dtype=dtype, name="bn")])
    values = fill(model)["bn"]
    for ending in (".keras", ".weights.h5", ".h5"):
        path = tmp_path / f"model{ending}"
        model.save_weights(path) if ending == ".weights.h5" else model.save(path)
        with open_checkpoint(str(path)) as checkpoint:
            (layer,) = group(checkpoint.variables)[0]
            assert set(checkpoints.stored(checkpoint, layer).values()) == {dtype}
            for role, value in checkpoints.read_values(checkpoint, layer).items():
                held = keras.ops.convert_to_numpy(keras.ops.cast(values[role], dtype)).astype(np.float64)
                np.testing.assert_array_equal(value.astype(np.float64), held)
        causes = [cause["id"] for cause in audit_checkpoint(str(path))["layers"][0]["causes"]]
        assert causes == (["half-precision"] if "16" in dtype else [])


def test_a_compressed_keras_file(tmp_path, saved):
    folder, values = saved
    with zipfile.ZipFile(folder / "model.keras") as archive:
        with zipfile.ZipFile(tmp_path / "model.keras", "w", zipfile.ZIP_DEFLATED) as packed:
            for name in archive.namelist():
                packed.writestr(name, archive.read(name))
    found, _, _, _ = read(tmp_path / "model.keras")
    assert_read(found["first"], values["first"])
    # Whatever the file is called.
    os.rename(tmp_path / "model.keras", tmp_path / "model.bin")
    assert read(tmp_path / "model.bin")[0].keys() == found.keys()


def numbered(path, **groups):
    """A file in the form of Keras 3, each group with vectors of the values given."""
    with h5py.File(path, "w") as file:
        for name, vectors in groups.items():
            for i, value in enumerate(vectors):
                file[f"layers/{name}/vars/{i}"] = value
    return path


VECTOR = np.linspace(1, 2, 4, dtype=F32)


def test_numbers_without_names(tmp_path):
    """Four equal vectors are taken for a batch norm and that is said; other numbers need a name that tells."""
    found, _, notes, problems = read(
        numbered(
            tmp_path / "a.weights.h5",
            thing=[VECTOR, VECTOR + 1, VECTOR + 2, VECTOR + 3],
            thing_1=[VECTOR] * 3,
            thing_2=[VECTOR],
            thing_3=[VECTOR, VECTOR, VECTOR, VECTOR[:2]],
            layer_normalization=[VECTOR] * 2,
            dense=[VECTOR, VECTOR],
            batch_normalization=[VECTOR, VECTOR + 1],
        )
    )
    assert sorted(found) == ["batch_normalization", "thing"]
    np.testing.assert_array_equal(found["thing"]["variance"], VECTOR + 3)
    np.testing.assert_array_equal(found["batch_normalization"]["mean"], VECTOR)
    assert any("`layers/thing` hold four vectors" in note for note in notes)
    assert any("`layers/thing_1` hold vectors of one length and could be" in note for note in notes)
    assert problems == []


@pytest.mark.parametrize("count", [1, 8])
def test_a_batch_norm_with_other_variables_is_a_problem(count, tmp_path):
    path = numbered(tmp_path / "a.weights.h5", batch_normalization=[VECTOR] * count, bn=[VECTOR, VECTOR + 1])
    result = audit_checkpoint(str(path))
    (problem,) = result["problems"]
    assert "`layers/batch_normalization` is a batch norm by its name" in problem
    assert not result["ok"]
    assert [layer["name"] for layer in result["layers"]] == ["bn"]


def test_a_hole_in_the_numbers_is_a_problem(tmp_path):
    path = numbered(tmp_path / "a.weights.h5", batch_normalization=[VECTOR] * 4)
    with h5py.File(path, "r+") as file:
        file.move("layers/batch_normalization/vars/1", "layers/batch_normalization/vars/4")
    (problem,) = audit_checkpoint(str(path))["problems"]
    assert "number 0, 2, 3, 4" in problem


def test_a_configuration_that_does_not_fit_is_a_problem(saved, tmp_path):
    with zipfile.ZipFile(saved[0] / "model.keras") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(parts["config.json"])
    (own,) = (layer["config"] for layer in config["config"]["layers"] if layer["config"]["name"] == "first")
    own["scale"] = False
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        for name, data in {**parts, "config.json": json.dumps(config)}.items():
            archive.writestr(name, data)
    (problem,) = audit_checkpoint(str(tmp_path / "model.keras"))["problems"]
    assert "by its configuration, and its variables are number 0, 1, 2, 3 where 3 are expected" in problem


def test_any_other_hdf5_file_is_read_by_its_names(tmp_path):
    with h5py.File(tmp_path / "own.h5", "w") as file:
        file["net/bn/running_mean"], file["net/bn/running_var"] = VECTOR, VECTOR + 1
    assert list(read(tmp_path / "own.h5")[0]) == ["net/bn"]


# PyTorch.

EXPECTED = json.loads((TORCH / "expected.json").read_text("ascii"))["values"]
ROLES = {"weight": "gamma", "bias": "beta", "running_mean": "mean", "running_var": "variance"}


def expected(layer, factor=None):
    values = {}
    for name, numbers in EXPECTED.items():
        scope, _, word = name.rpartition(".")
        if scope == layer:
            exact = np.array([float.fromhex(number) for number in numbers], F32)
            values[ROLES[word]] = exact if factor is None else exact * F32(factor)
    return values


def test_the_recordings_are_small():
    assert sum(path.stat().st_size for path in TORCH.iterdir()) < 50_000
    assert set(expected("1")) == {"gamma", "beta", "mean", "variance"}
    assert set(expected("2.0")) == {"mean", "variance"}


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("plain.safetensors", ""),
        ("plain.pt", ""),
        ("old.pt", ""),
        ("wrapped.pth", "module."),
    ],
)
def test_state_dicts(name, prefix):
    found, _, notes, _ = read(TORCH / name)
    assert sorted(found) == [f"{prefix}1", f"{prefix}2.0"]
    for layer in ("1", "2.0"):
        assert_read(found[prefix + layer], expected(layer))
    said = {
        "wrapped.pth": ["The state dict under 'state_dict' was judged as the model."],
        "old.pt": ["The file is in the form of PyTorch before 1.6, which has no checksums."],
    }
    assert notes == said.get(name, [])
    assert audit_checkpoint(str(TORCH / name))["ok"]


@pytest.mark.parametrize("name", ["bfloat16.safetensors", "bfloat16.pt"])
def test_bfloat16(name):
    found, _, _, _ = read(TORCH / name)
    for role, exact in expected("1").items():
        np.testing.assert_allclose(found["1"][role].astype(np.float64), exact, rtol=2**-8)
    result = audit_checkpoint(str(TORCH / name))
    assert [cause["id"] for cause in result["layers"][0]["causes"]] == ["half-precision"]
    assert "stored as bfloat16" in result["layers"][0]["explanation"]


def test_several_state_dicts_keep_their_keys():
    found, _, _, _ = read(TORCH / "two.pt")
    assert sorted(found) == ["discriminator.1", "discriminator.2.0", "generator.1", "generator.2.0"]
    assert_read(found["generator.1"], expected("1"))
    np.testing.assert_array_equal(found["discriminator.1"]["mean"], expected("1", 0.9)["mean"])


def test_averages_are_twins():
    found, _, notes, _ = read(TORCH / "averages.pt")
    assert sorted(found) == ["1", "2.0"]
    assert_read(found["1"], expected("1"))
    assert any("`model_ema` was taken for moving averages" in note for note in notes)
    result = audit_checkpoint(str(TORCH / "averages.pt"))
    assert result["ok"]
    assert result["layers"][0]["causes"][0]["id"] == "shadow-average"


def test_a_whole_model_is_read_and_not_unpickled():
    found, declared, _, _ = read(TORCH / "whole.pt")
    assert sorted(found) == ["1", "2.0"]
    assert_read(found["1"], expected("1"))
    assert_read(found["2.0"], expected("2.0"))
    assert declared["1"] == {"scale": True, "center": True, "statistics": True, "epsilon": 1e-5, "decay": 0.9}
    assert declared["2.0"] == {**declared["1"], "scale": False, "center": False}
    # Nothing is missing from a layer that was built without gamma and beta.
    assert [layer["causes"] for layer in audit_checkpoint(str(TORCH / "whole.pt"))["layers"]] == [[], []]


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "zipped.pt", "model.keras", "model.h5", "model.safetensors"])
def test_no_pickle_runs(name, tmp_path):
    path = tmp_path / name
    data = pickle.dumps({"net.bn.running_mean": Bomb(str(tmp_path / "exploded"))}, protocol=2)
    if name.startswith("zipped"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a/data.pkl", data)
            archive.writestr("a/version", b"3\n")
    else:
        path.write_bytes(data)
    if name.startswith("zipped"):
        result = audit_checkpoint(str(path))
        assert not result["ok"]
        assert not result["layers"]
        assert re.search(r"would call `\w+.open` as well; nothing of that was run", " ".join(result["notes"]))
    else:
        refused(path, "a pickle that `torch.save` did not write, and pickles are never run")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.torch
def test_tensors_that_are_no_plain_vectors(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch, which reads .pt files, is not installed")
    ones = torch.ones(4)
    torch.save({"bn.running_mean": ones[:1].expand(4), "bn.running_var": torch.arange(8.0)[::2]}, tmp_path / "a.pt")
    found, _, _, _ = read(tmp_path / "a.pt")
    np.testing.assert_array_equal(found["bn"]["mean"], np.ones(4))
    np.testing.assert_array_equal(found["bn"]["variance"], [0, 2, 4, 6])
    torch.save({"bn.running_mean": ones[:1].expand(10**12), "bn.running_var": ones}, tmp_path / "b.pt")
    refused(tmp_path / "b.pt", "has 1000000000000 values; at most 1048576 are read")
    torch.save({"bn.running_mean": ones.to_sparse(), "bn.running_var": ones}, tmp_path / "c.pt")
    refused(tmp_path / "c.pt", "is a sparse, quantized or otherwise special tensor, which is not read")
    torch.save(ones, tmp_path / "d.pt")
    assert audit_checkpoint(str(tmp_path / "d.pt"))["problems"]
    deep = {"bn.running_mean": ones}
    for _ in range(20):
        deep = {"k": deep}
    torch.save(deep, tmp_path / "e.pt")
    refused(tmp_path / "e.pt", "nested more than 8 deep")


# Hostile and damaged files.


def header(path, entries, data=b"", size=None):
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    path.write_bytes(struct.pack("<Q", len(text) if size is None else size) + text + data)
    return path


ENTRY = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    ("entries", "data", "size"),
    [
        ({"bn.running_mean": {**ENTRY, "shape": [10**18]}}, b"\0" * 4, None),
        ({"bn.running_mean": {**ENTRY, "shape": [-1]}}, b"\0" * 4, None),
        ({"bn.running_mean": ENTRY}, b"", None),
        ({"bn.running_mean": ENTRY}, b"\0" * 8, None),
        ({"bn.running_mean": {**ENTRY, "dtype": "X"}}, b"\0" * 4, None),
        ({"bn.running_mean": {**ENTRY, "data_offsets": [4, 0]}}, b"\0" * 4, None),
        (b"{}", b"", 2**62),
        (b"[[", b"", None),
        (b"[" * 100_000, b"", None),
        (b"\xff\xfe", b"", None),
        (b"", b"", None),
    ],
)
def test_headers_of_safetensors(entries, data, size, tmp_path):
    refused(header(tmp_path / "a.safetensors", entries, data, size), "damaged: it is not a whole safetensors file")


def test_a_name_that_stands_twice_in_a_header(tmp_path):
    one = json.dumps(ENTRY)
    text = f'{{"bn.running_mean": {one}, "bn.running_mean": {one}}}'.encode()
    refused(header(tmp_path / "a.safetensors", text, b"\0" * 4), "a name occurs twice in its header")


def test_a_header_that_is_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(safetensors_format, "LARGEST_HEADER", 10)
    refused(TORCH / "plain.safetensors", "header has more than 10 bytes")


def test_links_and_values_elsewhere_are_not_followed(tmp_path):
    other = numbered(tmp_path / "other.h5", bn=[VECTOR] * 4)
    with h5py.File(tmp_path / "external.h5", "w") as file:
        file["layers/bn/vars"] = h5py.ExternalLink(str(other), "/layers/bn/vars")
    refused(tmp_path / "external.h5", "`layers/bn/vars` .* is an external link, which is not followed")
    with h5py.File(numbered(tmp_path / "soft.h5", bn=[VECTOR] * 4), "r+") as file:
        file["layers/bn_1"] = h5py.SoftLink("/layers/bn")
    refused(tmp_path / "soft.h5", "`layers/bn_1` .* is a soft link")
    with h5py.File(numbered(tmp_path / "cycle.h5", bn=[VECTOR] * 4), "r+") as file:
        file["layers/bn/again"] = file["layers"]
    refused(tmp_path / "cycle.h5", "another group under a second name")
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        layout = h5py.VirtualLayout((4,), "f4")
        layout[:] = h5py.VirtualSource(str(other), "layers/bn/vars/0", (4,))
        file.create_virtual_dataset("bn/moving_mean", layout)
    refused(tmp_path / "virtual.h5", "keeps its values in other files")
    (tmp_path / "raw").write_bytes(VECTOR.tobytes())
    with h5py.File(tmp_path / "raw.h5", "w") as file:
        file.create_dataset("bn/moving_mean", (4,), "f4", external=[(str(tmp_path / "raw"), 0, 16)])
    refused(tmp_path / "raw.h5", "keeps its values in other files")


@pytest.mark.slow
def test_absurd_datasets(tmp_path, monkeypatch):
    with h5py.File(tmp_path / "shape.h5", "w") as file:
        file.create_dataset("bn/moving_mean", (10**15,), "f8", chunks=(1024,), compression="gzip")
        file["bn/moving_variance"] = VECTOR
    refused(tmp_path / "shape.h5", "has 1000000000000000 values; at most")
    with h5py.File(tmp_path / "chunk.h5", "w") as file:
        file.create_dataset("bn/moving_mean", (4,), "f8", chunks=(2**25,), maxshape=(None,), compression="gzip")
        file["bn/moving_variance"] = VECTOR
    refused(tmp_path / "chunk.h5", "is stored in blocks of 268435456 bytes; not unpacked")
    with h5py.File(tmp_path / "deep.h5", "w") as file:
        file["/".join("a" * 80) + "/bn/moving_mean"] = VECTOR
    refused(tmp_path / "deep.h5", "nested more than 64 deep")
    monkeypatch.setattr(checkpointh5, "MOST_VARIABLES", 3)
    refused(numbered(tmp_path / "many.h5", bn=[VECTOR] * 4), "more than .* or 3 variables")
    monkeypatch.setattr(checkpointh5, "MOST_GROUPS", 2)
    refused(tmp_path / "many.h5", "more than 2 groups")


def test_packed_datasets_are_read(tmp_path):
    with h5py.File(tmp_path / "packed.h5", "w") as file:
        for i, word in enumerate(("moving_mean", "moving_variance")):
            options = {"compression": "gzip", "shuffle": True, "fletcher32": True, "chunks": (2,)}
            file.create_dataset(f"bn/{word}", data=VECTOR + i, **options)
    np.testing.assert_array_equal(read(tmp_path / "packed.h5")[0]["bn"]["variance"], VECTOR + 1)


def test_what_holds_no_numbers_is_said(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["bn/moving_mean"] = np.array([b"text"])
        file["bn/moving_variance"] = h5py.Empty("f4")
        file["bn/gamma"] = VECTOR
    _, _, notes, _ = read(tmp_path / "a.h5")
    assert any("`bn/moving_mean` holds bytes" in note for note in notes)


def keras_zip(path, how=zipfile.ZIP_STORED, **members):
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "."), data)
    return path


@pytest.mark.slow
def test_archives_that_keras_did_not_write(tmp_path, monkeypatch):
    refused(keras_zip(tmp_path / "a.keras", metadata__json=b"{}"), "holds no 'model.weights.h5'")
    refused(
        keras_zip(tmp_path / "b.keras", model__weights__json=b"{}"), "but 'model.weights.json'; save the weights in one"
    )
    refused(keras_zip(tmp_path / "c.keras", model__weights__h5=b"no"), "not a whole HDF5 file")
    with open(numbered(tmp_path / "w.h5", bn=[VECTOR] * 4), "rb") as file:
        weights = file.read()
    whole = keras_zip(tmp_path / "d.keras", model__weights__h5=weights)
    assert list(read(whole)[0]) == ["bn"]
    refused(keras_zip(tmp_path / "e.keras", model__weights__h5=weights, config__json=b"{"), "config.json is not JSON")
    deep = b"[" * 100_000
    refused(keras_zip(tmp_path / "f.keras", model__weights__h5=weights, config__json=deep), "config.json is not JSON")
    for config in (b"[]", b"3", b'{"config": 3}', b'{"config": {"layers": [3, {"class_name": "A"}, {"config": []}]}}'):
        assert list(read(keras_zip(tmp_path / "g.keras", model__weights__h5=weights, config__json=config))[0]) == ["bn"]
    with zipfile.ZipFile(tmp_path / "h.keras", "w") as archive:
        archive.writestr("model.weights.h5", weights)
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("model.weights.h5", weights)
    refused(tmp_path / "h.keras", "two of its members have the same name")
    monkeypatch.setattr(checkpointkeras, "LARGEST_UNPACKED", 1000)
    monkeypatch.setattr(checkpointkeras, "LARGEST_CONFIG", 10)
    bomb = keras_zip(tmp_path / "i.keras", zipfile.ZIP_DEFLATED, model__weights__h5=bytes(10**6))
    refused(bomb, "compressed and 1000000 bytes long; at most 1000 are unpacked")
    refused(
        keras_zip(tmp_path / "j.keras", model__weights__h5=weights, config__json=b" " * 11), "has more than 10 bytes"
    )


def test_a_compressed_archive_of_pytorch_is_a_bomb(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(10**6))
    refused(tmp_path / "a.pt", "a compressed zip file, as `torch.save` writes none")


@pytest.mark.parametrize("ending", tiers.slow_but([".keras", ".npz", ".pt"], opening.ENDINGS))
def test_what_is_not_there_and_what_is_nothing(ending, tmp_path):
    refused(tmp_path / f"none{ending}", "there is no such file")
    for data in (b"", b"x", bytes(1000), np.random.default_rng(0).bytes(1000)):
        (tmp_path / f"a{ending}").write_bytes(data)
        refused(tmp_path / f"a{ending}", "damaged|neither|more than tensors|holds no graph of TensorFlow")


def damages(data, seed):
    """A seeded damage: cut, bits flipped, a part zeroed, random or doubled."""
    rng = np.random.default_rng(seed)
    data, kind = bytearray(data), seed % 5
    at = int(rng.integers(len(data)))
    size = int(rng.integers(1, 1 + min(64, len(data) - at)))
    if kind == 0:
        del data[at:]
    elif kind == 1:
        for place in rng.integers(len(data), size=rng.integers(1, 9)):
            data[place] ^= 1 << int(rng.integers(8))
    elif kind == 2:
        data[at : at + size] = bytes(size)
    elif kind == 3:
        data[at : at + size] = rng.bytes(size)
    else:
        data[at:at] = data[at : at + size]
    return bytes(data)


@pytest.fixture(scope="module")
def whole_files(saved):
    files = {name: (saved[0] / name).read_bytes() for name in ("model.keras", "model.weights.h5", "model.h5")}
    files |= {name: (TORCH / name).read_bytes() for name in ("plain.safetensors", "plain.pt", "old.pt")}
    return files


# Each file of HDF5 is opened in a process of its own first.
FILES = tiers.slow_but(["plain.safetensors"], ["model.keras", "model.weights.h5", "model.h5", "plain.safetensors"])
FILES += ["plain.pt", "old.pt"]


@pytest.mark.parametrize("name", FILES)
def test_seeded_damages(name, whole_files, tmp_path, monkeypatch):
    """Each is read or refused in one sentence, and what is read is well formed."""
    # HDF5's library goes round for ever on some of them.
    monkeypatch.setattr(sandbox, "LEAST_SECONDS", 5)
    seeds = 30 if name.endswith(("h5", "keras")) else 200
    outcomes = {"read": 0, "refused": 0}
    for seed in range(seeds):
        (tmp_path / name).write_bytes(damages(whole_files[name], seed))
        try:
            result = audit_checkpoint(str(tmp_path / name))
        except CheckpointError as error:
            one_sentence(error)
            outcomes["refused"] += 1
        else:
            json.dumps(result, allow_nan=False)
            outcomes["read"] += 1
    assert min(outcomes.values()) > 0, outcomes


# Without the packages.

BLOCKED = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "keras", "h5py", "safetensors", "torch"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
from tf1bn.checkpoints import CheckpointError, audit_checkpoint
for path in sys.argv[1:]:
    try:
        print(audit_checkpoint(path)["ok"])
    except CheckpointError as error:
        print(error)
"""


def test_each_missing_package_is_named(saved, tmp_path):
    names = ["model.keras", "model.weights.h5", "model.h5"]
    paths = [str(saved[0] / name) for name in names] + [str(TORCH / "plain.safetensors"), str(TORCH / "plain.pt")]
    command = [sys.executable, "-c", BLOCKED, *paths]
    lines = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.splitlines()
    wanted = ["h5py"] * 3 + ["safetensors"]
    assert len(lines) == len(wanted) + 1
    for line, package in zip(lines, wanted, strict=False):
        assert f"`pip install {package}`" in line
    # Files of PyTorch need none.
    assert lines[-1] == "True"


def test_no_keras_is_needed(saved):
    code = (
        "import sys; from tf1bn.checkpoints import audit_checkpoint;"
        "print([audit_checkpoint(path)['ok'] for path in sys.argv[1:]], 'keras' in sys.modules, 'torch' in sys.modules)"
    )
    paths = [str(saved[0] / "model.keras"), str(TORCH / "plain.safetensors")]
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split("\n")[0] == "[True, True] False False"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import os; os.kill(os.getpid(), 11)", r"the library that reads it failed on it \(status -11\)"),
        ("while True: pass", "did not return within 1 seconds"),
    ],
)
def test_a_library_that_crashes_or_never_ends_does_it_elsewhere(code, said, whole_files, tmp_path, monkeypatch):
    (tmp_path / "a.h5").write_bytes(whole_files["model.h5"])
    monkeypatch.setattr(sandbox, "LEAST_SECONDS", 1)
    monkeypatch.setattr(sandbox, "_CODE", code)
    refused(tmp_path / "a.h5", said)


# Across formats.


def by_layer(path, values):
    """The same layers as an .npz file with TF1's names."""
    roles = {"mean": "moving_mean", "variance": "moving_variance"}
    arrays = {f"{layer}/{roles.get(role, role)}": a for layer, held in values.items() for role, a in held.items()}
    np.savez(path, **arrays)
    return str(path)


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_keras_files_hold_what_an_npz_of_their_values_holds(name, saved, tmp_path):
    folder, values = saved
    plain = {layer: held for layer, held in values.items() if "renorm" not in layer}
    other = {layer: dict(held) for layer, held in plain.items()}
    other["first"]["variance"] = (other["first"]["variance"] * np.float64(16 / 15)).astype(F32)
    for held, verdict in ((plain, "ok"), (other, "finding")):
        result = checkpointparity.compare_checkpoints(by_layer(tmp_path / "a.npz", held), str(folder / name))
        layers = {layer["name"]: layer for layer in result["layers"] if layer["old"] is not None}
        assert sorted(layers) == sorted(plain)
        assert {layers[other]["verdict"] for other in plain if other != "first"} == {"ok"}
        assert layers["first"]["verdict"] == verdict
    assert layers["first"]["causes"][0]["id"] == "no-bessel"


@pytest.mark.parametrize("name", ["plain.safetensors", "plain.pt"])
def test_files_of_pytorch_hold_what_an_npz_of_their_values_holds(name, tmp_path):
    values = {layer: expected(layer) for layer in ("1", "2.0")}
    result = checkpointparity.compare_checkpoints(by_layer(tmp_path / "a.npz", values), str(TORCH / name))
    assert [layer["verdict"] for layer in result["layers"]] == ["ok", "ok"]
    assert result["ok"] is True
