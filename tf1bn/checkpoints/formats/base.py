"""What all formats share: the interface of a format, the `Checkpoint` that it opens, and the limits on its size."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import CheckpointError

LONGEST_VECTOR = 2**20
MOST_VALUES = 2**25
MOST_VARIABLES = 2**18
LONGEST_NAME = 1024
HEAD_BYTES = 64


@dataclasses.dataclass(frozen=True)
class Format:
    """One kind of file, how it is recognised and how it is opened.

    Attributes:
      name: what it is called in a sentence.
      matches: function of a path and of the first `HEAD_BYTES` bytes of the file there, true if the file is of this
        kind by its content. It may read more of the file, and raises nothing but OSError.
      open: function from a path to a `Checkpoint`; it raises CheckpointError where the file is damaged, too large, of a
        kind that is known and not read, or a package that reads it is missing.
      endings: endings of a file's name which say that the file should be of this kind, whatever its content.
      known_by: by what content it is recognised, for the documentation.
      read_with: the packages that read it, for the documentation; empty if it is known only to be refused.
      remarks: what else a reader should know, for the documentation.
    """

    name: str
    matches: Callable[[str, bytes], bool]
    open: Callable[[str], Checkpoint]
    endings: tuple[str, ...] = ()
    known_by: str = ""
    read_with: str = ""
    remarks: str = ""


@dataclasses.dataclass(frozen=True)
class Variable:
    """The shape and the dtype of a variable, which are known without reading its values."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def floating(self) -> bool:
        """Whether it may be a parameter or a statistic of a layer."""
        return self.dtype in ("float16", "bfloat16", "float32", "float64")


class Checkpoint:
    """The variables of a checkpoint by name, and a way to read single ones. It is a context manager.

    Attributes:
      path: the file or prefix that was opened.
      variables: `Variable` by name.
      notes: sentences on how it was found.
      declared: what the configuration of a layer says, by the layer's name: its "epsilon", "decay", "scale", ...
      steps: by the name of a quantised variable, the distance of two neighbouring values, of all or in its shape.
      problems: sentences on layers that could not be read.
      vectors_only: whether only variables of one or two axes were read before where a crash does no harm, so that no
        others should be read.
      folds: whether its format keeps no batch norms, but only what they were folded into.
    """

    vectors_only = folds = False
    path: str
    variables: Mapping[str, Variable]
    notes: list[str]
    declared: dict[str, dict[str, Any]]
    problems: list[str]
    steps: Mapping[str, float | npt.NDArray[Any]]

    def __init__(
        self,
        path: str,
        variables: Mapping[str, Variable],
        read: Callable[[str], npt.ArrayLike],
        notes: Iterable[str] = (),
        close: Callable[[], object] | None = None,
        declared: dict[str, dict[str, Any]] | None = None,
        problems: Iterable[str] = (),
        steps: Mapping[str, float | npt.NDArray[Any]] | None = None,
    ) -> None:
        if len(variables) > MOST_VARIABLES:
            raise CheckpointError(
                f"`path` is {path!r}, which has {len(variables)} variables; at most {MOST_VARIABLES} are read."
            )
        longest = max(map(len, variables), default=0)
        if longest > LONGEST_NAME:
            raise CheckpointError(
                f"`path` is {path!r}, which has a variable with a name of {longest} characters; at most {LONGEST_NAME} "
                "are read."
            )
        self.path, self.variables, self.notes = path, variables, list(notes)
        self.declared, self.problems, self.steps = declared or {}, list(problems), steps or {}
        self._read, self._close, self._left = read, close, MOST_VALUES

    def __repr__(self) -> str:
        return f"<Checkpoint {self.path!r}: {len(self.variables)} variables>"

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._close:
            self._close()

    def read(self, name: str, *, most: int | None = None) -> npt.NDArray[Any]:
        """The values of the variable ``name``, in the shape that `variables` states.

        Args:
          name: the variable's.
          most: how many values it may have, where the caller lets go of them soon, so that they do not count towards
            the `MOST_VALUES` of all; None for `LONGEST_VECTOR`.

        Raises:
          CheckpointError: they are too many, or damaged.
        """
        size = math.prod(self.variables[name].shape)
        limit = LONGEST_VECTOR if most is None else most
        if size > limit:
            raise CheckpointError(f"`{name}` in {self.path!r} has {size} values; at most {limit} are read.")
        self._left -= size if most is None else 0
        if self._left < 0:
            raise CheckpointError(f"The layers of {self.path!r} have more than {MOST_VALUES} values; no more are read.")
        values = np.asarray(self._read(name))
        if values.shape != self.variables[name].shape:
            raise damaged(self.path, f"`{name}` has the shape {values.shape} and not {self.variables[name].shape}")
        if values.dtype.kind == "f" and (bad := np.isnan(values)).any():
            # A signalling NaN, as damaged files have them, would warn wherever it is converted.
            values = np.where(bad, values.dtype.type(np.nan), values)
        return values


def damaged(path: str, why: str) -> CheckpointError:
    """The error for a damaged file; ``why`` completes the sentence."""
    return CheckpointError(f"The checkpoint {path!r} is damaged: {why}.")


def head(path: str) -> bytes:
    """The first bytes of a file, by which formats are recognised."""
    with open(path, "rb") as file:
        return file.read(HEAD_BYTES)


def tail(path: str, size: int) -> bytes:
    """The last ``size`` bytes of a file, fewer if it is shorter."""
    with open(path, "rb") as file:
        file.seek(max(file.seek(0, os.SEEK_END) - size, 0))
        return file.read(size)


def refusing(sentence: str) -> Callable[[str], Checkpoint]:
    """A function for `Format.open` that refuses each file; ``sentence`` follows "`path` is PATH, "."""

    def refuse(path):
        raise CheckpointError(f"`path` is {path!r}, {sentence}")

    return refuse
