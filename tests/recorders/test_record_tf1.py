"""docker/tf1/record_tf1.py: what it recorded in the real TensorFlow 1.x is read and right, and is what tf1bn does.

The traces in ``tests/golden/traces`` were made by ``tests/golden/record/record_traces.py``; their "producer" says with
what.
"""

import ast
import contextlib
import gzip
import importlib.util
import itertools
import json
import os
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import tensorflow
from golden.record import record_traces
from modes import played_in
from traces import AROUND

import tf1bn
from tf1bn import checker, trace
from tf1bn.layers import graph_collections
from tf1bn.trace.owner import Owner, owner_of

tf = tensorflow.compat.v1
ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(record_traces.FOLDER)
MADE_BY = {
    "tf-1.3.0-python-2.7": "1.3",
    "tf-1.4.0-python-2.7": "1.4",
    "tf-1.15.0-python-2.7": "1.15",
    "tf-1.15.5-python-3.7": "1.15",
}
RECORDED = [
    (made_by, name)
    for made_by, release in MADE_BY.items()
    for name, net in record_traces.NETS.items()
    if release in net.releases or made_by.split("-")[1] in net.releases
]
BUILD = importlib.util.spec_from_file_location("build_record_tf1", ROOT / "docker/tf1/build_record_tf1.py")
bundle = importlib.util.module_from_spec(BUILD)
BUILD.loader.exec_module(bundle)
SOURCE = bundle.TARGET.read_text(encoding="utf-8")


def test_it_holds_the_parts_of_tf1bn_as_they_are():
    assert bundle.bundled(SOURCE) == SOURCE, "run python docker/tf1/build_record_tf1.py --write"
    for name in bundle.PARTS:
        imported = (bundle.ROOT / "tf1bn" / f"{name}.py").read_text(encoding="utf-8").partition(bundle.MARK)[0]
        assert "tensorflow" not in {line.split()[1] for line in imported.splitlines() if line.startswith("import ")}


def test_it_is_the_python_of_2_7_and_3_5():
    """As far as the syntax tree shows; the recordings were made by such versions."""
    tree = ast.parse(SOURCE)
    assert SOURCE.isascii()
    for node in ast.walk(tree):
        newer = (
            ast.JoinedStr,
            ast.AnnAssign,
            ast.NamedExpr,
            ast.Nonlocal,
            ast.AsyncFunctionDef,
            ast.MatMult,
            ast.Match,
        )
        assert not isinstance(node, newer), ast.unparse(node)
        if isinstance(node, ast.arguments):
            assert not node.kwonlyargs
            assert not node.posonlyargs
            assert not any(argument.annotation for argument in node.args)
        if isinstance(node, ast.Raise):
            assert node.cause is None
        if isinstance(node, (ast.List, ast.Tuple, ast.Set)) and isinstance(node.ctx, ast.Load):
            assert not any(isinstance(item, ast.Starred) for item in node.elts)
        if isinstance(node, ast.Dict):
            assert None not in node.keys
        if isinstance(node, ast.ClassDef):
            assert node.bases, "without a base it is a class of the old kind in 2.7"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super":
            assert node.args
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    standard = {"collections", "json", "os", "shutil", "socket", "sys", "tempfile", "threading", "warnings"}
    assert imported == standard | {"numpy", "tensorflow"}


# ---------------------------------------------------------------- recordings


def test_the_recordings_are_complete_and_small():
    assert {path.name for path in FOLDER.iterdir()} == set(MADE_BY)
    for made_by in MADE_BY:
        nets = {name for by, name in RECORDED if by == made_by}
        meta = {record_traces.META} if made_by.split("-")[1] in record_traces.META_OF else set()
        assert {path.name for path in (FOLDER / made_by).iterdir()} == nets | meta
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 150_000


def prediction(record, training, decay, order=None):
    """What the statistics should be after a step."""
    stats = checker.MovingStats(
        record.moving_mean_before,
        record.moving_variance_before,
        decay=decay,
        bessel=record.layer.fused,
        dtype=record.layer.dtype,
        rate_dtype=record.layer.rate_dtype,
    )
    batches = record.inputs or record.moments
    for i in order or range(len(batches)):
        if training:
            stats.update(batches[i], data_format=record.layer.data_format)
    return stats


