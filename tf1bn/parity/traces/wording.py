"""Sentences about a difference between two runs, relative to the original."""

from __future__ import annotations

import math
import re

SOME_STEPS = re.compile(r"In \d+ of \d+ training steps \([^)]*\): ")  # with these a cause of some steps begins
TRAINING_ONLY = "inference from the same statistics agrees, continued training will not"
BESSEL = "Bessel's correction (its moving variance takes N/(N-1) times the batch variance)"

# What a guess went by, as the end of "matched by ".
GUESSED_BY = {
    "data": "their data",
    "parameters": "gamma and beta, which no other layer begins with",
    "likeness": "the likeness of their names and values, in another order",
    "shape": "shape, as the only ones of so many channels that are left",
    "order": "order and shape",
}


def only_new(name, detail, old, new, several=False):
    """What NEW does and OLD does not.

    Args:
      name: the id of the cause.
      detail: its explanation by the diagnosis of NEW under OLD's rule.
      old, new: the `Effective` of both.
      several: whether a step updates the statistics several times, so that only the diagnosis knows each one's decay.
    """
    if name == "decay" and (several or not detail.startswith("The statistics move by")):
        # In some steps only, or for each update of a step.
        return f"NEW's decay is not OLD's, which is {old.decay}: {detail[:1].lower()}{detail[1:]}"
    if (name, getattr(new, name, None)) in (("decay", old.decay), ("epsilon", old.epsilon)):
        # With six digits the two read alike, and the diagnosis shows the digits that decide.
        return f"NEW's {name} is not OLD's: {detail[:1].lower()}{detail[1:]}"
    some_steps = SOME_STEPS.match(detail)
    where = some_steps[0] if some_steps else ""
    return where + _only_new(name, detail[len(where) :], old, new)


def _only_new(name, detail, old, new):
    texts = {
        "bessel": f"NEW applies {BESSEL}, OLD does not; {TRAINING_ONLY}.",
        "no-bessel": f"OLD applies {BESSEL}, NEW does not; {TRAINING_ONLY}.",
        "keras-bessel": "NEW's moving variance takes N/(N-1-epsilon) times the batch variance, as the old "
        f"multi-backend Keras did, OLD's does not; {TRAINING_ONLY}.",
        "momentum-flipped": f"NEW uses OLD's decay the other way round: its decay is {new.decay}, OLD's is "
        f"{old.decay} (PyTorch's momentum is 1 - decay); {TRAINING_ONLY}.",
        "decay": f"NEW's decay is {new.decay}, OLD's is {old.decay}; {TRAINING_ONLY}.",
        "no-memory": f"NEW keeps only the last batch, as decay 0 does, where OLD's decay is {old.decay}; "
        f"{TRAINING_ONLY}.",
        "not-updated": "NEW's moving statistics stand still in training, where OLD's move: either its update "
        "operations do not run, or its decay is 1. Outputs in training agree, inference afterwards will not.",
        "frozen": "NEW's moving statistics stand still in training, where OLD's move: its decay is 1.",
        "training-flag-off": "NEW normalises by the moving statistics in training, where OLD takes the batch's: it "
        "runs with training=False.",
        "one-tower-only": "Only one of the applications in a step updates NEW's statistics, always the same one, where "
        "in OLD all of them do: the batches of the others have no effect.",
        "trainable-false": "NEW's moving statistics stand still in training, where OLD's move: NEW's layer is not "
        "trainable, which TF 2 and Keras take for frozen and TF 1 does not.",
        "batch-stats-at-inference": "NEW normalises by the batch's own statistics in inference, where OLD takes the "
        "moving ones: its training flag was left on.",
        "epsilon": f"NEW's epsilon is {new.epsilon}, OLD's is {old.epsilon}; the outputs differ, most in channels of "
        "small variance.",
        "double-update": f"NEW updates its statistics more than once in a step, OLD once; {TRAINING_ONLY}.",
        "wrong-axis": "NEW takes its statistics along another axis than OLD, so they are not per channel of the same "
        "thing.",
    }
    return texts.get(name, f"This is in NEW and not in OLD: {detail}")


def only_old(name, detail):
    """What OLD does and NEW does not; the arguments are as for `only_new`."""
    texts = {
        "double-update": "OLD updates its statistics more than once in a step (two applications, or one update run "
        "twice), and NEW does not.",
        "not-updated": "OLD's moving statistics stand still in training and NEW's move: in OLD the update operations "
        "did not run.",
        "epsilon-floor": "OLD's fused kernel raises its epsilon to 1.001e-5, and NEW takes a smaller one.",
    }
    return texts.get(name, f"This is in OLD and not in NEW: {detail}")


def interval(low, high):
    """An interval of epsilon as text: the number with the fewest digits in it, which is likely what somebody wrote."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return "unknown"
    low = max(0.0, low)
    for digits in range(3):
        middle = float(f"{(low + high) / 2:.{digits}e}")
        if low <= middle <= high:
            return f"{middle:g}"
    return f"between {low:.4g} and {high:.4g}"


def doubt(causes):
    """What speaks against a guess, as a part of a sentence; ``causes`` are ids."""
    if not causes:
        return ""
    what = "gamma, beta" if causes == {"other-parameters"} else "statistics"
    what = "parameters and statistics" if len(causes) == 2 else what
    return f": it starts with other {what}, so either it is another layer, or these were not carried over"


def reduction(how):
    """How the batches of replicas become one update, as the end of a clause."""
    words = {"mean": "the mean over the replicas", "pooled": "all replicas' batches as one"}
    return words.get(how, f"the batch of replica {how} alone")
