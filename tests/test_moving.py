"""The moving statistics and their bounds against exact arithmetic, and against honest and dishonest layers."""

import math
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from reference import (
    HONEST_MOMENTS,
    SLOW_HONEST_MOMENTS,
    channels_first,
    exact_moments,
    exact_moving,
    honest_moments,
    honest_step,
)

from tf1bn.checker import Comparison, MovingStats, batch_moments, compare

DTYPES = ["float16", "float32", "float64"]


def close(expected, rel):
    # Left out, `abs` would be 1e-12 and let any bound of a float64 layer pass.
    return pytest.approx(expected, rel=rel, abs=0)


def test_importing_the_checker_imports_no_tensorflow():
    code = "import sys, tf1bn.checker; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = result.stdout.split()
    assert {name.split(".")[0] for name in modules}.isdisjoint({"tensorflow", "keras", "matplotlib", "rich"})
    own = {name for name in modules if name.split(".")[0] == "tf1bn"}
    assert own == {
        "tf1bn",
        "tf1bn._moments",
        "tf1bn._moving",
        "tf1bn._native",
        "tf1bn.checker",
        "tf1bn.comparison",
        "tf1bn.moments",
        "tf1bn.moving",
    }


# ---------------------------------------------------------------- MovingStats


def exact_rate(decay, rate_dtype, dtype):
    if rate_dtype is None:
        return 1 - Fraction(decay)
    one = np.dtype(rate_dtype).type(1)
    return Fraction(float(np.dtype(dtype).type(one - np.dtype(rate_dtype).type(decay))))


@pytest.mark.parametrize("rate_dtype", [None, "float32", "float64"])
@pytest.mark.parametrize("bessel", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9, 0.999, 1.0])
def test_the_recurrence_is_exact_to_float64(decay, dtype, bessel, rate_dtype):
    rng = np.random.default_rng(9)
    stats = MovingStats([0.25, -3.0], [1.0, 4.0], decay=decay, bessel=bessel, dtype=dtype, rate_dtype=rate_dtype)
    seen = []
    for step in range(20):
        batch = rng.uniform(0, 255, (1 + step % 5, 3, 2)).astype(np.float32)
        # Batches and their moments are the same to it.
        stats.update(batch if step % 2 else batch_moments(batch))
        seen.append([exact_moments(values) for values in channels_first(batch, "NHWC")])
    assert stats.steps == 20
    for c, start in enumerate([(0.25, 1.0), (-3.0, 4.0)]):
        mean, variance = exact_moving(
            start, [step[c] for step in seen], rate=exact_rate(decay, rate_dtype, dtype), bessel=bessel
        )
        # Twenty steps of four roundings, of values that are no larger than those in the batches.
        assert abs(Fraction(stats.mean[c]) - mean) <= 80 * Fraction(2) ** -53 * 255
        assert abs(Fraction(stats.variance[c]) - variance) <= 80 * Fraction(2) ** -53 * 2 * 255**2


def test_decay_can_be_given_per_step():
    stats = MovingStats([0.0], [1.0], decay=0.9)
    stats.update([[2.0], [4.0]], decay=0.5)
    assert (stats.mean[0], stats.variance[0]) == (1.5, 1.0)
    stats.update([[2.0], [4.0]], decay=0.0)
    assert (stats.mean[0], stats.variance[0]) == (3.0, 1.0)
    stats.update([[20.0], [40.0]], decay=1.0)
    assert (stats.mean[0], stats.variance[0], stats.steps) == (3.0, 1.0, 3)
    stats.update([[13.0], [13.0]])
    assert stats.mean[0] == close(4.0, rel=1e-15)


def test_update_reads_the_data_format():
    batch = np.arange(24.0).reshape(2, 3, 2, 2)
    stats = MovingStats(np.zeros(3), np.ones(3), decay=0.0)
    assert stats.update(batch, data_format="NCHW") is None
    np.testing.assert_array_equal(stats.mean, [7.5, 11.5, 15.5])