@pytest.mark.parametrize(("made_by", "name"), RECORDED)
def test_a_recording_is_read_and_is_what_the_checker_expects(made_by, name):
    net, release = record_traces.NETS[name], MADE_BY[made_by]
    opened = trace.open(FOLDER / made_by / name)
    _, version, _, python = made_by.split("-")
    assert opened.producer.startswith("python tests/golden/record_traces.py --write, with TensorFlow ")
    assert f"TensorFlow {version}, Python {python}." in opened.producer
    (layer,) = opened.layers.values()
    fused = net.arguments.get("fused", release != "1.3") and name not in ("renorm",)
    decay = net.arguments.get("decay", 0.999)
    core = net.arguments.get("is_training") == "fed" and release == "1.15"
    assert layer == trace.Layer(
        decay=decay,
        epsilon=0.001,
        data_format=net.arguments.get("data_format", "NHWC"),
        dtype="float16" if name == "half" else "float32",
        fused=fused,
        zero_debias=name == "zero_debias",
        release=release,
        center=True,
        scale=net.arguments.get("scale", False),
        renorm=name == "renorm",
        # The core layer of 1.15 makes its rate from a float32 decay; so does that of 1.3, where the flag is fed.
        rate_dtype="float32" if core or (release, name) == ("1.3", "default") else "float64",
    )
    fed = net.arguments.get("is_training") == "fed"
    steps = list(opened)
    assert [step.training for step in steps] == [training or not fed for training in record_traces.STEPS]
    for number, step in enumerate(steps):
        record = step.layers["bn"]
        given = record_traces.batch(name, number)
        if net.keep == "inputs":
            assert record.inputs[0].reshape(net.shape).tobytes() == given.tobytes()
            assert record.outputs[0].shape == record.inputs[0].shape
        else:
            assert record.moments[0].count == given.size // given.shape[-1]
        mean, variance = record.moving_mean_after, record.moving_variance_after
        if name == "twice":
            # TensorFlow gives two updates in one run no order.
            orders = itertools.permutations(range(2))
            assert any(prediction(record, True, decay, order).compare(mean, variance).ok for order in orders)
            assert not prediction(record, True, decay, (0,)).compare(mean, variance).ok
        elif name == "zero_debias":
            assert prediction(record, True, decay).compare(mean, variance).variance.ok
            assert (record.state["local_step"], record.state["local_step_after"]) == (number, number + 1)
            debiased = record.state["biased_after"] / (1 - decay ** (number + 1))
            assert np.allclose(mean, debiased, rtol=1e-5, atol=0)
        elif name == "renorm" and release == "1.15":
            deviation = record.state["moving_stddev_after"].astype(float)
            assert np.allclose(variance, deviation**2 - 0.001, rtol=1e-5, atol=0)
            assert prediction(record, True, decay).compare(mean, variance).mean.ok
        elif name == "renorm":
            assert record.state.keys() >= {"renorm_mean", "renorm_mean_weight", "renorm_stddev_weight_after"}
        else:
            assert prediction(record, step.training, decay).compare(mean, variance).ok
    for earlier, later in itertools.pairwise(step.layers["bn"] for step in steps):
        assert earlier.moving_mean_after.tobytes() == later.moving_mean_before.tobytes()


# ---------------------------------------------------------------- graphs


