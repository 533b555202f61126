"""The referee of the article's experiment: what the numbers should be, and whether each conclusion holds.

Takes what ``experiment`` measured as plain arrays and recomputes it with ``checker``; imports no TensorFlow.
"""

import dataclasses

import numpy as np

from .. import checker
from ..checker.outputs import EVERY_BATCH, batch_statistics, expected_output, same_bits, within
from . import article

UNIT_ROUNDOFF = 2.0**-24  # of float32, the dtype of every run here
OUTPUTS = ("training_output", "test_output")
# A bound wider than this share of the quantity's own scale decides nothing that a user would care about.
DECIDES = 0.1


@dataclasses.dataclass(frozen=True)
class Check:
    """One run against the referee: expected statistics after training [C], their bounds, verdicts and reasons.

    ``problems`` are findings. ``undecided`` says what the bounds are too wide to judge: that is no agreement either.
    """

    mean: np.ndarray
    variance: np.ndarray
    mean_bound: np.ndarray
    variance_bound: np.ndarray
    training_output: tuple  # expected, bound
    test_output: tuple
    trained: bool
    unmoved_by_test: bool
    outputs: bool
    problems: tuple
    undecided: tuple

    @property
    def agrees(self):
        return self.trained and self.unmoved_by_test and self.outputs and not self.undecided


def check_run(run):
    """Recompute what ``run`` (an ``experiment.Run``) should have given."""
    spec, train, test = run.spec, run.train, run.test
    stats = checker.MovingStats(
        train.before["moving_mean"],
        train.before["moving_variance"],
        decay=spec.decay,
        bessel=spec.fused,
        replay_bytes=EVERY_BATCH,
    )
    stats.update(spec.batch)
    own = batch_statistics(spec.batch)
    training_output = expected_output(
        spec.batch, own.mean, own.variance, own.mean_bound, own.variance_bound, epsilon=article.EPSILON
    )
    test_output = expected_output(
        spec.batch, test.before["moving_mean"], test.before["moving_variance"], epsilon=article.EPSILON
    )
    compared = stats.compare(train.after["moving_mean"], train.after["moving_variance"])
    problems = [
        f"{name} after training: {result}"
        for name, result in zip(train.after, compared, strict=True)
        if result.verdict == "finding"
    ]
    unmoved = same_bits(test.before, test.after)
    if not unmoved:
        problems.append("testing changed the moving statistics, or they are not finite")
    outputs = True
    for phase, (expected, bound) in ((train, training_output), (test, test_output)):
        if not within(phase.output, expected, bound):
            outputs = False
            problems.append(f"the {phase.name} output is not what the statistics in use give")
    undecided = _undecided(compared, stats, training_output, test_output)
    return Check(
        stats.mean,
        stats.variance,
        stats.mean_bound,
        stats.variance_bound,
        training_output,
        test_output,
        trained=compared.ok,
        unmoved_by_test=unmoved,
        outputs=outputs,
        problems=tuple(problems),
        undecided=undecided,
    )


def _undecided(compared, stats, training_output, test_output):
    """What cannot be decided, or is only decided by bounds that are too wide, as sentences."""
    undecided = [
        f"{name} after training: {result}"
        for name, result in zip(("moving_mean", "moving_variance"), compared, strict=True)
        if result.verdict == "undecidable"
    ]
    scale = np.abs(stats.variance) + article.EPSILON
    shares = {
        "moving_mean": stats.mean_bound / (np.abs(stats.mean) + np.sqrt(scale)),
        "moving_variance": stats.variance_bound / scale,
        "training output": training_output[1] / np.maximum(1, np.abs(training_output[0])),
        "test output": test_output[1] / np.maximum(1, np.abs(test_output[0])),
    }
    with np.errstate(invalid="ignore"):
        undecided += [
            f"the bound of the {name} is {float(np.max(share)):.0%} of its size, too wide to decide; "
            "give a smaller batch"
            for name, share in shares.items()
            if np.any(share > DECIDES)
        ]
    return tuple(undecided)


@dataclasses.dataclass(frozen=True)
class ArticleComparison:
    """Printed numbers minus computed ones, and how much float32 allows: dicts by what was printed."""

    differences: dict
    allowed: dict

    @property
    def agrees(self):
        return self._agree(self.differences)

    @property
    def outputs_agree(self):
        return self._agree(OUTPUTS)

    def _agree(self, names):
        return all(within(self.differences[name], 0.0, self.allowed[name]) for name in names)

    @property
    def max_output_difference(self):
        return max(float(np.max(np.abs(self.differences[name]))) for name in OUTPUTS)


