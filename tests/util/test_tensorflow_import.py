"""The garbage collector while a command imports TensorFlow, and after."""

import subprocess
import sys
from pathlib import Path

import pytest

from tf1bn._util import command

# In a process of its own, with a stand-in for TensorFlow.
IMPORT = """
import gc, sys
{before}
from tf1bn._util.tensorflow_import import import_tensorflow
try:
    import_tensorflow(verbose=False, start=False, own_process={own})
    during = sys.modules["tensorflow"].collecting
except Exception as error:
    during = type(error).__name__
print(during, gc.isenabled(), gc.get_freeze_count() > 0)
"""


@pytest.mark.parametrize(
    ("before", "own", "tensorflow", "expected"),
    [
        ("", False, "", "False True False"),
        ("", True, "", "False True True"),
        ("gc.disable()", False, "", "False False False"),
        ("", True, "raise ImportError('torn')", "CommandError True False"),
        ("", True, "raise OSError('torn')", "OSError True False"),
    ],
)
def test_the_collector_pauses_and_leaves_only_its_own_process_frozen(tmp_path, before, own, tensorflow, expected):
    (tmp_path / "tensorflow.py").write_text(f"import gc\ncollecting = gc.isenabled()\n{tensorflow}\n")
    done = subprocess.run(
        [sys.executable, "-c", IMPORT.format(before=before, own=own)],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": f"{tmp_path}:{Path(__file__).resolve().parents[2]}", "PATH": ""},
    )
    assert done.stdout.strip() == expected


@pytest.mark.parametrize(("given", "own"), [(None, True), ([], False)])
def test_only_the_command_line_has_the_process_to_itself(monkeypatch, given, own):
    seen = []
    parser = command.Parser(prog="program")
    parser.set_defaults(prog="program", run=lambda args: seen.append(args.own_process))
    monkeypatch.setattr(sys, "argv", ["program"])
    command.execute(parser, given)
    assert seen == [own]
