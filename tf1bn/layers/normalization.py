"""The arithmetic of batch normalisation in TF 1.15: TensorFlow's fused kernel, and the form composed of small ones."""

import dataclasses

import tensorflow as _tf

from ..errors import GraphError
from . import training_flag
from .arguments import NHWC
from .graph_collections import BuiltLayer, over_replicas, remember, replicated
from .moving_averages import Updates, renorm_of
from .variables import collect_again

tf = _tf.compat.v1


def build_layer(call, variables):
    """Build the output and the updates of a `LayerCall` with its `LayerVariables`.

    Returns:
      The `BuiltLayer`, whose outputs have the shape and dtype of ``call.inputs``.

    Raises:
      GraphError: the moving statistics cannot be updated where the layer is built.
    """
    if replicated():
        call = _in_replica(call)
    renorm = renorm_of(call, variables) if call.renorm else None
    updates = Updates(call, variables, renorm)
    outputs = _fused(call, variables, updates) if call.path.fused else _composed(call, variables, updates, renorm)
    outputs.set_shape(call.batch.shape)
    if call.virtual_axis is not None:
        outputs = _tf.reshape(outputs, [-1, *call.inputs.shape.as_list()[1:]])
    if call.path.core:
        collect_again(call, variables)
    built = BuiltLayer(call, outputs, variables, updates.items)
    remember(built)
    return built


def _in_replica(call):
    """The call as one of several replicas makes it, whose batches move the statistics together."""
    if call.renorm:
        raise GraphError(
            "The layer is built for several replicas of a distribution strategy with `renorm` True, and batch "
            "renormalisation has no statistics that replicas share; leave `renorm` out, or use one replica."
        )
    problem = "the batches of several replicas move its statistics together, and a trace holds one batch"
    return dataclasses.replace(call, unrecordable=call.unrecordable or problem)


# ---- the fused form ----


def _fused(call, variables, updates):
    """Normalise with ``tf.nn.fused_batch_norm``; its batch variance carries N/(N-1). Rank 2 or 4."""
    x, statistics, is_training = call.batch, variables.statistics, call.is_training
    channels = statistics[0].shape.as_list()
    if x.shape.rank == 2:
        x = _tf.reshape(x, [-1, 1, 1, *channels] if call.data_format == NHWC else [-1, *channels, 1, 1])
    dtype = statistics[0].dtype.base_dtype
    options = {
        "scale": _tf.ones(channels, dtype) if variables.gamma is None else variables.gamma,
        "offset": _tf.zeros(channels, dtype) if variables.beta is None else variables.beta,
        "epsilon": _fused_epsilon(call.epsilon, call.release),
        "data_format": call.data_format,
        "name": _fused_name(call),
    }

    def with_batch():
        return tuple(tf.nn.fused_batch_norm(x, **options))

    def with_moving():
        mean, variance = (_tf.convert_to_tensor(statistic) for statistic in statistics)
        y, *_ = tf.nn.fused_batch_norm(x, mean=mean, variance=variance, is_training=False, **options)
        return y, mean, variance

    outputs, *moments = training_flag.cond(is_training, with_batch, with_moving)
    if training_flag.static_value(is_training) is not False or updates.while_testing:
        if updates.in_place:
            normalised, shared = outputs, over_replicas(moments)
            outputs = training_flag.cond(
                is_training, lambda: updates.run_before(shared, normalised), lambda: _tf.identity(normalised)
            )
        else:
            updates.collect(moments)
    return _tf.reshape(outputs, _tf.shape(call.batch)) if call.batch.shape.rank == 2 else outputs


def _fused_epsilon(epsilon, release):
    """cuDNN's kernels refuse small values; TF 1.x raises them on every device, in one way until 1.3 and in another.

    Raises:
      OperatorNotAllowedInGraphError: epsilon is a tensor, which cannot be compared with them. It is a TypeError.
    """
    if _tf.is_tensor(epsilon):
        raise _tf.errors.OperatorNotAllowedInGraphError(
            "Using a symbolic `tf.Tensor` as a Python `bool` is not allowed. "
            f"`epsilon` is the tensor {epsilon.name}; the fused layer takes a number. Give one, or `fused=False`."
        )
    if release.epsilon_extra and not epsilon > 1e-5:
        epsilon = epsilon + release.epsilon_extra
    floor = release.epsilon_floor
    return epsilon if not floor or epsilon > floor else floor


def _fused_name(call):
    half = call.batch.dtype in (_tf.float16, _tf.bfloat16)
    return "FusedBatchNormV2" if half and not call.release.renorm_of_1_15 else call.release.fused_operation


# ---- the composed form ----


