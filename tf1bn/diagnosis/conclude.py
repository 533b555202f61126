"""The verdict on one layer, from everything that was found about it, and the dict that an audit's JSON holds."""

from __future__ import annotations

import copy
import dataclasses
import math
import os
from collections.abc import Iterable, Mapping
from typing import Any

from .. import __version__
from .._util.text import in_percent
from ..checker.roundoff import HALVES
from ..evidence.error_propagation import AccumulatedError
from ..evidence.outputs.errors import OutputError
from ..evidence.statistic_error import StatisticError
from ..results import Result
from ..verdicts import FINDING, OK, UNDECIDABLE, cause_entry
from . import divergence
from .causes import Cause, Explanation, is_finding
from .naming import explain_training, name_convention
from .observed import inference, training
from .observed.gaps import changed_between_steps
from .observed.outputs import outputs as explain_outputs
from .observed.population import does_not_fit
from .observed.values import large_epsilon, values
from .observed.wording import all_training_steps


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """The diagnosis of one layer.

    Attributes:
      name: the layer's.
      verdict: "ok", "finding" or "undecidable".
      causes: tuple of `Cause`, best first; advisories leave the verdict ok.
      explanation: the verdict in one or more sentences.
      mean_error, mean_bound, variance_error, variance_bound: the error and the bound in the channel and step where the
        error is largest against it, for the layer as declared, in the unit of the statistic; None if nothing was
        compared.
      worst: by statistic, "mean" and "variance", the `StatisticError` that these are of: its step and channel, what was
        observed and expected there, and both bounds of rounding; None if nothing was compared.
      steps: how many steps hold the layer.
      first: whether the run diverges first in this layer: in the earliest step that is wrong, and in that step in the
        earliest layer.
      first_step: the number of the first step that was wrong; None if none was, or nothing left its bound.
      accumulated: by statistic, "mean" and "variance", the error after the last step, what that step added to it and
        what it inherited; None where it is not known.
      outputs: an `OutputError` by name, root mean squares over the values of the worst channel; None if not known.
        "inherited": how far the outputs are off because the statistics are not those of correct updates in every step;
        0 where only training steps hold outputs, which do not use the moving statistics. "added": what the layer's own
        arithmetic adds, the recorded outputs against those of real numbers from the recorded inputs and statistics.
      inherited_error, inherited_bound, added_error, added_bound: the error and the worst case of both.
      estimates: interval (low, high) by name: "alpha", the rate 1 - decay, and "k", the multiple of the batch variance
        that the moving variance takes.
      survey: the `survey.Survey` that this was concluded from; None if the layer was not compared. Private.
    """

    name: str
    verdict: str
    causes: tuple[Cause, ...]
    explanation: str
    mean_error: float | None = None
    mean_bound: float | None = None
    variance_error: float | None = None
    variance_bound: float | None = None
    worst: dict[str, StatisticError | None] = dataclasses.field(
        default_factory=lambda: {"mean": None, "variance": None}
    )
    steps: int = 0
    first: bool = False
    first_step: int | None = None
    accumulated: dict[str, AccumulatedError | None] = dataclasses.field(
        default_factory=lambda: {"mean": None, "variance": None}
    )
    outputs: dict[str, OutputError | None] = dataclasses.field(
        default_factory=lambda: {"inherited": None, "added": None}
    )
    inherited_error: float | None = None
    inherited_bound: float | None = None
    added_error: float | None = None
    added_bound: float | None = None
    estimates: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    survey: Any = dataclasses.field(default=None, repr=False, compare=False)


class Diagnoses(list[Diagnosis]):
    """The `Diagnosis` of each layer of a trace, a list in the order of the trace's layers.

    Attributes:
      about: the trace's "framework" and "framework_version", as far as it says.
    """

    def __init__(self, diagnoses: Iterable[Diagnosis] = (), about: Mapping[str, str] | None = None) -> None:
        super().__init__(diagnoses)
        self.about = dict(about or {})

    @property
    def ok(self) -> bool:
        """Whether there are layers and all are ok."""
        return self.result().ok

    @property
    def layers(self) -> list[Diagnosis]:
        """The same as the list itself, as other results have it."""
        return list(self)

    def result(self) -> Result:
        """The dict that the JSON of ``tf1bn audit`` holds."""
        return audit_result(self)

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """See `Result.to_json`."""
        return self.result().to_json(path)

    def to_html(self, path: str | os.PathLike[str] | None = None) -> str:
        """See `Result.to_html`."""
        return self.result().to_html(path)

    def __repr__(self) -> str:
        return repr(self.result())

    def _repr_html_(self) -> str:
        return self.result()._repr_html_()


