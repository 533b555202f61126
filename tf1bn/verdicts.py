"""The verdicts, all causes with their severities and order, and the exit codes of the commands: each in one place."""

import dataclasses

from .remedies import remedy

OK, UNDECIDABLE, FINDING = "ok", "undecidable", "finding"
# The worst first, in the order in which reports list them.
VERDICTS = (FINDING, UNDECIDABLE, OK)
RANK = {OK: 0, UNDECIDABLE: 1, FINDING: 2}
# The severity of a cause is "finding", which makes its layer a finding, or "advisory": worth knowing, but not wrong.
ADVISORY = "advisory"
SEVERITIES = (FINDING, ADVISORY)


STRICT = 3  # the exit code for what is undecidable, with --strict-undecidable


def worst(verdicts):
    """The worst of the ``verdicts``; "ok" if there are none."""
    return max(verdicts, key=RANK.get, default=OK)


def exit_code(ok, verdicts):
    """The exit code of a command that judged layers.

    Args:
      ok: whether the result as a whole is right, which needs at least one layer and no problem.
      verdicts: one per layer.

    Returns:
      0 if the result is ok, 1 if any layer is a finding, else 2, as where no layer was judged.
    """
    return 0 if ok else 1 if FINDING in verdicts else 2


def with_status(result):
    """The dict of a result's JSON with "status" and "exit_code", and with "counts", the number of layers by verdict.

    The status is "ok", "finding", "undecidable" (or nothing was judged), or "failed" where a command that could not do
    its work left a result that says so.
    """
    verdicts = [layer["verdict"] for layer in result["layers"]]
    code = exit_code(result["ok"], verdicts)
    failed = result.get("status") == "failed" and not result["layers"]
    status = "failed" if failed else (OK, FINDING, UNDECIDABLE)[code]
    counts = {verdict: verdicts.count(verdict) for verdict in VERDICTS}
    return {**result, "counts": counts, "status": status, "exit_code": code}


def cause_entry(name, explanation, severity=FINDING, misfit=None, *, framework=None, release=None, variant=None):
    """A cause as a dict, as it stands in the JSON of an audit or of a comparison.

    Args:
      name: its id.
      explanation: one or more sentences.
      severity: "finding" or "advisory".
      misfit: the largest error of its prediction in units of the bound, or None.
      framework, release, variant: what `remedies.remedy` takes.
    """
    return {
        "id": name,
        "severity": severity,
        "explanation": explanation,
        "misfit": misfit,
        "remedy": remedy(name, framework, release, variant),
    }


@dataclasses.dataclass(frozen=True)
class CauseKind:
    """What one cause means, whichever layer has it.

    Attributes:
      title: what happened, as the end of a line.
      where: what can show it, of "trace", "checkpoint", "graph", "trace parity" and "checkpoint parity".
      severity: the one that it usually has; a single layer can have the other.
    """

    title: str
    where: tuple[str, ...]
    severity: str = FINDING


_T, _C, _TP, _CP = "trace", "checkpoint", "trace parity", "checkpoint parity"
_G = "graph"

