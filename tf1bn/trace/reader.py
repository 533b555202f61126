"""Reading a trace: its layers at once, its steps one after the other. Reached through `tf1bn.trace`."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import types
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from .._util.strict_json import parse
from .._util.validation import boolean, member, shown, whole
from ..cluster.files import is_url
from ..errors import TraceError
from .packing import LAYOUTS, Stretch, stretches
from .record import Record, naming_layer, required
from .settings import ALL_SETTINGS, FORMAT, PACKED_VERSION, REQUIRED_SETTINGS, VERSION, Layer
from .storage import Folder

# Bytes; what is longer is refused before it fills the memory.
LARGEST_JSON = 1 << 28
LONGEST_LINE = 1 << 26


class Trace:
    """A trace on disk, as it was when it was opened; steps that are appended later are not seen.

    Iterating over it yields every finished `Step` in order. It can be repeated, and the trace keeps no step in memory.

    Attributes:
      path: the folder.
      layers: the `Layer` settings of each layer by its name; read-only.
      producer: what made the trace, a string, or None.
      framework, framework_version: what ran the model, such as "PyTorch" and "2.13.0"; None if the trace does not say.
      rank, ranks: which of how many processes that train together wrote it; None if the trace does not say.

    Raises:
      TraceError: there is no trace, it is of another version, or what it says about its layers is damaged.
    """

    path: str
    layers: Mapping[str, Layer]
    producer: str | None
    framework: str | None
    framework_version: str | None
    rank: int | None
    ranks: int | None

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._folder = folder = Folder(path)
        self.path = folder.path
        try:
            if is_url(folder.path):
                folder.open("trace.json").close()
            else:
                os.lstat(os.path.join(folder.path, "trace.json"))
        except FileNotFoundError:
            raise TraceError(
                f"`path` is {folder.path!r}, which holds no trace.json; give the folder of a trace."
            ) from None
        except OSError as error:
            raise TraceError(f"`path` is {folder.path!r}, which cannot be read: {error.strerror or error}.") from error
        with folder.open("steps.jsonl") as file:
            # The layers are read after this, so those of every step up to here are among them.
            self._end = file.seek(0, os.SEEK_END)
        with folder.open("trace.json") as file:
            data = file.read(LARGEST_JSON + 1)
        if len(data) > LARGEST_JSON:
            raise folder.error(f"trace.json is longer than {LARGEST_JSON} bytes, which no list of layers is.")
        with self._naming("trace.json"):
            content = parse(data)
            self._packed = _version(content) == PACKED_VERSION
            self.layers = _layers(content)
            self.producer = _text(content, "producer")
            self.framework, self.framework_version = (
                _text(content, name) for name in ("framework", "framework_version")
            )
            self.rank, self.ranks = (_whole_or_none(content, name) for name in ("rank", "ranks"))

    def __repr__(self) -> str:
        by = "" if self.producer is None else f", made by {self.producer}"
        return f"<Trace {self.path!r}: {len(self.layers)} layer{'' if len(self.layers) == 1 else 's'}{by}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """A trace is pickled as its path; a process that unpickles it has to see the same files there."""
        path = self.path if is_url(self.path) else os.path.abspath(self.path)
        return _opened_again, (path, self._end)

    def __iter__(self) -> Iterator[Step]:
        """Yields every `Step`; raises `TraceError` at the first line that is damaged."""
        previous = -1
        layouts: Layouts | None = {} if self._packed else None
        for number, line in self._lines():
            with self._naming(f"line {number} of steps.jsonl"):
                step = Step(self._folder, self.layers, parse(line), previous, layouts)
            previous = step.number
            yield step

    def stretches(self) -> Iterator[Step | Stretch]:
        """Yields every finished step in order: as a `Stretch` where several can be read together, else as it is."""
        return stretches(self)

    def count_steps(self) -> int:
        """The number of finished steps; their contents are not read."""
        return sum(1 for _ in self._lines())

    @contextlib.contextmanager
    def _naming(self, where: str) -> Iterator[None]:
        """Turn every ValueError inside into a `TraceError` that names the trace and ``where`` in it the damage is."""
        try:
            yield
        except TraceError:
            raise
        except ValueError as error:
            raise self._folder.error(f"in {where}, {error}") from error

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        """The finished lines of steps.jsonl, counted from 1."""
        with self._folder.open("steps.jsonl") as file:
            left = self._end
            for number in itertools.count(1):
                line = file.readline(LONGEST_LINE + 1)
                if len(line) > LONGEST_LINE:
                    raise self._folder.error(
                        f"line {number} of steps.jsonl is longer than {LONGEST_LINE} bytes, which no step is."
                    )
                left -= len(line)
                # A last line without a newline is a step that was not finished.
                if left < 0 or not line.endswith(b"\n"):
                    return
                yield number, line


def _opened_again(path: str, end: int) -> Trace:
    """The trace in another process, with as many bytes of steps as it had where it was opened first."""
    try:
        trace = Trace(path)
    except TraceError as error:
        raise TraceError(f"Another process does not see the trace as it is here: {error}") from error
    if trace._end < end:
        raise TraceError(
            f"Another process sees {trace._end} bytes of steps in the trace {path!r}, which had {end} when it was "
            "opened here; all processes must see the same files."
        )
    trace._end = end
    return trace


class Step:
    """One run of the model.

    Attributes:
      number: the number of the step. Steps count up, perhaps with gaps.
      training: whether the run trained; single applications of a layer may differ, see `Record`.
      left_out: how many runs of the model between the step before and this one are not in the trace; 0 if it does not
        say.
      layout, block, folder: what it holds, where its vectors lie and in which folder, for readers of many steps.
    """

    number: int
    training: bool
    left_out: int

    def __init__(
        self,
        folder: Folder,
        layers: Mapping[str, Layer],
        entry: Any,
        previous: int,
        layouts: Layouts | None = None,
    ) -> None:
        member("line", entry, dict)
        self.number = whole("step", required(entry, "step"))
        if self.number <= previous:
            raise ValueError(f"`step` is {self.number} after {previous}; the steps must count up.")
        self.training = boolean("training", required(entry, "training"))
        self.left_out = _whole_or_none(entry, "left_out") or 0
        self.layout = _layout(entry, layers, self.training, layouts)
        self.block = None if layouts is None else _block(entry)
        # In the memory of this step alone: none of a step before.
        self.folder = folder.fresh(self.block)

    @functools.cached_property
    def layers(self) -> Mapping[str, Record]:
        """The `Record` of each layer that took part, by the layer's name; read-only."""
        return types.MappingProxyType(
            {
                name: record.of_step(self.folder, f"step {self.number}, layer {name!r}")
                for name, record in self.layout.items()
            }
        )

    def __repr__(self) -> str:
        kind = "training" if self.training else "inference"
        return f"<Step {self.number}: {kind}, {len(self.layout)} layer{'' if len(self.layout) == 1 else 's'}>"