def compare_with_article(run, check, printed):
    """Every number that the article printed for ``printed`` (an ``article.Experiment``) against ``run``.

    Allowed: the author's layer and this one may each be off by the bound of an honest float32 layer, and the
    recovered input inherits the rounding of the printed output it was recovered from.
    """
    shape = run.spec.batch.shape
    x = run.spec.batch.astype(np.float64)
    sigma = np.sqrt(printed.moving_variance + article.EPSILON)
    _, inversion = expected_output(x, printed.moving_mean, printed.moving_variance, epsilon=article.EPSILON)
    dx = sigma * inversion + UNIT_ROUNDOFF * np.abs(x)
    own_sigma = np.sqrt(batch_statistics(run.spec.batch).variance + article.EPSILON)
    y = check.training_output[0]
    shift = (dx + dx.mean() + np.abs(y) * (np.abs(y) * dx).mean()) / own_sigma
    observed = {
        "training_output": run.train.output,
        "test_output": run.test.output,
        "moving_mean": run.test.after["moving_mean"],
        "moving_variance": run.test.after["moving_variance"],
    }
    rate = 1 - printed.decay
    differences = {
        name: value.astype(np.float64) - np.reshape(getattr(printed, name), shape if "output" in name else (1,))
        for name, value in observed.items()
    }
    allowed = {
        "training_output": 2 * check.training_output[1] + shift,
        "test_output": 2 * check.test_output[1] + dx / sigma,
        "moving_mean": 2 * check.mean_bound + rate * dx.mean(),
        "moving_variance": 2 * check.variance_bound + rate * 2 * (np.abs(y) * own_sigma * dx).mean(),
    }
    if printed.decay == 0:
        # Testing then uses the statistics of this very batch: it may differ as training does.
        allowed["test_output"] = allowed["training_output"]
    return ArticleComparison(differences, allowed)


def conclusions(decay_0, decay_1, checks, sweep=None):
    """The article's four conclusions, judged on the runs with decay 0 and 1: a list of dicts id, text, holds, evidence.

    ``sweep``, where there is one, adds to conclusion 3 that training outputs on one batch are the same bits for
    every decay.
    """
    runs = (decay_0, decay_1)
    check_0, check_1 = checks
    moved = _moved(decay_0.train)
    unmoved = check_0.unmoved_by_test and check_1.unmoved_by_test
    mean_0, variance_0 = (_value(decay_0.train.after[name]) for name in ("moving_mean", "moving_variance"))

    handed_over = all(same_bits(run.train.after, run.test.before) for run in runs)
    used = all(within(run.test.output, *check.test_output) for run, check in zip(runs, checks, strict=True))
    stale, stale_bound = expected_output(
        decay_0.spec.batch,
        decay_0.train.before["moving_mean"],
        decay_0.train.before["moving_variance"],
        epsilon=article.EPSILON,
    )
    told_apart = bool(np.all(np.abs(decay_0.test.output - stale) > stale_bound + check_0.test_output[1]))

    normalised = [within(run.train.output, *check.training_output) for run, check in zip(runs, checks, strict=True)]
    step_taken = check_0.trained and check_1.trained and moved
    third = all(normalised) and step_taken
    third_evidence = (
        f"Both training outputs {'are' if all(normalised) else 'should be'} the batch's own normalisation (farthest by "
        f"{_farthest(decay_0.train.output, check_0.training_output):.1e} and "
        f"{_farthest(decay_1.train.output, check_1.training_output):.1e}); training moved the mean by {_step(decay_0)} "
        f"of its distance to the batch's with decay 0 and by {_step(decay_1)} with decay 1, "
        f"{'which is 1 - decay' if step_taken else 'where 1 - decay was due'}."
    )
    if sweep is not None:
        bits = {output.tobytes() for output in sweep.training_outputs.reshape(-1, *sweep.batch.shape)}
        alike = len(bits) == 1 and bool(np.isfinite(sweep.training_outputs).all())
        third = third and alike
        third_evidence += (
            f" On one batch, with {len(sweep.decays)} decays and in first and last step, training outputs are "
            f"{'the same bits' if alike else 'NOT the same'}."
        )

    still = same_bits(decay_1.train.before, decay_1.train.after) and same_bits(decay_1.test.before, decay_1.test.after)
    plain, plain_bound = expected_output(
        decay_1.spec.batch, article.INITIAL_MEAN, article.INITIAL_VARIANCE, epsilon=article.EPSILON
    )
    raw = within(decay_1.test.output, plain, plain_bound)
    was_mean, was_variance = (_value(decay_0.train.before[name]) for name in ("moving_mean", "moving_variance"))
    off = [_farthest(run.test.output, check.test_output) for run, check in zip(runs, checks, strict=True)]
    judged = {
        1: (
            moved and unmoved,
            f"With decay 0 training {'took' if moved else 'should have moved and took'} moving_mean from {was_mean} to "
            f"{mean_0} and moving_variance from {was_variance} to {variance_0}; both tests "
            f"{'left all of them as they were, bit for bit' if unmoved else 'CHANGED them'}.",
        ),
        2: (
            handed_over and used and told_apart,
            f"Test outputs {'are' if used else 'should be'} (x - moving_mean) / sqrt(moving_variance + 0.001) with the "
            f"values training left{'' if handed_over else ', which CHANGED before testing'}, farthest by {off[0]:.1e} "
            f"and {off[1]:.1e}; with the initial values they would be up to "
            f"{float(np.max(np.abs(decay_0.test.output - stale))):.3g} away.",
        ),
        3: (third, third_evidence),
        4: (
            normalised[1] and still and raw,
            f"With decay 1 the training output has mean {_tiny(decay_1.train.output.mean())} and variance "
            f"{float(decay_1.train.output.var()):.4g}; the statistics "
            f"{'stayed at 0 and 1' if still else 'MOVED'}; the test output is "
            f"{'x / sqrt(1.001)' if raw else 'NOT x / sqrt(1.001)'}, between {float(decay_1.test.output.min()):.4g} "
            f"and {float(decay_1.test.output.max()):.4g}.",
        ),
    }
    return [
        {"id": number, "text": article.CONCLUSIONS[number], "holds": bool(holds), "evidence": evidence}
        for number, (holds, evidence) in judged.items()
    ]


