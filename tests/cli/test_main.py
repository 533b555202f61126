"""The help of ``tf1bn`` and of its commands."""

import os
import re
import shlex
import subprocess
import sys

import pytest

from tf1bn import errors
from tf1bn._util import command
from tf1bn.cli import main as cli

COMMANDS = ["", "reproduce", "audit", "run", "parity", "doctor"]


def help_of(command, monkeypatch, capsys, columns="80"):
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("NO_COLOR", "1")
    assert cli.main([*command.split(), "--help"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_and_has_examples_that_work(command, monkeypatch, capsys):
    text = help_of(command, monkeypatch, capsys)
    assert max(map(len, text.splitlines())) <= 80
    assert "exit codes: " in text
    examples = re.findall(r"^  tf1bn (.*)$", text, re.MULTILINE)
    assert len(examples) >= 2
    for example in examples:
        for part in example.split(" && tf1bn "):
            arguments = shlex.split(part)
            if "--help" not in arguments:
                assert cli.parser().parse_args(arguments).prog == f"tf1bn {arguments[0]}"
        assert example.startswith(command)


def test_help_fills_wide_terminals(monkeypatch, capsys):
    assert max(map(len, help_of("audit", monkeypatch, capsys, "120").splitlines())) > 90


def test_no_command_is_answered_by_the_help(capsys):
    assert cli.main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "parity" in err
    assert "examples:" in err


def test_help_imports_no_tensorflow():
    code = (
        "import sys; from tf1bn.cli import main as cli; cli.main(['audit', '--help']); cli.main(['--help']);"
        "print(sorted({'tensorflow', 'matplotlib', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-m", "tf1bn.audit"], "`python -m tf1bn.audit` is not a command; use `python -m tf1bn audit`"),
        (
            ["-mtf1bn.cli.parity", "a", "b"],
            "`python -m tf1bn.cli.parity` is not a command; use `python -m tf1bn parity`",
        ),
        (["-B", "-W", "error", "-m", "tf1bn.checker.moments", "-m"], "`python -m tf1bn --help` lists the commands"),
    ],
)
def test_a_module_that_is_not_a_command_does_not_succeed_in_silence(options, said):
    done = subprocess.run([sys.executable, *options], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_other_modules_that_import_tf1bn_run(tmp_path):
    (tmp_path / "project").mkdir()
    (tmp_path / "project/__init__.py").write_text("import tf1bn\n")
    (tmp_path / "project/audit.py").write_text("import sys; print(sys.argv[1:])\n")
    command = [sys.executable, "-m", "project.audit", "tf1bn.audit"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "['tf1bn.audit']\n", "")


class Refuses(errors.CheckpointError):
    """Any error of tf1bn's own."""


@pytest.mark.parametrize("kind", [errors.TraceError, errors.OutputError, Refuses])
@pytest.mark.parametrize("verbose", [False, True])
def test_every_error_of_tf1bn_is_one_sentence(kind, verbose, capsys):
    def run(args):
        raise kind("`x` is 1; it must be 2.")

    parser = command.Parser(prog="tf1bn test")
    parser.set_defaults(run=run, prog=parser.prog, verbose=verbose)
    assert command.execute(parser, []) == 2
    assert capsys.readouterr() == ("", "tf1bn test: `x` is 1; it must be 2.\n")
