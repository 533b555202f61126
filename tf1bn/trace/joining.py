"""Joining the traces of processes that train one model together. Reached through `tf1bn.trace`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from ..errors import TraceError
from .reader import Trace
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
    common = set.intersection(*({step.number for step in one} for one in traces))
    with Writer(
        path,
        overwrite=overwrite,
        producer="tf1bn.trace.join",
        framework=first.framework,
        framework_version=first.framework_version,
        ranks=len(traces),
    ) as writer:
        writer.add_layers(first.layers)
        last = -1
        steps = [(step for step in one if step.number in common) for one in traces]
        for same in zip(*steps, strict=True):
            # As the numbers count every step of a recorder, they tell what lies between those that all traces hold.
            left_out = max(same[0].left_out, same[0].number - last - 1)
            last = same[0].number
            layers = {name: _joined([step.layers.get(name) for step in same]) for name in same[0].layers}
            writer.add_step(layers, training=same[0].training, step=same[0].number, left_out=left_out)


def _joined(records: list[Record | None]) -> dict[str, Any]:
    """The entry of a layer in a step, from the record of every process; None where it has none."""
    first = records[0]
    assert first is not None
    present = [record for record in records if record is not None]
    shared = first.reduction in ("mean", "pooled") and len(present) == len(records)
    joined = present if shared else [first]
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
    if shared:
        entry["reduction"] = first.reduction
        entry["replicas"] = [i for i, record in enumerate(joined) for _ in range(record.applications)]
    elif first.replicas is not None:
        entry |= {"replicas": list(first.replicas), "reduction": first.reduction}
    return entry
