"""Causes that were there in some of the training steps only. Used by ``diagnosis``.

Where no cause explains every step, each step outside its bound is tried alone with every single cause. One cause that
explains all of them, or two that do so between them, are named with their steps.
"""

import array
import dataclasses
import itertools
import math

from .. import verdicts
from .._util.text import SHOWN_RANGES, ranges
from ..evidence.estimators import Slope, VarianceFactor
from ..evidence.output_fit import BATCH, MOVING, Outputs
from ..verdicts import FINDING
from .causes import cause, place, sentence
from .hypotheses import Hypothesis, fit, singles
from .search import YIELDS, candidate_decays
from .survey import factor_terms, rate_terms

STILL = ("training-flag-off", "not-updated")


@dataclasses.dataclass
class _Explained:
    """The steps that a cause explains, as indices among the training steps, how well, and what they show."""

    steps: array.array = dataclasses.field(default_factory=lambda: array.array("q"))
    misfits: array.array = dataclasses.field(default_factory=lambda: array.array("d"))
    decays: array.array = dataclasses.field(default_factory=lambda: array.array("d"))
    repeats: set = dataclasses.field(default_factory=set)
    factor: VarianceFactor = dataclasses.field(default_factory=VarianceFactor)


class SomeSteps:
    """Every single cause in each training step that is not as declared, from one more pass over the trace.

    Attributes:
      bessel: the convention that leaves the fewest steps outside their bounds.
      outputs: the `outputfit.Outputs` of the steps that did not run with training=False.
    """

    def __init__(self, survey):
        self.survey = survey
        self.bessel = min(survey.either, key=lambda bessel: len(survey.either[bessel].wrong))
        self._wrong = set(survey.either[self.bessel].wrong)
        self._numbers = array.array("q")  # of all training steps
        self._tried = []
        self._explained = {}
        self._decays = []
        self._updates = 0
        self.outputs = Outputs()

    @staticmethod
    def wanted(survey, search):
        """Whether a layer whose causes were searched for is worth the pass."""
        return survey.decay_known and not search.explains and any(worst.wrong for worst in survey.either.values())

    def add(self, number, view):
        """Take the layer's `stepview.View` of a step."""
        flag_off = False
        if view.updates:
            if number in self._wrong:
                fits = self._fits(view)
                flag_off = "training-flag-off" in fits
                self._tried.append(len(self._numbers))
                for name, (misfit, hypothesis) in fits.items():
                    one = self._explained.setdefault(name, _Explained())
                    one.steps.append(len(self._numbers))
                    one.misfits.append(misfit)
                    if hypothesis is not None:
                        if view.all_moments is not None and not view.layer.renorm:
                            one.factor.add(*factor_terms(view))
                        one.repeats.add(hypothesis.repeats)
                        one.decays.append(hypothesis.decay if isinstance(hypothesis.decay, float) else math.nan)
            self._numbers.append(number)
        if not flag_off:
            self.outputs.add(view, number)
        self._updates += len(view.updates)

    def _fits(self, view):
        """What explains a step: by name the misfit, and the `Hypothesis` that has it or None."""
        if view.unmoved:
            outputs = Outputs()
            outputs.add(view)
            moving, batch = (outputs.sources[True, source] for source in (MOVING, BATCH))
            epsilon = view.layer.epsilon
            fitting = [one.consistent if epsilon is None else one.allows(epsilon) for one in (moving, batch)]
            off = moving.seen and fitting == [True, False]
            found = {STILL[0] if off else STILL[1]: (0.0, None)}
            if view.layer.dtype != "float16" and view.counts and 0 not in view.counts and view.finite.any():
                # Averages that are kept in float16 stand still where an update is too small to show.
                half = Hypothesis(("half-precision",), dtype="float16")
                fitted = fit(view, half, self.bessel, self._updates)
                if fitted.verdict != FINDING and fitted.misfit <= 1:
                    found["half-precision"] = fitted.misfit, None
            return found
        if 0 in view.counts or not view.finite.any():
            return {}
        rate = Slope()
        if view.all_moments is not None and not view.layer.renorm:
            rate.add(*rate_terms(view))
        decays = dict.fromkeys([*self._decays, *candidate_decays(rate.estimate(), len(view.updates))])
        found = {}
        for one in singles(view.layer, view, self.bessel, list(decays)):
            (name,) = one.ids
            if name == "decay" and name in found:
                continue  # the first that fits: one of the steps before, where that is possible
            fitted = fit(view, one, self.bessel, self._updates)
            if fitted.verdict != FINDING and fitted.misfit <= 1 and fitted.misfit < found.get(name, (math.inf,))[0]:
                found[name] = fitted.misfit, one
        if "decay" in found and found["decay"][1].decay not in self._decays:
            self._decays = [found["decay"][1].decay, *self._decays][:SHOWN_RANGES]
        return found

    def explain(self, facts):
        """List of `Cause` that together explain every step that is not as declared; empty if none do."""
        if not self._tried:
            return []
        wrong = set(self._tried)
        whole = [name for name, one in self._explained.items() if len(one.steps) == len(wrong)]
        whole = [name for name in whole if name != "float32-decay" and not set(YIELDS.get(name, ())) & set(whole)]
        if whole and "decay" in whole and len(whole) > 1:
            whole.remove("decay")
        chosen = [(name, wrong) for name in sorted(whole, key=place)] if whole else self._two(wrong)
        result = []
        for name, steps in chosen:
            one = self._explained[name]
            at = [i for i, step in enumerate(one.steps) if step in steps]
            misfit = max(one.misfits[i] for i in at)
            where = self._where(sorted(steps))
            text = self._text(name, one, at, facts)
            result.append(cause(name, f"{where}: {text[0].lower()}{text[1:]}", misfit, verdicts.FINDING))
            if name == "double-update" and self.survey.applications == 1 and facts.decay is not None:
                # The same batch twice is one update with the square of the decay.
                text = f"the decay in use is {facts.decay ** max(one.repeats):.6g} and not {facts.decay:.6g}."
                result.append(cause("decay", f"{where}, or instead: {text}", misfit))
        return result

    def _two(self, wrong):
        """The two causes that explain all steps between them, with the steps of each; empty if no two do."""
        names = sorted(self._explained, key=lambda name: (name == "decay", place(name)))
        steps = {name: set(self._explained[name].steps) for name in names}
        # One that explains all steps and was not chosen alone, as harmless rounding, is none of two either.
        names = [name for name in names if steps[name] != wrong]
        for first, second in itertools.combinations(names, 2):
            if steps[first] | steps[second] == wrong:
                return [(first, steps[first]), (second, wrong - steps[first])]
        return []

    def _text(self, name, one, at, facts):
        if name == "not-updated":
            return (
                "The statistics are the same bits before and after, where an update was due; the update operations "
                "(UPDATE_OPS) did not run."
            )
        if name == "training-flag-off":
            return (
                "The statistics are the same bits before and after, and the outputs are normalised by the moving "
                "statistics; the layer ran with training=False."
            )
        if name == "decay":
            low, high = min(one.decays[i] for i in at), max(one.decays[i] for i in at)
            declared = "the one declared" if facts.decay is None else format(facts.decay, ".6g")
            seen = f"{low:.6g}" if low == high else f"between {low:.6g} and {high:.6g}"
            return f"The decay in use is {seen} and not {declared}."
        if name == "double-update":
            facts = dataclasses.replace(facts, repeats=max(one.repeats))
        rate = math.nan if facts.decay is None else 1 - facts.decay
        return sentence(name, dataclasses.replace(facts, factor=one.factor.estimate(rate)))

    def _where(self, steps):
        """In which training steps, in words; ``steps`` are indices among those."""
        total = len(self._numbers)
        if len(steps) == total:
            return "In all training steps"
        return f"In {len(steps)} of {total} training steps ({ranges(steps, self._numbers)})"
