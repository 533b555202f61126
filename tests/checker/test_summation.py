"""The replayed orders of summation, bit for bit against plain loops; and how they reach a batch of any layout."""

import numpy as np
import pytest

from tf1bn._native import replay as _replay
from tf1bn.checker import MovingStats, batch_moments, error_bounds, summation
from tf1bn.checker.roundoff import SIGNIFICAND_BITS

WORKERS = summation.WORKERS


def in_order(terms):
    total = np.zeros(terms.shape[1:], terms.dtype)
    for term in terms:
        total = total + term
    return total


def blocked(terms):
    length = -(-len(terms) // WORKERS)
    return in_order(np.array([in_order(terms[i : i + length]) for i in range(0, len(terms), length)], terms.dtype))


def lanes(count):
    return lambda terms: in_order(np.array([in_order(terms[lane::count]) for lane in range(count)], terms.dtype))


def pairwise(terms):
    # Trees of 2^k terms, the largest first, and then their sums from the smallest on.
    sums, rest = [], terms
    while len(rest):
        size = 2 ** (len(rest).bit_length() - 1)
        tree, rest = rest[:size], rest[size:]
        while len(tree) > 1:
            tree = tree[::2] + tree[1::2]
        sums.append(tree[0])
    return in_order(np.array(sums[::-1], terms.dtype))


def two_pass(add, values, weights):
    one = np.ones_like(values) if weights is None else weights
    divisor = values.dtype.type(len(values)) if weights is None else add(weights)
    mean = add(values * one) / divisor
    deviations = values - mean
    return mean, add(one * (deviations * deviations)) / divisor


def shifted(values, weights):
    one = np.ones_like(values) if weights is None else weights
    divisor = values.dtype.type(len(values)) if weights is None else in_order(weights)
    mean, square = two_pass(in_order, values, weights)
    rest = in_order(one * (values - mean)) / divisor
    return mean + rest, square - rest * rest


def welford(values):
    mean = m2 = values.dtype.type(0)
    for k, x in enumerate(values):
        delta = x - mean
        mean = mean + delta / values.dtype.type(k + 1)
        m2 = m2 + delta * (x - mean)
    return len(values), mean, m2


def welford_lanes(values, count=32):
    kind = values.dtype.type
    n, mean, m2 = welford(values[::count])
    for lane in range(1, min(count, len(values))):
        k, other, other2 = welford(values[lane::count])
        share, delta = kind(k) / (kind(n) + kind(k)), other - mean
        mean = mean + delta * share
        m2 = m2 + (other2 + delta * delta * (kind(n) * share))
        n += k
    return mean, m2 / kind(len(values))


def by_hand(values, weights=None):
    """Mean and variance of one channel by every order."""
    back = None if weights is None else weights[::-1]
    sums = {
        "in order": two_pass(in_order, values, weights),
        "backwards": two_pass(in_order, values[::-1], back),
        "blocked": two_pass(blocked, values, weights),
        **{f"{count} lanes": two_pass(lanes(count), values, weights) for count in (2, 4, 8, 16)},
        "pairwise": two_pass(pairwise, values, weights),
        summation.SHIFTED: shifted(values, weights),
    }
    if weights is not None:
        return sums | dict.fromkeys(("welford", "welford, backwards", "welford, lanes"), sums["in order"])
    count = values.dtype.type(len(values))
    forwards, backwards = welford(values), welford(values[::-1])
    return sums | {
        "welford": (forwards[1], forwards[2] / count),
        "welford, backwards": (backwards[1], backwards[2] / count),
        "welford, lanes": welford_lanes(values),
    }


def check_orders(batch, weights=None, variant=None):
    """Compare all orders of a batch [rows, channels] with the loops."""
    means, variances = summation.layer_moments(batch, batch.dtype, weights, variant=variant)
    assert means.dtype == variances.dtype == batch.dtype
    with np.errstate(all="ignore"):
        expected = by_hand(batch, weights if weights is None else weights.astype(batch.dtype)[:, np.newaxis])
    assert list(expected) == list(summation.ORDERS)
    for i, name in enumerate(summation.ORDERS):
        np.testing.assert_array_equal((means[i], variances[i]), expected[name], err_msg=name)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("count", [1, 2, 7, 8, 33, 100, 1000])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_order_is_the_loop_that_it_is_named_after(dtype, count, weighted):
    rng = np.random.default_rng(count)
    batch = rng.uniform(0, 255, (count, 3)).astype(dtype)
    check_orders(batch, rng.uniform(0, 2, count) if weighted else None)


@pytest.mark.parametrize("variant", _replay.variants)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_instruction_set_gives_the_bits_of_the_loops(dtype, variant):
    """In vectors that are full, in their rest, in several bands, and with what is not finite or not normal."""
    rng = np.random.default_rng(3)
    smallest = np.finfo(dtype).smallest_subnormal
    for channels in (1, 2, 3, 4, 8, 9, 40):
        batch = rng.normal(3, 2, (140, channels)).astype(dtype)
        batch[:, ::5] = rng.integers(-9, 9, batch[:, ::5].shape) * smallest
        batch[7, ::7], batch[90, 1::7], batch[3, 2::7] = np.nan, np.inf, -np.inf
        batch[9, 3::7], batch[:, 4::7] = np.finfo(dtype).max, -0.0
        check_orders(batch, None, variant)
        check_orders(batch, rng.uniform(0, 2, 140), variant)


@pytest.mark.parametrize("variant", _replay.variants)
@pytest.mark.parametrize("kind", ["normal", "bytes", "outliers", "tiny", "huge", "ends in infinity", "has a NaN"])
def test_one_channel_of_many_rows_gives_the_bits_of_the_loops(kind, variant):
    """Welford updates are predicted, badly if sums of rows overflow; blocks end anywhere, and rows are left over."""
    rng = np.random.default_rng(4)
    batch = rng.normal(3, 2, (2500, 1)).astype(np.float32)
    if kind == "bytes":
        batch = np.floor(rng.uniform(0, 256, batch.shape)).astype(np.float32)
    elif kind == "outliers":
        batch[rng.random(len(batch)) < 0.02] *= np.float32(1e9)
    elif kind == "tiny":
        batch *= np.float32(1e-42)
    elif kind == "huge":
        batch *= np.float32(1e37)
    elif kind == "ends in infinity":
        batch[-1] = np.inf
    elif kind == "has a NaN":
        batch[1600] = np.nan
    check_orders(batch, None, variant)


@pytest.mark.parametrize("block", [1, 5, 64, 2**16])
def test_any_layout_in_blocks_gives_the_same(monkeypatch, block):
    rng = np.random.default_rng(1)
    batch = rng.normal(3, 2, (5, 4, 7, 3)).astype(np.float32)
    weights = rng.uniform(0, 2, 5)
    expected = [
        summation.layer_moments(batch.reshape(-1, 3), np.dtype("float32")),
        summation.layer_moments(batch, np.dtype("float32"), weights),
    ]
    monkeypatch.setattr(summation, "BLOCK", block)
    planar = np.ascontiguousarray(np.moveaxis(batch, -1, 1))
    unaligned = np.frombuffer(bytes(1) + batch.tobytes(), np.float32, offset=1).reshape(batch.shape)
    assert all(rows.flags.aligned for rows in summation._blocks(unaligned, np.dtype("float32"), backwards=False))
    for layout in (
        batch,
        unaligned,
        np.moveaxis(planar, 1, -1),
        batch.astype(">f4"),
        np.asfortranarray(batch),
        batch.astype(np.float64),
        np.stack([batch, batch], axis=1)[:, 0],
    ):
        for i, arguments in enumerate([(), (weights,)]):
            seen = summation.layer_moments(layout, np.dtype("float32"), *arguments)
            np.testing.assert_array_equal(seen, expected[i])


def rates_with(layer_rates):
    rates = error_bounds.rates_of(0.9, "float16", None, "difference")
    return rates._replace(forms=tuple((None, rate, SIGNIFICAND_BITS["float16"]) for rate in layer_rates))


def test_layers_take_their_steps_in_their_own_dtype():
    rng = np.random.default_rng(2)
    batches = [rng.uniform(0, 255, (100, 2)).astype(np.float16) for _ in range(3)]
    layers = summation.ReplayedLayers(np.array([[0.0, 1.0], [1.0, 2.0]]), "float16", 10**6, 2)
    rates, factor = (0.1, 0.2), 100 / 99
    by_order = {}
    for batch in batches:
        layers.add_step(batch_moments(batch), batch, None, factor, rates_with(rates))
        means, variances = summation.layer_moments(batch, np.dtype("float32"))
        variances = variances * np.float32(factor)
        for i, name in enumerate(summation.ORDERS):
            for rate in rates:
                old = by_order.get((name, rate), np.array([[0.0, 1.0], [1.0, 2.0]], np.float16))
                new = np.stack([means[i], variances[i]]).astype(np.float16)
                by_order[name, rate] = old - (old - new) * np.float16(rate)
    value = np.array([[10.0, 20.0], [500.0, 600.0]])
    distances = [np.abs(np.float64(seen) - value) for seen in by_order.values()]
    np.testing.assert_array_equal(layers.largest_error(value), np.max(distances, axis=0))
    divided = [np.abs(np.float64(seen / np.float16([[0.5], [1]])) - value) for seen in by_order.values()]
    np.testing.assert_array_equal(layers.largest_error(value, 0.5), np.max(divided, axis=0))
    assert layers.obstacle is None


def test_a_layer_that_overflows_is_infinitely_far_off():
    batch = np.full((4, 1), 3e38, np.float32)
    layers = summation.ReplayedLayers(np.zeros((2, 1)), "float32", 10**6, 2)
    layers.add_step(batch_moments(batch), batch, None, 1.0, rates_with((1.0, 1.0)))
    assert np.isinf(layers.largest_error(np.array([[3e38], [0.0]]))).all()


@pytest.mark.parametrize(("bessel", "variance"), [(True, 2.0), (False, 1.0)])
def test_a_layer_with_bessels_correction_is_replayed_with_it(bessel, variance):
    """0 and 2 have mean 1, variance 1 and sample variance 2 in every order of summation."""
    stats = MovingStats([5.0], [5.0], decay=0.0, bessel=bessel)
    stats.update(np.array([[0.0], [2.0]], np.float32))
    assert stats._layers.largest_error(np.array([[1.0], [variance]])).tolist() == [[0.0], [0.0]]
