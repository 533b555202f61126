"""The files of a trace: opened only inside its folder, and arrays read without ever unpickling.

Reached through `tf1bn.trace`.
"""

from __future__ import annotations

import copy
import functools
import io
import math
import mmap
import os
import re
import stat
import struct
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from ..checker.arguments import FLOATS
from ..cluster.files import RemoteFolder, is_url
from ..errors import TraceError
from .directory import Directory, OpenFile, read_into

REALS = (*FLOATS, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64)
# Bytes: longer than the header of any plain array, and too short to do harm.
_LONGEST_HEADER = 4096
# Bytes of a file of vectors, which is read whole: 2^28 float32 numbers.
LARGEST_VECTORS = 1 << 30
_MAGIC = b"\x93NUMPY"
_PLACE = re.compile(r"#(0|[1-9][0-9]{0,17}):([fiu][1248])x(0|[1-9][0-9]{0,17})")
_ROW = re.compile(r"(.+)#(0|[1-9][0-9]{0,17})", re.DOTALL)


class Folder:
    """The folder of a trace, and the only way to its files. Every error that it raises is a `TraceError`.

    It is the folder that lies at the path now: what replaces it there later is not read. `load` reads a file of
    vectors whole and keeps it, since many vectors share one file. Of a folder at a URL files are copied when they are
    opened, and what replaces them meanwhile is not noticed.

    Attributes:
      path: the folder, as given.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._whole: dict[str, npt.NDArray[Any]] = {}
        self._block: tuple[str, int, int] | None = None
        # The packed file that was opened last: most steps lie in the same one. All that `fresh` returns share it.
        self._packed: dict[str, OpenFile] = {}
        self._remote: RemoteFolder | None = None
        if is_url(self.path):
            self._remote = self._connected()
            return
        self._root = os.path.realpath(self.path)
        self._inside = os.path.join(self._root, "")
        try:
            self._directory = Directory(self._root)
        except FileNotFoundError as error:
            raise TraceError(f"`path` is {self.path!r}, which does not exist; give the folder of a trace.") from error
        except NotADirectoryError as error:
            raise TraceError(f"`path` is {self.path!r}, which is not a folder; give the folder of a trace.") from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise TraceError(f"`path` is {self.path!r}, which cannot be opened: {reason}.") from error

    def _connected(self) -> RemoteFolder:
        try:
            return RemoteFolder(self.path)
        except ImportError as error:
            raise TraceError(
                f"`path` is {self.path!r}, for which a package is missing: {error}. `tf1bn[dask]` installs fsspec."
            ) from error
        except ValueError as error:
            raise TraceError(f"`path` is {self.path!r}, a URL that fsspec does not read: {error}.") from error

    def error(self, text: str) -> TraceError:
        """The exception, to be raised, that says what is damaged."""
        return TraceError(f"The trace {self.path!r} is damaged: {text}")

    def open(self, name: Any) -> BinaryIO:
        """The file at the relative path ``name``, open for reading; symbolic links must stay in the folder as well."""
        if not isinstance(name, str):
            raise self.error(f"{name!r} stands where the path of a file belongs.")
        parts = name.split("/")
        if not all(parts) or ".." in parts or "\\" in name or "\0" in name:
            raise self.error(
                f"the path {name!r} is not accepted; give the path of a file in the trace's folder, relative to it, "
                "with '/' and without '..'."
            )
        if self._remote is not None:
            return self._copied(name)
        try:
            # Mostly no part is a symbolic link, and to resolve the path takes longer than all else here.
            return self._regular(name, self._directory.open(parts))
        except (OSError, UnicodeError):
            pass
        try:
            target = os.path.realpath(os.path.join(self._root, name))
            inside = target.startswith(self._inside)
            opened = self._directory.open(target[len(self._inside) :].split("/")) if inside else None
        except FileNotFoundError as error:
            if self._directory.removed:
                raise TraceError(
                    f"The trace {self.path!r} was replaced or deleted while it was read; open it again."
                ) from error
            raise self.error(f"the file {name!r} is missing.") from error
        except (OSError, UnicodeError) as error:
            raise self.error(f"the file {name!r} cannot be opened: {getattr(error, 'strerror', error)}.") from error
        if not inside:
            raise self.error(f"the path {name!r} leads out of the trace's folder, to {target!r}.")
        return self._regular(name, opened)

    def _regular(self, name: str, opened: int) -> BinaryIO:
        """The file of a descriptor, which is closed if it is no regular one."""
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            os.close(opened)
            raise self.error(f"{name!r} is not a regular file.")
        return os.fdopen(opened, "rb")

    def _copied(self, name: str) -> BinaryIO:
        assert self._remote is not None
        try:
            return self._remote.open(name)
        except FileNotFoundError as error:
            if name == "trace.json":
                raise TraceError(
                    f"`path` is {self.path!r}, which holds no trace.json; give that of a trace."
                ) from error
            raise self.error(f"the file {name!r} is missing.") from error
        except Exception as error:  # of whatever library reads such URLs
            raise self.error(f"the file {name!r} cannot be read: {error}") from error

    def map(self, name: Any, accepted: tuple[type, ...] = FLOATS) -> npt.NDArray[Any]:
        """The array in the file ``name``, memory-mapped and read-only; ``accepted`` are the types of its numbers."""
        with self.open(name) as file:
            shape, order, dtype, start = self._header(file, name, accepted)
            if math.prod(shape) == 0:
                return self._array(name, shape, dtype, order, b"", 0)
            return self._array(name, shape, dtype, order, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), start)

    def load(self, path: Any, accepted: tuple[type, ...] = FLOATS) -> npt.NDArray[Any]:
        """The vector at ``path``, in memory and read-only.

        It is "FILE", "FILE#i" for row i of a 2-D array, or in a packed trace "#START:f4xN", N values of the block.
        """
        if isinstance(path, str) and path.startswith("#"):
            return self._packed_vector(path, accepted)
        row = _ROW.fullmatch(path) if isinstance(path, str) else None
        name = row[1] if row else path
        # A path of the wrong type must not be looked up: it may not be hashable.
        array = self._whole.get(name) if isinstance(name, str) else None
        if array is None:
            with self.open(name) as file:
                shape, order, dtype, start = self._header(file, name, REALS)
                if math.prod(shape) * dtype.itemsize > LARGEST_VECTORS:
                    raise self.error(
                        f"the file {name!r} holds vectors of {math.prod(shape) * dtype.itemsize} bytes in all; a file "
                        f"of vectors has at most {LARGEST_VECTORS}."
                    )
                file.seek(start)
                array = self._array(name, shape, dtype, order, file.read(), 0)
            if not dtype.isnative:
                array = array.astype(dtype.newbyteorder("="))
                array.setflags(write=False)
            self._whole[name] = array
        if array.dtype.type not in accepted:
            raise self._wrong_dtype(name, array.dtype, accepted)
        if row is None:
            return array
        if array.ndim != 2 or int(row[2]) >= len(array):
            raise self.error(
                f"the path {path!r} asks for row {row[2]} of an array of shape {_text(array.shape)}; it must be a row "
                "of a 2-D array."
            )
        return array[int(row[2])]

    def fresh(self, block: tuple[str, int, int] | None = None) -> Folder:
        """The same folder, with none of its files in memory; ``block`` is where the vectors of a packed step lie."""
        folder = copy.copy(self)
        folder._whole = {}
        folder._block = block
        return folder

    def _packed_vector(self, path: str, accepted: tuple[type, ...]) -> npt.NDArray[Any]:
        where = _place(path)
        if where is None or self._block is None:
            reason = "the step names no block" if where else "it is not of the form '#START:f4xN'"
            raise self.error(f"the path {path!r} of a vector in a block is not accepted; {reason}.")
        data = self._whole.get("")  # no path of a file is empty
        if data is None:
            data = self._whole[""] = self.read_block(*self._block)
        start, dtype, count = where
        end = start + count * dtype.itemsize
        if end > data.size:
            raise self.error(f"the path {path!r} ends at byte {end} of a block of {data.size}.")
        if dtype.type not in accepted:
            raise self._wrong_dtype(path, dtype, accepted)
        array = np.frombuffer(data, dtype, count, start) if count else np.empty(0, dtype)
        return array if dtype.isnative else array.astype(dtype.newbyteorder("="))

    def place(self, path: Any) -> tuple[int, np.dtype[Any], int] | None:
        """Where in a block a path points: the first byte, the dtype, a float, and the number of values; else None."""
        where = _place(path) if isinstance(path, str) else None
        return where if where is not None and where[1].type in FLOATS and where[1].isnative else None

    def read_block(self, name: str, start: int, size: int) -> npt.NDArray[np.uint8]:
        """So many bytes of a packed file, of one block or of several behind each other; read-only."""
        if size > LARGEST_VECTORS:
            raise self.error(f"a block of {size} bytes is asked for; a step has at most {LARGEST_VECTORS}.")
        file = self._packed.get(name)
        if file is None:
            with self.open(name) as opened:
                file = OpenFile(os.dup(opened.fileno()))
            self._packed.clear()
            self._packed[name] = file
        try:
            # The length is looked at first: memory for what is not there is not asked for.
            there = start + size <= os.fstat(file.fd).st_size
            # Memory of NumPy, which asks for large pages.
            data = np.empty(size if there else 0, np.uint8)
            count = read_into(file.fd, data, start)
        except OSError as error:
            raise self.error(f"the file {name!r} cannot be read: {error.strerror}.") from error
        if count != size:
            raise self.error(f"the file {name!r} was cut: the block of {size} bytes at byte {start} is not there.")
        data.setflags(write=False)
        return data

    def _array(
        self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], order: Any, buffer: Any, start: int
    ) -> npt.NDArray[Any]:
        try:
            return np.ndarray(shape, dtype, buffer, start, order=order)  # read-only, as the buffer is
        except (ValueError, TypeError, OverflowError, MemoryError) as error:
            raise self.error(f"the array {name!r} has the shape {_text(shape)}, which NumPy cannot hold.") from error

    def _header(
        self, file: BinaryIO, name: str, accepted: tuple[type, ...]
    ) -> tuple[tuple[int, ...], str, np.dtype[Any], int]:
        """The shape, the order ("C" or "F"), the dtype, and at which byte the data starts, all of them checked."""
        width, length = self._header_size(file, name)
        try:
            shape, fortran, dtype = _parsed_header(width, length, file.read(length))
        except Exception as error:  # NumPy evaluates the header as a literal, which can fail in many ways
            raise self.error(f"the header of {name!r} is not that of a .npy file.") from error
        if dtype.hasobject:
            raise self.error(f"{name!r} holds pickled Python objects, which are never loaded; save plain numbers.")
        if dtype.type not in accepted:
            raise self._wrong_dtype(name, dtype, accepted)
        if not all(type(size) is int and size >= 0 for size in shape):
            raise self.error(f"the header of {name!r} gives the shape {_text(shape)}.")
        start = 8 + width + length
        expected = start + math.prod(shape) * dtype.itemsize
        size = os.fstat(file.fileno()).st_size
        if size != expected:
            what = "was cut" if size < expected else "holds more than it should"
            raise self.error(f"the file {name!r} {what}: it has {size} bytes where its header asks for {expected}.")
        return shape, "F" if fortran else "C", dtype, start

    def _header_size(self, file: BinaryIO, name: str) -> tuple[int, int]:
        """How many bytes hold the length of the header, and that length; ``file`` is left at the header's start."""
        start = file.read(12)
        width = {b"\x01": 2, b"\x02": 4}.get(start[6:7])
        if not start.startswith(_MAGIC) or width is None or len(start) < 8 + width:
            raise self.error(
                f"{name!r} is not a .npy file of version 1.0 or 2.0; write it with `numpy.save`."
                if start
                else f"the file {name!r} is empty."
            )
        length = int.from_bytes(start[8 : 8 + width], "little")
        if length > _LONGEST_HEADER:
            raise self.error(
                f"the header of {name!r} says that it is {length} bytes long; that of a plain array has at most "
                f"{_LONGEST_HEADER}."
            )
        file.seek(8 + width)
        return width, length

    def _wrong_dtype(self, name: str, dtype: np.dtype[Any], accepted: tuple[type, ...]) -> TraceError:
        names = ", ".join(np.dtype(kind).name for kind in accepted)
        return self.error(f"the array {name!r} has dtype {dtype}; accepted are {names}.")


