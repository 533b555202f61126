"""The layers around ``batch_norm`` in old code: ``tf.contrib.layers`` of TF 1.15, which slim shares.

Names, order and collections of the variables, names of the outputs and numbers are those of 1.15. A layer makes its
kernel and, unless a `normalizer_fn` follows it, its biases, and then applies `normalizer_fn` and `activation_fn`:

    outputs = activation_fn(normalizer_fn(layer(inputs), **normalizer_params))
"""

import contextlib
import functools

import tensorflow as _tf

from ..layers.arg_scopes import add_arg_scope
from ..layers.graph_collections import collect, collect_losses
from ..layers.training_flag import cond
from ._initializers import xavier_initializer
from ._utils import collect_named_outputs, get_variable_collections, two_element_tuple
from ._variables import model_variable

tf = _tf.compat.v1

_NHWC, _NCHW = "NHWC", "NCHW"
_XAVIER, _ZEROS = xavier_initializer(), tf.zeros_initializer()


@add_arg_scope
def convolution2d(inputs, num_outputs, kernel_size, stride=1, padding="SAME", data_format=None, rate=1,
                  activation_fn=_tf.nn.relu, normalizer_fn=None, normalizer_params=None,
                  weights_initializer=_XAVIER, weights_regularizer=None,
                  biases_initializer=_ZEROS, biases_regularizer=None, reuse=None,
                  variables_collections=None, outputs_collections=None, trainable=True, scope=None):  # fmt: skip
    """A convolution of images [N, H, W, C] ("NCHW": [N, C, H, W]); `rate` is its dilation.

    Raises:
      ValueError: unknown `data_format`, another rank than 4, or an unknown number of channels.
    """
    data_format = _checked_format(data_format)
    with _layer(scope, "Conv", inputs, reuse, trainable, variables_collections) as made:
        kernel = [*two_element_tuple(kernel_size), made.channels(data_format, 4), num_outputs]
        weights = made.variable("weights", "kernel", kernel, weights_initializer, weights_regularizer)
        biases = made.biases(num_outputs, normalizer_fn, biases_initializer, biases_regularizer)
        with made.names():
            stride, rate = two_element_tuple(stride), two_element_tuple(rate)
            if rate == (1, 1):
                steps = _spatial(stride, data_format)
                outputs = tf.nn.conv2d(made.inputs, weights, steps, padding.upper(), data_format=data_format)
            else:
                outputs = tf.nn.convolution(
                    made.inputs, weights, padding.upper(), stride, rate, data_format=data_format
                )
            outputs = made.biased(outputs, biases, data_format)
        return made.finished(outputs, normalizer_fn, normalizer_params, activation_fn, outputs_collections)


@add_arg_scope
def convolution2d_transpose(inputs, num_outputs, kernel_size, stride=1, padding="SAME", data_format=_NHWC,
                            activation_fn=_tf.nn.relu, normalizer_fn=None, normalizer_params=None,
                            weights_initializer=_XAVIER, weights_regularizer=None,
                            biases_initializer=_ZEROS, biases_regularizer=None, reuse=None,
                            variables_collections=None, outputs_collections=None, trainable=True,
                            scope=None):  # fmt: skip
    """The transpose of a convolution; with padding "SAME" its output is `stride` times as high and wide.

    Raises:
      ValueError: unknown `data_format`, another rank than 4, or an unknown number of channels.
    """
    data_format = _checked_format(data_format)
    with _layer(scope, "Conv2d_transpose", inputs, reuse, trainable, variables_collections) as made:
        size, stride = two_element_tuple(kernel_size), two_element_tuple(stride)
        kernel = [*size, num_outputs, made.channels(data_format, 4)]
        weights = made.variable("weights", "kernel", kernel, weights_initializer, weights_regularizer)
        biases = made.biases(num_outputs, normalizer_fn, biases_initializer, biases_regularizer)
        with made.names():
            beyond = [max(k - s, 0) if padding.upper() == "VALID" else 0 for k, s in zip(size, stride, strict=True)]

            def shape_of(sizes):
                axes = (2, 3) if data_format == _NCHW else (1, 2)
                long = [
                    None if sizes[axis] is None else sizes[axis] * s + more
                    for axis, s, more in zip(axes, stride, beyond, strict=True)
                ]
                return [sizes[0], num_outputs, *long] if data_format == _NCHW else [sizes[0], *long, num_outputs]

            outputs = tf.nn.conv2d_transpose(
                made.inputs,
                weights,
                _tf.stack(shape_of(tf.shape(made.inputs))),
                _spatial(stride, data_format),
                padding.upper(),
                data_format,
            )
            outputs.set_shape(shape_of(made.inputs.shape.as_list()))
            outputs = made.biased(outputs, biases, data_format)
        return made.finished(outputs, normalizer_fn, normalizer_params, activation_fn, outputs_collections)


