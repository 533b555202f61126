"""The moving statistics against exact rational arithmetic, and what they do with their arguments."""

import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from reference import channels_first, exact_moments, exact_moving

from tf1bn.checker import MovingStats, batch_moments, error_bounds, summation

DTYPES = ["float16", "float32", "float64"]


def close(expected, rel):
    # Left out, `abs` would be 1e-12 and let any bound of a float64 layer pass.
    return pytest.approx(expected, rel=rel, abs=0)


def test_importing_the_checker_imports_no_tensorflow():
    code = "import sys, tf1bn.checker; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = result.stdout.split()
    assert {name.split(".")[0] for name in modules}.isdisjoint({"tensorflow", "keras", "matplotlib", "rich", "dask"})
    own = {name for name in modules if name.split(".")[0] == "tf1bn"}
    assert {name.split(".")[1] for name in own if "." in name} == {
        "_native",
        "_util",
        "binary",
        "checker",
        "cluster",
        "errors",
        "remedies",
        "verdicts",
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
        ({"biased": [0.0]}, ValueError, "`biased` and `local_step` belong to `zero_debias`, which is False"),
        ({"local_step": 1}, ValueError, "`biased` and `local_step` belong to `zero_debias`"),
        ({"zero_debias": True, "local_step": -1}, ValueError, "`local_step` is -1; it must not be negative"),
        ({"zero_debias": True, "local_step": 1.5}, TypeError, "`local_step` is 1.5; it must be an integer"),
        ({"zero_debias": True, "biased": [0.0, 1.0]}, ValueError, "`biased` has 2 channels; 1 are expected"),
        ({"replay_bytes": -1}, ValueError, "`replay_bytes` is -1; it must not be negative"),
        ({"replay_bytes": None}, TypeError, "`replay_bytes` is None; it must be an integer"),
        ({"dtype": "int32"}, ValueError, "`dtype` is 'int32'; it must be"),
        ({"dtype": "bfloat"}, ValueError, "`dtype` is 'bfloat'; it must be"),
        ({"dtype": None}, ValueError, "`dtype` is None; it must be"),
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


def test_the_repr_shows_the_statistics():
    stats = MovingStats([0.0, 1.0], [1.0, 4.0], decay=0.5, bessel=True)
    stats.update([[1.0, 1.0], [3.0, 1.0]])
    assert repr(stats) == (
        "<MovingStats after 1 steps: mean=[1, 1], variance=[1.5, 2]; decay=0.5, bessel=True, dtype='float32'>"
    )
    wide = MovingStats(np.zeros(6), np.ones(6), decay=0.9, zero_debias=True)
    assert repr(wide) == (
        "<MovingStats after 0 steps: mean=[0, 0, 0, 0, ... 6 channels], variance=[1, 1, 1, 1, ... 6 channels]; "
        "decay=0.9, bessel=False, dtype='float32', zero_debias=True>"
    )


# ---------------------------------------------------------------- zero debias


@pytest.mark.parametrize("bessel", [False, True])
@pytest.mark.parametrize("decay", [0.0, 0.9, 0.999])
def test_the_debiased_mean_is_exact_to_float64(decay, bessel):
    rng = np.random.default_rng(9)
    # The start value of the mean is forgotten, whatever it is.
    stats = MovingStats([7.0, 7.0], [1.0, 4.0], decay=decay, bessel=bessel, zero_debias=True)
    np.testing.assert_array_equal(stats.mean, [7, 7])
    resumed = None
    seen = []
    for step in range(20):
        batch = rng.uniform(0, 255, (4, 2)).astype(np.float32)
        stats.update(batch)
        if resumed is not None:
            resumed.update(batch)
        seen.append([exact_moments(values) for values in channels_first(batch, "NHWC")])
        for c, start in enumerate([(0, 1.0), (0, 4.0)]):
            rows = [row[c] for row in seen]
            mean, variance = exact_moving(start, rows, rate=1 - Fraction(decay), bessel=bessel, local_step=0)
            # A power of t roundings, and at the start a difference of 1 and nearly 1: 1000 times an ulp at .999.
            slack = (4 * step + 90) * Fraction(2) ** -53 * 255
            assert abs(Fraction(stats.mean[c]) - mean) <= slack / (1 - Fraction(decay)) / (step + 1)
            assert abs(Fraction(stats.variance[c]) - variance) <= 80 * Fraction(2) ** -53 * 2 * 255**2
        if step == 7:
            biased = stats.mean * (1 - decay**8)
            resumed = MovingStats(
                stats.mean, stats.variance, decay=decay, bessel=bessel, zero_debias=True, biased=biased, local_step=8
            )
    np.testing.assert_allclose(resumed.mean, stats.mean, rtol=1e-12)
    assert resumed.compare(np.float32(stats.mean), np.float32(stats.variance)).ok


def test_zero_debias_with_decay_1_is_nan():
    stats = MovingStats([0.0], [1.0], decay=1.0, zero_debias=True)
    stats.update([[2.0], [4.0]])
    assert np.isnan(stats.mean[0])
    assert stats.variance[0] == 1.0
    comparison = stats.compare([np.nan], [1.0])
    assert (comparison.mean.verdict, comparison.variance.verdict) == ("finding", "ok")


def test_a_huge_local_step_debiases_nothing():
    stats = MovingStats([0.0], [1.0], decay=0.5, zero_debias=True, biased=[3.0], local_step=2**2000)
    stats.update([[2.0], [4.0]])
    assert stats.mean[0] == 3.0
    assert stats.compare([3.0], stats.variance).ok


# ---------------------------------------------------------------- what is held for a replay


@pytest.fixture
def replayed(monkeypatch):
    """The batches that were replayed, in order."""
    seen = []
    real = summation.layer_moments

    def layer_moments(batch, *arguments):
        seen.append(batch)
        return real(batch, *arguments)

    monkeypatch.setattr(summation, "layer_moments", layer_moments)
    return seen


# In float32 the squares of these stagnate: a left-to-right sum is farther off than expected, and no farther than the
# worst case.
STAGNATING = np.maximum(np.random.default_rng(0).normal(size=(2**18, 2)), 0).astype(np.float32)
IN_ORDER = np.add.reduce(np.square(STAGNATING - STAGNATING.mean(axis=0)), axis=0) / np.float32(2**18)


def stagnating(**arguments):
    return MovingStats([0.0, 0.0], [0.0, 0.0], decay=0.0, **arguments)


def test_a_replay_is_made_where_it_is_needed_and_nowhere_else(replayed):
    stats = stagnating()
    stats.update(STAGNATING)
    inside, outside = (error[1] for error in stats.two_bounds())
    assert stats.compare(stats.mean, stats.variance).ok
    assert stats.compare(stats.mean, stats.variance + 0.9 * inside).ok
    assert stats.compare(stats.mean, stats.variance + 1.1 * outside).verdict == "finding"
    assert stats.compare([np.nan, 0.0], stats.variance).verdict == "finding"
    assert not replayed
    assert (np.abs(IN_ORDER - stats.variance) > inside).all()
    comparison = stats.compare(stats.mean, IN_ORDER)
    assert comparison.ok
    assert comparison.undecided is None
    assert len(replayed) == 1
    np.testing.assert_array_equal(comparison.variance.allowed, stats.variance_bound[comparison.variance.worst])
    assert stats.compare(stats.mean, stats.variance + 1.1 * stats.variance_bound).verdict == "finding"
    assert stats.compare(stats.mean, stats.variance + 0.9 * stats.variance_bound).ok
    # Once is enough, and a second step costs one more.
    assert len(replayed) == 1
    stats.update(STAGNATING[::2])
    assert len(replayed) == 1
    assert (stats.variance_bound > 0).all()
    assert len(replayed) == 2


def test_without_the_batch_it_is_undecidable():
    stats = stagnating()
    stats.update(batch_moments(STAGNATING))
    comparison = stats.compare(stats.mean, IN_ORDER)
    assert comparison.verdict == comparison.variance.verdict == "undecidable"
    assert not comparison
    assert comparison.undecided == "a step was taken from moments, without its batch"
    assert str(comparison).endswith("The batches would decide, but a step was taken from moments, without its batch.")
    # What decides is then the worst case.
    np.testing.assert_array_equal([stats.mean_bound, stats.variance_bound], stats.two_bounds()[1])
    assert stats.compare(stats.mean, stats.variance + 1.1 * stats.variance_bound).verdict == "finding"


def test_a_batch_that_was_changed_is_noticed():
    batch = STAGNATING.copy()
    stats = stagnating()
    stats.update(batch)
    batch[-1, 0] += 1e-3
    comparison = stats.compare(stats.mean, IN_ORDER)
    assert comparison.verdict == "undecidable"
    assert comparison.undecided == "a batch was changed after its update"


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_batches_are_held_up_to_a_limit(layout, replayed):
    batch = STAGNATING.reshape(64, 64, 64, 2)
    batch = np.ascontiguousarray(np.moveaxis(batch, -1, 1)) if layout == "NCHW" else batch
    for limit, held in ((batch.nbytes, True), (batch.nbytes - 1, False)):
        stats = stagnating(replay_bytes=limit)
        stats.update(batch, data_format=layout)
        comparison = stats.compare(stats.mean, IN_ORDER)
        assert comparison.ok is held
        assert comparison.undecided == (None if held else f"the batches are larger than `replay_bytes`, {limit} bytes")
    assert [np.shares_memory(seen, batch) for seen in replayed] == [True]


def test_memory_mapped_batches_do_not_count(tmp_path):
    np.save(tmp_path / "batch.npy", STAGNATING)
    stats = stagnating(replay_bytes=0)
    mapped = np.load(tmp_path / "batch.npy", mmap_mode="r")
    stats.update(mapped[::-1])
    assert stats.compare(stats.mean, IN_ORDER).ok


def test_the_bound_lies_between_the_expected_error_and_the_worst_case():
    expected, worst, envelope = np.array([[1.0, 1, 1], [1, 1, 1]]), np.full((2, 3), 100.0), np.zeros((2, 3))
    envelope[:] = [0.01, 2.0, np.inf]
    np.testing.assert_array_equal(
        error_bounds.replayed(expected, worst, envelope),
        [[1, 2 * error_bounds.SAFETY, 100], [1, 2 * error_bounds.SAFETY, 100]],
    )


def test_the_same_batch_again_adds_to_its_error_and_another_to_its_square():
    rng = np.random.default_rng(3)
    batches = [rng.uniform(0, 255, (65_536, 1)).astype(np.float32) for _ in range(50)]

    def expected(sequence):
        stats = MovingStats([127.0], [5000.0], decay=0.98)
        for batch in sequence:
            stats.update(batch_moments(batch))
        return stats._stats[0, :, 0]

    same, others = expected(batches[:1] * 50), expected(batches)
    figure = error_bounds._native.Figure
    # After T steps: e (1 - d^T) of the same batch, and e sqrt(r / (2 - r) (1 - d^2T)) of as many batches alike.
    kept = 0.98**50
    ratio = (1 - kept) / np.sqrt(0.02 / 1.98 * (1 - kept**2))

    # Only what the sums contribute, without the rounding of the statistics themselves.
    def sums(mean):
        storage = (
            sum(0.98 ** (2 * i) for i in range(50))
            * (error_bounds._native.rounding * 2.0**-24 * mean[figure.VALUE]) ** 2
        )
        return np.sqrt(mean[figure.COHERENT] ** 2 + mean[figure.SQUARE] - storage)

    assert sums(same) / sums(others) == pytest.approx(ratio, rel=0.1, abs=0)


def test_what_could_have_shown_is_asked_of_the_bounds_that_decide(replayed):
    batch = np.random.default_rng(1).uniform(0, 255, (20_000, 2)).astype(np.float32)
    stats = MovingStats([0.0, 0.0], [0.0, 0.0], decay=0.0)
    stats.update(batch)
    comparison = stats.compare(stats.mean, stats.variance)
    late = stats.compare(stats.mean, stats.variance)
    assert not replayed
    assert comparison.resolution.bound in stats.variance_bound
    assert len(replayed) == 1
    worst = stats.two_bounds()[1][1]
    stats.update(batch)
    assert late.resolution.bound in worst
    assert late.resolution.taken == 1
    assert len(replayed) == 1


def test_the_bounds_of_an_empty_batch_with_weights_are_nan():
    stats = MovingStats([0.0], [1.0], decay=0.9)
    stats.update(np.ones((0, 1), np.float32), weights=[])
    for value in (stats.mean, stats.variance, stats.mean_bound, stats.variance_bound):
        np.testing.assert_array_equal(value, [np.nan])
    assert stats.compare([0.0], [1.0]).verdict == "finding"
