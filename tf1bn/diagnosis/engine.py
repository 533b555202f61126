"""Why the moving statistics of a layer are not what they should be: a verdict per layer, and causes.

    for result in diagnose(trace.open("run.trace")):
        print(result.name, result.verdict, [(cause.id, cause.explanation) for cause in result.causes])

The first pass over the trace judges every step of every layer as it is declared: the statistics after a step are
predicted from the observed ones before it, so errors do not add up. Only for layers that are not as declared is there a
second pass, which tries every cause, and every two of them, as predictions; a cause is named when its prediction lies
within the bound in all steps. Needs NumPy and the checker, no TensorFlow.
"""

import contextlib
import dataclasses
import functools
import math

from .. import verdicts
from ..errors import TraceError
from ..evidence.output_fit import BATCH, MOVING
from ..evidence.read_ahead import read
from ..evidence.step_view import COMPARABLE
from ..verdicts import FINDING, OK, UNDECIDABLE
from . import divergence, observations
from .causes import Cause, cause
from .partial import SomeSteps
from .search import Search, convention, explain
from .survey import Survey


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """What is to be said about one layer.

    Attributes:
      name: the layer's.
      verdict: "ok", "finding" or "undecidable".
      causes: tuple of `Cause`, best first; advisories leave the verdict ok.
      explanation: the verdict in a sentence or more.
      mean_error, mean_bound, variance_error, variance_bound: the error and what is allowed there, of the channel and
        step where the error is largest against it, for the layer as declared; None if nothing was compared.
      steps: how many steps held the layer.
      first: whether the error leaves its bound in this layer before it does so in any other: in the earliest step, and
        in that step in the earliest layer.
      first_step: the number of the first step that was wrong; None if none was, or nothing left its bound.
      accumulated: by statistic, "mean" and "variance", the `inheritance.Accumulated` error after the last step, what
        that step added to it and what it inherited; None where it is not known.
      inherited_error, inherited_bound: root mean square over the values of the worst channel, in the unit of the
        outputs, of what the outputs owe to statistics that are not those of unbroken honest updates, and how much an
        honest layer can have; 0 where only training steps hold outputs, which do not use them. None if not known.
      added_error, added_bound: likewise, of what the layer's own arithmetic adds: the recorded outputs against those
        that are due in real numbers to the recorded inputs and statistics.
      estimates: interval by name: "alpha", the step taken to the batch, and "k", the variance taken over that of the
        batch.
      survey: the `survey.Survey` that this was concluded from; None if nothing was looked at.
    """

    name: str
    verdict: str
    causes: tuple[Cause, ...]
    explanation: str
    mean_error: float | None = None
    mean_bound: float | None = None
    variance_error: float | None = None
    variance_bound: float | None = None
    steps: int = 0
    first: bool = False
    first_step: int | None = None
    accumulated: dict = dataclasses.field(default_factory=lambda: {"mean": None, "variance": None})
    inherited_error: float | None = None
    inherited_bound: float | None = None
    added_error: float | None = None
    added_bound: float | None = None
    estimates: dict = dataclasses.field(default_factory=dict)
    survey: object = dataclasses.field(default=None, repr=False, compare=False)


def diagnose(trace, *, progress=None, curves=None):
    """Judge every layer of a trace.

    Args:
      trace: a `trace.Trace`, or an object with its `layers`, a dict of `trace.Layer`, that can be iterated over three
        times and gives steps with the attributes of `trace.Step`.
      progress: None, or called after each step with its `Step`.
      curves: None, or a `curves.Curves` that is to keep what was observed and expected in each training step.

    Returns:
      list of `Diagnosis`, in the order of the trace's layers.

    Raises:
      TraceError: the trace is damaged.
      TypeError: the trace can be iterated over only once.
    """
    if iter(trace) is trace:
        raise TypeError("`trace` can be iterated over only once; give the trace itself, or a list of its steps.")
    surveys = {name: Survey(layer) for name, layer in trace.layers.items() if layer.dtype in COMPARABLE}
    if curves is not None:
        for name, survey in surveys.items():
            survey.observe = functools.partial(curves.add, name)
    _pass(trace, {name: one for name, one in surveys.items() if one.layer.unrecordable is None}, progress, outputs=True)
    searches = {name: Search(survey) for name, survey in surveys.items() if _is_wrong(survey)}
    if searches:
        _pass(trace, searches, progress)
    partly = {
        name: SomeSteps(surveys[name]) for name, search in searches.items() if SomeSteps.wanted(surveys[name], search)
    }
    if partly:
        _pass(trace, partly, progress, outputs=True)
    any_moved = {name for name, survey in surveys.items() if survey.steps and not survey.initial}
    results = []
    for name, layer in trace.layers.items():
        survey = surveys.get(name)
        if layer.unrecordable is not None:
            results.append(Diagnosis(name, UNDECIDABLE, (), f"It could not be recorded. {layer.unrecordable}"))
        elif survey is None:
            text = f"Its statistics are {layer.dtype}, which the checker does not compute in; it was not judged."
            results.append(Diagnosis(name, UNDECIDABLE, (), text))
        elif not survey.steps:
            results.append(Diagnosis(name, UNDECIDABLE, (), "No step of the trace holds it; it was not judged."))
        else:
            results.append(_conclude(name, survey, searches.get(name), partly.get(name), bool(any_moved - {name})))
    return divergence.mark_first(results)


