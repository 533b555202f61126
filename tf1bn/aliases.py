"""Outputs under names of their own in collections, as ``tf.contrib.layers.utils`` of TF 1.15 kept them."""

import tensorflow as _tf

tf = _tf.compat.v1


def collect_named_outputs(collections, alias, outputs):
    """Put a tensor with an alias into a collection, or several; returns the tensor."""
    if collections:
        append_tensor_alias(outputs, alias)
        tf.add_to_collections(collections, outputs)
    return outputs


def append_tensor_alias(tensor, alias):
    """Give a tensor one more alias; returns the tensor."""
    tensor.aliases = [*getattr(tensor, "aliases", []), alias.removesuffix("/")]
    return tensor


def get_tensor_aliases(tensor):
    """The aliases of a tensor; its name if it has none."""
    return getattr(tensor, "aliases", None) or [tensor.name.removesuffix(":0")]


def gather_tensors_aliases(tensors):
    """The aliases of several tensors in one list."""
    return [alias for tensor in tensors for alias in get_tensor_aliases(tensor)]


def convert_collection_to_dict(collection, clear_collection=False):
    """The tensors of a collection by their aliases, in their order."""
    found = {alias: tensor for tensor in tf.get_collection(collection) for alias in get_tensor_aliases(tensor)}
    if clear_collection:
        tf.get_default_graph().clear_collection(collection)
    return found


def get_variable_collections(variables_collections, name):
    """The collections for the variable of this short name, out of a list for all or a dict."""
    if isinstance(variables_collections, dict):
        return variables_collections.get(name)
    return variables_collections


def two_element_tuple(value):
    """A pair out of an integer or a pair of integers.

    Raises:
      ValueError: it is neither.
    """
    pair = (value, value) if isinstance(value, int) else tuple(value) if hasattr(value, "__iter__") else ()
    if len(pair) != 2:
        raise ValueError(f"{value!r} is neither an integer nor two of them.")
    return tuple(int(size) for size in pair)
