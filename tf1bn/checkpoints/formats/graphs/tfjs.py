"""Models of TensorFlow.js: a ``model.json`` with a manifest of weights, and their raw numbers in shards beside it.

Layers models have the configuration of Keras, graph models a GraphDef as JSON. Weights may be quantized to uint8 or
uint16, in steps of the manifest's "scale" from its "min", or to float16.
"""

import base64
import dataclasses
import json
import math
import os
import stat

import numpy as np

from ...._util.text import counted, reason
from ....errors import CheckpointError, GraphError
from ....graphdef.file_scan import FileScan
from ....graphdef.files.attributes import MOST_VALUES
from ....graphdef.files.json_format import to_bytes
from ....graphdef.files.sources import Source, graph_of
from ....graphdef.reading import opened
from ..base import LONGEST_NAME, MOST_VARIABLES, Checkpoint, Format, Variable, damaged
from ..keras.config import declared_batch_norms
from .frozen import said_of, said_of_folded
from .layers import stored_layers, variables_of

LARGEST_JSON = 2**27
_SIZES = {"float32": 4, "int32": 4, "bool": 1, "float16": 2, "uint8": 1, "uint16": 2, "complex64": 8}
_QUANTIZED = {"uint8": "<u1", "uint16": "<u2", "float16": "<f2"}


@dataclasses.dataclass
class _Weight:
    """A weight: where its numbers begin in its group of shards, and how they are stored."""

    shape: tuple[int, ...]
    dtype: str
    stored: str
    group: int
    offset: int
    scale: float = 1.0
    low: float = 0.0

    @property
    def size(self):
        return math.prod(self.shape) * _SIZES[self.stored]


def _matches(path, head):
    """Whether a file is JSON with a manifest of weights."""
    if not head.lstrip().startswith(b"{") or not 0 < os.path.getsize(path) <= LARGEST_JSON:
        return False
    try:
        return "weightsManifest" in _json(path)
    except ValueError:
        return False


def _json(path):
    with open(path, "rb") as file:
        data = file.read(LARGEST_JSON + 1)
    if b'"weightsManifest"' not in data:
        raise ValueError("it has no manifest of weights")
    try:
        value = json.loads(data)
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("it is no JSON of a model")
    return value


def open_tfjs(path):
    """The `Checkpoint` of a model of TensorFlow.js, given its ``model.json``."""
    try:
        model = _json(path)
        weights, shards = _manifest(model["weightsManifest"], path)
        topology = model.get("modelTopology")
        scopes, names, notes = {}, {name: name for name in weights}, []
        if isinstance(topology, dict) and isinstance(topology.get("node"), list):
            scopes, names, notes = _of_graph(topology, weights, shards, repr(path))
        declared = _declared(topology, names) if not scopes else {n: one.declared() for n, one in scopes.items()}
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise damaged(path, f"it is not a whole model of TensorFlow.js ({reason(error)})") from error
    except GraphError as error:
        raise CheckpointError(str(error)) from error
    variables = {name: Variable(weights[own].shape, weights[own].dtype) for name, own in names.items()}

    def read(name):
        try:
            return _values(weights[names[name]], shards)
        except ValueError as error:
            raise damaged(path, f"reading `{name}` failed ({reason(error)})") from error

    steps = {name: weights[own].scale for name, own in names.items() if weights[own].stored != weights[own].dtype}
    if steps:
        notes.append(f"{counted(len(steps), 'weight')} of the model are quantized.")
    return Checkpoint(path, variables, read, notes, declared=declared, steps=steps)


def _manifest(manifest, path):
    """The `_Weight` of each weight by name, and the paths and sizes of the shards of each group."""
    weights, shards = {}, []
    folder = os.path.realpath(os.path.dirname(os.path.abspath(path)))
    for number, group in enumerate(manifest):
        files = []
        for name in group["paths"]:
            file = os.path.realpath(os.path.join(folder, name))
            if os.path.isabs(name) or not file.startswith(os.path.join(folder, "")):
                raise ValueError(f"it names the shard {name!r} outside of its folder, which is not read")
            if not os.path.exists(file):
                raise ValueError(f"the shard {name!r} is missing")
            if not stat.S_ISREG(os.stat(file).st_mode):
                raise ValueError(f"the shard {name!r} is no file")
            files.append((file, os.path.getsize(file)))
        shards.append(files)
        offset = 0
        for entry in group["weights"]:
            weight = _weight(entry, number, offset)
            name = entry["name"]
            if not isinstance(name, str) or len(name) > LONGEST_NAME or name in weights:
                raise ValueError("a weight has no name of its own")
            weights[name] = weight
            offset += weight.size
            if len(weights) > MOST_VARIABLES:
                raise ValueError(f"it has more than {MOST_VARIABLES} weights")
        if offset != sum(size for _, size in files):
            raise ValueError("its shards are of another size than its weights")
    return weights, shards


