"""Causes that were there in some of the training steps only.

Where no cause explains every step, each step outside its bound is tried alone with every single cause. One cause that
explains all of them, or two that do so between them, are named with their steps.
"""

import array
import dataclasses
import itertools
import math

from .._util.text import SHOWN_RANGES, apart, ranges
from ..checker.roundoff import HALVES
from ..evidence.estimators import Slope, VarianceFactor, factor_terms, rate_terms
from ..evidence.outputs.fit import BATCH, MOVING, OutputFit
from ..verdicts import FINDING
from .causes import cause, rank, sentence
from .fitting import fit_step
from .hypotheses import Hypothesis, singles
from .observed.steps_apart import not_updated_here
from .observed.wording import words_of
from .search import GIVES_WAY_TO, candidate_decays, candidate_repeats


@dataclasses.dataclass
class _Explained:
    """The training steps that one cause explains.

    Attributes:
      steps: their indices among the training steps.
      misfits, decays: for each step the misfit, and the decay in use or NaN.
      repeats: the set of how often an update ran.
      factor: the `VarianceFactor` of these steps.
    """

    steps: array.array = dataclasses.field(default_factory=lambda: array.array("q"))
    misfits: array.array = dataclasses.field(default_factory=lambda: array.array("d"))
    decays: array.array = dataclasses.field(default_factory=lambda: array.array("d"))
    repeats: set = dataclasses.field(default_factory=set)
    factor: VarianceFactor = dataclasses.field(default_factory=VarianceFactor)

    def add(self, index, misfit, hypothesis, view):
        """Take a training step; ``hypothesis`` is None where the statistics stood still."""
        self.steps.append(index)
        self.misfits.append(misfit)
        if hypothesis is not None:
            if view.all_moments is not None and not view.layer.renorm:
                self.factor.add(*factor_terms(view))
            self.repeats.add(hypothesis.repeats)
            self.decays.append(hypothesis.decay if isinstance(hypothesis.decay, float) else math.nan)


