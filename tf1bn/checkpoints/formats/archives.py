"""Archives and compressed files around a checkpoint: refused with the member that is likely meant.

They are not unpacked: a small file can hold any amount of bytes. Of a compressed tar file only the beginning is looked
at, `MOST_UNPACKED` bytes at most.
"""

import bz2
import gzip
import os
import re
import tarfile
import zlib

from ...errors import CheckpointError
from .base import Format

MOST_UNPACKED = 2**24
MOST_MEMBERS = 2**12
_LIKELY = re.compile(
    r"(?i)(\.index|\.ckpt|saved_model\.pb|\.keras|\.h5|\.hdf5|\.npz|\.safetensors|\.pth?|\.pb|\.onnx|model\.json|\.bin)$"
)
_OPENERS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open}
# What unpacks these can be made to take gigabytes of memory, or does not come with Python.
_OTHERS = {b"\xfd7zXZ\0": "xz", b"7z\xbc\xaf\x27\x1c": "7z", b"Rar!\x1a\x07": "rar", b"\x28\xb5\x2f\xfd": "zstd"}
_TAR_MARK, _TAR_MARK_AT = b"ustar", 257
_BROKEN = (tarfile.TarError, OSError, EOFError, zlib.error, ValueError)


def likely(names):
    """Which of the members' names is likely meant, as the end of a sentence; nothing if none is."""
    found = [(match.start(1), name) for name in names if (match := _LIKELY.search(name))]
    kinds = {ending.lower(): rank for rank, ending in enumerate((".index", ".ckpt", "saved_model.pb", ".keras", ".h5"))}
    found.sort(key=lambda one: kinds.get(one[1][one[0] :].lower(), len(kinds)))
    return f" and give {found[0][1]!r} of it" if found else ""


class _Limited:
    """The first bytes of what a compressed file holds; reading more of it is the end of the file."""

    def __init__(self, file):
        self._file, self._left = file, MOST_UNPACKED

    def read(self, size):
        data = self._file.read(min(size, self._left))
        self._left -= len(data)
        return data


def _opener(head):
    return next((opener for magic, opener in _OPENERS.items() if head.startswith(magic)), None)


def _matches(path, head):
    if _opener(head) or any(head.startswith(magic) for magic in _OTHERS):
        return True
    with open(path, "rb") as file:
        file.seek(_TAR_MARK_AT)
        return file.read(len(_TAR_MARK)) == _TAR_MARK


def _refuse(path):
    with open(path, "rb") as file:
        head = file.read(8)
    other = next((name for magic, name in _OTHERS.items() if head.startswith(magic)), None)
    if other:
        raise CheckpointError(f"`path` is {path!r}, a file packed by {other}; unpack it first.")
    opener = _opener(head)
    members = _members(path, opener)
    if members is None:
        inside = re.sub(r"\.(gz|bz2)$", "", os.path.basename(path))
        raise CheckpointError(f"`path` is {path!r}, a compressed file; unpack it first and give {inside!r}.")
    raise CheckpointError(f"`path` is {path!r}, a tar file; unpack it first{likely(members)}.")


def _members(path, opener):
    """The names in a tar file, as far as they are looked at; None if it is none."""
    names = []
    try:
        with (opener or open)(path, "rb") as file, tarfile.open(fileobj=_Limited(file), mode="r|") as archive:
            for member in archive:
                names.append(member.name[:1024])
                if len(names) == MOST_MEMBERS:
                    break
    except _BROKEN:
        # Of what is cut off, the beginning will do.
        return names or None
    return names or None


PACKED = Format(
    "an archive",
    _matches,
    _refuse,
    (),
    known_by="the magic number of gzip, bzip2, xz, zstd, 7z, rar or tar",
    remarks="to be unpacked first; the member that is likely meant is named",
)
