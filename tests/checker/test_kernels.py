"""What the kernels must not depend on: the instruction set, and what others set in the floating-point unit."""

import ctypes
import ctypes.util
import math
import platform

import numpy as np
import pytest
from accuracy import HARD, PATHS

from tf1bn._native import _moments, _moving
from tf1bn.checker import batch_moments, error_bounds

FORCED = {"x86_64": 0x800, "aarch64": 0x400000}  # FE_UPWARD


def state_of(batch, data_format, variant):
    moved = np.moveaxis(batch, {"NHWC": -1, "NCHW": 1}[data_format], -1)
    state = np.empty((4, moved.shape[-1]))
    reader = _moments.Batch(moved)
    reader.accumulate(state, 0, reader.rows, variant=variant)
    # A second time, which merges two states.
    reader.accumulate(state, 0, reader.rows, done=float(reader.rows), variant=variant)
    return state


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4"])
@pytest.mark.parametrize(("shape", "data_format"), PATHS, ids=str)
def test_all_instruction_sets_give_the_same_bits(shape, data_format, dtype):
    # A mean beyond the deviation: shifts are found, and data are summed again.
    batch = np.random.default_rng(1).normal(3, 2, shape).astype(dtype)
    expected = state_of(batch, data_format, "baseline")
    assert np.isfinite(expected).all()
    for variant in _moments.variants:
        assert state_of(batch, data_format, variant).tobytes() == expected.tobytes()
        batch_ = np.moveaxis(batch, -1, 0)
        np.testing.assert_array_equal(
            state_of(batch_, "NHWC", variant).tobytes(), state_of(batch_, "NHWC", "baseline").tobytes()
        )


@pytest.mark.parametrize("kind", HARD)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_all_instruction_sets_give_the_same_bits_on_hard_data(kind, dtype):
    values = HARD[kind](np.random.default_rng(5), (2, 20_000)).astype(dtype)
    for batch, data_format in ((values.T.copy(), "NHWC"), (values[None], "NCHW")):
        states = {state_of(batch, data_format, variant).tobytes() for variant in _moments.variants}
        assert len(states) == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_all_instruction_sets_treat_what_is_not_finite_alike(bad):
    batch = np.random.default_rng(2).normal(size=(5000, 3)).astype(np.float32)
    batch[4000, 1] = bad
    expected = state_of(batch, "NHWC", "baseline")
    for variant in _moments.variants:
        np.testing.assert_array_equal(state_of(batch, "NHWC", variant), expected)


@pytest.mark.parametrize("rows", [1, 8])  # which are converted each in its own way
def test_every_instruction_set_converts_every_float16(rows):
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    with np.errstate(invalid="ignore"):  # some processors warn of a NaN that signals
        expected = halves.astype(np.float64)
    for variant in _moments.variants:
        state = np.empty((4, 2**16))
        _moments.Batch(np.tile(halves, (rows, 1))).accumulate(state, 0, rows, variant=variant)
        np.testing.assert_array_equal(state[0], expected)


@pytest.mark.parametrize("width", [1, 3, 7, 19, 100, 1031])
@pytest.mark.parametrize("bfloat16", [False, True])
def test_halves_have_the_same_bits_on_all_instruction_sets(bfloat16, width):
    rng = np.random.default_rng(width)
    values = rng.normal(3, 2, (203, width)).astype(np.float32)
    batch = (values.view(np.uint32) >> 16).astype(np.uint16) if bfloat16 else values.astype(np.float16)
    for weights in (None, rng.uniform(0, 1, 203), np.repeat([0.25, 0.0, 1.0], [100, 3, 100])):
        seen = set()
        for variant in _moments.variants:
            reader, state = _moments.Batch(batch, bfloat16, weights), np.empty((4, width))
            if weights is None:
                reader.accumulate(state, 0, 203, variant=variant)
            else:
                reader.accumulate_weighted(state, np.zeros(width), 0, 203, variant=variant)
            seen.add(state.tobytes())
        assert len(seen) == 1


