"""Which batch-norm layer of OLD is which of NEW: by a map, by name, or by a guess."""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import math

import numpy as np

from .._util.strict_json import parse
from .._util.text import listed
from .._util.validation import shown
from ..errors import MappingError
from ..evidence.step_view import View
from .names import pairs_by_name, unique_pairs
from .order import pairs_in_order

CLOSE = 1e-3  # distance of moments, in standard deviations, up to which they are of the same data but for rounding
MOST_TRIALS = 2**24  # patterns of a map times layers


@dataclasses.dataclass(frozen=True)
class LayerSignature:
    """What a layer is recognised by.

    Attributes:
      name: the layer's.
      channels: how many values its statistics have; None if no step holds it.
      moments: the `checker.Moments` of its first application; None if they are not there or are not finite.
      values: float64 vectors by role that the layer begins with, such as "gamma"; those that are recorded.
      key: bits that only this layer is likely to have, such as those of trained parameters; or None.
    """

    name: str
    channels: int | None
    moments: object = None
    values: dict = dataclasses.field(default_factory=dict, compare=False, repr=False)
    key: bytes | None = None

    def same_data(self, other):
        """Whether both layers were given the same data first, up to rounding; None if that cannot be seen."""
        if self.moments is None or other.moments is None:
            return None
        return moments_distance(self.moments, other.moments) <= CLOSE


def moments_distance(old, new):
    """The largest distance of two `Moments` over channels, in standard deviations.

    Inf if they are of different numbers of values or channels, or hold NaN.
    """
    if old.count != new.count or old.mean.shape != new.mean.shape:
        return math.inf
    with np.errstate(divide="ignore", invalid="ignore"):
        unit = np.sqrt(np.maximum(old.variance, new.variance)) + 1e-12 * (np.abs(old.mean) + 1)
        by_mean, by_deviation = np.abs(old.mean - new.mean), np.abs(np.sqrt(old.variance) - np.sqrt(new.variance))
        distance = np.maximum(by_mean, by_deviation) / unit
    return float(np.max(np.where(np.isnan(distance), np.inf, distance), initial=0.0))


def layer_signatures(trace):
    """The `LayerSignature` of every layer of a trace, in the order in which the layers are first applied."""
    signatures = {}
    for step in trace:
        for name, record in step.layers.items():
            if name not in signatures:
                signatures[name] = _signature(name, record)
        if signatures.keys() >= {name for name, layer in trace.layers.items() if layer.unrecordable is None}:
            break
    return [*signatures.values(), *(LayerSignature(name, None) for name in trace.layers if name not in signatures)]


def _signature(name, record):
    """The `LayerSignature` of the first `trace.Record` of a layer."""
    moments = _first_moments(record)
    held = {"mean": record.moving_mean_before, "variance": record.moving_variance_before}
    held |= {role: getattr(record, role) for role in ("gamma", "beta")}
    values = {role: np.asarray(array, np.float64).ravel() for role, array in held.items() if array is not None}
    trained = [values[role] for role in ("gamma", "beta") if role in values and np.ptp(values[role]) > 0]
    if moments is not None:
        values |= {"batch mean": moments.mean, "batch variance": moments.variance}
    key = b"".join(array.astype(np.float32).tobytes() for array in trained) or None
    return LayerSignature(name, record.moving_mean_before.size, moments, values, key)


def _first_moments(record):
    view = View(record)
    if view.wrong_shape or view.all_moments is None:
        return None
    moments = view.all_moments[0]
    return moments if np.isfinite(moments.mean).all() and np.isfinite(moments.variance).all() else None


@dataclasses.dataclass(frozen=True)
class LayerPair:
    """Two layers that are compared.

    Attributes:
      old, new: their names.
      how: how they were matched: "name", "map" or "guess".
      confirmed: for a guess, whether both are given the same data; None if that cannot be seen.
    """

    old: str
    new: str
    how: str
    confirmed: bool | None = None


@dataclasses.dataclass(frozen=True)
class Matching:
    """All layers of two runs.

    Attributes:
      pairs: the layers that are compared, in the order of OLD's.
      only_old, only_new: the names of the layers without a counterpart.
      ignored: the names of OLD's layers that the map leaves out.
    """

    pairs: tuple[LayerPair, ...]
    only_old: tuple[str, ...]
    only_new: tuple[str, ...]
    ignored: tuple[str, ...] = ()


