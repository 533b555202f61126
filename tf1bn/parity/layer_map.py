"""The map that says which layer of OLD is which of NEW, by names or patterns, and the JSON file that it can be in."""

from __future__ import annotations

from .._util import strict_json
from .._util.text import did_you_mean, listed
from .._util.validation import shown
from ..errors import MappingError

BYTES = 2**24  # of a file
MOST_TRIALS = 2**24  # patterns of a map times layers


def read_map(path):
    """The map in a JSON file, as `layer_pairs.match_layers` takes it.

    Raises:
      MappingError: it cannot be read or holds no map.
    """
    try:
        mapping = strict_json.read(path, BYTES)
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
    for name, target in mapping.items():
        if not isinstance(name, str) or not (target is None or isinstance(target, str)):
            raise MappingError(f"The map has {shown(name)}: {shown(target)}; both must be names, or the latter null.")


def mapped_names(mapping, old, new):
    """The new name, or None, for every old name that a map names.

    Args:
      mapping: the map, as `layer_pairs.match_layers` takes it.
      old, new: collections of the names of all layers.

    Raises:
      MappingError: as `layer_pairs.match_layers`.
    """
    _check(mapping)
    targets, users = {}, {}
    patterns = [item for item in mapping.items() if "*" in item[0]]
    if len(patterns) * len(old) > MOST_TRIALS:
        raise MappingError(
            f"The map has {len(patterns)} patterns for {len(old)} layers of OLD, which takes too long; give names, or "
            "fewer patterns."
        )
    # Exact names go before patterns, whatever their place.
    for name, target in mapping.items():
        if "*" not in name:
            if name not in old:
                raise _no_layer(name, old)
            _add_target(name, _filled(name, target, ()), new, targets, users)
    for pattern, target in patterns:
        parts = pattern.split("*")
        matched = [(name, stars) for name in old if (stars := _stars(parts, name)) is not None]
        if not matched:
            raise _no_layer(pattern, old)
        for name, stars in matched:
            if name not in targets:
                _add_target(name, _filled(pattern, target, stars), new, targets, users)
    return targets


def _no_layer(name_or_pattern, old):
    names = listed(map(repr, old), 5)
    return MappingError(
        f"The map names {name_or_pattern!r}, which is no layer of OLD; OLD has {names}."
        f"{did_you_mean(name_or_pattern, old)}"
    )


def _add_target(name, target, new, targets, users):
    """Add an old name and its new one to ``targets``; ``users`` has the old name of each new one."""
    if target is not None:
        if target not in new:
            names = listed(map(repr, new), 5)
            raise MappingError(
                f"The map makes {name!r} of OLD {target!r}, which is no layer of NEW; NEW has {names}."
                f"{did_you_mean(target, new)}"
            )
        if target in users:
            raise MappingError(f"The map makes both {users[target]!r} and {name!r} of OLD {target!r} of NEW.")
        users[target] = name
    targets[name] = target


def _stars(parts, name):
    """What each star of a pattern stands for in a name, the earlier ones as much as they can; None if it does not fit.

    ``parts`` is what the pattern has between its stars.
    """
    first, *between, last = parts
    if len(first) + len(last) > len(name) or not (name.startswith(first) and name.endswith(last)):
        return None
    end, stars = len(name) - len(last), []
    for part in reversed(between):
        start = name.rfind(part, len(first), end)
        if start < 0:
            return None
        stars.append(name[start + len(part) : end])
        end = start
    return [name[len(first) : end], *reversed(stars)]


def _filled(pattern, target, stars):
    """A name or pattern of NEW with what the stars of the old pattern stand for in the place of its own."""
    if target is None or "*" not in target:
        return target
    first, *others = target.split("*")
    if len(others) != pattern.count("*"):
        raise MappingError(f'The map has {pattern!r}: {target!r}; both must have as many "*".')
    return first + "".join(star + part for star, part in zip(stars, others, strict=True))
