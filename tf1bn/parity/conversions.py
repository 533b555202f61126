"""Transformations that explain how the numbers of two checkpoints differ, as causes.

Each function takes the `LayerValues` of OLD and of NEW, and the roles whose numbers differ. It returns the causes that
it sees, and the roles that they do not explain.
"""

from __future__ import annotations

import numpy as np

from .._util.text import counted, listed
from ..verdicts import cause_entry
from .layer_values import (
    BITS,
    START,
    STATISTIC_ROLES,
    TITLES,
    absolute_difference,
    equal,
    holds,
    rounded,
    titles,
    truncated,
    ulps_apart,
)

_EPSILONS = (1e-3, 1e-5, 1e-4, 1e-6, 1e-8, 1e-12, 1.001e-5)
# Roundings in a square root, a quotient or a product, and in what was read back, with room for a poor library.
_ROUNDINGS = 4


def _without(roles, explained):
    return [role for role in roles if role not in explained]


def other_layer(old, new, roles, twin, mutual):
    """NEW holds the statistics of another layer of OLD.

    Args:
      old, new, roles: as for all functions here.
      twin: the `LayerValues` of that layer, or None if there is none.
      mutual: whether the layer of NEW that should be that one holds the statistics of ``old``.
    """
    if twin is None or not set(STATISTIC_ROLES) & set(roles):
        return [], roles
    explained = [role for role in roles if role in twin.variables and holds(twin, role, new, role)]
    text = f"NEW's `{new.name}` holds the {titles(explained)} of OLD's `{twin.name}` and not of `{old.name}`"
    text += "; the two layers are exchanged." if mutual else "."
    return [cause_entry("swapped-layers" if mutual else "renamed", text)], _without(roles, explained)


def _start(old, new, roles):
    """One of the two never left the values that a new layer starts with."""
    explained, causes = [role for role in roles if new.at_start(role)], []
    if explained:
        values = ", ".join(f"{TITLES[role]} {START[role]}" for role in explained)
        text = f"NEW is at its start values in all channels ({values}), and OLD is not."
        causes.append(cause_entry("not-restored", text))
    if set(STATISTIC_ROLES) <= set(roles) and all(old.at_start(role) for role in STATISTIC_ROLES):
        causes.append(cause_entry("not-updated", "OLD's statistics never moved from 0 and 1, and NEW's did."))
        explained += STATISTIC_ROLES
    return causes, _without(roles, explained)


def _exchanged(old, new, roles):
    """Variables of NEW that hold the values of another variable of the same layer of OLD."""
    telling = [role for role in TITLES if role in old.variables and _varies(old.flat(role))]
    sources = {}
    for role in roles:
        for other in telling:
            if other != role and holds(old, other, new, role):
                sources[role] = other
    causes, unexplained = [], _without(roles, sources)
    if sources.get("gamma") == "beta" and sources.get("beta") == "gamma":
        causes.append(cause_entry("gamma-beta-swapped", "NEW's gamma is OLD's beta, and NEW's beta is OLD's gamma."))
        sources = {role: other for role, other in sources.items() if role in STATISTIC_ROLES}
    if sources:
        words = ", ".join(f"{TITLES[role]} holds OLD's {TITLES[other]}" for role, other in sources.items())
        causes.append(cause_entry("renamed", f"Variables of the layer are mixed up in NEW: {words}."))
    return causes, unexplained


def _varies(array):
    """Whether an array is finite and not the same number in all channels."""
    return array.size > 0 and bool(np.isfinite(array).all()) and np.ptp(array) > 0


def _averages(old, new, roles):
    """NEW took exponential moving averages of the variables."""
    explained = [
        role
        for role in roles
        if role in old.averages and equal(old.averages[role].ravel(), new.flat(role), new.stored(role))
    ]
    if not explained:
        return [], roles
    text = f"NEW took OLD's exponential moving averages for the {titles(explained)}, and not the variables themselves."
    return [cause_entry("shadow-average", text)], _without(roles, explained)


