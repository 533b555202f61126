"""What explains a layer's numbers: causes, and the sentences about the causes that deviate in a training update."""

from __future__ import annotations

import dataclasses
import math

from .._util.text import apart
from ..verdicts import CAUSES, FINDING

# The ids of the causes that a trace can show; where several explain the numbers equally well, the earlier one is best.
ORDER = tuple(name for name, kind in CAUSES.items() if "trace" in kind.where)


@dataclasses.dataclass(frozen=True)
class Cause:
    """What happened to a layer.

    Attributes:
      id: a key of `verdicts.CAUSES` that stays the same between versions, such as "bessel".
      severity: "finding", or "advisory", which is worth knowing although nothing is wrong.
      explanation: one or two sentences.
      misfit: the largest error of the cause's prediction in units of the bound; None where nothing is predicted.
      follows_from: the id of another cause, of which this one is a consequence; None if it is none.
      follows_from_layer: the name of the layer that has that cause; None if it is this one.
      may_follow_from_layer: the name of a layer before this one that is wrong in a way that can make this cause, where
        the numbers do not tell whether it does; else None.
      variant: what `remedies.remedy` takes where what to do depends on how the cause shows; else None.
    """

    id: str
    severity: str
    explanation: str
    misfit: float | None = None
    follows_from: str | None = None
    follows_from_layer: str | None = None
    may_follow_from_layer: str | None = None
    variant: str | None = None


def cause(name, explanation, misfit=None, severity=None, variant=None):
    """The `Cause` with this id; a severity of None is the one that it usually has."""
    return Cause(name, severity or CAUSES[name].severity, explanation, misfit, variant=variant)


def rank(name):
    """The position of a cause among those that explain the numbers equally well; the smallest is best."""
    return ORDER.index(name)


def is_finding(causes):
    """Whether any of these causes is a finding."""
    return any(each.severity == FINDING for each in causes)


@dataclasses.dataclass(frozen=True)
class Explanation:
    """What a part of the diagnosis concludes about a layer.

    Attributes:
      causes: tuple of `Cause`, best first.
      undecided: sentences that say why something could not be decided.
      notes: sentences that go into the explanation of a layer that is ok.
      accepted: None, or by convention the `fitting.WorstFit` of what explains the layer, where that takes the place of
        the layer as declared.
      outputs: None, or the `OutputFit` that takes the place of that of all steps.
      reduction: None, or how the batches of replicas became one update, other than is declared.
    """

    causes: tuple[Cause, ...] = ()
    undecided: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    accepted: dict | None = None
    outputs: object = None
    reduction: object = None


@dataclasses.dataclass(frozen=True)
class Facts:
    """The numbers in the sentences about a layer; see `sentence`.

    Attributes:
      words: the `observed.wording.Words` of the framework.
      decay: the declared decay, if it is one number in all steps; else None.
      count: the largest number of values per channel in a batch.
      factor: the `Estimate` of the multiple of the batch variance that the moving variance takes.
      rate: the `Estimate` of 1 - decay.
      seen_decay: the decay that the numbers show, or None.
      applications: the largest number of updates in a step.
      repeats: how often each update ran.
      batches: how many batches come into the updates of a step at most.
      reduction, declared_reduction: how these became one update, as `View.moments_reduced` takes it, and how the trace
        says that they do; or None.
      start: the number of the batch, counted from 1, that a cumulative average had in the first step.
      axis: the declared axis of the channels, in words.
      zero_debias, rate_dtype, dtype: as the layer declares them.
      kept: the dtype that the statistics are really kept in.
      mean_over_deviation: the largest batch mean in units of the deviation.
    """

    words: object = None
    decay: float | None = None
    count: int = 0
    factor: object = "unknown"
    rate: object = "unknown"
    seen_decay: float | None = None
    applications: int = 1
    repeats: int = 2
    batches: int = 1
    reduction: object = None
    declared_reduction: str | None = None
    start: int = 1
    axis: str = ""
    zero_debias: bool = False
    rate_dtype: str | None = None
    dtype: str = "float32"
    kept: str = "float16"
    mean_over_deviation: float = math.nan


def sentence(name, facts):
    """The explanation of the cause ``name`` for a layer with these `Facts`; KeyError for a cause that has no update."""
    return {**_variance_sentences(facts), **_rate_sentences(facts), **_update_sentences(facts)}[name]


def _variance_sentences(facts):
    n = facts.count
    factor = f"N/(N-1) = {n}/{n - 1}" if n > 1 else "N/(N-1)"
    ratio = facts.mean_over_deviation
    return {
        "bessel": f"The moving variance has Bessel's correction: it averages {factor} times the batch variance, and "
        f"the layer is declared to average the population variance{_seen_factor(facts)}.{_effect(facts)}",
        "no-bessel": "The moving variance lacks Bessel's correction: it averages the population variance, and the "
        f"layer is declared to average {factor} times that{_seen_factor(facts)}.{_effect(facts)}",
        "keras-bessel": "The moving variance averages N/(N-1-epsilon) times the batch variance, as the old "
        f"multi-backend Keras did, with N = {n} (estimated factor {facts.factor}).",
        "std-for-variance": "The moving variance averages the batch's standard deviation instead of its variance.",
        "padding-counted": "The statistics count every position of the batch, also those whose weight says that they "
        "are padding.",
        "wrong-axis": "The statistics are taken along another axis of the input than the one that is declared to hold "
        f"the channels ({facts.axis}).",
        "renorm": "The statistics are those of batch renormalisation, which the layer does not declare.",
        "cancellation": "The batch variance was computed as a difference of large numbers: the mean is up to "
        f"{ratio:.3g} times the standard deviation (m^2/v = {ratio**2:.3g}), and the moving variance is off by as much "
        "as E[x^2] - E[x]^2 loses to rounding.",
    }


