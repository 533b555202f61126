"""What the numbers of a run show that a layer does, whatever its trace declares; and the rule that follows from both.

Everything that a comparison takes from the inside of a diagnosis is read here, and nowhere else.
"""

from __future__ import annotations

import dataclasses
import math

from ...evidence.estimators import Estimate, likely_decays
from ...evidence.outputs.fit import BATCH, MOVING
from ...verdicts import FINDING, OK
from . import wording


@dataclasses.dataclass(frozen=True)
class Measured:
    """What a `Diagnosis` measured about a layer.

    Attributes:
      rate: `Estimate` of the step towards the batch, 1 - decay.
      factor: the variance that is averaged over that of the batch; NaN if not known.
      epsilon: the interval of epsilons that the outputs allow, (low, high); None if not known.
      bessel: whether the variance that is averaged has Bessel's correction, if the trace does not declare it; None if
        the data cannot tell.
      decay_declared: whether the trace gives the decay of every training step; decay_varies: whether these differ.
      applications: how many times one step updates the statistics at most.
      as_declared: whether the statistics are what the declared settings make of the inputs.
      compared: whether any training step was compared with the declared settings.
      has_outputs: whether a step holds outputs that can be compared.
      first_wrong_step: the first training step that is not as declared; None if there is none.
      reduction: how the batches of replicas become one update, as `step_view.View.moments_reduced` takes it; None if
        they do not.
    """

    rate: Estimate
    factor: float
    epsilon: tuple[float, float] | None
    bessel: bool | None
    decay_declared: bool
    decay_varies: bool
    applications: int
    as_declared: bool
    compared: bool
    has_outputs: bool
    first_wrong_step: int | None
    reduction: object = None

    @property
    def decay(self):
        """The likeliest decay, rounded as somebody would write it; None if not known."""
        return next(iter(likely_decays(self.rate)), None)


def measured(diagnosis):
    """The `Measured` of a `Diagnosis`; None if it looked at no step."""
    survey = diagnosis.survey
    if survey is None:
        return None
    rate = survey.estimates.rate.estimate()
    sources = survey.outputs.sources
    return Measured(
        rate=rate,
        factor=survey.estimates.factor.estimate(rate.value).value if math.isfinite(rate.value) else math.nan,
        epsilon=_epsilon([sources[key] for key in ((True, BATCH), (False, MOVING))]),
        bessel=survey.shown_convention,
        decay_declared=survey.declared.decay_known,
        decay_varies=len(survey.declared.decays) > 1,
        applications=survey.declared.applications,
        as_declared=survey.best.verdict == OK,
        compared=survey.declared_fit.steps > 0,
        has_outputs=any(source.seen for source in sources.values()),
        first_wrong_step=survey.best.first_not_ok,
        reduction=survey.declared.reduction if survey.reduction is None else survey.reduction,
    )


def _epsilon(sources):
    """The interval that all usable `Source` of the outputs allow, or None."""
    usable = [source for source in sources if source.seen and source.consistent and math.isfinite(source.low)]
    if not usable:
        return None
    low, high = max(source.low for source in usable), min(source.high for source in usable)
    return (low, high) if low <= high else None


@dataclasses.dataclass(frozen=True)
class LayerRule:
    """What OLD's layer does, which NEW's is compared with.

    Attributes:
      decay: as declared, else as measured; None if neither is known.
      decay_measured: whether it was measured.
      bessel: whether the moving variance takes N/(N-1) times the batch variance; None if not known.
      epsilon: as declared; None if not known.
      predictable: whether OLD's statistics follow from these alone, so that they can be predicted over all steps.
    """

    decay: float | None
    decay_measured: bool
    bessel: bool | None
    epsilon: float | None
    predictable: bool


def rule_of(layer, shown):
    """The `LayerRule` of a layer of OLD.

    Args:
      layer: its `trace.Layer`, what the trace declares.
      shown: its `Measured`, or None.
    """
    if shown is None:
        return LayerRule(layer.decay, False, layer.fused, layer.epsilon, False)
    bessel = shown.bessel if layer.fused is None else layer.fused
    plain = not layer.renorm and not layer.zero_debias and layer.dtype in ("float16", "float32", "float64")
    return LayerRule(
        decay=layer.decay if shown.decay_declared else shown.decay,
        decay_measured=not shown.decay_declared,
        bessel=bessel,
        epsilon=layer.epsilon,
        predictable=shown.as_declared
        and bessel is not None
        and shown.applications == 1
        and plain
        and shown.decay_declared,
    )


