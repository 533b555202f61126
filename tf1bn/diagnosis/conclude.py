"""The diagnoses of a trace as the dict that an audit's JSON holds."""

import dataclasses

from .. import __version__
from ..verdicts import cause_entry
from . import divergence


def audit_result(diagnoses):
    """The dict that the JSON holds, from a list of ``diagnosis.Diagnosis``."""
    layers = [
        {
            "name": one.name,
            "verdict": one.verdict,
            "causes": [cause_entry(cause.id, cause.explanation, cause.severity, cause.misfit) for cause in one.causes],
            "explanation": one.explanation,
            "mean_error": one.mean_error,
            "mean_bound": one.mean_bound,
            "variance_error": one.variance_error,
            "variance_bound": one.variance_bound,
            "steps": one.steps,
            "first": one.first,
            "first_step": one.first_step,
            "inherited_error": one.inherited_error,
            "inherited_bound": one.inherited_bound,
            "added_error": one.added_error,
            "added_bound": one.added_bound,
            "accumulated": {
                name: None if each is None else dataclasses.asdict(each) for name, each in one.accumulated.items()
            },
            "estimates": {name: list(interval) for name, interval in one.estimates.items()},
        }
        for one in diagnoses
    ]
    ok = bool(layers) and all(layer["verdict"] == "ok" for layer in layers)
    said = divergence.note(diagnoses)
    notes = [] if said is None else [said]
    return {"format": "tf1bn-audit", "tf1bn": __version__, "ok": ok, "layers": layers, "notes": notes}
