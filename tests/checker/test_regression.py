"""The line of the outputs over the inputs: against exact arithmetic, in every layout, on several threads."""

from fractions import Fraction

import numpy as np
import pytest

from tf1bn._native import _moments
from tf1bn.checker import batch_moments, regression


def exact(x, y):
    """Slope, value at the mean and root mean square distance of one channel, in rational numbers."""
    x, y = ([Fraction(float(value)) for value in array.ravel()] for array in (x, y))
    n = len(x)
    mean, at = sum(x) / n, sum(y) / n
    square = sum((a - mean) ** 2 for a in x)
    slope = sum((a - mean) * (b - at) for a, b in zip(x, y, strict=True)) / square if square else None
    rest = sum((b - at - (slope or 0) * (a - mean)) ** 2 for a, b in zip(x, y, strict=True)) / n
    return [float("nan") if slope is None else float(slope), float(at), float(rest) ** 0.5]


def fitted(x, y, axis=-1, **more):
    return regression.fit_line(x, y, axis, batch_moments(np.moveaxis(x, axis, -1)), **more)


def check(x, y, axis=-1, rest=1e-6):
    seen = np.array(fitted(x, y, axis))
    columns = [np.moveaxis(array, axis, 0) for array in (x, y)]
    wanted = np.array([exact(*channel) for channel in zip(*columns, strict=True)]).T
    np.testing.assert_allclose(seen[:2], wanted[:2], rtol=1e-11)
    np.testing.assert_allclose(seen[2], wanted[2], rtol=rest, atol=1e-300)


def pair(shape, axis=-1, dtype=np.float32, out=None, mean=5.0):
    """Inputs whose mean is far from 0, and what a layer makes of them, with its roundings."""
    rng = np.random.default_rng(0)
    across = [1] * len(shape)
    across[axis] = shape[axis]
    x = (rng.normal(size=shape) * rng.uniform(0.5, 2, across) + rng.normal(mean, 3, across)).astype(dtype)
    y = x * rng.uniform(0.5, 2, across).astype(dtype) + rng.normal(0, 1, across).astype(dtype)
    return x, y.astype(dtype if out is None else out)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize(
    ("shape", "axis"),
    [((2, 1), -1), ((7, 5), -1), ((301, 3), -1), ((4, 5, 6, 2), -1), ((5, 3, 4, 7), 1), ((40, 3), 0), ((2, 3, 70), 1)],
    ids=str,
)
def test_every_layout_and_type(shape, axis, dtype):
    check(*pair(shape, axis, dtype), axis)


@pytest.mark.parametrize("out", [">f4", "<f2", "<f8"])
def test_outputs_of_another_type_or_order(out):
    check(*pair((150, 4), out=out))


def test_strides_and_addresses():
    x, y = pair((90, 6))
    check(x[::-2, ::2], y[::-2, ::2])
    shifted = []
    for array in (x, y):
        odd = np.zeros(array.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(array.shape)
        odd[:] = array
        shifted.append(odd)
    check(*shifted)


def test_a_small_distance_is_not_the_difference_of_large_numbers():
    # The roundings of y are 1e-7 of it, and the mean 1e4 deviations: squares of y would leave nothing of them.
    check(*pair((400, 3), mean=1e4))


def test_a_sample_that_shows_nothing():
    # Nearly all inputs are 0, so the first line has no slope and leaves 1e8 times what the right one leaves.
    x = np.zeros((5000, 2))
    x[4321] = 3, 1
    x[4322] = -1, 2
    y = 2 * x + 7
    y[77] += 1e-7
    check(x, y)


def test_a_constant_input_has_no_slope():
    x, y = pair((50, 3))
    x[:, 1] = 0.1
    check(x, y)
    assert np.isnan(fitted(x, y)[0]).tolist() == [False, True, False]


def test_what_is_not_finite_stays_in_its_channel():
    x, y = pair((500, 4))
    clean = fitted(x, y)
    y[3, 1], y[499, 3] = np.nan, np.inf
    for seen, wanted in zip(fitted(x, y), clean, strict=True):
        assert not np.isfinite(seen[[1, 3]]).any()
        np.testing.assert_array_equal(seen[[0, 2]], wanted[[0, 2]])


@pytest.mark.parametrize(("shape", "axis"), [((64, 64, 64, 24), -1), ((48, 24, 70, 70), 1)], ids=str)
def test_the_bits_do_not_depend_on_the_threads(shape, axis):
    x, y = pair(shape, axis)
    expected = fitted(x, y, axis, threads=1)
    for threads in (2, 5, None):
        for seen, wanted in zip(fitted(x, y, axis, threads=threads), expected, strict=True):
            np.testing.assert_array_equal(seen, wanted)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_bits_do_not_depend_on_the_instruction_set(dtype):
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, 103, 37)).astype(dtype)
    line = rng.normal(size=(3, 37))
    found = set()
    for variant in _moments.variants:
        sums = np.zeros((3, 37))
        _moments.add_residuals(x, y, line, sums, variant=variant)
        found.add(sums.tobytes())
    assert len(found) == 1
    d = x.astype(np.float64) - line[0]
    r = y.astype(np.float64) - line[1] - line[2] * d
    np.testing.assert_allclose(sums, [r.sum(0), (d * r).sum(0), (r * r).sum(0)], rtol=1e-11, atol=1e-11)


def test_arrays_that_do_not_fit_are_refused():
    x, sums = np.zeros((4, 3), np.float32), np.zeros((3, 3))
    for y, line, out in (
        (x[:3], sums, sums),
        (np.zeros((4, 2), np.float32), sums, sums),
        (x, sums[:, :2].copy(), sums),
        (x, sums[:2], sums),
        (x, sums, sums[:2]),
    ):
        with pytest.raises(ValueError, match="must"):
            _moments.add_residuals(x, y, line, out)
