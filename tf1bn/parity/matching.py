"""Which batch-norm layer of one run is which of another: by name, by a map, or by a guess. Used by ``parity``."""

import dataclasses
import math
import re

import numpy as np

from .._util.strict_json import parse
from .._util.text import listed
from .._util.validation import shown
from ..errors import MappingError
from ..evidence.step_view import View

CLOSE = 1e-3  # moments, in units of the deviation, that belong to the same data up to what rounding made of it


@dataclasses.dataclass(frozen=True)
class Face:
    """What a layer is recognised by.

    Attributes:
      name: the layer's.
      channels: how many values its statistics have; None if no step holds it.
      moments: the `checker.Moments` of its first application; None if they are not there or are not finite.
    """

    name: str
    channels: int | None
    moments: object = None

    def resembles(self, other):
        """Whether both were given the same data first, up to rounding; None if that cannot be seen."""
        one, two = self.moments, other.moments
        if one is None or two is None:
            return None
        return apart(one, two) <= CLOSE


def apart(one, two):
    """How far two `Moments` are apart at most, in deviations; inf if not of as many values and channels, or NaN."""
    if one.count != two.count or one.mean.shape != two.mean.shape:
        return math.inf
    with np.errstate(divide="ignore", invalid="ignore"):
        unit = np.sqrt(np.maximum(one.variance, two.variance)) + 1e-12 * (np.abs(one.mean) + 1)
        away = np.maximum(np.abs(one.mean - two.mean), np.abs(np.sqrt(one.variance) - np.sqrt(two.variance))) / unit
    return float(np.max(np.where(np.isnan(away), np.inf, away), initial=0.0))


def faces(opened):
    """The `Face` of every layer of a trace, in the order in which the layers are first applied."""
    found = {}
    for step in opened:
        for name, record in step.layers.items():
            if name not in found:
                found[name] = Face(name, record.moving_mean_before.size, _moments(record))
        if found.keys() >= {name for name, layer in opened.layers.items() if layer.unrecordable is None}:
            break
    return [*found.values(), *(Face(name, None) for name in opened.layers if name not in found)]


def _moments(record):
    view = View(record)
    if view.wrong_shape or view.all_moments is None:
        return None
    moments = view.all_moments[0]
    return moments if np.isfinite(moments.mean).all() and np.isfinite(moments.variance).all() else None


@dataclasses.dataclass(frozen=True)
class Match:
    """Two layers that are compared.

    Attributes:
      old, new: their names.
      how: "name", "map" or "guess".
      confirmed: for a guess, whether both are given the same data; None if that cannot be seen.
    """

    old: str
    new: str
    how: str
    confirmed: bool | None = None


@dataclasses.dataclass(frozen=True)
class Matching:
    """The pairs in the order of the old layers, and what is left; ``ignored``: old layers that the map leaves out."""

    pairs: tuple[Match, ...]
    only_old: tuple[str, ...]
    only_new: tuple[str, ...]
    ignored: tuple[str, ...] = ()


def match(old, new, mapping=None):
    """Match layers by a map, then by name, then by a guess.

    Args:
      old, new: lists of `Face`, each in order of application.
      mapping: None, or a dict from old names to new ones, or to None for an old layer without a counterpart. Both may
        be patterns with as many "*" each: "block*/bn*" to "stage*.norm*" keeps what the stars stand for.

    Returns:
      `Matching`. A guess pairs layers that are given the same data, then those of as many channels in the same order.

    Raises:
      MappingError: the map is none, a name or pattern in it fits no layer, or two old layers would be one new layer.
    """
    by_old, by_new = {face.name: face for face in old}, {face.name: face for face in new}
    mapped = _mapped(mapping or {}, by_old, by_new)
    pairs = {one: Match(one, other, "map") for one, other in mapped.items() if other is not None}
    ignored = tuple(one for one, other in mapped.items() if other is None)
    taken = {pair.new for pair in pairs.values()}
    for name in by_old:
        if name not in mapped and name in by_new and name not in taken:
            pairs[name] = Match(name, name, "name")
            taken.add(name)
    rest = [face for face in old if face.name not in pairs and face.name not in ignored]
    free = [face for face in new if face.name not in taken]
    for one, other in _guess(rest, free):
        pairs[one.name] = Match(one.name, other.name, "guess", one.resembles(other))
        taken.add(other.name)
    return Matching(
        tuple(pairs[name] for name in by_old if name in pairs),
        tuple(name for name in by_old if name not in pairs and name not in ignored),
        tuple(name for name in by_new if name not in taken),
        ignored,
    )


