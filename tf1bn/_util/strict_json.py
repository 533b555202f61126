"""JSON that is strict in both directions: what is read is checked, what is written every reader takes.

The checks say what is wrong in one sentence, with the name of the field in backticks.
"""

import collections
import json
import math
import numbers

from .printable import json_escaped


def number(name, value, low=-math.inf, high=math.inf):
    """``value`` as a finite float, or None."""
    if value is None:
        return None
    try:
        real = float(value) if isinstance(value, numbers.Real) and not isinstance(value, bool) else math.nan
    except OverflowError:
        real = math.nan
    # A NaN passes no comparison.
    if not (low <= real <= high and -math.inf < real < math.inf):
        wanted = "a finite number" if high == math.inf else f"a number from {low:g} to {high:g}"
        raise ValueError(f"`{name}` is {shown(value)}; it must be {wanted}, or null where it is not known.")
    return real


def one_of(name, value, accepted):
    if not any(value is item or (isinstance(value, str) and value == item) for item in accepted):
        raise ValueError(
            f"`{name}` is {shown(value)}; accepted are {', '.join(json.dumps(item) for item in accepted)}."
        )


def boolean(name, value):
    if not isinstance(value, bool):
        raise ValueError(f"`{name}` is {shown(value)}; it must be true or false.")
    return value


def whole(name, value):
    """``value`` as an int from 0 to 2^63 - 1, which every other program can hold as well."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < 0:
        raise ValueError(f"`{name}` is {shown(value)}; it must be a whole number, 0 or more.")
    if value >= 1 << 63:
        raise ValueError(f"`{name}` is {shown(value)}; it must be a whole number below 2^63.")
    return int(value)


def member(name, value, kind):
    """``value`` if it is of ``kind``, dict or list."""
    if not isinstance(value, kind):
        raise ValueError(f"`{name}` is {shown(value)}; it must be {'an object' if kind is dict else 'a list'}.")
    return value


def shown(value):
    """A value as it goes into a sentence."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def parse(data):
    """The value of a JSON text in bytes; ValueError for all that is not strictly JSON, in one sentence."""
    try:
        text = data.decode("utf-8")
        return json.loads(text, parse_constant=_refuse, parse_int=_integer, object_pairs_hook=_once)
    except UnicodeDecodeError:
        raise ValueError("it is not text in UTF-8.") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, " if error.lineno > 1 else ""
        raise ValueError(f"it is not JSON: {error.msg} ({where}column {error.colno}).") from None
    except RecursionError:
        raise ValueError("it is nested too deeply.") from None


def _refuse(constant):
    raise ValueError(f"it holds {constant}, which is not JSON; write null.")


def _integer(digits):
    # Python refuses thousands of digits, in words of its own.
    if len(digits) > 400:
        raise ValueError(f"it holds a number of {len(digits)} digits.")
    return int(digits)


def _once(pairs):
    result = dict(pairs)
    if len(result) < len(pairs):
        counts = collections.Counter(name for name, _ in pairs)
        twice = next(name for name, count in counts.items() if count > 1)
        raise ValueError(f"it gives {shown(twice)} twice.")
    return result


def to_json(result):
    """The result as JSON text; numbers that JSON cannot hold are null."""
    return json_escaped(json.dumps(_finite(result), indent=1, ensure_ascii=False, allow_nan=False)) + "\n"


def _finite(value):
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