def conclude_layer(name, survey, search, some_steps, others_moved):
    """The `Diagnosis` of one layer.

    Args:
      name: the layer's.
      survey: its `Survey`.
      search, some_steps: its `Search` and `SomeSteps`; None where the layer did not need them.
      others_moved: whether the statistics of another layer are not (0, 1).
    """
    trained = _training(survey, search, some_steps)
    survey = survey.explained(trained)
    causes = [*trained.causes, *inference.moved_without_training(survey)]
    outputs = explain_outputs(survey, {cause.id for cause in causes})
    further = (
        inference.withheld_updates(survey),
        inference.trained_without_updates(survey),
        training.moved_though_frozen(survey),
        training.untrained_steps(survey),
    )
    causes += [*outputs.causes, *filter(None, further), *values(survey, others_moved)]
    if not is_finding(causes):
        causes += [*training.advise(survey, {cause.id for cause in causes}), *does_not_fit(survey)]
        causes += filter(None, [large_epsilon(survey)])
    changed = changed_between_steps(survey)
    if changed is not None:
        causes.append(changed)
    undecided, notes = [*trained.undecided, *outputs.undecided], [*trained.notes, *outputs.notes]
    if survey.progress.trained and not survey.best.steps and survey.declared.decay_known:
        undecided.append("No training step could be compared.")
    causes = divergence.mark_consequences(_sorted(causes), survey)
    if is_finding(causes):
        verdict = FINDING
        wrong = [cause.explanation for cause in causes if cause.severity == FINDING]
        sentences = [*wrong, *divergence.account(survey, causes)]
        if changed is not None and changed.severity != FINDING:
            sentences.append(changed.explanation)
    elif undecided:
        verdict, sentences = UNDECIDABLE, undecided
    else:
        verdict = OK
        notes += [survey.outputs.not_compared, divergence.between_bounds(survey)]
        sentences = [*_all_is_well(survey), *notes, *(cause.explanation for cause in causes)]
    return Diagnosis(
        name,
        verdict,
        causes,
        " ".join(sentence for sentence in sentences if sentence),
        steps=survey.progress.steps,
        first_step=divergence.first_step(survey, causes) if verdict == FINDING else None,
        survey=survey,
        **_numbers(survey),
    )


def _sorted(causes):
    """The tuple of the first `Cause` of each id: findings first, and what has a name before what has none."""
    first = {}
    for cause in causes:
        first.setdefault(cause.id, cause)
    return tuple(sorted(first.values(), key=lambda cause: (cause.severity != FINDING, cause.id == "unexplained")))


def _numbers(survey):
    """The numbers of a `Diagnosis`, as keyword arguments."""
    fit = survey.best_fit
    numbers = {
        "worst": dict(zip(("mean", "variance"), survey.best.errors, strict=True)),
        "accumulated": dict(zip(("mean", "variance"), divergence.accumulated(survey), strict=True)),
        "outputs": {name: getattr(fit.output_errors, name) for name in ("inherited", "added")},
        "estimates": _estimates(survey.estimates),
    }
    for name, error in numbers["worst"].items():
        numbers[f"{name}_error"] = None if error is None else error.error
        numbers[f"{name}_bound"] = None if error is None else error.allowed
    for name, error in numbers["outputs"].items():
        if error is not None:
            numbers |= {f"{name}_error": error.error, f"{name}_bound": error.worst_case}
    return numbers


def _estimates(estimates):
    """Interval by name, of what is known."""
    rate = estimates.rate.estimate()
    both = {"alpha": rate, "k": estimates.factor.estimate(rate.value if math.isfinite(rate.value) else 0.0)}
    return {
        name: (estimate.value - estimate.interval, estimate.value + estimate.interval)
        for name, estimate in both.items()
        if math.isfinite(estimate.value) and math.isfinite(estimate.interval)
    }


def _all_is_well(survey):
    worst, tested = survey.best, survey.progress.tested - len(survey.progress.withheld)
    if worst.steps and worst.verdict == OK:
        steps = all_training_steps(worst.steps)
        error = "less than 0.1 %" if 0 < worst.misfit < 0.001 else in_percent(worst.misfit)
        yield f"The statistics are what they should be in {steps} (largest error {error} of the expected error)."
    if tested:
        steps = "the inference step" if tested == 1 else f"any of the {tested} inference steps"
        yield f"The statistics did not change in {steps}."


