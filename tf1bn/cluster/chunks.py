"""Arrays of Dask, reduced chunk by chunk where the chunks are. Reached through `tf1bn.cluster`."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

Part = TypeVar("Part")


def reduced(
    array: Any,
    channel_axis: int,
    of_chunk: Callable[[Any, slice], Part],
    merge: Callable[[Part, Part], Part],
    beside: Callable[[list[Part]], Part],
) -> Part:
    """What is computed of each chunk of a Dask array, merged in a tree that follows from the chunks alone.

    Neighbours are merged, then these, and so on, for each part of the channels; so the result does not depend on which
    chunk is done first, nor where.

    Args:
      array: a `dask.array.Array`.
      channel_axis: the axis whose chunks are put beside each other instead of being merged.
      of_chunk: called with a chunk and the items of axis 0 that it holds.
      merge: called with two parts, in the order of the chunks.
      beside: called with the parts of all chunks of the channels, in their order.
    """
    from dask import delayed

    of_chunk, merge, beside = (delayed(function, pure=False) for function in (of_chunk, merge, beside))
    ends = list(itertools.accumulate(array.chunks[0], initial=0))
    chunks = array.to_delayed()
    parts = np.empty(chunks.shape, object)
    for index in np.ndindex(*chunks.shape):
        parts[index] = of_chunk(chunks[index], slice(ends[index[0]], ends[index[0] + 1]))
    parts = np.moveaxis(parts, channel_axis, -1)
    columns = [_tree(list(column), merge) for column in parts.reshape(-1, parts.shape[-1]).T]
    return beside(columns).compute()


def _tree(parts: list[Any], merge: Callable[[Any, Any], Any]) -> Any:
    while len(parts) > 1:
        pairs = [merge(*parts[i : i + 2]) for i in range(0, len(parts) - 1, 2)]
        parts = pairs + parts[len(pairs) * 2 :]
    return parts[0]
