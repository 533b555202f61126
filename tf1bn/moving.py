"""The moving mean and variance that a layer should have, and how far off is honest. Reached through ``checker``."""

import numbers

import numpy as np

from ._native import moving as _native
from .comparison import MovingComparison, compare, vector
from .moments import Moments, batch_moments, check_data_format, refuse_weights

# Unit roundoff, and what a result can lose to underflow. TensorFlow flushes float32 and float64 denormals to
# zero; float16 it computes through float32, which keeps the denormals of float16.
_UNITS = {
    "float16": (2.0**-11, 2.0**-24),
    "float32": (2.0**-24, 2.0**-126),
    "float64": (2.0**-53, 2.0**-1022),
}


class MovingStats:
    """The moving mean and variance that a layer should have, and how far off an honest layer can be.

    Every `update` with a batch of moments m, v and count N does what TensorFlow 1.x does, in real numbers:

        f = N / (N - 1) if bessel and N > 1 else 1
        mean     -= (mean     - m)     * (1 - decay)
        variance -= (variance - v * f) * (1 - decay)

    where v is the population variance (divided by N). TensorFlow starts at mean 0 and variance 1. An empty
    batch (N = 0) makes both NaN.

    Args:
      mean, variance: [channels], the start values; a layer holds them rounded to `dtype`.
      decay: the weight of the old value, a number from 0 to 1.
      bessel: True for the layers that store N/(N-1) times the variance: the fused ones.
      zero_debias: not supported yet.
      dtype: "float16", "float32" or "float64", that of the layer's moving statistics. A float16 layer sums
        in float32, as TensorFlow does.
      rate_dtype: in what the layer forms the rate 1 - decay, before it is rounded to `dtype`. "float64": in
        Python; "float32": 1 - float32(decay), as the core layer of TF 1.8 and later does. The expected values
        then use exactly that rate. None: both are honest, the expected values use 1 - decay and the bounds
        cover both.

    Attributes:
      mean, variance: float64 [channels], the expected values; read-only.
      mean_bound, variance_bound: float64 [channels], absolute, in the unit of the value. No honest layer is
        farther from the expected value, whatever order it sums in; see below. Read-only.
      steps: the number of updates.

    Raises:
      TypeError: the decay is not a number, or the start values are not real numbers.
      ValueError: the decay, dtype or rate_dtype is not one of the above, or the shapes disagree.
      NotImplementedError: zero_debias is asked for.

    The bounds are a worst case over all orders of summation. First for the moments, with unit roundoff u and
    g = exp((N + 3 ln N + 6) u) - 1:

        dm = g rms                              rms = sqrt(m^2 + v), which is at least the mean of |x|
        dv = dm^2 + 3 dm sqrt(v) + g (v + dm^2)

    dm: a sum of N terms, in any order, is off by at most (N-1) u sum|x| (Rump, BIT 52, 2012; Jeannerod and
    Rump, SIAM J. Matrix Anal. Appl. 34, 2013); rounding the input, and dividing or multiplying by a rounded
    1/N, adds 4 u. Updating a mean instead (Welford, or pairwise) rounds every intermediate mean once, which
    adds up to N u mean|x| again, and every weighted difference of means three times; their weights
    n_b/(n_a + n_b) along any path through any tree add up to at most 1 + ln N. The exponential stands for
    the products of all these (1 + u) (Higham, Accuracy and Stability of Numerical Algorithms, 2002, 3.1).
    dv: the mean square about a mean that is off by e is v + e^2 and takes N + 6 roundings: the first and the
    last term. Welford's and the pairwise update carry the errors of intermediate means into the products of
    deviations instead: by Cauchy and Schwarz at most 2 sqrt(2) dm sqrt(v), which is the N u kappa v,
    kappa = sqrt(1 + m^2/v), of Chan, Golub and LeVeque (1983).
    Bessel's factor and its product add 4 u. Underflow adds N + 4 times the smallest normal number. A float16
    layer sums in float32 and rounds both moments once more.

    Then in the recurrence, where r = 1 - decay, s is what the layer's rate can differ from r by, and e is the
    bound so far, at first that of rounding the start value to `dtype`:

        reach = |mean - m| + e + dm
        e = |1 - r| e + r dm + (s + 3 u (r + s)) reach
        e = e + u (|mean| + e) + underflow              unless r = s = 0: then nothing moves or is rounded

    A difference and a product are 2 u; the third is for products of errors and for evaluating this in float64.

    In all of it u is 2^-53 more than that of the dtype: the referee itself is an honest float64 layer.
    Overflow is not covered: where a sum of squares leaves the range of `dtype`, an honest layer has infinity.
    """

    def __init__(
        self,
        mean,
        variance,
        *,
        decay,
        bessel=False,
        zero_debias=False,
        dtype="float32",
        rate_dtype=None,
    ):
        if zero_debias:
            raise NotImplementedError("`zero_debias` is True; only False is supported yet.")
        try:
            self._dtype = np.dtype(dtype).name
        except TypeError:
            self._dtype = None
        if self._dtype not in _UNITS:
            raise ValueError(f'`dtype` is {dtype!r}; it must be "float16", "float32" or "float64".')
        if rate_dtype not in (None, "float32", "float64"):
            raise ValueError(f'`rate_dtype` is {rate_dtype!r}; it must be None, "float32" or "float64".')
        self._decay = _checked_decay(decay)
        self._bessel = bool(bessel)
        self._rate_dtype = rate_dtype
        mean = vector("mean", mean)
        start = np.stack([mean, vector("variance", variance, like=mean)])
        with np.errstate(over="ignore", invalid="ignore"):
            stored = start.astype(self._dtype)
            self._stats = np.concatenate([start, np.abs(start - stored)])
        self._stats.setflags(write=False)
        self._steps = 0

    @property
    def mean(self):
        """The expected moving mean, float64 [channels]."""
        return self._stats[0]

    @property
    def variance(self):
        """The expected moving variance, float64 [channels]."""
        return self._stats[1]

    @property
    def mean_bound(self):
        """How far the moving mean of an honest layer can be from the expected one, float64 [channels]."""
        return self._stats[2]

    @property
    def variance_bound(self):
        """How far the moving variance of an honest layer can be from the expected one, float64 [channels]."""
        return self._stats[3]

    @property
    def steps(self):
        """The number of updates so far."""
        return self._steps

    def update(self, batch_or_moments, *, data_format="NHWC", weights=None, decay=None):
        """Take one step; returns None. Arrays that the attributes gave out before do not change.

        Args:
          batch_or_moments: a batch as for `batch_moments`, or its `Moments`.
          data_format: that of the batch.
          weights: not supported yet.
          decay: for this step only, instead of the constructor's.

        Raises:
          ValueError: the channels are not those of the statistics; and what `batch_moments` and the
            constructor raise for the same arguments.
        """
        refuse_weights(weights)
        check_data_format(data_format)
        decay = self._decay if decay is None else _checked_decay(decay)
        if isinstance(batch_or_moments, Moments):
            moments = batch_or_moments
        else:
            moments = batch_moments(batch_or_moments, data_format=data_format)
        if moments.mean.shape != self.mean.shape:
            raise ValueError(
                f"`batch_or_moments` has {moments.mean.size} channels and the moving statistics have "
                f"{self.mean.size}; check the `data_format`, which is {data_format!r}."
            )
        rate, rate_slack = _rate(decay, self._dtype, self._rate_dtype)
        unit, smallest = _UNITS[self._dtype]
        sum_unit, sum_smallest = _UNITS["float32" if self._dtype == "float16" else self._dtype]
        own_unit, _ = _UNITS["float64"]
        stats = self._stats.copy()
        _native.moving_step(
            stats,
            moments.mean,
            moments.variance,
            moments.count,
            self._bessel,
            rate,
            rate_slack,
            sum_unit + own_unit,
            sum_smallest,
            unit + own_unit,
            smallest,
        )
        stats.setflags(write=False)
        self._stats = stats
        self._steps += 1

    def compare(self, moving_mean, moving_variance):
        """Compare a layer's statistics with the expected ones; see `compare`. Returns `MovingComparison`."""
        return MovingComparison(
            compare(moving_mean, self.mean, self.mean_bound),
            compare(moving_variance, self.variance, self.variance_bound),
        )


def _rate(decay, dtype, rate_dtype):
    """The rate, and by how much that of an honest layer can differ from it."""
    cast = np.dtype(dtype).type
    honest = {
        "float64": float(cast(1.0 - decay)),
        "float32": float(cast(np.float32(1.0) - np.float32(decay))),
    }
    if rate_dtype is not None:
        return honest[rate_dtype], 0.0
    rate = 1.0 - decay
    return rate, max(abs(value - rate) for value in honest.values())


def _checked_decay(decay):
    if not isinstance(decay, numbers.Real):
        raise TypeError(f"`decay` is {decay!r}; it must be a number from 0 to 1.")
    if not 0.0 <= decay <= 1.0:
        raise ValueError(f"`decay` is {decay!r}; it must be a number from 0 to 1.")
    return float(decay)
