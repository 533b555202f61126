"""Layers that nothing decides, matched freely where that is clearly better than matching them in order.

An alignment in order cannot cross: where two layers have changed places, or are listed in another order, it pairs them
wrongly and accuses both. So among the layers of one number of channels the assignment with the largest likeness in sum
is sought (the Hungarian method, by shortest augmenting paths). Where it differs from the order, the two differ in
cycles and paths; each of these is taken only if its pairs are clearly more alike, because likeness alone is noise
between models that were trained apart.
"""

from __future__ import annotations

import numpy as np

from .order import LARGEST_PRODUCT

MARGIN = (
    0.5  # by which free pairs have to be more alike than those in order, where names and values give 1 each at most
)
ORDER_WEIGHT = 1e-6  # of the squared distance in place, which decides between pairs that are equally alike


def improved_pairs(old, new, in_order, alike):
    """Pairs of signatures with what they go by.

    Args:
      old, new: lists of `layer_pairs.LayerSignature` with known numbers of channels.
      in_order: pairs of them as `order.pairs_in_order` gives them.
      alike: the `order.Likeness` of both.

    Returns:
      List of (signature of OLD, signature of NEW, by), in the order of OLD; by is "order", "likeness", or "shape" for
      the only two layers of so many channels. Blocks of one number of channels are looked at, the smallest first, as
      long as their products are `order.LARGEST_PRODUCT` in sum.
    """
    place = {id(layer): i for layers in (old, new) for i, layer in enumerate(layers)}
    kept = {place[id(one)]: place[id(other)] for one, other in in_order}
    result, left = {}, LARGEST_PRODUCT
    blocks = sorted(alike.indices.items(), key=lambda block: len(block[1][0]) * len(block[1][1]))
    for channels, (rows, columns) in blocks:
        left -= len(rows) * len(columns)
        in_block = {i: kept[i] for i in rows if i in kept}
        if len(rows) == len(columns) == 1:
            result[rows[0]] = columns[0], "shape"
            continue
        result |= {i: (j, "order") for i, j in in_block.items()}
        if left >= 0 and rows and columns:
            free = _freer(alike.of(channels), in_block)
            for i in free:
                result.pop(i, None)
            result |= {i: (j, "likeness") for i, j in free.items() if j is not None}
    return [(old[i], new[result[i][0]], result[i][1]) for i in sorted(result)]


def _freer(block, in_order):
    """Which rows to pair otherwise than in order, by row: the column, or None for no pair at all.

    Args:
      block: the `order.Block` of one number of channels.
      in_order: by row the column that the order gives.
    """
    rows, columns = block.rows, block.columns
    alike = block.by_name + block.by_values / np.maximum(block.kinds, 1)
    # A few numbers are alike by chance.
    margins = MARGIN + np.where(block.numbers > 0, 1 / np.sqrt(np.maximum(block.numbers, 1)), 0.0)
    places = np.subtract.outer(np.arange(len(rows)), np.arange(len(columns))) ** 2
    row_of, column_of = ({i: a for a, i in enumerate(indices)} for indices in (rows, columns))
    ordered = {row_of[i]: column_of[j] for i, j in in_order.items()}
    changed = {}
    for taken, dropped in _differences(ordered, assignment(alike - ORDER_WEIGHT * places)):
        gain = sum(alike[pair] for pair in taken) - sum(alike[pair] for pair in dropped)
        if taken and gain >= sum(margins[pair] for pair in taken):
            changed |= {rows[a]: None for a, _ in dropped}
            changed |= {rows[a]: columns[b] for a, b in taken}
    return changed


def _differences(ordered, free):
    """The cycles and paths in which two sets of pairs differ: for each the pairs of ``free``, those of ``ordered``.

    Both are dicts from rows to columns.
    """
    row_of = {b: a for a, b in ordered.items()}, {b: a for a, b in free.items()}
    todo = {a for a in {*ordered, *free} if ordered.get(a) != free.get(a)}
    while todo:
        rows, open_rows = set(), [min(todo)]
        while open_rows:
            a = open_rows.pop()
            if a in rows:
                continue
            rows.add(a)
            # The rows that have one of this row's columns in the other set.
            for column, other in ((ordered.get(a), row_of[1]), (free.get(a), row_of[0])):
                if column is not None and other.get(column) is not None:
                    open_rows.append(other[column])
        todo -= rows
        yield [(a, free[a]) for a in sorted(rows) if a in free], [(a, ordered[a]) for a in sorted(rows) if a in ordered]


def assignment(likeness_of):
    """The pairs of rows and columns, as many as there can be, whose likeness in sum is the largest.

    The Hungarian method in the form of shortest augmenting paths (Jonker and Volgenant 1987): time in proportion to the
    square of the shorter side times the longer one.

    Args:
      likeness_of: float array [rows, columns], finite.

    Returns:
      dict from row to column.
    """
    if likeness_of.shape[0] > likeness_of.shape[1]:
        return {a: b for b, a in assignment(likeness_of.T).items()}
    costs = -np.asarray(likeness_of, np.float64)
    rows, columns = costs.shape
    # Index 0 stands for "none": the row that a path starts from is put there.
    row_price, column_price = np.zeros(rows + 1), np.zeros(columns + 1)
    row_at, came_from = np.zeros(columns + 1, int), np.zeros(columns + 1, int)
    for row in range(1, rows + 1):
        row_at[0], column = row, 0
        nearest, seen = np.full(columns + 1, np.inf), np.zeros(columns + 1, bool)
        while row_at[column]:
            seen[column] = True
            through = row_at[column]
            reduced = costs[through - 1] - row_price[through] - column_price[1:]
            better = ~seen[1:] & (reduced < nearest[1:])
            nearest[1:][better], came_from[1:][better] = reduced[better], column
            open_ = np.where(seen, np.inf, nearest)
            open_[0] = np.inf
            following = int(np.argmin(open_))
            step = nearest[following]
            row_price[row_at[seen]] += step
            column_price[seen] -= step
            nearest[~seen] -= step
            column = following
        while column:
            row_at[column], column = row_at[came_from[column]], came_from[column]
    return {int(row_at[column]) - 1: column - 1 for column in range(1, columns + 1) if row_at[column]}
