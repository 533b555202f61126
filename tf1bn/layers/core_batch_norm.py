"""``batch_normalization`` of ``tf.layers`` in TF 1.15, built on the public ``tf.compat.v1`` API alone.

This is the layer behind ``tf.contrib.layers.batch_norm`` where that takes TF 1.15's core code (see
`contrib_batch_norm`); called directly it can do more: any axis or several, constraints, virtual batches. It has other
defaults (momentum .99, scale True, training False) and other names. The arithmetic is shared. With one axis, per
channel, training is

    y               = gamma * (x - m) / sqrt(v_population + epsilon) + beta
    moving_mean     = moving_mean     - (moving_mean     - m) * (1 - momentum)        starting at 0
    moving_variance = moving_variance - (moving_variance - v) * (1 - momentum)        starting at 1

where v is N/(N-1) times the population variance (Bessel's correction) in the fused form and the population variance
in the composed one. With ``virtual_batch_size`` V and N/V = B virtual batches (ghost batch normalisation: Hoffer,
Hubara & Soudry 2017, arXiv:1705.08741) sample i belongs to virtual batch i mod B, each is normalised with moments of
its own, and m and v of the update are the means of the B moments.
"""

import contextlib

import tensorflow as _tf

from . import arguments, code_paths, release_scope
from .arguments import NCHW, NHWC
from .graph_collections import builds_graph
from .normalization import build_layer

tf = _tf.compat.v1

_ZEROS, _ONES = tf.zeros_initializer(), tf.ones_initializer()


@release_scope.as_released(missing="core_missing")
@builds_graph
def batch_normalization(
    inputs,
    axis=-1,
    momentum=0.99,
    epsilon=0.001,
    center=True,
    scale=True,
    beta_initializer=_ZEROS,
    gamma_initializer=_ONES,
    moving_mean_initializer=_ZEROS,
    moving_variance_initializer=_ONES,
    beta_regularizer=None,
    gamma_regularizer=None,
    beta_constraint=None,
    gamma_constraint=None,
    training=False,
    trainable=True,
    name=None,
    reuse=None,
    renorm=False,
    renorm_clipping=None,
    renorm_momentum=0.99,
    fused=None,
    virtual_batch_size=None,
    adjustment=None,
):
    """Batch normalisation with the arguments, variables and numbers of ``tf.layers.batch_normalization`` (TF 1.15).

    Builds graph-mode operations: call it inside a ``tf.Graph`` and run it in a ``tf.compat.v1.Session``. Like the
    original, and unlike ``batch_norm``, it takes no defaults from an ``arg_scope``. Inside ``tf1bn.release(...)`` it
    has the arguments, defaults and numbers of that release.

    Args:
      inputs: tensor of rank 1 or more, float16, float32 or float64 (no float64 in the fused form, as in TF 1.15).
      axis: the axis of the channels, or a list of several; negative ones count from the end. With several, or with
        virtual batches, the variables have the rank of the inputs (and one more), 1 in the reduced dimensions.
      momentum: weight that the moving statistics keep at each step, a float or scalar tensor.
      epsilon: added to the variance. The fused form raises it to 1.001e-5 when it is not above that.
      center, scale: whether there is a ``beta``, a ``gamma``.
      beta_initializer, gamma_initializer, moving_mean_initializer, moving_variance_initializer: initializers, their
        names, or None for that of the variable scope.
      beta_regularizer, gamma_regularizer: functions from the variable to a loss for REGULARIZATION_LOSSES.
      beta_constraint, gamma_constraint: functions from the variable to the value that an optimizer of
        ``tf.compat.v1.train`` puts in its place after each step.
      training: a bool, or a boolean tensor, placeholder or variable. The two update operations go to UPDATE_OPS
        unless this is known to be False; they must be run with the training step.
      trainable: put beta and gamma into TRAINABLE_VARIABLES. False also stops the updates of the moving statistics.
      name: name of the variable scope; the default is "batch_normalization", made unique.
      reuse: True, False, None or ``tf.AUTO_REUSE``.
      renorm, renorm_clipping, renorm_momentum: batch renormalisation (Ioffe 2017, arXiv:1702.03275), with a dict of
        "rmin", "rmax", "dmax"; adds the variables moving_stddev, renorm_mean, renorm_stddev.
      fused: use TensorFlow's fused kernels; None means True. Where they cannot be used (rank other than 4, another
        axis than 1 or 3, renorm, adjustment, virtual batches) the composed form is used silently.
      virtual_batch_size: samples in each virtual batch; must divide the batch.
      adjustment: function from the shape of the inputs to a scale and an offset that are applied to the normalised
        values in training.

    Returns:
      A tensor of the shape and dtype of ``inputs``.

    Raises:
      GraphError: as in `batch_norm`.
      ValueError: an axis that the inputs do not have, or twice the same; unknown rank or size of an axis; a
        `virtual_batch_size` that is not positive, or together with axis 0 or `adjustment`; unknown keys in
        `renorm_clipping`; variables that exist, or do not, against `reuse`.
      TypeError: `axis` is neither an int nor a list; `training` is no boolean; float64 inputs in the fused form.
      IndexError: `axis` is an empty list.
    """
    release = release_scope.current()
    axis = arguments.checked_axis(axis, release)
    renorm_clipping = arguments.checked_clipping(renorm_clipping) if renorm else {}
    beta_constraint = arguments.checked_constraint(beta_constraint, "beta_constraint", release)
    gamma_constraint = arguments.checked_constraint(gamma_constraint, "gamma_constraint", release)
    with _scopes(name, reuse, release):
        inputs = arguments.single_tensor(inputs)
        axes = arguments.resolved_axes(axis, inputs, release)
        _check_virtual_batches(virtual_batch_size, axes, adjustment)
        path = code_paths.path_of_batch_normalization(
            release,
            inputs,
            axes,
            fused,
            renorm,
            virtual_batch_size,
            adjustment,
            beta_regularizer is not None or gamma_regularizer is not None,
        )
        training = arguments.checked_training(training, release)
        code_paths.check_dtypes(path, inputs.dtype)
        arguments.check_numbers(epsilon, momentum, training, path)
        batch, virtual_axis = inputs, None
        if virtual_batch_size is not None:
            batch, virtual_axis = _in_virtual_batches(inputs, virtual_batch_size), 1
            axes = [i + 1 for i in axes]
        rank = inputs.shape.rank
        data_format = NCHW if axes == [1] and rank > 2 else NHWC
        call = arguments.LayerCall(
            path=path,
            inputs=inputs,
            batch=batch,
            parameter_shape=_parameter_shape(batch, axes, virtual_axis),
            channel_axes=axes,
            virtual_axis=virtual_axis,
            data_format=data_format,
            decay=momentum,
            epsilon=epsilon,
            center=center,
            scale=scale,
            is_training=training,
            trainable=trainable if release.trainable_none else bool(trainable),
            updates_collections=tf.GraphKeys.UPDATE_OPS,
            initializers={
                "beta": beta_initializer,
                "gamma": gamma_initializer,
                "moving_mean": moving_mean_initializer,
                "moving_variance": moving_variance_initializer,
            },
            regularizers={"beta": beta_regularizer, "gamma": gamma_regularizer},
            constraints={"beta": beta_constraint, "gamma": gamma_constraint},
            argument_name="{}_{}".format,
            renorm=renorm,
            renorm_clipping=renorm_clipping,
            renorm_decay=renorm_momentum,
            adjustment=adjustment,
            recorded_axis=None if data_format == NCHW or axes == [rank - 1] else axes[0],
        )
        return build_layer(call)


