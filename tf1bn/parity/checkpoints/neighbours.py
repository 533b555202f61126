"""The kernels and biases of the layers around a batch norm in a checkpoint, the nearest by name first."""

from __future__ import annotations

import functools
import re

import numpy as np

from ...errors import CheckpointError
from ...variable_names import OPTIMIZER, length, plain_name
from ..names import natural, plain_path
from .kernel_layouts import layouts

NEAREST = 32  # variables whose values are looked at for each layer
MOST_LOOKED_AT = 2**20  # names in all, so that many layers times many variables take no longer than some seconds
CROWDED = 1024  # names in a scope that is not looked through where a scope inside of it had some
DEEPEST = 32  # levels of names
LARGEST_KERNEL = 2**25  # values
_BIAS = re.compile(r"(?i)(.*_)?(b|bias(es)?)(_\d+)?")
_KERNEL = re.compile(r"(?i)(.*_)?(w|weights?|kernels?|filters?)(_\d+)?")
_PARTS = re.compile(r"[/.]")
# What operations of tf.nn.batch_normalization leave where constants are folded: gamma / sqrt(variance + epsilon), or
# the root alone without a gamma, and beta - mean * that.
_CONSTANT = re.compile(r"(?P<layer>.*)/batchnorm(?:_\d+)?/(?P<what>mul|Rsqrt|sub)(?:/.*)?", re.DOTALL)
_CONSTANTS = {"mul": "scale", "Rsqrt": "root", "sub": "shift"}


class Neighbours:
    """Variables of a checkpoint that belong to no batch norm.

    Args:
      checkpoint: an open `checkpoints.Checkpoint`.
      taken: the names of the variables of its batch norms.
    """

    def __init__(self, checkpoint, taken):
        self._checkpoint, self._taken, self._vectors = checkpoint, taken, {}
        self._left = MOST_LOOKED_AT

    @functools.cached_property
    def _named(self):
        """Pairs of name and path of the biases, and of the kernels: two lists."""
        biases, kernels = [], []
        for name in sorted(self._checkpoint.variables, key=natural):
            variable, parts = self._checkpoint.variables[name], _PARTS.split(plain_name(name))
            if name in self._taken or not variable.floating or any(map(OPTIMIZER.fullmatch, parts)):
                continue
            if _BIAS.fullmatch(parts[-1]) and variable.shape and length(variable.shape):
                biases.append((name, plain_path(plain_name(name))))
            elif _KERNEL.fullmatch(parts[-1]) and len(variable.shape) > 1:
                kernels.append((name, plain_path(plain_name(name))))
        return biases, kernels

    @property
    def folds(self):
        """Whether the format of the checkpoint keeps no batch norms, but only what they were folded into."""
        return self._checkpoint.folds

    @functools.cached_property
    def kernels(self):
        """The names of all kernels, by what `key_of` gives for them."""
        return {key_of(name): name for name, _ in self._named[1]}

    def constants_of(self, layer):
        """The names of the constants that folding left of a batch norm: by "scale", "root" and "shift"; or {}.

        They are those of a layer of this name, or of the only one whose name is this one without the scopes around it.
        """
        if layer in self._constants:
            return self._constants[layer]
        around = [one for one in self._constants if one.endswith(f"/{layer}") or layer.endswith(f"/{one}")]
        return self._constants[around[0]] if len(around) == 1 else {}

    @functools.cached_property
    def _constants(self):
        found = {}
        for name in self._checkpoint.variables:
            match = _CONSTANT.fullmatch(name) if "batchnorm" in name else None
            if match:
                found.setdefault(match["layer"], {})[_CONSTANTS[match["what"]]] = name
        return found

    def read(self, name):
        """The values of a variable."""
        return self._checkpoint.read(name)

    def shape(self, name):
        """The shape of a variable."""
        return self._checkpoint.variables[name].shape

    def dtype(self, name):
        """The name of the dtype in which the file stores a variable."""
        return self._checkpoint.variables[name].dtype

    def step(self, name):
        """The distance of neighbouring values of a quantised variable, float64 in its shape; None if it is not one."""
        step = None if name is None else self._checkpoint.steps.get(name)
        return None if step is None else np.broadcast_to(np.asarray(step, np.float64), self.shape(name))

    def biases(self, layer, channels):
        """Pairs of the name and the float64 values of the biases of so many channels that are nearest to a layer.

        A bias that cannot be read is left out.
        """
        names = self._nearest(0, layer, lambda shape: length(shape) == channels)
        return [(name, values) for name in names if (values := self._vector(name)) is not None]

    def _vector(self, name):
        if name not in self._vectors:
            try:
                self._vectors[name] = self._checkpoint.read(name).astype(np.float64).ravel()
            except CheckpointError:
                self._vectors[name] = None
        return self._vectors[name]

    def bias_beside(self, kernel, channels):
        """The name and the float64 values of the bias in the scope of a kernel; None for both if there is none."""
        scope = _scope(kernel)
        for name, values in self.biases(scope, channels):
            if _scope(name) == scope:
                return name, values
        return None, None

    def kernels_near(self, layer, channels):
        """The names of the kernels nearest to a layer that can have so many output channels."""
        return self._nearest(1, layer, lambda shape: bool(layouts(shape, channels)))

    def kernel(self, name):
        """The values of a kernel; None if it is too large, or only vectors are read of this file."""
        if self._checkpoint.vectors_only and len(self.shape(name)) > 2:
            return None
        try:
            return self._checkpoint.read(name, most=LARGEST_KERNEL)
        except CheckpointError:
            return None

    @functools.cached_property
    def _by_prefix(self):
        """For the biases and the kernels, lists of (place, name, path) by the first levels of the path."""
        indexes = {}, {}
        for index, named in zip(indexes, self._named, strict=True):
            for i, (name, path) in enumerate(named):
                for depth in range(min(len(path), DEEPEST)):
                    index.setdefault(path[:depth], []).append((i, name, path))
        return indexes

    def _nearest(self, kind, layer, fits):
        """Names of biases (``kind`` 0) or kernels (1) of fitting shape, those in the scopes around a layer first."""
        path, near = plain_path(layer), {}
        for depth in reversed(range(min(max(len(path), 1), DEEPEST))):
            around = self._by_prefix[kind].get(path[:depth], ())
            self._left -= len(around)
            if len(near) >= NEAREST or self._left < 0 or (near and len(around) > CROWDED):
                break
            fitting = [item for item in around if item[1] not in near and fits(self.shape(item[1]))]
            near |= dict.fromkeys(name for _, name, _ in sorted(fitting, key=lambda item: _distance(path, item[2])))
        return list(near)[:NEAREST]


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
