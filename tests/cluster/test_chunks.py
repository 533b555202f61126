"""Moments of Dask arrays: exact, and the same bits for the same chunks whatever computes them."""

from fractions import Fraction

import numpy as np
import pytest

from tf1bn.checker import Moments, MovingStats, batch_moments

dask = pytest.importorskip("dask", reason="Dask is not installed")
da = pytest.importorskip("dask.array", reason="Dask is not installed")
pytestmark = pytest.mark.slow


def data(shape=(12, 5, 4, 6), dtype=np.float32):
    return (1e3 + np.random.default_rng(0).normal(size=shape)).astype(dtype)


def bits(moments):
    return moments.count, moments.weight, moments._state.tobytes()


def exact(values):
    """The moments of integers and their quotients, channels last, rounded once."""
    rows = [[Fraction(float(x)) for x in column] for column in values.reshape(-1, values.shape[-1]).T]
    means = [sum(row) / len(row) for row in rows]
    variances = [sum((x - mean) ** 2 for x in row) / len(row) for row, mean in zip(rows, means, strict=True)]
    return [float(mean) for mean in means], [float(variance) for variance in variances]


@pytest.mark.parametrize("chunks", [(5, 5, 4, 6), (4, 2, 3, 4), (12, 5, 4, 6), (1, 5, 4, 1)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_they_are_exact(chunks, dtype):
    batch = data(dtype=dtype)
    moments = batch_moments(da.from_array(batch, chunks))
    mean, variance = exact(batch)
    assert moments.count == batch.size // 6
    np.testing.assert_allclose(moments.mean, mean, rtol=1e-15)
    np.testing.assert_allclose(moments.variance, variance, rtol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("data_format", "chunks"), [("NHWC", (5, 3, 4, 4)), ("NCHW", (5, 3, 4, 4)), ("NHWC", (3, 5, 2, 6))]
)
def test_the_same_chunks_give_the_same_bits(weighted, data_format, chunks):
    batch = data()
    array = da.from_array(batch, chunks)
    options = {"data_format": data_format, "weights": np.arange(12) % 4 if weighted else None}
    with dask.config.set(scheduler="synchronous"):
        expected = bits(batch_moments(array, **options))
    # Chunks that lie otherwise in memory, and other schedulers.
    with dask.config.set(scheduler="threads"):
        assert bits(batch_moments(array, threads=2, **options)) == expected
        fortran = da.from_array(np.asfortranarray(batch), chunks)
        assert bits(batch_moments(fortran, **options)) == expected
    with dask.config.set(scheduler="processes"):
        assert bits(batch_moments(array, **options)) == expected


def test_the_tree_is_that_of_the_chunks():
    batch = data((10, 6))
    a, b, c, d, e = (batch_moments(batch[i : i + 2]) for i in range(0, 10, 2))
    merged = a.merge(b).merge(c.merge(d)).merge(e)
    assert bits(batch_moments(da.from_array(batch, (2, 6)))) == bits(merged)


def test_weights_are_those_of_the_items():
    batch, weights = data((9, 4, 3)), np.arange(9.0)
    moments = batch_moments(da.from_array(batch, (2, 4, 2)), weights=da.from_array(weights, 3))
    expected = batch_moments(batch, weights=weights)
    assert (moments.count, moments.weight) == (expected.count, expected.weight)
    np.testing.assert_allclose(moments.mean, expected.mean, rtol=1e-15)
    np.testing.assert_allclose(moments.variance, expected.variance, rtol=1e-12)


def test_what_is_not_finite_stays_in_its_channel():
    batch = data()
    batch[3, 1, 1, 2] = np.nan
    moments = batch_moments(da.from_array(batch, (4, 2, 4, 3)))
    assert np.isnan(moments.mean).tolist() == [False, False, True, False, False, False]


def test_nothing_has_no_moments():
    moments = batch_moments(da.zeros((0, 3), chunks=(1, 2)))
    assert moments.count == 0
    assert np.isnan(moments.mean).all()


def test_moving_statistics_take_them():
    batch = data()
    stats, expected = (MovingStats(np.zeros(6), np.ones(6), decay=0.9) for _ in range(2))
    stats.update(da.from_array(batch, (4, 5, 4, 6)))
    expected.update(batch)
    np.testing.assert_allclose(stats.mean, expected.mean, rtol=1e-15)


def test_progress_is_called_once():
    calls = []
    batch_moments(da.ones((4, 3)), progress=lambda *done: calls.append(done))
    assert calls == [(12, 12)]


def test_what_is_refused():
    array = da.from_array(data(), (4, 5, 4, 6))
    unknown = array[array[:, 0, 0, 0] > 1e3]
    for batch, options, error, text in (
        (array.astype(int), {}, TypeError, r"`batch` has dtype int\d+; it must be float16"),
        (array[0, 0, 0], {}, ValueError, r"`batch` has shape \(6,\); it must have at least 2 axes"),
        (array, {"weights": [1.0]}, ValueError, r"`weights` has shape \(1,\); it must have shape \(12,\)"),
        (unknown, {}, ValueError, r"chunks have sizes that are not known; call its method compute_chunk_sizes"),
        (dask.delayed(1), {}, TypeError, "`batch` is a DelayedLeaf of Dask; of its collections an array is accepted"),
    ):
        with pytest.raises(error, match=text):
            batch_moments(batch, **options)
    assert isinstance(batch_moments(unknown.compute_chunk_sizes()), Moments)
