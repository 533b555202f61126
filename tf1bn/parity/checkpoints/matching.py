"""Which batch-norm layer of one checkpoint is which of another.

By a map; else by name, in the words of any framework; else by equal statistics; else by number of channels in order.
"""

from __future__ import annotations

import dataclasses
import re

import numpy as np

from ..layer_values import START
from ..matching import LayerPair, LayerSignature, Matching, match_layers

# Levels that a way of saving or a wrapper puts around a model.
_WRAPPERS = {"module", "_orig_mod", "model", "layers", "(model)", "(no scope)"}
_WORD = r"(?:batch_?norm(?:alization)?|bn)"
_BATCH_NORM = re.compile(rf"{_WORD}(?P<number>_\d+)?")
_NAMED_BATCH_NORM = re.compile(rf"(?P<name>.+)_{_WORD}(?P<number>_\d+)?")


def match_checkpoint_layers(old, new, mapping=None):
    """Match layers by name, and by their fingerprints and numbers of channels.

    Args:
      old, new: dicts from names to pairs (number of channels or None, `fingerprint` or None).
      mapping: None, or which name is which: see `matching.match_layers`.

    Returns:
      `matching.Matching`; whether anything confirms a guess is left open.

    Raises:
      MappingError: the map cannot be used.
    """
    mapped = match_layers(
        [LayerSignature(name, None) for name in old], [LayerSignature(name, None) for name in new], mapping
    )
    pairs = {pair.old: pair for pair in mapped.pairs if pair.how == "map"}
    ignored, taken = set(mapped.ignored), {pair.new for pair in pairs.values()}

    def unmatched():
        return (
            [name for name in old if name not in pairs and name not in ignored],
            [name for name in new if name not in taken],
        )

    def keep(names, how):
        for old_name, new_name in names:
            pairs[old_name] = LayerPair(old_name, new_name, how)
            taken.add(new_name)

    names_old, names_new = unmatched()
    both = set(names_new)
    keep([(name, name) for name in names_old if name in both], "name")
    keep(_unique(*unmatched(), plain_path, plain_path), "name")
    # The levels in common are those of all layers, the matched ones too.
    keep(_unique(*unmatched(), _below_common_levels(old), _below_common_levels(new)), "name")
    keep(_common_ends(*unmatched()), "name")
    keep(_unique(*unmatched(), lambda name: old[name][1], lambda name: new[name][1]), "guess")
    keep(_in_order(*unmatched(), old, new), "guess")
    only_old, only_new = unmatched()
    in_order = tuple(pairs[name] for name in old if name in pairs)
    return Matching(in_order, tuple(only_old), tuple(only_new), tuple(ignored))


def _in_order(names_old, names_new, old, new):
    """Pairs by the number of channels, in the natural order of the names; files have no other."""
    # The marks keep names that are equal in both files from being matched for that.
    old_layers = [LayerSignature("-" + name, old[name][0]) for name in sorted(names_old, key=natural)]
    new_layers = [LayerSignature("+" + name, new[name][0]) for name in sorted(names_new, key=natural)]
    return [(pair.old[1:], pair.new[1:]) for pair in match_layers(old_layers, new_layers).pairs]


def plain_path(name):
    """The parts of a layer's name without what frameworks differ in: ``net/conv1/BatchNorm`` is net, conv1, bn.

    >>> plain_path("module.net.conv1_bn")
    ('net', 'conv1', 'bn')
    """
    parts = []
    for part in re.split(r"[/.]", name.lower()):
        if part in _WRAPPERS or not part:
            continue
        if match := _BATCH_NORM.fullmatch(part):
            parts.append("bn" + (match["number"] or ""))
        elif match := _NAMED_BATCH_NORM.fullmatch(part):
            parts += [match["name"], "bn" + (match["number"] or "")]
        elif parts[-1:] != [part]:
            # Some converters write a layer's name twice.
            parts.append(part)
    return tuple(parts)


def _below_common_levels(names):
    """A function like `plain_path` without the levels that all ``names`` have in common, but for the last level."""
    paths = [plain_path(name) for name in names]
    shortest = min(map(len, paths), default=0)
    common = 0
    while common < shortest - 1 and len({parts[common] for parts in paths}) == 1:
        common += 1
    return lambda name: plain_path(name)[common:]


def _unique(old, new, key_old, key_new):
    """Pairs of names with a key that exactly one name of OLD and one of NEW have."""
    by_key = {}, {}
    for groups, names, key in zip(by_key, (old, new), (key_old, key_new), strict=True):
        for name in names:
            groups.setdefault(key(name), []).append(name)
    return [
        (names[0], by_key[1][key][0])
        for key, names in by_key[0].items()
        if key and len(names) == 1 and len(by_key[1].get(key, ())) == 1
    ]


def _common_ends(old, new):
    """Pairs of which one name ends in the other and no other name does; "bn" or the like alone says nothing."""
    paths = {name: plain_path(name) for name in {*old, *new}}
    ends_old, ends_new = (_Ends((name, paths[name]) for name in names) for names in (old, new))
    pairs = []
    for name in old:
        like = ends_new.first_two(paths[name])
        if len(like) == 1 and len(ends_old.first_two(paths[like[0]])) == 1:
            pairs.append((name, like[0]))
    return pairs


class _Ends:
    """Names by the last parts of their paths, as a tree whose branches are parts, the last part at the root.

    Args:
      paths: pairs of a name and its path, a tuple of parts.
    """

    def __init__(self, paths):
        self._root = _End()
        for name, path in paths:
            end = self._root
            for part in reversed(path):
                end = end.longer.setdefault(part, _End())
                if len(end.names) < 2:
                    end.names.append(name)
            if len(end.whole) < 2:
                end.whole.append(name)

    def first_two(self, path):
        """The names whose path ends in ``path``, or in which it ends; two of them if there are more.

        Paths that have no part but "bn" or the like in common do not count.
        """
        end, telling, names = self._root, False, []
        for length, part in enumerate(reversed(path), 1):
            end = end.longer.get(part)
            if end is None or len(names) > 1:
                break
            telling = telling or not _BATCH_NORM.fullmatch(part)
            if telling:
                names += end.names if length == len(path) else end.whole
        return names[:2]


@dataclasses.dataclass(slots=True)
class _End:
    """Two of the names whose path ends like this, two of those that have no more parts, and what can come before."""

    names: list = dataclasses.field(default_factory=list)
    whole: list = dataclasses.field(default_factory=list)
    longer: dict = dataclasses.field(default_factory=dict)


def natural(name):
    """A key that sorts block2 before block10."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d{1,9})", name)]


def fingerprint(mean, variance):
    """The bits that two layers with equal statistics have in common.

    None for statistics that other layers may have by chance: constants, those of a new layer, and none at all.
    """
    if mean.size != variance.size or not mean.size:
        return None
    numbers = np.concatenate([mean, variance]).astype(np.float64)
    if not np.isfinite(numbers).all() or (np.ptp(mean) == 0 and np.ptp(variance) == 0 and mean.size > 1):
        return None
    if (mean == START["mean"]).all() and (variance == START["variance"]).all():
        return None
    with np.errstate(over="ignore", under="ignore"):
        # Adding 0 makes one zero of the two.
        return (numbers.astype(np.float32) + np.float32(0)).tobytes()
