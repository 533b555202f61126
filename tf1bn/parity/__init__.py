"""Whether a port does what its original did: two traces, or two checkpoints, layer by layer."""

from ..errors import MappingError
from .checkpoints.compare import compare_checkpoints
from .traces.compare import compare_traces
from .verdict import rejudge

__all__ = ["MappingError", "compare_checkpoints", "compare_traces", "rejudge"]
