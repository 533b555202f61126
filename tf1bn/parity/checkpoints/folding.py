"""A batch norm that the other checkpoint has folded into the convolution before it, recomputed from the folded weights.

Inference of a convolution with kernel W and bias b (or none) and of a batch norm after it is that of one convolution,

    W' = s W,    b' = beta - (m - b) s,    s = gamma / sqrt(v + epsilon),

per output channel [1]. The quotient of the kernels gives s, and each channel its own epsilon = (gamma / s)**2 - v; one
epsilon must do for all channels.

With u the unit roundoff of the narrowest dtype that was computed in or stored, float32 or less: s is the result of an
addition, a root and a division, and W' of a product that is stored, so that each W' is within 5 u of s W, and so is the
mean of the quotients, weighted by W**2. Then gamma / s is within 5 u too and its square within 10 u + O(u**2), taken as
11 u (v + epsilon). b' sums |beta|, |m| s and |b| s with three operations on each beside those of s, and s itself comes
from the quotients: 12 u (|beta| + (|m| + |b|) |s|).

A folded kernel of whole numbers is within half a step h of s W. Then each W' leaves an interval for s,
(W' +- h / 2) / W, and what all of a channel have in common is s within a radius r: gamma / s, and b' with another
(|m| + |b|) r and half a step of its own, are bounded by the ends.

[1] B. Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
    CVPR 2018, section 3.2.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from ..layer_values import BITS
from .kernel_layouts import common_layouts
from .neighbours import key_of

KERNELS_TRIED = 8
SCALE_UNITS, SQUARE_UNITS, SHIFT_UNITS = 5, 11, 12
_HALF = 0.5 + 1e-4  # of a step, with what the quotient that was rounded is rounded itself
_LEAST = 2.0**-140  # below which float32 rounds by more than its unit


@dataclasses.dataclass(frozen=True)
class Folded:
    """What the folded convolution shows about a batch norm.

    Attributes:
      kernel: the names of the convolution's kernel in the checkpoint with the batch norm and in the one without.
      scale: s, float64 [channels]; NaN where the kernel is 0 in all of a channel.
      unit: the unit roundoff that the bounds count.
      radius: how far s may be from `scale` by the steps of a quantised kernel, float64 [channels]; 0 of any other.
      epsilon: the interval that all channels allow, (low, high); it is empty, with low > high, if no epsilon fits.
      worst: the channel that is farthest from any common epsilon.
      bias: the names of the bias without and with the batch norm; None for one that is not there.
      shift_error: |b' - expected| of each channel in units of its bound; None where b' is not there.
      shifts: the expected and the observed b', [channels] each; None where b' is not there.
    """

    kernel: tuple[str, str]
    scale: np.ndarray
    unit: float
    epsilon: tuple[float, float]
    worst: int
    radius: np.ndarray
    bias: tuple[str | None, str | None] = (None, None)
    shift_error: np.ndarray | None = None
    shifts: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def unscaled(self):
        """Whether the kernel is the same in both checkpoints, so that nothing was folded into it."""
        known = self.scale[np.isfinite(self.scale)]
        return known.size > 0 and bool((known == 1).all())

    @property
    def possible_epsilon(self):
        """Whether there is an epsilon, 0 or more, that gives the scales of all channels."""
        return self.epsilon[0] <= self.epsilon[1] and self.epsilon[1] >= 0

    @property
    def likely_epsilon(self):
        """The middle of the interval, at least 0; 0.0 where it has no middle."""
        middle = sum(self.epsilon) / 2 if self.possible_epsilon else 0.0
        return max(0.0, middle) if math.isfinite(middle) else 0.0


def find_folded(layer, with_norm, without):
    """Find the convolution that a batch norm was folded into.

    Args:
      layer: the `LayerValues` of the batch norm; it must have both statistics.
      with_norm, without: the `Neighbours` of its checkpoint and of the other one.

    Returns:
      The `Folded` of the nearest kernel whose counterpart is its multiple in each channel, one whose scales fit before
      others; None if there is no such kernel.
    """
    channels, best = layer.flat("variance").size, None
    for name, counterpart in _candidates(layer, channels, with_norm, without):
        kernels = with_norm.kernel(name), without.kernel(counterpart)
        if any(kernel is None for kernel in kernels):
            continue
        unit = _unit(layer, (with_norm.dtype(name), without.dtype(counterpart)))
        scale, radius = _scale(*kernels, channels, unit, without.step(counterpart))
        if scale is None:
            continue
        biases = with_norm.bias_beside(name, channels), without.bias_beside(counterpart, channels)
        folded = with_epsilon(layer, (name, counterpart), scale, unit, radius)
        step = without.step(biases[1][0])
        folded = with_shift(folded, layer, *biases, allowed=0.0 if step is None else _HALF * step.ravel())
        if folded.possible_epsilon and not folded.unscaled:
            return folded
        best = best or folded
    return best


def _candidates(layer, channels, with_norm, without):
    """Pairs of names of kernels that may be the same one: those of one name first, then those of as many values."""
    near = with_norm.kernels_near(layer.name, channels)[:KERNELS_TRIED]
    others = without.kernels
    same = [(name, others[key_of(name)]) for name in near if key_of(name) in others]
    yield from same
    for name in near:
        if name in {pair[0] for pair in same} or math.prod(with_norm.shape(name)) == channels:
            continue  # one value per channel is a multiple of anything
        for other in without.kernels_near(layer.name, channels)[:KERNELS_TRIED]:
            if common_layouts(with_norm.shape(name), without.shape(other), channels):
                yield name, other


def _unit(layer, kernel_dtypes):
    dtypes = [*kernel_dtypes, *(layer.stored(role) for role in ("gamma", "variance") if role in layer.variables)]
    return 2.0 ** -min(24, *(BITS.get(dtype, 24) for dtype in dtypes))


def _scale(before, after, channels, unit, step):
    """The quotient of two kernels per output channel and its radius, [channels]; Nones if they are not proportional.

    ``step`` has the steps of ``after``, in its shape, or is None.
    """
    for from_before, from_after in common_layouts(before.shape, after.shape, channels):
        old, new = (array.reshape(channels, -1) for array in (from_before(before), from_after(after)))
        if step is None:
            scale = _quotients(old, new, unit)
            radius = None if scale is None else np.zeros(channels)
        else:
            scale, radius = _quotients_within(old, new, unit, _HALF * from_after(step).reshape(channels, -1))
        if scale is not None:
            return scale, radius
    return None, None


def _quotients(before, after, unit):
    """The factor from each row of a matrix to that of another one; None if a row is not a multiple of the other."""
    scale = np.full(len(before), np.nan)
    for i, (old, new) in enumerate(zip(before, after, strict=True)):
        old, new = old.astype(np.float64), new.astype(np.float64)
        size = old @ old
        if not (np.isfinite(size) and np.isfinite(new).all()):
            return None
        if size == 0:
            if new.any():
                return None
            continue
        scale[i] = (new @ old) / size
        if (np.abs(new - scale[i] * old) > 2 * SCALE_UNITS * unit * np.abs(scale[i] * old) + _LEAST).any():
            return None
    return scale


def _quotients_within(before, after, unit, allowed):
    """As `_quotients`, where each value of ``after`` may be off by ``allowed``: the middles and the radii, or Nones."""
    old, new = before.astype(np.float64), after.astype(np.float64)
    if not (np.isfinite(old).all() and np.isfinite(new).all()) or ((old == 0) & (np.abs(new) > allowed)).any():
        return None, None
    allowed = allowed + 2 * SCALE_UNITS * unit * np.abs(new)
    with np.errstate(divide="ignore", invalid="ignore"):
        middle, radius = new / old, allowed / np.abs(old)
    known = old != 0
    low = np.where(known, middle - radius, -np.inf).max(axis=1, initial=-np.inf)
    high = np.where(known, middle + radius, np.inf).min(axis=1, initial=np.inf)
    if (low > high).any():
        return None, None
    with np.errstate(invalid="ignore"):
        return (low + high) / 2, np.where(known.any(axis=1), (high - low) / 2, 0.0)


def with_epsilon(layer, kernel, scale, unit, radius=0.0):
    """The `Folded` of these scales, which may be off by ``radius``, its shift left open."""
    variance = layer.flat("variance")
    gamma = layer.flat("gamma") if "gamma" in layer.variables else np.ones_like(variance)
    radius = np.broadcast_to(radius, variance.shape)
    least, most = np.maximum(np.abs(scale) - radius, 0.0), np.abs(scale) + radius
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        low, high = np.square(gamma / most), np.square(gamma / least)
    told = least > 0  # or the steps leave 0 and both signs open
    known = told & np.isfinite(low) & np.isfinite(high) & (np.sign(gamma) == np.sign(scale))
    # A channel whose gamma is 0 must have a kernel of 0, and one that has not has no epsilon.
    wrong = np.isfinite(scale) & ~known & (told | (radius == 0)) & ~((gamma == 0) & (scale == 0))
    low = np.where(known, low * (1 - SQUARE_UNITS * unit) - variance, -np.inf)
    high = np.where(known, high * (1 + SQUARE_UNITS * unit) - variance, np.inf)
    if wrong.any():
        return Folded(kernel, scale, unit, (np.inf, -np.inf), int(np.argmax(wrong)), radius)
    # The channel that the narrowest interval, which tells most about epsilon, is farthest from.
    narrowest = int(np.argmin(high - low))
    with np.errstate(invalid="ignore"):
        middle = (low[narrowest] + high[narrowest]) / 2
        outside = np.maximum(low - middle, middle - high) / np.maximum(high - low, np.finfo(float).tiny)
    worst = int(np.argmax(np.where(np.isnan(outside), -np.inf, outside)))
    return Folded(kernel, scale, unit, (float(low.max()), float(high.min())), worst, radius)


def with_shift(folded, layer, before, after, allowed=0.0):
    """The `Folded` with the bias of the folded convolution against what the batch norm makes of its statistics.

    before, after: the name and the values of the bias of the convolution without and with the batch norm in it, None
    for both where there is none. allowed: how far the latter may be off by its steps.
    """
    mean, variance = layer.flat("mean"), layer.flat("variance")
    zero = np.zeros_like(mean)
    beta = layer.flat("beta") if "beta" in layer.variables else zero
    own_name, own = before
    own = zero if own is None else own
    new_name, new = after
    if new is None:
        return dataclasses.replace(folded, bias=(own_name, None))
    gamma = layer.flat("gamma") if "gamma" in layer.variables else np.ones_like(variance)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.where(np.isnan(folded.scale), gamma / np.sqrt(variance + folded.likely_epsilon), folded.scale)
        expected = beta - (mean - own) * scale
        bound = SHIFT_UNITS * folded.unit * (np.abs(beta) + (np.abs(mean) + np.abs(own)) * np.abs(scale))
        bound = bound + (np.abs(mean) + np.abs(own)) * folded.radius + allowed
        error = np.where(new == expected, 0.0, np.abs(new - expected) / (bound + _LEAST))
    return dataclasses.replace(
        folded,
        bias=(own_name, new_name),
        shift_error=np.where(np.isnan(error), np.inf, error),
        shifts=(expected, new),
    )
