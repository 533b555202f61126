"""Weighted moments against exact rational arithmetic."""

import math

import numpy as np
import pytest
import tiers
from accuracy import DTYPES, HARD, assert_close, exact_weighted
from reference import channels_first

from tf1bn._native import moments as _moments
from tf1bn.checker import Moments, batch_moments

WEIGHTS = {
    "uniform": lambda rng, items: rng.uniform(0, 1, items),
    "runs": lambda rng, items: np.repeat(rng.uniform(0, 1, -(-items // 40)), 40)[:items],
    "some zero": lambda rng, items: rng.integers(0, 3, items),
    "masks": lambda rng, items: (np.arange(items) < items // 2).astype(np.float32),
    "all sizes": lambda rng, items: 10.0 ** rng.integers(-300, 290, items),
    "growing": lambda rng, items: 3.0 ** np.arange(items).clip(0, 500),
    "ten": lambda rng, items: np.full(items, 10),
    "denormal": lambda rng, items: np.ldexp(1.0, -1074) * rng.integers(1, 3, items),
}


def assert_weighted(moments, batch, weights, data_format="NHWC"):
    weights = np.asarray(weights, np.float64)
    channels = channels_first(np.asarray(batch, batch.dtype), data_format)
    per_item = channels.shape[1] // len(weights)
    # channels_first keeps the items outermost in both formats.
    repeated = np.repeat(weights, per_item)
    assert moments.count == channels.shape[1]
    assert moments.weight == pytest.approx(math.fsum(repeated), rel=1e-15, abs=0)
    for i, values in enumerate(channels):
        mean, variance, magnitude = exact_weighted(values, repeated)
        assert_close(
            moments.mean[i], moments.variance[i], len(repeated), mean, variance, magnitude, np.dtype(batch.dtype)
        )


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "data_format"),
    tiers.slow_after(
        3, [((300, 5, 2), "NHWC"), ((300, 2, 5), "NCHW"), ((30, 90), "NHWC"), ((500, 3), "NHWC"), ((500, 3), "NCHW")]
    ),
    ids=str,
)
def test_weighted_moments_are_exact(shape, data_format, dtype, kind):
    rng = np.random.default_rng(1)
    batch = rng.normal(3, 2, shape).astype(dtype)
    weights = WEIGHTS[kind](rng, shape[0])
    assert_weighted(batch_moments(batch, data_format=data_format, weights=weights), batch, weights, data_format)


@pytest.mark.parametrize("kind", HARD)
@pytest.mark.parametrize("dtype", tiers.slow_but(["float32"], ["float32", "float64"]))
def test_weighted_moments_of_hard_data(kind, dtype):
    rng = np.random.default_rng(2)
    batch = HARD[kind](rng, (2, 3000)).astype(dtype).T
    weights = rng.uniform(0, 1, 3000)
    # Turned round, the memory is in the opposite order of the items.
    for values, weight in ((batch, weights), (batch[::-1], weights), (batch.copy(), weights), (batch, weights[::-1])):
        assert_weighted(batch_moments(values, weights=weight), values, weight)


def test_many_weights_lose_no_digits():
    # Their sum, added up plainly, would be 1e-12 off.
    batch = np.tile(np.float32([[1.0], [3.0]]), (200_000, 1))
    weights = np.tile([0.1, 0.3], 200_000)
    moments = batch_moments(batch, weights=weights)
    assert moments.mean[0] == pytest.approx(2.5, rel=1e-15, abs=0)
    assert moments.variance[0] == pytest.approx(0.75, rel=1e-15, abs=0)
    assert moments.weight == pytest.approx(80_000.0, rel=1e-15, abs=0)


@pytest.mark.parametrize("shape", [(20_000, 1), (20_000, 1, 1)])
def test_the_sum_of_weights_loses_no_digits(shape):
    weights = np.random.default_rng(8).uniform(0, 1, shape[0])
    moments = batch_moments(np.ones(shape), weights=weights)
    assert moments.weight == pytest.approx(math.fsum(weights), rel=2e-16, abs=0)


def test_equal_weights_change_nothing_but_the_weight():
    batch = np.random.default_rng(3).normal(size=(100, 4, 3)).astype(np.float32)
    plain, weighted = batch_moments(batch), batch_moments(batch, weights=[2.5] * 100)
    np.testing.assert_array_equal(weighted.mean, plain.mean)
    np.testing.assert_array_equal(weighted.variance, plain.variance)
    assert (plain.count, plain.weight, weighted.count, weighted.weight) == (400, 400.0, 400, 1000.0)
    one = batch_moments(batch, weights=[1] * 100)
    np.testing.assert_array_equal(one.unbiased_variance, plain.unbiased_variance)
    with pytest.raises(ValueError, match="no release of TensorFlow combines the two"):
        _ = weighted.unbiased_variance


@pytest.mark.parametrize("shape", [(9, 3), (9, 2, 3)])
@pytest.mark.parametrize("weights", [[0, 0, 0, 1, 2, 0, 1, 1, 0], [0, 0, 0, 1, 1, 1, 1, 1, 0]])
def test_items_of_weight_0_count_for_nothing(shape, weights):
    batch = np.random.default_rng(4).normal(size=shape)
    expected = batch_moments(batch, weights=weights)
    changed = batch.copy()
    changed[[0, 1, 8]] = 1e30
    moments = batch_moments(changed, weights=weights)
    np.testing.assert_array_equal(moments.mean, expected.mean)
    np.testing.assert_array_equal(moments.variance, expected.variance)
    assert np.isfinite(expected.mean).all()


@pytest.mark.parametrize("shape", [(9, 3), (9, 2, 3)])
@pytest.mark.parametrize("item", [0, 2, 5, 8])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_counts_even_with_weight_0(shape, item, bad):
    # 0 * NaN and 0 * inf are NaN, in TensorFlow too.
    batch = np.random.default_rng(5).normal(size=shape)
    weights = [0, 1, 0, 1, 2, 0, 1, 1, 0]
    expected = batch_moments(batch, weights=weights)
    batch[(item,) + (0,) * (len(shape) - 2) + (1,)] = bad
    moments = batch_moments(batch, weights=weights)
    assert np.isnan([moments.mean[1], moments.variance[1]]).all()
    np.testing.assert_array_equal(moments.mean[[0, 2]], expected.mean[[0, 2]])
    np.testing.assert_array_equal(moments.variance[[0, 2]], expected.variance[[0, 2]])


@pytest.mark.parametrize("item", [3, 69_999])
def test_what_is_not_finite_counts_in_a_part_that_weighs_nothing(item):
    batch = np.random.default_rng(7).normal(size=(70_000, 4))  # two parts
    weights = np.ones(len(batch))
    weights[slice(0, 40_000) if item == 3 else slice(30_000, None)] = 0
    batch[item, 2] = np.nan
    moments = batch_moments(batch, weights=weights)
    np.testing.assert_array_equal(np.isnan(moments.mean), [False, False, True, False])


@pytest.mark.parametrize("shape", [(9, 3), (9, 2, 3)])
def test_an_infinity_with_a_weight_is_the_mean(shape):
    batch = np.random.default_rng(5).normal(size=shape)
    batch[4, ..., 1] = np.inf
    moments = batch_moments(batch, weights=np.arange(9))
    assert moments.mean[1] == np.inf
    assert np.isnan(moments.variance[1])
    assert np.isfinite(moments.mean[[0, 2]]).all()


@pytest.mark.parametrize("shape", [(3, 2), (3, 4, 2)])
def test_all_weights_0_give_nan(shape):
    moments = batch_moments(np.ones(shape), weights=[0, 0, 0])
    assert (moments.count, moments.weight) == (math.prod(shape[:-1]), 0.0)
    np.testing.assert_array_equal(moments.mean, [np.nan] * 2)
    np.testing.assert_array_equal(moments.variance, [np.nan] * 2)
    other = batch_moments(np.ones((2, 2)))
    assert other.merge(moments).mean.tolist() == [1.0, 1.0]


@pytest.mark.parametrize(("shape", "weights"), [((0, 2), []), ((3, 0, 2), [1, 2, 3])])
def test_an_empty_batch_has_no_weight(shape, weights):
    moments = batch_moments(np.ones(shape), weights=weights)
    assert (moments.count, moments.weight) == (0, 0.0)
    assert np.isnan(moments.mean).all()


def test_parts_merge_to_the_whole():
    rng = np.random.default_rng(6)
    batch, weights = rng.normal(100, 1, (400, 3)).astype(np.float32), rng.uniform(0, 1, 400)
    weights[100:200] = 1
    parts = [batch_moments(batch[i : i + 50], weights=weights[i : i + 50]) for i in range(0, 400, 50)]
    # Without weights they are 1.
    parts[2] = batch_moments(batch[100:150])
    merged = parts[5]
    for part in parts[:5] + parts[6:]:
        merged = part.merge(merged)
    assert_weighted(merged, batch, weights)


@pytest.mark.parametrize("shape", [(1000, 37, 9), (1000, 333)], ids=str)
def test_rows_that_are_not_as_many_as_fit_side_by_side(shape):
    """Many rows of a few hundred lanes have more weights for their lanes than a chunk has room for."""
    rng = np.random.default_rng(5)
    batch, weights = rng.normal(3, 2, shape).astype(np.float32), rng.uniform(0, 1, shape[0])
    moments = batch_moments(batch, data_format="NCHW", weights=weights)
    values = batch.reshape(*shape[:2], -1).astype(np.float64)
    mean = np.average(values, axis=0, weights=weights).mean(axis=1)
    variance = np.average(np.square(values - mean[:, np.newaxis]), axis=0, weights=weights).mean(axis=1)
    np.testing.assert_allclose(moments.mean, mean, rtol=1e-13)
    np.testing.assert_allclose(moments.variance, variance, rtol=1e-13)


def test_the_order_of_threads_and_variants_of_equal_items_does_not_matter():
    batch = np.random.default_rng(7).normal(3, 1, (3, 700_000, 2)).astype(np.float32)
    states = {batch_moments(batch, weights=[1, 2, 3], threads=threads)._state.tobytes() for threads in (1, 2, 5)}
    assert len(states) == 1


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        ([1.0], ValueError, r"`weights` has shape \(1,\); it must have shape \(3,\), one weight for each item"),
        (1.0, ValueError, r"`weights` has shape \(\)"),
        ([[1.0], [1.0], [1.0]], ValueError, r"`weights` has shape \(3, 1\)"),
        ([1, -1, 1], ValueError, "`weights` holds -1.0; no weight may be negative"),
        ([1, np.nan, 1], ValueError, "`weights` holds nan; every weight must be finite"),
        ([1, np.inf, 1], ValueError, "`weights` holds inf; every weight must be finite"),
        ([True, False, True], TypeError, "`weights` has dtype bool; it must hold real numbers"),
        ([1, None, 1], TypeError, "`weights` has dtype object; it must hold real numbers"),
        ([1, 2j, 1], TypeError, "`weights` has dtype complex128; it must hold real numbers"),
        (["1", "2", "3"], TypeError, "`weights` has dtype <U1; it must hold real numbers"),
        ([[1], [1, 2], [3]], TypeError, "`weights` cannot be turned into an array: .*inhomogeneous"),
        ([1e308, 1e308, 1], ValueError, r"`weights` reaches 1e\+308, and all elements together have no finite weight"),
    ],
)
def test_weights_that_cannot_be_are_refused(weights, error, message):
    with pytest.raises(error, match=message):
        batch_moments(np.ones((3, 2)), weights=weights)


