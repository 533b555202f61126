"""Layers that take the variance as E[x^2] - E[x]^2: within their bound at any mean, and no looser than they round."""

import numpy as np
import pytest

from tf1bn import checker

F32 = np.float32


def pairwise(x):
    return np.ascontiguousarray(x.T).mean(axis=1, dtype=F32)


def in_order(x):
    total = np.zeros(x.shape[1], F32)
    for row in x:
        total = total + row
    return total / F32(len(x))


def lanes(x):
    """Sums of every eighth row, added in the end, and multiplied by 1/N."""
    parts = [np.add.reduce(x[i::8], axis=0, dtype=F32) for i in range(min(8, len(x)))]
    return np.add.reduce(parts, axis=0, dtype=F32) * F32(1 / len(x))


SUMS = (pairwise, in_order, lanes)


def update(moving, x, decay, mean_of, form="squares"):
    """One step of a layer as Keras on PyTorch and Flax take it, in float32."""
    mean = mean_of(x)
    variance = mean_of(x * x) - mean * mean if form == "squares" else mean_of((x - mean) ** 2)
    keep, rate = F32(decay), F32(1 - decay)
    return moving[0] * keep + mean * rate, moving[1] * keep + variance * rate


def batch(seed, ratio):
    """A batch whose mean is ``ratio`` deviations, of one of three distributions and of 4 to 2,000 values."""
    rng = np.random.default_rng(seed)
    shape = int(rng.choice([4, 17, 128, 2000])), 3
    made = [rng.normal(size=shape), rng.uniform(-1.7, 1.7, shape), rng.exponential(size=shape) - 1][seed % 3]
    scale = float(rng.choice([1e-3, 1.0, 300.0]))
    return ((made + ratio) * scale).astype(F32), scale


def compared(seed, ratio, variance_from, form="squares", bessel=False, decay=None):
    """The comparison after three steps, the last moments by `Moments` or by the batch itself."""
    decay = decay or (0.9, 0.99, 0.999)[seed % 3]
    x, scale = batch(seed, ratio)
    moving = np.full(3, ratio * scale, F32), np.full(3, scale * scale, F32)
    stats = checker.MovingStats(*moving, decay=decay, bessel=bessel, recurrence="weighted", variance_from=variance_from)
    for i in range(3):
        stats.update(x[:: 1 + i])
        moving = update(moving, x[:: 1 + i], decay, SUMS[(seed + i) % 3], form)
    return stats.compare(*moving)


@pytest.mark.parametrize("ratio", [0, 4, 30, 1000])
def test_layers_of_squares_are_within_their_bound(ratio):
    shares = []
    for seed in range(150):
        result = compared(seed, ratio, "squares")
        assert result.verdict == "ok", f"seed {seed}: {result}"
        shares.append(result.variance.share)
    # A bound that nothing comes near says nothing.
    assert max(shares) > 0.1


@pytest.mark.parametrize("ratio", [30, 1000])
def test_they_are_outside_of_the_bound_of_deviations(ratio):
    verdicts = [compared(seed, ratio, None).variance.verdict for seed in range(20)]
    assert verdicts.count("ok") <= 8  # at decay .999 a step takes little of the batch


@pytest.mark.parametrize("ratio", [0, 4, 30])
def test_a_factor_of_the_variance_still_shows(ratio):
    """Bessel's factor of 128 values in one batch is larger than what the squares lose."""
    for seed in range(0, 60, 3):
        x, _ = batch(seed, ratio)
        if len(x) <= 128:
            assert compared(seed, ratio, "squares", bessel=True).variance.verdict == "finding"


def test_exact_moments_alone_are_within_the_bound_too():
    x, _ = batch(6, 1000)
    stats = checker.MovingStats(np.zeros(3), np.ones(3), decay=0.5, recurrence="weighted", variance_from="squares")
    moments = checker.batch_moments(x)
    stats.update(moments)
    assert stats.compare(0.5 * moments.mean, 0.5 + 0.5 * moments.variance).ok
    assert stats.compare(*update((np.zeros(3, F32), np.ones(3, F32)), x, 0.5, pairwise)).ok


def test_sums_that_stagnate_are_replayed():
    """Every addition of one constant rounds in the same direction, so orders of the very batch have to decide."""
    x = np.full((200_000, 1), 0.1, F32)
    verdicts = []
    for batch_or_moments in (checker.batch_moments(x), x):
        stats = checker.MovingStats([0.0], [0.0], decay=0.0, variance_from="squares")
        stats.update(batch_or_moments)
        mean = np.add.accumulate(x, dtype=F32)[-1] / F32(len(x))
        square = np.add.accumulate(x * x, dtype=F32)[-1] / F32(len(x))
        verdicts.append(stats.compare(mean, square - mean * mean).verdict)
    assert verdicts == ["undecidable", "ok"]


def test_float16_and_bfloat16_statistics():
    x, _ = batch(1, 30)
    for dtype in ("float16", "bfloat16"):
        stats = checker.MovingStats(np.zeros(3), np.ones(3), decay=0.0, dtype=dtype, variance_from="squares")
        stats.update(x)
        mean = pairwise(x)
        observed = [checker.roundoff.rounded_to(values, dtype) for values in (mean, pairwise(x * x) - mean * mean)]
        assert stats.compare(*observed).ok


def test_another_word_is_refused():
    with pytest.raises(ValueError, match=r"`variance_from` is 'sums'; it must be .deviations., .squares. or None"):
        checker.MovingStats([0.0], [1.0], decay=0.9, variance_from="sums")
