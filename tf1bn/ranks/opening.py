"""The traces of all ranks of a training, in the order of the ranks. Reached through `tf1bn.ranks`."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import TraceError
from ..trace import Trace


def open_ranks(paths: Iterable[str]) -> tuple[list[Trace], list[str]]:
    """The traces in the order of the ranks, and their names for a report: "0", "1" and so on.

    They are the ranks that the traces say they are of; where none says so, they are counted in the order of the paths.

    Raises:
      TraceError: a trace cannot be read, two are of one rank, or they do not list the same layers.
      ValueError: there are fewer than two.
    """
    traces = [Trace(path) for path in paths]
    if len(traces) < 2:
        raise ValueError(f"{len(traces)} trace was given for all ranks; give those of two or more.")
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
        if dict(by_rank[rank].layers) != dict(first.layers):
            raise TraceError(
                f"{by_rank[rank].path!r} and {first.path!r} do not list the same layers; they are not of one training."
            )
    return [by_rank[rank] for rank in ranks], [str(rank) for rank in ranks]


def missing(traces: list[Trace]) -> str | None:
    """A sentence on the ranks of which no trace was given; None if the traces name none."""
    wanted = max((trace.ranks or 0 for trace in traces), default=0)
    if wanted <= len(traces):
        return None
    return f"The training had {wanted} ranks, and traces of {len(traces)} were given; give those of all of them."
