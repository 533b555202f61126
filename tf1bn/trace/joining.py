"""Joining the traces of processes that train one model together. Reached through `tf1bn.trace`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ..errors import TraceError
from .reader import Step, Trace
from .record import Record
from .settings import STEP_STATISTICS
from .writer import Writer

_OF_APPLICATIONS = ("inputs", "moments", "outputs")


def join(paths: Iterable[str | os.PathLike[str]], path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write one trace from those that the processes of one training wrote, so that it holds every replica's batches.

        trace.join(["run.rank0.trace", "run.rank1.trace"], "run.trace")

    A layer whose statistics are pooled or averaged over the processes, such as PyTorch's SyncBatchNorm, can be checked
    only with the batches of all of them. Of other layers, whose statistics are each process's own, the first trace's
    records are kept. Only the steps that all traces hold are joined.

    Args:
      paths: the traces, in the order of the ranks.
      path: the folder to make; overwrite: whether to replace a trace that is there.

    Raises:
      TraceError: a trace cannot be read, or they are not of one model.
      ValueError: there are fewer than two.
      FileExistsError, OSError: as for `Writer`.
    """
    traces = [Trace(one) for one in paths]
    if len(traces) < 2:
        raise ValueError(f"`paths` names {len(traces)} traces; it must name two or more.")
    first = traces[0]
    for other in traces[1:]:
        if dict(other.layers) != dict(first.layers):
            raise TraceError(
                f"{other.path!r} and {first.path!r} do not list the same layers; they are not of one model."
            )
    with Writer(
        path,
        overwrite=overwrite,
        producer="tf1bn.trace.join",
        framework=first.framework,
        framework_version=first.framework_version,
        ranks=len(traces),
    ) as writer:
        writer.add_layers(first.layers)
        for steps, left_out in common_steps(traces):
            first_step = steps[0]
            layers = {name: joined_entry([step.layers.get(name) for step in steps]) for name in first_step.layers}
            writer.add_step(layers, training=first_step.training, step=first_step.number, left_out=left_out)


def common_steps(traces: Sequence[Trace]) -> Iterator[tuple[tuple[Step, ...], int]]:
    """The steps that all traces hold, one of each, and how many runs before them are missing in one of the traces."""
    common = set.intersection(*({step.number for step in one} for one in traces))
    last = -1
    for steps in zip(*((step for step in one if step.number in common) for one in traces), strict=True):
        # As the numbers count every step of a recorder, they tell what lies between those that all traces hold.
        yield steps, max(steps[0].left_out, steps[0].number - last - 1)
        last = steps[0].number


def is_shared(records: Sequence[Record | None]) -> bool:
    """Whether the batches of all processes come into one update of a layer, from its record in each of them."""
    present = [record for record in records if record is not None]
    return len(present) == len(records) and present[0].reduction in ("mean", "pooled")


def joined_entry(records: Sequence[Record | None]) -> dict[str, Any]:
    """The entry of a layer in a step, from the record of every process; None where one has none, but the first has."""
    first = records[0]
    assert first is not None
    shared = is_shared(records)
    joined = [record for record in records if record is not None] if shared else [first]
    entry: dict[str, Any] = {name: getattr(first, name) for name in STEP_STATISTICS}
    entry |= {name: getattr(first, name) for name in ("gamma", "beta", "decay", "inputs_dtype", "outputs_dtype")}
    if first.state:
        entry["state"] = first.state
    for name in _OF_APPLICATIONS:
        parts = [getattr(record, name) for record in joined]
        if all(part is not None for part in parts):
            entry[name] = [item for part in parts for item in part]
    if "moments" in entry and "inputs" in entry:
        del entry["moments"]
    for name in ("training", "updated", "recomputed"):
        entry[name] = [flag for record in joined for flag in getattr(record, name)]
    if any(record.weights is not None for record in joined):
        entry["weights"] = [w for record in joined for w in record.weights or (None,) * record.applications]
    if any(record.decays is not None for record in joined):
        entry["decays"] = [d for record in joined for d in record.decays or (record.decay,) * record.applications]
    if shared:
        entry["reduction"] = first.reduction
        entry["replicas"] = [i for i, record in enumerate(joined) for _ in range(record.applications)]
    elif first.replicas is not None:
        entry |= {"replicas": list(first.replicas), "reduction": first.reduction}
    return entry
