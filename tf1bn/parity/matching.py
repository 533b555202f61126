"""Which batch-norm layer of OLD is which of NEW: by a map, by name, or by a guess."""

from __future__ import annotations

import dataclasses
import math
import re

import numpy as np

from .._util.strict_json import parse
from .._util.text import listed
from .._util.validation import shown
from ..errors import MappingError
from ..evidence.step_view import View

CLOSE = 1e-3  # distance of moments, in standard deviations, up to which they are of the same data but for rounding


@dataclasses.dataclass(frozen=True)
class LayerSignature:
    """What a layer is recognised by.

    Attributes:
      name: the layer's.
      channels: how many values its statistics have; None if no step holds it.
      moments: the `checker.Moments` of its first application; None if they are not there or are not finite.
    """

    name: str
    channels: int | None
    moments: object = None

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
                signatures[name] = LayerSignature(name, record.moving_mean_before.size, _first_moments(record))
        if signatures.keys() >= {name for name, layer in trace.layers.items() if layer.unrecordable is None}:
            break
    return [*signatures.values(), *(LayerSignature(name, None) for name in trace.layers if name not in signatures)]


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
      `Matching`. A guess pairs layers that are given the same data, then those of as many channels in the same order.

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
    """Pairs of signatures: first by data where that is unambiguous, then by channels in order."""
    like_old = {layer.name: [other for other in new if layer.same_data(other)] for layer in old}
    like_new = {layer.name: [other for other in old if other.same_data(layer)] for layer in new}
    pairs = [
        (layer, like_old[layer.name][0])
        for layer in old
        if len(like_old[layer.name]) == 1 == len(like_new[like_old[layer.name][0].name])
    ]
    done_old, done_new = {layer.name for layer, _ in pairs}, {layer.name for _, layer in pairs}
    old = [layer for layer in old if layer.name not in done_old and layer.channels is not None]
    new = [layer for layer in new if layer.name not in done_new and layer.channels is not None]
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
    # Exact names go before patterns, whatever their place.
    for name_or_pattern, target in sorted(mapping.items(), key=lambda item: "*" in item[0]):
        pattern = re.compile("(.*)".join(map(re.escape, name_or_pattern.split("*"))))
        hits = {name: hit for name in old if name not in targets and (hit := pattern.fullmatch(name))}
        if not hits:
            if "*" in name_or_pattern and any(pattern.fullmatch(name) for name in old):
                continue
            names = listed(map(repr, old), 5)
            raise MappingError(f"The map names {name_or_pattern!r}, which is no layer of OLD; OLD has {names}.")
        if target is not None and "*" in target and target.count("*") != name_or_pattern.count("*"):
            raise MappingError(f'The map has {name_or_pattern!r}: {target!r}; both must have as many "*".')
        for name, hit in hits.items():
            filled = None if target is None else _filled(target, hit)
            if filled is not None:
                if filled not in new:
                    names = listed(map(repr, new), 5)
                    raise MappingError(
                        f"The map makes {name!r} of OLD {filled!r}, which is no layer of NEW; NEW has {names}."
                    )
                if filled in users:
                    raise MappingError(f"The map makes both {users[filled]!r} and {name!r} of OLD {filled!r} of NEW.")
                users[filled] = name
            targets[name] = filled
    return targets


def _filled(target, hit):
    """A pattern with what the stars of the old pattern stand for in its own."""
    parts = target.split("*")
    return "".join(part + (hit.group(i + 1) if i < len(parts) - 1 else "") for i, part in enumerate(parts))
