"""Numbers of a page in words: short ones for the table, exact ones for the details."""

import math

from ..._util.text import in_percent, in_times, in_words


def finite(value):
    """Whether a value is a real number, neither NaN nor infinite."""
    try:
        return isinstance(value, (int, float)) and math.isfinite(value)
    except OverflowError:
        return False


def dicts(values):
    """Those of the ``values`` that are dicts; none if they are no list."""
    return [value for value in values if isinstance(value, dict)] if isinstance(values, (list, tuple)) else []


def texts(values):
    """Those of the ``values`` that are texts, each once; none if they are no list."""
    return list(dict.fromkeys(value for value in values if isinstance(value, str))) if isinstance(values, list) else []


def mapping(value):
    """The ``value`` if it is a dict, else an empty one."""
    return value if isinstance(value, dict) else {}


def whole(value):
    """A count or an index with all of its digits."""
    return str(value) if isinstance(value, int) and abs(value) < 10**15 else in_words(value)


def exact(value):
    """A number with nine significant digits, which tell apart any two float32 numbers; else as `in_words`."""
    return f"{value:.9g}" if finite(value) and not isinstance(value, (bool, int)) else whole(value)


def share_in_words(share, of="the allowed"):
    """An error as a share of a bound, as text: "24 % of the allowed", or "5 times the allowed"."""
    return f"{in_percent(share)} of {of}" if 0 <= share <= 1 else f"{in_times(share)} {of}"


def interval(value):
    """A number, an interval or a list of numbers as text."""
    if isinstance(value, (list, tuple)) and len(value) == 2:
        return f"between {exact(value[0])} and {exact(value[1])}"
    if isinstance(value, (list, tuple)):
        return ", ".join(exact(item) for item in value) or "not given"
    return exact(value)
