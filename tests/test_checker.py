"""The checker against exact rational arithmetic and against honest and dishonest layers."""

import array
import copy
import dataclasses
import math
import pickle
import subprocess
import sys
import threading
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import (
    HONEST_MOMENTS,
    SLOW_HONEST_MOMENTS,
    channels_first,
    exact_moments,
    exact_moving,
    honest_moments,
    honest_step,
)

from tf1bn.checker import Comparison, Moments, MovingStats, batch_moments, compare

DTYPES = ["float16", "float32", "float64"]
# What the checker states: relative to the mean of |x| and to the variance.
ACCURACY = Fraction(1, 10**14)
ACCURACY_FLOAT64 = Fraction(1, 10**13)


def close(expected, rel):
    # Left out, `abs` would be 1e-12 and let any bound of a float64 layer pass.
    return pytest.approx(expected, rel=rel, abs=0)


def assert_accurate(moments, batch, data_format="NHWC"):
    """The moments are within the stated accuracy of the exact ones in every channel."""
    channels = channels_first(batch, data_format)
    assert moments.mean.shape == moments.variance.shape == (channels.shape[0],)
    for i, values in enumerate(channels):
        count, mean, variance = exact_moments(values)
        _, magnitude, _ = exact_moments(np.abs(values))
        assert moments.count == count
        mean_error = abs(Fraction(moments.mean[i]) - mean)
        variance_error = abs(Fraction(moments.variance[i]) - variance)
        # A subnormal result has no relative accuracy: every operation can lose half of 2**-1074.
        lost = (count + 8) * Fraction(2) ** -1075
        assert mean_error <= ACCURACY * magnitude + lost
        if batch.dtype.itemsize < 8:
            assert variance_error <= ACCURACY * variance + lost
        else:
            # ACCURACY_FLOAT64 * variance * sqrt(1 + mean**2 / variance), squared to stay exact.
            allowed = ACCURACY_FLOAT64**2 * variance * (variance + mean**2)
            assert max(variance_error - lost, 0) ** 2 <= allowed


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


def _outlier_first(rng, size):
    values = rng.normal(size=size)
    values[:, 0] = 1e30
    return values


HARD = {
    "uniform": lambda rng, size: rng.uniform(0, 255, size),
    "mean/std 1e7": lambda rng, size: 1e7 + rng.integers(0, 5, size),
    "outlier first": _outlier_first,
    "sorted": lambda rng, size: np.sort(rng.lognormal(0, 3, size), axis=1),
    "alternating": lambda rng, size: np.where(np.arange(size[1]) % 2, 1, -1) * rng.uniform(0.999, 1.001, size),
    "huge": lambda rng, size: rng.uniform(-3e38, 3e38, size),
    "denormal": lambda rng, size: rng.uniform(-1e-39, 1e-39, size),
    "mostly equal": lambda rng, size: np.where(rng.random(size) < 1e-3, 0.3, 0.1),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", HARD)
def test_hard_data_over_many_tiles(kind, dtype):
    values = HARD[kind](np.random.default_rng(5), (2, 50_000)).astype(dtype)
    assert_accurate(batch_moments(values.T.copy()), values.T)
    assert_accurate(batch_moments(values[None], data_format="NCHW"), values[None], "NCHW")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "data_format"),
    [
        ((3, 17, 19, 1), "NHWC"),
        ((3, 17, 19, 3), "NHWC"),
        ((3, 7, 11, 63), "NHWC"),
        ((3, 7, 11, 64), "NHWC"),
        ((3, 5, 7, 130), "NHWC"),
        ((2100, 2), "NHWC"),
        ((2100, 2), "NCHW"),
        ((5, 3, 31, 29), "NCHW"),
        ((1500, 2, 2), "NCHW"),
        ((2, 4, 5, 6, 70), "NHWC"),
        ((2, 70, 4, 5, 6), "NCHW"),
        ((7,) * 2 + (1,) * 10 + (3,), "NHWC"),
    ],
    ids=str,
)
def test_shapes_around_the_tile_size(shape, data_format, dtype):
    batch = np.random.default_rng(6).normal(3, 2, shape).astype(dtype)
    assert_accurate(batch_moments(batch, data_format=data_format), batch, data_format)
    # Sliced, so that nothing is contiguous; transposed, so that the axes are not in the order of memory.
    sliced = batch[::-1, ..., ::-1]
    assert_accurate(batch_moments(sliced, data_format=data_format), sliced, data_format)
    turned = batch.T.copy().T
    assert_accurate(batch_moments(turned, data_format=data_format), turned, data_format)


