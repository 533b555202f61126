"""The causes that gamma, beta, weights and the statistics that the runs start from show."""

from __future__ import annotations

import numpy as np

from ...verdicts import ADVISORY, FINDING, cause_entry
from ..conversions import CONVERSIONS
from ..layer_values import START, LayerValues

PARAMETERS = ("gamma", "beta")


def add_causes(comparison, declared, pair, findings):
    """Add them to `Findings`.

    Args:
      comparison: the `LayerComparison`.
      declared: the `trace.Layer` of OLD and of NEW.
      pair: the `LayerPair`.
      findings: `Findings`.
    """
    _unrecorded(comparison, declared[1], findings)
    _one_sided(comparison, declared, findings)
    if comparison.channels:
        old, new = comparison.channels
        findings.add("wrong-axis", f"OLD's statistics have {old} channels and NEW's have {new}.")
    if comparison.start is not None:
        _start(comparison.start, pair, findings)
    old, new = (history.changed_before for history in comparison.histories)
    if new is not None and old is None:
        text = f"NEW's moving statistics changed before step {new}, outside of the recorded steps."
        findings.add("unexplained", text)


def add_weights(comparison, shown, findings):
    """Add the cause for weights, such as those of a mask, that only one of the runs has.

    Args:
      comparison: the `LayerComparison`.
      shown: the `Measured` of NEW, or None.
      findings: `Findings`.

    Returns:
      Whether NEW has no weights and may use OLD's all the same, so that what its updates should be is open.
    """
    old, new = comparison.weighted
    if old == new or "padding-counted" in findings.ids() or shown is None:
        return False
    if new:
        text = "NEW leaves positions out by their weights, as a mask does, and OLD counts every position."
        findings.add("padding-counted", text)
    elif shown.as_declared:
        text = "OLD leaves positions out by their weights, as a mask does; NEW has none and counts every position."
        findings.add("padding-counted", text)
    else:
        findings.drop({"unexplained"})
        findings.undecided.append(
            "OLD leaves positions out by weights, which NEW does not record: either NEW uses them too, or its "
            "statistics are wrong."
        )
        return True
    return False


def _unrecorded(comparison, new, findings):
    """Parameters that NEW does not record, while its outputs are those of a layer that has none."""
    # Where NEW declares that it has none, `_one_sided` says so.
    declared = {"gamma": new.scale, "beta": new.center}
    lacks = [role for role in comparison.outputs.unrecorded if declared[role] is not False]
    outputs = comparison.outputs.check
    if lacks and outputs is not None and outputs.exceeds and not comparison.outputs.without_them.exceeds:
        text = f"OLD has {' and '.join(lacks)}; NEW records none, and its outputs are those of a layer without."
        findings.add("missing-variable", text)


def _one_sided(comparison, declared, findings):
    """A gamma or beta that only one of the layers has; an advisory if it is neutral, 1 or 0, in all steps."""
    for role in PARAMETERS:
        old, new = (_has(role, comparison.start, side, layer) for side, layer in enumerate(declared))
        if old is True and new is False:
            effect = "scale stays 1" if role == "gamma" else "shift stays 0"
            side, text = 0, f"OLD has {role} and NEW has none: its {effect}."
        elif old is False and new is True:
            side, text = 1, f"NEW has {role} and OLD has none: NEW trains one parameter more."
        else:
            continue
        recorded = comparison.start is not None and role in comparison.start.values[side]
        if role in comparison.histories[side].trained or not recorded:
            findings.add("missing-variable", text)
            continue
        has, lacks = ("OLD", "NEW") if side == 0 else ("NEW", "OLD")
        text = (
            f"{lacks} has no {role}, and {has}'s is {START[role]} in all channels and steps: the two agree, and "
            f"training that changes it would do so in {has} alone."
        )
        findings.add("missing-variable", text, ADVISORY)


def _has(role, start, side, layer):
    """Whether a layer has a parameter: True, False, or None if that is not known."""
    if start is not None and role in start.values[side]:
        return True
    return False if (layer.scale if role == "gamma" else layer.center) is False else None


def _start(start, pair, findings):
    """Parameters and statistics that NEW does not start with as OLD does."""
    roles, statistics = start.differing_parameters, start.differing_statistics
    if not start.untouched[1]:
        roles, statistics = _converted(start, pair, roles, statistics, findings)
    if roles:
        both = start.parameters
        if len(both) == 2 and all((both["gamma"][i] == both["beta"][1 - i]).all() for i in range(2)):
            text = "NEW's gamma holds OLD's beta, and NEW's beta holds OLD's gamma."
            findings.add("gamma-beta-swapped", text)
        else:
            worst = _worst([start.checks[role] for role in roles])
            findings.add("other-parameters", f"NEW starts with another {' and '.join(roles)}: {worst}.")
    if statistics:
        which = "(0, 1) where OLD's do not" if start.untouched[1] else "other values than OLD's"
        worst = _worst(statistics)
        text = f"NEW's moving statistics start from {which}: {worst}; they were not carried over."
        findings.add("not-restored", text)


def _worst(checks):
    """The largest of some differences in words."""
    values = max(checks, key=lambda check: check.share).values
    return f"{values['new']:.6g} in channel {values['channel']} where OLD has {values['old']:.6g}"


def _converted(start, pair, parameters, statistics, findings):
    """Name what a conversion did to the numbers that NEW starts with.

    Returns:
      those of ``parameters`` (names) and of ``statistics`` (checks) that it does not explain.
    """
    roles = [*parameters, *(_role(check) for check in statistics)]
    old, new = (
        LayerValues(
            name,
            {role: role for role in values},
            {role: array.astype(np.float64) for role, array in values.items()},
            {role: array.dtype.name for role, array in values.items()},
            {},
            {},
        )
        for name, values in zip((pair.old, pair.new), start.values, strict=True)
    )
    for explain in CONVERSIONS:
        if not all(np.isfinite(layer.flat(role)).all() for layer in (old, new) for role in roles):
            break
        causes, unexplained = explain(old, new, roles)
        if causes and not findings.ids(FINDING) & {cause["id"] for cause in causes}:
            # What comes of it follows.
            findings.put_first(
                [cause_entry(cause["id"], f"Before the first step: {cause['explanation']}") for cause in causes]
            )
            roles = unexplained
    return [role for role in parameters if role in roles], [check for check in statistics if _role(check) in roles]


def _role(check):
    return check.what.rpartition(" ")[2]
