"""Batch moments and their merge against exact rational arithmetic."""

import array
import copy
import dataclasses
import math
import pickle
import sys
import threading
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
import tiers
from accuracy import ACCURACY, DTYPES, HARD, PATHS, assert_accurate
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import exact_moments

from tf1bn.checker import Moments, batch_moments


def close(expected, rel):
    # Left out, `abs` would be 1e-12 and let any bound of a float64 layer pass.
    return pytest.approx(expected, rel=rel, abs=0)


# ---------------------------------------------------------------- batch_moments


@st.composite
def batches(draw):
    """A batch of any dtype, rank, stride (0 and negative too), byte order and alignment, or read-only."""
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    shape = draw(st.lists(st.integers(1, 5), min_size=2, max_size=5))
    limit = {2: 65504.0, 4: float(np.finfo(np.float32).max), 8: 1e150}[dtype.itemsize]
    values = st.floats(-limit, limit, width=8 * dtype.itemsize) if dtype.itemsize < 8 else st.floats(-limit, limit)
    steps = [draw(st.sampled_from([1, 1, 2, -1, -2, 0])) for _ in shape]
    stored = [1 if step == 0 else size * abs(step) for size, step in zip(shape, steps, strict=True)]
    size = math.prod(stored)
    pool = np.array(draw(st.lists(values, min_size=1, max_size=12)), dtype)
    picks = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).integers(0, pool.size, size)
    dtype = dtype.newbyteorder(draw(st.sampled_from("<>")))
    offset = draw(st.integers(0, dtype.itemsize))
    raw = bytearray(offset + size * dtype.itemsize)
    batch = np.frombuffer(raw, dtype, offset=offset).reshape(stored)
    batch[...] = pool[picks].reshape(stored)
    batch = batch[tuple(slice(None, None, step or 1) for step in steps)]
    batch = np.broadcast_to(batch, shape) if 0 in steps else batch
    batch = batch.transpose(draw(st.permutations(range(batch.ndim))))
    if draw(st.booleans()):
        batch = batch.view()
        batch.flags.writeable = False
    return batch


@settings(max_examples=400, deadline=None)
@given(batches(), st.sampled_from(["NHWC", "NCHW"]))
def test_any_memory_layout_gives_the_exact_moments(batch, data_format):
    assert_accurate(batch_moments(batch, data_format=data_format), batch, data_format)


@pytest.mark.parametrize("dtype", tiers.slow_but(["float64"], ["float32", "float64"]))
@pytest.mark.parametrize("kind", HARD)
def test_hard_data_over_many_chunks(kind, dtype):
    values = HARD[kind](np.random.default_rng(5), (2, 50_000)).astype(dtype)
    assert_accurate(batch_moments(values.T.copy()), values.T)
    assert_accurate(batch_moments(values[None], data_format="NCHW"), values[None], "NCHW")


# Rows wider than the lanes have thousands of channels, and exact arithmetic takes seconds for them.
EVERY_WAY = [
    pytest.param(
        *path,
        dtype,
        marks=pytest.mark.slow if path[0] == (300, 1030) or (path[0] == (9, 2048) and dtype != "float32") else (),
    )
    for path in PATHS
    for dtype in DTYPES
]


@pytest.mark.parametrize(("shape", "data_format", "dtype"), EVERY_WAY, ids=str)
def test_every_way_through_the_kernels(shape, data_format, dtype):
    batch = np.random.default_rng(6).normal(3, 2, shape).astype(dtype)
    assert_accurate(batch_moments(batch, data_format=data_format), batch, data_format)
    # Sliced, so that nothing is contiguous; transposed, so that the axes are not in the order of memory.
    sliced = batch[::-1, ..., ::-1]
    assert_accurate(batch_moments(sliced, data_format=data_format), sliced, data_format)
    turned = batch.T.copy().T
    assert_accurate(batch_moments(turned, data_format=data_format), turned, data_format)


def test_every_float16_is_converted_exactly():
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    with np.errstate(invalid="ignore"):  # some processors warn of a NaN that signals
        expected = halves.astype(np.float64)
    for batch in (halves, halves.astype(">f2")):
        moments = batch_moments(batch[None])
        np.testing.assert_array_equal(moments.mean, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [0.1, -3e4, 6e-8, 0.0])
