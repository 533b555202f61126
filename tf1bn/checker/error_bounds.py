"""How far off an honest layer's moving statistics can be: the figures that decide. Used by ``moving``.

An honest layer computes in floating point what ``MovingStats`` computes in real numbers, in whatever order it likes.
Three figures bracket its error, per channel, each accumulated over all steps. With u the unit roundoff of the type
that the layer sums in, m, v and N a batch's mean, population variance and count, rms^2 = m^2 + v, and p = .4247 the
root mean square of a rounding error in units of u (uniform over half a unit in the last place, significands
distributed as 1 / (t ln 2)):

The worst case, over all orders of summation. Outside it the answer is a finding. With g = exp((N + 3 ln N + 6) u) - 1

    dm = g rms
    dv = dm^2 + 3 dm sqrt(v) + g (v + dm^2)

dm: a sum of N terms, in any order, stagnating or not, is off by at most (N-1) u sum|x| (Rump, BIT 52, 2012; Jeannerod
and Rump, SIAM J. Matrix Anal. Appl. 34, 2013), and rms is at least the mean of |x|; rounding the input, and dividing
or multiplying by a rounded 1/N, adds 4 u. Updating a mean instead (Welford, or pairwise) rounds every intermediate
mean once, which adds up to N u mean|x| again, and every weighted difference of means three times; their weights
n_b/(n_a + n_b) along any path through any tree add up to at most 1 + ln N. The exponential stands for the products of
all these (1 + u) (Higham, Accuracy and Stability of Numerical Algorithms, 2002, 3.1). dv: the mean square about a
mean that is off by e is v + e^2 and takes N + 6 roundings: the first and the last term. Welford's and the pairwise
update carry the errors of intermediate means into the products of deviations instead: by Cauchy and Schwarz at most 2
sqrt(2) dm sqrt(v), which is the N u kappa v, kappa = sqrt(1 + m^2/v), of Chan, Golub and LeVeque (The American
Statistician 37, 1983). Bessel's factor and its product add 4 u. Underflow adds N + 4 times the smallest normal
number. A float16 layer sums in float32 and rounds both moments once more. Weights make 2 N + 3 terms of N: their
products, and their own sum.

The expected error. Inside it the answer is ok. Rounding errors are taken for independent and of mean zero, as Higham
and Mary do ("A new approach to probabilistic rounding error analysis", SIAM J. Sci. Comput. 41, 2019; "Sharper
probabilistic backward error analysis for basic linear algebra kernels with random data", 42, 2020), and partial sums
for what they are if the order has nothing to do with the values: i m + O(sqrt(i v)). Then sum_i (i m)^2 = N^3 m^2 / 3
and sum_i i v = N^2 v / 2 give the standard errors of a left-to-right sum,

    sm = p u sqrt((N/3 + 2) m^2 + v/2)
    sv = p u v sqrt(N/3 + 4) + 2 sm sqrt(v/N)

and other orders have smaller ones. 2 and 4 are the roundings of deviation, square and division. The second term of sv
is what the running mean does to Welford's products. DEVIATIONS standard errors are expected, and (DEVIATIONS sm)^2,
which a wrong mean adds to the mean square. Weights may put N where N/3 stands.

Over the steps, with r = 1 - decay, s how much the layer's rate can differ from r, U the unit roundoff of the store:

    standard error^2 <- (1 - r)^2 standard error^2 + (r sm)^2 + (p U)^2 (a^2 + 2 (r (a - m))^2)
    worst case       <- (1 - r) e + r dm + (s + 3 U (r + s)) (|a - m| + e + dm), and U (|a| + that) for the store

The weighted recurrence of Keras, Flax and PyTorch, a <- fl(fl(a d) + fl(m r)), rounds both products at their full size
and holds d as well as r rounded, q off 1 - r at most, so that the two need not add up to 1:

    standard error^2 <- (1 - r)^2 standard error^2 + (r sm)^2 + (p U)^2 (a'^2 + ((1 - r) a)^2 + (r m)^2), a' the new a
    worst case       <- (1 - r) e + r dm + q (|a| + e) + s (|m| + dm)
                        + 3 U ((1 - r + q)(|a| + e) + (r + s)(|m| + dm)), and U (|a'| + that) for the store

Per step that is at most three times as much: U (|a'| + (1 - r) |a| + r |m|) with the products, where the difference
has U |a'| and what is left of a - m. That q |a| has one sign in every step, q |a| / r in the end (1.3e-5 of a at .999),
is seen by running it; see below. A layer whose recurrence is not known may be off by the larger of the two.

In both, a step on the same batch as the one before it adds to that one's error and not to its square. Small updates
that the store swallows have no mean zero: so the recurrence is also run in the layer's dtype on the exact moments, and
twice its distance from the expected values is expected on top.

The replay. Sums that stagnate (float32 squares of zero-mean data from about 1e5 values on, any constant) are farther
off than expected, every time and with one sign. Where an answer lies between the two figures and the batches are at
hand, the orders of ``replay.ORDERS`` are run on these very batches in the layer's dtype, through all steps; SAFETY
times the largest of their errors then decides. No less than the expected error and no more than the worst case.

Inputs that are known up to an error of root mean square f rms only add f rms to dm and f rms (2 sqrt(v) + f rms) to dv,
by the triangle inequality for standard deviations, to the worst case and to the expected error.

In all of it u is 2^-53 more than that of the dtype: the referee itself is an honest float64 layer. Overflow is not
covered: where a sum of squares leaves the range of the dtype, an honest layer has infinity.
"""

