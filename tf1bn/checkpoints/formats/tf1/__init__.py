"""TensorFlow's own checkpoints in both forms, V1 and V2, named by their prefix, one of their files or a folder."""

import os

from ....errors import CheckpointError
from ..base import Format, damaged
from .files import LARGEST_INDEX, data_files, is_table, matches, prefix_of, shards
from .v1 import open_v1
from .v2 import open_v2


def open_prefix(path, notes=()):
    """The `Checkpoint` of a prefix, or of one of its files; ``notes`` are sentences on how it was found.

    Raises:
      CheckpointError: there is no such checkpoint, or it is damaged or too large.
    """
    prefix = prefix_of(path)
    index = prefix + ".index"
    if os.path.isfile(index):
        if os.path.getsize(index) > LARGEST_INDEX:
            raise CheckpointError(f"The index {index!r} has more than {LARGEST_INDEX} bytes; it is not read.")
        if not is_table(index):
            raise damaged(prefix, "its index is cut off or of another format")
        return open_v2(prefix, notes)
    tables = shards(prefix) or [prefix]
    if not os.path.isfile(tables[0]):
        if data := data_files(prefix):
            raise damaged(prefix, f"{os.path.basename(data[0])!r} is there, and {os.path.basename(index)!r} not")
        if path.endswith(".meta") and os.path.isfile(path):
            raise CheckpointError(
                f"`path` is {path!r}, a graph without values, and the checkpoint {prefix!r} that belongs to it is not "
                "there; give a checkpoint."
            )
        raise CheckpointError(f"`path` is {prefix!r}, and there is no checkpoint with that name or prefix.")
    if bad := [table for table in tables if not is_table(table)]:
        raise damaged(prefix, f"the file {os.path.basename(bad[0])!r} is cut off or of another format")
    return open_v1(prefix, tables, notes)


TF1 = Format(
    "a TensorFlow checkpoint",
    matches,
    open_prefix,
    known_by="the files of a prefix, or a table of LevelDB's form",
    read_with="NumPy",
    remarks="V1, V2, prefix or folder; also that of a SavedModel or a module of TF-Hub; checksums are compared",
)
