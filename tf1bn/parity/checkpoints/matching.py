"""Which batch-norm layer of one checkpoint is which of another. Used by ``checkpointparity``.

By a map; else by name, in the words of any framework; else by equal statistics; else by number of channels in order.
"""

import re

import numpy as np

from .. import matching
from ..matching import Face, Match, Matching

# Levels that a way of saving or a wrapper puts around a model.
_WRAPPERS = {"module", "_orig_mod", "model", "layers", "(model)", "(no scope)"}
_WORD = r"(?:batch_?norm(?:alization)?|bn)"
_OWN = re.compile(rf"{_WORD}(?P<number>_\d+)?")
_BEHIND = re.compile(rf"(?P<what>.+)_{_WORD}(?P<number>_\d+)?")


def match(old, new, mapping=None):
    """Match layers by name, and by what `fingerprint` and the number of channels say of them.

    Args:
      old, new: dicts from names to pairs (number of channels or None, fingerprint or None).
      mapping: None, or which name is which: see `matching.match`.

    Returns:
      `matching.Matching`; what confirms a guess is looked at later.

    Raises:
      MappingError: the map cannot be used.
    """
    mapped = matching.match([Face(name, None) for name in old], [Face(name, None) for name in new], mapping)
    pairs = {pair.old: pair for pair in mapped.pairs if pair.how == "map"}
    ignored, taken = set(mapped.ignored), {pair.new for pair in pairs.values()}

    def rest():
        return (
            [name for name in old if name not in pairs and name not in ignored],
            [name for name in new if name not in taken],
        )

    def keep(found, how):
        for one, other in found:
            pairs[one] = Match(one, other, how)
            taken.add(other)

    keep([(name, name) for name in rest()[0] if name in rest()[1]], "name")
    keep(_unique(*rest(), place, place), "name")
    # The levels in common are those of all layers, the matched ones too.
    keep(_unique(*rest(), _below(old), _below(new)), "name")
    keep(_tails(*rest()), "name")
    keep(_unique(*rest(), lambda name: old[name][1], lambda name: new[name][1]), "guess")
    keep(_in_order(*rest(), old, new), "guess")
    only_old, only_new = rest()
    kept = tuple(pairs[name] for name in old if name in pairs)
    return Matching(kept, tuple(only_old), tuple(only_new), tuple(ignored))


def _in_order(names_old, names_new, old, new):
    """Pairs by the number of channels, in the natural order of the names; files have no other."""
    # The sides' marks keep names that are equal on both from being matched for that.
    one = [Face("-" + name, old[name][0]) for name in sorted(names_old, key=_natural)]
    other = [Face("+" + name, new[name][0]) for name in sorted(names_new, key=_natural)]
    return [(pair.old[1:], pair.new[1:]) for pair in matching.match(one, other).pairs]


def place(name):
    """The parts of a layer's name without what frameworks differ in: ``net/conv1/BatchNorm`` is net, conv1, bn.

    >>> place("module.net.conv1_bn")
    ('net', 'conv1', 'bn')
    """
    parts = []
    for part in re.split(r"[/.]", name.lower()):
        if part in _WRAPPERS or not part:
            continue
        if own := _OWN.fullmatch(part):
            parts.append("bn" + (own["number"] or ""))
        elif behind := _BEHIND.fullmatch(part):
            parts += [behind["what"], "bn" + (behind["number"] or "")]
        elif parts[-1:] != [part]:
            # Some converters write a layer's name twice.
            parts.append(part)
    return tuple(parts)


def _below(names):
    """`place` without the levels that all the layers have in common, but for the last."""
    places = [place(name) for name in names]
    shortest = min(map(len, places), default=0)
    common = 0
    while common < shortest - 1 and len({parts[common] for parts in places}) == 1:
        common += 1
    return lambda name: place(name)[common:]


def _unique(old, new, key_old, key_new):
    """Pairs of names with a key that is there once on either side."""
    sides = []
    for names, key in ((old, key_old), (new, key_new)):
        found = {}
        for name in names:
            found.setdefault(key(name), []).append(name)
        sides.append(found)
    return [
        (names[0], sides[1][key][0])
        for key, names in sides[0].items()
        if key and len(names) == 1 and len(sides[1].get(key, ())) == 1
    ]


def _tails(old, new):
    """Pairs of which one name ends in the other and no other name does; a batch norm's own word says nothing."""
    places = {name: place(name) for name in {*old, *new}}

    def related(one, other):
        short, long = sorted((places[one], places[other]), key=len)
        telling = any(not _OWN.fullmatch(part) for part in short)
        return telling and long[len(long) - len(short) :] == short

    hits = {one: [other for other in new if related(one, other)] for one in old}
    back = {other: [one for one in old if related(one, other)] for other in new}
    return [(one, found[0]) for one, found in hits.items() if len(found) == 1 == len(back[found[0]])]


def _natural(name):
    """A key that sorts block2 before block10."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d{1,9})", name)]


def fingerprint(mean, variance):
    """What two layers with equal statistics have in common, None for statistics that others may have by chance."""
    if mean.size != variance.size or not mean.size:
        return None
    numbers = np.concatenate([mean, variance]).astype(np.float64)
    if not np.isfinite(numbers).all() or (np.ptp(mean) == 0 and np.ptp(variance) == 0 and mean.size > 1):
        return None
    if (mean == 0).all() and (variance == 1).all():
        return None
    with np.errstate(over="ignore", under="ignore"):
        # Adding 0 makes one zero of the two.
        return (numbers.astype(np.float32) + np.float32(0)).tobytes()