import numpy as np

from .._native import moving as _native

# Unit roundoff, what a result can lose to underflow, and bits of significand. TensorFlow flushes float32 and float64
# denormals to zero; float16 it computes through float32, which keeps the denormals of float16.
TYPES = {
    "float16": (2.0**-11, 2.0**-24, 11),
    "float32": (2.0**-24, 2.0**-126, 24),
    "float64": (2.0**-53, 2.0**-1022, 53),
}
OWN_UNIT = TYPES["float64"][0]
DEVIATIONS = 6.0  # one normal error in 5e8 is larger
SAFETY = 8.0  # honest orders that are not replayed were at most 4.8 times as far off (benchmarks/bounds.py)


def rates(decay, dtype, rate_dtype):
    """The rate 1 - decay, the largest distance of an honest layer's rate from it, and the two honest rates.

    A layer forms 1 - decay in Python, or as 1 - float32(decay) (the core layer of TF 1.8 and later), and rounds it to
    ``dtype``. With ``rate_dtype`` the rate is exactly that one.
    """
    cast = np.dtype(dtype).type
    honest = {
        "float64": float(cast(1.0 - decay)),
        "float32": float(cast(np.float32(1.0) - np.float32(decay))),
    }
    if rate_dtype is not None:
        return honest[rate_dtype], 0.0, (honest[rate_dtype],) * 2
    rate = 1.0 - decay
    return rate, max(abs(value - rate) for value in honest.values()), tuple(honest.values())


def keeps(decay, dtype, rate, rates):
    """The weight of the old value as a weighted recurrence holds it, and the largest distance of an honest one.

    It is the decay, or 1 minus the rate, rounded to ``dtype``.
    """
    cast = np.dtype(dtype).type
    honest = [float(cast(decay)), *(float(cast(1.0 - one)) for one in rates)]
    return honest[0], max(abs(value - (1.0 - rate)) for value in honest)


def sum_type(dtype):
    """The name of the type that a layer of ``dtype`` sums in: TensorFlow sums float16 in float32."""
    return "float32" if dtype == "float16" else dtype


def start(values, dtype):
    """The rows of ``ext/_moving.pyx`` before the first step, for start values [2, C]: the layer holds them rounded."""
    stats = np.zeros((_native.Row.ROWS, values.shape[1]))
    with np.errstate(over="ignore", invalid="ignore"):
        stored = values.astype(dtype).astype(np.float64)
        for row, rows in (
            (_native.Row.VALUE, values),
            (_native.Row.WORST, np.abs(values - stored)),
            (_native.Row.LINEAR, np.abs(values - stored)),
            (_native.Row.LAYER, stored),
            (_native.Row.OTHER_LAYER, stored),
            (_native.Row.WEIGHTED, stored),
            (_native.Row.OTHER_WEIGHTED, stored),
        ):
            stats[row : row + 2] = rows
    return stats


def pair(stats, row):
    """The mean's and the variance's part of a row: [2, C]."""
    return stats[row : row + 2]


RECURRENCES = {
    "difference": _native.Recurrence.DIFFERENCE,
    "weighted": _native.Recurrence.WEIGHTED_SUM,
    None: _native.Recurrence.DIFFERENCE | _native.Recurrence.WEIGHTED_SUM,
}
_RUN = {
    "difference": (_native.Row.LAYER, _native.Row.OTHER_LAYER),
    "weighted": (_native.Row.WEIGHTED, _native.Row.OTHER_WEIGHTED),
}
_RUN[None] = _RUN["difference"] + _RUN["weighted"]


def expected_and_worst(stats, recurrence="difference"):
    """The expected error and the worst case [2, C] of the statistics in ``stats``."""
    value, worst = pair(stats, _native.Row.VALUE), pair(stats, _native.Row.WORST)
    with np.errstate(invalid="ignore", over="ignore"):
        drift = np.max([np.abs(pair(stats, row) - value) for row in _RUN[recurrence]], axis=0)
        standard = np.hypot(pair(stats, _native.Row.COHERENT), np.sqrt(pair(stats, _native.Row.SQUARE)))
        expected = pair(stats, _native.Row.LINEAR) + DEVIATIONS * standard + 2 * drift
        return np.minimum(expected, worst), worst.copy()


def replayed(expected, worst, envelope):
    """The bound [2, C] that decides once the orders have been replayed; ``envelope``: the largest of their errors."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.minimum(worst, np.maximum(expected, SAFETY * envelope))


def debias(rate, slack, steps, dtype):
    """What divides a zero-debiased mean after so many steps, and how far off an honest layer's is, relatively.

    1 - (1 - r)^t is formed in ``dtype`` by a power and two differences. (1 - r)^t takes t times the rounding of its
    base and three of its own; the difference, the division and the store take one each; a rate that is off by s shifts
    it by t s (1 - r)^(t-1).
    """
    unit = TYPES[dtype][0] + OWN_UNIT
    with np.errstate(divide="ignore", invalid="ignore"):
        divisor = -np.expm1(steps * np.log1p(-np.float64(rate)))
        base = np.float64(1.0 - rate)
        lost = ((steps + 3) * unit * base**steps + steps * slack * base ** (steps - 1)) / divisor
    return float(divisor), float(lost + 3 * unit)
