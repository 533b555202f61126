"""A moving mean that differs by a convolution's bias: the bias was taken out of, or put into, the statistics.

A batch norm after a convolution with bias b keeps the mean m of inputs that contain b. Without the bias, the moving
mean m - b gives the same outputs, in training too.
"""

from __future__ import annotations

import numpy as np

from ...verdicts import ADVISORY, FINDING, cause_entry
from ..layer_values import rounded, ulps_apart
from .neighbours import key_of


def explain(old, new, roles, neighbours):
    """Name the bias by which NEW's moving mean differs, if there is one.

    Args:
      old, new: `LayerValues`.
      roles: those whose numbers differ.
      neighbours: the `Neighbours` of OLD and of NEW.

    Returns:
      causes: a list with one cause, or none.
      roles: those that it does not explain.
    """
    if "mean" not in roles:
        return [], roles
    before, after, dtype = old.flat("mean"), new.flat("mean"), new.stored("mean")
    for side, layer in ((0, old), (1, new)):
        for name, bias in neighbours[side].biases(layer.name, before.size):
            if not bias.any() or not np.isfinite(bias).all():
                continue
            for sign in (-1, 1):
                expected = rounded(before + sign * bias, dtype)
                if np.isfinite(expected).all() and (ulps_apart(expected, after, dtype) <= 1).all():
                    return [_cause(side, sign, name, bias, (old, new), neighbours)], [r for r in roles if r != "mean"]
    return [], roles


def _cause(side, sign, name, bias, layers, neighbours):
    """The cause.

    Args:
      side: 0 where it is OLD's bias, 1 where it is NEW's.
      sign: of the bias in NEW's moving mean minus OLD's.
      name: of the bias.
      bias: its values.
      layers: OLD's and NEW's `LayerValues`.
      neighbours: the `Neighbours` of both.
    """
    run, other = ("OLD", "NEW") if side == 0 else ("NEW", "OLD")
    text = f"NEW's moving mean is OLD's {'plus' if sign > 0 else 'minus'} {run}'s bias `{name}`, up to rounding"
    if (side, sign) not in ((0, -1), (1, 1)):
        right = "subtracted" if side == 0 else "added"
        return cause_entry("folded-bias", f"{text}: a bias that is left out is {right} there, so the sign is wrong.")
    counterpart = _counterpart(name, bias, layers[1 - side], neighbours[1 - side])
    if counterpart is not None:
        twice = "subtracted from" if side == 0 else "added to"
        text += f", and {other} has that bias too (`{counterpart}`): it is {twice} the statistics and still applied."
        return cause_entry("folded-bias", text, FINDING)
    what = "taken out of" if side == 0 else "put into"
    text += (
        f": a bias that {other} does not have was {what} the statistics, which changes neither inference nor training."
    )
    return cause_entry("folded-bias", text, ADVISORY)


def _counterpart(name, bias, layer, neighbours):
    """The name of the bias that stands for ``name`` on the other side, by path or values; None if it is 0 or absent."""
    for other, values in neighbours.biases(layer.name, bias.size):
        same_path = key_of(other) == key_of(name)
        if (same_path and values.any()) or np.array_equal(values, bias):
            return other
    return None
