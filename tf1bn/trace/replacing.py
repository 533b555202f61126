"""Making the folder of a trace, in the place of one that is there. Reached through `tf1bn.trace.Writer`."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile

from .directory import exchange
from .owner import LOCK, Owner, owner_of, owner_of_tag
from .settings import FORMAT


def _beside(name: str) -> str:
    """What the names of folders begin with that lie beside a trace while it is made or replaced."""
    return f".{name.encode('utf-8', 'surrogateescape')[:150].decode('utf-8', 'ignore')}."


def folder_beside(above: str, name: str) -> str:
    """A new folder beside the trace ``name``, whose name says which process it belongs to."""
    return tempfile.mkdtemp(prefix=_beside(name) + Owner.current().tag, dir=above)


def remove_abandoned(above: str, name: str) -> None:
    """Delete what writers of the trace ``name`` left in folder ``above`` because they were killed."""
    with contextlib.suppress(OSError):
        for entry in os.listdir(above):
            if entry.startswith(_beside(name)):
                owner = owner_of_tag(entry[len(_beside(name)) :])
                if owner is not None and not owner.runs:
                    shutil.rmtree(os.path.join(above, entry), ignore_errors=True)


def replace(target: str, new: str) -> None:
    """Put the folder ``new`` where the trace ``target`` is, and delete that; if it fails the old trace is back."""
    if exchange(new, target):
        shutil.rmtree(new, ignore_errors=True)
        return
    old = folder_beside(*os.path.split(target))
    os.rename(target, os.path.join(old, "trace"))
    try:
        os.rename(new, target)
    except BaseException:
        os.rename(os.path.join(old, "trace"), target)
        os.rmdir(old)
        raise
    shutil.rmtree(old, ignore_errors=True)


def check_replaceable(path: str, target: str, overwrite: bool) -> None:
    """Raise FileExistsError unless what is at ``target`` is an empty folder, or a trace that may be replaced."""
    if os.path.isdir(target) and not os.listdir(target):
        return
    try:
        with open(os.path.join(target, "trace.json"), "rb") as file:
            # Damaged or of another version, it is still a trace.
            trace = f'"{FORMAT}"'.encode() in file.read()
    except OSError:
        trace = False
    if not trace:
        raise FileExistsError(f"`path` is {path!r}, which is there and is not a trace; choose another path.")
    if not overwrite:
        raise FileExistsError(f"`path` is {path!r}, where a trace is; choose another path, or pass overwrite=True.")
    owner = owner_of(target)
    if owner is not None and owner != Owner.current() and owner.runs:
        raise FileExistsError(
            f"`path` is {path!r}, where a trace is that {owner} is writing; choose another path, or delete the file "
            f"{LOCK} in it if that process has ended."
        )


def umask() -> int:
    """The bits that the process takes from the permissions of what it makes."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
