"""Where many updates can take a statistic, against brute force: every order, and races that were really played."""

import itertools
from fractions import Fraction

import numpy as np
import pytest

from tf1bn.evidence.reachable import Updates, excess

DECAY = 0.75


def updates(count, channels=3, seed=0, decay=DECAY):
    rng = np.random.default_rng(seed)
    before, taken = rng.normal(size=(2, channels)), rng.normal(size=(count, 2, channels))
    decays = rng.uniform(0.5, 0.99, count) if decay is None else np.full(count, decay)
    return Updates(before, taken, decays, np.full((2, channels), 1e-12))


def in_order(each, order):
    value = each.before
    for i in order:
        value = value - (value - each.taken[i]) * (1 - each.decays[i])
    return value


@pytest.mark.parametrize("decay", [DECAY, None])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_every_order_is_tried(count, decay):
    each = updates(count, decay=decay)
    orders = list(itertools.permutations(range(count)))
    made = each.in_turn()
    assert len(made) == len(orders)
    played = [in_order(each, order) for order in orders]
    for one in played:
        assert np.abs(made - one).max(axis=(1, 2)).min() < 1e-14
    if decay is None:
        return
    low, high = each.range_in_turn()
    # Each channel alone reaches both ends of its interval.
    assert np.allclose(low, np.min(played, axis=0), rtol=0, atol=1e-14)
    assert np.allclose(high, np.max(played, axis=0), rtol=0, atol=1e-14)


def test_64_updates_lie_in_their_range():
    each = updates(64, decay=0.97)
    low, high = each.range_in_turn()
    rng = np.random.default_rng(1)
    for _ in range(20):
        one = in_order(each, rng.permutation(64))
        assert excess(one, low, high, each.bound) <= 1
    assert excess(high + 1e-6, low, high, each.bound) > 1


@pytest.mark.parametrize("rates", [[Fraction(1, 4)] * 3, [Fraction(1, 4), Fraction(1, 8), Fraction(1, 2)]])
def test_updates_in_parallel_are_exact(rates):
    before, taken = Fraction(3, 2), [Fraction(1, 4), Fraction(-2), Fraction(7, 8)]
    expected = before + sum(rate * (value - before) for rate, value in zip(rates, taken, strict=True))
    decays = np.array([float(1 - rate) for rate in rates])
    each = Updates(np.full((2, 1), 1.5), np.array([[[float(value)]] * 2 for value in taken]), decays, np.zeros((2, 1)))
    assert each.parallel().tolist() == [[float(expected)]] * 2


@pytest.mark.parametrize(("count", "lost"), [(2, 0), (4, 0), (4, 1), (7, 3)])
@pytest.mark.parametrize("decay", [DECAY, None])
def test_races_lie_in_their_range(count, lost, decay):
    for seed in range(30):
        each = updates(count, seed=seed, decay=decay)
        low, high = each.range_of_race(lost)
        rng = np.random.default_rng(seed + 100)
        seen = [each.before]
        for i in rng.permutation(count)[: count - lost]:
            read = seen[rng.integers(len(seen))]
            seen.append(seen[-1] - (read - each.taken[i]) * (1 - each.decays[i]))
        assert excess(seen[-1], low, high, each.bound) <= 1
    assert (high - low).max() < 20


def test_what_is_not_a_number_is_never_inside():
    each = updates(2)
    low, high = each.range_of_race()
    assert excess(low * np.nan, low, high, each.bound) == np.inf