def release_summary(name, decay_0, decay_1, checks):
    """What the listing gives with the defaults of one release: conclusions, and test against training output."""
    judged = conclusions(decay_0, decay_1, checks)
    train, test = decay_0.train.output.astype(np.float64), decay_0.test.output.astype(np.float64)
    ratio = float((test * train).sum() / (train * train).sum())
    moments = checker.batch_moments(decay_0.spec.batch)
    stored = moments.unbiased_variance if decay_0.spec.fused else moments.variance
    expected = float(np.mean(np.sqrt((moments.variance + article.EPSILON) / (stored + article.EPSILON))))
    _, bound = checks[0].training_output
    same = within(test, train, bound + checks[0].test_output[1])
    return {
        "release": name,
        "fused": decay_0.ran_fused,
        "moving_mean": decay_0.train.after["moving_mean"].tolist(),
        "moving_variance": decay_0.train.after["moving_variance"].tolist(),
        "count": moments.count,
        "conclusions": [{key: row[key] for key in ("id", "holds", "evidence")} for row in judged],
        "test_equals_training_output": same,
        "test_over_training": ratio,
        "expected_ratio": expected,
        "checker_agrees": all(check.agrees for check in checks),
        "problems": [problem for check in checks for problem in check.problems],
    }


def _moved(phase):
    return all(
        bool(np.all(np.isfinite(phase.after[name]) & (phase.after[name] != phase.before[name])))
        for name in phase.before
    )


def _farthest(observed, expected_and_bound):
    return float(np.max(np.abs(observed - expected_and_bound[0])))


def _step(run):
    """The share of the way from the start value to the batch's mean that training took, as text."""
    before, after = run.train.before["moving_mean"].astype(np.float64), run.train.after["moving_mean"]
    share = (after - before) / (batch_statistics(run.spec.batch).mean - before)
    return f"{float(share.mean()):.6g}"


def _value(statistic):
    return f"{float(statistic[0]):.9g}" if statistic.size == 1 else np.array2string(statistic, precision=6)


def _tiny(value):
    return f"{float(value):.0e}" if abs(value) < 1e-4 else f"{float(value):.4g}"
