"""The values of one batch-norm layer in one checkpoint, and comparison of two of them.

Equal means: NEW holds the numbers of OLD, or what they are when rounded to the dtype that NEW stores. Nothing else is
near enough: a conversion computes nothing, so that float32 to float32 keeps every bit and a narrower dtype rounds once,
to the nearest. Where somebody allows N units in the last place, it is so many numbers of NEW's dtype further. NaN and
Inf equal nothing. The sign of a zero does not matter.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ..checker.roundoff import SIGNIFICAND_BITS

TITLES = {"gamma": "gamma", "beta": "beta", "affine": "gamma or beta", "mean": "moving mean"}
TITLES |= {"variance": "moving variance"}
STATISTIC_ROLES = ("mean", "variance")
# What a new layer holds in all channels.
START = {"gamma": 1, "beta": 0, "mean": 0, "variance": 1}
BITS = {**SIGNIFICAND_BITS, "bfloat16": 8}


@dataclasses.dataclass(frozen=True)
class LayerValues:
    """A layer of one checkpoint.

    Attributes:
      name: the layer's.
      variables: the names of its variables by role; further state by the last part of its name.
      values: their arrays in float64, of any shape, by role.
      dtypes: the names of the dtypes in which the file stores them, by role; float32 where there is none.
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
        """The values of a role as a vector."""
        return self.values[role].ravel()

    def stored(self, role):
        """The name of the dtype in which the file stores a role."""
        return self.dtypes.get(role, "float32")

    def at_start(self, role):
        """Whether a role holds in all channels what a new layer holds."""
        return role in START and bool((self.flat(role) == START[role]).all())

    def with_affine_as(self, role):
        """The same with the parameter that is "affine", gamma or beta, in the place of ``role``."""
        return dataclasses.replace(
            self,
            **{
                field: {key: value for key, value in by_role.items() if key != "affine"} | {role: by_role["affine"]}
                for field, by_role in (("variables", self.variables), ("values", self.values), ("dtypes", self.dtypes))
            },
        )


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


def truncated(values, dtype):
    """Float64 numbers cut off, towards zero, to the bits of ``dtype``, "float16" or "bfloat16", in float64."""
    if dtype == "bfloat16":
        bits = values.astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)
        return bits.view(np.float32).astype(np.float64)
    with np.errstate(over="ignore", under="ignore"):
        nearest = values.astype(np.float16)
        away = np.abs(nearest.astype(np.float64)) > np.abs(values)
        return np.where(away, np.nextafter(nearest, np.float16(0)), nearest).astype(np.float64)


def equal(old, new, dtype, ulp=0):
    """Whether NEW's numbers are OLD's in NEW's dtype, or at most ``ulp`` units in the last place from them.

    Args:
      old, new: float64 vectors.
      dtype: the name of the dtype that NEW stores.
      ulp: how many numbers of that dtype further NEW's may be.
    """
    if old.size != new.size or not np.isfinite(new).all():
        return False
    expected = rounded(old, dtype)
    if ulp == 0:
        return bool((expected == new).all())
    return bool(np.isfinite(expected).all() and (ulps_apart(expected, new, dtype) <= ulp).all())


def ulps_apart(old, new, dtype):
    """How many steps from number to number of ``dtype`` lie between finite float64 values that it holds: uint64."""
    ordinals = [_ordinals(values, dtype) for values in (old, new)]
    low, high = np.minimum(*ordinals), np.maximum(*ordinals)
    return high.view(np.uint64) - low.view(np.uint64)


def _ordinals(values, dtype):
    """The places of numbers in the ascending order of all numbers of ``dtype``, both zeros at 0: int64."""
    if dtype == "bfloat16":
        bits = values.astype(np.float32).view(np.int32).astype(np.int64) >> 16
        return np.where(bits < 0, -(bits & 0x7FFF), bits)
    with np.errstate(over="ignore", under="ignore"):
        bits = values.astype(dtype)
    bits = bits.view(f"i{bits.itemsize}").astype(np.int64)
    most = np.iinfo(f"i{np.dtype(dtype).itemsize}").max
    return np.where(bits < 0, -(bits & most), bits)


def holds(old, old_role, new, new_role, ulp=0):
    """Whether NEW holds in one role the numbers that OLD has in another one; both are `LayerValues`."""
    return equal(old.flat(old_role), new.flat(new_role), new.stored(new_role), ulp)


def variable_differences(old, new):
    """One dict for each variable that both `LayerValues` have: where it differs most and how far."""
    entries = []
    for role in new.variables:
        if role not in old.variables:
            continue
        old_values, new_values, dtype = old.flat(role), new.flat(role), new.stored(role)
        entry = {"what": TITLES.get(role, role), "old": old.variables[role], "new": new.variables[role]}
        entry |= {"dtypes": [old.stored(role), dtype], "equal": equal(old_values, new_values, dtype)}
        entry |= {"channels": new_values.size, **dict.fromkeys(("differing", "largest", "channel", "ulps", "values"))}
        if old_values.size == new_values.size and old_values.size:
            difference = absolute_difference(rounded(old_values, dtype), new_values)
            worst = int(np.argmax(np.where(np.isnan(difference), np.inf, difference)))
            entry |= {
                "differing": int(np.count_nonzero(~(difference == 0))),
                "largest": _number(difference[worst]),
                "channel": worst,
            }
            finite = np.isfinite(difference)
            apart = ulps_apart(rounded(old_values, dtype)[finite], new_values[finite], dtype)
            entry["ulps"] = int(min(apart.max(initial=0), 2**62)) if finite.all() else None
            entry["values"] = [_number(old_values[worst]), _number(new_values[worst])]
        entries.append(entry)
    return entries


def absolute_difference(old, new):
    """|new - old|; NaN for two infinities, because nothing that is not finite is equal."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.abs(new - old)


def _number(value):
    return float(value) if np.isfinite(value) else None


def align_affine_names(old, new):
    """Call a parameter that may be gamma or beta what the other checkpoint calls it.

    Returns:
      old, new: the `LayerValues` with the parameter in its place.
      warnings: sentences, where the other checkpoint does not show what it is.
    """
    layers = {"old": old, "new": new}
    for this, other in (("old", "new"), ("new", "old")):
        layer, reference = layers[this], layers[other]
        if "affine" not in layer.variables or "affine" in reference.variables:
            continue
        there = [role for role in ("gamma", "beta") if role in reference.variables]
        fits = [role for role in there if np.array_equal(reference.flat(role), layer.flat("affine"))]
        if not there:
            fits = [role for role in ("gamma", "beta") if (layer.flat("affine") == START[role]).all()]
        role = fits[0] if fits else there[0] if len(there) == 1 else None
        if role is not None:
            layers[this] = layer.with_affine_as(role)
        elif there:
            warning = (
                f"`{layer.variables['affine']}` is gamma or beta, and equals neither of the other checkpoint, so it "
                "cannot be compared."
            )
            return layers["old"], layers["new"], [warning]
    return layers["old"], layers["new"], []


def titles(roles):
    """The titles of some roles as a list in words."""
    words = [TITLES[role] for role in roles]
    return " and ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)
