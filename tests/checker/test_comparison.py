"""Observed against expected values: verdicts, the worst channel, and what the data could have shown."""

import numpy as np
import pytest

from tf1bn.checker import Comparison, MovingStats, compare
from tf1bn.checker.comparison import Resolution


def close(expected, rel):
    return pytest.approx(expected, rel=rel, abs=0)


def test_compare_reports_the_worst_channel():
    result = compare([1.0, 2.5, 3.0, 4.2], [1.0, 2.0, 3.0, 4.0], [0.1, 0.1, 0.0, 0.01])
    assert isinstance(result, Comparison)
    assert list(result.verdicts) == ["ok", "finding", "ok", "finding"]
    np.testing.assert_array_equal(result.mask, [True, False, True, False])
    assert result.verdict == "finding"
    assert not result.ok
    assert not result
    assert (result.worst, result.allowed, result.not_finite) == (3, 0.01, ())
    assert result.error == close(0.2, rel=1e-14)
    assert result.share == close(20, rel=1e-14)
    # Between 4 and 8 a float32 ulp is 2^-21.
    assert result.ulp == close(0.2 * 2**21, rel=1e-14)
    assert str(result) == (
        "2 of 4 channels are outside the bound; the worst is channel 3, 0.2 off where 0.01 is allowed "
        "(20 of it, 4.19e+05 ulp)."
    )


def test_compare_passes_what_is_within_the_bound():
    result = compare(np.float32([1, 2]), [1.0, 2.25], [0.0, 0.25])
    assert result.ok
    assert result
    assert result.verdict == "ok"
    assert str(result) == (
        "All 2 channels are within the bound; the worst is channel 1, 0.25 off where 0.25 is allowed "
        "(1 of it, 1.05e+06 ulp)."
    )
    exact = compare([1], [1], [0])
    assert (exact.share, exact.ulp) == (0, 0)
    assert str(exact) == "It is within the bound; the worst is channel 0, 0 off where 0 is allowed."


def test_between_bound_and_limit_it_is_undecidable():
    result = compare([1.5, 1.5, 1.5, 1.0], [1.0, 1.0, 1.0, 1.0], [0.5, 0.4, 0.1, 0.1], [2.0, 0.5, 0.5, 0.5])
    assert list(result.verdicts) == ["ok", "undecidable", "undecidable", "ok"]
    assert result.verdict == "undecidable"
    assert not result
    assert (result.worst, result.allowed) == (2, 0.1)
    assert str(result).startswith(
        "2 of 4 channels are undecidable; the worst is channel 2, 0.5 off where 0.1 is allowed"
    )
    # A finding comes first, although it is less far off in units of its bound; what it broke is the limit.
    result = compare([1.5, 1.5], [1.0, 1.0], [0.1, 0.001], [0.4, 2.0])
    assert result.verdict == "finding"
    assert (result.worst, result.allowed) == (0, 0.4)
    assert str(result).startswith("1 of 2 channels is outside the bound; 1 of 2 channels is undecidable; the worst is")


@pytest.mark.parametrize(("dtype", "ulp"), [("float16", 2**-9), ("float32", 2**-22), ("float64", 2**-51)])
def test_errors_are_counted_in_the_last_place_of_the_dtype(dtype, ulp):
    assert compare([3.0 + 2.0**-9], [3.0], [1.0], dtype=dtype).ulp == 2.0**-9 / ulp


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
    assert result.verdict == ("undecidable" if where == 2 else "finding")
    assert str(result).startswith(f"1 of 3 channels is {'undecidable' if where == 2 else 'outside the bound'}")
    assert str(result).endswith("not finite in 1.")
    # The same infinity on both sides is no agreement.
    assert not compare([bad], [bad], [1.0]).ok


