"""The shape that a JSON value must have, and the check of it before anything is computed from other people's files."""

from __future__ import annotations

from .text import listed
from .validation import shown


class Kind:
    """Values of some types.

    Args:
      wanted: what they are, in words.
      accepts: function that is true for them.
    """

    def __init__(self, wanted, accepts):
        self.wanted, self.accepts = wanted, accepts

    def check(self, value, where):
        """Raise ValueError if ``value`` is not of this kind; ``where`` is its place in the result."""
        if not self.accepts(value):
            raise ValueError(f"`{where}` in it is {shown(value)}; it must be {self.wanted}.")

    def __or__(self, other):
        return Kind(f"{self.wanted} or {other.wanted}", lambda value: self.accepts(value) or other.accepts(value))


class ListOf(Kind):
    """Lists whose items are all of one kind; of so many items, if ``size`` is given."""

    def __init__(self, item, size=None):
        wanted = "a list" if size is None else f"a list of {size}"
        super().__init__(wanted, lambda value: isinstance(value, list) and size in (None, len(value)))
        self._item = item

    def check(self, value, where):
        super().check(value, where)
        for i, item in enumerate(value):
            self._item.check(item, f"{where}[{i}]")


class ObjectOf(Kind):
    """Objects with these ``fields``, of which the ``needed`` ones must be there; others may be anything."""

    def __init__(self, fields, needed=()):
        super().__init__("an object", lambda value: isinstance(value, dict))
        self._fields, self._needed = fields, needed

    def check(self, value, where):
        super().check(value, where)
        lacking = [name for name in self._needed if name not in value]
        if lacking:
            raise ValueError(f"`{where}` in it has no {listed(lacking, 3)}." if where else f"it has no `{lacking[0]}`.")
        for name, kind in self._fields.items():
            if name in value:
                kind.check(value[name], f"{where}.{name}" if where else name)


class ByName(Kind):
    """Objects of which all values are of one kind."""

    def __init__(self, item):
        super().__init__("an object", lambda value: isinstance(value, dict))
        self._item = item

    def check(self, value, where):
        super().check(value, where)
        for name, item in value.items():
            self._item.check(item, f"{where}.{name}")


class OrNull(Kind):
    """Values that are null or of the first of some kinds that accepts them."""

    def __init__(self, *kinds):
        wanted = ", ".join(kind.wanted for kind in kinds)
        super().__init__(f"{wanted} or null", lambda value: any(kind.accepts(value) for kind in kinds))
        self._kinds = kinds

    def check(self, value, where):
        if value is None:
            return
        super().check(value, where)
        next(kind for kind in self._kinds if kind.accepts(value)).check(value, where)


def _is_number(value):
    """Whether a value is a number that a float can hold; true and false are none."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return -1.7e308 < value < 1.7e308


def one_of(words):
    """The kind of texts that are one of some words."""
    return Kind(listed([f'"{word}"' for word in words], 9), lambda value: isinstance(value, str) and value in words)


TEXT = Kind("text", lambda value: isinstance(value, str))
FLAG = Kind("true or false", lambda value: isinstance(value, bool))
NUMBER = Kind("a finite number", _is_number)
COUNT = Kind(
    "a whole number", lambda value: isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63
)
SENTENCES = ListOf(TEXT)
OPTIONAL_TEXT, OPTIONAL_NUMBER = OrNull(TEXT), OrNull(NUMBER)
