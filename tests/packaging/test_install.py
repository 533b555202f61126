"""docker/install.sh, which the Makefile and the images run, in clean virtual environments."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import building
import dockerfiles
import locks
import pytest

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}


@pytest.mark.packaging
def test_the_steps_of_the_image_in_a_clean_environment(tmp_path):
    """The steps of docker/Dockerfile; what comes out reproduces the article, with no place to write to but /tmp."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**ENVIRONMENT, **building.environment(tmp_path), "PATH": path}
    image = dockerfiles.Followed(dockerfiles.PATHS["docker/Dockerfile"], tmp_path, environment)
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
    installed = {locks.normalized(found.name) for found in importlib.metadata.distributions(path=[str(packages)])}
    assert installed == {name for name, _, _ in locks.read("cpu")} | {"tf1bn", "pip", "setuptools"}


@pytest.fixture
def pip(tmp_path):
    """Runs the script with a pip that writes down its arguments, and the folder of the build tools."""
    log, python = tmp_path / "log", tmp_path / "python"
    python.write_text(
        f"#!{sys.executable}\n"
        "import os, sys\n"
        f"with open({str(log)!r}, 'a') as log:\n"
        "    if sys.argv[1] == '-m':\n"
        "        log.write(' '.join(sys.argv[3:]) + '; tools: ' + os.environ.get('PYTHONPATH', '') + '\\n')\n"
    )
    python.chmod(0o755)

    def install(*arguments):
        log.write_text("")
        environment = {**ENVIRONMENT, "PYTHON": str(python)}
        subprocess.run(["sh", ROOT / "docker/install.sh", *arguments], env=environment, check=True)
        return log.read_text().splitlines()

    return install


def locked(name, rest=""):
    """The pip command that installs what a lock names and nothing whose hash is another."""
    return (
        "--disable-pip-version-check install --quiet --no-deps --only-binary :all: --require-hashes "
        f"--requirement docker/locks/{name}.txt{rest}"
    )


def test_a_checkout_gets_what_its_lock_names_and_then_tf1bn(pip):
    build = "--disable-pip-version-check install --quiet --no-deps --no-build-isolation "
    assert pip("-e", ".") == [f"{locked('checkout')}; tools: ", f"{build}-e .; tools: "]
    assert pip() == [f"{locked('checkout')}; tools: ", f"{build}.; tools: "]


@pytest.mark.parametrize("name", ["tests", "docs", "cpu", "gpu", "checker"])
def test_a_lock_is_installed_alone(pip, name):
    assert pip("lock", name) == [f"{locked(name)}; tools: "]


def test_the_tools_that_build_tf1bn_are_not_there_afterwards(pip):
    tools, package = pip("package", "--prefix=/opt/package", ".")
    folder = package.partition("; tools: ")[2]
    assert tools == f"{locked('build', f' --target {folder}')}; tools: "
    assert "--no-build-isolation --prefix=/opt/package ." in package
    assert not Path(folder).exists()


def test_the_tests_are_installed_for_the_targets_that_need_them():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"^reproduce: \.venv/done ;", makefile, re.MULTILINE)
    for target in ("test", "test-rest", "test-all", "lint"):
        assert re.search(rf"^{target}: \.venv/tests( ;|$)", makefile, re.MULTILINE)


def test_every_step_says_what_it_does_before_it_takes_long(pip, capfd):
    pip("-e", ".")
    err = capfd.readouterr().err
    assert "tf1bn: installing TensorFlow and what else docker/locks/checkout.txt names: about 2.3 GB" in err
    assert "tf1bn: building the extension" in err


def test_install_script_refuses_an_old_python(tmp_path):
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    environment = {**os.environ, "PYTHON": str(old)}
    done = subprocess.run(["sh", ROOT / "docker/install.sh"], env=environment, capture_output=True)
    assert done.returncode == 1
    assert b"tf1bn needs Python 3.10 or newer" in done.stderr
