"""What a file says of a graph: its operations, its collections, its signatures, and which of its values are saved."""

import dataclasses
import os

from ..._util.text import reason
from ...binary.protobuf import BYTES, fields, message, repeated, text
from ...errors import GraphError
from . import text_format, wire
from .functions import inlined
from .operations import FileGraph

SAVED_MODEL = ("saved_model.pb", "saved_model.pbtxt")
LARGEST_GRAPH = 2**31
_HEAD = 2**16
_VARIABLES, _TRAINABLE = ("variables", "model_variables", "local_variables"), "trainable_variables"


@dataclasses.dataclass
class Source:
    """A graph and what is said of it.

    Attributes:
      graph: an `operations.FileGraph`.
      kind: what it is in words: "a .meta graph", "a GraphDef", "a SavedModel", "a graph".
      collections: dict from names of collections to lists of names of operations.
      trainable: names of the operations of trainable variables; None where nothing says it.
      signatures: dict from names to (inputs, outputs), lists of names of tensors.
      outputs: names of what a function returns or has to run; None for a graph that is no function.
      version: the release of TensorFlow that wrote it, or "".
      notes: sentences.
    """

    graph: FileGraph
    kind: str
    collections: dict = dataclasses.field(default_factory=dict)
    trainable: set | None = None
    signatures: dict = dataclasses.field(default_factory=dict)
    outputs: list | None = None
    version: str = ""
    notes: list = dataclasses.field(default_factory=list)

    def collection(self, name):
        """The operations in a collection, without those that are not in the graph."""
        found = (self.graph.find(one) for one in self.collections.get(name, ()))
        return list({op.name: op for op in found if op is not None}.values())


def open_source(path):
    """The `Source` of a file, or of the folder of a SavedModel.

    Raises:
      GraphError: there is no such file, it is damaged or too large, or holds no graph.
    """
    file = _file_at(path)
    try:
        data, kind = _bytes_of(file)
        if kind == "SavedModel":
            return _saved_model(data)
        if kind == "MetaGraphDef":
            return of_meta_graph(data, "a .meta graph")
        return Source(graph_of(data), "a GraphDef")
    except OSError as error:
        raise GraphError(f"`graph` is {path!r}, which cannot be read: {error.strerror or error}.") from error
    except RecursionError:
        raise GraphError(f"The graph {path!r} is damaged: its functions are nested too deeply.") from None
    except (ValueError, OverflowError) as error:
        raise GraphError(f"The graph {path!r} is damaged: {reason(error)}.") from error


def graph_kind(path):
    """What a file is: "GraphDef", "MetaGraphDef" or "SavedModel"; None if it is no graph or cannot be read.

    A folder is a SavedModel if it has the graph of one.
    """
    try:
        file = path
        if os.path.isdir(path):
            file = next((os.path.join(path, name) for name in SAVED_MODEL if _is_file(path, name)), None)
        if file is None or not os.path.isfile(file) or os.path.getsize(file) == 0:
            return None
        with open(file, "rb") as opened:
            first = opened.read(_HEAD)
        return _kind_of(file, first)
    except (OSError, ValueError):
        return None


def _is_file(folder, name):
    return os.path.isfile(os.path.join(folder, name))


def _file_at(path):
    """The file of a graph at ``path``."""
    if not isinstance(path, str) or not path or "\0" in path:
        raise GraphError(f"`graph` is {path!r}; it must be a path as text, or a graph of TensorFlow.")
    if os.path.isdir(path):
        for name in SAVED_MODEL:
            if _is_file(path, name):
                return os.path.join(path, name)
        raise GraphError(f"`graph` is the folder {path!r}, which has no {SAVED_MODEL[0]!r}; give a file.")
    if not os.path.exists(path):
        raise GraphError(f"`graph` is {path!r}, and there is no such file.")
    return path


def _bytes_of(file):
    """The bytes of a file with a graph, and the message that they are."""
    size = os.path.getsize(file)
    if size > LARGEST_GRAPH:
        raise GraphError(
            f"The file {file!r} has {size} bytes; no graph has more than {LARGEST_GRAPH}, the limit of protocol "
            "buffers."
        )
    if size == 0:
        raise ValueError("it is empty")
    with open(file, "rb") as opened:
        first = opened.read(_HEAD)
    if first.startswith(b"version https://git-lfs"):
        raise GraphError(f"`graph` is {file!r}, a pointer of Git LFS in the place of a file; run `git lfs pull`.")
    kind = _kind_of(file, first)
    if kind is None:
        raise GraphError(
            f"The file {file!r} holds no graph of TensorFlow; a `.meta`, a GraphDef (`.pb`, `.pbtxt`), the "
            "folder of a SavedModel or a `.keras` file is read."
        )
    if (written := text_format.message_in(first)) is not None:
        with open(file, "rb") as opened:
            return text_format.to_bytes(opened.read(), written), kind
    with open(file, "rb") as opened:
        return opened.read(), kind


