"""Graphs that hold weights or say how layers are built: GraphDef, ``.meta``, ONNX and models of TensorFlow.js."""

from .frozen import FROZEN
from .meta import META, SAVED_MODEL
from .onnx import ONNX
from .tfjs import TFJS

__all__ = ["FROZEN", "META", "ONNX", "SAVED_MODEL", "TFJS"]
