"""What moved statistics between recorded steps: an earlier state that came back."""

import numpy as np
import pytest
from faulty import Layer, simulated, write

from tf1bn.diagnosis import diagnose
from tf1bn.evidence.gaps import MOST_STATES, EarlierStates


def run(path, at, earlier):
    """Diagnoses a run in which, before step ``at``, the statistics become those after step ``earlier``."""
    settings, made = simulated(Layer(0.9), decay=0.9, steps=8)
    for step in range(at, 8):
        values, source = made[step][0], made[earlier if step == at else step - 1][0]
        x = np.asarray(values["inputs"][0], np.float64).reshape(-1, 4)
        for name, batch in (("moving_mean", x.mean(0)), ("moving_variance", x.var(0))):
            before = values[f"{name}_before"] = source[f"{name}_after"]
            values[f"{name}_after"] = (before - (before - batch) * (1 - 0.9)).astype(np.float32)
    return diagnose(write(path, {"bn": (settings, made)}))[0]


@pytest.mark.parametrize(("at", "earlier"), [(7, 3), (4, 0)])
def test_a_restored_state_is_named_by_its_step(tmp_path, at, earlier):
    result = run(tmp_path / "t", at, earlier)
    found = next(cause for cause in result.causes if cause.id == "changed-between-steps")
    assert f"changed outside of the recorded steps before step {at}" in found.explanation
    assert f"set back to what they were after step {earlier}, equal to the bit" in found.explanation
    assert (found.severity, found.variant) == ("advisory", "back")


def states(count, seed=0):
    return np.random.default_rng(seed).normal(size=(2, count, 3)).astype(np.float32).astype(np.float64)


def test_the_last_of_equal_states_is_found_and_no_other():
    earlier, known = EarlierStates(), states(6)
    known[:, 4] = known[:, 1]
    earlier.add(range(10, 16), known)
    assert [earlier.find(known[:, i]) for i in range(6)] == [10, 14, 12, 13, 14, 15]
    # Steps that train nothing leave what is there.
    earlier.add([16, 17], np.repeat(known[:, 5:], 2, axis=1))
    assert earlier.find(known[:, 5]) == 15
    other = known[:, 2].copy()
    other[1, 2] = np.nextafter(np.float32(other[1, 2]), np.float32(9))
    assert earlier.find(other) is None
    # Numbers that have changed places are another state.
    assert earlier.find(known[::-1, 2]) is None
    assert earlier.find(known[:, 2, ::-1]) is None


def test_of_a_long_run_the_last_states_are_remembered():
    earlier = EarlierStates()
    for start in range(0, 3 * MOST_STATES, MOST_STATES):
        earlier.add(range(start, start + MOST_STATES), states(MOST_STATES, start))
    assert earlier.find(states(MOST_STATES, 2 * MOST_STATES)[:, 5]) == 2 * MOST_STATES + 5
    assert earlier.find(states(MOST_STATES, 0)[:, 5]) is None