def test_every_float16_is_converted_exactly():
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    for batch in (halves, halves.astype(">f2")):
        moments = batch_moments(batch[None])
        np.testing.assert_array_equal(moments.mean, halves.astype(np.float64))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [0.1, -3e4, 6e-8, 0.0])
@pytest.mark.parametrize("count", [1, 2, 3, 1000, 2049, 12345])
def test_constant_channel_is_exact(count, value, dtype):
    batch = np.full((count, 3), value, dtype)
    for data_format, layout in (("NHWC", batch), ("NCHW", batch.T[None])):
        moments = batch_moments(layout, data_format=data_format)
        np.testing.assert_array_equal(moments.mean, batch[0].astype(np.float64))
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
            r"`batch` has dtype int64; float16, float32 and float64 are accepted, so cast it",
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
        ({"weights": [1.0]}, NotImplementedError, "`weights` is not supported yet"),
        ({"threads": 2}, NotImplementedError, "`threads` is 2; only None and 1"),
    ],
)
def test_arguments_of_batch_moments_are_checked(arguments, error, message):
    with pytest.raises(error, match=message):
        batch_moments(np.ones((2, 2)), **arguments)
    assert batch_moments(np.ones((2, 2)), threads=1).count == 2


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
        batch_moments(batch, data_format="NCHW" if layout == "NCHW" else "NHWC")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # 16 MiB of batch; what is left is the state and Python's own objects.
    assert peak < 2**14


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
    batch = np.broadcast_to(np.float32(1), (2**20, 1))
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


def test_importing_the_checker_imports_no_tensorflow():
    code = "import sys, tf1bn.checker; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = result.stdout.split()
    assert {name.split(".")[0] for name in modules}.isdisjoint({"tensorflow", "keras", "matplotlib", "rich"})
    own = {name for name in modules if name.split(".")[0] == "tf1bn"}
    assert own == {"tf1bn", "tf1bn._moments", "tf1bn._native", "tf1bn.checker", "tf1bn.comparison"}


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
        ((1, [0.0], [-1.0]), ValueError, "`variance` is -1.0 in one channel; it must not be negative"),
        ((1, [0.0], [1.0, 2.0]), ValueError, "`variance` has 2 channels; 1 are expected"),
        ((1, 0.0, 0.0), ValueError, r"`mean` has shape \(\); it must be a vector"),
        ((1, [], []), ValueError, r"`mean` has shape \(0,\); it must be a vector"),
        ((1, [1j], [0.0]), TypeError, "`mean` has dtype complex128; it must hold real numbers"),
        ((1, [0.0], ["a"]), TypeError, "`variance` has dtype <U1; it must hold real numbers"),
        ((0, [0.0], [np.nan]), ValueError, "`count` is 0, so `mean` and `variance` must be NaN"),
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


@pytest.mark.parametrize("tree", MERGE_TREES)
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
    # Adding 0.1 twenty thousand times is off by 4e-13 without low-order words.
    merged = one = Moments(1, [3.0], [0.1])
    for _ in range(19_999):
        merged = merged.merge(one)
    assert merged.count == 20_000
    assert merged.mean[0] == 3.0
    assert merged.variance[0] == close(0.1, rel=1e-15)


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
