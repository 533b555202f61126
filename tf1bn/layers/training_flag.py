"""``is_training`` as TF 1.15 took it: known while the graph is built, or decided when it runs."""

import tensorflow as _tf

tf = _tf.compat.v1


def known(is_training):
    """True or False if known while the graph is built, else None. A constant tensor counts as known."""
    if isinstance(is_training, _tf.Variable):
        return None
    if _tf.is_tensor(is_training):
        value = _tf.get_static_value(is_training)
        return None if value is None else bool(value)
    return bool(is_training)


def cond(is_training, if_training, if_not):
    """The result of one of two functions; a ``tf.cond`` only where the graph has to decide."""
    value = known(is_training)
    if value is None:
        return tf.cond(is_training, if_training, if_not)
    return if_training() if value else if_not()


def each(is_training, if_training, if_not):
    """Of two sequences of tensors, one by one, those of the case at hand."""
    return tuple(
        cond(is_training, lambda yes=yes: yes, lambda no=no: _tf.convert_to_tensor(no))
        for yes, no in zip(if_training, if_not, strict=True)
    )


def learning_phase():
    """What ``is_training=None`` means to the core layer: a switch that the whole graph shares, off unless it is fed."""
    graph = tf.get_default_graph()
    try:
        return graph.get_tensor_by_name("keras_learning_phase:0")
    except KeyError:
        with tf.name_scope(None), tf.control_dependencies(None):
            return tf.placeholder_with_default(False, [], "keras_learning_phase")
