"""Operations of which TF 1.x knew the static shape and today's TensorFlow does not, with the shape that they had.

tests/legacy/oldscripts/static_shapes.py compares some 400 calls with what TF 1.15.5 gave.
"""

import contextlib

import tensorflow

tf = tensorflow.compat.v1


def conv2d_transpose(*args, **kwargs):
    """`tf.nn.conv2d_transpose`, whose result has the static shape `output_shape`."""
    shape = kwargs.get("output_shape", args[2] if len(args) > 2 else None)
    outputs = tf.nn.conv2d_transpose(*args, **kwargs)
    with contextlib.suppress(TypeError, ValueError):
        outputs.set_shape(shape if isinstance(shape, tf.TensorShape) else tensorflow.get_static_value(shape))
    return outputs


def sparse_tensor_to_dense(sp_input, *args, **kwargs):
    """`tf.sparse_tensor_to_dense`, whose result has the static shape of a sparse placeholder too."""
    outputs = tf.sparse_tensor_to_dense(sp_input, *args, **kwargs)
    if isinstance(sp_input, tf.SparseTensor):
        outputs.set_shape(sp_input.shape)
    return outputs


def sparse_tensor_dense_matmul(sp_a, b, adjoint_a=False, adjoint_b=False, name=None):
    """`tf.sparse_tensor_dense_matmul`, whose result has as many rows as a sparse placeholder was given."""
    outputs = tf.sparse_tensor_dense_matmul(sp_a, b, adjoint_a, adjoint_b, name)
    if isinstance(sp_a, tf.SparseTensor) and sp_a.shape.ndims == 2:
        outputs.set_shape([sp_a.shape.as_list()[1 if adjoint_a else 0], None])
    return outputs


# By their names in `tf`.
OPERATIONS = {
    "nn.conv2d_transpose": conv2d_transpose,
    "sparse.matmul": sparse_tensor_dense_matmul,
    "sparse.sparse_dense_matmul": sparse_tensor_dense_matmul,
    "sparse.to_dense": sparse_tensor_to_dense,
    "sparse_tensor_dense_matmul": sparse_tensor_dense_matmul,
    "sparse_tensor_to_dense": sparse_tensor_to_dense,
}
