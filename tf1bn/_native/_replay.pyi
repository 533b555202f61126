"""The orders of summation of ``ext/_replay.pyx``; all arrays of a call are of one type."""

import enum

import numpy as np
from numpy.typing import NDArray

_Real = NDArray[np.float32] | NDArray[np.float64]

version: str
source_hash: str

class Term(enum.IntFlag):
    VALUE = 0
    DEVIATION = 1
    SQUARE = 2

class Order(enum.IntFlag):
    IN_ORDER = 0
    BLOCKED = 1
    LANES = 2
    PAIRWISE = 3

def add(
    rows: _Real, weights: _Real | None, center: _Real, term: Term, order: Order, first: int, length: int, state: _Real
) -> None: ...
def total(order: Order, state: _Real, count: int, out: _Real) -> None: ...
def welford(rows: _Real, first: int, state: _Real) -> None: ...
def merge_lanes(state: _Real, count: int) -> None: ...
