"""What decay does to the moving statistics over many steps: the sweep, measured and in closed form."""

import math

import numpy as np

from .. import checker
from ..checker.outputs import batch_statistics, expected_output, within
from . import article
from .conclusions import UNIT_ROUNDOFF

CARRIED = 0.99  # share of the data that "the statistics carry the data" means


def sweep_rows(sweep):
    """One row per decay: final statistics and test error, measured and in closed form, and the steps to 99 %.

    Closed form, for one batch repeated: after t steps from (0, 1) the statistics are m (1 - d^t) and
    d^t + v (1 - d^t), with v times N/(N-1) in the fused layer. The test error is the root mean square over the
    batch of the test output minus the normalised batch itself.
    """
    moments = checker.batch_moments(sweep.batch)
    own = batch_statistics(moments)
    target = moments.unbiased_variance if sweep.fused else moments.variance
    ideal, _ = expected_output(sweep.batch, own.mean, own.variance, epsilon=article.EPSILON)
    steps = sweep.mean.shape[1] - 1
    rows = []
    for i, decay in enumerate(sweep.decays):
        stats = checker.MovingStats(sweep.mean[i, 0], sweep.variance[i, 0], decay=decay, bessel=sweep.fused)
        tests = dict(zip(sweep.test_steps, sweep.test_outputs[i], strict=True))
        agrees, errors, closed_errors = True, [], []
        for t in range(steps + 1):
            if t:
                stats.update(moments)
            if t not in tests:
                continue
            kept = decay**t
            mean, variance = own.mean * (1 - kept), kept + target * (1 - kept)
            agrees &= within(sweep.mean[i, t], mean, stats.mean_bound + UNIT_ROUNDOFF * np.abs(mean))
            agrees &= within(sweep.variance[i, t], variance, stats.variance_bound + UNIT_ROUNDOFF * np.abs(variance))
            expected, bound = expected_output(
                sweep.batch, mean, variance, stats.mean_bound, stats.variance_bound, epsilon=article.EPSILON
            )
            agrees &= within(tests[t], expected, bound)
            errors.append(_rms(tests[t] - ideal))
            closed_errors.append(_rms(expected - ideal))
        travelled = (sweep.mean[i] - sweep.mean[i, 0]) / (own.mean - sweep.mean[i, 0])
        reached = np.flatnonzero(np.all(travelled >= CARRIED, axis=-1))
        rows.append(
            {
                "decay": decay,
                "steps": steps,
                "mean": float(sweep.mean[i, -1, 0]),
                "variance": float(sweep.variance[i, -1, 0]),
                "test_error": errors[-1],
                "steps_to_99": steps_to_carry(decay),
                "mean_closed_form": float(own.mean[0] * (1 - decay**steps)),
                "variance_closed_form": float(decay**steps + target[0] * (1 - decay**steps)),
                "test_error_closed_form": closed_errors[-1],
                "steps_to_99_measured": int(reached[0]) if reached.size else None,
                "agrees": bool(agrees),
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


def steps_to_carry(decay, share=CARRIED):
    """The smallest number of steps t with 1 - decay^t >= share; None where no number is enough (decay 1)."""
    if decay >= 1:
        return None
    if decay <= 0:
        return 1
    steps = max(1, math.floor(math.log1p(-share) / math.log(decay)) - 1)
    while 1 - decay**steps < share - 4 * UNIT_ROUNDOFF**2:
        steps += 1
    return steps


def _rms(values):
    return float(np.sqrt(np.mean(np.square(values))))
