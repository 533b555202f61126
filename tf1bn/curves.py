"""Observed and expected statistics over the steps, for the plots of a report."""

import math

import numpy as np

from .hypotheses import Hypothesis, fit
from .stepview import View

STATISTICS = ("moving_mean", "moving_variance")


def curves(trace, names):
    """What the training steps of some layers left and should have left, in the worst channel of each statistic.

    The expected value after a step is that of the observed ones before it, for the layer as declared. The trace is
    read twice, and inputs may be replayed for the bounds.

    Args:
      trace: a `trace.Trace`, or what `diagnosis.diagnose` takes.
      names: the layers.

    Returns:
      dict from name to {"moving_mean": {"channel": int, "step": [...], "observed": [...], "expected": [...],
      "bound": [...]}, "moving_variance": the same}; a layer without a step that can be compared is left out.
    """
    worst = {}
    for name, _, seen, expected, bound, channels in _steps(trace, names):
        for i in range(2):
            with np.errstate(divide="ignore", invalid="ignore"):
                shares = np.where(seen[i] == expected[i], 0.0, np.abs(seen[i] - expected[i]) / bound[i])
            at = int(np.argmax(np.where(np.isnan(shares), math.inf, shares)))
            if shares[at] > worst.get((name, i), (-1.0, None))[0]:
                worst[name, i] = float(shares[at]), int(channels[at])
    found = {}
    for name, number, seen, expected, bound, channels in _steps(trace, {name for name, _ in worst}):
        for i, statistic in enumerate(STATISTICS):
            channel = worst.get((name, i), (0.0, None))[1]
            at = np.flatnonzero(channels == channel)
            if not at.size:
                continue
            curve = found.setdefault(name, {}).setdefault(
                statistic, {"channel": channel, "step": [], "observed": [], "expected": [], "bound": []}
            )
            curve["step"].append(number)
            for key, values in (("observed", seen), ("expected", expected), ("bound", bound)):
                curve[key].append(float(values[i][at[0]]))
    return found


def _steps(trace, names):
    """Name, step, observed and expected statistics with their bounds [2, channels], and which channels, by step."""
    updates = dict.fromkeys(names, 0)
    for step in trace:
        for name in step.layers.keys() & updates.keys():
            view = View(step.layers[name])
            if not view.updates or view.decay is None or view.wrong_shape or 0 in view.counts or not view.finite.any():
                continue
            stats = fit(view, Hypothesis(), bool(view.layer.fused), updates[name]).stats
            updates[name] += len(view.updates)
            if stats is not None:
                expected, bound = (stats.mean, stats.variance), (stats.mean_bound, stats.variance_bound)
                yield name, step.number, view.after[:, view.finite], expected, bound, np.flatnonzero(view.finite)
