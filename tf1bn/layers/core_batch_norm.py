"""``batch_normalization`` of ``tf.layers`` in TF 1.15, built on the public ``tf.compat.v1`` API alone.

This is the layer behind ``tf.contrib.layers.batch_norm`` where that takes TF 1.15's core code (see ``layer``); called
directly it can do more: any axis or several, constraints, virtual batches. It has other defaults (momentum .99, scale
True, training False) and other names. The arithmetic is shared. With one axis, per channel, training is

    y               = gamma * (x - m) / sqrt(v_population + epsilon) + beta
    moving_mean     = moving_mean     - (moving_mean     - m) * (1 - momentum)        starting at 0
    moving_variance = moving_variance - (moving_variance - v) * (1 - momentum)        starting at 1

where v is N/(N-1) times the population variance (Bessel's correction) in the fused form and the population variance
in the composed one. With ``virtual_batch_size`` V and N/V = B virtual batches (ghost batch normalisation: Hoffer,
Hubara & Soudry 2017, arXiv:1705.08741) sample i belongs to virtual batch i mod B, each is normalised with moments of
its own, and m and v of the update are the means of the B moments.
"""

import contextlib
import numbers
from collections.abc import Hashable

import tensorflow as _tf

from .. import releases
from . import graph_collections, keras_names, normalization
from .code_paths import Path
from .moving_averages import Updates
from .normalization import NCHW, NHWC
from .training_flag import known, learning_phase
from .variables import Variables

tf = _tf.compat.v1