@contextlib.contextmanager
def _scopes(name, reuse, release):
    """The variable scope of the call, and the name scope that was opened with it.

    Releases through 1.5 use up a second name scope, so that the operations of the next call are numbered by two more.
    """
    if name:
        opened = tf.variable_scope(name)
    elif reuse:
        opened = tf.variable_scope("batch_normalization")
    else:
        opened = tf.variable_scope(None, "batch_normalization")
    with opened as scope:
        pass
    with (
        tf.variable_scope(scope, reuse=reuse, auxiliary_name_scope=release.core_scope_twice),
        tf.name_scope(scope.original_name_scope),
    ):
        yield


def _parameter_shape(batch, axes, virtual_axis):
    if len(axes) == 1 and virtual_axis is None:
        return [batch.shape.as_list()[axes[0]]]
    return [size if i in axes else 1 for i, size in enumerate(batch.shape.as_list())]


def _check_virtual_batches(size, axes, adjustment):
    """Raises ValueError for a `virtual_batch_size` that is not positive, or together with what excludes it."""
    if size is None:
        return
    if size <= 0:
        raise ValueError(
            "virtual_batch_size must be a positive integer that divides the true batch size of the input Tensor. "
            f"`virtual_batch_size` is {size!r}; it must be None or such a number."
        )
    if 0 in axes:
        raise ValueError(
            "When using virtual_batch_size, the batch dimension must be 0 and thus axis cannot include 0. "
            "`virtual_batch_size` splits dimension 0, and `axis` names it as one of the channels; leave one of them "
            "out."
        )
    if adjustment is not None:
        raise ValueError(
            "When using virtual_batch_size, adjustment cannot be specified. `virtual_batch_size` and `adjustment` "
            "exclude each other; leave one of them out."
        )


def _in_virtual_batches(inputs, size):
    """[N, ...] as [size, N / size, ...], where the second dimension numbers the virtual batches.

    Raises:
      TypeError: a size other than that of the batch is unknown.
    """
    rest = inputs.shape.as_list()[1:]
    if None in rest:
        raise TypeError(
            f"`inputs` ({inputs.name}) has shape {inputs.shape}; with `virtual_batch_size` every size but that of the "
            "batch must be known when the graph is built. Give them with `inputs.set_shape(...)`."
        )
    return _tf.reshape(inputs, [size, -1, *rest])