class SomeSteps:
    """Every single cause in each training step that is not as declared, from one more pass over the trace.

    Args:
      survey: the layer's `survey.Survey` of the first pass.

    Attributes:
      outputs: the `OutputFit` of the steps that did not run with training=False.
    """

    def __init__(self, survey):
        self._survey = survey
        # The convention that leaves the fewest steps outside their bounds.
        self._bessel = min(survey.accepted, key=lambda bessel: len(survey.accepted[bessel].findings))
        self._wrong = set(survey.accepted[self._bessel].findings)
        self._numbers = array.array("q")  # of all training steps
        self._tried = []
        self._explained = {}
        self._decays = []
        self._updates = 0
        self._rate, self._factor = Slope(), VarianceFactor()
        self.outputs = OutputFit()

    @staticmethod
    def wanted(survey, search):
        """Whether a layer whose causes were searched for is worth the pass."""
        wrong = any(worst.findings for worst in survey.accepted.values())
        return survey.declared.decay_known and not search.explains and wrong

    def add(self, number, view):
        """Take a step, as `step_view.View`."""
        flag_off = False
        if view.updates:
            if number in self._wrong:
                index = len(self._numbers)
                self._tried.append(index)
                if (
                    view.all_moments is not None
                    and not view.layer.renorm
                    and 0 not in view.counts
                    and view.finite.any()
                ):
                    self._rate.add(*rate_terms(view))
                    self._factor.add(*factor_terms(view))
                fits = self._fit_unmoved(view) if view.unmoved else self._fit_moved(view)
                for name, (misfit, hypothesis) in fits.items():
                    self._explained.setdefault(name, _Explained()).add(index, misfit, hypothesis, view)
                flag_off = "training-flag-off" in fits
            self._numbers.append(number)
        if not flag_off:
            self.outputs.add(number, view)
        self._updates += len(view.updates)

    def _fit_unmoved(self, view):
        """The causes that explain a step whose statistics stood still: by name (misfit, None)."""
        outputs = OutputFit()
        outputs.add(None, view)
        moving, batch = (outputs.sources[True, source] for source in (MOVING, BATCH))
        epsilon = view.layer.epsilon
        fitting = [source.consistent if epsilon is None else source.allows(epsilon) for source in (moving, batch)]
        off = moving.seen and fitting == [True, False]
        fits = {"training-flag-off" if off else "not-updated": (0.0, None)}
        if view.layer.dtype not in HALVES and view.counts and 0 not in view.counts and view.finite.any():
            # Averages that are kept in 16 bits stand still where an update is too small to show.
            for dtype in HALVES:
                hypothesis = Hypothesis(("half-precision",), dtype=dtype)
                half = fit_step(view, hypothesis, self._bessel, self._updates)
                if half.verdict != FINDING and half.misfit <= 1:
                    fits["half-precision"] = half.misfit, hypothesis
        return fits

    def _fit_moved(self, view):
        """The causes that explain a step whose statistics moved: by name (misfit, `Hypothesis`)."""
        if 0 in view.counts or not view.finite.any():
            return {}
        rate = Slope()
        if view.all_moments is not None and not view.layer.renorm:
            rate.add(*rate_terms(view))
        decays = dict.fromkeys([*self._decays, *candidate_decays(rate.estimate(), len(view.updates))])
        fits = {}
        for hypothesis in singles(view, self._bessel, list(decays), candidate_repeats(rate.estimate(), view.decay)):
            (name,) = hypothesis.ids
            if name == "decay" and name in fits:
                continue  # the first that fits: one of the steps before, where that is possible
            fit = fit_step(view, hypothesis, self._bessel, self._updates, screened=True)
            if fit.verdict != FINDING and fit.misfit <= 1 and fit.misfit < fits.get(name, (math.inf,))[0]:
                fits[name] = fit.misfit, hypothesis
        if "decay" in fits and fits["decay"][1].decay not in self._decays:
            self._decays = [fits["decay"][1].decay, *self._decays][:SHOWN_RANGES]
        return fits

    def estimates(self):
        """What the steps that are not as declared show; None if these are all steps or show nothing.

        Returns:
          where: the steps, such as "steps 3, 4 alone".
          rate, factor: the `Estimate` of 1 - decay and that of the multiple of the batch variance.
        """
        rate = self._rate.estimate()
        if len(self._tried) == len(self._numbers) or not math.isfinite(rate.value):
            return None
        steps = "step" if len(self._tried) == 1 else "steps"
        declared = self._survey.declared.decay
        agrees = declared is not None and abs(rate.value - (1 - declared)) <= 3 * rate.interval
        factor = self._factor.estimate(1 - declared if agrees else rate.value)
        return f"{steps} {ranges(self._tried, self._numbers)} alone", rate, factor

    def explain(self, facts):
        """What explains every step that is not as declared: a list of `Cause`, and one of sentences on what is open.

        Both are empty if nothing does.
        """
        if not self._tried:
            return [], []
        wrong = set(self._tried)
        whole = [name for name, explained in self._explained.items() if len(explained.steps) == len(wrong)]
        whole = [name for name in whole if name != "float32-decay" and not set(GIVES_WAY_TO.get(name, ())) & set(whole)]
        if whole and "decay" in whole and len(whole) > 1:
            whole.remove("decay")
        chosen = [(name, wrong) for name in sorted(whole, key=rank)] if whole else self._two_causes(wrong)
        causes, undecided = [], []
        for name, steps in chosen:
            if name == "not-updated":
                numbers = [self._numbers[i] for i in sorted(steps)]
                advice, doubt = not_updated_here(self._survey, numbers, self._where(sorted(steps)))
                if advice or doubt:
                    causes += advice
                    undecided += doubt
                    continue
            explained = self._explained[name]
            indices = [i for i, step in enumerate(explained.steps) if step in steps]
            misfit = max(explained.misfits[i] for i in indices)
            where = self._where(sorted(steps))
            text = _text(name, explained, indices, facts, words_of(self._survey))
            variant = "some" if name == "decay" and len(steps) < len(self._numbers) else None
            causes.append(cause(name, f"{where}: {text[0].lower()}{text[1:]}", misfit, FINDING, variant))
            if name == "double-update" and self._survey.declared.applications == 1 and facts.decay is not None:
                # The same batch twice is one update with the square of the decay.
                seen, declared = apart(facts.decay ** max(explained.repeats), facts.decay)
                text = f"the decay in use is {seen} and not {declared}."
                causes.append(cause("decay", f"{where}, or instead: {text}", misfit))
        return causes, undecided

    def _two_causes(self, wrong):
        """The two causes that explain all steps between them, with the steps of each; empty if no two do."""
        names = sorted(self._explained, key=lambda name: (name == "decay", rank(name)))
        steps = {name: set(self._explained[name].steps) for name in names}
        # A cause that explains all steps and was not chosen alone, as harmless rounding, is none of two either.
        names = [name for name in names if steps[name] != wrong]
        for first, second in itertools.combinations(names, 2):
            if steps[first] | steps[second] == wrong:
                return [(first, steps[first]), (second, wrong - steps[first])]
        return []

    def _where(self, steps):
        """In which training steps, in words; ``steps`` are indices among those."""
        total = len(self._numbers)
        if len(steps) == total:
            return "In all training steps"
        return f"In {len(steps)} of {total} training steps ({ranges(steps, self._numbers)})"


def _text(name, explained, indices, facts, words):
    """The sentence about a cause in the steps at these indices of an `_Explained`."""
    if name == "not-updated":
        text = f"The statistics have the same bits before and after, where an update was expected. {words.no_updates}"
        return f"{text} {words.evaluation}, and {words.flag_on}." if words.evaluation else text
    if name == "training-flag-off":
        return (
            "The statistics have the same bits before and after, and the outputs are normalised by the moving "
            f"statistics; {words.flag_off}."
        )
    if name == "decay":
        low, high = (pick(explained.decays[i] for i in indices) for pick in (min, max))
        declared = "the one declared"
        if facts.decay is None:
            seen = apart(low, high)
        else:
            *seen, declared = apart(low, high, facts.decay)
        seen = seen[0] if low == high else f"between {seen[0]} and {seen[1]}"
        return f"The decay in use is {seen} and not {declared}."
    if name == "double-update":
        facts = dataclasses.replace(facts, repeats=max(explained.repeats))
    rate = math.nan if facts.decay is None else 1 - facts.decay
    return sentence(name, dataclasses.replace(facts, factor=explained.factor.estimate(rate)))
