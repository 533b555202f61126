"""Which variable of a graph each name in the checkpoint of a SavedModel stands for.

TensorFlow 2 names what it saves by the way to it through objects, such as "_all_variables/3", which say nothing of a
layer; the operation that saves has these names beside the variables.
"""

from ...checkpoints.formats.protobuf import BYTES, message
from ...errors import GraphError
from ..files import attributes
from ..files.sources import open_source
from ..view import PASSES
from .layers import StructureScan


def saved_names(path):
    """A dict from names in the checkpoint of the SavedModel at ``path`` to the names of the graph's variables.

    It is empty where the graph does not show it. Where two names stand for one variable the first is taken.
    """
    try:
        source = open_source(path)
        scan = StructureScan(source)
        pairs = [pair for op in source.graph.get_operations() if op.type == "SaveV2" for pair in _pairs(op, scan)]
    except (GraphError, ValueError, IndexError, KeyError, AttributeError, TypeError, RecursionError):
        return {}
    names, taken = {}, set()
    for key, name in pairs:
        if name not in taken:
            taken.add(name)
            names.setdefault(key, name)
    return names


def _pairs(op, scan):
    """Pairs of a name in the checkpoint and that of a variable, by one operation that saves."""
    source = op.inputs[1].op
    while source.type in PASSES:
        source = source.inputs[0].op
    if source.type != "Const":
        return
    keys = attributes.strings(message(source.attributes["value"], {8: BYTES}).get(8, b""))
    for key, tensor in zip(keys, op.inputs[3:], strict=False):
        variable = scan.variable(tensor)
        if variable is not None:
            yield key, variable.name
