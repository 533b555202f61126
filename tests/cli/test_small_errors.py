"""Small errors of the command line say what is wrong: of permissions, of a file's mark, of what is required."""

import errno
import os

import pytest

from tf1bn import trace
from tf1bn._util import command, files
from tf1bn.cli import main as cli
from tf1bn.parity import layer_map


@pytest.fixture
def locked(monkeypatch, tmp_path):
    """A path below which this user may look at nothing, as a system says it; whoever runs the tests may."""
    for name in ("stat", "lstat"):
        original = getattr(os, name)

        def refuses(path, *args, original=original, **options):
            if str(path).startswith(str(tmp_path / "locked/")):
                raise PermissionError(errno.EACCES, "Permission denied", path)
            return original(path, *args, **options)

        monkeypatch.setattr(os, name, refuses)
    (tmp_path / "locked").mkdir()
    return tmp_path / "locked"


@pytest.mark.parametrize("name", ["run.trace", "a.npz"])
@pytest.mark.parametrize("arguments", [["audit"], ["parity", "{}"]])
def test_what_may_not_be_read_is_not_called_missing(locked, name, arguments, capsys):
    path = str(locked / name)
    if name == "run.trace" and arguments == ["audit"]:
        with trace.Writer(path):
            pass
    assert cli.main([*(argument.format(path) for argument in arguments), path]) == 2
    assert "which cannot be read: Permission denied." in capsys.readouterr().err


def test_what_is_not_there_is_no_question_of_permission(tmp_path):
    assert files.why_unreachable(tmp_path / "none") is None
    assert files.why_unreachable("a\0b") is None
    assert files.why_unreachable(tmp_path) is None


def test_a_map_may_begin_with_the_mark_of_windows(tmp_path):
    (tmp_path / "m.json").write_bytes(b'\xef\xbb\xbf{"a": "b"}')
    assert layer_map.read_map(str(tmp_path / "m.json")) == {"a": "b"}


def test_a_script_needs_no_arguments(capsys):
    assert cli.main(["run"]) == 2
    assert capsys.readouterr().err == "tf1bn run: the following arguments are required: SCRIPT.\n"


def test_an_error_of_an_input_is_not_one_of_the_output():
    assert command._sentence(PermissionError(13, "Permission denied", "/a/b")) == "'/a/b': Permission denied."
    assert command._sentence(OSError(28, "No space left on device")) == (
        "output could not be written: No space left on device."
    )