def test_bessels_factor_is_one_for_one_element():
    stats = MovingStats([0.0], [1.0], decay=0.5, bessel=True)
    stats.update([[3.0]])
    assert (stats.mean[0], stats.variance[0]) == (1.5, 0.5)


@pytest.mark.parametrize("decay", [0.0, 0.9, 1.0])
def test_empty_batch_makes_the_statistics_nan(decay):
    stats = MovingStats([0.0], [1.0], decay=decay)
    stats.update(np.zeros((0, 1)))
    assert np.isnan([stats.mean[0], stats.variance[0]]).all()
    assert not stats.compare(stats.mean, stats.variance).ok


def test_what_is_not_finite_stays_in_its_channel_of_the_statistics():
    stats = MovingStats(np.zeros(3), np.ones(3), decay=0.5)
    stats.update([[1.0, np.nan, np.inf], [3.0, 1.0, 1.0]])
    np.testing.assert_array_equal(stats.mean, [1, np.nan, np.inf])
    np.testing.assert_array_equal(stats.variance, [1, np.nan, np.nan])
    mean, variance = stats.compare(stats.mean, stats.variance)
    assert mean.not_finite == variance.not_finite == (1, 2)


def test_statistics_given_out_do_not_change():
    stats = MovingStats([0.0], [1.0], decay=0.5)
    names = ("mean", "variance", "mean_bound", "variance_bound")
    before = [getattr(stats, name) for name in names]
    kept = [value.copy() for value in before]
    stats.update([[1.0], [5.0]])
    for value, same in zip(before, kept, strict=True):
        np.testing.assert_array_equal(value, same)
        with pytest.raises(ValueError, match="read-only"):
            value[0] = 0
    for name in names:
        with pytest.raises(ValueError, match="read-only"):
            getattr(stats, name)[0] = 0
        with pytest.raises(AttributeError):
            setattr(stats, name, [0.0])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"decay": 1.1}, ValueError, "`decay` is 1.1; it must be a number from 0 to 1"),
        ({"decay": -0.1}, ValueError, "`decay` is -0.1; it must be"),
        ({"decay": np.nan}, ValueError, "`decay` is nan; it must be"),
        ({"decay": "0.9"}, TypeError, "`decay` is '0.9'; it must be a number"),
        ({"decay": None}, TypeError, "`decay` is None; it must be a number"),
        ({"zero_debias": True}, NotImplementedError, "`zero_debias` is True; only False"),
        ({"dtype": "int32"}, ValueError, "`dtype` is 'int32'; it must be"),
        ({"dtype": "bfloat"}, ValueError, "`dtype` is 'bfloat'; it must be"),
        ({"rate_dtype": "float16"}, ValueError, "`rate_dtype` is 'float16'; it must be None"),
        ({"variance": [1.0, 1.0]}, ValueError, "`variance` has 2 channels; 1 are expected"),
        ({"mean": [None]}, TypeError, "`mean` has dtype object; it must hold real numbers"),
        ({"mean": 0.0}, ValueError, r"`mean` has shape \(\); it must be a vector"),
    ],
)
def test_arguments_of_moving_stats_are_checked(arguments, error, message):
    given_ = {"mean": [0.0], "variance": [1.0], "decay": 0.9} | arguments
    with pytest.raises(error, match=message):
        MovingStats(given_.pop("mean"), given_.pop("variance"), **given_)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"decay": 2}, ValueError, "`decay` is 2; it must be"),
        ({"weights": [1.0]}, NotImplementedError, "`weights` is not supported yet"),
        ({"data_format": "CHWN"}, ValueError, "`data_format` is 'CHWN'"),
        (
            {"data_format": "NCHW"},
            ValueError,
            "has 3 channels and the moving statistics have 2; check the `data_format`",
        ),
    ],
)
@pytest.mark.parametrize("dtype", [np.dtype("float32"), "float64"])
def test_a_refused_update_changes_nothing(arguments, error, message, dtype):
    stats = MovingStats([0.0, 0.0], [1.0, 1.0], decay=0.9, dtype=dtype)
    with pytest.raises(error, match=message):
        stats.update(np.ones((5, 3, 2)), **arguments)
    assert stats.steps == 0
    np.testing.assert_array_equal(stats.mean, [0, 0])


