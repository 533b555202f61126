"""Folders at URLs that fsspec knows, such as s3://bucket/run.trace. Reached through `tf1bn.cluster`."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import BinaryIO


def is_url(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a URL instead of the path of something on this machine."""
    return "://" in os.fspath(path) and not os.path.lexists(path)


class RemoteFolder:
    """The files of a folder at a URL.

    Raises:
      ImportError: fsspec, or what it needs for the URL, is not installed.
      ValueError: fsspec does not know the URL.
    """

    def __init__(self, url: str) -> None:
        from fsspec.core import url_to_fs

        self._files, self._root = url_to_fs(url)

    def open(self, name: str) -> BinaryIO:
        """A copy of a file, in a temporary file without a name, which can be mapped and goes when it is closed.

        Raises:
          OSError: the file cannot be read; FileNotFoundError if there is none.
        """
        copy = tempfile.TemporaryFile()  # noqa: SIM115 (the caller closes it)
        try:
            with self._files.open(f"{self._root.rstrip('/')}/{name}", "rb") as source:
                shutil.copyfileobj(source, copy, 1 << 20)
            copy.seek(0)
        except BaseException:
            copy.close()
            raise
        return copy
