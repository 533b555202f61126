"""The two worlds that the layer is played in."""

import contextlib

import tensorflow

tf = tensorflow.compat.v1


@contextlib.contextmanager
def played_in(mode):
    """ "reference": TF1's reference variables and control flow; "resource": what TensorFlow 2 does by default."""
    resource, control = tf.resource_variables_enabled(), tf.control_flow_v2_enabled()
    if mode == "reference":
        tf.disable_resource_variables()
        tf.disable_control_flow_v2()
    else:
        tf.enable_resource_variables()
        tf.enable_control_flow_v2()
    try:
        yield mode
    finally:
        (tf.enable_resource_variables if resource else tf.disable_resource_variables)()
        (tf.enable_control_flow_v2 if control else tf.disable_control_flow_v2)()
