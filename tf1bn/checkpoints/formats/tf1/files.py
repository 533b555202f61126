"""Which files belong to the prefix of a TensorFlow checkpoint."""

import glob
import os
import re

from ..base import tail
from .table import MAGIC

LARGEST_INDEX = 2**28
_FILE_ENDING = re.compile(r"\.(index|meta|data-\d{5}-of-\d{5})$")


def prefix_of(path):
    """The prefix of the checkpoint that ``path`` is a file of, or ``path`` itself."""
    return _FILE_ENDING.sub("", path)


def matches(path, head):
    """Whether ``path`` names a checkpoint, whole or not; ``head``, the first bytes there, is not needed."""
    prefix = prefix_of(path)
    return prefix != path or (exists(path) and is_table(path)) or bool(data_files(path))


def exists(prefix):
    """Whether there is the index of a V2 checkpoint, or a file or shards of a V1 checkpoint."""
    return os.path.isfile(prefix + ".index") or os.path.isfile(prefix) or bool(shards(prefix))


def is_table(path):
    """Whether a file ends as tables do; true of what is not a file."""
    return not os.path.isfile(path) or tail(path, len(MAGIC)) == MAGIC


def shards(pattern):
    """The files of a V1 checkpoint in shards, which is named with question marks."""
    if not re.search(r"-\?{5}-of-\d{5}$", pattern):
        return []
    start = glob.escape(pattern[: pattern.index("-?????-of-")])
    return sorted(glob.glob(start + pattern[pattern.index("-?????-of-") :]))


def all_files(prefix):
    """The paths of the files of a checkpoint that are there."""
    return list(filter(os.path.isfile, [prefix + ".index", prefix, *shards(prefix), *data_files(prefix)]))


def data_files(prefix):
    """The paths of the data files of a V2 checkpoint that are there, those of an earlier saving among them."""
    return sorted(glob.glob(glob.escape(prefix) + ".data-?????-of-?????"))
