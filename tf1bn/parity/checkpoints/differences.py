"""Why two layers of checkpoints differ, as causes."""

from __future__ import annotations

import numpy as np

from ..._util.text import apart, quoted
from ...verdicts import ADVISORY, FINDING, cause_entry
from ..conversions import EXPLAIN, other_layer, unexplained
from ..layer_values import BITS, START, STATISTIC_ROLES, TITLES, holds, titles
from . import folded_bias

# The order in which the causes of a layer are reported.
ORDER = (
    "not-finite",
    "batch-stats-at-inference",
    "wrong-axis",
    "missing-variable",
    "not-restored",
    "not-updated",
    "swapped-layers",
    "renamed",
)
ORDER += ("gamma-beta-swapped", "negated", "folded-bias", "std-for-variance", "bessel", "no-bessel", "shadow-average")
ORDER += ("half-precision", "momentum-flipped", "decay", "epsilon", "bad-variance", "unexplained")


def causes(old, new, twin=None, mutual=False, *, neighbours=None, ulp=0):
    """The causes for which NEW's layer is not OLD's, best first.

    Args:
      old, new: `LayerValues`.
      twin: the `LayerValues` of another layer of OLD whose statistics NEW's layer has; None if there is none.
      mutual: whether the layer of NEW that should be that one has those of ``old``.
      neighbours: the `Neighbours` of OLD and of NEW, or None where nothing is known but the layers.
      ulp: how many units in the last place a number of NEW may be from OLD's.
    """
    result = [*_not_finite(old, new), *_negative(old, new), *_missing(old, new)]
    both = [role for role in TITLES if role in old.variables and role in new.variables]
    lengths = [role for role in both if old.flat(role).size != new.flat(role).size or not old.flat(role).size]
    if lengths:
        shapes = ", ".join(f"{TITLES[r]} {list(old.values[r].shape)} -> {list(new.values[r].shape)}" for r in lengths)
        result.append(cause_entry("wrong-axis", f"The shapes differ, or are empty: {shapes}."))
    differing = [
        role
        for role in both
        if role not in lengths
        and np.isfinite(old.flat(role)).all()
        and np.isfinite(new.flat(role)).all()
        and not holds(old, role, new, role, ulp)
    ]
    explained, differing = other_layer(old, new, differing, twin, mutual)
    result += explained
    for explain in EXPLAIN:
        explained, differing = explain(old, new, differing)
        result += explained
    if neighbours is not None:
        explained, differing = folded_bias.explain(old, new, differing, neighbours)
        result += explained
    result += unexplained(old, new, differing)
    result += [*_narrowed(old, new, both), *_state(old, new, ulp), *_modes(old, new), *_declared(old, new)]
    return sorted(result, key=lambda cause: (cause["severity"] != FINDING, ORDER.index(cause["id"])))


def _not_finite(old, new):
    for layer, which in ((old, "OLD"), (new, "NEW")):
        bad = [role for role in layer.variables if not np.isfinite(layer.values[role]).all()]
        if bad:
            names = quoted([layer.variables[role] for role in bad])
            yield cause_entry("not-finite", f"In {which} {names} contain{'' if bad[1:] else 's'} NaN or infinity.")


def _negative(old, new):
    for layer, which in ((old, "OLD"), (new, "NEW")):
        if "variance" in layer.variables and (layer.flat("variance") < 0).any():
            variance = layer.flat("variance")
            text = f"In {which} `{layer.variables['variance']}` is negative in {np.count_nonzero(variance < 0)} of "
            yield cause_entry("bad-variance", f"{text}{variance.size} channels; the least is {variance.min():.6g}.")


