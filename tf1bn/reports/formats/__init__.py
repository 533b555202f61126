"""A result for machines: as JSON, as annotations of GitHub, as a report of JUnit, as a log of SARIF."""

import importlib

from ..._util import strict_json

# "text" is the report for people, which the modules beside this package print.
NAMES = ("text", "json", "github", "junit", "sarif")


def render(report, format):
    """A `statements.Report` as text in one of the formats but "text"."""
    if format == "json":
        return strict_json.to_json(report.result)
    return importlib.import_module(f".{format}", __name__).render(report)
