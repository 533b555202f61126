"""The reader of TensorFlow's checkpoints against TensorFlow's own, and against damaged and hostile files."""

import contextlib
import io
import itertools
import json
import os
import pathlib
import re
import struct
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
import tensorflow
import tiers
from golden.record import checkpoints as golden
from hypothesis import given, settings
from hypothesis import strategies as st
from protobuf_bytes import field, number

from tf1bn.binary import protobuf, tensor_protos
from tf1bn.checkpoints import CheckpointError, audit_checkpoint, open_checkpoint
from tf1bn.checkpoints.formats import base
from tf1bn.checkpoints.formats.tf1 import crc32c, slices, snappy
from tf1bn.checkpoints.formats.tf1.table import MAGIC, Table

tf = tensorflow.compat.v1
FOLDER = pathlib.Path(golden.FOLDER)
ROOT = FOLDER.parents[2]
F32 = np.float32
PREFIXES = sorted(str(file)[: -len(".index")] for file in FOLDER.parent.glob("checkpoints*/*.index"))
PREFIXES.append(str(FOLDER / "fused_gamma-V1"))


def refused(path, match):
    with pytest.raises(CheckpointError, match=match) as caught:
        audit_checkpoint(path)
    one_sentence(caught.value)


def one_sentence(error):
    assert re.fullmatch(r"(`|The )[^\n]*\.", str(error))


# A writer of tables, which puts any bytes into the right frame.


def framed(contents, kind=0):
    return contents + bytes([kind]) + struct.pack("<I", crc32c.masked(crc32c.crc32c(contents + bytes([kind]))))


def block(entries):
    """Entries whose keys share what they have in common with the key before, and restart every third time."""
    data, before, restarts = b"", b"", []
    for i, (key, value) in enumerate(entries):
        pairs = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(key, before, strict=False))
        shared = 0 if i % 3 == 0 else len(list(pairs))
        restarts += [len(data)] if i % 3 == 0 else []
        data += number(shared) + number(len(key) - shared) + number(len(value)) + key[shared:] + value
        before = key
    restarts = restarts or [0]
    return data + struct.pack(f"<{len(restarts)}I", *restarts) + struct.pack("<I", len(restarts))


def table(entries, size=2, compress=None):
    """A table with ``size`` entries in a block."""
    data, index = b"", []
    for start in range(0, len(entries), size):
        some = entries[start : start + size]
        contents = block(some)
        part = framed(compress(contents), 1) if compress else framed(contents)
        index.append((some[-1][0], number(len(data)) + number(len(part) - 5)))
        data += part
    return finished(data, index)


def finished(data, index):
    handles = b""
    for contents in (block([]), block(index)):
        handles += number(len(data)) + number(len(contents))
        data += framed(contents)
    return data + handles.ljust(40, b"\0") + MAGIC


def shape_of(shape):
    return b"".join(field(2, field(1, size)) for size in shape)


def entry(values, offset, dtype=1, shape=None, checksum=None, size=None, shard=0):
    data = values.tobytes()
    checksum = crc32c.masked(crc32c.crc32c(data)) if checksum is None else checksum
    message = field(1, dtype) + field(2, shape_of(values.shape if shape is None else shape))
    message += field(3, shard) + field(4, offset) + field(5, len(data) if size is None else size)
    return message + number(6 << 3 | 5) + struct.pack("<I", checksum)


HEADER = field(1, 1) + field(3, field(1, 1))


def bundle(path, variables, header=HEADER, compress=None, **changed):
    """A V2 checkpoint of these variables; ``changed`` gives other entries by name. Returns its prefix."""
    data, entries = b"", []
    for name, values in sorted(variables.items()):
        entries.append((name.encode(), changed.get(name, entry(values, len(data)))))
        data += values.tobytes()
    (path / "m.data-00000-of-00001").write_bytes(data)
    (path / "m.index").write_bytes(table([(b"", header), *entries], compress=compress))
    return str(path / "m")


def layer(scope="bn", channels=8, seed=0, **changed):
    rng = np.random.default_rng(seed)
    values = {name: rng.uniform(0.5, 3, channels).astype(F32) for name in ("beta", "gamma", "moving_mean")}
    values["moving_variance"] = rng.uniform(0.5, 3, channels).astype(F32)
    return {f"{scope}/{name}": value for name, value in (values | changed).items()}


