"""Which statistics, and which epsilon, a layer's outputs were made with. Used by ``diagnosis``.

An output is y = gamma (x - M) / sqrt(V + epsilon) + beta, with the batch's own (M, V) or the moving ones. Per channel y
is regressed on x, which averages the roundings of single elements, and the slope and the value at the batch's mean are
compared with what each explanation predicts. Only sums per channel are kept.
"""

import dataclasses
import math

import numpy as np

from . import checker
from .linefit import line
from .stepview import cut

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

    def add(self, fitted, moments, mean, variance, mean_bound, variance_bound, gamma, beta, unit):
        """Take the line of one application; all but unit are [channels]."""
        slope, centre, rest = fitted
        tiny = np.finfo(np.float64).tiny
        deviation = np.sqrt(moments.variance)
        away = np.abs(moments.mean - mean)
        size = np.sqrt(moments.mean**2 + moments.variance) + np.abs(mean)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            # The slope shows in the regression and in the distance of the batch's mean from M: the clearer one is used.
            ends = 4 * unit * (np.abs(centre) + np.abs(beta))
            across = (centre - beta) / (moments.mean - mean)
            lost_across = (6 * unit * size + mean_bound) / away + ends / (np.abs(across) * away)
            lost_along = 6 * unit * size / deviation + ends / (np.abs(slope) * deviation)
            lost_across = np.where(away > 0, lost_across, np.inf)
            lost_along = np.where(np.isfinite(slope) & (deviation > 0), lost_along, np.inf)
            far = lost_across < lost_along
            steep = np.where(far, across, slope)
            # Relatively; when rounding can change a quarter of the slope or more, it says nothing.
            lost = np.where(far, lost_across, lost_along)
            shows = np.isfinite(steep) & (lost < 0.25)
            steepest = np.abs(gamma) / np.sqrt(np.maximum(variance, 0) + SMALLEST)
            scale = np.where(shows, np.abs(steep), steepest)
            noise = 6 * unit * scale * size + ends + tiny
            # The regression and the distance must agree; where nothing shows, the value at the mean is near beta.
            lever = np.where(deviation > 0, noise / deviation, 0.0) * away
            off = np.abs(centre - beta - np.where(deviation > 0, slope, 0) * (moments.mean - mean))
            off = np.where(shows & far & (deviation <= 0), 0.0, off / (noise + lever + scale * mean_bound))
            loose = np.abs(centre - beta) / (noise + scale * (mean_bound + away))
            off = np.where(shows, off, loose)
            scatter = rest / (noise + np.where(shows, 8 * unit, 1.0) * scale * deviation)
            off = np.maximum(off, scatter)
            self.misfit = max(self.misfit, float(np.max(np.where(np.isnan(off), np.inf, off))))
            if (shows & (steep * gamma <= 0)).any():
                self.misfit = math.inf
            usable = shows & (steep * gamma > 0)
            if usable.any():
                total = np.square(gamma[usable] / steep[usable])
                wide = total * (3 * lost[usable] + 8 * unit) + variance_bound[usable]
                epsilon = total - variance[usable]
                self.low = max(self.low, float((epsilon - wide).max()))
                self.high = min(self.high, float((epsilon + wide).min()))
        self.seen = True

    @property
    def consistent(self):
        """Whether some epsilon explains everything."""
        return self.misfit <= 1 and self.low <= self.high and self.high >= 0

    def allows(self, epsilon):
        return self.misfit <= 1 and self.low <= epsilon <= self.high


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
            fitted = [part[mask] for part in line(x, y, view.layer.channel_axis, moments)]
        gamma, beta = gamma[mask], beta[mask]
        unit = max(float(np.finfo(np.result_type(y.dtype)).eps) / 2, float(np.finfo(np.float32).eps) / 2)
        unit = max(unit, float(np.finfo(x.dtype).eps) / 2) if x.dtype == np.float16 else unit
        moments = checker.Moments(moments.count, moments.mean[mask], moments.variance[mask])
        own = checker.MovingStats(np.zeros(mask.sum()), np.zeros(mask.sum()), decay=0.0)
        own.update(cut(weighted, mask))
        zero = np.zeros(mask.sum())
        statistics = {
            BATCH: (own.mean, own.variance, own.mean_bound, own.variance_bound),
            MOVING: (*view.before[:, mask], zero, zero),
        }
        for source, values in statistics.items():
            self.sources[training, source].add(fitted, moments, *values, gamma, beta, unit)
        due = statistics[BATCH if training else MOVING]
        self.swapped[training].add(fitted, moments, *due, beta, gamma, unit)
        self.lines.append(Line(training, mask, tuple(fitted), moments, gamma, beta, unit, due))
