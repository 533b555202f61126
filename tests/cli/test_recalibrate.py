"""The command ``tf1bn recalibrate``: models and data in files, and a new model beside the old one."""

import json
import os
import re

import numpy as np
import pytest
import tensorflow as tf

import tf1bn
from tf1bn.checkpoints import open_checkpoint
from tf1bn.cli import main as cli

v1 = tf.compat.v1
NAMES = [f"{layer}/{name}" for layer in ("b1", "b2") for name in ("moving_mean", "moving_variance")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint, a SavedModel, and the same images as .npy, .npz and TFRecords."""
    folder = tmp_path_factory.mktemp("models")
    flow = v1.control_flow_v2_enabled()
    v1.disable_control_flow_v2()  # as in every graph of TF 1.x
    with v1.Graph().as_default():
        x = v1.placeholder(tf.float32, [None, 4, 4, 3], name="images")
        training = v1.placeholder_with_default(False, [], name="is_training")
        v1.placeholder_with_default(np.zeros(1, np.int32), [None], name="classes")
        kernel = v1.get_variable("kernel", [3, 3, 3, 4], initializer=v1.glorot_uniform_initializer(seed=1))
        first = tf1bn.batch_norm(tf.nn.conv2d(x, kernel, 1, "SAME"), is_training=training, scope="b1")
        second = tf1bn.batch_norm(tf.nn.relu(first), is_training=training, scope="b2")
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            v1.train.Saver().save(session, str(folder / "model.ckpt-7"))
            signature = v1.saved_model.signature_def_utils.predict_signature_def({"x": x}, {"y": second})
            builder = v1.saved_model.Builder(str(folder / "saved"))
            builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
            builder.save()
    if flow:
        v1.enable_control_flow_v2()
    images = np.random.default_rng(0).normal(1, 2, (70, 4, 4, 3)).astype(np.float32)
    np.save(folder / "train.npy", images)
    np.savez(folder / "train.npz", images=images, labels=np.zeros(70), few=images[:3])
    with tf.io.TFRecordWriter(str(folder / "train.tfrecord")) as writer:
        for image in images:
            raw = tf.train.Feature(bytes_list=tf.train.BytesList(value=[image.tobytes()]))
            floats = tf.train.Feature(float_list=tf.train.FloatList(value=image.ravel()))
            features = tf.train.Features(feature={"raw": raw, "floats": floats})
            writer.write(tf.train.Example(features=features).SerializeToString())
    damaged(folder)
    return folder


def damaged(folder):
    """Files of data that are cut, hold the wrong bytes, or do not fit."""
    zipped, records = (folder / "train.npz").read_bytes(), (folder / "train.tfrecord").read_bytes()
    (folder / "cut.npz").write_bytes(zipped[: len(zipped) // 2])
    (folder / "wrong.npz").write_bytes(zipped[:200] + bytes([zipped[200] ^ 255]) + zipped[201:])
    # In the header of a record, where TensorFlow ends as at the end of the file.
    (folder / "cut.tfrecord").write_bytes(records[: len(records) // 2 + 5])
    (folder / "train-00000-of-00001").write_bytes(records)
    with tf.io.TFRecordWriter(str(folder / "other.tfrecord")) as writer:
        writer.write(b"\xff\xff\xff")
    with tf.io.TFRecordWriter(str(folder / "small.tfrecord")) as writer:
        numbers = tf.train.Feature(float_list=tf.train.FloatList(value=[0.5]))
        large = tf.train.Feature(int64_list=tf.train.Int64List(value=[2**40]))
        texts = tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"a", b"b"]))
        feature = {"numbers": numbers, "large": large, "texts": texts, "none": tf.train.Feature()}
        writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    (folder / "there.data-00000-of-00001").write_bytes(b"mine")


@pytest.fixture(autouse=True)
def _there(folder, monkeypatch):
    monkeypatch.chdir(folder)


TRAINING = ("--feed", "is_training=true")


def statistics(path):
    stored = open_checkpoint(str(path))
    return {name: stored.read(name) for name in NAMES}


def expected():
    """The moments of b1's inputs, from the images and the kernel, in float64 and by NumPy alone."""
    images = np.load("train.npy").astype(np.float64)
    kernel = open_checkpoint("model.ckpt-7").read("kernel").astype(np.float64)
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    y = sum(padded[:, i : i + 4, j : j + 4] @ kernel[i, j] for i in range(3) for j in range(3))
    return y.mean(axis=(0, 1, 2)), y.reshape(-1, 4).var(axis=0, ddof=1)


def test_a_checkpoint_gets_a_new_one_beside_it(tmp_path, capsys):
    before = {file: os.stat(file).st_mtime_ns for file in os.listdir()}
    new = tmp_path / "new.ckpt-7"
    command = ["recalibrate", "model.ckpt-7", "--data", "images=train.npy", *TRAINING, "--batch-size", "32"]
    assert cli.main([*command, "--output", str(new), "--json", str(tmp_path / "r.json")]) == 0
    assert {file: os.stat(file).st_mtime_ns for file in os.listdir()} == before
    assert sorted(os.listdir(tmp_path)) == [
        "new.ckpt-7.data-00000-of-00001",
        "new.ckpt-7.index",
        "new.ckpt-7.meta",
        "r.json",
    ]
    values = statistics(new)
    mean, variance = expected()
    np.testing.assert_allclose(values["b1/moving_mean"], mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(values["b1/moving_variance"], variance, rtol=1e-5)
    out = capsys.readouterr().out
    assert "New moving statistics of 2 layers from 3 batches were written (order 'batch', 1 pass)." in out
    assert f"Written: {new}" in out
    content = json.loads((tmp_path / "r.json").read_text())
    assert content["format"] == "tf1bn-recalibration"
    assert [layer["count"] for layer in content["layers"]] == [70 * 16, 70 * 16]


@pytest.mark.parametrize("source", ["train.npz:images", "train.tfrecord:raw", "train.tfrecord:floats"])
def test_data_of_every_kind(source, tmp_path):
    command = ["recalibrate", "model.ckpt-7", *TRAINING, "--output"]
    assert cli.main([*command, str(tmp_path / "a"), "--data", "images=train.npy"]) == 0
    assert cli.main([*command, str(tmp_path / "b"), "--data", f"images:0={source}"]) == 0
    np.testing.assert_equal(statistics(tmp_path / "a"), statistics(tmp_path / "b"))


def test_a_saved_model_gets_a_new_one(tmp_path, capsys):
    command = ["recalibrate", "--data", "images=train.npy", "--order", "sequential"]
    assert cli.main([*command, "saved", "--output", str(tmp_path / "new")]) == 0
    capsys.readouterr()
    # A model of which nothing is off any more.
    assert cli.main([*command, str(tmp_path / "new"), "--json", str(tmp_path / "r.json")]) == 0
    assert "Nothing was written; --output writes it." in capsys.readouterr().out
    content = json.loads((tmp_path / "r.json").read_text())
    assert max(layer["output_change"] for layer in content["layers"]) < 1e-6
    assert not content["written"]


def test_only_some_layers(tmp_path):
    command = ["recalibrate", "model.ckpt-7", "--data", "images=train.npy", *TRAINING, "--layer", "b2"]
    assert cli.main([*command, "--output", str(tmp_path / "new")]) == 0
    old, new = statistics("model.ckpt-7"), statistics(tmp_path / "new")
    assert {name for name in NAMES if old[name].tobytes() != new[name].tobytes()} == {
        "b2/moving_mean",
        "b2/moving_variance",
    }


DATA = ("--data", "images=train.npy")
BAD = {
    "model": (("none", *DATA), "`MODEL` is 'none'; there is no 'none.meta' and no such folder"),
    "folder": ((".", *DATA), "`MODEL` is '.', which cannot be loaded: "),
    "placeholder": (("saved", "--data", "imgs=train.npy"), "'imgs' is no placeholder of the graph; it has 'images', "),
    "form": (("saved", "--data", "train.npy"), "`--data` is 'train.npy'; it must be NAME=FILE"),
    "file": (("saved", "--data", "images=no.npy"), "`--data` names 'no.npy', which cannot be read: .*No such file"),
    "array": (
        ("saved", "--data", "images=train.npz"),
        "it holds the arrays 'images', 'labels', 'few'; name one as FILE",
    ),
    "feature": (
        ("saved", "--data", "images=train.tfrecord:x"),
        "an example has the features 'floats', 'raw'; name one",
    ),
    "shape": (
        ("saved", "--data", "images=train.npz:labels"),
        r"gives 'images' an array of shape \(70,\); it must be of",
    ),
    "npz that was cut": (("saved", "--data", "images=cut.npz:images"), "`--data` names .*, which cannot be read: "),
    "npz of wrong bytes": (("saved", "--data", "images=wrong.npz:images"), "`--data` names .*, which cannot be read: "),
    "records that were cut": (
        ("saved", "--data", "images=cut.tfrecord:raw"),
        "which cannot be read: it was cut: [0-9]+ bytes after [0-9]+ whole examples are no example",
    ),
    "records of another name": (("saved", "--data", "images=train-00000-of-00001:raw"), "its name that of TFRecords"),
    "records of others": (("saved", "--data", "images=other.tfrecord:raw"), "which cannot be read: Error parsing"),
    "examples of another size": (
        ("saved", "--data", "images=small.tfrecord:numbers"),
        "example 0 has 1 numbers in 'numbers', and the placeholder takes 48",
    ),
    "examples without numbers": (
        ("saved", "--data", "images=small.tfrecord:none"),
        "example 0 has 0 numbers in 'none'",
    ),
    "several texts": (("saved", "--data", "images=small.tfrecord:texts"), "has 2 strings of bytes in the feature"),
    "numbers to be cut": (
        ("saved", *DATA, "--data", "classes=small.tfrecord:numbers"),
        "it holds float32, and the placeholder is int32",
    ),
    "numbers too large": (
        ("saved", *DATA, "--data", "classes=small.tfrecord:large"),
        "it holds whole numbers beyond the range of int32",
    ),
    "value too large": (("saved", *DATA, "--feed", "classes=[1099511627776]"), "the value .* of dtype int32"),
    "deep value": (("saved", *DATA, "--feed", "classes=" + "[" * 5000), "`--feed` gives 'classes' the value"),
    "data twice": (("saved", *DATA, *DATA), "`--data` gives 'images' a value, and it has one"),
    "data and value": (("saved", *DATA, "--feed", "images=1"), "`--feed` gives 'images' a value, and it has one"),
    "no name": (("saved", *DATA, "--output", ""), "`--output` is ''; it must be the name of a new folder"),
    "prefix without a name": (("model.ckpt-7", *DATA, "--output", "./"), "`--output` is './'; it must be the name"),
    "data there": (("model.ckpt-7", *DATA, "--output", "there"), "which is there; nothing is written over"),
    "not an array": (("saved", "--data", "images=saved/saved_model.pb"), "which cannot be read: "),
    "value": (("saved", *DATA, "--feed", "is_training=maybe"), "the value 'maybe'; it must be true, false, a number"),
    "size": (("saved", *DATA, "--batch-size", "0"), "`--batch-size` is 0; it must be 1 or more"),
    "mode": (("saved", *DATA), "Layer 'b1' is in inference mode under the feeds of a batch"),
    "layer": (("saved", *DATA, *TRAINING, "--layer", "c*"), r"`layers` has 'c\*', which fits no layer"),
    "above": (("saved", *DATA, "--output", "no/where"), "`--output` is 'no/where', and the folder .* does not exist"),
    "there": (("model.ckpt-7", *DATA, "--output", "model.ckpt-7"), "which is there; nothing is written over"),
    "folder there": (("saved", *DATA, "--output", "saved"), "which is there; nothing is written over"),
    "rows": (
        ("saved", *DATA, "--data", "is_training=train.npz:few"),
        "gives 'is_training' an array of shape",
    ),
}


@pytest.mark.parametrize("id", BAD)
def test_bad_input_is_one_sentence(id, capsys):

    before = sorted(os.listdir())
    arguments, message = BAD[id]
    assert cli.main(["recalibrate", *arguments]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert re.search(message, err), err
    assert re.fullmatch(r"tf1bn recalibrate: [^\n]+\.\n", err), err
    assert "not foreseen" not in err
    assert sorted(os.listdir()) == before


def test_a_model_that_fails_on_the_data_is_named_with_the_reason(tmp_path, capsys):
    with v1.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None, 3], name="x")
        tf1bn.batch_norm(tf.reshape(x, [-1, 7]), is_training=True, scope="b")
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(tmp_path / "model"))
    np.save(tmp_path / "x.npy", np.ones((5, 3), np.float32))
    assert cli.main(["recalibrate", str(tmp_path / "model"), "--data", f"x={tmp_path}/x.npy"]) == 2
    assert re.search(r"`MODEL` is .*, which fails on the data: Input to reshape is a tensor", capsys.readouterr().err)