# Against TensorFlow's own reader.


def assert_read_as_tensorflow_does(prefix, cannot=()):
    reader = tf.train.load_checkpoint(prefix)
    shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    with open_checkpoint(prefix) as checkpoint:
        assert set(checkpoint.variables) == set(shapes)
        for name, variable in checkpoint.variables.items():
            assert (variable.shape, variable.dtype) == (tuple(shapes[name]), dtypes[name].name)
            if variable.dtype == "string":
                with pytest.raises(CheckpointError, match="is string, which is not read"):
                    checkpoint.read(name)
            elif name not in cannot:
                expected = reader.get_tensor(name)
                expected = expected.astype(F32) if variable.dtype == "bfloat16" else np.asarray(expected)
                values = checkpoint.read(name)
                assert values.dtype == expected.dtype
                assert values.tobytes() == expected.tobytes()
        return {name: checkpoint.read(name) for name in cannot}


@pytest.mark.parametrize("prefix", PREFIXES, ids=lambda prefix: "/".join(pathlib.Path(prefix).parts[-2:]))
def test_recorded_checkpoints_are_read_as_tensorflow_reads_them(prefix):
    assert_read_as_tensorflow_does(prefix)


def every_dtype():
    rng = np.random.default_rng(3)
    return {
        "scalar": F32(3),
        "global_step": np.int64(-7),
        "int32": rng.integers(-9, 9, (3, 4)).astype(np.int32),
        "bool": np.array([True, False]),
        "half": rng.normal(size=5).astype(np.float16),
        "bfloat16": rng.normal(size=5).astype(ml_dtypes.bfloat16),
        "double": rng.normal(size=(2, 3)),
        "uint8": np.arange(5, dtype=np.uint8),
        "int8": np.arange(-2, 5, dtype=np.int8),
        "int16": np.arange(-300, 300, dtype=np.int16),
        "uint16": np.arange(60000, 60005, dtype=np.uint16),
        "complex": np.array([1 + 2j], np.complex64),
        "empty": np.zeros((0, 3), F32),
        "large": rng.normal(size=(300, 1000)).astype(F32),
        "text": np.array(["a"]),
        **{f"a/long/prefix/to/share/bn_{i}/moving_mean": rng.normal(size=7).astype(F32) for i in range(300)},
    }


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Checkpoints of every dtype and of partitioned variables, of both forms, in one file and in shards."""
    folder, prefixes = tmp_path_factory.mktemp("saved"), {}
    for form, without in (("V2", ()), ("V1", ("bfloat16", "uint16", "complex", "text"))):
        with tf.Graph().as_default(), tf.Session() as session:
            variables = [
                tf.get_variable(name, initializer=tf.constant(value), use_resource=False)
                for name, value in every_dtype().items()
                if name not in without
            ]
            for name, shape, count in (("split", [10, 4], 3), ("split_vector", [130], 2)):
                parts = tf.fixed_size_partitioner(count)
                random = tf.random_normal_initializer(seed=1)
                variables.append(
                    tf.get_variable(name, shape, initializer=random, partitioner=parts, use_resource=False)
                )
            session.run(tf.global_variables_initializer())
            whole = session.run({part.name: part for split in variables[-2:] for part in split})
            for sharded in (False, True):
                saver = tf.train.Saver(variables, write_version=getattr(tf.train.SaverDef, form), sharded=sharded)
                path = str(folder / f"{form}-{sharded}")
                prefixes[form, sharded] = saver.save(session, path, write_meta_graph=False, write_state=False)
        prefixes[form] = whole
    return prefixes


@pytest.mark.parametrize("sharded", [False, True])
def test_v2_of_every_dtype(sharded, saved):
    assert_read_as_tensorflow_does(saved["V2", sharded])


@pytest.mark.parametrize("sharded", [False, True])
def test_v1_of_every_dtype(sharded, saved):
    """TensorFlow itself reads no float16 of this form, and no variable that was split."""
    values = assert_read_as_tensorflow_does(saved["V1", sharded], cannot=["half", "split", "split_vector"])
    assert values["half"].tobytes() == every_dtype()["half"].tobytes()
    for name in ("split", "split_vector"):
        parts = [value for key, value in sorted(saved["V1"].items()) if key.startswith(f"{name}/")]
        np.testing.assert_array_equal(values[name], np.concatenate(parts))


def test_bytes_in_the_other_order(tmp_path):
    values = layer()
    swapped = {name: value.byteswap() for name, value in values.items()}
    prefix = bundle(tmp_path, swapped, header=field(1, 1) + field(2, 1))
    with open_checkpoint(prefix) as checkpoint:
        for name, value in values.items():
            np.testing.assert_array_equal(checkpoint.read(name), value)


@pytest.mark.parametrize("compress", [None, "snappy"])
def test_compressed_tables(compress, tmp_path):
    prefix = bundle(tmp_path, layer(), compress=compress and compressed)
    assert audit_checkpoint(prefix)["ok"]
    assert_read_as_tensorflow_does(prefix)


# The file that is named, and no other.


def test_a_folder_of_the_same_name_is_another_checkpoint(tmp_path):
    prefix = bundle(tmp_path, layer(moving_mean=np.full(8, np.nan, F32)))
    (tmp_path / "m").mkdir()
    bundle(tmp_path / "m", layer())
    (tmp_path / "m/checkpoint").write_text('model_checkpoint_path: "m"\n')
    (result,) = audit_checkpoint(prefix + ".index")["layers"]
    assert result["causes"][0]["id"] == "not-finite"
    assert audit_checkpoint(prefix)["ok"]


def test_a_state_file_beside_a_named_file_is_not_followed(tmp_path):
    for name in ("stranger", "elsewhere"):
        (tmp_path / name).mkdir()
    bundle(tmp_path / "elsewhere", layer())
    named = save(str(tmp_path / "stranger") + os.sep, layer(moving_variance=np.full(8, np.inf, F32)))
    (tmp_path / "stranger/checkpoint").write_text('model_checkpoint_path: "../elsewhere/m"\n')
    for path in (named + ".index", named + ".data-00000-of-00001"):
        (result,) = audit_checkpoint(path)["layers"]
        assert result["causes"][0]["id"] == "not-finite"


def save(path, variables):
    with tf.Graph().as_default(), tf.Session() as session:
        made = [tf.Variable(value, name=name, use_resource=False) for name, value in variables.items()]
        session.run(tf.global_variables_initializer())
        return tf.train.Saver(made).save(session, path, write_meta_graph=False)


def test_a_checkpoint_saved_under_the_name_of_a_folder(tmp_path):
    """``Saver.save(sess, folder + "/")`` writes files without a name, only with endings."""
    save(str(tmp_path) + os.sep, layer())
    assert (tmp_path / ".index").exists()
    assert audit_checkpoint(str(tmp_path / ".index"))["ok"]
    result = audit_checkpoint(str(tmp_path))
    assert result["ok"]
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "/home/somebody/run/"\n')
    result = audit_checkpoint(str(tmp_path))
    assert result["ok"]
    assert "'.index' in the folder was judged" in result["notes"][0]


@pytest.mark.parametrize("named", [r"C:\\Users\\me\\run\\m", r"\\\\server\\run\\m", "C:/run/m"])
def test_a_state_file_of_windows(named, tmp_path):
    bundle(tmp_path, layer())
    (tmp_path / "checkpoint").write_text(f'model_checkpoint_path: "{named}"\n')
    result = audit_checkpoint(str(tmp_path))
    assert result["ok"]
    assert "outside of the folder, which was not followed; 'm' in the folder was judged" in result["notes"][0]


# Damage.


@pytest.mark.parametrize(
    ("form", "flipped", "count"),
    tiers.slow_after(2, [("V2", 1, 300), ("V1", 3, 300), *itertools.product(("V2", "V1"), (1, 3), (2000,))]),
)
def test_flipped_bits_change_no_result_unseen(form, flipped, count, tmp_path):
    """Each is refused in one sentence, or lies where nothing is read, and the result is the same."""
    values = {**layer("net/a"), **layer("net/b", seed=1), "z": np.ones(3, F32)}
    if form == "V2":
        prefix = bundle(tmp_path, values)
    else:
        prefix = str(tmp_path / "m")
        with tf.Graph().as_default(), tf.Session() as session:
            made = [tf.Variable(value, name=name, use_resource=False) for name, value in values.items()]
            session.run(tf.global_variables_initializer())
            tf.train.Saver(made, write_version=tf.train.SaverDef.V1).save(session, prefix, write_meta_graph=False)
    right = json.dumps(audit_checkpoint(prefix))
    rng, outcomes = np.random.default_rng(flipped), {"refused": 0, "same": 0}
    files = [prefix] if form == "V1" else [prefix + ".index", prefix + ".data-00000-of-00001"]
    for file in files:
        whole = pathlib.Path(file).read_bytes()
        for _ in range(count // len(files)):
            data = bytearray(whole)
            for at in rng.integers(len(data) * 8, size=flipped):
                data[at // 8] ^= 1 << at % 8
            pathlib.Path(file).write_bytes(data)
            try:
                assert json.dumps(audit_checkpoint(prefix)) == right
                outcomes["same"] += 1
            except CheckpointError as error:
                one_sentence(error)
                outcomes["refused"] += 1
        pathlib.Path(file).write_bytes(whole)
    assert outcomes["refused"] > count // 2
    assert outcomes["same"] > 0 or form == "V1"


def test_every_truncation_is_refused(tmp_path):
    prefix = bundle(tmp_path, layer())
    for ending in (".index", ".data-00000-of-00001"):
        file = pathlib.Path(prefix + ending)
        whole = file.read_bytes()
        for size in range(len(whole)):
            file.write_bytes(whole[:size])
            refused(prefix, "is damaged: .*(cut off|shorter)")
        file.write_bytes(whole)
    assert audit_checkpoint(prefix)["ok"]


VALUES = layer()["bn/gamma"]
ENTRIES = {
    "a size that is not the shape's": (entry(VALUES, 0, shape=(9,)), "another size than its shape"),
    "a size beyond all": (entry(VALUES, 0, shape=(2**61, 2), size=2**62), "another size than its shape"),
    "an offset behind the end": (entry(VALUES, 10**6), "is shorter than its index says"),
    "a negative offset": (entry(VALUES, -8), "holds negative numbers"),
    "a negative size": (entry(VALUES, 0, size=-1), "holds negative numbers"),
    "a negative length": (entry(VALUES, 0, shape=(-8,)), "no certain shape"),
    "too many dimensions": (entry(VALUES, 0, shape=(1,) * 300), "no certain shape"),
    "an unknown rank": (field(2, field(3, 1)), "no certain shape"),
    "another data file": (entry(VALUES, 0, shard=1), "names the data file 1 of 1"),
    "a wrong checksum": (entry(VALUES, 0, checksum=1), "checksum does not fit"),
    "a text for a number": (field(5, b"x"), "field 5 is of the wire type 2, not 0"),
    "a message that is cut off": (entry(VALUES, 0)[:-3], "cut off"),
    "a number without end": (b"\x08" + b"\xff" * 20, "cut off or too long"),
    "field 0": (b"\x00\x01", "field has the number 0"),
    "a group": (b"\x0b\x0c", "of the wire type 3"),
    "slices that are not there": (
        entry(VALUES, 0, size=0) + field(7, field(1, field(1, 0) + field(2, 4))),
        "a slice of it is missing",
    ),
}


@pytest.mark.parametrize("kind", ENTRIES)
def test_hostile_entries(kind, tmp_path):
    data, said = ENTRIES[kind]
    refused(bundle(tmp_path, layer(), **{"bn/gamma": data}), f"is damaged: .*{said}")


def sliced(*parts, whole=(8,)):
    """The entries of a variable and of its slices, each given as (start, length, first value)."""
    message = field(1, 1) + field(2, shape_of(whole))
    message += b"".join(field(7, field(1, field(1, start) + field(2, size))) for start, size, _ in parts)
    return message, {
        slices.slice_key(b"bn/gamma", ((start, size),)): entry(VALUES[at : at + size], 8 * 4 + at * 4)
        for start, size, at in parts
    }


SLICED = {
    "the whole": ([(0, 3, 0), (3, 5, 3)], None),
    "a gap": ([(0, 3, 0), (4, 4, 4)], "its slices are not the whole of it"),
    "too long": ([(0, 3, 0), (3, 6, 2)], "a slice lies outside of its tensor"),
    "before the start": ([(-1, 3, 0), (3, 5, 3)], "a slice lies outside of its tensor"),
}


@pytest.mark.parametrize("kind", SLICED)
def test_variables_in_slices(kind, tmp_path):
    parts, said = SLICED[kind]
    message, slices = sliced(*parts)
    values = layer()
    entries, data = [(b"", HEADER), *sorted(slices.items())], b""
    for name, array in values.items():
        entries.append((name.encode(), message if name == "bn/gamma" else entry(array, len(data))))
        data += array.tobytes()
    (tmp_path / "m.data-00000-of-00001").write_bytes(data)
    (tmp_path / "m.index").write_bytes(table(entries))
    if said is None:
        with open_checkpoint(str(tmp_path / "m")) as checkpoint:
            np.testing.assert_array_equal(checkpoint.read("bn/gamma"), VALUES)
    else:
        refused(str(tmp_path / "m"), f"reading `bn/gamma` failed: {said}")


HEADERS = {
    "no shards": (b"", "0 data files"),
    "many shards": (field(1, 10**6), "1000000 data files"),
    "a missing shard": (field(1, 2), "'m.data-00000-of-00002' is missing"),
    "a newer form": (field(1, 1) + field(3, field(2, 2)), "a newer form"),
}


@pytest.mark.parametrize("kind", HEADERS)
def test_hostile_headers(kind, tmp_path):
    header, said = HEADERS[kind]
    refused(bundle(tmp_path, layer(), header=header), f"is damaged: .*{said}")


def test_hostile_tables(tmp_path):
    prefix, file = bundle(tmp_path, layer()), tmp_path / "m.index"
    assert audit_checkpoint(prefix)["ok"]
    one = block([(b"", HEADER)])
    far, huge = number(10**6) + number(5), number(0) + number(2**29)
    first, second = number(0) + number(len(one)), number(len(one) + 5) + number(8)
    for data, said in {
        table([(b"a", b"")]): "its index has no header",
        table([(b"", HEADER), (b"b", b""), (b"a", b"")], size=3): "keys are not in order",
        table([(b"", HEADER), (b"b", b""), (b"a", b"")], size=1): "keys are not in order",
        finished(b"", [(b"", far)]): "lies outside of the file",
        finished(b"", [(b"", huge)]): "536870912 bytes long",
        finished(framed(one, 7), [(b"", number(0) + number(len(one)))]): r"compressed in an unknown way \(7\)",
        finished(framed(b""), [(b"", number(0) + number(0))]): "is too short",
        finished(framed(b"\xff\xff\xff\xff"), [(b"", number(0) + number(4))]): "is too short",
        finished(framed(b"\x09\x00\x00" + one), [(b"", number(0) + number(3 + len(one)))]): "an entry .* is cut off",
        finished(framed(one), [(b"", number(0) + number(len(one)))] * 2): "keys are not in order",
        finished(framed(one), [(k, number(0) + number(len(one))) for k in (b"", b"a")]): "blocks overlap",
        finished(framed(one) + framed(block([])), [(b"", first), (b"a", second)]): "a block of it is empty",
        bytes(40) + MAGIC: "is too short|checksum",
    }.items():
        file.write_bytes(data)
        refused(prefix, f"is damaged: .*({said})")


def test_more_variables_than_are_read(tmp_path, monkeypatch):
    prefix = bundle(tmp_path, layer())
    monkeypatch.setattr(base, "MOST_VARIABLES", 3)
    refused(prefix, "has more than 3 variables")


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_hostile_contents_in_a_right_frame(data, tmp_path_factory):
    """Any bytes as header, entries and values, with right checksums: read or refused, and nothing else."""
    folder = tmp_path_factory.mktemp("hostile")
    noisy = {}
    for name, array in layer().items():
        raw = bytearray(entry(array, 0))
        for at, value in data.draw(st.lists(st.tuples(st.integers(0, len(raw) - 1), st.integers(0, 255)), max_size=3)):
            raw[at] = value
        noisy[name] = bytes(raw) if data.draw(st.booleans()) else entry(array, 0)
    header = data.draw(st.one_of(st.just(HEADER), st.binary(max_size=20)))
    prefix = bundle(folder, layer(), header=header, **noisy)
    try:
        json.dumps(audit_checkpoint(prefix), allow_nan=False)
    except CheckpointError as error:
        one_sentence(error)


# The parts of the format.


def test_checksums():
    """The check value of CRC-32C, the vectors of RFC 3720, and lengths around a block against one byte at a time."""
    assert crc32c.crc32c(b"123456789") == 0xE3069283
    assert crc32c.crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c.crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c.crc32c(bytes(range(32))) == 0x46DD794E
    data = np.random.default_rng(0).bytes(300_000)
    table_of_bytes = crc32c._byte_table()
    state, checked = 0xFFFFFFFF, {0, 1, 3, 255, 256, 257, 258, 259, 260, 511, 512, 513, 4096, 262_144, 262_145, 300_000}
    for size in range(len(data) + 1):
        if size in checked:
            assert crc32c.crc32c(data[:size]) == state ^ 0xFFFFFFFF
        if size < len(data):
            state = (state >> 8) ^ table_of_bytes[(state ^ data[size]) & 255]


def compressed(data):
    """Snappy, with literals and with copies of each kind."""
    result, at, kind = number(len(data)), 0, 0
    while at < len(data):
        longest, offset = 0, 0
        for back in range(1, min(at, 60) + 1):
            size = 0
            while size < 11 and at + size < len(data) and data[at + size] == data[at + size - back]:
                size += 1
            if size > longest:
                longest, offset = size, back
        if longest >= 4:
            kind = kind % 3 + 1
            if kind == 1:
                result += bytes([longest - 4 << 2 | 1, offset])
            else:
                result += bytes([longest - 1 << 2 | kind]) + offset.to_bytes(2 if kind == 2 else 4, "little")
            at += longest
        else:
            size = min(70 if at % 2 else 3, len(data) - at)
            head = bytes([size - 1 << 2]) if size <= 60 else bytes([60 << 2, size - 1])
            result += head + data[at : at + size]
            at += size
    return result


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([b"a", b"abcabcabcab", b"\0" * 9, bytes(range(100))]), max_size=30).map(b"".join))
def test_snappy(data):
    assert snappy.decompress(compressed(data), len(data)) == data


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=60))
def test_snappy_of_anything(data):
    with contextlib.suppress(ValueError):
        assert len(snappy.decompress(data, 1000)) <= 1000


def test_snappy_bombs():
    for data in (
        number(2**40),
        number(10) + bytes([63 << 2 | 2, 1, 0]),
        number(4) + b"\x0cab",
        number(4) + b"\x01\x00",
    ):
        with pytest.raises(ValueError, match=r"block (is|refers|is cut off)"):
            snappy.decompress(data, 2**20)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=40))
def test_messages_of_anything(data):
    for call in (protobuf.fields, protobuf.packed_varints, tensor_protos.parse_shape, slices.parse_slice):
        with contextlib.suppress(ValueError):
            list(call(data))


@given(st.integers(0, 2**64 - 1))
def test_numbers(value):
    assert protobuf.varint(number(value) + b"x", 0) == (value, len(number(value)))
    assert protobuf.signed(value) % 2**64 == value


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.binary(max_size=12), st.binary(max_size=30), min_size=1), st.integers(1, 5))
def test_tables(entries, size):
    made = Table(io.BytesIO(table(sorted(entries.items()), size)))
    assert dict(made) == entries
    assert {key: made.get(key) for key in entries} == entries
    assert made.get(b"\xff" * 20) is None


def test_no_tensorflow_and_half_a_second():
    """The whole command on a recorded checkpoint, in the time of the processor; TensorFlow took 4 seconds and more."""
    code = (
        "import re, sys, time; from tf1bn.cli.main import main; code = main(['audit', sys.argv[1]]);"
        "kilobytes = int(re.search(r'VmHWM:\\s*(\\d+)', open('/proc/self/status').read())[1]);"
        "print(code, 'tensorflow' in sys.modules, time.process_time(), kilobytes / 1024)"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(FOLDER / "fused")], capture_output=True, text=True, cwd=ROOT, env=environment
    )
    status, imported, seconds, megabytes = done.stdout.splitlines()[-1].split()
    assert (status, imported, done.stderr) == ("0", "False", "")
    assert float(seconds) < 1.5
    assert float(megabytes) < 60