@dataclasses.dataclass(frozen=True)
class Effective:
    """What one run of a layer does, as far as its numbers show, in words and for the JSON.

    Attributes:
      decay, epsilon: as text: the measured one, else the declared one, else "unknown".
      epsilon_interval: (low, high) as measured; None if not known.
      entry: the dict that the JSON has.
    """

    decay: str
    epsilon: str
    epsilon_interval: tuple[float, float] | None
    entry: dict


def effective(layer, shown, own_decays):
    """The `Effective` of a layer.

    Args:
      layer: its `trace.Layer`.
      shown: its `Measured`, or None.
      own_decays: whether it was measured under the decays of its own trace, and not under another's.
    """
    entry = {"decay": None, "decay_interval": None, "factor": None, "epsilon": [None, None]}
    interval = decay = None
    # The rate of several updates together is the decay of none of them.
    several = shown is not None and shown.applications > 1
    if shown is not None:
        interval, decay = shown.epsilon, None if several else shown.decay
        if not several and math.isfinite(shown.rate.value):
            entry["decay"], entry["decay_interval"] = 1 - shown.rate.value, shown.rate.interval
            entry["factor"] = shown.factor if math.isfinite(shown.factor) else None
        if interval is not None:
            entry["epsilon"] = list(interval)
    decay_text = f"{decay:.6g}" if decay is not None else _declared(layer.decay)
    if own_decays and decay is None and shown is not None and shown.decay_declared and shown.decay_varies:
        decay_text = "another one in each update"
    if decay is not None and (repeats := _repeats(layer.decay, shown.rate)) > 1:
        decay_text = f"{decay:.6g} (that of {repeats} updates with {layer.decay:g})"
    agrees = interval is None or (layer.epsilon is not None and interval[0] <= layer.epsilon <= interval[1])
    epsilon_text = _declared(layer.epsilon) if agrees else wording.interval(*interval)
    return Effective(
        decay_text, epsilon_text, interval, {**entry, "decay_text": decay_text, "epsilon_text": epsilon_text}
    )


def _repeats(decay, rate):
    """How many updates with a decay take the measured step of `Estimate`; 1 if it is no whole number of them."""
    if decay is None or not 0 < decay < 1 or not 0 < rate.value < 1:
        return 1
    repeats = round(math.log1p(-rate.value) / math.log(decay))
    return repeats if repeats > 1 and abs(1 - decay**repeats - rate.value) <= rate.interval else 1


def _declared(value):
    return "unknown" if value is None else f"{value:g}"


def common_causes(diagnosis, in_both):
    """How well what both runs do explains NEW, in units of the bounds of its prediction, as checks of the JSON.

    Args:
      diagnosis: the `Diagnosis` of NEW.
      in_both: the ids of the causes that both runs have.
    """
    causes = [cause for cause in diagnosis.causes if cause.id in in_both and cause.misfit is not None]
    empty = dict.fromkeys(("step", "channel", "old", "new", "first"))
    return [
        {"what": f"one step by {cause.id}, in units of its bound", "error": cause.misfit, "bound": 1.0, **empty}
        for cause in causes
    ]


def single_updates(diagnosis, shown):
    """The largest error of a single update of each statistic, as checks of the JSON.

    Args:
      diagnosis: the `Diagnosis` of NEW by OLD's rule.
      shown: its `Measured`.
    """
    entries = []
    for name, worst in diagnosis.worst.items():
        if worst is None:
            continue
        if diagnosis.verdict != FINDING and not worst.error <= worst.allowed:
            continue  # the diagnosis explains it: another correct order of summation fits
        first = shown.first_wrong_step if diagnosis.verdict == FINDING and worst.error > worst.allowed else None
        entry = {"what": f"one update of the moving {name}", "error": worst.error, "bound": worst.allowed}
        entry |= {"step": worst.step, "channel": worst.channel, "old": worst.expected, "new": worst.observed}
        entries.append(entry | {"expected_error": worst.expected_error, "worst_case": worst.worst_case, "first": first})
    return entries
