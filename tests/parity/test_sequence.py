"""The longest common subsequence, and the matching of layers by ends of names and by data, against the plain way."""

import re
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tf1bn.checker import Moments
from tf1bn.errors import MappingError
from tf1bn.parity import layer_map, layer_pairs, names, sequence
from tf1bn.parity.layer_pairs import LayerSignature, match_layers

ITEMS = st.lists(st.integers(0, 3), max_size=12)


@given(ITEMS, ITEMS)
@settings(max_examples=300, deadline=None)
def test_the_longest_common_subsequence_is_that_of_the_table_of_lengths(old, new):
    length = np.zeros((len(old) + 1, len(new) + 1), int)
    for i in reversed(range(len(old))):
        for j in reversed(range(len(new))):
            same = old[i] == new[j]
            length[i, j] = length[i + 1, j + 1] + 1 if same else max(length[i + 1, j], length[i, j + 1])
    pairs, i, j = [], 0, 0
    while i < len(old) and j < len(new):
        if old[i] == new[j]:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif length[i + 1, j] >= length[i, j + 1]:
            i += 1
        else:
            j += 1
    assert sequence.common_subsequence(old, new) == pairs


def test_lists_whose_table_would_be_too_large_are_paired_as_far_as_they_begin_alike(monkeypatch):
    monkeypatch.setattr(sequence, "LARGEST_TABLE", 5)
    assert sequence.common_subsequence([1, 2, 3, 4], [1, 2, 4, 4]) == [(0, 0), (1, 1), (3, 2)]
    assert sequence.common_subsequence([1, 2, 3, 4], [1, 5, 3, 4]) == [(0, 0)]


PART = st.sampled_from(["a", "b", "bn", "bn_1", "batch_norm"])
NAMES = st.lists(st.lists(PART, min_size=1, max_size=4).map("/".join), unique=True, max_size=7)


@given(NAMES, NAMES)
@settings(max_examples=300, deadline=None)
def test_names_of_which_one_ends_in_the_other(old, new):
    paths = {name: names.plain_path(name) for name in {*old, *new}}

    def related(old_name, new_name):
        short, long = sorted((paths[old_name], paths[new_name]), key=len)
        telling = any(not re.fullmatch(r"bn(_\d+)?", part) for part in short)
        return telling and long[len(long) - len(short) :] == short

    like_old = {name: [other for other in new if related(name, other)] for name in old}
    like_new = {name: [other for other in old if related(other, name)] for name in new}
    expected = [(name, others[0]) for name, others in like_old.items() if len(others) == 1 == len(like_new[others[0]])]
    assert names._common_ends(old, new) == expected


MEANS = st.lists(st.tuples(st.sampled_from([0.0, 1e-4, 5e-4, 1e-3, 1.0, 1.001, 2.0]), st.integers(2, 3)), max_size=7)


@given(MEANS, MEANS)
@settings(max_examples=300, deadline=None)
def test_layers_with_the_same_data_are_those_of_which_each_is_like_one_alone(old, new):
    def signatures(values, run):
        return [
            LayerSignature(f"{run}{i}", size, Moments(9, np.full(size, mean), np.full(size, 0.25)))
            for i, (mean, size) in enumerate(values)
        ]

    old, new = signatures(old, "old"), signatures(new, "new")
    expected = []
    for layer in old:
        like = [other for other in new if layer.same_data(other)]
        if len(like) == 1 and sum(bool(other.same_data(like[0])) for other in old) == 1:
            expected.append((layer.name, like[0].name))
    assert [(a.name, b.name) for a, b in layer_pairs._by_data(old, new)] == expected


@pytest.mark.parametrize("pattern", ["a*", "*b", "*a*b*", "a*b*", "**", "*ab*ab*"])
@given(name=st.text("ab/", max_size=8))
@settings(max_examples=100, deadline=None)
def test_stars_take_as_much_as_they_can_from_the_left(pattern, name):
    hit = re.fullmatch("(.*)".join(map(re.escape, pattern.split("*"))), name)
    assert layer_map._stars(pattern.split("*"), name) == (hit and list(hit.groups()))


def test_a_pattern_of_many_stars_takes_no_time():
    start = time.perf_counter()
    layers = [LayerSignature("ab" * 200 + "x", 3)]
    with pytest.raises(MappingError, match="no layer of OLD"):
        match_layers(layers, layers, {"*a*b" * 100 + "y": None})
    assert time.perf_counter() - start < 5


def test_more_patterns_and_layers_than_can_be_tried_are_refused():
    layers = [LayerSignature(f"bn{i}", 3) for i in range(4200)]
    with pytest.raises(MappingError, match="4100 patterns for 4200 layers"):
        match_layers(layers, layers, {f"bn{i}*": None for i in range(4100)})
