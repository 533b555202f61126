"""The arguments of one call of a batch-norm layer, and the checks of those that the two public functions take.

``batch_norm`` and ``batch_normalization`` have other names and defaults for the same things. Each checks its own
arguments with the functions below and hands on a `LayerCall`; all code behind that is shared.
"""

import dataclasses
import numbers
from collections.abc import Callable, Hashable
from typing import Any

import tensorflow as _tf

from . import keras_names, training_flag

NHWC, NCHW = "NHWC", "NCHW"
_FLAGS = "True, False, or a boolean tensor, placeholder or variable"
_CLIPPING = ("rmax", "rmin", "dmax")


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class LayerCall:
    """The checked arguments of one call of a batch-norm layer.

    Attributes:
      path: the `code_paths.Path` of the call, with the release whose rules hold.
      inputs: the tensor that is normalised, [N, ...].
      batch: `inputs`, or with virtual batches of V samples the same values as [V, N / V, ...].
      channel_axes: the axes of `batch` that are not reduced, ascending, none of them negative.
      parameter_shape: the shape of beta, gamma and the moving statistics: [C], or with several `channel_axes` or
        virtual batches the rank of `batch`, with 1 in every other dimension.
      virtual_axis: the axis of `batch` that numbers virtual batches, or None.
      data_format: "NHWC" or "NCHW".
      decay: the weight that the moving statistics keep at each step, a number or scalar tensor.
      epsilon: the number that is added to the variance.
      center, scale: whether there is a beta, a gamma.
      is_training: a bool, or a boolean tensor or variable.
      trainable: whether beta and gamma are trained; None leaves it to ``tf.get_variable``.
      updates_collections: the collections for the update operations; None makes the output depend on them.
      initializers, regularizers, constraints: dicts from the short names of variables, or None.
      variables_collections: a list for all variables, or a dict from short names to lists, or None.
      model_variables: whether every variable goes to GLOBAL_VARIABLES and MODEL_VARIABLES besides; if not,
        ``tf.get_variable`` chooses.
      argument_name: a function from a variable's short name and "initializer" or "regularizer" to the name that error
        messages give the argument.
      batch_weights: None, or a weight for each sample in a shape that broadcasts over `batch`.
      zero_debias: whether the moving mean is kept free of its start value.
      renorm: whether batch renormalisation is used, with `renorm_clipping` (a dict) and `renorm_decay`.
      adjustment: None, or a function from the shape of `batch` to a scale and an offset.
      recorded_axis: the axis of the channels in `batch` where `data_format` does not say it, else None.
      unrecordable: why a trace cannot hold the layer, part of a sentence; None if it can.
    """

    path: Any
    inputs: Any
    batch: Any
    channel_axes: list[int]
    parameter_shape: list[int]
    data_format: str
    decay: Any
    epsilon: Any
    center: Any
    scale: Any
    is_training: Any
    trainable: Any
    updates_collections: Any
    initializers: dict | None
    regularizers: dict | None
    argument_name: Callable[[str, str], str]
    variables_collections: Any = None
    model_variables: bool = False
    constraints: dict | None = None
    virtual_axis: int | None = None
    batch_weights: Any = None
    zero_debias: Any = False
    renorm: Any = False
    renorm_clipping: dict | None = None
    renorm_decay: Any = 0.99
    adjustment: Any = None
    recorded_axis: int | None = None
    unrecordable: str | None = None

    @property
    def release(self):
        """The `releases.Release` whose rules hold."""
        return self.path.release

    @property
    def vectors(self):
        """Whether the parameters and statistics are vectors [C]."""
        return len(self.channel_axes) == 1 and self.virtual_axis is None


# ---- both functions ----


def checked_clipping(clipping):
    """`renorm_clipping` as a dict, empty for None.

    Raises:
      ValueError: it has other keys than "rmax", "rmin" and "dmax".
    """
    clipping = clipping or {}
    unknown = set(clipping) - set(_CLIPPING)
    if unknown:
        raise ValueError(
            f"renorm_clipping {clipping} contains keys not in {list(_CLIPPING)}. `renorm_clipping` has the keys "
            f"{sorted(unknown)}; its keys must be among {', '.join(_CLIPPING)}."
        )
    return clipping


# ---- batch_norm ----


def check_data_format(data_format):
    """Raises ValueError unless ``data_format`` is "NHWC" or "NCHW"."""
    if data_format not in (NHWC, NCHW):
        raise ValueError(
            f"data_format has to be either NCHW or NHWC. `data_format` is {data_format!r}; it must be 'NHWC' (channels "
            "last) or 'NCHW' (channels in axis 1)."
        )


