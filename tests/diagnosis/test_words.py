"""Sentences and remedies are in the terms of the framework that a trace names, and every cause has a remedy."""

import numpy as np
import pytest
from faults import LastTower, RestoredBetween, StandsStill, in_some, trace_of
from faulty import Layer, record

from tf1bn import trace
from tf1bn.diagnosis import conclude
from tf1bn.diagnosis.engine import diagnose
from tf1bn.parity.traces.compare import compare_traces
from tf1bn.remedies import REMEDIES, remedy
from tf1bn.verdicts import CAUSES


class Framed:
    """A trace that names its framework."""

    def __init__(self, opened, name):
        self.layers, self._opened = opened.layers, opened
        self.framework = {"name": name, "version": "1"}

    def __iter__(self):
        return iter(self._opened)


def text_of(path, layer, framework, **arguments):
    (result,) = diagnose(Framed(record(path, layer, **arguments), framework))
    (entry,) = conclude.audit_result([result])["layers"]
    return entry["explanation"], {cause["id"]: cause["remedy"] for cause in entry["causes"]}


def test_pytorch_has_no_update_operations(tmp_path):
    text, remedies = text_of(tmp_path / "a", StandsStill(0.9), "torch", decay=0.9)
    assert "UPDATE_OPS" not in text + remedies["not-updated"]
    assert "track_running_stats" in text
    text, remedies = text_of(tmp_path / "b", Layer(0.8), "torch", decay=0.9)
    assert "0.8 (momentum 0.2) and not 0.9 (momentum 0.1)" in text
    assert "momentum" in remedies["decay"]


def test_a_layer_of_tf1_has_them(tmp_path):
    text, remedies = text_of(tmp_path / "a", StandsStill(0.9), "tensorflow", decay=0.9, release="1.15")
    assert "UPDATE_OPS" in text
    assert "UPDATE_OPS" in remedies["not-updated"]


@pytest.mark.parametrize(("framework", "verdict"), [("keras", "finding"), ("torch", "ok"), (None, "ok")])
def test_a_frozen_layer_that_moves_is_wrong_where_it_cannot_by_design(tmp_path, framework, verdict):
    opened = record(tmp_path / "a", Layer(0.9), decay=0.9, trainable=False)
    (result,) = diagnose(Framed(opened, framework))
    assert ([cause.id for cause in result.causes], result.verdict) == (["frozen-but-moves"], verdict)


def test_every_cause_has_a_remedy_of_a_few_lines():
    assert set(CAUSES) <= set(REMEDIES)
    for name in CAUSES:
        for framework, release in ((None, None), ("torch", None), ("keras", None), ("tensorflow", "1.15")):
            text = remedy(name, framework, release)
            assert text.endswith(".")
            assert len(text) <= 3 * 120, name


def test_what_to_do_depends_on_what_the_numbers_show(tmp_path):
    class Initialized(Layer):
        def unseen(self, moving, batches):
            return (np.zeros_like(moving[0]), np.ones_like(moving[1])) if self.steps == 2 else moving

    for name, layer, said in (
        ("a", Initialized(0.9), "an initializer that runs in the loop"),
        ("b", RestoredBetween(0.9), "an initializer that runs in the loop"),
    ):
        text, remedies = text_of(tmp_path / name, layer, "tensorflow", decay=0.9, steps=5, release="1.15")
        assert "set to mean 0 and variance 1" in text
        assert said in remedies["changed-between-steps"]

    class OnceOtherwise(Layer):
        def train(self, moving, batches):
            return self.once(moving, batches[0], decay=0.5 if self.steps == 2 else 0.9)

    assert "schedule" in text_of(tmp_path / "c", OnceOtherwise(0.9), "torch", decay=0.9, steps=5)[1]["decay"]
    assert "schedule" not in text_of(tmp_path / "d", Layer(0.5), "torch", decay=0.9, steps=5)[1]["decay"]


@pytest.mark.parametrize(
    ("single", "said", "todo"),
    [({1}, "In 1 of 3 training steps there was one value", "last"), ({0, 1, 2}, "In all 3 training", "beta")],
)
def test_batches_of_one_value_are_counted(tmp_path, single, said, todo):
    def batches(t, i):
        return np.random.default_rng(t).normal(size=(1 if t in single else 8, 3)).astype(np.float32)

    text, remedies = text_of(tmp_path / "a", Layer(0.9), None, decay=0.9, steps=3, shape=(8, 3), batches=batches)
    assert said in text
    assert todo in remedies["single-value"]


def test_a_negative_variance_that_was_restored_is_told_from_one_that_was_made(tmp_path):
    class Negates(Layer):
        def train(self, moving, batches):
            return moving[0], -moving[1] if self.steps == 1 else moving[1]

    text, remedies = text_of(tmp_path / "a", Negates(0.9), None, decay=0.9, steps=3)
    assert "The moving variance is negative after step 1, -" in text
    assert "parallel" in remedies["bad-variance"]

    start = np.zeros(2, np.float32), np.array([1, -4], np.float32)
    text, remedies = text_of(tmp_path / "b", Layer(0.9), None, decay=0.9, shape=(8, 2), steps=3, start=start)
    assert "before step 0, -4 in channel 1" in text
    assert "so it was there before the recorded run" in text
    assert "in another order" in remedies["bad-variance"]


