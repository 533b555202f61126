"""The results of Python's functions: what they say of themselves, as JSON, as a page and in a notebook."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from tf1bn import checkpoints, diagnosis, errors, graphs, parity, trace
from tf1bn.cli import main as cli
from tf1bn.results import SHOWN_LAYERS, LayerResult, Result

SAMPLES = Path(__file__).parents[2] / "docs/samples"
GRAPH = Path(__file__).parents[1] / "golden/structure/not-updated-early.meta.gz"


def diagnosed():
    return diagnosis.diagnose(SAMPLES / "port.trace")


def audited(folder):
    variables = {"a/bn/moving_mean": np.zeros(4), "a/bn/moving_variance": np.ones(4), "a/bn/beta": np.zeros(4)}
    trained = {f"b/bn/{name}": np.linspace(0.5, 1.7, 4) / 3 for name in ("moving_mean", "moving_variance", "beta")}
    np.savez(folder / "w.npz", **variables, **trained)
    return checkpoints.audit_checkpoint(folder / "w.npz")


def compared():
    return parity.compare_traces(*(trace.open(SAMPLES / name) for name in ("original.trace", "port.trace")))


def compared_checkpoints(folder):
    audited(folder)
    return parity.compare_checkpoints(folder / "w.npz", folder / "w.npz")


def graph(folder):
    (folder / "graph.meta").write_bytes(gzip.decompress(GRAPH.read_bytes()))
    return folder / "graph.meta"


def audited_graph(folder):
    return graphs.audit(graph(folder))


def compared_graphs(folder):
    return parity.compare_graphs(graph(folder), graph(folder))


MADE = {"diagnose": diagnosed, "compare_traces": compared}
WITH_FOLDER = {"audit_checkpoint": audited, "compare_checkpoints": compared_checkpoints}
WITH_FOLDER |= {"audit_graph": audited_graph, "compare_graphs": compared_graphs}


@pytest.fixture(params=[*MADE, *WITH_FOLDER])
def result(request, tmp_path):
    name = request.param
    return MADE[name]() if name in MADE else WITH_FOLDER[name](tmp_path)


def test_all_results_have_the_same_attributes(result, tmp_path):
    verdicts = [layer.verdict for layer in result.layers]
    assert len(verdicts) == 2
    assert result.ok == (verdicts == ["ok", "ok"])
    for layer in result.layers:
        assert layer.name
        assert layer.explanation
        assert all(cause for cause in layer.causes)
    text = result.to_json(tmp_path / "r.json")
    assert (tmp_path / "r.json").read_text(encoding="utf-8") == text
    written = json.loads(text)
    assert [layer["verdict"] for layer in written["layers"]] == verdicts
    assert written["status"] == ("ok" if result.ok else "finding")
    page = result.to_html(tmp_path / "r.html")
    assert (tmp_path / "r.html").read_text(encoding="utf-8") == page
    assert page.startswith("<!DOCTYPE html>")
    assert result.layers[1].name in page
    assert result.layers[1].name in result._repr_html_()
    assert "2 layers: " in repr(result)


def test_python_and_the_command_write_the_same(tmp_path):
    cli.main(["audit", str(SAMPLES / "port.trace"), "--json", str(tmp_path / "a.json")])
    of_command = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    del of_command["path"]
    assert json.loads(diagnosed().to_json()) == of_command
    names = [str(SAMPLES / name) for name in ("original.trace", "port.trace")]
    cli.main(["parity", *names, "--json", str(tmp_path / "p.json")])
    assert compared().to_json() == (tmp_path / "p.json").read_text(encoding="utf-8")


def test_they_stay_what_they_were(tmp_path):
    assert isinstance(diagnosed(), list)
    for result in (audited(tmp_path), compared(), parity.rejudge(compared())):
        assert isinstance(result, dict)
        assert json.loads(json.dumps(result))["layers"] == result["layers"]
    assert isinstance(compared().layers[0], LayerResult)
    assert compared().layers[0] == compared()["layers"][0]


def test_a_notebook_gets_a_short_table_of_plain_text():
    layers = [{"name": f"<b>{i}\x1b", "verdict": "ok", "causes": [], "explanation": "&"} for i in range(100)]
    layers[70] |= {"verdict": "finding", "causes": [{"id": "bessel", "severity": "finding", "explanation": "."}]}
    result = Result({"format": "tf1bn-audit", "ok": False, "layers": layers, "notes": ["<note>"]})
    shown = result._repr_html_()
    assert "<b>7" not in shown
    assert "\x1b" not in shown
    assert shown.index("&lt;b&gt;70") < shown.index("&lt;b&gt;0")
    assert shown.count("<tr>") == SHOWN_LAYERS + 2
    assert f"and {100 - SHOWN_LAYERS} more" in shown
    assert "&lt;note&gt;" in shown
    assert "100 layers: 1 finding, 0 undecidable, 99 ok" in shown


def test_a_file_that_cannot_be_written(tmp_path):
    with pytest.raises(errors.OutputError, match="`path` is "):
        compared().to_json(tmp_path / "none" / "r.json")
