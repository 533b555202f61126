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

COMMANDS = ["", "reproduce", "audit", "inspect", "run", "parity", "doctor"]


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
    assert not command or "--verbose" in text
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


@pytest.mark.parametrize(
    ("arguments", "prog", "hint"),
    [
        (["audti", "run.trace"], "tf1bn", "`audit`"),
        (["audit", "--formt", "json", "run.trace"], "tf1bn audit", "`--format`"),
        (["audit", "run.trace", "--formt=json"], "tf1bn audit", "`--format`"),
        (["audit", "run.trace", "--format", "jsn"], "tf1bn audit", "`json`"),
        (["parity", "a", "b", "--ony", "training"], "tf1bn parity", "`--only`"),
        (["reproduce", "--relase", "1.3"], "tf1bn reproduce", "`--release`"),
        (["audit", "run.trace", "--accept", "no-bassel"], "tf1bn audit", "`no-bessel`"),
        (["--bessel"], "tf1bn", None),
        (["audit", "run.trace", "other.trace"], "tf1bn audit", None),
    ],
)
def test_what_is_misspelt_gets_a_hint_from_the_command_itself(arguments, prog, hint, capsys):
    assert cli.main(arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"{prog}: ")
    assert err.count("\n") == 1
    if hint is None:
        assert "Did you mean" not in err
    else:
        assert f"Did you mean {hint}" in err


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion(shell, capsys):
    pytest.importorskip("shtab", reason="needs shtab, which requirements.txt has")
    assert cli.main(["--print-completion", shell]) == 0
    out = capsys.readouterr().out
    for word in ("audit", "inspect", "strict-undecidable", "junit"):
        assert word in out
    if shell == "bash":
        assert subprocess.run(["bash", "-n"], input=out, text=True, capture_output=True).stderr == ""


def test_completion_without_its_package_is_one_sentence(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert cli.main(["--print-completion", "bash"]) == 2
    assert "install it with `pip install shtab`" in capsys.readouterr().err


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
