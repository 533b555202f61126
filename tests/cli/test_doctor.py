"""``tf1bn doctor``, where all is well and where something is broken."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiers

from tf1bn import _native, checker
from tf1bn.cli import doctor
from tf1bn.cli import main as cli

ROOT = Path(__file__).resolve().parents[2]
# What a fake `tensorflow` does when it is imported, and what doctor says of it.
BROKEN = {
    "raises": (
        "raise RuntimeError('libcudart is broken')",
        ["RuntimeError: libcudart is broken", "could not be imported"],
    ),
    "crashes": ("import os\nos.kill(os.getpid(), 11)", ["was ended by SIGSEGV"]),
    "exits": ("import sys\nprint('bye', file=sys.stderr)\nsys.exit(0)", ["bye", "could not be imported"]),
    "old": ("__version__ = '1.15'", ["could not be imported"]),
}


def run(*arguments, path=None):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [path and str(path), str(ROOT)]))}
    command = [sys.executable, "-m", "tf1bn", "doctor", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_where_all_is_well(tmp_path):
    done = run("--json", tmp_path / "d.json")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("\nAll is well.\n")
    assert "a batch with known moments: ok" in done.stdout
    assert "a layer's step against the checker: ok" in done.stdout
    assert str(Path.home()) not in done.stdout
    found = json.loads((tmp_path / "d.json").read_text())
    assert (found["format"], found["ok"], found["wrong"], found["broken"]) == ("tf1bn-doctor", True, [], [])
    import tensorflow

    assert found["tensorflow"]["version"] == tensorflow.__version__
    assert "CPU:0" in found["tensorflow"]["devices"]
    assert found["extension"]["kernels"] == list(_native.moments.variants)


@pytest.mark.parametrize("kind", tiers.slow_but(list(BROKEN)[:1], list(BROKEN)))
def test_a_broken_tensorflow(kind, tmp_path):
    source, said = BROKEN[kind]
    (tmp_path / "tensorflow.py").write_text(source)
    done = run("--json", tmp_path / "d.json", path=tmp_path)
    assert (done.returncode, done.stderr) == (2, "")
    for words in said:
        assert words in done.stdout
    assert "All is well" not in done.stdout
    assert json.loads((tmp_path / "d.json").read_text())["ok"] is False


def test_without_tensorflow(monkeypatch, capsys):
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    assert cli.main(["doctor"]) == 0
    assert "TensorFlow  not installed: the checker works without it" in capsys.readouterr().out


@pytest.fixture
def no_tensorflow(monkeypatch):
    """TensorFlow is not looked at: that takes seconds."""
    monkeypatch.setattr(doctor, "_tensorflow", lambda: {"version": None, "problem": None})


def test_a_missing_extension(monkeypatch, capsys, no_tensorflow):
    def gone(name):
        raise ImportError("The compiled extension of tf1bn cannot be imported; build it.")

    monkeypatch.setattr(doctor.importlib, "import_module", gone)
    assert cli.main(["doctor"]) == 2
    assert (
        "extension   broken: The compiled extension of tf1bn cannot be imported; build it." in capsys.readouterr().out
    )


def test_a_wrong_number(monkeypatch, capsys, no_tensorflow):
    right = checker.batch_moments

    def wrong(batch):
        return right(batch + 1)

    monkeypatch.setattr(checker, "batch_moments", wrong)
    assert cli.main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "The checker's mean and variance of a known batch are [3.0, 1.0, -2.0] and [1.0, 4.0, 0.0], not" in out
    assert "All is well" not in out


def test_a_wrong_layer(monkeypatch, capsys):
    """What the other process reports is passed on."""
    seen = {"version": "2", "problem": None, "cuda": None, "cudnn": None, "devices": ["CPU:0"], "check": "It is wrong."}
    monkeypatch.setattr(doctor, "_tensorflow", lambda: seen)
    assert cli.main(["doctor"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "It is wrong."


def test_the_layer_is_really_compared(monkeypatch, capsys):
    from tf1bn.layers import contrib_batch_norm

    right = contrib_batch_norm.batch_norm
    monkeypatch.setattr(contrib_batch_norm, "batch_norm", lambda x, decay, **more: right(x, decay=0.8, **more))
    doctor.main_in_process()
    assert json.loads(capsys.readouterr().out)["check"].startswith("A layer's statistics after one step are wrong.")


def test_a_file_that_cannot_be_written(tmp_path, capsys, no_tensorflow):
    assert cli.main(["doctor", "--json", str(tmp_path / "none" / "d.json")]) == 2
    assert "`--json` is" in capsys.readouterr().err
