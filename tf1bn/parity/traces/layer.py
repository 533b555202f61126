"""The result for one layer of two runs: its causes, its checks, and what could not be decided."""

from __future__ import annotations

import dataclasses
import math

from ..._util.text import apart
from ...checker.roundoff import HALVES
from ...verdicts import ADVISORY, FINDING, OK, UNDECIDABLE
from ..findings import Findings
from . import parameters, wording
from .measured import Effective, LayerRule, Measured, common_causes, effective, measured, single_updates
from .pair import LayerComparison

# The least epsilon of TensorFlow's fused kernel.
FUSED_FLOOR = 1.001e-5
# Causes for which the moving statistics stand still, or nearly so.
STANDING_STILL = {"not-updated", "frozen", "training-flag-off", "trainable-false", "not-restored", "half-precision"}


@dataclasses.dataclass(frozen=True)
class MatchedLayer:
    """All that is known about one layer in both runs; what is there twice is OLD's, then NEW's.

    Attributes:
      pair: the `LayerPair`.
      declared: the two `trace.Layer`.
      diagnoses: the two `Diagnosis`; NEW's is made by OLD's rule.
      measured: the two `Measured`, or None for a run that shows nothing.
      effective: the two `Effective`.
      rule: the `LayerRule` of OLD.
      comparison: the `LayerComparison`.
      in_sequence: whether both runs apply the same layers in the same order to the same data.
      only: "training" or "inference" where nothing else is to be compared; or None.
    """

    pair: object
    declared: tuple
    diagnoses: tuple
    measured: tuple[Measured | None, Measured | None]
    effective: tuple[Effective, Effective]
    rule: LayerRule
    comparison: LayerComparison
    in_sequence: bool
    only: str | None

    @classmethod
    def of(cls, pair, declared, diagnoses, rule, comparison, *, in_sequence, only):
        """The `MatchedLayer` with what its two `Diagnosis` show, of which NEW's is by the decays of OLD."""
        shown = tuple(map(measured, diagnoses))
        words = tuple(map(effective, declared, shown, (True, False)))
        return cls(pair, declared, diagnoses, shown, words, rule, comparison, in_sequence, only)


def layer_result(layer):
    """The dict of a `MatchedLayer` in the JSON of a comparison, its verdict and explanation left open."""
    findings = Findings()
    in_both = _diagnoses(layer, findings)
    _declared_rule(layer, findings)
    _declared_kind(layer, findings)
    _replicas(layer, findings)
    other_axis = "wrong-axis" in findings.ids()
    parameters.add_causes(layer.comparison, layer.declared, layer.pair, findings)
    unweighted = parameters.add_weights(layer.comparison, layer.measured[1], findings)
    doubtful = _say_how_matched(layer, findings)
    layer.comparison.add_modes(findings)
    _unchecked(layer, findings)
    if other_axis:
        # Nothing else is comparable.
        findings.drop({"unexplained", "other-parameters"})
    comparison, pair, data = layer.comparison, layer.pair, layer.comparison.data.first
    return {
        "name": pair.old if pair.old == pair.new else f"{pair.old} -> {pair.new}",
        "old": pair.old,
        "new": pair.new,
        "matched": pair.how,
        "matched_by": pair.by,
        "verdict": OK,
        "first": False,
        "since": comparison.modes[0][0] if comparison.modes else None,
        "causes": findings.in_order(),
        "undecided": findings.undecided,
        "explanation": "",
        "checks": _checks(layer, in_both, bool(findings.ids(FINDING)), doubtful, unweighted),
        "inherited_error": comparison.outputs.inherited,
        "added_error": comparison.outputs.added,
        "differences": comparison.differences,
        "data": dict(zip(("state", "error", "reason"), (data or (None,) * 3)[:3], strict=True)),
        "effective": {"old": layer.effective[0].entry, "new": layer.effective[1].entry},
        "notes": list(comparison.outputs.notes),
        "steps": comparison.steps,
    }


