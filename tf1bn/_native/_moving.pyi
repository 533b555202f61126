"""The recurrence of ``ext/_moving.pyx``."""

import enum
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

version: str
source_hash: str
rounding: float
variants: tuple[str, ...]

class Figure(enum.IntFlag):
    VALUE = 0
    VALUE_LOW = 1
    WORST = 2
    LINEAR = 3
    COHERENT = 4
    SQUARE = 5
    BATCHES = 6
    BESSEL = 7
    RUNS = 8

class Recurrence(enum.IntFlag):
    DIFFERENCE = 1
    WEIGHTED_SUM = 2

@disjoint_base
class Steps:
    def __init__(
        self,
        count: float,
        *,
        weighted: bool,
        bessel: bool,
        keep: tuple[float, float],
        rate: tuple[float, float],
        slack: float,
        keep_slack: float,
        forms: Sequence[tuple[float | None, float, int]],
        recurrence: int,
        sum_unit: float,
        sum_smallest: float,
        sum_bits: int,
        unit: float,
        smallest: float,
        bits: int,
        deviations: float,
        input_error: float = 0.0,
        squares: bool = False,
        variant: str | None = None,
    ) -> None: ...
    def advance(
        self,
        stats: NDArray[np.float64],
        mean: NDArray[np.float64],
        variance: NDArray[np.float64],
        repeated: NDArray[np.uint8],
    ) -> None: ...
    def predict(
        self,
        before: NDArray[np.float64],
        mean: NDArray[np.float64],
        variance: NDArray[np.float64],
        out: NDArray[np.float64],
    ) -> None: ...
    def shares(
        self,
        before: NDArray[np.float64],
        after: NDArray[np.float64],
        mean: NDArray[np.float64],
        variance: NDArray[np.float64],
        out: NDArray[np.float64],
    ) -> None: ...

def terms(
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    mean: NDArray[np.float64],
    variance: NDArray[np.float64],
    unit: float,
    sums: float,
    squares: bool,
    out: NDArray[np.float64],
    variant: str | None = None,
) -> tuple[bool, float]: ...
def fingerprints(bits: NDArray[np.uint64], weights: NDArray[np.uint64], out: NDArray[np.uint64]) -> None: ...
def start(values: NDArray[np.float64], bits: int, stats: NDArray[np.float64], variant: str | None = None) -> None: ...
def bounds(
    stats: NDArray[np.float64], deviations: float, out: NDArray[np.float64], variant: str | None = None
) -> None: ...
def largest_shares(
    observed: NDArray[np.float64],
    expected: NDArray[np.float64],
    bound: NDArray[np.float64],
    out: NDArray[np.float64],
    variant: str | None = None,
) -> None: ...
def worst_channels(
    observed: NDArray[np.float64],
    expected: NDArray[np.float64],
    bound: NDArray[np.float64],
    variant: str | None = None,
) -> list[int] | None: ...
