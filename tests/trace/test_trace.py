"""Traces on disk: written and read back, by hand and by the writer, killed at any moment, damaged in every way."""

import json
import mmap
import os
import pickle
import re
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
import traces

from tf1bn import checker, trace

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run.trace"


def assert_same(got, wanted):
    assert isinstance(got, np.ndarray)
    assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
    assert got.tobytes() == wanted.tobytes()
    assert not got.flags.writeable


# ---------------------------------------------------------------- reading and writing


def test_what_a_foreign_program_wrote_is_read(folder):
    traces.foreign(folder)
    opened = trace.open(folder)
    assert dict(opened.layers) == {"bn": trace.Layer(decay=0.9, epsilon=0.001, fused=False)}
    steps = list(opened)
    assert [(step.number, step.training) for step in steps] == [(0, True), (1, True)]
    assert opened.count_steps() == 2
    for step in steps:
        record = step.layers["bn"]
        vectors = np.load(folder / f"arrays/{step.number}-vectors.npy")
        for i, name in enumerate((*traces.AROUND, "gamma", "beta")):
            assert_same(getattr(record, name), vectors[i])
        assert_same(record.inputs[0], np.load(folder / f"arrays/{step.number}-in.npy"))
        assert_same(record.outputs[0], np.load(folder / f"arrays/{step.number}-out.npy"))
        assert (record.training, record.applications, record.decay) == ((True,), 1, 0.9)
        assert (record.moments, record.weights, dict(record.state)) == (None, None, {})
        assert record.layer is opened.layers["bn"]


def test_inputs_and_outputs_are_memory_mapped(folder):
    traces.foreign(folder)
    record = next(iter(trace.open(folder))).layers["bn"]
    for array in (*record.inputs, *record.outputs):
        assert isinstance(array.base, mmap.mmap)
    assert not isinstance(record.gamma.base.base, mmap.mmap)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("applications", [1, 3])
def test_everything_comes_back_bit_for_bit(folder, dtype, applications):
    rng = np.random.default_rng(0)
    written = [
        {
            "wide": traces.a_record(rng, (4, 2, 2, 5), applications, dtype),
            "narrow": traces.a_record(rng, (7, 3), applications, dtype),
        }
        for _ in range(3)
    ]
    written[1]["wide"]["inputs"][0][0, 0, 0] = np.nan, np.inf, -np.inf, -0.0, np.finfo(dtype).smallest_subnormal
    with trace.Writer(folder, producer="the tests") as writer:
        for name in ("wide", "narrow"):
            writer.add_layer(name, decay=0.9, epsilon=1e-5)
        numbers = [writer.add_step(step, training=i != 1, step=10 * i) for i, step in enumerate(written)]
    assert numbers == [0, 10, 20]
    opened = trace.open(folder)
    assert opened.producer == "the tests"
    assert [step.training for step in opened] == [True, False, True]
    for step, wanted in zip(opened, written, strict=True):
        assert list(step.layers) == ["wide", "narrow"]
        for name, record in step.layers.items():
            for key in (*traces.AROUND, "gamma", "beta"):
                assert_same(getattr(record, key), wanted[name][key])
            for key in ("inputs", "outputs"):
                for got, array in zip(getattr(record, key), wanted[name][key], strict=True):
                    assert_same(got, array)
            for got, array in zip(record.weights, wanted[name]["weights"], strict=True):
                assert got is array or assert_same(got, array) is None
            assert record.training == tuple(wanted[name]["training"])
            assert record.decay == 0.5
            assert list(record.state) == list(wanted[name]["state"])
            for key, array in wanted[name]["state"].items():
                assert_same(record.state[key], np.atleast_1d(array))


def test_moments_come_back_as_moments(folder):
    rng = np.random.default_rng(0)
    batch = rng.normal(size=(8, 3))
    given = traces.a_record(rng, (8, 3))
    moments = checker.batch_moments(batch)
    empty = {"count": np.int64(0), "mean": np.full(3, np.nan), "variance": np.full(3, np.nan)}
    record = {name: given[name] for name in traces.AROUND} | {"moments": [moments, empty]}
    with trace.Writer(folder) as writer:
        writer.add_layer("bn", decay=0.9, epsilon=1e-5)
        writer.add_step({"bn": record}, training=True)
    (step,) = trace.open(folder)
    read = step.layers["bn"]
    assert read.inputs is None
    assert read.applications == 2
    assert read.training == (True, True)
    first, second = read.moments
    assert (first.count, second.count) == (8, 0)
    assert_same(first.mean, moments.mean)
    assert_same(first.variance, moments.variance)
    assert np.isnan(second.mean).all()


def test_arrays_of_other_orders_are_written_as_they_look(folder):
    """Transposed, sliced, big-endian, zero-sized and shared arrays."""
    rng = np.random.default_rng(0)
    record = traces.a_record(rng, (4, 6))
    batch = rng.normal(size=(12, 8)).astype(">f4")[::2, ::2].T
    record |= {"inputs": [batch, np.zeros((0, 6), np.float32), batch], "moving_mean_after": np.arange(6.0)[::-1]}
    del record["outputs"], record["weights"], record["training"]
    with trace.Writer(folder) as writer:
        writer.add_layer("bn", decay=0.9, epsilon=1e-5)
        writer.add_step({"bn": record}, training=True)
    assert len(list(folder.glob("arrays/*"))) == 2 + 3, "the shared array is in one file, vectors are in one per kind"
    (step,) = trace.open(folder)
    first, second, third = step.layers["bn"].inputs
    assert_same(first, batch.astype(np.float32, order="C"))
    assert_same(third, first)
    assert second.shape == (0, 6)
    assert_same(step.layers["bn"].moving_mean_after, np.arange(6.0)[::-1])