def checked_is_training(is_training, path):
    """`is_training` of ``batch_norm``; the graph's learning phase for None where the core layer of TF 1.9 on runs.

    Raises:
      ValueError, TypeError: what the release of ``path`` raised for None or for a value that is no boolean.
    """
    if is_training is None and path.core and path.release.core_is_keras:
        return training_flag.learning_phase()
    wrong = is_training is None
    if path.core and not wrong and not _tf.is_tensor(is_training):
        number = path.release.core_takes_numbers and is_training in (True, False)
        wrong = not (isinstance(is_training, bool) or number)
    if wrong:
        phrase = _no_flag(is_training, path.release) if path.core else "value_or_tensor_or_var cannot be None."
        raise (TypeError if path.core else ValueError)(
            f"{phrase} `is_training` is {is_training!r}; it must be {_FLAGS}."
        )
    return is_training


def _no_flag(flag, release):
    """What ``tf.cond`` said of a flag that is none."""
    if release.core_takes_numbers:
        return f"`pred` must be a Tensor, or a Python bool, or 1 or 0. Found instead: {flag!r}."
    return "`pred` must be a Tensor, a Variable, or a Python bool."


def checked_renorm(renorm, clipping, path):
    """`renorm_clipping` of ``batch_norm`` as a dict, empty without `renorm`.

    Raises:
      ValueError: `renorm` together with an argument that excludes it, or unknown keys in the dict.
    """
    if not renorm:
        return {}
    if not path.core:
        raise ValueError(
            "renorm is not supported with batch_weights, updates_collections or zero_debias_moving_mean. `renorm` is "
            "set together with `batch_weights`, `zero_debias_moving_mean` or `updates_collections` other "
            "than the default; batch renormalisation works with none of them, leave them out."
        )
    return checked_clipping(clipping)


def channel_count(inputs, data_format, path):
    """The number of channels of the inputs of ``batch_norm``; messages begin as those of the `Path` of 1.15 did.

    Raises:
      ValueError: the rank is unknown or too small, or the number of channels is unknown.
    """
    shape = inputs.shape
    if shape.rank is None:
        phrase = (
            "Input has undefined rank: TensorShape(None)" if path.core else f"Inputs {inputs.name} has undefined rank"
        )
        raise ValueError(
            f"{phrase}. `inputs` ({inputs.name}) has an unknown rank; batch_norm needs the rank and the number of "
            f"channels when "
            "the graph is built. Give them with `inputs.set_shape(...)`."
        )
    needed = 2 if data_format == NCHW else 1
    if shape.rank < needed:
        phrase = "Invalid axis: 1" if shape.rank else "Input has undefined rank: TensorShape([])"
        raise ValueError(
            f"{phrase}. `inputs` ({inputs.name}) has shape {shape}; batch_norm needs rank {needed} or more with "
            f"data_format={data_format!r}."
        )
    channels = shape.as_list()[1 if data_format == NCHW else -1]
    if channels is None:
        if path.fused and shape.rank == 2:
            phrase = "`C` dimension must be known but is None"
        elif path.core:
            phrase = f"Input has undefined `axis` dimension. Input shape: {shape}"
        else:
            phrase = f"Inputs {inputs.name} has undefined {'`C`' if path.fused else 'channels'} dimension"
        raise ValueError(
            f"{phrase}. `inputs` ({inputs.name}) has shape {shape} with an unknown number of channels for "
            f"data_format={data_format!r}; give it with `inputs.set_shape(...)`."
        )
    return channels


def weights_per_sample(batch_weights, inputs):
    """The weights [N] as a tensor [N, 1, ...] that broadcasts over the inputs; None for None.

    Raises:
      ValueError: their number is known not to be that of the samples.
    """
    if batch_weights is None:
        return None
    weights = _tf.convert_to_tensor(batch_weights)
    if not weights.shape.is_compatible_with(inputs.shape[:1]):
        raise ValueError(
            f"Shapes {inputs.shape[:1]} and {weights.shape} are incompatible. `batch_weights` has shape "
            f"{weights.shape} and the batch {inputs.shape[:1]}; give one weight per sample."
        )
    return _tf.reshape(weights, [-1] + [1] * (inputs.shape.rank - 1))


# ---- batch_normalization ----


def checked_axis(axis, release):
    """`axis` of ``batch_normalization`` as a list of ints.

    Raises:
      TypeError: it is neither an int nor a list of ints.
      IndexError: it is an empty list.
    """
    if isinstance(axis, int):
        return [int(axis)]
    if not release.core_axes:
        if isinstance(axis, numbers.Integral):
            return [int(axis)]
        raise TypeError(
            f"`axis` is {axis!r}; it must be an int in TensorFlow {release.name}, whose layer has the channels in one "
            "axis; several came with 1.5."
        )
    if isinstance(axis, list) and not axis:
        raise IndexError("`axis` is an empty list; give at least one axis that holds the channels.")
    if not isinstance(axis, list) or not all(isinstance(i, numbers.Integral) for i in axis):
        raise TypeError(
            f"axis must be int or list, type given: {type(axis)}. `axis` is {axis!r}; it must be an int or a list of "
            f"ints."
        )
    return [int(i) for i in axis]


