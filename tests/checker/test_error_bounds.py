"""The figures that decide, against correct layers of many orders, TensorFlow's own, recordings of the real 1.15.5, and
faulty ones: no false alarm, and not much wider than they need to be."""

import json
import math
from pathlib import Path

import honest
import numpy as np
import pytest
import tensorflow as tf
import tiers
from golden.record import large

from tf1bn.checker import MovingStats, batch_moments, error_bounds

DTYPES = ["float16", "float32", "float64"]
GOLDEN = json.loads(Path(large.PATH).read_text(encoding="utf-8"))


def close(expected, rel):
    # Left out, `abs` would be 1e-12 and let any bound of a float64 layer pass.
    return pytest.approx(expected, rel=rel, abs=0)


def batch_of(kind, count, dtype, channels, seed=0):
    return honest.KINDS[kind](np.random.default_rng([seed, count]), (count, channels)).astype(dtype)


def expect(batches, start=(0.0, 1.0), **arguments):
    """What the checker expects after ``batches`` [elements, channels]."""
    mean, variance = (np.full(batches[0].shape[1], value) for value in start)
    stats = MovingStats(mean, variance, dtype=batches[0].dtype, **arguments)
    for batch in batches:
        stats.update(batch)
    return stats


def run(batches, moments, start=(0.0, 1.0), **arguments):
    """The statistics of a correct layer after ``batches``; ``moments``: of honest.py, or their results."""
    moving = tuple(np.full(batches[0].shape[1], value, batches[0].dtype) for value in start)
    for i, batch in enumerate(batches):
        own = honest.layer_moments(moments, batch) if callable(moments) else moments[i]
        moving = honest.step(moving, len(batch), own, **arguments)
    return moving


def layers(count):
    """The correct layers that can be run on so many elements."""
    return honest.MOMENTS | (honest.SLOW_MOMENTS if count <= 257 else {}) | honest.THREADED_MOMENTS


def assert_correct(stats, seen, name):
    __tracebackhide__ = True
    comparison = stats.compare(*seen)
    assert comparison.ok, f"{name}: {comparison}"
    errors = np.abs(np.float64(seen) - [stats.mean, stats.variance])
    worst = stats.two_bounds()[1]
    assert (errors <= worst).all(), f"{name} is farther off than the worst case"


@pytest.mark.parametrize("kind", tiers.slow_but(list(honest.KINDS)[::2], list(honest.KINDS)))
@pytest.mark.parametrize("count", tiers.slow_but([257], [1, 2, 3, 16, 257, 4096, 65_537]))
@pytest.mark.parametrize("dtype", DTYPES)
def test_no_correct_layer_is_outside_the_bound(dtype, count, kind):
    small = count <= 257
    for decay, steps in ((0.0, 1), (0.9, 8 if small else 2)):
        batches = [batch_of(kind, count, dtype, 4 if small else 2, seed) for seed in range(steps)]
        results = {
            name: [honest.layer_moments(moments, batch) for batch in batches] for name, moments in layers(count).items()
        }
        for bessel, layer_rate, rate_dtype in (
            (False, "float64", None),
            (True, "float32", None),
            (False, "float64", "float64"),
            (True, "float32", "float32"),
        ):
            stats = expect(batches, decay=decay, bessel=bessel, rate_dtype=rate_dtype)
            for name, moments in results.items():
                seen = run(batches, moments, decay=decay, bessel=bessel, rate_dtype=layer_rate)
                assert_correct(stats, seen, f"{name}, decay {decay}, bessel {bessel}")


@pytest.mark.parametrize("kind", ["uniform", "normal", "relu"])
@pytest.mark.parametrize("count", tiers.slow_but([16, 4096], [16, 257, 4096, 65_537]))
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_bound_is_not_much_wider_than_the_worst_correct_error(dtype, count, kind):
    bound, worst = np.zeros(2), np.zeros(2)
    for seed in range(3):
        batch = batch_of(kind, count, dtype, 8, seed)
        stats = expect([batch], (0.0, 0.0), decay=0.0)
        bound = np.maximum(bound, [stats.mean_bound.max(), stats.variance_bound.max()])
        exact = np.longdouble(batch)
        exact = np.stack([exact.mean(axis=0), np.square(exact - exact.mean(axis=0)).mean(axis=0)])
        for moments in layers(count).values():
            errors = np.abs(np.longdouble(run([batch], moments, (0.0, 0.0), decay=0.0)) - exact)
            worst = np.maximum(worst, errors.max(axis=1).astype(float))
    assert (bound <= 30 * worst).all(), bound / worst


