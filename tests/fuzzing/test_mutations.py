"""Whatever stands in a file that is read, a command ends in a verdict or in one sentence.

More of it: `python tests/support/mutations.py --count 10000`.
"""

import mutations
import pytest
import tiers

from tf1bn.parity import stored

COUNT, SEED = 100, 1


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return mutations.Bench(tmp_path_factory.mktemp("mutations"))


def outcome(bench, kind, index):
    """The exit code of a mutant, or what happened that may not."""
    try:
        return mutations.case(bench, kind, SEED, index)
    except Exception as error:
        return f"--kind {kind} --seed {SEED} --first {index} --count 1: {error}"


@pytest.mark.parametrize(
    ("kind", "count"), tiers.slow_after(1, [("trace_json", 40), *((kind, COUNT) for kind in mutations.KINDS)])
)
def test_no_mutant_is_unforeseen(bench, kind, count):
    outcomes = {outcome(bench, kind, index) for index in range(count)}
    assert outcomes <= {0, 1, 2}
    # Mutants that were all refused, or all accepted, would test half of it.
    assert {1, 2} <= outcomes


def test_what_was_not_foreseen_would_be_seen(bench, monkeypatch):
    monkeypatch.setattr(stored, "checked", lambda result: result)
    outcomes = [outcome(bench, "stored", index) for index in range(COUNT)]
    assert any("not foreseen" in str(each) for each in outcomes)
