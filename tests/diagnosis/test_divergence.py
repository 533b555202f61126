"""Which layer diverges first, and what of an error was inherited."""

import numpy as np
import pytest
from faults import BatchStats
from faulty import Layer, simulated, write

from tf1bn.diagnosis import conclude
from tf1bn.diagnosis import engine as diagnosis

DECAY = 0.9
MOMENT = {"mean": np.mean, "variance": np.var}


class From(Layer):
    """Takes ``late`` of the way to the batch instead of 1 - decay, from a step on."""

    def __init__(self, begin, late=0.5):
        super().__init__(DECAY)
        self._begin, self._late = begin, late

    def once(self, moving, batch, decay=None):
        return super().once(moving, batch, 1 - self._late if self.steps >= self._begin else self.decay)


def judged(path, **layers):
    opened = write(path, {name: simulated(layer, decay=DECAY, **more) for name, (layer, more) in layers.items()})
    results = diagnosis.diagnose(opened)
    return {one.name: one for one in results}, conclude.audit_result(results), opened


def test_the_layer_that_is_wrong_in_the_earliest_step_is_first(tmp_path):
    results, found, _ = judged(
        tmp_path / "t", good=(Layer(DECAY), {}), late=(From(3), {"seed": 1}), early=(From(1), {"seed": 2})
    )
    assert {name: (one.first, one.first_step) for name, one in results.items()} == {
        "good": (False, None),
        "late": (False, 3),
        "early": (True, 1),
    }
    assert [(layer["first"], layer["first_step"]) for layer in found["layers"]] == [
        (False, None),
        (False, 3),
        (True, 1),
    ]
    assert "`early` diverges first, in step 1." in found["notes"][0]


def test_of_one_step_the_earlier_layer_is_first(tmp_path):
    results, found, _ = judged(tmp_path / "t", b=(From(2), {}), a=(From(2), {"seed": 1}), c=(Layer(DECAY), {"seed": 2}))
    assert [name for name, one in results.items() if one.first] == ["b"]
    # In training outputs are normalised by the batch, so wrong statistics reach no other layer.
    assert found["notes"][0].endswith("Each layer is checked with the inputs and statistics that it got.")


def test_layers_after_wrong_outputs_are_right_for_what_they_got(tmp_path):
    _, found, _ = judged(tmp_path / "t", b=(Outputs(epsilon=0.1), EVALUATED), c=(Layer(DECAY), EVALUATED | {"seed": 2}))
    assert found["notes"][0].endswith("`c` is right for the inputs received, which may carry what `b` did wrong.")


def test_one_layer_with_wrong_statistics_alone_is_told_once(tmp_path):
    _, found, _ = judged(tmp_path / "t", b=(From(2), {}), c=(Layer(DECAY), {"seed": 2}))
    assert found["layers"][0]["first"]
    assert found["notes"] == []


def test_where_all_is_well_nothing_is_first(tmp_path):
    results, found, _ = judged(tmp_path / "t", a=(Layer(DECAY), {}), b=(Layer(DECAY), {"seed": 1}))
    assert not any(one.first or one.first_step is not None for one in results.values())
    assert found["notes"] == []
    for one in results.values():
        for part in one.accumulated.values():
            assert abs(part.error) <= part.bound


def test_errors_add_up_as_the_recurrence_says(tmp_path):
    """Against the recurrence in float64, from the recorded inputs."""
    results, found, opened = judged(tmp_path / "t", bn=(From(2), {"steps": 5}))
    records = [step.layers["bn"] for step in opened]
    for which in ("mean", "variance"):
        value = np.asarray(getattr(records[0], f"moving_{which}_before"), np.float64)
        errors = []
        for record in records:
            batch = np.asarray(record.inputs[0], np.float64).reshape(-1, value.size)
            value = value - (value - MOMENT[which](batch, axis=0)) * (1 - DECAY)
            errors.append(np.asarray(getattr(record, f"moving_{which}_after"), np.float64) - value)
        part = results["bn"].accumulated[which]
        at = part.channel
        assert (part.since, part.step) == (0, 4)
        assert abs(part.error - errors[-1][at]) <= part.bound
        assert abs(part.inherited - DECAY * errors[-2][at]) <= part.bound
        assert abs(part.inherited + part.added - part.error) <= 1e-12 * abs(part.error)
        assert abs(part.error) > 100 * part.bound
        assert found["layers"][0]["accumulated"][which]["error"] == part.error
    text = results["bn"].explanation
    assert "After step 4 the moving mean is" in text
    assert "by that step" in text


def test_the_text_names_the_update_that_tables_show(tmp_path):
    """The sentence is about the statistics after the last step, and the worst update is another one's."""

    class Once(Layer):
        def once(self, moving, batch, decay=None):
            return super().once(moving, batch, 0.1 if self.steps == 2 else self.decay)

    results, _, _ = judged(tmp_path / "t", bn=(Once(DECAY), {"steps": 6}))
    one = results["bn"]
    assert {error.step for error in one.worst.values()} == {2}
    for error in one.worst.values():
        assert f"most of it from step 2, whose update alone is off by {error.error:.3g}" in one.explanation
    # The last step added no more than roundings.
    assert one.explanation.count(": 0 by that step, ") == 2
    results, _, _ = judged(tmp_path / "u", bn=(From(1), {"steps": 6, "seed": 3}))
    one = results["bn"]
    elsewhere = [error for error in one.worst.values() if error.step != 5]
    assert elsewhere
    for error in elsewhere:
        source = f"step {error.step}, whose update alone is off by {error.error:.3g}"
        another = f"(the update of step {error.step} is farthest off, by {error.error:.3g})"
        assert (source in one.explanation) is not (another in one.explanation)


