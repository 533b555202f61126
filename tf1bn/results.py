"""What `audit_checkpoint`, `graphs.audit`, the comparisons of `parity` and `assert_parity` return.

A `Result` is the dict that the JSON of the command holds. Besides it says whether it is ok, has its layers, and can be
written as JSON and as the page that the command writes; a notebook shows it as a table. The result of `diagnose` is a
list that does the same.
"""

from __future__ import annotations

import html
import importlib
import os
from typing import Any

from ._util import files, strict_json
from ._util.printable import printable_values
from ._util.text import counted
from .verdicts import FINDING, OK, VERDICTS, with_status

SHOWN_LAYERS = 20  # of which a notebook gets a row
COLOURS = {FINDING: "#b3261e", OK: "#1b7f3b"}


class LayerResult(dict[str, Any]):
    """What a result says about one layer: its dict in the JSON, the most used keys as attributes."""

    @property
    def name(self) -> str:
        """The layer's name; in a comparison that of OLD, if OLD has the layer."""
        return str(self["name"])

    @property
    def verdict(self) -> str:
        """One of "ok", "finding" and "undecidable"."""
        return str(self["verdict"])

    @property
    def causes(self) -> list[dict[str, Any]]:
        """The causes, dicts with "id", "severity", "explanation", "misfit" and "remedy", best first."""
        return list(self["causes"])

    @property
    def explanation(self) -> str:
        """The verdict in one or more sentences."""
        return str(self.get("explanation") or "")


class Result(dict[str, Any]):
    """A result as the JSON holds it: docs/json.md."""

    @property
    def ok(self) -> bool:
        """Whether there are layers, all are ok, and nothing is a problem."""
        return bool(self["ok"])

    @property
    def status(self) -> str:
        """What the command would say with its exit code: "ok", "finding" or "undecidable"."""
        return str(with_status(self)["status"])

    @property
    def layers(self) -> list[LayerResult]:
        """A `LayerResult` for each layer, in the order of the model, if that is known."""
        return [LayerResult(layer) for layer in self["layers"]]

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """The JSON that the command writes, a string; with a ``path`` it is also written there.

        Raises:
          OutputError: the file cannot be written.
        """
        return _written(strict_json.to_json(with_status(self)), path)

    def to_html(self, path: str | os.PathLike[str] | None = None) -> str:
        """The page that the command writes, without plots, a string; with a ``path`` it is also written there.

        Raises:
          OutputError: the file cannot be written.
          ImportError: jinja2 is missing; the message says how to install it.
        """
        # Reports show results, so results know them by name alone, and load them when a page is asked for.
        page = importlib.import_module("tf1bn.reports.html").render(self)
        return _written(page, path)

    def __repr__(self) -> str:
        return f"<{self['format']}: {self._summary()}>"

    def _summary(self) -> str:
        verdicts = [layer["verdict"] for layer in self["layers"]]
        counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in VERDICTS)
        return f"{counted(len(verdicts), 'layer')}: {counts}"

    def _repr_html_(self) -> str:
        """A short table for notebooks, the worst layers first."""
        result = printable_values(self)
        layers = sorted(result["layers"], key=lambda layer: VERDICTS.index(layer["verdict"]))
        rows = [_row(layer) for layer in layers[:SHOWN_LAYERS]]
        if len(layers) > SHOWN_LAYERS:
            rows.append(f"<tr><td colspan=4>and {len(layers) - SHOWN_LAYERS} more</td></tr>")
        sentences = [*result.get("problems", ()), *result.get("notes", ())]
        return (
            f"<p><b>{html.escape(self._summary())}</b></p>"
            "<table><thead><tr><th>layer</th><th>verdict</th><th>causes</th><th>explanation</th></tr></thead>"
            f"<tbody>{''.join(rows)}</tbody></table>" + "".join(f"<p>{html.escape(text)}</p>" for text in sentences)
        )


def _row(layer: dict[str, Any]) -> str:
    colour = COLOURS.get(layer["verdict"], "#8a5a00")
    cells = [
        html.escape(layer["name"]),
        f'<b style="color:{colour}">{layer["verdict"]}</b>',
        "<br>".join(html.escape(cause["id"]) for cause in layer["causes"]),
        html.escape(layer.get("explanation") or ""),
    ]
    row = "".join(f'<td style="text-align:left">{cell}</td>' for cell in cells)
    return f"<tr>{row}</tr>"


def _written(text: str, path: str | os.PathLike[str] | None) -> str:
    if path is not None:
        files.write_file(os.fspath(path), text.encode(), "path")
    return text
