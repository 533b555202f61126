"""Files of PyTorch: what a pickle describes, without PyTorch. The bytes are written here, and by the real one."""

import argparse
import io
import pickle
import struct
import sys
import types
import zipfile

import numpy as np
import pytest

from tf1bn.checkpoints import CheckpointError, audit_checkpoint, open_checkpoint
from tf1bn.checkpoints.formats.torch import pickles
from tf1bn.checkpoints.formats.torch.files import OLD_MAGIC
from tf1bn.checkpoints.formats.torch.pickles import Call, Global, Persistent

F32 = np.float32


def described(data):
    return pickles.load(io.BytesIO(data))[0]


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_are_what_pickle_makes_of_them(protocol):
    value = {
        "numbers": [0, 1, -1, 255, 65536, -(2**31), 2**70, 1.5, float("inf")],
        "texts": ["", "a\nb", "\u20ac", "x" * 300],
        "bytes": b"\0\xff" * 200 if protocol > 2 else 1,
        "others": (None, True, False, (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
        "nested": {"a": {"b": [{}]}, 1: 2, None: 3},
    }
    value["again"] = value["nested"]
    assert described(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", range(6))
def test_objects_are_described_and_not_built(protocol):
    found = described(pickle.dumps({"args": argparse.Namespace(lr=0.1), "x": np.float64(3)}, protocol))
    assert isinstance(found["args"], Call)
    assert found["args"].state == {"lr": 0.1}
    assert isinstance(found["x"], Call)


@pytest.mark.parametrize(
    "data",
    [
        b"cos\nsystem\n(S'touch exploded'\ntR.",
        b"(cos\nsystem\nS'touch exploded'\no.",
        b"(S'touch exploded'\nios\nsystem\n.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0etouch exploded\x85R.",
        b"\x80\x02cbuiltins\neval\nX\x04\x00\x00\x00exit\x85\x81.",
        b"\x80\x02cbuiltins\neval\n)}\x92.",
    ],
)
def test_no_instruction_runs_anything(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert isinstance(described(data), Call)
    assert not list(tmp_path.iterdir())


def test_classes_are_not_changed_by_state():
    data = b"\x80\x02ccollections\nOrderedDict\n}X\x05\x00\x00\x00clear\x88sb."
    assert described(data) == Global("collections", "OrderedDict")
    assert callable(dict.clear)


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b".", b"\x80\x02", b"\x80\x02}", b"(.", b"0.", b"t.", b"h\x05.", b"}(K\x01u.", b"\x80\x02R.", b"(0(0u."),
        *(
            b"K\x01\x85\x85\x85R",
            b"\xff",
            b"\x80\x02X\xff\xff\xff\x7fab.",
            b"\x8d" + b"\xff" * 8 + b".",
            b"b.",
            b"(q\x00.",
        ),
        *(b"I99999999999999999999x\n.", b"S'abc\n.", b"cos\n", b"\x96" + b"\x7f" * 8 + b"a.", b"N\x93.", b"(e."),
    ],
)
def test_what_is_no_pickle_is_a_value_error(data):
    with pytest.raises(ValueError, match=r"pickle|expected|found|string|literal|base|line|opcode"):
        described(data)


def test_keys_that_take_for_ever_to_hash_are_left_out():
    data = b"\x80\x02}K\x01" + b"2\x86" * 200 + b"K\x01s."
    assert described(data) == {}


def test_a_pickle_of_many_instructions_is_refused(monkeypatch):
    monkeypatch.setattr(pickles, "MOST_INSTRUCTIONS", 1000)
    assert described(b"N0" * 400 + b"N.") is None
    with pytest.raises(ValueError, match="more than 1000 instructions"):
        described(b"N0" * 600 + b"N.")


def test_more_than_is_there_is_not_asked_for():
    asked = []

    class File(io.BytesIO):
        def read(self, count=-1):
            asked.append(count)
            return super().read(count)

    file = pickles.Bounded(File(b"\x8e" + struct.pack("<Q", 2**40) + b"abc."), 13)
    with pytest.raises(ValueError, match=r"pickle|expected|found|string|literal|base|line|opcode"):
        pickles.load(file)
    assert max(asked) <= 13


# Files that are written by hand, as torch.save does.


class Storage:
    def __init__(self, key, kind, count, view=None):
        self.identity = ("storage", getattr(TORCH, kind), key, "cpu", count) + (() if view is None else (view,))


class Tensor:
    def __init__(self, storage, offset, shape, strides):
        self.arguments = (storage, offset, shape, strides, False, {})

    def __reduce__(self):
        return UTILS._rebuild_tensor_v2, self.arguments


TORCH, UTILS = types.ModuleType("torch"), types.ModuleType("torch._utils")


def named(module, name):
    def stand_in():
        pass

    stand_in.__module__, stand_in.__qualname__, stand_in.__name__ = module.__name__, name, name
    setattr(module, name, stand_in)


for kind in ("Float", "BFloat16", "Half", "Double", "Untyped"):
    named(TORCH, f"{kind}Storage")
named(UTILS, "_rebuild_tensor_v2")


class Pickler(pickle.Pickler):
    def persistent_id(self, value):
        return value.identity if isinstance(value, Storage) else None


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch):
    """PyTorch's names can be pickled, without PyTorch."""
    monkeypatch.setitem(sys.modules, "torch", TORCH)
    monkeypatch.setitem(sys.modules, "torch._utils", UTILS)