def test_a_variant_is_one_of_a_cause():
    for name in REMEDIES:
        cause, _, variant = name.partition("/")
        assert cause in CAUSES
        assert not variant or remedy(cause, variant=variant) != remedy(cause)


@pytest.mark.parametrize(
    ("decay", "name", "words"),
    [
        (1.0, "frozen", "In 2 of 6 training steps (2, 4) the momentum is 0 (a decay of 1)"),
        (0.0, "no-memory", "In 2 of 6 training steps (2, 4) the momentum is 1 (a decay of 0)"),
    ],
)
def test_a_momentum_of_0_or_1_in_some_steps_is_said_in_the_words_of_pytorch(tmp_path, decay, name, words):
    class Switched(Layer):
        def train(self, moving, batches):
            return self.once(moving, batches[0], decay=decay if self.steps in (2, 4) else 0.9)

    opened = record(
        tmp_path / "a",
        Switched(0.9),
        decay=0.9,
        steps=6,
        extra=lambda t: {"decay": decay if t in (2, 4) else 0.9},
    )
    (result,) = diagnose(Framed(opened, "PyTorch"))
    assert (result.verdict, [(cause.id, cause.severity) for cause in result.causes]) == ("ok", [(name, "advisory")])
    assert words in result.explanation


def test_the_first_batch_of_an_average_of_all_is_no_loss_of_memory(tmp_path):
    class Cumulative(Layer):
        def train(self, moving, batches):
            return self.once(moving, batches[0], decay=1 - 1 / (1 + self.steps))

    opened = record(tmp_path / "a", Cumulative(0.9), decay=0.9, steps=4, extra=lambda t: {"decay": 1 - 1 / (1 + t)})
    (result,) = diagnose(Framed(opened, "PyTorch"))
    assert (result.verdict, result.causes) == ("ok", ())


@pytest.mark.parametrize(("same", "verdict", "severity"), [(True, "ok", "advisory"), (False, "finding", "finding")])
def test_one_update_by_the_batch_of_all_applications_is_what_recomputation_does(tmp_path, same, verdict, severity):
    def batches(t, i):
        return np.random.default_rng(t if same else 10 * t + i).normal(size=(8, 3)).astype(np.float32)

    opened = record(tmp_path / "a", LastTower(0.9), decay=0.9, steps=4, shape=(8, 3), applications=2, batches=batches)
    (result,) = diagnose(opened)
    assert [(cause.id, cause.severity) for cause in result.causes] == [("one-tower-only", severity)]
    assert result.verdict == verdict
    assert ("no batch is lost" in result.explanation) == same
    assert (result.mean_error <= result.mean_bound) == same


def test_an_error_that_is_next_to_nothing_is_given_without_digits(tmp_path):
    results = {one.name: one for one in diagnose(trace_of(tmp_path / "a", "one value", "float64, .9"))}
    assert "(largest error less than 0.1 % of the expected error)" in results["bn"].explanation
    assert "less than" not in results["first"].explanation


@pytest.mark.parametrize(
    ("releases", "said", "known"),
    [
        (("1.15", "1.15"), {}, {"framework": "TensorFlow", "framework_version": "1.15"}),
        (("1.15", "1.3"), {}, {}),
        ((None, None), {}, {}),
        (
            ("1.15", "1.15"),
            {"framework": "TensorFlow", "framework_version": "2.21.0"},
            {"framework": "TensorFlow", "framework_version": "2.21.0"},
        ),
        ((None, None), {"framework": "PyTorch"}, {"framework": "PyTorch"}),
    ],
)
def test_a_result_says_what_the_trace_is_of(tmp_path, releases, said, known):
    with trace.Writer(tmp_path / "run.trace", **said) as writer:
        for name, release in zip("ab", releases, strict=True):
            writer.add_layer(name, decay=0.9, epsilon=1e-3, fused=True, release=release)
    opened = trace.open(tmp_path / "run.trace")
    assert diagnose(opened).result().get("about", {}) == known
    assert compare_traces(opened, opened)["about"] == {"old": known, "new": known}


@pytest.mark.parametrize(
    ("framework", "release", "order"),
    [
        ("torch", None, "in the order of the calls: a step forgets as 2 steps of one call do."),
        ("keras", None, "in the order of the calls: a step forgets as 2 steps of one call do."),
        ("flax", None, "in the order of the calls: a step forgets as 2 steps of one call do."),
        ("tensorflow", "1.15", "where none waits for another, TensorFlow gives them no order, and one can be lost."),
    ],
)
def test_updates_of_a_step_have_the_order_of_the_calls_where_the_framework_keeps_it(
    tmp_path, framework, release, order
):
    text, _ = text_of(tmp_path / "a", Layer(0.9), framework, decay=0.9, applications=2, release=release)
    assert order in text