@pytest.mark.parametrize("count", [1, 2, 3, 1000, 2049, 12345])
def test_constant_channel_is_exact(count, value, dtype):
    batch = np.full((count, 3), value, dtype)
    for data_format, layout in (("NHWC", batch), ("NCHW", batch.T[None])):
        moments = batch_moments(layout, data_format=data_format)
        np.testing.assert_array_equal(moments.mean, batch[0].astype(np.float64))
        np.testing.assert_array_equal(moments.variance, 0.0)


@pytest.mark.parametrize("count", [1, 3, 1000])
def test_constants_whose_squares_underflow_are_exact(count):
    values = np.geomspace(1e-163, 1e-139, 300)
    moments = batch_moments(np.tile(values, (count, 1)))
    np.testing.assert_array_equal(moments.mean, values)
    np.testing.assert_array_equal(moments.variance, 0.0)


def test_variance_that_underflows_is_zero():
    constant = batch_moments(np.full((1000, 1), 1.1e-150))
    assert (constant.mean[0], constant.variance[0]) == (1.1e-150, 0.0)
    # The squares of the deviations are lost one by one, that of their sum is not.
    nearly = np.ldexp(1.5, -486) + np.ldexp(1.0, -538) * (np.arange(2048) % 2)
    assert batch_moments(nearly[:, None]).variance[0] == 0.0


@pytest.mark.parametrize("count", [16, 2048, 50_000])
def test_a_large_mean_costs_no_digits_of_the_variance(count):
    # Mean/std is 1e15; only neighbouring float64 numbers are left to differ.
    values = 2.0**52 + np.random.default_rng(11).integers(0, 4, (count, 1))
    _, _, variance = exact_moments(values)
    assert abs(Fraction(batch_moments(values).variance[0]) - variance) <= ACCURACY * variance


def test_large_float64_values_do_not_overflow():
    values = np.tile([1e150, -1e150], 3000)[:, None]
    assert_accurate(batch_moments(values), values)
    # Nor do the squares of 2^62 of them: N times the variance would be 4.6e318.
    many = batch_moments(np.broadcast_to(values[:, :, None], (6000, 1, 2**40)), data_format="NCHW")
    for _ in range(10):
        many = many.merge(many)
    assert many.count == 6000 * 2**50
    assert (many.mean[0], many.variance[0]) == (0.0, close(1e300, rel=1e-14))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_many_elements(dtype):
    values = np.random.default_rng(12).gamma(0.3, 1e3, (3, 2**20)).astype(dtype)
    for kind in (values, values + np.dtype(dtype).type(2**18)):
        assert_accurate(batch_moments(kind.T.copy()), kind.T)
        assert_accurate(batch_moments(kind[None], data_format="NCHW"), kind[None], "NCHW")


@pytest.mark.parametrize("shape", [(2**31, 1), (2**30, 2**25, 3), (2, 2**40, 0, 3)])
def test_repeated_elements_are_counted_not_read(shape):
    batch = np.broadcast_to(np.float32(0.1), shape)
    moments = batch_moments(batch)
    assert moments.count == math.prod(shape[:-1])
    expected = float(np.float32(0.1)) if moments.count else np.nan
    np.testing.assert_array_equal(moments.mean, [expected] * shape[-1])
    np.testing.assert_array_equal(moments.variance, [expected * 0.0] * shape[-1])
    mixed = np.broadcast_to(np.array([[[1.0]], [[4.0]]]), (2, 2**33, 1))
    assert batch_moments(mixed).count == 2**34
    assert (batch_moments(mixed).mean[0], batch_moments(mixed).variance[0]) == (2.5, 2.25)


@pytest.mark.parametrize("row", [0, 1, 2047, 2048, 4999])
@pytest.mark.parametrize(
    ("bad", "mean"),
    [([np.nan], np.nan), ([np.inf], np.inf), ([-np.inf], -np.inf), ([np.inf, -np.inf], np.nan)],
)
@pytest.mark.parametrize("data_format", ["NHWC", "NCHW"])
def test_what_is_not_finite_stays_in_its_channel(data_format, bad, mean, row):
    batch = np.random.default_rng(7).normal(size=(5001, 5)).astype(np.float32)
    clean = batch_moments(batch)
    batch[row : row + len(bad), 2] = bad
    moments = batch_moments(batch if data_format == "NHWC" else batch.T[None], data_format=data_format)
    np.testing.assert_array_equal(moments.mean[2], mean)
    assert np.isnan(moments.variance[2])
    others = [0, 1, 3, 4]
    if data_format == "NHWC":
        np.testing.assert_array_equal(moments.mean[others], clean.mean[others])
        np.testing.assert_array_equal(moments.variance[others], clean.variance[others])
    else:
        assert_accurate(Moments(moments.count, moments.mean[others], moments.variance[others]), batch[:, others])