def test_what_numpy_can_save_is_read(folder):
    """Fortran order, big-endian, version 2.0, and vectors in files of their own."""
    head, lines = traces.foreign(folder)
    batch = np.load(folder / "arrays/0-in.npy")
    np.save(folder / "arrays/0-in.npy", np.asfortranarray(batch))
    np.save(folder / "arrays/0-out.npy", batch.astype(">f4"))
    np.save(folder / "arrays/own.npy", np.arange(3, dtype=">f8"))
    with open(folder / "arrays/1-in.npy", "wb") as file:
        np.lib.format.write_array(file, batch, version=(2, 0))
    lines[0]["layers"]["bn"]["gamma"] = "arrays/own.npy"
    traces.put(folder, head, lines)
    first, second = (step.layers["bn"] for step in trace.open(folder))
    for array in (first.inputs[0], first.outputs[0], second.inputs[0]):
        assert np.array_equal(array, batch)
    assert_same(first.gamma, np.arange(3.0))


def test_bfloat16_is_written_as_float32(folder):
    import ml_dtypes

    record = traces.a_record(np.random.default_rng(0), (4, 3), dtype=ml_dtypes.bfloat16)
    with trace.Writer(folder) as writer:
        writer.add_layer("bn", decay=0.9, epsilon=1e-5, dtype="bfloat16")
        writer.add_step({"bn": record}, training=True)
        # The same as what a framework without such arrays has at hand: their bits, declared.
        bits = dict(record, inputs=[array.view(np.uint16) for array in record["inputs"]], inputs_dtype="bfloat16")
        writer.add_step({"bn": bits}, training=True)
    for step in trace.open(folder):
        read = step.layers["bn"]
        assert_same(read.inputs[0], record["inputs"][0].astype(np.float32))
        assert_same(read.gamma, record["gamma"].astype(np.float32))
        assert read.inputs_dtype == "bfloat16"
        assert read.outputs_dtype == ("bfloat16" if "outputs" in record else None)


def test_a_step_that_is_dropped_takes_its_arrays_along(folder):
    traces.foreign(folder, steps=5)
    kept = []
    for step in trace.open(folder):
        assert not any(array() is not None for array in kept)
        record = step.layers["bn"]
        kept += [weakref.ref(array.base) for array in (record.moving_mean_before, record.gamma)]
        kept += [weakref.ref(array) for array in record.inputs]
        assert all(array() is not None for array in kept[-3:])
        del step, record


def test_small_vectors_share_a_file(folder):
    rng = np.random.default_rng(0)
    layers = {f"bn{i}": traces.a_record(rng, (4, 3 if i % 2 else 8)) for i in range(20)}
    for record in layers.values():
        del record["inputs"], record["outputs"], record["weights"], record["training"], record["state"]
        record["moments"] = [checker.batch_moments(rng.normal(size=(9, record["gamma"].size)))]
    with trace.Writer(folder) as writer:
        writer.add_layers({name: trace.Layer(decay=0.9, epsilon=1e-3) for name in layers})
        writer.add_step(layers, training=True)
    assert len(list(folder.glob("arrays/*"))) == 4, "two widths in float32, two in float64"
    assert len(traces.read_all(trace.open(folder))[0]) == 20


def test_defaults_are_filled_in_and_what_was_written_is_not_lost(folder):
    settings = {"axis": 2, "renorm": True, "rate_dtype": "float32", "center": False, "scale": True}
    settings |= {"unrecordable": "it is inside a tf.cond", "renorm_clipping": {"rmax": 3.0, "dmax": None}}
    with trace.Writer(folder) as writer:
        writer.add_layer("bare", trace.Layer(decay=None, epsilon=None))
        writer.add_layer("full", **settings, decay=1, epsilon=0, data_format="NCHW", dtype="float16", fused=True)
    layers = trace.open(folder).layers
    bare = json.loads((folder / "trace.json").read_text())["layers"]["bare"]
    assert bare.keys() >= {"decay", "epsilon", "data_format", "dtype", "fused", "zero_debias", "trainable", "release"}
    assert (layers["bare"].decay, layers["bare"].fused, layers["bare"].renorm) == (None, None, False)
    assert {name: getattr(layers["full"], name) for name in settings} == settings
    assert [layer.channel_axis for layer in layers.values()] == [-1, 2]
    assert trace.Layer(decay=0.9, epsilon=0, data_format="NCHW").channel_axis == 1
    with pytest.raises(TypeError):
        layers["new"] = bare


def test_keys_of_the_producer_are_left_alone_and_null_is_nothing(folder):
    head, lines = traces.foreign(folder)
    head |= {"made": "on Monday"}
    head["layers"]["bn"] |= {"momentum": 0.1, "axis": None, "renorm": None}
    lines[0]["layers"]["bn"] |= {"loss": 3, "gamma": None, "moments": None, "decay": None, "weights": [None]}
    traces.put(folder, head, lines)
    record, other = (step.layers["bn"] for step in trace.open(folder))
    assert (record.gamma, record.weights, record.moments) == (None, None, None)
    assert record.decay is None, "a decay of null is one that is not known"
    assert other.decay == 0.9


def test_a_misdeclared_axis_is_for_the_diagnosis(folder):
    head, lines = traces.foreign(folder)
    head["layers"]["bn"]["data_format"] = "NCHW"
    traces.put(folder, head, lines)
    for step in trace.open(folder):
        assert step.layers["bn"].inputs[0].shape == (4, 2, 2, 3)


def test_a_trace_that_grows_is_read_as_it_was_when_it_was_opened(folder):
    rng = np.random.default_rng(0)
    with trace.Writer(folder) as writer:
        writer.add_layer("bn", decay=0.9, epsilon=1e-5)
        assert list(trace.open(folder)) == []
        writer.add_step({"bn": traces.a_record(rng)}, training=True)
        opened = trace.open(folder)
        writer.add_layer("late", decay=0.9, epsilon=1e-5)
        writer.add_step({"late": traces.a_record(rng)}, training=True)
        assert [list(step.layers) for step in opened] == [["bn"]]
        assert opened.count_steps() == 1
    assert [list(step.layers) for step in trace.open(folder)] == [["bn"], ["late"]]