def _say_how_matched(layer, findings):
    """Says how a guess was made and what confirms it; returns whether nothing does.

    Where nothing does, other values to start from say no more than that the guess may be wrong.
    """
    pair, start = layer.pair, layer.comparison.start
    if pair.how != "guess" or pair.old == pair.new:
        return False
    if pair.confirmed:
        by_state = {"bitwise": "bit for bit the same inputs", "moments": "inputs of the same moments"}
        why = by_state.get(layer.comparison.data.first.state, "the same inputs up to rounding")
    elif start is not None and start.same_trained_parameters:
        why = "the same gamma and beta"
    elif layer.in_sequence:
        why = "their place in the same sequence of layers"
    else:
        doubted = findings.ids(FINDING) & {"other-parameters", "not-restored"}
        findings.drop(doubted)
        by = wording.GUESSED_BY[pair.by]
        findings.add("renamed", f"The layers were matched by {by} alone.", ADVISORY)
        findings.undecided.append(
            f"NEW's {pair.new!r} was matched with OLD's {pair.old!r} by {by} alone, which the data do not confirm"
            f"{wording.doubt(doubted)}; name the pair with --map."
        )
        return True
    confirmed = f": {why}" if pair.by in ("data", "parameters") else f", confirmed by {why}"
    findings.add("renamed", f"The layers were matched by {wording.GUESSED_BY[pair.by]}{confirmed}.", ADVISORY)
    return False


def _diagnoses(layer, findings):
    """Adds the causes that only one run has; returns the ids of those that both have."""
    old, new = layer.diagnoses
    old_causes, new_causes = (
        # A layer that stands still because it is not trainable is right alone, and no port of one that moves.
        {cause.id: cause for cause in diagnosis.causes if cause.severity == FINDING or cause.id == "trainable-false"}
        for diagnosis in (old, new)
    )
    if layer.comparison.start is not None and layer.comparison.start.differing_statistics:
        # OLD shows what should have been restored, so that nothing else is left open.
        for causes in (old_causes, new_causes):
            if "not-restored" in causes:
                causes.pop("not-updated", None)
    if layer.comparison.start is None or not layer.comparison.start.differing_statistics:
        # Both start from the same statistics, so there was nothing to restore.
        old_causes, new_causes = (
            {"not-updated" if name == "not-restored" else name: cause for name, cause in causes.items()}
            for causes in (old_causes, new_causes)
        )
    new_causes = _by_its_settings(layer, new_causes)
    old_causes, new_causes = _several_updates(layer, old_causes, new_causes)
    for name, cause in new_causes.items():
        if name not in old_causes or _differs(name, layer):
            text = wording.only_new(name, cause.explanation, *layer.effective, several=_several(layer.measured[1]))
            findings.add(name, text, FINDING, cause.misfit)
    for name, cause in old_causes.items():
        # Where NEW's statistics stand still, how often OLD updates its own is no difference of its own.
        hidden = name in ("double-update", "not-updated") and new_causes.keys() & STANDING_STILL
        if name not in new_causes and not hidden:
            findings.add(name, wording.only_old(name, cause.explanation), FINDING, cause.misfit)
    in_both = old_causes.keys() & new_causes.keys()
    if "unexplained" in in_both and not findings.causes:
        findings.undecided.append("What OLD declares explains the statistics of neither run, so nothing is shown.")
    for run, diagnosis in (("OLD", old), ("NEW", new)):
        if diagnosis.verdict == UNDECIDABLE:
            findings.undecided.append(f"{run}: {diagnosis.explanation}")
    return in_both


def _by_its_settings(layer, new_causes):
    """NEW's causes, where its own settings and flags say why its statistics stand still."""
    still = [name for name in ("not-updated", "not-restored") if name in new_causes]
    if not still:
        return new_causes
    trains = layer.measured[1] is None or layer.measured[1].compared
    if layer.comparison.flags and not (trains and layer.comparison.stood_still):
        # It never trains by its own flag, or only it does in the steps without updates, which is said as such.
        return {name: cause for name, cause in new_causes.items() if name not in still}
    if layer.declared[1].decay == 1:
        return {"frozen" if name in still else name: cause for name, cause in new_causes.items()}
    return new_causes


