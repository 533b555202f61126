"""A log in SARIF 2.1.0, which code scanning of GitHub and others read: a rule for each cause, a result for each layer.

https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html. What could not be decided has the kind "open"
(3.27.9), an advisory the level "note", and a cause that is accepted is suppressed (3.35).
"""

import hashlib
import urllib.parse

from ... import __version__
from ..._util import strict_json
from ...verdicts import ADVISORY, CAUSES, FINDING, UNDECIDABLE, cause_entry
from .statements import statements

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
LEVELS = {FINDING: "error", ADVISORY: "note"}


def render(report):
    """The log as JSON, a string."""
    said = statements(report.result)
    of_layers = [one for one in said if one.layer is not None]
    rules = list(dict.fromkeys(one.cause for one in of_layers))
    code = report.result.get("exit_code")
    invocation = {"executionSuccessful": not report.failed}
    if code is not None:
        invocation["exitCode"] = code
    problems = [{"level": "error", "message": {"text": one.message}} for one in said if one.layer is None]
    if problems:
        invocation["toolExecutionNotifications"] = problems
    run = {
        "tool": {"driver": {"name": "tf1bn", "version": __version__, "rules": [_rule(name) for name in rules]}},
        "automationDetails": {"id": f"{report.command}/{report.file}"},
        "invocations": [invocation],
        "columnKind": "unicodeCodePoints",
        "results": [_result(report, one, rules.index(one.cause)) for one in of_layers],
    }
    return strict_json.to_json({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]})


def _rule(name):
    if name == UNDECIDABLE:
        text = "The data leave two explanations, or something that decides was not recorded."
        return {"id": name, "shortDescription": {"text": text}}
    kind = CAUSES.get(name)
    title = name if kind is None else f"{kind.title[:1].upper()}{kind.title[1:]}."
    level = LEVELS[FINDING if kind is None else kind.severity]
    return {
        "id": name,
        "shortDescription": {"text": title},
        "help": {"text": cause_entry(name, "")["remedy"]},
        "defaultConfiguration": {"level": level},
    }


def _result(report, statement, index):
    text = statement.message + (f" What to do: {statement.remedy}" if statement.remedy else "")
    level = {"level": LEVELS[statement.kind]} if statement.kind in LEVELS else {"kind": "open", "level": "none"}
    # The same finding has the same print in the next run, whatever its numbers.
    identity = "\0".join((report.command, report.file, statement.layer, statement.cause))
    result = {
        "ruleId": statement.cause,
        "ruleIndex": index,
        **level,
        "message": {"text": f"{statement.layer}: {text}"},
        "locations": [
            {
                "physicalLocation": {"artifactLocation": {"uri": urllib.parse.quote(report.file)}},
                "logicalLocations": [{"fullyQualifiedName": statement.layer, "kind": "member"}],
            }
        ],
        "partialFingerprints": {"tf1bn/v1": hashlib.sha256(identity.encode()).hexdigest()},
    }
    return {**result, "suppressions": [{"kind": "external"}]} if statement.accepted else result