def test_steps_can_be_read_twice_at_once_and_kept(folder):
    traces.foreign(folder, steps=3)
    opened = trace.open(folder)
    steps = list(opened)
    for one, two, kept in zip(opened, opened, steps, strict=True):
        assert_same(one.layers["bn"].gamma, two.layers["bn"].gamma)
        assert_same(kept.layers["bn"].gamma, one.layers["bn"].gamma)


def test_what_is_read_shows_what_it_is_and_reads_no_array_for_that(folder):
    rng = np.random.default_rng(0)
    with trace.Writer(folder, producer="the tests") as writer:
        writer.add_layers({name: trace.Layer(decay=0.9, epsilon=1e-3, fused=True) for name in ("bn", "other")})
        writer.add_step({"bn": traces.a_record(rng, applications=2)}, training=True, step=7)
        record = {name: np.ones(3) for name in traces.AROUND} | {"moments": [checker.batch_moments(np.ones((4, 3)))]}
        writer.add_step({"bn": record, "other": record}, training=False)
    for array in folder.glob("arrays/*"):
        array.unlink()
    opened = trace.open(folder)
    assert repr(opened) == f"<Trace {str(folder)!r}: 2 layers, made by the tests>"
    assert repr(opened.layers["bn"]) == "Layer(decay=0.9, epsilon=0.001, fused=True)"
    assert eval(repr(opened.layers["bn"]), {"Layer": trace.Layer}) == opened.layers["bn"]
    assert [repr(step) for step in opened] == ["<Step 7: training, 1 layer>", "<Step 8: inference, 2 layers>"]
    first, second = (step.layers["bn"] for step in opened)
    assert repr(first) == (
        "<Record of step 7, layer 'bn': training and inference, 2 applications; "
        "has inputs, outputs, gamma, beta, weights, state>"
    )
    assert repr(second) == "<Record of step 8, layer 'bn': inference, 1 application; has moments>"


# ---------------------------------------------------------------- the writer


def test_an_existing_trace_is_replaced_only_when_told(folder):
    with trace.Writer(folder) as writer:
        writer.add_layer("old", decay=0.9, epsilon=1e-5)
    with pytest.raises(FileExistsError, match=r"`path` is '.*', where a trace is; choose another path, or pass overwr"):
        trace.Writer(folder)
    assert list(trace.open(folder).layers) == ["old"]
    with trace.Writer(folder, overwrite=True) as writer:
        writer.add_layer("new", decay=0.9, epsilon=1e-5)
    assert list(trace.open(folder).layers) == ["new"]
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_trace_is_never_replaced(tmp_path, overwrite):
    file, other = tmp_path / "file", tmp_path / "other"
    file.write_text("mine")
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    for path in (file, other):
        with pytest.raises(FileExistsError, match="which is there and is not a trace; choose another path"):
            trace.Writer(path, overwrite=overwrite)
    assert file.read_text() == (other / "thesis.txt").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    trace.Writer(tmp_path / "empty", overwrite=overwrite).close()
    assert len(trace.open(tmp_path / "empty").layers) == 0


def test_a_replacement_that_fails_leaves_the_old_trace(folder, monkeypatch):
    with trace.Writer(folder) as writer:
        writer.add_layer("old", decay=0.9, epsilon=1e-5)
    # As on a system that cannot exchange two folders at once.
    monkeypatch.setattr("tf1bn.trace.replacing.exchange", lambda one, other: False)
    rename, calls = os.rename, []

    def failing(source, target):
        calls.append(source)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        rename(source, target)

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(OSError, match="No space left"):
        trace.Writer(folder, overwrite=True)
    assert list(trace.open(folder).layers) == ["old"]
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_step_that_fails_is_not_in_the_trace(folder, monkeypatch):
    """The disk is full in the middle of a line, and then it is not."""
    rng = np.random.default_rng(0)
    with trace.Writer(folder) as writer:
        writer.add_layer("bn", decay=0.9, epsilon=1e-5)
        writer.add_step({"bn": traces.a_record(rng)}, training=True)
        write = os.write

        def full(descriptor, data):
            if bytes(data[:1]) == b"{" and len(data) > 100:
                return write(descriptor, data[:100])
            if bytes(data[-1:]) == b"\n":
                raise OSError(28, "No space left on device")
            return write(descriptor, data)

        monkeypatch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space left"):
            writer.add_step({"bn": traces.a_record(rng)}, training=True)
        monkeypatch.undo()
        assert writer.add_step({"bn": traces.a_record(rng)}, training=False) == 1
    assert [step.training for step in trace.open(folder)] == [True, False]
    assert len(traces.read_all(trace.open(folder))) == 2


def test_a_closed_writer_takes_nothing(folder):
    writer = trace.Writer(folder)
    writer.close()
    writer.close()
    for add in (lambda: writer.add_layer("bn", decay=0.9, epsilon=0), lambda: writer.add_step({}, training=True)):
        with pytest.raises(ValueError, match=r"The trace '.*' is closed; nothing can be added"):
            add()


BAD_LAYERS = {
    "decay": (-0.1, 1.5, float("nan"), float("inf"), "0.9", True, 10**400),
    "epsilon": (float("nan"), float("-inf"), "x"),
    "data_format": ("NHCW", None),
    "dtype": ("float31", np.float32, None),
    "fused": (1, "true"),
    "zero_debias": (None, 0),
    "trainable": (None, 1),
    "release": ("1.16", 1.15, "2.0"),
    "center": (1,),
    "scale": ("no",),
    "axis": (1.0, True, "1"),
    "renorm": (None,),
    "renorm_clipping": (3.0, [1.0], {"max": 1.0}, {"rmax": "3"}),
    "rate_dtype": ("float16",),
    "recurrence": ("keras", True),
    "unrecordable": (True,),
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD_LAYERS.items() for value in values])
def test_layers_are_checked(name, value):
    with pytest.raises(ValueError, match=rf"`{name}` is .*; (accepted are|it must be) "):
        trace.Layer(**({"decay": 0.9, "epsilon": 0.001} | {name: value}))


