"""Why the moving statistics of a trace's layers are not what they should be: a verdict per layer, and causes.

for result in diagnose("run.trace"):
    print(result.name, result.verdict, [(cause.id, cause.explanation) for cause in result.causes])
"""

from .causes import Cause
from .conclude import Diagnosis
from .engine import diagnose

__all__ = ["Cause", "Diagnosis", "diagnose"]