_ZEROS, _ONES = tf.zeros_initializer(), tf.ones_initializer()


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
    original, and unlike ``batch_norm``, it takes no defaults from an ``arg_scope``.

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
        axis than 1 or 3, renorm, adjustment, virtual batches) the composed form is used without a word.
      virtual_batch_size: samples in each virtual batch; must divide the batch.
      adjustment: function from the shape of the inputs to a scale and an offset that are applied to the normalised
        values in training.

    Returns:
      A tensor of the shape and dtype of ``inputs``.

    Raises:
      ValueError: an axis that the inputs do not have, or twice the same; unknown rank or size of an axis; a
        `virtual_batch_size` that is not positive, or together with axis 0 or `adjustment`; unknown keys in
        `renorm_clipping`; variables that exist, or do not, against `reuse`.
      TypeError: `axis` is neither an int nor a list; `training` is no boolean; float64 inputs in the fused form.
      IndexError: `axis` is an empty list.
    """
    axis = _checked_axis(axis)
    limits = normalization.checked_clipping(renorm_clipping) if renorm else {}
    beta_constraint = keras_names.get(beta_constraint, "beta_constraint")
    gamma_constraint = keras_names.get(gamma_constraint, "gamma_constraint")
    with _scope(name, reuse):
        inputs = _one_tensor(inputs)
        axes = _resolved(axis, inputs)
        _check_virtual(virtual_batch_size, axes, adjustment)
        # Whatever `tf1bn.release` says, this layer is that of 1.15.
        path = Path(True, _is_fused(fused, inputs, axes, renorm, virtual_batch_size, adjustment), releases.LATEST)
        training = _checked_training(training)
        # What 1.15 raises for None is whatever meets it first.
        _check_number(epsilon, "epsilon", TypeError if path.fused else ValueError)
        if known(training) is not False:
            _check_number(momentum, "momentum", ValueError if path.fused else TypeError)
        x, virtual_axis = inputs, None
        if virtual_batch_size is not None:
            x, virtual_axis = _in_virtual_batches(inputs, virtual_batch_size), 1
            axes = [i + 1 for i in axes]
        shape = _parameter_shape(x, axes, virtual_axis)

        variables = Variables(
            path,
            path.variable_dtype(inputs.dtype),
            shape,
            collections=None,
            trainable=trainable,
            initializers={
                "beta": beta_initializer,
                "gamma": gamma_initializer,
                "moving_mean": moving_mean_initializer,
                "moving_variance": moving_variance_initializer,
            },
            regularizers={"beta": beta_regularizer, "gamma": gamma_regularizer},
            constraints={"beta": beta_constraint, "gamma": gamma_constraint},
            standard_collections=None,
            spelt="`{}_{}`".format,
        )
        gamma, beta = variables.parameters(center, scale)
        statistics, renorm_variables = variables.statistics(renorm)
        renormalised = None
        if renorm:
            renormalised = normalization.Renorm(renorm_variables, statistics[1], limits, renorm_momentum, epsilon)
        updates = Updates(
            path,
            statistics,
            momentum,
            tf.GraphKeys.UPDATE_OPS,
            training,
            active=bool(trainable),
            renormalised_variance=renormalised.update_variance if renorm else None,
        )
        given = (x, gamma, beta, statistics, updates)
        if path.fused:
            outputs = normalization.fused(
                *given, is_training=training, epsilon=epsilon, data_format=NCHW if axes == [1] else NHWC
            )
        else:
            outputs = normalization.composed(
                *given,
                is_training=training,
                epsilon=epsilon,
                axes=axes,
                select_first=True,
                adjustment=adjustment,
                renorm=renormalised,
                virtual_axis=virtual_axis,
            )
        outputs.set_shape(x.shape)
        if virtual_batch_size is not None:
            outputs = _tf.reshape(outputs, [-1, *inputs.shape[1:]])
        channels_second = axes == [1] and inputs.shape.rank > 2
        graph_collections.remember(
            graph_collections.Applied(
                inputs=inputs,
                outputs=outputs,
                gamma=gamma,
                beta=beta,
                statistics=statistics,
                renorm=renorm_variables,
                debias=None,
                is_training=training,
                decay=momentum,
                epsilon=epsilon,
                data_format=NCHW if channels_second else NHWC,
                fused=path.fused,
                core=True,
                trainable=trainable,
                weights=None,
                updates=updates.made,
                axis=None if channels_second or axes == [inputs.shape.rank - 1] else axes[0],
                problem=_not_recordable(axis, axes, virtual_batch_size),
            )
        )
        return outputs


@contextlib.contextmanager
def _scope(name, reuse):
    """The variable scope of the call, and the name scope that was opened with it."""
    if name:
        opened = tf.variable_scope(name)
    elif reuse:
        opened = tf.variable_scope("batch_normalization")
    else:
        opened = tf.variable_scope(None, "batch_normalization")
    with opened as scope:
        pass
    with (
        tf.variable_scope(scope, reuse=reuse, auxiliary_name_scope=False),
        tf.name_scope(scope.original_name_scope),
    ):
        yield


def _checked_axis(axis):
    if isinstance(axis, int):
        return [int(axis)]
    if not isinstance(axis, list):
        raise TypeError(f"`axis` is {axis!r}; accepted is an int, or a list of ints.")
    if not axis:
        raise IndexError("`axis` is an empty list; give at least one axis that holds the channels.")
    if not all(isinstance(i, numbers.Integral) for i in axis):
        raise TypeError(f"`axis` is {axis!r}; accepted is an int, or a list of ints.")
    return [int(i) for i in axis]


def _one_tensor(inputs):
    if isinstance(inputs, list | tuple | dict):
        raise TypeError(
            f"`inputs` is a {type(inputs).__name__}; accepted is one tensor or array. The layers of TF 1.15 take a "
            "collection for several inputs; stack them or make an array of it first."
        )
    return _tf.convert_to_tensor(inputs)


def _resolved(axis, inputs):
    """The axes counted from 0, in the order of the dimensions."""
    rank = inputs.shape.rank
    if not rank:
        raise ValueError(
            f"`inputs` ({inputs.name}) has {'an unknown rank' if rank is None else 'rank 0'}; batch_normalization "
            "needs rank 1 or more, and the size of every axis in `axis`, when the graph is built. Give them with "
            "`inputs.set_shape(...)`."
        )
    axes = [i + rank if i < 0 else i for i in axis]
    for given, i in zip(axis, axes, strict=True):
        if not 0 <= i < rank:
            raise ValueError(f"`axis` is {given} and the inputs have rank {rank}; accepted is {-rank} to {rank - 1}.")
    if len(set(axes)) < len(axes):
        raise ValueError(f"`axis` is {axis!r}, which names a dimension of the inputs (rank {rank}) twice.")
    unknown = [i for i in axes if inputs.shape[i] is None]
    if unknown:
        raise ValueError(
            f"`inputs` ({inputs.name}) has shape {inputs.shape} with an unknown size of axis {unknown[0]}, which "
            "`axis` names; give it with `inputs.set_shape(...)`."
        )
    return sorted(axes)


def _check_virtual(size, axes, adjustment):
    if size is None:
        return
    if size <= 0:
        raise ValueError(
            f"`virtual_batch_size` is {size!r}; accepted is None, or a positive whole number that divides the batch."
        )
    if 0 in axes:
        raise ValueError("`virtual_batch_size` splits dimension 0, and `axis` names it as one of the channels.")
    if adjustment is not None:
        raise ValueError("`virtual_batch_size` and `adjustment` exclude each other; leave one of them out.")


def _checked_training(value):
    if value is None:
        return learning_phase()
    tensor = _tf.is_tensor(value) or isinstance(value, _tf.Variable)
    # An array of several flags cannot be hashed, and says nothing when it is compared.
    if not tensor and not (isinstance(value, Hashable) and value in (True, False)):
        raise TypeError(
            f"`training` is {value!r}; accepted are True, False, or a boolean tensor, placeholder or variable."
        )
    return value


def _check_number(value, argument, missing):
    if value is None or isinstance(value, str):
        raise (missing if value is None else TypeError)(
            f"`{argument}` is {value!r}; accepted is a number, or a scalar tensor or variable."
        )


def _is_fused(fused, inputs, axes, renorm, virtual_batch_size, adjustment):
    """TF 1.15's rule for the fused form, which it leaves without a word unless `fused` is something strange."""
    possible = (
        inputs.shape.rank == 4
        and axes in ([1], [3])
        and not renorm
        and virtual_batch_size is None
        and adjustment is None
    )
    if fused not in (None, True, False) and fused and not possible:
        raise ValueError(f"`fused` is {fused!r}; accepted are None, True and False.")
    return possible and (fused is None or bool(fused))


def _in_virtual_batches(inputs, size):
    """[N, ...] as [size, N / size, ...]: the second dimension numbers the virtual batches."""
    rest = inputs.shape.as_list()[1:]
    if None in rest:
        raise TypeError(
            f"`inputs` ({inputs.name}) has shape {inputs.shape}; with `virtual_batch_size` every size but that of the "
            "batch must be known when the graph is built. Give them with `inputs.set_shape(...)`."
        )
    return _tf.reshape(inputs, [size, -1, *rest])


def _parameter_shape(x, axes, virtual_axis):
    if len(axes) == 1 and virtual_axis is None:
        return [x.shape[axes[0]]]
    return [size if i in axes else 1 for i, size in enumerate(x.shape.as_list())]


def _not_recordable(axis, axes, virtual_batch_size):
    if virtual_batch_size is not None:
        return "it normalises virtual batches, each with statistics of its own, which a trace cannot hold"
    if len(axes) > 1:
        return f"it has the channels in several axes ({axis}), and a trace holds layers with one"
    return None
