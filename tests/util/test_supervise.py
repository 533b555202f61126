"""The command line goes on when the process that reads the files does not."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tf1bn import trace

# A command in the place of the real one, in the process that does the work.
COMMAND = """
import os, signal, sys
from tf1bn.cli import audit, main
def run(args):
    print("reading", flush=True)
    {work}
    return 0
audit.run = run
sys.argv = ["tf1bn", "audit", "x"]
sys.exit(main.main())
"""


def start(work, **options):
    command = [sys.executable, "-c", COMMAND.format(work=work)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGBUS, "ended by SIGBUS: a file became shorter while it was read"),
        (signal.SIGSEGV, "ended by SIGSEGV: a library crashed"),
        (signal.SIGABRT, "ended by SIGABRT: a library gave up"),
        (signal.SIGKILL, "ended by SIGKILL: somebody, or the system for want of memory"),
    ],
)
def test_a_signal_is_one_sentence(number, words):
    process = start(f"os.kill(os.getpid(), {int(number)})")
    out, err = process.communicate()
    assert (process.returncode, out) == (2, "reading\n")
    assert err.startswith("tf1bn audit: the process that did the work was ")
    assert words in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("code", [0, 1, 2])
def test_the_exit_code_is_that_of_the_work(code):
    process = start(f"return {code}")
    assert process.communicate() == ("reading\n", "")
    assert process.returncode == code


def ends(process):
    """Whether a process ends within some seconds: an orphan is still listed until its new parent has looked."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        os.sched_yield()
    return False


def test_what_ends_the_command_ends_the_work():
    for number, code in ((signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGKILL, -signal.SIGKILL)):
        process = start("print(os.getpid(), flush=True); signal.pause()")
        assert process.stdout.readline() == "reading\n"
        worker = int(process.stdout.readline())
        process.send_signal(number)
        assert process.wait(60) == code
        # The end of the pipe is the end of the last process that has it.
        assert process.stdout.read() == ""
        assert ends(worker)
        process.communicate()


def test_ctrl_c_is_answered_once():
    process = start("signal.pause()", start_new_session=True)
    assert process.stdout.readline() == "reading\n"
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 130


def test_a_trace_that_is_cut_while_it_is_read(tmp_path):
    """For real: the arrays are cut as soon as the first step has been read."""
    path = tmp_path / "t"
    zeros, ones = np.zeros(4, np.float32), np.ones(4, np.float32)
    inputs = np.ones((1 << 16, 4), np.float32)
    record = {"moving_mean_before": zeros, "moving_variance_before": ones}
    record |= {"moving_mean_after": zeros, "moving_variance_after": ones}
    with trace.Writer(path) as writer:
        writer.add_layer("l", decay=0.9, epsilon=1e-3, fused=True)
        for _ in range(3):
            writer.add_step({"l": {"inputs": [inputs], **record}}, training=True)
    cut = f"""
import glob, os, sys
from tf1bn.cli.main import main
from tf1bn.trace import storage
mapped = storage.Folder.map
def map(folder, name, *more):
    array = mapped(folder, name, *more)
    os.truncate({str(path)!r} + "/" + name, 4096)
    return array
storage.Folder.map = map
sys.argv = ["tf1bn", "audit", {str(path)!r}]
sys.exit(main())
"""
    done = subprocess.run([sys.executable, "-c", cut], capture_output=True, text=True)
    assert done.returncode == 2
    assert "ended by SIGBUS: a file became shorter while it was read" in done.stderr
