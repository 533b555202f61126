"""What a step averages: the statistics that its updates act on, and the moments that go into them."""

import numpy as np

from .. import checker
from .step_view import cut


def debias_state(view, before, decay, updates_before, mask=slice(None)):
    """What `checker.MovingStats` takes to go on with zero debias, of the channels in ``mask``; None if not known."""
    state = view.record.state
    if "biased" in state and "local_step" in state:
        more = {"biased": state["biased"].astype(np.float64)[mask], "local_step": int(state["local_step"][0])}
    elif updates_before is None or (updates_before and decay is None):
        return None
    else:
        # What the mean was made of, seen through its own rounding.
        kept = 1 - decay**updates_before if updates_before else 0.0
        with np.errstate(invalid="ignore"):
            more = {"biased": before[0] * kept, "local_step": updates_before}
    return {**more, "zero_debias": True}


def averages_deviation(view):
    """Whether moving_stddev is the average and the moving variance made from it, as in TF 1.15's renorm."""
    return view.layer.renorm and {"moving_stddev", "moving_stddev_after"} <= view.record.state.keys()


def averaged(view):
    """The averages before and after a step as declared, float64 [2, channels] each: those that updates act on."""
    if not averages_deviation(view):
        return view.before, view.after
    state = view.record.state
    was, now = (state[name].astype(np.float64) for name in ("moving_stddev", "moving_stddev_after"))
    return np.stack([view.before[0], was]), np.stack([view.after[0], now])


def averaged_moments(view):
    """The `Moments` that go into them, of each application that trained, all channels; None if not known."""
    if not view.layer.renorm:
        return [view.all_moments[i] for i in view.updates]
    return renormalised(view) if view.finite.all() else None


def lacks_state(view, fresh):
    """What the trace would have to hold for a training step of this layer to be judged, in words; None if it is there.

    ``fresh``: whether the layer was in its start state when the trace began.
    """
    if view.layer.renorm and not view.wrong_shape and renormalised(view) is None:
        return "the averages of batch renormalisation (renorm_mean, renorm_stddev or moving_stddev) and epsilon"
    if view.layer.zero_debias and not fresh and not {"biased", "local_step"} <= view.record.state.keys():
        return "the state of the zero-debiased mean (biased and local_step)"
    return None


def renormalised(view):
    """What batch renormalisation averages; None without its state.

    TF 1.15 averages sqrt(v + epsilon) in moving_stddev. TF 1.2 to 1.4 average what renorm_mean and renorm_stddev
    hold after the step, divided by their weights.
    """
    state, epsilon = view.record.state, view.layer.epsilon
    if epsilon is None or not view.updates or view.all_moments is None:
        return None
    if {"moving_stddev", "moving_stddev_after"} <= state.keys():
        return [checker.Moments(one.count, one.mean, np.sqrt(one.variance + epsilon)) for one in view.moments]
    names = [f"renorm_{which}_after" for which in ("mean", "mean_weight", "stddev", "stddev_weight")]
    if len(view.updates) != 1 or any(name not in state for name in names):
        return None
    mean, mean_weight, stddev, stddev_weight = (state[name].astype(np.float64) for name in names)
    variance = np.maximum((stddev / stddev_weight) ** 2 - epsilon, 0)
    return [cut(checker.Moments(view.counts[0], mean / mean_weight, variance), view.finite)]
