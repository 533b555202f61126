"""Views of a trace: only some of its layers or steps, or the same steps under other settings. Nothing is copied.

    for step in TraceView(trace.open("run.trace"), layers=["bn1"], steps=range(100, 200)):
        print(step.number, step.layers["bn1"].moving_mean_after)

A view can be read like a `Trace`, so it can be diagnosed, compared, and seen through another view.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from .settings import Layer


class StepLike(Protocol):
    """A step as `Step` gives it: `layers` holds an object with the attributes of `Record` for each layer."""

    @property
    def number(self) -> int: ...

    @property
    def training(self) -> bool: ...

    @property
    def layers(self) -> Mapping[str, Any]: ...


class TraceLike(Protocol):
    """A `Trace`, or any other object that has its layers and can be iterated over several times."""

    @property
    def layers(self) -> Mapping[str, Layer]: ...

    def __iter__(self) -> Iterator[StepLike]: ...


class TraceView:
    """A trace of which only some layers or steps are seen, or in which some values are replaced.

    Args:
      trace: a `Trace`, or another object that can be read like one.
      layers: None, or the names of the layers to keep, in the order that `layers` of the view is to have.
      steps: None, or the numbers of the steps to keep, for example a range.
      settings: None, or dict from the name of a layer to the fields of its `Layer` to replace. A new "decay" also
        replaces that of every step.
      fields: None, or dict from names to values that replace attributes of every record, or are added to it.

    Attributes:
      layers: dict from the name of a layer to its `Layer`, with the new settings; read-only.

    Raises:
      ValueError: a layer is not in the trace, or a setting cannot have this value.
      TypeError: `Layer` has no such field.
    """

    layers: Mapping[str, Layer]

    def __init__(
        self,
        trace: TraceLike,
        *,
        layers: Iterable[str] | None = None,
        steps: Container[int] | None = None,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        self._trace, self._steps = trace, steps
        settings = settings or {}
        names = list(trace.layers if layers is None else layers)
        self._arguments = trace, names, steps, settings, fields
        for name in (*names, *settings):
            if name not in trace.layers:
                raise ValueError(f"{name!r} is no layer of the trace; it has {', '.join(map(repr, trace.layers))}.")
        self.layers = types.MappingProxyType(
            {name: dataclasses.replace(trace.layers[name], **settings.get(name, {})) for name in names}
        )
        self._replaced: dict[str, dict[str, Any]] = {name: dict(fields or {}) for name in names}
        for name in settings.keys() & set(names):
            self._replaced[name]["layer"] = self.layers[name]
            if "decay" in settings[name]:
                self._replaced[name] |= {"decay": self.layers[name].decay, "decays": None}

    def __reduce__(self) -> tuple[Any, ...]:
        """A view is pickled as what it was made from."""
        return _view, self._arguments

    @property
    def path(self) -> str:
        """The folder of the trace."""
        return self._trace.path  # type: ignore[attr-defined, no-any-return]

    @property
    def framework(self) -> Any:
        """What the trace says of the framework that it is of, or None."""
        return getattr(self._trace, "framework", None)

    @property
    def framework_version(self) -> Any:
        """Its version, or None."""
        return getattr(self._trace, "framework_version", None)

    def __iter__(self) -> Iterator[StepView]:
        """Yields a `StepView` of every step that is kept, also of those that hold none of the layers."""
        skipped, first = 0, True
        for step in self._trace:
            left_out = skipped + getattr(step, "left_out", 0)
            if self._steps is None or step.number in self._steps:
                yield StepView(step, self._replaced, left_out)
                skipped, first = 0, False
            elif not first:
                skipped = left_out + 1

    def count_steps(self) -> int:
        """The number of steps that are kept."""
        count = getattr(self._trace, "count_steps", None)
        if self._steps is not None or count is None:
            return sum(1 for _ in self)
        return int(count())


def _view(trace: TraceLike, layers: Any, steps: Any, settings: Any, fields: Any) -> TraceView:
    return TraceView(trace, layers=layers, steps=steps, settings=settings, fields=fields)


class StepView:
    """A step with the same number and training flag, and the records of some of its layers.

    Attributes:
      left_out: as of a `Step`; the steps between it and the one before that the view does not keep are among them.
    """

    def __init__(self, step: StepLike, replaced: Mapping[str, Mapping[str, Any]], left_out: int) -> None:
        self.number, self.training, self.left_out = step.number, step.training, left_out
        self.layers: Mapping[str, Any] = types.MappingProxyType(
            {
                name: RecordView(record, replaced[name]) if replaced[name] else record
                for name, record in step.layers.items()
                if name in replaced
            }
        )


class RecordView:
    """A record with some attributes replaced; all others are those of the record, read when they are asked for."""

    def __init__(self, record: Any, replaced: Mapping[str, Any]) -> None:
        self._record = record
        vars(self).update(replaced)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._record, name)
