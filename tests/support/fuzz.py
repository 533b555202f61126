"""A fuzzer of the checker: any memory layout, any values, any split, and arguments that are none.

`make fuzz`, or `python tests/support/fuzz.py [--part P] [--count N] [--seed S] [--first I] [--workers W]`. Case I of
seed S is the same wherever it runs, alone or among others; the first that fails is printed with the command that runs
it again. The part "inputs" is below; the part "recurrence" is `fuzz_recurrence.py`.

The reference is naive: two passes over the values that were put into memory, not over the memory, in `longdouble`. Its
own error is added to what is allowed: every sum over n terms and every operation in it is off by at most
(n + 8) u, u = 2^-64, relative to the sum of the absolute terms, for n below 2^20 (Higham 2002, 4.2), and a mean that
is off by e adds e^2 to the variance. Some cases go to the exact reference of the tests as well, which checks the
naive one; where `longdouble` has less than 64 bits, all do.
"""

import argparse
import faulthandler
import math
import multiprocessing
import os
import sys
import time
import traceback
import warnings

import numpy as np
from accuracy import ACCURACY, ACCURACY_FLOAT64, assert_accurate
from fuzz_recurrence import case_recurrence

from tf1bn._native import _moments
from tf1bn.checker import Moments, MovingStats, accumulation, batch_moments, summation

CHUNK = 500  # cases that a worker takes at a time
REFUSED = (TypeError, ValueError, OverflowError)
LONG = np.longdouble
NAIVE = np.finfo(LONG).nmant >= 63
UNIT = LONG(2.0) ** -64
LIMITS = {2: 65504.0, 4: float(np.finfo(np.float32).max), 8: 1e150}
SMALLEST = {2: 2.0**-24, 4: 2.0**-149, 8: 2.0**-1074}
AXIS = {"NHWC": -1, "NCHW": 1}


class Dice:
    """Choices from one generator; NumPy's calls are slow one by one, so numbers are drawn in blocks."""

    def __init__(self, seed, index):
        self.rng = np.random.default_rng([seed, index])
        self._drawn = []

    def roll(self):
        if not self._drawn:
            self._drawn = self.rng.random(64).tolist()
        return self._drawn.pop()

    def chance(self, share):
        return self.roll() < share

    def below(self, limit):
        return int(self.roll() * limit)

    def pick(self, choices):
        return choices[int(self.roll() * len(choices))]

    def shuffled(self, items):
        return sorted(items, key=lambda _: self.roll())


# ---------------------------------------------------------------- values and memory


def draw_shape(dice):
    """Mostly tiny; now and then many rows, channels or axes, across the sizes at which the kernels change their way."""
    size = dice.roll()
    if size < 0.9:
        return [1 + dice.below(5) for _ in range(2 + dice.below(4))]
    if size < 0.95:
        return [1 + dice.below(70), 1 + dice.below(70)]
    if size < 0.97:
        return [1 + dice.below(12), 1 + dice.below(12), 1 + dice.below(9), 1 + dice.below(9)]
    if size < 0.98:
        # As many axes as NumPy 1 has, most of length 1.
        shape = [1] * (6 + dice.below(26))
        for _ in range(6):
            shape[dice.below(len(shape))] = 1 + dice.below(3)
        return shape
    if size < 0.99:
        shape = [dice.below(3) for _ in range(2 + dice.below(4))]
        return [size or dice.below(4) for size in shape]
    if size < 0.998:
        return [1 + dice.below(3), 1 + dice.below(9), 1 + dice.below(700)]
    return dice.pick(
        [
            [2000 + dice.below(9000), 1 + dice.below(4)],
            [1 + dice.below(9), 500 + dice.below(1100)],
            [1 + dice.below(3), 1 + dice.below(3), 3000 + dice.below(9000)],
            [20 + dice.below(20), 1 + dice.below(70), 1 + dice.below(8), 1 + dice.below(8)],
            [100 + dice.below(400), 1 + dice.below(60), 1 + dice.below(9)],
        ]
    )