def match_layers(old, new, mapping=None):
    """Match layers by a map, then by name, then by a guess.

    Args:
      old, new: lists of `LayerSignature`, each in order of application.
      mapping: None, or a dict from old names to new ones, or to None for an old layer without a counterpart. Both may
        be patterns with as many "*" each: "block*/bn*" to "stage*.norm*" keeps what the stars stand for.

    Returns:
      `Matching`. Names that differ in what frameworks differ in, such as separators, are the same names, see
      `names.pairs_by_name`. A guess pairs layers that are given the same data, then those that begin with the same
      trained parameters, then those of as many channels in the same order, see `order.pairs_in_order`.

    Raises:
      MappingError: the map is none, a name or pattern in it fits no layer, or two old layers would be one new layer.
    """
    by_old, by_new = {layer.name: layer for layer in old}, {layer.name: layer for layer in new}
    mapped = _mapped(mapping or {}, by_old, by_new)
    pairs = {name: LayerPair(name, target, "map") for name, target in mapped.items() if target is not None}
    ignored = tuple(name for name, target in mapped.items() if target is None)
    taken = {pair.new for pair in pairs.values()}
    for name in by_old:
        if name not in mapped and name in by_new and name not in taken:
            pairs[name] = LayerPair(name, name, "name")
            taken.add(name)
    for name, target in pairs_by_name(
        [name for name in by_old if name not in pairs and name not in ignored],
        [name for name in by_new if name not in taken],
        by_old,
        by_new,
    ):
        pairs[name] = LayerPair(name, target, "name")
        taken.add(target)
    open_old = [layer for layer in old if layer.name not in pairs and layer.name not in ignored]
    open_new = [layer for layer in new if layer.name not in taken]
    for old_layer, new_layer in _guess(open_old, open_new):
        pairs[old_layer.name] = LayerPair(old_layer.name, new_layer.name, "guess", old_layer.same_data(new_layer))
        taken.add(new_layer.name)
    return Matching(
        tuple(pairs[name] for name in by_old if name in pairs),
        tuple(name for name in by_old if name not in pairs and name not in ignored),
        tuple(name for name in by_new if name not in taken),
        ignored,
    )


def _guess(old, new):
    """Pairs of signatures: by data, then by parameters where these are unambiguous, then by channels in order."""
    pairs = []
    for match in (_by_data, _by_key, _by_order):
        done_old, done_new = {layer.name for layer, _ in pairs}, {layer.name for _, layer in pairs}
        pairs += match(
            [layer for layer in old if layer.name not in done_old],
            [layer for layer in new if layer.name not in done_new],
        )
    return pairs


def _by_key(old, new):
    """The pairs of signatures with the same bits, where neither is like another one."""
    by_name = ({layer.name: layer for layer in layers} for layers in (old, new))
    old, new = by_name
    pairs = unique_pairs(list(old), list(new), lambda name: old[name].key, lambda name: new[name].key)
    return [(old[name], new[other]) for name, other in pairs]


def _by_order(old, new):
    known = ([layer for layer in layers if layer.channels is not None] for layers in (old, new))
    return pairs_in_order(*known)


def _by_data(old, new):
    """The pairs of signatures that are given the same data, where neither is like another one."""
    old, new = ([layer for layer in layers if layer.moments is not None] for layers in (old, new))
    sorted_old, sorted_new = _SortedByMean(old), _SortedByMean(new)
    pairs = []
    for layer in old:
        like = sorted_new.first_two(layer, layer.same_data)
        if len(like) == 1 and len(sorted_old.first_two(like[0], like[0].same_data)) == 1:
            pairs.append((layer, like[0]))
    return pairs


class _SortedByMean:
    """Signatures by their numbers of values and channels, sorted by the mean of the first channel."""

    def __init__(self, layers):
        self._groups = {}
        for layer in sorted(layers, key=_first_mean):
            keys, members = self._groups.setdefault(_size(layer), ([], []))
            keys.append(_first_mean(layer))
            members.append(layer)

    def first_two(self, layer, alike):
        """Those that are ``alike`` a signature, two of them if there are more; few others are looked at."""
        keys, members = self._groups.get(_size(layer), ([], []))
        # Twice as far as the first channel of the same data can be, in this layer's own units.
        mean, variance = _first_mean(layer), layer.moments.variance
        deviation = math.sqrt(max(variance.flat[0], 0)) if variance.size else 0.0
        reach = 2 * CLOSE * (deviation + 1e-12 * (abs(mean) + 1))
        between = itertools.islice(
            members, bisect.bisect_left(keys, mean - reach), bisect.bisect_right(keys, mean + reach)
        )
        return list(itertools.islice(filter(alike, between), 2))


def _size(layer):
    return layer.moments.count, layer.moments.mean.shape


def _first_mean(layer):
    return float(layer.moments.mean.flat[0]) if layer.moments.mean.size else 0.0


def read_map(path):
    """The map in a JSON file, as `match_layers` takes it.

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
    for name, target in mapping.items():
        if not isinstance(name, str) or not (target is None or isinstance(target, str)):
            raise MappingError(f"The map has {shown(name)}: {shown(target)}; both must be names, or the latter null.")


def _mapped(mapping, old, new):
    """The new name, or None, for every old name that the map names."""
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
    return MappingError(f"The map names {name_or_pattern!r}, which is no layer of OLD; OLD has {names}.")


def _add_target(name, target, new, targets, users):
    """Add an old name and its new one to ``targets``; ``users`` has the old name of each new one."""
    if target is not None:
        if target not in new:
            names = listed(map(repr, new), 5)
            raise MappingError(f"The map makes {name!r} of OLD {target!r}, which is no layer of NEW; NEW has {names}.")
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
