"""Files that are known and refused, each with what to do; archives are not unpacked."""

import bz2
import gzip
import io
import pathlib
import pickle
import re
import tarfile
import tracemalloc
import zipfile

import numpy as np
import pytest

from tf1bn.checkpoints import CheckpointError, audit_checkpoint
from tf1bn.checkpoints.formats import registry
from tf1bn.cli import main as cli

TF1 = pathlib.Path(__file__).resolve().parents[1] / "golden" / "checkpoints"


def said(path):
    with pytest.raises(CheckpointError) as caught:
        audit_checkpoint(str(path))
    text = str(caught.value)
    assert re.fullmatch(r"`path` is [^\n]*\.", text)
    return text


def tar_bytes(names=("fused.data-00000-of-00001", "fused.index", "readme.txt")):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 8
            archive.addfile(member, io.BytesIO(bytes(8)))
    return file.getvalue()


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress])
def test_a_tar_file_is_to_be_unpacked(pack, tmp_path):
    (tmp_path / "model").write_bytes(pack(tar_bytes()))
    assert "a tar file; unpack it first and give 'fused.index' of it." in said(tmp_path / "model")


@pytest.mark.parametrize(
    ("names", "expected"),
    [(["a.txt", "m.onnx"], "'m.onnx'"), (["v/saved_model.pb", "v/variables/variables.index"], "variables.index'")],
)
def test_the_likely_member(names, expected, tmp_path):
    (tmp_path / "a.tar").write_bytes(tar_bytes(names))
    assert expected in said(tmp_path / "a.tar")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in names:
            archive.writestr(name, b"")
    assert expected in said(tmp_path / "a.zip")


def test_a_compressed_file_is_to_be_unpacked(tmp_path):
    (tmp_path / "fused.index.gz").write_bytes(gzip.compress((TF1 / "fused.index").read_bytes()))
    assert "a compressed file; unpack it first and give 'fused.index'." in said(tmp_path / "fused.index.gz")
    (tmp_path / "m.xz").write_bytes(b"\xfd7zXZ\0" + bytes(30))
    assert "packed by xz; unpack it first." in said(tmp_path / "m.xz")


def test_bombs_are_not_unpacked(tmp_path):
    blocks = tar_bytes(["big"])[:512].replace(b"00000000010", b"77777777777")
    with gzip.open(tmp_path / "bomb.gz", "wb", 1) as file:
        file.write(blocks)
        for _ in range(40):
            file.write(bytes(2**20))
    tracemalloc.start()
    assert "unpack it first" in said(tmp_path / "bomb.gz")
    assert tracemalloc.get_traced_memory()[1] < 40 * 2**20
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("m.mlmodel", bytes([8, 4, 18, 2, 10, 0, 0xA2, 0x1F, 2, 8, 1]), "a Core ML model, in which each batch norm"),
        ("m", bytes([8, 4, 18, 2, 10, 0, 0xA2, 0x1F, 2, 8, 1]), "Core ML"),
        ("m.pkl", pickle.dumps({"a": 1}), "a pickle that `torch.save` did not write, and pickles are never run"),
    ],
)
def test_formats_that_are_known_and_not_read(name, data, expected, tmp_path):
    (tmp_path / name).write_bytes(data)
    assert expected in said(tmp_path / name)


def test_npy_files(tmp_path):
    np.save(tmp_path / "dict.npy", {"bn": {"mean": np.ones(3)}}, allow_pickle=True)
    assert "Python objects, a dict most likely, which are never unpickled" in said(tmp_path / "dict.npy")
    np.save(tmp_path / "one.npy", np.ones(3))
    assert "a single array without a name" in said(tmp_path / "one.npy")


def test_what_is_of_no_format_names_those_that_are(tmp_path):
    (tmp_path / "a").write_bytes(b"nothing that is known")
    text = said(tmp_path / "a")
    for name in (".keras", "torch.save", ".npz", "HDF5", "safetensors", "frozen graph", "ONNX", "TensorFlow.js"):
        assert name in text


def test_the_command_line_says_it_in_one_sentence(tmp_path, capsys):
    (tmp_path / "a.tar").write_bytes(tar_bytes())
    assert cli.main(["audit", str(tmp_path / "a.tar")]) == 2
    assert re.fullmatch(r"tf1bn audit: [^\n]*unpack it first[^\n]*\.\n", capsys.readouterr().err)


def test_each_format_says_what_the_documentation_needs():
    assert len({format.name for format in registry.FORMATS}) == len(registry.FORMATS)
    for format in registry.FORMATS:
        assert format.known_by
        assert re.match(r"(an?|the) ", format.name)
        assert bool(format.read_with) == (format in registry.READ)
