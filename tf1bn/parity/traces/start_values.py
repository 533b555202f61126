"""What two runs of a layer start from: moving statistics, gamma and beta before the first step."""

from __future__ import annotations

import numpy as np

from ...checker.roundoff import unit_roundoff
from ..layer_values import START
from .worst_error import WorstError


class StartValues:
    """The values of one layer before the first step that both runs hold.

    Attributes:
      values: for OLD and NEW, dict from "mean", "variance" and, where they are recorded, "gamma" and "beta" to the
        array that the run starts with.
      untouched: for OLD and NEW, whether the moving mean is all 0 and the moving variance all 1.
      parameters: dict from "gamma" and "beta", where both runs record it, to OLD's and NEW's array in float64.
      checks: dict from what is compared to its `WorstError`: the two statistics, then the parameters.
    """

    def __init__(self, step, old, new, old_view, new_view):
        views = old_view, new_view
        self.values = tuple(map(_values, (old, new)))
        self.untouched = tuple(
            all(bool((view.before[i] == START[role]).all()) for i, role in enumerate(("mean", "variance")))
            for view in views
        )
        unit = unit_roundoff(*(view.layer.dtype for view in views))
        checks = [
            _check(f"start of the moving {role}", step, 4 * unit, old_view.before[i], new_view.before[i])
            for i, role in enumerate(("mean", "variance"))
        ]
        self._statistics = tuple(checks)
        self.parameters = {
            role: tuple(values[role].astype(np.float64) for values in self.values)
            for role in ("gamma", "beta")
            if all(role in values for values in self.values)
        }
        checks += [_check(role, step, 8 * unit, *pair) for role, pair in self.parameters.items()]
        self.checks = {check.what: check for check in checks}

    @property
    def differing_statistics(self):
        """The checks of the moving statistics that differ by more than rounding."""
        return [check for check in self._statistics if check.exceeds]

    @property
    def differing_parameters(self):
        """The names of the parameters that differ by more than rounding."""
        return [role for role in self.parameters if self.checks[role].exceeds]

    @property
    def same_trained_parameters(self):
        """Whether gamma and beta are the same bits in both runs, and more than the 1 and 0 of every new layer."""
        trained = any((old != START[role]).any() for role, (old, _) in self.parameters.items())
        return trained and all(old.tobytes() == new.tobytes() for old, new in self.parameters.values())


def _values(record):
    values = {"mean": record.moving_mean_before, "variance": record.moving_variance_before}
    parameters = {role: getattr(record, role) for role in ("gamma", "beta")}
    return values | {role: value for role, value in parameters.items() if value is not None}


def _check(what, step, relative, old, new):
    check = WorstError(what)
    with np.errstate(invalid="ignore"):
        check.add(step, np.abs(old - new), relative * np.maximum(np.abs(old), np.abs(new)), old, new)
    return check
