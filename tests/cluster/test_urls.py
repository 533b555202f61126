"""Traces at URLs that fsspec reads: the same verdicts, errors in one sentence, and no temporary files left."""

import json
import os
import sys

import pytest
from portnet import Net, Rules, write

from tf1bn import trace
from tf1bn.cli import main as cli
from tf1bn.diagnosis import diagnose

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")
pytestmark = pytest.mark.slow


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Two traces in a folder, and copies in a file system in memory; nothing may stay in the folder "tmp"."""
    write(tmp_path / "old")
    write(tmp_path / "port", Net({"bn2": Rules(bessel=True)}))
    packed = trace.open(tmp_path / "port")
    with trace.Writer(tmp_path / "packed", packed=True) as writer:
        writer.add_layers(packed.layers)
        for step in packed:
            records = {
                name: {key: getattr(record, key) for key in AROUND} | {"inputs": record.inputs}
                for name, record in step.layers.items()
            }
            writer.add_step(records, training=step.training, step=step.number)
    memory = fsspec.filesystem("memory")
    for name in ("old", "port", "packed"):
        memory.put(str(tmp_path / name), f"/{tmp_path.name}/", recursive=True)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    monkeypatch.chdir(tmp_path)
    yield f"memory://{tmp_path.name}"
    memory.rm(f"/{tmp_path.name}", recursive=True)
    assert os.listdir(tmp_path / "tmp") == []


AROUND = ("moving_mean_before", "moving_variance_before", "moving_mean_after", "moving_variance_after")


@pytest.mark.parametrize("name", ["old", "port", "packed"])
def test_an_audit_is_that_of_the_folder(runs, tmp_path, name):
    expected = diagnose(tmp_path / name).to_json()
    assert diagnose(f"{runs}/{name}").to_json() == expected
    assert diagnose(f"file://{tmp_path}/{name}").to_json() == expected


def test_the_commands(runs, tmp_path, capsys):
    results = []
    for old, new in (("old", "port"), (f"{runs}/old", f"file://{tmp_path}/port")):
        codes = cli.main(["audit", new, "--json", "a.json"]), cli.main(["parity", old, new, "--json", "p.json"])
        audit, parity = (json.loads((tmp_path / f"{name}.json").read_text()) for name in "ap")
        results.append((codes, audit["layers"], parity["layers"]))
    assert results[0] == results[1]
    assert results[0][0] == (0, 1)
    assert cli.main(["inspect", f"{runs}/old"]) == 2
    assert "a URL, and is to be on this machine; `tf1bn audit` reads" in capsys.readouterr().err


def test_what_is_damaged_or_not_there(runs, tmp_path):
    memory = fsspec.filesystem("memory")
    memory.rm(f"/{tmp_path.name}/port/arrays", recursive=True)
    with pytest.raises(trace.TraceError, match=rf"The trace '{runs}/port' is damaged: the file 'arrays/.*' is missing"):
        diagnose(f"{runs}/port")
    memory.rm(f"/{tmp_path.name}/port/trace.json")
    with pytest.raises(trace.TraceError, match=r"which holds no trace\.json; give that of a trace"):
        trace.open(f"{runs}/port")
    with pytest.raises(trace.TraceError, match=r"which holds no trace\.json"):
        trace.open(f"{runs}/nothing")
    with pytest.raises(trace.TraceError, match="'nosuch://a', a URL that fsspec does not read: Protocol not known"):
        trace.open("nosuch://a")


def test_a_path_leads_out_of_no_folder(runs, tmp_path):
    memory = fsspec.filesystem("memory")
    lines = memory.cat(f"/{tmp_path.name}/old/steps.jsonl").replace(b"arrays/", b"../port/arrays/")
    memory.pipe(f"/{tmp_path.name}/old/steps.jsonl", lines)
    with pytest.raises(trace.TraceError, match=r"the path '\.\./port/arrays/.*' is not accepted"):
        diagnose(f"{runs}/old")


def test_a_missing_package(runs, monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(trace.TraceError, match=r"for which a package is missing: .*`tf1bn\[dask\]` installs fsspec"):
        trace.open(f"{runs}/old")
