"""Which variable of a graph each name in the checkpoint of a SavedModel stands for.

TensorFlow 2 names what it saves by the way to it through objects, such as "_all_variables/3", which say nothing of a
layer; the operation that saves has these names beside the variables.
"""

from ...binary.protobuf import BYTES, message
from ...errors import GraphError
from ...graphdef.file_scan import FileScan
from ...graphdef.files import attributes
from ...graphdef.files.sources import open_source
from ...graphdef.reading import opened
from ...graphdef.view import PASSES


def saved_names(path):
    """A dict from names in the checkpoint of the SavedModel at ``path`` to the names of the graph's variables.

    It is empty where the graph does not show it. Where two names stand for one variable the first is taken.
    """
    try:
        with opened(lambda: open_source(path), repr(path)) as source:
            scan = FileScan(source)
            pairs = [pair for op in source.graph.get_operations() if op.type == "SaveV2" for pair in _pairs(op, scan)]
    except GraphError:
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
