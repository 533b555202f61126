"""docker/images.py: all images built and used, and without an engine what it asks of Docker and what it says."""

import json
import os
import shutil
import subprocess
import sys

import dockerfiles
import pytest

SCRIPT = dockerfiles.ROOT / "docker/images.py"
NAMES = ["tf1bn-checker", "tf1bn", "tf1bn-tf1:1.15", "tf1bn-tf1:1.4", "tf1bn-gpu"]
# Answers as Docker does; the image `broken` is that whose commands end with another exit code.
DOCKER = """#!{python}
import json, os, sys
command, *rest = sys.argv[1:]
with open(os.environ["LOG"], "a") as log:
    log.write(json.dumps(sys.argv[1:]) + "\\n")
if command == "image":
    name = rest[-1]
    if "Layers" in rest[2]:
        print("base", name if os.environ.get("ORDER") else "requirements", name)
    else:
        print(130_000_000 if name.startswith("python:") else 130_000_000 + int(os.environ["SIZE"]))
elif command == "run" and "--entrypoint" in rest:
    print(4_000_000)
elif command == "run":
    print("usage: tf1bn  1 ok. 2 ok. bessel moving_mean  TensorFlow could not be imported")
    words = rest[rest.index("--volume") + 3 :]
    sys.exit(os.environ.get("BROKEN") != "yes" and (("reproduce" in words) * 2 or "port.trace" in words))
"""


@pytest.fixture
def images(tmp_path):
    """Runs the script where only the commands of tmp_path/bin are found."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def run(*arguments, **environment):
        done = subprocess.run(
            [sys.executable, SCRIPT, *arguments],
            env={"PATH": str(folder), "LOG": str(tmp_path / "log"), "SIZE": "100000000", **environment},
            capture_output=True,
            text=True,
        )
        log = tmp_path / "log"
        calls = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        return done, calls

    return run


@pytest.fixture
def docker(images, tmp_path):
    (tmp_path / "bin/docker").write_text(DOCKER.format(python=sys.executable))
    (tmp_path / "bin/docker").chmod(0o755)
    return images


def test_without_an_engine_it_says_what_is_missing(images):
    done, _ = images()
    assert done.returncode == 2
    assert done.stderr.startswith(
        "images: no docker or podman answers here, and buildah, which needs none of them, is "
    )
    assert not done.stdout


def test_an_unknown_image_is_refused(docker):
    done, calls = docker("tf1bn-tpu")
    assert done.returncode == 2
    assert f"there is no image 'tf1bn-tpu'; there are {', '.join(NAMES)}" in done.stderr
    assert not calls


def test_docker_is_asked_for_another_user_and_a_read_only_root(docker, tmp_path):
    done, calls = docker("tf1bn-checker", "--json", str(tmp_path / "images.json"), "--remove")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "tf1bn-checker: built in" in done.stdout
    assert "100.0 MB above python:3.12.13-slim-bookworm" in done.stdout
    user = f"{os.getuid()}:{os.getgid()}" if os.getuid() else "12345:12345"
    runs = [call for call in calls if call[0] == "run" and "--entrypoint" not in call]
    assert len(runs) == 6
    for call in runs:
        assert call[1:7] == ["--rm", "--read-only", "--tmpfs", "/tmp", "--user", user]
        assert call[8].endswith(":/work")
    assert [call[-1] for call in calls if call[0] == "rmi"] == ["tf1bn-checker-changed", "tf1bn-checker"]
    (report,) = json.loads((tmp_path / "images.json").read_text())["images"]
    assert report["bytes_above_base"] == 100_000_000
    assert report["code_layer_bytes"] == 4_000_000
    assert report["problems"] == []


@pytest.mark.parametrize(
    ("environment", "problem"),
    [
        ({"SIZE": "150000001"}, "WRONG: 150.0 MB above its base; at most 150.0 MB are promised"),
        ({"ORDER": "code first"}, "WRONG: a change of code makes 2 layers with 4.0 MB of tf1bn anew"),
        ({"BROKEN": "yes"}, "WRONG: audit port.trace --json port.json: exit code 0, not 1"),
    ],
)
def test_what_is_wrong_is_said_and_is_its_exit_code(docker, environment, problem):
    done, _ = docker("tf1bn-checker", **environment)
    assert done.returncode == 1
    assert problem in done.stdout


@pytest.mark.images
def test_all_images_are_built_and_do_what_they_are_for(tmp_path):
    if not (shutil.which("docker") or shutil.which("podman") or shutil.which("buildah")):
        pytest.skip("there is no docker, podman or buildah here")
    done = subprocess.run([sys.executable, SCRIPT, "--json", tmp_path / "images.json", "--remove"])
    assert done.returncode == 0
    rows = json.loads((tmp_path / "images.json").read_text())["images"]
    assert [row["name"] for row in rows] == NAMES
    sizes = {row["name"]: row["bytes_above_base"] for row in rows}
    assert sizes["tf1bn-checker"] <= 150e6
    assert sizes["tf1bn"] <= 1600e6
    for row in rows[:2]:
        assert row["code_layer_bytes"] < 20e6
    assert all(run["problem"] is None for row in rows for run in row["runs"])
