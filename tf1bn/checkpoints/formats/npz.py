"""``.npz`` files, whose keys are the names of variables. Needs NumPy alone."""

import zipfile
import zlib

import numpy as np

from ...errors import CheckpointError
from . import base
from .base import Checkpoint, Format, Variable, damaged, reason
from .names import role_of

_BROKEN = (zipfile.BadZipFile, zlib.error, ValueError, EOFError, NotImplementedError, RuntimeError, KeyError)


def open_npz(path):
    """The `Checkpoint` of an ``.npz`` file; the arrays' headers are read first, and Python objects never."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
            if len(members) > base.MOST_VARIABLES:
                raise CheckpointError(f"`path` is {path!r}, which has more than {base.MOST_VARIABLES} arrays.")
            if len(set(members)) < len(members):
                raise damaged(path, "two of its members have the same name")
            headers = {name[:-4]: _header(archive, name) for name in members if name.endswith(".npy")}
    except CheckpointError:
        raise
    except _BROKEN as error:
        raise damaged(path, f"it is not a whole `.npz` file ({reason(error)})") from error
    if not headers:
        raise CheckpointError(f"`path` is {path!r}, a zip file without a single array; give one that `np.savez` wrote.")
    pickled = sorted(name for name, header in headers.items() if header is None)
    if len(pickled) == len(headers) or any(map(role_of, pickled)):
        raise CheckpointError(
            f"The array `{pickled[0]}` in {path!r} holds Python objects, which are never unpickled; save plain arrays."
        )
    variables = {name: header for name, header in headers.items() if header is not None}
    try:
        arrays = np.load(path, allow_pickle=False)
    except _BROKEN as error:
        raise damaged(path, f"it is not a whole `.npz` file ({reason(error)})") from error

    def read(name):
        try:
            return arrays[name + ".npy"]
        except (*_BROKEN, OSError) as error:
            raise damaged(path, f"reading `{name}` failed ({reason(error)})") from error

    notes = [f"{len(pickled)} arrays of Python objects were not read."] if pickled else []
    return Checkpoint(path, variables, read, notes, arrays.close)


def _header(archive, name):
    """The `Variable` of an array in a zip file, or None if the array holds Python objects."""
    with archive.open(name) as file:
        version = np.lib.format.read_magic(file)
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in readers:
            raise ValueError(f"{name} has the unknown version {version}")
        shape, _, dtype = readers[version](file)
    return None if dtype.hasobject else Variable(shape, dtype.name)


# Any zip file that is of no other format: what is wrong with it is then said in these words.
NPZ = Format("a file of np.savez", lambda path, head: head.startswith(b"PK"), open_npz, (".npz",))
