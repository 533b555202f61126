"""Models of TensorFlow Lite: kernels, biases and constants that batch norms were folded into, by the package tflite.

A converter leaves no statistics. It multiplies the kernel of the operation before a batch norm, or keeps a
multiplication and an addition by constants, which get the names that they have in a frozen graph. Kernels get the order
of axes that TensorFlow's variables have, and the name of the batch norm, as far as the names of tensors say it, so that
`tf1bn.parity` finds them beside the layers of the checkpoint that the model was made from.
"""

import collections
import dataclasses
import os
import re
import struct

import numpy as np

from ...._util.text import counted, reason
from ....errors import CheckpointError
from ..base import LONGEST_NAME, MOST_VARIABLES, Checkpoint, Format, Variable, damaged
from .frozen import said_of_folded

LARGEST_MODEL = 2**31
# Of operations with a kernel, how its axes become those of TensorFlow's variables.
_KERNELS = {
    "CONV_2D": (1, 2, 3, 0),
    "CONV_3D": (0, 1, 2, 3, 4),
    "DEPTHWISE_CONV_2D": (0, 1, 2, 3),
    "TRANSPOSE_CONV": (1, 2, 0, 3),
    "FULLY_CONNECTED": (1, 0),
}
# So many times the size of a file is read at most; several operators may share a kernel.
_MOST_TIMES = 16
_FLOATS = {"FLOAT32": "float32", "FLOAT16": "float16", "FLOAT64": "float64"}
# Of kernels and constants, and of biases.
_WHOLE = {"INT8": "int8", "INT32": "int32", "INT64": "int64"}
# What gives a constant on, in another dtype.
_PASSES = ("DEQUANTIZE", "CAST")
_NORM = re.compile(r"(?P<layer>.+?)/(batchnorm(_\d+)?/|FusedBatchNorm)")
_NUMBER = re.compile(r"_\d+$")
_OPERATION = re.compile(r"/convolution(_\d+)?$")  # of Keras, within the scope of a layer
_MADE_NO_SENSE = (struct.error, IndexError, TypeError, OverflowError, AttributeError)


def open_tflite(path):
    """The `Checkpoint` of a model of TensorFlow Lite: what its batch norms were folded into."""
    try:
        import tflite
    except ImportError as error:
        raise CheckpointError(
            f"`path` is {path!r}, and the package tflite is not installed; run `pip install tflite`."
        ) from error
    size = os.path.getsize(path)
    if size > LARGEST_MODEL:
        raise CheckpointError(f"`path` is {path!r}, a model of {size} bytes; at most {LARGEST_MODEL} are read.")
    with open(path, "rb") as file:
        data = file.read()
    try:
        model = _Model(tflite, data)
        found, folded = _constants(model)
        arrays, steps = ({name: pair[i] for name, pair in found.items() if pair[i] is not None} for i in (0, 1))
        variables = {name: Variable(array.shape, array.dtype.name) for name, array in arrays.items()}
    except ValueError as error:
        raise damaged(path, f"it is not a whole model of TensorFlow Lite ({reason(error)})") from error
    except _MADE_NO_SENSE as error:
        # What the package tflite says of it are the offsets that it read.
        raise damaged(path, "it is not a whole model of TensorFlow Lite, or it is cut off") from error
    if model.refused:
        raise CheckpointError(
            f"`path` is {path!r}, a model of TensorFlow Lite with {counted(len(model.refused), 'kernel')} of whole "
            "numbers that are no int8 with a step, from which the scales of batch norms cannot be computed back; give "
            "the model with weights of float32, float16 or int8 that was made from the same checkpoint."
        )
    notes = [
        "TensorFlow Lite keeps no statistics. Whether its kernels and constants are what a checkpoint gives is said by "
        "`tf1bn parity CHECKPOINT MODEL`.",
        *said_of_folded(folded),
    ]
    if steps:
        notes.append(f"{counted(len(steps), 'constant')} of the model are whole numbers, known to their steps alone.")
    checkpoint = Checkpoint(path, variables, arrays.__getitem__, notes, steps=steps)
    checkpoint.folds = True
    return checkpoint


@dataclasses.dataclass
class _Operator:
    """An operation: its type, the numbers of the tensors that it takes and gives, and of a depthwise convolution how
    many kernels each channel has, else 1."""

    kind: str
    inputs: list
    outputs: list
    multiplier: int = 1