def test_moments_with_a_weight_are_worked_out_by_hand():
    # 1, 2 and 4 with weights 1, 2 and 1.
    moments = batch_moments(np.array([[1.0], [2.0], [4.0]]), weights=[1, 2, 1])
    assert (moments.count, moments.weight, moments.mean[0]) == (3, 4.0, 2.25)
    assert moments.variance[0] == pytest.approx(1.1875, rel=1e-15, abs=0)
    again = Moments(moments.count, moments.mean, moments.variance, moments.weight)
    assert again.merge(moments).weight == 8.0


def test_a_signaling_nan_warns_no_more_than_another():
    # Its quiet bit is not set, so that any operation on it is invalid.
    batch = np.array([[0x7FF0000000000001, 0]], np.uint64).view(np.float64)
    for weights in ([1.0], [0.5]):
        moments = batch_moments(batch, weights=weights)
        np.testing.assert_array_equal(moments.mean, [np.nan, 0])
        np.testing.assert_array_equal(moments.variance, [np.nan, 0])


def test_weighted_squares_of_large_numbers_do_not_overflow():
    values = np.float64([[1e150], [3e150], [-2e150]])
    moments = batch_moments(values, weights=[1e10, 2e10, 5e10])
    # mean (1 + 6 - 10) / 8 of 1e150, mean square (1 + 18 + 20) / 8
    assert moments.mean[0] == pytest.approx(-0.375e150, rel=1e-15)
    assert moments.variance[0] == pytest.approx((4.875 - 0.375**2) * 1e300, rel=1e-14)


