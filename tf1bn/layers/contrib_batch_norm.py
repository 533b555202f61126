"""``batch_norm`` of ``tf.contrib.layers`` in TF 1.15, built on the public ``tf.compat.v1`` API alone.

TF 1.15 sends a call down one of four code paths. They differ in more than speed, so tf1bn
keeps all four and chooses by the same rule (weights, zero debias, renorm and adjustment shift it, see ``paths``,
which holds the rules of the earlier releases too: a call inside ``tf1bn.release(...)`` follows that release):

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

from . import code_paths, graph_collections, normalization, release_scope, training_flag
from .arg_scopes import add_arg_scope
from .graph_collections import append_tensor_alias
from .moving_averages import Updates
from .normalization import NCHW, NHWC
from .variables import Variables

tf = _tf.compat.v1


@add_arg_scope
@release_scope.as_released
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
        the composed form is used without a word, as in TF 1.15.
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
      ValueError: unknown `data_format`, rank or channel count; `is_training` is None where contrib's own code runs;
        weights whose number is not that of the samples; unknown keys in `renorm_clipping`; `renorm` together with
        what excludes it.
      TypeError: float64 inputs on a fused path.
    """
    if data_format not in (NHWC, NCHW):
        raise ValueError(
            f"`data_format` is {data_format!r}; accepted are 'NHWC' (channels last) and 'NCHW' (channels in axis 1)."
        )
    inputs = _tf.convert_to_tensor(inputs)
    release = release_scope.current()
    path = code_paths.choose(
        release,
        inputs,
        updates_collections,
        batch_weights,
        fused,
        zero_debias_moving_mean,
        renorm,
        adjustment,
        param_regularizers,
    )
    is_training = _checked_is_training(is_training, path)
    clipping = _checked_renorm(renorm, renorm_clipping, path)
    code_paths.check_dtypes(path, inputs.dtype)
    code_paths.check_parameters(path, data_format, center)

    with contextlib.ExitStack() as scopes:
        variable_scope = scopes.enter_context(tf.variable_scope(scope, "BatchNorm", [inputs], reuse=reuse))
        if path.core:
            # Given a VariableScope object, the core layer names its operations after the place where it was opened.
            scopes.enter_context(tf.name_scope(variable_scope.original_name_scope))
        if release.reuses_silently and not path.fused:
            scopes.enter_context(
                tf.variable_scope(tf.get_variable_scope(), reuse=tf.AUTO_REUSE, auxiliary_name_scope=False)
            )
        channels = _channels(inputs, data_format)
        options = {}
        if batch_weights is not None:
            options["batch_weights"] = _per_sample(batch_weights, inputs)

        variables = Variables(
            path,
            path.variable_dtype(inputs.dtype),
            [channels],
            collections=variables_collections,
            trainable=trainable if release.trainable_none else bool(trainable),
            initializers=param_initializers,
            regularizers=param_regularizers,
            release=release,
        )
        gamma, beta = variables.parameters(center, scale)
        statistics, renorm_variables = variables.statistics(renorm)
        if renorm:
            options["renorm"] = normalization.Renorm(renorm_variables, statistics[1], clipping, renorm_decay, epsilon)
        updated = training_flag.known(is_training) is not False
        updates = Updates(
            path,
            statistics,
            decay,
            updates_collections,
            is_training,
            # The core layer of TF 1.6 on freezes the statistics with trainable=False; contrib's own code never does.
            active=bool(trainable) or not (path.core and release.frozen_core_stops),
            debias=variables.debias(statistics[0]) if zero_debias_moving_mean and updated else None,
            renormalised_variance=options["renorm"].update_variance if renorm else None,
            release=release,
        )
        arguments = {"is_training": is_training, "epsilon": epsilon}
        if path.fused:
            outputs = normalization.fused(
                inputs, gamma, beta, statistics, updates, data_format=data_format, **arguments, release=release
            )
        else:
            if path.core:
                # contrib's own composed code takes an adjustment and never looks at it.
                options["adjustment"] = adjustment
            arguments["axes"] = [1 if data_format == NCHW else inputs.shape.rank - 1]
            outputs = normalization.composed(
                inputs, gamma, beta, statistics, updates, **arguments, select_first=path.core, **options
            )
        outputs.set_shape(inputs.shape)
        if path.core:
            names = ("moving_mean", "moving_variance", "beta", "gamma")
            collected = (*statistics, beta, beta if gamma is not None and release.collects_beta_as_gamma else gamma)
            variables.collect_again(dict(zip(names, collected, strict=True)))
        graph_collections.remember(
            graph_collections.Applied(
                inputs=inputs,
                outputs=outputs,
                gamma=gamma,
                beta=beta,
                statistics=statistics,
                renorm=renorm_variables,
                debias=updates.debias,
                is_training=is_training,
                decay=decay,
                epsilon=epsilon,
                data_format=data_format,
                fused=path.fused,
                core=path.core,
                trainable=trainable,
                weights=options.get("batch_weights"),
                updates=updates.made,
                release=release,
            )
        )
        if activation_fn is not None:
            outputs = activation_fn(outputs)
        if outputs_collections or release.always_aliased:
            alias = variable_scope.name
            if release.alias_of_name_scope:
                alias = variable_scope.original_name_scope
            append_tensor_alias(outputs, alias)
            if outputs_collections:
                tf.add_to_collections(outputs_collections, outputs)
        return outputs


