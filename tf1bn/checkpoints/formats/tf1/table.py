"""A sorted table of keys and values in a file, in the form of LevelDB: V1 checkpoints and the index of V2 checkpoints.

The file ends in a footer of 48 bytes with the place of the index block, whose entries are the places of the blocks with
the data. Each block is followed by a byte that names its compression and by a checksum of both, which is verified.
"""

import bisect
import itertools
import os

from ....binary.protobuf import varint
from .crc32c import crc32c, masked
from .snappy import decompress

MAGIC = bytes.fromhex("57fb808b247547db")
LARGEST_BLOCK = 2**28
_FOOTER, _TRAILER = 48, 5
_PLAIN, _SNAPPY = 0, 1


class Table:
    """A table in an open file. All methods raise ValueError, with a reason, where the file is damaged.

    It is iterated over as (key, value), both bytes, in ascending order of the keys.
    """

    def __init__(self, file):
        self._file, self._size = file, file.seek(0, os.SEEK_END)
        self._last_block = None, {}
        if self._size < _FOOTER:
            raise ValueError("the file is shorter than a table")
        file.seek(self._size - _FOOTER)
        footer = file.read(_FOOTER)
        if footer[-len(MAGIC) :] != MAGIC:
            raise ValueError("it does not end as a table does")
        metaindex, at = _handle(footer, 0)
        index, _ = _handle(footer, at)
        # Nothing is needed of the first, but a flipped bit in the footer should not go unseen.
        self._block(metaindex)
        entries = list(_entries(self._block(index)))
        self._last_keys = [key for key, _ in entries]
        self._handles = [_handle(value, 0)[0] for _, value in entries]
        if any(first >= second for first, second in itertools.pairwise(self._last_keys)):
            raise ValueError("its keys are not in order")
        # As they are written, so that no part of the file is read more than once.
        if any(offset + size > following for (offset, size), (following, _) in itertools.pairwise(self._handles)):
            raise ValueError("its blocks overlap")

    def __iter__(self):
        before = None
        for handle in self._handles:
            start = before
            for key, value in _entries(self._block(handle)):
                if before is not None and key <= before:
                    raise ValueError("its keys are not in order")
                before = key
                yield key, value
            if before is start:
                raise ValueError("a block of it is empty")

    def get(self, key):
        """The value of a key, or None if the table does not have it."""
        at = bisect.bisect_left(self._last_keys, key)
        if at == len(self._handles):
            return None
        if self._last_block[0] != at:
            self._last_block = at, dict(_entries(self._block(self._handles[at])))
        return self._last_block[1].get(key)

    def _block(self, handle):
        """The contents of a block, from its (offset, size) in the file."""
        offset, size = handle
        if size > LARGEST_BLOCK:
            raise ValueError(f"a block of it is {size} bytes long")
        if offset + size + _TRAILER > self._size:
            raise ValueError("a block of it lies outside of the file")
        self._file.seek(offset)
        data = self._file.read(size + _TRAILER)
        if len(data) != size + _TRAILER:
            raise ValueError("a block of it is cut off")
        if masked(crc32c(data[:-4])) != int.from_bytes(data[-4:], "little"):
            raise ValueError("a checksum of its table does not fit")
        if data[size] == _PLAIN:
            return data[:size]
        if data[size] == _SNAPPY:
            return decompress(data[:size], LARGEST_BLOCK)
        raise ValueError(f"a block of it is compressed in an unknown way ({data[size]})")


def _handle(data, at):
    """The (offset, size) of a block, as two numbers at ``at``, and the offset behind them."""
    offset, at = varint(data, at)
    size, at = varint(data, at)
    return (offset, size), at


def _entries(block):
    """The keys and values of a block. A key is written as what it shares with the key before it, and the rest."""
    if len(block) < 4:
        raise ValueError("a block of it is too short")
    restarts = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 - 4 * restarts
    if end < 0:
        raise ValueError("a block of it is too short")
    entries, key, at = block[:end], b"", 0
    while at < end:
        shared, at = varint(entries, at)
        rest, at = varint(entries, at)
        size, at = varint(entries, at)
        if shared > len(key) or rest + size > end - at:
            raise ValueError("an entry of it is cut off")
        key = key[:shared] + entries[at : at + rest]
        at += rest
        yield key, entries[at : at + size]
        at += size
