"""Opens a checkpoint of any format that is known, by its content."""

from __future__ import annotations

import os

from ..errors import CheckpointError
from .formats.base import Checkpoint, head
from .formats.keras import HDF5, KERAS
from .formats.npz import NPZ
from .formats.safetensors import SAFETENSORS
from .formats.tf1 import TF1, open_prefix
from .formats.tf1.state_file import STATE_FILE, latest
from .formats.torch import TORCH

# The first whose content matches opens a file. NPZ takes every zip file, so the other zip formats come before it.
FORMATS = (KERAS, TORCH, NPZ, HDF5, SAFETENSORS, TF1)
ENDINGS = tuple(ending for format in FORMATS for ending in format.endings)
# What the names of files end with that exist where a path names a checkpoint.
FILE_SUFFIXES = ("", ".index", ".data-00000-of-00001")


def open_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Open a checkpoint; `audit_checkpoint` says which formats are read.

    Args:
      path: a file, the prefix of a TF1 checkpoint, or a folder with a ``checkpoint`` state file.

    Returns:
      The `Checkpoint`, a context manager that has the names, shapes and dtypes of all variables and reads single ones.

    Raises:
      CheckpointError: there is no such checkpoint, it is damaged or too large, or a package that reads it is missing.
    """
    path = os.fspath(path)
    if not isinstance(path, str) or not path or "\0" in path:
        raise CheckpointError(f"`path` is {path!r}; it must be the path of a checkpoint as text.")
    try:
        if os.path.isdir(path):
            return open_prefix(*latest(path))
        return _format_of(path).open(path)
    except OSError as error:
        raise CheckpointError(f"`path` is {path!r}, which cannot be read: {error.strerror or error}.") from error


def _format_of(path):
    """The `Format` of a file by its content and else by its ending; that of TF1 for the prefix of a checkpoint."""
    is_file = os.path.isfile(path)
    if is_file:
        start = head(path)
        for format in FORMATS:
            if format.matches(path, start):
                return format
        for format in FORMATS:
            if path.endswith(format.endings):
                return format
        raise CheckpointError(
            f"`path` is {path!r}, which is neither a whole TF1 checkpoint nor a file of another known format; it is "
            f"damaged or of another one ({', '.join(ENDINGS)} are read)."
        )
    if path.endswith(ENDINGS):
        raise CheckpointError(f"`path` is {path!r}, and there is no such file.")
    return TF1


def looks_like_checkpoint(path: str) -> bool:
    """Whether ``path`` looks like a checkpoint rather than a trace; it need not exist."""
    if os.path.isdir(path):
        is_trace = os.path.lexists(os.path.join(path, "trace.json"))
        return not is_trace and os.path.exists(os.path.join(path, STATE_FILE))
    exists = any(os.path.isfile(path + suffix) for suffix in FILE_SUFFIXES)
    return exists or path.endswith((*ENDINGS, ".ckpt", ".index"))