class _Model:
    """The first subgraph of a model.

    Attributes:
      operators: list of `_Operator`.
      refused: numbers of the tensors that are kernels of whole numbers whose values are not known.
    """

    def __init__(self, tflite, data):
        self._model, self._left = tflite.Model.GetRootAs(data, 0), _MOST_TIMES * len(data)
        if self._model.SubgraphsLength() < 1:
            raise ValueError("it has no graph")
        self._graph = graph = self._model.Subgraphs(0)
        if max(graph.TensorsLength(), graph.OperatorsLength()) > min(MOST_VARIABLES, len(data)):
            raise ValueError("it has more tensors or operators than a file of its size can have")
        names = {number: name for name, number in vars(tflite.BuiltinOperator).items() if isinstance(number, int)}
        codes = [self._model.OperatorCodes(i) for i in range(min(self._model.OperatorCodesLength(), len(data)))]
        types = [names.get(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()), "") for code in codes]
        self._dtypes = {number: name for name, number in vars(tflite.TensorType).items() if isinstance(number, int)}
        self.operators, self.refused, self._passed = [], set(), {}
        for i in range(graph.OperatorsLength()):
            operator = self._operator(tflite, graph.Operators(i), types)
            self.operators.append(operator)
            if operator.kind in _PASSES and operator.inputs and operator.outputs:
                self._passed[operator.outputs[0]] = operator.inputs[0]

    def _operator(self, tflite, stored, types):
        counts = stored.InputsLength(), stored.OutputsLength()
        self._spend(sum(counts))
        inputs, outputs = [stored.Inputs(i) for i in range(counts[0])], [stored.Outputs(i) for i in range(counts[1])]
        operator = _Operator(types[stored.OpcodeIndex()], inputs, outputs)
        if operator.kind == "DEPTHWISE_CONV_2D":
            table, options = stored.BuiltinOptions(), tflite.DepthwiseConv2DOptions()
            options.Init(table.Bytes, table.Pos)
            operator.multiplier = options.DepthMultiplier()
        return operator

    def _spend(self, size):
        """Raise ValueError where so much more is read than a file of its size can have, as where parts overlap."""
        self._left -= size
        if self._left < 0:
            raise ValueError("its parts overlap")

    def name(self, number):
        """The name of a tensor, which may be several with semicolons between them."""
        name = self._graph.Tensors(number).Name() or b""
        if len(name) > LONGEST_NAME:
            raise ValueError(f"a tensor has a name of {len(name)} bytes")
        return name.decode("utf-8", "backslashreplace")

    def constant(self, number):
        """The array of a constant tensor, and the steps of whole numbers in its shape or None; None for an unknown."""
        found = self._stored(number)
        if found is None:
            return None
        dtype, tensor, data = found
        stored = _FLOATS.get(dtype) or _WHOLE.get(dtype)
        if stored is None:
            return None
        self._spend(data.size)
        shape = [tensor.Shape(i) for i in range(tensor.ShapeLength())]
        if any(size < 0 for size in shape):
            raise ValueError("a constant has no certain shape")
        array = np.frombuffer(data, np.dtype(stored).newbyteorder("<")).astype(stored).reshape(shape)
        return (array, None) if dtype in _FLOATS else self._dequantized(tensor, array)

    def _dequantized(self, tensor, array):
        """What whole numbers stand for, and their steps; None if that is not known."""
        quantization = tensor.Quantization()
        if quantization is None or not quantization.ScaleLength() or not array.ndim:
            return None
        self._spend(quantization.ScaleLength())
        scales = quantization.ScaleAsNumpy().astype(np.float64)
        zeros = quantization.ZeroPointAsNumpy() if quantization.ZeroPointLength() else np.zeros(1)
        shape, axis = [1] * array.ndim, quantization.QuantizedDimension()
        if not 0 <= axis < array.ndim or {scales.size, zeros.size} - {1, array.shape[axis]}:
            raise ValueError("a constant has steps of another number of channels")
        if not (np.isfinite(scales).all() and (scales > 0).all()):
            raise ValueError("a constant has a step that is no positive number")
        scales, zeros = (
            each.reshape([*shape[:axis], -1, *shape[axis + 1 :]]) if each.size > 1 else each.reshape(shape)
            for each in (scales, zeros)
        )
        with np.errstate(over="ignore", invalid="ignore"):
            return (array * scales - zeros * scales).astype(np.float32), np.broadcast_to(scales, array.shape)

    def kernel(self, number):
        """What `constant` gives for a kernel; one of whole numbers whose values are not known is noted in `refused`."""
        found, kernel = self._stored(number), self.constant(number)
        if kernel is None and found is not None:
            self.refused.add(number)
        return kernel

    def _stored(self, number):
        """The dtype of a constant tensor, the tensor and its bytes; None for one that is computed."""
        number = self._passed.get(number, number)
        if not 0 <= number < self._graph.TensorsLength():
            return None
        tensor = self._graph.Tensors(number)
        if not 0 < tensor.Buffer() < self._model.BuffersLength() or tensor.ShapeLength() > 8:
            return None
        buffer = self._model.Buffers(tensor.Buffer())
        return None if buffer.DataLength() < 1 else (self._dtypes.get(tensor.Type()), tensor, buffer.DataAsNumpy())


