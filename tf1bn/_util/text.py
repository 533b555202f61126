"""Numbers, names and lists as parts of a sentence."""

import itertools
import math


def few(numbers):
    """The first six of some numbers in words."""
    return ", ".join(map(str, numbers[:6])) + (" and more" if len(numbers) > 6 else "")


def quoted(names, limit=3):
    """The names in a sentence, the first few of them."""
    shown = ", ".join(f"`{name}`" for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


def counted(number, word):
    return f"{number} {word}{'' if number == 1 else 's'}"


SHOWN_RANGES = 8  # steps, or runs of them, that a sentence lists


def ranges(at, numbers):
    """Ascending indices ``at`` of ``numbers`` as text: each number, and three or more neighbours as "4 to 9"."""
    parts = []
    for _, group in itertools.groupby(enumerate(at), lambda pair: pair[1] - pair[0]):
        run = [numbers[i] for _, i in group]
        parts += [(f"{run[0]} to {run[-1]}", len(run))] if len(run) > 2 else [(str(number), 1) for number in run]
    rest = sum(count for _, count in parts[SHOWN_RANGES:])
    return ", ".join(text for text, _ in parts[:SHOWN_RANGES]) + (f" and {rest} more" if rest else "")


def some(names):
    names = list(names)
    if not names:
        return "none"
    return ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def in_words(value):
    """A number as text; what is no finite number is said in words."""
    if value is None:
        return "not given"
    if isinstance(value, (bool, str)):
        return str(value)
    try:
        number = float(value)
    except (TypeError, ValueError):
        return str(value)
    except OverflowError:
        return "too large"
    if math.isnan(number):
        return "not a number"
    if math.isinf(number):
        return "infinite" if number > 0 else "minus infinite"
    return f"{number:.4g}"


def in_times(share):
    """``share`` of a bound as text: "0.3 times"."""
    return f"{share:.2g} times" if share < 10 or share >= 1e6 else f"{float(f'{share:.3g}'):,.0f} times"


def in_percent(share):
    """``share`` of a whole as text: "24 %", "0.3 %"."""
    percent = 100 * share
    return f"{percent:.2g} %" if percent < 10 else f"{percent:.0f} %"
