"""A command in a process of its own, so that whatever other people's files do to it, somebody is left to say so.

A file that becomes shorter while it is mapped ends the process that reads it with SIGBUS, a library for a file format
may crash on a damaged file, and the system ends processes that take too much memory. None of these can be caught in
the process itself.
"""

import ctypes
import os
import signal
import sys

_REASONS = {
    "SIGBUS": "a file became shorter while it was read, as when it is copied or written anew at the same time; try "
    "again when nobody changes it",
    "SIGKILL": "somebody, or the system for want of memory, ended it",
    "SIGSEGV": "a library crashed, which a damaged file can make it do",
    "SIGABRT": "a library gave up, which a damaged file can make it do",
}


def fork(prog):
    """Go on in a new process, and wait for it in this one.

    The new process costs a few milliseconds if nothing large was imported before.

    Args:
      prog: the name of the command, for the message.

    Returns:
      In the new process None. In this one the exit code of the other when it has ended; if a signal ended it, 2 after
      a sentence on stderr, or 128 and the number of the signal if the signal came from outside.
    """
    if not hasattr(os, "fork"):
        return None
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    parent, child = os.getpid(), os.fork()
    if child == 0:
        _end_with(parent)
        return None
    return _wait(child, prog)


def _wait(child, prog):
    received = []

    def forward(number, frame):
        received.append(number)
        os.kill(child, number)

    # A terminal sends Ctrl-C to both, and the new process answers it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, forward)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code >= 0:
        return code
    if -code in received:
        return 128 - code
    name = signal.Signals(-code).name
    print(f"{prog}: the process that did the work was ended by {name}: {_reason(name)}.", file=sys.stderr)
    return 2


def _reason(name):
    return _REASONS.get(name, "it did not say why")


def _end_with(parent):
    """Let this process be ended when its parent is, where the system can do that."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(2)
