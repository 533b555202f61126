"""What is solved for from the statistics of a step, against the values that made them."""

import math

import numpy as np
import pytest

from tf1bn.evidence.estimators import VarianceFactor


@pytest.mark.parametrize("rate", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("factor", [1.0, 16 / 15, 0.0, -0.5])
def test_the_multiple_of_the_batch_variance_is_found(factor, rate):
    rng = np.random.default_rng(5)
    estimator, squares = VarianceFactor(), 0.0
    for _ in range(4):
        before, variance, bound = rng.uniform(1, 3, 6), rng.uniform(1, 2, 6), rng.uniform(1e-6, 1e-5, 6)
        estimator.add(before, before + rate * (factor * variance - before), variance, bound)
        squares += ((variance / bound) ** 2).sum()
    estimate = estimator.estimate(rate)
    assert estimate.value == pytest.approx(factor, abs=1e-12)
    assert estimate.interval == pytest.approx(1 / (rate * math.sqrt(squares)))
