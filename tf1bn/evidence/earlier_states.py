"""Whether the statistics before a step are, bit for bit, those that an earlier step left."""

from __future__ import annotations

import array

import numpy as np

MOST = 16_384  # states that are remembered of a layer, the last ones
_HALF = np.uint64(32)


class EarlierStates:
    """A fingerprint of 64 bits of the statistics after each step; two states have the same by chance in 1 of 10^19."""

    def __init__(self):
        self._weights = None
        self._numbers, self._fingerprints = array.array("q"), array.array("Q")

    def add(self, numbers, states):
        """Take the statistics after some steps, float64 [2, steps, channels], and the numbers of these."""
        self._numbers.extend(numbers)
        self._fingerprints.frombytes(self._fingerprints_of(states).tobytes())
        if len(self._numbers) > 2 * MOST:
            del self._numbers[:-MOST], self._fingerprints[:-MOST]

    def find(self, state):
        """The number of the last step that made these statistics, float64 [2, channels]; None if none did.

        Of several steps in a row that left them as they are, it is the first.
        """
        (fingerprint,) = self._fingerprints_of(state[:, None]).tolist()
        same = np.frombuffer(self._fingerprints, np.uint64) == np.uint64(fingerprint)
        # Where a run of equal states begins.
        begins = np.flatnonzero(same & ~np.append(False, same[:-1]))
        return self._numbers[int(begins[-1])] if begins.size else None

    def _fingerprints_of(self, states):
        """The sum of all numbers' bits, each times an odd number of its own, modulo 2^64: uint64 [steps]."""
        size = states.shape[0], 1, states.shape[2]
        if self._weights is None or self._weights.shape != size:
            self._weights = np.random.default_rng(0).integers(2**64, size=size, dtype=np.uint64) | np.uint64(1)
        bits = np.ascontiguousarray(states).view(np.uint64)
        # The low bits of a float32 number in float64 are 0, and would stay so.
        return ((bits ^ (bits >> _HALF)) * self._weights).sum(axis=(0, 2), dtype=np.uint64)
