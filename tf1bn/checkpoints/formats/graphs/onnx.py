"""ONNX models: the BatchNormalization nodes and the initializers that they use, read without the onnx package.

Initializers in other files are read where these lie in the model's own folder. Only the main graph is looked at, not
the branches of If and Loop.
"""

import dataclasses
import math
import os
import re
import stat

import numpy as np

from ...._util.text import reason
from ....binary.files import mapped
from ....binary.numbers import numbers
from ....binary.protobuf import BYTES, FIXED32, FIXED64, VARINT, fields, message, packed_varints, signed, text
from ....binary.tensor_protos import values_of
from ....graphdef.patterns import shortest
from ..base import LONGEST_VECTOR, MOST_VARIABLES, Checkpoint, Format, Variable, damaged
from .frozen import said_of
from .layers import variables_of

# The numbers of TensorProto.DataType.
_DTYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    8: "string",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    16: "bfloat16",
}
# The field that holds values which are not raw, and what a number of it has.
_FIXED = {"float32": (4, FIXED32, "<f4"), "float64": (10, FIXED64, "<f8")}
_INTEGERS = {"int64": 7, "uint32": 11, "uint64": 11}
_INT32 = 5
_EXTERNAL = 1
# Operations with a kernel and perhaps a bias, and names of initializers that say that they are one or the other.
_WITH_KERNEL = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_SAYS_WHAT = re.compile(r"(?i)(.*[/._])?(w|b|weights?|kernels?|filters?|bias(es)?)")
_ROLES = ("gamma", "beta", "mean", "variance")
_MOST_NODES = 2**18
_NOTHING = "The graph has no BatchNormalization node; exporters fold one into the convolution before it, if they may."


