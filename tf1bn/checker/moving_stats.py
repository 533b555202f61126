"""The moving mean and variance that a layer should have, and how far a correct layer can be from them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .._native import moving as _native
from . import error_bounds
from .arguments import (
    check_data_format,
    check_rate_dtype,
    check_recurrence,
    check_variance_from,
    checked_decay,
    checked_dtype,
    checked_input_error,
    checked_integer,
    vector,
)
from .comparison import MovingComparison, Resolution, compare_rows
from .error_bounds import Debias, debias, rates_of
from .moments import Moments, moments_and_batch, shown_channels
from .summation import ReplayedLayers, repeated_moments, same_moments

_Figure = _native.Figure


class MovingStats:
    """The moving mean and variance that a layer should have, and how far a correct layer can be from them.

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

    The expected values are those of the real numbers, with exactly 1 - decay, to 1e-13 of themselves, for all start
    values, moments and decays; if positive and negative terms cancel, to 2^-96 of the largest term. A correct layer
    makes the same statistics in the arithmetic of its dtype, with any order of summation and every operation rounded.
    docs/design/error-bounds.md derives how far such a layer can be from the expected values.

    Args:
      mean, variance: [channels], the start values; a layer holds them rounded to `dtype`.
      decay: the weight of the old value, a number from 0 to 1.
      bessel: True for the layers that store N/(N-1) times the variance: the fused ones.
      zero_debias: whether the mean is debiased.
      dtype: "bfloat16", "float16", "float32" or "float64", that of the layer's moving statistics. Layers of 16 bits
        sum in float32. A float16 layer takes its steps in float16, as TensorFlow does; a bfloat16 layer takes them in
        bfloat16, as PyTorch does on a CPU, or in float32, as Keras does, and rounds the result.
      rate_dtype: in what the layer forms the rate 1 - decay, before it is rounded to `dtype`. "float64": in
        Python; "float32": 1 - float32(decay), as the core layer of TF 1.8 and later does. The expected values
        then use exactly that rate. None: both are correct, the expected values use 1 - decay and the bounds
        cover both.
      recurrence: how the layer takes a step, which decides how it rounds. "difference": as above; "weighted":
        mean = mean * decay + m * (1 - decay), as Keras, Flax and PyTorch do. None: the bounds cover both.
      variance_from: how the layer computes the variance of a batch, which decides how that rounds. "deviations": from
        deviations from a mean, in any form; "squares": as E[x^2] - E[x]^2, which loses digits where the mean is large
        against the deviation. None is as "deviations".
      input_error: how far the inputs that the layer had can be from those that `update` gets, as a root mean square in
        units of that of the inputs, per channel: not 0 where they are another program's.
      biased: [channels], with zero_debias, to go on from a state; None: zeros.
      local_step: with zero_debias, how many updates `biased` has seen.
      replay_bytes: how many bytes of batches are referenced, without a copy, in case a comparison needs them; see
        `compare`. Memory-mapped files are referenced and not counted.

    Raises:
      TypeError: the decay is not a number, the start values are not real numbers, or local_step or replay_bytes is
        not an integer.
      ValueError: the decay, dtype, rate_dtype, recurrence, variance_from, input_error, local_step or replay_bytes is
        not one of the above, the shapes disagree, or `biased` or `local_step` is given without zero_debias.
    """

    def __init__(
        self,
        mean: npt.ArrayLike,
        variance: npt.ArrayLike,
        *,
        decay: float,
        bessel: bool = False,
        zero_debias: bool = False,
        dtype: npt.DTypeLike = "float32",
        rate_dtype: str | None = None,
        recurrence: str | None = "difference",
        variance_from: str | None = None,
        input_error: float = 0.0,
        biased: npt.ArrayLike | None = None,
        local_step: int = 0,
        replay_bytes: int = 2**28,
    ) -> None:
        self._dtype = checked_dtype(dtype)
        check_rate_dtype(rate_dtype)
        self._rate_dtype = rate_dtype
        check_recurrence(recurrence)
        self._recurrence = recurrence
        check_variance_from(variance_from)
        self._squares = variance_from == "squares"
        self._input_error = checked_input_error(input_error)
        self._decay = checked_decay(decay)
        self._bessel = bool(bessel)
        self._zero_debias = bool(zero_debias)
        self._local_step = checked_integer("local_step", local_step)
        replay_bytes = checked_integer("replay_bytes", replay_bytes)
        mean = vector("mean", mean)
        variance = vector("variance", variance, like=mean)
        if not self._zero_debias and (biased is not None or self._local_step):
            raise ValueError("`biased` and `local_step` belong to `zero_debias`, which is False.")
        averaged = mean
        if self._zero_debias:
            averaged = np.zeros_like(mean) if biased is None else vector("biased", biased, like=mean)
        start = np.array([averaged, variance])
        forms = len(self._rates(self._decay).forms)
        self._layers = ReplayedLayers(start, self._dtype, replay_bytes, forms, self._squares)
        # The figures of `error_bounds`, [2, figures, channels]; never changed in place.
        self._stats = error_bounds.start_figures(start, self._dtype, forms)
        # With zero_debias the mean is the start value until the first update.
        self._before_updates = (
            error_bounds.start_figures(np.stack([mean, variance]), self._dtype, forms) if self._zero_debias else None
        )
        self._debias: Debias | None = None
        self._last_moments: Moments | None = None
        self._steps = 0
        self._bound: npt.NDArray[np.float64] | None = None  # made when it is first asked for

    def __repr__(self) -> str:
        settings = f"decay={self._decay:g}, bessel={self._bessel}, dtype={self._dtype!r}"
        if self._zero_debias:
            settings += ", zero_debias=True"
        return (
            f"<MovingStats after {self._steps} steps: mean={shown_channels(self.mean)}, "
            f"variance={shown_channels(self.variance)}; {settings}>"
        )

    @property
    def mean(self) -> npt.NDArray[np.float64]:
        """The expected moving mean, float64 [channels]; read-only."""
        return self._values()[0]

    @property
    def variance(self) -> npt.NDArray[np.float64]:
        """The expected moving variance, float64 [channels]; read-only."""
        return self._values()[1]

    @property
    def mean_bound(self) -> npt.NDArray[np.float64]:
        """How far the moving mean of a correct layer can be from the expected one, float64 [channels]; read-only.

        This absolute error, in the unit of the mean, decides between ok and a finding. With all batches at hand it is
        8 times the largest error that many orders of summation make on these very batches, and no less than the
        expected error: the batches are replayed when the bound is first asked for. Otherwise it is the worst case over
        all orders.
        """
        return self._bounds()[0]

    @property
    def variance_bound(self) -> npt.NDArray[np.float64]:
        """How far the moving variance of a correct layer can be from the expected one; else as `mean_bound`."""
        return self._bounds()[1]

    @property
    def steps(self) -> int:
        """The number of updates so far."""
        return self._steps

    def update(
        self,
        batch_or_moments: npt.ArrayLike | Moments,
        *,
        data_format: str = "NHWC",
        weights: npt.ArrayLike | None = None,
        decay: float | None = None,
        dtype: str | None = None,
    ) -> None:
        """Take one step. Arrays that the attributes gave out before do not change.

        A batch is referenced until the next comparison or longer, see `replay_bytes`, and is not copied. If it was
        changed in the meantime, the comparison notices and does without it.

        Args:
          batch_or_moments: a batch as for `batch_moments`, or its `Moments`.
          data_format: that of the batch.
          weights, dtype: those of the batch, as for `batch_moments`.
          decay: for this step only, instead of the constructor's.

        Raises:
          ValueError: the channels are not those of the statistics; weights are given with moments, or with `bessel`,
            which no release of TensorFlow combines; and what `batch_moments` and the constructor raise.
        """
        check_data_format(data_format)
        rates = self._rates(self._decay if decay is None else checked_decay(decay))
        moments, batch = moments_and_batch(batch_or_moments, data_format, weights, dtype)
        if moments.mean.shape != self._stats.shape[2:]:
            raise ValueError(
                f"`batch_or_moments` has {moments.mean.size} channels and the moving statistics have "
                f"{self._stats.shape[2]}; check the `data_format`, which is {data_format!r}."
            )
        if self._bessel and moments.weight != moments.count:
            raise ValueError("`weights` with `bessel` has no meaning: no release of TensorFlow combines the two.")
        self._advance(moments.mean[np.newaxis], moments.variance[np.newaxis], moments, moments, rates)
        if batch is not None and weights is not None:
            weights = np.array(weights, np.float64)
        factor = moments.count / (moments.count - 1) if self._bessel and moments.count > 1 else 1.0
        self._layers.add_step(moments, batch, weights, factor, rates)

    def _rates(self, decay):
        return rates_of(decay, self._dtype, self._rate_dtype, self._recurrence)

    def update_each(self, mean: npt.ArrayLike, variance: npt.ArrayLike, count: int, *, decay: float) -> None:
        """Take one step after the other, as `update` does with the `Moments` of each.

        Args:
          mean, variance: [steps, channels], of each batch; count: of the values per channel in each, at least 1.
          decay: for these steps.

        Raises:
          ValueError: the shapes disagree, a variance is negative, or the decay is not a number from 0 to 1.
        """
        mean, variance = (np.ascontiguousarray(values, np.float64) for values in (mean, variance))
        rates = self._rates(checked_decay(decay))
        if (variance < 0).any():
            raise ValueError(f"`variance` is {variance.min()} in one channel; it must not be negative.")
        first, last = (Moments(count, mean[i], variance[i]) for i in (0, -1))
        self._advance(mean, variance, first, last, rates)
        self._layers.add_step(last, None, None, 1.0, rates)

    def _advance(self, mean, variance, first, last, rates):
        """Take steps with moments [steps, channels], of which the `Moments` of the first and of the last are given."""
        repeated = repeated_moments(mean, variance)
        repeated[0] = self._last_moments is not None and same_moments(first, self._last_moments)
        self._stats = self._stats.copy()
        error_bounds.steps_of(
            last.count,
            rates,
            dtype=self._dtype,
            bessel=self._bessel,
            recurrence=self._recurrence,
            squares=self._squares,
            weighted=last.weight != last.count,
            input_error=self._input_error,
        ).advance(self._stats, mean, variance, repeated.view(np.uint8))
        self._bound = None
        self._last_moments = last
        self._steps += len(mean)
        if self._zero_debias:
            self._local_step += len(mean)
            self._debias = debias(rates, self._local_step, self._dtype)

    def compare(self, moving_mean: npt.ArrayLike, moving_variance: npt.ArrayLike) -> MovingComparison:
        """Compare a layer's statistics with the expected ones.

        Within the expected error a channel is ok, beyond the worst case it is a finding. If a channel lies in
        between, the batches are replayed, if they are all at hand and unchanged, and `mean_bound` and
        `variance_bound` decide; otherwise it is undecidable. A replay takes 3 to 25 ns for each value of the batches.

        Args:
          moving_mean, moving_variance: [channels], real numbers.

        Returns:
          `MovingComparison`.

        Raises:
          TypeError: one of them does not hold real numbers.
          ValueError: the shapes disagree.
        """
        value = self._values()
        observed = np.empty(value.shape)
        observed[0] = vector("moving_mean", moving_mean, like=value[0])
        observed[1] = vector("moving_variance", moving_variance, like=value[0])
        inside, outside = self.two_bounds()
        results, reason = compare_rows(observed, value, inside, outside, self._dtype), None
        if not all(results):
            with np.errstate(invalid="ignore"):
                error = np.abs(observed - value)
                between = (error > inside) & (error <= outside)
            if between.any():
                bound = self._replayed(inside, outside)
                if bound is None:
                    reason = self._layers.obstacle
                else:
                    inside = outside = bound
                    results = compare_rows(observed, value, bound, bound, self._dtype)
        return MovingComparison(*results, reason, self._resolver(inside, outside))

    def _resolver(self, inside, outside):
        """A function that returns the `Resolution` of the statistics as they are now, within these errors."""
        stats, steps = self._stats, self._steps

        def resolve():
            bound = self._replayed(inside, outside) if self._steps == steps else None
            return Resolution.of(
                (outside if bound is None else bound)[1],
                share=np.abs(stats[1, _Figure.BATCHES]),
                bessel=stats[1, _Figure.BESSEL],
                steps=steps,
            )

        return resolve

    def _values(self):
        """The expected mean and variance [2, C], read-only."""
        if not self._zero_debias:
            values = self._stats[:, _Figure.VALUE].copy()
        elif self._debias is None:
            values = self._before_updates[:, _Figure.VALUE].copy()
        else:
            with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
                values = self._stats[:, _Figure.VALUE] / [[self._debias.divisor], [1.0]]
        return _read_only(values)

    def two_bounds(self) -> npt.NDArray[np.float64]:
        """The expected error, within which all is ok, and the worst case, beyond which nothing is: [2, 2, C]."""
        if self._zero_debias and self._debias is None:
            return error_bounds.expected_and_worst(self._before_updates)
        errors = error_bounds.expected_and_worst(self._stats)
        if self._zero_debias:
            biased = np.abs(self._stats[0, _Figure.VALUE])
            with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
                for error, of_division in zip(errors, self._debias[1:], strict=True):
                    error[0] = (error[0] + (biased + error[0]) * of_division) / self._debias.divisor
        return errors

    def _replayed(self, inside, outside):
        """The bounds [2, C] that decide after a replay; None if there is an obstacle to one."""
        divisor = self._debias.divisor if self._debias is not None else 1.0
        largest_error = self._layers.largest_error(self._values(), divisor)
        return None if largest_error is None else error_bounds.replayed(inside, outside, largest_error)

    def _bounds(self):
        """The bounds [2, C] that decide, after a replay if that is possible; read-only."""
        if self._bound is None:
            inside, outside = self.two_bounds()
            bound = self._replayed(inside, outside)
            self._bound = _read_only(outside if bound is None else bound)
        return self._bound


def _read_only(array):
    array.setflags(write=False)
    return array
