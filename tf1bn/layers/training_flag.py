"""``is_training`` as TF 1.15 took it: a value that the graph's builder knows, or a tensor that decides in each run."""

import tensorflow as _tf

tf = _tf.compat.v1


def static_value(is_training):
    """True or False if the value is fixed while the graph is built, else None; a constant tensor has a fixed value."""
    if isinstance(is_training, _tf.Variable):
        return None
    if _tf.is_tensor(is_training):
        value = _tf.get_static_value(is_training)
        return None if value is None else bool(value)
    return bool(is_training)


def cond(is_training, if_training, if_not):
    """The result of one of two functions; a ``tf.cond`` only where the graph has to decide.

    Raises:
      TypeError: the graph has to decide by a tensor that is not boolean.
    """
    value = static_value(is_training)
    if value is None:
        if is_training.dtype.base_dtype != _tf.bool:
            dtype = is_training.dtype.base_dtype.name
            raise TypeError(
                f"Input 'pred' of 'Switch' Op has type {dtype} that does not match expected type of bool. "
                f"`is_training` (`training` of `batch_normalization`) is {is_training.name}, of {dtype}; it must be "
                "boolean: cast it with `tf.cast`."
            )
        return tf.cond(is_training, if_training, if_not)
    return if_training() if value else if_not()


def select_each(is_training, if_training, if_not):
    """A tuple with the items of one of two sequences of tensors, with a `cond` of its own for each item."""
    return tuple(
        cond(is_training, lambda yes=yes: yes, lambda no=no: _tf.convert_to_tensor(no))
        for yes, no in zip(if_training, if_not, strict=True)
    )


def learning_phase():
    """The tensor that ``is_training=None`` means in the core layer: one per graph, False unless it is fed."""
    graph = tf.get_default_graph()
    try:
        return graph.get_tensor_by_name("keras_learning_phase:0")
    except KeyError:
        with tf.name_scope(None), tf.control_dependencies(None):
            return tf.placeholder_with_default(False, [], "keras_learning_phase")
