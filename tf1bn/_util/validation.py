"""Checks of arguments and of fields in files, with one wording: "`decay` is 1.5; it must be a number from 0 to 1."

Each check takes the name and the value of an argument, and returns the value. It raises ValueError, or TypeError where
the value is of the wrong type and the argument is one of a function.
"""

import json
import math
import numbers


def shown(value):
    """A value as it stands in a sentence: its repr, of at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def refusal(name, value, wanted, error=ValueError):
    """The exception that refuses an argument: "`name` is VALUE; it must be WANTED."."""
    return error(f"`{name}` is {shown(value)}; it must be {wanted}.")


def alternatives(items):
    """Accepted values as text, written as in JSON: '"a", "b" or null'."""
    *most, last = [json.dumps(item) for item in items]
    return f"{', '.join(most)} or {last}" if most else last


def one_of(name, value, accepted, error=ValueError):
    """``value`` if it is one of the ``accepted`` values: the same object, or an equal string."""
    if not any(value is item or (isinstance(value, str) and value == item) for item in accepted):
        raise refusal(name, value, alternatives(accepted), error)
    return value


def in_range(name, value, low=-math.inf, high=math.inf):
    """A number from ``low`` to ``high`` as a finite float. Booleans are no numbers."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise refusal(name, value, _range(low, high), TypeError)
    real = _as_float(value)
    if not low <= real <= high or math.isinf(real):
        raise refusal(name, value, _range(low, high))
    return real


def number(name, value, low=-math.inf, high=math.inf):
    """A field's number from ``low`` to ``high`` as a finite float, or None, which says that it is not known."""
    if value is None:
        return None
    real = _as_float(value) if isinstance(value, numbers.Real) and not isinstance(value, bool) else math.nan
    if not low <= real <= high or math.isinf(real):
        raise refusal(name, value, f"{_range(low, high)}, or null where it is not known")
    return real


def boolean(name, value):
    """A field's ``value`` if it is true or false."""
    if not isinstance(value, bool):
        raise refusal(name, value, "true or false")
    return value


def whole(name, value):
    """A whole number from 0 to 2^63 - 1, which every other program can hold as well, as int."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < 0:
        raise refusal(name, value, "a whole number, 0 or more")
    if value >= 1 << 63:
        raise refusal(name, value, "a whole number below 2^63")
    return int(value)


def member(name, value, kind):
    """A field's ``value`` if it is of ``kind``, dict or list."""
    if not isinstance(value, kind):
        raise refusal(name, value, "an object" if kind is dict else "a list")
    return value


def shape(name, array, expected):
    """``array`` if its shape is ``expected``, a tuple in which None stands for any length."""
    actual = tuple(array.shape)
    if len(actual) != len(expected) or any(
        want not in (None, size) for want, size in zip(expected, actual, strict=True)
    ):
        wanted = str(expected).replace("None", "any")
        raise ValueError(f"`{name}` has shape {actual}; it must be {wanted}.")
    return array


def dtype(name, array, accepted):
    """``array`` if the name of its dtype is one of the ``accepted`` names."""
    if array.dtype.name not in accepted:
        *most, last = accepted
        raise ValueError(f"`{name}` has dtype {array.dtype}; it must be {', '.join(most)}{' or ' * bool(most)}{last}.")
    return array


def _as_float(value):
    try:
        return float(value)
    except OverflowError:
        return math.nan


def _range(low, high):
    if math.isinf(low) and math.isinf(high):
        return "a finite number"
    if math.isinf(high):
        return f"a finite number, {low:g} or more"
    if math.isinf(low):
        return f"a finite number, {high:g} or less"
    return f"a number from {low:g} to {high:g}"
