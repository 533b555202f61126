"""Virtual batches of the core layer, and the shape of its variables with and without them."""

import tensorflow as _tf


def parameter_shape(batch, axes, virtual_axis):
    """The shape of a layer's variables: [C], or the rank of ``batch`` with 1 in the dimensions that are reduced."""
    sizes = batch.shape.as_list()
    if len(axes) == 1 and virtual_axis is None:
        return [sizes[axes[0]]]
    return [size if i in axes else 1 for i, size in enumerate(sizes)]


def check_virtual_batches(size, axes, adjustment):
    """Raises ValueError for a `virtual_batch_size` that is not positive, or together with what excludes it."""
    if size is None:
        return
    if size <= 0:
        raise ValueError(
            "virtual_batch_size must be a positive integer that divides the true batch size of the input Tensor. "
            f"`virtual_batch_size` is {size!r}; it must be None or such a number."
        )
    if 0 in axes:
        raise ValueError(
            "When using virtual_batch_size, the batch dimension must be 0 and thus axis cannot include 0. "
            "`virtual_batch_size` splits dimension 0, and `axis` names it as one of the channels; leave one of them "
            "out."
        )
    if adjustment is not None:
        raise ValueError(
            "When using virtual_batch_size, adjustment cannot be specified. `virtual_batch_size` and `adjustment` "
            "exclude each other; leave one of them out."
        )


def in_virtual_batches(inputs, size):
    """[N, ...] as [size, N / size, ...], where the second dimension numbers the virtual batches.

    Of a ``tf.TensorSpec`` it is the spec of that.

    Raises:
      TypeError: a size other than that of the batch is unknown.
    """
    rest = inputs.shape.as_list()[1:]
    if isinstance(inputs, _tf.TensorSpec):
        return _tf.TensorSpec([size, None, *rest], inputs.dtype)
    if None in rest:
        raise TypeError(
            f"`inputs` ({inputs.name}) has shape {inputs.shape}; with `virtual_batch_size` every size but that of the "
            "batch must be known when the graph is built. Give them with `inputs.set_shape(...)`."
        )
    return _tf.reshape(inputs, [size, -1, *rest])
