"""Which process writes a trace: a file in it says so while it does, and a process that has ended owns nothing."""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
from typing import Any

from .directory import Directory

LOCK = "writer.lock"
_TAG = re.compile(r"([0-9a-f]{8})-(\d+)-(\d*)-")


class Owner:
    """A process: its number, when it started, and its machine."""

    def __init__(self, process: int, start: str | None, host: str) -> None:
        self.process, self.start, self.host = process, start, host

    @classmethod
    def current(cls) -> Owner:
        """The process that runs this."""
        return cls(os.getpid(), _start_of(os.getpid()), socket.gethostname())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Owner) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}"

    @property
    def runs(self) -> bool:
        """Whether the process still runs; True where that cannot be known, as of another machine."""
        if self.host != socket.gethostname():
            return True
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return False
        except OSError:
            pass
        # The number may have gone to another process since.
        return self.start is None or self.start == _start_of(self.process)

    @property
    def tag(self) -> str:
        """What tells the process in the name of a file that it alone uses; `owner_of_tag` reads it."""
        return f"{_digest(self.host)}-{self.process}-{self.start or ''}-"

    def write(self, folder: Directory) -> None:
        """Write the lock file into a trace that has none."""
        descriptor = folder.create(LOCK)
        try:
            os.write(descriptor, json.dumps(vars(self)).encode() + b"\n")
        finally:
            os.close(descriptor)


def owner_of(path: str) -> Owner | None:
    """The `Owner` that the lock file of the trace in folder ``path`` names; None if there is none that can be read."""
    try:
        with open(os.path.join(path, LOCK), "rb") as file:
            content: Any = json.loads(file.read(4096))
        process, start, host = content["process"], content["start"], content["host"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    if type(process) is not int or process <= 0 or not isinstance(start, (str, type(None))) or type(host) is not str:
        return None
    return Owner(process, start, host)


def owner_of_tag(text: str) -> Owner | None:
    """The `Owner` whose tag ``text`` begins with; None if it is no tag, or that of a process on another machine."""
    tag = _TAG.match(text)
    host = socket.gethostname()
    if tag is None or tag[1] != _digest(host) or not int(tag[2]):
        return None
    return Owner(int(tag[2]), tag[3] or None, host)


def _digest(host: str) -> str:
    return hashlib.sha256(host.encode("utf-8", "surrogateescape")).hexdigest()[:8]


def _start_of(process: int) -> str | None:
    """When a process started, in clock ticks since the machine did; None where the system does not tell."""
    try:
        with open(f"/proc/{process}/stat", "rb") as file:
            # The name of the program, in parentheses, may hold spaces and parentheses.
            return file.read().rpartition(b")")[2].split()[19].decode("ascii")
    except (OSError, IndexError, ValueError):
        return None
