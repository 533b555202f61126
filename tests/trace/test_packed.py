"""Packed traces: the vectors of many steps in one file, and what the steps hold written once."""

import json
import os
import sys

import numpy as np
import pytest
import traces

from tf1bn import trace
from tf1bn.diagnosis import diagnose
from tf1bn.trace import packing, storage
from tf1bn.trace import writer as writer_module

LAYER = {"decay": 0.9, "epsilon": 1e-3, "fused": False}


def vectors(step, channels=3):
    """A record of moments whose numbers tell the step."""
    names = {name: np.full(channels, step + i / 8, np.float32) for i, name in enumerate(traces.AROUND)}
    moments = [{"count": 8, "mean": np.full(channels, float(step)), "variance": np.full(channels, 2.0)}]
    return {"moments": moments, **names}


def written(path, count, training=lambda step: True, **more):
    with trace.Writer(path, packed=True) as writer:
        writer.add_layer("bn", **LAYER)
        for step in range(count):
            each = {name: value(step) for name, value in more.items()}
            writer.add_step({"bn": vectors(step) | each}, training=training(step))
    return path


def lines(path):
    return [json.loads(line) for line in (path / "steps.jsonl").read_text().splitlines()]


def assert_steps(path, steps):
    """The trace holds the `vectors` of these steps, in their order."""
    read = list(trace.open(path))
    assert len(read) == len(steps)
    for step, number in zip(read, steps, strict=True):
        record = step.layers["bn"]
        assert record.moving_mean_before.tolist() == [number] * 3
        assert record.moving_variance_after.tolist() == [number + 3 / 8] * 3
        assert [(m.count, m.mean.tolist()) for m in record.moments] == [(8, [number] * 3)]


@pytest.mark.parametrize("applications", [1, 3])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_everything_comes_back_as_from_a_plain_trace(dtype, applications, tmp_path):
    shapes = [(4, 2, 2, 3), (5, 7)]
    for name in ("plain", "packed"):
        rng = np.random.default_rng(0)
        with trace.Writer(tmp_path / name, packed=name == "packed") as writer:
            writer.add_layers({f"bn{i}": trace.Layer(**LAYER) for i in range(2)})
            for _ in range(3):
                records = {f"bn{i}": traces.a_record(rng, shapes[i], applications, dtype) for i in range(2)}
                writer.add_step(records, training=True)
    plain, packed = (traces.read_all(trace.open(tmp_path / name)) for name in ("plain", "packed"))
    np.testing.assert_equal(packed, plain)
    for step, layers in packed.items():
        for name, values in layers.items():
            for key in traces.AROUND:
                array = values[key]
                assert array.dtype == plain[step][name][key].dtype == dtype
                assert not array.flags.writeable
                assert array.flags.aligned


def test_files_do_not_grow_in_number_nor_lines_in_length(tmp_path):
    path = written(tmp_path / "t", 200, training=lambda step: step % 10 != 9)
    assert os.listdir(path / "arrays") == ["packed-000000.bin"]
    assert_steps(path, range(200))
    with_layers = [line["step"] for line in lines(path) if "layers" in line]
    assert with_layers == [0, 9]
    assert json.loads((path / "trace.json").read_text())["version"] == 2
    assert len(json.dumps(lines(path)[-1])) < 150
    # 4 vectors of 3 float32 numbers, padded to 16 bytes, and 2 of float64.
    assert (path / "arrays/packed-000000.bin").stat().st_size == 200 * (4 * 16 + 2 * 24)


def test_the_bytes_of_the_writer_are_those_on_disk(tmp_path):
    with trace.Writer(tmp_path / "t", packed=True) as writer:
        writer.add_layer("bn", **LAYER)
        for step in range(5):
            writer.add_step({"bn": vectors(step)}, training=True)
        files = [tmp_path / "t/steps.jsonl", *(tmp_path / "t/arrays").iterdir()]
        assert writer.bytes == sum(file.stat().st_size for file in files)


def test_more_kinds_of_steps_than_a_reader_keeps(tmp_path):
    """Each step has a decay of its own; then those of the beginning and of the end come once more."""
    kinds = packing.LAYOUTS + 6
    order = [*range(kinds), 0, kinds - 1]
    path = written(tmp_path / "t", len(order), decay=lambda step: order[step] / kinds)
    assert [step.layers["bn"].decay for step in trace.open(path)] == [kind / kinds for kind in order]
    assert ["layers" in line for line in lines(path)] == [True] * (kinds + 1) + [False]
    assert max(line["layout"] for line in lines(path)) == packing.LAYOUTS - 1


