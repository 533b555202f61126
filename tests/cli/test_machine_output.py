"""``--format``, ``--json -``, ``--strict-undecidable`` and a result that is judged again, at the command line."""

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from faulty import Layer, record

from tf1bn.cli import doctor, stored_audit
from tf1bn.cli import main as cli

SAMPLES = Path(__file__).parents[2] / "docs/samples"
GOLDEN = Path(__file__).parents[1] / "golden"
PORT = SAMPLES / "port.trace"


@pytest.fixture
def command(capsys):
    """Run ``tf1bn`` in this process; returns exit code, stdout, stderr."""

    def run(*arguments):
        code = cli.main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def undecidable(tmp_path):
    record(tmp_path / "u", Layer(0.999), decay=0.999, shape=(50_000, 2), steps=1, fused=None)
    return tmp_path / "u"


@pytest.mark.parametrize("arguments", [["--json", "-"], ["--format", "json"], ["--format", "json", "--json", "-"]])
def test_standard_output_has_the_json_alone(command, arguments):
    code, out, err = command("audit", PORT, *arguments)
    assert (code, err) == (1, "")
    result = json.loads(out)
    assert (result["status"], result["exit_code"], result["path"]) == ("finding", 1, str(PORT))


def test_a_format_and_a_file_in_one_run(command, tmp_path):
    code, out, _ = command("audit", PORT, "--format", "junit", "--json", tmp_path / "a.json")
    assert code == 1
    assert ElementTree.fromstring(out.encode()).get("failures") == "1"
    assert json.loads((tmp_path / "a.json").read_text())["status"] == "finding"


@pytest.mark.parametrize("format", ["github", "junit", "sarif"])
def test_parity_has_the_formats_too(command, format):
    code, out, _ = command("parity", SAMPLES / "original.trace", PORT, "--format", format)
    assert code == 1
    assert "conv2/bn" in out
    assert "port.trace" in out


def test_two_reports_for_one_stream_are_refused(command):
    code, out, err = command("audit", PORT, "--json", "-", "--format", "junit")
    assert (code, out) == (2, "")
    assert err.startswith("tf1bn audit: `--json` is - and `--format` is junit")


def test_undecidable_and_failed_are_told_apart(command, undecidable, tmp_path):
    for path, status, strict in ((undecidable, "undecidable", 3), (tmp_path / "none", "failed", 2)):
        code, out, _ = command("audit", path, "--json", "-")
        result = json.loads(out)
        assert (code, result["status"], result["exit_code"], result["ok"]) == (2, status, 2, False)
        code, out, _ = command("audit", path, "--json", "-", "--strict-undecidable")
        assert (code, json.loads(out)["exit_code"]) == (strict, strict)
    assert command("audit", PORT, "--strict-undecidable")[0] == 1
    assert command("audit", PORT, "--strict-undecidable", "--accept", "bessel")[0] == 0


def test_a_stored_audit_is_judged_again(command, tmp_path):
    stored, again = tmp_path / "a.json", tmp_path / "b.json"
    first = command("audit", PORT, "--json", stored)
    code, out, err = command("audit", stored, "--json", again, "--html", tmp_path / "a.html")
    assert (code, out.replace(str(stored), str(PORT)), err) == first
    assert again.read_text() == stored.read_text()
    assert "bessel" in (tmp_path / "a.html").read_text(encoding="utf-8")
    assert command("audit", stored, "--accept", "bessel")[0] == 0
    assert command("audit", stored, "--layer", "conv1/*")[0] == 0
    assert command("audit", stored, "--json", stored)[0] == 2


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("traces/*/*"))[::6], ids=lambda path: path.name)
def test_what_was_recorded_is_judged_alike_the_second_time(command, tmp_path, path):
    first = command("audit", path, "--json", tmp_path / "a.json")[0]
    assert command("audit", tmp_path / "a.json", "--json", tmp_path / "b.json")[0] == first
    assert (tmp_path / "b.json").read_text() == (tmp_path / "a.json").read_text()