@add_arg_scope
def separable_convolution2d(inputs, num_outputs, kernel_size, depth_multiplier=1, stride=1, padding="SAME",
                            data_format=_NHWC, rate=1, activation_fn=_tf.nn.relu, normalizer_fn=None,
                            normalizer_params=None, weights_initializer=_XAVIER,
                            pointwise_initializer=None, weights_regularizer=None,
                            biases_initializer=_ZEROS, biases_regularizer=None, reuse=None,
                            variables_collections=None, outputs_collections=None, trainable=True,
                            scope=None):  # fmt: skip
    """A convolution of each channel by itself, then one of size 1 over channels; num_outputs None leaves that out.

    Raises:
      ValueError: unknown `data_format`, another rank than 4, or an unknown number of channels.
    """
    data_format = _checked_format(data_format)
    with _layer(scope, "SeparableConv2d", inputs, reuse, trainable, variables_collections) as made:
        channels, rate = made.channels(data_format, 4), two_element_tuple(rate)
        steps = _spatial(two_element_tuple(stride), data_format)
        kernel = [*two_element_tuple(kernel_size), channels, depth_multiplier]
        depthwise = made.variable(
            "depthwise_weights", "depthwise_kernel", kernel, weights_initializer, weights_regularizer, "weights"
        )
        if num_outputs is None:
            num_outputs = channels * depth_multiplier
            biases = made.biases(num_outputs, normalizer_fn, biases_initializer, biases_regularizer)
            outputs = tf.nn.depthwise_conv2d(
                made.inputs, depthwise, steps, padding.upper(), rate=rate, data_format=data_format
            )
            outputs = made.biased(outputs, biases, data_format)
            return made.finished(outputs, normalizer_fn, normalizer_params, activation_fn, outputs_collections)
        pointwise = made.variable(
            "pointwise_weights",
            "pointwise_kernel",
            [1, 1, channels * depth_multiplier, num_outputs],
            pointwise_initializer or weights_initializer,
            weights_regularizer,
            "weights",
        )
        biases = made.biases(num_outputs, normalizer_fn, biases_initializer, biases_regularizer)
        with made.names():
            outputs = tf.nn.separable_conv2d(
                made.inputs, depthwise, pointwise, steps, padding.upper(), rate, data_format=data_format
            )
            outputs = made.biased(outputs, biases, data_format)
        return made.finished(outputs, normalizer_fn, normalizer_params, activation_fn, outputs_collections)


@add_arg_scope
def fully_connected(inputs, num_outputs, activation_fn=_tf.nn.relu, normalizer_fn=None, normalizer_params=None,
                    weights_initializer=_XAVIER, weights_regularizer=None,
                    biases_initializer=_ZEROS, biases_regularizer=None, reuse=None,
                    variables_collections=None, outputs_collections=None, trainable=True, scope=None):  # fmt: skip
    """A matrix product over the last axis of `inputs`, which has rank 2 or more.

    Raises:
      ValueError: `num_outputs` is no integer, or the length of the last axis is unknown.
    """
    if not isinstance(num_outputs, int):
        raise ValueError(f"`num_outputs` is {num_outputs!r}; it must be an integer.")
    with _layer(scope, "fully_connected", inputs, reuse, trainable, variables_collections) as made:
        kernel = [made.channels(_NHWC), num_outputs]
        weights = made.variable("weights", "kernel", kernel, weights_initializer, weights_regularizer)
        biases = made.biases(num_outputs, normalizer_fn, biases_initializer, biases_regularizer)
        with made.names():
            rank = made.inputs.shape.rank
            if rank > 2:
                outputs = _tf.tensordot(made.inputs, weights, [[rank - 1], [0]])
                outputs.set_shape([*made.inputs.shape.as_list()[:-1], num_outputs])
            else:
                outputs = _tf.matmul(made.inputs, weights)
            outputs = made.biased(outputs, biases, None)
        return made.finished(outputs, normalizer_fn, normalizer_params, activation_fn, outputs_collections)