def write_array(folder: Directory, name: str, array: npt.NDArray[Any]) -> int:
    """Write ``array`` to a new file as .npy, little-endian, and return its size in bytes.

    ``numpy.save`` does the same in more time.
    """
    descriptor = folder.create(name)
    try:
        header = memoryview(_header_bytes(array.shape, array.dtype.newbyteorder("<").str))
        data = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        body = memoryview(data.reshape(-1).view(np.uint8)) if data.size else memoryview(b"")
        if len(body) < 1 << 16:
            header, body = memoryview(bytes(header) + bytes(body)), memoryview(b"")
        size = len(header) + len(body)
        for part in (header, body):
            write_all(descriptor, part)
        return size
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write all of ``data``: one call of ``os.write`` may write less, and never more than 2 GB."""
    data = memoryview(data)
    while data:
        data = data[os.write(descriptor, data) :]


@functools.lru_cache(maxsize=1024)
def _parsed_header(width: int, length: int, header: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether the order is Fortran's, and dtype.

    The results are kept: NumPy takes longer to evaluate a header than to read a small file, and most are the same.
    """
    read = np.lib.format.read_array_header_1_0 if width == 2 else np.lib.format.read_array_header_2_0
    return read(io.BytesIO(struct.pack("<H" if width == 2 else "<I", length) + header))


@functools.lru_cache(maxsize=1024)
def _header_bytes(shape: tuple[int, ...], descr: str) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
    return stream.getvalue()


@functools.lru_cache(maxsize=1 << 14)
def _place(path: str) -> tuple[int, np.dtype[Any], int] | None:
    """The start in bytes, the little-endian dtype and the number of values of a path in a block; None if it is none."""
    match = _PLACE.fullmatch(path)
    if match is None:
        return None
    try:
        return int(match[1]), np.dtype(f"<{match[2]}"), int(match[3])
    except TypeError:  # f1
        return None


def _text(shape: tuple[int, ...]) -> str:
    text = str(shape)
    return text if len(text) < 80 else text[:76] + "...)"
