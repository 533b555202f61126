"""docker/install.sh, which the Makefile and both images run, in a clean virtual environment."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def source(tmp_path):
    """A copy of what the images copy."""
    dockerfile = (ROOT / "docker/Dockerfile").read_text(encoding="utf-8")
    copied = re.findall(r"^COPY ([^-\n].*) \S+$", dockerfile, re.MULTILINE)
    for name in " ".join(copied).split():
        target = tmp_path / "src" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
        else:
            shutil.copy2(ROOT / name, target)
    return tmp_path / "src"


def test_install_script_in_a_clean_environment(tmp_path, source):
    """What was copied is installed, and the reproduction runs from another folder."""
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(
        ["sh", source / "docker" / "install.sh"],
        env={**environment, "PYTHON": str(venv / "bin" / "python")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    shutil.rmtree(source)
    done = subprocess.run(
        [venv / "bin" / "tf1bn", "reproduce", "--steps", "10", "--json", "r.json"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((tmp_path / "r.json").read_text())["ok"] is True


def test_install_script_refuses_an_old_python(tmp_path):
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    environment = {**os.environ, "PYTHON": str(old)}
    done = subprocess.run(["sh", ROOT / "docker/install.sh"], env=environment, capture_output=True)
    assert done.returncode == 1
    assert b"tf1bn needs Python 3.10 or newer" in done.stderr


def test_both_images_run_the_script_and_the_reproduction():
    for name, extra in (("Dockerfile", ""), ("Dockerfile.gpu", 'TENSORFLOW="tensorflow[and-cuda]" ')):
        text = (ROOT / "docker" / name).read_text(encoding="utf-8")
        assert f"{extra}PYTHON=/opt/tf1bn/bin/python docker/install.sh" in text
        assert 'ENTRYPOINT ["tf1bn"]' in text
        assert re.search(r'^CMD \["reproduce"', text, re.MULTILINE)
        assert re.search(r"^USER tf1bn", text, re.MULTILINE)
