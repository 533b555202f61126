"""``.meta`` files, the graph that a TF1 checkpoint was saved with: what it says about the layers of the checkpoint.

A MetaGraphDef has no values. It shows each layer's epsilon, which operations update the statistics and at what decay,
and whether a train op depends on them.
"""

import collections
import os

from ...._util.text import counted, listed, quoted, reason
from ....binary.files import mapped
from ....binary.protobuf import BYTES, VARINT, fields, message
from ....variable_names import NO_SCOPE, role_of
from ..base import Format, refusing
from .frozen import starts_with_nodes
from .layers import batch_norms, variables_of
from .nodes import VARIABLES, graph_from_bytes

ENDING = ".meta"
LARGEST_META = 2**26
_ADDS = {"AssignSub", "AssignAdd", "AssignSubVariableOp", "AssignAddVariableOp"}
_SETS = {"Assign", "AssignVariableOp"}
_META = {1: BYTES, 2: BYTES}


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
        return _read(mapped(path), name)
    except (ValueError, OSError) as error:
        return {}, [f"The graph {name} beside it could not be read ({reason(error)}), and was left out."]


def _read(data, name):
    values = message(data, _META)
    version = message(values.get(1, b""), {5: BYTES}).get(5, b"")
    graph = graph_from_bytes(values.get(2, b""))
    epsilons = {scope: layer.epsilon for scope, layer in variables_of(batch_norms(graph))[1].items()}
    updates = _updates(graph)
    wanted = {node.name for nodes in updates.values() for node in nodes}
    trained = _ancestors(graph, _collection(data, b"train_op"), wanted)
    declared = {}
    for scope, nodes in updates.items():
        epsilon = epsilons.get(scope)
        if epsilon is None:
            epsilon = _epsilon_by_name(graph, scope)
        decays = {decay for decay in (_decay(graph, node) for node in nodes) if decay is not None}
        known = {"epsilon": epsilon, "decay": decays.pop() if len(decays) == 1 else None}
        declared[scope] = {key: value for key, value in known.items() if value is not None}
        declared[scope]["updates"] = _said_of(nodes, trained, name)
    return declared, _notes(declared, updates, name, bytes(version[:32]).decode("ascii", "replace"))


def _updates(graph):
    """The nodes that update the statistics of each layer, by scope; an empty list where there are none."""
    statistics, updates = {}, {}
    for node in graph.nodes.values():
        named = role_of(node.name) if node.op in VARIABLES else None
        if named and named[1] in ("mean", "variance"):
            statistics[node.name] = named[0] or NO_SCOPE
            updates.setdefault(named[0] or NO_SCOPE, [])
    for node in graph.nodes.values():
        if node.op not in _ADDS and node.op not in _SETS:
            continue
        target = graph.leaf(node.inputs[0]) if node.inputs else None
        if target is None or target.name not in statistics:
            continue
        # What initializes a variable, or restores it, is no update.
        begins = node.op in _SETS and (node.name.startswith(f"{target.name}/") or _restores(graph, node))
        if not begins:
            updates[statistics[target.name]].append(node)
    return updates


def _restores(graph, node):
    source = graph.source(node.inputs[1]) if len(node.inputs) > 1 else None
    if source is not None and source.op == "Identity" and source.inputs:
        source = graph.source(source.inputs[0])
    return source is not None and source.op.startswith("Restore")


def _decay(graph, node):
    """The decay of ``variable -= (variable - value) * rate``, or None where the node has another form."""
    product = graph.source(node.inputs[1]) if node.op in _ADDS and len(node.inputs) > 1 else None
    if product is None or product.op != "Mul":
        return None
    rates = [rate for text in product.inputs[:2] if (rate := _number(graph, text)) is not None]
    return 1 - rates[0] if len(rates) == 1 and 0 <= rates[0] <= 1 else None


def _number(graph, text):
    """The number that an input is: a constant, or the difference of two; None if it is computed in another way."""
    node = graph.source(text)
    if node is not None and node.op == "Sub" and len(node.inputs) == 2:
        first, second = (_constant(graph.leaf(one)) for one in node.inputs)
        return None if first is None or second is None else round(first - second, 12)
    return _constant(graph.leaf(text))


