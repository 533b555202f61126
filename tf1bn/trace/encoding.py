"""What a step's layer is in a trace: checked, and its arrays given to files. Reached through ``trace``."""

import collections

import numpy as np

from .._util.validation import boolean, number, shown, whole
from .reader import AROUND
from .storage import FLOATS, REALS

_OPTIONAL = ("inputs", "moments", "outputs", "gamma", "beta", "training", "decay", "weights", "state")
_KEYS = (*_OPTIONAL, *AROUND)


class Files:
    """The arrays of one step, and the paths that they will have. Vectors of one width and dtype share a file."""

    def __init__(self, prefix):
        self._prefix = prefix
        self._rows = collections.defaultdict(list)
        self._large = {}

    def large(self, array):
        """The path of an array that gets a file of its own; the same array gets one path."""
        path, _ = self._large.setdefault(id(array), (f"{self._prefix}-{len(self._large)}.npy", array))
        return path

    def vector(self, array):
        """The path of a vector: a row of the file of its kind."""
        file = f"{self._prefix}-{array.dtype.kind}{array.dtype.itemsize}x{array.size}.npy"
        self._rows[file].append(array)
        return f"{file}#{len(self._rows[file]) - 1}"

    def arrays(self):
        """Pairs of path and array, for everything that was given a path."""
        yield from self._large.values()
        for file, rows in self._rows.items():
            yield file, np.stack(rows)


def encode(values, files):
    """A layer's part of a step's line, its arrays given to ``files``."""
    unknown = sorted(set(values) - set(_KEYS))
    if unknown:
        raise ValueError(f"{shown(unknown[0])} is not a key of a step's layer; accepted are {', '.join(_KEYS)}.")
    kinds = [kind for kind in ("inputs", "moments") if kind in values]
    if len(kinds) != 1:
        raise ValueError(f"it has {'both' if kinds else 'neither'} `inputs` and `moments`; give one of the two.")
    missing = [name for name in AROUND if name not in values]
    if missing:
        raise ValueError(f"`{missing[0]}` is missing.")
    entry, channels = {}, np.size(values["moving_mean_before"])
    if not channels:
        raise ValueError("`moving_mean_before` is empty; it must be a vector with one value per channel.")
    for name in (*AROUND, "gamma", "beta"):
        if values.get(name) is not None:
            entry[name] = files.vector(_vector(name, values[name], channels))
    given = _listed(kinds[0], values[kinds[0]])
    if not given:
        raise ValueError(f"`{kinds[0]}` is empty; give one for each application of the layer.")
    shapes = None
    if kinds == ["inputs"]:
        arrays = [_batch("inputs", item) for item in given]
        shapes = [array.shape for array in arrays]
        for shape in shapes:
            if channels not in shape:
                raise ValueError(f"`inputs` has an array of shape {shape}, and no axis of the {channels} channels.")
        entry["inputs"] = [files.large(array) for array in arrays]
    else:
        entry["moments"] = [_moments(item, channels, files) for item in given]
    if values.get("outputs") is not None:
        arrays = [_batch("outputs", item) for item in _listed("outputs", values["outputs"], len(given))]
        for array, shape in zip(arrays, shapes or [array.shape for array in arrays], strict=True):
            if array.shape != shape:
                raise ValueError(f"`outputs` has an array of shape {array.shape} where the input has {shape}.")
        entry["outputs"] = [files.large(array) for array in arrays]
    if values.get("weights") is not None:
        entry["weights"] = []
        for i, item in enumerate(_listed("weights", values["weights"], len(given))):
            samples = None if item is None or shapes is None else shapes[i][0]
            # Not a row: samples come and go, and the file of a width would hold but one.
            entry["weights"].append(None if item is None else files.large(_vector("weights", item, samples, REALS)))
    flags = values.get("training")
    if isinstance(flags, (list, tuple)):
        entry["training"] = [boolean("training", flag) for flag in _listed("training", flags, len(given))]
    elif flags is not None:
        entry["training"] = boolean("training", flags)
    if "decay" in values:
        entry["decay"] = number("decay", values["decay"], 0.0, 1.0)
    if values.get("state") is not None:
        state = {name: _vector(name, np.atleast_1d(item), None, REALS) for name, item in values["state"].items()}
        entry["state"] = {name: files.vector(array) for name, array in state.items()}
    return entry


def _moments(item, channels, files):
    if not isinstance(item, dict):
        item = {name: getattr(item, name, None) for name in ("count", "mean", "variance")}
    entry = {"count": whole("count", item.get("count"))}
    for name in ("mean", "variance"):
        entry[name] = files.vector(_vector(name, item.get(name), channels))
    return entry


def _listed(name, value, length=None):
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"`{name}` is of type {type(value).__name__}; give a list, one item for each application.")
    if length is not None and len(value) != length:
        raise ValueError(f"`{name}` has {len(value)} items and the layer {length} applications; give one for each.")
    return value


def _batch(name, value):
    array = _numbers(name, value, FLOATS)
    if array.ndim < 2:
        raise ValueError(f"`{name}` has an array of shape {array.shape}; it must have rank 2 or more.")
    return array


def _vector(name, value, size, accepted=FLOATS):
    array = _numbers(name, value, accepted)
    if array.ndim != 1 or (size is not None and array.size != size):
        wanted = "" if size is None else f" of {size} values"
        raise ValueError(f"`{name}` has shape {array.shape}; it must be a vector{wanted}.")
    return array


def _numbers(name, value, accepted):
    array = np.asarray(value)
    if array.dtype.name == "bfloat16":  # no dtype of NumPy's own, and .npy cannot hold it
        array = array.astype(np.float32)
    if array.dtype.type not in accepted:
        names = ", ".join(np.dtype(kind).name for kind in accepted)
        raise TypeError(f"`{name}` has dtype {array.dtype}; accepted are {names}.")
    return array
