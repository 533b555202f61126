"""The moving mean and variance that a layer should have, and how far off is honest. Reached through ``checker``."""

import numbers
import operator

import numpy as np

from .._native import moving as _native
from . import error_bounds
from .comparison import MovingComparison, Resolution, compare_rows, vector
from .moments import Moments, batch_moments, check_data_format
from .summation import Layers, same_moments

_ROW = _native.Row


class MovingStats:
    """The moving mean and variance that a layer should have, and how far off an honest layer can be.

    Every `update` with a batch of moments m, v and count N does what TensorFlow 1.x does, in real numbers:

        f = N / (N - 1) if bessel and N > 1 else 1
        mean     -= (mean     - m)     * (1 - decay)
        variance -= (variance - v * f) * (1 - decay)

    where v is the population variance (divided by N). TensorFlow starts at mean 0 and variance 1. An empty
    batch (N = 0) makes both NaN. With zero_debias the first line is that of another vector, `biased`, and

        local_step += 1
        mean = biased / (1 - decay**local_step)

    with the step's decay (Kingma and Ba 2015, arXiv:1412.6980, section 3, as TF 1.x has it): the start value of the
    mean is forgotten, the variance is not debiased, and decay 1 gives NaN.

    Args:
      mean, variance: [channels], the start values; a layer holds them rounded to `dtype`.
      decay: the weight of the old value, a number from 0 to 1.
      bessel: True for the layers that store N/(N-1) times the variance: the fused ones.
      zero_debias: whether the mean is debiased.
      dtype: "float16", "float32" or "float64", that of the layer's moving statistics. A float16 layer sums
        in float32, as TensorFlow does.
      rate_dtype: in what the layer forms the rate 1 - decay, before it is rounded to `dtype`. "float64": in
        Python; "float32": 1 - float32(decay), as the core layer of TF 1.8 and later does. The expected values
        then use exactly that rate. None: both are honest, the expected values use 1 - decay and the bounds
        cover both.
      recurrence: how the layer takes a step, which decides how it rounds. "difference": as above; "weighted":
        mean = mean * decay + m * (1 - decay), as Keras, Flax and PyTorch do. None: the bounds cover both.
      input_error: how far the inputs that the layer had can be from those that `update` gets, as a root mean square in
        units of that of the inputs, per channel: not 0 where they are another program's.
      biased: [channels], with zero_debias, to go on from a state; None: zeros.
      local_step: with zero_debias, how many updates `biased` has seen.
      replay_bytes: how many bytes of batches are held, by reference and without a copy, in case a comparison needs
        them; see `compare`. Memory-mapped files are held and not counted.

    Attributes:
      mean, variance: float64 [channels], the expected values; read-only.
      mean_bound, variance_bound: float64 [channels], absolute, in the unit of the value: what decides between ok and
        a finding. With all batches at hand, 8 times the largest error that honest orders of summation make on these
        very batches, which are replayed when the bound is first asked for, and no less than the expected error; else
        the worst case over all orders. Read-only.
      steps: the number of updates.

    Raises:
      TypeError: the decay is not a number, the start values are not real numbers, or local_step or replay_bytes is
        not an integer.
      ValueError: the decay, dtype, rate_dtype, recurrence, local_step or replay_bytes is not one of the above, the
        shapes disagree, or `biased` or `local_step` is given without zero_debias.

    `tf1bn.bounds` derives the bounds.
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
        recurrence="difference",
        input_error=0.0,
        biased=None,
        local_step=0,
        replay_bytes=2**28,
    ):
        try:
            # NumPy takes None for float64.
            self._dtype = None if dtype is None else np.dtype(dtype).name
        except TypeError:
            self._dtype = None
        if self._dtype not in error_bounds.TYPES:
            raise ValueError(f'`dtype` is {dtype!r}; it must be "float16", "float32" or "float64".')
        if rate_dtype not in (None, "float32", "float64"):
            raise ValueError(f'`rate_dtype` is {rate_dtype!r}; it must be None, "float32" or "float64".')
        if not (recurrence is None or (isinstance(recurrence, str) and recurrence in error_bounds.RECURRENCES)):
            raise ValueError(f'`recurrence` is {recurrence!r}; it must be "difference", "weighted" or None.')
        self._recurrence = recurrence
        if not isinstance(input_error, numbers.Real) or not 0.0 <= input_error < 1.0:
            raise ValueError(f"`input_error` is {input_error!r}; it must be a number from 0 to below 1.")
        self._input_error = float(input_error)
        self._decay = _checked_decay(decay)
        self._bessel = bool(bessel)
        self._zero_debias = bool(zero_debias)
        self._rate_dtype = rate_dtype
        self._local_step = _checked_integer("local_step", local_step)
        replay_bytes = _checked_integer("replay_bytes", replay_bytes)
        mean = vector("mean", mean)
        variance = vector("variance", variance, like=mean)
        if not self._zero_debias:
            if biased is not None or self._local_step:
                raise ValueError("`biased` and `local_step` belong to `zero_debias`, which is False.")
            start = mean
        else:
            start = np.zeros_like(mean) if biased is None else vector("biased", biased, like=mean)
        start = np.stack([start, variance])
        self._layers = Layers(start, self._dtype, replay_bytes, recurrence)
        self._stats = error_bounds.start(start, self._dtype)
        # With zero_debias the mean is what was given until the first update.
        self._given = error_bounds.start(np.stack([mean, variance]), self._dtype) if self._zero_debias else None
        self._debias = None
        self._last = None
        self._steps = 0
        self._bound = None  # once it has been asked for

    @property
    def mean(self):
        """The expected moving mean, float64 [channels]."""
        return self._values()[0]

    @property
    def variance(self):
        """The expected moving variance, float64 [channels]."""
        return self._values()[1]

    @property
    def mean_bound(self):
        """How far the moving mean of an honest layer can be from the expected one, float64 [channels]."""
        return self._bounds()[0]

    @property
    def variance_bound(self):
        """How far the moving variance of an honest layer can be from the expected one, float64 [channels]."""
        return self._bounds()[1]

    @property
    def steps(self):
        """The number of updates so far."""
        return self._steps

    def update(self, batch_or_moments, *, data_format="NHWC", weights=None, decay=None):
        """Take one step; returns None. Arrays that the attributes gave out before do not change.

        A batch is held until the next comparison or longer, see `replay_bytes`, and is not copied. Where it was
        changed in the meantime, that is noticed, and the comparison does without it.

        Args:
          batch_or_moments: a batch as for `batch_moments`, or its `Moments`.
          data_format: that of the batch.
          weights: those of the batch, as for `batch_moments`.
          decay: for this step only, instead of the constructor's.

        Raises:
          ValueError: the channels are not those of the statistics; weights are given with moments, or together with
            `bessel`, which no release of TensorFlow combines; and what `batch_moments` and the constructor raise for
            the same arguments.
        """
        check_data_format(data_format)
        decay = self._decay if decay is None else _checked_decay(decay)
        if isinstance(batch_or_moments, Moments):
            if weights is not None:
                raise ValueError("`weights` goes with a batch; these are `Moments`, which have their weights in them.")
            moments, batch = batch_or_moments, None
        else:
            moments = batch_moments(batch_or_moments, data_format=data_format, weights=weights)
            batch = np.asarray(batch_or_moments)
            batch = np.moveaxis(batch, 1, -1) if data_format == "NCHW" else batch
        if moments.mean.shape != self._stats.shape[1:]:
            raise ValueError(
                f"`batch_or_moments` has {moments.mean.size} channels and the moving statistics have "
                f"{self._stats.shape[1]}; check the `data_format`, which is {data_format!r}."
            )
        weighted = moments.weight != moments.count
        if self._bessel and weighted:
            raise ValueError("`weights` with `bessel` has no meaning: no release of TensorFlow combines the two.")
        rate, slack, rates = error_bounds.rates(decay, self._dtype, self._rate_dtype)
        unit, smallest, bits = error_bounds.TYPES[self._dtype]
        keep, keep_slack = error_bounds.keeps(decay, self._dtype, rate, rates)
        sum_unit, sum_smallest, sum_bits = error_bounds.TYPES[error_bounds.sum_type(self._dtype)]
        stats = self._stats.copy()
        _native.moving_step(
            stats,
            moments.mean,
            moments.variance,
            moments.count,
            weighted=weighted,
            bessel=self._bessel,
            repeated=self._last is not None and same_moments(moments, self._last),
            rate=rate,
            slack=slack,
            first_rate=rates[0],
            second_rate=rates[1],
            recurrence=error_bounds.RECURRENCES[self._recurrence],
            keep=keep,
            keep_slack=keep_slack,
            input_error=self._input_error,
            sum_unit=sum_unit + error_bounds.OWN_UNIT,
            sum_smallest=sum_smallest,
            sum_bits=sum_bits,
            unit=unit + error_bounds.OWN_UNIT,
            smallest=smallest,
            bits=bits,
            deviations=error_bounds.DEVIATIONS,
        )
        if batch is not None and weights is not None:
            weights = np.array(weights, np.float64)
        factor = moments.count / (moments.count - 1) if self._bessel and moments.count > 1 else 1.0
        self._layers.hold(moments, batch, weights, factor, rates, keep)
        self._stats = stats
        self._bound = None
        self._last = moments
        self._steps += 1
        if self._zero_debias:
            self._local_step += 1
            self._debias = error_bounds.debias(rate, slack, self._local_step, self._dtype)

    def compare(self, moving_mean, moving_variance):
        """Compare a layer's statistics with the expected ones.

        Within the expected error a channel is ok, beyond the worst case it is a finding. Where a channel lies in
        between, the batches are replayed, if they are all at hand and unchanged, and `mean_bound` and
        `variance_bound` decide; otherwise it is undecidable. A replay takes 10 to 100 ns for each value of the batches.

        Args:
          moving_mean, moving_variance: [channels], real numbers.

        Returns:
          `MovingComparison`.

        Raises:
          TypeError: one of them does not hold real numbers.
          ValueError: the shapes disagree.
        """
        value = self._values()
        observed = np.stack(
            [
                vector("moving_mean", moving_mean, like=value[0]),
                vector("moving_variance", moving_variance, like=value[0]),
            ]
        )
        inside, outside = self._errors()
        with np.errstate(invalid="ignore"):
            error = np.abs(observed - value)
            between = (error > inside) & (error <= outside)
        reason, bound = None, None
        if between.any():
            bound = self._replayed(inside, outside)
            if bound is None:
                reason = self._layers.missing
            else:
                inside = outside = bound
        results = compare_rows(observed, value, inside, outside, self._dtype)
        return MovingComparison(*results, reason, self._resolver(inside, outside))

    def _resolver(self, inside, outside):
        """A function that gives the `Resolution` of the statistics as they are now, within these errors."""
        stats, steps = self._stats, self._steps

        def resolve():
            bound = self._replayed(inside, outside) if self._steps == steps else None
            return Resolution.of(
                (outside if bound is None else bound)[1],
                share=np.abs(error_bounds.pair(stats, _ROW.BATCHES)[1]),
                bessel=error_bounds.pair(stats, _ROW.BESSEL)[1],
                steps=steps,
            )

        return resolve

    def _values(self):
        """The expected mean and variance [2, C], read-only."""
        return _read_only(self._as_stored(error_bounds.pair(self._stats, _ROW.VALUE)))

    def _as_stored(self, rows):
        """``rows`` [2, C] with the mean debiased, where it is."""
        if not self._zero_debias:
            return rows.copy()
        if self._debias is None:
            return error_bounds.pair(self._given, _ROW.VALUE).copy()
        with np.errstate(divide="ignore", invalid="ignore"):
            return rows / [[self._debias[0]], [1.0]]

    def _errors(self):
        """The expected error and the worst case, [2, C] each."""
        if self._zero_debias and self._debias is None:
            return error_bounds.expected_and_worst(self._given, self._recurrence)
        errors = error_bounds.expected_and_worst(self._stats, self._recurrence)
        if self._zero_debias:
            divisor, lost = self._debias
            biased = np.abs(error_bounds.pair(self._stats, _ROW.VALUE)[0])
            with np.errstate(divide="ignore", invalid="ignore"):
                for error in errors:
                    error[0] = (error[0] + (biased + error[0]) * lost) / divisor
        return errors

    def _replayed(self, inside, outside):
        """The bounds [2, C] that decide after a replay; None without one."""
        divisor = self._debias[0] if self._debias is not None else 1.0
        envelope = self._layers.errors(self._values(), divisor)
        return None if envelope is None else error_bounds.replayed(inside, outside, envelope)

    def _bounds(self):
        if self._bound is None:
            inside, outside = self._errors()
            bound = self._replayed(inside, outside)
            self._bound = _read_only(outside if bound is None else bound)
        return self._bound


def _read_only(array):
    array.setflags(write=False)
    return array


def _checked_decay(decay):
    if not isinstance(decay, numbers.Real):
        raise TypeError(f"`decay` is {decay!r}; it must be a number from 0 to 1.")
    if not 0.0 <= decay <= 1.0:
        raise ValueError(f"`decay` is {decay!r}; it must be a number from 0 to 1.")
    return float(decay)


def _checked_integer(name, value):
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"`{name}` is {value!r}; it must be an integer.") from None
    if number < 0:
        raise ValueError(f"`{name}` is {value!r}; it must not be negative.")
    return number