relu = functools.partial(fully_connected, activation_fn=_tf.nn.relu)
relu6 = functools.partial(fully_connected, activation_fn=_tf.nn.relu6)
elu = functools.partial(fully_connected, activation_fn=_tf.nn.elu)
linear = functools.partial(fully_connected, activation_fn=None)


@add_arg_scope
def bias_add(inputs, activation_fn=None, initializer=_ZEROS, regularizer=None, reuse=None,
             variables_collections=None, outputs_collections=None, trainable=True, data_format=_NHWC,
             scope=None):  # fmt: skip
    """A bias for each channel."""
    data_format = _checked_format(data_format)
    with tf.variable_scope(scope, "BiasAdd", [inputs], reuse=reuse) as variable_scope:
        made = _Layer(inputs, variable_scope, trainable, variables_collections)
        biases = model_variable(
            "biases",
            [made.channels(data_format)],
            made.inputs.dtype.base_dtype,
            initializer,
            regularizer,
            trainable,
            get_variable_collections(variables_collections, "biases"),
        )
        outputs = made.biased(made.inputs, biases, data_format)
        return made.finished(outputs, None, None, activation_fn, outputs_collections)


@add_arg_scope
def max_pool2d(inputs, kernel_size, stride=2, padding="VALID", data_format=_NHWC, outputs_collections=None,
               scope=None):  # fmt: skip
    """The largest value of each window."""
    pool = tf.nn.max_pool
    return _pooled(pool, "MaxPool2D", inputs, kernel_size, stride, padding, data_format, outputs_collections, scope)


@add_arg_scope
def avg_pool2d(inputs, kernel_size, stride=2, padding="VALID", data_format=_NHWC, outputs_collections=None,
               scope=None):  # fmt: skip
    """The mean of each window, of what lies in the image."""
    pool = tf.nn.avg_pool
    return _pooled(pool, "AvgPool2D", inputs, kernel_size, stride, padding, data_format, outputs_collections, scope)


@add_arg_scope
def flatten(inputs, outputs_collections=None, scope=None):
    """All axes but the first in one: [N, ...] to [N, features]."""
    with tf.name_scope(scope, "Flatten", [inputs]) as name:
        inputs = _tf.convert_to_tensor(inputs)
        with tf.variable_scope(None, "flatten"):
            samples = inputs.shape[:1].as_list()[0]
            outputs = tf.reshape(inputs, (tf.shape(inputs)[0] if samples is None else samples, -1))
        outputs.set_shape([samples, inputs.shape[1:].num_elements()])
        return collect_named_outputs(outputs_collections, name, outputs)


@add_arg_scope
def dropout(inputs, keep_prob=0.5, noise_shape=None, is_training=True, outputs_collections=None, scope=None,
            seed=None):  # fmt: skip
    """In training zeros a share 1 - `keep_prob` of the values and divides the others by `keep_prob`."""
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
def softmax(logits, scope=None):
    """The softmax over the last axis."""
    with tf.variable_scope(scope, "softmax", [logits]):
        flat = tf.nn.softmax(tf.reshape(logits, [-1, logits.shape[-1:].as_list()[0]]))
        outputs = tf.reshape(flat, tf.shape(logits))
        outputs.set_shape(logits.shape)
        return outputs


@add_arg_scope
def one_hot_encoding(labels, num_classes, on_value=1.0, off_value=0.0, outputs_collections=None, scope=None):
    """Class numbers as rows with `on_value` at their place."""
    with tf.name_scope(scope, "OneHotEncoding", [labels, num_classes]) as name:
        labels = _tf.convert_to_tensor(labels)
        labels = tf.cast(labels, _tf.int64, "ToInt64") if labels.dtype == _tf.int32 else labels
        outputs = _tf.one_hot(labels, num_classes, on_value=on_value, off_value=off_value)
        return collect_named_outputs(outputs_collections, name, outputs)


@add_arg_scope
def repeat(inputs, repetitions, layer, *args, **kwargs):
    """The same layer `repetitions` times in a row, in scopes numbered from 1."""
    return _stacked("Repeat", "repeat", inputs, layer, [args] * repetitions, kwargs)


