"""Reading a trace: its layers at once, its steps one after the other, its arrays when they are asked for.

Reached through ``trace``, whose docstring describes the format.
"""

import contextlib
import functools
import os
import types

from .._util.strict_json import parse
from .._util.validation import boolean, member, number, shown, whole
from ..errors import TraceError
from .settings import KNOWN, REQUIRED, Layer
from .storage import REALS, Folder

FORMAT, VERSION = "tf1bn-trace", 1
AROUND = ("moving_mean_before", "moving_variance_before", "moving_mean_after", "moving_variance_after")


class Trace:
    """A trace on disk, as it was when it was opened: what is appended later is not seen.

    Iterating gives every finished `Step` in order and can be repeated; nothing of a step is kept by the trace.

    Attributes:
      path: the folder.
      layers: dict from the name of a layer to its `Layer`; read-only.
      producer: what made the trace, a string, or None.
    """

    def __init__(self, path):
        self._folder = folder = Folder(path)
        self.path = folder.path
        if not os.path.isdir(folder.path):
            what = "is not a folder" if os.path.lexists(folder.path) else "does not exist"
            raise TraceError(f"`path` is {folder.path!r}, which {what}; give the folder of a trace.")
        if not os.path.lexists(os.path.join(folder.path, "trace.json")):
            raise TraceError(f"`path` is {folder.path!r}, which holds no trace.json; give the folder of a trace.")
        with folder.open("steps.jsonl") as file:
            # The layers are read after this, so those of every step up to here are among them.
            self._end = file.seek(0, os.SEEK_END)
        with folder.open("trace.json") as file:
            data = file.read()
        with self._errors("trace.json"):
            self.layers, self.producer = _layers(parse(data))

    def __iter__(self):
        """Yields every `Step`; raises `TraceError` at the first line that is damaged."""
        previous = -1
        for at, line in self._lines():
            with self._errors(f"line {at} of steps.jsonl"):
                step = Step(self._folder.fresh(), self.layers, parse(line), previous)
            previous = step.number
            yield step

    def count_steps(self):
        """The number of finished steps, without looking into them."""
        return sum(1 for _ in self._lines())

    @contextlib.contextmanager
    def _errors(self, where):
        try:
            yield
        except TraceError:
            raise
        except ValueError as error:
            raise self._folder.error(f"in {where}, {error}") from error

    def _lines(self):
        with self._folder.open("steps.jsonl") as file:
            left = self._end
            for at, line in enumerate(file, 1):
                left -= len(line)
                # Without its end the last line is a step that was never finished.
                if left < 0 or not line.endswith(b"\n"):
                    return
                yield at, line


class Step:
    """One run of the model.

    Attributes:
      number: counts up, perhaps with gaps.
      training: whether the run trained; a layer's applications may differ, see `Record`.
      layers: dict from the name of a layer to its `Record`, for the layers that took part; read-only.
    """

    def __init__(self, folder, layers, entry, previous):
        member("line", entry, dict)
        self.number = whole("step", _get(entry, "step"))
        if self.number <= previous:
            raise ValueError(f"`step` is {self.number} after {previous}; the steps must count up.")
        self.training = boolean("training", _get(entry, "training"))
        records = {}
        for name, record in member("layers", _get(entry, "layers"), dict).items():
            if name not in layers:
                raise ValueError(f"the layer {shown(name)} is not among those of trace.json.")
            where = f"step {self.number}, layer {name!r}"
            with _of_layer(name):
                records[name] = Record(folder, layers[name], self.training, record, where)
        self.layers = types.MappingProxyType(records)


