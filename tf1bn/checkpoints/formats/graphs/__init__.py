"""Graphs that hold weights or say how layers are built: GraphDef, ``.meta``, ONNX, models of TensorFlow.js and Lite."""

from .frozen import FROZEN
from .meta import META, SAVED_MODEL
from .onnx import ONNX
from .tfjs import TFJS
from .tflite import TFLITE

__all__ = ["FROZEN", "META", "ONNX", "SAVED_MODEL", "TFJS", "TFLITE"]