def _pass(trace, takers, progress, outputs=False):
    """Give each of the ``takers``, by the name of a layer, what every step holds of it."""
    for step, name, view in read(trace, takers.keys(), outputs):
        if view is not None:
            with _of_step(step.number, name):
                takers[name].add(step.number, view)
        elif progress is not None:
            progress(step)


@contextlib.contextmanager
def _of_step(number, name):
    """What the checker refuses, such as negative weights, is damage of the trace."""
    try:
        yield
    except TraceError:
        raise
    except ValueError as error:
        raise TraceError(f"step {number}, layer {name!r}: {error}") from error


def _is_wrong(survey):
    if not survey.trained or survey.unmoved or survey.missing:
        return False
    return not survey.decay_known or all(worst.verdict == FINDING for worst in survey.either.values())


def _conclude(name, survey, search, some_steps, others_moved):
    found, undecided, notes = [], [], []
    _statistics(survey, search, some_steps, others_moved, found, undecided, notes)
    observations.inference(survey, found)
    observations.outputs(survey, found, notes)
    observations.look(survey, others_moved, found)
    observations.advise(survey, found)
    if survey.trained and not survey.best.judged and survey.decay_known:
        undecided.append("No training step could be compared.")
    if survey.outputs.unjudged:
        notes.append(survey.outputs.unjudged)
    if jumps := divergence.jumps(survey):
        notes.append(jumps)
    seen = {}
    for one in found:
        seen.setdefault(one.id, one)
    # What has a name comes before what has none.
    found = tuple(sorted(seen.values(), key=lambda one: (one.severity != verdicts.FINDING, one.id == "unexplained")))
    wrong = any(one.severity == verdicts.FINDING for one in found)
    verdict = FINDING if wrong else UNDECIDABLE if undecided else OK
    if verdict == FINDING:
        wrong = [one.explanation for one in found if one.severity == verdicts.FINDING]
        explanation = " ".join([*wrong, *divergence.account(survey), *([jumps] if jumps else ())])
    elif verdict == UNDECIDABLE:
        explanation = " ".join(undecided)
    else:
        explanation = " ".join([_fine(survey), *notes, *(one.explanation for one in found)])
    (_, mean_error, mean_bound), (_, variance_error, variance_bound) = survey.best.errors
    accumulated = survey.chains[survey.convention].accumulated()
    errors = survey.output_errors[survey.convention]
    inherited, added = errors.inherited, errors.added
    return Diagnosis(
        name,
        verdict,
        found,
        explanation,
        mean_error,
        mean_bound,
        variance_error,
        variance_bound,
        survey.steps,
        first_step=divergence.first_step(survey, found) if verdict == FINDING else None,
        accumulated=dict(zip(("mean", "variance"), accumulated, strict=True)),
        inherited_error=None if inherited is None else inherited.error,
        inherited_bound=None if inherited is None else inherited.bound,
        added_error=None if added is None else added.error,
        added_bound=None if added is None else added.bound,
        estimates=_estimates(survey),
        survey=survey,
    )


