"""The causes that can be named, how severe they are, and how they are said. Used by ``diagnosis``."""

import dataclasses
import math

from ..verdicts import ADVISORY, FINDING

ADVISORIES = frozenset({"cold-start", "single-value", "float32-decay", "rounding"})

# Where several explain the numbers equally well, the earlier one is named first.
ORDER = (
    "frozen",
    "trainable-false",
    "training-flag-off",
    "half-precision",
    "not-restored",
    "not-updated",
    "empty-batch",
    "single-value",
    "renorm",
    "zero-debias",
    "bessel",
    "no-bessel",
    "float32-decay",
    "momentum-flipped",
    "no-memory",
    "one-tower-only",
    "double-update",
    "wrong-axis",
    "padding-counted",
    "std-for-variance",
    "keras-bessel",
    "decay",
    "cancellation",
    "validation-leak",
    "batch-stats-at-inference",
    "gamma-beta-swapped",
    "epsilon-floor",
    "epsilon",
    "not-finite",
    "bad-variance",
    "dead-channel",
    "unexplained",
    "cold-start",
    "rounding",
)


@dataclasses.dataclass(frozen=True)
class Cause:
    """What happened to a layer.

    Attributes:
      id: a name that stays, such as "bessel".
      severity: "finding", or "advisory": worth knowing, and nothing is wrong.
      explanation: one or two sentences.
      misfit: the largest error in units of the bound if this is what happened; None where nothing is predicted.
    """

    id: str
    severity: str
    explanation: str
    misfit: float | None = None


def cause(name, explanation, misfit=None, severity=None):
    """The `Cause`, with the severity that it usually has."""
    return Cause(name, severity or (ADVISORY if name in ADVISORIES else FINDING), explanation, misfit)


def place(name):
    """Where a cause stands among those that explain the numbers equally well."""
    return ORDER.index(name)


def sentence(name, facts):
    """How a deviation of the statistics is explained; ``facts`` is the layer's `Facts`."""
    d, n = facts.decay, facts.count
    factor = f"N/(N-1) = {n}/{n - 1}" if n > 1 else "N/(N-1)"
    decay = "the decay" if d is None else f"the decay {d:.6g}"
    texts = {
        "bessel": f"The moving variance carries Bessel's correction: it took {factor} of the batch variance, and the "
        f"layer is declared to take the population variance (estimated factor {facts.factor}).",
        "no-bessel": f"The moving variance lacks Bessel's correction: it took the population variance, and the layer "
        f"is declared to take {factor} of it (estimated factor {facts.factor}).",
        "keras-bessel": "The moving variance took N/(N-1-epsilon) of the batch variance, as the old multi-backend "
        f"Keras did, with N = {n} (estimated factor {facts.factor}).",
        "momentum-flipped": f"The decay and its complement are exchanged: each step moved the statistics by "
        f"{_number(d)} of the way to the batch where 1 - decay = {_number(None if d is None else 1 - d)} was due; "
        "PyTorch's momentum is 1 - decay.",
        "no-memory": f"Each step replaced the statistics by the batch's, as decay 0 does, where {decay} is declared.",
        "decay": f"The statistics moved by {facts.rate} of the way to the batch in each step, so the decay in use is "
        f"{_number(facts.seen_decay)} and not {_number(d)}.",
        "double-update": (
            f"The updates of the {facts.applications} applications in a step raced: they started from one old value, "
            "or one was lost; TensorFlow gives them no order."
            if facts.applications > 1
            else f"The update ran {facts.repeats} times with the same batch in each step, which is what a decay of "
            f"{_number(None if d is None else d**facts.repeats)} would do."
        ),
        "one-tower-only": f"Only one of the {facts.applications} applications in a step updated the statistics, always "
        "the same one; the batches of the others left no trace in them.",
        "std-for-variance": "The moving variance averaged the batch's standard deviation and not its variance.",
        "padding-counted": "The statistics counted every position of the batch, also those whose weight says that they "
        "are padding.",
        "wrong-axis": "The statistics are those of another axis of the input than the one that is declared to hold the "
        f"channels ({facts.axis}).",
        "zero-debias": "The moving mean is "
        + (
            "not zero-debiased, and is declared to be." if facts.debias else "zero-debiased, and is not declared to be."
        ),
        "renorm": "The statistics are those of batch renormalisation, which is not declared.",
        "float32-decay": "1 - decay was formed in "
        + ("float64" if facts.rate_dtype == "float32" else "float32, as the core layer of TF 1.8 and later does")
        + f", and not in {facts.rate_dtype} as declared; nothing is wrong with that.",
        "half-precision": f"The statistics are kept in float16, and the layer is declared to keep {facts.dtype}: every "
        "value that moved is a float16 number.",
        "cancellation": f"The batch variance was computed as a difference of large numbers: the mean is up to "
        f"{facts.kappa:.3g} times the deviation (m^2/v = {facts.kappa**2:.3g}), and the moving variance is off by as "
        "much as E[x^2] - E[x]^2 loses to rounding.",
    }
    return texts[name]


def _number(value):
    return "another one" if value is None or not math.isfinite(value) else f"{value:.6g}"


@dataclasses.dataclass
class Facts:
    """What the sentences about a layer are made of; see `sentence`."""

    decay: float | None = None
    count: int = 0
    factor: object = "unknown"
    rate: object = "unknown"
    seen_decay: float | None = None
    applications: int = 1
    repeats: int = 2
    axis: str = ""
    debias: bool = False
    rate_dtype: str | None = None
    dtype: str = "float32"
    kappa: float = math.nan
