"""Builds the extension with GCC's sanitizers and runs the checker's tests under them: no error, no race.

`make sanitize`, or `python tests/support/sanitize.py [--only address|thread] [arguments of pytest]`, on Linux with GCC.
There are two builds, since the two cannot be had together: one with the address and the undefined-behaviour sanitizer,
and one with the thread sanitizer, for the tests that use threads. All of it happens in copies, build/sanitize-address
and build/sanitize-thread, so that the normal build stays as it is. The copies have no tests/conftest.py: all that does
is to import TensorFlow, which the checker does not need and the sanitizers do not bear.
"""

import argparse
import dataclasses
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTS = [
    "checker/test_moments.py",
    "checker/test_kernels.py",
    "util/test_threads.py",
    "checker/test_weights.py",
    "checker/test_bfloat16.py",
    "packaging/test_native.py",
    "checker/test_moving_stats.py",
    "checker/test_summation.py",
    "fuzzing/test_fuzz.py",
    "checker/test_regression.py",
    "evidence/test_read_ahead.py",
    "fuzzing/test_garbage.py",
]
HELPERS = ["tiers", "accuracy", "reference", "fuzz", "fuzz_recurrence", "faulty", "honest", "garbage", "traces"]
# -O1: before the optimizer can remove an access, or make two of them one, it is checked.
FLAGS = ["-O1", "-g", "-fno-omit-frame-pointer"]


@dataclasses.dataclass(frozen=True)
class Sanitizer:
    """One build.

    Attributes:
      flags: of the compiler; link: of the linker; libraries: the runtimes, which must be loaded before the interpreter.
      environment: the options of the runtimes.
      tests: the files that are run; deselected: tests of them that are not, with the reason.
      fuzzed: how many cases of each part of the fuzzer are run.
    """

    flags: list[str]
    link: str
    libraries: tuple[str, ...]
    environment: dict[str, str]
    tests: list[str]
    deselected: dict[str, str]
    fuzzed: int


SANITIZERS = {
    "address": Sanitizer(
        flags=["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"],
        link="-fsanitize=address,undefined",
        libraries=("libasan.so", "libubsan.so"),
        environment={
            # Python keeps objects to its end. Python's own allocator hands out parts of large blocks, whose ends the
            # sanitizer does not know; malloc's it does.
            "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:detect_stack_use_after_return=1",
            "UBSAN_OPTIONS": "print_stacktrace=1",
            "PYTHONMALLOC": "malloc",
        },
        tests=TESTS,
        deselected={
            "util/test_threads.py::test_a_file_larger_than_memory": (
                "it limits the data of the process to 64 MiB above what is in use, and the address sanitizer's shadow, "
                "which counts as data, is terabytes"
            ),
        },
        fuzzed=20_000,
    ),
    "thread": Sanitizer(
        flags=["-fsanitize=thread"],
        link="-fsanitize=thread",
        libraries=("libtsan.so",),
        # A race does not end the process; its exit code says that there was one. Python's signal handlers allocate.
        environment={"TSAN_OPTIONS": "exitcode=66:report_signal_unsafe=0"},
        tests=["util/test_threads.py", "evidence/test_read_ahead.py", "checker/test_regression.py"],
        deselected={
            "util/test_threads.py::test_a_file_larger_than_memory": (
                "it limits the data of the process, and the thread sanitizer's shadow counts as data"
            ),
        },
        fuzzed=0,
    ),
}