def without(key):
    return lambda record: record.pop(key)


def changed(**values):
    return lambda record: record.update(values)


ZEROS = np.zeros((4, 2, 2, 3), np.float32)
BAD_RECORDS = {
    "unknown key": (changed(guma=1), "'guma' is not a key of a step's layer; accepted are inputs, "),
    "no inputs": (without("inputs"), "it has neither `inputs` nor `moments`; give one of the two"),
    "both": (changed(moments=[]), "it has both `inputs` and `moments`; give one of the two"),
    "no application": (changed(inputs=[]), "`inputs` is empty; give one for each application"),
    "one array": (changed(inputs=ZEROS), "`inputs` is of type ndarray; give a list, one item for each application"),
    "missing": (without("moving_mean_after"), "`moving_mean_after` is missing"),
    "empty": (changed(moving_mean_before=np.zeros(0)), "`moving_mean_before` is empty"),
    "length": (changed(beta=np.zeros(4)), r"`beta` has shape \(4,\); it must be a vector of 3 values"),
    "rank": (changed(gamma=np.zeros((1, 3))), r"`gamma` has shape \(1, 3\); it must be a vector of 3 values"),
    "channels": (changed(inputs=[np.zeros((4, 2))]), r"`inputs` has an array of shape \(4, 2\), and no axis of the 3 "),
    "flat": (changed(inputs=[np.zeros(3)]), r"`inputs` has an array of shape \(3,\); it must have rank 2 or more"),
    "integers": (changed(inputs=[ZEROS.astype(int)]), "`inputs` has dtype int64; accepted are float16, float32, float"),
    "objects": (changed(beta=np.array([None] * 3)), "`beta` has dtype object; accepted are float16"),
    "outputs": (changed(outputs=[ZEROS[:2]]), r"`outputs` has an array of shape \(2, 2, 2, 3\) where the input has \("),
    "more outputs": (changed(outputs=[ZEROS, ZEROS]), "`outputs` has 2 items and the layer 1 applications; give one "),
    "weights": (changed(weights=[np.ones(3)]), r"`weights` has shape \(3,\); it must be a vector of 4 values"),
    "training": (changed(training=[True, False]), "`training` has 2 items and the layer 1 applications"),
    "flag": (changed(training=1), "`training` is 1; it must be true or false"),
    "decay": (changed(decay=float("nan")), "`decay` is nan; it must be a number from 0 to 1, or null"),
    "state": (changed(state={"biased": np.zeros((2, 3))}), r"`biased` has shape \(2, 3\); it must be a vector"),
}


@pytest.mark.parametrize("id", BAD_RECORDS)
def test_steps_are_checked_and_leave_nothing(folder, id):
    change, message = BAD_RECORDS[id]
    record = traces.a_record(np.random.default_rng(0))
    change(record)
    with trace.Writer(folder) as writer:
        writer.add_layer("bn", decay=0.9, epsilon=1e-5)
        with pytest.raises((ValueError, TypeError), match=f"^Layer 'bn': {message}"):
            writer.add_step({"bn": record}, training=True)
    assert list(trace.open(folder)) == []
    assert list(folder.glob("arrays/*")) == []


def test_steps_count_up_and_layers_are_declared(folder):
    record = traces.a_record(np.random.default_rng(0))
    with trace.Writer(folder) as writer:
        with pytest.raises(ValueError, match="layer 'bn' was not declared; call `add_layer` first"):
            writer.add_step({"bn": record}, training=True)
        writer.add_layer("bn", decay=0.9, epsilon=1e-5)
        writer.add_layer("bn", decay=0.9, epsilon=1e-5)
        with pytest.raises(ValueError, match="layer 'bn' was declared with other settings, Layer"):
            writer.add_layer("bn", decay=0.99, epsilon=1e-5)
        with pytest.raises(TypeError, match="`name` is 3; it must be a string"):
            writer.add_layer(3, decay=0.9, epsilon=1e-5)
        writer.add_step({"bn": record}, training=True, step=5)
        for step in (5, 4):
            with pytest.raises(ValueError, match=f"`step` is {step} and the last one was 5; the steps must count up"):
                writer.add_step({"bn": record}, training=True, step=step)
        with pytest.raises(ValueError, match="`training` is None; it must be true or false"):
            writer.add_step({"bn": record}, training=None)
        assert writer.add_step({"bn": record}, training=True) == 6


# ---------------------------------------------------------------- killed