# What a step holds, by the names of its layers: records without a folder, from which those of steps are made.
Layout: TypeAlias = dict[str, Record]
# By whether the steps train, and by their numbers.
Layouts: TypeAlias = dict[tuple[bool, int], Layout]


def _layout(entry: dict[str, Any], layers: Mapping[str, Layer], training: bool, layouts: Layouts | None) -> Layout:
    """The layers of a step's line, or those of an earlier line of which it has the number."""
    number = None if layouts is None else _whole_or_none(entry, "layout")
    if number is not None and number >= LAYOUTS:
        raise ValueError(f"`layout` is {number}; it must be below {LAYOUTS}.")
    if number is None or layouts is None or "layers" in entry:
        layout = {}
        for name, record in member("layers", required(entry, "layers"), dict).items():
            if name not in layers:
                raise ValueError(f"the layer {shown(name)} is not among those of trace.json.")
            with naming_layer(name):
                layout[name] = Record(layers[name], training, record)
        if number is not None and layouts is not None:
            layouts[training, number] = layout
        return layout
    if (training, number) not in layouts:
        kind = "training" if training else "inference"
        raise ValueError(f"`layout` is {number}, and no line of {kind} before has layers of that number.")
    return layouts[training, number]


def _block(entry: dict[str, Any]) -> tuple[str, int, int] | None:
    """Where the vectors of a packed step lie: the file, the first byte and the number of bytes."""
    block = entry.get("block")
    if block is None:
        return None
    if len(member("block", block, list)) != 3 or not isinstance(block[0], str):
        raise ValueError(f"`block` is {shown(block)}; it must be the path of a file, a first byte and a size.")
    return block[0], whole("block", block[1]), whole("block", block[2])


def _version(content: Any) -> int:
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f'`format` is not "{FORMAT}"; this is not a trace.')
    version = content.get("version")
    if type(version) is not int or version not in (VERSION, PACKED_VERSION):
        raise ValueError(
            f"`version` is {shown(version)} and this tf1bn reads {VERSION} and {PACKED_VERSION}; read it with the "
            "tf1bn that wrote it."
        )
    return version


def _layers(content: dict[str, Any]) -> Mapping[str, Layer]:
    """The layers by name, from what trace.json holds."""
    layers = {}
    for name, settings in member("layers", required(content, "layers"), dict).items():
        with naming_layer(name):
            member("layer", settings, dict)
            for key in REQUIRED_SETTINGS:
                required(settings, key)
            # A producer may write keys of its own; an optional setting that is null counts as left out.
            layers[name] = Layer(
                **{
                    key: value
                    for key, value in settings.items()
                    if key in REQUIRED_SETTINGS or (key in ALL_SETTINGS and value is not None)
                }
            )
    return types.MappingProxyType(layers)


def _text(content: dict[str, Any], name: str) -> str | None:
    value = content.get(name)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"`{name}` is {shown(value)}; it must be a string or null.")
    return value


def _whole_or_none(content: dict[str, Any], name: str) -> int | None:
    value = content.get(name)
    return None if value is None else whole(name, value)
