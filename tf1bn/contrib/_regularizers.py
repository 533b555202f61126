"""The regularizers of ``tf.contrib.layers`` in TF 1.15: functions from a variable to its loss."""

import numbers

import tensorflow as _tf

from ..layers.graph_collections import builds_graph

tf = _tf.compat.v1


def l1_regularizer(scale, scope=None):
    """The regularizer scale * sum(abs(weights)); with a scale of 0.0 there is no loss.

    Raises:
      ValueError: `scale` is an integer, or negative.
    """
    return _scaled(scale, scope, "l1_regularizer", lambda weights: tf.reduce_sum(_tf.abs(weights)))


def l2_regularizer(scale, scope=None):
    """The regularizer scale * sum(weights ** 2) / 2; with a scale of 0.0 there is no loss.

    Raises:
      ValueError: `scale` is an integer, or negative.
    """
    return _scaled(scale, scope, "l2_regularizer", _tf.nn.l2_loss)


def l1_l2_regularizer(scale_l1=1.0, scale_l2=1.0, scope=None):
    """The sum of `l1_regularizer` and `l2_regularizer`."""
    for name, scale in (("scale_l1", scale_l1), ("scale_l2", scale_l2)):
        _check_no_integer(name, scale)
    scope = scope or "l1_l2_regularizer"
    if scale_l1 == 0.0:
        return l2_regularizer(scale_l2, scope)
    if scale_l2 == 0.0:
        return l1_regularizer(scale_l1, scope)
    return sum_regularizer([l1_regularizer(scale_l1), l2_regularizer(scale_l2)], scope=scope)


def sum_regularizer(regularizer_list, scope=None):
    """The sum of the regularizers in a list, in which None counts for nothing; None if there is no other."""
    regularizers = [regularizer for regularizer in regularizer_list if regularizer is not None]
    if not regularizers:
        return None

    def loss(weights):
        with tf.name_scope(scope, "sum_regularizer", [weights]) as name:
            terms = [term for regularizer in regularizers if (term := regularizer(weights)) is not None]
            return _tf.add_n(terms, name=name) if terms else None

    return loss


@builds_graph
def apply_regularization(regularizer, weights_list=None):
    """A regularizer's sum over several weights, a tensor that is also put into REGULARIZATION_LOSSES.

    Args:
      weights_list: a list of weights; None or empty means those in the collection WEIGHTS.

    Raises:
      ValueError: there are no weights, or a loss is no scalar.
    """
    weights_list = weights_list or tf.get_collection(tf.GraphKeys.WEIGHTS)
    if not weights_list:
        raise ValueError("`weights_list` is empty, and so is the collection WEIGHTS: there is nothing to regularize.")
    with tf.name_scope("get_regularization_penalty", values=weights_list) as scope:
        losses = [loss if (loss := regularizer(weights)) is not None else tf.constant(0.0) for weights in weights_list]
        for loss in losses:
            if loss.shape.rank != 0:
                raise ValueError(f"`regularizer` returned a tensor of shape {loss.shape}; it must return a scalar.")
        total = _tf.add_n(losses, name=scope)
        tf.add_to_collection(tf.GraphKeys.REGULARIZATION_LOSSES, total)
        return total


def _scaled(scale, scope, kind, measure):
    _check_no_integer("scale", scale)
    if isinstance(scale, numbers.Real):
        # NaN fails this too.
        if not scale >= 0.0:
            raise ValueError(f"`scale` is {scale:g}; it must be 0.0 or more.")
        if scale == 0.0:
            return lambda _: None

    def loss(weights, name=None):
        with tf.name_scope(scope, kind, [weights]) as name:
            factor = _tf.convert_to_tensor(scale, dtype=weights.dtype.base_dtype, name="scale")
            return _tf.multiply(factor, measure(weights), name=name)

    return loss


def _check_no_integer(name, scale):
    if isinstance(scale, numbers.Integral):
        raise ValueError(f"`{name}` is the integer {scale!r}; it must be a float.")
