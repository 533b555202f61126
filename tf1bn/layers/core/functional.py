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

import tensorflow as _tf

from .. import release_scope
from ..graph_collections import builds_graph
from .layer_object import BatchNormalization

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
    options = {
        "axis": axis,
        "momentum": momentum,
        "epsilon": epsilon,
        "center": center,
        "scale": scale,
        "beta_initializer": beta_initializer,
        "gamma_initializer": gamma_initializer,
        "moving_mean_initializer": moving_mean_initializer,
        "moving_variance_initializer": moving_variance_initializer,
        "beta_regularizer": beta_regularizer,
        "gamma_regularizer": gamma_regularizer,
        "beta_constraint": beta_constraint,
        "gamma_constraint": gamma_constraint,
        "renorm": renorm,
        "renorm_clipping": renorm_clipping,
        "renorm_momentum": renorm_momentum,
        "fused": fused,
        "trainable": trainable,
        "virtual_batch_size": virtual_batch_size,
        "adjustment": adjustment,
    }
    missing = release_scope.current().core_missing
    options = {name: value for name, value in options.items() if name not in missing}
    return BatchNormalization(**options, name=name, _scope=name, _reuse=reuse)(inputs, training=training)
