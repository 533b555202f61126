"""Which files a command reads where it is given a path, and which of the layers in them ``--layer`` means."""

import fnmatch
import os
import re

from .._util.text import did_you_mean
from ..errors import CommandError

# The files of a checkpoint of TF1 and of its graph, whose number is not known before they are read.
_OF_CHECKPOINT = re.compile(
    r"checkpoint|saved_model\.pb(?:txt)?|.+\.meta|.+\.index|.+\.data-\d+-of-\d+|.+-\d+-of-\d+", re.DOTALL
)


def read_at(path):
    """The paths of what is read for a trace or a checkpoint at ``path``: files, or the whole folder of a trace.

    They need not exist. The list is empty for None, an argument that was not given.
    """
    from ..checkpoints.opening import FILE_SUFFIXES

    if path is None:
        return []
    if os.path.isdir(path):
        if os.path.lexists(os.path.join(path, "trace.json")):
            return [path]
        return [os.path.join(path, name) for name in _files_in(path) if _OF_CHECKPOINT.fullmatch(name)]
    folder, prefix = os.path.split(path)
    shards = [name for name in _files_in(folder or ".") if name.startswith(prefix) and _OF_CHECKPOINT.fullmatch(name)]
    return [*(path + suffix for suffix in FILE_SUFFIXES), *(os.path.join(folder, name) for name in shards)]


def layer_filter(pattern, names, whose="the"):
    """A function that says whether the name of a layer is one that ``--layer`` means.

    Args:
      pattern: the option's value.
      names: those of all layers.
      whose: what a message has before how many they are: "the" or "OLD's".

    Raises:
      CommandError: it means none of them.
    """

    def matches(name):
        return fnmatch.fnmatchcase(name, pattern)

    if not any(map(matches, names)):
        hint = did_you_mean(pattern, names)
        raise CommandError(f"`--layer` is {pattern!r}, which matches none of {whose} {len(names)} layers.{hint}")
    return matches


def _files_in(folder):
    try:
        return os.listdir(folder)
    except (OSError, ValueError):
        return []
