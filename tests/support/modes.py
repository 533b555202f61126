"""The modes of TensorFlow that the layers are played in: one table, for every test that builds graphs."""

import contextlib
import dataclasses

import tensorflow

tf = tensorflow.compat.v1


@dataclasses.dataclass(frozen=True)
class Mode:
    """What ``tf.disable_v2_behavior()`` switches, and what a program may have switched back.

    Attributes:
      resource: whether variables are resource variables.
      control_flow_v2: whether ``tf.cond`` builds functions.
      shapes: what an item of a TensorShape is, see `shapes_as`.
      policy: the Keras policy of dtypes in force, or None for the default.
    """

    resource: bool
    control_flow_v2: bool
    shapes: str
    policy: str | None = None

    @property
    def compared_as(self):
        """How `replays` compares a graph of this mode: names of operations are those of reference variables."""
        return "resource" if self.resource or self.control_flow_v2 else "reference"


MODES = {
    # What tf.disable_v2_behavior() gives: TF1's variables, control flow and shapes of Dimension objects.
    "reference": Mode(False, False, "Dimension objects"),
    # What TensorFlow 2 does by default, inside a graph.
    "resource": Mode(True, True, "numbers"),
    "reference, shapes of numbers": Mode(False, False, "numbers"),
    "resource, control flow v1": Mode(True, False, "numbers"),
    "resource, control flow v1, Dimension objects": Mode(True, False, "Dimension objects"),
    "resource, Dimension objects": Mode(True, True, "Dimension objects"),
    "reference, mixed_float16": Mode(False, False, "Dimension objects", "mixed_float16"),
    "resource, mixed_bfloat16": Mode(True, True, "numbers", "mixed_bfloat16"),
}


@contextlib.contextmanager
def played_in(name):
    """The `Mode` of that name, while the block runs."""
    mode = MODES[name]
    resource, control = tf.resource_variables_enabled(), tf.control_flow_v2_enabled()
    (tf.enable_resource_variables if mode.resource else tf.disable_resource_variables)()
    (tf.enable_control_flow_v2 if mode.control_flow_v2 else tf.disable_control_flow_v2)()
    try:
        with shapes_as(mode.shapes), _policy(mode.policy):
            yield name
    finally:
        (tf.enable_resource_variables if resource else tf.disable_resource_variables)()
        (tf.enable_control_flow_v2 if control else tf.disable_control_flow_v2)()


@contextlib.contextmanager
def _policy(name):
    if name is None:
        yield
        return
    precision = tensorflow.keras.mixed_precision
    before = precision.global_policy()
    precision.set_global_policy(name)
    try:
        yield
    finally:
        precision.set_global_policy(before)


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
