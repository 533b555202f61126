"""The article's four conclusions: whether each holds for the runs of this process, and the numbers that show it.

The runs come as plain arrays from ``experiment``; this module imports no TensorFlow.
"""

import numpy as np

from .. import checker
from ..checker.outputs import batch_statistics, expected_output, same_bits, within
from . import article


def check_conclusions(decay_0, decay_1, checks, sweep=None):
    """Check the article's conclusions on the runs with decay 0 and 1.

    Args:
      decay_0, decay_1: the runs, `experiment.Run`.
      checks: their two `listing_check.Check`.
      sweep: an `experiment.Sweep`; with it, conclusion 3 also needs training outputs on one batch to be the same bits
        for every decay.

    Returns:
      a list of four dicts with "id", "text", "holds" (bool) and "evidence" (a text with numbers).
    """
    results = (
        _training_alone_moves_statistics(decay_0, checks),
        _testing_uses_trained_statistics(decay_0, decay_1, checks),
        _decay_only_sets_the_rate(decay_0, decay_1, checks, sweep),
        _decay_1_never_moves_statistics(decay_1, checks[1]),
    )
    return [
        {"id": number, "text": article.CONCLUSIONS[number], "holds": bool(holds), "evidence": evidence}
        for number, (holds, evidence) in enumerate(results, 1)
    ]


def _training_alone_moves_statistics(decay_0, checks):
    moved = _moved(decay_0.train)
    unmoved = all(check.unmoved_by_test for check in checks)
    mean, variance = (
        [_value(values[name]) for values in (decay_0.train.before, decay_0.train.after)]
        for name in ("moving_mean", "moving_variance")
    )
    return (
        moved and unmoved,
        f"With decay 0 training {'took' if moved else 'should have moved and took'} moving_mean from {mean[0]} to "
        f"{mean[1]} and moving_variance from {variance[0]} to {variance[1]}; both tests "
        f"{'left all of them as they were, bit for bit' if unmoved else 'CHANGED them'}.",
    )


def _testing_uses_trained_statistics(decay_0, decay_1, checks):
    runs = (decay_0, decay_1)
    handed_over = all(same_bits(run.train.after, run.test.before) for run in runs)
    used = all(within(run.test.output, *check.test_output) for run, check in zip(runs, checks, strict=True))
    initial, bound = expected_output(
        decay_0.spec.batch,
        decay_0.train.before["moving_mean"],
        decay_0.train.before["moving_variance"],
        epsilon=article.EPSILON,
    )
    distance = np.abs(decay_0.test.output - initial)
    distinct = bool(np.all(distance > bound + checks[0].test_output[1]))
    off = [_largest_error(run.test.output, check.test_output) for run, check in zip(runs, checks, strict=True)]
    return (
        handed_over and used and distinct,
        f"Test outputs {'are' if used else 'should be'} (x - moving_mean) / sqrt(moving_variance + 0.001) with the "
        f"values training left{'' if handed_over else ', which CHANGED before testing'}, farthest by {off[0]:.1e} "
        f"and {off[1]:.1e}; with the initial values they would be up to {float(np.max(distance)):.3g} away.",
    )


def _decay_only_sets_the_rate(decay_0, decay_1, checks, sweep):
    runs = (decay_0, decay_1)
    normalised = all(within(run.train.output, *check.training_output) for run, check in zip(runs, checks, strict=True))
    step_taken = all(check.trained for check in checks) and _moved(decay_0.train)
    off = [_largest_error(run.train.output, check.training_output) for run, check in zip(runs, checks, strict=True)]
    holds = normalised and step_taken
    evidence = (
        f"Both training outputs {'are' if normalised else 'should be'} the batch's own normalisation (farthest by "
        f"{off[0]:.1e} and {off[1]:.1e}); training moved the mean by {_step(decay_0)} "
        f"of its distance to the batch's with decay 0 and by {_step(decay_1)} with decay 1, "
        f"{'which is 1 - decay' if step_taken else 'where 1 - decay was expected'}."
    )
    if sweep is not None:
        bits = {output.tobytes() for output in sweep.training_outputs.reshape(-1, *sweep.batch.shape)}
        same = len(bits) == 1 and bool(np.isfinite(sweep.training_outputs).all())
        holds = holds and same
        evidence += (
            f" On one batch, with {len(sweep.decays)} decays and in first and last step, training outputs are "
            f"{'the same bits' if same else 'NOT the same'}."
        )
    return holds, evidence


