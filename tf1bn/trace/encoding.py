"""Turning what `Writer.add_step` is given for a layer into its entry in steps.jsonl. Reached through `tf1bn.trace`.

Everything is checked here, before anything is written.
"""

from __future__ import annotations

import collections
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from .._util.validation import boolean, number, one_of, shown, whole
from ..binary.numbers import widened
from ..checker.arguments import FLOATS
from .record import inputs_or_moments
from .settings import DTYPES, REDUCTIONS, STEP_STATISTICS
from .storage import REALS

_OPTIONAL = (
    *("inputs", "moments", "outputs", "gamma", "beta", "training", "decay", "decays", "weights", "state"),
    *("updated", "recomputed", "replicas", "reduction", "inputs_dtype", "outputs_dtype"),
)
_KEYS = (*_OPTIONAL, *STEP_STATISTICS)


class Files:
    """The arrays of one step and the paths of their files. Vectors of one width and dtype share a file.

    Args:
      prefix: what the names of the files start with, such as "00000012"; they lie in the folder "arrays".
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._rows: dict[str, list[npt.NDArray[Any]]] = collections.defaultdict(list)
        self._large: dict[int, tuple[str, npt.NDArray[Any]]] = {}

    def add_array(self, array: npt.NDArray[Any]) -> str:
        """The path of an array in a file of its own; an array that is added again gets the same path."""
        name, _ = self._large.setdefault(id(array), (f"{self._prefix}-{len(self._large)}.npy", array))
        return f"arrays/{name}"

    def add_vector(self, array: npt.NDArray[Any]) -> str:
        """The path of a vector: "FILE#i", a row of the file for vectors of its width and dtype."""
        file = f"{self._prefix}-{array.dtype.kind}{array.dtype.itemsize}x{array.size}.npy"
        self._rows[file].append(array)
        return f"arrays/{file}#{len(self._rows[file]) - 1}"

    def add_weights(self, array: npt.NDArray[Any]) -> str:
        """The path of a vector with a value per sample.

        It has a file of its own: numbers of samples vary, so that a shared file would mostly hold a single row.
        """
        return self.add_array(array)

    def arrays(self) -> Iterator[tuple[str, npt.NDArray[Any]]]:
        """Pairs of a file's name in "arrays" and the array that it shall hold."""
        yield from self._large.values()
        for file, rows in self._rows.items():
            yield file, np.stack(rows)


def encode(values: Mapping[str, Any], files: Files) -> dict[str, Any]:
    """A layer's entry in a step's line; its arrays are added to ``files``.

    Args:
      values: as an item of ``layers`` in `Writer.add_step`.

    Raises:
      TypeError: an array has a dtype that is not accepted.
      ValueError: a key is missing or unknown, or shapes or numbers do not fit.
    """
    unknown = sorted(set(values) - set(_KEYS))
    if unknown:
        raise ValueError(f"{shown(unknown[0])} is not a key of a step's layer; accepted are {', '.join(_KEYS)}.")
    kind = inputs_or_moments(values)
    missing = [name for name in STEP_STATISTICS if name not in values]
    if missing:
        raise ValueError(f"`{missing[0]}` is missing.")
    channels = np.size(values["moving_mean_before"])
    if not channels:
        raise ValueError("`moving_mean_before` is empty; it must be a vector with one value per channel.")
    entry: dict[str, Any] = {}
    for name in (*STEP_STATISTICS, "gamma", "beta"):
        if values.get(name) is not None:
            entry[name] = files.add_vector(_vector(name, values[name], channels))
    given = _list(kind, values[kind])
    if not given:
        raise ValueError(f"`{kind}` is empty; give one for each application of the layer.")
    if kind == "inputs":
        arrays = _inputs(given, channels, values.get("inputs_dtype"))
        shapes = [array.shape for array in arrays]
        entry["inputs"] = [files.add_array(array) for array in arrays]
    else:
        shapes = None
        entry["moments"] = [_moments(item, channels, files) for item in given]
    if values.get("outputs") is not None:
        outputs = _outputs(values["outputs"], len(given), shapes, values.get("outputs_dtype"))
        entry["outputs"] = [files.add_array(array) for array in outputs]
    if values.get("weights") is not None:
        entry["weights"] = _weights(values["weights"], len(given), shapes, files)
    if values.get("training") is not None:
        entry["training"] = _training(values["training"], len(given))
    if "decay" in values:
        entry["decay"] = number("decay", values["decay"], 0.0, 1.0)
    if values.get("decays") is not None:
        entry["decays"] = [number("decays", each, 0.0, 1.0) for each in _list("decays", values["decays"], len(given))]
    entry.update(_circumstances(values, len(given)))
    if values.get("state") is not None:
        # All of them are checked before the first of them is added.
        state = {name: _vector(name, np.atleast_1d(item), None, REALS) for name, item in values["state"].items()}
        entry["state"] = {name: files.add_vector(array) for name, array in state.items()}
    return entry


