"""Writing a trace, step by step. Reached through ``trace``, whose docstring describes the format."""

import contextlib
import dataclasses
import json
import os
import shutil
import tempfile

from .._util.validation import boolean, whole
from .encoding import Files, encode
from .reader import FORMAT, VERSION
from .settings import KNOWN, REQUIRED, Layer
from .storage import write_all, write_array


class Writer:
    """Writes a trace that is readable, with all finished steps, whenever the process should end.

    Args:
      path: the folder to make; the one above it must exist.
      overwrite: replace the trace that is there. A folder that is neither a trace nor empty is never replaced.
      producer: what makes the trace, a string for people to read; or None.

    Use it as a context manager, or call `close`. A step that was added is in the operating system's hands and
    survives the process, not a loss of power.

    Raises:
      FileExistsError: there is something at `path`, and `overwrite` is False or it is not a trace.
      OSError: the folder or a file cannot be written. A step that raises it is not in the trace.
    """

    def __init__(self, path, *, overwrite=False, producer=None):
        self.path = os.fspath(path)
        if producer is not None and not isinstance(producer, str):
            raise TypeError(f"`producer` is {producer!r}; it must be a string or None.")
        self._producer = producer
        self._layers = {}
        self._last = -1
        self._steps = None
        self._make(overwrite)
        self._steps = os.open(self._file("steps.jsonl"), os.O_WRONLY | os.O_APPEND)

    def add_layer(self, name, settings=None, **arguments):
        """Declare a layer, before the first step that holds it; again with the same settings does nothing.

        Args:
          name: the layer's name, a string.
          settings: a `Layer`; or give the arguments of `Layer` here.

        Raises:
          TypeError: the name is not a string.
          ValueError: the settings are not accepted, or the layer is there with others.
        """
        self.add_layers({name: Layer(**arguments) if settings is None else settings})

    def add_layers(self, layers):
        """Declare several layers at once: a dict from names to `Layer`. Raises what `add_layer` raises."""
        self._open()
        for name, layer in layers.items():
            if not isinstance(name, str):
                raise TypeError(f"`name` is {name!r}; it must be a string.")
            if not isinstance(layer, Layer):
                raise TypeError(f"`settings` of layer {name!r} is {layer!r}; it must be a `Layer`.")
            if self._layers.get(name, layer) != layer:
                raise ValueError(
                    f"layer {name!r} is there with other settings, {self._layers[name]}; a layer keeps its settings, "
                    "so give this one another name."
                )
        if not layers.keys() <= self._layers.keys():
            self._layers.update(layers)
            self._write_layers(self.path)

    def add_step(self, layers, *, training, step=None):
        """Append one step and return its number.

        Args:
          layers: dict from the name of a layer to a dict with the keys of a step's layer in the format, with
            arrays, or what `numpy.asarray` makes arrays of, in the place of paths; an item of "moments" may
            also be a `checker.Moments`. Outputs and weights need not be there, nor gamma and beta.
          training: whether the run trained, bool.
          step: its number, larger than the last; None for the next.

        Raises:
          TypeError: an array holds no real numbers.
          ValueError: a layer is not declared, a key is missing or unknown, or shapes or numbers do not fit.
        """
        self._open()
        number_ = self._last + 1 if step is None else whole("step", step)
        if number_ <= self._last:
            raise ValueError(f"`step` is {number_} and the last one was {self._last}; the steps must count up.")
        files = Files(f"arrays/{number_:08d}")
        entries = {}
        for name, values in layers.items():
            if name not in self._layers:
                raise ValueError(f"layer {name!r} was not declared; call `add_layer` first.")
            try:
                entries[name] = encode(values, files)
            except (TypeError, ValueError) as error:
                raise type(error)(f"Layer {name!r}: {error}") from error
        line = {"step": number_, "training": boolean("training", training), "layers": entries}
        for file, array in files.arrays():
            write_array(self._file(file), array)
        self._append(json.dumps(line, allow_nan=False, separators=(",", ":")).encode() + b"\n")
        self._last = number_
        return number_

    def close(self):
        """Close the files; more than once does no harm."""
        if self._steps is not None:
            os.close(self._steps)
            self._steps = None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def __del__(self):
        with contextlib.suppress(Exception):
            self.close()

    def _open(self):
        if self._steps is None:
            raise ValueError(f"The trace {self.path!r} is closed; nothing can be added to it.")

    def _file(self, name, folder=None):
        return os.path.join(self.path if folder is None else folder, name)

    def _make(self, overwrite):
        """The empty trace, made aside and moved to its place: a folder at `path` is always readable."""
        target = os.path.realpath(self.path)
        above, name = os.path.split(target)
        if os.path.lexists(target):
            _may_replace(self.path, target, overwrite)
        new = tempfile.mkdtemp(prefix=f".{name}.", dir=above)
        try:
            os.chmod(new, 0o777 & ~_umask())
            os.mkdir(self._file("arrays", new))
            open(self._file("steps.jsonl", new), "wb").close()
            self._write_layers(new)
            if os.path.isdir(target) and os.listdir(target):
                self._replace(target, new)
            else:
                os.rename(new, target)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise

    def _replace(self, target, new):
        old = tempfile.mkdtemp(prefix=".old.", dir=os.path.dirname(target))
        os.rename(target, self._file("trace", old))
        try:
            os.rename(new, target)
        except BaseException:
            os.rename(self._file("trace", old), target)
            os.rmdir(old)
            raise
        shutil.rmtree(old)

    def _write_layers(self, folder):
        """trace.json, whole or as it was: written beside it and renamed."""
        layers = {}
        for name, layer in self._layers.items():
            settings = dataclasses.asdict(layer)
            layers[name] = {key: settings[key] for key in KNOWN if key in REQUIRED or settings[key] is not None}
        content = {"format": FORMAT, "version": VERSION}
        if self._producer is not None:
            content["producer"] = self._producer
        text = json.dumps({**content, "layers": layers}, allow_nan=False, indent=1)
        beside = self._file("trace.json.new", folder)
        with open(beside, "wb") as file:
            file.write(text.encode() + b"\n")
        os.replace(beside, self._file("trace.json", folder))

    def _append(self, line):
        size = os.fstat(self._steps).st_size
        try:
            write_all(self._steps, line)
        except BaseException:
            # A part of a line would spoil the next one.
            os.ftruncate(self._steps, size)
            raise


def _may_replace(path, target, overwrite):
    """Raise FileExistsError unless what is at ``target`` is an empty folder, or a trace that may be replaced."""
    if os.path.isdir(target) and not os.listdir(target):
        return
    try:
        with open(os.path.join(target, "trace.json"), "rb") as file:
            # Damaged or of another version, it is still a trace.
            trace = f'"{FORMAT}"'.encode() in file.read()
    except OSError:
        trace = False
    if not trace:
        raise FileExistsError(f"`path` is {path!r}, which is there and is not a trace; choose another path.")
    if not overwrite:
        raise FileExistsError(f"`path` is {path!r}, where a trace is; choose another path, or pass overwrite=True.")


def _umask():
    umask = os.umask(0)
    os.umask(umask)
    return umask
