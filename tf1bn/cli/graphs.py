"""``tf1bn audit`` of a graph: what its structure shows, beside what the values in the same file show."""

from ..errors import CheckpointError, CommandError
from ..verdicts import FINDING, OK, worst
from .accept import rejudge_audit

META, GRAPH, SAVED_MODEL, KERAS = "MetaGraphDef", "GraphDef", "SavedModel", "keras"


def add_arguments(parser):
    """Declare the options on an argparse parser."""
    parser.add_argument(
        "--train-op",
        metavar="NAMES",
        help="what a training step runs, names of operations with commas between them (graphs only)",
    )


def kind_of(path):
    """The kind of graph at ``path``: one of the above; None for what is no graph."""
    import os

    from ..graphdef.files.sources import graph_kind
    from ..graphs.keras_config import is_keras

    if os.path.isdir(path) and os.path.lexists(os.path.join(path, "trace.json")):
        return None
    return graph_kind(path) or (KERAS if is_keras(path) else None)


def audit(path, kind, train_op):
    """The audit of a graph, the dict that its JSON holds.

    Args:
      path: its path.
      kind: see `kind_of`.
      train_op: the text of the option ``--train-op``, or None.

    Raises:
      Tf1bnError: the graph is damaged, or has no such operation.
    """
    from .. import checkpoints, graphs

    names = None if train_op is None else [name.strip() for name in train_op.split(",") if name.strip()]
    if names == []:
        raise CommandError(f"`--train-op` is {train_op!r}; it must be names of operations, with commas between them.")
    if kind == META:
        return graphs.audit(path, names)
    try:
        values = checkpoints.audit_checkpoint(path)
    except CheckpointError as error:
        # Without constants or variables beside it there is the structure alone; else the file itself is damaged.
        try:
            return graphs.audit(path, names)
        except graphs.GraphError:
            raise error from None
    try:
        structure = graphs.audit(path, names)
    except graphs.GraphError as error:
        return {**values, "notes": [*values["notes"], f"Its structure was not judged. {error}"]}
    if kind == SAVED_MODEL and structure["layers"] and not values["layers"]:
        values = _with_names_of_the_graph(path) or values
    return joined(values, structure)


def _with_names_of_the_graph(path):
    """The audit of a SavedModel's values under the names that its graph has for them; None if it has none."""
    from ..checkpoints.audit import audit_opened
    from ..checkpoints.formats.base import Checkpoint
    from ..checkpoints.opening import open_checkpoint
    from ..graphs.structure.saved_names import saved_names

    names = saved_names(path)
    with open_checkpoint(path) as opened:
        keys = {names[key]: name for name in opened.variables if (key := _plain(name, names)) is not None}
        variables = {name: opened.variables[key] for name, key in keys.items()}
        note = "Its variables are named as its graph names them."
        renamed = Checkpoint(opened.path, variables, lambda name: opened.read(keys[name]), [*opened.notes, note])
        return audit_opened(renamed) if variables else None


def _plain(name, names):
    """The name of a variable in a checkpoint as the graph has it, or None if the graph has none."""
    return next((key for key in (name, f"{name}/.ATTRIBUTES/VARIABLE_VALUE") if key in names), None)


def are_compared(old, new):
    """Whether two paths are graphs of which one has no values, so that their structure is compared."""
    kinds = [kind_of(path) for path in (old, new)]
    if None in kinds or KERAS in kinds:
        return False
    return META in kinds or not all(map(_has_values, (old, new)))


def _has_values(path):
    from ..checkpoints import open_checkpoint

    try:
        with open_checkpoint(path):
            return True
    except CheckpointError:
        return False


def joined(values, structure):
    """One result of the audit of a checkpoint's values and of that of the graph around them."""
    by_name = {}
    for layer in structure["layers"]:
        for name in (layer["structure"]["statistics"]["mean"], layer["name"]):
            by_name.setdefault(name, layer)
    layers, used = [], set()
    for layer in values["layers"]:
        mean = layer.get("values", {}).get("mean", {}).get("variable")
        other = by_name.get(mean) or by_name.get(layer["name"])
        if other is None:
            layers.append(layer)
            continue
        used.add(other["name"])
        layers.append(_joined_layer(layer, other))
    rest = [layer for layer in structure["layers"] if layer["name"] not in used]
    layers += [layer for layer in rest if layer["verdict"] != OK]
    notes = [*values["notes"], *structure["notes"]]
    return rejudge_audit({**values, "layers": layers, "notes": notes, "graph": structure["graph"]})


def _joined_layer(layer, other):
    """A layer by its values with what the structure says beside that."""
    named = {cause["id"] for cause in layer["causes"]}
    new = [cause for cause in other["causes"] if cause["id"] not in named]
    causes = sorted([*layer["causes"], *new], key=lambda cause: cause["severity"] != FINDING)
    said = [layer["explanation"]]
    if other["verdict"] != OK or new:
        said += [cause["explanation"] for cause in new] or ([] if named else [other["explanation"]])
    return {
        **layer,
        "verdict": worst([layer["verdict"], other["verdict"]]),
        "causes": causes,
        "explanation": " ".join(said),
        "undecided": [*layer.get("undecided", ()), *other["undecided"]],
        "structure": other["structure"],
    }