def _missing(old, new):
    for has, lacks, which, other in ((old, new, "NEW", "OLD"), (new, old, "OLD", "NEW")):
        averaged = [role for role in TITLES if role in has.variables and role not in lacks.variables]
        averaged = [role for role in averaged if role in lacks.averages]
        if averaged:
            yield cause_entry(
                "shadow-average",
                f"{which} holds only exponential moving averages of the {titles(averaged)}, under names of their own, "
                f"and {other} the variables: a restore by name does not find them.",
            )
        for role in TITLES:
            if role not in has.variables or role in lacks.variables or role in averaged:
                continue
            if role == "affine" and {"gamma", "beta"} & lacks.variables.keys():
                continue
            if role in STATISTIC_ROLES and lacks.declared.get("training"):
                # `_modes` says why.
                continue
            yield _missing_role(role, has, which, other)


def _modes(old, new):
    for has, lacks, which, other in ((old, new, "NEW", "OLD"), (new, old, "OLD", "NEW")):
        absent = [role for role in STATISTIC_ROLES if role in has.variables and role not in lacks.variables]
        if absent and lacks.declared.get("training"):
            yield cause_entry(
                "batch-stats-at-inference",
                f"{which} is a graph that has the layer in training mode: it was frozen or exported so, normalises by "
                f"the batches that it is given, and has no {titles(absent)}, which {other} has.",
            )


def _missing_role(role, has, which, other):
    """The cause for a variable that ``which``, "OLD" or "NEW", has not, and the `LayerValues` of the other has."""
    if role in STATISTIC_ROLES:
        text = f"{which} has no {TITLES[role]} for {other}'s `{has.variables[role]}`."
    elif has.at_start(role):
        text = (
            f"{which} has no {role}, and {other}'s is {START[role]} in all channels: inference agrees, and training "
            f"would change it in {other} alone."
        )
        return cause_entry("missing-variable", text, ADVISORY)
    else:
        text = (
            f"{which} has no {TITLES[role]}, and {other}'s `{has.variables[role]}` is trained "
            f"({has.flat(role).min():.4g} to {has.flat(role).max():.4g})."
        )
    return cause_entry("missing-variable", text)


def _narrowed(old, new, both):
    """Statistics that NEW stores in fewer bits than float32, and OLD does not."""
    roles = [
        role
        for role in STATISTIC_ROLES
        if role in both and BITS[new.stored(role)] < 24 and BITS[old.stored(role)] > BITS[new.stored(role)]
    ]
    if roles:
        yield cause_entry(
            "half-precision",
            f"NEW stores the {titles(roles)} as {new.stored(roles[0])} and OLD as {old.stored(roles[0])}: numbers are "
            "rounded, and further training loses small updates.",
        )


def _state(old, new, ulp):
    """Variables of zero-debiasing and renorm: continued training needs them, inference does not."""
    words = [role for role in {**old.variables, **new.variables} if role not in TITLES]
    lone = [word for word in words if (word in old.variables) != (word in new.variables)]
    if lone:
        where = "NEW" if lone[0] in old.variables else "OLD"
        text = f"{where} has no {', '.join(lone)}: inference agrees without, continued training does not."
        yield cause_entry("missing-variable", text, ADVISORY)
    differing = [word for word in words if word not in lone and not holds(old, word, new, word, ulp)]
    if differing:
        verb = "differ" if differing[1:] else "differs"
        text = f"The {', '.join(differing)} {verb}, which continued training starts from."
        yield cause_entry("unexplained", text, variant="values")


def _declared(old, new):
    if not old.declared or not new.declared:
        return
    (old_epsilon, new_epsilon), (old_decay, new_decay) = (
        (old.declared.get(name), new.declared.get(name)) for name in ("epsilon", "decay")
    )
    if None not in (old_epsilon, new_epsilon) and old_epsilon != new_epsilon:
        yield cause_entry("epsilon", "OLD declares epsilon {} and NEW {}.".format(*apart(old_epsilon, new_epsilon)))
    if None in (old_decay, new_decay) or old_decay == new_decay:
        return
    text = "OLD declares decay {} and NEW {}".format(*apart(old_decay, new_decay))
    if abs(1 - old_decay - new_decay) <= 1e-9:
        yield cause_entry("momentum-flipped", f"{text}, its complement: PyTorch's momentum is 1 - decay.")
    else:
        yield cause_entry("decay", f"{text}: inference agrees, continued training does not.")
