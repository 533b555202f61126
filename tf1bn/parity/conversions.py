"""What can have been done to numbers that differ between two checkpoints, as causes. Used by ``checkpointdiff``.

Each function takes a layer of OLD, the layer of NEW, and the roles whose numbers differ; it returns the causes that it
sees, and the roles that they do not explain.
"""

import numpy as np

from ..verdicts import cause_entry
from .layer_values import BITS, STARTS, STATISTICS, TITLES, equal, named, off, rounded

_EPSILONS = (1e-3, 1e-5, 1e-4, 1e-6, 1e-8, 1e-12, 1.001e-5)
# Roundings in a square root, a quotient or a product, and in what was read back, with room for a poor library.
_ROUNDINGS = 4


def twin_of(old, new, roles, twin, mutual):
    if twin is None or not set(STATISTICS) & set(roles):
        return [], roles
    told = [r for r in roles if r in twin.variables and equal(twin.flat(r), new.flat(r), new.stored(r))]
    text = f"NEW's `{new.name}` holds the {named(told)} of OLD's `{twin.name}` and not of `{old.name}`"
    text += "; the two layers are exchanged." if mutual else "."
    return [cause_entry("renamed", text)], [role for role in roles if role not in told]


def _start(old, new, roles):
    def began(side, role):
        return role in STARTS and (side.flat(role) == STARTS[role]).all()

    told, found = [role for role in roles if began(new, role)], []
    if told:
        each = ", ".join(f"{TITLES[role]} {STARTS[role]}" for role in told)
        found.append(
            cause_entry("not-restored", f"NEW is at its start values in all channels ({each}), and OLD is not.")
        )
    if set(STATISTICS) <= set(roles) and all(began(old, role) for role in STATISTICS):
        found.append(cause_entry("not-updated", "OLD's statistics never moved from 0 and 1, and NEW's did."))
        told += STATISTICS
    return found, [role for role in roles if role not in told]


def _exchanged(old, new, roles):
    """Variables that hold what another variable of the layer should."""
    held = {role: old.flat(role) for role in TITLES if role in old.variables}
    held = {
        role: array for role, array in held.items() if np.isfinite(array).all() and array.size and np.ptp(array) > 0
    }
    told = {}
    for role in roles:
        for other, array in held.items():
            if other != role and equal(array, new.flat(role), new.stored(role)):
                told[role] = other
    found, left = [], [role for role in roles if role not in told]
    if told.get("gamma") == "beta" and told.get("beta") == "gamma":
        found.append(cause_entry("gamma-beta-swapped", "NEW's gamma is OLD's beta, and NEW's beta is OLD's gamma."))
        told = {role: other for role, other in told.items() if role in STATISTICS}
    if told:
        each = ", ".join(f"{TITLES[role]} holds OLD's {TITLES[other]}" for role, other in told.items())
        found.append(cause_entry("renamed", f"Variables of the layer are mixed up in NEW: {each}."))
    return found, left


def _averages(old, new, roles):
    told = [
        role
        for role in roles
        if role in old.averages and equal(old.averages[role].ravel(), new.flat(role), new.stored(role))
    ]
    if not told:
        return [], roles
    text = f"NEW took OLD's exponential moving averages for the {named(told)}, and not the variables themselves."
    return [cause_entry("shadow-average", text)], [role for role in roles if role not in told]


def _halves(old, new, roles):
    found = []
    for half in ("float16", "bfloat16"):
        told = [
            role
            for role in roles
            if BITS[new.stored(role)] > BITS[half] and (rounded(old.flat(role), half) == new.flat(role)).all()
        ]
        if told:
            verb = "are" if told[1:] else "is"
            text = f"NEW's {named(told)} {verb} OLD's rounded to {half}, though stored as {new.stored(told[0])}."
            found.append(cause_entry("half-precision", text))
            roles = [role for role in roles if role not in told]
    return found, roles


