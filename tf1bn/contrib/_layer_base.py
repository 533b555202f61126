"""What the layers of old code share: their scope, their variables, their biases and what follows them."""

import contextlib

import tensorflow as _tf

from ..layers.arguments import NCHW, NHWC, check_data_format
from ..layers.graph_collections import collect, collect_losses
from ._initializers import xavier_initializer
from ._utils import collect_named_outputs, get_variable_collections
from ._variables import model_variable

tf = _tf.compat.v1

# The default initializers, one object for all layers as in 1.15.
XAVIER, ZEROS = xavier_initializer(), tf.zeros_initializer()


@contextlib.contextmanager
def layer_scope(scope, default, inputs, reuse, trainable, collections):
    """The variable scope of a layer, in which all variables are the model's; yields its `LayerBuilder`."""
    with tf.variable_scope(scope, default, [inputs], reuse=reuse, custom_getter=_model_getter) as variable_scope:
        yield LayerBuilder(inputs, variable_scope, trainable, collections)


def _model_getter(getter, name, *args, collections=None, **options):
    """``get_variable`` that puts all variables made inside a layer, as by its `normalizer_fn`, into MODEL_VARIABLES."""
    collections = [*(collections or ()), tf.GraphKeys.GLOBAL_VARIABLES, tf.GraphKeys.MODEL_VARIABLES]
    return getter(name, *args, collections=collections, **options)


class LayerBuilder:
    """Builds one layer in its variable scope.

    Attributes:
      inputs: the tensor that the layer is applied to.
    """

    def __init__(self, inputs, variable_scope, trainable, collections):
        self.inputs = _tf.convert_to_tensor(inputs)
        self._scope, self._trainable, self._collections = variable_scope, trainable, collections

    def channels(self, data_format, rank=None):
        """The number of channels of the inputs.

        Raises:
          ValueError: it is unknown, or the inputs do not have this rank (None: a rank of 2 or more).
        """
        shape = self.inputs.shape
        if shape.rank is None or shape.rank < 2 or rank not in (None, shape.rank):
            phrase = f"Convolution expects input with rank {rank}, got {shape.rank}. " if rank else ""
            raise ValueError(f"{phrase}`inputs` has shape {shape}; it must have rank {rank or '2 or more'}.")
        channels = shape.as_list()[1 if data_format == NCHW else -1]
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
        """The variable for biases; None if a normalization follows, whose beta does the same."""
        if normalizer_fn is not None or initializer is None:
            return None
        return self.variable("biases", "bias", [size], initializer, regularizer)

    def name_scope(self):
        """The name scope that was opened with the variable scope."""
        return tf.name_scope(self._scope.original_name_scope)

    def add_biases(self, outputs, biases, data_format):
        """``outputs`` plus the biases, unless they are None."""
        return outputs if biases is None else tf.nn.bias_add(outputs, biases, data_format=data_format)

    def finish(self, outputs, normalizer_fn, normalizer_params, activation_fn, outputs_collections):
        """``outputs`` after the normalization and activation, put into the collections."""
        if normalizer_fn is not None:
            outputs = normalizer_fn(outputs, **(normalizer_params or {}))
        if activation_fn is not None:
            outputs = activation_fn(outputs)
        return collect_named_outputs(outputs_collections, self._scope.name, outputs)


def checked_format(data_format):
    """`data_format`, "NHWC" for None; ValueError for an unknown one."""
    if data_format is None:
        return NHWC
    check_data_format(data_format)
    return data_format


def spatial(pair, data_format):
    """The height and width of a window or stride as the list of four that ``tf.nn`` takes."""
    return [1, 1, *pair] if data_format == NCHW else [1, *pair, 1]
