"""The traces of all ranks of a training, in the order of the ranks. Reached through `tf1bn.ranks`."""

from __future__ import annotations

import os
from collections.abc import Iterable

from ..errors import TraceError
from ..trace import Trace


def open_ranks(paths: Iterable[str]) -> tuple[list[Trace], list[str]]:
    """The traces in the order of the ranks, and their names for a report: "0", "1" and so on.

    They are the ranks that the traces say they are of; where none says so, they are counted in the order of the paths.

    Raises:
      TraceError: a trace cannot be read, two are of one rank, or their layers or settings differ.
      ValueError: there are fewer than two.
    """
    traces = [Trace(path) for path in paths]
    if len(traces) < 2:
        raise ValueError(f"{len(traces)} trace was given for all ranks; give those of two or more.")
    _check_folders(traces)
    said = [trace for trace in traces if trace.rank is not None]
    if said and len(said) < len(traces):
        silent = next(trace for trace in traces if trace.rank is None)
        raise TraceError(f"{silent.path!r} does not say of which rank it is, and {said[0].path!r} does.")
    by_rank: dict[int, Trace] = {}
    for i, trace in enumerate(traces):
        number = i if trace.rank is None else trace.rank
        if number in by_rank:
            raise TraceError(f"{trace.path!r} and {by_rank[number].path!r} are both of rank {number}.")
        by_rank[number] = trace
    ranks = sorted(by_rank)
    first = by_rank[ranks[0]]
    for rank in ranks[1:]:
        _check_layers(by_rank[rank], first)
    return [by_rank[rank] for rank in ranks], [str(rank) for rank in ranks]


def missing(traces: list[Trace]) -> str | None:
    """A sentence on the ranks of which no trace was given; None if the traces name none.

    There were as many ranks as the traces say, and as many as it takes for the highest number of one.
    """
    numbers = {number if trace.rank is None else trace.rank for number, trace in enumerate(traces)}
    wanted = max(max(numbers) + 1, *(trace.ranks or 0 for trace in traces))
    if wanted == len(numbers):
        return None
    # Not all of them one by one: a file can name any number.
    first = next(number for number in range(wanted) if number not in numbers)
    lacking = wanted - len(numbers)
    more = f", and of {lacking - 1} more," if lacking > 1 else ""
    return (
        f"The training had {wanted} ranks, and traces of {len(numbers)} were given: that of rank {first}{more} is "
        "missing; give those of all of them."
    )


def _check_folders(traces: list[Trace]) -> None:
    """Raise TraceError if two of the traces are one folder."""
    seen: dict[str, Trace] = {}
    for trace in traces:
        other = seen.setdefault(os.path.realpath(trace.path), trace)
        if other is not trace:
            raise TraceError(f"{other.path!r} and {trace.path!r} are the same trace; give that of each rank once.")


def _check_layers(trace: Trace, first: Trace) -> None:
    """Raise TraceError if the traces of two ranks have not the same layers with the same settings."""
    if unequal := sorted(set(trace.layers) ^ set(first.layers)):
        has, lacks = (trace, first) if unequal[0] in trace.layers else (first, trace)
        difference = f"the layer {unequal[0]!r} is in {has.path!r} alone, and not in {lacks.path!r}"
    else:
        different = [name for name in first.layers if trace.layers[name] != first.layers[name]]
        if not different:
            return
        difference = f"{trace.path!r} and {first.path!r} declare other settings for the layer {different[0]!r}"
    raise TraceError(f"The traces are not of one training: {difference}.")
