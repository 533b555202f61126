"""Axes of a plot: from values to places in the picture, with a few round numbers as ticks."""

import math

import numpy as np

DECADES = 14  # a logarithmic axis shows no more: float64 has 16 digits


class Axis:
    """Values from ``low`` to ``high`` on places from ``start`` to ``end``.

    Attributes:
      ticks: list of pairs of a place and a text.
    """

    def __init__(self, low, high, start, end, ticks):
        self.low, self.high, self.start, self.end = low, high, start, end
        self.ticks = [(float(self.place(value)), text) for value, text in ticks]

    def place(self, values):
        """The places of values; those beyond the axis are on its ends."""
        with np.errstate(all="ignore"):
            share = (np.asarray(values, np.float64) - self.low) / (self.high - self.low)
        return self.start + np.clip(share, 0, 1) * (self.end - self.start)


def linear(values, start, end, most=5):
    """An `Axis` for the finite ``values``, with some room at both ends."""
    low, high = float(np.min(values)), float(np.max(values))
    reach = max(abs(low), abs(high))
    if not high - low > 1e-12 * reach:
        # Equal values: float64 has no digits for ticks between them.
        text = f"{low:.6g}"
        margin = reach * 0.05 or 1.0
        return Axis(low - margin, high + margin, start, end, [(low, text)])
    margin = (high - low) * 0.06
    return Axis(low - margin, high + margin, start, end, _round_ticks(low, high, most))


def steps(values, start, end, most=6):
    """An `Axis` for whole numbers."""
    low, high = float(np.min(values)), float(np.max(values))
    if low == high:
        margin = max(1.0, abs(low) * 0.05)
        return Axis(low - margin, high + margin, start, end, [(low, f"{low:.0f}")])
    every = max(1.0, _round_distance((high - low) / most))
    first = math.ceil(low / every) * every
    ticks = [first + i * every for i in range(int((high - first) / every) + 1)]
    return Axis(low, high, start, end, [(tick, f"{tick:.0f}") for tick in ticks])


def logarithmic(values, start, end, most=4):
    """An `Axis` for the decimal logarithms of the positive ``values``; its low end stands for all that is smaller."""
    logs = np.log10(values)
    low, high = float(logs.min()), float(logs.max())
    low = max(low, high - DECADES)
    low, high = low - 0.25, high + 0.25
    every = max(1, math.ceil((high - low) / most))
    powers = range(math.ceil(low / every) * every, math.floor(high) + 1, every)
    ticks = [10.0**power for power in powers]
    if len(ticks) < 3 and high - low < 2:
        every_power = range(math.floor(low), math.ceil(high) + 1)
        round_numbers = [10.0**power * factor for power in every_power for factor in (1, 2, 5)]
        ticks = [value for value in round_numbers if low <= math.log10(value) <= high]
    return Axis(low, high, start, end, [(math.log10(value), _power_in_words(value)) for value in ticks])


def _power_in_words(value):
    """A round number, short: 0.002, 5e-7."""
    return f"{value:g}" if 1e-4 < value < 1e4 else f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")


def _round_ticks(low, high, most):
    every = _round_distance((high - low) / (most - 1))
    first = math.ceil(low / every) * every
    ticks = [first + i * every for i in range(int((high - first) / every * (1 + 1e-9)) + 1)]
    reach, size = max(abs(low), abs(high)), math.floor(math.log10(every))
    if reach >= 1e5 or reach < 1e-3:
        digits = max(0, math.floor(math.log10(reach)) - size)
        return [(tick, f"{tick:.{digits}e}".replace("e+0", "e").replace("e-0", "e-")) for tick in ticks]
    return [(tick, f"{tick + 0.0:.{max(0, -size)}f}") for tick in ticks]


def _round_distance(distance):
    """The smallest of 1, 2 or 5 times a power of ten that is not below ``distance``."""
    power = 10.0 ** math.floor(math.log10(distance))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= distance * (1 - 1e-9))