@pytest.mark.parametrize("made_by", ["tf-1.4.0-python-2.7", "tf-1.15.5-python-3.7"])
def test_a_meta_graph_of_tf1_is_recorded_by_tf1bn(tmp_path, made_by):
    """Every code path of the real contrib, imported into today's TensorFlow, and nothing known but its operations."""
    meta = tf.MetaGraphDef.FromString(gzip.decompress((FOLDER / made_by / record_traces.META).read_bytes()))
    with played_in("reference"), tf.Graph().as_default() as graph, tf.Session() as session:
        tf.train.import_meta_graph(meta)
        session.run(tf.global_variables_initializer())
        outputs = [graph.get_tensor_by_name(f"out_{name}:0") for name in record_traces.LAYERS]
        with tf1bn.Recorder(session, tmp_path / "run.trace") as rec:
            for step, training in enumerate(record_traces.STEPS):
                feeds = {"x:0": record_traces.batch("default", step), "flag:0": training}
                rec.run([outputs, tf.get_collection(tf.GraphKeys.UPDATE_OPS)], feeds)
    opened = trace.open(tmp_path / "run.trace")
    assert {name: layer.unrecordable for name, layer in opened.layers.items() if layer.unrecordable} == {
        "D_weights": "Its batch statistics are not the plain moments of its input, as with weights.",
        "E_in_cond": "It is inside a tf.cond or tf.while_loop.",
    }
    recorded = set(record_traces.LAYERS) - {"D_weights", "E_in_cond"}
    for step, training in zip(opened, record_traces.STEPS, strict=True):
        assert set(step.layers) == recorded
        for name, record in step.layers.items():
            arguments = record_traces.LAYERS[name]
            test = name.endswith("_test")
            assert record.training == (arguments.get("is_training", True) is True or (training and not test),)
            assert record.layer.fused == (name[0] in "AB")
            assert record.layer.decay == (None if test else 0.9)
            assert record.layer.scale == arguments.get("scale", False)
            assert record.layer.center == arguments.get("center", True)
            assert record.inputs[0].tobytes() == record_traces.batch("default", step.number).tobytes()
            stats = prediction(record, record.training[0], record.decay or 0.0)
            agreement = stats.compare(record.moving_mean_after, record.moving_variance_after)
            assert agreement.variance.ok or record.layer.renorm
            assert agreement.mean.ok or record.layer.zero_debias or record.layer.renorm
            assert record.layer.zero_debias == ("biased" in record.state)
            assert record.layer.renorm == ("renorm_mean" in record.state)


# ---------------------------------------------------------------- on today's TensorFlow


@pytest.fixture
def record_tf1(monkeypatch):
    """The file, imported as if today's TensorFlow were 1.15."""
    monkeypatch.setitem(sys.modules, "tensorflow", tf)
    monkeypatch.setattr(tf, "__version__", "1.15.5")
    spec = importlib.util.spec_from_file_location("record_tf1", bundle.TARGET)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.undo()
    monkeypatch.setattr(tf, "__version__", "1.15.5")
    with played_in("reference"), tf.Graph().as_default():
        yield module


def values(record):
    found = {name: getattr(record, name) for name in (*AROUND, "gamma", "beta")}
    for name in ("inputs", "outputs", "weights"):
        found |= {f"{name} {i}": array for i, array in enumerate(getattr(record, name) or ())}
    for i, moments in enumerate(record.moments or ()):
        found |= {f"count {i}": moments.count, f"mean {i}": moments.mean, f"variance {i}": moments.variance}
    return found | dict(record.state)


@pytest.mark.parametrize("keep", ["inputs", "moments"])
def test_it_writes_what_tf1bn_writes(record_tf1, tmp_path, keep):

    x, flag = tf.placeholder(tf.float32, [None, 4, 4, 3]), tf.placeholder(tf.bool, [])
    y = tf1bn.batch_norm(x, 0.9, is_training=flag, scope="a")
    y = tf1bn.batch_norm(y, 0.9, fused=False, scale=True, zero_debias_moving_mean=True, scope="b")
    test = tf1bn.batch_norm(x, 0.9, is_training=False, scope="a", reuse=True)
    todo = [y, tf.get_collection(tf.GraphKeys.UPDATE_OPS)]
    tf.get_default_graph().clear_collection(graph_collections.BUILT_LAYERS)
    traces = {}
    for name, recorder in (("own", tf1bn.Recorder), ("tf1", record_tf1.Recorder)):
        config = tf.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
        with tf.Session(config=config) as session:
            session.run(tf.global_variables_initializer())
            with recorder(session, str(tmp_path / name), keep=keep) as rec:
                for step in range(3):
                    batch = np.random.default_rng(step).normal(3, 2, (5, 4, 4, 3))
                    rec.run(todo, {x: batch, flag: step != 1}, training=False if step == 2 else None)
                    rec.run(tf.no_op())
                rec.run({"test": test}, {x: batch})
                assert rec.steps == 4
        traces[name] = trace.open(tmp_path / name)
    own, other = traces.values()
    assert list(own.layers) == list(other.layers) == ["a", "b"]
    for name, layer in own.layers.items():
        assert {**vars(layer), "release": "1.15"} == vars(other.layers[name])
    for one, two in zip(own, other, strict=True):
        assert (one.number, one.training, list(one.layers)) == (two.number, two.training, list(two.layers))
        for name, record in one.layers.items():
            assert record.training == two.layers[name].training
            mine, theirs = values(record), values(two.layers[name])
            assert mine.keys() == theirs.keys()
            for key, value in mine.items():
                if key.split()[0] in ("mean", "variance"):
                    assert np.allclose(value, theirs[key], rtol=1e-12, atol=1e-12)
                else:
                    assert np.array_equal(value, theirs[key]), (name, key)


