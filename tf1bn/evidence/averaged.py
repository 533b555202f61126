"""What a step averages: the statistics that its updates change, and the moments that they take."""

import numpy as np

from .. import checker
from ..checker.roundoff import HALVES, UNIT_ROUNDOFF
from .step_view import select_channels


def debias_state(view, before, decay, updates_before, mask=slice(None)):
    """The arguments with which `checker.MovingStats` continues a zero-debiased mean; None if its state is not known.

    Args:
      view: the step's `View`.
      before: the statistics before the step, float64 [2, channels].
      decay: the decay of the step, or None.
      updates_before: how many updates the layer had before the step, or None; needed where the state is not recorded.
      mask: bool [channels], the channels that ``before`` has.
    """
    state = view.record.state
    if "biased" in state and "local_step" in state:
        arguments = {"biased": state["biased"].astype(np.float64)[mask], "local_step": int(state["local_step"][0])}
    elif updates_before is None or (updates_before and decay is None):
        return None
    else:
        # The biased mean is recovered from the debiased one, so it carries the rounding of that.
        kept = 1 - decay**updates_before if updates_before else 0.0
        with np.errstate(invalid="ignore"):
            arguments = {"biased": before[0] * kept, "local_step": updates_before}
    return {**arguments, "zero_debias": True}


def averages_deviation(view):
    """Whether moving_stddev is averaged and the moving variance computed from it, as by TF 1.15's renorm."""
    return view.layer.renorm and {"moving_stddev", "moving_stddev_after"} <= view.record.state.keys()


def averaged(view):
    """The averages before and after a step, float64 [2, channels] each: those that the layer's updates change."""
    if not averages_deviation(view):
        return view.before, view.after
    state = view.record.state
    before, after = (state[name].astype(np.float64) for name in ("moving_stddev", "moving_stddev_after"))
    return np.stack([view.before[0], before]), np.stack([view.after[0], after])


def averaged_moments(view):
    """The `Moments` that go into the averages, one per update and of all channels; None if they are not known."""
    if not view.layer.renorm:
        return view.update_moments
    return renormalised(view) if view.finite.all() else None


def lacks_state(view, fresh):
    """What the trace would have to hold so that a training step of this layer can be checked, in words; else None.

    Args:
      view: the step's `View`.
      fresh: whether the layer's statistics were still (0, 1) when the trace began.
    """
    if view.record_reduction in ("mean", "pooled") and view.reduction is None and view.updates:
        return (
            "the batches of the other replicas, with which its statistics are updated (`tf1bn.trace.join` joins traces)"
        )
    if view.layer.renorm and not view.wrong_shape and renormalised(view) is None:
        return "the averages of batch renormalisation (renorm_mean, renorm_stddev or moving_stddev) and epsilon"
    if view.layer.zero_debias and not fresh and not {"biased", "local_step"} <= view.record.state.keys():
        return "the state of the zero-debiased mean (biased and local_step)"
    return None


def renormalised(view):
    """The `Moments` that batch renormalisation averages, on the finite channels; None without its state.

    TF 1.15 averages sqrt(v + epsilon) in moving_stddev. TF 1.2 to 1.4 average what renorm_mean and renorm_stddev
    hold after the step, divided by their weights.
    """
    state, epsilon = view.record.state, view.layer.epsilon
    if epsilon is None or not view.updates or view.all_moments is None:
        return None
    if {"moving_stddev", "moving_stddev_after"} <= state.keys():
        return [
            checker.Moments(moments.count, moments.mean, np.sqrt(moments.variance + epsilon))
            for moments in view.moments
        ]
    names = [f"renorm_{which}_after" for which in ("mean", "mean_weight", "stddev", "stddev_weight")]
    if len(view.updates) != 1 or any(name not in state for name in names):
        return None
    mean, mean_weight, stddev, stddev_weight = (state[name].astype(np.float64) for name in names)
    variance = np.maximum((stddev / stddev_weight) ** 2 - epsilon, 0)
    return [select_channels(checker.Moments(view.counts[0], mean / mean_weight, variance), view.finite)]


def corrected_statistics(view, mask, batch):
    """The statistics that normalise a training output of batch renormalisation, and their bounds, [channels] each.

    The output gamma ((x - m) / s r + d) + beta, with s = sqrt(v + epsilon), is that of the mean m - d s / r and of the
    variance (s / r)^2 - epsilon. With M and S the averages before the step, r = s / S and d = (m - M) / S, clipped; in
    TF 1.15 they are renorm_mean and renorm_stddev, which is no less than sqrt(epsilon). TF 1.2 to 1.14 complete both by
    1 minus their weights of the batch's own mean and s. None where the trace does not hold what they are made of.

    Args:
      view: the step's `View`.
      mask: bool [channels], the channels that the rest has.
      batch: mean and variance of the application's batch, and the bounds of both.
    """
    state, layer = view.record.state, view.layer
    known = layer.epsilon is not None and layer.renorm_clipping is not None
    if not known or len(view.updates) != 1 or not {"renorm_mean", "renorm_stddev"} <= state.keys():
        return None
    epsilon, (shared,) = layer.epsilon, view.update_moments
    unit = 8 * UNIT_ROUNDOFF["float32" if layer.dtype in HALVES else layer.dtype]
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        m, s = shared.mean[mask], np.sqrt(shared.variance[mask] + epsilon)
        average, deviation = (state[name].astype(np.float64)[mask] for name in ("renorm_mean", "renorm_stddev"))
        if "renorm_mean_weight" in state:
            average = average + (1 - float(state["renorm_mean_weight"][0])) * m
            deviation = deviation + (1 - float(state["renorm_stddev_weight"][0])) * s
        else:
            deviation = np.maximum(deviation, np.sqrt(epsilon))
        r, d = _clipped(s / deviation, (m - average) / deviation, layer.renorm_clipping)
        mean, variance, *bounds = batch
        own = np.sqrt(variance + epsilon)
        steepness = own / r
        corrected = mean - d * steepness, steepness**2 - epsilon
        shift = np.abs(d) * bounds[1] / (2 * own * r)
        rounding = unit * (np.abs(mean) + np.abs(m - average) + np.abs(d) * steepness)
        limits = 2 * bounds[0] + 2 * shift + rounding, 2 * bounds[1] / r**2 + unit * steepness**2
    return (*corrected, *limits) if (r > 0).all() else None


def _clipped(r, d, limits):
    if limits.get("rmin") is not None:
        r = np.maximum(r, limits["rmin"])
    if limits.get("rmax") is not None:
        r = np.minimum(r, limits["rmax"])
    if limits.get("dmax") is not None:
        d = np.clip(d, -limits["dmax"], limits["dmax"])
    return r, d
