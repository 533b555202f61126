"""Layers that nothing else tells apart, matched in order: as many as there can be, and of those the most alike.

Where one model lacks a layer, the order alone leaves open which one it is, and a wrong pair accuses two layers that are
right. So the pairs of an alignment are as many as there can be, and their likeness in sum is the largest: that of names
and of what the layers hold.
"""

from __future__ import annotations

import numpy as np

from .names import plain_path
from .sequence import common_subsequence

LARGEST_PRODUCT = 40_000  # of the lengths of the two lists, beyond which likeness is not looked at


def pairs_in_order(old, new):
    """Pairs of signatures of as many channels, in the order of both lists.

    The alignment is found by dynamic programming over (number of pairs, likeness), which takes time in proportion to
    the product of the lengths; of several that are equally good, it is the one that pairs layers as early as possible.

    Args:
      old, new: lists of `layer_pairs.LayerSignature` with known numbers of channels.

    Returns:
      List of pairs of signatures.
    """
    if len(old) * len(new) > LARGEST_PRODUCT or not old or not new:
        indices = common_subsequence([layer.channels for layer in old], [layer.channels for layer in new])
        return [(old[i], new[j]) for i, j in indices]
    words = {id(layer): words_of(layer.name) for layer in (*old, *new)}
    # The best of what is left from i and j on, as (number of pairs, likeness).
    best = [[(0, 0.0)] * (len(new) + 1) for _ in range(len(old) + 1)]
    together = {}
    for i in reversed(range(len(old))):
        for j in reversed(range(len(new))):
            best[i][j] = max(best[i + 1][j], best[i][j + 1])
            if old[i].channels == new[j].channels:
                count, sum_ = best[i + 1][j + 1]
                by_name, by_values, *_ = likeness(old[i], new[j], words)
                # Roundings in the sum must not decide between alignments that are equally good.
                together[i, j] = count + 1, sum_ + round(by_name + by_values, 9)
                best[i][j] = max(best[i][j], together[i, j])
    return [(old[i], new[j]) for i, j in _backtracked(best, together, len(old), len(new))]


def _backtracked(best, together, rows, columns):
    i = j = 0
    while i < rows and j < columns:
        if together.get((i, j)) == best[i][j]:
            yield i, j
            i, j = i + 1, j + 1
        elif best[i + 1][j] == best[i][j]:
            i += 1
        else:
            j += 1


def nearness(old, new):
    """The mean square of new[i] - old[i] over that of new[i] - old[j] for all i and j.

    It is 0 for equal values and about 1 for unrelated ones; NaN for values that are all one number or not finite.
    """
    with np.errstate(all="ignore"):
        spread = old.var() + new.var() + (new.mean() - old.mean()) ** 2
        return float(np.square(new - old).mean() / spread) if spread > 0 else np.nan


def likeness(old, new, words):
    """How alike two signatures are.

    Args:
      old, new: `layer_pairs.LayerSignature`.
      words: by the id of a signature what `words_of` gives for its name.

    Returns:
      by_name: up to 1 for the names.
      by_values: up to 1 for each kind of values that both have; kinds: how many of these there are.
      numbers: how many numbers of each were compared.
    """
    both = words[id(old)] | words[id(new)]
    by_name = len(words[id(old)] & words[id(new)]) / len(both) if both else 0.0
    by_values, kinds, numbers = 0.0, 0, 0
    for role, values in old.values.items():
        other = new.values.get(role)
        if other is not None and other.size == values.size and not np.isnan(share := nearness(values, other)):
            by_values, kinds, numbers = by_values + max(0.0, 1 - share), kinds + 1, numbers + values.size
    return by_name, by_values, kinds, numbers


def words_of(name):
    """The parts of a name, each with its distance from the end and without."""
    path = plain_path(name)
    return {*path, *((part, place) for place, part in enumerate(reversed(path)))}
