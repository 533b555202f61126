"""``.npz`` files, whose keys are the names of variables. Needs NumPy alone."""

import functools
import io
import math
import warnings
import zipfile

import numpy as np

from ..._util.text import reason
from ...errors import CheckpointError
from ...variable_names import role_of
from . import base, zips
from .archives import likely
from .base import Checkpoint, Format, Variable, damaged
from .zips import BROKEN

# Bytes: longer than the header of any plain array, and too short to do harm.
LONGEST_HEADER = 4096


def open_npz(path):
    """The `Checkpoint` of an ``.npz`` file; the arrays' headers are read first, and Python objects never."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member.filename for member in zips.members(path)]
            if len(members) > base.MOST_VARIABLES:
                raise CheckpointError(f"`path` is {path!r}, which has more than {base.MOST_VARIABLES} arrays.")
            if len(set(members)) < len(members):
                raise damaged(path, "two of its members have the same name")
            headers = {name[:-4]: _variable(archive, name) for name in members if name.endswith(".npy")}
    except CheckpointError:
        raise
    except BROKEN as error:
        raise damaged(path, f"it is not a whole `.npz` file ({reason(error)})") from error
    if not headers:
        raise CheckpointError(
            f"`path` is {path!r}, a zip file without a single array of `np.savez`; unpack it first{likely(members)}."
        )
    pickled = sorted(name for name, header in headers.items() if header is None)
    if len(pickled) == len(headers) or any(map(role_of, pickled)):
        raise CheckpointError(
            f"The array `{pickled[0]}` in {path!r} holds Python objects, which are never unpickled; save plain arrays."
        )
    variables = {name: header for name, header in headers.items() if header is not None}
    try:
        archive = zipfile.ZipFile(path)
    except BROKEN as error:
        raise damaged(path, f"it is not a whole `.npz` file ({reason(error)})") from error

    def read(name):
        try:
            return _array(archive, name + ".npy")
        except (*BROKEN, OSError) as error:
            raise damaged(path, f"reading `{name}` failed ({reason(error)})") from error

    notes = [f"{len(pickled)} arrays of Python objects were not read."] if pickled else []
    return Checkpoint(path, variables, read, notes, archive.close)


def _variable(archive, name):
    """The `Variable` of an array in a zip file, or None if the array holds Python objects."""
    with archive.open(name) as file:
        shape, _, dtype = _header(file, name)
    return None if dtype.hasobject else Variable(shape, dtype.name)


def _array(archive, name):
    """An array in a zip file; not for one that holds Python objects."""
    with archive.open(name) as file:
        shape, fortran, dtype = _header(file, name)
        size = math.prod(shape) * dtype.itemsize
        data = file.read(size)
        if len(data) < size or file.read(1):
            raise ValueError(f"it holds {'fewer' if len(data) < size else 'more'} than its {size} bytes")
    return np.ndarray(shape, dtype, data, order="F" if fortran else "C")


def _header(file, name):
    """The shape, whether the order is Fortran's, and the dtype, from the beginning of an open ``.npy`` file."""
    start = file.read(8)
    size = {b"\x93NUMPY\1\0": 2, b"\x93NUMPY\2\0": 4}.get(start)
    if size is None:
        raise ValueError(f"{name} is not a .npy file of version 1.0 or 2.0")
    length = int.from_bytes(file.read(size), "little")
    if length > LONGEST_HEADER:
        raise ValueError(f"{name} has a header of {length} bytes; that of a plain array has at most {LONGEST_HEADER}")
    try:
        return _parsed(size, length.to_bytes(size, "little") + file.read(length))
    except ValueError as error:
        raise ValueError(f"{name} {error}") from error


@functools.lru_cache(maxsize=256)
def _parsed(size, header):
    """What `_header` returns. The results are kept: to evaluate a header takes long, and most are the same."""
    read = np.lib.format.read_array_header_1_0 if size == 2 else np.lib.format.read_array_header_2_0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shape, fortran, dtype = read(io.BytesIO(header))
    except Exception as error:  # NumPy evaluates the header as a literal, which can fail in many ways
        raise ValueError("has a header that is not that of a .npy file") from error
    if not all(type(length) is int and length >= 0 for length in shape):
        raise ValueError("has a header with a shape that no array has")
    return shape, fortran, dtype


# Any zip file that is of no other format: what is wrong with it is then said in these words.
NPZ = Format(
    "an .npz file",
    lambda path, head: head.startswith(b"PK"),
    open_npz,
    (".npz",),
    known_by="a zip file with arrays of NumPy",
    read_with="NumPy",
    remarks="arrays of Python objects are never unpickled",
)
