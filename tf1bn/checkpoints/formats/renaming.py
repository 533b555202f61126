"""Names of variables as TF1 would have given them, where the producer has a scheme of its own.

Flax and Haiku keep parameters and statistics in two collections, tensorpack averages the tensors ``mean`` and
``variance``, and TF1 makes a name unique by a number at its end.
"""

import collections
import re

from ...variable_names import STRONG, plain_name, role_of

_FLAX = re.compile(r"(?P<outer>.*/|)(?P<collection>params|batch_stats)[/.](?P<scope>.*)[/.](?P<word>[^/.]+)", re.DOTALL)
_FLAX_WORDS = {"scale": "gamma", "bias": "beta", "mean": "moving_mean", "var": "moving_variance"}
_HAIKU = re.compile(
    r"(?:.*(?:^|/)state/)?(?P<scope>.*?)(?:/~)?/(?P<what>mean|var)_ema[/.](?P<part>average|hidden|counter)", re.DOTALL
)
_AVERAGED = re.compile(r"(?P<scope>.*)/(?P<what>mean|variance)/(?:EMA|ExponentialMovingAverage)(?:_\d+)?", re.DOTALL)
_UNIQUE = re.compile(r"(?P<name>.*?)_(?P<number>[1-9]\d{0,5})", re.DOTALL)


def plain_names(variables):
    """The plain name of each variable, a dict by its name; None for what says nothing about a layer.

    Args:
      variables: a mapping from names to objects with ``shape``.
    """
    names = {name: plain_name(name) for name in variables}
    for rename in (_flax, _haiku, _averaged):
        names |= rename(names)
    return names | _without_numbers(names, variables)


def _flax(names):
    """Those of Flax: params/LAYER/scale and batch_stats/LAYER/mean."""
    matches = {name: match for name, plain in names.items() if (match := _FLAX.fullmatch(plain))}
    layers = {match["scope"] for match in matches.values() if match["collection"] == "batch_stats"}
    return {
        name: f"{match['outer']}{match['scope']}/{_FLAX_WORDS.get(match['word'], match['word'])}"
        for name, match in matches.items()
        if match["scope"] in layers
    }


def _haiku(names):
    """Those of Haiku: LAYER/scale and LAYER/~/mean_ema/average; "hidden" is the same average without debiasing."""
    matches = {name: match for name, plain in names.items() if plain and (match := _HAIKU.fullmatch(plain))}
    if not matches:
        return {}
    words = {"mean": "moving_mean", "var": "moving_variance"}
    renamed = {
        name: f"{match['scope']}/{words[match['what']]}" if match["part"] == "average" else None
        for name, match in matches.items()
    }
    scopes = {match["scope"] for match in matches.values()}
    for name, plain in names.items():
        bare = plain.removeprefix("params/")
        if bare != plain and bare.rpartition("/")[0] in scopes:
            renamed[name] = bare
    return renamed


def _averaged(names):
    """Those of tensorpack: LAYER/mean/EMA, where no variable LAYER/mean is averaged."""
    there = set(names.values())
    words = {"mean": "moving_mean", "variance": "moving_variance"}
    return {
        name: f"{match['scope']}/{words[match['what']]}"
        for name, plain in names.items()
        if plain and (match := _AVERAGED.fullmatch(plain))
        if f"{match['scope']}/{match['what']}" not in there and not match["scope"].endswith(("moments", "normalize"))
    }


def _without_numbers(names, variables):
    """Those with a number at their end: gamma_1 is gamma, and of a layer of its own where there is a gamma as well."""
    by_scope, roles = collections.defaultdict(dict), collections.defaultdict(list)
    for name, plain in names.items():
        match = plain and _UNIQUE.fullmatch(plain)
        numbered = match and variables[name].shape and (role := role_of(match["name"])) and role[2] in STRONG
        role = role if numbered else plain and role_of(plain)
        if not role:
            continue
        if numbered:
            by_scope[role[0]][name] = (role, match["number"])
        if role[2] in STRONG:
            roles[role[0]].append(role[1])
    renamed = {}
    for scope, numbered in by_scope.items():
        several = len(set(roles[scope])) < len(roles[scope])
        for name, ((_, _, word), number) in numbered.items():
            own = f"{scope} (_{number})" if several else scope
            renamed[name] = f"{own}/{word}" if own else word
    return renamed