@pytest.mark.parametrize("variant", _moments.variants)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("count", [0, 1, 2, 15, 16, 17, 64, 1001, 70_003])
def test_weights_are_surveyed(count, dtype, variant):
    weights = (np.random.default_rng(count).integers(0, 3, count) * 0.1).astype(dtype)
    least, largest, sums = _moments.survey_weights(weights, variant)
    assert (least, largest) == ((weights.min(), weights.max()) if count else (0.0, 0.0))
    assert math.fsum(sums) == math.fsum(weights)
    for place in {0, count // 2, count - 1} if count else ():
        changed = weights.copy()
        changed[place] = -1.0
        assert _moments.survey_weights(changed, variant)[0] == -1.0
        changed[place] = 7.0
        assert _moments.survey_weights(changed, variant)[1] == 7.0
        for bad in (np.nan, np.inf, -np.inf):
            changed[place] = bad
            assert not np.isfinite(_moments.survey_weights(changed, variant)[2]).all()


@pytest.mark.parametrize(
    ("values", "message"), [(np.ones(3, np.uint8), "float64 or float32"), (np.ones((3, 1)), "vector")]
)
def test_weights_that_the_extension_does_not_read_are_refused(values, message):
    with pytest.raises(TypeError, match=message):
        _moments.survey_weights(values)
    with pytest.raises(TypeError, match=message):
        _moments.Batch(np.ones((3, 2)), weights=values)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
@pytest.mark.parametrize("kind", ["uniform", "runs", "some zero"])
@pytest.mark.parametrize(
    ("shape", "data_format"),
    [
        ((4099, 1), "NHWC"),
        ((1500, 3), "NHWC"),
        ((900, 8), "NHWC"),
        ((300, 64), "NHWC"),
        ((300, 71), "NHWC"),
        ((90, 7, 7, 3), "NHWC"),
        ((700, 13, 1), "NHWC"),
        ((60, 16, 5), "NHWC"),
        ((40, 61, 2), "NHWC"),
        ((60, 5, 9, 9), "NCHW"),
        ((12, 3, 31, 30), "NCHW"),
    ],
    ids=str,
)
def test_weighted_moments_have_the_same_bits_on_all_instruction_sets(shape, data_format, kind, dtype):
    """Rows that share a weight lie side by side, or each lane has its own weight, or each row, or each long run."""
    rng = np.random.default_rng(9)
    batch, weights = rng.normal(3, 2, shape).astype(np.float32), WEIGHTS[kind](rng, shape[0]).astype(np.float32)
    batch = (batch.view(np.uint32) >> 16).astype(np.uint16) if dtype == "bfloat16" else batch.astype(dtype)
    batch = np.moveaxis(batch, 1, -1) if data_format == "NCHW" else batch
    shape, seen = batch.shape, set()
    for values in (weights, weights.astype(np.float64)):
        reader = _moments.Batch(batch, dtype == "bfloat16", values, 0.25)
        for variant in _moments.variants:
            state, poison = np.empty((4, shape[-1])), np.zeros(shape[-1])
            total = reader.accumulate_weighted(state, poison, 0, reader.rows, variant=variant)
            seen.add((state.tobytes(), poison.tobytes(), total))
    assert len(seen) == 1
    assert total[0] == pytest.approx(math.fsum(weights * 0.25) * math.prod(shape[1:-1]), rel=1e-15)
    if dtype in ("float32", "float64"):
        values = batch.reshape(-1, shape[-1]).astype(np.float64)
        weights = np.repeat(weights.astype(np.float64), len(values) // len(weights))
        mean = np.average(values, axis=0, weights=weights)
        np.testing.assert_allclose(state[0], mean, rtol=1e-14)
        np.testing.assert_allclose(state[2], np.average(np.square(values - mean), axis=0, weights=weights), rtol=1e-13)


@pytest.mark.parametrize(
    "dtype", [np.uint8, np.int16, np.int64, np.float16, np.float32, np.dtype(">f4"), np.dtype(">f8")]
)
def test_weights_of_every_dtype_are_their_numbers(dtype):
    batch = np.random.default_rng(5).normal(3, 2, (90, 3)).astype(np.float32)
    weights = np.random.default_rng(6).integers(0, 5, 90)
    moments, expected = (batch_moments(batch, weights=each) for each in (weights.astype(dtype), weights.astype(float)))
    assert moments.weight == expected.weight
    assert moments._state.tobytes() == expected._state.tobytes()


@pytest.mark.parametrize("variant", _moments.variants)
def test_rows_that_weigh_very_little_lose_no_digits(variant):
    """Their products with small squares would be 0. No weight is left over by the vectors that find the largest."""
    batch, weights = np.random.default_rng(5).normal(3, 2, (97, 3)) * 1e-30, np.arange(97.0) / 128
    states = np.empty((2, 4, 3))
    for state, factor in zip(states, (1.0, 2.0**-900), strict=True):
        reader = _moments.Batch(batch, weights=weights, factor=factor)
        assert reader.accumulate_weighted(state, np.zeros(3), 0, 97, variant=variant)[0] == weights.sum() * factor
    np.testing.assert_array_equal(states[0], states[1])


def test_integers_that_float32_does_not_hold_are_kept():
    weights = np.array([2**24 + 1, 1, 2**52 - 1])
    assert batch_moments(np.ones((3, 2)), weights=weights).weight == 2**24 + 1 + 2**52


def test_weights_that_are_not_aligned_are_read():
    weights = np.frombuffer(b"x" + np.arange(9.0).tobytes(), np.uint8)[1:].view(np.float64)
    assert not weights.flags.aligned
    batch = np.random.default_rng(5).normal(3, 2, (9, 4)).astype(np.float32)
    moments, expected = (batch_moments(batch, weights=each) for each in (weights, np.arange(9.0)))
    np.testing.assert_array_equal(moments.variance, expected.variance)