def _seen_factor(facts):
    """The estimated multiple k of the batch variance in brackets, by what decides; empty if it is not known."""
    value = getattr(facts.factor, "value", math.nan)
    if not math.isfinite(value):
        return ""
    if facts.count < 2:
        return f" (estimated factor {facts.factor})"
    excess, interval = value - 1, facts.factor.interval
    # As many digits as the interval leaves, for both.
    left = math.log10(abs(excess) / interval) if excess and 0 < interval < math.inf else 4
    digits = min(12, max(4, math.ceil(left)))
    due = 1 / (facts.count - 1)
    return f" (estimated k - 1 = {excess:.{digits}g} +- {interval:.1g}, and 1/(N-1) = {due:.{digits}g})"


def _effect(facts):
    """By how much a missing or an extra N/(N-1) changes what users see, a sentence; empty without a count."""
    n = facts.count
    if n < 2:
        return ""
    return (
        f" At N = {n} that changes the moving variance by {100 / (n - 1):.2g} % and, once it rules, outputs in "
        f"inference by up to {100 * (math.sqrt(n / (n - 1)) - 1):.2g} %; outputs in training stay as they are."
    )


def _rate_sentences(facts):
    d = facts.decay
    decay = "the decay" if d is None else f"the decay {facts.words.decay(d)}"
    flipped = "the decay times the way to the batch and not by 1 - decay"
    if d is not None:
        wrong, right = apart(d, 1 - d)
        flipped = f"{wrong} of the way to the batch instead of 1 - decay = {right}"
    seen, declared = facts.seen_decay, "the declared one"
    if seen is None or not math.isfinite(seen):
        seen = "unknown"
    else:
        seen, declared = facts.words.decays(seen, d) if d is not None else (facts.words.decay(seen), declared)
    return {
        "momentum-flipped": f"The decay and 1 - decay are exchanged: each step moves the statistics by {flipped}; "
        "PyTorch's momentum is 1 - decay.",
        "no-memory": f"Each step replaces the statistics by the batch's, as decay {facts.words.decay(0)} does; "
        f"{decay} is declared.",
        "decay": f"The statistics move by {facts.rate} of the way to the batch in each step, so the decay in use is "
        f"{seen} and not {declared}.",
        "cumulative-average": f"Every batch counts alike: update by update the statistics move by 1/{facts.start}, "
        f"1/{facts.start + 1} and so on of the way to the batch, as PyTorch's `momentum=None` does, and {decay} is "
        "declared.",
        "zero-debias": "The layer is declared to zero-debias its moving mean, and does not."
        if facts.zero_debias
        else "The layer zero-debiases its moving mean, and is not declared to.",
        "float32-decay": rate_sentence(facts.rate_dtype),
        "half-precision": f"The statistics are kept in {facts.kept}, and the layer is declared to keep {facts.dtype}: "
        f"every value that moved is a {facts.kept} number.",
    }


def rate_sentence(declared):
    """The explanation of `float32-decay` for a layer whose trace says "float32", "float64" or None of its rate."""
    if declared == "float32":
        return "1 - decay is computed in float64 and not in float32 as declared; both are correct."
    other = ", which the trace leaves open" if declared is None else " as declared"
    return (
        "1 - decay is computed in float32, as the core layer of TF 1.8 and later does, and not in float64"
        f"{other}; both are correct."
    )


_REDUCTIONS = {
    "mean": "the mean of what each of them alone would make of the statistics, as MirroredStrategy and TPUs average "
    "them over replicas",
    "pooled": "the moments of all of them as one batch, as SyncBatchNorm and Keras' `synchronized=True` do",
}


def _replica_sentence(facts):
    """How the batches of several replicas became one update."""
    how = facts.reduction
    taken = f"batch {how} alone, that of one replica" if isinstance(how, int) else _REDUCTIONS.get(how, "unknown")
    text = f"The {facts.batches} batches of a step make one update: {taken}"
    if facts.declared_reduction is None:
        return text + "."
    declared = {"mean": "the mean over the replicas", "pooled": "that all of them are one batch"}
    return f"{text}. The trace says {declared[facts.declared_reduction]}."


def _update_sentences(facts):
    if facts.applications > 1:
        double = (
            f"The updates of the {facts.applications} applications in a step raced: they started from the same old "
            f"values, or one was lost; {facts.words.no_order}."
        )
    else:
        power = f"{facts.decay**facts.repeats:.6g}" if facts.decay is not None else f"d^{facts.repeats} instead of d"
        double = (
            f"The update ran {facts.repeats} times with the same batch in each step, which has the same effect as a "
            f"decay of {power}."
        )
    return {
        "double-update": double,
        "replica": _replica_sentence(facts),
        "one-tower-only": f"Only one of the {facts.applications} applications in a step updates the statistics, always "
        "the same one; the batches of the others have no effect on them.",
    }
