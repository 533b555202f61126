"""What a script needs of TensorFlow, told before it is run, without importing TensorFlow: `explain`."""

from .report import explain

__all__ = ["explain"]
