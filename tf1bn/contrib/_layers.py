"""The layers around ``batch_norm`` in old code: ``tf.contrib.layers`` of TF 1.15, which slim shares.

Names, order and collections of the variables, names of the outputs and numbers are those of 1.15. A layer makes its
kernel and, unless a `normalizer_fn` follows it, its biases, and then applies `normalizer_fn` and `activation_fn`:

    outputs = activation_fn(normalizer_fn(layer(inputs), **normalizer_params))
"""

import functools

import tensorflow as _tf

from ..layers.arg_scopes import add_arg_scope
from ..layers.arguments import NHWC
from ..layers.graph_collections import builds_graph
from ..layers.training_flag import cond
from ._layer_base import XAVIER, ZEROS, LayerBuilder, checked_format, layer_scope, spatial
from ._utils import collect_named_outputs, get_variable_collections, two_element_tuple
from ._variables import model_variable

tf = _tf.compat.v1


@add_arg_scope
@builds_graph
def fully_connected(inputs, num_outputs, activation_fn=_tf.nn.relu, normalizer_fn=None, normalizer_params=None,
                    weights_initializer=XAVIER, weights_regularizer=None,
                    biases_initializer=ZEROS, biases_regularizer=None, reuse=None,
                    variables_collections=None, outputs_collections=None, trainable=True, scope=None):  # fmt: skip
    """A matrix product over the last axis of `inputs`, which has rank 2 or more.

    Raises:
      ValueError: `num_outputs` is no integer, or the length of the last axis is unknown.
    """
    if not isinstance(num_outputs, int):
        raise ValueError(f"`num_outputs` is {num_outputs!r}; it must be an integer.")
    with layer_scope(scope, "fully_connected", inputs, reuse, trainable, variables_collections) as layer:
        kernel = [layer.channels(NHWC), num_outputs]
        weights = layer.variable("weights", "kernel", kernel, weights_initializer, weights_regularizer)
        biases = layer.biases(num_outputs, normalizer_fn, biases_initializer, biases_regularizer)
        with layer.name_scope():
            rank = layer.inputs.shape.rank
            if rank > 2:
                outputs = _tf.tensordot(layer.inputs, weights, [[rank - 1], [0]])
                outputs.set_shape([*layer.inputs.shape.as_list()[:-1], num_outputs])
            else:
                outputs = _tf.matmul(layer.inputs, weights)
            outputs = layer.add_biases(outputs, biases, None)
        return layer.finish(outputs, normalizer_fn, normalizer_params, activation_fn, outputs_collections)


relu = functools.partial(fully_connected, activation_fn=_tf.nn.relu)
relu6 = functools.partial(fully_connected, activation_fn=_tf.nn.relu6)
elu = functools.partial(fully_connected, activation_fn=_tf.nn.elu)
linear = functools.partial(fully_connected, activation_fn=None)


@add_arg_scope
@builds_graph
def bias_add(inputs, activation_fn=None, initializer=ZEROS, regularizer=None, reuse=None,
             variables_collections=None, outputs_collections=None, trainable=True, data_format=NHWC,
             scope=None):  # fmt: skip
    """Adds a bias for each channel, and applies `activation_fn`."""
    data_format = checked_format(data_format)
    with tf.variable_scope(scope, "BiasAdd", [inputs], reuse=reuse) as variable_scope:
        layer = LayerBuilder(inputs, variable_scope, trainable, variables_collections)
        biases = model_variable(
            "biases",
            [layer.channels(data_format)],
            layer.inputs.dtype.base_dtype,
            initializer,
            regularizer,
            trainable,
            get_variable_collections(variables_collections, "biases"),
        )
        outputs = layer.add_biases(layer.inputs, biases, data_format)
        return layer.finish(outputs, None, None, activation_fn, outputs_collections)


@add_arg_scope
@builds_graph
def max_pool2d(inputs, kernel_size, stride=2, padding="VALID", data_format=NHWC, outputs_collections=None,
               scope=None):  # fmt: skip
    """The largest value of each window, for each channel of images."""
    pool = tf.nn.max_pool
    return _pooled(pool, "MaxPool2D", inputs, kernel_size, stride, padding, data_format, outputs_collections, scope)


@add_arg_scope
@builds_graph
def avg_pool2d(inputs, kernel_size, stride=2, padding="VALID", data_format=NHWC, outputs_collections=None,
               scope=None):  # fmt: skip
    """The mean of each window, over what lies in the image, for each channel of images."""
    pool = tf.nn.avg_pool
    return _pooled(pool, "AvgPool2D", inputs, kernel_size, stride, padding, data_format, outputs_collections, scope)


