"""Many steps are judged as one block exactly as they are one by one."""

import array
import itertools

import faults
import numpy as np
import pytest
import tiers
import traces
from faulty import Layer, simulated, write

from tf1bn import trace
from tf1bn.diagnosis import conclude, engine
from tf1bn.diagnosis.survey import Survey
from tf1bn.evidence import step_block
from tf1bn.evidence.read_ahead import read
from tf1bn.evidence.step_view import View
from tf1bn.trace.views import TraceView

LAYER = {"decay": 0.9, "epsilon": 1e-3, "fused": False}


def state(value):
    """All that an object holds, as plain values; numbers are told apart by every bit, NaN are alike."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, (float, np.floating)):
        return float(value).hex()
    if isinstance(value, dict):
        return {repr(key): state(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, array.array)):
        return [state(each) for each in value]
    if isinstance(value, set):
        return sorted(map(state, value))
    if type(value).__module__.startswith("tf1bn") and hasattr(value, "__dict__"):
        # Of a batch that was measured, blocks keep no low-order words, which only a merge with another would need.
        return {name: state(each) for name, each in vars(value).items() if name not in ("_pending", "_state")}
    return value if isinstance(value, (int, str, bytes, bool, type(None))) else type(value).__name__


def surveyed(opened, blocks):
    """The state of the `Survey` of each layer after the first pass, and how many steps were taken by themselves."""
    surveys = {name: Survey(layer) for name, layer in opened.layers.items()}
    singly = 0
    for step, name, view in read(opened, surveys.keys(), True, blocks):
        if isinstance(view, View):
            surveys[name].add(step.number, view)
            singly += 1
        elif view is not None:
            add = surveys[name].add

            def counted(number, view, add=add):
                nonlocal singly
                singly += 1
                add(number, view)

            surveys[name].add = counted
            surveys[name].add_block(view)
            del surveys[name].add
    return {name: state(survey) for name, survey in surveys.items()}, singly


def assert_same(path):
    """Both ways show the same of a trace, in every bit; returns how many steps were taken by themselves."""
    (together, singly), (alone, steps) = (surveyed(trace.open(path), blocks) for blocks in (True, False))
    assert together == alone
    # A view of a trace has no packed steps; those that are read one by one are gathered.
    assert surveyed(TraceView(trace.open(path)), True)[0] == alone
    results = [engine.diagnose(path)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step_block, "GATHERED_BYTES", 0)
        results.append(engine.diagnose(TraceView(trace.open(path))))
    texts = [repr(conclude.audit_result(result)) for result in results]
    assert texts[0] == texts[1]
    return singly, steps


def with_moments(plain, path):
    """A packed trace of the moments of another one's inputs, without outputs."""
    opened = trace.open(plain)
    with trace.Writer(path, packed=True) as writer:
        writer.add_layers(opened.layers)
        for step in opened:
            records = {}
            for name, record in step.layers.items():
                view = View(record)
                moments = [{"count": m.count, "mean": m.mean, "variance": m.variance} for m in view.all_moments or ()]
                records[name] = {key: getattr(record, key) for key in traces.AROUND} | {"moments": moments}
                records[name] |= {key: getattr(record, key) for key in ("training", "decay", "updated")}
                records[name]["state"] = dict(record.state)
                for key in ("gamma", "beta"):
                    records[name] |= {key: getattr(record, key)} if getattr(record, key) is not None else {}
            writer.add_step(records, training=step.training)
    return path


@pytest.mark.parametrize("outputs", [False, True])
@pytest.mark.parametrize("channels", [1, 5, 300])
def test_inputs_are_gathered(tmp_path, channels, outputs, monkeypatch):
    more = {"decay": 0.9, "shape": (8, 7, channels), "steps": 12, "outputs": outputs}
    layers = {"a": simulated(Layer(0.9), **more), "b": simulated(Layer(0.9), seed=1, **more)}
    path = write(tmp_path / "t", layers).path
    # All but the first step of each layer.
    assert assert_same(path) == (2, 24)
    # Room for 20 of the 24.
    monkeypatch.setattr(step_block, "GATHERED_BYTES", 20 * (8 if outputs else 5) * 16 * channels)
    found = [(name, view) for _, name, view in read(trace.open(path), {"a", "b"}, outputs, True) if view is not None]
    lengths = [(name, len(view.numbers) if isinstance(view, step_block.StepBlock) else 1) for name, view in found]
    assert lengths == [("a", 11), ("b", 10), ("b", 2), ("a", 1)]
    assert assert_same(path) == (3, 24)