@pytest.mark.parametrize("kind", tiers.slow_but(["constant"], ["constant", "relu", "offset", "mostly zero"]))
def test_no_correct_layer_is_outside_the_bound_where_additions_stagnate(kind):
    batch = batch_of(kind, 800_000, "float32", 3)
    stats = expect([batch], decay=0.0)
    for name, moments in (honest.MOMENTS | honest.THREADED_MOMENTS).items():
        assert_correct(stats, run([batch], moments, decay=0.0), name)
    # The bound follows what such layers do: without a replay they would be far outside.
    inside = stats.two_bounds()[0]
    farthest = np.abs(np.float64(run([batch], honest.MOMENTS["in order"], decay=0.0)) - [stats.mean, stats.variance])
    assert (farthest > 20 * inside).any()


@pytest.mark.parametrize("shape", [(64, 28, 28, 3), (1024, 28, 28, 3), (8, 14, 14, 256), (4096, 1, 1, 8)], ids=str)
@pytest.mark.parametrize(
    "kind", tiers.slow_but(["uniform", "relu"], ["uniform", "relu", "lognormal", "constant", "offset"])
)
def test_the_kernels_of_todays_tensorflow_are_correct(kind, shape):
    batch = batch_of(kind, math.prod(shape[:-1]), "float32", shape[-1]).reshape(shape)
    mean, variance = tf.nn.moments(tf.constant(batch), [0, 1, 2])
    ones = np.ones(shape[-1], np.float32)
    _, fused_mean, fused_variance, *_ = tf.compat.v1.nn.fused_batch_norm(tf.constant(batch), ones, ones, epsilon=0.001)
    for bessel, seen in ((False, (mean, variance)), (True, (fused_mean, fused_variance))):
        stats = MovingStats(0 * ones, 0 * ones, decay=0.0, bessel=bessel)
        stats.update(batch)
        assert_correct(stats, [value.numpy() for value in seen], f"bessel {bessel}")


@pytest.mark.parametrize("kind", tiers.slow_but(["relu"], sorted(large.KINDS)))
def test_the_real_layer_is_correct_on_large_batches(kind):
    rows = [row for row in GOLDEN["rows"] if row["kind"] == kind]
    assert len(rows) == 2 * len(large.DECAYS) * len(large.SHAPES)
    batches = {}
    for row in rows:
        shape = tuple(row["shape"])
        if shape not in batches:
            batches[shape] = large.batch(kind, shape)
            assert large.checksum(batches[shape]) == row["sha256"]
        zero = np.zeros(shape[-1])
        stats, blind = (MovingStats(zero, zero + 1, decay=row["decay"], bessel=row["fused"]) for _ in range(2))
        stats.update(batches[shape])
        blind.update(batch_moments(batches[shape]))
        seen = row["moving_mean"], row["moving_variance"]
        assert_correct(stats, seen, f"{shape}, fused {row['fused']}")
        assert blind.compare(*seen).verdict != "finding"
        # The other convention is told wherever the bound is smaller than what it does.
        other = MovingStats(zero, zero + 1, decay=row["decay"], bessel=not row["fused"])
        other.update(batches[shape])
        told = other.compare(*seen)
        if np.any(np.abs(other.variance - stats.variance) > stats.variance_bound + other.variance_bound):
            assert told.variance.verdict == "finding"
            assert told.resolution.decides_bessel


