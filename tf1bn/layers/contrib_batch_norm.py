"""``batch_norm`` of ``tf.contrib.layers`` in TF 1.15, built on the public ``tf.compat.v1`` API alone.

TF 1.15 sends a call down one of four code paths. They differ in more than speed, so tf1bn keeps all four and chooses
by the same rule. Weights, zero debias, renorm and adjustment shift it: see `code_paths`, which holds the rules of the
earlier releases too, because a call inside ``tf1bn.release(...)`` follows that release.

    ========  ==========  =====================================================================================
    path      moments     chosen when
    ========  ==========  =====================================================================================
    own       fused       `fused` is not False, rank 2 or 4, and rank 2 or `updates_collections` not the default
    core      fused       `fused` is not False, rank 4, default `updates_collections`
    core      composed    default `updates_collections`, and `fused=False` or another rank
    own       composed    everything else
    ========  ==========  =====================================================================================

Training, per channel, with batch mean m and batch variance v over N values (reference: Ioffe & Szegedy 2015,
arXiv:1502.03167, algorithm 1 and section 3.1; the moving average form is that of TF 1.x):

    y               = gamma * (x - m) / sqrt(v_population + epsilon) + beta
    moving_mean     = moving_mean     - (moving_mean     - m) * (1 - decay)        starting at 0
    moving_variance = moving_variance - (moving_variance - v) * (1 - decay)        starting at 1

where v is the population variance on the composed paths and N/(N-1) of it (Bessel's correction) on the fused
ones. Inference puts moving_mean and moving_variance in the place of m and v and changes neither.
"""

import contextlib

import tensorflow as _tf

from . import arguments, code_paths, release_scope
from .arg_scopes import add_arg_scope
from .arguments import NCHW, NHWC
from .graph_collections import append_tensor_alias, builds_graph
from .normalization import build_layer
from .variables import layer_variables

tf = _tf.compat.v1


