"""The tensors that a file of ``torch.save`` describes, and their values out of the file's storages.

These calls stand for tensors, and no others: ``torch._utils._rebuild_tensor``, ``_rebuild_tensor_v2`` and
``_rebuild_tensor_v3``, ``_rebuild_parameter`` and ``_rebuild_parameter_with_state`` around one of them, and
``torch._tensor._rebuild_from_type_v2``. Sparse, quantized and nested tensors are known by name only.
"""

import dataclasses

import numpy as np

from ....binary.numbers import numbers
from .pickles import Call, Global, Persistent

# The dtype of a storage's class, and of "torch.float32" and the like.
_STORAGES = {
    "Half": "float16",
    "BFloat16": "bfloat16",
    "Float": "float32",
    "Double": "float64",
    "Char": "int8",
    "Byte": "uint8",
    "Short": "int16",
    "Int": "int32",
    "Long": "int64",
    "Bool": "bool",
}
_NAMES = (*_STORAGES.values(), "uint16", "uint32", "uint64")
_ALIASES = {
    "half": "float16",
    "float": "float32",
    "double": "float64",
    "short": "int16",
    "int": "int32",
    "long": "int64",
}
_DTYPES = {name: name for name in _NAMES} | _ALIASES
_REBUILT = {"_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3"}
_WRAPPED = {"_rebuild_parameter", "_rebuild_parameter_with_state"}
_LARGEST_NUMBER = 2**62
_MOST_DIMENSIONS = 64
# A view of few values may be spread over a large storage.
WIDEST_VIEW = 2**28


@dataclasses.dataclass(frozen=True)
class Storage:
    """Numbers in the file.

    Attributes:
      key: what the file calls them.
      dtype: their dtype, or None for bytes of any.
      count: how many there are, or how many bytes.
      start: the first of them, where the file has them as a part of others.
    """

    key: str
    dtype: str | None
    count: int
    start: int = 0

    @property
    def itemsize(self):
        """The size in bytes of what is counted."""
        return itemsize(self.dtype) if self.dtype else 1


@dataclasses.dataclass(frozen=True, eq=False)
class Tensor:
    """A view of a storage: offset and strides count numbers; ``unread`` says why it has no values here, if so."""

    shape: tuple[int, ...]
    dtype: str
    storage: Storage | None = None
    offset: int = 0
    strides: tuple[int, ...] = ()
    unread: str = ""


def tensor_of(value):
    """The `Tensor` that a value of a pickle stands for, or None if it stands for anything else.

    Raises:
      ValueError: it stands for a tensor that cannot be.
    """
    for _ in range(3):
        if not isinstance(value, Call) or not isinstance(value.function, Global):
            return None
        module, name, arguments = value.function.module, value.function.name, value.arguments
        if module == "torch._tensor" and name == "_rebuild_from_type_v2" and _has(arguments, 3):
            value = Call(arguments[0], arguments[2])
        elif module == "torch._utils" and name in _WRAPPED and _has(arguments, 1):
            value = arguments[0]
        elif module == "torch._utils" and name in _REBUILT:
            return _rebuilt(name, arguments)
        elif module == "torch._utils" and name.startswith("_rebuild_") and "tensor" in name:
            return Tensor((), "float32", unread="a sparse, quantized or otherwise special tensor")
        else:
            return None
    return None


def _has(arguments, count):
    return isinstance(arguments, tuple) and len(arguments) >= count


def _rebuilt(name, arguments):
    """The tensor of a call of one of the functions in `_REBUILT`."""
    if not _has(arguments, 4):
        raise ValueError("a tensor of it is not described in full")
    storage = _storage(arguments[0])
    offset, shape, strides = arguments[1], _lengths(arguments[2]), _lengths(arguments[3])
    dtype = storage.dtype
    if name == "_rebuild_tensor_v3":
        dtype = _dtype(arguments[6]) if _has(arguments, 7) else None
    if dtype is None:
        return Tensor(shape, "float32", unread="of a dtype that is not known")
    if type(offset) is not int or not 0 <= offset < _LARGEST_NUMBER or len(shape) != len(strides):
        raise ValueError("a tensor of it is described in a way that makes no sense")
    return Tensor(shape, dtype, storage, offset, strides)


