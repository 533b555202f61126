"""The steps that the traces of all ranks hold, as those of one trace. Reached through `tf1bn.ranks`."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from typing import Any

from ..trace import Layer, Record, Step, Trace
from ..trace.joining import common_steps, is_shared, joined_entry


class Joined:
    """A trace that can be read like a `trace.Trace`: what one rank stored, with the batches of all ranks.

    Args:
      traces: those of the ranks, in their order.
      own: the index of the one whose statistics the layers have.

    Attributes:
      layers, framework, framework_version, path: those of that trace.
    """

    def __init__(self, traces: list[Trace], own: int = 0) -> None:
        self._traces, self._own = traces, own
        self.layers: Mapping[str, Layer] = traces[own].layers
        self.framework, self.framework_version = traces[own].framework, traces[own].framework_version
        self.path = traces[own].path

    def __reduce__(self) -> tuple[Any, ...]:
        return Joined, (self._traces, self._own)

    def __iter__(self) -> Iterator[JoinedStep]:
        """Yields a `JoinedStep` for each step that all ranks hold."""
        for steps, left_out in common_steps(self._traces):
            yield JoinedStep(steps, self._own, left_out)


class JoinedStep:
    """A step with the attributes of `trace.Step`; ``layers`` has those that the rank in question holds."""

    def __init__(self, steps: tuple[Step, ...], own: int, left_out: int) -> None:
        self.number, self.training, self.left_out = steps[own].number, steps[own].training, left_out
        self.layers = types.MappingProxyType(
            {
                name: _JoinedRecord(record, [step.layers.get(name) for step in steps])
                for name, record in steps[own].layers.items()
            }
        )


class _JoinedRecord:
    """A record with the applications of all ranks, if these share its statistics."""

    def __init__(self, record: Record, records: list[Record | None]) -> None:
        self._record, self._records = record, records

    def __getattr__(self, name: str) -> Any:
        # Read when it is asked for: many layers of a step are never looked at.
        if name in _OF_APPLICATIONS and is_shared(self._records):
            entry = joined_entry(self._records)
            vars(self).update({key: entry.get(key) for key in _OF_APPLICATIONS})
            self.applications = len(entry["training"])
            return vars(self)[name]
        return getattr(self._record, name)


_OF_APPLICATIONS = (
    "applications",
    "inputs",
    "moments",
    "outputs",
    "training",
    "updated",
    "recomputed",
    "decays",
    "weights",
    "replicas",
)
