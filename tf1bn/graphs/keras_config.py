"""The configuration of a Keras model in a ``.keras`` file, read as text: nothing in it is built."""

import json
import zipfile

from .._util.text import reason
from ..checkpoints.formats.zips import BROKEN
from ..errors import GraphError

_CONFIG = "config.json"
LARGEST_CONFIG = 2**26


def is_keras(path):
    """Whether a file is a zip file with the configuration of a Keras model."""
    try:
        with open(path, "rb") as file:
            if file.read(2) != b"PK":
                return False
        with zipfile.ZipFile(path) as archive:
            return _CONFIG in archive.namelist() and "metadata.json" in archive.namelist()
    except (OSError, ValueError, *BROKEN):
        return False


def read(path):
    """The configuration, what its JSON holds.

    Raises:
      GraphError: the file is damaged, or the configuration is too large.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo(_CONFIG).file_size > LARGEST_CONFIG:
                raise GraphError(f"`graph` is {path!r}, whose configuration has more than {LARGEST_CONFIG} bytes.")
            with archive.open(_CONFIG) as member:
                data = member.read(LARGEST_CONFIG + 1)
        if len(data) > LARGEST_CONFIG:
            raise GraphError(f"`graph` is {path!r}, whose configuration has more than {LARGEST_CONFIG} bytes.")
        return json.loads(data.decode("utf-8"))
    except (RecursionError, KeyError, ValueError, OSError, *BROKEN) as error:
        raise GraphError(f"The file {path!r} is damaged: it holds no configuration ({reason(error)}).") from error