# ---------------------------------------------------------------- long runs


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("decay", "steps"), tiers.slow_after(2, [(0.9, 100), (0.99, 1000), (0.999, 4000)]))
def test_a_long_run_stays_within_a_sharp_bound(dtype, decay, steps):
    rng = np.random.default_rng(3)
    batches = [rng.uniform(0, 255, (16, 8)).astype(dtype) for _ in range(steps)]
    stats = expect(batches, decay=decay, bessel=True, rate_dtype="float64", replay_bytes=0)
    moving = run(batches, honest.MOMENTS["in order"], decay=decay, bessel=True)
    assert_correct(stats, moving, "in order")
    # Much nearer than the worst case, in which 1 / (1 - decay) roundings add up.
    inside, worst = stats.two_bounds()
    assert (inside[0] < worst[0] / (2 if decay == 0.9 else 5)).all() or dtype == "float16"
    errors = np.abs(np.float64(moving) - [stats.mean, stats.variance]).max(axis=1)
    if dtype != "float64":
        # The checker itself is a float64 layer, and errs as such layers do.
        assert (inside.max(axis=1) < 30 * errors).all()


def test_updates_that_are_swallowed_are_correct():
    # One step of float16 at decay .999 does not move a warm mean; nor does it in the real 1.15.5.
    batches = [np.random.default_rng(i).normal(100, 1, (64, 4)).astype(np.float16) for i in range(300)]
    start = (100.25, 1.0)
    stats = expect(batches, start, decay=0.999)
    moving = run(batches, honest.MOMENTS["pairwise"], start, decay=0.999)
    np.testing.assert_array_equal(moving[0], np.float16(100.25))
    assert_correct(stats, moving, "swallowed")
    # The same in float32 is a finding: there the step is taken.
    batches = [batch.astype(np.float32) for batch in batches]
    stats = expect(batches, start, decay=0.999)
    assert stats.compare([100.25] * 4, stats.variance).mean.verdict == "finding"


def test_the_same_batch_again_and_again():
    batch = batch_of("uniform", 65_537, "float32", 2)
    stats = expect([batch] * 200, decay=0.99)
    for name in ("in order", "8 lanes", "random tree"):
        once = honest.layer_moments(honest.MOMENTS[name], batch)
        assert_correct(stats, run([batch] * 200, [once] * 200, decay=0.99), name)


# ---------------------------------------------------------------- faulty layers


def faulty(batches, fault):
    """The statistics of a float32 layer with one fault."""
    arguments = {"decay": 0.999, "bessel": False}
    if fault == "bessel":
        arguments["bessel"] = True
    elif fault == "decay":
        arguments["decay"] = 0.99
    elif fault == "missed":
        batches = batches[:2] + batches[3:]
    elif fault == "one step behind":
        batches = batches[:-1]
    elif fault == "twice":
        batches = batches + batches[-1:]
    return run(batches, honest.MOMENTS["pairwise"], **arguments)


@pytest.mark.parametrize("fault", ["bessel", "decay", "missed", "one step behind", "twice"])
def test_a_faulty_layer_is_far_outside_the_bound(fault):
    rng = np.random.default_rng(4)
    batches = [rng.uniform(0, 255, (16, 5)).astype(np.float32) for _ in range(6)]
    stats = expect(batches, decay=0.999)
    assert stats.compare(*faulty(batches, None)).ok
    mean, variance = stats.compare(*faulty(batches, fault))
    assert (variance.verdicts == "finding").all()
    assert variance.share > 100
    # Bessel's correction is none of the mean's business.
    assert mean.mask.all() if fault == "bessel" else not mean.mask.any()


@pytest.mark.parametrize("count", [800_000, 65_537])
def test_bessels_correction_is_told_on_large_batches_of_all_channels_or_not_claimed(count):
    batch = batch_of("uniform", count, "float32", 3)
    stats = expect([batch], decay=0.0)
    moments = honest.layer_moments(honest.MOMENTS["pairwise"], batch)
    comparison = stats.compare(*run([batch], [moments], decay=0.0, bessel=True))
    # N/(N-1) is 1.3e-6 or 1.5e-5 of the variance; float32 sums may be off by more.
    assert comparison.ok
    assert not comparison.resolution.decides_bessel
    assert "not decidable in one step; in about " in str(comparison.resolution)


