"""The moving recurrence against exact rational numbers: every start, batch, decay and sequence, over all exponents.

`fuzz.py --part recurrence` runs these cases. Each gives `MovingStats` a random sequence of moments and checks:

- The expected values are those in real numbers, to 1e-13 of themselves. If terms cancel to less than 2^-52 of
  themselves, 2^-96 of the largest term is allowed, and below the normal numbers an absolute error of a few 2^-1074.
- Correct layers are within the worst case, and never a finding: both recurrences, with each rate and weight that a
  layer can have, with products and sums contracted, in double, with denormals flushed to zero, and with moments that
  are off by as much as an order of summation can take them.
- The expected value itself, rounded to the layer's dtype, is ok.
"""

import math
from fractions import Fraction

import numpy as np

from tf1bn.checker import Moments, MovingStats

LONG = np.longdouble
RELATIVE = Fraction(1, 10**13)
UNITS = {"float16": 2.0**-11, "float32": 2.0**-24, "float64": 2.0**-53}
# Below this the figures that bound the error do not overflow.
LARGEST = {"float16": 2.0**14, "float32": 2.0**120, "float64": 2.0**480}


def draw_decay(dice):
    """A number from 0 to 1, often near one of them."""
    kind = dice.below(8)
    if kind == 0:
        return dice.pick((0.0, 0.0, 1.0, 0.5, 0.9, 0.99, 0.999, 0.9997))
    if kind == 1:
        return math.ldexp(1 + dice.roll(), -dice.below(1076) - 1)
    if kind == 2:
        return 1 - math.ldexp(1 + dice.roll(), -dice.below(53) - 1)
    if kind == 3:
        return 10.0 ** -dice.below(17)
    if kind == 4:
        return 0.001 + 0.009 * dice.roll()
    return dice.roll()


def draw_scale(dice):
    """The exponent of most numbers of a case."""
    return dice.pick((0, 0, 0, dice.below(40) - 20, dice.below(260) - 150, dice.below(2096) - 1074))


def draw_number(dice, scale, spread):
    """A number of any sign."""
    kind = dice.below(12)
    if kind == 0:
        return 0.0
    exponent = scale + int((dice.roll() - 0.5) * spread)
    if kind == 1:
        exponent = dice.below(2096) - 1074
    exponent = max(-1074, min(1021, exponent))
    significand = 1.0 if kind == 2 else 1 + dice.roll()
    return math.ldexp(math.copysign(significand, dice.roll() - 0.5), exponent)