# ---------------------------------------------------------------- the bounds

DATA = {
    "uniform": lambda rng, size: rng.uniform(0, 255, size),
    "normal": lambda rng, size: rng.normal(size=size),
    "relu": lambda rng, size: np.maximum(rng.normal(size=size), 0),
    "lognormal": lambda rng, size: np.minimum(rng.lognormal(0, 2, size), 400),
    "constant": lambda rng, size: np.full(size, 0.1),
    "integers": lambda rng, size: rng.integers(0, 256, size),
    "sorted": lambda rng, size: np.sort(rng.uniform(0, 255, size), axis=1),
    "offset": lambda rng, size: rng.normal(1000, 1, size),
    "alternating": lambda rng, size: np.where(np.arange(size[1]) % 2, 1, -1) * rng.uniform(0.9, 1.1, size),
    "underflow": lambda rng, size: rng.normal(size=size) * 1e-20,
}


def run_honest(batches_, *, moments, **arguments):
    """The statistics of an honest layer; `moments` is one of the functions, or its results per batch."""
    if callable(moments):
        moments = [honest_moments(moments, batch) for batch in batches_]
    channels, count = batches_[0].shape
    dtype = batches_[0].dtype
    moving = (np.zeros(channels, dtype), np.ones(channels, dtype))
    for step in moments:
        moving = honest_step(moving, count, step, **arguments)
    return moving


def expect(batches_, *, decay, bessel, rate_dtype):
    channels = batches_[0].shape[0]
    stats = MovingStats(
        np.zeros(channels),
        np.ones(channels),
        decay=decay,
        bessel=bessel,
        dtype=batches_[0].dtype,
        rate_dtype=rate_dtype,
    )
    for batch in batches_:
        stats.update(batch.T)
    return stats


@pytest.mark.parametrize("kind", DATA)
@pytest.mark.parametrize("count", [1, 2, 3, 16, 257, 4096, 100_000])
@pytest.mark.parametrize("dtype", DTYPES)
def test_no_honest_layer_is_outside_the_bound(dtype, count, kind):
    small = count <= 257
    rng = np.random.default_rng(count)
    honest = HONEST_MOMENTS | (SLOW_HONEST_MOMENTS if small else {})
    for decay, steps in ((0.0, 1), (0.9, 8 if small else 2)):
        batches_ = [DATA[kind](rng, (4 if small else 1, count)).astype(dtype) for _ in range(steps)]
        results = {name: [honest_moments(moments, batch) for batch in batches_] for name, moments in honest.items()}
        for bessel, layer_rate, rate_dtype in (
            (False, "float64", None),
            (True, "float32", None),
            (False, "float64", "float64"),
            (True, "float32", "float32"),
        ):
            stats = expect(batches_, decay=decay, bessel=bessel, rate_dtype=rate_dtype)
            for name, moments in results.items():
                moving = run_honest(batches_, moments=moments, decay=decay, bessel=bessel, rate_dtype=layer_rate)
                comparison = stats.compare(*moving)
                assert comparison.ok, f"{name}, decay {decay}, bessel {bessel}: {comparison}"