def dumped(value):
    file = io.BytesIO()
    Pickler(file, 2).dump(value)
    return file.getvalue()


def zipped(path, value, storages, byteorder=b"little", root="model"):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{root}/data.pkl", dumped(value))
        archive.writestr(f"{root}/byteorder", byteorder)
        for key, data in storages.items():
            archive.writestr(f"{root}/data/{key}", data)
        archive.writestr(f"{root}/version", b"3\n")
    return str(path)


def values(path, name):
    with open_checkpoint(path) as checkpoint:
        return checkpoint.read(name)


NUMBERS = np.arange(24, dtype=F32) + F32(0.5)


@pytest.mark.parametrize(
    ("offset", "shape", "strides", "expected"),
    [
        (0, (24,), (1,), NUMBERS),
        (3, (4,), (1,), NUMBERS[3:7]),
        (1, (4,), (6,), NUMBERS[1::6]),
        (0, (4,), (0,), NUMBERS[:1].repeat(4)),
        (0, (4, 6), (1, 4), NUMBERS.reshape(6, 4).T),
        (24, (0,), (1,), NUMBERS[:0]),
        (23, (), (), NUMBERS[23]),
    ],
)
def test_views_of_a_storage(offset, shape, strides, expected, tmp_path):
    tensor = Tensor(Storage("0", "FloatStorage", 24), offset, shape, strides)
    for order in ("little", "big"):
        data = NUMBERS.astype("<f4" if order == "little" else ">f4").tobytes()
        path = zipped(tmp_path / "a.bin", {"w": tensor}, {"0": data}, order.encode())
        np.testing.assert_array_equal(values(path, "w"), expected)


@pytest.mark.parametrize(
    ("offset", "shape", "strides", "said"),
    [
        (0, (25,), (1,), "outside of its storage"),
        (21, (4,), (1,), "outside of its storage"),
        (0, (5,), (6,), "outside of its storage"),
        (-1, (4,), (1,), "makes no sense"),
        (0, (4,), (-1,), "has a shape that none can have"),
        (0, (2**70,), (1,), "has a shape that none can have"),
        (0, (4, 1), (1,), "makes no sense"),
        (0, "ab", (1,), "has no shape"),
        (True, (4,), (1,), "makes no sense"),
    ],
)
def test_views_that_leave_their_storage(offset, shape, strides, said, tmp_path):
    tensor = Tensor(Storage("0", "FloatStorage", 24), offset, shape, strides)
    path = zipped(tmp_path / "a.pt", {"w": tensor}, {"0": NUMBERS.tobytes()})
    with pytest.raises(CheckpointError, match=said):
        values(path, "w")


def test_a_storage_that_says_more_than_there_is(tmp_path):
    tensor = Tensor(Storage("0", "FloatStorage", 2**40), 100, (4,), (1,))
    path = zipped(tmp_path / "a.pt", {"w": tensor}, {"0": NUMBERS.tobytes()})
    with pytest.raises(CheckpointError, match="its values are cut off"):
        values(path, "w")
    path = zipped(tmp_path / "b.pt", {"w": tensor}, {})
    with pytest.raises(CheckpointError, match="its values are not in the file"):
        values(path, "w")
    wide = Tensor(Storage("0", "FloatStorage", 2**40), 0, (2,), (2**30,))
    path = zipped(tmp_path / "c.pt", {"w": wide}, {"0": NUMBERS.tobytes()})
    with pytest.raises(CheckpointError, match="spread over"):
        values(path, "w")


@pytest.mark.parametrize(
    ("kind", "dtype", "numbers"),
    [("Half", "<f2", [0.5, -2, 65504]), ("Double", "<f8", [1e300, -0.1]), ("BFloat16", None, [1.0, -3.0, 0.15625])],
)
def test_dtypes(kind, dtype, numbers, tmp_path):
    array = np.array(numbers, dtype or F32)
    data = array.tobytes() if dtype else (array.view(np.uint32) >> 16).astype("<u2").tobytes()
    tensor = Tensor(Storage("0", f"{kind}Storage", len(numbers)), 0, (len(numbers),), (1,))
    path = zipped(tmp_path / "a.pt", {"w": tensor}, {"0": data})
    np.testing.assert_array_equal(values(path, "w"), array)