def _decay_1_never_moves_statistics(decay_1, check):
    train, test = decay_1.train, decay_1.test
    normalised = within(train.output, *check.training_output)
    unmoved = same_bits(train.before, train.after) and same_bits(test.before, test.after)
    expected = expected_output(
        decay_1.spec.batch, article.INITIAL_MEAN, article.INITIAL_VARIANCE, epsilon=article.EPSILON
    )
    not_normalised = within(test.output, *expected)
    return (
        normalised and unmoved and not_normalised,
        f"With decay 1 the training output has mean {_small(train.output.mean())} and variance "
        f"{float(train.output.var()):.4g}; the statistics {'stayed at 0 and 1' if unmoved else 'MOVED'}; the test "
        f"output is {'x / sqrt(1.001)' if not_normalised else 'NOT x / sqrt(1.001)'}, between "
        f"{float(test.output.min()):.4g} and {float(test.output.max()):.4g}.",
    )


def release_summary(name, decay_0, decay_1, checks):
    """What the listing gives with the defaults of one release, as a row of the JSON.

    Args:
      name: the release, such as "1.15".
      decay_0, decay_1, checks: as in `check_conclusions`.
    """
    conclusions = check_conclusions(decay_0, decay_1, checks)
    train, test = decay_0.train.output.astype(np.float64), decay_0.test.output.astype(np.float64)
    ratio = float((test * train).sum() / (train * train).sum())
    moments = checker.batch_moments(decay_0.spec.batch)
    stored = moments.unbiased_variance if decay_0.spec.fused else moments.variance
    expected = float(np.mean(np.sqrt((moments.variance + article.EPSILON) / (stored + article.EPSILON))))
    _, bound = checks[0].training_output
    same = within(test, train, bound + checks[0].test_output[1])
    row = {
        "release": name,
        "fused": decay_0.ran_fused,
        "moving_mean": decay_0.train.after["moving_mean"].tolist(),
        "moving_variance": decay_0.train.after["moving_variance"].tolist(),
        "count": moments.count,
        "conclusions": [{key: conclusion[key] for key in ("id", "holds", "evidence")} for conclusion in conclusions],
        "test_equals_training_output": same,
        "test_over_training": ratio,
        "expected_ratio": expected,
        "checker_agrees": all(check.agrees for check in checks),
        "problems": [problem for check in checks for problem in check.problems],
    }
    return {**row, "reason": _reason(row)}


def _reason(row):
    """Why a release gives what was measured: decided by the measurement, not by the name of the release."""
    count, ratio = row["count"], row["test_over_training"]
    failed = [str(conclusion["id"]) for conclusion in row["conclusions"] if not conclusion["holds"]]
    outcome = f"Conclusions {', '.join(failed)} fail" if failed else "All four conclusions survive"
    layer = f"the default layer is {'fused' if row['fused'] else 'composed'}"
    if row["test_equals_training_output"]:
        return (
            f"{layer} and stores the population variance, so with decay 0 testing repeats the training output, as the "
            f"article printed. {outcome}."
        )
    if row["fused"] and row["checker_agrees"]:
        return (
            f"{layer} and stores N/(N-1) = {count}/{count - 1} of the batch variance (Bessel's correction), so with "
            f"decay 0 testing gives sqrt({count - 1}/{count}) = {ratio:.6f} of the training output, {1 - ratio:.1%} "
            f'less. {outcome}; that testing prints "the very same digits" does not.'
        )
    return f"{layer}; with decay 0 testing gave {ratio:.6f} of the training output, which is not explained. {outcome}."


def _moved(phase):
    """Whether both statistics are finite and differ from what they were in every channel."""
    return all(
        bool(np.all(np.isfinite(phase.after[name]) & (phase.after[name] != phase.before[name])))
        for name in phase.before
    )


def _largest_error(observed, expected_and_bound):
    return float(np.max(np.abs(observed - expected_and_bound[0])))


def _step(run):
    """The share of the way from the start value to the batch's mean that training took, as text."""
    before, after = run.train.before["moving_mean"].astype(np.float64), run.train.after["moving_mean"]
    share = (after - before) / (batch_statistics(run.spec.batch).mean - before)
    return f"{float(share.mean()):.6g}"


def _value(statistic):
    return f"{float(statistic[0]):.9g}" if statistic.size == 1 else np.array2string(statistic, precision=6)


def _small(value):
    return f"{float(value):.0e}" if abs(value) < 1e-4 else f"{float(value):.4g}"
