"""Opens graphs that may be damaged or hostile: any trouble with one becomes one sentence."""

import contextlib
import gc

from .._util.text import reason
from ..errors import GraphError, Tf1bnError


@contextlib.contextmanager
def opened(open_graph, name):
    """What ``open_graph`` returns, a `files.sources.Source`, as a context; the graph is empty behind it.

    Raises:
      GraphError: the graph cannot be read, or makes no sense to what is done in the context; ``name`` names it.
    """
    try:
        with _without_collection():
            source = open_graph()
            try:
                yield source
            finally:
                source.graph.close()
    except Tf1bnError:
        raise
    except RecursionError:
        raise GraphError(f"The graph {name} is damaged: its operations are nested too deeply.") from None
    except ValueError as error:
        raise GraphError(f"The graph {name} is damaged: {reason(error)}.") from error
    except (IndexError, KeyError, OverflowError, AttributeError, TypeError) as error:
        # The matcher relies on what every operation has that TensorFlow would accept.
        raise GraphError(
            f"The graph {name} is damaged: an operation of a batch norm has not the inputs or attributes that it needs "
            f"({type(error).__name__}: {reason(error)})."
        ) from error


@contextlib.contextmanager
def _without_collection():
    """Keep the garbage collector from going through all operations again and again while they are made."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
