"""A batch norm of which freezing left two constants: what inputs are multiplied by, and what is added to them.

Tools that fold constants compute inverse = gamma / sqrt(variance + epsilon) and beta - mean * inverse of a batch norm
in inference mode, as ``tf.nn.batch_normalization`` has them, and keep the results under the names of its operations.
The bounds are those of `folding`, of a kernel of ones.
"""

from __future__ import annotations

import numpy as np

from ...errors import CheckpointError
from ..layer_values import BITS
from .folding import with_epsilon, with_shift

_STEP = 1 + 1e-4


def find_constants(layer, without):
    """The `folding.Folded` of a batch norm whose constants the other checkpoint has; None if it has none.

    Args:
      layer: the `LayerValues` of the batch norm.
      without: the `Neighbours` of the other checkpoint.
    """
    names = without.constants_of(layer.name)
    scale_name = names.get("scale") or names.get("root")
    if scale_name is None:
        return None
    try:
        scale = without.read(scale_name).astype(np.float64).ravel()
        shift = without.read(names["shift"]).astype(np.float64).ravel() if "shift" in names else None
    except CheckpointError:
        return None
    channels = layer.flat("variance").size
    if scale.size != channels or (shift is not None and shift.size != channels):
        return None
    unit = 2.0 ** -min(24, *(BITS.get(without.dtype(name), 24) for name in names.values()))
    # The zero of constants that are quantised is moved to a whole number, which can cost another half of a step.
    radius, allowed = (
        0.0 if (step := without.step(name)) is None else _STEP * step.ravel()
        for name in (scale_name, names.get("shift"))
    )
    folded = with_epsilon(layer, (layer.name, scale_name), np.where(scale == 0, np.nan, scale), unit, radius)
    return with_shift(folded, layer, (None, None), (names.get("shift"), shift), allowed)
