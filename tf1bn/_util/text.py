"""Numbers, names and lists as parts of a sentence."""

import itertools
import math

SHOWN_RANGES = 8  # steps, or runs of them, that a sentence lists


def listed(items, limit):
    """The first ``limit`` items as text, and how many more there are: "a, b and 3 more"; "none" if there are none."""
    items = list(items)
    rest = len(items) - limit
    return (", ".join(map(str, items[:limit])) or "none") + (f" and {rest} more" if rest > 0 else "")


def did_you_mean(word, words):
    """A sentence with a blank before it on the words that are written like ``word``, or "" if there are none."""
    import difflib

    words = [str(other) for other in words]
    bare = {other.lstrip("-"): other for other in words}
    near = [bare[other] for other in difflib.get_close_matches(word.lstrip("-"), bare, n=2, cutoff=0.7)]
    if not near:
        # The last part of a name alone, or letters of the other case.
        near = [other for other in words if word and other.lower().endswith(word.lower())][:2]
    return f" Did you mean {' or '.join(f'`{other}`' for other in near)}?" if near else ""


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


def apart(*numbers, digits=6):
    """Numbers as text with at least so many digits, and with more where different numbers would read alike."""
    for count in range(digits, 18):
        texts = [f"{number:.{count}g}" for number in numbers]
        if len(set(texts)) == len(set(numbers)):
            break
    return texts


def between(low, high, beside=None):
    """An interval as text, with as many digits as its ends differ in: "between 0.0010003 and 0.0010007".

    Args:
      low, high: its ends.
      beside: None, or a number that the text stands beside and that neither end may read like.
    """
    ends = apart(low, high, *([] if beside is None else [beside]), digits=4)
    return f"between {ends[0]} and {ends[1]}"


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


def reason(error):
    """What a library says in an exception, short enough for one sentence."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).rstrip(".")[:300]
