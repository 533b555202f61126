"""What an audit says of a trace that a recorder of models made."""

from tf1bn import trace
from tf1bn.diagnosis import diagnose


def verdicts(path):
    """Verdict and findings of each layer that could be recorded, by name."""
    opened = trace.open(path)
    return {
        result.name: (result.verdict, [cause.id for cause in result.causes if cause.severity == "finding"])
        for result in diagnose(path)
        if opened.layers[result.name].unrecordable is None
    }