def _checked_is_training(is_training, path):
    if is_training is None:
        if path.core and path.release.core_is_keras:
            return training_flag.learning_phase()
        raise (TypeError if path.core else ValueError)(
            "`is_training` is None; pass True, False, or a boolean tensor, placeholder or variable that says whether "
            "the batch's own statistics are used."
        )
    accepted = isinstance(is_training, bool) or (path.release.core_takes_numbers and is_training in (True, False))
    if path.core and not (_tf.is_tensor(is_training) or accepted):
        raise TypeError(
            f"`is_training` is {is_training!r}; accepted are True, False, or a boolean tensor, placeholder or variable."
        )
    return is_training


def _checked_renorm(renorm, clipping, path):
    if not renorm:
        return {}
    if not path.core:
        raise ValueError(
            "`renorm` is set together with `batch_weights`, `zero_debias_moving_mean` or `updates_collections` other "
            "than the default; batch renormalisation works with none of them, leave them out."
        )
    if not path.release.renorm_of_1_15:
        raise NotImplementedError(
            f"`renorm` is set for TensorFlow {path.release.name}, whose batch renormalisation (that of 1.2 to 1.14, "
            "with the variables renorm_mean_weight and renorm_stddev_weight) tf1bn does not have; use "
            "`tf1bn.release('1.15')` for this layer, which has the scheme of 1.15 and other variables."
        )
    return normalization.checked_clipping(clipping)


def _per_sample(batch_weights, inputs):
    """The weights [N] in a shape that broadcasts over the inputs."""
    weights = _tf.convert_to_tensor(batch_weights)
    if not weights.shape.is_compatible_with(inputs.shape[:1]):
        raise ValueError(
            f"`batch_weights` has shape {weights.shape} and the batch {inputs.shape[:1]}; give one weight per sample."
        )
    return _tf.reshape(weights, [-1] + [1] * (inputs.shape.rank - 1))


def _channels(inputs, data_format):
    shape = inputs.shape
    if shape.rank is None:
        raise ValueError(
            f"`inputs` ({inputs.name}) has an unknown rank; batch_norm needs the rank and the number of channels when "
            "the graph is built. Give them with `inputs.set_shape(...)`."
        )
    axis = 1 if data_format == NCHW else -1
    needed = 2 if data_format == NCHW else 1
    if shape.rank < needed:
        raise ValueError(
            f"`inputs` ({inputs.name}) has shape {shape}; batch_norm needs rank {needed} or more with "
            f"data_format={data_format!r}."
        )
    channels = shape[axis]
    if channels is None:
        raise ValueError(
            f"`inputs` ({inputs.name}) has shape {shape} with an unknown number of channels for "
            f"data_format={data_format!r}; give it with `inputs.set_shape(...)`."
        )
    return channels
