"""Writing a trace, step by step. Reached through `tf1bn.trace`, whose docstring describes the format."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from .._util.validation import boolean, whole
from .directory import Directory
from .encoding import Files, encode
from .owner import LOCK, Owner
from .packing import Block, LayoutNumbers, PackedFiles
from .replacing import check_replaceable, folder_beside, remove_abandoned, replace, umask
from .settings import ALL_SETTINGS, FORMAT, PACKED_VERSION, REQUIRED_SETTINGS, VERSION, Layer
from .storage import write_all, write_array


class Writer:
    """Writes a trace that can be read, with all finished steps, whenever the process ends, even if it is killed.

    It writes to the folder that it made, wherever that is moved, and never to another one that comes to lie at its
    path. Threads may share a writer; the processes that are forked from its own may not.

    Use it as a context manager, or call `close`. When `add_step` has returned, the operating system has the step: it
    survives the end of the process, but not a loss of power.

    Args:
      path: the folder to make; the folder above it must exist.
      overwrite: whether to replace a trace that is there. A folder that is neither a trace nor empty is never replaced.
      producer: what makes the trace, a string for people to read; or None.
      framework, framework_version: what runs the model, such as "PyTorch" and "2.13.0"; or None.
      rank, ranks: which of how many processes that train together writes it, whole numbers; or None.
      packed: whether the vectors of many steps share a file, and what the steps hold is written once. Such a trace is
        of version 2 of the format, which programs that know version 1 alone refuse.

    Attributes:
      path: the folder.
      bytes: how many bytes the finished steps take on disk.

    Raises:
      TypeError: `producer`, `framework` or `framework_version` is not a string.
      ValueError: `rank` or `ranks` is not a whole number.
      FileExistsError: there is something at `path`, and `overwrite` is False, it is not a trace, or another process
        is writing it.
      OSError: the folder or a file cannot be written. A step that raises it is not in the trace.
    """

    path: str

    bytes: int

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        producer: str | None = None,
        framework: str | None = None,
        framework_version: str | None = None,
        rank: int | None = None,
        ranks: int | None = None,
        packed: bool = False,
    ) -> None:
        self.path = os.path.abspath(os.fspath(path))
        self.bytes = 0
        texts = {"producer": producer, "framework": framework, "framework_version": framework_version}
        for name, text in texts.items():
            if text is not None and not isinstance(text, str):
                raise TypeError(f"`{name}` is {text!r}; it must be a string or None.")
        numbers = {name: whole(name, value) for name, value in (("rank", rank), ("ranks", ranks)) if value is not None}
        self._origin = {name: text for name, text in texts.items() if text is not None} | numbers
        self._layers: dict[str, Layer] = {}
        self._last = -1
        self._lock = threading.RLock()
        self._process = os.getpid()
        self._steps: int | None = None  # the descriptor of steps.jsonl; None while there is none to write to
        self._is_packed = boolean("packed", packed)
        self._layout_numbers = LayoutNumbers()
        self._folder = self._make(overwrite)
        self._arrays = Directory("arrays", self._folder)
        self._packed = PackedFiles(self._arrays)
        self._steps = self._folder.append_to("steps.jsonl")

    def add_layer(self, name: str, settings: Layer | None = None, **arguments: Any) -> None:
        """Declare a layer, before the first step that holds it. Declaring it again with the same settings does nothing.

        Args:
          name: the layer's name.
          settings: a `Layer`; or give the arguments of `Layer` here.

        Raises:
          TypeError: the name is not a string.
          ValueError: the settings are not accepted, the layer was declared with others, or the writer is closed.
        """
        self.add_layers({name: Layer(**arguments) if settings is None else settings})

    def add_layers(self, layers: Mapping[str, Layer]) -> None:
        """Declare several layers at once, a dict from names to `Layer`. Raises what `add_layer` raises."""
        self._check_process()
        with self._lock:
            self._check_open()
            self._check_layers(layers)
            if not layers.keys() <= self._layers.keys():
                declared = {**self._layers, **layers}
                self._write_layers(self._folder, declared)
                self._layers = declared

    def _check_layers(self, layers: Mapping[str, Layer]) -> None:
        for name, layer in layers.items():
            if not isinstance(name, str):
                raise TypeError(f"`name` is {name!r}; it must be a string.")
            if not isinstance(layer, Layer):
                raise TypeError(f"`settings` of layer {name!r} is {layer!r}; it must be a `Layer`.")
            if self._layers.get(name, layer) != layer:
                raise ValueError(
                    f"layer {name!r} was declared with other settings, {self._layers[name]}; a layer keeps its "
                    "settings, so give this one another name."
                )

    def add_step(
        self, layers: Mapping[str, Mapping[str, Any]], *, training: bool, step: int | None = None, left_out: int = 0
    ) -> int:
        """Append one step and return its number.

        Args:
          layers: for each layer by its name a dict with the keys of a RECORD of the format (see `tf1bn.trace`), but
            with arrays, or what `numpy.asarray` makes arrays of, instead of paths. An item of "moments" may also be a
            `checker.Moments`. The optional keys may be left out.
          training: whether the run trained.
          step: the number of the step, larger than the last one; None for the next.
          left_out: how many runs of the model between the last step and this one are not in the trace.

        Raises:
          TypeError: an array has a dtype that is not accepted.
          ValueError: a layer is not declared, a key is missing or unknown, shapes or numbers do not fit, or the writer
            is closed, belongs to another process, or its trace was replaced.
          OSError: a file cannot be written.
        """
        self._check_process()
        with self._lock:
            self._check_open()
            return self._add_step(layers, training, step, whole("left_out", left_out))

    def _add_step(
        self, layers: Mapping[str, Mapping[str, Any]], training: bool, step: int | None, left_out: int
    ) -> int:
        number = self._last + 1 if step is None else whole("step", step)
        if number <= self._last:
            raise ValueError(f"`step` is {number} and the last one was {self._last}; the steps must count up.")
        files = (Block if self._is_packed else Files)(f"{number:08d}")
        entries = {}
        for name, values in layers.items():
            if name not in self._layers:
                raise ValueError(f"layer {name!r} was not declared; call `add_layer` first.")
            try:
                entries[name] = encode(values, files)
            except (TypeError, ValueError) as error:
                raise type(error)(f"Layer {name!r}: {error}") from error
        line: dict[str, Any] = {"step": number, "training": boolean("training", training)}
        if left_out:
            line["left_out"] = left_out
        self._write_step(line, entries, files)
        return number

    def _write_step(self, line: dict[str, Any], entries: dict[str, Any], files: Files) -> None:
        """Write the arrays of a step and then its line, and count it; or nothing, wherever an interrupt comes."""
        assert self._steps is not None
        before, lines = (self._last, self.bytes), os.fstat(self._steps).st_size
        layers = json.dumps(entries, allow_nan=False, separators=(",", ":"))
        block = files.data if isinstance(files, Block) else b""
        written: list[str] = []
        place: list[Any] | None = None
        size = len(block)
        try:
            for file, array in files.arrays():
                written.append(file)
                size += write_array(self._arrays, file, array)
            if block:
                line["block"] = place = self._packed.append(block)
            text = _line(line, layers if self._is_new(line, layers, bool(written)) else None)
            write_all(self._steps, text)
            self._last, self.bytes = line["step"], self.bytes + size + len(text)
        except BaseException:
            # The step may be tried again. Its line goes first, since it names what follows.
            os.ftruncate(self._steps, lines)
            self._last, self.bytes = before
            self._layout_numbers.forget()
            if place is not None:
                self._packed.cut(place[1])
            for file in written:
                with contextlib.suppress(OSError):
                    self._arrays.remove(file)
            raise

    def _is_new(self, line: dict[str, Any], layers: str, has_files: bool) -> bool:
        """Whether the line has to hold the layers. Those of a packed step get a number unless they name files."""
        if not self._is_packed or has_files:
            return True
        line["layout"], new = self._layout_numbers.number(line["training"], layers)
        return new

    def close(self) -> None:
        """Close the files; it may be called more than once."""
        # A forked process has copies of the descriptors, perhaps a lock that nobody will open, and no trace of its own.
        if os.getpid() != self._process:
            return
        with self._lock:
            if self._steps is None:
                return
            os.close(self._steps)
            self._steps = None
            with contextlib.suppress(OSError):
                self._folder.remove(LOCK)
            self._packed.close()
            self._arrays.close()
            self._folder.close()

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        try:  # noqa: SIM105 - contextlib is gone when the interpreter ends
            self.close()
        except Exception:
            pass

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise ValueError(
                f"The trace {self.path!r} is written by process {self._process}, and this is its fork {os.getpid()}; "
                "make a writer with a path of its own in each process."
            )

    def _check_open(self) -> None:
        if self._steps is None:
            raise ValueError(f"The trace {self.path!r} is closed; nothing can be added to it.")
        if self._folder.removed:
            raise ValueError(f"The trace {self.path!r} was replaced or deleted; nothing can be added to it.")

    def _make(self, overwrite: bool) -> Directory:
        """Make the empty trace beside `path` and put it there, so that what is at `path` can be read at any moment."""
        target = os.path.realpath(self.path)
        above, name = os.path.split(target)
        if os.path.lexists(target):
            check_replaceable(self.path, target, overwrite)
        remove_abandoned(above, name)
        new = folder_beside(above, name)
        try:
            os.chmod(new, 0o777 & ~umask())
            folder = Directory(new)
            Owner.current().write(folder)
            folder.make_folder("arrays")
            os.close(folder.create("steps.jsonl"))
            self._write_layers(folder, {})
            if os.path.isdir(target) and os.listdir(target):
                replace(target, new)
            else:
                os.rename(new, target)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
        return folder

    def _write_layers(self, folder: Directory, layers: Mapping[str, Layer]) -> None:
        """Write trace.json beside the old one and rename it, so that it is always whole."""
        entries = {}
        for name, layer in layers.items():
            settings = dataclasses.asdict(layer)
            entries[name] = {
                key: settings[key] for key in ALL_SETTINGS if key in REQUIRED_SETTINGS or settings[key] is not None
            }
        content: dict[str, Any] = {
            "format": FORMAT,
            "version": PACKED_VERSION if self._is_packed else VERSION,
            **self._origin,
        }
        text = json.dumps({**content, "layers": entries}, allow_nan=False, indent=1)
        beside = "trace.json.new"
        try:
            folder.remove(beside)
            descriptor = folder.create(beside)
            try:
                write_all(descriptor, text.encode() + b"\n")
            finally:
                os.close(descriptor)
            folder.rename(beside, "trace.json")
        except BaseException:
            with contextlib.suppress(OSError):
                folder.remove(beside)
            raise


def _line(line: dict[str, Any], layers: str | None) -> bytes:
    """A line of steps.jsonl from its short keys and, as JSON, its layers."""
    text = json.dumps(line, allow_nan=False, separators=(",", ":"))
    if layers is not None:
        text = f'{text[:-1]},"layers":{layers}}}'
    return text.encode() + b"\n"
