"""Layers of which the same is to be said, as one row of a report: of one verdict, and with the same causes."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from ..._util.text import counted
from ...verdicts import FINDING, OK, VERDICTS

# Advisories that --quiet does not leave out: a part of the run was not seen, or the statistics are of something else.
TELL_ALWAYS = ("changed-between-steps", "statistics-do-not-fit")
_NUMBER = re.compile(r"[-+]?\d[\d.,]*(?:e[-+]?\d+)?")


@dataclasses.dataclass(frozen=True)
class Row:
    """What a report says about one layer.

    Attributes:
      layer: its dict in the JSON.
      name: how the report calls it.
      remark: a text that stands beside its verdict, or "".
      explanation: one or more sentences.
      kind: anything by which layers with the same causes are still told apart, or None.
    """

    layer: dict[str, Any]
    name: str
    remark: str
    explanation: str
    kind: Any = None

    @property
    def verdict(self):
        """Its verdict."""
        return self.layer["verdict"]


def worst_first(layer):
    """The key that sorts layers: the worst verdict first, then the one that diverges first, then those with causes."""
    return VERDICTS.index(layer["verdict"]), not layer.get("first"), not layer["causes"]


def group_alike(rows):
    """Lists of the rows of which the same is to be said, in the order of the first row of each."""
    groups = {}
    for row in rows:
        causes = tuple((cause["id"], cause["severity"], bool(cause.get("accepted"))) for cause in row.layer["causes"])
        said = None if causes else without_numbers(row.explanation, row.name, row.layer["name"])
        groups.setdefault((row.verdict, causes, row.kind, said), []).append(row)
    return list(groups.values())


def without_numbers(explanation, *names):
    """What is said of a layer, but for the numbers in it and for the layer's ``names``."""
    for name in names:
        explanation = explanation.replace(name, "")
    return _NUMBER.sub("#", explanation)


def needs_a_look(layer):
    """Whether a layer is listed where only those are that need a look: not ok, or with a change that no step shows."""
    return layer["verdict"] != OK or any(cause["id"] in TELL_ALWAYS for cause in layer["causes"])


def is_plainly_ok(row):
    """Whether there is nothing to say about a layer but that it is ok."""
    return row.verdict == OK and not row.layer["causes"]


def count_verdicts(layers):
    """How many layers there are, and of each verdict: "3 layers: 1 finding, 0 undecidable, 2 ok."."""
    counts = ", ".join(f"{sum(layer['verdict'] == verdict for layer in layers)} {verdict}" for verdict in VERDICTS)
    return f"{counted(len(layers), 'layer')}: {counts}."


def largest_share(layer):
    """The largest error of a layer in units of its bound, or None where nothing was compared with a bound."""
    pairs = [(layer.get(f"{name}_error"), layer.get(f"{name}_bound")) for name in ("mean", "variance")]
    pairs += [(check.get("error"), check.get("bound")) for check in layer.get("checks") or []]
    return max((error / bound for error, bound in pairs if error is not None and bound), default=None)


def causes_of(layer):
    """The ids of a layer's causes as a report shows them, each once and with what it is if it makes no finding."""
    return list(dict.fromkeys(cause["id"] + _kind(cause) for cause in layer["causes"]))


def _kind(cause):
    return " (accepted)" if cause.get("accepted") else "" if cause["severity"] == FINDING else " (advisory)"
