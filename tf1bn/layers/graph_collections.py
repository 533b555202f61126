"""What a layer leaves with its graph: variables and losses in collections, aliases, and a note for recorders."""

import dataclasses
from typing import Any

import tensorflow as _tf

from .. import releases

tf = _tf.compat.v1


def append_tensor_alias(tensor, alias):
    """Give a tensor one more alias; returns the tensor."""
    tensor.aliases = [*getattr(tensor, "aliases", []), alias.removesuffix("/")]
    return tensor


def parts(variable):
    """The variables that a partitioner made of one; otherwise the one."""
    one = isinstance(variable, _tf.Variable) or _tf.is_tensor(variable)
    return [variable] if one else list(variable)


def collect(variable, collection):
    """Put a variable, or the parts that a partitioner made of it, into a collection unless they are there."""
    for part in parts(variable):
        if not any(part is other for other in tf.get_collection(collection)):
            tf.add_to_collection(collection, part)


def collect_losses(variable, regularizer, name, before):
    """Put what a regularizer, or None, gives for the parts of a variable into REGULARIZATION_LOSSES.

    Args:
      name: the losses' name scope is ``name/Regularizer``.
      before: ids of the variables that were there before: a variable that is taken up again has its loss already.
    """
    for part in parts(variable) if regularizer is not None else ():
        if id(part) not in before:
            with tf.name_scope(f"{name}/Regularizer"):
                loss = regularizer(part)
            if loss is not None:
                tf.add_to_collection(tf.GraphKeys.REGULARIZATION_LOSSES, _tf.convert_to_tensor(loss))


# A key that is no string is neither listed nor exported with a MetaGraph.
APPLICATIONS = ("tf1bn", "applications")


@dataclasses.dataclass(frozen=True, eq=False)
class Applied:
    """One call of a layer: its tensors, variables and arguments as they were, None for what it has not.

    outputs: before any activation. fused: the path's. core: whether the core layer's code ran. updates: operations.
    axis: that of the channels where `data_format` does not say it. problem: why no trace can hold it.
    """

    inputs: Any
    outputs: Any
    gamma: Any
    beta: Any
    statistics: tuple
    renorm: tuple | None
    debias: tuple | None
    is_training: Any
    decay: Any
    epsilon: Any
    data_format: str
    fused: bool
    core: bool
    trainable: bool
    weights: Any
    updates: tuple
    axis: int | None = None
    problem: str | None = None
    release: Any = releases.LATEST


def remember(applied):
    """Keep an `Applied` with the graph that is being built; with the outermost one, where functions are built."""
    graph = tf.get_default_graph()
    while hasattr(graph, "outer_graph"):
        graph = graph.outer_graph
    graph.add_to_collection(APPLICATIONS, applied)