def test_it_writes_the_decay_of_each_application_where_they_differ(record_tf1, tmp_path):
    x = tf.placeholder(tf.float32, [None, 3])
    outputs = [tf1bn.batch_norm(x, d, updates_collections=None, scope="a", reuse=tf.AUTO_REUSE) for d in (0.9, 0.5)]
    with tf.Session() as session, record_tf1.Recorder(session, tmp_path / "run.trace") as rec:
        session.run(tf.global_variables_initializer())
        rec.run(outputs, {x: np.random.default_rng(0).normal(size=(8, 3))})
    ((record,),) = (step.layers.values() for step in trace.open(tmp_path / "run.trace"))
    assert (record.decay, sorted(record.decays)) == (None, [0.5, 0.9])


def monitored(hook):
    """Trains and evaluates the net "monitored" with a hook."""
    net = record_traces.NETS["monitored"]
    with tf.Graph().as_default():
        x, flag = tf.placeholder(tf.float32, net.shape), tf.placeholder(tf.bool, [])
        y = tf1bn.batch_norm(x, scope="bn", **net.arguments | {"is_training": flag})
        todo = [y, tf.get_collection(tf.GraphKeys.UPDATE_OPS)]
        step = tf.train.get_or_create_global_step()
        config = tf.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
        with tf.train.MonitoredTrainingSession(config=config, hooks=[hook]) as session:
            for number, training in enumerate(record_traces.STEPS):
                session.run(todo, {x: record_traces.batch("monitored", number), flag: training})
                session.run(step)


def test_both_hooks_declare_and_record_what_was_recorded_under_1_15(record_tf1, tmp_path):
    from tf1bn.recorders.estimator import RecorderHook

    golden = trace.open(FOLDER / "tf-1.15.5-python-3.7" / "monitored")
    for name, hook in (("own", RecorderHook), ("tf1", record_tf1.RecorderHook)):
        monitored(hook(str(tmp_path / name), keep="inputs"))
        opened = trace.open(tmp_path / name)
        assert list(opened.layers) == ["bn"]
        # Today's TensorFlow has no release of 1.x, unless one says so.
        assert {**vars(opened.layers["bn"]), "release": "1.15"} == vars(golden.layers["bn"])
        for one, real in zip(opened, golden, strict=True):
            assert (one.number, one.training) == (real.number, real.training)
            mine, theirs = values(one.layers["bn"]), values(real.layers["bn"])
            assert mine.keys() == theirs.keys()
            for key, value in mine.items():
                assert np.allclose(value, theirs[key], rtol=1e-5, atol=1e-6), key


