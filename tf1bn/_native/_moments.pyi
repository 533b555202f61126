"""The kernels of ``ext/_moments.pyx``; arrays are C-contiguous where the source says ``::1``."""

from types import TracebackType
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

_Doubles = NDArray[np.float64]
_Weights = NDArray[np.float64] | NDArray[np.float32]
_Real = NDArray[np.uint16] | NDArray[np.float32] | NDArray[np.float64]

version: str
source_hash: str
variants: tuple[str, ...]

@final
class DefaultEnvironment:
    def __enter__(self) -> None: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...

@final
class Batch:
    def __new__(
        cls, batch: NDArray[Any], bfloat16: bool = False, weights: _Weights | None = None, factor: float = 1.0
    ) -> Batch: ...
    @property
    def count(self) -> int: ...
    @property
    def rows(self) -> int: ...
    @property
    def channels(self) -> int: ...
    @property
    def grain(self) -> int: ...
    @property
    def itemsize(self) -> int: ...
    @property
    def contiguous(self) -> bool: ...
    def accumulate(
        self, state: _Doubles, first: int, count: int, channel: int = 0, done: float = 0.0, variant: str | None = None
    ) -> None: ...
    def accumulate_weighted(
        self,
        state: _Doubles,
        poison: _Doubles,
        first: int,
        count: int,
        channel: int = 0,
        high: float = 0.0,
        low: float = 0.0,
        variant: str | None = None,
    ) -> tuple[float, float]: ...

@final
class Tasks:
    def __new__(cls) -> Tasks: ...
    def add(
        self,
        batch: Batch,
        state: _Doubles,
        first: int,
        rows: int,
        band: int,
        channel: int = 0,
        other: NDArray[np.uint8] | None = None,
        line: _Doubles | None = None,
        sums: _Doubles | None = None,
    ) -> None: ...
    def stop(self) -> None: ...
    def run(self, variant: str | None = None) -> None: ...

def merge_states(state: _Doubles, other: _Doubles, share: float, variant: str | None = None) -> None: ...
def survey_weights(weights: _Weights, variant: str | None = None) -> tuple[float, float, list[float]]: ...
def add_residuals(
    x: _Real, y: _Real, line: _Doubles, sums: _Doubles, bfloat16: bool = False, variant: str | None = None
) -> None: ...