def test_compare_of_nothing_finite():
    result = compare([np.nan] * 10, [0.0] * 10, [1.0] * 10)
    assert result.worst is None
    assert np.isnan([result.error, result.allowed, result.ulp, result.share]).all()
    assert str(result) == "10 of 10 channels are outside the bound; not finite in 0, 1, 2, 3, 4, 5, 6, 7 and 2 more."


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([1.0], [1.0, 2.0], [1.0]), ValueError, "`expected` has 2 channels; 1 are expected"),
        (([1.0], [1.0], [[1.0]]), ValueError, r"`bound` has shape \(1, 1\); it must be a vector"),
        (([1.0], [1.0], [-1.0]), ValueError, "`bound` is -1.0 in one channel; it must not be negative"),
        (
            ([1.0], [1.0], [1.0], [0.5]),
            ValueError,
            "`limit` is 0.5 in one channel; it must not be below its `bound`, 1.0",
        ),
        (([1.0], [1.0], [1.0], [1.0, 1.0]), ValueError, "`limit` has 2 channels; 1 are expected"),
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
    assert both.verdict == "ok"
    wrong_mean, wrong_variance = stats.compare([0.0, 1.0], [1.0, 1.0]), stats.compare([0.0, 0.0], [2.0, 1.0])
    assert (wrong_mean.mean.ok, wrong_mean.variance.ok, wrong_mean.ok) == (False, True, False)
    assert (wrong_variance.mean.ok, wrong_variance.variance.ok, wrong_variance.ok) == (True, False, False)
    assert wrong_mean.verdict == wrong_variance.verdict == "finding"
    assert not wrong_mean
    assert not wrong_variance
    mean, variance = wrong_mean
    assert (mean, variance) == (wrong_mean.mean, wrong_mean.variance)
    assert str(wrong_mean).startswith("moving_mean: 1 of 2 channels is outside the bound; the worst is channel 1")
    assert "moving_variance: All 2 channels are within the bound" in str(wrong_mean)


# ---------------------------------------------------------------- what the data could have shown


def resolution(count, channels, steps, bessel=False, decay=0.9):
    rng = np.random.default_rng(1)
    stats = MovingStats(np.full(channels, 127.0), np.full(channels, 5400.0), decay=decay, bessel=bessel)
    for _ in range(steps):
        stats.update(rng.uniform(0, 255, (count, channels)).astype(np.float32))
    return stats, stats.compare(stats.mean, stats.variance).resolution


@pytest.mark.parametrize("bessel", [False, True])
def test_bessels_correction_is_what_the_other_convention_would_make(bessel):
    stats, seen = resolution(16, 3, 5, bessel)
    other, _ = resolution(16, 3, 5, not bessel)
    effect = np.abs(stats.variance - other.variance)
    assert seen.bessel == close(effect[np.argmax(effect / seen.bound)], rel=0.3)
    assert np.abs(effect - seen.bessel).min() <= 1e-9
    assert seen.decides_bessel
    assert seen.steps == seen.taken == 5
    assert (
        str(seen) == f"Bessel's correction here is {seen.bessel:.1g}, the bound {seen.bound:.1g}: decidable in 5 steps."
    )


def test_more_channels_and_more_steps_decide_what_one_cannot():
    _, one = resolution(200_000, 1, 1)
    assert not one.decides_bessel
    assert one.steps > 1
    assert str(one).endswith(f"not decidable in one step; in about {one.steps:,} steps.")
    _, many = resolution(200_000, 16, 1)
    assert not many.decides_bessel
    assert many.steps < one.steps


def test_the_estimate_of_steps_is_the_square_of_what_is_missing():
    # Effects of a third and a quarter of their bounds: together 1 / (1/9 + 1/16) = 5.76 times as many steps.
    seen = Resolution.of(np.array([3.0, 8.0]), np.array([60.0, 60.0]), np.array([1.0, 2.0]), steps=10)
    assert (seen.bessel, seen.bound, seen.taken, seen.channels) == (1.0, 3.0, 10, 2)
    assert seen.steps == 58
    assert seen.factor == 0.05
    together = Resolution.of(np.full(4, 1.5), np.full(4, 1.0), np.full(4, 1.0), steps=1)
    assert not together.decides_bessel
    assert str(together).endswith("decidable in one step over the 4 channels together.")


@pytest.mark.parametrize("share", [1e-170, 1e-160])
def test_what_no_number_of_steps_could_show(share):
    # The square of the share underflows to 0, or to what makes the number of steps infinite.
    seen = Resolution.of(np.array([1.0]), np.array([1.0]), np.array([share]), steps=1)
    assert seen.steps is None
    assert str(seen).endswith("not decidable in any number of steps.")


def test_where_bessels_correction_cannot_show():
    for batch in ([[1.0]], np.zeros((4, 1))):
        stats = MovingStats([0.0], [1.0], decay=0.9)
        stats.update(batch)
        seen = stats.compare(stats.mean, stats.variance).resolution
        assert np.isnan(seen.bessel)
        assert seen.steps is None
        assert not seen.decides_bessel
        assert str(seen) == "Bessel's correction has no effect on these statistics."
