"""Annotations of GitHub Actions: workflow commands, which a step prints.

https://docs.github.com/actions/reference/workflow-commands-for-github-actions
GitHub shows ten of each kind for a step, so layers with the same cause share one.
"""

from ..._util.text import listed
from ...verdicts import ADVISORY, FINDING, UNDECIDABLE
from ..layers.grouping import count_verdicts
from .statements import PROBLEM, statements

LEVELS = {FINDING: "error", PROBLEM: "error", UNDECIDABLE: "warning", ADVISORY: "notice"}
LAYERS = 100  # whose names one annotation lists


def render(report):
    """The lines that annotate, findings first, and one with the verdicts."""
    groups = {}
    for statement in statements(report.result):
        level = "notice" if statement.accepted else LEVELS[statement.kind]
        what = statement.message if statement.kind == PROBLEM else ""
        groups.setdefault((level, statement.cause, what), []).append(statement)
    order = list(dict.fromkeys(LEVELS.values()))
    lines = [
        _line(report, level, group) for (level, *_), group in sorted(groups.items(), key=lambda i: order.index(i[0][0]))
    ]
    return "\n".join([*lines, f"{report.file}: {count_verdicts(report.result['layers'])}"]) + "\n"


def _line(report, level, group):
    first = group[0]
    layers = [statement.layer for statement in group if statement.layer is not None]
    title = f"{report.command}: {first.cause}"
    text = first.message
    if layers:
        title += f" in {listed(layers, 1)}"
        text = f"{first.title[:1].upper()}{first.title[1:]}. In {layers[0]}: {first.message}"
    if first.accepted:
        text = f"Accepted. {text}"
    if layers[1:]:
        text += f"\nLayers: {listed(layers, LAYERS)}."
    if first.remedy:
        text += f"\nWhat to do: {first.remedy}"
    return f"::{level} file={_property(report.file)},title={_property(title)}::{_data(text)}"


def _data(text):
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text):
    return _data(text).replace(":", "%3A").replace(",", "%2C")
