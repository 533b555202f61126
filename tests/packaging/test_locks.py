"""The locks: complete, with hashes, in step with what is pinned by hand, and the same versions in each."""

import re

import locks
import pytest

NAMES = sorted(path.stem for path in locks.FOLDER.iterdir())
EACH = pytest.mark.parametrize("name", NAMES)


def by_hand(path):
    """The requirements of a file: a set of names, normalized, and versions with conditions."""
    text = (locks.ROOT / path).read_text(encoding="utf-8")
    found = set()
    for line in text.splitlines():
        if line and not line.startswith("#"):
            package, version = line.split("==", 1)
            # The lock compares the patch release as well, which is the same.
            version = version.replace("; python_version", " ; python_full_version").replace('"', "'")
            found.add((locks.normalized(package), version))
    return found


def test_there_is_one_for_each_that_installs():
    assert NAMES == ["build", "checker", "checkout", "cpu", "docs", "gpu", "tests"]


@EACH
def test_every_file_of_every_package_has_its_hash(name):
    pins = locks.read(name)
    assert pins
    assert not [pin.name for pin in pins if not pin.hashes]
    assert all(re.fullmatch("sha256:[0-9a-f]{64}", digest) for pin in pins for digest in pin.hashes)
    assert (locks.FOLDER / f"{name}.txt").stat().st_size < 1_000_000


@EACH
def test_it_is_made_by_make_locks_and_names_no_index(name):
    text = (locks.FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    assert "\n#    make locks\n" in text
    assert "://" not in text
    assert "index-url" not in text


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("checkout", "requirements.txt"),
        ("tests", "tests/requirements.txt"),
        ("docs", "docs/requirements.txt"),
    ],
)
def test_what_is_pinned_by_hand_is_locked_so(name, path):
    locked = {(pin.name, pin.version) for pin in locks.read(name)}
    assert by_hand(path) <= locked, "run `make locks`"


@EACH
def test_all_locks_have_the_same_versions(name):
    """What is tested is what the images have; pip installs one lock after the other."""
    versions = {pin.name: set() for pin in locks.read("checkout")}
    for pin in locks.read("checkout"):
        versions[pin.name].add((pin.version, *pin.hashes))
    for pin in locks.read(name):
        assert pin.name not in versions or (pin.version, *pin.hashes) in versions[pin.name], pin.name


def test_the_images_have_what_running_needs():
    """All but the tools of the build, and TensorFlow in the form that the image is for."""
    (checkout, build, cpu, gpu, checker) = (
        {pin.name for pin in locks.read(name)} for name in ("checkout", "build", "cpu", "gpu", "checker")
    )
    assert cpu == checkout - {"cython", "tensorflow"} | {"tensorflow-cpu"}
    assert build == {"cython", "setuptools"}
    assert checkout - {"cython"} < gpu
    assert all(name.startswith("nvidia-") for name in gpu - checkout)
    assert "nvidia-cudnn-cu12" in gpu
    assert checker == {"numpy", "rich", "pygments", "markdown-it-py", "mdurl"}