def parameters_move(path, start):
    """A layer in inference, of which gamma moves in each of three steps and the statistics do not."""
    names = [f"moving_{one}_{when}" for when in ("before", "after") for one in ("mean", "variance")]
    with trace.Writer(path) as writer:
        writer.add_layer("bn", decay=0.9, epsilon=1e-3, fused=False)
        for step in range(3):
            values = dict(zip(names, (np.float32([start]), np.float32([1])) * 2, strict=True))
            gamma, beta = np.float32([1 + step / 10]), np.float32([0])
            batch = np.random.default_rng(step).normal(start, 1, (16, 1)).astype(np.float32)
            writer.add_step({"bn": {"inputs": [batch], **values, "gamma": gamma, "beta": beta}}, training=False)
    return trace.open(path)


@pytest.mark.parametrize(("start", "verdict"), [(0, "finding"), (0.5, "ok")])
def test_parameters_that_move_without_statistics_may_be_averages(tmp_path, start, verdict):
    (result,) = diagnose(Framed(parameters_move(tmp_path / "a", start), "torch"))
    assert (result.verdict, [cause.id for cause in result.causes]) == (verdict, ["training-flag-off"])
    assert "the layer is trained while the module is in evaluation mode" in result.explanation
    assert "or gamma and beta are copied or averaged from another model" in result.explanation


def in_turn(path):
    """A layer whose gamma moves in every other step, its statistics in each."""
    moving, rng = (np.zeros(3), np.ones(3)), np.random.default_rng(0)
    names = [f"moving_{one}_{when}" for when in ("before", "after") for one in ("mean", "variance")]
    with trace.Writer(path) as writer:
        writer.add_layer("bn", decay=0.5, epsilon=1e-3, fused=False, dtype="float64")
        for step in range(8):
            x = rng.normal(2, 1, (16, 3))
            after = moving[0] - 0.5 * (moving[0] - x.mean(0)), moving[1] - 0.5 * (moving[1] - x.var(0))
            record = {"inputs": [x], **dict(zip(names, (*moving, *after), strict=True))}
            record |= {"gamma": np.full(3, 1 + step // 2 / 10), "beta": np.zeros(3)}
            writer.add_step({"bn": record}, training=True)
            moving = after
    return trace.open(path)


def test_all_that_leaves_gamma_and_beta_as_they_are_is_named(tmp_path):
    (result,) = diagnose(in_turn(tmp_path / "a"))
    assert [cause.id for cause in result.causes] == ["untrained-steps"]
    for text in ("train another part", "accumulated gradients", "are frozen in these steps", "these steps evaluate"):
        assert text in result.explanation


def test_channels_are_one_or_several(tmp_path):
    for count, text in ((1, "in channel 0;"), (2, "in channels 0, 1;")):
        path = tmp_path / str(count)
        names = [f"moving_{one}_{when}" for when in ("before", "after") for one in ("mean", "variance")]
        with trace.Writer(path) as writer:
            writer.add_layer("bn", decay=0.5, epsilon=1e-3, fused=False)
            batch = np.full((4, 3), 1, np.float32)
            batch[1, :count] = np.nan
            mean = np.where(np.arange(3) < count, np.nan, 0.5).astype(np.float32)
            values = np.zeros(3, np.float32), np.ones(3, np.float32), mean, np.full(3, 0.5, np.float32)
            writer.add_step({"bn": {"inputs": [batch], **dict(zip(names, values, strict=True))}}, training=True)
        (result,) = diagnose(trace.open(path))
        assert text in result.explanation


def test_steps_without_an_update_may_be_evaluation_with_the_flag_left_on(tmp_path):
    said = "Or nothing is trained in such a step, and is_training was left True."
    still = in_some(StandsStill)
    text, _ = text_of(tmp_path / "a", still(0.9, when=lambda t: t == 3), "tensorflow", decay=0.9, release="1.15")
    assert said in text
    text, _ = text_of(tmp_path / "b", still(0.9, when=lambda t: t == 3), "torch", decay=0.9)
    assert "nothing is trained" not in text


@pytest.mark.parametrize("reset", [False, True])
def test_the_share_of_the_start_is_not_told_after_a_reset(tmp_path, reset):
    moving = np.zeros(3), np.ones(3)
    names = [f"moving_{one}_{when}" for when in ("before", "after") for one in ("mean", "variance")]
    with trace.Writer(tmp_path / "a") as writer:
        writer.add_layer("bn", decay=0.9, epsilon=1e-3, fused=False, dtype="float64")
        for step in range(6):
            if reset and step == 3:
                moving = np.zeros(3), np.ones(3)
            x = np.random.default_rng(step).normal(2, 1, (16, 3))
            after = moving[0] - 0.1 * (moving[0] - x.mean(0)), moving[1] - 0.1 * (moving[1] - x.var(0))
            writer.add_step({"bn": {"inputs": [x], **dict(zip(names, (*moving, *after), strict=True))}}, training=True)
            moving = after
    (result,) = diagnose(trace.open(tmp_path / "a"))
    assert [cause.id for cause in result.causes] == ["changed-between-steps" if reset else "cold-start"]