@pytest.mark.parametrize("outputs", [False, True])
def test_few_inputs_stay_open(tmp_path, outputs, monkeypatch):
    more = {"decay": 0.9, "shape": (8, 7, 5), "steps": 12, "outputs": outputs}
    path = write(tmp_path / "t", {"a": simulated(Layer(0.9), **more)}).path
    # Room for those of 4 of the 12 steps, float32, without the outputs.
    monkeypatch.setattr(step_block, "OPEN_BYTES", 4 * 4 * 8 * 7 * 5)
    found = [view for _, _, view in read(trace.open(path), {"a"}, outputs, True) if view is not None]
    assert [len(view) for view in found] == ([3, 3, 3, 3] if outputs else [5, 5, 2])
    assert_same(path)


@pytest.mark.parametrize("name", tiers.slow_but(sorted(faults.FAULTS)[::12], sorted(faults.FAULTS)))
def test_every_fault_shows_the_same(tmp_path, name):
    config = faults.FAULTS[name].configs[0]
    plain = faults.trace_of(tmp_path / "plain", name, config).path
    assert_same(plain)
    try:
        path = with_moments(plain, tmp_path / "packed")
    except (TypeError, ValueError) as error:
        pytest.skip(f"what it records are no moments: {error}")
    assert_same(path)


def steps_of(channels, count, dtype="float32", decay=0.9, recurrence="difference", bessel=False, seed=0, values=64):
    """The records of a correctly rounded layer."""
    rng = np.random.default_rng(seed)
    kind = np.dtype(dtype).type
    moving = np.zeros(channels, dtype), np.ones(channels, dtype)
    rate, keep = kind(1 - decay), kind(decay)
    for _ in range(count):
        mean, variance = rng.normal(0.3, 1, channels), rng.uniform(0.5, 2, channels)
        stored = [mean, variance * (values / (values - 1) if bessel else 1)]
        after = tuple(
            old - (old - new.astype(dtype)) * rate
            if recurrence == "difference"
            else old * keep + new.astype(dtype) * rate
            for old, new in zip(moving, stored, strict=True)
        )
        affine = {"gamma": rng.uniform(0.5, 1, channels).astype(np.float32), "beta": np.zeros(channels, np.float32)}
        moments = [{"count": values, "mean": mean, "variance": variance}]
        yield dict(zip(traces.AROUND, (*moving, *after), strict=True)) | affine | {"moments": moments}
        moving = after


def written(path, records, training=lambda t: True, left_out=lambda t: 0, **settings):
    with trace.Writer(path, packed=True) as writer:
        writer.add_layer("bn", **LAYER | settings)
        for t, record in enumerate(records):
            writer.add_step({"bn": record}, training=training(t), step=2 * t, left_out=left_out(t))
    return path


@pytest.mark.parametrize("channels", [1, 5, 300])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_correct_layer_is_taken_in_blocks(tmp_path, dtype, channels):
    path = written(tmp_path / "t", steps_of(channels, 40, dtype), dtype=dtype)
    assert assert_same(path) == (1, 40)


@pytest.mark.parametrize("channels", [1, 5])
def test_the_rounding_of_a_rate_is_summed_in_blocks(tmp_path, channels):
    """1 - float32(0.999) is so far from 0.001 that each step shows something of it."""
    path = written(tmp_path / "t", steps_of(channels, 40, decay=0.999), decay=0.999)
    assert assert_same(path) == (1, 40)


def test_counts_of_batches_are_taken_in_blocks(tmp_path):
    """As PyTorch's layers have them; before step 20 something changed the statistics, and 3 batches were counted."""

    def counting(records):
        for t, record in enumerate(records):
            counts = {"num_batches_tracked": t + 3 * (t >= 20), "num_batches_tracked_after": t + 1 + 3 * (t >= 20)}
            yield record | {"state": {name: np.array([count]) for name, count in counts.items()}}

    records = [*steps_of(4, 20), *itertools.islice(steps_of(4, 41, seed=1), 1, None)]
    path = written(tmp_path / "t", counting(records))
    singly, steps = assert_same(path)
    assert (singly, steps) == (2, 60)
    (result,) = engine.diagnose(path)
    assert "`num_batches_tracked` counted 3 more batches meanwhile" in result.explanation


@pytest.mark.parametrize("recurrence", ["difference", "weighted", None])
@pytest.mark.parametrize("fused", [False, True, None])
@pytest.mark.parametrize("more", [{}, {"rate_dtype": "float32"}, {"variance_from": "squares"}, {"release": "1.4"}])
def test_settings_count_in_blocks(tmp_path, more, fused, recurrence):
    records = steps_of(7, 30, recurrence=recurrence or "difference", bessel=bool(fused))
    singly, _ = assert_same(written(tmp_path / "t", records, fused=fused, recurrence=recurrence, **more))
    # Under the convention that is not the layer's, its steps are no correct ones.
    assert singly == 1 or fused is None


@pytest.mark.parametrize("decay", [0.0, 0.5, 1.0])
def test_decays_at_the_ends(tmp_path, decay):
    assert_same(written(tmp_path / "t", steps_of(3, 12, decay=decay), decay=decay))


