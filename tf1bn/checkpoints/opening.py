"""Opens a checkpoint of any format that is known, by its content."""

from __future__ import annotations

import os

from .._util.files import why_unreachable
from ..errors import CheckpointError
from .formats.base import Checkpoint, head
from .formats.graphs import meta
from .formats.registry import ENDINGS, format_at, read_formats
from .formats.tf1 import TF1, open_prefix
from .formats.tf1.files import all_files, prefix_of
from .formats.tf1.state_file import STATE_FILE, latest, prefixes

# What the names of files end with that exist where a path names a checkpoint.
FILE_SUFFIXES = ("", ".index", ".data-00000-of-00001")
# How the small text file begins that Git LFS leaves in the place of a large one.
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_SAVED_MODEL = os.path.join("variables", "variables")
_GRAPH_OF_SAVED_MODEL = "saved_model.pb"
_WEB_MODEL = "model.json"


def open_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Open a checkpoint; `audit_checkpoint` says which formats are read.

    Args:
      path: a file, the prefix of a TF1 checkpoint, or a folder with a ``checkpoint`` state file, or that of a
        SavedModel.

    Returns:
      The `Checkpoint`, a context manager that has the names, shapes and dtypes of all variables and reads single ones.

    Raises:
      CheckpointError: there is no such checkpoint, it is damaged or too large, or a package that reads it is missing.
    """
    path = os.fspath(path)
    if not isinstance(path, str) or not path or "\0" in path:
        raise CheckpointError(f"`path` is {path!r}; it must be the path of a checkpoint as text.")
    try:
        path = _meant(path)
        if os.path.isdir(path):
            prefix, notes = _in_folder(path)
            _refuse_pointers(prefix)
            return _with_graph(open_prefix(prefix, notes))
        _refuse_pointers(path)
        format = _format_of(path)
        return _with_graph(format.open(path)) if format is TF1 else format.open(path)
    except OSError as error:
        raise CheckpointError(f"`path` is {path!r}, which cannot be read: {error.strerror or error}.") from error


def _meant(path):
    """The folder of a SavedModel for its graph, the ``model.json`` of a folder that has one, else ``path`` itself."""
    folder, name = os.path.split(path)
    if name == _GRAPH_OF_SAVED_MODEL and os.path.isfile(os.path.join(folder, _SAVED_MODEL + ".index")):
        return folder or os.curdir
    web_model = os.path.join(path, _WEB_MODEL)
    is_one = os.path.isfile(web_model) and not os.path.exists(os.path.join(path, STATE_FILE))
    return web_model if is_one else path


def _with_graph(checkpoint):
    """A checkpoint of TensorFlow with what the graph says that was saved beside it."""
    declared, notes = meta.beside(checkpoint.path)
    checkpoint.declared |= declared
    checkpoint.notes += notes
    return checkpoint


def _in_folder(folder):
    """The prefix of the checkpoint in a folder, and notes on how it was found: that of a SavedModel, or the latest."""
    if not os.path.exists(os.path.join(folder, STATE_FILE)):
        for inside in (_SAVED_MODEL, os.path.basename(_SAVED_MODEL)):
            if os.path.isfile((prefix := os.path.join(folder, inside)) + ".index"):
                return prefix, [f"The folder {folder!r} is one of a SavedModel, whose {inside!r} was judged."]
    return latest(folder)


def _refuse_pointers(path):
    """Raise CheckpointError if ``path``, or a file of the checkpoint with this prefix, is a pointer of Git LFS."""
    for file in [path] * os.path.isfile(path) + all_files(prefix_of(path)):
        if head(file).startswith(_LFS_POINTER):
            raise CheckpointError(
                f"`path` is {path!r}, and {os.path.basename(file)!r} is a pointer of Git LFS in the place of the file; "
                "run `git lfs pull` in the repository to get it."
            )


def _format_of(path):
    """The `Format` of a file by its content and else by its ending; that of TF1 for the prefix of a checkpoint."""
    if os.path.isfile(path):
        format = format_at(path, head(path))
        if format is None:
            raise CheckpointError(
                f"`path` is {path!r}, which is neither a whole TF1 checkpoint nor a file of another known format; it "
                f"is damaged or of another one ({read_formats()} are read)."
            )
        return format
    if reason := why_unreachable(path):
        raise CheckpointError(f"`path` is {path!r}, which cannot be read: {reason}.")
    if path.endswith(ENDINGS):
        raise CheckpointError(f"`path` is {path!r}, and there is no such file.")
    return TF1


def looks_like_checkpoint(path: str) -> bool:
    """Whether ``path`` looks like a checkpoint rather than a trace; it need not exist."""
    if os.path.isdir(path):
        is_trace = os.path.lexists(os.path.join(path, "trace.json"))
        has_one = os.path.exists(os.path.join(path, STATE_FILE)) or os.path.isfile(
            os.path.join(path, _SAVED_MODEL + ".index")
        )
        has_one = has_one or os.path.isfile(os.path.join(path, _WEB_MODEL))
        return not is_trace and (has_one or bool(prefixes(path)))
    exists = any(os.path.isfile(path + suffix) for suffix in FILE_SUFFIXES)
    return exists or path.endswith((*ENDINGS, ".ckpt", ".index"))
