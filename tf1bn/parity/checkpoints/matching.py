"""Which batch-norm layer of one checkpoint is which of another.

By a map; else by name, in the words of any framework; else by equal statistics; else by number of channels in order.
"""

from __future__ import annotations

import numpy as np

from ..layer_values import START
from ..matching import LayerPair, LayerSignature, Matching, match_layers
from ..names import natural, pairs_by_name, unique_pairs
from ..order import pairs_in_order


def match_checkpoint_layers(old, new, mapping=None):
    """Match layers by name, and by their fingerprints and numbers of channels.

    Args:
      old, new: dicts from names to (number of channels or None, `fingerprint` or None, float64 vectors by role).
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
    keep(pairs_by_name(*unmatched(), old, new), "name")
    keep(unique_pairs(*unmatched(), lambda name: old[name][1], lambda name: new[name][1]), "guess")
    keep(_in_order(*unmatched(), old, new), "guess")
    only_old, only_new = unmatched()
    in_order = tuple(pairs[name] for name in old if name in pairs)
    return Matching(in_order, tuple(only_old), tuple(only_new), tuple(ignored))


def _in_order(names_old, names_new, old, new):
    """Pairs by the number of channels, in the natural order of the names; files have no other."""
    layers = (
        [
            LayerSignature(name, channels, values=values)
            for name in sorted(names, key=natural)
            for channels, _, values in [held[name]]
            if channels is not None
        ]
        for names, held in ((names_old, old), (names_new, new))
    )
    return [(one.name, other.name) for one, other in pairs_in_order(*layers)]


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