def test_the_dtype_of_the_rate_can_be_told():
    batch = np.random.default_rng(4).uniform(0, 255, (16, 5)).astype(np.float32)
    for layer in ("float32", "float64"):
        moving = run([batch], honest.MOMENTS["NumPy's"], decay=0.999, rate_dtype=layer)
        for rate_dtype in (None, "float32", "float64"):
            stats = expect([batch], decay=0.999, rate_dtype=rate_dtype)
            assert stats.compare(*moving).mean.ok is (rate_dtype in (None, layer))


# ---------------------------------------------------------------- the formulas


def test_the_bound_of_statistics_that_never_move():
    stats = MovingStats([0.5, 0.1], [1.0, 0.1], decay=1.0)
    for _ in range(3):
        stats.update(np.random.default_rng(1).normal(size=(4, 2)))
    np.testing.assert_array_equal(stats.mean, [0.5, 0.1])
    # float32 holds 0.5 and 1 as they are, and 0.1 rounded.
    rounding = abs(float(np.float32(0.1)) - 0.1)
    np.testing.assert_array_equal(stats.mean_bound, [0, rounding])
    np.testing.assert_array_equal(stats.variance_bound, [0, rounding])
    assert stats.compare(np.float32([0.5, 0.1]), np.float32([1, 0.1])).ok


@pytest.mark.parametrize(
    ("dtype", "sum_unit", "unit"),
    [("float32", 2**-24, 2**-24), ("float64", 2 * 2**-53, 2 * 2**-53), ("float16", 2**-24, 2**-11)],
)
def test_the_worst_case_after_one_step_is_that_of_the_formula(dtype, sum_unit, unit):
    # N = 2, m = 2 and v = 1, or 2 with Bessel's correction; decay 0, so that the first values do not matter.
    stats = [MovingStats([0.0], [1.0], decay=0.0, bessel=bessel, dtype=dtype) for bessel in (False, True)]
    for one in stats:
        one.update(batch_moments([[1.0], [3.0]]))
    g = (2 + 3 * math.log(2) + 6) * sum_unit
    dm = g * math.sqrt(5)
    dv = 3 * dm + g
    # Float16 rounds the moments. Then come a difference from the old value, a product, and the new value.
    rounding = unit if dtype == "float16" else 0
    expected = dm + rounding * 2 + 3 * unit * 2 + unit * 2
    # What is of second order in the unit is left out here.
    tolerance = 20 * unit
    assert stats[0].mean_bound[0] == stats[1].mean_bound[0] == close(expected, rel=tolerance)
    expected = dv + rounding * 1 + unit * 1
    assert stats[0].variance_bound[0] == close(expected, rel=tolerance)
    expected = 2 * dv + 4 * sum_unit * 2 + rounding * 2 + 3 * unit * 1 + unit * 2
    assert stats[1].variance_bound[0] == close(expected, rel=tolerance)


@pytest.mark.parametrize(("dtype", "u"), [("float32", 2**-24 + 2**-53), ("float64", 2**-52)])
def test_the_expected_error_after_one_step_is_that_of_the_formula(dtype, u):
    # N = 6, m = 3 and v = 4; decay 0 from 3 and 4, so that nothing moves and the recurrence is exact.
    values = np.array([[1.0], [5], [1], [5], [1], [5]])
    stats = MovingStats([3.0], [4.0], decay=0.0, dtype=dtype)
    stats.update(values)
    p, k = math.sqrt(1 / (8 * math.log(2))), error_bounds.DEVIATIONS
    sm = p * u * math.sqrt((6 / 3 + 2) * 9 + 4 / 2)
    sv = p * u * 4 * math.sqrt(6 / 3 + 4) + 2 * sm * math.sqrt(4 / 6)
    inside = stats.two_bounds()[0]
    assert inside[0, 0] == close(k * math.hypot(sm, p * u * 3), rel=1e-4)
    assert inside[1, 0] == close(k * math.hypot(sv, p * u * 4) + (k * sm) ** 2, rel=1e-4)


def test_the_worst_case_of_a_constants_variance_is_what_a_wrong_mean_makes_of_it():
    # Where v is 0 only dm^2 is left; decay 0 from 0, so that nothing else is rounded.
    stats = MovingStats([0.0], [0.0], decay=0.0)
    stats.update(batch_moments(np.full((4, 1), 3.0)))
    g = (4 + 3 * math.log(4) + 6) * 2**-24
    assert stats.variance_bound[0] == close((3 * g) ** 2, rel=1e-5)


