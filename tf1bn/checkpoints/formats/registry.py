"""All formats in one table, from which files are recognised and the documentation and messages are made."""

from .archives import PACKED
from .graphs import FROZEN, META, ONNX, SAVED_MODEL, TFJS, TFLITE
from .keras import HDF5, KERAS
from .npz import NPZ
from .safetensors import SAFETENSORS
from .tf1 import TF1
from .torch import TORCH
from .unread import COREML, NPY, PICKLE

# The first whose content matches opens a file. NPZ takes every zip file, so the other zip formats come before it.
READ = (KERAS, TORCH, NPZ, HDF5, SAFETENSORS, TF1, FROZEN, ONNX, TFJS, TFLITE)
FORMATS = (*READ, META, SAVED_MODEL, COREML, NPY, PICKLE, PACKED)
ENDINGS = tuple(ending for format in READ for ending in format.endings)


def format_at(path, head):
    """The `Format` of a file by its content, and else by its ending; None if it is of none.

    Args:
      path: the path of the file.
      head: its first bytes.
    """
    for format in FORMATS:
        if format.matches(path, head):
            return format
    return next((format for format in FORMATS if path.endswith(format.endings)), None)


def read_formats():
    """The formats that are read, in words."""
    return ", ".join(format.name.partition(" ")[2] for format in READ)
