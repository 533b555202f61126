"""The shape of a comparison's result, and the check that a file holds one before anything is computed from it."""

from __future__ import annotations

from typing import Any

from .._util.text import listed
from .._util.validation import shown
from ..verdicts import ADVISORY, FINDING, VERDICTS
from .verdict import FORMAT


def checked(result: object) -> dict[str, Any]:
    """``result``, parsed from JSON, if it is what `compare_traces` or `compare_checkpoints` returns.

    Raises:
      ValueError: it is not; the message says where.
    """
    if not isinstance(result, dict) or result.get("format") != FORMAT:
        raise ValueError(f"it is not of the format {FORMAT!r}.")
    _RESULT.check(result, "")
    return result


class _Kind:
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
        return _Kind(f"{self.wanted} or {other.wanted}", lambda value: self.accepts(value) or other.accepts(value))


class _List(_Kind):
    """Lists whose items are all of one kind; of so many items, if ``size`` is given."""

    def __init__(self, item, size=None):
        wanted = "a list" if size is None else f"a list of {size}"
        super().__init__(wanted, lambda value: isinstance(value, list) and size in (None, len(value)))
        self._item = item

    def check(self, value, where):
        super().check(value, where)
        for i, item in enumerate(value):
            self._item.check(item, f"{where}[{i}]")


class _Object(_Kind):
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


class _ByName(_Kind):
    """Objects of which all values are of one kind."""

    def __init__(self, item):
        super().__init__("an object", lambda value: isinstance(value, dict))
        self._item = item

    def check(self, value, where):
        super().check(value, where)
        for name, item in value.items():
            self._item.check(item, f"{where}.{name}")


class _Either(_Kind):
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


def _one_of(words):
    return _Kind(listed([f'"{word}"' for word in words], 9), lambda value: isinstance(value, str) and value in words)


_TEXT = _Kind("text", lambda value: isinstance(value, str))
_FLAG = _Kind("true or false", lambda value: isinstance(value, bool))
_NUMBER = _Kind("a finite number", _is_number)
_COUNT = _Kind(
    "a whole number", lambda value: isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63
)
_SENTENCES = _List(_TEXT)
_OPTIONAL_TEXT, _OPTIONAL_NUMBER = _Either(_TEXT), _Either(_NUMBER)

_CAUSE = _Object(
    {"id": _TEXT, "severity": _one_of((FINDING, ADVISORY)), "explanation": _TEXT, "misfit": _OPTIONAL_NUMBER},
    needed=("id", "severity", "explanation"),
)
_CHECK = _Object(
    {
        "what": _TEXT,
        **dict.fromkeys(("error", "bound", "old", "new", "expected_error", "worst_case"), _OPTIONAL_NUMBER),
        **dict.fromkeys(("step", "channel", "first"), _Either(_COUNT)),
    },
    needed=("what", "error", "bound"),
)
# The differences of one variable in two checkpoints; "within" says that rounding explains them.
_DIFFERENCE = _Object(
    {
        **dict.fromkeys(("what", "old", "new"), _TEXT),
        "dtypes": _List(_TEXT, 2),
        "equal": _FLAG,
        "channels": _COUNT,
        "differing": _Either(_COUNT),
        "largest": _OPTIONAL_NUMBER,
        **dict.fromkeys(("channel", "ulps"), _Either(_COUNT)),
        "within": _FLAG,
        "values": _Either(_List(_OPTIONAL_NUMBER, 2)),
    }
)
_DATA = _Object({**dict.fromkeys(("state", "reason", "sentence"), _OPTIONAL_TEXT), "error": _OPTIONAL_NUMBER})
_EFFECTIVE = _ByName(_Either(_NUMBER, _TEXT, _List(_OPTIONAL_NUMBER, 2)))
_LAYER = _Object(
    {
        "name": _TEXT,
        **dict.fromkeys(("old", "new", "matched", "matched_by", "inputs_follow_from", "explanation"), _OPTIONAL_TEXT),
        "verdict": _one_of(VERDICTS),
        "first": _FLAG,
        "since": _Either(_COUNT),
        "causes": _List(_CAUSE),
        "undecided": _SENTENCES,
        "checks": _Either(_List(_CHECK)),
        **dict.fromkeys(("inherited_error", "added_error"), _OPTIONAL_NUMBER),
        "differences": _Either(_List(_DIFFERENCE), _ByName(_OPTIONAL_NUMBER)),
        "data": _Either(_DATA),
        "effective": _Either(_Object({"old": _Either(_EFFECTIVE), "new": _Either(_EFFECTIVE)})),
        "notes": _SENTENCES,
        "steps": _Either(_COUNT),
    },
    needed=("name", "verdict", "causes"),
)
_RESULT = _Object(
    {
        **dict.fromkeys(("kind", "tf1bn", "old", "new", "only"), _OPTIONAL_TEXT),
        "ok": _FLAG,
        "data": _Either(_DATA),
        "steps": _Either(_List(_COUNT, 2)),
        "ulp": _Either(_COUNT),
        "renames": _List(_Object({"layers": _SENTENCES, "sentence": _TEXT}, needed=("layers",))),
        "notes": _SENTENCES,
        "problems": _SENTENCES,
        "layers": _List(_LAYER),
    },
    needed=("layers", "problems"),
)