def _half_precision(old, new, roles):
    """One of the two holds the other's numbers as they are in half precision, rounded or cut off."""
    causes = []
    for half in ("float16", "bfloat16"):
        for shorten, how in ((rounded, "rounded to"), (truncated, "cut off (not rounded) to the bits of")):
            for source, kept, names in ((old, new, ("NEW", "OLD")), (new, old, ("OLD", "NEW"))):
                explained = [role for role in roles if _shortened(source, kept, role, shorten, half)]
                if kept is old:
                    # Round numbers in OLD are also what a small change of NEW would be rounded to.
                    explained = [role for role in explained if _needs_bits(old.flat(role), BITS[half] - 3)]
                if explained:
                    verb = "are" if explained[1:] else "is"
                    though = f", though stored as {dtype}" if (dtype := kept.stored(explained[0])) != half else ""
                    text = f"{names[0]}'s {titles(explained)} {verb} {names[1]}'s {how} {half}{though}."
                    causes.append(cause_entry("half-precision", text))
                    roles = _without(roles, explained)
    return causes, roles


def _shortened(source, kept, role, shorten, half):
    """Whether ``kept`` has the numbers of ``source``, which has more bits, in a role as ``shorten`` makes them."""
    numbers = source.flat(role)
    if BITS[source.stored(role)] <= BITS[half] or BITS[kept.stored(role)] < BITS[half]:
        return False
    return numbers.size > 0 and bool((shorten(numbers, half) == kept.flat(role)).all())


def _needs_bits(numbers, bits):
    """Whether at least four numbers, and half of all, are not round: they need more than so many bits."""
    scaled = np.ldexp(np.frexp(numbers)[0], bits)
    count = np.count_nonzero(scaled != np.rint(scaled))
    return count >= 4 and 2 * count >= numbers.size


def _negated(old, new, roles):
    """NEW has the numbers of OLD with the other sign, in all channels or in some."""
    explained = [
        role for role in roles if (np.abs(rounded(old.flat(role), new.stored(role))) == np.abs(new.flat(role))).all()
    ]
    if not explained:
        return [], roles
    texts = []
    for role in explained:
        flipped = np.flatnonzero(rounded(old.flat(role), new.stored(role)) != new.flat(role))
        every = flipped.size == np.count_nonzero(new.flat(role))
        where = "all channels" if every else _channels_in_words(flipped, new, role)
        texts.append(f"NEW's {TITLES[role]} is OLD's with the other sign in {where}.")
    return [cause_entry("negated", " ".join(texts))], _without(roles, explained)


def _channels_in_words(channels, layer, role):
    """Some channels of a role of a `LayerValues`: "2 of 8 channels (0, 5)"."""
    return f"{channels.size} of {counted(layer.flat(role).size, 'channel')} ({listed(channels, 5)})"


def _variance(old, new, roles):
    """NEW's variance is a deviation, or has an epsilon or Bessel's correction put in or taken out."""
    if "variance" not in roles:
        return [], roles
    before, after = old.flat("variance"), new.flat("variance")
    if not ((before > 0) & (after > 0)).any() or (before < 0).any() or (after < 0).any():
        return [], roles
    unit = 2.0 ** -min(BITS[new.stored("variance")], BITS[old.stored("variance")])
    if before.size > 1 and np.ptp(before) <= 64 * _ROUNDINGS * unit * before.max():
        # Variances that are all alike are what is left of a start value: .81 after two steps is .9 after one, squared.
        return [], roles
    declared = [layer.declared["epsilon"] for layer in (old, new) if "epsilon" in layer.declared]
    cause = _deviation(before, after, dict.fromkeys([*declared, *_EPSILONS]), unit) or _factor(before, after, unit)
    return ([cause], _without(roles, ["variance"])) if cause else ([], roles)


def _deviation(before, after, epsilons, unit):
    """The cause if one vector is a square root of the other, or has an epsilon added; else None."""

    def fits(expected, observed=after):
        with np.errstate(invalid="ignore", over="ignore"):
            return bool((np.abs(observed - expected) <= _ROUNDINGS * 2 * unit * np.abs(expected)).all())

    if fits(np.sqrt(before)):
        text = "NEW's moving variance is the square root of OLD's: a standard deviation."
        return cause_entry("std-for-variance", text)
    if fits(np.sqrt(after), before):
        text = "NEW's moving variance is the square of OLD's, as if that were a deviation."
        return cause_entry("std-for-variance", text)
    if unbiased := _factor(before, np.square(after), 3 * unit):
        text = "NEW's moving variance is a standard deviation, the square root of OLD's with Bessel's correction "
        text += "put in." if unbiased["id"] == "bessel" else "taken out."
        return cause_entry("std-for-variance", text)
    for epsilon in epsilons:
        with np.errstate(divide="ignore"):
            inverse = 1 / np.sqrt(before + epsilon)
        if fits(np.sqrt(before + epsilon)):
            text = f"NEW's moving variance is the square root of OLD's plus {epsilon:g}: a standard deviation."
            return cause_entry("std-for-variance", text)
        if fits(inverse):
            text = f"NEW's moving variance is 1/sqrt(OLD's + {epsilon:g}): what normalising multiplies by."
            return cause_entry("std-for-variance", text)
        if _added(before, after, epsilon, unit):
            text = f"NEW's moving variance is OLD's plus {epsilon:g}: epsilon is in it, and added again."
            return cause_entry("epsilon", text, variant="added")
    return None