def test_the_next_file_begins_when_one_is_full(tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "LARGEST_FILE", 250)
    path = written(tmp_path / "t", 7)
    # 112 bytes a step: two in a file.
    assert sorted(os.listdir(path / "arrays")) == [f"packed-{i:06d}.bin" for i in range(4)]
    assert_steps(path, range(7))


def test_arrays_of_inputs_have_files_of_their_own_and_their_lines_stay_whole(tmp_path):
    with trace.Writer(tmp_path / "t", packed=True) as writer:
        writer.add_layer("bn", **LAYER)
        for step in range(2):
            record = vectors(step)
            del record["moments"]
            writer.add_step({"bn": record | {"inputs": [np.full((4, 3), step, np.float32)]}}, training=True)
    assert all("layers" in line and "layout" not in line for line in lines(tmp_path / "t"))
    assert [step.layers["bn"].inputs[0][0, 0] for step in trace.open(tmp_path / "t")] == [0, 1]


@pytest.mark.parametrize("where", ["block", "line"])
def test_a_step_that_fails_is_not_in_the_trace(where, tmp_path, monkeypatch):
    """The disk is full in the middle of a write, and then it is not."""
    path = tmp_path / "t"
    with trace.Writer(path, packed=True) as writer:
        writer.add_layer("bn", **LAYER)
        writer.add_step({"bn": vectors(0)}, training=True)
        size = (path / "arrays/packed-000000.bin").stat().st_size
        write = os.write

        def full(descriptor, data):
            is_line = bytes(data[:1]) == b"{"
            if is_line == (where == "line") and len(data) > 20:
                return write(descriptor, data[:20])
            if is_line or where == "block" or bytes(data[-1:]) == b"\n":
                raise OSError(28, "No space left on device")
            return write(descriptor, data)

        monkeypatch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space left"):
            writer.add_step({"bn": vectors(1)}, training=True)
        monkeypatch.undo()
        assert (path / "arrays/packed-000000.bin").stat().st_size == size
        writer.add_step({"bn": vectors(1)}, training=True)
        writer.add_step({"bn": vectors(2)}, training=True)
    assert_steps(path, range(3))


def test_what_a_writer_left_behind_that_was_killed_is_no_step(tmp_path):
    path = written(tmp_path / "t", 3)
    with open(path / "arrays/packed-000000.bin", "ab") as file:
        file.write(b"\0" * 50)
    with open(path / "steps.jsonl", "ab") as file:
        file.write(b'{"step":3,"training":true,"block":["arr')
    assert_steps(path, range(3))


def test_steps_can_be_read_twice_at_once_and_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "LARGEST_FILE", 250)
    opened = trace.open(written(tmp_path / "t", 6))
    pairs = list(zip(opened, opened, strict=True))
    for number, (one, other) in enumerate(pairs):
        assert one.layers["bn"].moving_mean_before is not other.layers["bn"].moving_mean_before
        for step in (one, other):
            assert step.layers["bn"].moving_mean_before.tolist() == [number] * 3
            assert repr(step.layers["bn"]).startswith(f"<Record of step {number}, layer 'bn'")


def test_what_a_foreign_program_wrote_is_read(tmp_path):
    """A block that holds more than the step's vectors, in any order, without alignment."""
    path = tmp_path / "t"
    (path / "arrays").mkdir(parents=True)
    numbers = np.arange(8, dtype="<f4")
    (path / "arrays/all").write_bytes(b"abc" + numbers.tobytes())
    record = {name: f"#{1 + 4 * (2 * i)}:f4x2" for i, name in enumerate(traces.AROUND)}
    record |= {"moments": [{"count": 2, "mean": "#1:f4x2", "variance": "#1:f4x2"}], "weights": None}
    head = {"format": "tf1bn-trace", "version": 2, "layers": {"bn": dict(traces.SETTINGS)}}
    traces.put(path, head, [{"step": 0, "training": True, "block": ["arrays/all", 2, 33], "layers": {"bn": record}}])
    (step,) = trace.open(path)
    assert step.layers["bn"].moving_variance_after.tolist() == [6, 7]
    assert step.layers["bn"].moments[0].mean.tolist() == [0, 1]