def test_an_audit_of_a_checkpoint_is_judged_alike_the_second_time(command, tmp_path):
    fresh = {"a/bn/moving_mean": np.zeros(4), "a/bn/moving_variance": np.ones(4), "a/bn/beta": np.zeros(4)}
    trained = {f"b/bn/{name}": np.linspace(0.5, 1.7, 4) / 3 for name in ("moving_mean", "moving_variance", "beta")}
    np.savez(tmp_path / "w.npz", **fresh, **trained)
    first = command("audit", tmp_path / "w.npz", "--json", tmp_path / "a.json", "--values")
    second = command("audit", tmp_path / "a.json", "--json", tmp_path / "b.json", "--values")
    assert second[0] == first[0] == 1
    assert second[1].replace("a.json", "w.npz") == first[1]


def stored_layer(**more):
    layer = {"name": "bn", "verdict": "ok", "causes": [], "explanation": "Fine.", "mean_error": 1.0, "mean_bound": 2.0}
    return stored_audit.rejudge({"format": "tf1bn-audit", "ok": True, "layers": [{**layer, **more}]})


def test_verdicts_are_recomputed():
    cause = {"id": "bessel", "severity": "finding", "explanation": "."}
    assert stored_layer()["ok"] is True
    assert stored_layer(causes=[cause])["layers"][0]["verdict"] == "finding"
    assert stored_layer(causes=[{**cause, "accepted": True}], verdict="finding")["ok"] is True
    outside = stored_layer(mean_error=3.0)["layers"][0]
    assert (outside["verdict"], [cause["id"] for cause in outside["causes"]]) == ("finding", ["unexplained"])
    assert stored_layer(verdict="finding")["layers"][0]["verdict"] == "undecidable"
    assert stored_layer(undecided=["Who knows."])["layers"][0]["verdict"] == "undecidable"
    assert stored_layer(verdict="undecidable")["ok"] is False


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"format": "tf1bn-parity", "layers": []}', "give it to `tf1bn parity`"),
        ('{"format": "tf1bn-audit"}', "it has no `layers`"),
        ('{"format": "tf1bn-audit", "layers": [{"name": 1}]}', "`layers[0]` in it has no"),
        ('{"format": "tf1bn-audit", "layers": [1, ', "it is not JSON"),
        ('{"format": "tf1bn-audit", "layers": NaN}', "which is not JSON"),
    ],
)
def test_a_file_that_is_no_audit_is_one_sentence(command, tmp_path, text, said):
    (tmp_path / "a.json").write_text(text)
    code, out, err = command("audit", tmp_path / "a.json")
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_a_file_of_json_that_is_no_result_is_a_checkpoint(command, tmp_path):
    (tmp_path / "model.json").write_text('{"format": "layers-model"}')
    assert not stored_audit.looks_like_result(str(tmp_path / "model.json"))
    assert command("audit", tmp_path / "model.json")[0] == 2


DAMAGES = [None, True, -1, 1e308, 1 << 70, "", "x\x1b\n", [], {}, [None], {"a": None}]


def places(value, path=()):
    """The paths of keys and indices of everything inside of a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from places(item, (*path, key))


@pytest.mark.parametrize("count", [3, pytest.param(40, marks=pytest.mark.slow)])
def test_damaged_results_are_judged_or_refused_in_one_sentence(command, tmp_path, count):
    parts = [SAMPLES / "original.trace", PORT]
    for name, arguments in (("audit", [PORT]), ("audit", [GOLDEN / "checkpoints-torch/two.pt"]), ("parity", parts)):
        command(name, *arguments, "--json", tmp_path / "whole.json")
        whole = (tmp_path / "whole.json").read_text()
        rng = np.random.default_rng(1)
        for place in rng.permutation(np.array([*places(json.loads(whole)), None], dtype=object)[:-1])[:count]:
            damaged = json.loads(whole)
            inside = damaged
            for key in place[:-1]:
                inside = inside[key]
            inside[place[-1]] = DAMAGES[rng.integers(len(DAMAGES))]
            (tmp_path / "damaged.json").write_text(json.dumps(damaged))
            for format in ("text", "github", "junit", "sarif"):
                code, out, err = command(name, tmp_path / "damaged.json", "--format", format)
                assert code in (0, 1, 2)
                assert "not foreseen" not in err
                assert "\x1b" not in out + err


def test_doctor_prints_json_alone(command, monkeypatch):
    monkeypatch.setattr(doctor, "_tensorflow", lambda: {"version": None, "problem": None})
    code, out, _ = command("doctor", "--json", "-")
    result = json.loads(out)
    assert (code, result["status"], result["exit_code"]) == (0, "ok", 0)
