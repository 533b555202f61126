"""The two worlds that the layer is played in."""

import contextlib

import tensorflow

tf = tensorflow.compat.v1


@contextlib.contextmanager
def played_in(mode):
    """ "reference": what ``tf.disable_v2_behavior()`` sets in a graph, TF1's reference variables, control flow and
    shapes of Dimension objects; "resource": what TensorFlow 2 does by default.
    """
    resource, control = tf.resource_variables_enabled(), tf.control_flow_v2_enabled()
    if mode == "reference":
        tf.disable_resource_variables()
        tf.disable_control_flow_v2()
    else:
        tf.enable_resource_variables()
        tf.enable_control_flow_v2()
    try:
        with shapes_as("Dimension objects" if mode == "reference" else "numbers"):
            yield mode
    finally:
        (tf.enable_resource_variables if resource else tf.disable_resource_variables)()
        (tf.enable_control_flow_v2 if control else tf.disable_control_flow_v2)()


SHAPES = ("numbers", "Dimension objects")


@contextlib.contextmanager
def shapes_as(kind):
    """What an item of a TensorShape is: a number or None, as in TensorFlow 2, or a Dimension object, as in 1.x."""
    before = type(tensorflow.TensorShape([1])[0]) is int
    try:
        (tf.enable_v2_tensorshape if kind == "numbers" else tf.disable_v2_tensorshape)()
        yield kind
    finally:
        (tf.enable_v2_tensorshape if before else tf.disable_v2_tensorshape)()
