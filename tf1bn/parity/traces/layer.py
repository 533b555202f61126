"""What is to be said about one layer of two runs. Used by ``parity``."""

import math

import numpy as np

from ...evidence.estimators import likely_decays
from ...evidence.output_fit import BATCH, MOVING
from ...verdicts import ADVISORY, FINDING, OK, UNDECIDABLE, cause_entry
from ..conversions import CONVERSIONS
from ..layer_values import Side
from . import wording as paritywords

STILL = {"not-updated", "frozen", "training-flag-off", "trainable-false", "not-restored", "half-precision"}


class LayerParity:
    """What is to be said about one pair."""

    def __init__(self, pair, declared, sides, law, numbers, axis, in_sequence, only=None):
        self.pair, self.declared, self.sides, self.law, self.numbers = pair, declared, sides, law, numbers
        self.axis, self.in_sequence, self.only = axis, in_sequence, only
        self.causes, self.undecided, self.both = [], [], set()
        self.effective = [_effective(side, layer) for side, layer in zip(sides, declared, strict=True)]

    def result(self):
        self._match()
        self._diagnoses()
        self._declarations()
        elsewhere = any(cause["id"] == "wrong-axis" for cause in self.causes)
        self._parameters()
        self._flags()
        self._unchecked()
        if elsewhere:
            # Nothing else is comparable.
            self.causes = [one for one in self.causes if one["id"] not in ("unexplained", "other-parameters")]
        self.causes.sort(key=lambda cause: cause["severity"] != FINDING)
        numbers = self.numbers
        compared = dict(numbers.checks)
        if self.both and not any(cause["severity"] == FINDING for cause in self.causes):
            # Both do what OLD does not declare, so that nothing follows from what it declares.
            for name in ("moving mean", "moving variance", "outputs"):
                compared.pop(name, None)
            compared.update((check.what, check) for check in numbers.direct.values())
        checks = [cause_entry for check in compared.values() if (cause_entry := check.entry()) is not None]
        if not self.both:
            checks += self._updates()
        return {
            "name": self.pair.old if self.pair.old == self.pair.new else f"{self.pair.old} -> {self.pair.new}",
            "old": self.pair.old,
            "new": self.pair.new,
            "matched": self.pair.how,
            "verdict": OK,
            "first": False,
            "since": numbers.flags[0][0] if numbers.flags else None,
            "causes": self.causes,
            "undecided": self.undecided,
            "explanation": "",
            "checks": checks,
            "inherited_error": numbers.inherited,
            "added_error": numbers.added,
            "differences": numbers.differences,
            "data": {"state": numbers.data, "error": numbers.data_error, "reason": numbers.data_reason},
            "effective": {"old": self.effective[0], "new": self.effective[1]},
            "notes": list(numbers.notes),
            "steps": numbers.steps,
        }

    def _add(self, name, text, severity=FINDING, misfit=None):
        if not any(cause["id"] == name and severity in (cause["severity"], ADVISORY) for cause in self.causes):
            self.causes.append(cause_entry(name, text, severity, misfit))

    def _match(self):
        pair = self.pair
        if pair.how != "guess" or pair.old == pair.new:
            return
        if pair.confirmed:
            why = {"bitwise": "bit for bit the same inputs", "moments": "inputs of the same moments"}
            why = why.get(self.numbers.data, "the same inputs up to rounding")
            self._add("renamed", f"Its name is a guess by order and shape, confirmed by {why}.", ADVISORY)
        elif self._same_parameters() or self.in_sequence:
            why = "the same gamma and beta" if self._same_parameters() else "its place in the same sequence of layers"
            self._add("renamed", f"Its name is a guess by order and shape, confirmed by {why}.", ADVISORY)
        else:
            self._add("renamed", "Its name is a guess by order and shape alone.", ADVISORY)
            self.undecided.append(
                f"That NEW's {pair.new!r} is OLD's {pair.old!r} is a guess by order and shape, which the data do not "
                "confirm; say so with --map."
            )

    def _same_parameters(self):
        known = self.numbers.gamma_beta
        # Those that every layer starts with say nothing.
        told = any((one[0] != value).any() for name, value in (("gamma", 1), ("beta", 0)) if (one := known.get(name)))
        return told and all(one.tobytes() == other.tobytes() for one, other in known.values())

    def _diagnoses(self):
        """The causes that only one side has."""
        old, new = self.sides
        own = [{cause.id: cause for cause in side.causes if cause.severity == FINDING} for side in (old, new)]
        if not self._starts_apart():
            # What both start from was not to be restored.
            own = [
                {"not-updated" if name == "not-restored" else name: one for name, one in side.items()} for side in own
            ]
        for name, cause in own[1].items():
            if name in own[0] and not self._differs(name):
                continue
            old_words, new_words = ({"decay": e["decay_text"], "epsilon": e["epsilon_text"]} for e in self.effective)
            self._add(name, paritywords.sentence(name, cause.explanation, old_words, new_words), FINDING, cause.misfit)
        for name, cause in own[0].items():
            if name not in own[1]:
                if own[1].keys() & STILL and name in ("double-update", "not-updated"):
                    continue
                self._add(name, paritywords.reverse(name, cause.explanation), FINDING, cause.misfit)
        self.both = both = own[0].keys() & own[1].keys()
        if "unexplained" in both and not self.causes:
            self.undecided.append("Neither side's statistics are explained by what OLD declares, so nothing is proven.")
        for side, result in (("OLD", old), ("NEW", new)):
            if result.verdict == UNDECIDABLE:
                self.undecided.append(f"{side}: {result.explanation}")

    def _starts_apart(self):
        return [one for one in self.numbers.checks.values() if one.what.startswith("start of") and one.share > 1]

    def _differs(self, name):
        """Whether both sides have a cause, but not in the same measure."""
        old, new = (side.survey for side in self.sides)
        if name == "decay":
            one, two = old.estimates.rate.estimate(), new.estimates.rate.estimate()
            return not abs(one.value - two.value) <= one.interval + two.interval
        if name in ("epsilon", "epsilon-floor"):
            return not _overlap(self.effective[0]["epsilon"], self.effective[1]["epsilon"])
        return False

    def _declarations(self):
        """What the two declare differently, where the numbers did not show it."""
        old, new = self.declared
        seen = {cause["id"] for cause in self.causes}
        trained = self.numbers.compared_training
        if new.decay is not None and old.decay is not None and new.decay != old.decay and not trained:
            self._add("decay", f"NEW declares the decay {new.decay:g}, OLD {old.decay:g}; no training step shows more.")
        if None not in (old.epsilon, new.epsilon) and old.epsilon != new.epsilon:
            shown = _overlap(self.effective[1]["epsilon"], [old.epsilon] * 2)
            told = shown and not _overlap(self.effective[1]["epsilon"], [new.epsilon] * 2)
            if not seen & {"epsilon", "epsilon-floor"} and not told:
                if shown:
                    text = f"NEW declares the epsilon {new.epsilon:g}, OLD {old.epsilon:g}; the outputs cannot tell."
                    self._add("epsilon", text, ADVISORY)
                else:
                    text = f"NEW declares the epsilon {new.epsilon:g}, OLD {old.epsilon:g}; no outputs show more."
                    self._add("epsilon", text)
        if None not in (old.fused, new.fused) and old.fused != new.fused and not seen & {"bessel", "no-bessel"}:
            survey = self.sides[1].survey
            shown = trained and survey is not None and survey.declared_fit.steps and not seen & STILL
            words = "applies Bessel's correction" if new.fused else "does not apply Bessel's correction"
            other = "OLD does not" if new.fused else "OLD does"
            name = "bessel" if new.fused else "no-bessel"
            if not trained:
                self._add(name, f"NEW says that it {words}, {other}; no training step shows more.")
            elif shown:
                text = f"NEW says that it {words}, {other}; in these steps the difference is below what rounding does."
                self._add(name, text, ADVISORY)
        for flag, name in (("zero_debias", "zero-debias"), ("renorm", "renorm")):
            if getattr(old, flag) != getattr(new, flag) and name not in seen:
                which = ("NEW", "OLD") if getattr(new, flag) else ("OLD", "NEW")
                self._add(name, f"{which[0]} declares {flag} and {which[1]} does not.")
        if new.dtype == "float16" != old.dtype and "half-precision" not in seen:
            text = f"NEW keeps its statistics in float16, OLD in {old.dtype}; small updates get lost in it."
            self._add("half-precision", text, ADVISORY)
        if old.trainable != new.trainable and "trainable-false" not in seen:
            which = ("NEW", "OLD") if old.trainable else ("OLD", "NEW")
            self._add("trainable-false", f"{which[0]}'s layer is not trainable, {which[1]}'s is.")
        if self.law.get("estimated") and self.law["decay"] is not None and trained:
            self._add("decay", f"OLD does not say its decay; {self.law['decay']:.6g} was seen and used.", ADVISORY)

    def _parameters(self):
        """Gamma, beta and the statistics that the runs start from."""
        checks = self.numbers.checks
        # Where it says so itself, that is said below.
        flags = {"gamma": self.declared[1].scale, "beta": self.declared[1].center}
        lacks = [name for name in self.numbers.lacks if flags[name] is not False]
        if lacks and "outputs" in checks and checks["outputs"].share > 1 >= self.numbers.bare.share:
            text = f"OLD has {' and '.join(lacks)}; NEW records none, and its outputs are those of a layer without."
            self._add("missing-variable", text)
        has = [[None if value is None else bool(value) for value in self._presence(side)] for side in range(2)]
        for i, name in enumerate(("gamma", "beta")):
            one, two = has[0][i], has[1][i]
            if one is True and two is False:
                text = (
                    f"OLD has {name} and NEW has none: its scale stays 1."
                    if i == 0
                    else "OLD has beta and NEW has none: its shift stays 0."
                )
                self._lone(name, 0, text)
            elif one is False and two is True:
                self._lone(name, 1, f"NEW has {name} and OLD has none: NEW trains a parameter more.")
        if self.numbers.lengths:
            old, new = self.numbers.lengths
            self._add("wrong-axis", f"OLD's statistics have {old} channels and NEW's have {new}.")
        pairs = self.numbers.gamma_beta
        outside = [name for name in ("gamma", "beta") if name in checks and checks[name].share > 1]
        starts = self._starts_apart()
        if not self.numbers.start or not self.numbers.start[1]:
            outside, starts = self._converted(outside, starts)
        if outside:
            if len(pairs) == 2 and all((pairs["gamma"][i] == pairs["beta"][1 - i]).all() for i in range(2)):
                self._add("gamma-beta-swapped", "NEW's gamma holds OLD's beta, and NEW's beta holds OLD's gamma.")
            else:
                names = " and ".join(outside)
                worst = max((checks[name] for name in outside), key=lambda check: check.share).values
                self._add(
                    "other-parameters",
                    f"NEW starts with another {names}: {worst['new']:.6g} in channel {worst['channel']} where OLD has "
                    f"{worst['old']:.6g}.",
                )
        if starts:
            which = "(0, 1) where OLD's do not" if self.numbers.start[1] else "other values than OLD's"
            worst = max(starts, key=lambda check: check.share).values
            self._add(
                "not-restored",
                f"NEW's moving statistics start from {which}: {worst['new']:.6g} in channel "
                f"{worst['channel']} where OLD has {worst['old']:.6g}; they were not carried over.",
            )
        moved = self.numbers.moved_between
        if moved[1] is not None and moved[0] is None:
            self._add(
                "unexplained", f"NEW's moving statistics changed before step {moved[1]} without a step of the layer."
            )

    def _converted(self, outside, starts):
        """What a conversion did to the numbers that NEW starts with; gives back what it does not explain."""
        roles = [*outside, *("mean" if check.what.endswith("mean") else "variance" for check in starts)]
        sides = [
            Side(
                name,
                {role: role for role in held},
                {role: array.astype(np.float64) for role, array in held.items()},
                {role: array.dtype.name for role, array in held.items()},
                {},
                {},
            )
            for name, held in zip((self.pair.old, self.pair.new), self.numbers.held, strict=True)
        ]
        for explain in CONVERSIONS:
            if not all(np.isfinite(side.flat(role)).all() for side in sides for role in roles):
                break
            told, left = explain(*sides, roles)
            known = {cause["id"] for cause in self.causes if cause["severity"] == FINDING}
            if told and not known & {cause["id"] for cause in told}:
                # What comes of it follows.
                self.causes[:0] = [
                    cause_entry(cause["id"], f"Before the first step: {cause['explanation']}") for cause in told
                ]
                roles = left
        left = [check for check in starts if check.what.rpartition(" ")[2] in roles]
        return [name for name in outside if name in roles], left

    def _lone(self, name, side, text):
        """A gamma or beta of one side alone, which matters if it is not what a layer without has."""
        if (side, name) in self.numbers.trained or not self.numbers.gamma_beta_seen[side][name == "beta"]:
            self._add("missing-variable", text)
            return
        which, other = ("OLD", "NEW") if side == 0 else ("NEW", "OLD")
        value = 0 if name == "beta" else 1
        text = (
            f"{other} has no {name}, and {which}'s is {value} in all channels and steps: the two agree, and training "
            f"that moves it would do so on one side alone."
        )
        self._add("missing-variable", text, ADVISORY)

    def _presence(self, side):
        layer, index = self.declared[side], side
        known = self.numbers.gamma_beta_seen[index]
        return [
            True if known[i] else False if flag is False else None for i, flag in enumerate((layer.scale, layer.center))
        ]

    def _flags(self):
        if not self.numbers.flags:
            return
        step, old, new = self.numbers.flags[0]
        count = len(self.numbers.flags)
        where = f"step {step}" if count == 1 else f"{count} steps, first in step {step}"
        if any(old) and not any(new):
            self._add("training-flag-off", f"OLD trains in {where} and NEW does not.")
        else:
            self._add("batch-stats-at-inference", f"NEW trains in {where} and OLD does not, at least not as often.")

    def _unchecked(self):
        numbers = self.numbers
        if any(layer.unrecordable is not None for layer in self.declared):
            return
        if numbers.lengths:
            return
        self.undecided += numbers.not_finite.values()
        if not numbers.steps:
            self.undecided.append("No step holds it on both sides.")
            return
        if not numbers.compared_training and not numbers.flags and self.only != "inference":
            self.undecided.append("No training step holds it, so continued training was not compared.")
        if not numbers.compared_outputs and not numbers.notes and self.only != "training":
            lacking = [
                side
                for side, result in zip(("OLD", "NEW"), self.sides, strict=True)
                if result.survey is None or not any(source.seen for source in result.survey.outputs.sources.values())
            ]
            if lacking:
                self.undecided.append(
                    f"{' and '.join(lacking)} hold{'s' if len(lacking) == 1 else ''} no outputs that can be judged, "
                    "with inputs, gamma and beta, so epsilon and the outputs were not compared; the statistics were."
                )
        self.undecided += numbers.notes if self.only != "training" else []
        if (
            self.law["bessel"] is None
            and self.only != "inference"
            and not any("Bessel" in text for text in self.undecided)
        ):
            self.undecided.append("OLD does not say which variance it averages, and its data cannot tell.")

    def _updates(self):
        """The largest error of a single step, as the diagnosis of NEW by OLD's declaration has it."""
        result = self.sides[1]
        entries = []
        for name in ("mean", "variance"):
            error, bound = getattr(result, f"{name}_error"), getattr(result, f"{name}_bound")
            if error is None or self.law["decay"] is None:
                continue
            if result.verdict != FINDING and not error <= bound:
                continue  # explained by the diagnosis: another honest outcome fits
            first = result.survey.best.first_not_ok if result.verdict == FINDING else None
            entries.append(
                {
                    "what": f"one update of the moving {name}",
                    "error": error,
                    "bound": bound,
                    "step": first,
                    "channel": None,
                    "old": None,
                    "new": None,
                    "first": first if error > bound else None,
                }
            )
        return entries


