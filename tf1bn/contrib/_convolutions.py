"""The convolutions of ``tf.contrib.layers`` in TF 1.15; `_layers` says what they have in common."""

import tensorflow as _tf

from ..layers.arg_scopes import add_arg_scope
from ..layers.arguments import NCHW, NHWC
from ..layers.graph_collections import builds_graph
from ._layer_base import XAVIER, ZEROS, checked_format, layer_scope, spatial
from ._utils import two_element_tuple

tf = _tf.compat.v1


@add_arg_scope
@builds_graph
def convolution2d(inputs, num_outputs, kernel_size, stride=1, padding="SAME", data_format=None, rate=1,
                  activation_fn=_tf.nn.relu, normalizer_fn=None, normalizer_params=None,
                  weights_initializer=XAVIER, weights_regularizer=None,
                  biases_initializer=ZEROS, biases_regularizer=None, reuse=None,
                  variables_collections=None, outputs_collections=None, trainable=True, scope=None):  # fmt: skip
    """A convolution of images [N, H, W, C] ("NCHW": [N, C, H, W]); `rate` is its dilation.

    Raises:
      ValueError: unknown `data_format`, another rank than 4, or an unknown number of channels.
    """
    data_format = checked_format(data_format)
    with layer_scope(scope, "Conv", inputs, reuse, trainable, variables_collections) as layer:
        kernel = [*two_element_tuple(kernel_size), layer.channels(data_format, 4), num_outputs]
        weights = layer.variable("weights", "kernel", kernel, weights_initializer, weights_regularizer)
        biases = layer.biases(num_outputs, normalizer_fn, biases_initializer, biases_regularizer)
        with layer.name_scope():
            stride, rate = two_element_tuple(stride), two_element_tuple(rate)
            if rate == (1, 1):
                steps = spatial(stride, data_format)
                outputs = tf.nn.conv2d(layer.inputs, weights, steps, padding.upper(), data_format=data_format)
            else:
                outputs = tf.nn.convolution(
                    layer.inputs, weights, padding.upper(), stride, rate, data_format=data_format
                )
            outputs = layer.add_biases(outputs, biases, data_format)
        return layer.finish(outputs, normalizer_fn, normalizer_params, activation_fn, outputs_collections)


@add_arg_scope
@builds_graph
def convolution2d_transpose(inputs, num_outputs, kernel_size, stride=1, padding="SAME", data_format=NHWC,
                            activation_fn=_tf.nn.relu, normalizer_fn=None, normalizer_params=None,
                            weights_initializer=XAVIER, weights_regularizer=None,
                            biases_initializer=ZEROS, biases_regularizer=None, reuse=None,
                            variables_collections=None, outputs_collections=None, trainable=True,
                            scope=None):  # fmt: skip
    """The transpose of a convolution; with padding "SAME" its output is `stride` times as high and wide.

    Raises:
      ValueError: unknown `data_format`, another rank than 4, or an unknown number of channels.
    """
    data_format = checked_format(data_format)
    with layer_scope(scope, "Conv2d_transpose", inputs, reuse, trainable, variables_collections) as layer:
        size, stride = two_element_tuple(kernel_size), two_element_tuple(stride)
        kernel = [*size, num_outputs, layer.channels(data_format, 4)]
        weights = layer.variable("weights", "kernel", kernel, weights_initializer, weights_regularizer)
        biases = layer.biases(num_outputs, normalizer_fn, biases_initializer, biases_regularizer)
        with layer.name_scope():
            beyond = [max(k - s, 0) if padding.upper() == "VALID" else 0 for k, s in zip(size, stride, strict=True)]

            def shape_of(sizes):
                axes = (2, 3) if data_format == NCHW else (1, 2)
                long = [
                    None if sizes[axis] is None else sizes[axis] * s + more
                    for axis, s, more in zip(axes, stride, beyond, strict=True)
                ]
                return [sizes[0], num_outputs, *long] if data_format == NCHW else [sizes[0], *long, num_outputs]

            outputs = tf.nn.conv2d_transpose(
                layer.inputs,
                weights,
                _tf.stack(shape_of(tf.shape(layer.inputs))),
                spatial(stride, data_format),
                padding.upper(),
                data_format,
            )
            outputs.set_shape(shape_of(layer.inputs.shape.as_list()))
            outputs = layer.add_biases(outputs, biases, data_format)
        return layer.finish(outputs, normalizer_fn, normalizer_params, activation_fn, outputs_collections)


@add_arg_scope
@builds_graph
def separable_convolution2d(inputs, num_outputs, kernel_size, depth_multiplier=1, stride=1, padding="SAME",
                            data_format=NHWC, rate=1, activation_fn=_tf.nn.relu, normalizer_fn=None,
                            normalizer_params=None, weights_initializer=XAVIER,
                            pointwise_initializer=None, weights_regularizer=None,
                            biases_initializer=ZEROS, biases_regularizer=None, reuse=None,
                            variables_collections=None, outputs_collections=None, trainable=True,
                            scope=None):  # fmt: skip
    """A convolution of each channel by itself, then one of size 1 over channels; num_outputs None leaves that out.

    Raises:
      ValueError: unknown `data_format`, another rank than 4, an unknown number of channels, or a `depth_multiplier`
        that is no whole number.
    """
    data_format = checked_format(data_format)
    if depth_multiplier != int(depth_multiplier):
        raise ValueError(f"Ambiguous dimension: {depth_multiplier}. `depth_multiplier` must be a whole number.")
    depth_multiplier = int(depth_multiplier)  # 1.x took 1.0 as well
    with layer_scope(scope, "SeparableConv2d", inputs, reuse, trainable, variables_collections) as layer:
        channels, rate = layer.channels(data_format, 4), two_element_tuple(rate)
        steps = spatial(two_element_tuple(stride), data_format)
        kernel = [*two_element_tuple(kernel_size), channels, depth_multiplier]
        depthwise = layer.variable(
            "depthwise_weights", "depthwise_kernel", kernel, weights_initializer, weights_regularizer, "weights"
        )
        if num_outputs is None:
            num_outputs = channels * depth_multiplier
            biases = layer.biases(num_outputs, normalizer_fn, biases_initializer, biases_regularizer)
            outputs = tf.nn.depthwise_conv2d(
                layer.inputs, depthwise, steps, padding.upper(), rate=rate, data_format=data_format
            )
            outputs = layer.add_biases(outputs, biases, data_format)
            return layer.finish(outputs, normalizer_fn, normalizer_params, activation_fn, outputs_collections)
        pointwise = layer.variable(
            "pointwise_weights",
            "pointwise_kernel",
            [1, 1, channels * depth_multiplier, num_outputs],
            pointwise_initializer or weights_initializer,
            weights_regularizer,
            "weights",
        )
        biases = layer.biases(num_outputs, normalizer_fn, biases_initializer, biases_regularizer)
        with layer.name_scope():
            outputs = tf.nn.separable_conv2d(
                layer.inputs, depthwise, pointwise, steps, padding.upper(), rate, data_format=data_format
            )
            outputs = layer.add_biases(outputs, biases, data_format)
        return layer.finish(outputs, normalizer_fn, normalizer_params, activation_fn, outputs_collections)


conv2d, conv2d_transpose, separable_conv2d = convolution2d, convolution2d_transpose, separable_convolution2d