KILLED = """
import json, os, signal, sys
import numpy as np
from tf1bn import trace

STEPS = 3

def work(path, report):
    with trace.Writer(path, packed=sys.argv[2] == "packed") as writer:
        os.write(report, b"o")
        for step in range(STEPS):
            writer.add_layer(f"bn{step}", decay=0.9, epsilon=1e-3)
            vectors = {name: np.full(4, step, np.float32) for name in AROUND}
            inputs = [np.full((2, 4), step, np.float32), np.full((5000, 4), step, np.float32)]
            writer.add_step({f"bn{step}": {"inputs": inputs, **vectors}}, training=True)
            os.write(report, b".")

def child(path, moment):
    # Runs work in a child process. moment: before which call of a built-in function it is killed; what os.write was
    # given to write is written by half before that. None: it is not killed. Returns what it reported, whether it was
    # killed, the number of calls, and at which of them a file was written to.
    reading, report = os.pipe()
    pid = os.fork()
    if not pid:
        calls, writes, write = 0, [], os.write
        def count(frame, event, function):
            nonlocal calls
            if event != "c_call":
                return
            writing = function is write and frame.f_code.co_name == "write_all"
            if calls == moment:
                sys.setprofile(None)
                if writing:
                    data = frame.f_locals["data"]
                    write(frame.f_locals["descriptor"], data[: len(data) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            if writing:
                writes.append(calls)
            calls += 1
        sys.setprofile(count)
        work(path, report)
        sys.setprofile(None)
        os.write(report, json.dumps([calls, writes]).encode())
        os._exit(0)
    os.close(report)
    with os.fdopen(reading, "rb") as file:
        reported, _, counted = file.read().partition(b"[")
    _, status = os.waitpid(pid, 0)
    return reported, os.WIFSIGNALED(status), *(json.loads(b"[" + counted) if counted else (None, None))

AROUND = ("moving_mean_before", "moving_variance_before", "moving_mean_after", "moving_variance_after")

def alone(name):
    # A folder of its own: a writer looks at what lies beside its trace.
    os.mkdir(f"{sys.argv[1]}/{name}")
    return f"{sys.argv[1]}/{name}/t"

work(alone("whole"), os.open(os.devnull, os.O_WRONLY))  # imports and caches are not what is killed
reported, killed, calls, writes = child(alone("counted"), None)
assert reported == b"o" + b"." * STEPS and not killed
half = 0
for moment in sorted({*range(0, calls, 7), *writes}):
    path = alone(moment)
    reported, killed, *_ = child(path, moment)
    assert killed or moment > calls - 20, moment
    finished = []
    if os.path.exists(path):
        with open(path + "/steps.jsonl", "rb") as file:
            half += not (b"\\n" + file.read()).endswith(b"\\n")
        finished = list(trace.open(path))
    else:
        assert not reported, moment
    done = reported.count(b".")
    # A step is there from its newline on, a moment before the writer can say so.
    assert len(finished) in (done, done + 1), (moment, done, len(finished))
    for number, step in enumerate(finished):
        assert step.number == number
        for record in step.layers.values():
            for array in (*record.inputs, record.moving_mean_before, record.moving_variance_after):
                assert (array == number).all()
assert half == STEPS, half
"""


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["plain", "packed"])
def test_a_run_killed_at_any_moment_leaves_its_finished_steps(encoding, tmp_path):
    """Child processes are killed with signal 9: in the middle of every write, and at every seventh call in between."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), encoding], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    # How many calls there are depends on the Python; 165 children with 3.12.
    assert len(list(tmp_path.iterdir())) > 100


# ---------------------------------------------------------------- damaged


def in_head(change):
    def damage(folder, head, lines):
        change(head)
        traces.put(folder, head, lines)

    return damage


def in_record(change, step=1):
    def damage(folder, head, lines):
        change(lines[step]["layers"]["bn"])
        traces.put(folder, head, lines)

    return damage


def in_lines(change):
    def damage(folder, head, lines):
        change(lines)
        traces.put(folder, head, lines)

    return damage


def in_text(file, old, new):
    def damage(folder, head, lines):
        text = (folder / file).read_text()
        assert old in text
        (folder / file).write_bytes(text.replace(old, new, 1).encode("utf-8", "surrogateescape"))

    return damage


def in_bytes(file, change):
    def damage(folder, head, lines):
        (folder / file).write_bytes(change((folder / file).read_bytes()))

    return damage


def saved(file, array, **options):
    return lambda folder, head, lines: np.save(folder / file, array, **options)


def header(text, version=1):
    """A .npy file with this header and no data."""
    data = text.encode()
    return b"\x93NUMPY" + bytes([version, 0]) + len(data).to_bytes(2 if version == 1 else 4, "little") + data


def npy(descr="'<f4'", shape="(4, 2, 2, 3)", order="False", version=1):
    return in_bytes(
        "arrays/1-in.npy",
        lambda data: header(f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n", version),
    )


def outside(folder, name="secret.npy"):
    path = folder.parent / name
    np.save(path, np.zeros((4, 2, 2, 3), np.float32))
    return path


def by_link(folder, head, lines):
    (folder / "arrays/1-in.npy").unlink()
    (folder / "arrays/1-in.npy").symlink_to(outside(folder))


def by_linked_folder(folder, head, lines):
    (folder.parent / "elsewhere").mkdir()
    np.save(folder.parent / "elsewhere/in.npy", np.zeros((4, 2, 2, 3), np.float32))
    (folder / "linked").symlink_to(folder.parent / "elsewhere")
    in_record(changed(inputs=["linked/in.npy"]))(folder, head, lines)


def by_linked_json(folder, head, lines):
    (folder / "trace.json").rename(folder.parent / "other.json")
    (folder / "trace.json").symlink_to(folder.parent / "other.json")


def to_itself(folder, head, lines):
    (folder / "arrays/1-in.npy").unlink()
    (folder / "arrays/1-in.npy").symlink_to(folder / "arrays/1-in.npy")


def as_pipe(folder, head, lines):
    (folder / "arrays/1-in.npy").unlink()
    os.mkfifo(folder / "arrays/1-in.npy")


class Bomb:
    """Unpickled, it makes a file."""

    def __reduce__(self):
        return open, (os.environ["TF1BN_TEST_BOMB"], "w")


def path_of(name, accepted=True):
    return in_record(changed(inputs=[name]))


NOT_ACCEPTED = r"the path '.*' is not accepted; give the path of a file in the trace's folder"
AS_MOMENTS = {"inputs": None, "outputs": None}
VECTOR = "arrays/0-vectors.npy#0"
DAMAGES = {
    # the folder
    "no trace.json": (lambda f, *_: (f / "trace.json").unlink(), "holds no trace.json; give the folder of a trace"),
    "no steps.jsonl": (lambda f, *_: (f / "steps.jsonl").unlink(), "the file 'steps.jsonl' is missing"),
    "trace.json leads out": (by_linked_json, r"the path 'trace.json' leads out of the trace's folder, to '.*other"),
    # trace.json
    "empty": (in_bytes("trace.json", lambda data: b""), r"in trace.json, it is not JSON: Expecting value \(column 1\)"),
    "cut": (in_bytes("trace.json", lambda data: data[:50]), "in trace.json, it is not JSON"),
    "binary": (in_bytes("trace.json", lambda data: b"\xff\xfe"), "in trace.json, it is not text in UTF-8"),
    "a list": (in_bytes("trace.json", lambda data: b"[]"), '`format` is not "tf1bn-trace"; this is not a trace'),
    "format": (in_head(lambda head: head.update(format="hdf5")), '`format` is not "tf1bn-trace"'),
    "version": (
        in_head(lambda head: head.update(version=3)),
        "`version` is 3 and this tf1bn reads 1 and 2; read it with",
    ),
    "version as text": (in_head(lambda head: head.update(version="1")), "`version` is '1' and this tf1bn reads 1"),
    "version as bool": (in_head(lambda head: head.update(version=True)), "`version` is True and this tf1bn reads 1"),
    "no version": (in_head(lambda head: head.pop("version")), "`version` is None"),
    "producer": (in_head(lambda head: head.update(producer=3)), "`producer` is 3; it must be a string or null"),
    "no layers": (in_head(lambda head: head.pop("layers")), "`layers` is missing"),
    "layers as list": (in_head(lambda head: head.update(layers=["bn"])), r"`layers` is \['bn'\]; it must be an object"),
    "layer as text": (in_head(lambda head: head["layers"].update(bn="x")), "layer 'bn': `layer` is 'x'; it must be an"),
    "no decay": (in_head(lambda head: head["layers"]["bn"].pop("decay")), "layer 'bn': `decay` is missing"),
    "decay": (
        in_head(lambda h: h["layers"]["bn"].update(decay=2)),
        "layer 'bn': `decay` is 2; it must be a number from",
    ),
    "dtype": (in_head(lambda h: h["layers"]["bn"].update(dtype="int8")), "`dtype` is 'int8'; it must be \"float32\""),
    "NaN": (in_text("trace.json", "0.9", "NaN"), "it holds NaN, which is not JSON; write null"),
    "Infinity": (in_text("trace.json", "0.9", "-Infinity"), "it holds -Infinity, which is not JSON"),
    "overflow": (in_text("trace.json", "0.9", "1e999"), "`decay` is inf; it must be a number from 0 to 1"),
    "twice": (in_text("trace.json", '"layers"', '"version": 1, "layers"'), "it gives 'version' twice"),
    "deep": (in_bytes("trace.json", lambda data: b"[" * 100_000), "it is nested too deeply"),
    "digits": (in_text("trace.json", "0.9", "9" * 5000), "in trace.json, it holds a number of 5000 digits"),
    # steps.jsonl
    "line": (
        in_text("steps.jsonl", '"step": 1', '"step" 1'),
        "in line 2 of steps.jsonl, it is not JSON: Expecting ':'",
    ),
    "blank line": (in_text("steps.jsonl", "\n", "\n\n"), "in line 2 of steps.jsonl, it is not JSON"),
    "line as list": (
        in_lines(lambda lines: lines.append([])),
        r"in line 3 of .*: `line` is \[\]|in line 3 of .*`line`",
    ),
    "NaN in a line": (in_text("steps.jsonl", '"step": 1', '"step": NaN'), "in line 2 of steps.jsonl, it holds NaN"),
    "binary line": (in_text("steps.jsonl", "bn", "\udcff"), "in line 1 of steps.jsonl, it is not text in UTF-8"),
    "no step": (in_lines(lambda lines: lines[1].pop("step")), "in line 2 of steps.jsonl, `step` is missing"),
    "negative step": (in_lines(lambda lines: lines[0].update(step=-1)), "`step` is -1; it must be a whole number"),
    "step as float": (in_lines(lambda lines: lines[1].update(step=1.0)), "`step` is 1.0; it must be a whole number"),
    "step as bool": (in_lines(lambda lines: lines[1].update(step=True)), "`step` is True; it must be a whole number"),
    "same step": (in_lines(lambda lines: lines[1].update(step=0)), "`step` is 0 after 0; the steps must count up"),
    "decreasing": (in_lines(lambda lines: lines[0].update(step=7)), "line 2 of .* `step` is 1 after 7; the steps must"),
    "training": (in_lines(lambda lines: lines[1].update(training=1)), "`training` is 1; it must be true or false"),
    "no training": (in_lines(lambda lines: lines[1].pop("training")), "`training` is missing"),
    "layers": (in_lines(lambda lines: lines[1].update(layers=None)), "`layers` is None; it must be an object"),
    "unknown layer": (
        in_lines(lambda lines: lines[1]["layers"].update(x={})),
        "the layer 'x' is not among those of tra",
    ),
    "record": (in_lines(lambda lines: lines[1]["layers"].update(bn=[])), r"layer 'bn': `layer` is \[\]; it must be an"),
    # a record
    "no inputs": (in_record(without("inputs")), "line 2 .* layer 'bn': it has neither `inputs` nor `moments`"),
    "both": (in_record(changed(moments=[])), "it has both `inputs` and `moments`"),
    "no application": (in_record(changed(inputs=[])), "`inputs` is empty; give one for each application"),
    "inputs as text": (in_record(changed(inputs="a.npy")), "`inputs` is 'a.npy'; it must be a list"),
    "no mean": (in_record(without("moving_mean_after")), "layer 'bn': `moving_mean_after` is missing"),
    "outputs": (in_record(changed(outputs=[])), "`outputs` has 0 items and the layer 1 applications; give one for ea"),
    "flags": (in_record(changed(training=[True, True])), "`training` has 2 items and the layer 1 applications"),
    "flag": (in_record(changed(training=["yes"])), "`training` is 'yes'; it must be true or false"),
    "record decay": (in_record(changed(decay="0.9")), "`decay` is '0.9'; it must be a number from 0 to 1"),
    "weights": (in_record(changed(weights=[])), "`weights` has 0 items and the layer 1 applications"),
    "state": (in_record(changed(state=[])), r"`state` is \[\]; it must be an object"),
    "moments": (in_record(changed(**AS_MOMENTS, moments=[3])), "`moments` is 3; it must be an object"),
    "count": (
        in_record(changed(**AS_MOMENTS, moments=[{"count": -1, "mean": VECTOR, "variance": VECTOR}])),
        "`count` is -1; it must be a whole number, 0 or more",
    ),
    "count as float": (
        in_record(changed(**AS_MOMENTS, moments=[{"count": 4.0, "mean": VECTOR, "variance": VECTOR}])),
        "`count` is 4.0; it must be a whole number",
    ),
    "no variance": (in_record(changed(**AS_MOMENTS, moments=[{"count": 4, "mean": VECTOR}])), "`variance` is missing"),
    "count 0 with moments": (
        in_record(changed(**AS_MOMENTS, moments=[{"count": 0, "mean": VECTOR, "variance": VECTOR}])),
        "step 1, layer 'bn': the moments are not those of a batch: `count` is 0, so `mean` and `variance` must be NaN",
    ),
    # paths
    "absolute": (lambda f, *rest: path_of(str(outside(f)))(f, *rest), NOT_ACCEPTED),
    "above": (lambda f, *rest: (outside(f), path_of("../secret.npy")(f, *rest)), NOT_ACCEPTED),
    "above from within": (path_of("arrays/../../secret.npy"), NOT_ACCEPTED),
    "above and back": (path_of("../run.trace/arrays/0-in.npy"), NOT_ACCEPTED),
    "backslash": (path_of("arrays\\0-in.npy"), NOT_ACCEPTED),
    "nothing": (path_of(""), NOT_ACCEPTED),
    "zero byte": (path_of("arrays/0-in.npy\0"), NOT_ACCEPTED),
    "surrogate": (path_of("arrays/\ud800.npy"), "the file '.*' cannot be opened"),
    "long": (path_of("a" * 5000), "the file 'a+' cannot be opened: File name too long"),
    "number": (path_of(3), "3 stands where the path of a file belongs"),
    "list": (in_record(changed(gamma=["arrays/0-in.npy"])), r"\['arrays/0-in.npy'\] stands where the path of a file"),
    "link": (by_link, r"the path 'arrays/1-in.npy' leads out of the trace's folder, to '.*secret.npy'"),
    "linked folder": (by_linked_folder, "the path 'linked/in.npy' leads out of the trace's folder"),
    "circle": (to_itself, "the file 'arrays/1-in.npy' cannot be opened: Too many levels of symbolic links"),
    "pipe": (as_pipe, "'arrays/1-in.npy' is not a regular file"),
    "a folder": (path_of("arrays"), "'arrays' is not a regular file|the file 'arrays' cannot be opened"),
    "row of inputs": (path_of("arrays/1-vectors.npy#0"), "the file 'arrays/1-vectors.npy#0' is missing"),
    "row": (in_record(changed(gamma="arrays/1-vectors.npy#6")), r"asks for row 6 of an array of shape \(6, 3\)"),
    "row of 4-D": (
        in_record(changed(gamma="arrays/1-in.npy#0")),
        r"asks for row 0 of an array of shape \(4, 2, 2, 3\)",
    ),
    "huge row": (in_record(changed(gamma="arrays/1-in.npy#" + "9" * 99)), "the file 'arrays/1-in.npy#9+' is missing"),
    # arrays
    "missing array": (lambda f, *_: (f / "arrays/1-in.npy").unlink(), "the file 'arrays/1-in.npy' is missing"),
    "cut array": (
        in_bytes("arrays/1-in.npy", lambda data: data[:-1]),
        "the file 'arrays/1-in.npy' was cut: it has 319 bytes where its header asks for 320",
    ),
    "cut vectors": (in_bytes("arrays/1-vectors.npy", lambda data: data[:150]), "the file .* was cut: it has 150 bytes"),
    "cut header": (in_bytes("arrays/1-in.npy", lambda data: data[:40]), "the header of .* is not that of a .npy file"),
    "cut magic": (in_bytes("arrays/1-in.npy", lambda data: data[:7]), "'arrays/1-in.npy' is not a .npy file of versi"),
    "empty array": (in_bytes("arrays/1-in.npy", lambda data: b""), "the file 'arrays/1-in.npy' is empty"),
    "longer": (in_bytes("arrays/1-in.npy", lambda data: data + b"\0"), "holds more than it should: it has 321 bytes"),
    "zip": (in_bytes("arrays/1-in.npy", lambda data: b"PK\3\4" + data), "is not a .npy file of version 1.0 or 2.0"),
    "version 3": (npy(version=3), "is not a .npy file of version 1.0 or 2.0"),
    "long header": (
        in_bytes("arrays/1-in.npy", lambda data: header(" " * 5000)),
        "the header of .* says that it is 5000 bytes long; that of a plain array has at most 4096",
    ),
    "huge header": (
        in_bytes("arrays/1-in.npy", lambda data: b"\x93NUMPY\2\0\xff\xff\xff\xff" + data[10:]),
        "the header of .* says that it is 4294967295 bytes long",
    ),
    "huge shape": (npy(shape="(4, 10000000000, 3)"), "was cut: it has .* bytes where its header asks for 4800000000"),
    "impossible shape": (npy(shape="(0, " + "9" * 40 + ")"), "has the shape .*, which NumPy cannot hold"),
    "many axes": (npy(shape="(" + "0, " * 70 + ")"), "has the shape .*, which NumPy cannot hold"),
    "negative shape": (npy(shape="(-4, 3)"), r"gives the shape \(-4, 3\)"),
    "header code": (npy(shape="__import__('os').getpid()"), "the header of .* is not that of a .npy file"),
    "integers": (
        saved("arrays/1-in.npy", np.zeros((4, 3), int)),
        "has dtype int64; accepted are float16, float32, flo",
    ),
    "complex": (saved("arrays/1-in.npy", np.zeros((4, 3), complex)), "has dtype complex128; accepted are float16"),
    "structured": (saved("arrays/1-in.npy", np.zeros(4, "f4,f4")), r"has dtype \[.*\]; accepted are float16"),
    "integer vectors": (saved("arrays/1-vectors.npy", np.zeros((6, 3), int)), "has dtype int64; accepted are float16"),
    "pickle": (
        saved("arrays/1-in.npy", np.array([[Bomb()]]), allow_pickle=True),
        "'arrays/1-in.npy' holds pickled Python objects, which are never loaded",
    ),
    "pickled vectors": (
        saved("arrays/1-vectors.npy", np.array([[Bomb()]]), allow_pickle=True),
        "'arrays/1-vectors.npy' holds pickled Python objects, which are never loaded",
    ),
    "bare pickle": (
        in_bytes("arrays/1-in.npy", lambda data: pickle.dumps(Bomb())),
        "'arrays/1-in.npy' is not a .npy file",
    ),
    "flat inputs": (
        saved("arrays/1-in.npy", np.zeros(3, "f4")),
        r"step 1, layer 'bn': `inputs` has an array of shape \(3,\); it must have rank 2 or more and an axis of",
    ),
    "channels": (saved("arrays/1-in.npy", np.zeros((4, 5), "f4")), r"`inputs` has an array of shape \(4, 5\); it must"),
    "output shape": (
        saved("arrays/1-out.npy", np.zeros((4, 3), "f4")),
        r"step 1, layer 'bn': `outputs` has an array of shape \(4, 3\) where the input has \(4, 2, 2, 3\)",
    ),
    "vector shape": (
        in_record(changed(beta="arrays/1-in.npy")),
        r"`beta` has shape \(4, 2, 2, 3\); it must be a vector with one value per channel like the 3 of",
    ),
    "no channels": (
        saved("arrays/1-vectors.npy", np.zeros((6, 0), "f4")),
        r"`moving_mean_before` has shape \(0,\); it",
    ),
    "weights shape": (
        in_record(changed(weights=["arrays/1-vectors.npy#0"])),
        r"`weights` has an array of shape \(3,\)",
    ),
    "state shape": (in_record(changed(state={"biased": "arrays/1-in.npy"})), "`state` has 'biased' of shape"),
}


@pytest.mark.parametrize("id", DAMAGES)
def test_damage_is_one_sentence(folder, tmp_path, id, monkeypatch):
    monkeypatch.setenv("TF1BN_TEST_BOMB", str(tmp_path / "bomb"))
    damage, message = DAMAGES[id]
    damage(folder, *traces.foreign(folder))
    with pytest.raises(trace.TraceError, match=message) as raised:
        traces.read_all(trace.open(folder))
    text = str(raised.value)
    assert str(folder) in text
    assert "\n" not in text
    assert text.endswith(".")
    assert not (tmp_path / "bomb").exists()


def test_what_comes_before_the_damage_is_read(folder):
    head, lines = traces.foreign(folder)
    lines[1]["step"] = "one"
    traces.put(folder, head, lines)
    steps = iter(trace.open(folder))
    assert next(steps).layers["bn"].inputs[0].shape == (4, 2, 2, 3)
    with pytest.raises(trace.TraceError, match=r"in line 2 of steps\.jsonl"):
        next(steps)


def test_an_unfinished_last_line_is_no_damage(folder):
    traces.foreign(folder)
    with open(folder / "steps.jsonl", "ab") as file:
        file.write(b'{"step": 2, "training": tr')
    assert len(list(trace.open(folder))) == 2


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.write_text("x"), lambda path: path.mkdir()])
def test_what_is_no_trace(tmp_path, make):
    make(tmp_path / "x")
    with pytest.raises(trace.TraceError, match=r"`path` is '.*x', which .*; give the folder of a trace\."):
        trace.open(tmp_path / "x")


def test_links_within_the_folder_are_followed(folder):
    traces.foreign(folder)
    (folder / "arrays/1-in.npy").unlink()
    (folder / "arrays/1-in.npy").symlink_to("0-in.npy")
    (folder.parent / "link").symlink_to(folder)
    first, second = trace.open(folder.parent / "link")
    assert np.array_equal(first.layers["bn"].inputs[0], second.layers["bn"].inputs[0])


@pytest.mark.parametrize("count", [100, pytest.param(1500, marks=pytest.mark.slow)])
def test_damage_at_random_is_a_trace_error_or_harmless(folder, count):
    """Bytes changed, removed and doubled in each of the files: nothing but a TraceError comes out."""
    traces.foreign(folder)
    rng = np.random.default_rng(0)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    refused = 0
    for _ in range(count):
        file = files[rng.integers(len(files))]
        whole = file.read_bytes()
        # Most of an array is data, where every byte is accepted.
        at = int(rng.integers(min(len(whole), 130)))
        change = rng.integers(4)
        if change == 0:
            data = whole[:at]
        elif change == 1:
            data = whole[:at] + bytes(rng.integers(256, size=1, dtype=np.uint8)) + whole[at + 1 :]
        elif change == 2:
            data = whole[:at] + whole[at + int(rng.integers(1, 9)) :]
        else:
            data = whole[:at] + whole[at : at + 8] + whole[at:]
        file.write_bytes(data)
        sentence = ""
        try:
            traces.read_all(trace.open(folder))
        except trace.TraceError as error:
            sentence = str(error)
        assert re.fullmatch(r"(.+\.)?", sentence)
        refused += bool(sentence)
        file.write_bytes(whole)
    assert refused > 2 / 3 * count
    assert len(traces.read_all(trace.open(folder))) == 2