def single_tensor(inputs):
    """`inputs` of ``batch_normalization`` as a tensor; TypeError for a collection of several, ValueError for None."""
    if inputs is None:
        raise ValueError("Input has undefined rank: TensorShape(None). `inputs` is None; it must be a tensor or array.")
    if isinstance(inputs, list | tuple | dict):
        raise TypeError(
            f"`inputs` is a {type(inputs).__name__}; it must be one tensor or array. The layers of TF 1.15 take a "
            "collection for several inputs; stack them or make an array of it first."
        )
    return _tf.convert_to_tensor(inputs)


def resolved_axes(axis, inputs, release):
    """The axes counted from 0, in the order of the dimensions.

    Raises:
      ValueError: the rank or the size of an axis is unknown, the inputs do not have an axis, or two are the same.
    """
    rank = inputs.shape.rank
    if not rank:
        raise ValueError(
            f"Input has undefined rank: TensorShape({'None' if rank is None else '[]'}). `inputs` ({inputs.name}) has "
            f"{'an unknown rank' if rank is None else 'rank 0'}; batch_normalization "
            "needs rank 1 or more, and the size of every axis in `axis`, when the graph is built. Give them with "
            "`inputs.set_shape(...)`."
        )
    for number in axis:
        if not -rank <= number < rank:
            # From 1.5 on it was counted from the end first, and what came of it was named.
            phrase = f"Invalid axis: {number if number >= 0 else number + rank}"
            if not release.core_axes:
                phrase = f"Value of `axis` argument {number} is out of range for input with rank {rank}"
            raise ValueError(
                f"{phrase}. `axis` is {number} and the inputs have rank {rank}; it must be {-rank} to {rank - 1}."
            )
    axes = [i + rank if i < 0 else i for i in axis]
    if len(set(axes)) < len(axes):
        raise ValueError(
            f"Duplicate axis: {axes}. `axis` is {axis!r}, which names a dimension of the inputs (rank {rank}) twice."
        )
    sizes = inputs.shape.as_list()
    unknown = [i for i in axes if sizes[i] is None]
    if unknown:
        raise ValueError(
            f"Input has undefined `axis` dimension. Input shape: {inputs.shape}. `inputs` ({inputs.name}) has shape "
            f"{inputs.shape} with an unknown size of axis {unknown[0]}, which `axis` names; give it with "
            f"`inputs.set_shape(...)`."
        )
    return sorted(axes)


def checked_training(training, release):
    """`training` of ``batch_normalization``; the graph's learning phase for None.

    Raises:
      TypeError: it is no boolean.
    """
    if training is None and release.core_is_keras:
        return training_flag.learning_phase()
    tensor = _tf.is_tensor(training) or isinstance(training, _tf.Variable)
    # An array of several flags cannot be hashed, and comparing it gives no single answer.
    number = release.core_takes_numbers and isinstance(training, Hashable) and training in (True, False)
    if not tensor and not isinstance(training, bool) and not number:
        raise TypeError(f"{_no_flag(training, release)} `training` is {training!r}; it must be {_FLAGS}.")
    return training


def checked_constraint(constraint, argument, release):
    """A constraint of ``batch_normalization`` as a function or None; ValueError for a name before 1.9."""
    if release.core_is_keras or constraint is None or callable(constraint):
        return keras_names.constraint(constraint, argument)
    raise ValueError(
        f"The `constraint` argument must be a callable. `{argument}` is {constraint!r}; it must be a function from a "
        f"variable to its new value in TensorFlow {release.name}."
    )


def check_numbers(epsilon, momentum, training, path):
    """Check `epsilon`, and `momentum` unless it is known that the layer is not in training.

    Raises:
      TypeError: one of them is a string.
      TypeError, ValueError: one of them is None; 1.15 raised what the first operation raised that met it.
    """
    _check_number(epsilon, "epsilon", TypeError if path.fused else ValueError)
    if training_flag.static_value(training) is not False:
        in_tensor = path.fused and path.release.float32_rate
        _check_number(momentum, "momentum", ValueError if in_tensor else TypeError)


def _check_number(value, argument, error_for_none):
    if value is None or isinstance(value, str):
        raise (error_for_none if value is None else TypeError)(
            f"{'None values not supported. ' if value is None else ''}`{argument}` is {value!r}; it must be a number, "
            f"or a scalar tensor or variable."
        )