@add_arg_scope
def stack(inputs, layer, stack_args, **kwargs):
    """One layer for each of `stack_args` in a row, in scopes numbered from 1.

    Raises:
      ValueError: `stack_args` is no list or tuple.
    """
    if not isinstance(stack_args, (list, tuple)):
        raise ValueError(f"`stack_args` is {stack_args!r}; it must be a list or tuple.")
    rows = [row if isinstance(row, (list, tuple)) else [row] for row in stack_args]
    return _stacked("Stack", "stack", inputs, layer, rows, kwargs)


conv2d, conv2d_transpose, separable_conv2d = convolution2d, convolution2d_transpose, separable_convolution2d


class _Layer:
    """What the layers share: variables, biases, and what follows."""

    def __init__(self, inputs, variable_scope, trainable, collections):
        self.inputs = _tf.convert_to_tensor(inputs)
        self._scope, self._trainable, self._collections = variable_scope, trainable, collections

    def channels(self, data_format, rank=None):
        shape = self.inputs.shape
        if shape.rank is None or shape.rank < 2 or rank not in (None, shape.rank):
            raise ValueError(f"`inputs` has shape {shape}; it must have rank {rank or '2 or more'}.")
        channels = shape.as_list()[1 if data_format == _NCHW else -1]
        if channels is None:
            raise ValueError(
                f"`inputs` has shape {shape} with an unknown number of channels for data_format={data_format!r}; give "
                "it with `inputs.set_shape(...)`."
            )
        return channels

    def variable(self, name, kind, shape, initializer, regularizer, collected_as=None):
        """The variable `name`; its loss is named after `kind`, as the core layer of 1.15 called it."""
        before = {id(variable) for variable in tf.global_variables()}
        made = model_variable(name, shape, self.inputs.dtype.base_dtype, initializer, None, self._trainable)
        collect_losses(made, regularizer, kind, before)
        for collection in get_variable_collections(self._collections, collected_as or name) or ():
            collect(made, collection)
        return made

    def biases(self, size, normalizer_fn, initializer, regularizer):
        """None if a normalization follows: its beta does the same."""
        if normalizer_fn is not None or initializer is None:
            return None
        return self.variable("biases", "bias", [size], initializer, regularizer)

    @contextlib.contextmanager
    def names(self):
        with tf.name_scope(self._scope.original_name_scope):
            yield

    def biased(self, outputs, biases, data_format):
        return outputs if biases is None else tf.nn.bias_add(outputs, biases, data_format=data_format)

    def finished(self, outputs, normalizer_fn, normalizer_params, activation_fn, outputs_collections):
        if normalizer_fn is not None:
            outputs = normalizer_fn(outputs, **(normalizer_params or {}))
        if activation_fn is not None:
            outputs = activation_fn(outputs)
        return collect_named_outputs(outputs_collections, self._scope.name, outputs)


@contextlib.contextmanager
def _layer(scope, default, inputs, reuse, trainable, collections):
    with tf.variable_scope(scope, default, [inputs], reuse=reuse, custom_getter=_model_getter) as variable_scope:
        yield _Layer(inputs, variable_scope, trainable, collections)


def _model_getter(getter, name, *args, collections=None, **options):
    """All variables made inside a layer, as by its `normalizer_fn`, are the model's."""
    collections = [*(collections or ()), tf.GraphKeys.GLOBAL_VARIABLES, tf.GraphKeys.MODEL_VARIABLES]
    return getter(name, *args, collections=collections, **options)


def _checked_format(data_format):
    if data_format not in (None, _NHWC, _NCHW):
        raise ValueError(f"`data_format` is {data_format!r}; accepted are 'NHWC' and 'NCHW'.")
    return data_format or _NHWC


def _spatial(pair, data_format):
    return [1, 1, *pair] if data_format == _NCHW else [1, *pair, 1]


def _pooled(pool, default, inputs, kernel_size, stride, padding, data_format, outputs_collections, scope):
    data_format = _checked_format(data_format)
    with tf.name_scope(scope, default, [inputs]) as name:
        outputs = pool(
            _tf.convert_to_tensor(inputs),
            _spatial(two_element_tuple(kernel_size), data_format),
            _spatial(two_element_tuple(stride), data_format),
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
