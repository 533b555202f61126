"""Opens a file of a stranger in another process before this one does.

HDF5's library has crashed, and has gone round for ever, on damaged files: whatever it does, it does it there first.
"""

import os
import subprocess
import sys

from .base import LONGEST_VECTOR, damaged

LEAST_SECONDS = 60
BYTES_PER_SECOND = 20_000_000
_CODE = (
    "import sys; sys.path[:] = sys.argv[3:]; "
    "from tf1bn.checkpoints.formats import sandbox as s; s.rehearse(*sys.argv[1:3])"
)


def attempt(reader, path):
    """Run a reader on a file, and read its vectors, elsewhere.

    Args:
      reader: name of a function of `formats.keras` from a path to a `Checkpoint`.
      path: the file.

    Raises:
      CheckpointError: the library crashed, or did not end within a minute and a second for every 20 MB. What is only
        wrong in the file is no matter: the reader itself says that, here.
    """
    allowed = LEAST_SECONDS + os.path.getsize(path) / BYTES_PER_SECOND
    command = [sys.executable, "-c", _CODE, reader, os.path.abspath(path), *map(os.path.abspath, sys.path)]
    try:
        code = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=allowed
        ).returncode
    except subprocess.TimeoutExpired as error:
        raise damaged(path, f"the library that reads it did not come to an end in {allowed:.0f} seconds") from error
    if code != 0:
        raise damaged(path, f"the library that reads it failed on it (status {code})")


def rehearse(reader, path):
    """What `attempt` does in the other process."""
    from ...errors import CheckpointError
    from . import keras as checkpointkeras

    try:
        checkpoint = getattr(checkpointkeras, reader)(path)
        for name, variable in checkpoint.variables.items():
            if len(variable.shape) < 3 and 0 < _size(variable.shape) <= LONGEST_VECTOR:
                checkpoint.read(name)
    except (CheckpointError, OSError):
        pass


def _size(shape):
    size = 1
    for length in shape:
        size *= length
    return size