def _kind_of(file, first):
    written = text_format.message_in(first)
    if written is not None:
        return written
    # Longer messages than the first bytes of a file are looked at as far as they go.
    for kind, matches in (("SavedModel", _is_saved_model), ("MetaGraphDef", _is_meta), ("GraphDef", _is_graph)):
        if matches(first):
            return kind
    return None


def _is_saved_model(data):
    return data.startswith(b"\x08\x01\x12")


def _is_meta(data):
    """Whether a message begins with a MetaInfoDef, and goes on with a GraphDef."""
    if not data.startswith(b"\n"):
        return False
    fields_of = _leading(data, 2)
    if len(fields_of) < 2 or fields_of[0][0] != 1 or fields_of[1][0] != 2:
        return bool(fields_of) and len(fields_of) == 1 and _is_meta_info(fields_of[0][1])
    return _is_meta_info(fields_of[0][1]) and (not fields_of[1][1] or fields_of[1][1][:1] in (b"\n", b"\x12", b'"'))


def _is_meta_info(data):
    """Whether a message could be a MetaInfoDef rather than a node: field 2 is a list of operations, and 5 a version."""
    numbers = [number for number, _ in _leading(data, 64)]
    return bool(numbers) and set(numbers) <= {1, 2, 3, 4, 5, 6, 7, 8} and not _is_node(data)


def _is_node(data):
    leading = _leading(data, 2)
    return [number for number, _ in leading] == [1, 2] and leading[1][1][:1].isalpha()


def _is_graph(data):
    leading = _leading(data, 1)
    return bool(leading) and leading[0][0] == 1 and _is_node(leading[0][1])


def _leading(data, count):
    """The numbers and bytes of the first fields with bytes of a message that may go on behind ``data``."""
    found, at = [], 0
    while at < len(data) and len(found) < count:
        key, at = data[at], at + 1
        if key & 7 != BYTES or key > 127:
            break
        size = shift = 0
        while at < len(data):
            byte, at = data[at], at + 1
            size |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        found.append((key >> 3, data[at : at + size]))
        at += size
    return found


def graph_of(data):
    """The `operations.FileGraph` of the bytes of a GraphDef."""
    nodes, functions = wire.graph(data)
    if not nodes:
        raise ValueError("it has no nodes")
    return FileGraph(*inlined(nodes, functions))


def _saved_model(data):
    graphs = repeated(data, 2)
    if not graphs:
        raise ValueError("it is a SavedModel without a graph")
    tags = [[text(one) for one in repeated(message(graph, {1: BYTES}).get(1, b""), 4)] for graph in graphs]
    chosen = next((i for i, names in enumerate(tags) if "serve" in names), 0)
    source = of_meta_graph(bytes(graphs[chosen]), "a SavedModel")
    if len(graphs) > 1:
        said = ", ".join(repr("+".join(names)) for names in tags)
        source.notes.append(f"The SavedModel has {len(graphs)} graphs ({said}), of which number {chosen} was read.")
    return source


def of_meta_graph(data, kind):
    """The `Source` of the bytes of a MetaGraphDef."""
    info = graph = b""
    collections, signatures, trainable, has_variables = {}, {}, None, False
    for number, wire_type, value in fields(memoryview(data)):
        if wire_type != BYTES:
            continue
        if number == 1:
            info = value
        elif number == 2:
            graph = value
        elif number in (4, 5):
            entry = message(value, {1: BYTES, 2: BYTES})
            name, body = text(entry.get(1, b"")), entry.get(2, b"")
            if number == 5:
                signatures[name] = [_names_of(one) for one in _two(body)]
            elif name == _TRAINABLE:
                trainable = {_variable(one) for one in repeated(message(body, {2: BYTES}).get(2, b""), 1)}
            elif name in _VARIABLES:
                has_variables = True
            else:
                collections[name] = [text(one) for one in repeated(message(body, {1: BYTES}).get(1, b""), 1)]
    if trainable is None and has_variables:
        trainable = set()
    version = text(message(info, {5: BYTES}).get(5, b""))
    return Source(graph_of(bytes(graph)), kind, collections, trainable, signatures, None, version)


def _two(data):
    return repeated(data, 1), repeated(data, 2)


def _names_of(items):
    """The names of the tensors in a map of a signature."""
    infos = (message(item, {2: BYTES}).get(2, b"") for item in items)
    return [text(message(info, {1: BYTES}).get(1, b"")) for info in infos]


def _variable(data):
    """The name of the operation of a variable in a VariableDef."""
    return text(message(data, {1: BYTES}).get(1, b"")).partition(":")[0]
