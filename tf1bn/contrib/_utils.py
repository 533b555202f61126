"""``tf.contrib.layers.utils`` of TF 1.15: aliases of outputs, collections of variables, and small helpers."""

import tensorflow as _tf

from ..layers.graph_collections import append_tensor_alias

tf = _tf.compat.v1


def collect_named_outputs(collections, alias, outputs):
    """Give a tensor an alias and put it into a collection or a list of them, unless there is none; returns it."""
    if collections:
        append_tensor_alias(outputs, alias)
        tf.add_to_collections(collections, outputs)
    return outputs


def get_tensor_aliases(tensor):
    """A list of the aliases of a tensor; of its name alone if it has none."""
    return getattr(tensor, "aliases", None) or [tensor.name.removesuffix(":0")]


def gather_tensors_aliases(tensors):
    """The aliases of several tensors in one list."""
    return [alias for tensor in tensors for alias in get_tensor_aliases(tensor)]


def convert_collection_to_dict(collection, clear_collection=False):
    """A dict from the aliases of a collection's tensors to the tensors, in their order."""
    by_alias = {alias: tensor for tensor in tf.get_collection(collection) for alias in get_tensor_aliases(tensor)}
    if clear_collection:
        tf.get_default_graph().clear_collection(collection)
    return by_alias


def get_variable_collections(variables_collections, name):
    """The collections for the variable of this short name; a dict has them by name, a list is for all variables."""
    if isinstance(variables_collections, dict):
        return variables_collections.get(name)
    return variables_collections


def two_element_tuple(value):
    """A pair of integers, made of one integer or of two.

    Raises:
      ValueError: it is neither.
    """
    pair = (value, value) if isinstance(value, int) else tuple(value) if hasattr(value, "__iter__") else ()
    if len(pair) != 2:
        raise ValueError(f"`value` is {value!r}; it must be an integer or a sequence of two integers.")
    return tuple(int(size) for size in pair)


def n_positive_integers(n, value):
    """A tuple of ``n`` positive integers, made of one integer or of ``n``.

    Raises:
      ValueError: it is neither, or `n` is not positive.
    """
    if n < 1 or n != int(n):
        raise ValueError(f"`n` is {n!r}; it must be a positive integer.")
    try:
        values = [int(size) for size in value] if hasattr(value, "__iter__") else [int(value)] * int(n)
    except (TypeError, ValueError):
        values = []
    if len(values) != n or min(values) < 1:
        raise ValueError(f"`value` is {value!r}; it must be a positive integer, or {n} of them.")
    return tuple(values)


def last_dimension(shape, min_rank=1):
    """The size of the last dimension of a `TensorShape`.

    Raises:
      ValueError: the shape or that size is unknown, or the rank is below `min_rank`.
    """
    return _dimension(shape, -1, min_rank)


def channel_dimension(shape, data_format, min_rank=1):
    """The size of dimension 1 for "channels_first", otherwise of the last one; see `last_dimension`."""
    return _dimension(shape, 1 if data_format == "channels_first" else -1, min_rank)


def constant_value(value_or_tensor_or_var, dtype=None):
    """The value of a constant; None for a variable, and for a tensor whose value only a run computes.

    Raises:
      ValueError: it is None, or a tensor or variable of another dtype than `dtype`.
    """
    value = value_or_tensor_or_var
    if value is None:
        raise ValueError("`value_or_tensor_or_var` is None; it must be a value, a tensor or a variable.")
    variable = isinstance(value, _tf.Variable)
    if not variable and not _tf.is_tensor(value):
        return value
    if dtype and value.dtype != dtype:
        raise ValueError(f"`value_or_tensor_or_var` has dtype {value.dtype}; it must have {dtype}.")
    return None if variable else _tf.get_static_value(value)


def static_cond(pred, fn1, fn2):
    """``fn1()`` if `pred` is true, else ``fn2()``.

    Raises:
      TypeError: one of the two cannot be called.
    """
    for name, function in (("fn1", fn1), ("fn2", fn2)):
        if not callable(function):
            raise TypeError(f"`{name}` is {function!r}; it must be a function.")
    return fn1() if pred else fn2()


def smart_cond(pred, fn1, fn2, name=None):
    """`static_cond` where `pred` is known when the graph is built, ``tf.cond`` where it is not."""
    value = constant_value(pred)
    # 1.15 gave `name` in the place of `strict`, so no operation has it.
    return tf.cond(pred, fn1, fn2, strict=bool(name)) if value is None else static_cond(value, fn1, fn2)


def _dimension(shape, dimension, min_rank):
    if shape.rank is None or shape.rank < min_rank:
        raise ValueError(f"`shape` is {shape}; it must have a known rank of at least {min_rank}.")
    size = shape.as_list()[dimension]
    if size is None:
        raise ValueError(f"`shape` is {shape}; its dimension {dimension} must be known.")
    return size