def _composed(call, variables, updates, renorm):
    """Normalise with ``tf.nn.moments`` and ``tf.nn.batch_normalization``; the population variance. Any rank.

    The core layer chooses between the batch's and the moving statistics before it makes the updates, contrib's own
    code after it; operations are numbered accordingly.
    """
    statistics, is_training = variables.statistics, call.is_training
    scale, offset = _broadcast(call, variables.gamma), _broadcast(call, variables.beta)
    value = training_flag.static_value(is_training)
    if value is False and not updates.while_testing:
        return _normalised(call, statistics, scale, offset)
    if call.adjustment:
        scale, offset = _adjusted(call, scale, offset)
    moments = _moments(call, statistics[0].dtype.base_dtype)
    if updates.in_place:
        shared = over_replicas(moments)
        chosen = training_flag.cond(is_training, lambda: updates.run_before(shared, moments), lambda: statistics)
    elif call.path.core and updates.use_batch_moments and value is None:
        # The core layer of TF 1.0 and 1.1 chooses between two outputs, not between two pairs of moments.
        updates.collect(moments)
        return training_flag.cond(
            is_training,
            lambda: _normalised(call, moments, scale, offset),
            lambda: _normalised(call, statistics, scale, offset),
        )
    elif call.path.core:
        chosen = new_values = training_flag.select_each(is_training, moments, statistics)
        if call.virtual_axis is not None:
            new_values = [_tf.reduce_mean(values, call.virtual_axis, keepdims=True) for values in chosen]
        if renorm is not None:
            r, d, new_values = renorm.correct(*new_values)
            scale, offset = _then(_broadcast(call, r), _broadcast(call, d), scale, offset)
        updates.collect(moments if updates.use_batch_moments else new_values)
    else:
        updates.collect(moments)
        chosen = training_flag.cond(is_training, lambda: moments, lambda: statistics)
    return _normalised(call, chosen, scale, offset)


def _broadcast(call, value):
    """A vector [C] in a shape that broadcasts over the batch; anything else is returned as it is."""
    rank, axes = call.batch.shape.rank, call.channel_axes
    if value is None or not call.vectors or axes[0] == rank - 1 or value.shape.rank == rank:
        return value
    return _tf.reshape(value, [-1 if i in axes else 1 for i in range(rank)])


def _normalised(call, moments, scale, offset):
    def fit(value):
        return None if value is None else _broadcast(call, _tf.cast(value, call.batch.dtype))

    mean, variance = moments
    return _tf.nn.batch_normalization(call.batch, fit(mean), fit(variance), fit(offset), fit(scale), call.epsilon)


def _adjusted(call, scale, offset):
    """A scale and offset for the layer's own after those of `adjustment`, which count in training alone."""
    own_scale, own_offset = call.adjustment(_tf.shape(call.batch))
    return _then(
        training_flag.cond(call.is_training, lambda: own_scale, lambda: _tf.ones_like(own_scale)),
        training_flag.cond(call.is_training, lambda: own_offset, lambda: _tf.zeros_like(own_offset)),
        scale,
        offset,
    )


def _then(scale, offset, then_scale, then_offset):
    """The affine map (x * scale + offset) * then_scale + then_offset as one scale and offset."""
    if then_scale is not None:
        scale, offset = scale * then_scale, offset * then_scale
    return scale, offset if then_offset is None else offset + then_offset


def _moments(call, dtype):
    """Mean and population variance of the batch in ``dtype``; with `batch_weights`, those of the weighted batch."""
    x, weights = _tf.cast(call.batch, dtype), call.batch_weights
    axes = [i for i in range(x.shape.rank) if i not in call.channel_axes and i != call.virtual_axis]
    if weights is None:
        return tuple(_tf.nn.moments(x, axes, keepdims=not call.vectors))
    # TF 1.x multiplies by the reciprocal of the sum of weights, so that weights of zero give NaN and are noticed;
    # today's tf.nn.weighted_moments gives 0.
    half = x.dtype == _tf.float16
    if half:
        x = _tf.cast(x, _tf.float32)
    weights = _tf.cast(weights, x.dtype)
    reciprocal = tf.reciprocal(tf.reduce_sum(weights + _tf.zeros_like(x), axes, keepdims=True))
    mean = tf.reduce_sum(weights * x, axes, keepdims=True) * reciprocal
    variance = tf.reduce_sum(weights * tf.squared_difference(x, mean), axes, keepdims=True) * reciprocal
    moments = (_tf.reshape(mean, [-1]), _tf.reshape(variance, [-1]))
    return tuple(_tf.cast(value, _tf.float16) for value in moments) if half else moments
