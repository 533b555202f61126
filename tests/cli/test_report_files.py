"""What ``--json`` and ``--html`` may name: pipes, descriptors and long names, and nothing that is read."""

import json
import os
import shlex
import subprocess
import sys

import numpy as np
import pytest
import tiers

from tf1bn import trace
from tf1bn.cli import main as cli


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a trace "t", its copy under a link "link", and a checkpoint "c.npz"."""
    folder = tmp_path_factory.mktemp("outputs")
    zeros, ones = np.zeros(3, np.float32), np.ones(3, np.float32)
    batch = np.arange(12, dtype=np.float32).reshape(4, 3)
    with trace.Writer(folder / "t") as writer:
        writer.add_layer("bn", decay=0.9, epsilon=1e-3, fused=False)
        record = {"inputs": [batch], "moving_mean_before": zeros, "moving_variance_before": ones}
        record |= {"moving_mean_after": zeros, "moving_variance_after": ones}
        writer.add_step({"bn": record}, training=True)
    (folder / "link").symlink_to("t")
    (folder / "array").symlink_to("t/arrays/00000000-0.npy")
    np.savez(folder / "c.npz", **{"bn/moving_mean": batch[1], "bn/moving_variance": batch[2]})
    for name in ("checkpoint", "m.index", "m.data-00001-of-00002"):
        (folder / "model").mkdir(exist_ok=True)
        (folder / "model" / name).write_bytes(b"")
    return folder


@pytest.mark.parametrize("option", ["--json", "--html"])
@pytest.mark.parametrize(
    ("read", "written"),
    [
        ("t", "t/arrays/00000000-0.npy"),
        ("t", "t/new.json"),
        ("t", "link/arrays/new.json"),
        ("link", "t/steps.jsonl"),
        ("t/", "array"),
        ("c.npz", "c.npz"),
        ("model", "model/checkpoint"),
        ("model", "model/m.data-00001-of-00002"),
        ("model/m", "model/m.data-00001-of-00002"),
        ("model/m", "model/m.index"),
    ],
)
def test_what_is_read_is_not_written(folder, monkeypatch, capsys, option, read, written):
    monkeypatch.chdir(folder)
    before = contents(folder)
    assert cli.main(["audit", read, option, written]) == 2
    assert f"`{option}` is {written!r}, " in capsys.readouterr().err
    assert contents(folder) == before
    assert cli.main(["parity", "c.npz", read, option, written]) == 2
    assert " that is read as " in capsys.readouterr().err
    assert contents(folder) == before


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def shell(folder, command):
    """The output of a command of bash, in which TF1BN stands for ``python -m tf1bn``."""
    command = command.replace("TF1BN", f"{shlex.quote(sys.executable)} -m tf1bn")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, env=environment)


@pytest.mark.parametrize(
    "command",
    tiers.slow_but(
        ["TF1BN audit c.npz --json >(cat) | cat"],
        [
            "TF1BN audit c.npz --json /dev/stdout | cat",
            "TF1BN audit c.npz --json /dev/fd/7 7>&1 | cat",
            "TF1BN audit c.npz --json >(cat) | cat",
            # The report and the JSON are in one file, one after the other.
            "TF1BN audit c.npz --json /dev/stdout > both.txt; cat both.txt",
            "TF1BN audit c.npz --json out.json; cat out.json",
        ],
    ),
)
def test_pipes_and_descriptors(folder, command):
    done = shell(folder, command)
    assert done.stderr == ""
    report, _, text = done.stdout.partition("{")
    assert "c.npz: 1 layer" in report + text.rpartition("}")[2]
    assert json.loads("{" + text[: text.rindex("}") + 1])["format"] == "tf1bn-audit"


@pytest.mark.parametrize("descriptor", ["/dev/fd/77", "/dev/stdin"])
def test_descriptors_that_cannot_be_written(folder, descriptor):
    done = shell(folder, f"TF1BN audit c.npz --json {descriptor} < /dev/null")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"tf1bn audit: `--json` is '{descriptor}', which is not open for writing; name a file.\n"


@pytest.mark.parametrize("name", ["x" * 250 + ".json", "é" * 125 + ".json"])
def test_names_may_be_as_long_as_names_can_be(folder, tmp_path, capsys, name):
    cli.main(["audit", str(folder / "c.npz"), "--json", str(tmp_path / name)])
    assert capsys.readouterr().err == ""
    assert os.listdir(tmp_path) == [name]
    assert json.loads((tmp_path / name).read_text())["format"] == "tf1bn-audit"
