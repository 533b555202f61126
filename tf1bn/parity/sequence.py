"""The longest common subsequence of two lists."""

from __future__ import annotations

# Bits of the table beyond which only what both lists begin with is paired: 256 MB, lists of 46,000 items each.
LARGEST_TABLE = 2**31


def common_subsequence(old, new):
    """Pairs of indices of equal items, in ascending order in both lists, as many as there can be.

    Of several solutions it is the one that pairs items as early as possible. Lists that begin alike take time in
    proportion to their length; else it is the product of the lengths divided by 64, the bits that one operation takes.

    Args:
      old, new: lists of hashable items.

    Returns:
      List of (index in ``old``, index in ``new``). Where the table of the two lists would be larger than
      `LARGEST_TABLE`, only the items that both begin with are paired.
    """
    start = 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    pairs = [(i, i) for i in range(start)]
    old, new = old[start:], new[start:]
    if not old or not new or len(old) * len(new) > LARGEST_TABLE:
        return pairs
    return pairs + [(start + i, start + j) for i, j in _backtracked(old, new, _table(old, new))]


def _table(old, new):
    """For each i the lengths of the common subsequences of old[i:] and new[j:], as bits.

    The length for j is the number of bits that are set at the positions below len(new) - j.
    """
    positions = {}
    for j, item in enumerate(reversed(new)):
        positions[item] = positions.get(item, 0) | 1 << j
    every = (1 << len(new)) - 1
    # The bit-parallel recurrence of Hyyrö (2004): a bit of `row` is 0 where the length grows.
    row, rows = every, [0]
    for item in reversed(old):
        matches = row & positions.get(item, 0)
        row = ((row + matches) | (row - matches)) & every
        rows.append(row ^ every)
    rows.reverse()
    return rows


def _backtracked(old, new, rows):
    i = j = 0
    # The lengths for (i, j) and for (i + 1, j).
    here, below = rows[0].bit_count(), rows[1].bit_count()
    while i < len(old) and j < len(new):
        bit = len(new) - 1 - j
        if old[i] == new[j]:
            yield i, j
            i, j = i + 1, j + 1
        elif below == here:
            i += 1
        else:
            here, below, j = here - (rows[i] >> bit & 1), below - (rows[i + 1] >> bit & 1), j + 1
            continue
        if i < len(old):
            mask = (1 << (len(new) - j)) - 1
            here, below = (rows[i] & mask).bit_count(), (rows[i + 1] & mask).bit_count()