class Sequence:
    """A random run: settings, start values [2][C] and steps of (`Moments`, decay)."""

    def __init__(self, dice):
        self.dtype = dice.pick(("float16", "float32", "float32", "float64", "float64"))
        self.recurrence = dice.pick(("difference", "weighted", "weighted", None))
        self.rate_dtype = dice.pick((None, None, "float32", "float64"))
        self.bessel, self.debias = dice.chance(0.4), dice.chance(0.15)
        self.channels = 1 + dice.below(2)
        scale, spread = draw_scale(dice), dice.pick((2, 2, 8, 60, 400))
        self.start = [[draw_number(dice, scale, spread) for _ in range(self.channels)] for _ in range(2)]
        if dice.chance(0.8):
            self.start[1] = [abs(value) for value in self.start[1]]
        self.local_step = dice.below(30) if self.debias and dice.chance(0.5) else 0
        self.decay = draw_decay(dice)
        self.steps = []
        for _ in range(dice.pick((1, 1, 2, 3, 5, 8)) if dice.chance(0.97) else 40):
            decay = draw_decay(dice) if dice.chance(0.2) else self.decay
            if self.steps and dice.chance(0.2):
                self.steps.append((self.steps[-1][0], decay))
                continue
            count = dice.pick((1, 2, 3, 1 + dice.below(100), 1 + int(2 ** (40 * dice.roll()))))
            mean = [draw_number(dice, scale, spread) for _ in range(self.channels)]
            if dice.chance(0.1) and 0 < decay < 1:
                # What the old value and the batch contribute cancels, nearly.
                with np.errstate(all="ignore"):
                    mean = (-np.array(self.start[0]) * decay / (1 - decay)).clip(-(2.0**1021), 2.0**1021).tolist()
            variance = [abs(draw_number(dice, scale + dice.pick((0, scale)), spread)) for _ in range(self.channels)]
            self.steps.append((Moments(count, mean, variance), decay))

    def stats(self):
        """The `MovingStats` after all steps."""
        more = {}
        mean = self.start[0]
        if self.debias:
            more, mean = {"biased": mean, "local_step": self.local_step, "zero_debias": True}, [7.0] * self.channels
        stats = MovingStats(
            mean,
            self.start[1],
            decay=self.decay,
            bessel=self.bessel,
            dtype=self.dtype,
            rate_dtype=self.rate_dtype,
            recurrence=self.recurrence,
            **more,
        )
        for moments, decay in self.steps:
            stats.update(moments, decay=decay)
        return stats

    def exact_rate(self, decay):
        """The weight of the batch in the expected values."""
        if self.rate_dtype is None:
            return 1 - Fraction(decay)
        one = np.dtype(self.rate_dtype).type(1)
        return Fraction(float(np.dtype(self.dtype).type(one - np.dtype(self.rate_dtype).type(decay))))

    def exact(self):
        """The expected values [2][C] as fractions, and about the size of the terms that they are sums of."""
        values = [[Fraction(value) for value in row] for row in self.start]
        sizes = np.abs(np.array(self.start))
        rate = None
        for moments, decay in self.steps:
            rate = self.exact_rate(decay)
            keep = 1 - rate
            count = moments.count
            with np.errstate(all="ignore"):
                sizes = np.maximum(sizes, np.abs([moments.mean, 2 * moments.variance]))
            for row, own in enumerate((moments.mean.tolist(), moments.variance.tolist())):
                for c, moment in enumerate(own):
                    added = Fraction(moment) * rate
                    if row and self.bessel and count > 1:
                        added = added * count / (count - 1)
                    values[row][c] = values[row][c] * keep + added
        if self.debias:
            divisor = 1 - keep ** (self.local_step + len(self.steps))
            values[0] = [value / divisor if divisor else None for value in values[0]]
            with np.errstate(all="ignore"):
                sizes[0] /= float(divisor)
        return values, sizes


def run_layer(dice, sequence, disturbed):
    """The statistics [2, C] that a correct layer has after the steps, in its dtype; not finite if it overflows."""
    dtype = np.dtype(sequence.dtype)
    sums = np.dtype("float32") if sequence.dtype == "float16" else dtype
    form = dice.pick(("difference", "contracted difference"))
    if sequence.recurrence != "difference" and not (sequence.recurrence is None and dice.chance(0.4)):
        form = dice.pick(("weighted", "one minus rate", "contracted", "in double"))
    if form == "in double" and sequence.rate_dtype is not None:
        # Its rate is not rounded to the dtype, as `rate_dtype` says that it is.
        form = "weighted"
    rate_dtype = np.dtype(sequence.rate_dtype or dice.pick(("float32", "float64")))
    flushed = dice.chance(0.3) and sequence.dtype != "float16"
    smallest = np.finfo(dtype).smallest_normal

    def flush(values):
        return np.where(np.abs(values) < smallest, values * 0, values) if flushed else values

    with np.errstate(all="ignore"):
        moving = np.array(sequence.start).astype(dtype)
        rate = dtype.type(0)
        for moments, decay in sequence.steps:
            own = moments_of_layer(dice, sequence, moments, sums, disturbed)
            own = flush(flush(own).astype(dtype))
            rate = dtype.type(rate_dtype.type(1) - rate_dtype.type(decay))
            if rate == 0 and sequence.exact_rate(decay) == 0:
                continue
            keep = dtype.type(1) - rate if form == "one minus rate" else dtype.type(decay)
            if form == "difference":
                moving = flush(moving - flush(flush(moving - own) * rate))
            elif form == "contracted difference":
                moving = flush((LONG(moving) - LONG(flush(moving - own)) * LONG(rate)).astype(dtype))
            elif form == "contracted":
                moving = flush((LONG(moving) * LONG(keep) + LONG(flush(own * rate))).astype(dtype))
            elif form == "in double":
                moving = flush((own.astype(np.float64) * (1 - decay) + moving.astype(np.float64) * decay).astype(dtype))
            else:
                moving = flush(flush(moving * keep) + flush(own * rate))
        if sequence.debias:
            steps = dtype.type(sequence.local_step + len(sequence.steps))
            one = dtype.type(1)
            moving[0] /= one - (one - rate) ** steps
    return moving, form