def _weight(entry, group, offset):
    shape, dtype, quantization = tuple(entry["shape"]), entry["dtype"], entry.get("quantization")
    if not all(type(size) is int and 0 <= size < 2**62 for size in shape) or len(shape) > 64:
        raise ValueError(f"the weight {entry['name']!r} has a shape that none can have")
    stored = quantization["dtype"] if quantization else dtype
    if dtype not in _SIZES or stored not in _SIZES or (quantization and stored not in _QUANTIZED):
        # The bytes of texts say themselves how many they are.
        raise ValueError(f"the weight {entry['name']!r} is {stored}, which is not read")
    weight = _Weight(shape, dtype, stored, group, offset)
    if quantization and stored != "float16":
        weight.scale, weight.low = float(quantization["scale"]), float(quantization["min"])
        if not (math.isfinite(weight.scale) and math.isfinite(weight.low) and weight.scale > 0):
            raise ValueError(f"the weight {entry['name']!r} is quantized in a way that makes no sense")
    return weight


def _values(weight, shards):
    """The array of a weight, as the numbers that its quantized ones stand for."""
    data = _bytes(shards[weight.group], weight.offset, weight.size)
    if weight.stored == weight.dtype:
        return np.frombuffer(data, np.dtype(weight.dtype).newbyteorder("<")).astype(weight.dtype).reshape(weight.shape)
    stored = np.frombuffer(data, _QUANTIZED[weight.stored])
    values = stored.astype(np.float64) * weight.scale + weight.low
    return values.astype(weight.dtype).reshape(weight.shape)


def _bytes(files, offset, size):
    parts, at = [], 0
    for path, length in files:
        begin, end = max(offset - at, 0), min(offset + size - at, length)
        if begin < end:
            with open(path, "rb") as file:
                file.seek(begin)
                parts.append(file.read(end - begin))
        at += length
    data = b"".join(parts)
    if len(data) != size:
        raise ValueError("its shards are cut off")
    return data


def _of_graph(topology, weights, shards, path):
    """The batch norms of a graph model by the names of layers, the weight of each variable, and notes."""
    nodes = [_with_value(node, weights.get(node["name"]), shards) for node in topology["node"]]
    data = to_bytes({**topology, "node": nodes}, "GraphDef")
    with opened(lambda: Source(graph_of(data), "a GraphDef"), path) as source:
        scan = FileScan(source)
        found, scopes = variables_of(stored_layers(scan))
    names = {name: op.name for name, op in found.items() if op.name in weights}
    taken = set(names.values())
    names |= {name: name for name in weights if name not in taken and name not in names}
    return scopes, names, said_of(scopes) + said_of_folded(scan.folded)


def _with_value(node, weight, shards):
    """A node of the JSON; a constant with its value from the manifest, which has the small ones that say settings."""
    if node["op"] != "Const":
        return node
    if weight is None:
        return {**node, "op": "Placeholder"}
    tensor = {"dtype": weight.dtype, "tensorShape": {"dim": [{"size": size} for size in weight.shape]}}
    if math.prod(weight.shape) <= MOST_VALUES:
        tensor["tensorContent"] = base64.b64encode(_values(weight, shards).tobytes())
    return {**node, "attr": {"dtype": {"type": weight.dtype}, "value": {"tensor": tensor}}}


def _declared(topology, names):
    """What the configuration of a layers model declares, by the scopes of its variables."""
    config = topology.get("model_config", topology) if isinstance(topology, dict) else None
    by_name = {setting["name"]: setting for setting in declared_batch_norms(config).values()}
    scopes = {name.rpartition("/")[0] for name in names}
    return {scope: by_name[own] for scope in scopes if (own := scope.rpartition("/")[2]) in by_name}


TFJS = Format(
    "a model of TensorFlow.js",
    _matches,
    open_tfjs,
    (),
    known_by="JSON with a manifest of weights",
    read_with="NumPy",
    remarks="layers and graph models; weights quantized to uint8, uint16 and float16 are allowed for",
)
