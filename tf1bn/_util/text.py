"""Numbers, names and lists as parts of a sentence."""

import itertools
import math

SHOWN_RANGES = 8  # steps, or runs of them, that a sentence lists


def listed(items, limit):
    """The first ``limit`` items as text, and how many more there are: "a, b and 3 more"; "none" if there are none."""
    items = list(items)
    rest = len(items) - limit
    return (", ".join(map(str, items[:limit])) or "none") + (f" and {rest} more" if rest > 0 else "")


def quoted(names, limit=3):
    """The first ``limit`` names in backticks, and how many more there are."""
    return listed([f"`{name}`" for name in names], limit)


def counted(number, word):
    """A number of things: "1 layer", "2 layers"."""
    return f"{number} {word}{'' if number == 1 else 's'}"


def ranges(at, numbers):
    """Ascending indices ``at`` of ``numbers`` as text: each number, and three or more neighbours as "4 to 9"."""
    parts = []
    for _, group in itertools.groupby(enumerate(at), lambda pair: pair[1] - pair[0]):
        run = [numbers[i] for _, i in group]
        parts += [(f"{run[0]} to {run[-1]}", len(run))] if len(run) > 2 else [(str(number), 1) for number in run]
    rest = sum(count for _, count in parts[SHOWN_RANGES:])
    return ", ".join(text for text, _ in parts[:SHOWN_RANGES]) + (f" and {rest} more" if rest else "")


def apart(first, second, digits=6):
    """Two numbers as text, with so many digits or as many more as they differ in: ("0.9", "0.90000004")."""
    texts = "", ""
    for places in range(digits, 18):
        texts = f"{first:.{places}g}", f"{second:.{places}g}"
        if texts[0] != texts[1]:
            break
    return texts if texts[0] != texts[1] else (f"{first:.{digits}g}", f"{second:.{digits}g}")


def between(low, high):
    """An interval as text, with as many digits as its ends differ in: "between 0.0010003 and 0.0010007"."""
    low, high = apart(low, high, 4)
    return f"between {low} and {high}"


def in_words(value):
    """A number as text with four digits; words for what is not a finite number, and text as it is."""
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
    """A multiple of a bound as text: "0.3 times", "1,200 times"."""
    return f"{share:.2g} times" if share < 10 or share >= 1e6 else f"{float(f'{share:.3g}'):,.0f} times"


def in_percent(share):
    """``share`` of a whole as text: "24 %", "0.3 %"."""
    percent = 100 * share
    return f"{percent:.2g} %" if percent < 10 else f"{percent:.0f} %"