def _guess(old, new):
    """Pairs of faces: first by data where that is unambiguous, then by channels in order."""
    alike = {one.name: [other for other in new if one.resembles(other)] for one in old}
    back = {other.name: [one for one in old if one.resembles(other)] for other in new}
    pairs = [
        (one, alike[one.name][0]) for one in old if len(alike[one.name]) == 1 == len(back[alike[one.name][0].name])
    ]
    done = {one.name for one, _ in pairs}, {other.name for _, other in pairs}
    old = [face for face in old if face.name not in done[0] and face.channels is not None]
    new = [face for face in new if face.name not in done[1] and face.channels is not None]
    return pairs + _in_order(old, new)


def _in_order(old, new):
    """The longest common subsequence by the number of channels."""
    length = np.zeros((len(old) + 1, len(new) + 1), int)
    for i in reversed(range(len(old))):
        for j in reversed(range(len(new))):
            same = old[i].channels == new[j].channels
            length[i, j] = length[i + 1, j + 1] + 1 if same else max(length[i + 1, j], length[i, j + 1])
    pairs, i, j = [], 0, 0
    while i < len(old) and j < len(new):
        if old[i].channels == new[j].channels:
            pairs.append((old[i], new[j]))
            i, j = i + 1, j + 1
        elif length[i + 1, j] >= length[i, j + 1]:
            i += 1
        else:
            j += 1
    return pairs


def read_map(path):
    """The map in a JSON file.

    Raises:
      MappingError: it cannot be read or holds no map.
    """
    try:
        with open(path, "rb") as file:
            mapping = parse(file.read(2**24))
    except OSError as error:
        raise MappingError(f"`--map` is {path!r}, which cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise MappingError(f"`--map` is {path!r}, and {error}") from error
    _check(mapping)
    return mapping


def _check(mapping):
    if not isinstance(mapping, dict):
        raise MappingError(
            f"The map is {shown(mapping)}; it must be an object from names or patterns of OLD to those of NEW."
        )
    for one, other in mapping.items():
        if not isinstance(one, str) or not (other is None or isinstance(other, str)):
            raise MappingError(f"The map has {shown(one)}: {shown(other)}; both must be names, or the latter null.")


def _mapped(mapping, old, new):
    """The new name, or None, for every old name that the map names."""
    _check(mapping)
    found, users = {}, {}
    # Exact names go before patterns, whatever their place.
    for one, other in sorted(mapping.items(), key=lambda item: "*" in item[0]):
        pattern = re.compile("(.*)".join(map(re.escape, one.split("*"))))
        hits = {name: hit for name in old if name not in found and (hit := pattern.fullmatch(name))}
        if not hits:
            if "*" in one and any(pattern.fullmatch(name) for name in old):
                continue
            raise MappingError(f"The map names {one!r}, which is no layer of OLD; OLD has {listed(map(repr, old), 5)}.")
        if other is not None and "*" in other and other.count("*") != one.count("*"):
            raise MappingError(f'The map has {one!r}: {other!r}; both must have as many "*".')
        for name, hit in hits.items():
            target = other
            if target is not None:
                parts = target.split("*")
                target = "".join(
                    part + (hit.group(i + 1) if i < len(parts) - 1 else "") for i, part in enumerate(parts)
                )
                if target not in new:
                    raise MappingError(
                        f"The map makes {name!r} of OLD {target!r}, which is no layer of NEW; NEW has "
                        f"{listed(map(repr, new), 5)}."
                    )
                if target in users:
                    raise MappingError(f"The map makes both {users[target]!r} and {name!r} of OLD {target!r} of NEW.")
                users[target] = name
            found[name] = target
    return found