def changed(records, t, change):
    """The records with a change to those of the steps ``t``."""
    for i, record in enumerate(records):
        if i in t:
            change(record)
        yield record


def add(key, value):
    def change(record):
        record[key] = record[key] + record[key].dtype.type(value)

    return change


def put(key, value, channel=1):
    def change(record):
        record[key] = record[key].copy()
        record[key][channel] = value

    return change


def in_moments(**values):
    def change(record):
        record["moments"] = [record["moments"][0] | values]

    return change


CHANGES = {
    "gap": add("moving_mean_before", 0.25),
    "wrong mean": add("moving_mean_after", 0.25),
    "wrong variance": add("moving_variance_after", 1e-4),
    "not finite": put("moving_variance_after", np.nan),
    "infinite before": put("moving_mean_before", np.inf),
    "negative variance": put("moving_variance_after", -1.0),
    "batch with NaN": in_moments(mean=np.full(3, np.nan)),
    "empty batch": in_moments(count=0, mean=np.full(3, np.nan), variance=np.full(3, np.nan)),
    "single value": in_moments(count=1, variance=np.zeros(3)),
    "other count": in_moments(count=32),
    "same batch": in_moments(mean=np.ones(3), variance=np.ones(3)),
    "affine kept": lambda record: record.update(gamma=np.ones(3, np.float32)),
    "other decay": lambda record: record.update(decay=0.5),
    "decay not known": lambda record: record.update(decay=None),
    "double statistics": lambda record: record.update(moving_mean_after=record["moving_mean_after"].astype(np.float64)),
    "nothing moved": lambda record: record.update(
        moving_mean_after=record["moving_mean_before"], moving_variance_after=record["moving_variance_before"]
    ),
}


@pytest.mark.parametrize(
    "where", [{0}, {9}, {9, 10}, {19}, set(range(20)), {3, 7, 8, 15}], ids=lambda where: str(sorted(where))
)
@pytest.mark.parametrize("name", CHANGES)
def test_what_is_off_in_some_steps_shows_the_same(tmp_path, name, where):
    assert_same(written(tmp_path / "t", changed(steps_of(3, 20), where, CHANGES[name])))


@pytest.mark.parametrize("what", ["tests", "left out", "tests that move", "constant channel"])
def test_steps_between_show_the_same(tmp_path, what):
    records = list(steps_of(3, 24))
    training, left_out = (lambda t: True), (lambda t: 0)
    if what.startswith("tests"):
        training = lambda t: t % 6 not in (2, 3)  # noqa: E731
    if what == "left out":
        left_out = lambda t: 3 if t in (5, 6, 20) else 0  # noqa: E731
    if what == "tests":
        for t, record in enumerate(records):
            if not training(t):
                record |= {name: record[name.replace("after", "before")] for name in traces.AROUND[2:]}
    if what == "constant channel":
        for record in records:
            record["moments"][0]["variance"][0] = 0.0
            for name in ("moving_variance_before", "moving_variance_after"):
                record[name][0] = 0.0
    assert_same(written(tmp_path / "t", records, training, left_out))


@pytest.mark.parametrize("threads", [1, 3])
def test_several_layers_of_different_kinds_in_one_trace(tmp_path, threads, monkeypatch):
    monkeypatch.setattr(engine, "default_threads", lambda size, few: threads)
    kinds = {"good": {}, "other": {"seed": 3}, "bessel": {"bessel": True}, "slow": {"decay": 0.5}}
    with trace.Writer(tmp_path / "t", packed=True) as writer:
        writer.add_layers({name: trace.Layer(**LAYER) for name in kinds})
        for records in zip(*(steps_of(4 + i, 30, **kinds[name]) for i, name in enumerate(kinds)), strict=True):
            records = dict(zip(kinds, records, strict=True))
            records["other"]["state"] = {"unknown": np.zeros(1)}
            writer.add_step(records, training=True)
    # Two are wrong in every step, and one has a state.
    assert assert_same(tmp_path / "t") == (1 + 3 * 30, 4 * 30)


@pytest.mark.parametrize("blocks", [True, False])
def test_a_cut_file_is_damage_where_its_step_is_reached(tmp_path, blocks):
    path = written(tmp_path / "t", steps_of(3, 20))
    file = path / "arrays/packed-000000.bin"
    file.write_bytes(file.read_bytes()[: 15 * file.stat().st_size // 20 + 8])
    views = (view for _, _, view in read(trace.open(path), {"bn"}, True, blocks) if view is not None)
    if blocks:
        assert len(next(views)) == 15
    else:
        assert np.isfinite([next(views).before for _ in range(15)]).all()
    with pytest.raises(trace.TraceError, match="was cut"):
        next(views)
