"""A batch-norm layer of one of two checkpoints, and when its numbers are another's. Used by ``checkpointdiff``.

Equal means: NEW holds the numbers of OLD, or what they are when rounded to the dtype that NEW stores. Nothing else is
near enough: a conversion computes nothing. NaN and Inf equal nothing. The sign of a zero does not matter.
"""

import dataclasses

import numpy as np

TITLES = {"gamma": "gamma", "beta": "beta", "affine": "gamma or beta", "mean": "moving mean"}
TITLES |= {"variance": "moving variance"}
STATISTICS = ("mean", "variance")
STARTS = {"gamma": 1, "beta": 0, "mean": 0, "variance": 1}
# Bits of the significand.
BITS = {"bfloat16": 8, "float16": 11, "float32": 24, "float64": 53}


@dataclasses.dataclass
class Side:
    """A layer of one checkpoint.

    Attributes:
      name: the layer's.
      variables: the names of its variables by role; further state by the last part of its name.
      values: their arrays in float64, of any shape.
      dtypes: as the file stores them.
      averages: the arrays of exponential moving averages by role.
      declared: what its configuration says, or {}.
      unclear: sentences on what could be read in two ways.
    """

    name: str
    variables: dict
    values: dict
    dtypes: dict
    averages: dict
    declared: dict
    unclear: tuple = ()

    def flat(self, role):
        return self.values[role].ravel()

    def stored(self, role):
        return self.dtypes.get(role, "float32")


def rounded(values, dtype):
    """Float64 numbers as ``dtype`` holds them, in float64."""
    if dtype == "float64":
        return values
    with np.errstate(over="ignore", under="ignore"):
        if dtype != "bfloat16":
            return values.astype(dtype).astype(np.float64)
        # To the nearest, ties to even, in the upper half of float32's bits.
        bits = values.astype(np.float32).view(np.uint32).astype(np.uint64)
        bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
        return np.where(np.isnan(values), np.nan, bits.astype(np.uint32).view(np.float32)).astype(np.float64)


def equal(old, new, dtype):
    """Whether NEW's numbers are OLD's in NEW's dtype."""
    return old.size == new.size and bool((np.isfinite(new) & (rounded(old, dtype) == new)).all())


def differences(old, new):
    """One dict for each variable that both have: where it differs most and how far."""
    found = []
    for role in new.variables:
        if role not in old.variables:
            continue
        one, other, dtype = old.flat(role), new.flat(role), new.stored(role)
        entry = {"what": TITLES.get(role, role), "old": old.variables[role], "new": new.variables[role]}
        entry |= {"dtypes": [old.stored(role), dtype], "equal": equal(one, other, dtype)}
        entry |= {"channels": other.size, "differing": None, "largest": None, "channel": None, "values": None}
        if one.size == other.size and one.size:
            away = off(rounded(one, dtype), other)
            worst = int(np.argmax(np.where(np.isnan(away), np.inf, away)))
            entry |= {
                "differing": int(np.count_nonzero(~(away == 0))),
                "largest": _number(away[worst]),
                "channel": worst,
            }
            entry["values"] = [_number(one[worst]), _number(other[worst])]
        found.append(entry)
    return found


def off(one, other):
    with np.errstate(invalid="ignore", over="ignore"):
        # The difference of two infinities is NaN: nothing that is not finite is equal.
        return np.abs(other - one)


def _number(value):
    return float(value) if np.isfinite(value) else None


def settle(old, new):
    """Call a parameter that may be gamma or beta what the other side calls it; sentences where that does not help."""
    for side, other in ((old, new), (new, old)):
        if "affine" not in side.variables or "affine" in other.variables:
            continue
        there = [role for role in ("gamma", "beta") if role in other.variables]
        fits = [role for role in there if np.array_equal(other.flat(role), side.flat("affine"))]
        if not there:
            fits = [role for role in ("gamma", "beta") if (side.flat("affine") == STARTS[role]).all()]
        role = fits[0] if fits else there[0] if len(there) == 1 else None
        if role is None:
            if not there:
                continue
            return [
                f"`{side.variables['affine']}` is gamma or beta, and equals neither of the other checkpoint, so it "
                "cannot be compared."
            ]
        for held in (side.variables, side.values, side.dtypes):
            held[role] = held.pop("affine")
    return []


def named(roles):
    titles = [TITLES[role] for role in roles]
    return " and ".join([", ".join(titles[:-1]), titles[-1]] if titles[1:] else titles)
