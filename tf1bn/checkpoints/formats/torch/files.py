"""The two forms of the files that ``torch.save`` writes: a zip file since PyTorch 1.6, and a row of pickles before.

Each has a pickle that describes what was saved, and beside it the raw numbers of storages, by key. In a zip file these
are members, stored as they are, with a checksum each; the old form has no checksums.
"""

import io
import os
import zipfile
import zlib

from ...._util.text import reason
from ....errors import CheckpointError
from .. import zips
from ..base import MOST_VARIABLES, damaged
from ..zips import BROKEN
from .pickles import Bounded, load
from .tensors import storages

LARGEST_PICKLE = 2**28
# A pickle of the number that files in the old form begin with.
OLD_MAGIC = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
_PROTOCOL = 1001
_CHUNK = 2**22


class ZipFile:
    """A file in the new form; ``saved`` is what its pickle describes, ``called`` what that would call.

    Raises:
      CheckpointError: it is damaged, compressed or too large.
    """

    def __init__(self, path):
        self._path, self._checked = path, set()
        try:
            members = zips.members(path)
        except BROKEN as error:
            raise damaged(path, f"it is not a whole zip file ({reason(error)})") from error
        self._members = {member.filename: member for member in members}
        self._check(members)
        pickles = [name for name in self._members if name == "data.pkl" or name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise damaged(path, "it has no pickle `data.pkl`, or several of them")
        self._root = pickles[0].removesuffix("data.pkl")
        # PyTorch writes no checksums where it was told not to.
        self._has_checksums = any(member.CRC for member in members if member.file_size)
        order = self._root + "byteorder"
        self.big_endian = order in self._members and self._whole(order, 16) == b"big"
        self.notes = [] if self._has_checksums else ["The file was written without checksums, so none were compared."]
        try:
            self.saved, machine = load(io.BytesIO(self._whole(pickles[0], LARGEST_PICKLE)))
        except CheckpointError:
            raise
        except ValueError as error:
            raise damaged(path, f"its pickle is not one of PyTorch ({reason(error)})") from error
        self.called = machine.called

    def _check(self, members):
        """Refuse a zip file that PyTorch did not write: values and pickle are stored as they are, and each once."""
        if len(self._members) < len(members):
            raise damaged(self._path, "two of its members have the same name")
        read = [member for member in members if "/code/" not in member.filename]
        if any(member.compress_type != zipfile.ZIP_STORED for member in read):
            raise CheckpointError(f"`path` is {self._path!r}, a compressed zip file, as `torch.save` writes none.")
        if sum(member.file_size for member in read) > os.path.getsize(self._path):
            raise damaged(self._path, "its members are larger than the file")
        if any(member.flag_bits & 1 for member in read):
            raise damaged(self._path, "a member of it is encrypted")

    def _whole(self, name, limit):
        size = self._members[name].file_size
        if size > limit:
            raise CheckpointError(
                f"`path` is {self._path!r}, whose {name!r} has {size} bytes; at most {limit} are read."
            )
        try:
            return self._read(name, 0, size)
        except ValueError as error:
            raise damaged(self._path, str(error)) from error

    def read(self, key, offset, size):
        """Bytes of the storage with this key, whose checksum is compared; raises ValueError for what is not there."""
        name = f"{self._root}data/{key}"
        if name not in self._members:
            raise ValueError("its values are not in the file")
        return self._read(name, offset, size)

    def _read(self, name, offset, size):
        member = self._members[name]
        if offset + size > member.file_size:
            raise ValueError("its values are cut off")
        start = self._start(member)
        with open(self._path, "rb") as file:
            if self._has_checksums and name not in self._checked:
                file.seek(start)
                checksum, left = 0, member.file_size
                while left:
                    chunk = file.read(min(left, _CHUNK))
                    if not chunk:
                        raise ValueError(f"the member {name!r} is cut off")
                    checksum, left = zlib.crc32(chunk, checksum), left - len(chunk)
                if checksum != member.CRC:
                    raise ValueError(f"the checksum of {name!r} does not fit its bytes")
                self._checked.add(name)
            file.seek(start + offset)
            data = file.read(size)
        if len(data) != size:
            raise ValueError(f"the member {name!r} is cut off")
        return data

    def _start(self, member):
        """Where a member's bytes begin: behind a header of its own, of which two lengths are not in the directory."""
        with open(self._path, "rb") as file:
            file.seek(member.header_offset)
            header = file.read(30)
        if len(header) != 30 or header[:4] != b"PK\3\4":
            raise ValueError(f"the member {member.filename!r} has no header")
        lengths = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        return member.header_offset + 30 + lengths


class OldFile:
    """A file in the old form; ``saved`` is what its pickle describes, ``called`` what that would call.

    Raises:
      CheckpointError: it is damaged.
    """

    def __init__(self, path):
        self._path, self._size, self._places = path, os.path.getsize(path), {}
        self.notes = ["The file is in the form of PyTorch before 1.6, which has no checksums."]
        try:
            with open(path, "rb") as raw:
                file = Bounded(raw, self._size)
                file.read(len(OLD_MAGIC))
                if load(file)[0] != _PROTOCOL or not isinstance(system := load(file)[0], dict):
                    raise ValueError("it is of a form that is not known")
                self.big_endian = system.get("little_endian", system.get(b"little_endian")) is False
                self.saved, machine = load(file)
                keys = load(file)[0]
                self._find(raw, keys, storages(machine.references))
        except ValueError as error:
            raise damaged(path, str(error)) from error
        self.called = machine.called

    def _find(self, file, keys, sizes):
        """Find the storages, which lie one after the other, each behind the number of its values."""
        if not isinstance(keys, list) or len(keys) > MOST_VARIABLES:
            raise ValueError("it does not list its storages")
        at = file.tell()
        for key in keys:
            key = key.decode("ascii", "replace") if isinstance(key, bytes) else key
            if not isinstance(key, str) or key not in sizes:
                raise ValueError("it lists storages that no tensor has")
            size, count = sizes[key]
            file.seek(at)
            if int.from_bytes(file.read(8), "big" if self.big_endian else "little") != count:
                raise ValueError("a storage of it is of another size than its tensors say")
            self._places[key] = at + 8, size * count
            at += 8 + size * count
        if at != self._size:
            raise ValueError("its values are cut off" if at > self._size else "there are bytes behind its values")

    def read(self, key, offset, size):
        """Bytes of the storage with this key; raises ValueError for what is not there."""
        if key not in self._places:
            raise ValueError("its values are not in the file")
        start, length = self._places[key]
        if offset + size > length:
            raise ValueError("its values are cut off")
        with open(self._path, "rb") as file:
            file.seek(start + offset)
            data = file.read(size)
        if len(data) != size:
            raise ValueError("its values are cut off")
        return data
