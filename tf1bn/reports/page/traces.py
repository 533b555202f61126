"""What the page shows of a layer in the audit of a trace: errors beside two bounds, estimates, and plots."""

from ..._util.text import in_words as number_in_words
from ..layers.declared import in_words
from . import misfits
from .kind import Column, Kind, cell
from .misfits import Misfit
from .words import dicts, exact, finite, interval, mapping, whole

STATISTICS = ("mean", "variance")
PLACE = ("expected_error", "worst_case", "channel", "step", "observed", "expected")


def describe(layer, curves):
    """The cells and details of a layer, see `kind.Kind`."""
    worst = {name: error for name, error in mapping(layer.get("worst")).items() if isinstance(error, dict)}
    found = [_misfit(layer, name, worst.get(name)) for name in STATISTICS]
    found += _outputs(layer)
    first = layer.get("first_step")
    return {
        "cells": [
            misfits.row_cell(found),
            cell("-" if first is None else whole(first), first if finite(first) else None),
        ],
        "tables": [misfits.table(found, "The largest errors of one update, and of the outputs (root mean square)")],
        "facts": [("steps", _steps(layer)), *_facts(layer)],
        "curves": lambda: plotted(layer.get("curves"), curves, layer.get("name"), worst),
    }


def _misfit(layer, name, worst):
    """The `Misfit` of a moving statistic, with the place and both bounds where they are of the same error."""
    error, allowed = layer.get(f"{name}_error"), layer.get(f"{name}_bound")
    numbers = {}
    if worst is not None and worst.get("error") == error:
        numbers = {key: worst.get(key) for key in PLACE}
    return Misfit(f"moving {name}", error, allowed, **numbers)


def _outputs(layer):
    """A `Misfit` of the outputs for what the statistics do to them, and one for what the layer's arithmetic does."""
    places, ids = mapping(layer.get("outputs")), [cause.get("id") for cause in dicts(layer.get("causes"))]
    found = []
    for key, what in (("inherited", "outputs, by wrong statistics"), ("added", "outputs, by the arithmetic")):
        # What the batch normalises has nothing from the moving statistics.
        of_others = key == "inherited" and "batch-stats-at-inference" in ids
        if layer.get(f"{key}_error") is not None and not of_others:
            numbers = {name: mapping(places.get(key)).get(name) for name in PLACE[:4]}
            found.append(Misfit(what, layer[f"{key}_error"], layer.get(f"{key}_bound"), **numbers))
    return found


def plotted(given, curves, name, worst):
    """The curves to be plotted, each with "at", the step in which the layer is farthest off.

    Args:
      given: the curves, if the result has them.
      curves: the `reports.curves.Curves`, or None.
      name: that of the layer there.
      worst: dict by "mean" and "variance", which say "channel" and "step".
    """
    if given is None:
        given = {} if curves is None else curves.of(name, worst)
    marked = {}
    for key, curve in given.items():
        place = worst.get(key.removeprefix("moving_")) or {}
        same = isinstance(curve, dict) and curve.get("channel") == place.get("channel")
        marked[key] = {**curve, "at": place.get("step")} if same else curve
    return marked


def _steps(layer):
    training = layer.get("training_steps")
    return whole(layer.get("steps")) + ("" if training is None else f", of which {whole(training)} train")


def _facts(layer):
    """Pairs of a name and a text: what else is known of a layer."""
    declared = in_words(mapping(layer.get("settings")))
    facts = [("declared", declared)] if declared else []
    facts += _accumulated(layer.get("accumulated"))
    facts += [(f"estimate of {name}", interval(value)) for name, value in mapping(layer.get("estimates")).items()]
    return facts


def _accumulated(accumulated):
    """Facts on the errors of all steps together, where they exceed what is allowed."""
    facts = []
    for statistic, parts in mapping(accumulated).items():
        if not isinstance(parts, dict):
            continue
        error, bound = parts.get("error"), parts.get("bound")
        if finite(error) and finite(bound) and abs(error) <= bound:
            continue
        text = (
            f"{exact(error)}, worst case of rounding {exact(bound)}, in channel {whole(parts.get('channel'))} after "
            f"step {whole(parts.get('step'))}; {number_in_words(parts.get('added'))} added by that step and "
            f"{number_in_words(parts.get('inherited'))} inherited from earlier ones"
        )
        facts.append((f"moving {statistic}, error of all steps together", text))
    return facts


KIND = Kind(
    title="Audit of {path}",
    order="order in the trace",
    caption="Errors are the largest of all channels and steps. Up to the expected error of a correctly rounded layer "
    "all is ok; beyond the worst case of any order of summation it is a finding; between the two a "
    "statistic is undecidable, and outputs decide nothing.",
    columns=(Column("largest errors"), Column("first wrong step")),
    describe=describe,
    legend="Observed is what the trace holds after a step; expected is what the layer as declared makes of the inputs "
    "and of the statistics before that step.",
)
