"""The batch norms of a graph as a checkpoint has them: what is stored of each, under the names of variables."""

import dataclasses

from ....graphdef.file_scan import scope_of
from ....graphdef.scan import UNSEEN_FLAG
from ....variable_names import FAMILIES, family_of, role_of


@dataclasses.dataclass
class StoredLayer:
    """A batch norm of a graph.

    Attributes:
      name: the scope of its operations.
      parts: the operation, a constant or variable, of each role that is stored: "gamma", "beta", "mean", "variance".
      epsilon: as it declares, or None.
      training: whether it normalises by the moments of its batch; None where the graph has both.
      data_format: as it declares, or None.
    """

    name: str
    parts: dict
    epsilon: float | None = None
    training: bool | None = False
    data_format: str | None = None

    def declared(self):
        """What is known about the layer beside its values."""
        known = {"epsilon": self.epsilon, "training": self.training, "data_format": self.data_format}
        return {key: value for key, value in known.items() if value is not None}


def stored_layers(scan):
    """The `StoredLayer` of each batch norm of a `graphdef.file_scan.FileScan`, those with the same values as one."""
    layers = {}
    for one in (one for layer in scan.layers for one in layer.applications if one.inputs is not None):
        statistics = {"mean": one.statistic, "variance": one.variance}
        seen = one.flag is not None or one.problem != UNSEEN_FLAG
        layer = _layer(scan, one.patterns, statistics, one.trains if one.flag is None and seen else None)
        known = layers.setdefault(_key(layer), layer)
        if known.training != layer.training:
            known.training = None
    for pattern in scan.bare:
        layer = _layer(scan, [pattern], {}, True)
        both = [known for known in layers.values() if layer.parts and layer.parts.items() <= known.parts.items()]
        if both:
            # A network for tests beside that for training, which has no statistics.
            both[0].training = None
        elif layer.parts:
            layers[_key(layer)] = layer
    return list(layers.values())


def _key(layer):
    return tuple(sorted((role, op.name) for role, op in layer.parts.items()))


def _layer(scan, patterns, statistics, training):
    """The `StoredLayer` of the patterns of one application."""
    pattern, parts = patterns[0], {}
    for role in ("gamma", "beta"):
        stored = [scan.stored(tensor) for one in patterns if (tensor := getattr(one, role)) is not None]
        if any(stored):
            parts[role] = next(filter(None, stored))
    data_format = None if pattern.data_format is None else pattern.data_format.decode("ascii", "replace")
    name = scope_of(pattern.op.name)
    return StoredLayer(name, parts | statistics, pattern.epsilon, training, data_format)


def variables_of(layers):
    """Names for the variables of layers: their own where these say what they are, else made from the nodes' names.

    Args:
      layers: a list of objects with ``name`` and ``parts``, whose values have a ``name``; as `StoredLayer`.

    Returns:
      A dict from the name of a variable to its node, and a dict from the scope in these names to the layer.
    """
    variables, scopes = {}, {}
    for layer in layers:
        scope, like = _home(layer)
        if scope is None or scope in scopes:
            scope, like = _unused(layer.name, scopes), None
        scopes[scope] = layer
        family, separator = (family_of(like[1]), like[2]) if like else (0, "/")
        for role, node in layer.parts.items():
            own = role_of(node.name)
            if like and own and own[:2] == (scope, role):
                variables[node.name] = node
            else:
                variables[f"{scope}{separator}{FAMILIES[family][role]}"] = node
    return variables, scopes


def _home(layer):
    """The scope that the statistics' names share, and (role, word, separator) of one; (None, None) if there is none."""
    named = {role: role_of(layer.parts[role].name) for role in ("mean", "variance") if role in layer.parts}
    if not named:
        named = {role: role_of(node.name) for role, node in layer.parts.items()}
    if any(one is None or one[1] != role for role, one in named.items()):
        return None, None
    if len({one[0] for one in named.values()}) != 1:
        return None, None
    role, (scope, _, word) = next(iter(named.items()))
    name = layer.parts[role].name
    separator = name[len(scope)] if scope and len(name) > len(scope) + len(word) else "/"
    return scope or None, (role, word, separator)


def _unused(name, scopes):
    numbered = (f"{name}_{number}" for number in range(1, len(scopes) + 2))
    return name if name not in scopes else next(one for one in numbered if one not in scopes)
