"""Several applications in a step, each with a decay of its own, as PyTorch's `momentum=None` has them."""

import pytest
from faulty import Layer, simulated, write

from tf1bn.diagnosis import diagnose

APPLICATIONS = 2


class Average(Layer):
    """An average of all batches: the n-th update takes 1/n; or, with ``in_step``, each update of the n-th step does."""

    def __init__(self, *, in_step=False, flipped=False, factor=1):
        super().__init__(0.5)
        self._in_step, self._flipped, self._factor = in_step, flipped, factor

    def train(self, moving, batches):
        for i, batch in enumerate(batches):
            number = self.steps + 1 if self._in_step else self.steps * APPLICATIONS + i + 1
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
