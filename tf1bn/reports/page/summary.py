"""The answer of a page: the result in a sentence, and what was found by cause, with what to do."""

from ..._util.text import counted
from ...verdicts import ADVISORY, CAUSES, FINDING, OK, UNDECIDABLE
from ..layers.grouping import without_numbers
from .layers import SEVERITIES

LISTED = 6  # layers that a cause names; the table has the rest
OPEN_QUESTIONS = 5  # different reasons why layers are undecidable


def counts_of(layers):
    """Dict from each of SEVERITIES to the number of such layers."""
    return {severity: sum(layer["severity"] == severity for layer in layers) for severity in SEVERITIES}


def overall_severity(counts, incomplete):
    """The severity of a result as a whole; ``incomplete``: whether something besides the layers is wrong."""
    worst = next((severity for severity in SEVERITIES if counts[severity]), UNDECIDABLE)
    return UNDECIDABLE if incomplete and worst in (ADVISORY, OK) else worst


def overall_verdict(counts, worst):
    """The whole audit in a sentence; ``worst`` is the `overall_severity`."""
    total = sum(counts.values())
    if not total:
        return "Nothing was judged: there are no layers."
    of_all = f"of {counted(total, 'layer')}"
    if counts[FINDING]:
        return f"Something is wrong in {counts[FINDING]} {of_all}."
    if counts[UNDECIDABLE]:
        return f"Nothing wrong was found, but {counts[UNDECIDABLE]} {of_all} could not be decided."
    if worst == UNDECIDABLE:
        return "Nothing wrong was found, but the audit is not complete."
    advised = counts[ADVISORY]
    if total == 1:
        return "No finding: the layer is as it should be" + (", with advice." if advised else ".")
    right = f"No finding: all {total} layers are as they should be"
    return right + (f", with advice for {advised}." if advised else ".")


def by_cause(layers):
    """What was found, one dict for each cause: first those of findings, of most layers first, then advisories.

    Args:
      layers: what `layers.contents` gives.

    Returns:
      list of {"id", "anchor", "severity", "title": texts, "accepted": bool, "count": int, "remedies": list of texts,
      "layers": the first few, "more": how many more}.
    """
    groups = {}
    for layer in layers:
        for cause in layer["causes"]:
            group = groups.setdefault(cause["id"], {"layers": [], "remedies": [], "severity": ADVISORY, "open": 0})
            if layer not in group["layers"][-1:]:
                group["layers"].append(layer)
            group["open"] += not cause["accepted"]
            if not cause["advisory"]:
                group["severity"] = FINDING
            if cause["remedy"] and cause["remedy"] not in group["remedies"]:
                group["remedies"].append(cause["remedy"])
    found = []
    for name, group in groups.items():
        listed = group.pop("layers")
        found.append(
            {
                **group,
                "id": name,
                "title": CAUSES[name].title if name in CAUSES else "",
                "accepted": not group["open"],
                "count": len(listed),
                "layers": listed[:LISTED],
                "more": max(0, len(listed) - LISTED),
            }
        )
    found.sort(key=lambda cause: (cause["accepted"], cause["severity"] != FINDING, -cause["count"]))
    for number, cause in enumerate(found, 1):
        cause["anchor"] = f"cause-{number}"
    return found


def open_questions(layers):
    """Why layers are undecidable: pairs of an explanation and the layers that have it, of most layers first.

    Explanations that differ in numbers and in the layer's name alone are one; that of the first layer stands for all.
    """
    groups = {}
    for layer in layers:
        if layer["severity"] == UNDECIDABLE:
            groups.setdefault(without_numbers(layer["explanation"], layer["name"]), []).append(layer)
    ranked = sorted(groups.values(), key=len, reverse=True)
    return [
        {
            "explanation": group[0]["explanation"] or "No reason is given.",
            "count": len(group),
            "layers": group[:LISTED],
            "more": max(0, len(group) - LISTED),
        }
        for group in ranked[:OPEN_QUESTIONS]
    ]
