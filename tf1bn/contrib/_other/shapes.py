"""What ``tf.contrib.framework`` of TF 1.15 checks and decides about tensors: shapes, scalars, constant conditions."""

import numpy as np
import tensorflow as _tf

from ...layers.graph_collections import builds_graph

tf = _tf.compat.v1


@builds_graph
def with_shape(expected_shape, tensor):
    """`tensor`, of which the shape is checked: at once where it is known, and when the graph runs where it is not.

    Args:
      expected_shape: a list or an array of int32, or a tensor of them; in a tensor -1 stands for any size.

    Raises:
      ValueError: `tensor` is sparse or of another shape, or `expected_shape` is no list of integers.
    """
    if isinstance(tensor, tf.SparseTensor):
        raise ValueError("SparseTensor not supported.")
    if tf.is_tensor(expected_shape):
        if expected_shape.dtype.base_dtype != tf.int32:
            raise ValueError(
                f"Invalid dtype {expected_shape.dtype} for shape {expected_shape} expected of tensor {tensor.name}."
            )
        static = None
    else:
        static = _sizes(expected_shape, tensor)
    if static == [] and tensor.shape.is_compatible_with([1]):
        return tf.reshape(tensor, [])
    if static is not None and tensor.shape.is_fully_defined():
        if tensor.shape.as_list() != static:
            raise ValueError(f"Invalid shape for tensor {tensor.name}, expected {expected_shape}, got {tensor.shape}.")
        return tensor
    with tf.control_dependencies([_assert_shape(expected_shape if static is None else static, tensor)]):
        checked = tf.identity(tensor)
    if static is not None:
        checked.set_shape(static)
    return checked


def _sizes(expected, tensor):
    """The sizes of a shape as a list of integers."""
    shape = np.asarray(expected if len(expected) else [], None if len(expected) else np.int32)
    if shape.ndim != 1:
        raise ValueError(f"Invalid rank {shape.ndim} for shape {expected} expected of tensor {tensor.name}.")
    if shape.dtype != np.int32 and (isinstance(expected, np.ndarray) or shape.dtype != np.int64):
        raise ValueError(f"Invalid dtype {shape.dtype} for shape {expected} expected of tensor {tensor.name}.")
    return shape.tolist()


def _assert_shape(expected, tensor):
    """An operation that stops a run in which the shape of a tensor is not the expected one."""
    actual, expected = tf.shape(tensor), tf.convert_to_tensor(expected, tf.int32)
    same_rank = tf.equal(tf.size(expected), tf.rank(tensor))
    # Sizes are compared only where there are as many; 1.15 compared them in any case, and stopped with another error.
    same_sizes = tf.cond(
        same_rank,
        lambda: tf.reduce_all(tf.logical_or(tf.equal(expected, -1), tf.equal(expected, actual))),
        lambda: tf.constant(False),
    )
    return tf.Assert(same_sizes, [f"Wrong shape for {tensor.name} [expected] [actual].", expected, actual])


@builds_graph
def with_same_shape(expected_tensor, tensor):
    """`tensor`, which is checked to have the shape of another, as in `with_shape`."""
    shape = expected_tensor.shape
    return with_shape(shape.as_list() if shape.is_fully_defined() else tf.shape(expected_tensor), tensor)


@builds_graph
def assert_scalar_int(tensor, name=None):
    """`tensor`, which has no axes and is of integers.

    Raises:
      ValueError: it is not.
    """
    tensor = tf.convert_to_tensor(tensor)
    if not tensor.dtype.base_dtype.is_integer:
        raise ValueError(f"Expected integer type for {tensor.name}, received type: {tensor.dtype}.")
    return tf.debugging.assert_scalar(tensor, name=name)


@builds_graph
def reduce_sum_n(tensors, name=None):
    """The sum of all elements of all `tensors`.

    Raises:
      ValueError: there are none.
    """
    if not tensors:
        raise ValueError("No tensors provided.")
    with tf.name_scope(name, "reduce_sum_n", tensors) as scope:
        sums = [tf.reduce_sum(tensor, name=f"{tensor.op.name}/sum") for tensor in tensors]
        return sums[0] if len(sums) == 1 else tf.add_n(sums, name=scope)


@builds_graph
def remove_squeezable_dimensions(predictions, labels, name=None):
    """Both tensors, the one with one more axis than the other without its last one, which has the size 1.

    Raises:
      ValueError: the number of axes of one of them is not known.
    """
    with tf.name_scope(name, "remove_squeezable_dimensions", [predictions, labels]):
        predictions, labels = tf.convert_to_tensor(predictions), tf.convert_to_tensor(labels)
        if None in (predictions.shape.ndims, labels.shape.ndims):
            raise ValueError(
                "`predictions` or `labels` has a number of axes that is not known before the graph runs; "
                "give them a shape with `set_shape`."
            )
        more = predictions.shape.ndims - labels.shape.ndims
        if more == 1:
            predictions = tf.squeeze(predictions, [-1])
        elif more == -1:
            labels = tf.squeeze(labels, [-1])
        return predictions, labels


def smart_constant_value(pred):
    """Whether a condition holds, a bool, 0 or 1, or a tensor; None for a tensor that only a run decides.

    Raises:
      TypeError: it is something else.
    """
    if isinstance(pred, (bool, np.bool_)) or (isinstance(pred, int) and pred in (0, 1)):
        return bool(pred)
    if not tf.is_tensor(pred):
        raise TypeError(f"`pred` must be a Tensor, or a Python bool, or 1 or 0. Found instead: {type(pred)}")
    value = _tf.get_static_value(pred)
    return None if value is None else bool(value)


def smart_cond(pred, true_fn=None, false_fn=None, name=None):
    """`tf.cond`, or the result of one of its functions where the condition is known already."""
    for argument, function in (("true_fn", true_fn), ("false_fn", false_fn)):
        if not callable(function):
            raise TypeError(f"`{argument}` must be callable.")
    known = smart_constant_value(pred)
    if known is None:
        return tf.cond(pred, true_fn=true_fn, false_fn=false_fn, name=name)
    return true_fn() if known else false_fn()


def get_placeholders(graph):
    """The outputs of all placeholders of a graph."""
    return [output for op in graph.get_operations() if op.type == "Placeholder" for output in op.outputs]
