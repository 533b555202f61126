"""What decay does to the moving statistics over many steps: the sweep, measured and in closed form."""

import math

import numpy as np

from .. import checker
from ..checker.outputs import batch_statistics, expected_output, within
from ..checker.roundoff import UNIT_ROUNDOFF
from . import article

CARRIED = 0.99  # the share of the data in the moving mean at which the statistics are said to carry the data
UNIT = UNIT_ROUNDOFF["float32"]


def sweep_rows(sweep):
    """One row of the JSON per decay: final statistics, test error and steps to 99 %, measured and in closed form.

    Closed form, for one batch repeated: after t steps from (0, 1) the statistics are m (1 - d^t) and
    d^t + v (1 - d^t), where v is N/(N-1) times the batch variance in the fused layer. The test error is the root mean
    square over the batch of the test output minus the normalised batch.

    Args:
      sweep: an `experiment.Sweep`.
    """
    moments = checker.batch_moments(sweep.batch)
    exact = batch_statistics(moments)
    target = moments.unbiased_variance if sweep.fused else moments.variance
    steps = sweep.mean.shape[1] - 1
    rows = []
    for i, decay in enumerate(sweep.decays):
        agrees, errors, closed_errors = _compare(sweep, i, moments, exact, target)
        travelled = (sweep.mean[i] - sweep.mean[i, 0]) / (exact.mean - sweep.mean[i, 0])
        reached = np.flatnonzero(np.all(travelled >= CARRIED, axis=-1))
        rows.append(
            {
                "decay": decay,
                "steps": steps,
                "mean": float(sweep.mean[i, -1, 0]),
                "variance": float(sweep.variance[i, -1, 0]),
                "test_error": errors[-1],
                "steps_to_99": steps_to_carry(decay),
                "mean_closed_form": float(exact.mean[0] * (1 - decay**steps)),
                "variance_closed_form": float(decay**steps + target[0] * (1 - decay**steps)),
                "test_error_closed_form": closed_errors[-1],
                "steps_to_99_measured": int(reached[0]) if reached.size else None,
                "agrees": agrees,
                "curve": {
                    "step": list(sweep.test_steps),
                    "carried": [float(travelled[t].min()) for t in sweep.test_steps],
                    "carried_closed_form": [1 - decay**t for t in sweep.test_steps],
                    "test_error": errors,
                    "test_error_closed_form": closed_errors,
                },
            }
        )
    return rows


def _compare(sweep, i, moments, exact, target):
    """Compare the layer of the ``i``-th decay with the closed form, at every test.

    Args:
      moments: the `checker.Moments` of the batch.
      exact: the expected statistics of the batch, with the bounds of a layer.
      target: [C], the variance that the moving variance approaches.

    Returns:
      agrees: whether statistics and outputs are within their bounds.
      errors, closed_errors: the root mean square errors of the test outputs, measured and in closed form.
    """
    ideal, _ = expected_output(sweep.batch, exact.mean, exact.variance, epsilon=article.EPSILON)
    decay = sweep.decays[i]
    stats = checker.MovingStats(sweep.mean[i, 0], sweep.variance[i, 0], decay=decay, bessel=sweep.fused)
    tests = dict(zip(sweep.test_steps, sweep.test_outputs[i], strict=True))
    agrees, errors, closed_errors = True, [], []
    for done, t in zip((0, *sweep.test_steps), sweep.test_steps, strict=False):
        if t > done:
            batches = (np.broadcast_to(each, (t - done, each.size)) for each in (moments.mean, moments.variance))
            stats.update_each(*batches, moments.count, decay=decay)
        remaining = decay**t
        mean, variance = exact.mean * (1 - remaining), remaining + target * (1 - remaining)
        agrees &= within(sweep.mean[i, t], mean, stats.mean_bound + UNIT * np.abs(mean))
        agrees &= within(sweep.variance[i, t], variance, stats.variance_bound + UNIT * np.abs(variance))
        expected, bound = expected_output(
            sweep.batch, mean, variance, stats.mean_bound, stats.variance_bound, epsilon=article.EPSILON
        )
        agrees &= within(tests[t], expected, bound)
        errors.append(_rms(tests[t] - ideal))
        closed_errors.append(_rms(expected - ideal))
    return bool(agrees), errors, closed_errors


def steps_to_carry(decay, share=CARRIED):
    """The smallest number of steps t with 1 - decay^t >= share; None if there is none, as for decay 1."""
    if decay >= 1:
        return None
    if decay <= 0:
        return 1
    steps = max(1, math.floor(math.log1p(-share) / math.log(decay)) - 1)
    while 1 - decay**steps < share - 4 * UNIT**2:
        steps += 1
    return steps


def _rms(values):
    return float(np.sqrt(np.mean(np.square(values))))