def _several(shown):
    """Whether a step updates the statistics more than once by its record; ``shown`` is the `Measured` or None."""
    return shown is not None and shown.applications > 1


def _several_updates(layer, old_causes, new_causes):
    """The causes of both runs, where both apply the layer several times in a step.

    A diagnosis names the several updates only where nothing else is wrong, so that they are no difference if only one
    of the two names them. Where only one of the applications updates the statistics, that is the whole difference.
    """
    many, one = "double-update", "one-tower-only"
    if not all(map(_several, layer.measured)):
        if many in old_causes and many not in new_causes and "decay" in new_causes:
            # An update that runs twice is one with another decay, whose sentence says how often OLD's runs.
            old_causes = {name: cause for name, cause in old_causes.items() if name != many}
        return old_causes, new_causes
    sides = [dict(old_causes), dict(new_causes)]
    for mine, other in (sides, sides[::-1]):
        if many in mine and many not in other and other:
            if one in other and mine is sides[1]:
                other.pop(one)  # NEW updates more often than OLD: told once
            else:
                mine.pop(many)
    return sides[0], sides[1]


def _differs(name, layer):
    """Whether a cause that both runs have is not there in the same measure."""
    if name == "decay":
        old, new = (shown.rate for shown in layer.measured)
        return not abs(old.value - new.value) <= old.interval + new.interval
    if name in ("epsilon", "epsilon-floor"):
        return not _overlap(*(run.epsilon_interval for run in layer.effective))
    return False


def _declared_rule(layer, findings):
    """Decay, epsilon and variance convention that are declared otherwise, where the numbers did not show it."""
    old, new = layer.declared
    seen, trained = findings.ids(), layer.comparison.training_steps
    if new.decay is not None and old.decay is not None and new.decay != old.decay and not trained:
        text = "NEW declares the decay {}, OLD {}; no training step shows which one NEW uses."
        findings.add("decay", text.format(*apart(new.decay, old.decay)))
    epsilons = old.epsilon, new.epsilon
    if None not in epsilons and not _same_epsilon(old, new) and not seen & {"epsilon", "epsilon-floor"}:
        allows_old, allows_new = (_overlap(layer.effective[1].epsilon_interval, [epsilon] * 2) for epsilon in epsilons)
        text = "NEW declares the epsilon {}, OLD {}".format(*apart(new.epsilon, old.epsilon))
        if not allows_old and layer.only == "training":
            findings.add("epsilon", f"{text}; outputs were not asked for.", ADVISORY)
        elif not allows_old:
            findings.add("epsilon", f"{text}; no outputs show which one NEW uses.")
        elif allows_new:
            findings.add("epsilon", f"{text}; the outputs cannot tell the two apart.", ADVISORY)
    if None not in (old.fused, new.fused) and old.fused != new.fused and not seen & {"bessel", "no-bessel"}:
        has, lacks = ("NEW", "OLD") if new.fused else ("OLD", "NEW")
        text = f"{has} declares Bessel's correction and {lacks} declares none"
        name, shown = "bessel" if new.fused else "no-bessel", layer.measured[1]
        if not trained:
            findings.add(name, f"{text}; no training step shows what NEW does.")
        elif shown is not None and shown.compared and not seen & STANDING_STILL:
            findings.add(name, f"{text}; in these steps the difference is smaller than rounding.", ADVISORY)


def _same_epsilon(old, new):
    """Whether two declared epsilons can be one value: the fused kernel takes none below 1.001e-5."""
    possible = [
        {layer.epsilon, max(layer.epsilon, FUSED_FLOOR)} if layer.fused else {layer.epsilon} for layer in (old, new)
    ]
    return any(math.isclose(a, b, rel_tol=2.0**-22) for a in possible[0] for b in possible[1])


