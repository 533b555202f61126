"""The weighted recurrence a d + m r of Keras and PyTorch: correct layers are ok, faulty ones are not."""

import itertools
import math
from fractions import Fraction

import honest
import numpy as np
import pytest
import tiers

from tf1bn.checker import Moments, MovingStats

UNITS = {"float16": 11, "float32": 24, "float64": 53}
DTYPES = [*UNITS]


def weighted(moving, moments, decay, keep=None):
    """A step of a layer in the dtype of ``moving``; every operation is rounded to it."""
    dtype = moving.dtype.type
    keep = dtype(decay) if keep is None else keep
    return moving * keep + moments.astype(moving.dtype) * dtype(1 - decay)


def in_double(moving, moments, decay):
    """PyTorch on a CPU forms the sum in double and stores it rounded."""
    return (moments.astype(np.float64) * (1 - decay) + decay * moving.astype(np.float64)).astype(moving.dtype)


def lerp(moving, moments, decay):
    """The difference of TF 1.x."""
    return moving - (moving - moments.astype(moving.dtype)) * moving.dtype.type(1 - decay)


def one_minus_rate(moving, moments, decay):
    dtype = moving.dtype.type
    return weighted(moving, moments, decay, keep=dtype(1) - dtype(1 - decay))


FORMS = {"weighted": weighted, "in double": in_double, "1 - rate": one_minus_rate, "difference": lerp}


def run(form, decay, dtype, steps, order="pairwise", seed=0, size=(60, 4)):
    """Batches, and the statistics [2, C] that a layer has after them."""
    rng = np.random.default_rng(seed)
    place = np.array([-30.0, 0.1, 1.0, 40.0])
    moving = np.stack([place / 2, np.ones(4)]).astype(dtype)
    start, batches = moving, []
    for _ in range(steps):
        batch = (rng.normal(size=size) * [0.5, 1, 2, 3] + place).astype(dtype)
        batches.append(batch)
        moving = FORMS[form](moving, np.stack(honest.layer_moments(honest.MOMENTS[order], batch)), decay)
    return start, batches, moving


def judge(start, batches, moving, decay, recurrence, **more):
    stats = MovingStats(*start, decay=decay, dtype=moving.dtype.name, recurrence=recurrence, **more)
    for batch in batches:
        stats.update(batch)
    return stats, stats.compare(*moving)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("lengths", tiers.slow_but([(1, 50)], [(1, 50), (300,)]), ids=str)
@pytest.mark.parametrize("decay", tiers.slow_but([0.999], [0.0, 0.1, 0.9, 0.99, 0.999, 0.9997, 1.0]))
def test_correct_layers_are_ok(decay, lengths, dtype):
    for form, steps, order in itertools.product(FORMS, lengths, ("in order", "random tree")):
        start, batches, moving = run(form, decay, dtype, steps, order)
        allowed = [None] + (["weighted"] if form != "difference" else ["difference"])
        for recurrence in allowed:
            for batch in (batches, [Moments(len(b), b.mean(0, np.float64), b.var(0, np.float64)) for b in batches]):
                _, compared = judge(start, batch, moving, decay, recurrence)
                assert compared.verdict == "ok", (form, steps, order, recurrence, str(compared))


@pytest.mark.parametrize("rate_dtype", [None, "float64"])
@pytest.mark.parametrize("decay", tiers.slow_but([1e-9, 0.3], [1e-300, 1e-9, 0.001, 0.003, 0.01, 0.05, 0.3]))
@pytest.mark.parametrize("dtype", DTYPES)
def test_correct_layers_with_small_decays_are_ok(dtype, decay, rate_dtype):
    for form, seed in itertools.product(FORMS, range(8)):
        rng = np.random.default_rng([seed, 9])
        moving = rng.normal(0, 10.0 ** rng.integers(0, 4), (2, 3)).astype(dtype)
        moving[1] = np.abs(moving[1])
        start, batches = moving, []
        for _ in range(1 + seed):
            # Now and then batches of zeros, after which only the old value is left.
            batch = (rng.normal(size=(20, 3)) * (rng.random() < 0.6)).astype(dtype)
            batches.append(batch)
            with np.errstate(under="ignore"):
                moving = FORMS[form](moving, np.stack(honest.layer_moments(honest.MOMENTS["in order"], batch)), decay)
        for recurrence in (None, "difference" if form == "difference" else "weighted"):
            _, compared = judge(start, batches, moving, decay, recurrence, rate_dtype=rate_dtype)
            assert compared.verdict == "ok", (form, seed, recurrence, str(compared))


