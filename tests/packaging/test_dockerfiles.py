"""What the images are made of, as far as their Dockerfiles tell.

test_install.py and test_tf1_image.py follow them, test_images.py builds them.
"""

import re

import dockerfiles
import pytest
from dockerfiles import ROOT

EACH = pytest.mark.parametrize("path", dockerfiles.PATHS.values(), ids=dockerfiles.PATHS)


def test_there_are_no_others_and_make_lints_them():
    found = {str(path.relative_to(ROOT)) for path in (ROOT / "docker").rglob("Dockerfile*")}
    assert found == {name + end for name in dockerfiles.PATHS for end in ("", ".dockerignore")}
    lint = re.search(r"/hadolint (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)[1]
    assert lint.split() == list(dockerfiles.PATHS)


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


TODAY = pytest.mark.parametrize("name", ["docker/Dockerfile", "docker/Dockerfile.checker", "docker/Dockerfile.gpu"])


@TODAY
def test_the_images_of_today_have_one_python_where_they_are_built_and_where_they_run(name):
    """A virtual environment that is copied holds the place of its Python; what is compiled, its release."""
    built, package, final = dockerfiles.bases(dockerfiles.PATHS[name]).values()
    assert built == package == final.replace("-slim", "")


@TODAY
def test_a_change_of_code_changes_the_last_layer_alone(name):
    """What is installed besides knows nothing of the code, and the code comes after it."""
    requirements, _, final = dockerfiles.read(dockerfiles.PATHS[name])[1]
    copies = [value for keyword, value in requirements.instructions if keyword == "COPY"]
    assert copies[0] == "docker/install.sh docker/"
    assert all(value.startswith("docker/locks/") for value in copies[1:])
    layers = [value for keyword, value in final.instructions if keyword in ("RUN", "COPY")]
    assert layers[-2:] == [
        "--from=requirements /opt/tf1bn /opt/tf1bn",
        "--from=package /opt/package /opt/tf1bn",
    ]


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("gpu", [('CMD ["reproduce"]', 'CMD ["reproduce", "--device", "gpu"]')]),
        ("checker", [('CMD ["reproduce"]', 'CMD ["--help"]'), (" MPLCONFIGDIR=/tmp/matplotlib", "")]),
    ],
)
def test_the_other_images_of_today_differ_in_their_lock_and_their_defaults(name, changes):
    def lines(path):
        text = dockerfiles.PATHS[path].read_text(encoding="utf-8")
        return [line for line in text.splitlines() if not line.startswith("#")]

    expected = "\n".join(lines("docker/Dockerfile"))
    for old, new in [("lock cpu", f"lock {name}"), ("locks/cpu.txt", f"locks/{name}.txt"), *changes]:
        assert expected.count(old) == 1
        expected = expected.replace(old, new)
    assert lines(f"docker/Dockerfile.{name}") == expected.split("\n")


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


def test_what_is_pinned_for_tf1_is_all_pinned_with_hashes():
    for release in ("1.4", "1.15"):
        text = (ROOT / f"docker/tf1/requirements-{release}.txt").read_text(encoding="utf-8")
        pins = [line for line in text.splitlines() if not line.startswith("#")]
        assert all(re.fullmatch(r"[\w.-]+==[\w.]+ --hash=sha256:[0-9a-f]{64}", pin) for pin in pins)
        assert [pin for pin in pins if pin.startswith(f"tensorflow=={release}.")]
    assert "--require-hashes" in (ROOT / "docker/tf1/install.sh").read_text(encoding="utf-8")