class Outputs(Layer):
    """Trains wrongly from step 1 on, or has another epsilon in its outputs; evaluates in the last step."""

    def __init__(self, late=None, epsilon=1e-3):
        super().__init__(DECAY, epsilon=epsilon)
        self._late = late

    def once(self, moving, batch, decay=None):
        return super().once(moving, batch, 1 - self._late if self._late and self.steps >= 1 else self.decay)


EVALUATED = {"outputs": True, "steps": 5, "training": lambda t: t < 4, "kind": "normal"}


def statistics(step):
    record = step.layers["bn"]
    return [np.asarray(one, np.float64) for one in (record.moving_mean_before, record.moving_variance_before)]


def test_outputs_inherit_from_wrong_statistics_and_add_nothing(tmp_path):
    results, _, opened = judged(tmp_path / "t", bn=(Outputs(late=0.5), EVALUATED))
    one = results["bn"]
    last = list(opened)[-1].layers["bn"]
    x, channels = np.asarray(last.inputs[0], np.float64), 4
    mean, variance = statistics(next(iter(opened)))
    for step in list(opened)[:-1]:
        batch = np.asarray(step.layers["bn"].inputs[0], np.float64).reshape(-1, channels)
        mean, variance = mean - (mean - batch.mean(0)) * (1 - DECAY), variance - (variance - batch.var(0)) * (1 - DECAY)
    gamma, beta = (np.asarray(getattr(last, name), np.float64) for name in ("gamma", "beta"))
    due = gamma * (x - mean) / np.sqrt(variance + 1e-3) + beta
    seen_mean, seen_variance = statistics(list(opened)[-1])
    made = gamma * (x - seen_mean) / np.sqrt(seen_variance + 1e-3) + beta
    off = np.sqrt(((made - due) ** 2).reshape(-1, channels).mean(0))
    assert one.verdict == "finding"
    # Both are float64: a few dozen roundings of numbers no larger than x times the slope.
    rounding = 64 * 2.0**-53 * np.abs(gamma * (np.abs(x) + np.abs(seen_mean)) / np.sqrt(seen_variance)).max()
    channel = one.survey.fits[False].output_errors.inherited.channel
    assert abs(off[channel] - one.inherited_error) <= rounding
    assert one.inherited_error > 10 * one.inherited_bound
    assert one.added_error <= one.added_bound
    assert "The statistics make the outputs in inference wrong by" in one.explanation


def test_outputs_that_are_normalised_by_the_batch_inherit_nothing(tmp_path):
    results, _, _ = judged(tmp_path / "t", bn=(BatchStats(DECAY), EVALUATED | {"steps": 8}))
    one = results["bn"]
    assert one.causes[0].id == "batch-stats-at-inference"
    assert one.inherited_error > one.inherited_bound
    assert "The statistics make the outputs" not in one.explanation
    assert "the layer's outputs are wrong by" in one.explanation


def test_another_epsilon_is_added_and_not_inherited(tmp_path):
    results, _, _ = judged(tmp_path / "t", bn=(Outputs(epsilon=0.1), EVALUATED))
    one = results["bn"]
    assert one.causes[0].id == "epsilon"
    assert one.added_error > 10 * one.added_bound
    assert one.inherited_error <= one.inherited_bound
    assert "Given its statistics and inputs, the layer's outputs are wrong by" in one.explanation


def test_outputs_between_their_two_bounds_are_told(tmp_path):
    """Of 4096 values a layer can lose more in the worst case than the epsilon makes, and should not."""
    settings = {"outputs": True, "steps": 1, "shape": (64, 8, 8, 2), "kind": "normal"}
    (one,) = judged(tmp_path / "t", bn=(Outputs(epsilon=1.01e-3), settings))[0].values()
    error = one.outputs["added"]
    assert one.verdict == "ok"
    assert error.expected_error < error.error < error.worst_case == one.added_bound
    assert f"more than rounding is expected to cause ({error.expected_error:.2g})" in one.explanation
    assert "outputs in inference, or smaller batches, would" in one.explanation
    (right,) = judged(tmp_path / "u", bn=(Outputs(), settings))[0].values()
    assert right.outputs["added"].error <= right.outputs["added"].expected_error
    # Outputs in inference have no batch to sum.
    evaluated = settings | {"steps": 2, "training": lambda t: t < 1}
    (told,) = judged(tmp_path / "v", bn=(Outputs(epsilon=1.01e-3), evaluated))[0].values()
    assert (told.verdict, told.causes[0].id) == ("finding", "epsilon")


@pytest.mark.parametrize("outputs", [True, False])
def test_without_outputs_their_errors_are_not_known(outputs, tmp_path):
    results, found, _ = judged(tmp_path / "t", bn=(Layer(DECAY), {"outputs": outputs}))
    assert (results["bn"].added_error is None) is not outputs
    assert (found["layers"][0]["inherited_error"] is None) is not outputs


def test_statistics_that_change_between_steps_are_told(tmp_path):
    settings, made = simulated(Layer(DECAY), decay=DECAY, steps=4)
    values = made[2][0]
    for name in ("moving_mean_before", "moving_variance_before"):
        values[name] = values[name] + np.float32(0.5)
    (one,) = diagnosis.diagnose(write(tmp_path / "t", {"bn": (settings, made)}))
    assert "The statistics changed outside of the recorded steps before step" in one.explanation