def _constant(leaf):
    is_number = leaf is not None and leaf.op == "Const" and leaf.tensor()[:2] in (((), "float32"), ((), "float64"))
    return float(str(leaf.values()[()])) if is_number else None


def _epsilon_by_name(graph, scope):
    """The epsilon of a composed layer that is in training mode, where no statistics are beside it."""
    return _constant(graph.nodes.get(f"{scope}/batchnorm/add/y"))


def _collection(data, name):
    """The names in a collection of nodes."""
    names = []
    for number, kind, value in fields(data):
        if (number, kind) == (4, BYTES):
            entry = message(value, {1: BYTES, 2: BYTES})
            if entry.get(1) == name:
                nodes = message(entry.get(2, b""), {1: BYTES}).get(1, b"")
                names += [bytes(one).decode("utf-8", "replace") for number, _, one in fields(nodes) if number == 1]
    return names


def _ancestors(graph, names, wanted):
    """The names of the nodes that those with these names depend on, and of themselves; None without any.

    The nearest come first, and the search ends with the last of the ``wanted`` ones.
    """
    waiting, seen, missing = collections.deque(name.partition(":")[0] for name in names), set(), set(wanted)
    while waiting and missing:
        name = waiting.popleft()
        if name in seen or name not in graph.nodes:
            continue
        seen.add(name)
        missing.discard(name)
        node = graph.nodes[name]
        further = {text.partition(":")[0] for text in node.inputs}
        waiting.extend(one for one in further.union(node.controls) if one not in seen)
    return seen or None


def _said_of(nodes, trained, name):
    if not nodes:
        return f"The graph {name} has no operation that updates them, as where the layer is built with training=False."
    text = f"The graph {name} has operations that update them"
    if trained is None:
        return f"{text}."
    if any(node.name in trained for node in nodes):
        return f"{text}, and a train op depends on them."
    return f"{text}, and no train op depends on them: they ran only where they were asked for."


def _notes(declared, updates, name, version):
    if not declared:
        return []
    parts = []
    for key in ("epsilon", "decay"):
        values = sorted({setting[key] for setting in declared.values() if key in setting})
        parts += [f"{key} {listed([f'{value:.6g}' for value in values], 5)}"] * bool(values)
    made = f", made by TensorFlow {version}," * bool(version)
    without = sorted(scope for scope, nodes in updates.items() if not nodes)
    text = f"The graph {name} beside it{made} has {' and '.join(parts) or 'no known settings'} "
    text += f"for {counted(len(declared), 'layer')}"
    if without:
        text += f", and nothing that updates the statistics of {quoted(without)}"
    return [f"{text}."]


def _matches(path, head):
    if not head.startswith(b"\n"):
        return False
    try:
        for seen, (number, kind, value) in enumerate(fields(mapped(path))):
            if (number, kind) == (2, BYTES):
                return seen == 1 and starts_with_nodes(value)
            if (number, kind, seen) != (1, BYTES, 0):
                return False
    except ValueError:
        pass
    return False


def _is_saved_model(path, head):
    if not head.startswith(b"\x08\x01\x12"):
        return False
    try:
        graph = message(message(mapped(path), {1: VARINT, 2: BYTES}).get(2, b""), _META).get(2, b"")
        return starts_with_nodes(graph)
    except ValueError:
        return False


META = Format(
    "a .meta graph of TensorFlow",
    _matches,
    refusing("a graph without values; give the checkpoint that was saved with it, whose graph is then read as well."),
    known_by="a message with a graph behind what was said of it",
    remarks="read beside a checkpoint: epsilon, decay, which operations update the statistics",
)
SAVED_MODEL = Format(
    "the graph of a SavedModel",
    _is_saved_model,
    refusing("the graph of a SavedModel, and the values lie beside it; give its folder."),
    known_by="a message with version 1 and graphs",
    remarks="the folder with `variables/` is read as a TensorFlow checkpoint",
)