# Every cause by its id. Where several explain the numbers of a trace equally well, the earlier one is named first.
CAUSES = {
    "frozen": CauseKind("the decay is 1 in training, so the statistics keep their start values", (_T, _G, _TP)),
    "trainable-false": CauseKind("the layer is not trainable and its statistics stand still", (_T, _G, _TP), ADVISORY),
    "frozen-but-moves": CauseKind("the layer is not trainable and its statistics move", (_T, _TP), ADVISORY),
    "untrained-steps": CauseKind("steps that do not train the layer move its statistics", (_T,), ADVISORY),
    "training-flag-off": CauseKind("the layer runs with training=False in training", (_T, _G, _TP)),
    "half-precision": CauseKind("the statistics are kept in float16 or bfloat16", (_T, _C, _TP, _CP)),
    "not-restored": CauseKind(
        "the statistics were not restored: they are at their start values", (_T, _C, _G, _TP, _CP)
    ),
    "not-updated": CauseKind(
        "no update of the statistics ran in training (UPDATE_OPS in TF 1.x)", (_T, _C, _G, _TP, _CP)
    ),
    "empty-batch": CauseKind("a batch without elements made the statistics NaN", (_T, _TP)),
    "single-value": CauseKind("a batch had one value per channel, whose variance is 0", (_T, _TP), ADVISORY),
    "renorm": CauseKind("the statistics are those of batch renormalisation", (_T, _TP)),
    "zero-debias": CauseKind("the moving mean is zero-debiased although it is not declared, or the reverse", (_T, _TP)),
    "bessel": CauseKind("the variance has Bessel's correction N/(N-1) and should not have it", (_T, _TP, _CP)),
    "no-bessel": CauseKind("the variance lacks Bessel's correction N/(N-1)", (_T, _TP, _CP)),
    "float32-decay": CauseKind("1 - decay is computed in another dtype than declared", (_T, _TP), ADVISORY),
    "momentum-flipped": CauseKind("momentum and decay are exchanged: PyTorch's momentum is 1 - decay", (_T, _TP, _CP)),
    "no-memory": CauseKind("the statistics are those of the last batch, as with decay 0", (_T, _G, _TP)),
    "one-tower-only": CauseKind("only one of the applications in a step updates the statistics", (_T, _G, _TP)),
    "replica": CauseKind("the batches of replicas become one update in another way than declared", (_T, _TP)),
    "double-update": CauseKind("the statistics are updated more than once in a step", (_T, _G, _TP)),
    "wrong-axis": CauseKind("the statistics are taken along another axis", (_T, _C, _G, _TP, _CP)),
    "padding-counted": CauseKind("padded positions are counted as data", (_T, _TP)),
    "std-for-variance": CauseKind("the standard deviation is kept instead of the variance", (_T, _TP, _CP)),
    "keras-bessel": CauseKind("the variance has the factor N/(N-1-epsilon) of old multi-backend Keras", (_T, _TP)),
    "cumulative-average": CauseKind("all batches count alike: the momentum is 1/n in step n", (_T, _TP)),
    "decay": CauseKind("the decay is not the declared one", (_T, _G, _TP, _CP)),
    "cancellation": CauseKind("the variance E[x^2] - E[x]^2 lost its digits to cancellation", (_T, _TP)),
    "validation-leak": CauseKind("evaluation data updated the statistics", (_T, _G, _TP)),
    "batch-stats-at-inference": CauseKind("inference normalises by the batch's own statistics", (_T, _C, _G, _TP, _CP)),
    "gamma-beta-swapped": CauseKind("gamma and beta are exchanged", (_T, _G, _TP, _CP)),
    "epsilon-floor": CauseKind("the fused kernel raised a smaller epsilon to 1.001e-5", (_T, _TP)),
    "epsilon-outside-root": CauseKind("epsilon is added outside of the root", (_T, _TP)),
    "std-in-output": CauseKind("outputs are divided by something else than the root of the variance", (_T, _TP)),
    "epsilon": CauseKind("the epsilon is not the declared one", (_T, _G, _TP, _CP)),
    "not-finite": CauseKind("values are NaN or infinite", (_T, _C, _TP, _CP)),
    "bad-variance": CauseKind("a moving variance is negative", (_T, _C, _TP, _CP)),
    "dead-channel": CauseKind("a channel's variance is 0: nothing that varies reaches it", (_T, _C, _TP)),
    "unexplained": CauseKind("the numbers differ and no known cause explains them", (_T, _TP, _CP)),
    "changed-between-steps": CauseKind("the statistics changed outside of the recorded steps", (_T, _TP)),
    "statistics-do-not-fit": CauseKind("the statistics are far from the data of inference", (_T, _TP), ADVISORY),
    "cold-start": CauseKind("too few steps: the start values still dominate the statistics", (_T, _G, _TP), ADVISORY),
    "rounding": CauseKind("nothing is wrong: the difference is rounding", (_T, _TP), ADVISORY),
    "missing-variable": CauseKind("a variable of the layer is missing", (_C, _TP, _CP)),
    "shadow-average": CauseKind("exponential moving averages are kept beside the variables", (_C, _CP)),
    "negated": CauseKind("numbers have the other sign", (_CP, _TP)),
    "folded": CauseKind("the batch norm is folded into a convolution's kernel and bias", (_CP,), ADVISORY),
    "folded-bias": CauseKind("a convolution's bias is taken out of the moving mean, or put into it", (_CP,), ADVISORY),
    "other-step": CauseKind("the values are those of another step of a training", (_CP,)),
    "renumbered": CauseKind("the numbers in the layers' names run in another order", (_CP,), ADVISORY),
    "renamed": CauseKind("variables or layers have other names, or hold each other's values", (_TP, _CP)),
    "swapped-layers": CauseKind("two layers have changed places", (_TP, _CP)),
    "other-inputs": CauseKind("the layer gets other inputs, and no layer before it explains them", (_TP,)),
    "other-parameters": CauseKind("gamma or beta has other values", (_TP,)),
    "unmatched": CauseKind("only one of the two models has this layer", (_TP, _CP)),
}
