"""What a run of the article's listing should give: recomputed by the checker, and as the article printed it.

The runs come as plain arrays from ``experiment``; this module imports no TensorFlow.
"""

import dataclasses

import numpy as np

from .. import checker
from ..checker.outputs import EVERY_BATCH, batch_statistics, expected_output, same_bits, within
from ..checker.roundoff import UNIT_ROUNDOFF
from ..verdicts import FINDING, UNDECIDABLE
from . import article

OUTPUTS = ("training_output", "test_output")
# A bound wider than this share of its quantity is too wide for a useful verdict.
DECIDES = 0.1


@dataclasses.dataclass(frozen=True)
class Check:
    """What the checker expects of one run, and how the run compares with it.

    Attributes:
      mean, variance: [C], the expected statistics after training.
      mean_bound, variance_bound: [C], how far a layer may be off.
      training_output, test_output: pairs of the expected output and its bound, each in the shape of the batch.
      trained: whether the statistics after training are within their bounds.
      unmoved_by_test: whether testing left the statistics as they were, bit for bit.
      outputs: whether both outputs are within their bounds.
      problems: findings, as sentences.
      undecidable: what cannot be decided, or only with bounds that are too wide, as sentences.
    """

    mean: np.ndarray
    variance: np.ndarray
    mean_bound: np.ndarray
    variance_bound: np.ndarray
    training_output: tuple
    test_output: tuple
    trained: bool
    unmoved_by_test: bool
    outputs: bool
    problems: tuple
    undecidable: tuple

    @property
    def agrees(self):
        """Whether everything was decided and nothing is wrong."""
        return self.trained and self.unmoved_by_test and self.outputs and not self.undecidable


def check_run(run):
    """Recompute what ``run``, an `experiment.Run`, should have given; returns a `Check`."""
    spec, train, test = run.spec, run.train, run.test
    stats = checker.MovingStats(
        train.before["moving_mean"],
        train.before["moving_variance"],
        decay=spec.decay,
        bessel=spec.fused,
        replay_bytes=EVERY_BATCH,
    )
    stats.update(spec.batch)
    exact = batch_statistics(spec.batch)
    training_output = expected_output(
        spec.batch, exact.mean, exact.variance, exact.mean_bound, exact.variance_bound, epsilon=article.EPSILON
    )
    test_output = expected_output(
        spec.batch, test.before["moving_mean"], test.before["moving_variance"], epsilon=article.EPSILON
    )
    compared = stats.compare(train.after["moving_mean"], train.after["moving_variance"])
    problems = [
        f"{name} after training: {result}"
        for name, result in zip(train.after, compared, strict=True)
        if result.verdict == FINDING
    ]
    unmoved = same_bits(test.before, test.after)
    if not unmoved:
        problems.append("testing changed the moving statistics, or they are not finite")
    outputs = True
    for phase, (expected, bound) in ((train, training_output), (test, test_output)):
        if not within(phase.output, expected, bound):
            outputs = False
            problems.append(f"the {phase.name} output is not what the statistics in use give")
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
        undecidable=_undecidable(compared, stats, training_output, test_output),
    )


def _undecidable(compared, stats, training_output, test_output):
    """What cannot be decided, or only with bounds that are too wide, as sentences."""
    sentences = [
        f"{name} after training: {result}"
        for name, result in zip(("moving_mean", "moving_variance"), compared, strict=True)
        if result.verdict == UNDECIDABLE
    ]
    scale = np.abs(stats.variance) + article.EPSILON
    shares = {
        "moving_mean": stats.mean_bound / (np.abs(stats.mean) + np.sqrt(scale)),
        "moving_variance": stats.variance_bound / scale,
        "training output": training_output[1] / np.maximum(1, np.abs(training_output[0])),
        "test output": test_output[1] / np.maximum(1, np.abs(test_output[0])),
    }
    with np.errstate(invalid="ignore"):
        sentences += [
            f"the bound of the {name} is {float(np.max(share)):.0%} of its size, too wide to decide; "
            "give a smaller batch"
            for name, share in shares.items()
            if np.any(share > DECIDES)
        ]
    return tuple(sentences)


@dataclasses.dataclass(frozen=True)
class ArticleComparison:
    """What the article printed against what a run gave.

    Attributes:
      differences: dict from OUTPUTS, "moving_mean" and "moving_variance" to the run's numbers minus the printed ones.
      allowed: the same keys, how large the differences may be in float32.
    """

    differences: dict
    allowed: dict

    @property
    def agrees(self):
        """Whether every printed number is met."""
        return self._agree(self.differences)

    @property
    def outputs_agree(self):
        """Whether the printed outputs are met."""
        return self._agree(OUTPUTS)

    def _agree(self, names):
        return all(within(self.differences[name], 0.0, self.allowed[name]) for name in names)

    @property
    def max_output_difference(self):
        """The largest absolute difference of an output."""
        return max(float(np.max(np.abs(self.differences[name]))) for name in OUTPUTS)


def compare_with_article(run, check, printed):
    """Compare every number that the article printed with ``run``; returns an `ArticleComparison`.

    Allowed is this: the author's layer and this one may each be off by the bound of a correctly rounded float32 layer,
    and the recovered input inherits the rounding of the printed output that it was recovered from.

    Args:
      run: an `experiment.Run`.
      check: its `Check`.
      printed: the `article.Experiment` that it repeats.
    """
    shape = run.spec.batch.shape
    x = run.spec.batch.astype(np.float64)
    sigma = np.sqrt(printed.moving_variance + article.EPSILON)
    _, inversion = expected_output(x, printed.moving_mean, printed.moving_variance, epsilon=article.EPSILON)
    dx = sigma * inversion + UNIT_ROUNDOFF["float32"] * np.abs(x)
    batch_sigma = np.sqrt(batch_statistics(run.spec.batch).variance + article.EPSILON)
    y = check.training_output[0]
    shift = (dx + dx.mean() + np.abs(y) * (np.abs(y) * dx).mean()) / batch_sigma
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
        "moving_variance": 2 * check.variance_bound + rate * 2 * (np.abs(y) * batch_sigma * dx).mean(),
    }
    if printed.decay == 0:
        # Testing then uses the statistics of this very batch, so its output may differ as much as that of training.
        allowed["test_output"] = allowed["training_output"]
    return ArticleComparison(differences, allowed)
