"""What a result says, one statement for each cause of each layer, for the formats that machines read."""

from __future__ import annotations

import dataclasses
import functools
import os
from typing import Any

from ..._util.printable import printable
from ...verdicts import CAUSES, FINDING, UNDECIDABLE

PROBLEM = "problem"
# Names of files that stand for a folder or for a prefix, which an annotation cannot point to.
_BESIDE = (f"{os.sep}trace.json", f"{os.sep}checkpoint", ".index")


@dataclasses.dataclass(frozen=True)
class Report:
    """A result, and where it is from.

    Attributes:
      command: "tf1bn audit" or "tf1bn parity".
      path: what was judged: of a comparison NEW.
      result: the dict of the JSON.
    """

    command: str
    path: str
    result: dict[str, Any]

    @functools.cached_property
    def file(self):
        """The file that stands for what was judged, relative to the working directory if it is in it, with "/"."""
        path = next((self.path + name for name in _BESIDE if os.path.isfile(self.path + name)), self.path)
        relative = os.path.relpath(path)
        return printable((path if relative.startswith(os.pardir) else relative).replace(os.sep, "/"))

    @property
    def failed(self):
        """Whether the command could not do its work."""
        return self.result.get("status") == "failed"


@dataclasses.dataclass(frozen=True)
class Statement:
    """One thing that a result says.

    Attributes:
      layer: the name of the layer; None for what is said of the whole.
      kind: "finding", "advisory", "undecidable" or "problem".
      cause: the id of the cause, or the kind where there is none.
      message: one or more sentences.
      remedy: what to do, or "".
      accepted: whether it is accepted and no finding.
    """

    layer: str | None
    kind: str
    cause: str
    message: str
    remedy: str = ""
    accepted: bool = False

    @property
    def title(self):
        """The cause in a few words."""
        kind = CAUSES.get(self.cause)
        return self.kind if kind is None else kind.title


def statements(result):
    """All `Statement` of a result: its problems, and what is said of each layer, in the order of the layers."""
    return [*on_the_whole(result), *(one for layer in result["layers"] for one in on_layer(layer))]


def on_the_whole(result):
    """The `Statement` on what kept a result from being a success, whatever its layers are."""
    problems = result.get("problems") or ()
    if not problems and not result["layers"]:
        problems = ["There are no layers, so nothing was judged."]
    return [Statement(None, PROBLEM, PROBLEM, printable(text)) for text in problems]


def on_layer(layer):
    """The `Statement` on a layer's dict, none if nothing is to be said but that it is ok."""
    name, explanation = printable(layer["name"]), printable(layer.get("explanation") or "")
    found = [
        Statement(
            name,
            cause["severity"],
            cause["id"],
            printable(cause["explanation"]),
            printable(cause.get("remedy") or ""),
            bool(cause.get("accepted")),
        )
        for cause in layer["causes"]
    ]
    if layer["verdict"] == FINDING and not any(one.kind == FINDING for one in found):
        found.append(Statement(name, FINDING, "unexplained", explanation))
    if layer["verdict"] == UNDECIDABLE:
        sentences = layer.get("undecided") or [explanation]
        found.append(Statement(name, UNDECIDABLE, UNDECIDABLE, printable(" ".join(sentences))))
    return found
