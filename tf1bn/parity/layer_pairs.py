"""Which batch-norm layer of OLD is which of NEW: by a map, by name, or by a guess."""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import math

import numpy as np

from ..evidence.step_view import View
from .assignment import improved_pairs
from .layer_map import mapped_names
from .names import pairs_by_name, unique_pairs
from .order import Likeness, pairs_in_order

CLOSE = 1e-3  # distance of moments, in standard deviations, up to which they are of the same data but for rounding


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
      by: for a guess what it goes by: "data" or "parameters" that no other layer has, "statistics" in checkpoints,
        "likeness" of names and values, the "shape" that no other open layer has, or "order" among those of one shape.
    """

    old: str
    new: str
    how: str
    confirmed: bool | None = None
    by: str | None = None


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
      trained parameters, then those of as many channels in the same order or that are alike, see `assignment`.

    Raises:
      MappingError: the map is none, a name or pattern in it fits no layer, or two old layers would be one new layer.
    """
    by_old, by_new = {layer.name: layer for layer in old}, {layer.name: layer for layer in new}
    mapped = mapped_names(mapping or {}, by_old, by_new)
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
    for old_layer, new_layer, by in _pairs_without_names(open_old, open_new):
        same = old_layer.same_data(new_layer)
        pairs[old_layer.name] = LayerPair(old_layer.name, new_layer.name, "guess", same, by)
        taken.add(new_layer.name)
    return Matching(
        tuple(pairs[name] for name in by_old if name in pairs),
        tuple(name for name in by_old if name not in pairs and name not in ignored),
        tuple(name for name in by_new if name not in taken),
        ignored,
    )


def _pairs_without_names(old, new):
    """Pairs of signatures, each with what it goes by: by data, by parameters, and what `order_and_likeness` leaves."""
    pairs = []
    for by, match in (("data", _by_data), ("parameters", _by_key)):
        done_old, done_new = {layer.name for layer, *_ in pairs}, {layer.name for _, layer, _ in pairs}
        found = match(
            [layer for layer in old if layer.name not in done_old],
            [layer for layer in new if layer.name not in done_new],
        )
        pairs += [(*pair, by) for pair in found]
    done_old, done_new = {layer.name for layer, *_ in pairs}, {layer.name for _, layer, _ in pairs}
    return pairs + order_and_likeness(
        [layer for layer in old if layer.name not in done_old],
        [layer for layer in new if layer.name not in done_new],
    )


def order_and_likeness(old, new):
    """Pairs of signatures of as many channels: in order, unless others are clearly more alike.

    Args:
      old, new: lists of `LayerSignature` in order; those of unknown numbers of channels are left out.

    Returns:
      List of (signature of OLD, signature of NEW, "order", "likeness" or "shape").
    """
    old, new = ([layer for layer in layers if layer.channels is not None] for layers in (old, new))
    alike = Likeness(old, new)
    return improved_pairs(old, new, pairs_in_order(old, new, alike), alike)


def _by_key(old, new):
    """The pairs of signatures with the same bits, where neither is like another one."""
    by_name = ({layer.name: layer for layer in layers} for layers in (old, new))
    old, new = by_name
    pairs = unique_pairs(list(old), list(new), lambda name: old[name].key, lambda name: new[name].key)
    return [(old[name], new[other]) for name, other in pairs]


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