def _overlap(one, two):
    return None not in (*one, *two) and max(one[0], two[0]) <= min(one[1], two[1])


def _effective(result, layer):
    """What is seen of one side: decay and its interval, variance factor, epsilon, as numbers and text."""
    survey = result.survey
    found = {"decay": None, "decay_interval": None, "factor": None, "epsilon": [None, None]}
    if survey is not None:
        rate = survey.estimates.rate.estimate()
        if math.isfinite(rate.value):
            found["decay"], found["decay_interval"] = 1 - rate.value, rate.interval
            factor = survey.estimates.factor.estimate(rate.value)
            found["factor"] = factor.value if math.isfinite(factor.value) else None
        sources = [survey.outputs.sources[key] for key in ((True, BATCH), (False, MOVING))]
        usable = [one for one in sources if one.seen and one.consistent and math.isfinite(one.low)]
        if usable:
            low, high = max(one.low for one in usable), min(one.high for one in usable)
            if low <= high:
                found["epsilon"] = [low, high]
    seen = likely_decays(survey.estimates.rate.estimate()) if survey is not None else []
    found["decay_text"] = f"{seen[0]:.6g}" if seen else "unknown" if layer.decay is None else f"{layer.decay:g}"
    low, high = found["epsilon"]
    known = low is not None and layer.epsilon is not None and low <= layer.epsilon <= high
    if known or low is None:
        found["epsilon_text"] = "unknown" if layer.epsilon is None else f"{layer.epsilon:g}"
    else:
        found["epsilon_text"] = paritywords.interval(low, high)
    return found
