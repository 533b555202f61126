"""Honest layers: means and variances of a batch, every operation rounded to its dtype, in many orders of summation.

Every function takes [elements, channels] with at least two channels and returns mean and population variance. Nothing
here uses the package under test, and most of these orders are not among those that it replays.
"""

import numpy as np


def _in_order(terms):
    # Over the first axis of a C-ordered array with two columns or more, NumPy adds row after row.
    return np.add.reduce(terms, axis=0)


def _pairwise(terms):
    while len(terms) > 1:
        half = len(terms) // 2
        terms = np.concatenate([terms[:half] + terms[half : 2 * half], terms[2 * half :]])
    return terms[0]


def _numpy(terms):
    return np.add.reduce(np.ascontiguousarray(terms.T), axis=1)


def _blocks(count):
    def add(terms):
        return _in_order(np.stack([_in_order(part) for part in np.array_split(terms, min(count, len(terms)))]))

    return add


def _lanes(count):
    def add(terms):
        whole = len(terms) // count * count
        sums = np.zeros((count, terms.shape[1]), terms.dtype)
        if whole:
            sums = np.add.reduce(terms[:whole].reshape(-1, count, terms.shape[1]), axis=0)
        sums[: len(terms) - whole] += terms[whole:]
        return _in_order(sums)

    return add


def _random_tree(terms):
    rng = np.random.default_rng(len(terms))
    while len(terms) > 1:
        cuts = np.flatnonzero(rng.random(len(terms)) < 0.4)
        starts = np.union1d([0], cuts)
        terms = terms[:1] + terms[1:2] if len(terms) == 2 else np.add.reduceat(terms, starts, axis=0)
    return terms[0]


def _two_pass(add, reciprocal=False):
    def moments(x):
        count = x.dtype.type(len(x))

        def divide(total):
            return total * (x.dtype.type(1) / count) if reciprocal else total / count

        mean = divide(add(x))
        deviations = x - mean
        return mean, divide(add(deviations * deviations))

    return moments


def _shifted(x):
    # tf.nn.moments of the first releases: sufficient statistics shifted by the computed mean.
    count = x.dtype.type(len(x))
    shift = _in_order(x) / count
    deviations = x - shift
    rest = _in_order(deviations) / count
    return shift + rest, _in_order(deviations * deviations) / count - rest * rest


def _welford(lanes, reciprocal=False):
    def moments(x):
        lanes_ = min(lanes, len(x))
        whole = len(x) // lanes_
        states = []
        for part in (x[: whole * lanes_].reshape(whole, lanes_, -1), x[whole * lanes_ :].reshape(1, -1, x.shape[1])):
            if not part.size:
                continue
            mean, m2 = np.zeros_like(part[0]), np.zeros_like(part[0])
            for k in range(len(part)):
                delta = part[k] - mean
                mean += delta * (x.dtype.type(1) / x.dtype.type(k + 1)) if reciprocal else delta / x.dtype.type(k + 1)
                m2 += delta * (part[k] - mean)
            states += [(len(part), mean[i], m2[i]) for i in range(part.shape[1])]
        return _chan(states)

    return moments


def _chan(states):
    # A tree of pairwise updates.
    dtype = states[0][1].dtype.type
    while len(states) > 1:
        merged = []
        for (n, mean, m2), (k, other, other2) in zip(states[::2], states[1::2], strict=False):
            delta, share = other - mean, dtype(k) / dtype(n + k)
            merged.append((n + k, mean + delta * share, m2 + other2 + delta * delta * (dtype(n) * share)))
        states = merged + states[len(states) // 2 * 2 :]
    count, mean, m2 = states[0]
    return mean, m2 / dtype(count)


def _shuffled(moments):
    return lambda x: moments(x[np.random.default_rng(len(x)).permutation(len(x))])


def _strided(moments):
    # The other axis of an image first.
    return lambda x: moments(np.concatenate([x[i :: max(1, len(x) // 28)] for i in range(max(1, len(x) // 28))]))


MOMENTS = {
    "in order": _two_pass(_in_order),
    "in order, by 1/N": _two_pass(_in_order, reciprocal=True),
    "backwards": lambda x: _two_pass(_in_order)(np.ascontiguousarray(x[::-1])),
    "in order, shifted": _shifted,
    "in order, shuffled": _shuffled(_two_pass(_in_order)),
    "in order, strided": _strided(_two_pass(_in_order)),
    "pairwise": _two_pass(_pairwise),
    "NumPy's": _two_pass(_numpy),
    "2 blocks": _two_pass(_blocks(2)),
    "3 blocks, shuffled": _shuffled(_two_pass(_blocks(3))),
    "100 blocks": _two_pass(_blocks(100), reciprocal=True),
    "4 lanes": _two_pass(_lanes(4)),
    "8 lanes": _two_pass(_lanes(8), reciprocal=True),
    "512 lanes": _two_pass(_lanes(512)),
    "random tree": _two_pass(_random_tree),
}
# One operation of Python per element, or nearly: for small N.
SLOW_MOMENTS = {
    "welford": _welford(1),
    "welford, by 1/k": _welford(1, reciprocal=True),
    "welford, shuffled": _shuffled(_welford(1)),
}
THREADED_MOMENTS = {
    "welford, 1024 threads": _welford(1024),
    "welford, 96 threads, shuffled": _shuffled(_welford(96)),
}

KINDS = {
    "uniform": lambda rng, size: rng.uniform(0, 255, size),
    "normal": lambda rng, size: rng.normal(size=size),
    "relu": lambda rng, size: np.maximum(rng.normal(size=size), 0),
    "lognormal": lambda rng, size: np.minimum(rng.lognormal(0, 2, size), 6e4),
    "constant": lambda rng, size: np.full(size, 0.1),
    "integers": lambda rng, size: rng.integers(0, 256, size),
    "sorted": lambda rng, size: np.sort(rng.uniform(0, 255, size), axis=0),
    "offset": lambda rng, size: rng.normal(1000, 1, size),
    "alternating": lambda rng, size: np.where(np.arange(size[0]) % 2, 1, -1)[:, None] * rng.uniform(0.9, 1.1, size),
    "mostly zero": lambda rng, size: np.where(rng.random(size) < 0.02, rng.normal(3, 1, size), 0),
    "underflow": lambda rng, size: rng.normal(size=size) * 1e-20,
}


def layer_moments(moments, batch):
    """Mean and variance of [elements, channels] as a layer has them: float16 is summed in float32."""
    with np.errstate(all="ignore"):
        return moments(batch.astype(np.float32) if batch.dtype == np.float16 else batch)


def step(moving, count, moments, *, decay, rate_dtype="float64", bessel=False):
    """One step of a layer whose statistics have the dtype of ``moving``, a pair of [channels]."""
    mean, variance = moments
    dtype = moving[0].dtype
    with np.errstate(all="ignore"):
        if bessel and count > 1:
            variance = variance * (variance.dtype.type(count) / variance.dtype.type(count - 1))
        rate = dtype.type(np.dtype(rate_dtype).type(1) - np.dtype(rate_dtype).type(decay))
        return tuple(old - (old - new.astype(dtype)) * rate for old, new in zip(moving, (mean, variance), strict=True))
