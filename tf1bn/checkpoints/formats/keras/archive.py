"""What Keras saves, read without Keras: ``.keras``, ``.weights.h5`` and the older ``.h5``; needs h5py.

Any other HDF5 file is read by the names of its datasets.
"""

import io
import json
import os
import zipfile

from ...._util.text import reason
from ....errors import CheckpointError
from .. import zips
from ..base import Checkpoint, Format, damaged
from ..zips import BROKEN
from . import hdf5, sandbox
from .config import declared_batch_norms
from .layer_names import name_variables

LARGEST_CONFIG = 2**26
# Keras stores the weights as they are; packed again by another program they are unpacked in memory.
LARGEST_UNPACKED = 2**30
_WEIGHTS, _CONFIG = "model.weights.h5", "config.json"
_HDF5_MAGIC = bytes.fromhex("894844460d0a1a0a")


def _is_keras(path, head):
    """Whether a file is a zip file with the members that Keras writes."""
    if not head.startswith(b"PK"):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return bool({_WEIGHTS, "metadata.json", "model.weights.json"} & set(archive.namelist()))
    except BROKEN:
        return False


def open_keras(path):
    """The `Checkpoint` of a ``.keras`` file, opened in this process."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member.filename for member in zips.members(path)]
            if len(set(members)) < len(members):
                raise damaged(path, "two of its members have the same name")
            if _WEIGHTS not in members:
                other = sorted(name for name in members if name.startswith("model.weights"))
                raise CheckpointError(
                    f"`path` is {path!r}, which holds no {_WEIGHTS!r}"
                    + (f" but {other[0]!r}; save the weights in one HDF5 file." if other else ".")
                )
            config = _config(archive, path) if _CONFIG in members else None
            source = _member(archive, path)
    except CheckpointError:
        raise
    except BROKEN as error:
        raise damaged(path, f"it is not a whole `.keras` file ({reason(error)})") from error
    try:
        return _opened(source, path, config, source.close)
    except BaseException:
        source.close()
        raise


def open_hdf5(path):
    """The `Checkpoint` of a ``.weights.h5`` or older ``.h5`` file, or of another HDF5 file, opened in this process."""
    return _opened(path, path, None, None)


def _config(archive, path):
    if archive.getinfo(_CONFIG).file_size > LARGEST_CONFIG:
        raise CheckpointError(f"`path` is {path!r}, whose {_CONFIG} has more than {LARGEST_CONFIG} bytes; not read.")
    with archive.open(_CONFIG) as file:
        return _parsed(file.read(LARGEST_CONFIG), path, _CONFIG)


def _parsed(text, path, what):
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"its {what} is not JSON ({reason(error)})") from error


def _member(archive, path):
    """A file object of the weights inside the archive."""
    info = archive.getinfo(_WEIGHTS)
    if info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 1:
        with archive.open(info):
            # Opening checks the member's own header, which lies before the values.
            pass
        with open(path, "rb") as file:
            file.seek(info.header_offset + 26)
            sizes = file.read(4)
        start = info.header_offset + 30 + int.from_bytes(sizes[:2], "little") + int.from_bytes(sizes[2:], "little")
        if start + info.file_size > os.path.getsize(path):
            raise damaged(path, f"{_WEIGHTS!r} is cut off")
        return _Part(path, start, info.file_size)
    if info.file_size > LARGEST_UNPACKED:
        raise CheckpointError(
            f"`path` is {path!r}, whose weights are compressed and {info.file_size} bytes long; at most "
            f"{LARGEST_UNPACKED} are unpacked."
        )
    with archive.open(info) as file:
        # One byte more than is declared would be an error of the archive's checksum, which reading to the end makes.
        return io.BytesIO(file.read(info.file_size + 1))


class _Part(io.RawIOBase):
    """A part of a file as a file. HDF5 seeks in it, which zipfile's own objects do by reading from the start."""

    def __init__(self, path, start, size):
        self._file, self._start, self._size, self._at = open(path, "rb"), start, size, 0  # noqa: SIM115

    def readable(self):
        return True

    def seekable(self):
        return True

    def seek(self, offset, whence=os.SEEK_SET):
        self._at = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence] + offset
        return self._at

    def tell(self):
        return self._at

    def readinto(self, buffer):
        self._file.seek(self._start + self._at)
        view = memoryview(buffer).cast("B")
        count = self._file.readinto(view[: max(self._size - self._at, 0)])
        self._at += count
        return count

    def close(self):
        self._file.close()
        super().close()


def _opened(source, path, config, close):
    file = hdf5.open_h5(source, path)
    try:
        contents = hdf5.list_contents(file, path)
        if config is None and (text := contents.attributes[""].get("model_config")):
            config = _parsed(text, path, "model_config")
        naming = name_variables(contents, declared_batch_norms(config) if config is not None else {})
    except BaseException:
        file.close()
        raise
    variables = {name: contents.variables[dataset] for name, dataset in naming.datasets.items()}

    def close_all():
        file.close()
        if close:
            close()

    def read(name):
        return hdf5.read(file, naming.datasets[name], variables[name], path)

    version = contents.attributes[""].get("keras_version")
    notes = [*naming.notes, *([f"The file was written by Keras {version[:32]}."] if version else [])]
    checkpoint = Checkpoint(path, variables, read, notes, close_all, naming.settings, naming.problems)
    checkpoint.vectors_only = True
    return checkpoint


def _in_sandbox(reader):
    """A function that opens an untrusted file by ``reader``, in a subprocess before it does so in this process."""

    def open_untrusted(path):
        sandbox.attempt(reader, path)
        return reader(path)

    return open_untrusted


KERAS = Format(
    "a .keras file",
    _is_keras,
    _in_sandbox(open_keras),
    (".keras",),
    known_by="a zip file with the members that Keras writes",
    read_with="h5py",
    remarks="also holds epsilon, momentum and axis",
)
HDF5 = Format(
    "an HDF5 file",
    lambda path, head: head.startswith(_HDF5_MAGIC),
    _in_sandbox(open_hdf5),
    (".h5", ".hdf5"),
    known_by="the magic number of HDF5",
    read_with="h5py",
    remarks="`.weights.h5` does not say whether a single parameter is gamma or beta; opened first in another process",
)
