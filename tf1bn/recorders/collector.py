"""Collects what the layers of a model do in one step after the other, and writes it as a trace within limits.

Knows no framework: the recorders of each hand in arrays.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import trace
from .._util.printable import printable
from .._util.text import counted
from ..checker import batch_moments
from .deciding import moments_decide
from .limits import Limits, contents

Array = npt.NDArray[Any]
Pair = tuple[Array, Array]


@dataclasses.dataclass(eq=False)
class Application:
    """One application of a layer.

    Attributes:
      inputs: the input, of rank 2 or more; outputs: the output before any activation, or None. Both may share memory
        with the model: what is kept is copied.
      training: whether it used the statistics of the batch.
      before, after: moving mean and moving variance, [channels] each, in memory of their own.
      gamma, beta: [channels] in memory of their own, or None.
      decay: the decay of this update, if it is not the layer's; `unknown_decay`: it is another one, which is not known.
      updated: whether it was to update the statistics; None: if it trained.
      recomputed: whether it repeats an earlier one, in a backward pass.
      mask: None, or bool in the shape of the inputs without their channels: the positions that count.
      inputs_dtype, outputs_dtype: their names in the model, such as "bfloat16".
      replica: the index of the replica that ran it, or None; reduction: as the key of the format, or None.
      state, state_after: further variables before and after it, by the names that the key "state" of the format has.
    """

    inputs: Array
    outputs: Array | None
    training: bool
    before: Pair
    after: Pair
    gamma: Array | None = None
    beta: Array | None = None
    decay: float | None = None
    unknown_decay: bool = False
    updated: bool | None = None
    recomputed: bool = False
    mask: Array | None = None
    inputs_dtype: str | None = None
    outputs_dtype: str | None = None
    replica: int | None = None
    reduction: str | None = None
    state: Mapping[str, Array] = dataclasses.field(default_factory=dict)
    state_after: Mapping[str, Array] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(eq=False)
class _Kept:
    """What is kept of an application: the `Application` without its arrays, and these instead."""

    application: Application
    kind: str
    inputs: Any
    outputs: Array | None
    weights: Array | None


class Collector:
    """Writes the steps of a model as a trace.

    Args:
      path: the folder of the trace.
      limits: the `Limits`.
      quiet: whether to say nothing on stderr at the end.
      settings: the other arguments of `trace.Writer`.

    Attributes:
      path: the folder.
      steps: the number of steps written so far; seen: the number of steps that began.
      layers: dict from the names to the `trace.Layer` of the layers that are listed in the trace.
      problem: None, or why the recording ended before the model did, the rest of a sentence.
      recording: whether the step that runs is recorded.
    """

    def __init__(self, path: str | os.PathLike[str], limits: Limits, *, quiet: bool = False, **settings: Any) -> None:
        self._writer = trace.Writer(path, packed=True, **settings)
        self._limits, self._quiet = limits, quiet
        self._lock = threading.RLock()
        self._process = os.getpid()
        self._step: dict[str, list[_Kept]] = {}
        self._left_out = 0
        self._closed = False
        self.path = self._writer.path
        self.steps = self.seen = 0
        self.layers: dict[str, trace.Layer] = {}
        self.problem: str | None = None
        self.recording = False

    @property
    def bytes(self) -> int:
        """The size of the trace so far."""
        return self._writer.bytes

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    @property
    def in_own_process(self) -> bool:
        """Whether this is the process that records; a fork of it, such as a worker that loads data, is not."""
        return os.getpid() == self._process

    def takes_layer(self, name: str) -> bool:
        """Whether the layer of this name is recorded."""
        return self._limits.takes_layer(name)

    def lacks(self, name: str) -> bool:
        """Whether the layer of this name is recorded and not listed yet."""
        return name not in self.layers and self.takes_layer(name)

    def begin(self) -> None:
        """Begin a step; `end` or `drop` must have ended the one before."""
        with self._lock:
            wanted = self.problem is None and not self._closed and self._limits.takes_step(self.seen)
            self.seen += 1
            self._step = {}
            self.recording = wanted
            if not wanted:
                self._left_out += 1

    def declare(self, layers: Mapping[str, trace.Layer]) -> None:
        """List layers in the trace; those that are listed already keep their settings."""
        new = {name: layer for name, layer in layers.items() if self.lacks(name)}
        if not new or self.problem is not None:
            return
        with self._lock:
            if self._attempt(lambda: self._writer.add_layers(new)):
                self.layers.update(new)

    def holds(self, name: str) -> bool:
        """Whether the layer was applied already in the step that runs."""
        return name in self._step

    def take(self, name: str, application: Application) -> None:
        """Take an application of a layer that was declared, in the step that runs."""
        with self._lock:
            if not self.recording or name not in self.layers:
                return
            earlier = self._step.setdefault(name, [])
            if earlier:
                kind = earlier[0].kind
            else:
                size = application.inputs.nbytes + (0 if application.outputs is None else application.outputs.nbytes)
                kind = self._limits.kind(application.training, size)
            layer = self.layers[name]
            kept = _kept(application, kind, layer)
            if (
                not earlier
                and kind == "moments"
                and self._limits.keeps_undecided(
                    application.inputs.nbytes, lambda: _decided(application, kept.inputs, layer)
                )
            ):
                kept = _kept(application, "inputs", layer)
            earlier.append(kept)

    def end(self, training: bool | None = None, *, all_train: bool = False) -> None:
        """Write the step that runs, if it is recorded and any layer was applied.

        Args:
          training: whether the step trained; None: if any application did.
          all_train: whether every application counts as one that trains, whatever mode its layer was in.
        """
        with self._lock:
            step, self._step = self._step, {}
            recording, self.recording = self.recording, False
            if not recording:
                return
            if not step:
                self.seen -= 1
                return
            if training is None:
                training = any(kept.application.training for part in step.values() for kept in part)
            records = {name: _record(part, training, all_train, self.layers[name]) for name, part in step.items()}
            self._write(records, training)

    def drop(self) -> None:
        """Forget the step that runs, which did not come to its end."""
        with self._lock:
            self._left_out += self.recording
            self._step, self.recording = {}, False

    def close(self) -> None:
        """Finish the trace, and say on stderr what is in it; closing it again does nothing."""
        if self._closed or not self.in_own_process:
            return
        with self._lock:
            self._closed = True
            self.recording = False
            self._writer.close()
        if not self._quiet:
            print(f"tf1bn: {printable(self.summary())}", file=sys.stderr, flush=True)

    def summary(self) -> str:
        """What the trace holds, in a sentence or more."""
        text = contents(self.path, self.steps, len(self.layers), self.bytes)
        left_out = self.seen - self.steps
        if left_out and self.steps:
            text += f" {counted(left_out, 'step')} of {self.seen} left out."
        if self.problem is not None:
            text += f" {self.problem[0].upper()}{self.problem[1:]}."
        elif not self.steps:
            text += " Nothing was recorded: " + (
                "no step was among those asked for."
                if self.seen
                else "no application of a layer was seen; what was traced or compiled before the recording shows none."
            )
        return text

    def _write(self, records: dict[str, dict[str, Any]], training: bool) -> None:
        size = self.bytes + size_of(records)
        if not self._limits.allows(size):
            self._stop(f"the recording ended before step {self.seen - 1}, with which it would exceed `max_bytes`")
            return
        number, left_out = self.seen - 1, self._left_out
        if self._attempt(lambda: self._writer.add_step(records, training=training, step=number, left_out=left_out)):
            self.steps += 1
            self._left_out = 0
            self._limits.count_step(training)

    def _attempt(self, action: Any) -> bool:
        """Whether an action of the writer succeeds; if not, the recording ends and the model goes on."""
        try:
            action()
        except OSError as error:
            self._stop(f"the recording ended with {type(error).__name__}: {error}")
            return False
        return True

    def _stop(self, problem: str) -> None:
        self.problem = problem
        self.recording = False
        print(f"tf1bn: {printable(f'{self.path}: {problem}.')}", file=sys.stderr, flush=True)


def _kept(application: Application, kind: str, layer: trace.Layer) -> _Kept:
    """Moments or copies of the arrays of an application."""
    inputs, outputs, mask = application.inputs, application.outputs, application.mask
    axis, weights = layer.channel_axis, None
    if mask is not None:
        # One weight for each sample is what a trace holds, so every position becomes a sample.
        channels = inputs.shape[axis]
        inputs = np.moveaxis(inputs, axis, -1).reshape(-1, channels)
        outputs = None if outputs is None else np.moveaxis(outputs, axis, -1).reshape(-1, channels)
        mask = np.broadcast_to(mask, application.inputs.shape[:-1]).reshape(-1)
        axis, weights = -1, mask.astype(np.float32)
    if kind == "moments":
        if mask is not None:
            inputs = inputs[mask.astype(bool)]
        if axis % inputs.ndim == 1 and inputs.ndim > 2:
            kept: Any = batch_moments(inputs, data_format="NCHW")
        else:
            kept = batch_moments(np.moveaxis(inputs, axis, -1))
        outputs = weights = None
    else:
        kept = np.array(inputs)
        outputs = np.array(outputs) if kind == "all" and outputs is not None else None
    bare = dataclasses.replace(application, inputs=np.empty(0), outputs=None, mask=None)
    return _Kept(bare, kind, kept, outputs, weights)


def _decided(application: Application, moments: Any, layer: trace.Layer) -> bool:
    """Whether the moments of an application tell whether it updated the statistics rightly."""
    updated = application.training if application.updated is None else application.updated
    if not updated or application.unknown_decay or application.mask is not None:
        return True
    decay = layer.decay if application.decay is None else application.decay
    return moments_decide(layer, application.before, application.after, moments, decay)


def _record(part: list[_Kept], training: bool, all_train: bool, layer: trace.Layer) -> dict[str, Any]:
    """The record of a layer in a step, as `trace.Writer.add_step` takes it."""
    applications = [kept.application for kept in part]
    first, last = applications[0], applications[-1]
    record: dict[str, Any] = {"moments" if part[0].kind == "moments" else "inputs": [kept.inputs for kept in part]}
    for i, name in enumerate(("moving_mean", "moving_variance")):
        record[f"{name}_before"], record[f"{name}_after"] = first.before[i], last.after[i]
    record["gamma"], record["beta"] = first.gamma, first.beta
    if all(kept.outputs is not None for kept in part):
        record["outputs"] = [kept.outputs for kept in part]
    if any(kept.weights is not None for kept in part):
        record["weights"] = [kept.weights for kept in part]
    flags = [application.training or all_train for application in applications]
    if any(flag is not training for flag in flags):
        record["training"] = flags
    updated = [flag if a.updated is None else a.updated for flag, a in zip(flags, applications, strict=True)]
    if updated != flags:
        record["updated"] = updated
    if any(application.recomputed for application in applications):
        record["recomputed"] = [application.recomputed for application in applications]
    for name in ("inputs_dtype", "outputs_dtype"):
        names = {getattr(application, name) for application in applications}
        if len(names) == 1:
            record[name] = names.pop()
    if all(application.replica is not None for application in applications):
        record["replicas"] = [application.replica for application in applications]
        record["reduction"] = first.reduction
    decays = [None if a.unknown_decay else layer.decay if a.decay is None else a.decay for a in applications]
    used = {decay for decay, flag in zip(decays, updated, strict=True) if flag}
    if len(used) > 1:
        record |= {"decay": None, "decays": decays}
    elif any(a.unknown_decay for a in applications):
        record["decay"] = None
    elif used and used != {layer.decay}:
        record["decay"] = used.pop()
    if first.state:
        record["state"] = {**first.state, **{f"{name}_after": value for name, value in last.state_after.items()}}
    return record


def size_of(records: Mapping[str, Mapping[str, Any]]) -> int:
    """About how many bytes the arrays of a step take."""
    total = 0
    for record in records.values():
        for value in record.values():
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, np.ndarray):
                    total += item.nbytes
                elif hasattr(item, "mean") and hasattr(item, "variance"):
                    total += item.mean.nbytes + item.variance.nbytes
    return total
