"""Several applications in a step, each with a decay of its own, as PyTorch's `momentum=None` has them."""

import math

import numpy as np
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
    """Each update starts from the statistics before the step, with a decay of its own."""

    def __init__(self, decays):
        super().__init__(None)
        self._decays = decays

    def train(self, moving, batches):
        changes = [self.once(moving, batch, decay) for batch, decay in zip(batches, self._decays, strict=True)]
        return tuple(old + sum(change[i] - old for change in changes) for i, old in enumerate(moving))


def raced(path, used, declared, **more):
    """The diagnosis of a layer whose updates race with the decays ``used``, where others may be declared."""
    extra = {"decay": None, "decays": declared}
    more = {"steps": 3, "applications": len(used), "extra": lambda t: extra} | more
    return diagnose(write(path, {"bn": simulated(Raced(used), decay=None, **more)}))[0]


def same_batch(t, i):
    return np.random.default_rng(t).normal(3, 2, (64, 4)).astype(np.float32)


@pytest.mark.parametrize("batches", [None, same_batch])
@pytest.mark.parametrize("used", [[0.9, 0.9], [0.9, 0.7], [0.7, 0.9], [0.6, 0.3], [0.9, 0.97, 0.95, 0.93]])
def test_updates_that_raced_had_the_decays_that_are_declared(tmp_path, used, batches):
    """Also together beyond the batches, and with one batch for all, where one update of another decay does the same."""
    result = raced(tmp_path / "a", used, used, batches=batches)
    assert [cause.id for cause in result.causes] == ["double-update"]
    assert "started from the same old values" in result.explanation
    # What is left of the statistics before the first step.
    assert result.survey.declared.start_weight == pytest.approx(math.prod(used) ** 3)


@pytest.mark.parametrize("used", [[0.9, 0.9], [0.7, 0.9], [0.9, 0.5]])
def test_updates_that_raced_with_other_decays_did_not_race_as_declared(tmp_path, used):
    result = raced(tmp_path / "a", used, [0.9, 0.7])
    assert result.verdict == "finding"
    assert "double-update" not in {cause.id for cause in result.causes}


@pytest.mark.parametrize(("used", "batches"), [([0.9, 0.9], None), ([0.9, 0.75], same_batch)])
def test_one_update_of_another_decay_or_several_at_once_is_left_open(tmp_path, used, batches):
    result = raced(tmp_path / "a", used, [0.9, 0.7], batches=batches)
    each = {0.9: "0.9", 0.75: "0.825"}[used[1]]
    assert result.causes[0].id == "decay"
    assert f" 2 updates of decay {each} that all start from the same old values do the same" in result.explanation


@pytest.mark.parametrize("count", [2, 8])
def test_updates_of_different_decays_in_any_order(tmp_path, count):
    """The decays belong to the updates and not to their places."""
    used = [0.9 + 0.01 * i for i in range(count)]

    class AnyOrder(Layer):
        def train(self, moving, batches):
            for i in np.random.default_rng(self.steps).permutation(count):
                moving = self.once(moving, batches[i], used[i])
            return moving

    more = {"steps": 5, "applications": count, "extra": lambda t: {"decay": None, "decays": used}}
    result = diagnose(write(tmp_path / "a", {"bn": simulated(AnyOrder(0.9), decay=None, **more)}))[0]
    assert [cause.id for cause in result.causes] == ["double-update"]


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
