"""The weight initializers of ``tf.contrib.layers`` in TF 1.15.

Glorot & Bengio 2010 ("Xavier") and He et al. 2015, arXiv:1502.01852. Given the same ``seed``, the values are the same
bits as those of 1.15.
"""

import math

import tensorflow as _tf

tf = _tf.compat.v1

_MODES = ("FAN_IN", "FAN_OUT", "FAN_AVG")


def xavier_initializer(uniform=True, seed=None, dtype=_tf.float32):
    """Keeps the scale of the gradients the same in all layers: variance 2 / (fan_in + fan_out)."""
    return variance_scaling_initializer(factor=1.0, mode="FAN_AVG", uniform=uniform, seed=seed, dtype=dtype)


xavier_initializer_conv2d = xavier_initializer


def variance_scaling_initializer(factor=2.0, mode="FAN_IN", uniform=False, seed=None, dtype=_tf.float32):
    """An initializer with variance factor / n, where n is fan_in, fan_out or their mean, as `mode` says.

    For a kernel of shape [..., inputs, outputs] fan_in is the number of values that one output sums, fan_out the number
    of outputs that one input takes part in. Uniform values lie in +-sqrt(3 * factor / n); the others are normal, cut
    off at two standard deviations of sqrt(1.3 * factor / n), which leaves a deviation of about sqrt(factor / n).

    Raises:
      TypeError: `dtype` is no floating point type.
      ValueError: `mode` is not one of "FAN_IN", "FAN_OUT" and "FAN_AVG".
    """
    if not _tf.as_dtype(dtype).is_floating:
        raise TypeError(f"`dtype` is {dtype!r}; it must be a floating point type.")
    if mode not in _MODES:
        raise ValueError(f"`mode` is {mode!r}; it must be one of {', '.join(_MODES)}.")

    def initializer(shape, dtype=dtype, partition_info=None):
        dtype = _tf.as_dtype(dtype)
        if not dtype.is_floating:
            raise TypeError(f"`dtype` is {dtype!r}; it must be a floating point type.")
        # The shape of the whole variable where a partitioner has split it.
        fans = list(shape if partition_info is None else partition_info.full_shape)
        positions = math.prod(float(size) for size in fans[:-2])
        fan_out = float(fans[-1]) * positions if fans else 1.0
        fan_in = float(fans[-2]) * positions if len(fans) > 1 else fan_out
        n = {"FAN_IN": fan_in, "FAN_OUT": fan_out, "FAN_AVG": (fan_in + fan_out) / 2.0}[mode]
        if uniform:
            limit = math.sqrt(3.0 * factor / n)
            return tf.random_uniform(shape, -limit, limit, dtype, seed=seed)
        return tf.truncated_normal(shape, 0.0, math.sqrt(1.3 * factor / n), dtype, seed=seed)

    return initializer