def test_the_verdicts_are_those_of_the_plain_trace(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("plain", "packed"):
        rng = np.random.default_rng(0)
        mean, variance = np.zeros(3, np.float32), np.ones(3, np.float32)
        with trace.Writer(tmp_path / name, packed=name == "packed") as writer:
            writer.add_layer("bn", **LAYER)
            for _ in range(5):
                m, v = rng.normal(size=3), rng.gamma(4, size=3)
                record = {"moments": [{"count": 64, "mean": m, "variance": v}]}
                record |= {"moving_mean_before": mean, "moving_variance_before": variance}
                # The rates of a decay of .8, where .9 is declared.
                mean, variance = np.float32(mean * 0.8 + m * 0.2), np.float32(variance * 0.8 + v * 0.2)
                record |= {"moving_mean_after": mean, "moving_variance_after": variance}
                writer.add_step({"bn": record}, training=True)
    plain, packed = (diagnose(trace.open(tmp_path / name))[0] for name in ("plain", "packed"))
    assert [cause.id for cause in packed.causes] == [cause.id for cause in plain.causes] == ["decay"]
    assert str(packed) == str(plain)


def in_line(at, **values):
    def damage(path):
        changed = lines(path)
        changed[at].update(values)
        for key in [key for key, value in values.items() if value is ...]:
            del changed[at][key]
        (path / "steps.jsonl").write_text("".join(json.dumps(line) + "\n" for line in changed))

    return damage


def in_record(**values):
    def damage(path):
        record = lines(path)[0]["layers"]["bn"] | values
        in_line(0, layers={"bn": record})(path)

    return damage


def cut(path):
    os.truncate(path / "arrays/packed-000000.bin", 300)


def linked(path):
    (path / "arrays/packed-000000.bin").rename(path.parent / "outside")
    (path / "arrays/packed-000000.bin").symlink_to(path.parent / "outside")


BLOCK = ["arrays/packed-000000.bin", 0, 112]
DAMAGES = {
    "cut": (cut, "the file 'arrays/packed-000000.bin' was cut: the block of 112 bytes at byte 224 is not there"),
    "missing": (
        lambda path: (path / "arrays/packed-000000.bin").unlink(),
        "the file 'arrays/packed-000000.bin' is missing",
    ),
    "outside": (linked, "leads out of the trace's folder"),
    "path outside": (in_line(1, block=["../x", 0, 112]), "the path '../x' is not accepted"),
    "no block": (in_line(1, block=...), "the path '#0:f4x3' of a vector in a block is not accepted; the step names no"),
    "null block": (in_line(1, block=None), "the step names no block"),
    "block of two": (in_line(1, block=BLOCK[:2]), "`block` is .*; it must be the path of a file, a first byte and a"),
    "block of words": (in_line(1, block="arrays"), "`block` is 'arrays'; it must be a list"),
    "block of numbers": (in_line(1, block=[1, 2, 3]), "`block` is .*; it must be the path"),
    "negative": (in_line(1, block=[BLOCK[0], -1, 112]), "`block` is -1; it must be a whole number"),
    "huge": (in_line(1, block=[BLOCK[0], 0, 1 << 40]), "a block of 1099511627776 bytes is asked for; a step has at"),
    "beyond": (in_line(1, block=[BLOCK[0], 1 << 62, 112]), "was cut: the block of 112 bytes at byte"),
    "small": (in_line(1, block=[BLOCK[0], 0, 40]), "the path '#16:f4x3' .*|ends at byte .* of a block of 40"),
    "no layout": (in_line(1, layout=...), "`layers` is missing"),
    "another layout": (in_line(1, layout=5), "`layout` is 5, and no line of training before has layers of that number"),
    "large layout": (in_line(0, layout=64), "`layout` is 64; it must be below 64"),
    "text as layout": (in_line(1, layout="0"), "`layout` is '0'; it must be a whole number"),
    "other training": (in_line(1, training=False), "`layout` is 0, and no line of inference before"),
    "path": (in_record(moving_mean_before="#0"), "the path '#0' of a vector in a block is not accepted; it is not of"),
    "f1": (in_record(moving_mean_before="#0:f1x3"), "the path '#0:f1x3' .* it is not of the form"),
    "dtype": (in_record(moving_mean_before="#0:i4x3"), "the array '#0:i4x3' has dtype int32; accepted are"),
    "length": (in_record(moving_mean_after="#0:f4x2"), "`moving_mean_after` has shape"),
    "empty": (in_record(moving_mean_before="#0:f4x0"), "`moving_mean_before` has shape"),
    "large": (in_record(moving_mean_before="#0:f8x999999999999999999"), "ends at byte 7999999999999999992 of a block"),
    "input": (in_record(moments=None, inputs=["#0:f4x3"]), "the file '#0:f4x3' is missing"),
}


@pytest.mark.parametrize("id", DAMAGES)
def test_damage_is_one_sentence(id, tmp_path):
    path = written(tmp_path / "t", 3)
    damage, message = DAMAGES[id]
    damage(path)
    with pytest.raises(trace.TraceError, match=message) as raised:
        traces.read_all(trace.open(path))
    text = str(raised.value)
    assert text.startswith(f"The trace {str(path)!r} is damaged: ")
    assert text.endswith(".")
    assert "\n" not in text


def test_a_block_that_no_reader_would_take_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "LARGEST_VECTORS", 100)
    with trace.Writer(tmp_path / "t", packed=True) as writer:
        writer.add_layer("bn", **LAYER)
        with pytest.raises(ValueError, match="the vectors of the step take 112 bytes; at most 100 are accepted"):
            writer.add_step({"bn": vectors(0)}, training=True)
    assert list(trace.open(tmp_path / "t")) == []
    assert storage.LARGEST_VECTORS == 1 << 30


