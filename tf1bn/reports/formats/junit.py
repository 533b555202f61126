"""A report in JUnit's XML, which CI servers show as tests: one test case for each layer.

A finding is a failure; what could not be decided, and a problem of the whole, is an error, since it is no success.
"""

import xml.etree.ElementTree as ElementTree

from ..._util.printable import printable
from ...verdicts import FINDING
from .statements import PROBLEM, on_layer, on_the_whole

WHOLE = "(the whole)"
ELEMENTS = {"finding": "failure", "undecidable": "error", "problem": "error"}


def render(report):
    """The XML document, a string."""
    cases = [(printable(layer["name"]), on_layer(layer)) for layer in report.result["layers"]]
    if whole := on_the_whole(report.result):
        cases.append((WHOLE, whole))
    suite = ElementTree.Element("testsuite", name=f"{report.command} {report.file}")
    for name, said in cases:
        suite.append(_case(report, name, said))
    counts = {"tests": len(cases)}
    counts |= {f"{kind}s": sum(case.find(kind) is not None for case in suite) for kind in ("failure", "error")}
    root = ElementTree.Element("testsuites")
    for element in (root, suite):
        for name, count in counts.items():
            element.set(name, str(count))
    suite.set("skipped", "0")
    root.append(suite)
    ElementTree.indent(root, " ")
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _case(report, name, said):
    """The test case of a layer: a failure or an error with all its causes, or else what there is to say as output."""
    case = ElementTree.Element("testcase", classname=report.file, name=name, file=report.file)
    wrong = [one for one in said if one.kind in ELEMENTS and not one.accepted]
    if wrong:
        findings = [one for one in wrong if one.kind in (FINDING, PROBLEM)] or wrong
        causes = ", ".join(one.cause for one in findings)
        element = ElementTree.SubElement(case, ELEMENTS[findings[0].kind], message=findings[0].message, type=causes)
        element.text = "\n".join(map(_in_words, wrong))
    others = [one for one in said if one not in wrong]
    if others:
        ElementTree.SubElement(case, "system-out").text = "\n".join(map(_in_words, others))
    return case


def _in_words(statement):
    kind = " (accepted)" if statement.accepted else " (advisory)" if statement.kind == "advisory" else ""
    text = f"{statement.cause}{kind}: {statement.message}"
    return text + (f"\nWhat to do: {statement.remedy}" if statement.remedy else "")