def _estimates(survey):
    """Intervals of the step taken and of the variance factor, by their names; without those that are not known."""
    rate = survey.rate.estimate()
    known = {"alpha": rate, "k": survey.factor.estimate(rate.value if math.isfinite(rate.value) else 0.0)}
    return {
        name: (one.value - one.interval, one.value + one.interval)
        for name, one in known.items()
        if math.isfinite(one.value) and math.isfinite(one.interval)
    }


def _fine(survey):
    worst = survey.best
    parts = []
    if worst.judged:
        steps = "the training step" if worst.judged == 1 else f"all {worst.judged} training steps"
        parts.append(f"The statistics are what they should be in {steps}, at most {worst.misfit:.2g} of the bound off.")
    if survey.tested:
        steps = "the step" if survey.tested == 1 else f"all {survey.tested} steps"
        parts.append(f"They stayed as they were in {steps} without training.")
    return " ".join(parts)


def _statistics(survey, search, some_steps, others_moved, found, undecided, notes):
    """What the training steps show."""
    if not survey.trained:
        return
    if survey.missing:
        undecided.append(f"The trace does not hold {survey.missing}, so the training steps could not be judged.")
        return
    if survey.empty:
        found.append(
            cause("empty-batch", f"In {survey.empty} steps the batch was empty, which makes both statistics NaN.")
        )
    if survey.single:
        text = f"In {survey.single} steps there was one value per channel, whose variance is 0"
        if survey.single_nan:
            text += "; the moving variance became NaN, as on a GPU, where N/(N-1) is infinite at N = 1."
            found.append(cause("single-value", text, severity=verdicts.FINDING))
        else:
            found.append(cause("single-value", text + ": the moving variance only shrinks."))
    if survey.frozen:
        text = "The decay is 1 in training, so the statistics keep their start values for ever; use a smaller one."
        misfit = 0.0 if survey.unmoved else survey.declared.misfit
        if survey.unmoved or survey.declared.verdict == OK:
            found.append(cause("frozen", text, misfit))
            return
    fitting = {bessel: worst for bessel, worst in survey.either.items() if worst.verdict == OK and worst.judged}
    if survey.unmoved and (not fitting or not survey.decay_known or _swallowed(survey)):
        if survey.best.judged or not survey.decay_known:
            found.append(_still(survey, others_moved))
        return
    if fitting and survey.decay_known:
        if survey.layer.fused is None:
            convention(survey, fitting, undecided, notes)
        return
    if survey.decay_known and any(worst.verdict == UNDECIDABLE for worst in survey.either.values()):
        inputs = "the inputs instead of their moments, or " if survey.from_moments else ""
        undecided.append(
            f"The statistics lie between what is expected and the worst case, and {survey.declared.undecided}; "
            f"N = {max(survey.counts)}, so record {inputs}smaller batches."
        )
        return
    if not survey.declared.judged and survey.decay_known:
        return
    explain(survey, search, some_steps, found, undecided)


def _swallowed(survey):
    """Whether float16 statistics stood still in every step, although there was something to learn."""
    rate = survey.rate.estimate()
    return survey.layer.dtype == "float16" and survey.trained > 0 and math.isfinite(rate.value) and not survey.decay_0


def _still(survey, others_moved):
    """Why the statistics are the same bits before and after every training step."""
    steps = f"all {survey.trained} training steps" if survey.trained > 1 else "the training step"
    stood = f"The statistics are the same bits before and after {steps}"
    outputs = survey.outputs.sources
    if not survey.layer.trainable:
        return cause("trainable-false", f"{stood}: the layer is not trainable, which TF 2 takes for frozen.", 0.0)
    moving, batch = outputs[True, MOVING], outputs[True, BATCH]
    if moving.seen and moving.consistent and not batch.consistent:
        return cause(
            "training-flag-off",
            f"{stood}, and the outputs are normalised by the moving statistics: the layer ran with training=False.",
            moving.misfit,
        )
    if survey.layer.dtype == "float16" and any(worst.verdict == OK for worst in survey.either.values()):
        return cause(
            "half-precision",
            f"{stood}: they are float16, and the updates are too small to show in it.",
            survey.best.misfit,
        )
    if survey.initial and survey.changed and others_moved:
        return cause("not-restored", f"{stood} and still (0, 1), while beta or gamma are trained.", 0.0)
    never = ", and have never been updated: they are still (0, 1)" if survey.initial else ""
    return cause("not-updated", f"{stood}{never}. The update operations (UPDATE_OPS) did not run.", 0.0)
