"""Which files belong to the prefix of a TensorFlow checkpoint, and whether they are all there."""

import glob
import os
import re

from ....errors import CheckpointError
from ..base import damaged, tail

LARGEST_INDEX = 2**28
# The last bytes of a table, which a V1 checkpoint and the index of a V2 checkpoint both are.
TABLE_MAGIC = bytes.fromhex("57fb808b247547db")
_FILE_ENDING = re.compile(r"\.(index|meta|data-\d{5}-of-\d{5})$")


def prefix_of(path):
    """The prefix of the checkpoint that ``path`` is a file of, or ``path`` itself."""
    return _FILE_ENDING.sub("", path)


def matches(path, head):
    """Whether ``path`` names a checkpoint, whole or not; ``head``, the first bytes there, is not needed."""
    prefix = prefix_of(path)
    return prefix != path or (exists(path) and is_table(path)) or bool(_data_files(path))


def exists(prefix):
    """Whether there is the index of a V2 checkpoint, or a file or shards of a V1 checkpoint."""
    return os.path.isfile(prefix + ".index") or os.path.isfile(prefix) or bool(shards(prefix))


def is_table(path):
    """Whether a file ends as tables do; true of what is not a file."""
    return not os.path.isfile(path) or tail(path, len(TABLE_MAGIC)) == TABLE_MAGIC


def shards(pattern):
    """The files of a V1 checkpoint in shards, which is named with question marks."""
    if not re.search(r"-\?{5}-of-\d{5}$", pattern):
        return []
    start = glob.escape(pattern[: pattern.index("-?????-of-")])
    return sorted(glob.glob(start + pattern[pattern.index("-?????-of-") :]))


def all_files(prefix):
    """The paths that may belong to a checkpoint; the first two need not exist."""
    return [prefix + ".index", prefix, *shards(prefix), *_data_files(prefix)]


def check(prefix):
    """Find what is missing or not a table before anything slow is done.

    Returns:
      The paths of the data files of a V2 checkpoint; an empty list for a V1 checkpoint.

    Raises:
      CheckpointError: there is no such checkpoint, a file of it is missing, cut off or too large.
    """
    index = prefix + ".index"
    if not os.path.isfile(index):
        tables = shards(prefix) or [prefix]
        if not os.path.isfile(tables[0]):
            if data := _data_files(prefix):
                raise damaged(prefix, f"{os.path.basename(data[0])!r} is there, and {os.path.basename(index)!r} not")
            raise CheckpointError(f"`path` is {prefix!r}, and there is no checkpoint with that name or prefix.")
        if bad := [table for table in tables if not is_table(table)]:
            raise damaged(prefix, f"the file {os.path.basename(bad[0])!r} is cut off or of another format")
        return []
    if os.path.getsize(index) > LARGEST_INDEX:
        raise CheckpointError(f"The index {index!r} has more than {LARGEST_INDEX} bytes; it is not read.")
    if not is_table(index):
        raise damaged(prefix, "its index is cut off or of another format")
    # Files of an earlier saving in other shards may lie beside those of this one.
    totals = sorted({int(file[-5:]) for file in _data_files(prefix) if file[-5:].isdigit()}) or [1]
    sets = [[f"{prefix}.data-{i:05d}-of-{total:05d}" for i in range(total)] for total in totals]
    whole = [files for files in sets if all(map(os.path.isfile, files))]
    if not whole:
        missing = next(os.path.basename(file) for file in sets[0] if not os.path.isfile(file))
        raise damaged(prefix, f"the file {missing!r} is missing")
    return max(whole, key=lambda files: sum(map(os.path.getsize, files)))


def _data_files(prefix):
    return sorted(glob.glob(glob.escape(prefix) + ".data-?????-of-?????"))
