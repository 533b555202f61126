"""What one pass over a trace shows about a layer, step by step, in memory of its channels."""

from .layer import Survey

__all__ = ["Survey"]
