"""A folder that stays the same one, whatever happens to its path: a descriptor of it is kept open.

A path names whatever lies there now. Between two steps of a run the folder may be moved, replaced by the trace of
another run, or the process may change its working directory; what is read and written through a descriptor belongs to
the folder that was opened.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import weakref

import numpy as np
import numpy.typing as npt

_FLAGS = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
_EXCHANGE, _AT_FDCWD = 2, -100


class Directory:
    """An open folder. The descriptor is closed with the object, or by `close`.

    Args:
      path: the folder.
      above: the `Directory` that ``path`` is relative to; None for the working directory.

    Raises:
      OSError: the folder cannot be opened.
    """

    def __init__(self, path: str, above: Directory | None = None) -> None:
        self._fd = os.open(path, _FLAGS, dir_fd=None if above is None else above._fd)
        self._close = weakref.finalize(self, os.close, self._fd)

    def close(self) -> None:
        """Close the descriptor; it may be called more than once."""
        self._close()

    @property
    def removed(self) -> bool:
        """Whether the folder was deleted, by whomever, and exists through this descriptor alone."""
        return os.fstat(self._fd).st_nlink == 0

    def open(self, parts: list[str]) -> int:
        """A descriptor, for reading, of the file at a path of folders and a file name. No part may be a symbolic link.

        A named pipe does not wait for a writer.

        Raises:
          OSError: the file cannot be opened.
        """
        *folders, name = parts
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | os.O_NOFOLLOW
        here, opened = self._fd, []
        try:
            for folder in folders:
                here = os.open(folder, _FLAGS | os.O_NOFOLLOW, dir_fd=here)
                opened.append(here)
            return os.open(name, flags, dir_fd=here)
        finally:
            for descriptor in opened:
                os.close(descriptor)

    def create(self, name: str) -> int:
        """A descriptor, for writing, of a new file; FileExistsError if there is one of that name."""
        return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=self._fd)

    def append_to(self, name: str) -> int:
        """A descriptor of an existing file to append to."""
        return os.open(name, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW, dir_fd=self._fd)

    def make_folder(self, name: str) -> None:
        """Make a folder in this one."""
        os.mkdir(name, dir_fd=self._fd)

    def rename(self, old: str, new: str) -> None:
        """Rename a file; one of the new name is replaced."""
        os.replace(old, new, src_dir_fd=self._fd, dst_dir_fd=self._fd)

    def remove(self, name: str) -> None:
        """Delete a file; nothing happens if there is none."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._fd)


class OpenFile:
    """A descriptor, ``fd``, that is closed with the object."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        weakref.finalize(self, os.close, fd)


def read_into(descriptor: int, data: npt.NDArray[np.uint8], start: int) -> int:
    """Fill ``data`` with the bytes of a file from byte ``start`` on; returns how many there are."""
    count = 0
    while count < data.size:
        if hasattr(os, "preadv"):
            read = os.preadv(descriptor, [memoryview(data)[count:]], start + count)
        else:
            part = os.pread(descriptor, data.size - count, start + count)
            read = len(part)
            data[count : count + read] = np.frombuffer(part, np.uint8)
        if not read:
            break
        count += read
    return count


def exchange(one: str, other: str) -> bool:
    """Exchange two folders in one moment, so that each path always has one; False where the system cannot."""
    if sys.platform != "linux":
        return False
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    return rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE) == 0
