"""Frozen graphs of TensorFlow (``.pb``): a GraphDef in which constants took the place of variables."""

from ...._util.text import counted, listed, quoted, reason
from ....binary.tensor_protos import tensor_values
from ....errors import CheckpointError, GraphError
from ....graphdef.file_scan import FileScan
from ....graphdef.files.attributes import tensor
from ....graphdef.files.sources import graph_kind, open_source
from ....graphdef.reading import opened
from ....graphdef.view import VARIABLES
from ..base import Checkpoint, Format, Variable, damaged
from .layers import stored_layers, variables_of


def _matches(path, _head):
    return graph_kind(path) == "GraphDef"


def open_frozen(path):
    """The `Checkpoint` of a frozen graph: its constants, under the names of variables where they are a layer's."""
    try:
        with opened(lambda: open_source(path), repr(path)) as source:
            return _checkpoint(path, FileScan(source))
    except GraphError as error:
        raise CheckpointError(str(error)) from error


def _checkpoint(path, scan):
    operations = scan.graph.get_operations()
    variables, scopes = variables_of(stored_layers(scan))
    unfrozen = [op.name for op in operations if op.type in VARIABLES]
    if unfrozen and not any(op.type == "Const" for op in variables.values()):
        raise CheckpointError(
            f"`path` is {path!r}, a graph whose {counted(len(unfrozen), 'variable')} lie in a checkpoint; give that "
            "checkpoint."
        )
    taken = {op.name for op in variables.values()}
    constants = (op for op in operations if op.type == "Const" and op.name not in taken)
    variables = {op.name: op for op in constants} | variables
    headers = {name: _variable(op) for name, op in variables.items()}

    def read(name):
        try:
            return tensor_values(*tensor(variables[name].attributes["value"]))
        except ValueError as error:
            raise damaged(path, f"reading `{name}` failed: {reason(error)}") from error

    declared = {scope: layer.declared() for scope, layer in scopes.items()}
    notes = [*said_of(scopes), *said_of_folded(scan.folded)]
    return Checkpoint(path, headers, read, notes, declared=declared)


def _variable(op):
    if op.type in VARIABLES:
        return Variable((), op.type)
    shape, dtype, _ = tensor(op.attributes["value"])
    return Variable(shape, dtype)


def said_of(scopes):
    """Sentences on what the nodes of layers declare.

    Args:
      scopes: `layers.StoredLayer`, or what has the same attributes, by the name of a layer.
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


def said_of_folded(names):
    """A sentence on the layers of which a converter left no statistics, in a list; an empty list without any."""
    if not names:
        return []
    verb = "was" if len(names) == 1 else "were"
    return [
        f"{counted(len(names), 'batch norm')} ({quoted(names)}) {verb} folded into a multiplication and an addition by "
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