def test_merges_and_weighted_rows_are_the_same_on_all_instruction_sets():
    rng = np.random.default_rng(3)
    a, b = np.abs(rng.normal(size=(2, 4, 133)))
    values, weights = rng.normal(5, 1, (300, 133)), rng.uniform(0, 1, 300)
    for batch in (values.astype(np.float32), values[:, :3].astype(np.float16), values.reshape(300, 7, 19)[..., :2]):
        seen, channels = set(), batch.shape[-1]
        for variant in _moments.variants:
            merged, state, poison = a.copy(), np.empty((4, channels)), np.zeros(channels)
            _moments.merge_states(merged, b, 0.3, variant=variant)
            reader = _moments.Batch(batch, weights=weights)
            total = reader.accumulate_weighted(state, poison, 0, reader.rows, variant=variant)
            seen.add((merged.tobytes(), state.tobytes(), poison.tobytes(), total))
        assert len(seen) == 1


@pytest.fixture
def libm():
    return ctypes.CDLL(ctypes.util.find_library("m"))


@pytest.mark.skipif(platform.machine() not in FORCED, reason="FE_UPWARD is not known on this machine")
def test_rounding_modes_of_others_do_not_matter(libm):
    batch = np.random.default_rng(4).normal(3, 2, (30_000, 5)).astype(np.float32)
    weights = np.random.default_rng(4).uniform(0, 1, len(batch))

    def compute():
        first = batch_moments(batch, threads=2)
        merged = first.merge(batch_moments(batch[:1000]))
        return [first._state, merged._state, batch_moments(batch, weights=weights)._state]

    expected = compute()
    try:
        assert libm.fesetround(FORCED[platform.machine()]) == 0
        seen = compute()
        mode = libm.fegetround()
    finally:
        libm.fesetround(0)
    for state, other in zip(expected, seen, strict=True):
        assert state.tobytes() == other.tobytes()
    # It is the caller's again.
    assert mode == FORCED[platform.machine()]


@pytest.mark.skipif(
    (platform.machine(), platform.libc_ver()[0]) != ("x86_64", "glibc"), reason="reads fenv_t of glibc on x86_64"
)
def test_flushing_denormals_of_others_does_not_matter(libm):
    batch = np.full((1000, 3), 1e-40, np.float32)
    expected = batch_moments(batch)
    assert expected.mean[0] == float(np.float32(1e-40))
    environment = (ctypes.c_uint32 * 8)()
    libm.fegetenv(environment)
    changed = (ctypes.c_uint32 * 8)(*environment)
    changed[7] |= 0x8040  # MXCSR: flush to zero, denormals are zero
    try:
        libm.fesetenv(changed)
        flushed = np.float32(1e-20) * np.float32(1e-20)
        seen = batch_moments(batch)
    finally:
        libm.fesetenv(environment)
    assert flushed == 0
    np.testing.assert_array_equal(seen.mean, expected.mean)
    np.testing.assert_array_equal(seen.variance, expected.variance)


@pytest.mark.parametrize("recurrence", ["difference", "weighted", None])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
@pytest.mark.parametrize("more", [{}, {"squares": True, "input_error": 1e-3}, {"bessel": True}])
def test_steps_are_the_same_on_all_instruction_sets(dtype, recurrence, more):
    rng = np.random.default_rng(4)
    # From denormal to beyond what can be squared, and what is not finite.
    values = rng.normal(size=(4, 3, 300)) * 10.0 ** rng.integers(-320, 308, (4, 3, 300))
    values[:, :, :200] = rng.normal(size=(4, 3, 200))
    values[0, 0, :3] = np.nan, np.inf, -np.inf
    before, (mean, variance) = values[0, :2].copy(), np.ascontiguousarray(values[1:3])
    variance, seen = np.abs(variance), set()
    for variant, decay in ((variant, decay) for decay in (0.0, 0.99, 1.0) for variant in _moving.variants):
        rates = error_bounds.rates_of(decay, dtype, None, recurrence)
        arguments = {"dtype": dtype, "bessel": False, "recurrence": recurrence, "squares": False} | more
        steps = error_bounds.steps_of(64, rates, variant=variant, **arguments)
        stats, predicted = np.empty((2, _moving.Figure.RUNS + len(rates.forms), 300)), np.empty((3, 2, 300))
        bounds, shares = np.empty((2, 2, 300)), np.empty(2)
        _moving.start(before, error_bounds.SIGNIFICAND_BITS[dtype], stats, variant)
        steps.advance(stats, mean, variance, np.array([0, 1, 0], np.uint8))
        _moving.bounds(stats, 6.0, bounds, variant)
        steps.predict(before, mean[0].copy(), variance[0].copy(), predicted)
        _moving.largest_shares(before, predicted[0], predicted[2], shares, variant)
        results = [np.where(np.isnan(each), np.nan, each) for each in (stats, bounds, predicted, shares)]
        seen.add((decay, *(each.tobytes() for each in results)))
    assert len(seen) == 3