def _added(before, after, epsilon, unit):
    """Whether ``after`` is ``before`` plus epsilon, and the epsilon is large enough to show."""
    slack = _ROUNDINGS * 2 * unit * np.abs(after)
    return bool((np.abs(after - before - epsilon) <= slack).all() and (np.abs(after - before) > slack).any())


def _factor(before, after, unit):
    """The cause if Bessel's correction was put in or taken out by the same factor in all channels; else None."""
    positive = before > 0
    if ((after > 0) != positive).any():
        return None
    slack = _ROUNDINGS * 2 * unit
    ratios = after[positive] / before[positive]
    factor = float(np.median(ratios))
    if (np.abs(ratios - factor) > slack * factor).any() or abs(factor - 1) <= slack:
        return None
    larger = max(factor, 1 / factor)
    count = round(larger / (larger - 1))
    # For larger N the factors of neighbouring N cannot be told apart, so that any factor would be some N/(N-1).
    exact = count**2 * slack * 4 < 1
    if count < 2 or abs(larger - count / (count - 1)) > slack * larger or (not exact and ratios.size < 4):
        return None
    about = "" if exact else "about "
    if factor > 1:
        text = f"NEW's moving variance is OLD's times N/(N-1) with N = {about}{count}: Bessel's correction was put in."
        return cause_entry("bessel", text, variant="values")
    text = f"NEW's moving variance is OLD's times (N-1)/N with N = {about}{count}: Bessel's correction was taken out."
    return cause_entry("no-bessel", text, variant="values")


def _reordered(old, new, roles):
    """NEW has the same values in another order of the channels."""
    explained = [
        role
        for role in roles
        if old.flat(role).size > 1
        # Of two or three values alone, each so many times, many vectors are another order.
        and np.unique(old.flat(role)).size >= min(4, old.flat(role).size)
        and (np.sort(rounded(old.flat(role), new.stored(role))) == np.sort(new.flat(role))).all()
    ]
    if not explained:
        return [], roles
    backwards = all((rounded(old.flat(r), new.stored(r))[::-1] == new.flat(r)).all() for r in explained)
    verb = "have" if explained[1:] else "has"
    text = f"NEW's {titles(explained)} {verb} OLD's values in another order of the channels"
    text += ": backwards." if backwards else "."
    return [cause_entry("wrong-axis", text)], _without(roles, explained)


def unexplained(old, new, roles):
    """The cause for everything that is left, in a list; an empty one if nothing is left."""
    if not roles:
        return []
    texts = []
    for role in roles:
        before, after, dtype = rounded(old.flat(role), new.stored(role)), new.flat(role), new.stored(role)
        difference = absolute_difference(before, after)
        worst, count = int(np.argmax(difference)), int(np.count_nonzero(difference))
        texts.append(
            f"The {TITLES[role]} differs in {count} of {after.size} channels; the most in channel {worst}: "
            f"{before[worst]:.9g} -> {after[worst]:.9g}, {difference[worst]:.3g} off{_in_ulps(before, after, dtype)}."
        )
    return [cause_entry("unexplained", " ".join([*texts, "No known cause explains it."]), variant="values")]


def _in_ulps(before, after, dtype):
    """How many units in the last place the difference is, as the end of a sentence; empty if it is more than a few."""
    if not (np.isfinite(before).all() and np.isfinite(after).all()):
        return ""
    count = int(ulps_apart(before, after, dtype).max())
    if count > 16:
        return ""
    return (
        f" ({count} ulp at most: computed anew or written as decimal text, because a copy would keep the bits; "
        f"`--ulp {count}` allows it)"
    )


# In this order, each with what the former left.
EXPLAIN = (_start, _exchanged, _averages, _negated, _half_precision, _variance, _reordered)
# Those that say what a conversion did, whatever it is that holds the numbers.
CONVERSIONS = (_exchanged, _negated, _half_precision, _variance, _reordered)
