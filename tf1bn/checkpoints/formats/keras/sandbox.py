"""Opens an untrusted file in a subprocess first.

HDF5's library crashes, or never returns, on some damaged files; it then does so in the subprocess, which has a time
limit.
"""

import importlib
import math
import os
import subprocess
import sys

from ..base import LONGEST_VECTOR, damaged

LEAST_SECONDS = 60
BYTES_PER_SECOND = 20_000_000
_CODE = (
    "import sys; sys.path[:] = sys.argv[4:]; "
    "from tf1bn.checkpoints.formats.keras import sandbox; sandbox.read_vectors(*sys.argv[1:4])"
)


def attempt(reader, path):
    """Call a reader on a file, and read the file's vectors, in a subprocess.

    Args:
      reader: a function at the top of a module, from a path to a `Checkpoint`.
      path: the file.

    Raises:
      CheckpointError: the library crashed, or did not return within a minute plus a second for every 20 MB. Errors that
        the reader itself raises on purpose are ignored: it raises them again in this process.
    """
    allowed = LEAST_SECONDS + os.path.getsize(path) / BYTES_PER_SECOND
    arguments = [reader.__module__, reader.__name__, os.path.abspath(path), *map(os.path.abspath, sys.path)]
    try:
        code = subprocess.run(
            [sys.executable, "-c", _CODE, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=allowed,
        ).returncode
    except subprocess.TimeoutExpired as error:
        raise damaged(path, f"the library that reads it did not return within {allowed:.0f} seconds") from error
    if code != 0:
        raise damaged(path, f"the library that reads it failed on it (status {code})")


def read_vectors(module, name, path):
    """Open a file by a function of a module, by its name, and read all vectors: what the subprocess does."""
    from ....errors import CheckpointError

    try:
        checkpoint = getattr(importlib.import_module(module), name)(path)
        for variable_name, variable in checkpoint.variables.items():
            if len(variable.shape) < 3 and 0 < math.prod(variable.shape) <= LONGEST_VECTOR:
                checkpoint.read(variable_name)
    except (CheckpointError, OSError):
        pass