def draw_values(dice, dtype, shape, axis):
    """An array of these; `axis` is that of the channels."""
    rng, limit, smallest = dice.rng, LIMITS[dtype.itemsize], SMALLEST[dtype.itemsize]
    kind = dice.below(16)
    if kind < 4:
        values = rng.standard_normal(shape)
        if kind == 1:
            values *= 10.0 ** (dice.below(300) - 150 if dtype.itemsize == 8 else dice.below(70) - 38)
        elif kind == 2:
            values += 10.0 ** (dice.below(12) - 2)
        elif kind == 3:
            values = np.maximum(values, 0)
    elif kind < 6:
        values = rng.integers(-3, 9, shape) * dice.pick([1.0, 0.1, smallest, limit / 9])
    elif kind < 8:
        values = np.full(shape, dice.pick([0.0, -0.0, 0.1, -3e4, 6e-8, limit, smallest, -1.1e-30, math.pi]))
        if kind == 7 and values.size:
            values.flat[dice.below(values.size)] *= 1 + 2.0 ** -dice.below(54)
    elif kind == 8:
        values = rng.uniform(-limit, limit, shape)
    elif kind == 9:
        values = smallest * rng.integers(-(2**12), 2**12, shape)
    elif kind == 10:
        values = rng.standard_normal(shape)
        if values.size:
            values.flat[dice.pick([0, values.size - 1, dice.below(values.size)])] = dice.pick([1e30, -1e30, limit])
    elif kind == 11:
        pool = [0.0, -0.0, 1.0, -1.0, limit, -limit, smallest, -smallest, 0.3, 1e-3, 255.0, float(np.pi)]
        values = np.array(pool)[rng.integers(0, len(pool), shape)]
    elif kind == 12:
        values = rng.standard_normal(shape) * 10.0 ** rng.integers(-20, 20, shape)
    elif kind == 13:
        values = np.sort(rng.lognormal(0, 3, shape), axis=dice.below(len(shape)))
    elif kind == 14:
        # Every channel is of its own size.
        scale = [1] * len(shape)
        scale[axis] = shape[axis]
        values = (rng.standard_normal(shape) + dice.below(3) * 1e3) * 10.0 ** rng.integers(-30, 30, scale)
    else:
        # Any bits at all, so huge, tiny, infinite and NaN.
        values = np.frombuffer(rng.bytes(math.prod(shape) * dtype.itemsize), dtype).reshape(shape)
        return values.copy()
    values = np.clip(values, -limit, limit).astype(dtype)
    if values.size and dice.chance(0.12):
        for _ in range(1 + dice.below(3)):
            values.flat[dice.below(values.size)] = dice.pick([np.nan, np.inf, -np.inf])
    return values


