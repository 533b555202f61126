"""What a trace says besides its arrays: steps left out, recomputation, replicas, dtypes, where it comes from."""

import json

import numpy as np
import pytest

from tf1bn import checker, trace
from tf1bn.diagnosis import diagnose

CHANNELS, REPLICAS = 3, 4


def batch(seed, rows=8, replica=0):
    values = np.random.default_rng([seed, replica]).normal(1 + replica, 2 + replica, (rows, 5, 5, CHANNELS))
    return values.astype(np.float32)


def updated(mean, variance, m, v, decay=0.9):
    """The weighted recurrence in float64, rounded to float32."""
    return np.float32(decay * mean + (1 - decay) * m), np.float32(decay * variance + (1 - decay) * v)


def start():
    return np.zeros(CHANNELS, np.float32), np.ones(CHANNELS, np.float32)


def record(inputs, before, after, **more):
    names = ("moving_mean", "moving_variance")
    values = {f"{name}_before": value for name, value in zip(names, before, strict=True)}
    values |= {f"{name}_after": value for name, value in zip(names, after, strict=True)}
    return {"inputs": inputs, **values, **more}


def written(path, steps, fused=False, **origin):
    """A trace of one layer from a list of (record, left_out)."""
    with trace.Writer(path, **origin) as writer:
        writer.add_layer("bn", decay=0.9, epsilon=1e-3, fused=fused, recurrence="weighted")
        for entry, left_out in steps:
            writer.add_step({"bn": entry}, training=True, left_out=left_out)
    return path


def replicated(kind, fused=False, **more):
    """Steps of a layer in four replicas whose batches are reduced so: "pooled", "mean", or "first" alone."""
    steps, before = [], start()
    for seed in range(6):
        batches = [batch(seed, replica=i) for i in range(REPLICAS)]
        pooled = np.concatenate(batches) if kind == "pooled" else batches[0]
        used = batches if kind == "mean" else [pooled]
        flat = [values.astype(np.float64).reshape(-1, CHANNELS) for values in used]
        m = np.mean([values.mean(axis=0) for values in flat], axis=0)
        v = np.mean([values.var(axis=0, ddof=fused) for values in flat], axis=0)
        after = updated(*before, m, v)
        steps.append((record(batches, before, after, replicas=list(range(REPLICAS)), **more), 0))
        before = after
    return steps


def test_all_keys_are_read_as_they_were_written(tmp_path):
    more = {"updated": [False, True], "recomputed": [False, True], "replicas": [0, 1], "reduction": "none"}
    more |= {"decay": None, "decays": [None, 0.75]}
    entry = record([batch(0)] * 2, start(), start(), inputs_dtype="bfloat16", outputs_dtype="float16", **more)
    origin = {"framework": "PyTorch", "framework_version": "2.13.0", "rank": 1, "ranks": 2}
    opened = trace.open(written(tmp_path / "a", [(entry, 0), (entry, 3)], **origin))
    assert {name: getattr(opened, name) for name in origin} == origin
    assert [step.left_out for step in opened] == [0, 3]
    read = list(opened)[1].layers["bn"]
    assert (read.updated, read.recomputed, read.replicas) == ((False, True), (False, True), (0, 1))
    assert (read.reduction, read.inputs_dtype, read.outputs_dtype) == ("none", "bfloat16", "float16")
    assert (read.decay, read.decays) == (None, (None, 0.75))
    # Another decay counts for all applications.
    (replaced, _) = trace.views.TraceView(opened, settings={"bn": {"decay": 0.5}})
    assert (replaced.layers["bn"].decay, replaced.layers["bn"].decays) == (0.5, None)