def test_a_layer_that_flushes_to_zero_is_correct():
    # The squares are 1e-40, and the smallest normal float32 is 1.2e-38.
    batch = np.float32([[1e-20], [-1e-20]])
    stats = MovingStats([0.0], [0.0], decay=0.0)
    stats.update(batch)
    assert stats.variance[0] > 0
    assert stats.compare([0.0], [0.0]).ok
    # Four times that in the moments, and four in the update.
    assert stats.two_bounds()[0][1, 0] == close(8 * 2.0**-126, rel=1e-2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("decay", [0.0, 0.9, 0.999])
def test_a_zero_debiased_layer_is_correct(dtype, decay):
    rng = np.random.default_rng(5)
    cast = np.dtype(dtype).type
    stats = MovingStats(np.zeros(6), np.ones(6), decay=decay, zero_debias=True, dtype=dtype)
    biased, step = np.zeros(6, dtype), cast(0)
    variance = np.ones(6, dtype)
    rate = cast(1 - decay)
    for _ in range(30):
        batch = rng.uniform(0, 255, (64, 6)).astype(dtype)
        stats.update(batch)
        moments = honest.layer_moments(honest.MOMENTS["in order"], batch)
        biased, variance = honest.step((biased, variance), 64, moments, decay=decay)
        step += cast(1)
        mean = biased / (cast(1) - (cast(1) - rate) ** step)
        assert_correct(stats, (mean, variance), "debiased")
        # A mean that was not debiased is not.
        if decay == 0.9 and step < 20:
            assert stats.compare(biased, variance).mean.verdict == "finding"


# ---------------------------------------------------------------- weights


@pytest.mark.parametrize("kind", ["uniform", "normal", "relu", "constant", "offset"])
@pytest.mark.parametrize("shape", [(16, 3), (5, 7, 4), (64, 32, 32, 2)], ids=str)
def test_layers_with_batch_weights_are_correct(kind, shape):
    rng = np.random.default_rng(6)
    batch = batch_of(kind, math.prod(shape[:-1]), "float32", shape[-1]).reshape(shape)
    for weights in (rng.uniform(0, 2, shape[0]), np.arange(shape[0]) % 3, np.full(shape[0], 0.1)):
        weights = weights.astype(np.float32)
        zero = np.zeros(shape[-1], np.float32)
        stats = MovingStats(zero, zero, decay=0.0)
        stats.update(batch, weights=weights)
        rows = batch.reshape(-1, shape[-1])
        spread = np.repeat(weights, len(rows) // shape[0])[:, None]
        for add in (lambda terms: np.add.reduce(terms, axis=0), honest._pairwise, lambda terms: honest._numpy(terms)):
            # As path D of TF 1.15: by the reciprocal of the sum of weights, over all elements.
            reciprocal = np.float32(1) / add(np.broadcast_to(spread, rows.shape).copy())
            mean = add(spread * rows) * reciprocal
            assert_correct(stats, (mean, add(spread * np.square(rows - mean)) * reciprocal), f"{kind}, {shape}")
        if kind == "uniform" and np.ptp(weights):
            unweighted = MovingStats(zero, zero, decay=0.0)
            unweighted.update(batch)
            assert unweighted.compare(mean, unweighted.variance).mean.verdict == "finding"


def test_weights_belong_to_batches_and_to_no_correction():
    batch = np.ones((4, 2))
    with pytest.raises(ValueError, match=r"`weights` goes with a batch; these are `Moments`"):
        MovingStats([0.0, 0.0], [1.0, 1.0], decay=0.9).update(batch_moments(batch), weights=np.ones(4))
    with pytest.raises(ValueError, match=r"`weights` with `bessel` has no meaning"):
        MovingStats([0.0, 0.0], [1.0, 1.0], decay=0.9, bessel=True).update(batch, weights=[1, 2, 3, 4])
    # Weights of 1 are none.
    MovingStats([0.0, 0.0], [1.0, 1.0], decay=0.9, bessel=True).update(batch, weights=np.ones(4))
