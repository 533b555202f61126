"""Layers that nothing else tells apart, matched in order: as many as there can be, and of those the most alike.

Where one model lacks a layer, the order alone leaves open which one it is, and a wrong pair accuses two layers that are
right. So the pairs of an alignment are as many as there can be, and their likeness in sum is the largest: that of names
and of what the layers hold.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from .names import plain_path
from .sequence import common_subsequence

LARGEST_PRODUCT = 40_000  # of the lengths of the two lists, beyond which likeness is not looked at


def pairs_in_order(old, new, alike):
    """Pairs of signatures of as many channels, in the order of both lists.

    The alignment is found by dynamic programming over (number of pairs, likeness), which takes time in proportion to
    the product of the lengths; of several that are equally good, it is the one that pairs layers as early as possible.

    Args:
      old, new: lists of `layer_pairs.LayerSignature` with known numbers of channels.
      alike: the `Likeness` of both.

    Returns:
      List of pairs of signatures.
    """
    if len(old) * len(new) > LARGEST_PRODUCT or not old or not new:
        indices = common_subsequence([layer.channels for layer in old], [layer.channels for layer in new])
        return [(old[i], new[j]) for i, j in indices]
    # Roundings in the sum must not decide between alignments that are equally good.
    sums = {
        channels: np.round(block.by_name + block.by_values, 9).tolist()
        for channels in {layer.channels for layer in old} & {layer.channels for layer in new}
        for block in [alike.of(channels)]
    }
    row_of, column_of = alike.places
    # The best of what is left from i and j on, as (number of pairs, likeness).
    best = [[(0, 0.0)] * (len(new) + 1) for _ in range(len(old) + 1)]
    together = {}
    for i in reversed(range(len(old))):
        for j in reversed(range(len(new))):
            best[i][j] = max(best[i + 1][j], best[i][j + 1])
            if old[i].channels == new[j].channels:
                count, sum_ = best[i + 1][j + 1]
                together[i, j] = count + 1, sum_ + sums[old[i].channels][row_of[i]][column_of[j]]
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


@dataclasses.dataclass(frozen=True)
class Block:
    """How alike the layers of one number of channels are, in matrices [layers of OLD, layers of NEW].

    Attributes:
      rows, columns: the indices of the layers.
      by_name: up to 1 for the names.
      by_values: up to 1 for each kind of values that both have: 1 for equal ones, about 0 for unrelated ones.
      kinds: how many kinds of values could be compared; numbers: how many numbers.
    """

    rows: list
    columns: list
    by_name: np.ndarray
    by_values: np.ndarray
    kinds: np.ndarray
    numbers: np.ndarray


class Likeness:
    """How alike the layers of two models are, computed for one number of channels when it is asked for.

    Args:
      old, new: lists of `layer_pairs.LayerSignature` with known numbers of channels.

    Attributes:
      indices: by number of channels the indices of the layers of OLD and of NEW.
      places: for OLD and NEW, the place of each layer among those of its number of channels.
    """

    def __init__(self, old, new):
        self._layers, self._blocks = (old, new), {}
        self.indices, self.places = {}, ([], [])
        for side, layers in enumerate(self._layers):
            for i, layer in enumerate(layers):
                same = self.indices.setdefault(layer.channels, ([], []))[side]
                self.places[side].append(len(same))
                same.append(i)

    def of(self, channels):
        """The `Block` of the layers of so many channels."""
        if channels not in self._blocks:
            rows, columns = self.indices[channels]
            old, new = (
                [layers[i] for i in chosen] for layers, chosen in zip(self._layers, (rows, columns), strict=True)
            )
            self._blocks[channels] = Block(rows, columns, _by_name(old, new), *_by_values(old, new))
        return self._blocks[channels]


def _by_name(old, new):
    """How alike the names are, from 0 to 1: of the words of both the share that they have in common."""
    words = [[words_of(layer.name) for layer in layers] for layers in (old, new)]
    return np.array([[len(a & b) / len(a | b) if a or b else 0.0 for b in words[1]] for a in words[0]]).reshape(
        len(old), len(new)
    )


def _by_values(old, new):
    """The likeness of the values, how many kinds of them could be compared and how many numbers; see `Block`.

    Of one kind it is 1 less the mean square of the difference over that of layers that have nothing to do with each
    other, of these means and variances; and 0 where that is negative.
    """
    total, kinds, numbers = (np.zeros((len(old), len(new))) for _ in range(3))
    for role in {role for layer in (*old, *new) for role in layer.values}:
        sizes = {layer.values[role].size for layer in old if role in layer.values}
        for size in sizes:
            rows, columns = (
                [i for i, layer in enumerate(layers) if role in layer.values and layer.values[role].size == size]
                for layers in (old, new)
            )
            if not (rows and columns and size):
                continue
            with np.errstate(all="ignore"):
                a, b = (
                    np.stack([layers[i].values[role] for i in chosen])
                    for layers, chosen in ((old, rows), (new, columns))
                )
                means = a.mean(axis=1), b.mean(axis=1)
                a, b = a - means[0][:, None], b - means[1][:, None]
                spread = np.add.outer(np.square(a).mean(axis=1), np.square(b).mean(axis=1))
                spread += np.subtract.outer(*means) ** 2
                share = 2 * (a @ b.T) / size / spread
            known = np.isfinite(share) & (spread > 0)
            at = np.ix_(rows, columns)
            total[at] += np.where(known, np.clip(share, 0, 1), 0.0)
            kinds[at] += known
            numbers[at] += known * size
    return total, kinds, numbers


def words_of(name):
    """The parts of a name, each with its distance from the end and without."""
    path = plain_path(name)
    return {*path, *((part, place) for place, part in enumerate(reversed(path)))}


def nearness(old, new):
    """The mean square of new[i] - old[i] over that of new[i] - old[j] for all i and j.

    It is 0 for equal values and about 1 for unrelated ones; NaN for values that are all one number or not finite.
    """
    with np.errstate(all="ignore"):
        spread = old.var() + new.var() + (new.mean() - old.mean()) ** 2
        return float(np.square(new - old).mean() / spread) if spread > 0 else np.nan