@pytest.mark.parametrize(("shape", "data_format"), [((0, 3), "NHWC"), ((4, 0, 2, 3), "NHWC"), ((0, 3, 2, 2), "NCHW")])
def test_empty_batch_has_no_moments(shape, data_format):
    moments = batch_moments(np.zeros(shape), data_format=data_format)
    assert moments.count == 0
    np.testing.assert_array_equal(moments.mean, [np.nan] * 3)
    np.testing.assert_array_equal(moments.variance, [np.nan] * 3)


def test_one_element_per_channel():
    moments = batch_moments(np.array([[0.5, -7.25]]))
    assert moments.count == 1
    np.testing.assert_array_equal(moments.mean, [0.5, -7.25])
    np.testing.assert_array_equal(moments.variance, [0, 0])
    np.testing.assert_array_equal(moments.unbiased_variance, [0, 0])


class Tensor:
    """What tensors of other libraries have in common."""

    def __array__(self, dtype=None, copy=None):
        return np.array([[1.0, 2.0], [3.0, 6.0]], dtype or np.float32)


@pytest.mark.parametrize(
    "batch",
    [
        [[1.0, 2.0], [3.0, 6.0]],
        Tensor(),
        memoryview(array.array("f", [1, 2, 3, 6])).cast("B").cast("f", [2, 2]),
    ],
    ids=["list", "__array__", "buffer"],
)
def test_what_numpy_can_read_is_a_batch(batch):
    moments = batch_moments(batch)
    np.testing.assert_array_equal(moments.mean, [2, 4])
    np.testing.assert_array_equal(moments.variance, [1, 4])


@pytest.mark.parametrize(
    ("batch", "error", "message"),
    [
        (
            [[1, 2]],
            TypeError,
            r"`batch` has dtype int64; it must be float16, bfloat16, float32 or float64, so cast it",
        ),
        (np.ones((2, 2), bool), TypeError, "`batch` has dtype bool"),
        (np.ones((2, 2), complex), TypeError, "`batch` has dtype complex128"),
        (np.ones((2, 2), object), TypeError, "`batch` has dtype object"),
        (np.ones((2, 2), np.longdouble), TypeError, "`batch` has dtype float128"),
        ("text", TypeError, "`batch` has dtype <U4"),
        (None, TypeError, "`batch` has dtype object"),
        ([[1.0], [1.0, 2.0]], TypeError, "`batch` cannot be turned into an array: .*inhomogeneous"),
        (np.ma.masked_array([[1.0]], [[True]]), TypeError, "`batch` is a masked array"),
        (np.float32(1), ValueError, r"`batch` has shape \(\); it must have at least 2 axes"),
        (np.ones(3), ValueError, r"`batch` has shape \(3,\); it must have at least 2 axes"),
        (np.ones((3, 0)), ValueError, r"`batch` has shape \(3, 0\); it must have at least one channel"),
    ],
)
def test_what_is_not_a_batch_is_refused(batch, error, message):
    with pytest.raises(error, match=message):
        batch_moments(batch)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"data_format": "NCWH"}, ValueError, '`data_format` is \'NCWH\'; it must be "NHWC" or "NCHW"'),
        ({"data_format": None}, ValueError, "`data_format` is None"),
        ({"threads": 0}, ValueError, "`threads` is 0; it must be None or a positive integer"),
        ({"threads": -1}, ValueError, "`threads` is -1; it must be None or a positive integer"),
        ({"threads": True}, TypeError, "`threads` is True; it must be None or a positive integer"),
        ({"threads": 1.0}, TypeError, "`threads` is 1.0; it must be None or a positive integer"),
        ({"progress": 3}, TypeError, r"`progress` is 3; it must be None or callable with \(done, total\)"),
    ],
)
def test_arguments_of_batch_moments_are_checked(arguments, error, message):
    with pytest.raises(error, match=message):
        batch_moments(np.ones((2, 2)), **arguments)
    assert batch_moments(np.ones((2, 2)), threads=np.int64(3)).count == 2


