"""What a `Hypothesis` takes a step to be: the averages around it, and the moments, decays and order of its updates."""

import itertools

import numpy as np

from .. import checker
from ..checker.roundoff import UNIT_ROUNDOFF, rounded_to
from ..evidence.averaged import renormalised
from ..evidence.step_view import select_channels
from .hypotheses import Cumulative, Debiased


def assumed_moments(view, quantity, reduction, corrected):
    """The `Moments` that would be averaged, one for each update, on the finite channels; None if there are none.

    Args:
      corrected: whether the variance will get Bessel's correction, which a deviation has below its root.
    """
    if isinstance(quantity, tuple):
        if quantity[1] not in view.other_axes():
            return None  # not recorded in this step, or of another length there
        made = [view.moments_of(i, axis=quantity[1], weights=False) for i in view.updates]
        return [select_channels(moments, view.finite) for moments in made]
    if view.all_moments is None:
        return None
    if quantity == "renorm":
        return renormalised(view)
    if reduction is not None:
        if isinstance(reduction, int) and reduction >= view.batch_count:
            return None
        return view.moments_reduced(reduction)
    if quantity == "unweighted":
        if view.record.inputs is None:
            return None
        return [select_channels(view.moments_of(i, weights=False), view.finite) for i in view.updates]
    if quantity == "deviation":
        roots = [np.sqrt(bessel_factor(moments.count)) if corrected else 1.0 for moments in view.moments]
        return [
            checker.Moments(moments.count, moments.mean, np.sqrt(moments.variance) / root, moments.weight)
            for moments, root in zip(view.moments, roots, strict=True)
        ]
    return view.moments


def assumed_quantity(view, hypothesis):
    return "renorm" if view.layer.renorm and hypothesis.quantity == "variance" else hypothesis.quantity


def assumed_averages(view, hypothesis):
    """The averages before and after, float64 [2, finite channels] each; after is None where it contradicts a renorm.

    With moving_stddev the moving variance is no average: it is set to relu(moving_stddev^2 - epsilon).
    """
    before, after = view.around
    state = view.record.state
    if assumed_quantity(view, hypothesis) != "renorm" or not {"moving_stddev", "moving_stddev_after"} <= state.keys():
        return before, after
    was, now = (state[name].astype(np.float64)[view.finite] for name in ("moving_stddev", "moving_stddev_after"))
    epsilon = view.layer.epsilon
    unit = 8 * UNIT_ROUNDOFF[view.layer.dtype]
    with np.errstate(over="ignore", invalid="ignore"):
        assigned = np.abs(after[1] - np.maximum(now**2 - epsilon, 0)) <= unit * (now**2 + epsilon)
    return np.stack([before[0], was]), np.stack([after[0], now]) if assigned.all() else None


def assumed_decays(view, hypothesis, updates_before, count):
    """The decay of each of ``count`` updates; None if they are not known."""
    decay = hypothesis.decay
    if isinstance(decay, Cumulative):
        return [decay.decay(updates_before + i) for i in range(count)]
    if isinstance(decay, float | int):
        return [decay] * count
    declared = view.decays[:count]
    if None in declared:
        return None
    if isinstance(decay, Debiased):
        state = view.record.state
        return decay.decays(declared, int(state["local_step"][0]) if "local_step" in state else updates_before)
    return [1 - each for each in declared] if decay == "flipped" else declared


def schedules(hypothesis, count):
    """The updates that run, as lists of indices, in each of the orders that are possible; "parallel" is one of them."""
    if isinstance(hypothesis.order, int):
        return [[hypothesis.order]] if hypothesis.order < count else []
    forward = [i for i in range(count) for _ in range(hypothesis.repeats)]
    if count < 2:
        return [forward]
    orders = [list(order) for order in itertools.permutations(forward)] if count <= 3 else [forward, forward[::-1]]
    # TensorFlow gives two updates in one run no order; it may also start both from the old value, or lose one.
    return orders if hypothesis.order == "successive" else [*orders, "parallel", *([i] for i in range(count))]


def keras_variance(moments, epsilon):
    """The `Moments` with the variance times N/(N-1-epsilon), as the old multi-backend Keras took it."""
    variance = moments.variance * keras_factor(moments, epsilon)
    return checker.Moments(moments.count, moments.mean, variance, moments.weight)


def keras_factor(moments, epsilon):
    rest = moments.count - 1 - (1e-3 if epsilon is None else epsilon)
    return moments.count / rest if rest > 0 else 1.0


def bessel_factor(count):
    return count / (count - 1) if count > 1 else 1.0


def all_in(view, dtype):
    """Whether the statistics that the step moved are numbers of ``dtype``, or all of them where it moved none."""
    after = view.after[:, view.finite]
    moved = after[after != view.before[:, view.finite]]
    moved = moved if moved.size else after
    return moved.size > 0 and bool((rounded_to(moved, dtype) == moved).all())
