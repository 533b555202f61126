"""The batch norms of a graph, by their operations: fused, composed of plain operations, or the one of before TF 1.0.

A composed one is ``x * (rsqrt(variance + epsilon) * gamma) + (beta - mean * that)``, as ``tf.nn.batch_normalization``
writes it. What is not stored in the graph, as the moments of a batch, is no part of a layer.
"""

import dataclasses
import re

from ....variable_names import FAMILIES, family_of, role_of
from .nodes import VARIABLES

_FUSED = re.compile(r"FusedBatchNorm(V\d+)?|_FusedBatchNormEx")
_GLOBAL = "BatchNormWithGlobalNormalization"
_ADD = ("Add", "AddV2", "BiasAdd")
# Parts of a node's name that its layer does not have.
_INNER = re.compile(r"(/|^)(batchnorm(_\d+)?|cond(_\d+)?|FusedBatchNorm\w*|Rsqrt(_\d+)?|batch_?normalization_op)$")
# Names of constants that are left of a layer, those of TensorFlow.js among them.
_FOLDED = re.compile(
    r"(?P<layer>.*)/(batchnorm(_\d+)?/(mul|sub|Rsqrt)(_\d+)?(/_.*)?|FusedBatchNorm\w*/(Scaled|Offset))", re.DOTALL
)
# The least epsilon that somebody would use, and the largest; a sum of a vector and another number is something else.
_EPSILONS = (0.0, 1.0)


@dataclasses.dataclass
class GraphLayer:
    """A batch norm of a graph.

    Attributes:
      name: the scope of its nodes.
      parts: the node, a constant or variable, of each role that is stored: "gamma", "beta", "mean", "variance".
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


def batch_norms(graph):
    """The `GraphLayer` of each batch norm, those with the same variables as one."""
    layers = {}
    for node in graph.nodes.values():
        if "BatchNorm" in node.op and _FUSED.fullmatch(node.op):
            layer = _fused(graph, node)
        elif node.op == _GLOBAL:
            layer = _global(graph, node)
        elif node.op == "Rsqrt":
            layer = _composed(graph, node)
        else:
            continue
        if layer is None or not layer.parts:
            continue
        shared = layer.parts.get("gamma") or layer.parts.get("beta") or next(iter(layer.parts.values()))
        key = (shared.name, layer.parts["beta"].name if "beta" in layer.parts else "")
        if key not in layers:
            layers[key] = layer
        elif layers[key].training != layer.training:
            # A switch between the two, of which one has the statistics.
            layers[key].training = None
            layers[key].parts |= layer.parts
        elif layers[key].parts != layer.parts:
            layers[(*key, node.name)] = layer
    return list(layers.values())


def _scope(name):
    """The scope of a layer from the name of a node in it."""
    before = None
    while name and name != before:
        before, name = name, _INNER.sub("", name)
    return name or before


def _stored(graph, inputs):
    """The nodes of stored parameters by role, from inputs by role; empty constants stand for nothing."""
    leaves = {role: graph.leaf(text) for role, text in inputs.items()}
    return {role: leaf for role, leaf in leaves.items() if leaf is not None and not _empty(leaf)}


def _empty(leaf):
    return leaf.op not in VARIABLES and 0 in leaf.tensor()[0]


def _fused(graph, node):
    roles = ("gamma", "beta", "mean", "variance")
    if len(node.inputs) < 5:
        raise ValueError(f"the node {node.name!r} has too few inputs")
    training = node.flag("is_training", True)
    inputs = dict(zip(roles[:2] if training else roles, node.inputs[1:], strict=False))
    epsilon, data_format = node.number("epsilon", 1e-4), node.text("data_format", "NHWC")
    return GraphLayer(_scope(node.name), _stored(graph, inputs), epsilon, training, data_format)


def _global(graph, node):
    roles = ("mean", "variance", "beta", "gamma")
    inputs = dict(zip(roles, node.inputs[1:], strict=False))
    if not node.flag("scale_after_normalization", True):
        inputs.pop("gamma", None)
    return GraphLayer(_scope(node.name), _stored(graph, inputs), node.number("variance_epsilon", 0.0), False, "NHWC")


def _composed(graph, node):
    added = graph.source(node.inputs[0]) if node.inputs else None
    if added is None or added.op not in _ADD or len(added.inputs) < 2:
        return None
    constants = [_scalar(graph.leaf(text)) for text in added.inputs[:2]]
    if (constants[0] is None) == (constants[1] is None):
        return None
    epsilon = next(one for one in constants if one is not None)
    inputs = {"variance": added.inputs[constants.index(None)]}
    parts = _stored(graph, inputs)
    if not _EPSILONS[0] <= epsilon <= _EPSILONS[1]:
        return None
    training = "variance" not in parts
    if training and not _over_the_batch(graph, inputs["variance"]):
        return None
    factor, products = node, [one for one in graph.consumers(node) if one.op == "Mul"]
    if len(products) == 1 and (gamma := graph.leaf(_other(products[0], node))) is not None:
        parts["gamma"], factor = gamma, products[0]
    for product in graph.consumers(factor):
        mean = graph.leaf(_other(product, factor)) if product.op == "Mul" else None
        if product.op != "Mul" or (mean is None and not training):
            continue
        if mean is not None:
            parts["mean"] = mean
        for difference in graph.consumers(product):
            if difference.op == "Sub" and (beta := graph.leaf(_other(difference, product))) is not None:
                parts["beta"] = beta
    return GraphLayer(_scope(node.name), parts, epsilon, training) if training or "mean" in parts else None


def _over_the_batch(graph, text):
    """Whether a variance is a mean of squares over axis 0 and others, which is neither a layer's nor an instance's."""
    node = graph.source(text)
    while node is not None and node.op in ("Squeeze", "Identity", "Cast", "Reshape") and node.inputs:
        node = graph.source(node.inputs[0])
    if node is None or node.op != "Mean" or len(node.inputs) < 2:
        return False
    squares, axes = graph.source(node.inputs[0]), graph.leaf(node.inputs[1])
    if squares is None or squares.op != "SquaredDifference" or axes is None or axes.op != "Const":
        return False
    return axes.tensor()[1] in ("int32", "int64") and 0 in axes.values()


def _other(node, one):
    """The input of an operation of two that is not a value of ``one``."""
    inputs = node.inputs[:2]
    return next((text for text in inputs if text.partition(":")[0] != one.name), "")


def _scalar(leaf):
    if leaf is None or leaf.op != "Const":
        return None
    shape, dtype, _ = leaf.tensor()
    is_number = shape in ((), (1,)) and dtype in ("float16", "bfloat16", "float32", "float64")
    return float(str(leaf.values().ravel()[0])) if is_number else None


def folded(graph):
    """The layers of which a converter made a multiplication and an addition by constants, as their scopes."""
    return sorted(
        {
            match["layer"]
            for node in graph.nodes.values()
            if node.op == "Const" and (match := _FOLDED.fullmatch(node.name))
        }
    )


def variables_of(layers):
    """Names for the variables of layers: their own where these say what they are, else made from the nodes' names.

    Args:
      layers: a list of objects with ``name`` and ``parts``, whose values have a ``name``; as `GraphLayer`.

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