def copy(folder, flags):
    """Copy what is needed into a folder; what is unchanged stays, so that it is not compiled again."""
    parts = [folder / name for name in ("tf1bn", "ext", "tests")]
    for part in parts:
        part.mkdir(parents=True, exist_ok=True)
    files = ["setup.py", "pyproject.toml", "README.md", "LICENSE"]
    # The package with its data, without what was built of it.
    package = [path for path in (ROOT / "tf1bn").rglob("*") if path.is_file() and path.suffix not in (".so", ".pyc")]
    files += [str(path.relative_to(ROOT)) for path in package]
    files += [str(path.relative_to(ROOT)) for path in (ROOT / "ext").iterdir() if path.suffix in (".pyx", ".pxd", ".h")]
    files += [f"tests/{name}" for name in TESTS] + [f"tests/support/{name}.py" for name in HELPERS]
    for part in parts:
        for path in part.rglob("*"):
            if path.is_file() and path.suffix != ".so" and path.relative_to(folder).as_posix() not in files:
                path.unlink()
    for name in files:
        text = (ROOT / name).read_bytes()
        if name == "setup.py":
            flags = ", ".join(f'"{flag}"' for flag in flags).encode()
            if text.count(b'"-O3"') != 1:
                raise SystemExit('sanitize.py expects one "-O3" in setup.py, to put its own flags in its place.')
            text = text.replace(b'"-O3"', flags)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if not (folder / name).exists() or (folder / name).read_bytes() != text:
            (folder / name).write_bytes(text)


def runtime(name):
    """The path of a sanitizer's shared library."""
    command = ["gcc", f"-print-file-name={name}"]
    path = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    if not Path(path).is_absolute():
        raise SystemExit(f"gcc has no {name}; install its sanitizers (on Debian: libasan and libubsan).")
    return str(Path(path).resolve())


def fixed_addresses():
    """The start of a command that turns off random addresses, which the thread sanitizer may need; empty if refused."""
    command = ["setarch", platform.machine(), "-R"]
    if shutil.which("setarch") and subprocess.run([*command, "true"], capture_output=True).returncode == 0:
        return command
    return []


def run(name, arguments):
    """Copy, build and test with one of the sanitizers; returns the exit code."""
    sanitizer, folder = SANITIZERS[name], ROOT / "build" / f"sanitize-{name}"
    copy(folder, FLAGS + sanitizer.flags)
    environment = {**os.environ, "CC": "gcc", "LDFLAGS": sanitizer.link}
    build = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    subprocess.run(build, cwd=folder, env=environment, check=True)
    environment = {
        **os.environ,
        **sanitizer.environment,
        # The interpreter is not instrumented, so the runtimes must come first.
        "LD_PRELOAD": " ".join(runtime(library) for library in sanitizer.libraries),
        "PYTHONPATH": os.pathsep.join([str(folder), str(folder / "tests/support")]),
    }
    python = [*(fixed_addresses() if name == "thread" else ()), sys.executable]

    def start(*command, **more):
        return subprocess.run([*python, *command], cwd=folder, env=environment, **more)

    where = start(
        "-c",
        "import tf1bn._native._moments as module; print(module.__file__)",
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    if folder not in Path(where).parents:
        raise SystemExit(f"The tests would run on {where}, which is not built with the sanitizers.")
    tests = arguments
    if not tests:
        tests = ["-m", "", *(f"tests/{test}" for test in sanitizer.tests)]
        for test, reason in sanitizer.deselected.items():
            print(f"Not run under the {name} sanitizer: {test}: {reason}", flush=True)
            tests += ["--deselect", f"tests/{test}"]
    code = start("-m", "pytest", *tests).returncode
    for part in ("inputs", "recurrence") if sanitizer.fuzzed and not arguments else ():
        if code == 0:
            fuzz = ("tests/support/fuzz.py", "--part", part, "--count", str(sanitizer.fuzzed), "--seed", "1")
            code = start(*fuzz).returncode
    return code


def main():
    """Run the tests under each sanitizer until one fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=SANITIZERS, help="one of the two builds; default: both")
    parser.add_argument(
        "pytest", nargs="...", help="arguments of pytest; default: those for the checker's tests, then a fuzz"
    )
    arguments = parser.parse_args()
    for name in [arguments.only] if arguments.only else SANITIZERS:
        code = run(name, arguments.pytest)
        print(f"{name}: {'no error' if code == 0 else f'exit code {code}'}", flush=True)
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