def _constants(model):
    """The arrays of kernels, biases and constants by name, and the scopes of layers that became two constants."""
    arrays, found, folded = {}, [], []
    users = collections.Counter(number for operator in model.operators for number in operator.inputs)
    takers = {number: operator for operator in model.operators for number in operator.inputs}
    for operator in model.operators:
        if operator.kind in _KERNELS and len(operator.inputs) > 1:
            found += _kernel(model, operator)
        elif operator.kind == "MUL" and operator.outputs and users[operator.outputs[0]] == 1:
            found += _two_constants(model, operator, takers[operator.outputs[0]])
    names = _as_layers([scope for scope, _ in found])
    for scope, parts in found:
        name = names[scope]
        while any(f"{name}/{part}" in arrays for part in parts):
            name += "_again"
        arrays |= {f"{name}/{part}": array for part, array in parts.items()}
        folded += [name] * ("batchnorm/mul" in parts)
    return arrays, sorted(folded)


def _kernel(model, operator):
    """A list with the scope and the parts, "kernel" and perhaps "bias", of an operation with a kernel, or []."""
    kernel, axes = model.kernel(operator.inputs[1]), _KERNELS[operator.kind]
    if kernel is None or kernel[0].ndim != len(axes):
        return []
    # A transposed convolution has its output's shape first, and then the kernel.
    bias = operator.inputs[3 if operator.kind == "TRANSPOSE_CONV" else 2 :][:1]
    parts = {"kernel": _both(kernel, lambda array: array.transpose(axes))}
    if operator.kind == "DEPTHWISE_CONV_2D":
        # [1, height, width, channels * multiplier] here.
        shape = *kernel[0].shape[1:3], -1, max(operator.multiplier, 1)
        parts["kernel"] = _both(kernel, lambda array: array.reshape(shape))
    if bias and (values := model.constant(bias[0])) is not None:
        parts["bias"] = values
    return [(_scope(model, [operator.inputs[1], *bias, *operator.outputs]), parts)]


def _two_constants(model, product, after):
    """A list with the scope and the parts of a product and a sum with constants, as a frozen graph has them, or [].

    ``after`` is the operation that takes what ``product`` gives.
    """
    scale_at, scale = _vector(model, product)
    shift_at, shift = _vector(model, after) if after.kind == "ADD" else (None, None)
    if scale is None or shift is None or scale[0].size != shift[0].size:
        return []
    scope = _scope(model, [scale_at, *product.outputs, shift_at, *after.outputs])
    return [(scope, {"batchnorm/mul": scale, "batchnorm/sub": shift})]


def _vector(model, operator):
    """The number of the constant vector of an operation of two, and its values and steps; (None, None) if none."""
    for number in operator.inputs:
        values = model.constant(number)
        if values is not None and values[0].ndim and values[0].shape[-1] == values[0].size:
            return number, _both(values, np.ravel)
    return None, None


def _both(constant, function):
    """What a function makes of the values and of the steps of a constant, if it has some."""
    return [None if each is None else function(each) for each in constant]


def _scope(model, tensors):
    """The scope of a layer from the names of its tensors: that of a batch norm, if one is named."""
    names = [name for number in tensors if number >= 0 for name in model.name(number).split(";") if name]
    layers = [match["layer"] for name in names if (match := _NORM.match(name))]
    others = [name.rpartition("/")[0] for name in names if "/" in name]
    return _OPERATION.sub("", next(iter([*layers, *others, *names]), "unnamed"))


def _as_layers(scopes):
    """The names of layers by scopes, without the model's own name and the numbers that Keras 3 appends to each."""
    names = {scope: scope for scope in scopes}
    if len({scope.partition("/")[0] for scope in scopes if "/" in scope}) == 1 and all("/" in one for one in scopes):
        names = {scope: scope.partition("/")[2] for scope in scopes}
    if names and all(_NUMBER.search(part) for name in names.values() for part in name.split("/")):
        shorter = {scope: "/".join(_NUMBER.sub("", part) for part in name.split("/")) for scope, name in names.items()}
        if len(set(shorter.values())) == len(set(names.values())):
            return shorter
    return names


TFLITE = Format(
    "a model of TensorFlow Lite",
    lambda _path, head: head[4:8] == b"TFL3",
    open_tflite,
    (".tflite",),
    known_by="its identifier TFL3",
    read_with="tflite",
    remarks="no statistics: what batch norms were folded into, for `tf1bn parity`; weights of int8 to their steps",
)
