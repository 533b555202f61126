"""Time of the replay: what all orders of summation take together for a value of a float32 batch.

make bench NAME=replay      nanoseconds of processor time, the best of some rounds
"""

import time

import numpy as np

from tf1bn.checker import summation

SHAPES = (
    (14, 56, 56, 64),
    (119, 7, 7, 512),
    (5859, 512),
    (20000, 16),
    (50000, 8),
    (64, 112, 112, 3),
    (400000, 1),
    (200, 32),
)


def nanoseconds(batch, rounds=5):
    """Nanoseconds of processor time for a value, the best of some rounds."""
    best, times = float("inf"), max(1, 20000 // batch.size)
    for _ in range(rounds):
        start = time.process_time()
        for _ in range(times):
            summation.layer_moments(batch, np.dtype("float32"))
        best = min(best, time.process_time() - start)
    return best / times / batch.size * 1e9


def main():
    rng = np.random.default_rng(0)
    for shape in SHAPES:
        print(f"{list(shape)!s:20} {nanoseconds(rng.normal(3, 2, shape).astype(np.float32)):6.1f} ns", flush=True)


if __name__ == "__main__":
    main()