@add_arg_scope
@builds_graph
def flatten(inputs, outputs_collections=None, scope=None):
    """The inputs [N, ...] as [N, features]."""
    with tf.name_scope(scope, "Flatten", [inputs]) as name:
        inputs = _tf.convert_to_tensor(inputs)
        with tf.variable_scope(None, "flatten"):
            samples = inputs.shape[:1].as_list()[0]
            outputs = tf.reshape(inputs, (tf.shape(inputs)[0] if samples is None else samples, -1))
        outputs.set_shape([samples, inputs.shape[1:].num_elements()])
        return collect_named_outputs(outputs_collections, name, outputs)


@add_arg_scope
@builds_graph
def dropout(inputs, keep_prob=0.5, noise_shape=None, is_training=True, outputs_collections=None, scope=None,
            seed=None):  # fmt: skip
    """In training sets each value to zero with probability 1 - `keep_prob`, and divides the others by `keep_prob`."""
    with tf.variable_scope(scope, "Dropout", [inputs]) as variable_scope:
        inputs = _tf.convert_to_tensor(inputs)
        with tf.name_scope(variable_scope.original_name_scope):
            outputs = cond(
                is_training,
                lambda: tf.nn.dropout(inputs, noise_shape=noise_shape, seed=seed, rate=1 - keep_prob),
                lambda: _tf.identity(inputs),
            )
        return collect_named_outputs(outputs_collections, variable_scope.name, outputs)


@add_arg_scope
@builds_graph
def softmax(logits, scope=None):
    """The softmax over the last axis."""
    with tf.variable_scope(scope, "softmax", [logits]):
        flat = tf.nn.softmax(tf.reshape(logits, [-1, logits.shape[-1:].as_list()[0]]))
        outputs = tf.reshape(flat, tf.shape(logits))
        outputs.set_shape(logits.shape)
        return outputs


@add_arg_scope
@builds_graph
def one_hot_encoding(labels, num_classes, on_value=1.0, off_value=0.0, outputs_collections=None, scope=None):
    """Class numbers [N] as rows [N, num_classes] with `on_value` in the column of the class."""
    with tf.name_scope(scope, "OneHotEncoding", [labels, num_classes]) as name:
        labels = _tf.convert_to_tensor(labels)
        labels = tf.cast(labels, _tf.int64, "ToInt64") if labels.dtype == _tf.int32 else labels
        outputs = _tf.one_hot(labels, num_classes, on_value=on_value, off_value=off_value)
        return collect_named_outputs(outputs_collections, name, outputs)


@add_arg_scope
@builds_graph
def repeat(inputs, repetitions, layer, *args, **kwargs):
    """Applies the same layer `repetitions` times in a row, in scopes numbered from 1."""
    return _stacked("Repeat", "repeat", inputs, layer, [args] * repetitions, kwargs)


@add_arg_scope
@builds_graph
def stack(inputs, layer, stack_args, **kwargs):
    """Applies a layer in a row with each of `stack_args` as its arguments, in scopes numbered from 1.

    Raises:
      ValueError: `stack_args` is no list or tuple.
    """
    if not isinstance(stack_args, (list, tuple)):
        raise ValueError(f"`stack_args` is {stack_args!r}; it must be a list or tuple.")
    rows = [row if isinstance(row, (list, tuple)) else [row] for row in stack_args]
    return _stacked("Stack", "stack", inputs, layer, rows, kwargs)


def _pooled(pool, default, inputs, kernel_size, stride, padding, data_format, outputs_collections, scope):
    data_format = checked_format(data_format)
    with tf.name_scope(scope, default, [inputs]) as name:
        outputs = pool(
            _tf.convert_to_tensor(inputs),
            spatial(two_element_tuple(kernel_size), data_format),
            spatial(two_element_tuple(stride), data_format),
            padding.upper(),
            data_format=data_format,
        )
        return collect_named_outputs(outputs_collections, name, outputs)


def _stacked(scope_name, default, inputs, layer, rows, options):
    scope = options.pop("scope", None)
    with tf.variable_scope(scope, scope_name, [inputs]):
        outputs = _tf.convert_to_tensor(inputs)
        named = layer if hasattr(layer, "__name__") else getattr(layer, "func", None)
        scope = scope or getattr(named, "__name__", default)
        for number, row in enumerate(rows, 1):
            outputs = layer(outputs, *row, **{**options, "scope": f"{scope}_{number}"})
        return outputs
