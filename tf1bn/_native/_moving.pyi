"""The recurrence of ``ext/_moving.pyx``."""

import enum
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

version: str
source_hash: str
rounding: float

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

def moving_step(
    stats: NDArray[np.float64],
    mean: NDArray[np.float64],
    variance: NDArray[np.float64],
    count: float,
    *,
    weighted: bool,
    bessel: bool,
    repeated: bool,
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
) -> None: ...
