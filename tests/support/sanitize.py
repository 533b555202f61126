"""Builds the extension with the address and the undefined-behaviour sanitizer and runs the checker's tests under them.

`make sanitize`, or `python tests/support/sanitize.py [arguments of pytest]`, on Linux with GCC. All of it happens in a
copy, build/sanitize, so that the normal build stays as it is. The copy has no tests/conftest.py: all that does is to
import TensorFlow, which the checker does not need and the sanitizers do not bear.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COPY = ROOT / "build" / "sanitize"
TESTS = [
    "checker/test_moments.py",
    "checker/test_kernels.py",
    "checker/test_threads.py",
    "checker/test_weights.py",
    "packaging/test_native.py",
    "checker/test_moving_stats.py",
    "checker/test_summation.py",
    "fuzzing/test_fuzz.py",
    "checker/test_regression.py",
    "evidence/test_read_ahead.py",
    "fuzzing/test_garbage.py",
]
HELPERS = ["accuracy", "reference", "fuzz", "fuzz_recurrence", "faulty", "honest", "garbage", "traces"]
# -O1: before the optimizer can remove an access, or make two of them one, it is checked.
FLAGS = ["-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
DESELECTED = {
    "checker/test_threads.py::test_a_file_larger_than_memory": (
        "it limits the data of the process to 64 MiB above what is in use, and the address sanitizer's shadow, which "
        "counts as data, is terabytes"
    ),
}
FUZZED = 20_000


def copy():
    """Copy what is needed; what is unchanged stays, so that it is not compiled again."""
    for folder in ("tf1bn", "ext", "tests"):
        (COPY / folder).mkdir(parents=True, exist_ok=True)
    files = ["setup.py", "pyproject.toml", "README.md", "LICENSE"]
    files += [str(path.relative_to(ROOT)) for kind in ("py", "jinja") for path in (ROOT / "tf1bn").rglob(f"*.{kind}")]
    files += [str(path.relative_to(ROOT)) for path in (ROOT / "ext").iterdir() if path.suffix in (".pyx", ".pxd", ".h")]
    files += [f"tests/{name}" for name in TESTS] + [f"tests/support/{name}.py" for name in HELPERS]
    for folder in ("tf1bn", "ext", "tests"):
        for path in (COPY / folder).rglob("*"):
            if path.is_file() and path.suffix != ".so" and path.relative_to(COPY).as_posix() not in files:
                path.unlink()
    for name in files:
        text = (ROOT / name).read_bytes()
        if name == "setup.py":
            flags = ", ".join(f'"{flag}"' for flag in FLAGS).encode()
            if text.count(b'"-O3"') != 1:
                raise SystemExit('sanitize.py expects one "-O3" in setup.py, to put its own flags in its place.')
            text = text.replace(b'"-O3"', flags)
        (COPY / name).parent.mkdir(parents=True, exist_ok=True)
        if not (COPY / name).exists() or (COPY / name).read_bytes() != text:
            (COPY / name).write_bytes(text)


def runtime(name):
    """The path of a sanitizer's shared library."""
    command = ["gcc", f"-print-file-name={name}"]
    path = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    if not Path(path).is_absolute():
        raise SystemExit(f"gcc has no {name}; install its sanitizers (on Debian: libasan and libubsan).")
    return str(Path(path).resolve())


def main():
    """Copy, build, test."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "pytest", nargs="...", help="arguments of pytest; default: those for the checker's tests, then a fuzz"
    )
    arguments = parser.parse_args()
    copy()
    environment = {**os.environ, "CC": "gcc", "LDFLAGS": "-fsanitize=address,undefined"}
    subprocess.run([sys.executable, "setup.py", "-q", "build_ext", "--inplace"], cwd=COPY, env=environment, check=True)
    environment = {
        **os.environ,
        # The interpreter is not instrumented, so the runtimes must come first.
        "LD_PRELOAD": f"{runtime('libasan.so')} {runtime('libubsan.so')}",
        # Python keeps objects to its end. Python's own allocator hands out parts of large blocks, whose ends the
        # sanitizer does not know; malloc's it does.
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:detect_stack_use_after_return=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONMALLOC": "malloc",
        "PYTHONPATH": os.pathsep.join([str(COPY), str(COPY / "tests/support")]),
    }
    where = [sys.executable, "-c", "import tf1bn._native._moments as module; print(module.__file__)"]
    found = subprocess.run(where, cwd=COPY, env=environment, capture_output=True, text=True, check=True).stdout.strip()
    if COPY not in Path(found).parents:
        raise SystemExit(f"The tests would run on {found}, which is not built with the sanitizers.")
    tests = arguments.pytest
    if not tests:
        tests = [f"tests/{name}" for name in TESTS]
        for test, reason in DESELECTED.items():
            print(f"Not run under the sanitizers: {test}: {reason}", flush=True)
            tests += ["--deselect", f"tests/{test}"]
    code = subprocess.run([sys.executable, "-m", "pytest", *tests], cwd=COPY, env=environment).returncode
    if code == 0 and not arguments.pytest:
        command = [sys.executable, "tests/support/fuzz.py", "--count", str(FUZZED), "--seed", "1"]
        code = subprocess.run(command, cwd=COPY, env=environment).returncode
    return code


if __name__ == "__main__":
    sys.exit(main())
