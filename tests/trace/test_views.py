"""`TraceView`: a trace of which only some layers or steps are seen, or in which some values are replaced."""

import numpy as np
import portnet
import pytest

from tf1bn import diagnosis, trace
from tf1bn.trace.views import TraceView

AROUND = ("moving_mean_before", "moving_variance_before", "moving_mean_after", "moving_variance_after")


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    return portnet.write(tmp_path_factory.mktemp("view") / "old.trace")


def test_a_view_of_everything_is_the_trace(opened):
    view = TraceView(opened)
    assert (dict(view.layers), view.path, view.count_steps()) == (dict(opened.layers), opened.path, 4)
    for step, seen in zip(opened, view, strict=True):
        assert (seen.number, seen.training, list(seen.layers)) == (step.number, step.training, list(step.layers))
        for name, record in step.layers.items():
            assert np.array_equal(seen.layers[name].moving_mean_after, record.moving_mean_after)
    assert diagnosis.diagnose(view) == diagnosis.diagnose(opened)


def test_only_some_layers(opened):
    view = TraceView(opened, layers=["bn3", "bn1"])
    assert list(view.layers) == ["bn3", "bn1"]
    # In a step they stay in the order in which they are applied.
    assert [list(step.layers) for step in view] == [["bn1", "bn3"]] * 4
    by_name = {result.name: result for result in diagnosis.diagnose(opened)}
    assert diagnosis.diagnose(view) == [by_name["bn3"], by_name["bn1"]]


def test_only_some_steps(opened):
    view = TraceView(opened, steps=range(1, 3))
    assert ([step.number for step in view], view.count_steps()) == ([1, 2], 2)
    assert [result.steps for result in diagnosis.diagnose(view)] == [2] * 4


def test_steps_between_those_that_are_kept_are_left_out(tmp_path):
    """A layer moved in them, which is no change from outside."""
    with trace.Writer(tmp_path / "t") as writer:
        writer.add_layer("bn", decay=0.9, epsilon=1e-3, fused=False)
        moving = np.zeros(2, np.float32), np.ones(2, np.float32)
        for step, left_out in enumerate((0, 0, 2, 0, 1, 0)):
            batch = np.random.default_rng(step).normal(2, 3, (50, 2)).astype(np.float32)
            after = tuple(
                (np.float32(0.9) * old + np.float32(0.1) * new).astype(np.float32)
                for old, new in zip(moving, (batch.mean(axis=0), batch.var(axis=0)), strict=True)
            )
            vectors = dict(zip(AROUND, (*moving, *after), strict=True))
            writer.add_step({"bn": {"inputs": [batch], **vectors}}, training=True, left_out=left_out)
            moving = after
    opened = trace.open(tmp_path / "t")
    view = TraceView(opened, steps={1, 3, 5})
    assert [step.left_out for step in view] == [0, 3, 2]
    (result,) = diagnosis.diagnose(view)
    assert (result.verdict, result.causes) == ("ok", ())
    assert "outside" not in result.explanation


def test_other_settings(opened):
    view = TraceView(opened, settings={"bn2": {"decay": 0.99, "fused": True}})
    assert (view.layers["bn2"].decay, view.layers["bn2"].fused) == (0.99, True)
    assert (opened.layers["bn2"].decay, view.layers["bn1"].decay) == (0.9, 0.9)
    for step in view:
        assert step.layers["bn2"].layer is view.layers["bn2"]
        assert (step.layers["bn2"].decay, step.layers["bn1"].decay) == (0.99, 0.9)
    verdicts = {result.name: result.verdict for result in diagnosis.diagnose(view)}
    assert verdicts == {"bn1": "ok", "bn2": "finding", "bn3": "ok", "bn4": "ok"}


def test_settings_without_a_decay_leave_that_of_each_step(tmp_path):
    with trace.Writer(tmp_path / "t") as writer:
        writer.add_layer("bn", decay=None, epsilon=1e-3)
        for decay in (0.5, None):
            zeros = {name: np.zeros(2) for name in AROUND}
            writer.add_step({"bn": {"inputs": [np.zeros((3, 2))], "decay": decay, **zeros}}, training=True)
    records = [step.layers["bn"] for step in TraceView(trace.open(tmp_path / "t"), settings={"bn": {"epsilon": 1.0}})]
    assert [(record.decay, record.layer.epsilon) for record in records] == [(0.5, 1.0), (None, 1.0)]


def test_fields_of_every_record(opened):
    view = TraceView(opened, fields={"input_error": 1e-3, "gamma": None})
    for step in view:
        for record in step.layers.values():
            assert (record.input_error, record.gamma) == (1e-3, None)
            assert record.beta is not None


def test_a_view_of_a_view(opened):
    view = TraceView(TraceView(opened, layers=["bn1", "bn2"], fields={"input_error": 1.0}), layers=["bn2"], steps={3})
    assert (view.path, view.count_steps()) == (opened.path, 1)
    (step,) = view
    assert (step.number, step.layers["bn2"].input_error) == (3, 1.0)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"layers": ["bn9"]}, ValueError, "'bn9' is no layer of the trace; it has 'bn1', 'bn2', 'bn3', 'bn4'"),
        ({"settings": {"bn9": {}}}, ValueError, "'bn9' is no layer of the trace"),
        ({"settings": {"bn1": {"decay": 2}}}, ValueError, "`decay` is 2"),
        ({"settings": {"bn1": {"momentum": 0.1}}}, TypeError, "momentum"),
    ],
)
def test_what_is_not_there(opened, arguments, error, text):
    with pytest.raises(error, match=text):
        TraceView(opened, **arguments)


def test_something_else_that_can_be_read_like_a_trace(opened):
    class Steps:
        layers = opened.layers

        def __iter__(self):
            return iter(list(opened)[:2])

    view = TraceView(Steps(), layers=["bn4"])
    assert (view.count_steps(), list(view.layers)) == (2, ["bn4"])
    with pytest.raises(AttributeError):
        _ = view.path
