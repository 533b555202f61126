"""Frozen graphs of TensorFlow (``.pb``): a GraphDef in which constants took the place of variables."""

import re

from ...._util.text import counted, listed, quoted, reason
from ....binary.files import mapped
from ....binary.protobuf import BYTES, fields
from ....errors import CheckpointError
from ..base import Checkpoint, Format, Variable, damaged
from .layers import batch_norms, folded, variables_of
from .nodes import VARIABLES, graph_from_bytes

LARGEST_GRAPH = 2**31
_OP = re.compile(rb"[A-Za-z_][A-Za-z0-9_>]*")


def is_node(data):
    """Whether bytes are a NodeDef: a message with a name and the name of an operation."""
    try:
        parts = {number: value for number, kind, value in fields(data) if kind == BYTES and number in (1, 2)}
    except ValueError:
        return False
    return set(parts) == {1, 2} and bool(_OP.fullmatch(bytes(parts[2][:256])))


def starts_with_nodes(data, count=2):
    """Whether a message starts with NodeDefs as its field 1; a GraphDef does."""
    try:
        for seen, (number, kind, value) in enumerate(fields(data)):
            if (number, kind) != (1, BYTES) or not is_node(value):
                return seen > 0 and number in (2, 3, 4)
            if seen + 1 == count:
                return True
    except ValueError:
        return False
    return True


def _matches(path, head):
    if not head.startswith(b"\n"):
        return False
    try:
        return starts_with_nodes(mapped(path))
    except ValueError:
        return False


def open_frozen(path):
    """The `Checkpoint` of a frozen graph: its constants, under the names of variables where they are a layer's."""
    try:
        data = mapped(path)
        if len(data) > LARGEST_GRAPH:
            raise CheckpointError(
                f"`path` is {path!r}, a graph of {len(data)} bytes; at most {LARGEST_GRAPH} are read."
            )
        graph = graph_from_bytes(data)
        return checkpoint_of(path, graph)
    except ValueError as error:
        if isinstance(error, CheckpointError):
            raise
        raise damaged(path, f"it is not a whole graph ({reason(error)})") from error


def checkpoint_of(path, graph):
    """The `Checkpoint` of a graph with constants in the place of variables."""
    layers = batch_norms(graph)
    variables, scopes = variables_of(layers)
    unfrozen = [node.name for node in graph.nodes.values() if node.op in VARIABLES]
    if unfrozen and not any(node.op == "Const" for node in variables.values()):
        raise CheckpointError(
            f"`path` is {path!r}, a graph whose {counted(len(unfrozen), 'variable')} lie in a checkpoint; give that "
            "checkpoint."
        )
    taken = {node.name for node in variables.values()}
    for node in graph.nodes.values():
        if node.op == "Const" and node.name not in taken and node.name not in variables:
            variables[node.name] = node
    headers = {name: _variable(node) for name, node in variables.items()}

    def read(name):
        try:
            return variables[name].values()
        except ValueError as error:
            raise damaged(path, f"reading `{name}` failed: {reason(error)}") from error

    declared = {scope: layer.declared() for scope, layer in scopes.items()}
    notes = [*said_of(scopes), *said_of_folded(graph)]
    return Checkpoint(path, headers, read, notes, declared=declared)


def _variable(node):
    if node.op in VARIABLES:
        return Variable((), node.op)
    shape, dtype, _ = node.tensor()
    return Variable(shape, dtype)


def said_of(scopes):
    """Sentences on what the nodes of layers declare.

    Args:
      scopes: `layers.GraphLayer`, or what has the same attributes, by the name of a layer.
    """
    if not scopes:
        return []
    epsilons = sorted({layer.epsilon for layer in scopes.values() if layer.epsilon is not None})
    formats = sorted({layer.data_format for layer in scopes.values() if layer.data_format})
    parts = [f"epsilon {listed([f'{epsilon:.6g}' for epsilon in epsilons], 5)}"] if epsilons else []
    parts += [f"data format {listed(formats, 5)}"] if formats else []
    sentences = [f"By its nodes the graph has {counted(len(scopes), 'batch norm')}"]
    sentences[0] += f", with {' and '.join(parts)}." if parts else "."
    both = [name for name, layer in scopes.items() if layer.training is None]
    if both:
        sentences.append(f"{quoted(both)} can be switched between training and inference.")
    return sentences


def said_of_folded(graph):
    """A sentence on the layers of which a converter left no statistics, in a list; an empty list without any."""
    layers = folded(graph)
    if not layers:
        return []
    return [
        f"{counted(len(layers), 'batch norm')} ({quoted(layers)}) was folded into a multiplication and an addition by "
        "constants, which have no statistics any more."
    ]


FROZEN = Format(
    "a frozen graph of TensorFlow",
    _matches,
    open_frozen,
    (".pb",),
    known_by="a message that begins with nodes, each with a name and an operation",
    read_with="NumPy",
    remarks="epsilon, is_training and data_format from the nodes; fused, composed and pre-1.0 batch norms",
)
