"""V2 checkpoints ("tensor bundles") without TensorFlow: a table of what there is, and files with the bytes of tensors.

The ``.index`` is a `table.Table` of BundleEntryProto by the name of a variable, with a BundleHeaderProto under the
empty key; see tensor_bundle.proto of TensorFlow. An entry has the dtype, the shape, the number of the ``.data`` file,
offset, size and checksum. A variable that a partitioner split has slices instead, each with an entry of its own.
"""

import dataclasses
import math
import os

import numpy as np

from ....binary.numbers import numbers
from ....binary.protobuf import BYTES, FIXED32, VARINT, message, repeated, signed
from ....binary.tensor_protos import dtype_name, numpy_dtype, parse_shape
from ....errors import CheckpointError
from .. import base
from ..base import Checkpoint, Variable, damaged
from . import object_graph
from .crc32c import crc32c, masked
from .slices import parse_slice, slice_key, slices_of
from .table import Table

_MOST_SHARDS = 99999
_LARGEST_GRAPH = 2**26
_READ_VERSION = 1
_HEADER = {1: VARINT, 2: VARINT, 3: BYTES}
_ENTRY = {1: VARINT, 2: BYTES, 3: VARINT, 4: VARINT, 5: VARINT, 6: FIXED32}


@dataclasses.dataclass(frozen=True)
class _Entry:
    """Where the values of a variable, or of a slice of one, are."""

    dtype: str
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    checksum: int
    slices: tuple[tuple[tuple[int, int], ...], ...]


class _Bundle:
    """The files of a checkpoint. Methods raise ValueError, with a reason, where they are damaged."""

    def __init__(self, prefix):
        self.prefix, self.variables, self._slices = prefix, {}, {}
        with open(prefix + ".index", "rb") as file:
            entries = iter(Table(file))
            key, header = next(entries, (None, None))
            if key != b"":
                raise ValueError("its index has no header")
            self._read_header(header)
            for number, (key, value) in enumerate(entries):
                if number >= base.MOST_VARIABLES:
                    raise CheckpointError(
                        f"`path` is {prefix!r}, whose index has more than {base.MOST_VARIABLES} variables."
                    )
                # The keys of slices begin with a 0, the names of variables do not.
                (self._slices if key[0] == 0 else self.variables)[key] = _parse_entry(value)
        self._check_bounds()

    def _read_header(self, data):
        header = message(data, _HEADER)
        self._shards, self._big_endian = header.get(1, 0), header.get(2, 0) == 1
        if not 0 < self._shards <= _MOST_SHARDS:
            raise ValueError(f"its index says that there are {self._shards} data files")
        if message(header.get(3, b""), {2: VARINT}).get(2, 0) > _READ_VERSION:
            raise ValueError("it says that it is of a newer form than is known")

    def _check_bounds(self):
        """Every data file must be there, and hold what the index says that it holds."""
        sizes = {}
        for shard in range(self._shards):
            if not os.path.isfile(path := self._data_file(shard)):
                raise ValueError(f"the file {os.path.basename(path)!r} is missing")
            sizes[shard] = os.path.getsize(path)
        for entry in (*self.variables.values(), *self._slices.values()):
            if entry.slices:
                continue
            if entry.shard not in sizes:
                raise ValueError(f"its index names the data file {entry.shard} of {self._shards}")
            if entry.offset + entry.size > sizes[entry.shard]:
                file = os.path.basename(self._data_file(entry.shard))
                raise ValueError(f"the file {file!r} is shorter than its index says")

    def _data_file(self, shard):
        return f"{self.prefix}.data-{shard:05d}-of-{self._shards:05d}"

    def read(self, name):
        """The values of the variable with this name, in bytes."""
        entry = self.variables[name]
        if not entry.slices:
            return self._read_entry(entry)
        whole = np.empty(entry.shape, numbers(b"", entry.dtype.removeprefix("q")).dtype)
        filled = np.zeros(entry.shape, bool)
        for extents in entry.slices:
            part = self._slices.get(slice_key(name, extents))
            if part is None:
                raise ValueError("a slice of it is missing")
            place = slices_of(extents, entry.shape)
            values = self._read_entry(part)
            if part.dtype != entry.dtype or values.shape != whole[place].shape:
                raise ValueError("a slice of it is of another dtype or shape")
            whole[place], filled[place] = values, True
        if not filled.all():
            raise ValueError("its slices are not the whole of it")
        return whole

    def names_in_the_program(self):
        """The name of each variable by its key, in bytes; empty if the checkpoint is not an object-based one."""
        entry = self.variables.get(object_graph.KEY)
        if entry is None or entry.dtype != "string" or entry.shape or entry.slices or entry.size > _LARGEST_GRAPH:
            return {}
        graph = object_graph.scalar_string(self._read_bytes(entry), entry.checksum)
        return object_graph.names_in_the_program(graph)

    def _read_entry(self, entry):
        data = self._read_bytes(entry)
        if masked(crc32c(data)) != entry.checksum:
            raise ValueError("its checksum does not fit its values")
        return numbers(data, entry.dtype.removeprefix("q"), self._big_endian).reshape(entry.shape)

    def _read_bytes(self, entry):
        with open(self._data_file(entry.shard), "rb") as file:
            file.seek(entry.offset)
            data = file.read(entry.size)
        if len(data) != entry.size:
            raise ValueError("its data file is too short")
        return data


def _parse_entry(data):
    values = message(data, _ENTRY)
    dtype, shape = dtype_name(values.get(1, 0)), parse_shape(values.get(2, b""))
    shard, offset, size = (signed(values.get(number, 0)) for number in (3, 4, 5))
    slices = tuple(map(parse_slice, repeated(data, 7)))
    if min(shard, offset, size) < 0:
        raise ValueError("its index holds negative numbers")
    stored = numpy_dtype(dtype)
    if stored is not None and not slices and size != math.prod(shape) * stored.itemsize:
        raise ValueError("its index gives a tensor another size than its shape")
    return _Entry(dtype, shape, shard, offset, size, values.get(6, 0), slices)


def _readable_names(prefix, bundle):
    """The key of each variable by its name: that of the program where an object-based checkpoint has it."""
    try:
        real = bundle.names_in_the_program()
    except ValueError as error:
        raise damaged(prefix, str(error)) from error
    names = {real.get(key, key).decode("utf-8", "backslashreplace"): key for key in bundle.variables}
    if len(names) < len(bundle.variables):
        return {key.decode("utf-8", "backslashreplace"): key for key in bundle.variables}
    return names


def open_v2(prefix, notes=()):
    """The `Checkpoint` of the files PREFIX.index and PREFIX.data-*."""
    try:
        bundle = _Bundle(prefix)
    except ValueError as error:
        if isinstance(error, CheckpointError):
            raise
        raise damaged(prefix, str(error)) from error
    names = _readable_names(prefix, bundle)
    variables = {
        name: Variable(bundle.variables[key].shape, bundle.variables[key].dtype) for name, key in names.items()
    }

    def read(name):
        if numpy_dtype(variables[name].dtype) is None:
            raise CheckpointError(f"`{name}` in {prefix!r} is {variables[name].dtype}, which is not read.")
        try:
            return bundle.read(names[name])
        except ValueError as error:
            raise damaged(prefix, f"reading `{name}` failed: {error}") from error

    return Checkpoint(prefix, variables, read, notes)
