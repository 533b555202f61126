"""The recurrence of ``ext/_moving.pyx``."""

import enum

import numpy as np
from numpy.typing import NDArray

version: str
source_hash: str
rounding: float

class Row(enum.IntFlag):
    VALUE = 0
    WORST = 2
    LINEAR = 4
    COHERENT = 6
    SQUARE = 8
    LAYER = 10
    OTHER_LAYER = 12
    BATCHES = 14
    BESSEL = 16
    WEIGHTED = 18
    OTHER_WEIGHTED = 20
    ROWS = 22

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
    rate: float,
    slack: float,
    first_rate: float,
    second_rate: float,
    sum_unit: float,
    sum_smallest: float,
    sum_bits: int,
    unit: float,
    smallest: float,
    bits: int,
    deviations: float,
    recurrence: int = 1,
    keep: float = ...,
    keep_slack: float = ...,
    input_error: float = 0.0,
) -> None: ...
