"""The audit of a graph that may be damaged or hostile: any trouble with it becomes one sentence."""

from ...checkpoints.formats.base import reason
from ...errors import GraphError
from .result import audit_source


def judge(open_graph, train_op, name):
    """The audit of what ``open_graph`` returns, a `files.sources.Source`.

    Raises:
      GraphError: the graph cannot be read, or makes no sense.
    """
    try:
        return audit_source(open_graph(), train_op)
    except RecursionError:
        raise GraphError(f"The graph {name} is damaged: its operations are nested too deeply.") from None
    except (ValueError, IndexError, KeyError, OverflowError, AttributeError, TypeError) as error:
        # The matcher relies on what every graph that TensorFlow accepts has.
        raise GraphError(f"The graph {name} is damaged: {reason(error)}.") from error
