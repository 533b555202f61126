"""Which statistics, and which epsilon, a layer's outputs were made with. Used by ``diagnosis``.

An output is y = gamma (x - M) / sqrt(V + epsilon) + beta, with the batch's own (M, V) or the moving ones. Per channel y
is regressed on x, which averages the roundings of single elements, and the slope and the value at the batch's mean are
compared with what each explanation predicts. Only sums per channel are kept.
"""

import dataclasses
import math

import numpy as np

from .. import checker
from ..checker.regression import fit_line
from .step_view import cut

FLOOR = 1.001e-5  # the smallest epsilon of the fused kernel (TF 1.4 and later)
BATCH, MOVING = "batch", "moving"
SMALLEST = 1e-8  # below any epsilon in use


@dataclasses.dataclass(frozen=True, eq=False)
class Line:
    """The outputs of one application as a line on its input, on the channels in ``mask``.

    Attributes:
      training: whether it trained; mask: bool [channels].
      fitted: slope, centre and distance, as `line` gives them; moments: the input's `Moments`; gamma, beta; unit: the
        roundoff of the dtype.
      due: the mean and variance that the layer had to use as they were observed, and bounds of both.
    """

    training: bool
    mask: np.ndarray
    fitted: tuple
    moments: object
    gamma: np.ndarray
    beta: np.ndarray
    unit: float
    due: tuple


class Source:
    """How well one source of (M, V) explains the outputs so far, and which epsilon it takes.

    Attributes:
      low, high: the epsilons that every channel of every step allows.
      misfit: of the values at the batch's mean and of the scatter, in units of the bound.
      seen: whether anything was judged.
    """

    def __init__(self):
        self.low, self.high, self.misfit, self.seen = -math.inf, math.inf, 0.0, False

    def add(self, misfit, low, high):
        """Take what `explained` says of one application."""
        self.misfit, self.low, self.high = max(self.misfit, misfit), max(self.low, low), min(self.high, high)
        self.seen = True

    @property
    def consistent(self):
        """Whether some epsilon explains everything."""
        return self.misfit <= 1 and self.low <= self.high and self.high >= 0

    def allows(self, epsilon):
        return self.misfit <= 1 and self.low <= epsilon <= self.high


def explained(fitted, moments, mean, variance, mean_bound, variance_bound, gamma, beta, unit):
    """How well each of several sources explains the line of one application.

    Args:
      fitted: slope, centre and distance of the outputs, as `line` gives them; moments: the `Moments` of the inputs.
      mean, variance: [sources, channels], with bounds of both.
      gamma, beta: [sources, channels]; unit: the roundoff of the dtype.

    Returns:
      misfit, smallest and largest epsilon, a list of floats for each, one for every source.
    """
    slope, centre, rest = fitted
    tiny = np.finfo(np.float64).tiny
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
        steepest = np.abs(gamma) / np.sqrt(np.maximum(variance, 0) + SMALLEST)
        scale = np.where(shows, np.abs(steep), steepest)
        noise = 6 * unit * scale * size + ends + tiny
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


class Outputs:
    """What is known about the outputs of a layer after any number of `add`.

    Attributes:
      sources: `Source` by (training, BATCH or MOVING).
      swapped: `Source` by training, with gamma and beta exchanged, of the statistics that are due.
      unjudged: why some outputs could not be judged, a sentence; or None.
      lines: the `Line` of each application of the last step that could be judged.
      wrong: the first step in which the outputs do not allow the declared epsilon with what is due, by training.
    """

    def __init__(self):
        self.sources = {(training, source): Source() for training in (True, False) for source in (BATCH, MOVING)}
        self.swapped = {True: Source(), False: Source()}
        self.unjudged = None
        self.lines, self.wrong = [], {}

    def add(self, view, number=None):
        """Take the outputs of a `stepview.View`, the step of that number, if it has any."""
        self.lines = []
        record, layer = view.record, view.layer
        if record.outputs is None:
            return
        if layer.renorm and any(record.training):
            self.unjudged = (
                "The outputs of training steps are not judged: batch renormalisation corrects them by r and d."
            )
        if record.inputs is None or view.all_moments is None:
            self.unjudged = "The outputs are recorded without their inputs, so they could not be judged."
            return
        ones = np.ones(view.before.shape[1])
        gamma = ones if record.gamma is None else record.gamma.astype(np.float64)
        beta = 0 * ones if record.beta is None else record.beta.astype(np.float64)
        if (record.gamma is None and layer.scale is not False) or (record.beta is None and layer.center is not False):
            self.unjudged = "The outputs could not be judged: the trace does not say what gamma and beta are."
            return
        for i, training in enumerate(record.training):
            if layer.renorm and training:
                continue
            moments = view.all_moments[i]
            if not moments.count:
                continue
            self._add(view, i, training, moments, gamma, beta)
            right = self.sources[training, BATCH if training else MOVING]
            if right.seen and layer.epsilon is not None and not right.allows(layer.epsilon):
                self.wrong.setdefault(training, number)

    def _add(self, view, i, training, moments, gamma, beta):
        x, y = view.record.inputs[i], view.record.outputs[i]
        weighted = moments
        if view.record.weights is not None and view.record.weights[i] is not None:
            # Weights make the batch's statistics; the line goes through all elements alike.
            moments = view.moments_of(i, weights=False)
        mask = np.isfinite(moments.mean) & np.isfinite(moments.variance) & np.isfinite(view.before).all(axis=0)
        mask &= np.isfinite(weighted.mean) & np.isfinite(weighted.variance)
        if not mask.any():
            return
        with np.errstate(invalid="ignore", over="ignore"):
            fitted = [part[mask] for part in fit_line(x, y, view.layer.channel_axis, moments, pair=view.pairs.get(i))]
        gamma, beta = gamma[mask], beta[mask]
        unit = max(float(np.finfo(np.result_type(y.dtype)).eps) / 2, float(np.finfo(np.float32).eps) / 2)
        unit = max(unit, float(np.finfo(x.dtype).eps) / 2) if x.dtype == np.float16 else unit
        moments = cut(moments, mask)
        zero = np.zeros(moments.mean.size)
        own = checker.MovingStats(zero, zero, decay=0.0)
        own.update(cut(weighted, mask))
        batch = own.mean, own.variance, own.mean_bound, own.variance_bound
        moving = *view.before[:, mask], zero, zero
        due = batch if training else moving
        sources = self.sources[training, BATCH], self.sources[training, MOVING], self.swapped[training]
        statistics = np.stack([batch, moving, due], axis=1)
        scales, offsets = np.stack([gamma, gamma, beta]), np.stack([beta, beta, gamma])
        results = explained(fitted, moments, *statistics, scales, offsets, unit)
        for source, *result in zip(sources, *results, strict=True):
            source.add(*result)
        self.lines.append(Line(training, mask, tuple(fitted), moments, gamma, beta, unit, due))
