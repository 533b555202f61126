"""Running a port, a function from a batch to its output and what its layers hold, and writing its trace."""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import trace
from ..parity.layer_pairs import LayerSignature, match_layers
from ..parity.layer_values import START
from .models import framework_of, record_model

# What a port may give of a layer, and the name under which a trace has it.
KEYS = {
    "moving_mean": "moving_mean_after",
    "moving_variance": "moving_variance_after",
    "gamma": "gamma",
    "beta": "beta",
    "inputs": "inputs",
    "outputs": "outputs",
    "moving_mean_before": "moving_mean_before",
    "moving_variance_before": "moving_variance_before",
}

Port = Callable[[npt.NDArray[Any], bool], tuple[npt.ArrayLike, Mapping[str, Mapping[str, Any]]]]


def record_port(
    port: Port | Any,
    batches: Iterable[npt.ArrayLike],
    path: str | os.PathLike[str],
    *,
    training: bool | Sequence[bool] = True,
    data_format: str | None = None,
    overwrite: bool = False,
    producer: str | None = None,
    **settings: Any,
) -> None:
    """Write the trace of a port, for ``tf1bn parity``.

    Args:
      port: as for `assert_parity`; a function must give "inputs" of its layers. Its statistics start from (0, 1) unless
        it gives "moving_mean_before" and "moving_variance_before"; those of a model start as they are.
      batches, training, data_format: as for `assert_parity`.
      path, overwrite, producer: as for `trace.Writer`; the producer of a model's trace is its recorder.
      settings: what a function declares of all its layers, as for `trace.Layer`: decay, epsilon, fused, ...; a model
        says it by itself.

    Raises:
      TypeError, ValueError, FileExistsError: an argument, or what `port` returns, is not as above.
    """
    arrays = checked_batches(batches)
    if framework_of(port) is not None:
        if settings or producer is not None:
            name = next(iter(settings), "producer")
            raise ValueError(f"`{name}` is given, and `port` is a model, whose layers say by themselves what they are.")
        flags = checked_flags(training, arrays)
        record_model(port, arrays, flags, path, data_format=data_format, overwrite=overwrite)
        return
    data_format = data_format or "NHWC"
    check_two_arguments("port", port, "(batch, training)")
    last: dict[str, dict[str, Any]] = {}
    with trace.Writer(path, overwrite=overwrite, producer=producer) as writer:
        for batch, trains in zip(arrays, checked_flags(training, arrays), strict=True):
            records = {}
            for name, values in _run(port, batch, trains)[1].items():
                record = _record(name, values)
                if "inputs" not in record:
                    raise ValueError(f'`port` must give "inputs" of layer {name!r}: a trace holds them.')
                records[name] = _with_statistics_before(record, last.get(name), None)
                last[name] = record
                writer.add_layer(name, _declared(record, True, data_format, **settings))
            writer.add_step(records, training=trains)


@dataclasses.dataclass(frozen=True)
class PortRun:
    """A port that was run and recorded.

    Attributes:
      outputs: its output for every batch.
      gave_inputs: whether it gave the inputs of its layers; else the trace holds those of the original's layers.
      unrecorded: the names of layers that the trace cannot hold: they have neither inputs nor a counterpart.
    """

    outputs: list
    gave_inputs: bool
    unrecorded: list


class PortRecorder:
    """Writes the trace of a port beside that of its original, whose layers lend what the port does not give.

    Args:
      writer: a `trace.Writer`.
      mapping: which layer of the original is which of the port, or None.
      data_format: that of the port's inputs, or None for that of the original's layer.

    Attributes:
      gave_inputs: whether the port gives the inputs of its layers; None before the first layer.
    """

    def __init__(self, writer, mapping, data_format):
        self._writer, self._mapping, self._data_format = writer, mapping, data_format
        self.gave_inputs = None
        self._last, self._without_inputs = {}, {}

    @property
    def unrecorded(self):
        """The names of the layers that no step of the trace holds."""
        return [name for name in self._without_inputs if name not in self._last]

    def add(self, layers, original, trains):
        """Write a step.

        Args:
          layers: dict from names to what the port gives.
          original: the step of the original's trace.
          trains: whether the step trains.
        """
        counterparts, records = _counterparts(layers, original, self._mapping), {}
        for name, values in layers.items():
            record = _record(name, values)
            counterpart = original.layers.get(counterparts.get(name))
            has_inputs = "inputs" in record
            if self.gave_inputs is not None and has_inputs != self.gave_inputs:
                raise ValueError(f"`port` gives inputs of some layers and not of {name!r}; give all or none.")
            self.gave_inputs = has_inputs
            if not has_inputs:
                if counterpart is None:
                    self._without_inputs[name] = None
                    continue
                record.update(inputs=list(counterpart.inputs), training=list(counterpart.training))
                record.pop("outputs", None)
            records[name] = _with_statistics_before(record, self._last.get(name), counterpart)
            self._last[name] = record
            self._writer.add_layer(name, _declared(record, has_inputs, **self._layout(has_inputs, counterpart)))
        self._writer.add_step(records, training=trains)

    def _layout(self, has_inputs, counterpart):
        """The `data_format` and `axis` of a layer's inputs: the port's own, or those of the original's layer."""
        data_format = self._data_format if has_inputs else None
        if counterpart is not None and data_format is None:
            return {"data_format": counterpart.layer.data_format, "axis": counterpart.layer.axis}
        return {"data_format": data_format, "axis": None}


