"""The parts of a comparison by themselves: the worst error, the list of causes, the inputs, words for an epsilon."""

import types

import numpy as np
import pytest

from tf1bn import checker, trace
from tf1bn.parity.findings import Findings
from tf1bn.parity.traces.same_data import SameData, compare_inputs
from tf1bn.parity.traces.wording import interval
from tf1bn.parity.traces.worst_error import WorstError, largest, largest_of_channels
from tf1bn.verdicts import ADVISORY, FINDING


def test_the_worst_error_is_the_largest_in_units_of_its_bound():
    worst = WorstError("outputs")
    assert (worst.entry(), worst.exceeds) == (None, False)
    expected = np.array([1.0, 2.0])
    worst.add(0, np.array([0.5, 0.1]), np.array([1.0, 1.0]), expected, expected + 0.5)
    assert (worst.values["channel"], worst.share, worst.first, worst.exceeds) == (0, 0.5, None, False)
    worst.add(3, np.array([0.5, 0.4]), np.array([1.0, 0.1]), expected, expected + 0.4)
    worst.add(4, np.array([0.0, 0.2]), np.array([1.0, 0.1]), expected, expected + 0.2)
    entry = {"what": "outputs", "error": 0.4, "bound": 0.1, "step": 3, "channel": 1, "old": 2.0, "new": 2.4, "first": 3}
    assert (worst.entry(), worst.exceeds) == (entry, True)


@pytest.mark.parametrize(
    ("error", "expected", "observed", "share"),
    [(np.nan, np.nan, np.nan, 0), (np.nan, np.inf, np.inf, 0), (np.nan, 1, np.nan, np.inf), (0.0, 1, 1, 0)],
)
def test_equal_values_are_no_error_even_without_a_bound(error, expected, observed, share):
    worst = WorstError("gamma")
    worst.add(0, *(np.array([value], float) for value in (error, 0, expected, observed)))
    assert worst.share == share


def test_the_element_of_each_channel():
    rank = np.array([[1.0, np.nan], [2.0, 5.0], [0.0, 7.0]])
    values = np.arange(6.0).reshape(3, 2)
    (picked,) = largest_of_channels(rank, values)
    assert picked.tolist() == [2.0, 1.0]
    assert largest(np.array([-3.0, 2.0])) == 3.0
    assert largest(np.array([-3.0, np.nan])) == np.inf


def test_no_cause_is_named_twice():
    findings = Findings()
    findings.add("epsilon", "It may differ.", ADVISORY)
    findings.add("epsilon", "Again.", ADVISORY)
    findings.add("epsilon", "It differs.")
    findings.add("epsilon", "Again.")
    findings.add("decay", "It differs.", misfit=0.5)
    assert [(cause["id"], cause["severity"]) for cause in findings.causes] == [
        ("epsilon", ADVISORY),
        ("epsilon", FINDING),
        ("decay", FINDING),
    ]
    assert (findings.ids(), findings.ids(ADVISORY)) == ({"epsilon", "decay"}, {"epsilon"})
    assert [cause["severity"] for cause in findings.in_order()] == [FINDING, FINDING, ADVISORY]
    findings.put_first([{"id": "renamed", "severity": FINDING}])
    findings.drop({"epsilon"})
    assert [cause["id"] for cause in findings.causes] == ["renamed", "decay"]


def record(*inputs, moments=None, **settings):
    """What a `trace.Record` of a layer with three channels has."""
    layer = trace.Layer(decay=0.9, epsilon=1e-3, **settings)
    channels = np.zeros(3)
    before_and_after = {
        f"moving_{role}_{when}": channels for role in ("mean", "variance") for when in ("before", "after")
    }
    return types.SimpleNamespace(
        layer=layer,
        decay=0.9,
        training=(True,) * max(1, len(inputs)),
        applications=max(1, len(inputs)),
        inputs=inputs or None,
        moments=moments,
        weights=None,
        **before_and_after,
    )


def moments(array):
    return (checker.batch_moments(array),)


X = np.random.default_rng(3).normal(size=(5, 4, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("new", "state", "reason"),
    [
        (record(X), "bitwise", None),
        (record(np.moveaxis(X, -1, 1), data_format="NCHW"), "bitwise", None),
        (record(X * np.float32(1 + 1e-6)), "close", None),
        (record(X + 1), "different", None),
        (record(X, X), "different", "OLD applies it 1 times and NEW 2 times"),
        (record(X[0]), "different", "the ranks are 3 and 2"),
        (record(X[:2]), "different", "the shapes, channels last, are (5, 4, 3) and (2, 4, 3)"),
        (record(moments=(checker.batch_moments(X.reshape(-1, 3)),)), "moments", None),
        (
            record(moments=(checker.batch_moments(X[:2].reshape(-1, 3)),)),
            "different",
            "the values per channel are 20 and 8",
        ),
    ],
)
def test_the_inputs_of_two_records(new, state, reason):
    comparison = compare_inputs(record(X), new)
    assert (comparison.state, comparison.reason) == (state, reason)
    assert (comparison.error == 0) == (comparison.state == "bitwise" or comparison.error < 1e-12)


def test_the_first_step_and_the_first_later_one_with_other_data():
    data = SameData()
    assert (data.first, data.later, data.bitwise) == (None, None, True)
    data.add(2, record(X), record(X))
    data.add(3, record(X), record(X * np.float32(1 + 1e-6)))
    data.add(5, record(X), record(X + 1))
    data.add(6, record(X), record(X[:2]))
    assert (data.first.state, data.first_step, data.bitwise) == ("bitwise", 2, False)
    step, comparison = data.later
    assert (step, comparison.state, comparison.reason) == (5, "different", None)
    assert compare_inputs(record(X), record(np.moveaxis(X, -1, 0)), 0).state == "bitwise"


def test_moments_over_other_axes_of_as_many_values_do_not_show_whether_the_data_is_the_same():
    other = record(moments=(checker.batch_moments(np.moveaxis(X, 1, -1).reshape(-1, 4)),))
    comparison = compare_inputs(record(X), other)
    assert (comparison.seen, comparison.reason) == (False, "the recorded moments are of 3 and of 4 channels")
    fewer = record(moments=(checker.batch_moments(np.moveaxis(X[:2], 1, -1).reshape(-1, 4)),))
    assert compare_inputs(record(X), fewer).seen
    data = SameData()
    for step, new in enumerate((record(X), other)):
        data.add(step, record(X), new)
    assert (data.later, data.other, data.bitwise) == (None, None, False)


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (9.9e-4, 1.01e-3, "0.001"),
        (-1e-6, 2e-5, "1e-05"),
        (1.24e-5, 1.26e-5, "1.25e-05"),
        (0.0012344, 0.0012346, "between 0.001234 and 0.001235"),
        (np.nan, 1.0, "unknown"),
    ],
)
def test_an_interval_of_epsilon_in_words(low, high, text):
    assert interval(low, high) == text
