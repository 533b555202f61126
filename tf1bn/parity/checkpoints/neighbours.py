"""The kernels and biases of the layers around a batch norm in a checkpoint, the nearest by name first."""

from __future__ import annotations

import re

import numpy as np

from ...checkpoints.formats.names import OPTIMIZER, length, plain_name
from ...errors import CheckpointError
from ..names import natural, plain_path

NEAREST = 32  # variables that are looked at for each layer
LARGEST_KERNEL = 2**25  # values
_BIAS = re.compile(r"(?i)(.*_)?(b|bias(es)?)(_\d+)?")
_KERNEL = re.compile(r"(?i)(.*_)?(w|weights?|kernels?|filters?)(_\d+)?")
_PARTS = re.compile(r"[/.]")


class Neighbours:
    """Variables of a checkpoint that belong to no batch norm.

    Args:
      checkpoint: an open `checkpoints.Checkpoint`.
      taken: the names of the variables of its batch norms.
    """

    def __init__(self, checkpoint, taken):
        self._checkpoint, self._vectors = checkpoint, {}
        self._biases, self._kernels = [], []
        for name in sorted(checkpoint.variables, key=natural):
            variable, parts = checkpoint.variables[name], _PARTS.split(plain_name(name))
            if name in taken or not variable.floating or any(map(OPTIMIZER.fullmatch, parts)):
                continue
            if _BIAS.fullmatch(parts[-1]) and variable.shape and length(variable.shape):
                self._biases.append((name, plain_path(plain_name(name))))
            elif _KERNEL.fullmatch(parts[-1]) and len(variable.shape) > 1:
                self._kernels.append((name, plain_path(plain_name(name))))

    @property
    def kernels(self):
        """The names of all kernels, by what `key_of` gives for them."""
        return {key_of(name): name for name, _ in self._kernels}

    def shape(self, name):
        """The shape of a variable."""
        return self._checkpoint.variables[name].shape

    def dtype(self, name):
        """The name of the dtype in which the file stores a variable."""
        return self._checkpoint.variables[name].dtype

    def biases(self, layer, channels):
        """Pairs of the name and the float64 values of the biases of so many channels that are nearest to a layer."""
        pairs = []
        for name in self._nearest(self._biases, layer, lambda shape: length(shape) == channels):
            if name not in self._vectors:
                self._vectors[name] = self._checkpoint.read(name).astype(np.float64).ravel()
            pairs.append((name, self._vectors[name]))
        return pairs

    def bias_beside(self, kernel, channels):
        """The name and the float64 values of the bias in the scope of a kernel; None for both if there is none."""
        scope = _scope(kernel)
        for name, values in self.biases(scope, channels):
            if _scope(name) == scope:
                return name, values
        return None, None

    def kernels_near(self, layer, channels):
        """The names of the kernels nearest to a layer that can have so many output channels."""
        return self._nearest(self._kernels, layer, lambda shape: _may_give(shape, channels))

    def kernel(self, name):
        """The values of a kernel; None if it is too large, or only vectors are read of this file."""
        if self._checkpoint.vectors_only and len(self.shape(name)) > 2:
            return None
        try:
            return self._checkpoint.read(name, most=LARGEST_KERNEL)
        except CheckpointError:
            return None

    def _nearest(self, named, layer, fits):
        path = plain_path(layer)
        near = sorted(
            ((_distance(path, other), i, name) for i, (name, other) in enumerate(named) if fits(self.shape(name)))
        )
        return [name for *_, name in near[:NEAREST]]


def key_of(name):
    """What the names of one kernel or bias have in common in all frameworks: its path, and what it is.

    >>> key_of("net/conv1/weights") == key_of("module.net.conv1.weight")
    True
    """
    *path, word = plain_path(plain_name(name))
    for pattern, kind in ((_BIAS, "bias"), (_KERNEL, "kernel")):
        if match := pattern.fullmatch(word):
            return (*path, f"{match[1] or ''}{kind}".lower())
    return (*path, word)


def _scope(name):
    """The scope of a variable: its plain name without the last part."""
    plain = plain_name(name)
    return plain[: -len(_PARTS.split(plain)[-1])].rstrip("/.")


def _may_give(shape, channels):
    """Whether a kernel may have so many output channels by its shape: on an axis, or on a depthwise kernel's two."""
    return channels in shape or shape[-1] * shape[-2] == channels


def _distance(layer, variable):
    """How far the paths of a layer and of a variable are from each other: levels apart, then by their numbers."""
    common = 0
    while common < min(len(layer), len(variable)) and layer[common] == variable[common]:
        common += 1
    numbers = [_last_number(path[common]) if common < len(path) else 0 for path in (layer, variable)]
    return -common, abs(numbers[0] - numbers[1])


def _last_number(part):
    digits = re.findall(r"\d{1,9}", part)
    return int(digits[-1]) if digits else 0
