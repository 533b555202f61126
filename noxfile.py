"""The suite on each pair of TensorFlow and Python with wheels: ``make matrix``; one: ``nox -s "suite(tf2.16-py3.12)"``.

Each session has an environment of its own in .nox, with what requirements.txt pins except where an older TensorFlow
wants older companions. A Python that is not on this machine is skipped, and nox says so.
"""

import re
from pathlib import Path

import nox

nox.needs_version = ">=2024.4.15"
nox.options.error_on_missing_interpreters = False
# What TensorFlow decides: an older one needs an older NumPy, brings the Keras that fits, and has a tf_keras of its own.
CHOSEN_BY_TENSORFLOW = ("tensorflow", "keras", "numpy", "tf_keras")
WHEELS = {
    "2.16": ("3.10", "3.11", "3.12"),
    "2.18": ("3.10", "3.11", "3.12"),
    "2.20": ("3.10", "3.11", "3.12", "3.13"),
    "2.21": ("3.10", "3.11", "3.12", "3.13"),
}
SEEN = """
import platform
from importlib.metadata import version
print("Python", platform.python_version(), *(f"{name} {version(name)}" for name in ("tensorflow", "keras", "numpy")))
"""


def pins():
    """The lines of requirements.txt that hold with any TensorFlow."""
    lines = Path("requirements.txt").read_text(encoding="utf-8").splitlines()
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
    # tests/test_install.py installs what requirements.txt pins, whatever TensorFlow is here: once per Python is enough.
    ignored = [] if f"tensorflow=={tensorflow}." in Path("requirements.txt").read_text() else ["tests/test_install.py"]
    session.run("python", "-c", SEEN)
    session.run("python", "-m", "pytest", "-q", *(f"--ignore={path}" for path in ignored), *session.posargs)
