"""The orders of axes that frameworks keep the kernel of a convolution or of a dense layer in.

With w the axes of the window, of which there may be none, and g groups, a kernel of C output channels is

    [*w, inputs / g, C]        TensorFlow, Keras and Flax; without w a dense layer
    [*w, C, inputs]            a transposed convolution there; without w a linear layer of PyTorch
    [*w, inputs, multiplier]   a depthwise convolution there, C = inputs * multiplier
    [C, inputs / g, *w]        PyTorch and ONNX, a depthwise convolution too, whose g is the number of inputs
    [inputs, C / g, *w]        a transposed convolution there

Channel c of a depthwise convolution belongs to input c // multiplier in both.
"""

from __future__ import annotations

import numpy as np


def layouts(shape, channels):
    """Ways to read a kernel as one of so many output channels.

    Args:
      shape: tuple of whole numbers, two or more.
      channels: the number of output channels.

    Returns:
      List of pairs of a shape and a function that makes an array of this shape of the kernel, [channels, inputs of a
      group, *window], where axes of 1 are left out of the window: a converter may add some.
    """
    if channels < 1:
        return []
    (first, second, *back), (*front, before_last, last) = shape, shape
    ways = []
    if last == channels:
        ways.append((before_last, front, lambda kernel: np.moveaxis(kernel, (-1, -2), (0, 1))))
    if before_last == channels:
        ways.append((last, front, lambda kernel: np.moveaxis(kernel, (-2, -1), (0, 1))))
    if len(shape) > 2:
        if before_last * last == channels:
            ways.append((1, front, lambda kernel: np.moveaxis(kernel.reshape(*front, channels), -1, 0)))
        if first == channels:
            ways.append((second, back, lambda kernel: kernel))
        groups = channels // second if second and channels % second == 0 else 0
        if groups and first % groups == 0:
            grouped = (groups, first // groups, *shape[1:])
            ways.append((first // groups, back, lambda kernel: kernel.reshape(grouped).swapaxes(1, 2)))
    return [_without_ones(channels, *way) for way in ways]


def _without_ones(channels, inputs, window, function):
    shape = (channels, inputs, *(size for size in window if size != 1))
    return shape, lambda kernel: function(kernel).reshape(shape)


def common_layouts(one, other, channels):
    """Pairs of functions that make comparable arrays of two kernels: one way for both first, then different ones.

    Args:
      one, other: the shapes of the kernels.
      channels: the number of output channels.
    """
    ways = layouts(one, channels), layouts(other, channels)
    pairs = [(mine, its) for shape, mine in ways[0] for its_shape, its in ways[1] if shape == its_shape]
    if one == other:
        same = [(way, way) for _, way in ways[0]]
        return [*same, *(pair for pair in pairs if pair not in same)]
    return pairs
