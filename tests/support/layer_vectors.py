"""Variables of a batch-norm layer, drawn at random."""

import numpy as np


def vectors(seed, channels):
    """gamma, beta, moving_mean and moving_variance, float32 [channels] each, by name."""
    random = np.random.default_rng(seed)
    return {
        "gamma": random.uniform(0.5, 2, channels).astype("f4"),
        "beta": random.normal(0, 1, channels).astype("f4"),
        "moving_mean": random.normal(3, 2, channels).astype("f4"),
        "moving_variance": random.uniform(0.5, 9, channels).astype("f4"),
    }
