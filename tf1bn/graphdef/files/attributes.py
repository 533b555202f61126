"""The attributes of nodes: from the bytes of a NodeDef to numbers, texts, dtypes, shapes and tensors."""

import collections
import math

import numpy as np

from ...binary.protobuf import BYTES, FIXED32, VARINT, fields, message, repeated, signed, text
from ...binary.tensor_protos import MOST_DIMENSIONS, REFERENCE, dtype_name, parse_shape, tensor_values

# What the attributes of batch norms are where a file leaves out what is the default, as strip_default_attrs does.
DEFAULTS = {"is_training": True, "data_format": b"NHWC", "epsilon": np.float32(1e-4)}
# Constants of more values than these are no settings of a layer.
MOST_VALUES = 4096


class DType:
    """A dtype, with what of TensorFlow's own is asked for."""

    __slots__ = ("number",)

    def __init__(self, number):
        self.number = number

    def __eq__(self, other):
        return isinstance(other, DType) and self.number == other.number

    def __hash__(self):
        return hash(self.number)

    @property
    def base_dtype(self):
        """The dtype of what a reference refers to."""
        return DType(self.number - REFERENCE) if self.number > REFERENCE else self

    @property
    def name(self):
        """TensorFlow's name of it."""
        return dtype_name(self.number) + "_ref" * (self.number > REFERENCE)


Dimension = collections.namedtuple("Dimension", "size")


class Shape:
    """The shape of a tensor; ``sizes`` is a list with -1 for what is not known, or None."""

    __slots__ = ("sizes",)

    def __init__(self, sizes):
        self.sizes = sizes

    @property
    def ndims(self):
        """The number of dimensions, or None."""
        return None if self.sizes is None else len(self.sizes)

    @property
    def dim(self):
        """One item with a ``size`` per dimension, as a TensorShapeProto has them."""
        return [Dimension(size) for size in self.sizes or ()]

    def as_list(self):
        """The sizes; None for what is not known."""
        return [None if size < 0 else size for size in self.sizes]


def value(data):
    """The value of an AttrValue: bytes, int, float32, bool, `DType`, `Shape`, a TensorProto's bytes, a list or text."""
    for number, kind, item in fields(data):
        if (number, kind) == (1, BYTES):
            return [shape(one) for one in repeated(item, 7)] or [bytes(one) for one in repeated(item, 2)]
        if (number, kind) == (2, BYTES):
            return bytes(item)
        if (number, kind) == (3, VARINT):
            return signed(item)
        if (number, kind) == (4, FIXED32):
            return np.frombuffer(item.to_bytes(4, "little"), "<f4")[0]
        if (number, kind) == (5, VARINT):
            return bool(item)
        if (number, kind) == (6, VARINT):
            return DType(item)
        if (number, kind) == (7, BYTES):
            return shape(item)
        if (number, kind) == (8, BYTES):
            return bytes(item)
        if (number, kind) == (10, BYTES):
            return text(message(item, {1: BYTES}).get(1, b""))
    return b""


def shape(data):
    """The `Shape` of a TensorShapeProto."""
    if message(data, {3: VARINT}).get(3):
        return Shape(None)
    sizes = [signed(message(size, {1: VARINT}).get(1, 0)) for size in repeated(data, 2)]
    if len(sizes) > MOST_DIMENSIONS:
        raise ValueError(f"a tensor has {len(sizes)} dimensions")
    return Shape(sizes)


def tensor(data):
    """The shape, the dtype and the TensorProto in the AttrValue of a constant."""
    proto = message(data, {8: BYTES}).get(8)
    if proto is None:
        raise ValueError("a constant has no value")
    return *_header(proto), proto


def array(data):
    """The array of a TensorProto, or None where it is no small array of numbers."""
    sizes, dtype = _header(data)
    if math.prod(sizes) > MOST_VALUES or dtype in ("string", "resource", "variant") or dtype.startswith("complex"):
        return None
    return tensor_values(sizes, dtype, data)


def _header(proto):
    """The shape and the dtype of a TensorProto."""
    values = message(proto, {1: VARINT, 2: BYTES})
    return parse_shape(values.get(2, b"")), dtype_name(values.get(1, 0))


def strings(data):
    """The texts of a TensorProto of strings."""
    return [text(one) for one in repeated(data, 8)]
