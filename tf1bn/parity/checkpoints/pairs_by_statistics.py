"""Which batch-norm layer of one checkpoint is which of another.

By a map; else by name, in the words of any framework; else by equal statistics; else by number of channels, in order or
by likeness.
"""

from __future__ import annotations

import numpy as np

from ..layer_pairs import LayerPair, LayerSignature, Matching, match_layers, order_and_likeness
from ..layer_values import START
from ..names import natural, pairs_by_name, unique_pairs


def match_checkpoint_layers(old, new, mapping=None):
    """Match layers by name, and by their fingerprints and numbers of channels.

    Args:
      old, new: dicts from names to (number of channels or None, `fingerprint` or None, float64 vectors by role).
      mapping: None, or which name is which: see `layer_pairs.match_layers`.

    Returns:
      `layer_pairs.Matching`; whether anything confirms a guess is left open.

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

    def keep(names, how, by=None):
        for old_name, new_name in names:
            pairs[old_name] = LayerPair(old_name, new_name, how, by=by)
            taken.add(new_name)

    names_old, names_new = unmatched()
    both = set(names_new)
    keep([(name, name) for name in names_old if name in both], "name")
    keep(pairs_by_name(*unmatched(), old, new), "name")
    keep(unique_pairs(*unmatched(), lambda name: old[name][1], lambda name: new[name][1]), "guess", "statistics")
    for old_name, new_name, by in _without_names(*unmatched(), old, new):
        keep([(old_name, new_name)], "guess", by)
    only_old, only_new = unmatched()
    in_order = tuple(pairs[name] for name in old if name in pairs)
    return Matching(in_order, tuple(only_old), tuple(only_new), tuple(ignored))


def _without_names(names_old, names_new, old, new):
    """Pairs by the number of channels, and what each goes by; the order is the natural one of the names."""
    layers = (
        [
            LayerSignature(name, channels, values=values)
            for name in sorted(names, key=natural)
            for channels, _, values in [held[name]]
            if channels is not None
        ]
        for names, held in ((names_old, old), (names_new, new))
    )
    return [(one.name, other.name, by) for one, other, by in order_and_likeness(*layers)]


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
