"""Which statistics, and which epsilon, a layer's outputs were computed with.

An output is y = gamma (x - M) / sqrt(V + epsilon) + beta, with the batch's own (M, V) or the moving ones. Per channel y
is regressed on x, which averages the roundings of single elements, and the slope and the value at the batch's mean are
compared with what each explanation predicts. Only sums per channel are kept.
"""

import dataclasses

import numpy as np

from ...checker import error_bounds
from ...checker.regression import fit_line
from ...checker.roundoff import BFLOAT16_ROUNDOFF, SMALLEST, unit_roundoff
from ..averaged import corrected_statistics
from ..step_view import select_channels
from .forms import FORMS, LOWER, Fit, FormFit, fit_forms, lower_precision

FUSED_FLOOR = 1.001e-5  # the smallest epsilon of the fused kernel (TF 1.4 and later)
BATCH, MOVING = "batch", "moving"
LEAST_EPSILON = 1e-8  # below almost any epsilon in use


@dataclasses.dataclass(frozen=True, eq=False)
class OutputLine:
    """The outputs of one application as a line over its input.

    Attributes:
      training: whether the application trained.
      mask: bool, of all channels; the other arrays have only the channels in it.
      fitted: slope, value at the batch's mean and root mean square distance from the line, [channels] each.
      moments: the `Moments` of the input.
      gamma, beta: float64 [channels].
      unit: the unit roundoff of the outputs.
      statistics: the observed mean and variance that the layer had to use, and how far rounding can take both in the
        worst case, [channels] each.
      expected_errors: how far rounding is expected to take both.
      after_updates: whether the statistics are not those from before the step: the application ran beside an
        update of them, and read them later.
    """

    training: bool
    mask: np.ndarray
    fitted: tuple
    moments: object
    gamma: np.ndarray
    beta: np.ndarray
    unit: float
    statistics: tuple
    expected_errors: tuple
    after_updates: bool = False


@dataclasses.dataclass(frozen=True)
class NotFiniteOutputs:
    """Outputs that are NaN or infinite in a channel whose inputs and statistics are finite.

    Attributes:
      step: the number of the step; channel: the first such channel.
      dtype: that of the outputs.
      variance: the one that the channel had to be normalised by.
    """

    step: int
    channel: int
    dtype: str
    variance: float


class SourceFit(Fit):
    """How well one source of (M, V) explains the outputs so far, at the batch's mean and by the scatter."""

    @property
    def consistent(self):
        """Whether some epsilon explains all outputs."""
        return self.misfit <= 1 and self.low <= self.high and self.high >= 0

    def allows(self, epsilon):
        """Whether this epsilon explains all outputs."""
        return self.misfit <= 1 and self.low <= epsilon <= self.high


def compare_sources(
    fitted, moments, mean, variance, mean_bound, variance_bound, gamma, beta, unit, least_epsilon=LEAST_EPSILON
):
    """Compare the line of one application with what each of several sources of (M, V) predicts.

    Args:
      fitted: slope, value at the mean and distance of the outputs, as `checker.regression.line` returns them.
      moments: the `Moments` of the inputs.
      mean, variance, mean_bound, variance_bound, gamma, beta: [sources, channels].
      unit: the unit roundoff of the outputs.
      least_epsilon: that which makes channels without variance as steep as they can be.

    Returns:
      misfit, smallest and largest epsilon: three lists of floats, one for each source.
    """
    slope, centre, rest = fitted
    deviation = np.sqrt(moments.variance)
    varies = deviation > 0
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        distance = moments.mean - mean
        away = np.abs(distance)
        size = np.sqrt(moments.mean**2 + moments.variance) + np.abs(mean)
        # The slope shows in the regression and in the distance of the batch's mean from M: the clearer one is used.
        ends = 4 * unit * (np.abs(centre) + np.abs(beta))
        shift = centre - beta
        across = shift / distance
        lost_across = (6 * unit * size + mean_bound) / away + ends / (np.abs(across) * away)
        lost_along = 6 * unit * size / deviation + ends / (np.abs(slope) * deviation)
        lost_across = np.where(away > 0, lost_across, np.inf)
        lost_along = np.where(np.isfinite(slope) & varies, lost_along, np.inf)
        far = lost_across < lost_along
        steep = np.where(far, across, slope)
        # Relatively; when rounding can change a quarter of the slope or more, it says nothing.
        lost = np.where(far, lost_across, lost_along)
        shows = np.isfinite(steep) & (lost < 0.25)
        steepest = np.abs(gamma) / np.sqrt(np.maximum(variance, 0) + least_epsilon)
        scale = np.where(shows, np.abs(steep), steepest)
        noise = 6 * unit * scale * size + ends + SMALLEST["float64"]
        # The regression and the distance must agree; where nothing shows, the value at the mean is near beta.
        lever = np.where(varies, noise / deviation, 0.0) * away
        off = np.abs(shift - np.where(varies, slope, 0) * distance)
        off = np.where(shows & far & ~varies, 0.0, off / (noise + lever + scale * mean_bound))
        loose = np.abs(shift) / (noise + scale * (mean_bound + away))
        off = np.where(shows, off, loose)
        off = np.maximum(off, rest / (noise + np.where(shows, 8 * unit, 1.0) * scale * deviation))
        misfit = np.where(np.isnan(off), np.inf, off).max(axis=1)
        right = steep * gamma > 0
        misfit[(shows & (steep * gamma <= 0)).any(axis=1)] = np.inf
        total = np.square(gamma / steep)
        wide = total * (3 * lost + 8 * unit) + variance_bound
        epsilon = total - variance
        low = np.where(shows & right, epsilon - wide, -np.inf).max(axis=1)
        high = np.where(shows & right, epsilon + wide, np.inf).min(axis=1)
    return misfit.tolist(), low.tolist(), high.tolist()