@pytest.mark.parametrize("recurrence", ["difference", "weighted", None])
@pytest.mark.parametrize("rate_dtype", [None, "float32", "float64"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_small_moment_is_not_lost_beside_a_large_start(dtype, rate_dtype, recurrence):
    for decay, start, variance in itertools.product([0.0, 1e-300, 1e-20, 1e-12, 0.3], [1e10, 2.0**14], [1e-10, 3e-7]):
        stats = MovingStats([0.0], [start], decay=decay, dtype=dtype, rate_dtype=rate_dtype, recurrence=recurrence)
        stats.update(Moments(2, [0.0], [variance]))
        if rate_dtype is None:
            rate = 1 - Fraction(decay)
        else:
            one = np.dtype(rate_dtype).type(1)
            rate = Fraction(float(np.dtype(dtype).type(one - np.dtype(rate_dtype).type(decay))))
        exact = Fraction(start) * (1 - rate) + Fraction(variance) * rate
        assert abs(Fraction(float(stats.variance[0])) - exact) <= Fraction(1, 10**15) * exact
        if start < 6e4 or dtype != "float16":
            assert stats.compare([0.0], [np.dtype(dtype).type(float(exact))]).ok


@pytest.mark.slow
def test_the_weights_of_a_weighted_sum_need_not_add_up_to_one():
    start, batches, moving = run("weighted", 0.999, "float32", 3000)
    assert judge(start, batches, moving, 0.999, "weighted")[1].ok
    assert judge(start, batches, moving, 0.999, None)[1].ok
    # A difference has no such drift, and may not be off by as much.
    assert judge(start, batches, moving, 0.999, "difference")[1].verdict == "finding"


def test_the_bound_still_shows_mistakes():
    start, batches, moving = run("weighted", 0.9, "float32", 4)
    for recurrence in ("weighted", None):
        assert judge(start, batches, moving, 0.9, recurrence)[1].ok
        assert judge(start, batches, moving, 0.9, recurrence, bessel=True)[1].verdict == "finding"
        assert judge(start, batches, moving, 0.90002, recurrence)[1].verdict == "finding"
        assert judge(start, batches, moving * np.float32(1 + 4e-6), 0.9, recurrence)[1].verdict == "finding"


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.999])
def test_the_worst_case_holds_every_rounding(decay):
    """All signs of all roundings of one step from exact moments, in exact arithmetic."""
    unit = Fraction(1, 2**24)
    old, moment = Fraction(100), Fraction(float(np.float32(-3.7)))
    d, r = Fraction(decay), 1 - Fraction(decay)
    exact = old * d + moment * r
    worst = max(
        abs(
            (old * d * (1 + s[0] * unit) * (1 + s[1] * unit) + moment * r * (1 + s[2] * unit) * (1 + s[3] * unit))
            * (1 + s[4] * unit)
            - exact
        )
        for s in itertools.product((-1, 1), repeat=5)
    )
    bounds = {}
    for recurrence in ("difference", "weighted", None):
        stats = MovingStats([100.0], [100.0], decay=decay, recurrence=recurrence)
        stats.update(Moments(1, [float(moment)], [0.0]))
        bounds[recurrence] = stats.mean_bound[0]
    # A batch of one value has a mean without a rounding error, but for the 7 that the bound gives it.
    own = float(r * abs(moment) * 12 * unit)
    assert worst <= bounds["weighted"] <= 2 * float(worst) + own
    assert bounds[None] == max(bounds["weighted"], bounds["difference"])
    assert decay == 0.5 or bounds["difference"] < bounds["weighted"]


def test_an_unknown_recurrence_is_refused():
    for recurrence in ("keras", 1, ["weighted"], True):
        with pytest.raises(ValueError, match=r'`recurrence` is .*; it must be "difference", "weighted" or None\.'):
            MovingStats([0.0], [1.0], decay=0.9, recurrence=recurrence)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("bessel", [False, True])
def test_inputs_that_are_another_programs(seed, bessel):
    """The bound covers any error of the inputs of that size, and not one of twenty times that size."""
    rng = np.random.default_rng(seed)
    batches = [rng.normal([3, -20, 0.1], [1, 2, 5], (40, 3)) for _ in range(5)]
    size = 1e-5
    for factor, verdict in ((1, "ok"), (20, "finding")):
        moving = np.stack([np.zeros(3), np.ones(3)])
        for batch in batches:
            # The worst direction for the mean, then for the variance.
            centred = batch - batch.mean(axis=0)
            error = np.ones_like(batch) if seed % 2 else centred / centred.std(axis=0)
            error *= factor * size * np.sqrt((batch**2).mean(axis=0))
            seen = batch + error
            variance = seen.var(axis=0) * (40 / 39 if bessel else 1)
            moving = moving - (moving - np.stack([seen.mean(axis=0), variance])) * 0.1
        stats = MovingStats(np.zeros(3), np.ones(3), decay=0.9, bessel=bessel, dtype="float64", input_error=size)
        for batch in batches:
            stats.update(batch)
        assert stats.compare(*moving).verdict == verdict
    for bad in (-1e-9, 1.0, math.nan, "1"):
        with pytest.raises(ValueError, match=r"`input_error` is .*; it must be a number from 0 to below 1"):
            MovingStats([0.0], [1.0], decay=0.9, input_error=bad)
