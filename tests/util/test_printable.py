"""Names from other people's files on every output: whatever character is in them, it is seen and steers nothing."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tiers
from hypothesis import given, settings
from hypothesis import strategies as st

from tf1bn import trace
from tf1bn._util.printable import json_escaped, printable, printable_lines, printable_values
from tf1bn.cli.main import main

HOSTILE = {
    "escape sequence": "bn\x1b[2J\x1b[H 1 ok.\x1b[8m",
    "window title": "bn\x1b]0;title\x07",
    "link": "bn\x1b]8;;http://localhost\x1b\\text\x1b]8;;\x1b\\",
    "C1 control": "bn\x9b7m",
    "delete": "bn\x7f",
    "NUL": "bn\x00",
    "line break": "bn\nrun.trace: 1 layer: 0 finding, 0 undecidable, 1 ok.",
    "carriage return": "bn\rok",
    "line separator": "bn\u2028ok\u2029\x85",
    "right to left": "bn\u202ekt\u2066",
    "zero width": "b\u200bn\ufeff",
    "lone surrogate": "bn\ud800",
    "beyond the first plane": "bn\U000e0041\U0001f600",
}
# Archives and headers cannot hold these.
NOT_IN_NPZ = {"NUL", "lone surrogate"}
ENCODINGS = ("ascii", "latin-1", "cp1252", "utf-8")


def seen(text):
    """Whether nothing but line breaks and what is seen is in a text."""
    return all(c.isprintable() for c in text.replace("\n", ""))


def record(path, name):
    zeros, ones = np.zeros(3, np.float32), np.ones(3, np.float32)
    inputs = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    with trace.Writer(path) as writer:
        writer.add_layer(name, decay=0.9, epsilon=1e-3, fused=False)
        record = {"moving_mean_before": zeros, "moving_variance_before": ones}
        record |= {"moving_mean_after": ones, "moving_variance_after": zeros}
        writer.add_step({name: {"inputs": [inputs], **record}}, training=True)
    return path


@pytest.mark.parametrize("kind", tiers.slow_but(["escape sequence"], list(HOSTILE)))
def test_the_reports_of_a_trace(kind, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    name, path = HOSTILE[kind], str(tmp_path / "t")
    record(path, name)
    for arguments in (["audit", path], ["audit", path, "--quiet"], ["parity", path, path]):
        assert main([*arguments, "--json", str(tmp_path / "r.json"), "--html", str(tmp_path / "r.html")]) in (1, 2)
        out, err = capsys.readouterr()
        assert seen(out)
        assert seen(err)
        assert printable(name)[:20] in out.replace("\n", "")
        # A line of its own would be read as the tool's.
        assert not any(line.startswith("run.trace: 1 layer") for line in out.splitlines())
        text = (tmp_path / "r.json").read_text(encoding="utf-8")
        assert seen(text)
        assert json.loads(text)["layers"][0]["name"] == name
        page = (tmp_path / "r.html").read_text(encoding="utf-8")
        assert seen(page)


@pytest.mark.parametrize("kind", sorted(set(HOSTILE) - NOT_IN_NPZ))
def test_the_reports_of_a_checkpoint(kind, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    name, path = HOSTILE[kind], str(tmp_path / "c.npz")
    zeros, ones = np.zeros(3, np.float32), np.ones(3, np.float32)
    np.savez(path, **{f"{name}/moving_mean": zeros, f"{name}/moving_variance": -ones})
    for arguments in (["audit", path], ["parity", path, path]):
        assert main(arguments) in (1, 2)
        out, err = capsys.readouterr()
        assert seen(out + err)
    # Refused, in a sentence that names the array.
    np.savez(path, **{f"{name}/moving_mean": np.array([{}], dtype=object), f"{name}/moving_variance": ones})
    assert main(["audit", path]) == 2
    out, err = capsys.readouterr()
    assert seen(out + err)
    assert main(["audit", f"{tmp_path}/{name}"]) == 2
    assert main(["audit", f"--{name}"]) == 2
    out, err = capsys.readouterr()
    assert seen(out + err)


@pytest.mark.parametrize("encoding", tiers.slow_but(["ascii"], ENCODINGS))
def test_no_encoding_loses_the_report(encoding, tmp_path):
    name = "批归一化 é \ud800 ✓"
    path = str(record(tmp_path / "t", name))
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "COLUMNS": "200"}
    done = subprocess.run([sys.executable, "-m", "tf1bn", "audit", path], capture_output=True, env=environment)
    assert done.stderr == b""
    assert done.returncode == 1
    text = done.stdout.decode(encoding)
    assert "finding" in text
    wanted = printable(name).encode(encoding, errors="backslashreplace").decode(encoding)
    assert wanted in text


@given(st.text(st.characters(codec=None)))
@settings(max_examples=200)
def test_printable_texts(text):
    assert printable(text).isprintable()
    assert seen(printable_lines(text))
    assert printable(text) == printable(printable(text))
    assert printable_values({text: [text, (1, None)]}) == {printable(text): [printable(text), [1, None]]}
    document = json.dumps({text: [text]}, ensure_ascii=False, indent=1)
    assert seen(json_escaped(document))
    assert json.loads(json_escaped(document)) == {text: [text]}
    json_escaped(document).encode()
