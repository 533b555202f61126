"""A short run of the fuzzer, and that it would notice."""

import fuzz
import numpy as np
import pytest
import tiers

from tf1bn.checker import Moments, error_bounds, moments

BLOCKS = [(0, 200), (200, 500), *((first, first + 500) for first in range(500, 4000, 500))]
SEED = 20


@pytest.mark.parametrize(("first", "end"), tiers.slow_after(1, BLOCKS))
def test_no_input_crashes_or_gives_a_wrong_number(first, end):
    for index in range(first, end):
        error = failure(SEED, index)
        assert error is None, f"case {index}: {error!r}; to run it again: {fuzz.again(SEED, index)}"


@pytest.mark.parametrize("first", range(0, 600, 200))
def test_the_recurrence_is_that_of_real_numbers(first):
    for index in range(first, first + 200):
        error = failure(SEED, index, "recurrence")
        assert error is None, f"case {index}: {error!r}; to run it again: {fuzz.again(SEED, index, 'recurrence')}"


def failure(seed, index, part="inputs"):
    try:
        fuzz.run_case(seed, index, part)
    except Exception as error:
        return error
    return None


def test_a_case_is_the_same_wherever_it_runs():
    draws = []
    for _ in range(2):
        given = fuzz.Input(fuzz.Dice(SEED, 7))
        draws.append((given.batch.tobytes(), given.batch.strides, given.batch.dtype, given.data_format))
    assert draws[0] == draws[1]


def failures(seed, count):
    """The names of the kinds of cases that fail because a number or an acceptance is wrong."""
    errors = [failure(seed, index) for index in range(count)]
    wrong = [error for error in errors if isinstance(error, AssertionError)]
    return {error.__traceback__.tb_next.tb_next.tb_frame.f_code.co_name for error in wrong}


@pytest.mark.slow
@pytest.mark.parametrize("row", [0, 2], ids=["mean", "variance"])
def test_a_thirteenth_digit_that_is_wrong_is_noticed(row, monkeypatch):
    original = moments.Moments._from_state.__func__

    def wrong(cls, count, weight, state):
        state = np.array(state)
        state[row] *= 1 + 3e-13
        return original(cls, count, weight, state)

    monkeypatch.setattr(Moments, "_from_state", classmethod(wrong))
    assert {"case_moments", "case_weights", "case_merge", "case_cut"} <= failures(SEED, 600)


def test_what_is_wrongly_accepted_is_noticed(monkeypatch):
    monkeypatch.setattr(moments, "checked_threads", lambda threads: 1)
    assert failures(SEED, 600) == {"case_refused"}


def wrong_steps(monkeypatch, change):
    """How many of 300 recurrences fail if ``change`` is made to the arguments of a step."""
    original = error_bounds._native.Steps

    def steps(count, **arguments):
        change(arguments)
        return original(count, **arguments)

    monkeypatch.setattr(error_bounds._native, "Steps", steps)
    return sum(failure(SEED, index, "recurrence") is not None for index in range(300))


def test_a_decay_that_is_rounded_once_is_noticed(monkeypatch):
    def change(arguments):
        # 1 - decay without its low-order word, and 1 minus that.
        arguments["rate"] = (arguments["rate"][0], 0.0)
        arguments["keep"] = (1.0 - arguments["rate"][0], 0.0)

    assert wrong_steps(monkeypatch, change) > 10


def test_bounds_without_the_slack_of_the_weights_are_noticed(monkeypatch):
    assert wrong_steps(monkeypatch, lambda arguments: arguments.update(slack=0.0)) > 10
    assert wrong_steps(monkeypatch, lambda arguments: arguments.update(keep_slack=0.0)) > 0


def test_bounds_without_the_rounding_of_the_store_are_noticed(monkeypatch):
    assert wrong_steps(monkeypatch, lambda arguments: arguments.update(unit=arguments["unit"] / 16)) > 4