def _training(survey, search, some_steps):
    """The `Explanation` of the training steps."""
    declared, progress, accepted = survey.declared, survey.progress, survey.accepted.values()
    if not progress.trained:
        return Explanation()
    if survey.missing:
        text = f"The trace does not hold {survey.missing}, so the training steps could not be checked."
        return Explanation(undecided=(text,))
    causes = training.batches(survey)
    if declared.always_one and (frozen := training.frozen(survey)):
        return Explanation((*causes, frozen))
    fits = declared.decay_known and any(worst.verdict == OK and worst.steps for worst in accepted)
    result = Explanation()
    if progress.unmoved and (not fits or _swallowed(survey)):
        if inference.moved_unseen(survey):
            result = Explanation(undecided=(inference.moved_elsewhere(survey),))
        elif survey.best.steps or not declared.decay_known:
            causes.append(training.unmoved(survey))
    elif fits:
        if survey.layer.fused is None:
            result = name_convention(survey)
    elif search is not None and search.explains_by("float32-decay"):
        result = explain_training(survey, search, some_steps)
    elif declared.decay_known and any(worst.verdict == UNDECIDABLE for worst in accepted):
        result = Explanation(undecided=(_too_wide(survey),))
    elif survey.declared_fit.steps or not declared.decay_known:
        result = explain_training(survey, search, some_steps)
    return dataclasses.replace(result, causes=(*causes, *result.causes))


def _too_wide(survey):
    inputs = "the inputs instead of their moments, or " if survey.declared.from_moments else ""
    return (
        "The statistics lie between the expected error of rounding and its worst case, and "
        f"{survey.declared_fit.reason}; N = {max(survey.declared.counts)}, so record {inputs}smaller batches."
    )


def _swallowed(survey):
    """Whether statistics of 16 bits stood still in every step, although there was something to learn."""
    rate = survey.estimates.rate.estimate()
    return survey.layer.dtype in HALVES and math.isfinite(rate.value) and not survey.declared.always_zero


def _entry(cause, survey):
    """The dict of a `Cause` in the JSON, with what to do in the layer's framework."""
    known = {} if survey is None else {"framework": survey.framework, "release": survey.layer.release}
    entry = cause_entry(cause.id, cause.explanation, cause.severity, cause.misfit, variant=cause.variant, **known)
    if cause.follows_from is not None:
        entry["follows_from"] = cause.follows_from
    if cause.follows_from_layer is not None:
        entry["follows_from_layer"] = cause.follows_from_layer
    if cause.may_follow_from_layer is not None:
        entry["may_follow_from_layer"] = cause.may_follow_from_layer
    return entry


def _declared(survey):
    """How many steps train a layer, and what the trace declares of it, as the JSON has them; empty if not compared."""
    if survey is None:
        return {}
    # Not by `dataclasses.asdict`, which took a tenth of an audit of small layers.
    settings = {name: copy.copy(value) for name, value in vars(survey.layer).items() if value is not None}
    withheld = len(survey.progress.withheld)
    known = {"withheld_steps": withheld} if withheld else {}
    return {"training_steps": survey.progress.trained, **known, "settings": settings}


def audit_result(diagnoses: Iterable[Diagnosis]) -> Result:
    """The `Result` that the JSON of an audit holds, from the `Diagnosis` of each layer, best as `Diagnoses`."""
    about = getattr(diagnoses, "about", {})
    diagnoses = list(diagnoses)
    layers = [
        {
            "name": diagnosis.name,
            "verdict": diagnosis.verdict,
            "causes": [_entry(cause, diagnosis.survey) for cause in diagnosis.causes],
            "explanation": diagnosis.explanation,
            "mean_error": diagnosis.mean_error,
            "mean_bound": diagnosis.mean_bound,
            "variance_error": diagnosis.variance_error,
            "variance_bound": diagnosis.variance_bound,
            "steps": diagnosis.steps,
            **_declared(diagnosis.survey),
            "first": diagnosis.first,
            "first_step": diagnosis.first_step,
            "inherited_error": diagnosis.inherited_error,
            "inherited_bound": diagnosis.inherited_bound,
            "added_error": diagnosis.added_error,
            "added_bound": diagnosis.added_bound,
            **{
                kind: {
                    name: None if error is None else dict(vars(error))
                    for name, error in getattr(diagnosis, kind).items()
                }
                for kind in ("worst", "accumulated", "outputs")
            },
            "estimates": {name: list(interval) for name, interval in diagnosis.estimates.items()},
        }
        for diagnosis in diagnoses
    ]
    ok = bool(layers) and all(layer["verdict"] == OK for layer in layers)
    note = divergence.note(diagnoses)
    notes = [] if note is None else [note]
    known = {"about": about} if about else {}
    return Result({"format": "tf1bn-audit", "tf1bn": __version__, **known, "ok": ok, "layers": layers, "notes": notes})