@pytest.mark.parametrize("variant", _moving.variants)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
@pytest.mark.parametrize("decay", [0.0, 0.99, 1.0])
def test_a_prediction_is_one_step_of_new_statistics(variant, dtype, decay):
    rng = np.random.default_rng(6)
    before, mean = rng.normal(size=(2, 4, 300)), rng.normal(size=(4, 300))
    before[1], variance = np.abs(before[1]), rng.uniform(0, 2, (4, 300))
    before[0, 1, 200], mean[2, 7] = np.nan, np.inf
    after = before + 0.01 * (np.stack([mean, variance]) - before) + 1e-9 * rng.normal(size=before.shape)
    rates = error_bounds.rates_of(decay, dtype, None, None)
    arguments = {"dtype": dtype, "bessel": True, "recurrence": None, "squares": False, "variant": variant}
    steps = error_bounds.steps_of(64, rates, **arguments)
    predicted, shares, rows = np.empty((3, 2, 4, 300)), np.empty((2, 4)), np.empty(2)
    steps.shares(before, after, mean, variance, shares)
    steps.predict(before.reshape(2, -1), mean.reshape(-1), variance.reshape(-1), predicted.reshape(3, 2, -1))
    for step in range(4):
        start, moments = before[:, step].copy(), (mean[step : step + 1], variance[step : step + 1])
        stats = error_bounds.start_figures(start, dtype, len(rates.forms))
        steps.advance(stats, *moments, np.zeros(1, np.uint8))
        bounds = error_bounds.expected_and_worst(stats)
        expected = [stats[:, _moving.Figure.VALUE], *bounds]
        np.testing.assert_array_equal(predicted[:, :, step], expected)
        _moving.largest_shares(after[:, step].copy(), *map(np.ascontiguousarray, expected[:2]), rows, variant)
        np.testing.assert_array_equal(shares[:, step], rows)
    assert np.isnan(shares[0, 1:3]).all()


@pytest.mark.parametrize("variant", _moving.variants)
@pytest.mark.parametrize("squares", [False, True])
def test_terms_of_estimates_are_what_numpy_makes_of_them(variant, squares):
    rng = np.random.default_rng(7)
    (m, v, a0, a1), (b0, b1) = rng.normal(size=(4, 5, 200)), rng.uniform(0, 3, (2, 5, 200))
    v, out = np.abs(v), np.empty((5, 5, 200))

    def terms():
        return _moving.terms(np.stack([a0, b0]), np.stack([a1, b1]), m, v, 3e-8, 5e-7, squares, out, variant)

    assert terms() == (True, (np.abs(m) / np.sqrt(v)).max())
    bound = 4 * 3e-8 * (np.abs(a0) + np.abs(a1)) + 5e-7 * np.sqrt(m * m + v) * 0.1 + 1e-300
    lost = 5e-7 * (v + m * m) if squares else 5e-7 * (v + np.abs(m) * np.sqrt(v)) * 0.1
    weight = v / np.square(4 * 3e-8 * (np.abs(b0) + np.abs(b1)) + lost + 1e-300)
    expected = (m - a0) / bound, (a1 - a0) / bound, weight * (b1 - b0), weight * b0, weight * v
    np.testing.assert_array_equal(out, expected)
    v[1, 3] = 0.0
    assert terms() == (True, math.inf)
    for array in (m, v, a0, a1, b0, b1):
        for value in (np.nan, np.inf):
            kept, array[4, 150] = array[4, 150], value
            assert not terms()[0]
            array[4, 150] = kept


def test_fingerprints_are_sums_modulo_2_to_64():
    rng = np.random.default_rng(8)
    bits, weights = (rng.integers(2**64, size=size, dtype=np.uint64) for size in ((2, 3, 5), (2, 5)))
    out = np.empty(3, np.uint64)
    _moving.fingerprints(bits, weights, out)
    for step in range(3):
        pairs = zip(bits[:, step].ravel().tolist(), weights.ravel().tolist(), strict=True)
        assert int(out[step]) == sum((word ^ (word >> 32)) * weight for word, weight in pairs) % 2**64