@pytest.mark.parametrize("kind", ["constant", "relu", "offset"])
def test_no_honest_layer_is_outside_the_bound_where_additions_stagnate(kind):
    batch = DATA[kind](np.random.default_rng(2), (1, 10**6)).astype(np.float32)
    stats = expect([batch], decay=0.0, bessel=False, rate_dtype=None)
    for name, moments in HONEST_MOMENTS.items():
        moving = run_honest([batch], moments=moments, decay=0.0, bessel=False, rate_dtype="float64")
        comparison = stats.compare(*moving)
        assert comparison.ok, f"{name}: {comparison}"


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_long_run_stays_within_the_bound(dtype):
    rng = np.random.default_rng(3)
    batches_ = [rng.uniform(0, 255, (3, 16)).astype(dtype) for _ in range(500)]
    arguments = {"decay": 0.99, "bessel": True}
    stats = expect(batches_, rate_dtype="float64", **arguments)
    moving = run_honest(batches_, moments=HONEST_MOMENTS["in order"], rate_dtype="float64", **arguments)
    assert stats.compare(*moving).ok
    # It has grown to its steady state, to which a step contributes 1 %, and more or less with its data.
    before = stats.mean_bound
    stats.update(batches_[0].T)
    np.testing.assert_allclose(stats.mean_bound, before, rtol=0.02)


def dishonest(batches_, fault):
    """The statistics of a float32 layer with one fault."""
    arguments = {
        "moments": HONEST_MOMENTS["pairwise"],
        "decay": 0.999,
        "bessel": False,
        "rate_dtype": "float64",
    }
    if fault == "bessel":
        arguments["bessel"] = True
    elif fault == "decay":
        arguments["decay"] = 0.99
    elif fault == "missed":
        batches_ = batches_[:2] + batches_[3:]
    elif fault == "one step behind":
        batches_ = batches_[:-1]
    elif fault == "twice":
        batches_ = batches_ + batches_[-1:]
    return run_honest(batches_, **arguments)


@pytest.mark.parametrize("fault", ["bessel", "decay", "missed", "one step behind", "twice"])
def test_a_dishonest_layer_is_far_outside_the_bound(fault):
    rng = np.random.default_rng(4)
    batches_ = [rng.uniform(0, 255, (5, 16)).astype(np.float32) for _ in range(6)]
    arguments = {"decay": 0.999, "bessel": False, "rate_dtype": None}
    stats = expect(batches_, **arguments)
    assert stats.compare(*dishonest(batches_, None)).ok
    mean, variance = stats.compare(*dishonest(batches_, fault))
    assert not variance.mask.any()
    assert variance.error > 100 * variance.allowed
    # Bessel's correction is none of the mean's business.
    assert mean.mask.all() if fault == "bessel" else not mean.mask.any()


def test_the_dtype_of_the_rate_can_be_told():
    batch = np.random.default_rng(4).uniform(0, 255, (5, 16)).astype(np.float32)
    for layer in ("float32", "float64"):
        moving = run_honest(
            [batch],
            moments=HONEST_MOMENTS["numpy"],
            decay=0.999,
            bessel=False,
            rate_dtype=layer,
        )
        for rate_dtype in (None, "float32", "float64"):
            stats = expect([batch], decay=0.999, bessel=False, rate_dtype=rate_dtype)
            assert stats.compare(*moving).mean.ok is (rate_dtype in (None, layer))


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
def test_the_bound_after_one_step_is_that_of_the_formula(dtype, sum_unit, unit):
    # N = 2, m = 2 and v = 1, or 2 with Bessel's correction; decay 0, so that the first values do not matter.
    stats = [MovingStats([0.0], [1.0], decay=0.0, bessel=bessel, dtype=dtype) for bessel in (False, True)]
    for one in stats:
        one.update([[1.0], [3.0]])
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


def test_the_bound_of_a_constants_variance_is_what_a_wrong_mean_makes_of_it():
    # Where v is 0 only dm^2 is left; decay 0 from 0, so that nothing else is rounded.
    stats = MovingStats([0.0], [0.0], decay=0.0)
    stats.update(np.full((4, 1), 3.0))
    g = (4 + 3 * math.log(4) + 6) * 2**-24
    assert stats.variance_bound[0] == close((3 * g) ** 2, rel=1e-5)


def test_a_layer_that_flushes_to_zero_is_honest():
    # The squares are 1e-40, and the smallest normal float32 is 1.2e-38.
    stats = MovingStats([0.0], [0.0], decay=0.0)
    stats.update(np.float32([[1e-20], [-1e-20]]))
    assert stats.variance[0] > 0
    assert stats.compare([0.0], [0.0]).ok
    # N + 4 times that in the moments, and 4 times in the update.
    assert stats.variance_bound[0] == close(10 * 2.0**-126, rel=1e-6)


