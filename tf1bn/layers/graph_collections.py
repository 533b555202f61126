"""What a layer leaves with its graph: variables and losses in collections, aliases, and a note for recorders."""

import dataclasses
from typing import Any

import tensorflow as _tf

tf = _tf.compat.v1


def append_tensor_alias(tensor, alias):
    """Give a tensor one more alias; returns the tensor."""
    tensor.aliases = [*getattr(tensor, "aliases", []), alias.removesuffix("/")]
    return tensor


def parts(variable):
    """A list of the variables that a partitioner made of one; of any other variable or tensor, the thing itself."""
    whole = isinstance(variable, _tf.Variable) or _tf.is_tensor(variable)
    return [variable] if whole else list(variable)


def collect(variable, collection):
    """Put a variable, or the parts that a partitioner made of it, into a collection unless they are there."""
    for part in parts(variable):
        if not any(part is other for other in tf.get_collection(collection)):
            tf.add_to_collection(collection, part)


def collect_losses(variable, regularizer, name, before):
    """Put what a regularizer, or None, gives for the parts of a variable into REGULARIZATION_LOSSES.

    Args:
      name: the losses' name scope is ``name/Regularizer``.
      before: ids of the variables that were there before: a variable that is used again has its loss already.
    """
    for part in parts(variable) if regularizer is not None else ():
        if id(part) not in before:
            with tf.name_scope(f"{name}/Regularizer"):
                loss = regularizer(part)
            if loss is not None:
                tf.add_to_collection(tf.GraphKeys.REGULARIZATION_LOSSES, _tf.convert_to_tensor(loss))


# A key that is no string is neither listed nor exported with a MetaGraph.
BUILT_LAYERS = ("tf1bn", "built_layers")


@dataclasses.dataclass(frozen=True, eq=False)
class BuiltLayer:
    """One call of a layer and what it built, for those who record the graph.

    Attributes:
      call: the `arguments.LayerCall`.
      outputs: the tensor before any activation.
      variables: the `variables.LayerVariables`.
      updates: a tuple of the operations that update the moving statistics and were put into collections.
    """

    call: Any
    outputs: Any
    variables: Any
    updates: tuple


def remember(built):
    """Keep a `BuiltLayer` with the graph that is being built; while a function is built, with the outermost graph."""
    graph = tf.get_default_graph()
    while hasattr(graph, "outer_graph"):
        graph = graph.outer_graph
    graph.add_to_collection(BUILT_LAYERS, built)
