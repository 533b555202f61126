"""The result of an audit of a graph, the dict of one layer in its JSON, and the causes in that."""

from ... import __version__
from ...results import Result
from ...verdicts import FINDING, OK, cause_entry

_NUMBERS = ("mean_error", "mean_bound", "variance_error", "variance_bound")
_STEPS = ("first_step", "inherited_error", "inherited_bound", "added_error", "added_bound")


def entry(name, explanation, severity=FINDING, *, doubt=False, variant=None):
    """A cause in a graph of TensorFlow; with ``doubt`` it is one of two explanations, so the layer is undecidable."""
    known = cause_entry(name, explanation, severity, framework="tensorflow", release="1", variant=variant)
    return {**known, "doubt": doubt}


def beside(own, siblings):
    """Those of ``siblings``, causes of a layer that is unlike its siblings, which its ``own`` ones leave to be said."""
    said = {cause["id"] for cause in own}
    said |= {"decay"} if said & {"frozen", "no-memory"} else set()
    return [cause for cause in siblings if cause["id"] not in said]


def audit_result(layers, problems, notes, graph):
    """The `Result` of an audit, see `graphs.audit`.

    Args:
      layers: list of what `audit_entry` gives.
      problems, notes: sentences.
      graph: what is said of the graph as a whole.
    """
    return Result(
        {
            "format": "tf1bn-audit",
            "kind": "graph",
            "tf1bn": __version__,
            "ok": not problems and all(layer["verdict"] == OK for layer in layers),
            "layers": layers,
            "problems": problems,
            "notes": notes,
            "graph": graph,
        }
    )


def audit_entry(name, verdict, causes, doubts, structure, said):
    """The dict of a layer.

    Args:
      name, verdict: the layer's.
      causes: list of `verdicts.cause_entry`, the best first.
      doubts: sentences on what cannot be seen; those of causes that are one of two explanations are among the causes.
      structure: see `graphs.audit`.
      said: how the layer is built, part of a sentence.
    """
    bare = [{key: value for key, value in cause.items() if key != "doubt"} for cause in causes]
    texts = [*(cause["explanation"] for cause in causes), *doubts]
    if verdict == OK:
        texts.insert(0, f"Nothing is wrong as far as the graph shows: {said}.")
    return {
        "name": name,
        "verdict": verdict,
        "causes": bare,
        "explanation": " ".join(texts),
        **dict.fromkeys(_NUMBERS),
        "steps": 0,
        "first": False,
        **dict.fromkeys(_STEPS),
        "accumulated": {"mean": None, "variance": None},
        "estimates": {},
        "undecided": [*(cause["explanation"] for cause in causes if cause.get("doubt")), *doubts],
        "structure": structure,
    }
