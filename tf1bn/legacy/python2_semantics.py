"""What an operation of Python 2 does, for translated code: division, rounding, comparison.

Translated code calls these functions by the names in `BUILTINS`.
"""

import decimal
import math
import operator

DIVIDE, DIVIDE_IN_PLACE, ROUND = (f"__tf1bn_{name}__" for name in ("divide", "divide_in_place", "round"))


def divide(a, b):
    """``a / b`` as in Python 2: rounded down between integers, integer arrays and tensors, and dimensions."""
    for value, argument, method in ((a, b, "__div__"), (b, a, "__rdiv__")):
        # A tensor still has the method, which warns.
        own = None if hasattr(value, "dtype") else getattr(type(value), method, None)
        if own is not None and (result := own(value, argument)) is not NotImplemented:
            return result
    return operator.floordiv(a, b) if _integral(a) and _integral(b) else operator.truediv(a, b)


def divide_in_place(a, b):
    """The new value of a after ``a /= b``, as in Python 2."""
    if hasattr(type(a), "__div__") and not hasattr(a, "dtype"):
        return divide(a, b)
    return operator.ifloordiv(a, b) if _integral(a) and _integral(b) else operator.itruediv(a, b)


def round_half_away(number, digits=0):
    """``round`` as in Python 2: a float, halves away from zero."""
    number = float(number)
    if not math.isfinite(number):
        return number
    unit = decimal.Decimal(1).scaleb(-operator.index(digits))
    exact = decimal.Context(prec=2000, rounding=decimal.ROUND_HALF_UP)
    return float(exact.quantize(decimal.Decimal(number), unit))


def _integral(value):
    """Whether a value is an integer, or an array or tensor of integers."""
    if isinstance(value, int):
        return True
    dtype = getattr(value, "dtype", None)
    return bool(getattr(dtype, "is_integer", False)) or getattr(dtype, "kind", None) in ("b", "i", "u")


# What translated code calls by name.
BUILTINS = {
    DIVIDE: divide,
    DIVIDE_IN_PLACE: divide_in_place,
    ROUND: round_half_away,
    "cmp": lambda a, b: (a > b) - (a < b),
}