def lay_out(dice, values):
    """The same values in memory of any order, strides, byte order and alignment; what lies between them is NaN."""
    if values.ndim > 31 or dice.chance(0.1):
        return values
    dtype = values.dtype.newbyteorder(dice.pick("<>=="))
    order = list(range(values.ndim))
    if dice.chance(0.4):
        order = dice.shuffled(order)
    steps = [dice.pick((1, 1, 1, 1, 2, -1, -2, 3)) for _ in order]
    if dice.chance(0.5):
        steps = [1 if abs(step) > 1 else step for step in steps]
    stored = [values.shape[axis] * abs(step) for axis, step in zip(order, steps, strict=True)]
    offset = dice.pick((0, 0, 1, dtype.itemsize, dtype.itemsize // 2))
    memory = bytearray(b"\xff") * (offset + math.prod(stored) * dtype.itemsize)
    # There is no buffer of nothing.
    batch = np.frombuffer(memory, dtype, offset=offset) if len(memory) > offset else np.empty(0, dtype)
    batch = batch.reshape(stored)
    batch = batch[tuple(slice(None, None, step) for step in steps)]
    inverse = [0] * len(order)
    for place, axis in enumerate(order):
        inverse[axis] = place
    batch = batch.transpose(inverse)
    batch[...] = values
    return batch


def odd_strides(dice, batch):
    """Other strides where they do not matter: along axes of length 1, and everywhere if there is no element."""
    empty = batch.size == 0
    strides = [
        dice.pick((0, 1, -7, 2**62, -(2**62), stride)) if empty or size == 1 else stride
        for size, stride in zip(batch.shape, batch.strides, strict=True)
    ]
    return np.lib.stride_tricks.as_strided(batch, batch.shape, strides)


class Tensor:
    """What tensors of other libraries have in common."""

    def __init__(self, array):
        self._array = array

    def __array__(self, dtype=None, copy=None):
        return self._array


class Input:
    """A batch in memory, and what is in it: `channels` [C, n], each of them `repeats` times."""

    def __init__(self, dice, huge=True, items=False):
        self.data_format = dice.pick(("NHWC", "NCHW"))
        axis = AXIS[self.data_format]
        stored = dice.pick(("f2", "bfloat16", "f4", "f4", "f8", "f8"))
        # Numbers of bfloat16 are those of float32 without its lower half.
        dtype = np.dtype("f4" if stored == "bfloat16" else stored)
        shape = draw_shape(dice)
        if shape[axis] == 0:
            shape[axis] = 1
        distinct = list(shape)
        if dice.chance(0.12):
            for _ in range(1 + dice.below(2)):
                place = dice.below(len(shape))
                distinct[place] = min(1, shape[place])
                is_channels = place == axis % len(shape)
                if huge and distinct[place] and not is_channels and math.prod(shape) < 2**20 and dice.chance(0.3):
                    shape[place] = 2 ** dice.below(40)
        values = draw_values(dice, dtype, distinct, axis)
        if stored == "bfloat16":
            bits = values.view(np.uint32) >> 16
            values = (bits << 16).view(np.float32)
            batch = lay_out(dice, bits.astype(np.uint16))
        else:
            batch = lay_out(dice, values)
        if distinct != shape:
            batch = np.broadcast_to(batch, shape)
        elif dice.chance(0.02):
            batch = odd_strides(dice, batch)
        if dice.chance(0.1):
            batch = batch.view()
            batch.flags.writeable = False
        self.batch = batch
        self.dtype = dtype
        self.declared = "bfloat16" if stored == "bfloat16" else None
        self.count = math.prod(shape) // shape[axis]
        if items and distinct != shape:
            values = np.broadcast_to(values, shape)
        moved = np.moveaxis(values, axis, 0)
        channels = moved.reshape(moved.shape[0], math.prod(moved.shape[1:]))
        self.channels = np.repeat(channels, shape[axis], 0) if moved.shape[0] != shape[axis] else channels

    def moments(self, batch=None, **arguments):
        """The moments of a batch that is stored like this one; None: of this one."""
        batch = self.batch if batch is None else batch
        return batch_moments(batch, data_format=self.data_format, dtype=self.declared, **arguments)


# ---------------------------------------------------------------- the naive reference


def check(seen, given, weights=None):
    """Moments against the naive reference; `weights`: one for each item, and so for each element of a channel."""
    channels, dtype = given.channels, given.dtype
    state = np.stack([seen.mean, seen.variance])
    assert state.dtype == np.float64
    assert state.shape == (2, channels.shape[0]), state.shape
    assert seen.count == given.count, (seen.count, given.count)
    n = channels.shape[1]
    if weights is None:
        assert seen.weight == float(seen.count)
    if n == 0 or (weights is not None and not weights.any()):
        assert seen.weight == 0.0
        assert np.isnan(state).all()
        return
    with np.errstate(all="ignore"):
        x = channels.astype(LONG)
        finite = np.isfinite(channels)
        whole = finite.all(1)
        clean = np.where(finite, x, LONG(0))
        if weights is None:
            shares = LONG(1) / n
            total = LONG(n)
            mean = clean.sum(1) / n
            magnitude = np.abs(clean).sum(1) / n
            variance = np.square(clean - mean[:, None]).sum(1) / n
            rare = LONG(0)
        else:
            shares = np.repeat(weights.astype(LONG), n // weights.size)
            total = shares.sum()
            assert abs(seen.weight - total) <= total * (LONG(2.0) ** -51 + (n + 8) * UNIT)
            mean = (clean * shares).sum(1) / total
            magnitude = (np.abs(clean) * shares).sum(1) / total
            variance = (np.square(clean - mean[:, None]) * shares).sum(1) / total
            # A weight that is 2^-1022 of the largest loses digits to underflow.
            rare = n * LONG(2.0) ** -1073
        own = (n + 8) * UNIT
        lost = (n + 8) * LONG(2.0) ** -1075
        largest = np.abs(clean).max(1)
        mean_allowed = (LONG(float(ACCURACY)) + 2 * own) * magnitude + lost + rare * largest
        if dtype.itemsize < 8:
            allowed = LONG(float(ACCURACY)) * variance
        else:
            allowed = LONG(float(ACCURACY_FLOAT64)) * np.sqrt(variance) * np.sqrt(variance + mean * mean)
        allowed = allowed + 4 * own * variance + (own * magnitude) ** 2 + lost + rare * largest * largest
        mean_ok = np.abs(state[0] - mean) <= mean_allowed
        variance_ok = np.abs(state[1] - variance) <= allowed
        # Documented: float64 beyond 1e150 may overflow, and then what comes out is not finite.
        beyond = largest > LIMITS[8]
        mean_ok |= beyond & ~np.isfinite(state[0])
        variance_ok |= beyond & ~np.isfinite(state[1])
        # What a sum makes of values that are not finite; weight 0 makes NaN of them, as 0 * inf does.
        if not whole.all():
            with_weight = x if weights is None else np.where(finite & (shares == 0), LONG(0), x * shares)
            sums = np.where(finite, LONG(0), with_weight).sum(1)
            same = (state[0] == sums) | (np.isnan(state[0]) & np.isnan(sums)) | (beyond & ~np.isfinite(state[0]))
            if weights is not None:
                # A weight that is lost to underflow is a weight of 0.
                gone = shares < shares.max() * LONG(2.0) ** -1021
                same |= np.isnan(state[0]) & (~finite & gone).any(1)
            mean_ok = np.where(whole, mean_ok, same)
            variance_ok = np.where(whole, variance_ok, np.isnan(state[1]))
        constant = whole & (channels == channels[:, :1]).all(1)
        mean_ok &= ~constant | (state[0] == channels[:, 0]) | beyond
        variance_ok &= ~constant | (state[1] == 0) | beyond
        variance_ok &= ~(state[1] < 0)
    ok = mean_ok & variance_ok
    assert ok.all(), "\n".join(
        f"channel {c}: mean {state[0, c]!r}, expected {mean[c]!r} within {mean_allowed[c]!r}; variance "
        f"{state[1, c]!r}, expected {variance[c]!r} within {allowed[c]!r}"
        for c in np.flatnonzero(~ok)[:3]
    )


def check_exactly(seen, given):
    """The same in rational arithmetic, of the channels that are finite."""
    with np.errstate(invalid="ignore"):
        # A signaling NaN, converted.
        sizes = np.abs(given.channels.astype(np.float64))
    whole = (sizes <= LIMITS[8]).all(1)
    if whole.any() and given.channels.shape[1]:
        some = given.channels[whole].T
        assert_accurate(Moments(len(some), seen.mean[whole], seen.variance[whole]), some.reshape(len(some), -1))


def same_bits(one, other):
    return one.count == other.count and one._state.tobytes() == other._state.tobytes() and one.weight == other.weight


# ---------------------------------------------------------------- cases


def case_moments(dice, index):
    given = Input(dice)
    batch, data_format = given.batch, given.data_format
    before = batch.tobytes() if batch.size < 1000 else None
    threads = dice.pick((None, None, None, 1, 1, 2, 3))
    seen = given.moments(threads=threads)
    check(seen, given)
    if not NAIVE or index % 50 == 0:
        check_exactly(seen, given)
    if before is not None:
        assert batch.tobytes() == before, "the batch was changed"
    extra = dice.below(20)
    if extra == 0:
        # One copy of it in plain memory; only the order of the sums may differ.
        if batch.size < 2**16:
            check(given.moments(np.array(batch, batch.dtype.newbyteorder("="))), given)
    elif extra == 1:
        reports = []
        other = given.moments(threads=2, progress=lambda *report: reports.append(report))
        assert same_bits(seen, other), "the number of threads, or progress, changed bits"
        assert reports == sorted(reports)
        assert not batch.size or reports[-1] == (batch.size, batch.size)
    elif extra == 2:
        states = set()
        for variant in _moments.variants:
            reader = _moments.Batch(np.moveaxis(batch, AXIS[data_format], -1), given.declared is not None)
            state = np.zeros((4, reader_channels(batch, data_format)))
            if reader.rows:
                reader.accumulate(state, 0, reader.rows, variant=variant)
            states.add(state.tobytes())
        # A NaN may have either sign.
        assert len(states) == 1 or not np.isfinite(given.channels).all(), "instruction sets differ"
    elif extra == 3:
        source = Tensor(batch) if dice.chance(0.5) else memoryview(batch) if batch.dtype.isnative else batch[...]
        assert same_bits(seen, given.moments(source))


def reader_channels(batch, data_format):
    return batch.shape[AXIS[data_format]]


def case_cut(dice, index):
    """The work is cut into segments, slabs and bands as that of large batches is, on several threads."""
    weighted = dice.chance(0.2)
    given = Input(dice, huge=not weighted, items=weighted)
    weights = draw_weights(dice, given.batch.shape[0]) if weighted else None
    cut = {
        "_THREADED_BYTES": 1,
        "_SEGMENT_BYTES": dice.pick((16, 64, 256, 4096)),
        "_BAND_BYTES": dice.pick((1, 64, 1024)),
        "_MOST_SEGMENTS": 1 + dice.below(9),
        "_STATE_CHANNELS": dice.pick((1, 16, 1 << 18)),
    }
    saved = {name: getattr(accumulation, name) for name in cut}
    try:
        for name, value in cut.items():
            setattr(accumulation, name, value)
        if given.batch.size > 2**16 and len(given.batch.shape) > 2:
            cut["_BAND_BYTES"] = accumulation._BAND_BYTES = 1024
        seen = given.moments(weights=weights, threads=1)
        check(seen, given, None if weights is None else np.asarray(weights, np.float64))
        if dice.chance(0.3):
            other = given.moments(weights=weights, threads=2 + dice.below(3))
            assert same_bits(seen, other), "the number of threads changed bits"
    finally:
        for name, value in saved.items():
            setattr(accumulation, name, value)


def draw_weights(dice, items):
    rng = dice.rng
    weights = dice.pick(
        (
            lambda: rng.uniform(0, 1, items),
            lambda: rng.integers(0, 3, items),
            lambda: rng.integers(0, 2, items).astype(np.float32),
            lambda: 10.0 ** rng.integers(-300, 290, items),
            lambda: np.full(items, dice.pick([0.0, 1.0, 2.5, 1e-320])),
            lambda: np.ldexp(1.0, -1074) * rng.integers(1, 3, items),
            lambda: np.repeat(rng.uniform(0, 1, items), 3)[:items],
            lambda: rng.uniform(0, 60000, items).astype(np.float16),
        )
    )()
    layout = dice.below(4)
    if layout == 1:
        weights = weights[::-1]
    elif layout == 2:
        weights = weights.astype(weights.dtype.newbyteorder(">"))
    return weights if layout != 3 else weights.tolist()


def case_weights(dice, index):
    given = Input(dice, huge=False, items=True)
    batch = given.batch
    weights = draw_weights(dice, batch.shape[0])
    seen = given.moments(weights=weights, threads=dice.pick((None, 1, 2)))
    check(seen, given, np.asarray(weights, np.float64))


def case_merge(dice, index):
    """Any split of the items, and any order and tree of merges."""
    given = Input(dice, huge=False, items=True)
    batch, items = given.batch, given.batch.shape[0]
    weights = np.asarray(draw_weights(dice, items), np.float64) if dice.chance(0.25) else None
    if weights is not None and not np.isfinite(given.channels).all():
        # A part that weighs nothing is neutral, whatever is in it.
        weights[weights == 0] = 1
    cuts = sorted(dice.below(items + 1) for _ in range(dice.below(5)))
    parts = []
    for first, end in zip([0, *cuts], [*cuts, items], strict=True):
        part = None if weights is None else weights[first:end]
        parts.append(given.moments(batch[first:end], weights=part))
    while len(parts) > 1:
        one = parts.pop(dice.below(len(parts)))
        other = parts.pop(dice.below(len(parts)))
        parts.append(one.merge(other))
    check(parts[0], given, weights)


def case_moving(dice, index):
    """Steps against the recurrence as it is documented, and the verdicts on the expected values themselves."""
    dtype = dice.pick(("float16", "float32", "float32", "float64"))
    rate_dtype = dice.pick((None, None, "float32", "float64"))
    decay = dice.pick((0, 0.5, 0.9, 0.999, 1.0, 1, dice.roll()))
    bessel, debias = dice.chance(0.5), dice.chance(0.25)
    first = Input(dice)
    channels = first.channels.shape[0]
    start = [dice.rng.normal(0, 3, channels), np.square(dice.rng.normal(0, 3, channels))]
    options = {}
    if debias and dice.chance(0.5):
        options = {"biased": dice.rng.normal(0, 3, channels), "local_step": 1 + dice.below(1000)}
    if dice.chance(0.1):
        options["replay_bytes"] = dice.below(100)
    stats = MovingStats(
        *start, decay=decay, bessel=bessel, zero_debias=debias, dtype=dtype, rate_dtype=rate_dtype, **options
    )
    mean = options.get("biased", np.zeros(channels) if debias else start[0]).astype(LONG)
    variance = start[1].astype(LONG)
    cast = np.dtype(dtype).type
    size = np.abs(np.stack([mean, variance]))
    steps, now = 1 + dice.below(3), decay
    batches = []
    for step in range(steps):
        # An honest channel count, whatever the layout.
        batch, data_format, declared = first.batch, first.data_format, first.declared
        if step:
            declared = None
            batch = dice.rng.normal(dice.below(3), 1, (1 + dice.below(6), channels)).astype(first.dtype)
            data_format = "NHWC"
        weights = None
        if not bessel and batch.shape[0] < 2**16 and dice.chance(0.2):
            weights = dice.rng.uniform(0, 1, batch.shape[0])
        batches.append(batch)
        found = batch_moments(batch, data_format=data_format, weights=weights, dtype=declared)
        now = dice.pick((None, None, 0.25))
        if weights is None and dice.chance(0.3):
            stats.update(found, decay=now)
        else:
            stats.update(batch, data_format=data_format, weights=weights, decay=now, dtype=declared)
        now = decay if now is None else now
        rate = {
            None: 1.0 - now,
            "float64": float(cast(1.0 - now)),
            "float32": float(cast(np.float32(1) - np.float32(now))),
        }[rate_dtype]
        factor = LONG(found.count) / (found.count - 1) if bessel and found.count > 1 else LONG(1)
        with np.errstate(all="ignore"):
            moved = found.variance * factor
            size = np.maximum(size, np.abs(np.stack([found.mean.astype(LONG), moved])))
            mean = mean - (mean - found.mean) * LONG(rate)
            variance = variance - (variance - moved) * LONG(rate)
    with np.errstate(all="ignore"):
        if debias:
            divisor = -np.expm1((options.get("local_step", 0) + steps) * np.log1p(LONG(-rate)))
            mean = mean / divisor
            size[0] = np.maximum(size[0], size[0] / divisor)
        for expected, seen, largest in ((mean, stats.mean, size[0]), (variance, stats.variance, size[1])):
            allowed = 16 * (steps + 1) * LONG(2.0) ** -53 * largest + LONG(2.0) ** -1000
            # Beyond, float64 may overflow where `longdouble` does not.
            same = (np.abs(seen - expected) <= allowed) | (largest > 1e300)
            same = np.where(np.isfinite(expected), same, ~np.isfinite(seen))
            assert same.all(), (expected, seen, allowed)
    assert stats.steps == steps
    bounds = np.stack([stats.mean_bound, stats.variance_bound])
    assert not (bounds < 0).any()
    values = np.stack([stats.mean, stats.variance])
    # What the layer's dtype cannot hold is infinite in the layer, and not decidable; nor is float64 beyond 1e150, whose
    # squared standard error overflows.
    usable = np.isfinite(bounds) & np.isfinite(values) & (size.max(0) < min(float(np.finfo(dtype).max) / 8, LIMITS[8]))
    verdicts = verdicts_of(stats, *values)
    assert (verdicts[usable] == "ok").all(), verdicts
    assert not (verdicts[~np.isfinite(values)] == "ok").any(), verdicts
    with np.errstate(all="ignore"):
        near, far = values + bounds / 2, values + 2 * bounds
        usable_near = usable & (np.abs(near - values) <= bounds)
        usable_far = usable & (np.abs(far - values) > bounds) & np.isfinite(far)
    verdicts = verdicts_of(stats, *near)
    assert not (verdicts[usable_near] == "finding").any(), verdicts
    verdicts = verdicts_of(stats, *far)
    assert not (verdicts[usable_far] == "ok").any(), verdicts


def verdicts_of(stats, mean, variance):
    comparison = stats.compare(mean, variance)
    assert str(comparison)
    assert str(comparison.resolution)
    assert comparison.verdict in ("ok", "finding", "undecidable")
    return np.stack([comparison.mean.verdicts, comparison.variance.verdicts])


def case_replay(dice, index):
    """Every honest order is within the worst case of its dtype, on values whose squares neither over- nor underflow."""
    dtype = np.dtype(dice.pick(("f4", "f8")))
    shape = draw_shape(dice)
    if 0 in shape:
        shape = [max(1, size) for size in shape]
    stored = np.dtype(dice.pick(("f2", "f4", "f8")))
    values = (dice.rng.standard_normal(shape) + dice.below(3)) * dice.pick((0.1, 1.0, 30.0))
    # What the layer of this dtype sees.
    values = values.astype(stored).astype(dtype).astype(stored).astype(dtype)
    batch = lay_out(dice, values.astype(stored))
    weights = None
    if dice.chance(0.3):
        weights = dice.rng.uniform(0.5, 1, shape[0]).astype(np.float32)
    means, variances = summation.layer_moments(batch, dtype, weights)
    assert means.shape == variances.shape == (len(summation.ORDERS), shape[-1])
    assert means.dtype == variances.dtype == dtype
    x = values.astype(dtype).astype(LONG).reshape(-1, shape[-1])
    n = len(x)
    shares = np.ones((n, 1), LONG) if weights is None else np.repeat(weights.astype(LONG), n // len(weights))[:, None]
    total = shares.sum()
    mean = (x * shares).sum(0) / total
    variance = (np.square(x - mean) * shares).sum(0) / total
    square = (np.square(x) * shares).sum(0) / total
    # 4 (n + 16) u of the root mean square and of the mean square hold every term, Welford's included.
    loss = 4 * (n + 16) * LONG(2.0) ** -(np.finfo(dtype).nmant + 1)
    assert (np.abs(means - mean) <= loss * np.sqrt(square)).all(), (means, mean)
    assert (np.abs(variances - variance) <= loss * square).all(), (variances, variance)


# ---------------------------------------------------------------- arguments that are none


class NoArray:
    def __array__(self, dtype=None, copy=None):
        return 5


class NoInterface:
    __array_interface__ = {}  # noqa: RUF012


def _deep(depth):
    nested = 1.0
    for _ in range(depth):
        nested = [nested]
    return nested


def _released():
    view = memoryview(bytearray(8))
    view.release()
    return view


def _cycle():
    nested = []
    nested.append(nested)
    return nested


OTHER_DTYPES = ("?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "F", "D", "g", "G", "O", "S3", "U3", "V4")
OTHER_DTYPES += ("M8[s]", "m8[s]", "f4,f4", "(2,)i4")
NOT_BATCHES = (
    *(lambda value=value: value for value in (None, True, 3, 1.5, 1j, "text", b"bytes", ..., (), [], {}, set(), int)),
    *(lambda value=value: value for value in ([[]], [[1]], [[1.0], [1.0, 2.0]], [["a"]], [[None]], [[1.0, "a"]])),
    *(lambda value=value: value for value in ([1.0, 2.0], [[1j]], {"a": 1.0}, {1.0}, [{}], [[b"a"]], len, range(4))),
    *(lambda name=name: np.zeros((3, 2), name) for name in OTHER_DTYPES),
    object,
    lambda: object(),
    lambda: (x for x in ()),
    lambda: np.ma.masked_array(np.ones((2, 2)), False),
    lambda: np.ma.masked,
    lambda: np.float64(1),
    lambda: np.ones(3),
    lambda: np.ones((2, 0)),
    lambda: np.ones((0, 0)),
    lambda: np.ones((2, 0, 2, 0)),
    lambda: [np.ones(2), np.ones(3)],
    lambda: np.array([[np.ones(2), None]], object),
    lambda: memoryview(b"1234"),
    NoArray,
    NoInterface,
    _released,
    _cycle,
    lambda: _deep(70),
)


def _not_weights(dice, items):
    bad = dice.pick((-1.0, -1e-320, np.nan, np.inf, -np.inf))
    one = np.ones(items)
    one[dice.below(items)] = bad
    return dice.pick(
        (
            one,
            one.tolist(),
            np.ones(items + 1),
            np.ones(items - 1),
            np.ones((items, 1)),
            np.ones((1, items, 1)),
            1.0,
            "a" * items,
            ["a"] * items,
            [None] * items,
            np.ones(items, bool),
            np.ones(items, complex),
            np.ones(items, object),
            np.ones(items, "M8[s]"),
            [[1.0], [1.0, 2.0]],
            {},
            object(),
            np.full(items, 1.7e308) if items > 1 else np.full(2, 1.7e308),
        )
    )


NOT_FORMATS = ("nhwc", "NCWH", "", None, 1, b"NHWC", ("NHWC",), ["NHWC"], {}, object(), np.array(["NHWC", "NCHW"]))
NOT_THREADS = (0, -1, -(2**70), True, False, 1.0, "2", [], [1], object(), np.float32(2), 1j, np.array([1, 2]))
NOT_CALLABLE = (3, "f", [], 1.5, object(), True, ())
NOT_COUNTS = (1.5, -1, "1", None, [], 1j, np.float64(3), 2**2000, object())
NOT_VECTORS = (None, 3, "a", [], [[1.0]], ["a"], [None], 1j, [1j], {}, np.zeros((0,)), np.zeros(3, "M8[s]"), object())
NOT_WEIGHTS_OF_MOMENTS = (-1.0, np.nan, np.inf, -np.inf, "1", True, 1j, [], [1.0], object(), 10**400)
NOT_DECAYS = (-0.1, 1.1, np.nan, np.inf, "0.9", 0.9j, [0.9], {}, object(), 10**400, np.array([0.5, 0.5]))
NOT_DTYPES = ("int32", "float128", "text", "", 5, object(), int, "f4,f4", [], ("f4",), {})
NOT_RATES = ("float16", "", 1, np.float32, [], object(), np.array(["float32", "float64"]))
NOT_STEPS = (-1, 1.5, "1", None, [], 1j, -(2**80))


def case_refused(dice, index):
    """One bad argument among good ones: an exception of three kinds, and no other."""
    with warnings.catch_warnings():
        # NumPy's own, of what it turns into an array.
        warnings.simplefilter("ignore")
        kind, call = _bad_call(dice)
        try:
            result = call()
        except REFUSED as error:
            message = str(error)
        else:
            raise AssertionError(f"{kind} was accepted and gave {result!r}")
    assert message, f"{kind}: an exception without a message"


ARGUMENTS = ("batch", "weights", "format", "threads", "progress", "count", "vector", "weight", "decay", "dtype")
ARGUMENTS += ("rate", "step", "bytes", "biased", "merge", "update", "compare")


def _bad_call(dice):
    good = dice.rng.normal(size=(1 + dice.below(4), 1 + dice.below(3))).astype(dice.pick(("f2", "f4", "f8")))
    items, channels = good.shape
    vectors = np.zeros(channels), np.ones(channels)
    kind = dice.pick(ARGUMENTS)

    def moving(**changes):
        return MovingStats(*vectors, **{"decay": 0.9, **changes})

    def bad_vector():
        return dice.pick((*NOT_VECTORS, np.zeros(channels + 1)))

    if kind == "batch":
        bad = dice.pick(NOT_BATCHES)()
        return kind, lambda: batch_moments(bad, data_format=dice.pick(("NHWC", "NCHW")))
    if kind == "weights":
        bad = _not_weights(dice, items)
        return kind, lambda: batch_moments(good, weights=bad)
    if kind == "format":
        bad = dice.pick(NOT_FORMATS)
        return kind, lambda: (moving().update if dice.chance(0.3) else batch_moments)(good, data_format=bad)
    if kind == "threads":
        bad = dice.pick(NOT_THREADS)
        return f"threads={bad!r}", lambda: batch_moments(good, threads=bad)
    if kind == "progress":
        bad = dice.pick(NOT_CALLABLE)
        return kind, lambda: batch_moments(good, progress=bad)
    if kind == "count":
        bad = dice.pick(NOT_COUNTS)
        return f"count={bad!r}"[:60], lambda: Moments(bad, *vectors)
    if kind == "vector":
        bad = bad_vector()
        choices = (
            lambda: Moments(3, bad, vectors[1]),
            lambda: Moments(3, vectors[0], bad),
            lambda: Moments(3, vectors[0], vectors[1] - 2),
            lambda: Moments(0, *vectors),
            lambda: MovingStats(bad, vectors[1], decay=0.9),
            lambda: MovingStats(vectors[0], bad, decay=0.9),
        )
        choice = dice.below(len(choices))
        if choice in (0, 4) and isinstance(bad, np.ndarray) and bad.shape == (channels + 1,):
            # A vector of its own right, which the other does not fit.
            return kind, choices[choice]
        return f"{kind} {bad!r}", choices[choice]
    if kind == "weight":
        bad = dice.pick(NOT_WEIGHTS_OF_MOMENTS)
        return f"weight={bad!r}"[:60], lambda: Moments(3, *vectors, bad)
    if kind == "decay":
        bad = dice.pick(NOT_DECAYS)
        if dice.chance(0.5):
            return f"decay={bad!r}"[:60], lambda: moving().update(good, decay=bad)
        return f"decay={bad!r}"[:60], lambda: moving(decay=bad)
    if kind == "dtype":
        bad = dice.pick(NOT_DTYPES)
        return f"dtype={bad!r}", lambda: moving(dtype=bad)
    if kind == "rate":
        bad = dice.pick(NOT_RATES)
        return f"rate_dtype={bad!r}", lambda: moving(rate_dtype=bad)
    if kind == "step":
        bad = dice.pick(NOT_STEPS)
        return f"local_step={bad!r}", lambda: moving(zero_debias=True, local_step=bad)
    if kind == "bytes":
        bad = dice.pick(NOT_STEPS)
        return f"replay_bytes={bad!r}", lambda: moving(replay_bytes=bad)
    if kind == "biased":
        bad = dice.pick(({"biased": vectors[0]}, {"local_step": 3}, {"zero_debias": True, "biased": np.zeros(9)}))
        return kind, lambda: moving(**bad)
    found = batch_moments(good)
    if kind == "merge":
        bad = dice.pick((None, 1.0, good, (1, [0.0], [0.0]), Moments(3, np.zeros(9), np.ones(9))))
        return kind, lambda: found.merge(bad)
    if kind == "update":
        choices = (
            lambda: moving().update(np.ones((2, 9), np.float32)),
            lambda: moving().update(found, weights=np.ones(items)),
            lambda: moving(bessel=True).update(good, weights=np.full(items, 2.0)),
            lambda: moving().update(dice.pick(NOT_BATCHES)()),
            lambda: moving().update(good, weights=_not_weights(dice, items)),
        )
        return kind, dice.pick(choices)
    stats, bad = moving(), bad_vector()
    return f"compare {bad!r}", lambda: stats.compare(*((bad, vectors[1]) if dice.chance(0.5) else (vectors[0], bad)))


# Up to which part of all cases.
CASES = (
    (0.600, case_moments),
    (0.700, case_weights),
    (0.820, case_merge),
    (0.840, case_cut),
    (0.846, case_moving),
    (0.852, case_replay),
    (1.000, case_refused),
)


PARTS = {"inputs": CASES, "recurrence": ((1.0, case_recurrence),)}


def run_case(seed, index, part="inputs"):
    """Run one case; raises what makes it fail."""
    dice = Dice(seed, index)
    share = dice.roll()
    case = next(case for limit, case in PARTS[part] if share < limit)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        case(dice, index)


# ---------------------------------------------------------------- the command


def again(seed, index, part="inputs"):
    command = f"{os.path.relpath(sys.executable)} tests/support/fuzz.py --part {part}"
    return f"{command} --seed {seed} --first {index} --count 1"


def passes(seed, index, part):
    """Whether a case passes; what makes it fail is printed."""
    try:
        run_case(seed, index, part)
    except Exception:
        print(traceback.format_exc(), file=sys.stderr, flush=True)
        print(f"FAILED: seed {seed}, case {index}. To run it again:\n    {again(seed, index, part)}", flush=True)
        return False
    return True


def work(seed, part, end, taken, current, failed, worker):
    """Take chunks of cases until there are none or one has failed."""
    faulthandler.enable()
    while not failed.value:
        with taken.get_lock():
            first = taken.value
            taken.value = min(end, first + CHUNK)
        if first >= end:
            break
        for index in range(first, min(end, first + CHUNK)):
            current[worker] = index
            if not passes(seed, index, part):
                failed.value = 1
                return
    current[worker] = -1


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1_000_000, help="how many cases (default: %(default)s)")
    parser.add_argument("--part", choices=PARTS, default="inputs", help="which cases (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="the first case")
    parser.add_argument(
        "--workers",
        type=int,
        default=len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1,
        help="processes (default: %(default)s); 0: this one, where a crash is not told",
    )
    arguments = parser.parse_args()
    end = arguments.first + arguments.count
    count = max(1, min(arguments.workers, -(-arguments.count // CHUNK))) if arguments.workers else 0
    started = time.perf_counter()
    ran = in_processes(arguments, count, end) if count else in_this_process(arguments, end)
    if not ran:
        return 1
    print(
        f"{arguments.count:,} cases of {arguments.part}, seed {arguments.seed}, from {arguments.first:,} on: "
        f"no failure in {time.perf_counter() - started:.0f} s with {count} worker{'' if count == 1 else 's'}."
    )
    return 0


def in_this_process(arguments, end):
    """Run the cases here, up to the first that fails; returns whether none did."""
    return all(passes(arguments.seed, index, arguments.part) for index in range(arguments.first, end))


def in_processes(arguments, count, end):
    """Run the cases in so many processes; returns whether none failed and no process crashed."""
    context = multiprocessing.get_context("spawn")
    taken, failed = context.Value("q", arguments.first), context.Value("b", 0)
    current = context.RawArray("q", [-1] * count)
    own = arguments.seed, arguments.part, end, taken, current, failed
    workers = [context.Process(target=work, args=(*own, worker)) for worker in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        # With one that has crashed the others do not go on.
        worker.join()
        if worker.exitcode:
            failed.value = 1
    for index, worker in zip(current, workers, strict=True):
        if worker.exitcode:
            failed.value = 1
            print(f"CRASHED with exit code {worker.exitcode}: seed {arguments.seed}, case {index}. To run it again:")
            print(f"    {again(arguments.seed, index, arguments.part)}")
    return not failed.value


if __name__ == "__main__":
    sys.exit(main())
