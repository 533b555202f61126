"""Small faults put into the package, one at a time: the first tier of tests must fail on each.

    make mutants                    all of them;  make mutants ARGS="layers legacy"  those of some rooms

Works on a copy of the files that git knows. Each fault is one replacement of a text that must stand in its file once;
the tests named beside it must pass without the fault and fail with it. Exit code 1 if one is not noticed.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]


class Mutant(NamedTuple):
    """``old`` becomes ``new`` in ``file`` of the package; ``tests``: what notices, under tests."""

    file: str
    old: str
    new: str
    tests: str

    @property
    def room(self):
        return self.file.partition("/")[0].removesuffix(".py")


MUTANTS = [
    Mutant(
        "checker/moving_stats.py",
        "moments.count / (moments.count - 1) if self._bessel",
        "moments.count / moments.count if self._bessel",
        "checker/test_summation.py",
    ),
    Mutant("trace/storage.py", '".." in parts', '"..." in parts', "trace/test_trace.py"),
    Mutant(
        "evidence/estimators.py",
        "(self._moved / rate + self._kept)",
        "(self._moved / rate - self._kept)",
        "evidence",
    ),
    Mutant(
        "diagnosis/search.py",
        "estimates.mean_over_deviation > CANCELS",
        "estimates.mean_over_deviation < CANCELS",
        "diagnosis",
    ),
    Mutant(
        "checkpoints/rules.py",
        "(average < 0) & (values >= 0)",
        "(average < 0) & (values < 0)",
        "checkpoints/test_checkpoints.py",
    ),
    Mutant("parity/conversions.py", "count / (count - 1)", "count / (count + 1)", "parity/test_parity_checkpoints.py"),
    Mutant("reports/page/misfits.py", "key=lambda misfit: -misfit.score", "key=lambda misfit: misfit.score", "reports"),
    Mutant(
        "layers/moving_averages.py",
        "now / (1 - tf.pow(1.0 - rate, steps))",
        "now / (1 - tf.pow(1.0 - rate, steps + 1))",
        "layers/test_recordings_contrib.py",
    ),
    Mutant("releases.py", "epsilon_floor=1.001e-5", "epsilon_floor=1e-5", "layers"),
    Mutant(
        "graphdef/patterns.py",
        "self.variable(difference.op.inputs[0]) is variable",
        "self.variable(difference.op.inputs[1]) is variable",
        "recorders/test_recorder.py",
    ),
    Mutant("recorders/session.py", "training=trained)", "training=True)", "recorders/test_recorder.py"),
    Mutant("legacy/runner.py", "return 130", "return 1", "legacy"),
    Mutant("verdicts.py", "1 if FINDING in verdicts else 2", "2 if FINDING in verdicts else 1", "cli"),
    Mutant(
        "reproduce/variants/expected.py",
        "bessel=variant.fused,",
        "bessel=not variant.fused,",
        "reproduce/test_variants.py",
    ),
]


def copied(folder):
    """A copy of what git knows, and of the compiled extension."""
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    paths = [ROOT / name for name in names if name] + list((ROOT / "tf1bn/_native").glob("*.so"))
    for path in filter(Path.is_file, paths):
        target = folder / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)


def tests_pass(folder, tests):
    """Whether the first tier of ``tests`` passes in the copy; SystemExit if it is neither yes nor no."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        *(f"tests/{name}" for name in tests),
    ]
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    failures = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    if done.returncode not in (0, 1):
        raise SystemExit(f"pytest ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done.returncode == 0, failures[0] if failures else ""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rooms", nargs="*", help="the rooms to put faults into; default: all that have one")
    arguments = parser.parse_args()
    unknown = set(arguments.rooms) - {mutant.room for mutant in MUTANTS}
    if unknown:
        parser.error(f"no mutant is in {', '.join(sorted(unknown))}")
    chosen = [mutant for mutant in MUTANTS if not arguments.rooms or mutant.room in arguments.rooms]
    missed = 0
    with tempfile.TemporaryDirectory(prefix="tf1bn-mutants-") as folder:
        folder = Path(folder)
        copied(folder)
        for mutant in chosen:
            if (folder / "tf1bn" / mutant.file).read_text(encoding="utf-8").count(mutant.old) != 1:
                raise SystemExit(f"{mutant.file} must hold {mutant.old!r} once; mutants.py has fallen behind.")
        passed, failure = tests_pass(folder, sorted({mutant.tests for mutant in chosen}))
        if not passed:
            raise SystemExit(f"The tests fail without a fault: {failure}")
        for mutant in chosen:
            path = folder / "tf1bn" / mutant.file
            text = path.read_text(encoding="utf-8")
            path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
            start = time.monotonic()
            passed, failure = tests_pass(folder, [mutant.tests])
            path.write_text(text, encoding="utf-8")
            missed += passed
            print(f"{'MISSED' if passed else 'noticed'} after {time.monotonic() - start:.0f} s: {mutant.file}")
            print(f"    {mutant.old}  ->  {mutant.new}\n    {failure}", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} faults were noticed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
