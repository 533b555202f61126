"""Batch-norm layers of a TensorFlow graph, found by their operations, and what its structure says of them.

Nothing of a graph is ever run, and files are read without TensorFlow.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..errors import GraphError

if TYPE_CHECKING:
    from ..results import Result

__all__ = ["GraphError", "audit"]


def audit(graph: Any, train_op: Any = None) -> Result:
    """Audit the batch norms of a graph by its structure: no value is needed, and nothing is run.

    Args:
      graph: the path of a ``.meta`` file, of a GraphDef (``.pb``, ``.pbtxt``), of the folder of a SavedModel or of a
        ``.keras`` file; or a ``tf.Graph``, that of a ``tf.function``'s concrete function included.
      train_op: what a training step asks ``session.run`` for: an operation or tensor, its name, or a list of them.
        None to take what depends on the operations of optimizers, or what a function returns and has to run.

    Returns:
      `Result`, the dict of an audit's JSON: "format", "kind" ("graph"), "tf1bn", "ok", "layers", "problems", "notes",
      and "graph", what is said of it as a whole. Each layer has "structure" beside what one of a checkpoint has:
      "form", "made_by", "frozen", "axis", "data_format", "epsilon", "decay", "statistics", "parameters", "applications"
      with their "is_training", and "updates" with the train ops that run each. Errors and bounds are None, steps are 0.

    Raises:
      GraphError: there is no such graph, it is damaged or too large, or `train_op` is not in it.
    """
    from ..graphdef.files.sources import open_source
    from .keras_config import is_keras, read
    from .structure.keras_model import audit_config

    names = None if train_op is None else _names(train_op)
    if isinstance(graph, (str, os.PathLike)):
        path = os.fspath(graph)
        if is_keras(path):
            if names is not None:
                raise GraphError("`train_op` is for graphs, and a Keras model has none before it is compiled.")
            return audit_config(read(path), path)
        return _audited(lambda: open_source(path), names, repr(path))
    from .live import source_of

    return _audited(lambda: source_of(graph), names, "given")


def _audited(open_graph, names, name):
    """The audit of what ``open_graph`` returns, a `graphdef.files.sources.Source`."""
    from ..graphdef.reading import opened
    from .structure.result import audit_source

    with opened(open_graph, name) as source:
        return audit_source(source, names)


def _names(train_op):
    """The names of what a training step runs."""
    items = train_op if isinstance(train_op, (list, tuple, set)) else [train_op]
    names = [item if isinstance(item, str) else getattr(item, "name", None) for item in items]
    if not names or not all(isinstance(name, str) and name for name in names):
        raise GraphError(
            f"`train_op` is {train_op!r}; it must be an operation or tensor of the graph, the name of one, or a list."
        )
    return names
