"""Packed traces: the vectors of a step in one block of a file that many steps share, and what a step holds said once.

`stretches` reads many such steps together.

Reached through `tf1bn.trace`, whose docstring describes the format.
"""

from __future__ import annotations

import collections
import contextlib
import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from .directory import Directory
from .encoding import Files
from .storage import LARGEST_VECTORS, write_all

# How many lists of layers a reader keeps at once. A trace has few: training, inference, a last batch that is smaller.
LAYOUTS = 64
# Bytes after which the next file is begun, so that each can be copied and kept by any file system.
LARGEST_FILE = 1 << 28
_ALIGNMENT = 8
# Of a stretch: bytes that are in memory at once, and steps.
STRETCH_BYTES, STRETCH_STEPS = 1 << 26, 256


class Block(Files):
    """The arrays of one step; its vectors lie one after the other in `data`."""

    def __init__(self, prefix: str) -> None:
        super().__init__(prefix)
        self._parts: list[bytes] = []
        self._size = 0

    def add_vector(self, array: npt.NDArray[Any]) -> str:
        """The path of a vector: "#START:f4x64", 64 float32 numbers from byte START of the block."""
        start = self._size
        dtype = array.dtype
        part = (array if dtype.str[0] != ">" else array.astype(dtype.newbyteorder("<"))).tobytes()
        if len(part) % _ALIGNMENT:
            part += bytes(-len(part) % _ALIGNMENT)
        self._parts.append(part)
        self._size += len(part)
        return f"#{start}:{dtype.str[1:]}x{array.size}"

    def add_weights(self, array: npt.NDArray[Any]) -> str:
        """The path of a vector with a value per sample."""
        return self.add_vector(array)

    @property
    def data(self) -> bytes:
        """The block.

        Raises:
          ValueError: it is larger than readers accept.
        """
        if self._size > LARGEST_VECTORS:
            raise ValueError(
                f"the vectors of the step take {self._size} bytes; at most {LARGEST_VECTORS} are accepted."
            )
        return b"".join(self._parts)


class PackedFiles:
    """The files that the blocks of a trace are appended to."""

    def __init__(self, folder: Directory) -> None:
        self._folder = folder
        self._name = ""
        self._descriptor: int | None = None
        self._size = 0
        self._count = 0

    def append(self, data: bytes) -> list[Any]:
        """Append a block, or nothing if that fails; returns what stands in the step's line: [PATH, START, SIZE]."""
        if self._descriptor is None or (self._size and self._size + len(data) > LARGEST_FILE):
            self._begin()
        assert self._descriptor is not None
        start = self._size
        try:
            write_all(self._descriptor, data)
        except BaseException:
            self.cut(start)
            raise
        self._size += len(data)
        return [f"arrays/{self._name}", start, len(data)]

    def cut(self, size: int) -> None:
        """Shorten the file to the size that it had before its last block."""
        assert self._descriptor is not None
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, size)
        # If it could not be shortened, the next block lies behind what is left over.
        self._size = os.lseek(self._descriptor, 0, os.SEEK_END)

    def close(self) -> None:
        """Close the file; it may be called more than once."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _begin(self) -> None:
        name = f"packed-{self._count:06d}.bin"
        # Counted first: if this is interrupted, the file may be there, and its name is not taken again.
        self._count += 1
        descriptor = self._folder.create(name)
        self.close()
        self._name, self._descriptor, self._size = name, descriptor, 0


class LayoutNumbers:
    """The numbers under which lists of layers were written, of those that were written last."""

    def __init__(self) -> None:
        self._numbers: collections.OrderedDict[tuple[bool, str], int] = collections.OrderedDict()

    def number(self, training: bool, layers: str) -> tuple[int, bool]:
        """The number of a list of layers, as JSON text, and whether it has to be written under that number."""
        key = (training, layers)
        if key in self._numbers:
            self._numbers.move_to_end(key)
            return self._numbers[key], False
        number = len(self._numbers) if len(self._numbers) < LAYOUTS else self._numbers.popitem(last=False)[1]
        self._numbers[key] = number
        return number, True

    def forget(self) -> None:
        """Begin anew, as after a line that was not written: every list is written again."""
        self._numbers.clear()


class Stretch:
    """Consecutive steps of a packed trace that hold the same vectors of the same layers, in blocks behind each other.

    Attributes:
      steps: list of `Step`, each with a block.
      records: the `Record` of each layer by its name, of no step in particular.
    """

    def __init__(self, first: Any) -> None:
        self.steps = [first]
        self.records = first.layout
        self._blocks: npt.NDArray[np.uint8] | None = None

    def takes(self, step: Any) -> bool:
        """Whether this step continues the stretch."""
        if step.layout is not self.records or step.left_out or len(self.steps) >= STRETCH_STEPS:
            return False
        name, start, size = self.steps[-1].block
        return step.block == (name, start + size, size) and size * (len(self.steps) + 1) <= STRETCH_BYTES

    def vectors(self, paths: Iterable[Any]) -> list[npt.NDArray[Any]] | None:
        """The vectors at these paths, [steps, values] each; None unless all are floats in the blocks, of one length.

        Raises:
          TraceError: the file with the blocks cannot be read.
        """
        (name, start, size), folder = self.steps[0].block, self.steps[0].folder
        places = [folder.place(path) for path in paths]
        fitting = {(place[2], place[0] + place[1].itemsize * place[2] <= size) for place in places if place is not None}
        if None in places or len(fitting) != 1 or not all(length and inside for length, inside in fitting):
            return None
        if self._blocks is None:
            self._blocks = folder.read_block(name, start, size * len(self.steps))
        return [
            np.ndarray((len(self.steps), place[2]), place[1], self._blocks, place[0], (size, place[1].itemsize))
            for place in places
        ]


def stretches(steps: Iterable[Any]) -> Iterator[Any]:
    """Yield steps in their order: as `Stretch` where two or more can be read together, else as they are."""
    stretch = None
    for step in steps:
        if stretch is not None and stretch.takes(step):
            stretch.steps.append(step)
            continue
        if stretch is not None:
            yield stretch if len(stretch.steps) > 1 else stretch.steps[0]
        stretch = None if step.block is None else Stretch(step)
        if stretch is None:
            yield step
    if stretch is not None:
        yield stretch if len(stretch.steps) > 1 else stretch.steps[0]