def old(path, value, order, storages, keys=None, tail=b""):
    numbers = b"".join(
        struct.pack("<q" if order == "little" else ">q", len(data) // 4) + data for data in storages.values()
    )
    system = {"protocol_version": 1001, "little_endian": order == "little"}
    parts = [OLD_MAGIC, pickle.dumps(1001, 2), pickle.dumps(system, 2), dumped(value)]
    path.write_bytes(b"".join([*parts, pickle.dumps(keys or list(storages), 2), numbers, tail]))
    return str(path)


@pytest.mark.parametrize("order", ["little", "big"])
def test_the_old_form(order, tmp_path):
    data = NUMBERS.astype("<f4" if order == "little" else ">f4").tobytes()
    tensors = {
        "a": Tensor(Storage("7", "FloatStorage", 24, ("view", 4, 6)), 1, (5,), (1,)),
        "b": Tensor(Storage("8", "FloatStorage", 24), 2, (3,), (2,)),
    }
    path = old(tmp_path / "a.t7", tensors, order, {"7": data, "8": data})
    np.testing.assert_array_equal(values(path, "a"), NUMBERS[5:10])
    np.testing.assert_array_equal(values(path, "b"), NUMBERS[2:8:2])
    tensors["a"] = Tensor(Storage("7", "FloatStorage", 24, ("view", 4, 6)), 2, (5,), (1,))
    path = old(tmp_path / "b.t7", tensors, order, {"7": data, "8": data})
    with pytest.raises(CheckpointError, match="outside of its storage"):
        values(path, "a")


def test_damages_of_the_old_form(tmp_path):
    data = NUMBERS.tobytes()
    tensor = {"a": Tensor(Storage("7", "FloatStorage", 24), 0, (5,), (1,))}
    for said, changes in (
        ("there are bytes behind its values", {"tail": b"\0"}),
        ("its values are cut off", {"storages": {"7": data}, "cut": 1}),
        ("is of another size than its tensors say", {"storages": {"7": data[:-4]}}),
        ("lists storages that no tensor has", {"keys": ["8"]}),
    ):
        path = old(
            tmp_path / "a.t7", tensor, "little", changes.get("storages", {"7": data}), changes.get("keys"),
            changes.get("tail", b""),
        )  # fmt: skip
        if "cut" in changes:
            (tmp_path / "a.t7").write_bytes((tmp_path / "a.t7").read_bytes()[:-1])
        with pytest.raises(CheckpointError, match=said):
            values(path, "a")


def state_dict():
    numbers = {"weight": [1.25, 0.75], "bias": [0.5, -1], "running_mean": [3.25, 1.5], "running_var": [0.3, 2.7]}
    storages = {name: np.array(row, "<f4").tobytes() for name, row in numbers.items()}
    return {f"bn.{name}": Tensor(Storage(name, "FloatStorage", 2), 0, (2,), (1,)) for name in numbers}, storages


def test_foreign_objects_beside_the_tensors(tmp_path):
    tensors, storages = state_dict()
    everything = {"state_dict": tensors, "args": argparse.Namespace(lr=0.1), "best": np.float64(0.9), "epoch": 3}
    result = audit_checkpoint(zipped(tmp_path / "model.th", everything, storages))
    assert result["ok"]
    assert [layer["name"] for layer in result["layers"]] == ["bn"]
    assert "would call `_codecs.encode`, `argparse.Namespace`" in result["notes"][-1]
    assert "nothing of that was run" in result["notes"][-1]


def test_a_foreign_object_in_the_place_of_a_tensor_is_no_tensor(tmp_path):
    tensors, storages = state_dict()
    tensors["bn.running_mean"] = argparse.Namespace(lr=0.1)
    result = audit_checkpoint(zipped(tmp_path / "model.th", tensors, storages))
    assert not result["ok"]
    assert [cause["id"] for cause in result["layers"][0]["causes"]] == ["missing-variable"]


def test_a_changed_value_does_not_pass_the_checksum(tmp_path):
    tensors, storages = state_dict()
    path = tmp_path / "model.pt"
    zipped(path, tensors, storages)
    data = bytearray(path.read_bytes())
    at = data.find(storages["running_var"])
    data[at + 3] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="checksum of 'model/data/running_var' does not fit"):
        audit_checkpoint(str(path))


def test_persistent_references_are_inert():
    assert isinstance(described(b"\x80\x02(X\x06\x00\x00\x00modulecos\nsystem\ntQ."), Persistent)
