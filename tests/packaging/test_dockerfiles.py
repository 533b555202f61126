"""What the images are made of, as far as their Dockerfiles tell; test_install.py and test_tf1_image.py follow them."""

import re

import dockerfiles
import pytest
from dockerfiles import ROOT

EACH = pytest.mark.parametrize("path", dockerfiles.PATHS.values(), ids=dockerfiles.PATHS)


def test_there_are_no_others_and_make_lints_them():
    found = {str(path.relative_to(ROOT)) for path in (ROOT / "docker").rglob("Dockerfile*")}
    assert found == {name + end for name in dockerfiles.PATHS for end in ("", ".dockerignore")}
    lint = re.search(r"^lint:.*$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)[0]
    assert lint.partition("hadolint ")[2].split() == list(dockerfiles.PATHS)


@EACH
def test_every_base_is_pinned_to_a_patch_release_of_python_and_debian(path):
    for image in dockerfiles.bases(path).values():
        assert re.fullmatch(r"python:\d+\.\d+\.\d+(-slim)?-(bookworm|buster)", image)


@EACH
def test_the_last_stage_is_slim_without_compilers_and_not_roots(path):
    last = dockerfiles.read(path)[1][-1]
    assert "-slim-" in dockerfiles.bases(path)[last.name]
    for keyword, value in last.instructions:
        assert keyword != "RUN" or not re.search(r"\b(apt|apt-get|gcc|g\+\+|make|curl|wget)\b", value)
    uid = last.last("USER")
    assert int(uid) > 0
    assert any(
        keyword == "RUN" and f"useradd --uid {uid} --create-home" in value for keyword, value in last.instructions
    )
    keywords = [keyword for keyword, _ in last.instructions]
    assert not {"COPY", "RUN", "ADD"} & set(keywords[keywords.index("USER") :])


def test_the_images_of_today_have_one_python_where_they_are_built_and_where_they_run():
    """A virtual environment that is copied holds the place of its Python; what is compiled, its release."""
    for path in (dockerfiles.PATHS["docker/Dockerfile"], dockerfiles.PATHS["docker/Dockerfile.gpu"]):
        built, package, final = dockerfiles.bases(path).values()
        assert built == package == final.replace("-slim", "")


def test_the_image_for_a_gpu_differs_in_cuda_and_its_defaults():
    lines = [
        [line for line in dockerfiles.PATHS[name].read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
        for name in ("docker/Dockerfile", "docker/Dockerfile.gpu")
    ]
    expected = [
        line.replace("&& PYTHON", '&& TENSORFLOW="tensorflow[and-cuda]" PYTHON').replace(
            'CMD ["reproduce"]', 'CMD ["reproduce", "--device", "gpu"]'
        )
        for line in lines[0]
    ]
    assert expected == lines[1]
    assert expected != lines[0]


def test_tf1_images_stand_on_the_python_of_their_release():
    path = dockerfiles.PATHS["docker/tf1/Dockerfile"]
    for release, image in (("1.15", "python:3.7.17-slim-bookworm"), ("1.4", "python:2.7.18-slim-buster")):
        assert list(dockerfiles.bases(path, {"RELEASE": release}).values())[-1] == image


@EACH
def test_the_context_is_what_is_copied(path):
    """All else is ignored: no change to a test or to the history makes an image anew."""
    lines = path.with_name(f"{path.name}.dockerignore").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "*"
    kept = {file for line in lines if line.startswith("!") for file in ROOT.glob(line[1:])}
    assert kept == dockerfiles.copied(path)
    assert {line for line in lines[1:] if not line.startswith("!")} <= {"**/__pycache__", "**/*.so"}


def test_what_is_pinned_for_tf1_is_all_pinned():
    for release in ("1.4", "1.15"):
        text = (ROOT / f"docker/tf1/requirements-{release}.txt").read_text(encoding="utf-8")
        pins = [line for line in text.splitlines() if not line.startswith("#")]
        assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins)
        assert [pin for pin in pins if pin.startswith(f"tensorflow=={release}.")]