def _declared_kind(layer, findings):
    """Other settings that are declared otherwise, where the numbers did not show it."""
    old, new = layer.declared
    seen = findings.ids()
    for flag, name in (("zero_debias", "zero-debias"), ("renorm", "renorm")):
        if getattr(old, flag) != getattr(new, flag) and name not in seen:
            has, lacks = ("NEW", "OLD") if getattr(new, flag) else ("OLD", "NEW")
            findings.add(name, f"{has} declares {flag} and {lacks} does not.")
    if new.dtype in HALVES and new.dtype != old.dtype and "half-precision" not in seen:
        text = f"NEW keeps its statistics in {new.dtype}, OLD in {old.dtype}; small updates are lost in {new.dtype}."
        findings.add("half-precision", text, ADVISORY)
    if old.trainable != new.trainable and "trainable-false" not in seen:
        lacks, has = ("NEW", "OLD") if old.trainable else ("OLD", "NEW")
        findings.add("trainable-false", f"{lacks}'s layer is not trainable, {has}'s is.")
    rule = layer.rule
    if rule.decay_measured and rule.decay is not None and layer.comparison.training_steps:
        findings.add("decay", f"OLD does not declare its decay; {rule.decay:.6g} was measured and used.", ADVISORY)


def _replicas(layer, findings):
    """Batches of replicas that become one update in another way in NEW than in OLD."""
    old, new = (None if shown is None else shown.reduction for shown in layer.measured)
    if old is None or new is None or old == new or "replica" in findings.ids(FINDING):
        return
    text = f"OLD updates its statistics by {wording.reduction(old)}, NEW by {wording.reduction(new)}."
    if {old, new} == {"mean", "pooled"}:
        text += (
            " All batches as one have the differences between their means in the variance, the mean of them has not."
        )
    findings.drop({"replica"})
    findings.add("replica", text)


def _unchecked(layer, findings):
    """What was not compared."""
    comparison = layer.comparison
    if comparison.channels or any(declared.unrecordable is not None for declared in layer.declared):
        return
    undecided = findings.undecided
    undecided += comparison.not_finite
    if not comparison.steps:
        undecided.append("No step holds the layer in both runs.")
        return
    if not comparison.training_steps and not comparison.flags and layer.only != "inference":
        undecided.append("No training step holds the layer, so continued training was not compared.")
    if layer.only != "training":
        if not comparison.outputs.steps and not comparison.outputs.notes:
            runs = zip(("OLD", "NEW"), layer.measured, strict=True)
            lacking = [run for run, shown in runs if shown is None or not shown.has_outputs]
            if lacking:
                undecided.append(
                    f"{' and '.join(lacking)} hold{'s' if len(lacking) == 1 else ''} no usable outputs together with "
                    "inputs, gamma and beta, so epsilon and the outputs were not compared; the statistics were."
                )
        undecided += comparison.outputs.notes
    if layer.rule.bessel is None and layer.only != "inference" and not any("Bessel" in text for text in undecided):
        undecided.append("OLD does not declare whether it applies Bessel's correction, and its data cannot tell.")


def _checks(layer, in_both, wrong, doubtful, unweighted):
    """The checks as the JSON has them.

    Args:
      layer: the `MatchedLayer`.
      in_both: the ids of the causes that both runs have.
      wrong: whether any cause is a finding.
      doubtful: whether the two may be different layers, so that what they start with is not compared.
      unweighted: whether NEW lacks weights that may explain its updates, so that these are not compared.
    """
    checks = layer.comparison.checks
    if doubtful and layer.comparison.start is not None:
        for name in layer.comparison.start.checks:
            checks.pop(name, None)
    if in_both and not wrong:
        # Both runs do what OLD does not declare, so nothing follows from what it declares.
        for name in ("moving mean", "moving variance", "outputs"):
            checks.pop(name, None)
        checks |= {check.what: check for check in layer.comparison.direct.checks.values()}
    entries = [entry for check in checks.values() if (entry := check.entry()) is not None]
    diagnosis, shown = layer.diagnoses[1], layer.measured[1]
    if in_both:
        return [*entries, *common_causes(diagnosis, in_both)]
    comparable = layer.rule.decay is not None and not unweighted
    return [*entries, *single_updates(diagnosis, shown)] if comparable else entries


def _overlap(old, new):
    """Whether two intervals (low, high) have a number in common; not if one of them is None."""
    return None not in (old, new) and max(old[0], new[0]) <= min(old[1], new[1])
