"""How much of a run a recorder writes: the arguments that all recorders share, and what follows from them."""

from __future__ import annotations

import fnmatch
import numbers
from collections.abc import Callable, Iterable

from .._util.text import counted
from .._util.validation import one_of, shown, whole

KEEP = ("auto", "moments", "inputs", "all")
MAX_BYTES = 1 << 30
# What "auto" writes in full: the first steps of each kind, as long as their arrays fit into so many bytes. One training
# step decides by its outputs which statistics they used, and three whether that was the start alone.
FULL_STEPS = 3
FULL_BYTES = 1 << 28


class Limits:
    """Which steps and layers are recorded, and what is kept of them.

    Args:
      keep: "moments": count, mean and variance of every input, which decide what updated the statistics; "inputs": the
        inputs; "all": inputs and outputs, which also decide what normalised them; "auto": inputs and outputs of the
        first 3 training and the first 3 inference steps, inputs of those whose moments do not decide, both together
        up to 256 MiB and half of ``max_bytes``, and moments of everything else.
      every: record each so many-th step, from the first of `steps` on.
      steps: None for all; a number for the first so many; or a slice of them, such as slice(100, 200).
      layers: None for all; or a pattern, or several, as of `fnmatch`, for the names of the layers: "encoder.*".
      max_bytes: the recording ends with the step that would make the trace larger; None: it has no limit.

    Raises:
      TypeError, ValueError: an argument is not as above.
    """

    def __init__(
        self,
        keep: str = "auto",
        every: int = 1,
        steps: int | slice | None = None,
        layers: str | Iterable[str] | None = None,
        max_bytes: int | None = MAX_BYTES,
    ) -> None:
        self.keep = one_of("keep", keep, KEEP)
        self.every = _positive("every", every)
        self.max_bytes = None if max_bytes is None else _positive("max_bytes", max_bytes)
        self._first, self._end, stride = _range(steps)
        self.every *= stride
        self._patterns = None if layers is None else [layers] if isinstance(layers, str) else list(layers)
        if self._patterns is not None and not all(isinstance(pattern, str) for pattern in self._patterns):
            raise TypeError(f"`layers` is {shown(layers)}; it must be a pattern for names, a list of them, or None.")
        self._full_steps = {True: 0, False: 0}
        self._full_bytes = 0
        self._most_full = FULL_BYTES if self.max_bytes is None else min(FULL_BYTES, self.max_bytes // 2)

    def takes_step(self, number: int) -> bool:
        """Whether the step with this number, counted from 0, is recorded."""
        inside = self._first <= number and (self._end is None or number < self._end)
        return inside and (number - self._first) % self.every == 0

    def takes_layer(self, name: str) -> bool:
        """Whether the layer of this name is recorded."""
        return self._patterns is None or any(fnmatch.fnmatchcase(name, pattern) for pattern in self._patterns)

    def kind(self, training: bool, size: int) -> str:
        """What is kept of a layer in a step of this kind: "moments", "inputs" or "all".

        Args:
          size: the bytes of its inputs and outputs.
        """
        if self.keep != "auto":
            return self.keep
        if self._full_steps[training] >= FULL_STEPS or not self._fits(size):
            return "moments"
        return "all"

    def keeps_undecided(self, size: int, decided: Callable[[], bool]) -> bool:
        """Whether inputs of so many bytes are kept because moments do not decide.

        ``decided`` says whether they do; it is asked only where the inputs may be kept.
        """
        return self.keep == "auto" and self._full_bytes + size <= self._most_full and not decided() and self._fits(size)

    def _fits(self, size: int) -> bool:
        if self._full_bytes + size > self._most_full:
            return False
        self._full_bytes += size
        return True

    def count_step(self, training: bool) -> None:
        """Take note of a step that was written."""
        self._full_steps[training] += 1

    def allows(self, size: int) -> bool:
        """Whether a trace may have so many bytes."""
        return self.max_bytes is None or size <= self.max_bytes


def contents(path: str, steps: int, layers: int, size: int) -> str:
    """What a trace holds, as a sentence: "run.trace: 3 steps, 1 layer, 3.1 MB."."""
    return f"{path}: {counted(steps, 'step')}, {counted(layers, 'layer')}, {in_bytes(size)}."


def in_bytes(size: int) -> str:
    """A number of bytes as text: "812 bytes", "3.1 MB"."""
    if size < 1000:
        return f"{size} bytes"
    for unit, factor in (("kB", 1e3), ("MB", 1e6), ("GB", 1e9)):
        if size < 999.5 * factor or unit == "GB":
            return f"{size / factor:.3g} {unit}"
    raise AssertionError


def _positive(name: str, value: int) -> int:
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        raise TypeError(f"`{name}` is {shown(value)}; it must be a whole number, 1 or more.")
    if value < 1:
        raise ValueError(f"`{name}` is {shown(value)}; it must be a whole number, 1 or more.")
    return int(value)


def _range(steps: int | slice | None) -> tuple[int, int | None, int]:
    """The first step, the step after the last one or None, and the stride."""
    if steps is None:
        return 0, None, 1
    if not isinstance(steps, slice):
        return 0, _positive("steps", steps), 1
    for value in (steps.start, steps.stop):
        if value is not None:
            try:
                whole("steps", value)
            except ValueError:
                raise ValueError(
                    f"`steps` is {steps!r}; a slice of steps counts from 0, without negative numbers."
                ) from None
    stride = 1 if steps.step is None else _positive("steps", steps.step)
    return steps.start or 0, steps.stop, stride
