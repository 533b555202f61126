"""The orders of summation of ``ext/_replay.pyx``; all arrays of a call are of one type."""

import numpy as np
from numpy.typing import NDArray

_Real = NDArray[np.float32] | NDArray[np.float64]

version: str
source_hash: str
variants: tuple[str, ...]
slots: int
sums: int
welfords: int

def take(
    front: _Real,
    back: _Real,
    front_weights: _Real | None,
    back_weights: _Real | None,
    centers: _Real | None,
    first: int,
    length: int,
    welford: bool,
    state: _Real,
    variant: str | None = None,
) -> None: ...
def totals(state: _Real, count: int, out: _Real) -> None: ...
def means(state: _Real, count: int, divisors: _Real, welford: bool, out: _Real) -> None: ...
def variances(state: _Real, count: int, divisors: _Real, welford: bool, squares: bool, out: _Real) -> None: ...