def test_it_records_sessions_of_tensorflow_2_which_is_no_release_of_1(tmp_path):
    """Imported beside the real TensorFlow 2, which has no `Session` but in tf.compat.v1."""
    module = importlib.util.module_from_spec(importlib.util.spec_from_file_location("record_tf1", bundle.TARGET))
    module.__spec__.loader.exec_module(module)
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, [None, 3])
        y = tf1bn.batch_norm(x, 0.9, updates_collections=None, scope="a")
        session.run(tf.global_variables_initializer())
        with module.Recorder(session, tmp_path / "run.trace") as rec:
            for seed in range(3):
                rec.run(y, {x: np.random.default_rng(seed).normal(3, 2, (8, 3))})
    opened = trace.open(tmp_path / "run.trace")
    assert opened.producer == f"record_tf1.py, TensorFlow {tensorflow.__version__}"
    assert (opened.layers["a"].release, opened.layers["a"].decay) == (None, 0.9)
    assert [layer.verdict for layer in tf1bn.diagnosis.diagnose(opened)] == ["ok"]
    monitored(module.RecorderHook(tmp_path / "hook.trace"))
    assert [layer.release for layer in trace.open(tmp_path / "hook.trace").layers.values()] == [None]


def test_a_hook_goes_on_in_a_session_that_is_made_anew(record_tf1, tmp_path, capsys):
    hook = record_tf1.RecorderHook(str(tmp_path / "run.trace"), keep="moments", producer="me")
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [None, 3])
        y = tf1bn.batch_norm(x, 0.9, scope="bn", updates_collections=None)
        batch = np.random.default_rng(0).normal(3, 2, (4, 3))
        with tf.Session() as first, tf.Session() as second:
            for session in (first, second):
                session.run(tf.global_variables_initializer())
                hook.after_create_session(session, None)
                context = tf.train.SessionRunContext(tf.train.SessionRunArgs(y, {x: batch}), session)
                extra = session.run([y, hook.before_run(context).fetches], {x: batch})[1]
                hook.after_run(context, tf.train.SessionRunValues(extra, None, None))
                # What depends on no layer is no step.
                assert hook.before_run(tf.train.SessionRunContext(tf.train.SessionRunArgs(x + 1), session)) is None
                hook.after_run(context, None)
            hook.end(second)
    opened = trace.open(tmp_path / "run.trace")
    assert (opened.producer, [step.number for step in opened]) == ("me", [0, 1])
    befores = [step.layers["bn"].moving_mean_before.tolist() for step in opened]
    assert befores == [[0, 0, 0]] * 2
    record_tf1.RecorderHook(str(tmp_path / "none.trace")).end(None)
    assert not (tmp_path / "none.trace").exists()
    with tf.Graph().as_default(), tf.Session() as session:
        hook = record_tf1.RecorderHook(str(tmp_path / "none.trace"))
        hook.after_create_session(session, None)
        hook.end(session)
    assert "no layer was recorded" in capsys.readouterr().err


def test_its_arguments_are_checked(record_tf1, tmp_path):
    path = str(tmp_path / "run.trace")
    with tf.Session() as session:
        with pytest.raises(ValueError, match='`keep` is \'all\'; it must be "inputs" or "moments"'):
            record_tf1.Recorder(session, path, keep="all")
        with record_tf1.Recorder(session, path, producer="me") as rec:
            with pytest.raises(ValueError, match="`training` is 1; it must be True, False or None"):
                rec.run(tf.no_op(), training=1)
            with pytest.raises(TypeError, match="`fetches` holds None, which is not in the session's graph"):
                rec.run(None)
        assert trace.open(path).producer == "me"
        with pytest.raises(
            ValueError, match=r"`path` is '.*', which is there; choose another path, or pass overwrite=Tr"
        ):
            record_tf1.Recorder(session, path)
        record_tf1.Recorder(session, path, overwrite=True).close()
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "file").write_text("mine")
        with pytest.raises(ValueError, match=r"`path` is '.*', which is there; choose another path"):
            record_tf1.Recorder(session, str(tmp_path / "other"), overwrite=True)


def test_what_cannot_be_recorded_is_listed(record_tf1, tmp_path):
    x, w = tf.placeholder(tf.float32, [2, 3]), tf.constant([1.0, 2.0])
    y = tf1bn.batch_norm(x, 0.9, batch_weights=w, scope="weighted")

    tf.get_default_graph().clear_collection(graph_collections.BUILT_LAYERS)
    path = str(tmp_path / "run.trace")
    with tf.Session() as session, record_tf1.Recorder(session, path) as rec:
        session.run(tf.global_variables_initializer())
        rec.run(y, {x: np.ones((2, 3))})
        assert rec.steps == 0
    opened = trace.open(path)
    assert opened.layers["weighted"].unrecordable.startswith(
        "Its batch statistics are not the plain moments of its inp"
    )
    assert list(opened) == []