def _variance(old, new, roles):
    if "variance" not in roles:
        return [], roles
    one, other = old.flat("variance"), new.flat("variance")
    if not ((one > 0) & (other > 0)).any() or (one < 0).any() or (other < 0).any():
        return [], roles
    unit = 2.0 ** -min(BITS[new.stored("variance")], BITS[old.stored("variance")])

    def fits(expected, got=other):
        with np.errstate(invalid="ignore", over="ignore"):
            return bool((np.abs(got - expected) <= _ROUNDINGS * 2 * unit * np.abs(expected)).all())

    epsilons = dict.fromkeys((*(s.declared["epsilon"] for s in (old, new) if "epsilon" in s.declared), *_EPSILONS))
    found = None
    if fits(np.sqrt(one)):
        found = cause_entry(
            "std-for-variance", "NEW's moving variance is the square root of OLD's: a standard deviation."
        )
    elif fits(np.sqrt(other), one):
        found = cause_entry(
            "std-for-variance", "NEW's moving variance is the square of OLD's, as if that were a deviation."
        )
    for epsilon in epsilons if found is None else ():
        with np.errstate(divide="ignore"):
            inverse = 1 / np.sqrt(one + epsilon)
        if fits(np.sqrt(one + epsilon)):
            text = f"NEW's moving variance is the square root of OLD's plus {epsilon:g}: a standard deviation."
            found = cause_entry("std-for-variance", text)
        elif fits(inverse):
            text = f"NEW's moving variance is 1/sqrt(OLD's + {epsilon:g}): what normalising multiplies by."
            found = cause_entry("std-for-variance", text)
        elif _added(one, other, epsilon, unit):
            found = cause_entry(
                "epsilon", f"NEW's moving variance is OLD's plus {epsilon:g}: epsilon is in it, and added again."
            )
        if found:
            break
    found = found or _factor(one, other, unit)
    return ([found], [role for role in roles if role != "variance"]) if found else ([], roles)


def _added(one, other, epsilon, unit):
    """Whether NEW is OLD plus epsilon, and that shows."""
    slack = _ROUNDINGS * 2 * unit * np.abs(other)
    return bool((np.abs(other - one - epsilon) <= slack).all() and (np.abs(other - one) > slack).any())


def _factor(one, other, unit):
    """Bessel's correction put in or taken out by the same factor in all channels."""
    alive = one > 0
    if ((other > 0) != alive).any():
        return None
    ratios = other[alive] / one[alive]
    factor = float(np.median(ratios))
    slack = _ROUNDINGS * 2 * unit
    if (np.abs(ratios - factor) > slack * factor).any() or abs(factor - 1) <= slack:
        return None
    larger = max(factor, 1 / factor)
    count = round(larger / (larger - 1))
    # Beyond this neighbouring N are not told apart, so that any factor would be some N/(N-1).
    sharp = count**2 * slack * 4 < 1
    if count < 2 or abs(larger - count / (count - 1)) > slack * larger or (not sharp and ratios.size < 4):
        return None
    about = "" if sharp else "about "
    if factor > 1:
        text = f"NEW's moving variance is OLD's times N/(N-1) with N = {about}{count}: Bessel's correction was put in."
        return cause_entry("bessel", text)
    text = f"NEW's moving variance is OLD's times (N-1)/N with N = {about}{count}: Bessel's correction was taken out."
    return cause_entry("no-bessel", text)


def _reordered(old, new, roles):
    told = [
        role
        for role in roles
        if old.flat(role).size > 1
        and (np.sort(rounded(old.flat(role), new.stored(role))) == np.sort(new.flat(role))).all()
    ]
    if not told:
        return [], roles
    backwards = all((rounded(old.flat(r), new.stored(r))[::-1] == new.flat(r)).all() for r in told)
    text = f"NEW's {named(told)} {'have' if told[1:] else 'has'} OLD's values in another order of the channels"
    text += ": backwards." if backwards else "."
    return [cause_entry("wrong-axis", text)], [role for role in roles if role not in told]


def _unexplained(old, new, roles):
    if not roles:
        return [], []
    texts = []
    for role in roles:
        one, other, dtype = rounded(old.flat(role), new.stored(role)), new.flat(role), new.stored(role)
        away = off(one, other)
        worst, count = int(np.argmax(away)), int(np.count_nonzero(away))
        texts.append(
            f"The {TITLES[role]} differs in {count} of {other.size} channels; the most in channel {worst}: "
            f"{one[worst]:.9g} -> {other[worst]:.9g}, {away[worst]:.3g} off{_near(one, other, dtype)}."
        )
    return [cause_entry("unexplained", " ".join([*texts, "No known cause explains it."]))], []


def _near(one, other, dtype):
    """How many units in the last place the difference is, if it is only a few."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ulps = np.abs(other - one) / (2.0 ** (1 - BITS[dtype]) * np.maximum(np.abs(one), np.abs(other)))
    most = np.nanmax(ulps)
    if not most <= 16:
        return ""
    count = max(round(float(most)), 1)
    return f" (about {count} ulp at most: computed anew, or written as decimal text, for a conversion keeps the bits)"


# In this order, each with what the former left.
EXPLAIN = (_start, _exchanged, _averages, _halves, _variance, _reordered, _unexplained)
# Those that say what a conversion did, whatever it is that holds the numbers.
CONVERSIONS = (_exchanged, _halves, _variance, _reordered)
