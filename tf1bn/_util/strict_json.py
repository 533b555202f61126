"""JSON that is strict in both directions: only standard JSON is read, and what is written every reader accepts."""

import codecs
import collections
import json
import math

from .printable import json_escaped
from .validation import shown


def parse(data):
    """The value of a JSON text in bytes.

    Raises:
      ValueError: it is not strictly JSON, or gives a name twice; the message begins with "it".
    """
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


def read(path, most):
    """The value that a JSON file of at most ``most`` bytes holds.

    Raises:
      OSError: it cannot be read.
      ValueError: it is larger, or as `parse`; the message begins with "it".
    """
    with open(path, "rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"it is larger than {most} bytes.")
    # Editors of Windows begin a file with a mark.
    return parse(data.removeprefix(codecs.BOM_UTF8))


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