@add_arg_scope
@release_scope.as_released
@builds_graph
def batch_norm(
    inputs,
    decay=0.999,
    center=True,
    scale=False,
    epsilon=0.001,
    activation_fn=None,
    param_initializers=None,
    param_regularizers=None,
    updates_collections=tf.GraphKeys.UPDATE_OPS,
    is_training=True,
    reuse=None,
    variables_collections=None,
    outputs_collections=None,
    trainable=True,
    batch_weights=None,
    fused=None,
    data_format=NHWC,
    zero_debias_moving_mean=False,
    scope=None,
    renorm=False,
    renorm_clipping=None,
    renorm_decay=0.99,
    adjustment=None,
):
    """Batch normalisation with the arguments, variables and numbers of ``tf.contrib.layers.batch_norm`` (TF 1.15).

    Builds graph-mode operations: call it inside a ``tf.Graph`` and run it in a ``tf.compat.v1.Session``.

    Args:
      inputs: tensor of rank 2 or more with a known channel count, float16, float32 or float64 (the fused paths
        take no float64, as in TF 1.15: pass ``fused=False``). Normalised over every axis but the channels.
      decay: weight that the moving statistics keep at each step, a float or scalar tensor; 1 - decay is the step.
      center: add ``beta`` (shape [C], starts at 0).
      scale: multiply by ``gamma`` (shape [C], starts at 1).
      epsilon: added to the variance. The fused paths raise it to 1.001e-5 when it is not above that.
      activation_fn: applied to the result.
      updates_collections: collections that receive the two update operations. With the default they must be run
        with the training step by the caller; with None the output itself depends on them.
      is_training: a bool, or a boolean tensor, placeholder or variable: normalise with the batch's statistics and
        update the moving ones, or normalise with the moving ones.
      reuse, scope: as in ``tf.compat.v1.variable_scope``; the default scope is "BatchNorm", made unique.
      variables_collections: collections for the variables, a list, or a dict from the variable's short name.
      outputs_collections: collections for the output.
      trainable: put beta and gamma into TRAINABLE_VARIABLES. False also stops the updates of the moving
        statistics where ``updates_collections`` is the default and the rank is 4 or `fused` is False, because
        TF 1.15 does that.
      fused: use TensorFlow's fused kernels; None means True. Where they cannot be used (rank other than 2 and 4)
        the composed form is used silently, as in TF 1.15.
      data_format: "NHWC" (channels last, whatever the rank) or "NCHW" (channels in axis 1).
      param_initializers: dict from "beta", "gamma", "moving_mean", "moving_variance" to initializers.
      param_regularizers: dict from "beta", "gamma" to functions that return a loss. Without effect on the composed
        form of a call with other than default ``updates_collections``, as in TF 1.15.
      batch_weights: one weight per sample, shape [N], for the batch's statistics. Weights that sum to zero give NaN.
      zero_debias_moving_mean: keep the moving mean free of its start value 0; adds the variables
        ``<scope>/<scope>/moving_mean/biased`` and ``.../local_step``. NaN if decay is 1.
      renorm, renorm_clipping, renorm_decay: batch renormalisation (Ioffe 2017, arXiv:1702.03275), with a dict of
        "rmin", "rmax", "dmax"; adds the variables moving_stddev, renorm_mean, renorm_stddev.
      adjustment: function from the shape of the inputs to a scale and an offset that are applied to the normalised
        values in training. Without effect where contrib's own composed code runs, as in TF 1.15.

    Returns:
      A tensor of the shape and dtype of ``inputs``.

    Raises:
      GraphError: no graph is built, as when TensorFlow 2 executes eagerly; or the moving statistics cannot be
        updated where the layer is built, as in a function of control flow v2 with reference variables.
      ValueError: unknown `data_format`, rank or channel count; `is_training` is None where contrib's own code runs;
        weights whose number is not that of the samples; unknown keys in `renorm_clipping`; `renorm` together with
        what excludes it.
      TypeError: float64 inputs on a fused path.
    """
    arguments.check_data_format(data_format)
    inputs = _tf.convert_to_tensor(inputs)
    path = code_paths.path_of_batch_norm(
        release_scope.current(),
        inputs,
        updates_collections,
        batch_weights,
        fused,
        zero_debias_moving_mean,
        renorm,
        adjustment,
        param_regularizers,
    )
    is_training = arguments.checked_is_training(is_training, path)
    renorm_clipping = arguments.checked_renorm(renorm, renorm_clipping, path)
    code_paths.check_dtypes(path, inputs.dtype)
    code_paths.check_parameters(path, data_format, center)
    with _scopes(scope, reuse, inputs, path) as variable_scope:
        call = arguments.LayerCall(
            path=path,
            inputs=inputs,
            batch=inputs,
            parameter_shape=[arguments.channel_count(inputs, data_format, path)],
            channel_axes=[1 if data_format == NCHW else inputs.shape.rank - 1],
            data_format=data_format,
            decay=decay,
            epsilon=epsilon,
            center=center,
            scale=scale,
            is_training=is_training,
            trainable=trainable if path.release.trainable_none else bool(trainable),
            updates_collections=updates_collections,
            initializers=param_initializers,
            regularizers=param_regularizers,
            argument_name="param_{1}s[{0!r}]".format,
            variables_collections=variables_collections,
            model_variables=True,
            batch_weights=arguments.weights_per_sample(batch_weights, inputs),
            zero_debias=zero_debias_moving_mean,
            renorm=renorm,
            renorm_clipping=renorm_clipping,
            renorm_decay=renorm_decay,
            # contrib's own composed code takes an adjustment and never looks at it.
            adjustment=adjustment if path.core else None,
        )
        outputs = build_layer(call, layer_variables(call)).outputs
        if activation_fn is not None:
            outputs = activation_fn(outputs)
        _collect_outputs(outputs, outputs_collections, variable_scope, path.release)
        return outputs


@contextlib.contextmanager
def _scopes(scope, reuse, inputs, path):
    """The variable scope of the call, with the name scope and the reuse that the code path has."""
    with contextlib.ExitStack() as scopes:
        # Contrib's own fused code, and none of the others, asks for its variables without a getter of its own.
        getter = None if path.fused and not path.core else _by_position
        variable_scope = scopes.enter_context(
            tf.variable_scope(scope, "BatchNorm", [inputs], reuse=reuse, custom_getter=getter)
        )
        if path.core:
            # Given a VariableScope object, the core layer names its operations after the place where it was opened.
            scopes.enter_context(tf.name_scope(variable_scope.original_name_scope))
        if path.release.reuses_silently and not path.fused:
            scopes.enter_context(
                tf.variable_scope(tf.get_variable_scope(), reuse=tf.AUTO_REUSE, auxiliary_name_scope=False)
            )
        yield variable_scope


def _by_position(getter, name, **options):
    """``getter``, which gives a custom getter of an enclosing scope its first two arguments by position."""
    return getter(name, **options)


def _collect_outputs(outputs, collections, variable_scope, release):
    if collections or release.always_aliased:
        name_scope = variable_scope.original_name_scope
        append_tensor_alias(outputs, name_scope if release.alias_of_name_scope else variable_scope.name)
    if collections:
        tf.add_to_collections(collections, outputs)
