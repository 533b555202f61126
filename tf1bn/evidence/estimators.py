"""The step that moving statistics really took and the variance they really averaged, with intervals.

Used by ``diagnosis``. Every estimate weighs channels and steps by 1/bound^2; its interval takes bounds for independent
errors, and is never narrower than the spread that the residuals show.
"""

import dataclasses
import math

import numpy as np


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A value, and how far off it can be; both NaN if there is none."""

    value: float
    interval: float

    def __str__(self):
        if not math.isfinite(self.value):
            return "unknown"
        if not math.isfinite(self.interval):
            return f"{self.value:.6g}"
        return f"{self.value:.6g} +- {self.interval:.1g}"


class Slope:
    """The weighted slope of y on x through the origin, over any number of `add`."""

    def __init__(self):
        self._xx = self._xy = self._yy = 0.0
        self._count = 0

    def add(self, x, y, bound):
        """Take [channels] of x and y, and of how far off y can be; what is not finite is left out."""
        usable = np.isfinite(x) & np.isfinite(y) & np.isfinite(bound) & (bound > 0)
        if usable.any():
            if not usable.all():
                x, y, bound = x[usable], y[usable], bound[usable]
            with np.errstate(over="ignore", invalid="ignore"):
                scaled_x, scaled_y = x / bound, y / bound
                self._xx += float(scaled_x @ scaled_x)
                self._xy += float(scaled_x @ scaled_y)
                self._yy += float(scaled_y @ scaled_y)
            self._count += int(usable.sum())

    def estimate(self):
        """The `Estimate`."""
        if not 0 < self._xx < math.inf or not math.isfinite(self._xy):
            return Estimate(math.nan, math.nan)
        value = self._xy / self._xx
        residual = max(0.0, self._yy - value * self._xy) / max(1, self._count)
        return Estimate(value, max(1.0, math.sqrt(residual)) / math.sqrt(self._xx))


class VarianceFactor:
    """k in b1 = b0 + rate (k v - b0): how many batch variances the moving variance really took, over any `add`."""

    def __init__(self):
        self._moved = self._kept = self._squares = 0.0

    def add(self, before, after, variance, bound):
        """Take [channels] of b0, b1 and v, and of how far off b1 can be."""
        usable = np.isfinite(before) & np.isfinite(after) & np.isfinite(variance) & np.isfinite(bound) & (bound > 0)
        with np.errstate(over="ignore", invalid="ignore"):
            b0, b1, v, weight = before[usable], after[usable], variance[usable], bound[usable] ** -2.0
            self._moved += float((weight * v * (b1 - b0)).sum())
            self._kept += float((weight * v * b0).sum())
            self._squares += float((weight * v * v).sum())

    def estimate(self, rate):
        """The `Estimate` of k, given the rate."""
        if not (0 < self._squares < math.inf and rate):
            return Estimate(math.nan, math.nan)
        interval = abs(rate) * math.sqrt(self._squares)
        if not interval:
            return Estimate(math.nan, math.nan)
        return Estimate((self._moved / rate + self._kept) / self._squares, 1 / interval)


def likely_decays(rate):
    """Decays that an `Estimate` of the rate allows: the one with the fewest digits, and the middle one."""
    if not (math.isfinite(rate.value) and math.isfinite(rate.interval)):
        return []
    middle = 1 - rate.value
    found = []
    for digits in range(1, 9):
        rounded = round(middle, digits)
        if abs(rounded - middle) <= max(2 * rate.interval, 1e-7) and 0 <= rounded <= 1:
            found.append(rounded)
            break
    if 0 <= middle <= 1 and middle not in found:
        found.append(middle)
    return found
