"""Why moving statistics differ from what they should be: from the evidence of a trace to causes."""

from .causes import Cause
from .engine import Diagnosis, diagnose

__all__ = ["Cause", "Diagnosis", "diagnose"]
