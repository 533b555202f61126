"""Every JSON that tf1bn writes or reads has a schema in the package, and what it writes fits."""

import json
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from tf1bn import checkpoints, parity, trace
from tf1bn.cli import doctor
from tf1bn.cli import main as cli
from tf1bn.recalibration import LayerReport, Report

jsonschema = pytest.importorskip("jsonschema", reason="needs jsonschema, which tests/requirements.txt has")

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests/golden"
SAMPLES = ROOT / "docs/samples"
FOLDER = resources.files("tf1bn") / "schemas"
NAMES = ("audit", "baseline", "doctor", "inspect", "map", "parity", "recalibration", "reproduce", "step", "trace")
TRACES = sorted(path.parent for path in (*GOLDEN.glob("traces/*/*/trace.json"), *SAMPLES.glob("*/trace.json")))


def schema(name):
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def check(value, name):
    """Fail unless the value, as JSON holds it, fits the schema of this name."""
    jsonschema.Draft202012Validator(schema(name)).validate(json.loads(json.dumps(value)))


def refuses(value, name):
    return not jsonschema.Draft202012Validator(schema(name)).is_valid(value)


def test_these_are_all():
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(f"{name}.json" for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_is_one_and_says_what_it_is_of(name):
    found = schema(name)
    jsonschema.Draft202012Validator.check_schema(found)
    assert found["$id"] == f"urn:tf1bn:{name}"
    assert found["title"]
    assert found["description"].endswith(".")
    assert f"`{name}.json`" in (ROOT / "docs/json.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", TRACES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_traces_fit(path):
    check(json.loads((path / "trace.json").read_text(encoding="utf-8")), "trace")
    for line in (path / "steps.jsonl").read_text(encoding="utf-8").splitlines()[:3]:
        check(json.loads(line), "step")


def test_packed_traces_fit(tmp_path):
    vector = [0.0, 1.0]
    names = ("moving_mean_before", "moving_variance_before", "moving_mean_after", "moving_variance_after")
    record = dict.fromkeys(names, vector) | {"moments": [{"count": 2, "mean": vector, "variance": vector}]}
    with trace.Writer(tmp_path / "t", packed=True) as writer:
        writer.add_layer("bn", decay=0.9, epsilon=1e-3)
        for _ in range(2):
            writer.add_step({"bn": record}, training=True)
    check(json.loads((tmp_path / "t/trace.json").read_text(encoding="utf-8")), "trace")
    lines = [json.loads(line) for line in (tmp_path / "t/steps.jsonl").read_text(encoding="utf-8").splitlines()]
    for line in lines:
        check(line, "step")
    assert refuses({**lines[1], "layout": 64}, "step")
    del lines[1]["layout"]
    assert refuses(lines[1], "step")


def test_recalibrations_fit():
    vector = np.array([1.0, 2.0])
    layer = LayerReport("bn", 4, vector, vector, vector, vector, vector, 0 * vector, None)
    report = json.loads(Report("batch", (layer,), {"x": "It is frozen."}, 1, 1, True).to_json())
    check(report, "recalibration")
    assert refuses({**report, "passes": 0}, "recalibration")


@pytest.fixture
def written(tmp_path):
    """Run ``tf1bn`` with ``--json`` and return the exit code and what it wrote."""

    def run(*arguments):
        code = cli.main([*map(str, arguments), "--json", str(tmp_path / "result.json")])
        return code, json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))

    return run


@pytest.mark.parametrize("path", [SAMPLES / "port.trace", *TRACES[:: max(1, len(TRACES) // 4)]], ids=lambda p: p.name)
def test_audits_of_traces_fit(written, path):
    code, result = written("audit", path)
    check(result, "audit")
    assert (result["ok"], result["exit_code"]) == (code == 0, code)
    assert written("audit", path, "--accept", "bessel")[1]["format"] == "tf1bn-audit"


@pytest.mark.parametrize(
    "path", ["checkpoints/fused", "checkpoints-torch/two.pt", "onnx/trained.onnx", "graphs/fused_inference.pb"]
)
def test_audits_of_checkpoints_fit(written, path):
    check(written("audit", GOLDEN / path)[1], "audit")


def test_parity_fits(written):
    check(written("parity", SAMPLES / "original.trace", SAMPLES / "port.trace")[1], "parity")
    result = written("parity", GOLDEN / "checkpoints/fused", GOLDEN / "checkpoints/fused_gamma")[1]
    assert result["layers"]
    check(result, "parity")


def test_results_of_functions_fit():
    check(checkpoints.audit_checkpoint(GOLDEN / "checkpoints/fused"), "audit")
    runs = (trace.open(SAMPLES / name) for name in ("original.trace", "port.trace"))
    check(parity.compare_traces(*runs), "parity")


def test_a_command_that_failed_says_so_in_json(written):
    code, result = written("audit", SAMPLES / "none.trace")
    check(result, "audit")
    assert (code, result["status"], result["ok"], result["layers"]) == (2, "failed", False, [])
    assert "does not exist" in result["problems"][0]
    code, result = written("parity", SAMPLES / "none.trace", SAMPLES / "port.trace")
    check(result, "parity")
    assert (code, result["status"]) == (2, "failed")


def test_a_reproduction_that_failed_says_so_in_json(written, monkeypatch):
    monkeypatch.setattr("tf1bn.reproduce.devices.has_gpu", lambda: False)
    code, result = written("reproduce", "--device", "gpu")
    check(result, "reproduce")
    assert (code, result["status"], result["ok"]) == (2, "failed", False)
    assert "looked for a GPU" in result["problems"][0]
    assert refuses({**result, "status": "ok"}, "reproduce")


@pytest.mark.parametrize("path", [SAMPLES / "port.trace", GOLDEN / "checkpoints/fused", GOLDEN / "onnx/trained.onnx"])
def test_what_is_inspected_fits(written, path):
    code, report = written("inspect", path)
    assert code == 0
    assert report["layers"]
    check(report, "inspect")


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [[], ["--variants"]])
def test_what_is_reproduced_fits(written, arguments):
    code, result = written("reproduce", "--steps", "10", *arguments)
    check(result, "reproduce")
    assert (code, result["status"], result["exit_code"]) == (0, "ok", 0)


@pytest.mark.parametrize("problem", [None, "It is broken."])
def test_the_report_of_doctor_fits(written, monkeypatch, problem):
    words = {"last_words": ["a line"]} if problem else {}
    monkeypatch.setattr(doctor, "_tensorflow", lambda: {"version": None, "problem": problem, **words})
    code, report = written("doctor")
    check(report, "doctor")
    assert (code, report["status"]) == ((2, "failed") if problem else (0, "ok"))


def test_a_baseline_fits(tmp_path):
    assert cli.main(["audit", str(SAMPLES / "port.trace"), "--write-baseline", str(tmp_path / "known.json")]) == 1
    check(json.loads((tmp_path / "known.json").read_text(encoding="utf-8")), "baseline")


def test_what_is_wrong_does_not_fit():
    audit = {"format": "tf1bn-audit", "ok": True, "layers": []}
    assert not refuses(audit, "audit")
    assert refuses({**audit, "status": "fine"}, "audit")
    assert refuses({**audit, "layers": [{"name": "bn", "verdict": "good", "causes": [], "explanation": ""}]}, "audit")
    assert refuses({"a": 1}, "map")
    assert not refuses({"a/*": "b/*", "c": None}, "map")
    assert refuses({"format": "tf1bn-trace", "version": 1, "layers": {"bn": {"decay": 2}}}, "trace")
    assert refuses({"step": 0, "training": True, "layers": {"bn": {}}}, "step")