@pytest.mark.parametrize("layout", ["native", "swapped", "transposed", "unaligned", "NCHW"])
def test_a_batch_is_not_copied(layout):
    size = 2**20
    batch = {
        "native": lambda: np.ones((size, 4), np.float32),
        "swapped": lambda: np.ones((size, 4), ">f4" if sys.byteorder == "little" else "<f4"),
        "transposed": lambda: np.ones((4, size), np.float32).T,
        "unaligned": lambda: np.frombuffer(bytes(16 * size + 1), np.float32, offset=1).reshape(size, 4),
        "NCHW": lambda: np.ones((16, 4, size // 16), np.float32),
    }[layout]()
    tracemalloc.start()
    try:
        batch_moments(batch, data_format="NCHW" if layout == "NCHW" else "NHWC", threads=1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # 16 MiB of batch; what is left is a chunk, some lanes and Python's own objects.
    assert peak < 2**19


def test_threads_of_python_do_not_disturb_each_other():
    batches_ = [np.random.default_rng(i).normal(i, 1, (20_000, 7)).astype(np.float32) for i in range(4)]
    alone = [batch_moments(batch) for batch in batches_]
    results = [[] for _ in batches_]

    def work(i):
        for _ in range(20):
            results[i].append(batch_moments(batches_[i]))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for expected, seen in zip(alone, results, strict=True):
        assert len(seen) == 20
        for moments in seen:
            np.testing.assert_array_equal(moments.mean, expected.mean)
            np.testing.assert_array_equal(moments.variance, expected.variance)


def test_the_gil_is_released():
    batch = np.ones((2**20, 1), np.float32)
    interval = sys.getswitchinterval()
    free, attempts = threading.Event(), []

    def work():
        # At most two seconds of computing, should nobody else ever get the GIL.
        while not free.is_set() and len(attempts) < 2000:
            attempts.append(batch_moments(batch))

    thread = threading.Thread(target=work)
    try:
        # Nobody is made to give up the GIL: only who releases it lets this thread go on.
        sys.setswitchinterval(1000)
        thread.start()
        free.set()
        thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert len(attempts) < 2000


# ---------------------------------------------------------------- Moments


def test_moments_are_immutable():
    source = np.array([1.0, 2.0])
    moments = Moments(3, source, [0.5, 0])
    source[0] = 9
    np.testing.assert_array_equal(moments.mean, [1, 2])
    np.testing.assert_array_equal(moments.variance, [0.5, 0])
    assert moments.mean.dtype == moments.variance.dtype == np.float64
    for other in (moments, batch_moments(np.ones((2, 2)))):
        with pytest.raises(dataclasses.FrozenInstanceError):
            other.count = 4
        with pytest.raises(ValueError, match="read-only"):
            other.mean[0] = 0
        with pytest.raises(ValueError, match="read-only"):
            other.variance[0] = 0


def test_moments_can_be_copied_and_pickled():
    moments = batch_moments(np.array([[0.1], [0.7], [1e9]]))
    for twin in (copy.deepcopy(moments), pickle.loads(pickle.dumps(moments))):
        assert twin.count == 3
        np.testing.assert_array_equal(twin.merge(moments).variance, moments.merge(moments).variance)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((1.5, [0.0], [0.0]), TypeError, "`count` is 1.5; it must be an integer"),
        ((-1, [0.0], [0.0]), ValueError, "`count` is -1; it must not be negative"),
        ((2**1024, [0.0], [0.0]), ValueError, r"`count` is 2\^1024 or more; it must be smaller"),
        ((2**1024, [0.0], [0.0], 1.0), ValueError, r"`count` is 2\^1024 or more; it must be smaller"),
        ((1, [0.0], [-1.0]), ValueError, "`variance` is -1.0 in one channel; it must not be negative"),
        ((1, [0.0], [1.0, 2.0]), ValueError, "`variance` has 2 channels; 1 are expected"),
        ((1, 0.0, 0.0), ValueError, r"`mean` has shape \(\); it must be a vector"),
        ((1, [], []), ValueError, r"`mean` has shape \(0,\); it must be a vector"),
        ((1, [1j], [0.0]), TypeError, "`mean` has dtype complex128; it must hold real numbers"),
        ((1, [0.0], ["a"]), TypeError, "`variance` has dtype <U1; it must hold real numbers"),
        ((0, [0.0], [np.nan]), ValueError, "`count` is 0, so `mean` and `variance` must be NaN"),
        ((1, [0.0], [np.nan], 0), ValueError, "`weight` is 0, so `mean` and `variance` must be NaN"),
        ((0, [np.nan], [np.nan], 1), ValueError, "`weight` is 1 and `count` is 0; nothing has no weight"),
        ((1, [0.0], [0.0], -1.0), ValueError, "`weight` is -1.0; it must be finite and not negative"),
        ((1, [0.0], [0.0], np.inf), ValueError, "`weight` is inf; it must be finite"),
        ((1, [0.0], [0.0], np.nan), ValueError, "`weight` is nan; it must be finite"),
        ((1, [0.0], [0.0], "1"), TypeError, "`weight` is '1'; it must be None or a number"),
        ((1, [0.0], [0.0], True), TypeError, "`weight` is True; it must be None or a number"),
    ],
)
def test_arguments_of_moments_are_checked(arguments, error, message):
    with pytest.raises(error, match=message):
        Moments(*arguments)


def test_unbiased_variance_has_bessels_factor():
    assert Moments(16, [0.0], [15.0]).unbiased_variance[0] == 16.0
    assert Moments(1, [0.0], [0.0]).unbiased_variance[0] == 0.0
    assert np.isnan(Moments(0, [np.nan], [np.nan]).unbiased_variance[0])


MERGE_TREES = {
    "one by one": lambda parts: _left_fold(parts),
    "from the right": lambda parts: _left_fold(parts[::-1]),
    "tree": lambda parts: _tree(parts),
}


def _left_fold(parts):
    merged = parts[0]
    for part in parts[1:]:
        merged = merged.merge(part)
    return merged


def _tree(parts):
    if len(parts) == 1:
        return parts[0]
    return _tree(parts[: len(parts) // 2]).merge(_tree(parts[len(parts) // 2 :]))


@pytest.mark.parametrize("tree", tiers.slow_but(list(MERGE_TREES)[:1], list(MERGE_TREES)))
@pytest.mark.parametrize("kind", HARD)
def test_merged_moments_are_as_accurate_as_those_of_the_whole(kind, tree):
    rng = np.random.default_rng(8)
    values = HARD[kind](rng, (2, 3000)).astype(np.float32).T
    cuts = np.sort(rng.choice(np.arange(1, 3000), 700, replace=False))
    parts = [batch_moments(part) for part in np.split(values, cuts)]
    assert_accurate(MERGE_TREES[tree](parts), values)


def test_merge_of_one_huge_value_with_many():
    values = np.random.default_rng(10).normal(size=(100_001, 1))
    values[0] = 1e30
    one, many = batch_moments(values[:1]), batch_moments(values[1:])
    assert_accurate(one.merge(many), values)
    assert_accurate(many.merge(one), values)


def test_many_merges_lose_no_digits():
    # Every step is a few hundred ulp; rounded one by one, without low-order words, they are 1e-12 off.
    many, merges = 10**12, 20_000
    merged, part = Moments(many, [1.0], [1.0]), Moments(1, [1.7], [1.3])
    for _ in range(merges):
        merged = merged.merge(part)
    share = Fraction(merges, many + merges)
    delta = Fraction(1.7) - 1
    mean = 1 + delta * share
    variance = 1 + (Fraction(1.3) - 1) * share + delta**2 * share * (1 - share)
    assert merged.count == many + merges
    assert abs(Fraction(merged.mean[0]) - mean) <= Fraction(2) ** -52
    assert abs(Fraction(merged.variance[0]) - variance) <= Fraction(2) ** -52


def test_moments_of_rounded_numbers_are_as_far_off_as_documented():
    # u (1 + mean^2 / variance), from the first rounding and from every one that follows a merge.
    values = np.random.default_rng(13).normal(1e5, 1, (40, 50))
    _, mean, variance = exact_moments(values)
    unit = Fraction(2) ** -53
    condition = 1 + mean**2 / variance

    def rounded(moments):
        return Moments(moments.count, moments.mean, moments.variance)

    once = again = None
    for part in values:
        part = rounded(batch_moments(part[:, None]))
        once = part if once is None else once.merge(part)
        again = part if again is None else rounded(again.merge(part))
    for merged, roundings in ((once, 1), (again, len(values))):
        assert abs(Fraction(merged.mean[0]) - mean) <= 2 * roundings * unit * mean
        assert abs(Fraction(merged.variance[0]) - variance) <= 4 * roundings * unit * condition * variance
    # Moments that were not rounded do not lose that.
    assert_accurate(batch_moments(values.reshape(-1, 1)), values.reshape(-1, 1))


def test_merge_of_given_moments():
    # 1, 3 and 5, 9, 13: worked out by hand.
    merged = Moments(2, [2.0], [1.0]).merge(Moments(3, [9.0], [32 / 3]))
    assert merged.count == 5
    assert merged.mean[0] == close(6.2, rel=1e-15)
    assert merged.variance[0] == close((5.2**2 + 3.2**2 + 1.2**2 + 2.8**2 + 6.8**2) / 5, rel=1e-15)


def test_merge_with_nothing_changes_nothing():
    moments = batch_moments(np.array([[1.0, 5.0], [2.0, 5.0]]))
    nothing = batch_moments(np.zeros((0, 2)))
    for merged in (moments.merge(nothing), nothing.merge(moments)):
        assert merged.count == 2
        np.testing.assert_array_equal(merged.mean, [1.5, 5])
        np.testing.assert_array_equal(merged.variance, [0.25, 0])
    assert nothing.merge(nothing).count == 0


def test_merge_goes_by_weight():
    # 1 and 3 with weights 2 and 6, 9 with weight 8: worked out by hand.
    first = Moments(2, [2.5], [0.75], 8.0)
    merged = first.merge(Moments(1, [9.0], [0.0], 8))
    assert (merged.count, merged.weight) == (3, 16.0)
    assert merged.mean[0] == 5.75
    assert merged.variance[0] == 0.375 + 3.25**2
    # What weighs nothing is neutral, and counted.
    nothing = Moments(7, [np.nan], [np.nan], 0)
    for merged in (first.merge(nothing), nothing.merge(first)):
        assert (merged.count, merged.weight) == (9, 8.0)
        assert (merged.mean[0], merged.variance[0]) == (2.5, 0.75)
    assert Moments(3, [1.0], [2.0]).weight == 3.0


def test_weights_that_add_up_to_infinity_are_refused():
    moments = Moments(2, [2.5], [0.75], 1.5e308)
    with pytest.raises(ValueError, match=r"The weights 1.5e\+308 and 1.5e\+308 add up to infinity; scale all of them"):
        moments.merge(moments)


def test_bessels_factor_is_for_counts_only():
    with pytest.raises(
        ValueError, match=r"weight 8.0 and count 2; Bessel's correction is only defined without weights"
    ):
        _ = Moments(2, [2.5], [0.75], 8.0).unbiased_variance


@pytest.mark.parametrize(
    ("first", "second", "mean"), [(np.inf, 1.0, np.inf), (1.0, -np.inf, -np.inf), (np.inf, -np.inf, np.nan)]
)
def test_merge_of_what_is_not_finite(first, second, mean):
    merged = batch_moments(np.array([[first, 2.0]])).merge(batch_moments(np.array([[second, 4.0]])))
    np.testing.assert_array_equal(merged.mean, [mean, 3])
    np.testing.assert_array_equal(merged.variance, [np.nan, 1])


def test_merge_refuses_what_does_not_fit():
    moments = Moments(1, [0.0], [0.0])
    with pytest.raises(ValueError, match="`other` has 2 channels and these moments have 1"):
        moments.merge(Moments(1, [0.0, 0.0], [0.0, 0.0]))
    with pytest.raises(TypeError, match="`other` is of type float; it must be Moments"):
        moments.merge(1.0)


def test_the_repr_shows_the_first_channels():
    assert repr(batch_moments([[1.0, 0.1], [3.0, 0.1]])) == "Moments(count=2, mean=[2, 0.1], variance=[1, 0])"
    assert repr(Moments(3, np.zeros(5), np.ones(5), weight=1.5)) == (
        "Moments(count=3, mean=[0, 0, 0, 0, ... 5 channels], variance=[1, 1, 1, 1, ... 5 channels], weight=1.5)"
    )


def test_counts_that_add_up_to_more_than_a_float_are_refused():
    large = Moments(2**1023, [0.0], [0.0])
    for other in (large, Moments(2**1023, [0.0], [0.0], weight=1.0)):
        with pytest.raises(ValueError, match=r"`count` is 2\^1024 or more"):
            large.merge(other)
