"""Several applications in a step, each with a decay of its own, as PyTorch's `momentum=None` has them."""

import pytest
from faulty import Layer, simulated, write

from tf1bn.diagnosis import diagnose

APPLICATIONS = 2


class Average(Layer):
    """An average of all batches: the n-th update takes 1/n; or, with ``in_step``, each update of the n-th step does.

    There were ``before`` updates before the first step.
    """

    def __init__(self, *, in_step=False, flipped=False, factor=1, before=0):
        super().__init__(0.5)
        self._in_step, self._flipped, self._factor, self._before = in_step, flipped, factor, before

    def train(self, moving, batches):
        for i, batch in enumerate(batches):
            number = self.steps + 1 if self._in_step else self._before + self.steps * APPLICATIONS + i + 1
            share = self._factor / number if number > 1 else 1
            moving = self.once(moving, batch, share if self._flipped and number > 1 else 1 - share)
        return moving


def decays(t):
    return [1 - 1 / (t * APPLICATIONS + i + 1) for i in range(APPLICATIONS)]


def judged(path, layer, keep="inputs"):
    """The diagnosis of a layer whose trace says the decay of each application."""

    def extra(t):
        return {"decay": None, "decays": decays(t)}

    made = simulated(layer, decay=None, steps=6, applications=APPLICATIONS, start="cold", extra=extra, keep=keep)
    return diagnose(write(path, {"bn": made}))[0]


@pytest.mark.parametrize("keep", ["inputs", "moments"])
def test_each_update_is_judged_by_its_own_decay(tmp_path, keep):
    right = judged(tmp_path / "a", Average(), keep=keep)
    # Two updates in a step are what is told of any layer; each of them is right.
    assert [cause.id for cause in right.causes] == ["double-update"]
    assert "updated its statistics each time" in right.explanation
    assert right.mean_error <= right.mean_bound
    assert right.variance_error <= right.variance_bound
    accumulated = right.accumulated["variance"]
    assert abs(accumulated.error) <= accumulated.bound


@pytest.mark.parametrize("wrong", [{"in_step": True}, {"flipped": True}, {"factor": 0.99}])
def test_updates_with_other_decays_are_a_finding(tmp_path, wrong):
    result = judged(tmp_path / "a", Average(**wrong))
    assert result.verdict == "finding"
    assert result.mean_error > result.mean_bound
    assert "updated its statistics each time" not in result.explanation
    if wrong.get("flipped"):
        assert result.causes[0].id == "momentum-flipped"


def test_an_average_that_began_before_the_first_step(tmp_path):
    made = simulated(Average(before=4), decay=0.9, steps=4, applications=APPLICATIONS)
    result = diagnose(write(tmp_path / "a", {"bn": made}))[0]
    assert result.causes[0].id == "cumulative-average"
    assert "update by update the statistics move by 1/5, 1/6 and so on" in result.explanation


class Raced(Layer):
    """Each update starts from the statistics before the step, and takes 1/10."""

    def train(self, moving, batches):
        changes = [self.once(moving, batch) for batch in batches]
        return tuple(old + sum(change[i] - old for change in changes) for i, old in enumerate(moving))


@pytest.mark.parametrize(("declared", "raced"), [([0.9, 0.9], True), ([0.9, 0.7], False)])
def test_updates_that_raced_had_the_decays_that_are_declared(tmp_path, declared, raced):
    """The second of the declared decays counts as much as the first."""
    extra = {"decay": None, "decays": declared}
    made = simulated(Raced(0.9), decay=None, steps=3, applications=2, extra=lambda t: extra)
    result = diagnose(write(tmp_path / "a", {"bn": made}))[0]
    assert result.verdict == "finding"
    assert ("raced" in result.explanation) is raced
    # What is left of the statistics before the first step.
    assert result.survey.declared.start_weight == pytest.approx((declared[0] * declared[1]) ** 3)


def test_a_replay_takes_the_decay_of_each_update(tmp_path):
    """Sums in float32, value by value, are so far off that only a replay of them tells."""

    class InOrder(Layer):
        def train(self, moving, batches):
            for batch, decay in zip(batches, (0.9, 0.7), strict=True):
                moving = self.once(moving, batch, decay)
            return moving

    more = {"kind": "relu", "shape": (1500, 8), "extra": lambda t: {"decay": None, "decays": [0.9, 0.7]}}
    made = simulated(InOrder(0.9, order="in order"), decay=None, steps=2, applications=2, **more)
    result = diagnose(write(tmp_path / "a", {"bn": made}))[0]
    assert [cause.id for cause in result.causes if cause.severity == "finding"] == ["double-update"]
    assert "updated its statistics each time" in result.explanation