class Record:
    """One layer in one step. Arrays are read when they are asked for, are read-only, and may hold NaN.

    Every attribute that is an array raises `TraceError` if its file is damaged or does not fit the others.

    Attributes:
      layer: its `Layer`.
      training: tuple of bool, one for each application of the layer.
      applications: their number, 1 or more.
      decay: that of this step, float or None; the layer's unless the step has its own.
      moving_mean_before, moving_variance_before, moving_mean_after, moving_variance_after: [channels] in the
        dtype that was written, of the statistics before and after the run.
      gamma, beta: [channels], before the run; None if not there.
      inputs: tuple of one memory-mapped array for each application, float16, float32 or float64, of rank 2 or
        more, each with an axis as long as the statistics; None if the trace holds moments instead. That the
        axis is the one that the layer declares is not checked: this is what a diagnosis is about.
      moments: tuple of `checker.Moments`; None if the trace holds inputs.
      outputs: tuple of memory-mapped arrays in the shape of the inputs; None if not there.
      weights: tuple of vectors [N], one weight for each of the N samples, or None for an application without;
        None if no application has weights.
      state: dict from names such as "biased", "local_step" and "renorm_mean" to vectors, before the run;
        "biased_after" and so on after it. Scalars have one element.
    """

    def __init__(self, folder, layer, training, entry, where):
        self._folder = folder
        self._where = where
        self._vectors = {}
        self.layer = layer
        member("layer", entry, dict)
        # null is nothing, but for the decay, where it is one that is not known.
        self._entry = entry = {key: item for key, item in entry.items() if item is not None or key == "decay"}
        kinds = [kind for kind in ("inputs", "moments") if kind in entry]
        if len(kinds) != 1:
            raise ValueError(f"it has {'both' if kinds else 'neither'} `inputs` and `moments`; give one of the two.")
        for name in AROUND:
            _get(entry, name)
        self.applications = len(member(kinds[0], entry[kinds[0]], list))
        if not self.applications:
            raise ValueError(f"`{kinds[0]}` is empty; give one for each application of the layer.")
        for name in ("outputs", "weights"):
            if name in entry:
                self._one_each(name)
        flags = entry.get("training", training)
        if isinstance(flags, list):
            self._one_each("training")
            self.training = tuple(boolean("training", flag) for flag in flags)
        else:
            self.training = (boolean("training", flags),) * self.applications
        self.decay = number("decay", entry["decay"], 0.0, 1.0) if "decay" in entry else layer.decay
        self._counts = []
        for moments in entry.get("moments", ()):
            member("moments", moments, dict)
            self._counts.append(whole("count", _get(moments, "count")))
            for name in ("mean", "variance"):
                _get(moments, name)
        self._state = member("state", entry.get("state", {}), dict)

    @property
    def moving_mean_before(self):
        return self._vector("moving_mean_before", like=None)

    @property
    def moving_variance_before(self):
        return self._vector("moving_variance_before")

    @property
    def moving_mean_after(self):
        return self._vector("moving_mean_after")

    @property
    def moving_variance_after(self):
        return self._vector("moving_variance_after")

    @property
    def gamma(self):
        return self._vector("gamma") if "gamma" in self._entry else None

    @property
    def beta(self):
        return self._vector("beta") if "beta" in self._entry else None

    @functools.cached_property
    def inputs(self):
        if "inputs" not in self._entry:
            return None
        channels = self.moving_mean_before.shape[0]
        arrays = tuple(self._folder.map(path) for path in self._entry["inputs"])
        for array in arrays:
            if array.ndim < 2 or channels not in array.shape:
                raise self._error(
                    f"`inputs` has an array of shape {array.shape}; it must have rank 2 or more and an axis of the "
                    f"{channels} channels that the statistics have."
                )
        return arrays

    @functools.cached_property
    def outputs(self):
        if "outputs" not in self._entry:
            return None
        arrays = tuple(self._folder.map(path) for path in self._entry["outputs"])
        for array, given in zip(arrays, self.inputs or arrays, strict=True):
            if array.ndim < 2 or array.shape != given.shape:
                raise self._error(f"`outputs` has an array of shape {array.shape} where the input has {given.shape}.")
        return arrays

    @property
    def moments(self):
        from ..checker import Moments  # the compiled extension, which only this needs

        if "moments" not in self._entry:
            return None
        result = []
        for count, entry in zip(self._counts, self._entry["moments"], strict=True):
            mean, variance = (self._vector(name, entry) for name in ("mean", "variance"))
            try:
                result.append(Moments(count, mean, variance))
            except ValueError as error:
                raise self._error(f"the moments are none: {error}") from error
        return tuple(result)

    @property
    def weights(self):
        paths = self._entry.get("weights")
        if paths is None or all(path is None for path in paths):
            return None
        result = []
        for i, path in enumerate(paths):
            array = None if path is None else self._folder.load(path, REALS)
            if array is not None and (array.ndim != 1 or (self.inputs and array.shape != self.inputs[i].shape[:1])):
                raise self._error(f"`weights` has an array of shape {array.shape}; it must have one per sample.")
            result.append(array)
        return tuple(result)

    @property
    def state(self):
        result = {}
        for name, path in self._state.items():
            array = self._folder.load(path, REALS)
            if array.ndim > 1:
                raise self._error(f"`state` has {name!r} of shape {array.shape}; it must be a vector.")
            result[name] = array.reshape(-1)
        return types.MappingProxyType(result)

    def _vector(self, name, entry=None, like="moving_mean_before"):
        if entry is None and name in self._vectors:
            return self._vectors[name]
        array = self._folder.load((self._entry if entry is None else entry)[name])
        wanted = array.shape if like is None else self._vector(like, like=None).shape
        if array.ndim != 1 or not array.size or array.shape != wanted:
            has = "" if like is None else f" like the {wanted[0]} of `{like}`"
            raise self._error(f"`{name}` has shape {array.shape}; it must be a vector with one value per channel{has}.")
        if entry is None:
            self._vectors[name] = array
        return array

    def _one_each(self, name):
        given = len(member(name, self._entry[name], list))
        if given != self.applications:
            raise ValueError(
                f"`{name}` has {given} items and the layer {self.applications} applications; give one for each."
            )

    def _error(self, text):
        return self._folder.error(f"{self._where}: {text}")


def _layers(data):
    """The layers by name, and the producer, from what trace.json holds."""
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ValueError(f'`format` is not "{FORMAT}"; it is no trace.')
    version = data.get("version")
    if type(version) is not int or version != VERSION:
        raise ValueError(
            f"`version` is {shown(version)} and this tf1bn reads {VERSION}; read it with the tf1bn that wrote it."
        )
    producer = data.get("producer")
    if producer is not None and not isinstance(producer, str):
        raise ValueError(f"`producer` is {shown(producer)}; it must be a string or null.")
    layers = {}
    for name, settings in member("layers", _get(data, "layers"), dict).items():
        with _of_layer(name):
            member("layer", settings, dict)
            for required in REQUIRED:
                _get(settings, required)
            # A producer may write keys of its own; an optional one that is null is left out.
            layers[name] = Layer(
                **{
                    key: value
                    for key, value in settings.items()
                    if key in REQUIRED or (key in KNOWN and value is not None)
                }
            )
    return types.MappingProxyType(layers), producer


def _get(entry, name):
    if name not in entry:
        raise ValueError(f"`{name}` is missing.")
    return entry[name]


@contextlib.contextmanager
def _of_layer(name):
    try:
        yield
    except ValueError as error:
        raise ValueError(f"layer {name!r}: {error}") from error
