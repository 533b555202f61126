"""The graph of a layer: that there is one, and what a layer leaves with it.

That is variables and losses in collections, aliases, and a note for recorders; replicas that share a layer, too.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import tensorflow as _tf

from ..errors import GraphError

tf = _tf.compat.v1

_Function = TypeVar("_Function", bound=Callable[..., Any])


def builds_graph(function: _Function) -> _Function:
    """Let ``function`` raise `GraphError` where no graph is built, before it does anything else.

    TensorFlow 2 builds none when it executes eagerly, and nor do ``tf.function`` and ``tf.compat.v1.wrap_function``
    there: variables would belong to nobody, and a second call with ``reuse=True`` would make others. Functions inside
    a ``tf.Graph``, such as the bodies of ``tf.cond``, ``tf.while_loop``, ``tf.map_fn`` and ``tf.data``, are part of it.
    """

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if tf.executing_eagerly_outside_functions():
            where = "eagerly" if _tf.executing_eagerly() else "in a function of TensorFlow 2, outside of any graph"
            raise GraphError(
                f"`{function.__qualname__}` is called {where}; call it while a graph is built, inside `with "
                "tf.Graph().as_default():` or after `tf.compat.v1.disable_eager_execution()` at the top of the "
                "program, and run that graph in a `tf.compat.v1.Session`."
            )
        return function(*args, **kwargs)

    return cast(_Function, wrapper)


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

    Returns:
      A list of functions that build these losses anew.
    """
    made = []
    for part in parts(variable) if regularizer is not None else ():
        if id(part) not in before:
            made.append(functools.partial(_loss, part, regularizer, name))
            loss = made[-1]()
            if loss is not None:
                tf.add_to_collection(tf.GraphKeys.REGULARIZATION_LOSSES, loss)
    return made


def _loss(part, regularizer, name):
    with tf.name_scope(f"{name}/Regularizer"):
        loss = regularizer(part)
    return None if loss is None else _tf.convert_to_tensor(loss)


# A key that is no string is neither listed nor exported with a MetaGraph.
BUILT_LAYERS = ("tf1bn", "built_layers")
_UNNAMED = ("tf1bn", "unnamed_layers")


def numbered_name(base):
    """The name of a layer object without one: ``base`` and the number of such objects of the graph, from 1."""
    names = tf.get_default_graph().get_collection_ref(_UNNAMED)
    names.append(base)
    return f"{base}_{names.count(base)}"


@dataclasses.dataclass(frozen=True, eq=False)
class BuiltLayer:
    """One call of a layer and what it built, for those who record the graph.

    Attributes:
      call: the `arguments.LayerCall`.
      outputs: the tensor before any activation.
      variables: the `variables.LayerVariables`.
      updates: a list of what updates the moving statistics and was put into collections, operations or tensors.
    """

    call: Any
    outputs: Any
    variables: Any
    updates: list


def remember(built):
    """Keep a `BuiltLayer` with the graph that is being built; while a function is built, with the outermost graph."""
    graph = tf.get_default_graph()
    while hasattr(graph, "outer_graph"):
        graph = graph.outer_graph
    graph.add_to_collection(BUILT_LAYERS, built)


# ---- replicas of a distribution strategy ----

ACROSS_REPLICAS = (
    "The layer is built in the scope of a distribution strategy that keeps a copy of each variable for every replica; "
    "call it in the function that `strategy.run` is given."
)


def replicated():
    """Whether a distribution strategy runs the layer in several replicas, which share its statistics."""
    return _tf.distribute.has_strategy() and _tf.distribute.get_strategy().num_replicas_in_sync > 1


def over_replicas(moments):
    """The means of the batch's moments over the replicas of a distribution strategy, as TF 1.15 did.

    Each replica then makes the same update of its copy of the moving statistics. Without replicas it is ``moments``.

    Raises:
      GraphError: the layer is not built by one of the replicas.
    """
    if not replicated():
        return moments
    context = _tf.distribute.get_replica_context()
    if context is None:
        raise GraphError(ACROSS_REPLICAS)

    def mean(strategy, value):
        return strategy.extended.reduce_to(_tf.distribute.ReduceOp.MEAN, value, destinations=value)

    # `context.all_reduce` looks up the variables behind a value by their names, and fails.
    return tuple(context.merge_call(mean, args=(value,)) for value in moments)