def test_a_plain_trace_knows_neither_blocks_nor_layouts(tmp_path):
    path = written(tmp_path / "t", 3)
    head = json.loads((path / "trace.json").read_text())
    (path / "trace.json").write_text(json.dumps(head | {"version": 1}))
    with pytest.raises(trace.TraceError, match="the step names no block"):
        traces.read_all(trace.open(path))


def test_packed_is_true_or_false(tmp_path):
    with pytest.raises(ValueError, match="`packed` is 2; it must be true or false"):
        trace.Writer(tmp_path / "t", packed=2)
    assert not (tmp_path / "t").exists()


def test_an_interrupt_while_a_file_is_begun_does_not_end_the_trace(tmp_path, monkeypatch):
    with trace.Writer(tmp_path / "t", packed=True) as writer:
        writer.add_layer("bn", **LAYER)
        create = writer._arrays.create

        def interrupted(name):
            os.close(create(name))
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(writer._packed._folder, "create", interrupted)
            with pytest.raises(KeyboardInterrupt):
                writer.add_step({"bn": vectors(0)}, training=True)
        for step in range(2):
            writer.add_step({"bn": vectors(step)}, training=True)
    assert_steps(tmp_path / "t", range(2))


@pytest.mark.parametrize("packed", [False, True])
def test_an_interrupt_at_any_line_leaves_no_part_of_a_step(tmp_path, packed):
    places = {writer_module.Writer._add_step.__code__, writer_module.Writer._write_step.__code__}
    tried = 0

    def interrupt_at(line):
        seen = 0

        def at_line(frame, event, _):
            nonlocal seen
            seen += event == "line"
            if seen == line:
                sys.settrace(None)
                raise KeyboardInterrupt
            return at_line

        sys.settrace(lambda frame, event, _: at_line if frame.f_code in places else None)

    while True:
        tried += 1
        with trace.Writer(tmp_path / f"{tried}", packed=packed) as writer:
            writer.add_layer("bn", **LAYER)
            writer.add_step({"bn": vectors(0)}, training=True)
            interrupt_at(tried)
            try:
                writer.add_step({"bn": vectors(1)}, training=True)
            except KeyboardInterrupt:
                # A step is in as soon as its line is: an interrupt after that has not lost it.
                writer.add_step({"bn": vectors(2)}, training=True)
            else:
                break
            finally:
                sys.settrace(None)
        whole = list(trace.open(tmp_path / f"{tried}"))
        assert_steps(tmp_path / f"{tried}", [0, 2] if len(whole) == 2 else [0, 1, 2])
    assert tried > 20
