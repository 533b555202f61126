"""The arithmetic of batch normalisation in TF 1.15: TensorFlow's fused kernel, and the form composed of small ones."""

import tensorflow as _tf

from .. import releases
from . import training_flag
from .moving_averages import assign_moving_average

tf = _tf.compat.v1

NHWC, NCHW = "NHWC", "NCHW"


def fused(inputs, gamma, beta, statistics, updates, *, is_training, epsilon, data_format, release=releases.LATEST):
    """Normalise with ``tf.nn.fused_batch_norm``; its batch variance carries N/(N-1). Rank 2 or 4."""
    channels = statistics[0].shape
    x = inputs
    if inputs.shape.rank == 2:
        x = _tf.reshape(inputs, [-1, 1, 1, *channels] if data_format == NHWC else [-1, *channels, 1, 1])
    dtype = statistics[0].dtype.base_dtype
    arguments = {
        "scale": _tf.ones(channels, dtype) if gamma is None else gamma,
        "offset": _tf.zeros(channels, dtype) if beta is None else beta,
        "epsilon": _fused_epsilon(epsilon, release),
        "data_format": data_format,
        "name": _fused_name(inputs, release),
    }

    def with_batch():
        return tuple(tf.nn.fused_batch_norm(x, **arguments))

    def with_moving():
        mean, variance = (_tf.convert_to_tensor(statistic) for statistic in statistics)
        y, *_ = tf.nn.fused_batch_norm(x, mean=mean, variance=variance, is_training=False, **arguments)
        return y, mean, variance

    outputs, *moments = training_flag.cond(is_training, with_batch, with_moving)
    if training_flag.known(is_training) is not False or updates.while_testing:
        if updates.in_place:
            normalised = outputs
            outputs = training_flag.cond(
                is_training, lambda: updates.run_before(moments, normalised), lambda: _tf.identity(normalised)
            )
        else:
            updates.collect(moments)
    return _tf.reshape(outputs, _tf.shape(inputs)) if inputs.shape.rank == 2 else outputs


def _fused_epsilon(epsilon, release):
    """cuDNN's kernels refuse small values; TF 1.x raises them on every device, in one way until 1.3 and in another."""
    if release.epsilon_extra and not epsilon > 1e-5:
        epsilon = epsilon + release.epsilon_extra
    floor = release.epsilon_floor
    return epsilon if not floor or epsilon > floor else floor


def _fused_name(inputs, release):
    half = inputs.dtype in (_tf.float16, _tf.bfloat16)
    return "FusedBatchNormV2" if half and not release.renorm_of_1_15 else release.fused_operation


def composed(
    inputs,
    gamma,
    beta,
    statistics,
    updates,
    *,
    is_training,
    epsilon,
    axes,
    select_first,
    batch_weights=None,
    adjustment=None,
    renorm=None,
    virtual_axis=None,
):
    """Normalise with ``tf.nn.moments`` and ``tf.nn.batch_normalization``; the population variance. Any rank.

    ``axes``: those that are not reduced, not negative. With one of them the parameters and statistics are vectors;
    with several, or with a ``virtual_axis`` (the axis that numbers virtual batches, each normalised on its own), they
    have the rank of the inputs. ``select_first``: the core layer chooses between the batch's and the moving statistics
    before it makes the updates, contrib's own code after it; operations are numbered accordingly. ``renorm``: a
    ``Renorm`` or None.
    """
    rank = inputs.shape.rank
    reduced = [i for i in range(rank) if i not in axes and i != virtual_axis]
    vectors = len(axes) == 1 and virtual_axis is None
    shape = [-1 if i in axes else 1 for i in range(rank)]

    def spread(value):
        """A per-channel vector in a shape that broadcasts over the inputs; anything else is left as it is."""
        if value is None or not vectors or axes[0] == rank - 1 or value.shape.rank == rank:
            return value
        return _tf.reshape(value, shape)

    mean, variance = statistics
    scale, offset = spread(gamma), spread(beta)
    # The core layer of TF 1.0 and 1.1 chooses between two outputs, not between two pairs of moments.
    decides_late = select_first and updates.of_the_batch and training_flag.known(is_training) is None
    if training_flag.known(is_training) is not False or updates.while_testing:
        if adjustment:
            adjusted_scale, adjusted_offset = adjustment(_tf.shape(inputs))
            scale, offset = _then(
                training_flag.cond(is_training, lambda: adjusted_scale, lambda: _tf.ones_like(adjusted_scale)),
                training_flag.cond(is_training, lambda: adjusted_offset, lambda: _tf.zeros_like(adjusted_offset)),
                scale,
                offset,
            )
        dtype = statistics[0].dtype.base_dtype
        moments = _moments(_tf.cast(inputs, dtype), reduced, batch_weights, keepdims=not vectors)
        if updates.in_place:
            mean, variance = training_flag.cond(
                is_training, lambda: updates.run_before(moments, moments), lambda: statistics
            )
        elif decides_late:
            updates.collect(moments)
        elif select_first:
            mean, variance = chosen = training_flag.each(is_training, moments, statistics)
            if virtual_axis is not None:
                chosen = [_tf.reduce_mean(value, virtual_axis, keepdims=True) for value in chosen]
            if renorm is not None:
                r, d, chosen = renorm.correct(*chosen, is_training)
                scale, offset = _then(spread(r), spread(d), scale, offset)
            updates.collect(moments if updates.of_the_batch else chosen)
        else:
            updates.collect(moments)
            mean, variance = training_flag.cond(is_training, lambda: moments, lambda: statistics)

    def fit(value):
        return None if value is None else spread(_tf.cast(value, inputs.dtype))

    def normalised(mean, variance):
        return _tf.nn.batch_normalization(inputs, fit(mean), fit(variance), fit(offset), fit(scale), epsilon)

    if decides_late:
        return training_flag.cond(is_training, lambda: normalised(*moments), lambda: normalised(*statistics))
    return normalised(mean, variance)


