"""Layers of two models matched by their names, in the words of any framework, and names in their natural order."""

from __future__ import annotations

import dataclasses
import re

# Levels that a way of saving or a wrapper puts around a model.
_WRAPPERS = {"module", "_orig_mod", "model", "layers", "(model)", "(no scope)"}
_WORD = r"(?:batch_?norm(?:alization)?|bn)"
_BATCH_NORM = re.compile(rf"{_WORD}(?P<number>_\d+)?")
_NAMED_BATCH_NORM = re.compile(rf"(?P<name>.+)_{_WORD}(?P<number>_\d+)?")


def pairs_by_name(old, new, all_old, all_new):
    """Pairs of names that say the same layer in the words of two frameworks, where neither could be another one.

    Separators, case, wrappers such as "module" and the words for a batch norm do not count; nor do levels that all
    names of a model have in common, or that come before a whole name of the other one.

    Args:
      old, new: lists of the names that have no counterpart yet.
      all_old, all_new: the names of all layers.

    Returns:
      List of (name in OLD, name in NEW).
    """
    pairs = []
    for match in (
        lambda old, new: unique_pairs(old, new, plain_path, plain_path),
        # A converter to one level writes "model_6" for "model.6", in which "model" is more than a wrapper.
        lambda old, new: unique_pairs(old, new, _flat, _flat),
        # The levels in common are those of all layers, the matched ones too.
        lambda old, new: unique_pairs(old, new, _below_common_levels(all_old), _below_common_levels(all_new)),
        _common_ends,
    ):
        done = {name for pair in pairs for name in (("old", pair[0]), ("new", pair[1]))}
        pairs += match(
            [name for name in old if ("old", name) not in done], [name for name in new if ("new", name) not in done]
        )
    return pairs


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


def _flat(name):
    """A name that begins with a wrapper's word, with one separator for all; "" for any other name."""
    flat = re.sub(r"[/._]+", "_", name.lower())
    return flat if flat.split("_")[0] in _WRAPPERS else ""


def _below_common_levels(names):
    """A function like `plain_path` without the levels that all ``names`` have in common, but for the last level."""
    paths = [plain_path(name) for name in names]
    shortest = min(map(len, paths), default=0)
    common = 0
    while common < shortest - 1 and len({parts[common] for parts in paths}) == 1:
        common += 1
    return lambda name: plain_path(name)[common:]


def unique_pairs(old, new, key_old, key_new):
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
