"""What the page shows of a layer whatever kind of result it is in: verdict, causes, remarks, and its place."""

from ..._util.text import in_words
from ...verdicts import ADVISORY, FINDING, OK, UNDECIDABLE
from .words import dicts, finite, share_in_words

# The verdicts, and between them layers that are ok but have an advisory; the most severe first.
SEVERITIES = (FINDING, UNDECIDABLE, ADVISORY, OK)


def contents(given_layers, kind, names, curves):
    """What the template shows of the layers, the most severe first.

    Args:
      given_layers: those of the result, in their order.
      kind: the `kind.Kind` of the result.
      names: a function from a layer of the result to the name that is shown.
      curves: the `reports.curves.Curves`, or None.

    Returns:
      list of dicts: "severity", "curves" as `kind.Kind` has it; everything else is text, or dicts and lists of texts
      and flags. "order" is the place in ``given_layers``, from 1 on.
    """
    layers = []
    for order, given in enumerate(given_layers, 1):
        described = kind.describe(given, curves)
        layers.append({**_common(given, names(given)), "order": order, **described})
    layers.sort(key=_rank)
    for number, layer in enumerate(layers, 1):
        layer["id"] = f"layer-{number}"
    return layers


def _common(given, name):
    causes = dicts(given.get("causes"))
    verdict = given.get("verdict")
    severity = verdict if verdict in (FINDING, OK) else UNDECIDABLE
    if severity == OK and causes:
        severity = ADVISORY
    explanation = str(given.get("explanation") or "")
    for cause in causes:
        # The causes are listed in full; what is left of the explanation are remarks.
        explanation = " ".join(explanation.replace(str(cause.get("explanation") or ""), "").split())
    return {
        "name": str(name or "(a layer without a name)"),
        "severity": severity,
        "verdict": "no verdict" if verdict is None else str(verdict),
        "first": bool(given.get("first")),
        "causes": [_cause(cause) for cause in causes],
        "ids": list(dict.fromkeys(str(cause.get("id")) for cause in causes)),
        "explanation": explanation,
        "plots": [],
    }


def _rank(layer):
    """The key that sorts layers: the most severe first, then the one that diverges first, then the largest misfit."""
    sort = next((cell["sort"] for cell in layer["cells"] if cell["sort"] is not None), None)
    return SEVERITIES.index(layer["severity"]), not layer["first"], -float(sort or -1), layer["order"]


def _cause(cause):
    misfit = cause.get("misfit")
    fit = None
    if finite(misfit):
        fit = f"largest remaining error {share_in_words(misfit)}"
        if misfit <= 1:
            fit = f"explains the numbers; {fit}"
    elif misfit is not None:
        fit = f"largest remaining error: {in_words(misfit)}"
    return {
        "id": str(cause.get("id")),
        "advisory": cause.get("severity") == ADVISORY,
        "explanation": str(cause.get("explanation") or "No explanation is given."),
        "fit": fit,
        "remedy": str(cause.get("remedy") or ""),
        "accepted": bool(cause.get("accepted")),
    }
