"""The steps of docker/tf1/Dockerfile in clean environments: the real TensorFlow 1.x, and its recorder.

What is recorded there is judged here. Needs Python 3.7 and 2.7, on the path or in pyenv's folder.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import dockerfiles
import pytest

from tf1bn.cli import main as cli

# TensorFlow 2 sets TF2_BEHAVIOR for all that it starts, and TensorFlow 1.15 obeys.
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV", "TF"))}
RELEASES = {"1.15": "3.7", "1.4": "2.7"}
NUMBER = r"-?\d+\.\d*(?:e[-+]\d+)?"


def interpreter(version):
    """A Python of this version, or None."""
    candidates = [shutil.which(f"python{version}")]
    candidates += sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    for candidate in filter(None, candidates):
        command = [candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        # A shim of pyenv is there and fails where its version is not chosen.
        if subprocess.run(command, capture_output=True, text=True).stdout.strip() == version:
            return candidate
    return None


@pytest.fixture(scope="module")
def virtualenv(tmp_path_factory):
    """Makes an environment with the last virtualenv that knew Python 2.7."""
    folder = tmp_path_factory.mktemp("virtualenv")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", folder, "virtualenv==20.21.1"]
    subprocess.run(pip, check=True)

    def make(python, target):
        command = [sys.executable, "-m", "virtualenv", "--quiet", "--python", python, target]
        subprocess.run(command, env={**ENVIRONMENT, "PYTHONPATH": str(folder)}, check=True)

    return make


@pytest.mark.packaging
@pytest.mark.parametrize("release", RELEASES)
def test_the_image_runs_the_listings_and_records_them(tmp_path, virtualenv, release):
    python = interpreter(RELEASES[release])
    if python is None:
        pytest.skip(f"there is no Python {RELEASES[release]} on the path or in ~/.pyenv/versions")
    virtualenv(python, tmp_path / "python")
    path = f"{tmp_path / 'python/bin'}:{os.environ['PATH']}"
    image = dockerfiles.Followed(
        dockerfiles.PATHS["docker/tf1/Dockerfile"], tmp_path, {**ENVIRONMENT, "PATH": path}, {"RELEASE": release}
    )

    def run(*arguments):
        command = [tmp_path / "python/bin" / image.command[0], *(arguments or image.command[1:])]
        # Not even root makes a folder there.
        environment = {**image.environment, "HOME": "/proc/nowhere"}
        done = subprocess.run(command, cwd=image.folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run("-c", "import tensorflow as tf; print(tf.__version__)").startswith(f"{release}.")

    # Before training, after it, and after testing: beta, mean and variance, and between them 16 outputs.
    mean, variance = statistics(run())
    assert mean[0] == 0
    assert variance[0] == 1
    assert 0 < mean[1] < 255
    assert 1 < variance[1] < 255**2
    assert (mean[2], variance[2]) == (mean[1], variance[1])
    mean, variance = statistics(run("-m", "listing2"))
    assert mean == [0, 0, 0]
    assert variance == [1, 1, 1]

    # As record_tf1.py says that a script is to be changed.
    listing = (tmp_path / "opt/tf1/listing1.py").read_text(encoding="utf-8")
    for old, new in (
        ("import numpy as np\n", "import numpy as np\nimport record_tf1\n"),
        ("as sess:", 'as sess, record_tf1.Recorder(sess, "old.trace") as rec:'),
        ("sess.run(", "rec.run("),
    ):
        assert old in listing
        listing = listing.replace(old, new)
    (tmp_path / "work/old.py").write_text(listing, encoding="utf-8")
    mean, variance = statistics(run("old.py"))
    assert cli.main(["audit", str(tmp_path / "work/old.trace"), "--json", str(tmp_path / "audit.json")]) == 0
    report = json.loads((tmp_path / "audit.json").read_text())
    assert report["ok"] is True
    assert [(layer["name"], layer["verdict"], layer["steps"]) for layer in report["layers"]] == [
        ("my/BatchNorm", "ok", 2)
    ]
    producer = json.loads((tmp_path / "work/old.trace/trace.json").read_text())["producer"]
    assert producer.startswith(f"record_tf1.py, TensorFlow {release}.")


def statistics(printed):
    """What the listing printed of the moving mean and of the moving variance, three numbers each."""
    return [
        [float(number) for number in re.findall(rf"my/BatchNorm/{name}:0.*\n\[ *({NUMBER})\]", printed)]
        for name in ("moving_mean", "moving_variance")
    ]


def test_the_script_refuses_what_it_does_not_know(tmp_path):
    script = dockerfiles.ROOT / "docker/tf1/install.sh"
    environment = {**ENVIRONMENT, "PYTHON": sys.executable}
    for arguments, message in (
        ([], "RELEASE is ''; there are 1.4, on Python 2.7, and 1.15, on Python 3.7."),
        (["1.3"], "RELEASE is '1.3'; there are"),
        (["1.4"], f"TensorFlow 1.4 needs Python 2.7; {sys.executable} is Python 3."),
    ):
        done = subprocess.run(["sh", script, *arguments], env=environment, capture_output=True, text=True)
        assert done.returncode == 2
        assert message in done.stderr
