"""What differs between two layers of checkpoints, and why, as causes. Used by ``checkpointparity``."""

import numpy as np

from ..._util.text import quoted
from ...verdicts import ADVISORY, FINDING, cause_entry
from ..conversions import EXPLAIN, twin_of
from ..layer_values import BITS, STARTS, STATISTICS, TITLES, equal, named

# In the order in which causes are told.
ORDER = ("not-finite", "wrong-axis", "missing-variable", "not-restored", "not-updated", "renamed", "gamma-beta-swapped")
ORDER += ("std-for-variance", "bessel", "no-bessel", "shadow-average", "half-precision", "momentum-flipped", "decay")
ORDER += ("epsilon", "bad-variance", "unexplained")


def causes(old, new, twin=None, mutual=False):
    """The causes for which NEW's layer is not OLD's, best first.

    Args:
      old, new: `Side`.
      twin: another layer of OLD, as a `Side`, whose statistics NEW's layer has; None if there is none.
      mutual: whether the layer of NEW that should be that one has those of ``old``.
    """
    found = [*_not_finite(old, new), *_negative(old, new), *_missing(old, new)]
    both = [role for role in TITLES if role in old.variables and role in new.variables]
    lengths = [role for role in both if old.flat(role).size != new.flat(role).size or not old.flat(role).size]
    if lengths:
        each = ", ".join(f"{TITLES[r]} {list(old.values[r].shape)} -> {list(new.values[r].shape)}" for r in lengths)
        found.append(cause_entry("wrong-axis", f"The shapes differ, or are empty: {each}."))
    open_roles = [
        role
        for role in both
        if role not in lengths
        and np.isfinite(old.flat(role)).all()
        and np.isfinite(new.flat(role)).all()
        and not equal(old.flat(role), new.flat(role), new.stored(role))
    ]
    told, open_roles = twin_of(old, new, open_roles, twin, mutual)
    found += told
    for explain in EXPLAIN:
        told, open_roles = explain(old, new, open_roles)
        found += told
    found += [*_narrowed(old, new, both), *_state(old, new), *_declared(old, new)]
    return sorted(found, key=lambda one: (one["severity"] != FINDING, ORDER.index(one["id"])))


def _not_finite(old, new):
    for side, which in ((old, "OLD"), (new, "NEW")):
        bad = [role for role in side.variables if not np.isfinite(side.values[role]).all()]
        if bad:
            yield cause_entry(
                "not-finite", f"In {which} {quoted([side.variables[r] for r in bad])} is not finite everywhere."
            )


def _negative(old, new):
    for side, which in ((old, "OLD"), (new, "NEW")):
        if "variance" in side.variables and (side.flat("variance") < 0).any():
            count, least = np.count_nonzero(side.flat("variance") < 0), side.flat("variance").min()
            text = f"In {which} `{side.variables['variance']}` is negative in {count} of {side.flat('variance').size}"
            yield cause_entry("bad-variance", f"{text} channels; the least is {least:.6g}.")


def _missing(old, new):
    for has, lacks, which, other in ((old, new, "NEW", "OLD"), (new, old, "OLD", "NEW")):
        averaged = [role for role in TITLES if role in has.variables and role not in lacks.variables]
        averaged = [role for role in averaged if role in lacks.averages]
        if averaged:
            yield cause_entry(
                "shadow-average",
                f"{which} holds only exponential moving averages of the {named(averaged)}, under names of their own, "
                f"and {other} the variables: a restore by name does not find them.",
            )
        for role in TITLES:
            if role not in has.variables or role in lacks.variables or role in averaged:
                continue
            if role == "affine" and {"gamma", "beta"} & lacks.variables.keys():
                continue
            if role in STATISTICS:
                yield cause_entry(
                    "missing-variable", f"{which} has no {TITLES[role]} for {other}'s `{has.variables[role]}`."
                )
            elif role in STARTS and (has.flat(role) == STARTS[role]).all():
                yield cause_entry(
                    "missing-variable",
                    f"{which} has no {role}, and {other}'s is {STARTS[role]} in all channels: inference agrees, and "
                    "training would move it on one side alone.",
                    ADVISORY,
                )
            else:
                yield cause_entry(
                    "missing-variable",
                    f"{which} has no {TITLES[role]}, and {other}'s `{has.variables[role]}` is trained "
                    f"({has.flat(role).min():.4g} to {has.flat(role).max():.4g}).",
                )


def _narrowed(old, new, both):
    """Statistics that NEW stores in fewer bits than float32, and OLD does not."""
    told = [
        role
        for role in STATISTICS
        if role in both and BITS[new.stored(role)] < 24 and BITS[old.stored(role)] > BITS[new.stored(role)]
    ]
    if told:
        yield cause_entry(
            "half-precision",
            f"NEW stores the {named(told)} as {new.stored(told[0])} and OLD as {old.stored(told[0])}: numbers are "
            "rounded, and further training loses small updates.",
        )


def _state(old, new):
    """Variables of zero-debiasing and renorm: training goes on from them, inference does not need them."""
    words = [role for role in {**old.variables, **new.variables} if role not in TITLES]
    lone = [word for word in words if (word in old.variables) != (word in new.variables)]
    if lone:
        where = "NEW" if lone[0] in old.variables else "OLD"
        text = f"{where} has no {', '.join(lone)}: inference agrees without, and training that goes on does not."
        yield cause_entry("missing-variable", text, ADVISORY)
    differing = [w for w in words if w not in lone and not equal(old.flat(w), new.flat(w), new.stored(w))]
    if differing:
        yield cause_entry("unexplained", f"The {', '.join(differing)} differ, which training goes on from.")


def _declared(old, new):
    if not old.declared or not new.declared:
        return
    one, other = old.declared["epsilon"], new.declared["epsilon"]
    if one != other:
        yield cause_entry("epsilon", f"OLD declares epsilon {one:g} and NEW {other:g}.")
    one, other = old.declared["decay"], new.declared["decay"]
    if one == other:
        return
    if abs(1 - one - other) <= 1e-9:
        text = f"OLD declares decay {one:g} and NEW {other:g}, its complement: PyTorch's momentum is 1 - decay."
        yield cause_entry("momentum-flipped", text)
    else:
        yield cause_entry(
            "decay", f"OLD declares decay {one:g} and NEW {other:g}: inference agrees, further training does not."
        )
