"""One of two checkpoints that are compared: its layers with their values, and what stands around them."""

from __future__ import annotations

import functools
import os

import numpy as np

from ...checkpoints.audit import read_values, stored, whole_number
from ...checkpoints.grouping import group
from ..layer_values import LayerValues
from .neighbours import Neighbours

_STEPS = ("global_step", "iterations", "optimizer/iterations", "optimizer/iteration")


class Side:
    """An open checkpoint.

    Args:
      checkpoint: the `checkpoints.Checkpoint`.
      run: "OLD" or "NEW".

    Attributes:
      layers: dict from names to `LayerValues`.
      notes, problems: lists of sentences that begin with the run.
      nothing: a list with a sentence where the checkpoint has no batch norm; else empty.
      framework: by what conventions the variables are named: what loads them looks for these names.
      step: the number of training steps before it was saved; None if it is not stored.
    """

    def __init__(self, checkpoint, run):
        self.run, self._checkpoint = run, checkpoint
        groups, notes = group(checkpoint.variables)
        self.layers = {layer.name: _layer_values(checkpoint, layer) for layer in groups}
        self._taken = {name for layer in groups for name in (*layer.parts.values(), *layer.state)}
        self.notes = [f"{run}: {sentence}" for sentence in (*checkpoint.notes, *notes)]
        self.problems = [f"{run}: {sentence}" for sentence in checkpoint.problems]
        empty = f"None of the {len(checkpoint.variables)} variables of {run} belongs to a batch norm."
        self.nothing = [] if groups else [empty]
        self.framework = _framework(checkpoint.path, self.layers.values())
        self.step = next(filter(None, (whole_number(checkpoint, name) for name in _STEPS)), None)
        if self.step is None:
            self.step = _counted_batches(checkpoint)

    @functools.cached_property
    def neighbours(self):
        """The `Neighbours` of its layers."""
        return Neighbours(self._checkpoint, self._taken)


def _counted_batches(checkpoint):
    """The largest of PyTorch's counts of training batches; None if there are none."""
    names = [name for name in checkpoint.variables if name.endswith("num_batches_tracked")]
    counts = [count for name in names if (count := whole_number(checkpoint, name)) is not None]
    return max(counts, default=None)


def _layer_values(checkpoint, layer):
    """The `LayerValues` of one `checkpoints.grouping.Layer`."""
    values = {role: array.astype(np.float64) for role, array in read_values(checkpoint, layer).items()}
    short = {}
    for role in values:
        word = role if role in layer.parts else role.rpartition("/")[2]
        short[role] = role if word in short.values() else word
    return LayerValues(
        layer.name,
        {short[role]: layer.parts.get(role, role) for role in values},
        {short[role]: array for role, array in values.items()},
        {short[role]: dtype for role, dtype in stored(checkpoint, layer).items()},
        {role: checkpoint.read(name).astype(np.float64) for role, name in layer.shadows.items()},
        checkpoint.declared.get(layer.name, {}),
        tuple(dict.fromkeys(layer.unclear.values())),
    )


def _framework(path, layers):
    """By what conventions the variables of a checkpoint are named."""
    words = {name for layer in layers for name in layer.variables.values()}
    if any("running_" in word for word in words):
        return "PyTorch"
    return "Keras" if os.fspath(path).endswith((".keras", ".h5", ".hdf5")) else "TensorFlow"