def moments_of_layer(dice, sequence, moments, sums, disturbed):
    """Mean and variance [2, C] in the dtype of the sums, if disturbed by as much as an order of summation can."""
    count = moments.count
    m, v = moments.mean.astype(LONG), moments.variance.astype(LONG)
    if disturbed:
        growth = min(np.expm1(LONG((count + 3 * math.log(count) + 6) * UNITS[sums.name])), LONG(1e290))
        dm = growth * np.hypot(m, np.sqrt(v))
        dv = dm * dm + 3 * dm * np.sqrt(v) + growth * (v + dm * dm)
        # What is rounded below is the result of a layer, which is within these already.
        dm, dv = (np.maximum(d - UNITS[sums.name] * (abs(x) + d), 0) for d, x in ((dm, m), (dv, v)))
        share = 0.98 * np.array([dice.pick((-1, 1, 2 * dice.roll() - 1)) for _ in range(2 * m.size)]).reshape(2, -1)
        m, v = m + share[0] * dm, np.maximum(v + share[1] * dv, 0)
    m, v = m.astype(sums), v.astype(sums)
    if sequence.bessel and count > 1:
        v = v * (sums.type(count) / sums.type(count - 1))
    return np.stack([m, v])


def case_recurrence(dice, index):
    """One sequence; raises AssertionError if a number or a verdict is wrong."""
    sequence = Sequence(dice)
    stats = sequence.stats()
    exact, sizes = sequence.exact()
    seen = np.stack([stats.mean, stats.variance])
    check_values(seen, exact, sizes, sequence)
    limit = LARGEST[sequence.dtype]
    largest = max(
        *(abs(value) for row in sequence.start for value in row),
        *(float(np.abs(own).max()) for moments, _ in sequence.steps for own in (moments.mean, 2 * moments.variance)),
    )
    if not largest < limit or any(value is None for value in exact[0]):
        return
    worst = stats.two_bounds()[1]
    assert (worst >= 0).all()
    with np.errstate(over="ignore"):
        stored = seen.astype(sequence.dtype)
    if np.isfinite(stored).all():
        check_verdicts(stats, stored, "ok", "the expected value")
    for disturbed in (False, True):
        moving, form = run_layer(dice, sequence, disturbed)
        if not np.isfinite(moving).all():
            continue
        name = f"{form}{', disturbed' if disturbed else ''}"
        check_verdicts(stats, moving, "undecidable", name)
        for row, c in np.ndindex(moving.shape):
            limit = float(worst[row, c])
            error = abs(Fraction(float(moving[row, c])) - exact[row][c])
            assert limit == math.inf or error <= Fraction(limit), (
                f"{name}: {float(error)!r} off, the worst is {limit!r}"
            )


def check_values(seen, exact, sizes, sequence):
    """The expected values are those in real numbers."""
    for row, name in enumerate(("mean", "variance")):
        for c in range(sequence.channels):
            value = exact[row][c]
            if value is None:
                assert not math.isfinite(seen[row, c])
                continue
            if not sizes[row, c] < 2.0**1022:
                continue
            error = abs(Fraction(float(seen[row, c])) - value)
            allowed = max(RELATIVE * abs(value), Fraction(sizes[row, c]) / 2**96)
            if error > allowed:
                lost = (len(sequence.steps) + 1) * 4 * Fraction(2) ** -1074
                if sequence.debias and row == 0:
                    divisor = 1 - (1 - sequence.exact_rate(sequence.steps[-1][1])) ** len(sequence.steps)
                    lost /= divisor
                allowed += lost
            text = f"{seen[row, c]!r}, exactly {float(value)!r}, {float(error)!r} off and {float(allowed)!r} allowed"
            assert error <= allowed, f"{name} of channel {c}: {text}"


def check_verdicts(stats, moving, least, name):
    """The verdict on statistics [2, C] is ``least`` or better."""
    comparison = stats.compare(*moving)
    accepted = ("ok",) if least == "ok" else ("ok", "undecidable")
    assert comparison.verdict in accepted, f"{name}: {comparison}"