def test_it_writes_to_the_trace_that_it_made(record_tf1, tmp_path, monkeypatch):
    """Wherever the process goes, whatever comes to lie at the path, and whichever thread runs a step."""
    x = tf.placeholder(tf.float32, [None, 3])
    y = tf1bn.batch_norm(x, 0.9, updates_collections=None, fused=False, scope="bn")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        rec = record_tf1.Recorder(session, "run.trace")
        monkeypatch.chdir(tmp_path / "other")
        owner = owner_of(tmp_path / "run.trace")
        assert owner == Owner.current()
        (tmp_path / "run.trace").rename(tmp_path / "moved.trace")
        record_tf1.Recorder(session, tmp_path / "run.trace").close()
        wrong = []

        def work(number):
            try:
                for i in range(10):
                    rec.run(y, {x: np.random.default_rng(100 * number + i).normal(3, 2, (8, 3))})
            except BaseException as error:
                wrong.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong
        assert rec.steps == 40
        # The step is taken back, and can be tried again.
        monkeypatch.setattr(record_tf1.np, "save", fail_on_full_disk)
        with pytest.raises(OSError, match="No space left"):
            rec.run(y, {x: np.ones((2, 3))})
        monkeypatch.undo()
        rec.run(y, {x: np.ones((2, 3))})
        rec.close()
        rec.close()
        with pytest.raises(ValueError, match=r"^The trace '.*run\.trace' is closed"):
            rec.run(y, {x: np.ones((2, 3))})
    assert not (tmp_path / "moved.trace" / "writer.lock").exists()
    assert list(trace.open(tmp_path / "run.trace")) == []
    steps = list(trace.open(tmp_path / "moved.trace"))
    assert len(steps) == 41
    for step in steps:
        record = step.layers["bn"]
        assert prediction(record, True, 0.9).compare(record.moving_mean_after, record.moving_variance_after).ok
    # The run of the step that was taken back moved the statistics.
    for earlier, later in itertools.pairwise(step.layers["bn"] for step in steps[:40]):
        assert earlier.moving_mean_after.tobytes() == later.moving_mean_before.tobytes()


def fail_on_full_disk(file, array):
    file.write(b"part")
    raise OSError(28, "No space left on device")


def test_a_trace_that_another_process_writes_is_not_replaced(record_tf1, tmp_path):
    path = tmp_path / "run.trace"
    with tf.Session() as session:
        rec = record_tf1.Recorder(session, path)
        # This process may replace its own; the old recorder writes no more.
        made = [record_tf1.Recorder(session, path, overwrite=True)]
        with pytest.raises(ValueError, match="was replaced or deleted; nothing can be added"):
            rec.run(tf.no_op())
        rec.close()
        lock = path / "writer.lock"
        own = json.loads(lock.read_text())
        for change, words in (
            ({"process": os.getppid(), "start": None}, "is writing; choose another path"),
            ({"host": "elsewhere"}, "on elsewhere is writing"),
        ):
            lock.write_text(json.dumps({**own, **change}))
            with pytest.raises(ValueError, match=words):
                record_tf1.Recorder(session, path, overwrite=True)
            with pytest.raises(FileExistsError, match=words):
                trace.Writer(path, overwrite=True)
        for change in ({"start": "1"}, {"process": 2**22 + 1, "start": None}, {"process": None}):
            lock.write_text(json.dumps({**own, **change}))
            made.append(record_tf1.Recorder(session, path, overwrite=True))
        for replaced in made:
            replaced.close()
        with record_tf1.Recorder(session, tmp_path / "fork.trace") as rec, monkey_process(record_tf1):
            with pytest.raises(ValueError, match=r"is written by process \d+, and this is its fork \d+; make a rec"):
                rec.run(tf.no_op())


@contextlib.contextmanager
def monkey_process(module):
    """The process as its fork sees itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module.os, "getpid", lambda: 7)
        yield