def _lengths(value):
    """A shape or strides, from a tuple or from the ``torch.Size`` of one."""
    if isinstance(value, Call) and _has(value.arguments, 1):
        value = value.arguments[0]
    if not isinstance(value, list | tuple) or len(value) > _MOST_DIMENSIONS:
        raise ValueError("a tensor of it has no shape")
    if not all(type(number) is int and 0 <= number < _LARGEST_NUMBER for number in value):
        raise ValueError("a tensor of it has a shape that none can have")
    return tuple(value)


def _storage(value):
    """The `Storage` of a reference ("storage", class, key, device, count, view); the last only in old files."""
    identity = value.identity if isinstance(value, Persistent) else None
    if not _has(identity, 5) or identity[0] not in ("storage", b"storage") or not isinstance(identity[1], Global):
        raise ValueError("a tensor of it has no values")
    _, kind, key, _, count = identity[:5]
    key = key.decode("ascii", "replace") if isinstance(key, bytes) else key
    if not isinstance(key, str) or type(count) is not int or not 0 <= count < _LARGEST_NUMBER:
        raise ValueError("the values of a tensor are described in a way that makes no sense")
    start = 0
    if len(identity) > 5 and identity[5] is not None:
        # PyTorch before 0.4 wrote views of storages as (key of the view, start, count).
        if not _has(identity[5], 3) or not all(type(number) is int and number >= 0 for number in identity[5][1:3]):
            raise ValueError("the values of a tensor are described in a way that makes no sense")
        start, count = identity[5][1], min(identity[5][2], count - identity[5][1])
    return Storage(key, _STORAGES.get(kind.name.removesuffix("Storage")), count, start)


def storages(references):
    """What an old file must say of the storages that lie in it: (bytes of a number, count) by key.

    Args:
      references: the identities in its pickle.
    """
    sizes = {}
    for identity in references:
        if _has(identity, 5) and identity[0] in ("storage", b"storage"):
            storage = _storage(Persistent(identity[:5]))
            sizes[storage.key] = storage.itemsize, storage.count
    return sizes


def itemsize(dtype):
    """The size in bytes of a number of a dtype."""
    return np.dtype("uint16" if dtype == "bfloat16" else dtype).itemsize


def _dtype(value):
    return _DTYPES.get(value.name) if isinstance(value, Global) and value.module == "torch" else None


def values_of(tensor, read, big_endian):
    """The array of a tensor; bfloat16 numbers as float32.

    Args:
      tensor: a `Tensor` that has values.
      read: function from a storage's key, an offset and a size in bytes to those bytes; it raises ValueError.
      big_endian: the order of the bytes in the file.

    Raises:
      ValueError: its values lie outside of the storage.
    """
    if 0 in tensor.shape:
        return np.zeros(tensor.shape, "float32" if tensor.dtype == "bfloat16" else tensor.dtype)
    size, storage = itemsize(tensor.dtype), tensor.storage
    last = sum((length - 1) * stride for length, stride in zip(tensor.shape, tensor.strides, strict=True))
    if (tensor.offset + last + 1) * (1 if storage.dtype else size) > storage.count:
        raise ValueError("its values lie outside of its storage")
    if (last + 1) * size > WIDEST_VIEW:
        raise ValueError(f"its values are spread over {(last + 1) * size} bytes")
    start = storage.start * storage.itemsize + tensor.offset * size
    data = read(storage.key, start, (last + 1) * size)
    flat = numbers(data, tensor.dtype, big_endian)
    strides = [stride * flat.itemsize for stride in tensor.strides]
    return np.lib.stride_tricks.as_strided(flat, tensor.shape, strides, writeable=False).copy()
