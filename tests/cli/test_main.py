"""The help of ``tf1bn`` and of its commands."""

import re
import shlex
import subprocess
import sys

import pytest

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