# ---------------------------------------------------------------- compare


def test_compare_reports_the_worst_channel():
    result = compare([1.0, 2.5, 3.0, 4.2], [1.0, 2.0, 3.0, 4.0], [0.1, 0.1, 0.0, 0.01])
    assert isinstance(result, Comparison)
    np.testing.assert_array_equal(result.mask, [True, False, True, False])
    assert not result.ok
    assert not result
    assert (result.worst, result.allowed, result.not_finite) == (3, 0.01, ())
    assert result.error == close(0.2, rel=1e-14)
    assert str(result) == (
        "2 of 4 channels are outside the bound; the worst is channel 3, 0.2 off where 0.01 is allowed."
    )


def test_compare_passes_what_is_within_the_bound():
    result = compare(np.float32([1, 2]), [1.0, 2.25], [0.0, 0.25])
    assert result.ok
    assert result
    assert str(result) == (
        "All 2 channels are within the bound; the worst is channel 1, 0.25 off where 0.25 is allowed."
    )
    assert str(compare([1], [1], [0])) == ("It is within the bound; the worst is channel 0, 0 off where 0 is allowed.")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", [0, 1, 2])
def test_what_is_not_finite_is_never_ok(where, bad):
    vectors = [[1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [1.0, 1.0, 1.0]]
    if where == 2 and bad < 0:
        bad = np.inf
    vectors[where][1] = bad
    result = compare(*vectors)
    np.testing.assert_array_equal(result.mask, [True, False, True])
    assert result.not_finite == (1,)
    assert result.worst in (0, 2)
    assert str(result).startswith("1 of 3 channels is outside the bound")
    assert str(result).endswith("not finite in 1.")
    # The same infinity on both sides is no agreement.
    assert not compare([bad], [bad], [1.0]).ok


def test_compare_of_nothing_finite():
    result = compare([np.nan] * 10, [0.0] * 10, [1.0] * 10)
    assert result.worst is None
    assert math.isnan(result.error)
    assert math.isnan(result.allowed)
    assert str(result) == ("10 of 10 channels are outside the bound; not finite in 0, 1, 2, 3, 4, 5, 6, 7 and 2 more.")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([1.0], [1.0, 2.0], [1.0]), ValueError, "`expected` has 2 channels; 1 are expected"),
        (([1.0], [1.0], [[1.0]]), ValueError, r"`bound` has shape \(1, 1\); it must be a vector"),
        (([1.0], [1.0], [-1.0]), ValueError, "`bound` is -1.0 in one channel; it must not be negative"),
        ((["a"], [1.0], [1.0]), TypeError, "`observed` has dtype <U1; it must hold real numbers"),
        (([], [], []), ValueError, r"`observed` has shape \(0,\)"),
    ],
)
def test_arguments_of_compare_are_checked(arguments, error, message):
    with pytest.raises(error, match=message):
        compare(*arguments)


def test_comparison_of_both_statistics():
    stats = MovingStats([0.0, 0.0], [1.0, 1.0], decay=1.0)
    both = stats.compare([0.0, 0.0], [1.0, 1.0])
    assert both.ok
    assert both
    wrong_mean, wrong_variance = stats.compare([0.0, 1.0], [1.0, 1.0]), stats.compare([0.0, 0.0], [2.0, 1.0])
    assert (wrong_mean.mean.ok, wrong_mean.variance.ok, wrong_mean.ok) == (False, True, False)
    assert (wrong_variance.mean.ok, wrong_variance.variance.ok, wrong_variance.ok) == (True, False, False)
    assert not wrong_mean
    assert not wrong_variance
    assert str(wrong_mean).startswith("moving_mean: 1 of 2 channels is outside the bound; the worst is channel 1")
    assert "moving_variance: All 2 channels are within the bound" in str(wrong_mean)
