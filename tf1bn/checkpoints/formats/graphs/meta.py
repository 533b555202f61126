"""``.meta`` files, the graph that a TF1 checkpoint was saved with: what it says about the layers of the checkpoint.

A MetaGraphDef has no values. It shows each layer's epsilon, which operations update the statistics and at what decay,
and whether a train op depends on them.
"""

import os

from ...._util.text import counted, listed, quoted
from ....errors import GraphError
from ....graphdef.file_scan import FileScan
from ....graphdef.files.sources import graph_kind, open_source
from ....graphdef.reading import opened
from ....graphdef.training import Training
from ....graphdef.view import VARIABLES
from ....variable_names import NO_SCOPE, role_of
from ..base import Format, refusing

ENDING = ".meta"
LARGEST_META = 2**26


def beside(prefix):
    """What the ``.meta`` file of a checkpoint says: (declared, notes), as `base.Checkpoint` has them.

    A layer's declared settings are its "epsilon", its "decay", and "updates", a sentence on the operations that update
    its statistics; each where it is known.
    """
    path = prefix + ENDING
    if not os.path.isfile(path):
        return {}, []
    name = repr(os.path.basename(path))
    if os.path.getsize(path) > LARGEST_META:
        return {}, [f"The graph {name} beside it has more than {LARGEST_META} bytes, and was not read."]
    try:
        with opened(lambda: open_source(path), name) as source:
            return _read(source, name)
    except GraphError as error:
        return {}, [f"The graph {name} beside it was left out. {error}"]


def _read(source, name):
    scan = FileScan(source)
    training = Training(source, scan)
    settings = {one.statistic.name: layer.settings for layer in scan.layers for one in layer.applications}
    declared, without = {}, []
    for scope, variables in _statistics(scan).items():
        known = next((settings[variable.name] for variable in variables if variable.name in settings), {})
        declared[scope] = {key: known[key] for key in ("epsilon", "decay") if known.get(key) is not None}
        updates = [op for variable in variables for op in scan.writers_of(variable)]
        declared[scope]["updates"] = _said_of(updates, training, name)
        without += [scope] * (not updates)
    return declared, _notes(declared, without, name, source.version)


def _statistics(scan):
    """The operations of the variables that are statistics by their names, by the scope of their layer."""
    found = {}
    for op in scan.variables.values():
        named = role_of(op.name) if op.type in VARIABLES else None
        if named and named[1] in ("mean", "variance"):
            found.setdefault(named[0] or NO_SCOPE, []).append(op)
    return found


def _said_of(updates, training, name):
    if not updates:
        return f"The graph {name} has no operation that updates them, as where the layer is built with training=False."
    text = f"The graph {name} has operations that update them"
    if not training.trains:
        return f"{text}."
    if any(training.reaching(op) for op in updates):
        return f"{text}, and a train op depends on them."
    return f"{text}, and no train op depends on them: they ran only where they were asked for."


def _notes(declared, without, name, version):
    if not declared:
        return []
    parts = []
    for key in ("epsilon", "decay"):
        values = sorted({setting[key] for setting in declared.values() if key in setting})
        parts += [f"{key} {listed([f'{value:.6g}' for value in values], 5)}"] * bool(values)
    made = f", made by TensorFlow {version}," * bool(version)
    text = f"The graph {name} beside it{made} has {' and '.join(parts) or 'no known settings'} "
    text += f"for {counted(len(declared), 'layer')}"
    if without:
        text += f", and nothing that updates the statistics of {quoted(sorted(without))}"
    return [f"{text}."]


META = Format(
    "a .meta graph of TensorFlow",
    lambda path, _head: graph_kind(path) == "MetaGraphDef",
    refusing("a graph without values; give the checkpoint that was saved with it, whose graph is then read as well."),
    known_by="a message with a graph behind what was said of it",
    remarks="read beside a checkpoint: epsilon, decay, which operations update the statistics",
)
SAVED_MODEL = Format(
    "the graph of a SavedModel",
    lambda path, _head: graph_kind(path) == "SavedModel",
    refusing("the graph of a SavedModel, and the values lie beside it; give its folder."),
    known_by="a message with version 1 and graphs",
    remarks="the folder with `variables/` is read as a TensorFlow checkpoint",
)