def test_a_trace_without_them_is_read_as_before(tmp_path):
    path = written(tmp_path / "a", [(record([batch(0)], start(), start()), 0)])
    content = json.loads((path / "trace.json").read_text())
    assert set(content) == {"format", "version", "layers"}
    (line,) = (path / "steps.jsonl").read_text().splitlines()
    assert set(json.loads(line)) == {"step", "training", "layers"}
    opened = trace.open(path)
    assert (opened.framework, opened.framework_version, opened.rank, opened.ranks) == (None,) * 4
    (step,) = opened
    read = step.layers["bn"]
    assert (step.left_out, read.updated, read.recomputed) == (0, (True,), (False,))
    assert (read.replicas, read.reduction, read.inputs_dtype, read.outputs_dtype, read.decays) == (None,) * 5


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"reduction": "sum"}, "`reduction` is 'sum'; it must be"),
        ({"inputs_dtype": "int8"}, "`inputs_dtype` is 'int8'; it must be"),
        ({"recomputed": [True, False]}, "`recomputed` has 2 items and the layer 1 applications"),
        ({"updated": [1]}, "`updated` is 1; it must be true or false"),
        ({"decays": [0.5, 0.5]}, "`decays` has 2 items and the layer 1 applications"),
        ({"decays": [1.5]}, "`decays` is 1.5; it must be a number from 0 to 1"),
        ({"replicas": [-1]}, "`replicas` is -1; it must be a whole number, 0 or more"),
    ],
)
def test_other_values_are_refused_by_writer_and_reader(tmp_path, more, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        written(tmp_path / "a", [(record([batch(0)], start(), start(), **more), 0)])
    path = written(tmp_path / "b", [(record([batch(0)], start(), start()), 0)])
    line = json.loads((path / "steps.jsonl").read_text())
    line["layers"]["bn"].update(more)
    (path / "steps.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.raises(trace.TraceError, match=message.replace("(", r"\(")):
        list(trace.open(path))


def test_the_origin_is_checked(tmp_path):
    with pytest.raises(TypeError, match=r"^`framework` is 3; it must be a string or None.$"):
        trace.Writer(tmp_path / "a", framework=3)
    with pytest.raises(ValueError, match=r"^`rank` is -1; it must be a whole number, 0 or more.$"):
        trace.Writer(tmp_path / "a", rank=-1)
    with trace.Writer(tmp_path / "a") as writer, pytest.raises(ValueError, match="`left_out` is -1"):
        writer.add_step({}, training=True, left_out=-1)


def test_the_size_of_a_trace_is_known(tmp_path):
    path = tmp_path / "a"
    with trace.Writer(path) as writer:
        writer.add_layer("bn", decay=0.9, epsilon=1e-3)
        for _ in range(2):
            writer.add_step({"bn": record([batch(0)], start(), start())}, training=True)
        arrays = sum(file.stat().st_size for file in (path / "arrays").iterdir())
        assert writer.bytes == arrays + (path / "steps.jsonl").stat().st_size


@pytest.mark.parametrize("left_out", [0, 2])
def test_a_gap_is_no_change_from_outside(tmp_path, left_out):
    first, second = start(), (np.float32([3, 4, 5]), np.float32([2, 2, 2]))
    steps = []
    for seed, before in enumerate((first, second)):
        moments = checker.batch_moments(batch(seed))
        after = updated(*before, moments.mean, moments.variance)
        steps.append((record([batch(seed)], before, after), left_out if seed else 0))
    (result,) = diagnose(written(tmp_path / "a", steps))
    assert result.verdict == "ok"
    assert ("outside of the recorded steps" in result.explanation) is (left_out == 0)
    # How much of the start is left cannot be known in either case.
    assert "cold-start" not in [cause.id for cause in result.causes]


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("kind", ["pooled", "mean"])
def test_replicas_that_are_reduced_as_the_trace_says(tmp_path, kind, fused):
    (result,) = diagnose(written(tmp_path / "a", replicated(kind, fused, reduction=kind), fused))
    assert result.verdict == "ok", result.explanation


@pytest.mark.parametrize(("kind", "declared"), [("pooled", "mean"), ("mean", "pooled"), ("first", "mean")])
def test_replicas_that_are_reduced_otherwise(tmp_path, kind, declared):
    (result,) = diagnose(written(tmp_path / "a", replicated(kind, reduction=declared)))
    assert result.verdict == "finding"


@pytest.mark.parametrize("kind", ["pooled", "mean"])
def test_one_of_several_replicas_decides_nothing_and_all_of_them_do(tmp_path, kind):
    paths = []
    for i in range(REPLICAS):
        steps = [
            ({**entry, "inputs": entry["inputs"][i : i + 1], "replicas": [i], "reduction": kind}, left_out)
            for entry, left_out in replicated(kind)
        ]
        paths.append(written(tmp_path / f"rank{i}", steps, rank=i, ranks=REPLICAS))
    (alone,) = diagnose(paths[0])
    assert alone.verdict == "undecidable"
    assert "`tf1bn.trace.join`" in alone.explanation
    trace.join(paths, tmp_path / "all")
    (result,) = diagnose(tmp_path / "all")
    assert result.verdict == "ok", result.explanation
    opened = trace.open(tmp_path / "all")
    assert opened.ranks == REPLICAS
    assert {step.layers["bn"].replicas for step in opened} == {(0, 1, 2, 3)}


def test_joining_keeps_common_steps_and_what_is_each_process_own(tmp_path):
    entry = record([batch(0)], start(), start(), gamma=np.ones(CHANNELS), outputs=[batch(1)])
    one = written(tmp_path / "one", [(entry, 0)] * 3)
    with trace.Writer(tmp_path / "two") as writer:
        writer.add_layers(trace.open(one).layers)
        for step in (0, 2):
            writer.add_step({"bn": record([batch(5)], start(), start())}, training=True, step=step)
    trace.join([one, tmp_path / "two"], tmp_path / "all")
    steps = list(trace.open(tmp_path / "all"))
    assert [(step.number, step.left_out) for step in steps] == [(0, 0), (2, 1)]
    read = steps[0].layers["bn"]
    np.testing.assert_array_equal(read.inputs[0], batch(0))
    np.testing.assert_array_equal(read.outputs[0], batch(1))
    assert read.applications == 1


def test_what_cannot_be_joined(tmp_path):
    one = written(tmp_path / "one", [])
    with trace.Writer(tmp_path / "two") as writer:
        writer.add_layer("other", decay=0.9, epsilon=1e-3)
    with pytest.raises(trace.TraceError, match="do not list the same layers"):
        trace.join([one, tmp_path / "two"], tmp_path / "all")
    with pytest.raises(ValueError, match=r"^`paths` names 1 traces; it must name two or more.$"):
        trace.join([one], tmp_path / "all")
    assert not (tmp_path / "all").exists()
