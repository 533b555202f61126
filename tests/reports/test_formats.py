"""What `--format` prints of a result made by hand: annotations of GitHub, XML of JUnit, SARIF."""

import json
import xml.etree.ElementTree as ElementTree

import pytest

from tf1bn.reports import formats
from tf1bn.reports.formats.statements import Report
from tf1bn.verdicts import ADVISORY, cause_entry, with_status


def layer(name, verdict, *causes, **more):
    return {"name": name, "verdict": verdict, "causes": list(causes), "explanation": f"Why {name}.", **more}


BESSEL = cause_entry("bessel", "It is 100% wrong:\nN/(N-1), see.")
ACCEPTED = {**cause_entry("epsilon", "Another epsilon."), "accepted": True}
ADVICE = cause_entry("cold-start", "Too few.", ADVISORY)
LAYERS = [
    layer("a/bn", "finding", BESSEL),
    layer("b,:bn", "finding", BESSEL),
    layer("c<&>\x1b\ufffe", "undecidable"),
    layer("d", "ok", ACCEPTED),
    layer("e", "ok", ADVICE),
    layer("f", "ok"),
]


def render(format, layers=LAYERS, path="runs/run.trace", **more):
    result = with_status({"format": "tf1bn-audit", "ok": False, "layers": layers, "problems": [], **more})
    return formats.render(Report("tf1bn audit", path, result), format)


def test_json_is_the_result():
    assert json.loads(render("json"))["layers"][0]["causes"][0]["id"] == "bessel"


def test_github_has_one_annotation_for_each_cause():
    lines = render("github").splitlines()
    assert [line.split(" ")[0] for line in lines[:-1]] == ["::error", "::warning", "::notice", "::notice"]
    first = lines[0]
    assert first.startswith("::error file=runs/run.trace,title=tf1bn audit%3A bessel in a/bn and 1 more::")
    message = first.partition("::")[2].partition("::")[2]
    assert "It is 100%25 wrong:\\nN" in message
    assert "%0ALayers: a/bn, b,:bn.%0AWhat to do: " in message
    assert "::" not in message
    assert "Accepted. " in lines[2] + lines[3]
    assert lines[-1] == "runs/run.trace: 6 layers: 2 finding, 1 undecidable, 3 ok."
    assert "\x1b" not in render("github")


def test_junit_has_a_case_for_each_layer():
    root = ElementTree.fromstring(render("junit").encode())
    (suite,) = root
    assert {name: suite.get(name) for name in ("tests", "failures", "errors")} == {
        "tests": "6",
        "failures": "2",
        "errors": "1",
    }
    found = {case.get("name"): [child.tag for child in case] for case in suite}
    assert found == {
        "a/bn": ["failure"],
        "b,:bn": ["failure"],
        "c<&>\\x1b\\ufffe": ["error"],
        "d": ["system-out"],
        "e": ["system-out"],
        "f": [],
    }
    failure = suite[0].find("failure")
    assert failure.get("type") == "bessel"
    assert "What to do: " in failure.text
    assert suite[0].get("file") == "runs/run.trace"


def test_sarif_has_rules_and_results():
    (run,) = json.loads(render("sarif"))["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == ["bessel", "undecidable", "epsilon", "cold-start"]
    results = run["results"]
    assert [result["ruleId"] for result in results] == ["bessel", "bessel", "undecidable", "epsilon", "cold-start"]
    for result in results:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "runs/run.trace"
    assert [(result.get("kind"), result["level"]) for result in results] == [
        (None, "error"),
        (None, "error"),
        ("open", "none"),
        (None, "error"),
        (None, "note"),
    ]
    assert [bool(result.get("suppressions")) for result in results] == [False, False, False, True, False]
    assert len({result["partialFingerprints"]["tf1bn/v1"] for result in results}) == 5
    assert run["invocations"] == [{"executionSuccessful": True, "exitCode": 1}]


@pytest.mark.parametrize("format", ["github", "junit", "sarif"])
def test_nothing_judged_is_no_success_anywhere(format):
    text = render(format, [])
    assert "nothing was judged" in text
    for word in {"github": ["::error"], "junit": ['errors="1"'], "sarif": ['"level": "error"']}[format]:
        assert word in text


@pytest.mark.parametrize("format", ["github", "junit", "sarif"])
def test_a_failed_command_is_no_success_anywhere(format):
    text = render(format, [], problems=["It is damaged."], status="failed")
    assert "It is damaged." in text
    assert {"github": "::error", "junit": "<error", "sarif": '"executionSuccessful": false'}[format] in text


def test_a_folder_is_pointed_to_by_a_file_in_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my run.trace").mkdir()
    (tmp_path / "my run.trace/trace.json").touch()
    (tmp_path / "model.index").touch()
    files = {str(tmp_path / "my run.trace"): "my run.trace/trace.json", "model": "model.index", "../x.pt": "../x.pt"}
    for path, file in files.items():
        assert Report("tf1bn audit", path, {}).file == file
    assert '"uri": "my%20run.trace/trace.json"' in render("sarif", path="my run.trace")
