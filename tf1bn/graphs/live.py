"""A graph of a running program as a `sources.Source`: a ``tf.Graph``, or the graph of a ``tf.function``.

TensorFlow is not imported: the graph is asked for its GraphDef and its collections.
"""

from ..binary.protobuf import bytes_field, number_field
from ..errors import GraphError
from ..graphdef.files import wire
from ..graphdef.files.functions import inlined
from ..graphdef.files.operations import FileGraph
from ..graphdef.files.sources import Source

_SKIPPED = ("variables", "model_variables", "local_variables")


def source_of(graph):
    """The `Source` of a live graph, or of the object that has one as its attribute ``graph``.

    Raises:
      GraphError: it is no graph, or has more bytes than a GraphDef can have.
    """
    graph = graph if hasattr(graph, "as_graph_def") else getattr(graph, "graph", None)
    if not hasattr(graph, "as_graph_def"):
        raise GraphError("`graph` is no graph; it must be the path of a file, a `tf.Graph` or a concrete function.")
    try:
        data = graph.as_graph_def(add_shapes=True).SerializeToString()
    except ValueError as error:
        raise GraphError(
            "`graph` is larger than the 2 GB that a GraphDef can have; keep large constants in variables."
        ) from error
    nodes, functions = wire.graph(data)
    if not nodes:
        raise GraphError("`graph` is a graph without operations, so there is nothing to judge.")
    outputs = _outputs(graph)
    trainable = {one.name.partition(":")[0] for one in graph.get_collection("trainable_variables")}
    if outputs is not None:
        trainable |= _with_variables(graph, nodes)
    collections = {
        name: [getattr(item, "name", "") for item in graph.get_collection(name)]
        for name in graph.get_all_collection_keys()
        if isinstance(name, str) and name not in _SKIPPED and name != "trainable_variables"
    }
    known = trainable or graph.get_collection("variables")
    return Source(
        FileGraph(*inlined(nodes, functions)),
        "a graph",
        {name: [item for item in items if isinstance(item, str)] for name, items in collections.items()},
        trainable if known else None,
        outputs=outputs,
    )


def _outputs(graph):
    """The names of what the graph of a function returns and has to run; None for another graph."""
    if not hasattr(graph, "captures") or not hasattr(graph, "outputs"):
        return None
    return [one.name for one in [*graph.outputs, *getattr(graph, "control_outputs", ())]]


def _with_variables(graph, nodes):
    """Put variables in the place of the placeholders of a function's captures; returns the names of trainable ones."""
    by_handle = {id(variable.handle): variable for variable in graph.variables}
    by_name = {node.name: node for node in nodes}
    renamed, trainable = {}, set()
    for outside, inside in graph.captures:
        variable, node = by_handle.get(id(outside)), by_name.get(inside.op.name)
        if variable is None or node is None:
            continue
        name = variable.name.partition(":")[0]
        if name in by_name or name in renamed.values():
            name = f"{name}/{node.name}"
        renamed[node.name] = name
        node.name, node.type, node.attributes = name, "VarHandleOp", _attributes(variable)
        if variable.trainable:
            trainable.add(name)
    for node in nodes:
        node.inputs = [_renamed(text, renamed) for text in node.inputs]
        node.controls = [renamed.get(name, name) for name in node.controls]
    return trainable


def _renamed(text, renamed):
    name, colon, index = text.partition(":")
    return f"{renamed.get(name, name)}{colon}{index}"


def _attributes(variable):
    """The attributes of the operation of a variable: its dtype and its shape, as a NodeDef has them."""
    sizes = [-1 if size is None else size for size in variable.shape]
    shape = b"".join(bytes_field(2, number_field(1, size & (2**64 - 1))) for size in sizes)
    values = {"dtype": number_field(6, variable.dtype.as_datatype_enum), "shape": bytes_field(7, shape)}
    return b"".join(bytes_field(5, bytes_field(1, name.encode()) + bytes_field(2, one)) for name, one in values.items())
