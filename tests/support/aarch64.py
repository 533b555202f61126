"""Runs the extension's tests on Linux for 64-bit ARM, emulated, with a wheel that was built for it.

`make aarch64`, or `python tests/support/aarch64.py WHEEL [arguments of pytest]`, on Debian or Ubuntu with
qemu-user-static; no rights are needed. Python for ARM comes from Debian's packages, NumPy and pytest from the index,
in the versions of the locks; all of it goes to build/aarch64. The tests are those that need neither TensorFlow nor
other processes, and then cases of both parts of the fuzzer.
"""

import argparse
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build" / "aarch64"
KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
TESTS = [
    "checker/test_moments.py",
    "checker/test_kernels.py",
    "checker/test_bfloat16.py",
    "checker/test_weights.py",
    "checker/test_moving_stats.py",
    "checker/test_summation.py",
    "checker/test_regression.py",
    "fuzzing/test_fuzz.py",
]
# They start processes, which the emulator does not do.
DESELECTED = (
    "checker/test_moving_stats.py::test_importing_the_checker_imports_no_tensorflow",
    "checker/test_bfloat16.py::test_ml_dtypes_is_not_imported",
)
FUZZED = 2_000  # cases of each part
DEBIAN = ("python3.11", "libstdc++6")
PYTHON_PACKAGES = ("numpy", "ml-dtypes", "rich", "pytest", "hypothesis", "mpmath")
# Its C library is Debian's 2.36.
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64")
APT = """APT::Architecture "arm64";
APT::Architectures {{ "arm64"; }};
APT::Sandbox::User "";
Dir::State "{0}/state";
Dir::State::status "{0}/state/status";
Dir::Cache "{0}/cache";
Dir::Etc "{0}/etc";
"""


def emulator():
    """The path of QEMU for single programs."""
    for name in ("qemu-aarch64-static", "qemu-aarch64"):
        if found := shutil.which(name):
            return found
    raise SystemExit("aarch64.py needs an emulator; install qemu-user-static.")


def interpreter():
    """Unpack Debian's Python for ARM, once; return the folder that stands for its root."""
    root, apt = FOLDER / "root", FOLDER / "apt"
    if (root / "usr/bin/python3.11").exists():
        return root
    if not shutil.which("apt-get") or not KEYS.exists():
        raise SystemExit(f"aarch64.py takes Python from Debian's packages; it needs apt-get, dpkg-deb and {KEYS}.")
    for name in ("state/lists/partial", "cache/archives/partial", "etc/apt.conf.d", "etc/preferences.d"):
        (apt / name).mkdir(parents=True, exist_ok=True)
    (apt / "state/status").touch()
    source = f"deb [arch=arm64 signed-by={KEYS}] http://deb.debian.org/debian bookworm main\n"
    (apt / "etc/sources.list").write_text(source)
    (apt / "apt.conf").write_text(APT.format(apt))
    environment = {**os.environ, "APT_CONFIG": str(apt / "apt.conf")}
    for command in (["update"], ["install", "--yes", "--download-only", "--no-install-recommends", *DEBIAN]):
        subprocess.run(["apt-get", "-qq", *command], env=environment, check=True)
    part = FOLDER / "root.part"
    shutil.rmtree(part, ignore_errors=True)
    for package in sorted((apt / "cache/archives").glob("*.deb")):
        subprocess.run(["dpkg-deb", "--extract", package, part], check=True)
    part.rename(root)
    return root


def packages():
    """Install what the tests import, for ARM, in the versions of the locks; return the folder."""
    site = FOLDER / "site"
    if site.exists():
        return site
    part = FOLDER / "site.part"
    shutil.rmtree(part, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", part, "--only-binary", ":all:"]
    command += ["--implementation", "cp", "--python-version", "3.11"]
    command += [word for name in ("cp311", "abi3", "none") for word in ("--abi", name)]
    command += [word for name in PLATFORMS for word in ("--platform", name)]
    pinned = [word for name in ("checkout", "tests") for word in ("-c", constraints(name))]
    subprocess.run([*command, *pinned, *PYTHON_PACKAGES], check=True)
    part.rename(site)
    return site


def constraints(name):
    """The versions of a lock without its hashes, as a file for pip, which takes none beside what it resolves."""
    lines = (ROOT / "docker" / "locks" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    path = FOLDER / f"{name}.txt"
    kept = [line.rstrip(" \\") for line in lines if line and not line.startswith((" ", "#", "-"))]
    path.write_text("\n".join([*kept, ""]), encoding="utf-8")
    return str(path)


def unpack(wheel):
    """Lay the package of the wheel and the tests into a fresh folder and return it."""
    folder = FOLDER / "run"
    shutil.rmtree(folder, ignore_errors=True)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    shutil.copy2(ROOT / "pyproject.toml", folder)
    # Not conftest.py, which imports TensorFlow.
    shutil.copytree(ROOT / "tests" / "support", folder / "tests" / "support")
    for name in TESTS:
        (folder / "tests" / name).parent.mkdir(exist_ok=True)
        shutil.copy2(ROOT / "tests" / name, folder / "tests" / name)
    return folder


def main():
    """Make the machine, run the tests, then the fuzzer; return the exit code of the first that failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path, help="for Linux on aarch64 and Python 3.11")
    parser.add_argument("pytest", nargs="...", help="arguments of pytest; default: those for the extension's tests")
    arguments = parser.parse_args()
    qemu = emulator()
    FOLDER.mkdir(parents=True, exist_ok=True)
    root, site, folder = interpreter(), packages(), unpack(arguments.wheel)
    paths = [folder, folder / "tests/support", site]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str(path) for path in paths)}
    python = [qemu, "-L", str(root), str(root / "usr/bin/python3.11")]

    def start(*command):
        return subprocess.run([*python, *command], cwd=folder, env=environment).returncode

    seen = "import platform; from tf1bn._native import _moments as m; print(platform.machine(), m.variants, m.__file__)"
    tests = arguments.pytest or [f"tests/{name}" for name in TESTS]
    tests += [word for test in DESELECTED for word in ("--deselect", f"tests/{test}")]
    code = start("-c", seen) or start("-m", "pytest", "-p", "no:cacheprovider", *tests)
    for part in ("inputs", "recurrence") if not arguments.pytest else ():
        # The emulator starts no processes where the system does not know of it.
        fuzz = ("tests/support/fuzz.py", "--part", part, "--count", str(FUZZED), "--seed", "1", "--workers", "0")
        code = code or start(*fuzz)
    return code


if __name__ == "__main__":
    sys.exit(main())