def _circumstances(values: Mapping[str, Any], applications: int) -> dict[str, Any]:
    """The keys that say how the applications came about, as they stand in the entry."""
    entry: dict[str, Any] = {}
    for name in ("updated", "recomputed"):
        if values.get(name) is not None:
            entry[name] = [boolean(name, flag) for flag in _list(name, values[name], applications)]
    if values.get("replicas") is not None:
        entry["replicas"] = [whole("replicas", index) for index in _list("replicas", values["replicas"], applications)]
    for name, accepted in (("reduction", REDUCTIONS), ("inputs_dtype", DTYPES), ("outputs_dtype", DTYPES)):
        if values.get(name) is not None:
            entry[name] = one_of(name, values[name], accepted)
    for name in ("inputs", "outputs"):
        if any(_is_bfloat16(item) for item in values.get(name) or ()):
            # Their files hold float32.
            entry.setdefault(f"{name}_dtype", "bfloat16")
    return entry


def _inputs(given: Any, channels: int, dtype: Any) -> list[npt.NDArray[Any]]:
    arrays = [_batch("inputs", item, dtype) for item in given]
    for array in arrays:
        if channels not in array.shape:
            raise ValueError(f"`inputs` has an array of shape {array.shape}, and no axis of the {channels} channels.")
    return arrays


def _moments(item: Any, channels: int, files: Files) -> dict[str, Any]:
    """The entry of one application's moments: a dict, or an object with the attributes of `checker.Moments`."""
    if not isinstance(item, dict):
        item = {name: getattr(item, name, None) for name in ("count", "mean", "variance")}
    entry: dict[str, Any] = {"count": whole("count", item.get("count"))}
    for name in ("mean", "variance"):
        entry[name] = files.add_vector(_vector(name, item.get(name), channels))
    return entry


def _outputs(given: Any, applications: int, shapes: list[tuple[int, ...]] | None, dtype: Any) -> list[npt.NDArray[Any]]:
    arrays = [_batch("outputs", item, dtype) for item in _list("outputs", given, applications)]
    for array, shape in zip(arrays, shapes or [array.shape for array in arrays], strict=True):
        if array.shape != shape:
            raise ValueError(f"`outputs` has an array of shape {array.shape} where the input has {shape}.")
    return arrays


def _weights(given: Any, applications: int, shapes: list[tuple[int, ...]] | None, files: Files) -> list[str | None]:
    paths: list[str | None] = []
    for i, item in enumerate(_list("weights", given, applications)):
        samples = None if item is None or shapes is None else shapes[i][0]
        paths.append(None if item is None else files.add_weights(_vector("weights", item, samples, REALS)))
    return paths


def _training(flags: Any, applications: int) -> bool | list[bool]:
    if isinstance(flags, (list, tuple)):
        return [boolean("training", flag) for flag in _list("training", flags, applications)]
    return boolean("training", flags)


def _list(name: str, value: Any, length: int | None = None) -> Any:
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"`{name}` is of type {type(value).__name__}; give a list, one item for each application.")
    if length is not None and len(value) != length:
        raise ValueError(f"`{name}` has {len(value)} items and the layer {length} applications; give one for each.")
    return value


def _batch(name: str, value: Any, dtype: Any) -> npt.NDArray[Any]:
    """A batch as an array; ``dtype``: that which is declared, since an array of uint16 may hold bits of bfloat16."""
    array = np.asarray(value)
    if isinstance(dtype, str) and dtype == "bfloat16" and array.dtype == np.uint16:
        array = widened(array)
    array = _numbers(name, array, FLOATS)
    if array.ndim < 2:
        raise ValueError(f"`{name}` has an array of shape {array.shape}; it must have rank 2 or more.")
    return array


def _vector(name: str, value: Any, size: int | None, accepted: tuple[type, ...] = FLOATS) -> npt.NDArray[Any]:
    array = _numbers(name, value, accepted)
    if array.ndim != 1 or (size is not None and array.size != size):
        values = "" if size is None else f" of {size} values"
        raise ValueError(f"`{name}` has shape {array.shape}; it must be a vector{values}.")
    return array


def _numbers(name: str, value: Any, accepted: tuple[type, ...]) -> npt.NDArray[Any]:
    array = np.asarray(value)
    if array.dtype.type in accepted:
        return array
    if _is_bfloat16(array):  # not a dtype of NumPy's own: .npy cannot hold it
        return array.astype(np.float32)
    names = ", ".join(np.dtype(kind).name for kind in accepted)
    raise TypeError(f"`{name}` has dtype {array.dtype}; accepted are {names}.")


def _is_bfloat16(value: Any) -> bool:
    return getattr(getattr(value, "dtype", None), "name", None) == "bfloat16"
