"""Whether a port does what its original did: two traces, two checkpoints or two graphs, layer by layer."""

from ..errors import MappingError
from .checkpoints.compare import compare_checkpoints
from .graphs import compare_graphs
from .traces.compare import compare_traces
from .verdict import rejudge

__all__ = ["MappingError", "compare_checkpoints", "compare_graphs", "compare_traces", "rejudge"]
