"""Causes that were there in some of the training steps: what is said of the steps, and what is not named."""

import numpy as np
import pytest
from faults import DebiasedMean, Doubled, Flipped, Odd, Slower, StandsStill, StillOrTwice, in_some
from faulty import Layer, record, simulated, write

from tf1bn._util.text import ranges
from tf1bn.diagnosis.engine import diagnose

SHAPE = {"shape": (6, 3), "decay": 0.9}


def judge(path, layer, **arguments):
    (result,) = diagnose(record(path, layer, **SHAPE | {"steps": 10} | arguments))
    return result


def said(result):
    return [(one.id, one.explanation.partition(":")[0].partition(", or")[0]) for one in result.causes]


@pytest.mark.parametrize(
    ("kind", "when", "expected", "bessel"),
    [
        (StandsStill, lambda t: t in (2, 5, 8), [("not-updated", "In 3 of 10 training steps (2, 5, 8)")], False),
        (StandsStill, lambda t: t >= 4, [("not-updated", "In 6 of 10 training steps (4 to 9)")], False),
        (Slower, lambda t: t >= 4, [("decay", "In 6 of 10 training steps (4 to 9)")], False),
        (Flipped, lambda t: t in (0, 1, 9), [("bessel", "In 3 of 10 training steps (0, 1, 9)")], False),
        (Flipped, lambda t: t == 7, [("no-bessel", "In 1 of 10 training steps (7)")], True),
    ],
)
def test_the_steps_are_said(tmp_path, kind, when, expected, bessel):
    result = judge(tmp_path / "t", in_some(kind)(0.9, bessel, when=when), fused=bessel)
    assert (result.verdict, said(result)) == ("finding", expected)
    assert result.first_step == next(t for t in range(10) if when(t))


def test_a_double_update_is_also_a_decay(tmp_path):
    result = judge(tmp_path / "t", in_some(Doubled)(0.9, when=lambda t: t == 3))
    assert said(result) == [(name, "In 1 of 10 training steps (3)") for name in ("double-update", "decay")]
    assert "is 0.81 and not 0.9" in result.causes[1].explanation


def test_two_causes_each_with_its_steps(tmp_path):
    result = judge(tmp_path / "t", StillOrTwice(0.9))
    assert said(result) == [
        ("not-updated", "In 1 of 10 training steps (3)"),
        ("double-update", "In 2 of 10 training steps (1, 6)"),
        ("decay", "In 2 of 10 training steps (1, 6)"),
    ]


def test_a_zero_debiased_layer_counts_its_updates(tmp_path):
    """The trace does not hold biased and local_step, so that they follow from the steps before."""
    layer = FlippedLate(0.9)
    result = judge(tmp_path / "t", layer, start="cold", zero_debias=True)
    assert said(result) == [("bessel", "In 1 of 10 training steps (6)")]


class FlippedLate(DebiasedMean):
    def train(self, moving, batches):
        self.bessel = self.steps == 6
        return super().train(moving, batches)


def test_the_factor_is_that_of_the_steps(tmp_path):
    result = judge(tmp_path / "t", in_some(Flipped)(0.9, when=lambda t: t % 2))
    assert "k - 1 = 0.2 +- " in result.explanation  # 6/5, and 1.1 over all steps


@pytest.mark.parametrize("right", [Layer, StandsStill, Doubled])
def test_what_no_cause_explains_in_one_step_stays_unexplained(tmp_path, right):
    result = judge(tmp_path / "t", in_some(Odd, right)(0.9, when=lambda t: t == 4))
    assert (result.verdict, [one.id for one in result.causes]) == ("finding", ["unexplained"])


def test_three_causes_are_not_named(tmp_path):
    class Three(Layer):
        def train(self, moving, batches):
            kind = {2: StandsStill, 4: Doubled, 6: Flipped}.get(self.steps, Layer)
            return kind(0.9).train(moving, batches)

    assert [one.id for one in judge(tmp_path / "t", Three(0.9)).causes] == ["unexplained"]


def test_two_decays_are_one_cause(tmp_path):
    class Schedule(Layer):
        def train(self, moving, batches):
            (batch,) = batches
            return self.once(moving, batch, decay=0.9 if self.steps < 4 else 0.95 if self.steps < 7 else 0.99)

    (one,) = judge(tmp_path / "t", Schedule(0.9)).causes
    assert one.id == "decay"
    assert one.explanation == (
        "In 6 of 10 training steps (4 to 9): the decay in use is between 0.95 and 0.99 and not 0.9."
    )


def test_statistics_that_something_else_wrote_are_said(tmp_path):
    """Whether the updates are right or not."""
    for kind, verdict in ((Layer, "ok"), (Odd, "finding")):
        declared, made = simulated(kind(0.9), **SHAPE, steps=6)
        for t in (4, 5):
            values = made[t][0]
            batch = values["inputs"][0]
            before = (np.full(3, 0.25 * t, np.float32), np.full(3, 2, np.float32))
            after = kind(0.9).train(before, [batch])
            for when, pair in (("before", before), ("after", after)):
                values[f"moving_mean_{when}"], values[f"moving_variance_{when}"] = pair
        (result,) = diagnose(write(tmp_path / verdict, {"bn": (declared, made)}))
        assert result.verdict == verdict
        assert "The statistics changed outside of the recorded steps before steps 4, 5." in result.explanation


def test_lists_of_steps():
    numbers = [10 * i for i in range(100)]
    assert ranges([0], numbers) == "0"
    assert ranges([1, 2], numbers) == "10, 20"
    assert ranges([1, 2, 3, 7], numbers) == "10 to 30, 70"
    assert ranges(range(0, 100, 3), numbers) == "0, 30, 60, 90, 120, 150, 180, 210 and 26 more"