@dataclasses.dataclass
class Tensor:
    """An initializer: its name, shape and dtype, and the message with its values or with where they lie."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    proto: memoryview
    location: dict | None


@dataclasses.dataclass
class _Layer:
    name: str
    parts: dict
    epsilon: float
    decay: float
    training: bool
    data_format: str | None = None

    def declared(self):
        return {"epsilon": self.epsilon, "decay": self.decay, "training": self.training}


def _matches(path, head):
    """Whether a file has a version and, behind some texts, a graph; nothing else begins so."""
    if not head.startswith(b"\x08"):
        return False
    try:
        for seen, (number, kind, value) in enumerate(fields(mapped(path))):
            if (number, kind) == (7, BYTES):
                return _is_graph(value)
            if seen > 64 or number > 25 or (number == 1 and (kind != VARINT or value > 1000)):
                return False
    except ValueError:
        # A file that is cut off inside of its graph.
        return head[1:2] < b"\x20" and b"\x12" in head[2:3] and path.endswith(".onnx")
    return False


def _is_graph(data):
    try:
        kinds = {(number, kind) for number, kind, _ in fields(data)}
    except ValueError:
        return False
    return bool(kinds) and all(kind == BYTES and number <= 32 for number, kind in kinds)


def open_onnx(path):
    """The `Checkpoint` of an ONNX model: its initializers, and as batch norms those that such nodes use."""
    try:
        graph = message(mapped(path), {7: BYTES}).get(7)
        if graph is None:
            raise ValueError("it has no graph")
        tensors, layers, own_names = _read(graph)
        variables, scopes = variables_of(layers)
    except ValueError as error:
        raise damaged(path, f"it is not a whole ONNX model ({reason(error)})") from error
    taken = {tensor.name for tensor in variables.values()}
    others = {own_names.get(name, name): one for name, one in tensors.items() if name not in taken}
    variables = others | variables

    def read(name):
        try:
            return _values(variables[name], path)
        except ValueError as error:
            raise damaged(path, f"reading `{name}` failed ({reason(error)})") from error

    headers = {name: Variable(tensor.shape, tensor.dtype) for name, tensor in variables.items()}
    declared = {scope: layer.declared() for scope, layer in scopes.items()}
    return Checkpoint(path, headers, read, said_of(scopes) or [_NOTHING], declared=declared)


def _read(graph):
    """The `Tensor` of each initializer and constant by name, the batch norms, and what `_kernel_names` gives."""
    tensors, passed_on, found, with_kernel, count = {}, {}, [], [], 0
    for number, kind, value in fields(graph):
        if kind != BYTES or number not in (1, 5):
            continue
        count += 1
        if count > _MOST_NODES + MOST_VARIABLES:
            raise ValueError("it has too many nodes")
        if number == 5:
            tensor = _tensor(value)
            tensors[tensor.name] = tensor
            continue
        node = _node(value)
        if node.op == "Constant" and node.outputs and (proto := node.attributes.get("value")) is not None:
            data = message(proto, {5: BYTES}).get(5)
            if data is not None:
                tensors[node.outputs[0]] = dataclasses.replace(_tensor(data), name=node.outputs[0])
        elif node.op in ("Identity", "Cast") and node.inputs and node.outputs:
            passed_on[node.outputs[0]] = node.inputs[0]
        elif node.op == "BatchNormalization" and node.domain in ("", "ai.onnx"):
            found.append(node)
        elif node.op in _WITH_KERNEL and node.domain in ("", "ai.onnx"):
            with_kernel.append(node)
    names = _kernel_names(with_kernel, tensors)
    return tensors, _merged([_layer(node, tensors, passed_on) for node in found]), names


def _kernel_names(nodes, tensors):
    """The names by nodes of kernels and biases whose own names do not say what they are, as "onnx::Conv_20"; by those.

    Exporters name anew what they compute, as where they fold a batch norm into a kernel.
    """
    names = {}
    for node in nodes:
        scope = node.name.strip("/").rpartition("/")[0]
        for name, word in zip(node.inputs[1:3], ("weight", "bias"), strict=False):
            better = f"{scope}/{word}"
            known = name not in tensors or name in names or _SAYS_WHAT.fullmatch(name)
            if scope and not known and better not in tensors and better not in names.values():
                names[name] = better
    return names


@dataclasses.dataclass
class _Node:
    name: str
    op: str
    domain: str
    inputs: list
    outputs: list
    attributes: dict


def _node(data):
    node = _Node("", "", "", [], [], {})
    for number, kind, value in fields(data):
        if kind != BYTES:
            continue
        if number in (1, 2):
            (node.inputs if number == 1 else node.outputs).append(text(value))
        elif number in (3, 4, 7):
            setattr(node, {3: "name", 4: "op", 7: "domain"}[number], text(value))
        elif number == 5:
            node.attributes[text(message(value, {1: BYTES}).get(1, b""))] = value
    return node


def _layer(node, tensors, passed_on):
    """The layer of a node, by the defaults of the operation where it does not say."""
    parts = {}
    for role, name in zip(_ROLES, node.inputs[1:5], strict=False):
        for _ in range(16):
            if name in tensors or name not in passed_on:
                break
            name = passed_on[name]
        if name in tensors:
            parts[role] = tensors[name]
    name = node.name or (node.outputs[0] if node.outputs else "BatchNormalization")
    # Before version 7 of the operation is_test said so, and five outputs those of training.
    training = bool(_integer(node, "training_mode", 0))
    epsilon, momentum = _number(node, "epsilon", 1e-5), _number(node, "momentum", 0.9)
    return _Layer(name.strip("/") or name, parts, epsilon, momentum, training)


def _merged(layers):
    """The layers without repetitions: a layer that is applied twice has two nodes."""
    unique = {}
    for layer in layers:
        unique.setdefault(tuple((role, tensor.name) for role, tensor in layer.parts.items()), layer)
    return [layer for layer in unique.values() if layer.parts]


def _number(node, name, default):
    value = message(node.attributes.get(name, b""), {2: FIXED32}).get(2)
    return default if value is None else shortest(np.frombuffer(value.to_bytes(4, "little"), "<f4")[0])


def _integer(node, name, default):
    return message(node.attributes.get(name, b""), {3: VARINT}).get(3, default)


def _tensor(data):
    dims, location, external = [], {}, False
    values = {}
    for number, kind, value in fields(data):
        if number == 1 and kind in (VARINT, BYTES):
            dims += [value] if kind == VARINT else packed_varints(value)
        elif number == 13 and kind == BYTES:
            entry = message(value, {1: BYTES, 2: BYTES})
            location[text(entry.get(1, b""))] = text(entry.get(2, b""))
        elif number == 14 and kind == VARINT:
            external = value == _EXTERNAL
        elif number in (2, 8):
            values[number] = value
    shape = tuple(map(signed, dims))
    if len(shape) > 64 or any(size < 0 for size in shape) or not isinstance(values.get(2, 0), int):
        raise ValueError("an initializer has no certain shape")
    number = values.get(2, 0)
    name = text(values.get(8, b"") if not isinstance(values.get(8, b""), int) else b"")
    return Tensor(name, shape, _DTYPES.get(number, f"dtype {number}"), data, location if external else None)


def _values(tensor, path):
    count, dtype = math.prod(tensor.shape), tensor.dtype
    if dtype not in _DTYPES.values() or dtype == "string" or count > LONGEST_VECTOR:
        raise ValueError(f"it has {count} values of {dtype}")
    size = count * np.dtype("uint16" if dtype == "bfloat16" else dtype).itemsize
    raw = _from_file(tensor.location, size, path) if tensor.location is not None else None
    if raw is None:
        raw = message(tensor.proto, {9: BYTES}).get(9)
    if raw is not None and (len(raw) or not count):
        if len(raw) != size:
            raise ValueError("it has another number of values than its shape")
        return numbers(raw, dtype).reshape(tensor.shape)
    return _typed(tensor.proto, dtype, count).reshape(tensor.shape)


def _typed(proto, dtype, count):
    """The values of a tensor in the field of their dtype."""
    number, kind_of_one, stored = _FIXED.get(dtype, (_INTEGERS.get(dtype, _INT32), VARINT, None))
    parts, integers = [], []
    for field, kind, value in fields(proto):
        if field != number:
            continue
        if kind not in (BYTES, kind_of_one) or (kind == BYTES and len(value) > 10 * count):
            raise ValueError("its values are of another dtype")
        if stored:
            parts.append(value if kind == BYTES else value.to_bytes(np.dtype(stored).itemsize, "little"))
        else:
            integers += packed_varints(value) if kind == BYTES else [value]
    if stored:
        data = b"".join(parts)
        if len(data) != count * np.dtype(stored).itemsize:
            raise ValueError("it has another number of values than its shape")
        return numbers(data, dtype)
    if len(integers) != count:
        raise ValueError("it has another number of values than its shape")
    return values_of(integers, dtype)


def _from_file(location, size, path):
    """The values of a tensor that lie in another file of the same folder."""
    name = location.get("location", "")
    folder = os.path.realpath(os.path.dirname(os.path.abspath(path)))
    file = os.path.realpath(os.path.join(folder, name))
    if not name or os.path.isabs(name) or not file.startswith(os.path.join(folder, "")):
        raise ValueError(f"its values lie in {name!r}, outside of the folder, which is not read")
    try:
        offset, length = int(location.get("offset", "0")), int(location.get("length", str(size)))
    except ValueError:
        raise ValueError("its values lie at a place that makes no sense") from None
    if offset < 0 or length != size:
        raise ValueError("it has another number of values than its shape")
    try:
        if not stat.S_ISREG(os.stat(file).st_mode):
            raise ValueError(f"{name!r}, where its values lie, is no file")
        with open(file, "rb") as opened:
            opened.seek(offset)
            data = opened.read(size)
    except OSError as error:
        raise ValueError(f"{name!r}, where its values lie, cannot be read: {error.strerror}") from error
    if len(data) != size:
        raise ValueError(f"{name!r}, where its values lie, is cut off")
    return data


ONNX = Format(
    "an ONNX model",
    _matches,
    open_onnx,
    (".onnx",),
    known_by="a message with a version and a graph",
    read_with="NumPy",
    remarks="BatchNormalization nodes with epsilon, momentum, training_mode; values in other files only of its folder",
)