def record_beside(port, batches, flags, original, path, *, mapping, data_format):
    """Run a port on every batch and write its trace.

    Args:
      port, mapping, data_format: as for `assert_parity`.
      batches: list of arrays.
      flags: list of bool, whether each batch trains.
      original: the trace of the original, with as many steps.
      path: the folder of the new trace, which is overwritten.

    Returns:
      `PortRun`.
    """
    outputs = []
    with trace.Writer(path, overwrite=True, producer="tf1bn.testing") as writer:
        recorder = PortRecorder(writer, mapping, data_format)
        for batch, trains, step in zip(batches, flags, original, strict=True):
            output, layers = _run(port, batch, trains)
            outputs.append(output)
            recorder.add(layers, step, trains)
    return PortRun(outputs, bool(recorder.gave_inputs), recorder.unrecorded)


def checked_batches(batches):
    """The batches as a list of arrays; raises TypeError for what is no array of numbers."""
    arrays = []
    for i, batch in enumerate(batches):
        array = np.asarray(batch)
        if array.dtype.kind not in "fiub" or not array.ndim:
            raise TypeError(f"`batches` has {type(batch).__name__} in place {i}; it must hold arrays of numbers.")
        arrays.append(array)
    return arrays


def checked_flags(training, batches):
    """A list of bool, whether each batch trains; raises ValueError for what is not one bool or as many as batches."""
    flags = [training] * len(batches) if isinstance(training, bool) else list(training)
    if len(flags) != len(batches) or not all(isinstance(flag, bool) for flag in flags):
        raise ValueError(
            f"`training` is {training!r}; it must be a bool, or {len(batches)} of them, one for each batch."
        )
    return flags


def check_two_arguments(name, function, arguments):
    """Raise TypeError unless a function can be called with the two ``arguments``, given as text."""
    if not callable(function):
        raise TypeError(f"`{name}` is {function!r}; it must be a function.")
    try:
        inspect.signature(function).bind(None, None)
    except TypeError as error:
        raise TypeError(f"`{name}` must take two arguments, {arguments}: {error}.") from None
    except ValueError:
        pass  # a function of C says nothing about its arguments


def _run(port, batch, trains):
    """The output of a port for one batch, and the dict of its layers."""
    result = port(batch.copy(), trains)
    if not isinstance(result, tuple) or len(result) != 2 or not isinstance(result[1], dict):
        raise TypeError(
            f"`port` returned {type(result).__name__}; it must return two things, its output and a dict of its layers."
        )
    return np.asarray(result[0]), result[1]


def _record(name, values):
    """The record of a trace, from what the port gives of a layer."""
    if not isinstance(values, dict) or not {"moving_mean", "moving_variance"} <= values.keys():
        raise TypeError(f'`port` must give "moving_mean" and "moving_variance" of layer {name!r}.')
    unknown = values.keys() - KEYS.keys()
    if unknown:
        raise ValueError(f"`port` gives {sorted(unknown)} of layer {name!r}; each must be one of {', '.join(KEYS)}.")
    record = {}
    for key, value in values.items():
        if value is None:
            continue
        if key in ("inputs", "outputs"):
            arrays = value if isinstance(value, (list, tuple)) else [value]
            record[KEYS[key]] = [np.array(array) for array in arrays]
        else:
            record[KEYS[key]] = np.array(value)
    return record


def _with_statistics_before(record, last, counterpart):
    """The record with the statistics before the step: those after the last one, else the original's, else (0, 1)."""
    mean = record["moving_mean_after"]
    before = {f"moving_{role}_before": np.full_like(mean, START[role]) for role in ("mean", "variance")}
    if last is not None:
        before = {f"moving_{role}_before": last[f"moving_{role}_after"] for role in ("mean", "variance")}
    elif counterpart is not None and counterpart.moving_mean_before.shape == mean.shape:
        before = {key: np.array(getattr(counterpart, key)) for key in before}
    return {**before, **record}


def _declared(record, has_inputs, data_format=None, axis=None, **settings):
    """The `trace.Layer` of a port's layer, of which only the record is known."""
    values = {"decay": None, "epsilon": None, "dtype": record["moving_mean_after"].dtype.name}
    if has_inputs:
        values.update(scale="gamma" in record, center="beta" in record)
    # A batch of vectors has its channels last in any format.
    return trace.Layer(**{**values, "data_format": data_format or "NHWC", "axis": axis, **settings})


def _counterparts(layers, step, mapping):
    """The original's layer for each of the port's, by map, name or, if there are as many, order."""
    old = [LayerSignature(name, record.moving_mean_before.size) for name, record in step.layers.items()]
    new = [
        LayerSignature(name, np.size(values.get("moving_mean")))
        for name, values in layers.items()
        if isinstance(values, dict)
    ]
    return {pair.new: pair.old for pair in match_layers(old, new, mapping).pairs}
