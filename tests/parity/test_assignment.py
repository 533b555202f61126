"""The free assignment of layers: against every permutation, and taken only where it is clearly better than order."""

import itertools
import time

import numpy as np
import pytest

from tf1bn.parity.assignment import assignment
from tf1bn.parity.layer_pairs import LayerSignature, match_layers


@pytest.mark.parametrize("rows", range(1, 6))
@pytest.mark.parametrize("columns", range(1, 6))
def test_no_permutation_has_a_larger_sum(rows, columns):
    rng = np.random.default_rng([rows, columns])
    for scale in (1, 1, 3, 1e6):
        values = np.round(rng.normal(0, scale, (rows, columns)), 1)
        found = assignment(values)
        assert len(found) == len(set(found.values())) == min(rows, columns)
        short, wide = (values, columns) if rows <= columns else (values.T, rows)
        best = max(
            sum(short[i, j] for i, j in enumerate(chosen))
            for chosen in itertools.permutations(range(wide), min(rows, columns))
        )
        assert sum(values[pair] for pair in found.items()) == pytest.approx(best, abs=1e-9 * scale)


def signature(name, seed, channels=16, noise=0.0):
    """A layer with trained values of its own; those of the same seed are alike."""
    rng = np.random.default_rng(seed)
    values = {role: rng.normal(size=channels) for role in ("gamma", "beta", "mean", "variance")}
    return LayerSignature(name, channels, values={role: value + noise for role, value in values.items()})


def pairs(old, new):
    return [(pair.old, pair.new, pair.by) for pair in match_layers(old, new).pairs]


def test_layers_that_are_listed_in_another_order_are_found():
    old = [signature(name, seed) for seed, name in enumerate("abcdef")]
    new = [signature(f"n{seed}", seed, noise=0.05) for seed in (0, 1, 4, 3, 2, 5)]
    assert pairs(old, new) == [
        ("a", "n0", "order"),
        ("b", "n1", "order"),
        ("c", "n2", "likeness"),
        ("d", "n3", "order"),
        ("e", "n4", "likeness"),
        ("f", "n5", "order"),
    ]


@pytest.mark.parametrize("channels", [1, 2, 3, 8, 64])
def test_between_models_that_were_trained_apart_the_order_stays(channels):
    for seed in range(20):
        old = [signature(f"o{i}", [seed, i], channels) for i in range(8)]
        new = [signature(f"n{i}", [seed, 100 + i], channels) for i in range(8)]
        assert pairs(old, new) == [(f"o{i}", f"n{i}", "order") for i in range(8)]


def test_a_missing_layer_and_two_that_changed_places():
    old = [signature(name, seed) for seed, name in enumerate("abcdef")]
    new = [signature(f"n{seed}", seed, noise=0.05) for seed in (1, 3, 2, 4, 5)]
    assert [pair[:2] for pair in pairs(old, new)] == [(name, f"n{i}") for i, name in enumerate("abcdef") if i]


def test_the_only_layer_of_its_shape_is_found_wherever_it_is():
    old = [signature("a", 0, 8), signature("b", 1, 16), signature("c", 2, 32)]
    new = [signature("x", 12, 32), signature("y", 11, 16), signature("z", 10, 8)]
    assert pairs(old, new) == [("a", "z", "shape"), ("b", "y", "shape"), ("c", "x", "shape")]


@pytest.mark.slow
def test_many_layers_take_no_longer_than_their_number():
    """20,000 layers in all, of which blocks of some shapes are in another order."""
    rng = np.random.default_rng(0)
    channels = [int(size) for size in rng.integers(1, 12, 20_000)]
    old = [LayerSignature(f"o{i}", 64 * size) for i, size in enumerate(channels)]
    new = [LayerSignature(f"n{i}", 64 * size) for i, size in enumerate(channels)]
    old += [signature(f"p{i}", i, 7) for i in range(30)]
    new += [signature(f"q{i}", i, 7, noise=0.01) for i in reversed(range(30))]
    start = time.process_time()
    found = {pair.old: pair.new for pair in match_layers(old, new).pairs}
    assert time.process_time() - start < 10
    assert all(found[f"o{i}"] == f"n{i}" for i in range(20_000))
    assert all(found[f"p{i}"] == f"q{i}" for i in range(30))