class OutputFit:
    """What the outputs of a layer show, over any number of steps.

    Attributes:
      sources: `SourceFit` by (training, BATCH or MOVING).
      swapped: `SourceFit` by training, with gamma and beta exchanged and the statistics that the layer has to use.
      forms: by training and name, the `FormFit` of other formulas, from the first outputs on that the declared one does
        not explain.
      rounded: the lower precision that outputs in float32 were rounded to, such as "bfloat16"; or None.
      not_compared: why some outputs could not be compared, a sentence; or None.
      lines: the `OutputLine` of each application of the last step that could be compared.
      first_wrong: by training, the first step in which the outputs do not allow the declared epsilon with the
        statistics that the layer has to use.
      not_finite: by training, the first `NotFiniteOutputs`.
    """

    def __init__(self):
        self.sources = {(training, source): SourceFit() for training in (True, False) for source in (BATCH, MOVING)}
        self.swapped = {True: SourceFit(), False: SourceFit()}
        self.forms = {True: {form: FormFit() for form in FORMS}, False: {form: FormFit() for form in FORMS}}
        self.rounded = self.not_compared = None
        self.lines, self.first_wrong, self.not_finite = [], {}, {}

    def add(self, number, view):
        """Take the outputs of a step, as `step_view.View`."""
        self.lines = []
        record, layer = view.record, view.layer
        if record.outputs is None:
            return
        if record.inputs is None or view.all_moments is None:
            self.not_compared = "The outputs are recorded without their inputs, so they could not be checked."
            return
        if (record.gamma is None and layer.scale is not False) or (record.beta is None and layer.center is not False):
            self.not_compared = "The outputs could not be checked: the trace does not say what gamma and beta are."
            return
        ones = np.ones(view.before.shape[1])
        gamma = ones if record.gamma is None else record.gamma.astype(np.float64)
        beta = 0 * ones if record.beta is None else record.beta.astype(np.float64)
        for i, training in enumerate(record.training):
            if not view.all_moments[i].count:
                continue
            self._add(number, view, i, training, gamma, beta)
            right = self.sources[training, BATCH if training else MOVING]
            if right.seen and layer.epsilon is not None and not right.allows(layer.epsilon):
                self.first_wrong.setdefault(training, number)
            if self.lines and training in self.first_wrong and self.lines[-1].training == training:
                for form, result in fit_forms(self.lines[-1]).items():
                    self.forms[training][form].add(*result)

    def _add(self, number, view, i, training, gamma, beta):
        """Take the outputs of application ``i`` of a step."""
        x, y = view.record.inputs[i], view.record.outputs[i]
        moments, weighted = view.all_moments[i], view.output_moments(i)
        if view.record.weights is not None and view.record.weights[i] is not None:
            # Weights make the batch's statistics; the line goes through all elements alike.
            moments = view.moments_of(i, weights=False)
        mask = np.isfinite(moments.mean) & np.isfinite(moments.variance) & np.isfinite(view.before).all(axis=0)
        mask &= np.isfinite(weighted.mean) & np.isfinite(weighted.variance)
        if not mask.any():
            return
        with np.errstate(invalid="ignore", over="ignore"):
            fitted = fit_line(x, y, view.layer.channel_axis, moments, pair=view.pairs.get(i))
        fitted = tuple(values[mask] for values in fitted)
        gamma, beta = gamma[mask], beta[mask]
        if training not in self.not_finite and not np.isfinite(fitted[1]).all():
            channel = int(np.flatnonzero(~np.isfinite(fitted[1]))[0])
            variance = weighted.variance if training else view.before[1]
            found = NotFiniteOutputs(
                number, int(np.flatnonzero(mask)[channel]), str(y.dtype), float(variance[mask][channel])
            )
            self.not_finite[training] = found
        unit = unit_roundoff(x.dtype, y.dtype, "float32")
        if getattr(view.record, "outputs_dtype", None) == "bfloat16":
            unit = max(unit, BFLOAT16_ROUNDOFF)
        elif (rounded := lower_precision(y)) is not None:
            self.rounded, unit = rounded, max(unit, 2.0 ** -LOWER[rounded][0])
        moments = select_channels(moments, mask)
        batch, expected_errors = _batch_statistics(select_channels(weighted, mask), view.layer.variance_from)
        if training and view.layer.renorm:
            expected_errors = corrected_statistics(view, mask, (*batch[:2], *expected_errors))
            batch = corrected_statistics(view, mask, batch)
            if batch is None:
                self.not_compared = (
                    "The outputs of training steps were not checked: batch renormalisation corrects them by r and d, "
                    "and the trace does not hold all that these are made of (`renorm_clipping` and the averages)."
                )
                return
            expected_errors = expected_errors[2:]
        zero = np.zeros(moments.mean.size)
        declared = LEAST_EPSILON if view.layer.epsilon is None else view.layer.epsilon
        least = max(min(LEAST_EPSILON, declared), SMALLEST["float32"])

        def compared(statistics, scales, offsets):
            values = (*np.stack(statistics, axis=1), np.stack(scales), np.stack(offsets))
            return list(zip(*compare_sources(fitted, moments, *values, unit, least), strict=True))

        read, best = [(*statistics[:, mask], zero, zero) for statistics in _readable(view, training)], 0
        if len(read) > 1:
            fits = compared(read, [gamma] * len(read), [beta] * len(read))
            best = min(range(len(read)), key=lambda k: (not fits[k][1] <= declared <= fits[k][2], fits[k][0]))
            best = best if fits[best][0] <= 1 else 0
        moving = read[best]
        right = batch if training else moving
        sources = self.sources[training, BATCH], self.sources[training, MOVING], self.swapped[training]
        results = compared([batch, moving, right], [gamma, gamma, beta], [beta, beta, gamma])
        for source, result in zip(sources, results, strict=True):
            source.add(*result)
        errors = expected_errors if training else (zero, zero)
        self.lines.append(OutputLine(training, mask, fitted, moments, gamma, beta, unit, right, errors, best > 0))


def _readable(view, training):
    """The moving mean and variance, [2, channels], that an application may have read: a list, the usual first.

    In a step that moves them, nothing orders one in inference before or after either update: that of another
    application, or its own, as of an ExponentialMovingAverage that is applied whichever way a tf.cond goes.
    """
    if training or view.unmoved:
        return [view.before]
    before, after = view.before, view.after
    return [before, after, np.stack([before[0], after[1]]), np.stack([after[0], before[1]])]


def _batch_statistics(moments, variance_from):
    """The mean and variance that a layer computes of a batch, with the worst case of both, and their expected errors.

    Returns:
      (mean, variance, worst case of the mean, worst case of the variance), (expected errors of both): [channels] each.
    """
    steps = error_bounds.declared_steps(
        moments.count,
        decay=0.0,
        dtype="float32",
        rate_dtype=None,
        bessel=False,
        recurrence="difference",
        variance_from=variance_from,
        weighted=moments.weight != moments.count,
    )
    before = np.zeros((2, 1, moments.mean.size))
    values, expected_errors, worst_case = error_bounds.predictions(steps, before, moments.mean, moments.variance)[
        :, :, 0
    ]
    return (*values, *worst_case), tuple(expected_errors)
