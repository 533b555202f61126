"""Batches of bfloat16 numbers: arrays of ml_dtypes, and arrays of uint16 that are declared as such."""

import subprocess
import sys

import numpy as np
import pytest
import tiers
from accuracy import HARD, PATHS, assert_accurate

from tf1bn._native import _moments
from tf1bn.checker import MovingStats, batch_moments, regression
from tf1bn.checker.prefetch import Prefetcher

ml_dtypes = pytest.importorskip("ml_dtypes")


def rounded(values):
    """Float64 numbers as bits of bfloat16, uint16, and the same as float32."""
    array = np.asarray(values).astype(ml_dtypes.bfloat16)
    return array.view(np.uint16), array.astype(np.float32)


def same_state(one, other):
    return one.count == other.count and one._state.tobytes() == other._state.tobytes()


@pytest.mark.parametrize(
    ("shape", "data_format"), tiers.slow_after(3, sorted(PATHS[1::3], key=lambda path: np.prod(path[0]))), ids=str
)
def test_moments_are_exact_in_every_layout(shape, data_format):
    bits, values = rounded(np.random.default_rng(0).normal(3, 2, shape))
    moments = batch_moments(bits, data_format=data_format, dtype="bfloat16")
    assert_accurate(moments, values, data_format)
    assert same_state(batch_moments(bits.view(ml_dtypes.bfloat16), data_format=data_format), moments)
    assert same_state(batch_moments(bits, data_format=data_format, dtype="bfloat16", threads=2), moments)
    for other, numbers in (
        (bits.astype(">u2"), values),
        (bits[::-1], values[::-1]),
        (np.asfortranarray(bits), values),
        (np.frombuffer(b"\0" + bits.tobytes(), np.uint16, offset=1).reshape(shape), values),
    ):
        assert_accurate(batch_moments(other, data_format=data_format, dtype="bfloat16"), numbers, data_format)


@pytest.mark.parametrize("kind", ["one differs", "scales", "relu", "denormal", "outlier first"])
def test_moments_of_hard_data(kind):
    bits, values = rounded(HARD[kind](np.random.default_rng(1), (2, 3000)).T)
    assert_accurate(batch_moments(bits, dtype="bfloat16"), values)


@pytest.mark.parametrize("shape", [(60, 5, 3), (300, 3), (40, 20)])
def test_weighted_moments_are_those_of_the_numbers(shape):
    bits, values = rounded(np.random.default_rng(2).normal(1, 2, shape))
    for weights in (np.random.default_rng(3).uniform(0, 1, shape[0]), np.arange(shape[0]) % 3 > 0):
        moments = batch_moments(bits, dtype="bfloat16", weights=weights * 1.0)
        expected = batch_moments(values.astype(np.float64), weights=weights * 1.0)
        np.testing.assert_allclose(moments.mean, expected.mean, rtol=1e-14, atol=1e-15)
        np.testing.assert_allclose(moments.variance, expected.variance, rtol=1e-14)


@pytest.mark.parametrize("rows", [1, 8])  # which are converted each in its own way
def test_every_instruction_set_converts_every_number(rows):
    bits = np.arange(2**16, dtype=np.uint16)
    with np.errstate(invalid="ignore"):  # of signaling NaN
        expected = bits.view(ml_dtypes.bfloat16).astype(np.float64)
    for variant in _moments.variants:
        state = np.empty((4, 2**16))
        _moments.Batch(np.tile(bits, (rows, 1)), True).accumulate(state, 0, rows, variant=variant)
        np.testing.assert_array_equal(state[0], expected)


def test_an_audit_that_reads_ahead_has_the_same_moments():
    bits, _ = rounded(np.random.default_rng(4).normal(size=(100, 7, 3)))
    array = bits.view(ml_dtypes.bfloat16)
    with Prefetcher() as ahead:
        (moments,) = ahead.begin([(array, "NHWC", None)]).moments()
    assert same_state(moments, batch_moments(array))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("shape", [(500, 3), (40, 70)])
def test_a_line_over_16_bits_is_that_of_the_same_numbers(dtype, shape):
    rng, dtype = np.random.default_rng(5), np.dtype(dtype if dtype == "float16" else ml_dtypes.bfloat16)
    x = rng.normal(1, 2, shape).astype(dtype)
    y = (0.5 * x.astype(np.float64) + 3 + rng.normal(0, 0.01, shape)).astype(dtype)
    moments = batch_moments(x)
    expected = regression.fit_line(x.astype(np.float64), y.astype(np.float64), -1, moments)
    for variants in (regression.fit_line(x, y, -1, moments), regression.fit_line(x[::-1], y[::-1], -1, moments)):
        np.testing.assert_allclose(variants, expected, rtol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_statistics_and_their_replay_are_those_of_the_numbers(dtype):
    rng = np.random.default_rng(6)
    start = np.zeros(4), np.ones(4)
    of_bits, of_numbers = (MovingStats(*start, decay=0.9, dtype=dtype) for _ in range(2))
    for shape in ((64, 4), (3, 5, 4)):
        bits, values = rounded(rng.normal(2, 1, shape))
        of_bits.update(bits, dtype="bfloat16")
        of_numbers.update(values)
    for name in ("mean", "variance", "mean_bound", "variance_bound"):
        np.testing.assert_array_equal(getattr(of_bits, name), getattr(of_numbers, name))
    assert of_bits.compare(of_bits.mean, of_bits.variance).verdict == "ok"


def test_a_batch_that_was_changed_is_noticed():
    bits, _ = rounded(np.random.default_rng(7).normal(size=(64, 4)))
    stats = MovingStats(np.zeros(4), np.ones(4), decay=0.9)
    stats.update(bits, dtype="bfloat16")
    bits[3, 1] ^= 0x4000
    between = stats.mean + np.mean(stats.two_bounds()[:, 0], axis=0)
    assert "a batch was changed after its update" in str(stats.compare(between, stats.variance))


@pytest.mark.parametrize(
    ("batch", "dtype", "error", "message"),
    [
        (np.ones((2, 2), np.uint16), None, TypeError, '`batch` has dtype uint16; .* `dtype="bfloat16"`'),
        (
            np.ones((2, 2), np.int16),
            "bfloat16",
            TypeError,
            'dtype int16; with `dtype="bfloat16"` it must be',
        ),
        (np.ones((2, 2), np.float32), "bfloat16", TypeError, "`batch` has dtype float32; with"),
        (np.ones((2, 2), np.uint16), "float16", ValueError, "`dtype` is 'float16'; it must be None, or"),
        (np.ones((2, 2), np.float16), np.float16, ValueError, "`dtype` is <class 'numpy.float16'>; it must be None"),
        (np.ones(2, np.uint16), "bfloat16", ValueError, r"`batch` has shape \(2,\); it must have at least 2 axes"),
    ],
)
def test_what_is_declared_wrongly_is_refused(batch, dtype, error, message):
    for function in (batch_moments, MovingStats([0.0, 0.0], [1.0, 1.0], decay=0.5).update):
        with pytest.raises(error, match=message):
            function(batch, dtype=dtype)
    with pytest.raises(ValueError, match="`dtype` goes with a batch"):
        MovingStats([0.0], [1.0], decay=0.5).update(batch_moments(np.ones((2, 1))), dtype="bfloat16")


def test_ml_dtypes_is_not_imported():
    source = "import sys, numpy as np, tf1bn.checker as c; "
    source += "c.batch_moments(np.zeros((2, 2), 'u2'), dtype='bfloat16'); assert 'ml_dtypes' not in sys.modules"
    subprocess.run([sys.executable, "-c", source], check=True)