def _then(scale, offset, then_scale, then_offset):
    """The affine map (x * scale + offset) * then_scale + then_offset as one scale and offset."""
    if then_scale is not None:
        scale, offset = scale * then_scale, offset * then_scale
    return scale, offset if then_offset is None else offset + then_offset


def checked_clipping(clipping):
    """The dict of `renorm_clipping`, empty for None; ValueError for keys that do not exist."""
    clipping = clipping or {}
    unknown = set(clipping) - set(Renorm.KEYS)
    if unknown:
        raise ValueError(f"`renorm_clipping` has the keys {sorted(unknown)}; accepted are {', '.join(Renorm.KEYS)}.")
    return clipping


def _moments(x, axes, weights, keepdims=False):
    """Mean and population variance over ``axes``; with ``weights`` [N], those of the weighted batch."""
    if weights is None:
        return tuple(_tf.nn.moments(x, axes, keepdims=keepdims))
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


class Renorm:
    """Batch renormalisation (Ioffe 2017, arXiv:1702.03275) as TF 1.15 does it.

    Training outputs become (x_hat * r + d) * gamma + beta with r = stddev / renorm_stddev and
    d = (mean - renorm_mean) / renorm_stddev, both clipped and without gradient, where stddev = sqrt(v + epsilon).
    renorm_mean and renorm_stddev are moving averages with ``decay``; so is moving_stddev with the layer's own decay,
    and moving_variance is set to max(moving_stddev^2 - epsilon, 0).
    """

    KEYS = ("rmax", "rmin", "dmax")

    def __init__(self, variables, moving_variance, clipping, decay, epsilon):
        self._moving_stddev, self._mean, self._stddev = variables
        self._moving_variance = moving_variance
        self._clipping = clipping
        self._rate = 1.0 - decay
        self._epsilon = epsilon

    def correct(self, mean, variance, is_training):
        """``r, d`` [C], and mean and variance that cannot be had without updating the renorm variables."""
        stddev = _tf.sqrt(variance + self._epsilon)
        floor = _tf.maximum(_tf.convert_to_tensor(self._stddev), _tf.sqrt(_tf.convert_to_tensor(self._epsilon)))
        r, d = stddev / floor, (mean - self._mean) / floor
        # The corrections are those before the update.
        with tf.control_dependencies([r, d]):
            values = _tf.identity(mean), _tf.identity(stddev)
        if self._clipping.get("rmin") is not None:
            r = _tf.maximum(r, self._clipping["rmin"])
        if self._clipping.get("rmax") is not None:
            r = _tf.minimum(r, self._clipping["rmax"])
        if self._clipping.get("dmax") is not None:
            d = _tf.minimum(_tf.maximum(d, -self._clipping["dmax"]), self._clipping["dmax"])
        r, d = training_flag.each(is_training, (r, d), (_tf.ones_like(r), _tf.zeros_like(d)))
        updates = [
            training_flag.cond(
                is_training,
                lambda variable=variable, value=value: assign_moving_average(variable, value, self._rate),
                lambda variable=variable: _tf.identity(variable),
            )
            for variable, value in zip((self._mean, self._stddev), values, strict=True)
        ]
        with tf.control_dependencies(updates):
            after = _tf.identity(mean), _tf.identity(variance)
        return _tf.stop_gradient(r, name="renorm_r"), _tf.stop_gradient(d, name="renorm_d"), after

    def update_variance(self, variance, rate):
        """Move moving_stddev towards the batch's deviation, and set moving_variance from it."""
        stddev = assign_moving_average(self._moving_stddev, _tf.sqrt(variance + self._epsilon), rate)
        stddev = _tf.convert_to_tensor(stddev)
        value = _tf.nn.relu(stddev * stddev - self._epsilon)
        with tf.name_scope("AssignNewValue") as name:
            return tf.assign(self._moving_variance, value, name=name)
