"""The members of a zip file, all of them: the module zipfile takes a damaged directory for a shorter one."""

import zipfile
import zlib

from .base import tail

# What reading a damaged zip file raises.
BROKEN = (zipfile.BadZipFile, zlib.error, ValueError, EOFError, NotImplementedError, RuntimeError, KeyError)
_END, _LONGEST_COMMENT = b"PK\5\6", 2**16
_END_64, _MANY = b"PK\6\6", 0xFFFF


def members(path):
    """The `zipfile.ZipInfo` of each member; raises one of `BROKEN` for a damaged directory."""
    with zipfile.ZipFile(path) as archive:
        found = archive.infolist()
    last = tail(path, _LONGEST_COMMENT + 128)
    end = last.rfind(_END)
    count = int.from_bytes(last[end + 10 : end + 12], "little")
    if count == _MANY:
        end = last.rfind(_END_64, 0, end)
        count = int.from_bytes(last[end + 32 : end + 40], "little")
    if end < 0 or count != len(found):
        raise zipfile.BadZipFile("its directory does not have as many members as it says")
    return found
