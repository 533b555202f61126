"""All formats in one table, from which files are recognised and the documentation and messages are made."""

from .graphs import FROZEN, META, SAVED_MODEL
from .keras import HDF5, KERAS
from .npz import NPZ
from .safetensors import SAFETENSORS
from .tf1 import TF1
from .torch import TORCH

# The first whose content matches opens a file. NPZ takes every zip file, so the other zip formats come before it.
FORMATS = (KERAS, TORCH, NPZ, HDF5, SAFETENSORS, TF1, FROZEN, META, SAVED_MODEL)
ENDINGS = tuple(ending for format in FORMATS for ending in format.endings if format.read_with)


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
    names = [format.name.partition(" ")[2] for format in FORMATS if format.read_with]
    return ", ".join(names)
