"""``python -m`` and the name of a module: the commands work, every other module says that it is none."""

import pkgutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import tiers

import tf1bn

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ["tf1bn", "tf1bn.__main__", "tf1bn.reproduce", "tf1bn.reproduce.__main__"]


def modules():
    """The names of all modules of the package, found without importing one: packages, files, extensions."""

    def under(folder, prefix):
        for found in pkgutil.iter_modules([str(folder)], prefix):
            yield found.name
            if found.ispkg:
                yield from under(folder / found.name.rpartition(".")[2], f"{found.name}.")

    return ["tf1bn", *under(Path(tf1bn.__file__).parent, "tf1bn.")]


def run(name, *arguments):
    command = [sys.executable, "-m", name, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)


def problem(name):
    """What is wrong with `python -m name`, or None."""
    done = run(name)
    if done.returncode == 0:
        return f"{name} ends with 0, having said {done.stdout!r}"
    if done.stdout or len(done.stderr.splitlines()) != 1:
        return f"{name} says more than one sentence: {done.stdout + done.stderr}"
    return None


@pytest.mark.parametrize("every", tiers.slow_but([5], [5, 1]))
def test_what_is_no_command_says_so(every):
    names = [name for name in modules() if name not in COMMANDS][::every]
    assert len(names) * every > 100
    with ThreadPoolExecutor(2) as pool:
        assert [found for found in pool.map(problem, names) if found] == []


def test_the_commands_work():
    for name in COMMANDS:
        done = run(name, "--help")
        assert (done.returncode, done.stderr) == (0, ""), name
        assert done.stdout.startswith("usage: "), name
